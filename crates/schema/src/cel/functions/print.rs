//! `format`: texts with clauses such as `%s`, `%d`, `%.2f`. Answers to cel-go's `ext/formatting.go`.

use super::{Outcome, convert};
use crate::cel::error::Error;
use crate::cel::kind::Type;
use crate::cel::program::Budget;
use crate::cel::value::Value;

/// The most digits after the point that may be asked for.
const PRECISION: usize = 1_000;

pub(super) fn format<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let [Value::String(pattern), list] = arguments else { return Err(Error::overload()) };
    let items = list.items().ok_or_else(Error::overload)?;
    let mut text = String::new();
    let mut letters = pattern.chars();
    let mut next = 0;
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        let mut clause = letters.next();
        if clause == Some('%') {
            text.push('%');
            continue;
        }
        let mut precision = None;
        if clause == Some('.') {
            let mut digits = String::new();
            clause = letters.next();
            while let Some(digit) = clause.filter(char::is_ascii_digit) {
                digits.push(digit);
                clause = letters.next();
            }
            let wanted = digits.parse::<usize>().ok().filter(|wanted| *wanted <= PRECISION);
            precision = Some(wanted.ok_or_else(|| {
                Error::new("could not parse formatting clause: error while parsing precision")
            })?);
        }
        let Some(clause) = clause else {
            return Err(Error::new("could not parse formatting clause: unexpected end of string"));
        };
        let Some(argument) = items.get(next) else {
            return Err(Error::new(format!("index {next} out of range")));
        };
        next += 1;
        let made = one(&argument?, clause, precision, budget)?;
        text.push_str(&made);
    }
    Ok(Value::text(text))
}

/// The letters of a pattern's clauses.
///
/// # Errors
/// If a clause is none.
pub(in crate::cel) fn clauses(pattern: &str) -> Result<Vec<char>, Error> {
    let mut clauses = Vec::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            continue;
        }
        let clause = letters.find(|letter| !letter.is_ascii_digit() && *letter != '.');
        match clause {
            Some('%') => {}
            Some(clause @ ('s' | 'd' | 'f' | 'e' | 'b' | 'o' | 'x' | 'X')) => clauses.push(clause),
            Some(other) => return Err(unrecognized(other)),
            None => return Err(Error::new("could not parse formatting clause: unexpected end of string")),
        }
    }
    Ok(clauses)
}

/// Whether values of a type may stand for a clause.
///
/// # Errors
/// If they may not.
pub(in crate::cel) fn accepts(clause: char, kind: &Type) -> Result<(), Error> {
    let (word, takes) = words(clause);
    let right = match (clause, kind) {
        (_, kind) if kind.is_dyn() => true,
        ('s', Type::Opaque(..) | Type::Object(_)) => false,
        ('s', _) => true,
        ('d' | 'o', Type::Int | Type::Uint) => true,
        ('f' | 'e', Type::Double) => true,
        ('b', Type::Int | Type::Uint | Type::Bool) => true,
        ('x' | 'X', Type::Int | Type::Uint | Type::String | Type::Bytes) => true,
        _ => false,
    };
    if right { Ok(()) } else { Err(refused(word, takes, kind.name())) }
}

fn words(clause: char) -> (&'static str, &'static str) {
    match clause {
        'd' => ("decimal", "integers"),
        'f' => ("fixed-point", "doubles"),
        'e' => ("scientific", "doubles"),
        'b' => ("binary", "integers and bools"),
        'o' => ("octal", "integers"),
        'x' | 'X' => ("hex", "integers, byte buffers, and strings"),
        _ => {
            ("string", "strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps")
        }
    }
}

fn unrecognized(clause: char) -> Error {
    Error::new(format!("could not parse formatting clause: unrecognized formatting clause \"{clause}\""))
}

fn wrong(clause: char, value: &Value<'_>) -> Error {
    let (word, takes) = words(clause);
    refused(word, takes, value.type_name())
}

fn refused(clause: &str, takes: &str, given: &str) -> Error {
    Error::new(format!(
        "error during formatting: {clause} clause can only be used on {takes}, was given {given}"
    ))
}

