//! Many objects out of one template: `{{.Index}}` in any text of it becomes the number of the object.

use serde_json::Value;

const INDEX: &str = "{{.Index}}";

/// A template, written once.
pub struct Template {
    /// Text between the places where a number goes.
    parts: Vec<String>,
}

impl Template {
    /// Of an object. One that has no name of its own for each is named by `prefix` and number.
    pub fn new(mut object: Value, prefix: &str) -> Self {
        let own = |object: &Value| {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            name.contains(INDEX) || (name.is_empty() && object["metadata"]["generateName"].is_string())
        };
        if !own(&object) {
            let base = object["metadata"]["name"].as_str().unwrap_or(prefix).trim_end_matches('-').to_owned();
            object["metadata"]["name"] = format!("{base}-{INDEX}").into();
        }
        Self { parts: object.to_string().split(INDEX).map(str::to_owned).collect() }
    }

    /// The object of a number, as JSON.
    pub fn write(&self, number: usize) -> Vec<u8> {
        self.parts.join(&number.to_string()).into_bytes()
    }
}
