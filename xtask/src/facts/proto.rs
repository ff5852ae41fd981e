//! Reads the messages of a `generated.proto`: the second source for field numbers, which must agree.

use std::collections::BTreeMap;

/// Message name to (field name to number).
pub type Messages = BTreeMap<String, BTreeMap<String, u32>>;

/// Reads the messages in `source`. Options, comments and imports are passed over.
pub fn read(source: &str) -> Messages {
    let mut messages = Messages::new();
    let mut current: Option<(String, BTreeMap<String, u32>)> = None;
    for line in source.lines() {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("message ") {
            let name = rest.split_whitespace().next().unwrap_or_default();
            current = Some((name.to_string(), BTreeMap::new()));
        } else if line == "}" {
            messages.extend(current.take());
        } else if let Some((_, fields)) = &mut current
            && let Some((left, right)) = line.split_once(" = ")
            && let Some(name) = left.split_whitespace().last()
            && let Ok(number) = right.split([';', ' ']).next().unwrap_or_default().parse()
            && ["optional ", "repeated ", "map<"].iter().any(|start| left.starts_with(start))
        {
            fields.insert(name.to_string(), number);
        }
    }
    messages
}
