//! Applies compiled rules: the walk over types, and each rule on one object.

use serde_json::{Map, Value};

use super::table::is_zero;
use super::{Action, Condition, Defaults, FieldPath, PathStep, Rule, Source};
use crate::shape::{NodeId, Shape, StructId};
use crate::{Schema, check};

impl Defaults {
    pub(super) fn node(&self, node: NodeId, value: &mut Value) {
        match (self.types.shape(node), value) {
            (Shape::Struct(id), Value::Object(map)) if self.visited[id.index()] => self.object(id, map),
            (Shape::List { item, .. }, Value::Array(items)) if self.leads(item) => {
                items.iter_mut().for_each(|value| self.node(item, value));
            }
            (Shape::Map { value: inner, .. }, Value::Object(map)) if self.leads(inner) => {
                map.values_mut().for_each(|value| self.node(inner, value));
            }
            _ => {}
        }
    }

    fn leads(&self, node: NodeId) -> bool {
        super::table::innermost(&self.types, node).is_some_and(|id| self.visited[id.index()])
    }

    fn object(&self, id: StructId, map: &mut Map<String, Value>) {
        for rule in self.rules.get(&id).into_iter().flatten() {
            rule.apply(self, map);
        }
        for (name, value) in map {
            if (value.is_object() || value.is_array())
                && let Some(field) = self.types.field(id, name)
            {
                self.node(field.node, value);
            }
        }
    }
}

impl Rule {
    fn apply(&self, defaults: &Defaults, map: &mut Map<String, Value>) {
        match &self.action {
            Action::Hook(hook) => {
                if self.hold(map, None) {
                    hook(map);
                }
            }
            Action::Set(path, source) => self.set(defaults, map, path, source),
            Action::Merge(path, source) => {
                if !self.hold(map, None) {
                    return;
                }
                let Some(Value::Object(entries)) = get(map, None, source).cloned() else { return };
                if let Some(Value::Object(target)) =
                    make(defaults, map, &path.steps, || Value::Object(Map::new()))
                {
                    for (key, value) in entries {
                        target.entry(key).or_insert(value);
                    }
                }
            }
            Action::Delete(path) => {
                let Some((last, parents)) = path.steps.split_last() else { return };
                if self.hold(map, None)
                    && let Some(parent) = parent(map, parents)
                {
                    parent.remove(&last.name);
                }
            }
        }
    }

    /// Sets a field of the type, or of each item if the path goes through a list.
    fn set(&self, defaults: &Defaults, map: &mut Map<String, Value>, path: &FieldPath, source: &Source) {
        let Some(at) = path.steps.iter().rposition(|step| step.items) else {
            if is_unset(get_steps(map, &path.steps), path.steps.last()) && self.hold(map, None) {
                let Some(value) = source.value(map, None) else { return };
                put(defaults, map, &path.steps, value);
            }
            return;
        };
        let (outer, inner) = path.steps.split_at(at + 1);
        // Conditions and sources may look at the whole type while an item changes, so what they say about each
        // item is found first.
        let mut decided = Vec::new();
        each_item(map, outer, &mut |item| {
            let unset = is_unset(get_steps(item, inner), inner.last());
            let value = (unset && self.hold(map, Some(item))).then(|| source.value(map, Some(item)));
            decided.push(value.flatten());
        });
        if decided.iter().all(Option::is_none) {
            return;
        }
        let mut decided = decided.into_iter();
        each_item_mut(map, outer, &mut |item| {
            if let Some(value) = decided.next().flatten() {
                put(defaults, item, inner, value);
            }
        });
    }

    fn hold(&self, map: &Map<String, Value>, item: Option<&Map<String, Value>>) -> bool {
        self.conditions.iter().all(|condition| match condition {
            Condition::Equal(path, values) => {
                let found = get(map, item, path);
                values.iter().any(|value| equal(found, value))
            }
            Condition::Unequal(path, value) => !equal(get(map, item, path), value),
            Condition::Set(path) => !is_unset(get(map, item, path), path.steps.last()),
            Condition::Unset(path) => is_unset(get(map, item, path), path.steps.last()),
            Condition::None(names) => names.iter().all(|name| map.get(name).is_none_or(Value::is_null)),
        })
    }
}

