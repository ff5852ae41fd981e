//! Paths to fields in a schema, such as `.spec.replicas` or `.labels['a.b']`.
//!
//! Answers to `ValidFieldPath` of apiextensions' `schema/cel`.

use serde_json::Value;

const NOWHERE: &str = "does not refer to a valid field";
const ENDED: &str = "unexpected end of JSON path";

/// The names on the way of a path and the schema that it ends at; `brackets`: whether `['name']` may be written.
///
/// # Errors
/// Why there is no such field.
pub(super) fn resolve<'a>(
    path: &str,
    schema: &'a Value,
    brackets: bool,
) -> Result<(Vec<String>, &'a Value), String> {
    let (mut steps, mut at, mut rest) = (Vec::new(), schema, path);
    while let Some(token) = next(&mut rest) {
        let name = match token {
            "." => next(&mut rest).ok_or(ENDED)?.to_owned(),
            "[" if !brackets => return Err("array notation is not allowed".into()),
            "[" => {
                let quoted = next(&mut rest).ok_or(ENDED)?;
                let inner = quoted.strip_prefix('\'').and_then(|inner| inner.strip_suffix('\''));
                let Some(inner) = inner.filter(|_| quoted.len() > 1) else {
                    return Err(format!("expected single quoted string but got {quoted}"));
                };
                unescape(inner)?
            }
            other => return Err(format!("expected [ or . but got: {other}")),
        };
        at = match (&at["properties"], &at["additionalProperties"]) {
            (Value::Object(properties), _) => properties.get(&name).ok_or(NOWHERE)?,
            (_, inner @ Value::Object(_)) => inner,
            _ => return Err(NOWHERE.into()),
        };
        steps.push(name);
        if token == "[" {
            match next(&mut rest).ok_or(ENDED)? {
                "]" => {}
                other => return Err(format!("expected ] but got {other}")),
            }
        }
    }
    Ok((steps, at))
}

/// Takes a delimiter, a quoted text, or what comes before the next delimiter.
fn next<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let text = *rest;
    let end = match text.chars().next()? {
        '.' | '[' | ']' => 1,
        '\'' => {
            let bytes = text.as_bytes();
            (1..bytes.len())
                .find(|at| bytes[*at] == b'\'' && bytes[at - 1] != b'\\')
                .map_or(text.len(), |at| at + 1)
        }
        _ => text.find(['.', '[', ']']).unwrap_or(text.len()),
    };
    let (token, after) = text.split_at(end);
    *rest = after;
    Some(token)
}

fn unescape(text: &str) -> Result<String, String> {
    let (mut whole, mut letters) = (String::with_capacity(text.len()), text.chars());
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            whole.push(letter);
            continue;
        }
        whole.push(match letters.next() {
            Some('a') => '\x07',
            Some('b') => '\x08',
            Some('f') => '\x0c',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('v') => '\x0b',
            Some(same @ ('\'' | '\\')) => same,
            other => {
                let shown = other.map(String::from).unwrap_or_default();
                return Err(format!("invalid string literal: invalid escape char \\{shown}"));
            }
        });
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::resolve;
    use serde_json::json;

    #[test]
    fn a_path_leads_to_a_field_or_says_why_not() {
        let schema = json!({"properties": {"a": {"properties": {"b.c": {"type": "string"}}},
            "m": {"additionalProperties": {"type": "integer"}}}});
        let check = |path: &str, brackets: bool, expect: Result<&str, &str>| {
            let found = resolve(path, &schema, brackets).map(|(_, at)| at["type"].as_str().unwrap_or("-"));
            assert_eq!(found, expect.map_err(str::to_owned), "{path}");
        };
        check(".a['b.c']", true, Ok("string"));
        check(".m.any", true, Ok("integer"));
        check(".m['x\\'y']", true, Ok("integer"));
        check(".a", false, Ok("-"));
        check(".a['b.c']", false, Err("array notation is not allowed"));
        check("a", true, Err("expected [ or . but got: a"));
        check(".b", true, Err("does not refer to a valid field"));
        check(".", true, Err("unexpected end of JSON path"));
        check(".a[b]", true, Err("expected single quoted string but got b"));
        check(".a['b.c'", true, Err("unexpected end of JSON path"));
        check(".a['b.c'x", true, Err("expected ] but got x"));
        check(".m['\\q']", true, Err("invalid string literal: invalid escape char \\q"));
    }
}
