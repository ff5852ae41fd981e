//! JSON patch as evanphx/json-patch v4 applies it: `replace` makes a missing member, indices may be negative.

use serde_json::{Map, Value};

use super::{MAXIMUM_JSON_PATCH_COPY_BYTES, MAXIMUM_JSON_PATCH_OPERATIONS};
use crate::parse::MAXIMUM_DEPTH;
use crate::{Error, Result, go};

/// How often the depth of the whole tree is measured in one patch; only patches made to be deep need more.
const MAXIMUM_MEASUREMENTS: usize = 64;

const MISSING: &str = "missing value";

type Applied<T> = std::result::Result<T, String>;

pub(super) fn apply(current: Value, patch: &Value) -> Result<Value> {
    let operations = operations(patch)?;
    let depth = depth(&current);
    let mut document = Document { root: current, copied: 0, depth, measurements: 0 };
    for operation in operations {
        document.step(operation).map_err(Error::Unprocessable)?;
    }
    Ok(document.root)
}

fn operations(patch: &Value) -> Result<Vec<&Map<String, Value>>> {
    let refused = |word: &str, what: &str| {
        Error::Patch(format!(
            "error decoding patch: json: cannot unmarshal {word} into Go value of type {what}"
        ))
    };
    let items = match patch {
        Value::Array(items) => items,
        other => return Err(refused(go::json_word(other), "[]handlers.jsonPatchOp")),
    };
    if items.len() > MAXIMUM_JSON_PATCH_OPERATIONS {
        return Err(Error::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {MAXIMUM_JSON_PATCH_OPERATIONS}, got {}",
            items.len()
        )));
    }
    items
        .iter()
        .map(|item| match item {
            Value::Object(operation) => Ok(operation),
            other => Err(refused(go::json_word(other), "handlers.jsonPatchOp")),
        })
        .collect()
}

pub(super) fn findings(patch: &Value) -> Vec<String> {
    let items = patch.as_array().map_or(&[][..], Vec::as_slice);
    let unknown = items.iter().enumerate().flat_map(|(index, item)| {
        let names = item.as_object().into_iter().flat_map(Map::keys);
        names
            .filter(|name| !["op", "from", "path", "value"].contains(&name.as_str()))
            .map(move |name| format!("json patch unknown field {}", go::quote(&format!("[{index}].{name}"))))
    });
    unknown.take(crate::parse::MAXIMUM_FINDINGS).collect()
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

struct Document {
    root: Value,
    copied: usize,
    /// Not less than the root's depth.
    depth: usize,
    measurements: usize,
}

/// `~1` is `/`, `~0` is `~`.
fn decode(part: &str) -> String {
    if part.contains('~') { part.replace("~1", "/").replace("~0", "~") } else { part.to_string() }
}

/// Words of a path: those of the container, and the last.
fn split(path: &str) -> Option<(Vec<String>, String)> {
    let mut parts: Vec<String> = path.split('/').skip(1).map(decode).collect();
    let last = parts.pop()?;
    Some((parts, last))
}

fn index(key: &str, length: usize) -> Applied<usize> {
    let number: i64 =
        key.parse().map_err(|_| format!("strconv.Atoi: parsing {}: invalid syntax", go::quote(key)))?;
    let length = length as i64;
    let at = if number < 0 { number + length } else { number };
    if (0..length).contains(&at) {
        return Ok(at as usize);
    }
    Err(format!("Unable to access invalid index: {number}: invalid index referenced"))
}

fn container<'a>(root: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let (parents, last) = split(path)?;
    let mut at = root;
    for part in parents {
        at = match at {
            Value::Object(map) => map.get_mut(&part)?,
            Value::Array(items) => {
                let at = index(&part, items.len()).ok()?;
                &mut items[at]
            }
            _ => return None,
        };
    }
    matches!(at, Value::Object(_) | Value::Array(_)).then_some((at, last))
}

/// A missing member of an object is null.
fn get(container: &Value, key: &str) -> Applied<Value> {
    match container {
        Value::Object(map) => Ok(map.get(key).cloned().unwrap_or(Value::Null)),
        Value::Array(items) => Ok(items[index(key, items.len())?].clone()),
        _ => Ok(Value::Null),
    }
}

fn add(container: &mut Value, key: String, value: Value) -> Applied<()> {
    match container {
        Value::Object(map) => {
            map.insert(key, value);
        }
        Value::Array(items) if key == "-" => items.push(value),
        Value::Array(items) => {
            if key.parse::<i64>().is_err() {
                return Err(format!(
                    "value was not a proper array index: '{key}': strconv.Atoi: parsing {}: invalid syntax",
                    go::quote(&key)
                ));
            }
            let at = index(&key, items.len() + 1)?;
            items.insert(at, value);
        }
        _ => {}
    }
    Ok(())
}

fn remove(container: &mut Value, key: &str) -> Applied<Value> {
    match container {
        Value::Object(map) => {
            map.remove(key).ok_or_else(|| format!("Unable to remove nonexistent key: {key}: {MISSING}"))
        }
        Value::Array(items) => {
            let at = index(key, items.len())?;
            Ok(items.remove(at))
        }
        _ => Ok(Value::Null),
    }
}

fn text<'a>(operation: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    operation.get(name).and_then(Value::as_str)
}

