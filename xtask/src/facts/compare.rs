//! Other opinions about the same facts, read from files that are given on the command line.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// A field's line, without its name.
struct Line<'a> {
    reference: &'a str,
    flags: &'a str,
    attributes: Vec<&'a str>,
}

#[derive(Default)]
struct Struct<'a> {
    attributes: &'a str,
    fields: BTreeMap<&'a str, Line<'a>>,
    inlined: Vec<&'a str>,
}

/// The structs of a table by OpenAPI model name.
fn structs(table: &str) -> BTreeMap<String, Struct<'_>> {
    let mut structs: BTreeMap<String, Struct> = BTreeMap::new();
    let (mut model, mut current) = ("", String::new());
    for line in table.lines() {
        let mut words = line.split_whitespace();
        if let Some(rest) = line.strip_prefix("package ") {
            model = rest.split(' ').nth(1).unwrap_or_default();
        } else if let Some(rest) = line.strip_prefix("struct ") {
            let (name, attributes) = rest.split_once(' ').unwrap_or((rest, ""));
            current = format!("{model}.{name}");
            structs.insert(current.clone(), Struct { attributes, ..Struct::default() });
        } else if line.starts_with(' ')
            && let Some(of) = structs.get_mut(&current)
            && let (Some(name), Some(reference), Some(_)) = (words.next(), words.next(), words.next())
        {
            let mut attributes: Vec<_> = words.collect();
            let flags = match attributes.first() {
                Some(first) if !first.contains('=') => attributes.remove(0),
                _ => "",
            };
            match name.strip_prefix('+') {
                Some(name) => of.inlined.push(name),
                None => {
                    of.fields.insert(name, Line { reference, flags, attributes });
                }
            }
        }
    }
    structs
}

/// Where the table differs from a list of protobuf fields and how JSON differs from them: `json=` a name,
/// `inline`, `ptr` a pointer, `keep` a zero value that stays in JSON.
pub fn with_proto_json(table: &str, json: &str) -> Result<Vec<String>> {
    let structs = structs(table);
    let opinions: BTreeMap<String, Vec<String>> = serde_json::from_str(json)?;
    let mut differences = Vec::new();
    for (key, facts) in &opinions {
        let (owner, field) = key.rsplit_once('.').context("a key without a field")?;
        let Some(of) = structs.get(&owner.replacen("k8s.io.", "io.k8s.", 1)) else { continue };
        let has = |fact: &str| facts.iter().any(|one| one == fact);
        if has("inline") {
            // Protobuf has its own name for a few, always a shortened one.
            let field = field.to_ascii_lowercase();
            if !of.inlined.iter().any(|name| name.to_ascii_lowercase().ends_with(&field)) {
                differences.push(format!("{key}: not inlined here"));
            }
            continue;
        }
        let name = facts.iter().find_map(|fact| fact.strip_prefix("json=")).unwrap_or(field);
        let Some(line) = of.fields.get(name) else {
            differences.push(format!("{key}: not here"));
            continue;
        };
        if has("keep") == line.flags.contains('o') {
            differences.push(format!("{key}: flags {}, but {facts:?}", line.flags));
        }
        if has("ptr") != line.flags.contains('p') {
            differences.push(format!("{key}: flags {}, but {facts:?}", line.flags));
        }
    }
    Ok(differences)
}

/// Where the table differs from client-go's table of list and map kinds, which is YAML in a Go string.
pub fn with_apply(table: &str, source: &str) -> Result<Vec<String>> {
    let structs = structs(table);
    let yaml = source.split('`').nth(1).context("no YAML in the source")?;
    let mut differences = Vec::new();
    let (mut of, mut field, mut keys): (Option<&Struct>, &str, Vec<&str>) = (None, "", Vec::new());
    let mut owner = "";
    let mut kind = "";
    for line in yaml.lines().chain(["- name: end"]) {
        let depth = line.len() - line.trim_start().len();
        let word = line.trim();
        if word.starts_with("- name: ") && !field.is_empty() {
            differences.extend(differing(of, owner, field, kind, &keys));
            (field, kind, keys) = ("", "", Vec::new());
        }
        match (depth, word.strip_prefix("- name: ")) {
            (0, Some(name)) => (owner, of) = (name, structs.get(name)),
            (4, Some(name)) => field = name,
            (8, None) if word == "list:" => kind = "list",
            (8, None) if word == "map:" => kind = "map",
            (10, None) if word.starts_with("elementRelationship: ") && kind == "list" => {
                kind = &word["elementRelationship: ".len()..];
            }
            (10, None) if word == "elementRelationship: atomic" => kind = "map-atomic",
            (10, None) if word.starts_with("- ") => keys.push(&word[2..]),
            (4, None) if word.starts_with("elementRelationship: ") => {
                differences.extend(differing(of, owner, field, kind, &keys));
                (field, kind, keys) = ("", "", Vec::new());
                if of.is_some_and(|of| !of.attributes.contains("struct=atomic")) {
                    differences.push(format!("{owner}: atomic there"));
                }
            }
            _ => {}
        }
    }
    Ok(differences)
}

fn differing(of: Option<&Struct>, owner: &str, field: &str, kind: &str, keys: &[&str]) -> Option<String> {
    let of = of?;
    if field.is_empty() || of.inlined.iter().any(|name| *name != "TypeMeta") && !of.fields.contains_key(field)
    {
        return None;
    }
    let Some(line) = of.fields.get(field) else {
        let known = ["apiVersion", "kind"].contains(&field);
        return (!known).then(|| format!("{owner}.{field}: not here"));
    };
    let find = |name: &str| line.attributes.iter().find_map(|one| one.strip_prefix(name));
    let here = match (find("list="), find("map="), line.reference.starts_with("[]")) {
        (Some("atomic") | None, _, true) => "atomic".to_string(),
        (Some("set"), ..) => "associative:".to_string(),
        (Some(list), ..) => list.replacen("map", "associative", 1),
        (_, Some("atomic"), _) => "map-atomic".to_string(),
        _ => String::new(),
    };
    let mut there = match kind {
        "associative" => format!("associative:{}", keys.join(",")),
        "list" | "map" => String::new(),
        other => other.to_string(),
    };
    let is_text = |keys: &str| keys.split(',').count() > 1;
    let sorted = |text: &str| {
        let (kind, keys) = text.split_once(':').unwrap_or((text, ""));
        let mut keys: Vec<_> = keys.split(',').collect();
        keys.sort_unstable();
        format!("{kind}:{}", keys.join(","))
    };
    if is_text(&here) {
        there = sorted(&there);
    }
    let here = if is_text(&here) { sorted(&here) } else { here };
    (here != there).then(|| format!("{owner}.{field}: here `{here}`, there `{there}`"))
}