impl Source {
    fn value(&self, map: &Map<String, Value>, item: Option<&Map<String, Value>>) -> Option<Value> {
        match self {
            Source::Value(value) => Some(value.clone()),
            Source::Copy(path) => get(map, item, path).filter(|value| !value.is_null()).cloned(),
        }
    }
}

/// An absent value compares as zero.
fn equal(found: Option<&Value>, value: &Value) -> bool {
    match found {
        None | Some(Value::Null) => is_zero(value),
        Some(found) => found == value,
    }
}

fn is_unset(value: Option<&Value>, step: Option<&PathStep>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        // A struct that is not behind a pointer is always set.
        Some(Value::Object(_)) if step.is_some_and(|step| !step.pointer) => {
            value.and_then(Value::as_object).is_some_and(Map::is_empty)
        }
        Some(value) => !step.is_some_and(|step| step.pointer) && is_zero(value),
    }
}

fn get<'a>(
    map: &'a Map<String, Value>,
    item: Option<&'a Map<String, Value>>,
    path: &FieldPath,
) -> Option<&'a Value> {
    get_steps(if path.from_item { item? } else { map }, &path.steps)
}

fn get_steps<'a>(map: &'a Map<String, Value>, steps: &[PathStep]) -> Option<&'a Value> {
    let (first, rest) = steps.split_first()?;
    let mut value = map.get(&first.name)?;
    for step in rest {
        value = value.as_object()?.get(&step.name)?;
    }
    Some(value)
}

fn parent<'a>(map: &'a mut Map<String, Value>, steps: &[PathStep]) -> Option<&'a mut Map<String, Value>> {
    let mut map = map;
    for step in steps {
        map = map.get_mut(&step.name)?.as_object_mut()?;
    }
    Some(map)
}

/// The value at a path, made by `value` if it is absent, with the objects on the way.
fn make<'a>(
    defaults: &Defaults,
    map: &'a mut Map<String, Value>,
    steps: &[PathStep],
    value: impl FnOnce() -> Value,
) -> Option<&'a mut Value> {
    let (last, parents) = steps.split_last()?;
    let mut map = map;
    for step in parents {
        let entry = map.entry(step.name.as_str()).or_insert(Value::Null);
        if entry.is_null() {
            *entry = complete(defaults, step.node, Value::Object(Map::new()));
        }
        map = entry.as_object_mut()?;
    }
    let entry = map.entry(last.name.as_str()).or_insert(Value::Null);
    if entry.is_null() {
        *entry = value();
    }
    Some(entry)
}

fn put(defaults: &Defaults, map: &mut Map<String, Value>, steps: &[PathStep], value: Value) {
    if let Some(entry) = make(defaults, map, steps, || Value::Null) {
        *entry = value;
    }
}

/// A new object with the fields that are always written.
fn complete(defaults: &Defaults, node: NodeId, mut value: Value) -> Value {
    let schema = Schema::new(defaults.types.clone(), node);
    // An empty object fits every struct; were it not so it would stay as it is.
    let _ = check::check(&schema, &mut value);
    value
}

fn each_item<'a>(
    map: &'a Map<String, Value>,
    steps: &[PathStep],
    then: &mut dyn FnMut(&'a Map<String, Value>),
) {
    let Some((first, rest)) = steps.split_first() else { return };
    let Some(value) = map.get(&first.name) else { return };
    let items: &mut dyn Iterator<Item = &'a Value> = match value {
        Value::Array(items) => &mut items.iter(),
        Value::Object(map) if first.items => &mut map.values(),
        Value::Object(map) => return each_item(map, rest, then),
        _ => return,
    };
    for item in items.filter_map(Value::as_object) {
        match rest.is_empty() {
            true => then(item),
            false => each_item(item, rest, then),
        }
    }
}

fn each_item_mut(
    map: &mut Map<String, Value>,
    steps: &[PathStep],
    then: &mut dyn FnMut(&mut Map<String, Value>),
) {
    let Some((first, rest)) = steps.split_first() else { return };
    let Some(value) = map.get_mut(&first.name) else { return };
    let items: &mut dyn Iterator<Item = &mut Value> = match value {
        Value::Array(items) => &mut items.iter_mut(),
        Value::Object(map) if first.items => &mut map.values_mut(),
        Value::Object(map) => return each_item_mut(map, rest, then),
        _ => return,
    };
    for item in items.filter_map(Value::as_object_mut) {
        match rest.is_empty() {
            true => then(item),
            false => each_item_mut(item, rest, then),
        }
    }
}
