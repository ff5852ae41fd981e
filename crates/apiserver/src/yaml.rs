//! Trees as YAML, the way `sigs.k8s.io/yaml` writes them: block style, keys sorted, strings quoted only where
//! they would read back as something else.

use serde_json::Value;
use std::fmt::Write;

/// A document.
pub fn write(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => block(&mut out, value, 0),
        Value::Array(list) if !list.is_empty() => block(&mut out, value, 0),
        scalar => {
            inline(&mut out, scalar, 0);
            out.push('\n');
        }
    }
    out
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n(' ', depth));
}

fn block(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(map) => {
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 || !out.ends_with("- ") {
                    indent(out, depth);
                }
                text(out, key);
                out.push(':');
                member(out, value, depth);
            }
        }
        Value::Array(list) => {
            for item in list {
                if !out.ends_with("- ") {
                    indent(out, depth);
                }
                out.push_str("- ");
                if nested(item) {
                    block(out, item, depth + 2);
                } else {
                    inline(out, item, depth + 2);
                    out.push('\n');
                }
            }
        }
        _ => {}
    }
}

fn nested(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => false,
    }
}

fn member(out: &mut String, value: &Value, depth: usize) {
    if !nested(value) {
        out.push(' ');
        inline(out, value, depth + 2);
        out.push('\n');
        return;
    }
    out.push('\n');
    // Lists stand at the depth of their key.
    block(out, value, if value.is_array() { depth } else { depth + 2 });
}

fn inline(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        Value::String(value) if value.contains('\n') && literal(value) => lines(out, value, depth),
        Value::String(value) => text(out, value),
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

/// Whether a text of several lines may stand as a literal block.
fn literal(value: &str) -> bool {
    !value.starts_with([' ', '\n', '\t'])
        && value.chars().all(|one| one == '\n' || one == '\t' || !one.is_control())
        && !value.contains('\u{feff}')
}

fn lines(out: &mut String, value: &str, depth: usize) {
    let body = value.trim_end_matches('\n');
    let ends = value.len() - body.len();
    out.push_str(match ends {
        0 => "|-",
        1 => "|",
        _ => "|+",
    });
    let kept = if ends > 1 { &value[..value.len() - 1] } else { body };
    for line in kept.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(out, depth);
            out.push_str(line);
        }
    }
}

fn text(out: &mut String, value: &str) {
    if plain(value) {
        out.push_str(value);
    } else {
        // JSON's strings are YAML's double-quoted ones.
        let _ = write!(out, "{}", Value::String(value.to_owned()));
    }
}

/// Whether a text reads back as itself without quotes.
fn plain(value: &str) -> bool {
    let Some(first) = value.chars().next() else { return false };
    let last = value.chars().next_back().unwrap_or(' ');
    if first.is_whitespace()
        || last.is_whitespace()
        || last == ':'
        || "-?:,[]{}#&*!|>'\"%@`=<~.+".contains(first)
    {
        // A path or a domain may start with a dot, and a dash may start a word; numbers may not.
        let word = matches!(first, '-' | '.' | '+' | '=' | '<')
            && value.len() > 1
            && value
                .chars()
                .nth(1)
                .is_some_and(|second| second.is_alphabetic() || second == '-' || second == '/');
        if !word || value.starts_with("---") || value.starts_with(".inf") || value.starts_with(".nan") {
            return false;
        }
    }
    if value.contains(": ") || value.contains(" #") || value.chars().any(char::is_control) {
        return false;
    }
    let lower = value.to_ascii_lowercase();
    if matches!(
        lower.as_str(),
        "null"
            | "true"
            | "false"
            | "yes"
            | "no"
            | "on"
            | "off"
            | "y"
            | "n"
            | ".inf"
            | "-.inf"
            | "+.inf"
            | ".nan"
    ) {
        return false;
    }
    !first.is_ascii_digit() || !numeric(value)
}

/// Whether a text that starts with a digit might be a number, a date or a time.
fn numeric(value: &str) -> bool {
    value.bytes().all(|byte| byte.is_ascii_hexdigit() || b"xXoO_.+-eE:TtZz ".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn trees_look_as_kubectl_prints_them() {
        let value = json!({
            "apiVersion": "v1", "empty": {}, "none": null, "list": [{"a": 1, "b": [true]}, "x", []],
            "text": "two\nlines\n", "open": "no\nend", "number": "12", "word": "true", "date": "2024-01-01T00:00:00Z",
            "colon": "a: b", "image": "nginx:1.2", "flag": "--x=y", "path": "./a", "mail": "@x", "blank": "",
        });
        expect_test::expect![[r#"
            apiVersion: v1
            blank: ""
            colon: "a: b"
            date: "2024-01-01T00:00:00Z"
            empty: {}
            flag: --x=y
            image: nginx:1.2
            list:
            - a: 1
              b:
              - true
            - x
            - []
            mail: "@x"
            none: null
            number: "12"
            open: |-
              no
              end
            path: ./a
            text: |
              two
              lines
            word: "true"
        "#]]
        .assert_eq(&write(&value));
    }
}
