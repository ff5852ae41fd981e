//! JSONPath as printer columns and field selectors use it.
//!
//! Steps are fields (`.a`, `['a']`, with `\.` for a dot in a name), `[0]`, `[-1]`, `[1:3]`, `[*]`, `.*`, `..a` and filters
//! that compare with a literal or ask for existence. Invariant: evaluation visits each value once per step; a path that
//! cannot be read selects nothing. Answers to client-go's `util/jsonpath`, of whose dialect no library is.

use serde_json::Value;

/// The most values that one step of a path goes on with.
const SELECTED_MAXIMUM: usize = 10_000;

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Any,
    Index(i64),
    Slice(Option<i64>, Option<i64>),
    Deep(String),
    Filter(JsonPath, Option<(Operator, Value)>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

const OPERATORS: &[(&str, Operator)] = &[
    ("==", Operator::Equal),
    ("!=", Operator::Unequal),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

impl JsonPath {
    /// Reads a path such as `.spec.replicas`; None if it is malformed.
    pub fn parse(text: &str) -> Option<Self> {
        let mut steps = Vec::new();
        let mut rest = text.strip_prefix('$').unwrap_or(text);
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("..") {
                let (name, after) = word(after);
                steps.push(Step::Deep(name));
                rest = after;
            } else if let Some(after) = rest.strip_prefix('.') {
                let (name, after) = word(after);
                match &*name {
                    "" if after.starts_with('[') || after.is_empty() => {}
                    "" => return None,
                    "*" => steps.push(Step::Any),
                    _ => steps.push(Step::Field(name)),
                }
                rest = after;
            } else {
                let inside = rest.strip_prefix('[')?;
                let end = closing(inside)?;
                steps.push(bracket(inside[..end].trim())?);
                rest = &inside[end + 1..];
            }
        }
        Some(Self(steps))
    }

    /// The values that it selects.
    pub fn select<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![value];
        for step in &self.0 {
            let mut next = Vec::new();
            found.into_iter().for_each(|value| step.take(value, &mut next));
            next.truncate(SELECTED_MAXIMUM);
            found = next;
        }
        found
    }
}

/// A name up to the next step, its escapes resolved, and the rest.
fn word(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => name.extend(letters.next().map(|(_, escaped)| escaped)),
            '.' | '[' => return (name, &text[at..]),
            other => name.push(other),
        }
    }
    (name, "")
}

/// Where the bracket closes that was opened before the text.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote, mut escaped) = (0, None, false);
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            _ if escaped => escaped = false,
            (_, '\\') => escaped = true,
            (Some(open), letter) if letter == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(letter),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn quoted(text: &str) -> Option<String> {
    let inner = text
        .strip_prefix('\'')
        .and_then(|text| text.strip_suffix('\''))
        .or_else(|| text.strip_prefix('"').and_then(|text| text.strip_suffix('"')))?;
    let mut out = String::new();
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => out.extend(letters.next()),
            other => out.push(other),
        }
    }
    Some(out)
}

fn bracket(inside: &str) -> Option<Step> {
    if inside == "*" {
        return Some(Step::Any);
    }
    if let Some(name) = quoted(inside) {
        return Some(Step::Field(name));
    }
    if let Some(filter) = inside.strip_prefix("?(").and_then(|text| text.strip_suffix(')')) {
        return filtered(filter.trim());
    }
    if let Some((from, to)) = inside.split_once(':') {
        let bound = |text: &str| if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) };
        return Some(Step::Slice(bound(from.trim())?, bound(to.trim())?));
    }
    inside.parse().ok().map(Step::Index)
}

fn filtered(text: &str) -> Option<Step> {
    let mut quote = None;
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (None, '\'' | '"') => quote = Some(letter),
            (None, '=' | '!' | '<' | '>') => {
                let (sign, operator) = OPERATORS.iter().find(|(sign, _)| text[at..].starts_with(sign))?;
                let left = JsonPath::parse(text[..at].trim().strip_prefix('@')?)?;
                let literal = text[at + sign.len()..].trim();
                let value = match quoted(literal) {
                    Some(text) => Value::String(text),
                    None => serde_json::from_str(literal).ok()?,
                };
                return Some(Step::Filter(left, Some((*operator, value))));
            }
            _ => {}
        }
    }
    Some(Step::Filter(JsonPath::parse(text.strip_prefix('@')?)?, None))
}

