//! Go declarations to the lines of the table. The table's format is described in
//! `crates/schema/src/facts.rs`, which reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::go::{self, Body, Declaration, Expression, Field, marker, tag};
use super::packages::{PACKAGES, ROOTS, SPECIAL, VERSION};
use super::proto::{self, Messages};

struct Source {
    packages: BTreeMap<String, go::Package>,
    messages: BTreeMap<String, Messages>,
    aliases: BTreeMap<String, &'static str>,
}

/// The whole table.
pub fn generate(modules: &Path) -> Result<String> {
    let mut source =
        Source { packages: BTreeMap::new(), messages: BTreeMap::new(), aliases: BTreeMap::new() };
    for package in PACKAGES {
        let (path, folder) = (package.path(), package.source(modules));
        source.packages.insert(path.clone(), go::read_package(&folder, &path)?);
        source.aliases.insert(path.clone(), package.alias());
        if let Ok(text) = std::fs::read_to_string(folder.join("generated.proto")) {
            source.messages.insert(path, proto::read(&text));
        }
    }
    let reached = source.reach()?;
    let mut out = format!("# Facts about the types of Kubernetes {VERSION}, made by `cargo xtask facts`.\n");
    for package in PACKAGES {
        let path = package.path();
        let version = package.folder.rsplit('/').next().unwrap_or_default();
        let group = if package.group.is_empty() { "\"\"" } else { package.group };
        writeln!(out, "package {} {} {version} {group}", package.alias(), package.model())?;
        for name in reached.iter().filter(|(of, _)| *of == path).map(|(_, name)| name) {
            source.write(&mut out, &path, name).with_context(|| format!("writing {path}.{name}"))?;
        }
    }
    Ok(out)
}

impl Source {
    fn declaration(&self, path: &str, name: &str) -> Result<&Declaration> {
        let package = self.packages.get(path).with_context(|| format!("no package {path} for {name}"))?;
        package.declarations.get(name).with_context(|| format!("no type {path}.{name}"))
    }

    /// Every type that can be reached from a kind or a root, aliases and special types left out.
    fn reach(&self) -> Result<BTreeSet<(String, String)>> {
        let mut waiting: Vec<(String, String)> =
            ROOTS.iter().map(|(path, name)| (path.to_string(), name.to_string())).collect();
        for package in PACKAGES.iter().filter(|package| package.group != "-") {
            let path = package.path();
            for (name, declaration) in &self.packages[&path].declarations {
                if self.is_kind(declaration)? {
                    waiting.push((path.clone(), name.clone()));
                }
            }
        }
        let mut reached = BTreeSet::new();
        while let Some((path, name)) = waiting.pop() {
            if special(&path, &name).is_some_and(|word| !word.starts_with("or")) {
                continue;
            }
            if !reached.insert((path.clone(), name.clone())) {
                continue;
            }
            match &self.declaration(&path, &name)?.body {
                Body::Struct(fields) => {
                    for field in fields.iter().filter(|field| tag(&field.tag, "json") != Some("-")) {
                        mentioned(&field.expression, &mut waiting);
                    }
                }
                Body::Named(expression) | Body::Alias(expression) => mentioned(expression, &mut waiting),
                Body::Interface => bail!("{path}.{name} is an interface"),
            }
        }
        reached.retain(|(path, name)| {
            special(path, name).is_none()
                && !matches!(self.declaration(path, name), Ok(Declaration { body: Body::Alias(_), .. }))
        });
        Ok(reached)
    }

    fn is_kind(&self, declaration: &Declaration) -> Result<bool> {
        Ok(match &declaration.body {
            Body::Struct(fields) => fields.iter().any(|field| {
                field.name.is_none()
                    && matches!(&field.expression, Expression::Name(_, name) if name == "TypeMeta")
            }),
            Body::Named(Expression::Name(path, name)) if !path.is_empty() => {
                self.packages.contains_key(path) && self.is_kind(self.declaration(path, name)?)?
            }
            _ => false,
        })
    }

