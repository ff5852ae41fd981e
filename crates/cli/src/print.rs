//! Tables as the server made them, and the other forms of output.

use anyhow::{Result, bail};
use serde_json::Value;

/// How to print objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The server's table.
    Table,
    /// With the columns of priority 1.
    Wide,
    /// JSON, indented.
    Json,
    /// YAML.
    Yaml,
    /// `resource/name` lines.
    Name,
}

impl Form {
    /// From the word after `-o`.
    ///
    /// # Errors
    /// If there is no such form.
    pub fn parse(word: Option<&str>) -> Result<Self> {
        Ok(match word {
            None | Some("") => Self::Table,
            Some("wide") => Self::Wide,
            Some("json") => Self::Json,
            Some("yaml") => Self::Yaml,
            Some("name") => Self::Name,
            Some(other) => bail!("unable to match a printer for -o {other}; use wide, json, yaml or name"),
        })
    }
}

/// What a table is printed with.
#[derive(Clone, Debug, Default)]
pub struct Style {
    /// Show columns of priority 1.
    pub wide: bool,
    /// Show the namespace first.
    pub namespaces: bool,
    /// What stands before each name: `deployment.apps/`.
    pub prefix: String,
    /// No headings.
    pub bare: bool,
}

/// A table's lines of cells, headings first unless the style is bare.
pub fn cells(table: &Value, style: &Style) -> Vec<Vec<String>> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let columns = list(&table["columnDefinitions"]);
    let shown: Vec<usize> = (0..columns.len())
        .filter(|at| style.wide || columns[*at]["priority"].as_i64().unwrap_or_default() == 0)
        .collect();
    let mut lines = Vec::new();
    if !style.bare {
        let mut heading: Vec<String> =
            shown.iter().map(|at| columns[*at]["name"].as_str().unwrap_or_default().to_uppercase()).collect();
        if style.namespaces {
            heading.insert(0, "NAMESPACE".into());
        }
        lines.push(heading);
    }
    for row in list(&table["rows"]) {
        let values = list(&row["cells"]);
        let mut line: Vec<String> = Vec::new();
        if style.namespaces {
            line.push(row["object"]["metadata"]["namespace"].as_str().unwrap_or_default().to_owned());
        }
        for (position, at) in shown.iter().enumerate() {
            let text = values.get(*at).map(cell).unwrap_or_default();
            line.push(if position == 0 { format!("{}{text}", style.prefix) } else { text });
        }
        lines.push(line);
    }
    lines
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.replace(['\n', '\r'], " "),
        Value::Null => "<none>".into(),
        other => other.to_string(),
    }
}

/// Pads lines of cells into columns three blanks apart.
pub fn columns(lines: &[Vec<String>]) -> String {
    let count = lines.iter().map(Vec::len).max().unwrap_or_default();
    let width =
        |at: usize| lines.iter().filter_map(|line| line.get(at)).map(|text| text.chars().count()).max();
    let widths: Vec<usize> = (0..count).map(|at| width(at).unwrap_or_default()).collect();
    let mut out = String::new();
    for line in lines {
        let mut text = String::new();
        for (at, cell) in line.iter().enumerate() {
            text.push_str(cell);
            let pad = widths[at].saturating_sub(cell.chars().count()) + 3;
            text.extend(std::iter::repeat_n(' ', pad));
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tables_are_padded_and_wide_columns_wait() {
        let table = json!({
            "columnDefinitions": [{ "name": "Name" }, { "name": "Ready" }, { "name": "IP", "priority": 1 }],
            "rows": [
                { "cells": ["a", "1/1", "10.0.0.1"], "object": { "metadata": { "namespace": "x" } } },
                { "cells": ["longer", "0/1", null], "object": { "metadata": { "namespace": "y" } } },
            ],
        });
        expect_test::expect![[r"
            NAME     READY
            a        1/1
            longer   0/1
        "]]
        .assert_eq(&format!("\n{}", columns(&cells(&table, &Style::default()))).replacen('\n', "", 1));
        let wide = Style { wide: true, namespaces: true, prefix: "pod/".into(), bare: true };
        expect_test::expect![[r"
            x   pod/a        1/1   10.0.0.1
            y   pod/longer   0/1   <none>
        "]]
        .assert_eq(&columns(&cells(&table, &wide)));
    }
}
