//! Reads the type declarations of gofmt'd Go packages: structs with tags and comment markers, named types,
//! string constants. Only what Kubernetes' API packages use; anything else is an error, never a guess.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// A type expression; names are `(import path, name)`, the path empty for Go's own.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    Name(String, String),
    Pointer(Box<Expression>),
    Slice(Box<Expression>),
    Map(Box<Expression>, Box<Expression>),
}

/// A field of a struct. An embedded field has no `name`.
#[derive(Debug, Clone)]
pub struct Field {
    pub name: Option<String>,
    pub expression: Expression,
    pub tag: String,
    pub markers: Vec<String>,
}

/// What a type is declared as.
#[derive(Debug, Clone)]
pub enum Body {
    Struct(Vec<Field>),
    Named(Expression),
    Alias(Expression),
    Interface,
}

/// A type declaration with the comment markers (`+name=value`, without the plus) above it.
#[derive(Debug, Clone)]
pub struct Declaration {
    pub body: Body,
    pub markers: Vec<String>,
}

/// A package: its declarations and its typed string constants, as (type, constant name, value).
#[derive(Debug, Default)]
pub struct Package {
    pub declarations: BTreeMap<String, Declaration>,
    pub constants: Vec<(String, String, String)>,
}

/// Reads the package in `folder`, whose import path is `path`, generated code and tests left out.
pub fn read_package(folder: &Path, path: &str) -> Result<Package> {
    let mut package = Package::default();
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .with_context(|| format!("reading {}", folder.display()))?
        .collect::<std::io::Result<_>>()?;
    files.sort_by_key(|entry| entry.file_name());
    for entry in files {
        let name = entry.file_name().to_string_lossy().into_owned();
        let generated = name.starts_with("zz_generated") || name.contains("generated.");
        if !name.ends_with(".go") || name.ends_with("_test.go") || generated {
            continue;
        }
        let source = std::fs::read_to_string(entry.path())?;
        Reader::new(&source, path).read(&mut package).with_context(|| format!("in {path}/{name}"))?;
    }
    Ok(package)
}

/// The value of `key` in a struct tag.
pub fn tag<'a>(tag: &'a str, key: &str) -> Option<&'a str> {
    let mut rest = tag;
    while let Some(colon) = rest.find(":\"") {
        let name = rest[..colon].trim();
        let value = &rest[colon + 2..];
        let end = value.find('"')?;
        if name == key {
            return Some(&value[..end]);
        }
        rest = &value[end + 1..];
    }
    None
}

/// The values of a marker, in order.
pub fn marker<'a>(markers: &'a [String], key: &str) -> Vec<&'a str> {
    markers
        .iter()
        .filter_map(|marker| match marker.split_once('=') {
            Some((name, value)) => (name == key).then_some(value.trim()),
            None => (marker == key).then_some(""),
        })
        .collect()
}

struct Reader<'a> {
    lines: std::iter::Peekable<std::str::Lines<'a>>,
    path: &'a str,
    imports: BTreeMap<String, String>,
    /// Markers of the comment block just passed, and of the one before it, which belongs to types too.
    markers: Vec<String>,
    earlier: Vec<String>,
}

impl<'a> Reader<'a> {
    fn new(source: &'a str, path: &'a str) -> Self {
        let lines = source.lines().peekable();
        Self { lines, path, imports: BTreeMap::new(), markers: Vec::new(), earlier: Vec::new() }
    }

    fn read(&mut self, package: &mut Package) -> Result<()> {
        while let Some(line) = self.lines.next() {
            if self.comment(line) {
                continue;
            }
            if let Some(rest) = line.strip_prefix("import ") {
                self.import(rest)?;
            } else if let Some(rest) = line.strip_prefix("type ") {
                self.declaration(rest, package).with_context(|| format!("at `{line}`"))?;
            } else if let Some(rest) = line.strip_prefix("const ") {
                self.constants(rest, package);
            } else if line.starts_with("func ") && line.ends_with('{') {
                self.skip_to("}");
            }
            if !line.is_empty() {
                self.earlier.clear();
            }
        }
        Ok(())
    }

    /// Takes a comment or blank line into account; false if the line is neither.
    fn comment(&mut self, line: &str) -> bool {
        let line = line.trim();
        if line.is_empty() {
            if !self.markers.is_empty() {
                self.earlier = std::mem::take(&mut self.markers);
            }
            return true;
        }
        if line.starts_with("/*") {
            if !line.contains("*/") {
                while self.lines.next().is_some_and(|line| !line.contains("*/")) {}
            }
            return true;
        }
        let Some(text) = line.strip_prefix("//") else { return false };
        if let Some(marker) = text.trim().strip_prefix('+') {
            self.markers.push(marker.to_string());
        }
        true
    }

    fn skip_to(&mut self, end: &str) {
        while self.lines.next().is_some_and(|line| line != end) {}
        self.markers.clear();
    }

