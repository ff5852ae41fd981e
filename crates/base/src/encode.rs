//! Trees as compact JSON, as `serde_json` writes them, for the one place where every write passes.
//!
//! Invariant: the bytes are those of `serde_json::to_vec`.

use serde_json::{Map, Value};

/// Appends a tree.
pub fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::String(text) => string(out, text),
        Value::Number(number) => match number.as_u64() {
            Some(whole) => integer(out, whole),
            // Writing to memory does not fail, and every number has a text.
            None => drop(serde_json::to_writer(out, number)),
        },
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(out, item);
            }
            out.push(b']');
        }
        Value::Object(members) => {
            out.push(b'{');
            for (index, (name, value)) in members.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                string(out, name);
                out.push(b':');
                write(out, value);
            }
            out.push(b'}');
        }
    }
}

/// Appends an object, of whose metadata `managedFields` may be one text of JSON: see [`crate::Object::to_tree`].
pub fn object(out: &mut Vec<u8>, value: &Value) {
    let Value::Object(members) = value else { return write(out, value) };
    out.push(b'{');
    for (index, (name, value)) in members.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        string(out, name);
        out.push(b':');
        match value {
            Value::Object(metadata) if name == "metadata" => with_text(out, metadata),
            value => write(out, value),
        }
    }
    out.push(b'}');
}

fn with_text(out: &mut Vec<u8>, metadata: &Map<String, Value>) {
    out.push(b'{');
    for (index, (name, value)) in metadata.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        string(out, name);
        out.push(b':');
        match value {
            Value::String(text) if name == "managedFields" => out.extend_from_slice(text.as_bytes()),
            value => write(out, value),
        }
    }
    out.push(b'}');
}

/// Appends a number.
pub fn integer(out: &mut Vec<u8>, mut rest: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn string(out: &mut Vec<u8>, text: &str) {
    // Without a way out of the loop it is one pass of wide instructions.
    let escapes =
        text.bytes().fold(false, |any, byte| any | (byte < b' ') | (byte == b'"') | (byte == b'\\'));
    if escapes {
        // Writing to memory does not fail.
        return drop(serde_json::to_writer(out, text));
    }
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_bytes_are_those_of_serde() {
        let value = json!({
            "": null, "a\"b": [true, false, [], {}], "c": "line\nbreak \\ \u{1} ü \u{1f600} \u{7f}",
            "n": [0, 7, -7, u64::MAX, i64::MIN, 1.5, -0.0, 1e300, 1e-7], "o": { "x": { "y": "z" } },
        });
        let mut out = Vec::new();
        write(&mut out, &value);
        assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
    }
}
