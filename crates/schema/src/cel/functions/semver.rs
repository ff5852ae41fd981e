//! Semantic versions. Answers to the apiserver's `library/semverlib.go`.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use super::{Native, Outcome};
use crate::cel::error::Error;
use crate::cel::value::Value;

/// A version.
pub struct Semver(semver::Version);

impl Semver {
    /// The order of precedence, which leaves build metadata out.
    pub fn order(&self, other: &Semver) -> Ordering {
        self.0.cmp_precedence(&other.0)
    }
}

impl fmt::Display for Semver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// `compareTo`, `isLessThan` and `isGreaterThan` share their names with quantities and stand there.
pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "semver" => |arguments, _| {
            read(arguments)?.map(|version| Value::Semver(Arc::new(version))).map_err(Error::new)
        },
        "isSemver" => |arguments, _| Ok(Value::Bool(read(arguments)?.is_ok())),
        "major" => |arguments, _| part(arguments, |version| version.major),
        "minor" => |arguments, _| part(arguments, |version| version.minor),
        "patch" => |arguments, _| part(arguments, |version| version.patch),
        _ => return None,
    })
}

fn part<'a>(arguments: &[Value<'a>], part: fn(&semver::Version) -> u64) -> Outcome<'a> {
    match arguments {
        [Value::Semver(version)] => Ok(Value::Int(i64::try_from(part(&version.0)).unwrap_or(i64::MAX))),
        _ => Err(Error::overload()),
    }
}

fn read(arguments: &[Value<'_>]) -> Result<Result<Semver, String>, Error> {
    match arguments {
        [Value::String(text)] | [Value::String(text), Value::Bool(false)] => Ok(parse(text)),
        [Value::String(text), Value::Bool(true)] => Ok(normalized(text).and_then(|text| parse(&text))),
        _ => Err(Error::overload()),
    }
}

/// Reads one.
pub(in crate::cel) fn parse(text: &str) -> Result<Semver, String> {
    if text.is_empty() {
        return Err("Version string empty".into());
    }
    if text.splitn(3, '.').count() != 3 {
        return Err("No Major.Minor.Patch elements found".into());
    }
    semver::Version::parse(text).map(Semver).map_err(|error| {
        let parts: Vec<&str> = text.splitn(3, '.').collect();
        for (name, part) in ["major", "minor"].iter().zip(&parts) {
            if !part.bytes().all(|digit| digit.is_ascii_digit()) || part.is_empty() {
                return format!("Invalid character(s) found in {name} number {part:?}");
            }
            if part.len() > 1 && part.starts_with('0') {
                let word = if *name == "major" { "Major" } else { "Minor" };
                return format!("{word} number must not contain leading zeroes {part:?}");
            }
        }
        let patch = parts.get(2).map_or("", |rest| rest.split(['-', '+']).next().unwrap_or(""));
        if patch.is_empty() || !patch.bytes().all(|digit| digit.is_ascii_digit()) {
            return format!("Invalid character(s) found in patch number {patch:?}");
        }
        if patch.len() > 1 && patch.starts_with('0') {
            return format!("Patch number must not contain leading zeroes {patch:?}");
        }
        error.to_string()
    })
}

/// Without `v`, leading zeros and missing parts.
fn normalized(text: &str) -> Result<String, String> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let mut parts: Vec<String> = text
        .splitn(3, '.')
        .map(|part| {
            if part.len() < 2 {
                return part.to_owned();
            }
            let trimmed = part.trim_start_matches('0');
            if trimmed.starts_with(|letter: char| letter.is_ascii_digit()) {
                trimmed.to_owned()
            } else {
                format!("0{trimmed}")
            }
        })
        .collect();
    if parts.len() < 3 && parts.last().is_some_and(|part| part.contains(['+', '-'])) {
        return Err("short version cannot contain PreRelease/Build meta data".into());
    }
    parts.resize(3, "0".into());
    Ok(parts.join("."))
}