    fn import(&mut self, rest: &str) -> Result<()> {
        let mut one = |line: &str| -> Result<()> {
            let line = line.trim();
            if line.is_empty() || line.starts_with("//") {
                return Ok(());
            }
            let (alias, path) = line.split_once('"').context("an import without a path")?;
            let path = path.trim_end_matches('"');
            let last = path.rsplit('/').next().unwrap_or(path);
            let alias = if alias.trim().is_empty() { last } else { alias.trim() };
            self.imports.insert(alias.to_string(), path.to_string());
            Ok(())
        };
        if rest != "(" {
            return one(rest);
        }
        for line in self.lines.by_ref() {
            if line == ")" {
                return Ok(());
            }
            one(line)?;
        }
        bail!("an import block without an end")
    }

    fn declaration(&mut self, rest: &str, package: &mut Package) -> Result<()> {
        let mut markers = std::mem::take(&mut self.earlier);
        markers.append(&mut self.markers);
        if rest.starts_with('(') {
            bail!("a block of types is not understood");
        }
        let (name, body) = rest.split_once(' ').context("a type without a body")?;
        let body = if body == "struct{}" {
            Body::Struct(Vec::new())
        } else if body == "struct {" {
            Body::Struct(self.fields()?)
        } else if body.starts_with("interface") {
            if !body.ends_with('}') {
                self.skip_to("}");
            }
            Body::Interface
        } else if body.starts_with("func") {
            return Ok(());
        } else if let Some(target) = body.strip_prefix("= ") {
            Body::Alias(self.expression(strip_comment(target))?)
        } else {
            Body::Named(self.expression(strip_comment(body))?)
        };
        package.declarations.insert(name.to_string(), Declaration { body, markers });
        Ok(())
    }

    fn fields(&mut self) -> Result<Vec<Field>> {
        let mut fields = Vec::new();
        while let Some(line) = self.lines.next() {
            if line == "}" {
                self.markers.clear();
                return Ok(fields);
            }
            if self.comment(line) {
                if line.trim().is_empty() {
                    self.markers.clear();
                }
                continue;
            }
            let markers = std::mem::take(&mut self.markers);
            let line = line.trim();
            let (declared, tag) = match line.split_once('`') {
                Some((declared, tag)) => (declared, tag.split('`').next().unwrap_or_default()),
                None => (strip_comment(line), ""),
            };
            let declared = declared.trim();
            let (names, written) = match declared.rsplit_once(' ') {
                Some((names, written)) => (names.trim(), written),
                None => ("", declared),
            };
            if names.starts_with(char::is_lowercase) {
                continue;
            }
            let expression = self.expression(written).with_context(|| format!("at field `{line}`"))?;
            if names.is_empty() {
                fields.push(Field { name: None, expression, tag: tag.to_string(), markers });
                continue;
            }
            for name in names.split(',') {
                fields.push(Field {
                    name: Some(name.trim().to_string()),
                    expression: expression.clone(),
                    tag: tag.to_string(),
                    markers: markers.clone(),
                });
            }
        }
        bail!("a struct without an end")
    }

    fn constants(&mut self, rest: &str, package: &mut Package) {
        let mut one = |line: &str| {
            let Some((left, value)) = line.trim().split_once(" = ") else { return };
            let mut words = left.split_whitespace();
            let (Some(name), Some(kind)) = (words.next(), words.next()) else { return };
            let Some(value) = value.strip_prefix('"').and_then(|value| value.split('"').next()) else {
                return;
            };
            package.constants.push((kind.to_string(), name.to_string(), value.to_string()));
        };
        if rest != "(" {
            return one(rest);
        }
        for line in self.lines.by_ref() {
            if line == ")" {
                break;
            }
            one(line);
        }
        self.markers.clear();
    }

    fn expression(&self, text: &str) -> Result<Expression> {
        if let Some(rest) = text.strip_prefix('*') {
            return Ok(Expression::Pointer(Box::new(self.expression(rest)?)));
        }
        if let Some(rest) = text.strip_prefix("[]") {
            return Ok(Expression::Slice(Box::new(self.expression(rest)?)));
        }
        if let Some(rest) = text.strip_prefix("map[") {
            let (key, value) = rest.split_once(']').context("a map without a key")?;
            return Ok(Expression::Map(Box::new(self.expression(key)?), Box::new(self.expression(value)?)));
        }
        if text == "interface{}" || text == "any" {
            return Ok(Expression::Name(String::new(), "any".to_string()));
        }
        let name = |text: &str| text.chars().all(|c| c.is_alphanumeric() || c == '_');
        match text.split_once('.') {
            Some((package, word)) if name(word) => {
                let path = self.imports.get(package).with_context(|| format!("no import `{package}`"))?;
                Ok(Expression::Name(path.clone(), word.to_string()))
            }
            None if name(text) && text.starts_with(char::is_lowercase) => {
                Ok(Expression::Name(String::new(), text.to_string()))
            }
            None if name(text) => Ok(Expression::Name(self.path.to_string(), text.to_string())),
            _ => bail!("the type `{text}` is not understood"),
        }
    }
}

fn strip_comment(text: &str) -> &str {
    text.split("//").next().unwrap_or(text).trim()
}