    fn write(&self, out: &mut String, path: &str, name: &str) -> Result<()> {
        let declaration = self.declaration(path, name)?;
        match &declaration.body {
            Body::Struct(fields) => self.write_struct(out, path, name, declaration, fields),
            Body::Named(expression) => {
                if let Expression::Name(of, other) = expression
                    && !of.is_empty()
                    && let target = self.declaration(of, other)?
                    && let Body::Struct(fields) = &target.body
                {
                    return self.write_struct(out, path, name, target, fields);
                }
                let target = self.reference(expression, path)?;
                write!(out, "alias {name} {target}")?;
                let message = self.messages.get(path).and_then(|messages| messages.get(name));
                if message.is_some_and(|fields| fields.len() == 1 && fields.contains_key("items")) {
                    out.push_str(" wrapped");
                }
                if !marker(&declaration.markers, "enum").is_empty() {
                    let mut values: Vec<_> = self.packages[path]
                        .constants
                        .iter()
                        .filter(|(of, _, _)| of == name)
                        .map(|(_, _, value)| if value.is_empty() { "\"\"" } else { value })
                        .collect();
                    values.sort_unstable();
                    values.dedup();
                    ensure!(values.iter().all(|value| !value.contains('|')), "an enum value of {name}");
                    write!(out, " enum={}", values.join("|"))?;
                }
                out.push('\n');
                Ok(())
            }
            Body::Alias(_) | Body::Interface => bail!("nothing to write"),
        }
    }

    fn write_struct(
        &self,
        out: &mut String,
        path: &str,
        name: &str,
        declaration: &Declaration,
        fields: &[Field],
    ) -> Result<()> {
        write!(out, "struct {name}")?;
        if self.is_kind(declaration)? || ROOTS.contains(&(path, name)) {
            out.push_str(" kind");
        }
        if marker(&declaration.markers, "structType") == ["atomic"] {
            out.push_str(" struct=atomic");
        }
        let messages = self.messages.get(path);
        let message = messages.and_then(|messages| messages.get(name));
        if message.is_none() {
            out.push_str(" nowire");
        }
        out.push('\n');
        let mut numbers = BTreeSet::new();
        for field in fields {
            let number = self.write_field(out, path, field).with_context(|| format!("field {field:?}"))?;
            numbers.extend(number);
        }
        if let Some(message) = message {
            let declared: BTreeSet<u32> = message.values().copied().collect();
            ensure!(declared == numbers, "proto numbers {declared:?} against tags {numbers:?}");
        }
        Ok(())
    }

    /// Writes a field's line and gives its protobuf number.
    fn write_field(&self, out: &mut String, path: &str, field: &Field) -> Result<Option<u32>> {
        let number = match tag(&field.tag, "protobuf") {
            Some(value) if value != "-" => {
                Some(value.split(',').nth(1).context("a protobuf tag without a number")?.parse::<u32>()?)
            }
            _ => None,
        };
        let json = tag(&field.tag, "json").context("a field without a json tag")?;
        let mut parts = json.split(',');
        let name = parts.next().unwrap_or_default();
        let options: Vec<_> = parts.collect();
        if name == "-" {
            return Ok(number);
        }
        let (expression, pointer) = match &field.expression {
            Expression::Pointer(inner) => (&**inner, true),
            other => (other, false),
        };
        let reference = self.reference(expression, path)?;
        let written = number.map_or("-".to_string(), |number| number.to_string());
        if name.is_empty() {
            ensure!(field.name.is_none(), "a named field that is inlined");
            let Expression::Name(_, embedded) = expression else { bail!("an embedded type without a name") };
            writeln!(out, " +{embedded} {reference} {written}{}", if pointer { " p" } else { "" })?;
            return Ok(number);
        }
        write!(out, " {name} {reference} {written}")?;
        let flags = flags(field, &options, pointer)?;
        if !flags.is_empty() {
            write!(out, " {flags}")?;
        }
        self.write_attributes(out, path, field)?;
        out.push('\n');
        Ok(number)
    }

