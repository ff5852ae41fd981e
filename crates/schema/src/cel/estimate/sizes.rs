//! How large the values of a schema can be, by what it says and by what fits into a request.
//!
//! Invariant: the tree has the shape of the type that expressions see. Answers to the sizes of `DeclType` in the
//! apiserver's `cel/common/schemas.go` and to `sizeEstimator` of apiextensions-apiserver.

use std::collections::HashMap;

use serde_json::Value as Json;

use super::range::Range;
use crate::cel::escape;

/// Bytes of the largest request.
const REQUEST_BYTES: u64 = 3 << 20;
/// Bytes of the shortest and longest forms in JSON, with quotation marks.
const TEXT_LEAST: u64 = 2;
const DURATION: (u64, u64) = (3, 32);
const DATE: u64 = 12;
const TIME: (u64, u64) = (21, 32);
/// How deep schemas may nest.
const DEPTH: usize = 100;

/// Sizes of the values of a schema.
#[derive(Clone, Debug, Default)]
pub struct Sizes {
    most: u64,
    /// Bytes of the shortest form in JSON.
    least_bytes: u64,
    fields: HashMap<String, Sizes>,
    item: Option<Box<Sizes>>,
    is_map: bool,
}

impl Sizes {
    /// Of the values of an OpenAPI v3 schema; `root` for the root of a resource. None if expressions may not see
    /// them.
    pub fn of(schema: &Json, root: bool) -> Option<Sizes> {
        read(schema, root, DEPTH)
    }

    /// How many of these a request can hold at most.
    pub fn count(&self) -> u64 {
        REQUEST_BYTES / (self.least_bytes + 1)
    }

    /// The size of what is at a path, of which the first step is a variable.
    pub(super) fn at(&self, path: &[String]) -> Option<Range> {
        let mut here = self;
        for step in path.get(1..)? {
            here = match step.as_str() {
                "@items" | "@values" => here.item.as_deref()?,
                "@keys" if here.is_map => return Some(Range::ZERO),
                "@keys" => return None,
                name => here.fields.get(name)?,
            };
        }
        Some(Range::up_to(here.most))
    }

    fn scalar(most: u64, least_bytes: u64) -> Sizes {
        Sizes { most, least_bytes, ..Sizes::default() }
    }
}

fn read(schema: &Json, root: bool, depth: usize) -> Option<Sizes> {
    let depth = depth.checked_sub(1)?;
    let flag = |schema: &Json, name: &str| schema[name].as_bool().unwrap_or(false);
    let number = |name: &str| schema[name].as_i64().map(|number| u64::try_from(number).unwrap_or(0));
    let nested = |one: &Json| read(one, flag(one, "x-kubernetes-embedded-resource"), depth);
    let text = || number("maxLength").map_or(REQUEST_BYTES - 2, |length| length.saturating_mul(4));
    if flag(schema, "x-kubernetes-int-or-string") {
        return Some(Sizes::scalar(text(), 1));
    }
    Some(match schema["type"].as_str()? {
        "array" => {
            let item = nested(schema.get("items")?)?;
            let most = number("maxItems").unwrap_or((REQUEST_BYTES - 2) / (item.least_bytes + 1));
            Sizes { most, least_bytes: 2, item: Some(Box::new(item)), ..Sizes::default() }
        }
        "object" => match schema.get("additionalProperties").filter(|values| values.is_object()) {
            Some(values) => {
                let item = nested(values)?;
                let most = number("maxProperties").unwrap_or((REQUEST_BYTES - 2) / (item.least_bytes + 6));
                Sizes { most, least_bytes: 2, item: Some(Box::new(item)), is_map: true, ..Sizes::default() }
            }
            None => object(schema, root, &nested),
        },
        "string" => match schema["format"].as_str() {
            Some("byte") => Sizes::scalar(number("maxLength").unwrap_or(REQUEST_BYTES - 2), TEXT_LEAST),
            Some("duration") => Sizes::scalar(DURATION.1, DURATION.0),
            Some("date") => Sizes::scalar(DATE, DATE),
            Some("date-time") => Sizes::scalar(TIME.1, TIME.0),
            _ => {
                let words = schema["enum"].as_array().filter(|words| !words.is_empty());
                let longest = |words: &Vec<Json>| {
                    let lengths = words.iter().filter_map(Json::as_str).map(str::len);
                    lengths.max().unwrap_or(0) as u64
                };
                let most = match (number("maxLength"), words) {
                    (None, Some(words)) => longest(words),
                    _ => text(),
                };
                Sizes::scalar(most, TEXT_LEAST)
            }
        },
        "boolean" => Sizes::scalar(0, 4),
        "number" | "integer" => Sizes::scalar(0, 1),
        _ => return None,
    })
}

fn object(schema: &Json, root: bool, nested: &dyn Fn(&Json) -> Option<Sizes>) -> Sizes {
    let required =
        |name: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
    let mut sizes = Sizes { least_bytes: 2, ..Sizes::default() };
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let Some(below) = nested(property) else { continue };
        if required(name) && property["default"].is_null() {
            sizes.least_bytes += name.len() as u64 + below.least_bytes + 4;
        }
        if let Some(escaped) = escape(name) {
            sizes.fields.insert(escaped, below);
        }
    }
    if root {
        complete(&mut sizes, schema);
    }
    sizes
}

/// Adds what every resource has.
fn complete(sizes: &mut Sizes, schema: &Json) {
    let properties = &schema["properties"];
    let is = |value: &Json, kind: &str| value["type"] == kind;
    let metadata = &properties["metadata"];
    let whole = is(&properties["kind"], "string")
        && is(&properties["apiVersion"], "string")
        && is(metadata, "object")
        && ["name", "generateName"].iter().all(|name| is(&metadata["properties"][*name], "string"));
    if whole {
        return;
    }
    let text = || Sizes::scalar(REQUEST_BYTES - 2, TEXT_LEAST);
    for name in ["kind", "apiVersion"] {
        sizes.fields.insert(name.to_owned(), text());
    }
    let names = ["name", "generateName"].map(|name| (name.to_owned(), text()));
    let metadata = Sizes { least_bytes: 2, fields: names.into(), ..Sizes::default() };
    sizes.fields.insert("metadata".to_owned(), metadata);
}
