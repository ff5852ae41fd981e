//! Compiles tables: names become fields and nodes, values are checked against their fields.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::{Action, Condition, Defaults, FieldPath, Hook, PathStep, Rule, Source};
use crate::shape::{FieldFlags, NodeId, Shape, StructId, Types};
use crate::{Error, Result, Schema, check};

pub(super) fn compile(types: Arc<Types>, tables: &[&str], hooks: &[(&str, Hook)]) -> Result<Defaults> {
    let mut rules: HashMap<StructId, Vec<Rule>> = HashMap::new();
    let names: HashMap<String, StructId> = types.structs().map(|id| (types.alias(id), id)).collect();
    for table in tables {
        let mut current = Vec::new();
        for line in table.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let fail = |message: String| Error::Table(format!("in defaults, {message}: {line}"));
            // Some types have a field of that name: `type = ""` is a rule.
            if let Some(list) = line.strip_prefix("type ").filter(|list| !list.starts_with('=')) {
                let find =
                    |name: &str| names.get(name).copied().ok_or_else(|| fail(format!("no type {name}")));
                current = list.split_whitespace().map(find).collect::<Result<Vec<_>>>()?;
                continue;
            }
            if current.is_empty() {
                return Err(fail("no type above".to_string()));
            }
            for id in &current {
                let rule = Compiler { types: &types, hooks, id: *id, item: None }.rule(line).map_err(fail)?;
                rules.entry(*id).or_default().push(rule);
            }
        }
    }
    for id in types.structs() {
        let declared = declared(&types, id)?;
        if !declared.is_empty() {
            rules.entry(id).or_default().extend(declared);
        }
    }
    let visited = visited(&types, &rules);
    Ok(Defaults { types, rules, visited })
}

/// The defaults that the facts declare, but for those that say nothing.
fn declared(types: &Types, id: StructId) -> Result<Vec<Rule>> {
    let mut rules = Vec::new();
    for field in types.fields(id) {
        let text = types.text(field.default);
        if text.is_empty() {
            continue;
        }
        let value: Value = serde_json::from_str(text)
            .map_err(|error| Error::Table(format!("a declared default {text}: {error}")))?;
        let pointer = field.flags.has(FieldFlags::POINTER);
        if !pointer && is_zero(&value) {
            continue;
        }
        let name = types.text(field.name).to_string();
        let step = PathStep { name, node: field.node, pointer, items: false };
        let path = FieldPath { from_item: false, steps: vec![step] };
        rules.push(Rule { action: Action::Set(path, Source::Value(value)), conditions: Vec::new() });
    }
    Ok(rules)
}

/// Which structs have rules or lead to them, by going round until nothing is added.
fn visited(types: &Types, rules: &HashMap<StructId, Vec<Rule>>) -> Vec<bool> {
    let mut visited: Vec<bool> = types.structs().map(|id| rules.contains_key(&id)).collect();
    loop {
        let mut changed = false;
        for (index, id) in types.structs().enumerate() {
            let leads = |node: NodeId| innermost(types, node).is_some_and(|id| visited[id.index()]);
            if !visited[index] && types.fields(id).iter().any(|field| leads(field.node)) {
                visited[index] = true;
                changed = true;
            }
        }
        if !changed {
            return visited;
        }
    }
}

/// The struct at the bottom of lists and maps.
pub(super) fn innermost(types: &Types, node: NodeId) -> Option<StructId> {
    match types.shape(node) {
        Shape::Struct(id) => Some(id),
        Shape::List { item, .. } => innermost(types, item),
        Shape::Map { value, .. } => innermost(types, value),
        _ => None,
    }
}

pub(super) fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

struct Compiler<'a> {
    types: &'a Arc<Types>,
    hooks: &'a [(&'a str, Hook)],
    id: StructId,
    /// The node of the items that `@` means.
    item: Option<NodeId>,
}

type Compiled<T> = std::result::Result<T, String>;