    fn write_attributes(&self, out: &mut String, path: &str, field: &Field) -> Result<()> {
        let markers = &field.markers;
        if let Some(kind) = marker(markers, "listType").first() {
            write!(out, " list={kind}")?;
            let keys = marker(markers, "listMapKey");
            if !keys.is_empty() {
                write!(out, ":{}", keys.join(","))?;
            }
        }
        if marker(markers, "mapType") == ["atomic"] {
            out.push_str(" map=atomic");
        }
        if marker(markers, "structType") == ["atomic"] {
            out.push_str(" struct=atomic");
        }
        if let Some(strategy) = tag(&field.tag, "patchStrategy") {
            write!(out, " patch={strategy}")?;
            if let Some(key) = tag(&field.tag, "patchMergeKey") {
                write!(out, ":{key}")?;
            }
        }
        if let Some(value) = marker(markers, "default").first() {
            let value = match value.strip_prefix("ref(").and_then(|rest| rest.strip_suffix(')')) {
                Some(constant) => {
                    let constants = &self.packages[path].constants;
                    let found = constants.iter().find(|(_, name, _)| name == constant);
                    format!("{:?}", found.with_context(|| format!("no constant {constant}"))?.2)
                }
                None => value.to_string(),
            };
            write!(out, " default={value}")?;
        }
        Ok(())
    }

    /// The word for a type as seen from `path`.
    fn reference(&self, expression: &Expression, path: &str) -> Result<String> {
        Ok(match expression {
            Expression::Pointer(inner) => self.reference(inner, path)?,
            Expression::Slice(inner) => match &**inner {
                Expression::Name(of, name) if of.is_empty() && name == "byte" => "bytes".to_string(),
                inner => format!("[]{}", self.reference(inner, path)?),
            },
            Expression::Map(_, value) => format!("{{}}{}", self.reference(value, path)?),
            Expression::Name(of, name) if of.is_empty() => match name.as_str() {
                "string" | "bool" | "int32" | "int64" | "float64" | "any" => name.clone(),
                other => bail!("the type {other} has no word"),
            },
            Expression::Name(of, name) => match special(of, name) {
                Some(word) => word.to_string(),
                None => match &self.declaration(of, name)?.body {
                    Body::Alias(target) => self.reference(target, path)?,
                    _ if of == path => name.clone(),
                    _ => format!("{}.{name}", self.aliases[of]),
                },
            },
        })
    }
}

fn special(path: &str, name: &str) -> Option<&'static str> {
    SPECIAL.iter().find(|row| row.0 == path && row.1 == name).map(|row| row.2)
}

fn mentioned(expression: &Expression, into: &mut Vec<(String, String)>) {
    match expression {
        Expression::Name(path, name) if !path.is_empty() => into.push((path.clone(), name.clone())),
        Expression::Name(..) => {}
        Expression::Pointer(inner) | Expression::Slice(inner) => mentioned(inner, into),
        // Keys are strings whatever their name.
        Expression::Map(_, value) => mentioned(value, into),
    }
}

/// `o` omitempty, `z` omitzero, `p` pointer, `r` required.
fn flags(field: &Field, options: &[&str], pointer: bool) -> Result<String> {
    let mut flags = String::new();
    let omitempty = options.contains(&"omitempty");
    if omitempty {
        flags.push('o');
    }
    if options.contains(&"omitzero") {
        flags.push('z');
    }
    if pointer {
        flags.push('p');
    }
    for option in options {
        ensure!(["omitempty", "omitzero"].contains(option), "the json option {option}");
    }
    let required = !marker(&field.markers, "required").is_empty();
    let optional = !marker(&field.markers, "optional").is_empty();
    if required || (!optional && !omitempty) {
        flags.push('r');
    }
    Ok(flags)
}
