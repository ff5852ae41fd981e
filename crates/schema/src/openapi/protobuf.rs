//! The protobuf form of an OpenAPI v2 document: `gnostic.openapi.v2.Document`, from its definitions and paths as JSON.
//!
//! Values of vendor extensions, defaults and enumerations are YAML in that form; JSON is YAML.

use serde_json::{Map, Value};

type Object = Map<String, Value>;

/// Appends fields of one message.
struct Message<'a>(&'a mut Vec<u8>);

impl Message<'_> {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, field: u32, text: &str) {
        if !text.is_empty() {
            self.bytes(field, text.as_bytes());
        }
    }

    fn message(&mut self, field: u32, fill: impl FnOnce(&mut Message)) {
        let mut inner = Vec::new();
        fill(&mut Message(&mut inner));
        self.bytes(field, &inner);
    }

    fn number(&mut self, field: u32, value: i64) {
        self.varint(u64::from(field) << 3);
        self.varint(value as u64);
    }

    fn double(&mut self, field: u32, value: f64) {
        self.varint(u64::from(field) << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn named(&mut self, field: u32, name: &str, fill: impl FnOnce(&mut Message)) {
        self.message(field, |named| {
            named.text(1, name);
            named.message(2, fill);
        });
    }

    fn any(&mut self, field: u32, value: &Value) {
        self.message(field, |any| any.text(2, &format!("{value}\n")));
    }

    /// Texts and Booleans by name, where they are given.
    fn plain(&mut self, object: &Object, fields: &[(&str, u32)]) {
        for (name, field) in fields {
            match object.get(*name) {
                Some(Value::String(text)) => self.text(*field, text),
                Some(Value::Bool(true)) => self.number(*field, 1),
                Some(Value::Array(items)) => {
                    for text in items.iter().filter_map(Value::as_str) {
                        self.bytes(*field, text.as_bytes());
                    }
                }
                _ => {}
            }
        }
    }

    fn extensions(&mut self, field: u32, object: &Object) {
        for (name, value) in object.iter().filter(|(name, _)| name.starts_with("x-")) {
            self.named(field, name, |any| any.text(2, &format!("{value}\n")));
        }
    }
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

pub(super) fn document<'a>(
    definitions: impl Iterator<Item = (&'a str, Value)>,
    paths: impl Iterator<Item = (String, Value)>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 << 20);
    let mut document = Message(&mut out);
    document.text(1, "2.0");
    document.message(2, |info| {
        info.text(1, "Kubernetes");
        info.text(2, "unversioned");
    });
    document.message(8, |all| {
        for (path, item) in paths {
            all.named(2, &path, |message| path_item(message, &item));
        }
    });
    document.message(9, |all| {
        for (name, value) in definitions {
            all.named(1, name, |message| schema(message, &value));
        }
    });
    out
}

fn path_item(out: &mut Message, item: &Value) {
    for (method, field) in [("get", 2), ("put", 3), ("post", 4), ("delete", 5), ("patch", 8)] {
        if let Some(Value::Object(object)) = item.get(method) {
            out.message(field, |message| operation(message, object));
        }
    }
    parameters(out, 9, item.get("parameters"));
}

fn operation(out: &mut Message, object: &Object) {
    out.plain(
        object,
        &[("tags", 1), ("description", 3), ("operationId", 5), ("produces", 6), ("consumes", 7)],
    );
    parameters(out, 8, object.get("parameters"));
    out.message(9, |all| {
        for (code, response) in object.get("responses").into_iter().flat_map(fields) {
            all.named(1, code, |value| {
                value.message(1, |message| {
                    message.text(1, response["description"].as_str().unwrap_or_default());
                    if let Some(of) = response.get("schema") {
                        message.message(2, |item| item.message(1, |message| schema(message, of)));
                    }
                });
            });
        }
    });
    out.plain(object, &[("schemes", 10)]);
    out.extensions(13, object);
}

fn parameters(out: &mut Message, field: u32, parameters: Option<&Value>) {
    for parameter in parameters.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object) {
        out.message(field, |item| {
            item.message(1, |message| {
                let place = parameter.get("in").and_then(Value::as_str);
                match place {
                    Some("body") => message.message(1, |body| {
                        body.plain(parameter, &[("description", 1), ("name", 2), ("in", 3), ("required", 4)]);
                        if let Some(of) = parameter.get("schema") {
                            body.message(5, |message| schema(message, of));
                        }
                    }),
                    Some("path") => message.message(2, |other| {
                        let plain =
                            [("required", 1), ("in", 2), ("name", 4), ("type", 5), ("uniqueItems", 19)];
                        other.message(4, |message| message.plain(parameter, &plain));
                    }),
                    _ => message.message(2, |other| {
                        let plain =
                            [("required", 1), ("in", 2), ("name", 4), ("type", 6), ("uniqueItems", 20)];
                        other.message(3, |message| message.plain(parameter, &plain));
                    }),
                }
            });
        });
    }
}

fn schema(out: &mut Message, value: &Value) {
    let Some(object) = value.as_object() else { return };
    let plain = [("$ref", 1), ("format", 2), ("title", 3), ("description", 4), ("exclusiveMaximum", 8)];
    out.plain(object, &plain);
    out.plain(object, &[("exclusiveMinimum", 10), ("pattern", 13), ("uniqueItems", 16), ("required", 19)]);
    for (name, field) in [("multipleOf", 6), ("maximum", 7), ("minimum", 9)] {
        if let Some(number) = object.get(name).and_then(Value::as_f64) {
            out.double(field, number);
        }
    }
    let counts = [("maxLength", 11), ("minLength", 12), ("maxItems", 14), ("minItems", 15)];
    for (name, field) in counts.into_iter().chain([("maxProperties", 17), ("minProperties", 18)]) {
        if let Some(number) = object.get(name).and_then(Value::as_i64) {
            out.number(field, number);
        }
    }
    for (name, field) in [("default", 5), ("example", 30)] {
        if let Some(value) = object.get(name) {
            out.any(field, value);
        }
    }
    for value in object.get("enum").and_then(Value::as_array).into_iter().flatten() {
        out.any(20, value);
    }
    match object.get("additionalProperties") {
        Some(Value::Bool(allowed)) => out.message(21, |item| item.number(2, i64::from(*allowed))),
        Some(of) => out.message(21, |item| item.message(1, |message| schema(message, of))),
        None => {}
    }
    match object.get("type") {
        Some(Value::String(kind)) => out.message(22, |item| item.text(1, kind)),
        Some(Value::Array(kinds)) => out.message(22, |item| {
            kinds.iter().filter_map(Value::as_str).for_each(|kind| item.text(1, kind));
        }),
        _ => {}
    }
    if let Some(of) = object.get("items") {
        out.message(23, |item| item.message(1, |message| schema(message, of)));
    }
    for of in object.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        out.message(24, |message| schema(message, of));
    }
    if let Some(properties) = object.get("properties") {
        out.message(25, |all| {
            for (name, of) in fields(properties) {
                all.named(1, name, |message| schema(message, of));
            }
        });
    }
    out.extensions(31, object);
}
