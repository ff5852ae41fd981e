//! Functions of texts: CEL's own and those of the strings extension, which count in code points.

use super::{Native, Outcome, print};
use crate::cel::error::Error;
use crate::cel::program::Budget;
use crate::cel::value::Value;

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "startsWith" => |arguments, _| test(arguments, |text, part| text.starts_with(part)),
        "endsWith" => |arguments, _| test(arguments, |text, part| text.ends_with(part)),
        "contains" => |arguments, _| test(arguments, |text, part| text.contains(part)),
        "lowerAscii" => |arguments, _| change(arguments, str::to_ascii_lowercase),
        "upperAscii" => |arguments, _| change(arguments, str::to_ascii_uppercase),
        "trim" => |arguments, _| change(arguments, |text| text.trim_matches(is_space).to_owned()),
        "strings.quote" => |arguments, _| change(arguments, quote),
        "jsonpatch.escapeKey" => {
            |arguments, _| change(arguments, |text| text.replace('~', "~0").replace('/', "~1"))
        }
        "charAt" => char_at,
        "substring" => substring,
        "replace" => replace,
        "split" => split,
        "join" => join,
        "format" => print::format,
        _ => return None,
    })
}

fn test<'a>(arguments: &[Value<'a>], answer: fn(&str, &str) -> bool) -> Outcome<'a> {
    match arguments {
        [Value::String(text), Value::String(part)] => Ok(Value::Bool(answer(text, part))),
        _ => Err(Error::overload()),
    }
}

fn change<'a>(arguments: &[Value<'a>], change: fn(&str) -> String) -> Outcome<'a> {
    match arguments {
        [Value::String(text)] => Ok(Value::text(change(text))),
        _ => Err(Error::overload()),
    }
}

/// What upstream trims: Unicode's White_Space without the separators that are no space, plus two marks.
fn is_space(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '\u{180e}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}')
}

fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

fn out_of_range(index: i64) -> Error {
    Error::new(format!("index out of range: {index}"))
}

fn char_at<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    let [Value::String(text), Value::Int(index)] = arguments else { return Err(Error::overload()) };
    let place = usize::try_from(*index).map_err(|_| out_of_range(*index))?;
    match text.chars().nth(place) {
        Some(letter) => Ok(Value::text(letter.to_string())),
        None if text.chars().count() == place => Ok(Value::text("")),
        None => Err(out_of_range(*index)),
    }
}

fn substring<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    let (text, start, end) = match arguments {
        [Value::String(text), Value::Int(start)] => (text, *start, None),
        [Value::String(text), Value::Int(start), Value::Int(end)] => (text, *start, Some(*end)),
        _ => return Err(Error::overload()),
    };
    let count = text.chars().count() as i64;
    if let Some(end) = end
        && start > end
    {
        return Err(Error::new(format!("invalid substring range. start: {start}, end: {end}")));
    }
    if start < 0 || start > count {
        return Err(out_of_range(start));
    }
    if let Some(end) = end
        && !(0..=count).contains(&end)
    {
        return Err(out_of_range(end));
    }
    let length = end.unwrap_or(count) - start;
    Ok(Value::text(text.chars().skip(start as usize).take(length as usize).collect::<String>()))
}

/// The place of a text in another one, in code points, from a place on.
pub(super) fn index_of<'a>(text: &str, part: &str, from: i64) -> Outcome<'a> {
    if part.is_empty() {
        return Ok(Value::Int(from));
    }
    let place = usize::try_from(from).map_err(|_| out_of_range(from))?;
    let Some((start, _)) = text.char_indices().nth(place) else { return Ok(Value::Int(-1)) };
    Ok(Value::Int(match text[start..].find(part) {
        Some(at) => from + text[start..start + at].chars().count() as i64,
        None => -1,
    }))
}

/// The last place of a text in another one, in code points, at or before a place.
pub(super) fn last_index_of<'a>(text: &str, part: &str, until: Option<i64>) -> Outcome<'a> {
    let count = text.chars().count() as i64;
    let until = until.unwrap_or(if part.is_empty() { count } else { count - 1 });
    if part.is_empty() {
        return Ok(Value::Int(until));
    }
    if until < 0 && count > 0 {
        return Err(out_of_range(until));
    }
    if until >= count {
        return Ok(Value::Int(-1));
    }
    let end = text.char_indices().nth(until as usize).map_or(text.len(), |(at, _)| at);
    let limit = (end + part.len()).min(text.len());
    let limit = (limit..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    Ok(Value::Int(match text[..limit].rfind(part) {
        Some(at) => text[..at].chars().count() as i64,
        None => -1,
    }))
}

fn replace<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let (text, from, to, count) = match arguments {
        [Value::String(text), Value::String(from), Value::String(to)] => (text, from, to, -1),
        [Value::String(text), Value::String(from), Value::String(to), Value::Int(count)] => {
            (text, from, to, *count)
        }
        _ => return Err(Error::overload()),
    };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let most = if from.is_empty() { text.len() + 1 } else { text.len() / from.len() };
    budget.work(most.min(count).saturating_mul(to.len()) / 16)?;
    Ok(Value::text(text.replacen(&**from, to, count)))
}

fn split<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    let (text, by, count) = match arguments {
        [Value::String(text), Value::String(by)] => (text, by, -1),
        [Value::String(text), Value::String(by), Value::Int(count)] => (text, by, *count),
        _ => return Err(Error::overload()),
    };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count == 0 {
        return Ok(Value::list(Vec::new()));
    }
    let parts: Vec<Value<'a>> = if by.is_empty() {
        let mut parts = Vec::new();
        let mut rest: &str = text;
        while let Some(letter) = rest.chars().next() {
            if parts.len() + 1 == count {
                break;
            }
            parts.push(Value::text(letter.to_string()));
            rest = &rest[letter.len_utf8()..];
        }
        if !rest.is_empty() {
            parts.push(Value::text(rest));
        }
        parts
    } else {
        text.splitn(count, &**by).map(Value::text).collect()
    };
    Ok(Value::list(parts))
}

fn join<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let (list, between) = match arguments {
        [list] => (list, ""),
        [list, Value::String(between)] => (list, &**between),
        _ => return Err(Error::overload()),
    };
    let items = list.items().ok_or_else(Error::overload)?;
    let mut joined = String::new();
    for (index, item) in items.iter().enumerate() {
        let Value::String(text) = item? else { return Err(Error::overload()) };
        if index > 0 {
            joined.push_str(between);
        }
        budget.work(1 + (text.len() + between.len()) / 16)?;
        joined.push_str(&text);
    }
    Ok(Value::text(joined))
}