fn one(
    value: &Value<'_>,
    clause: char,
    precision: Option<usize>,
    budget: &mut Budget,
) -> Result<String, Error> {
    Ok(match (clause, value) {
        ('s', value) => string(value, budget, 0)?,
        ('d', Value::Int(value)) => value.to_string(),
        ('d', Value::Uint(value)) => value.to_string(),
        ('d', value) => return Err(wrong(clause, value)),
        ('f', Value::Double(value)) => float(*value, |value| format!("{value:.*}", precision.unwrap_or(6))),
        ('f', value) => return Err(wrong(clause, value)),
        ('e', Value::Double(value)) => float(*value, |value| scientific(value, precision.unwrap_or(6))),
        ('e', value) => return Err(wrong(clause, value)),
        ('b', Value::Int(value)) => signed(*value, |value| format!("{value:b}")),
        ('b', Value::Uint(value)) => format!("{value:b}"),
        ('b', Value::Bool(value)) => u8::from(*value).to_string(),
        ('b', value) => return Err(wrong(clause, value)),
        ('o', Value::Int(value)) => signed(*value, |value| format!("{value:o}")),
        ('o', Value::Uint(value)) => format!("{value:o}"),
        ('o', value) => return Err(wrong(clause, value)),
        ('x', Value::Int(value)) => signed(*value, |value| format!("{value:x}")),
        ('X', Value::Int(value)) => signed(*value, |value| format!("{value:X}")),
        ('x', Value::Uint(value)) => format!("{value:x}"),
        ('X', Value::Uint(value)) => format!("{value:X}"),
        ('x' | 'X', Value::String(text)) => hex(text.as_bytes(), clause == 'X'),
        ('x' | 'X', Value::Bytes(bytes)) => hex(bytes, clause == 'X'),
        ('x' | 'X', value) => return Err(wrong(clause, value)),
        (other, _) => {
            return Err(unrecognized(other));
        }
    })
}

fn signed(value: i64, print: fn(u64) -> String) -> String {
    let digits = print(value.unsigned_abs());
    if value < 0 { format!("-{digits}") } else { digits }
}

fn hex(bytes: &[u8], upper: bool) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    if upper { digits.to_uppercase() } else { digits }
}

fn float(value: f64, print: impl Fn(f64) -> String) -> String {
    if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        if value > 0.0 { "∞" } else { "-∞" }.into()
    } else {
        print(value)
    }
}

fn scientific(value: f64, precision: usize) -> String {
    const RAISED: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let text = format!("{value:.precision$e}");
    let Some((digits, power)) = text.split_once('e') else { return text };
    let (sign, power) = power.strip_prefix('-').map_or(("", power), |power| ("⁻", power));
    let raised: String = format!("{power:0>2}")
        .chars()
        .filter_map(|digit| digit.to_digit(10).and_then(|digit| RAISED.get(digit as usize)))
        .collect();
    format!("{digits}×10{sign}{raised}")
}

fn quoted(value: &Value<'_>, text: String) -> String {
    match value {
        Value::String(_) => format!("{text:?}"),
        Value::Bytes(_) => format!("b{text:?}"),
        _ => text,
    }
}

/// `%s`, inside lists and maps too.
fn string(value: &Value<'_>, budget: &mut Budget, depth: usize) -> Result<String, Error> {
    budget.work(1)?;
    if depth > 100 {
        return Err(Error::new("value is nested too deeply"));
    }
    let inner = |value: &Value<'_>, budget: &mut Budget| -> Result<String, Error> {
        let text = match value {
            Value::Double(value) => float(*value, |value| format!("{value:.6}")),
            Value::Type(name) => format!("type({name})"),
            value => string(value, budget, depth + 1)?,
        };
        Ok(quoted(value, text))
    };
    match value {
        Value::Null => Ok("null".into()),
        Value::Int(_)
        | Value::Uint(_)
        | Value::Double(_)
        | Value::Bool(_)
        | Value::String(_)
        | Value::Bytes(_) => convert::print(value),
        Value::Duration(_) | Value::Timestamp(_) | Value::Type(_) => convert::print(value),
        value if value.items().is_some() => {
            let items = value.items().map(|items| items.collect()).transpose()?.unwrap_or_default();
            let texts: Result<Vec<String>, Error> = items.iter().map(|item| inner(item, budget)).collect();
            Ok(format!("[{}]", texts?.join(", ")))
        }
        value if value.keys().is_some() => {
            let mut entries = Vec::new();
            for key in value.keys().unwrap_or_default() {
                let found = crate::cel::value::Key::of(&key).and_then(|key| value.entry(&key));
                let Some(found) = found else { continue };
                entries.push(format!("{}:{}", inner(&key, budget)?, inner(&found?, budget)?));
            }
            entries.sort();
            Ok(format!("{{{}}}", entries.join(", ")))
        }
        other => Err(wrong('s', other)),
    }
}