impl Step {
    fn take<'a>(&self, value: &'a Value, out: &mut Vec<&'a Value>) {
        match (self, value) {
            (Self::Field(name), Value::Object(map)) => out.extend(map.get(name)),
            (Self::Any, Value::Object(map)) => out.extend(map.values()),
            (Self::Any, Value::Array(list)) => out.extend(list),
            (Self::Index(index), Value::Array(list)) => out.extend(list.get(place(*index, list.len()))),
            (Self::Slice(from, to), Value::Array(list)) => {
                let from = from.map_or(0, |from| place(from, list.len()));
                let to = to.map_or(list.len(), |to| place(to, list.len()).min(list.len()));
                out.extend(list.get(from..to).into_iter().flatten());
            }
            (Self::Deep(name), value) => deep(name, value, out),
            (Self::Filter(path, test), Value::Array(list)) => {
                out.extend(list.iter().filter(|item| passes(path, test.as_ref(), item)));
            }
            _ => {}
        }
    }
}

fn place(index: i64, length: usize) -> usize {
    let from_end = || usize::try_from(index.unsigned_abs()).ok().and_then(|back| length.checked_sub(back));
    usize::try_from(index).ok().or_else(from_end).unwrap_or(usize::MAX)
}

fn deep<'a>(name: &str, value: &'a Value, out: &mut Vec<&'a Value>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if key == name {
                    out.push(value);
                }
                deep(name, value, out);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| deep(name, value, out)),
        _ => {}
    }
}

fn passes(path: &JsonPath, test: Option<&(Operator, Value)>, item: &Value) -> bool {
    let Some(found) = path.select(item).first().copied() else { return false };
    let Some((operator, wanted)) = test else { return true };
    let order = match (found, wanted) {
        (Value::Number(one), Value::Number(other)) => one.as_f64().partial_cmp(&other.as_f64()),
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        _ => (found == wanted).then_some(std::cmp::Ordering::Equal),
    };
    match operator {
        Operator::Equal => order.is_some_and(|order| order.is_eq()),
        Operator::Unequal => !order.is_some_and(|order| order.is_eq()),
        Operator::Less => order.is_some_and(|order| order.is_lt()),
        Operator::LessOrEqual => order.is_some_and(|order| order.is_le()),
        Operator::Greater => order.is_some_and(|order| order.is_gt()),
        Operator::GreaterOrEqual => order.is_some_and(|order| order.is_ge()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_of_printer_columns_select_what_they_say() {
        let object = json!({
            "spec": {"n": 3, "list": [1, 2, 3], "a.b/c": "x"},
            "status": {"conditions": [
                {"type": "Ready", "status": "True", "n": 1}, {"type": "Other", "status": "False", "n": 2}]},
        });
        for (path, expect) in [
            (".spec.n", json!([3])),
            ("$.spec.n", json!([3])),
            (".spec.missing", json!([])),
            (".spec.list[0]", json!([1])),
            (".spec.list[-1]", json!([3])),
            (".spec.list[1:]", json!([2, 3])),
            (".spec.list[*]", json!([1, 2, 3])),
            (r".spec.a\.b/c", json!(["x"])),
            (".spec['a.b/c']", json!(["x"])),
            (r#".status.conditions[?(@.type=="Ready")].status"#, json!(["True"])),
            (".status.conditions[?(@.type=='Other')].status", json!(["False"])),
            (".status.conditions[?(@.n > 1)].type", json!(["Other"])),
            (".status.conditions[?(@.missing)].type", json!([])),
            ("..type", json!(["Ready", "Other"])),
        ] {
            let parsed = JsonPath::parse(path).unwrap();
            assert_eq!(json!(parsed.select(&object)), expect, "{path}");
        }
        for bad in ["spec", ".spec[", ".spec[?(x)]", ".spec[a]"] {
            assert_eq!(JsonPath::parse(bad), None, "{bad}");
        }
    }
}