impl Document {
    fn step(&mut self, operation: &Map<String, Value>) -> Applied<()> {
        let kind = text(operation, "op").unwrap_or("unknown");
        if !["add", "remove", "replace", "move", "test", "copy"].contains(&kind) {
            return Err(format!("Unexpected kind: {kind}"));
        }
        let decode = |name: &str| {
            let missing = || match name {
                "path" if ["add", "remove", "copy"].contains(&kind) => MISSING.to_string(),
                "from" => format!("operation, missing from field: {MISSING}"),
                _ => format!("operation missing {name} field: {MISSING}"),
            };
            text(operation, name)
                .ok_or_else(|| format!("{kind} operation failed to decode {name}: {}", missing()))
        };
        let value = || operation.get("value").cloned().unwrap_or(Value::Null);
        match kind {
            "add" => self.add(decode("path")?, value()),
            "remove" => self.remove(decode("path")?),
            "replace" => self.replace(decode("path")?, value()),
            "test" => self.test(decode("path")?, operation.get("value").unwrap_or(&Value::Null)),
            "move" => self.transfer("move", decode("from")?, decode("path")?),
            _ => self.transfer("copy", decode("from")?, decode("path")?),
        }
    }

    /// Keeps the bound of the depth when a value of `depth` is put at `path`.
    fn deepen(&mut self, path: &str, depth: usize) -> Applied<()> {
        self.depth = self.depth.max(path.split('/').count() + depth);
        if self.depth <= MAXIMUM_DEPTH {
            return Ok(());
        }
        self.measurements += 1;
        // What is put comes later, so the tree is at most this much deeper.
        self.depth = self::depth(&self.root).max(path.split('/').count() + depth);
        if self.depth > MAXIMUM_DEPTH || self.measurements > MAXIMUM_MEASUREMENTS {
            return Err("exceeded max depth".to_string());
        }
        Ok(())
    }

    fn add(&mut self, path: &str, value: Value) -> Applied<()> {
        self.deepen(path, depth(&value))?;
        let Some((container, key)) = container(&mut self.root, path) else {
            return Err(format!("add operation does not apply: doc is missing path: \"{path}\": {MISSING}"));
        };
        add(container, key, value).map_err(|error| format!("error in add for path: '{path}': {error}"))
    }

    fn remove(&mut self, path: &str) -> Applied<()> {
        let Some((container, key)) = container(&mut self.root, path) else {
            return Err(format!(
                "remove operation does not apply: doc is missing path: \"{path}\": {MISSING}"
            ));
        };
        let removed = remove(container, &key);
        removed.map(drop).map_err(|error| format!("error in remove for path: '{path}': {error}"))
    }

    fn replace(&mut self, path: &str, value: Value) -> Applied<()> {
        self.deepen(path, depth(&value))?;
        if path.is_empty() {
            if !value.is_object() && !value.is_array() {
                return Err("replace operation value must be object or array".to_string());
            }
            self.root = value;
            return Ok(());
        }
        let Some((container, key)) = container(&mut self.root, path) else {
            return Err(format!("replace operation does not apply: doc is missing path: {path}: {MISSING}"));
        };
        match container {
            Value::Array(items) => {
                let at = index(&key, items.len()).map_err(|_| {
                    format!("replace operation does not apply: doc is missing key: {path}: {MISSING}")
                })?;
                items[at] = value;
                Ok(())
            }
            container => add(container, key, value),
        }
    }

    fn test(&mut self, path: &str, value: &Value) -> Applied<()> {
        let failed = || Err(format!("testing value {path} failed: test failed"));
        if path.is_empty() {
            return if self.root == *value { Ok(()) } else { failed() };
        }
        let Some((container, key)) = container(&mut self.root, path) else {
            return Err(format!("test operation does not apply: is missing path: {path}: {MISSING}"));
        };
        let found =
            get(container, &key).map_err(|error| format!("error in test for path: '{path}': {error}"))?;
        if found == *value { Ok(()) } else { failed() }
    }

    fn transfer(&mut self, kind: &str, from: &str, path: &str) -> Applied<()> {
        let Some((source, key)) = container(&mut self.root, from) else {
            return Err(format!(
                "{kind} operation does not apply: doc is missing from path: {from}: {MISSING}"
            ));
        };
        let value = match kind {
            "move" => {
                get(source, &key).map_err(|error| format!("error in move for path: '{key}': {error}"))?;
                remove(source, &key).map_err(|error| format!("error in move for path: '{key}': {error}"))?
            }
            _ => {
                let found = get(source, &key);
                let found = found.map_err(|error| format!("error in copy for from: '{from}': {error}"))?;
                self.copied += found.to_string().len();
                if self.copied > MAXIMUM_JSON_PATCH_COPY_BYTES {
                    return Err(format!(
                        "Unable to complete the copy, the accumulated size increase of copy is {}, \
                         exceeding the limit {MAXIMUM_JSON_PATCH_COPY_BYTES}",
                        self.copied
                    ));
                }
                found
            }
        };
        self.deepen(path, self.depth)?;
        let Some((target, key)) = container(&mut self.root, path) else {
            return Err(format!(
                "{kind} operation does not apply: doc is missing destination path: {path}: {MISSING}"
            ));
        };
        add(target, key, value).map_err(|error| match kind {
            "move" => format!("error in move for path: '{path}': {error}"),
            _ => format!("error while adding value during copy: {error}"),
        })
    }
}