impl Compiler<'_> {
    fn rule(&mut self, line: &str) -> Compiled<Rule> {
        let (line, conditions) = match line.split_once(" if ") {
            Some((line, conditions)) => (line.trim(), Some(conditions)),
            None => (line, None),
        };
        let action = self.action(line)?;
        let conditions = match conditions {
            Some(text) => {
                text.split(" and ").map(|one| self.condition(one.trim())).collect::<Compiled<_>>()?
            }
            None => Vec::new(),
        };
        Ok(Rule { action, conditions })
    }

    fn action(&mut self, line: &str) -> Compiled<Action> {
        if let Some(name) = line.strip_prefix("hook ") {
            let found = self.hooks.iter().find(|(hook, _)| *hook == name);
            return found.map(|(_, hook)| Action::Hook(*hook)).ok_or_else(|| format!("no hook {name}"));
        }
        if let Some(path) = line.strip_suffix(" delete") {
            return Ok(Action::Delete(self.target(path)?));
        }
        if let Some((path, source)) = line.split_once(" += $") {
            return Ok(Action::Merge(self.target(path)?, self.path(source)?));
        }
        let (path, source) = line.split_once(" = ").ok_or("no rule")?;
        let target = self.target(path)?;
        let source = match source.strip_prefix('$') {
            Some(source) => Source::Copy(self.path(source)?),
            None => {
                let mut value: Value = serde_json::from_str(source).map_err(|error| error.to_string())?;
                let node = target.steps.last().map(|step| step.node).ok_or("no path")?;
                let schema = Schema::new(self.types.clone(), node);
                check::check(&schema, &mut value).map_err(|error| error.to_string())?;
                Source::Value(value)
            }
        };
        Ok(Action::Set(target, source))
    }

    fn condition(&self, text: &str) -> Compiled<Condition> {
        if let Some(path) = text.strip_prefix("set ") {
            return Ok(Condition::Set(self.path(path)?));
        }
        if let Some(path) = text.strip_prefix("unset ") {
            return Ok(Condition::Unset(self.path(path)?));
        }
        if let Some(name) = text.strip_prefix("none +") {
            return self.embedded(name);
        }
        let read = |text: &str| serde_json::from_str::<Value>(text).map_err(|error| error.to_string());
        if let Some((path, value)) = text.split_once(" == ") {
            return Ok(Condition::Equal(self.path(path)?, vec![read(value)?]));
        }
        if let Some((path, value)) = text.split_once(" != ") {
            return Ok(Condition::Unequal(self.path(path)?, read(value)?));
        }
        match text.split_once(" in ").map(|(path, values)| (path, read(values))) {
            Some((path, Ok(Value::Array(values)))) => Ok(Condition::Equal(self.path(path)?, values)),
            _ => Err(format!("no condition `{text}`")),
        }
    }

    fn embedded(&self, name: &str) -> Compiled<Condition> {
        let inlined = self.types.inlined(self.id);
        let index = inlined
            .iter()
            .position(|one| self.types.text(one.name) == name)
            .ok_or_else(|| format!("nothing embedded as {name}"))?;
        let fields =
            self.types.fields(self.id).iter().filter(|field| usize::from(field.inlined) == index + 1);
        Ok(Condition::None(fields.map(|field| self.types.text(field.name).to_string()).collect()))
    }

    /// A path whose innermost `[*]` is what `@` means in the rest of the rule.
    fn target(&mut self, text: &str) -> Compiled<FieldPath> {
        let path = self.path(text)?;
        self.item = path.steps.iter().rev().find(|step| step.items).and_then(|step| {
            match self.types.shape(step.node) {
                Shape::List { item, .. } => Some(item),
                Shape::Map { value, .. } => Some(value),
                _ => None,
            }
        });
        Ok(path)
    }

    fn path(&self, text: &str) -> Compiled<FieldPath> {
        let (from_item, words) = match text.strip_prefix("@.") {
            Some(words) => (true, words),
            None => (false, text),
        };
        let mut at = match from_item {
            false => Some(self.id),
            true => self.item.and_then(|node| innermost(self.types, node)),
        };
        let mut steps = Vec::new();
        for word in words.split('.') {
            let (name, items) = match word.strip_suffix("[*]") {
                Some(name) => (name, true),
                None => (word, false),
            };
            let id = at.ok_or_else(|| format!("nothing below {name} in {text}"))?;
            let field = self.types.field(id, name).ok_or_else(|| format!("no field {name} in {text}"))?;
            at = match (self.types.shape(field.node), items) {
                (Shape::Struct(id), false) => Some(id),
                (Shape::List { item, .. }, true) => innermost(self.types, item),
                (Shape::Map { value, .. }, true) => innermost(self.types, value),
                (_, false) => None,
                (_, true) => return Err(format!("{name} has no items")),
            };
            let pointer = field.flags.has(FieldFlags::POINTER);
            steps.push(PathStep { name: name.to_string(), node: field.node, pointer, items });
        }
        Ok(FieldPath { from_item, steps })
    }
}
