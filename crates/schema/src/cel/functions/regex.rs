//! `matches`, `find` and `findAll`. Answers to Go's `regexp`, whose syntax is that of the crate but for corners.
//!
//! Invariant: a pattern that is constant is compiled once, with its program; any other at each use, in a bounded size.

use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use super::{Native, Outcome};
use crate::cel::error::Error;
use crate::cel::plan::Step;
use crate::cel::program::Budget;
use crate::cel::value::Value;

/// The most memory a compiled pattern may take.
const PATTERN_BYTES: usize = 1 << 20;

/// A constant pattern.
pub struct Pattern {
    regex: Regex,
    /// Its length in code points.
    pub(in crate::cel) length: usize,
}

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "matches" => |arguments, _| with(arguments, |regex, text, _| Value::Bool(regex.is_match(text))),
        "find" => |arguments, _| {
            with(arguments, |regex, text, _| Value::text(regex.find(text).map_or("", |found| found.as_str())))
        },
        "findAll" => |arguments: &[Value<'_>], _: &mut Budget| {
            with(arguments, |regex, text, count| {
                Value::list(
                    regex.find_iter(text).take(count).map(|found| Value::text(found.as_str())).collect(),
                )
            })
        },
        _ => return None,
    })
}

fn with<'a>(arguments: &[Value<'a>], answer: impl Fn(&Regex, &str, usize) -> Value<'a>) -> Outcome<'a> {
    let count = match arguments.get(2) {
        None => usize::MAX,
        Some(Value::Int(count)) => usize::try_from(*count).unwrap_or(usize::MAX),
        Some(_) => return Err(Error::overload()),
    };
    match arguments {
        [Value::String(text), Value::Pattern(pattern), ..] => Ok(answer(&pattern.regex, text, count)),
        [Value::String(text), Value::String(pattern), ..] => {
            Ok(answer(&compile(pattern).map_err(Error::new)?, text, count))
        }
        _ => Err(Error::overload()),
    }
}

/// Compiles a pattern.
///
/// # Errors
/// Go's text where the cause is a common one.
pub(in crate::cel) fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).build().map_err(|error| {
        let text = error.to_string();
        let cause = if text.contains("unclosed group") {
            format!("missing closing ): `{pattern}`")
        } else if text.contains("unopened group") {
            format!("unexpected ): `{pattern}`")
        } else if text.contains("unclosed character class") {
            format!("missing closing ]: `{}`", &pattern[pattern.find('[').unwrap_or(0)..])
        } else if text.contains("repetition operator missing expression") {
            let operator = pattern.chars().find(|letter| "*+?".contains(*letter)).unwrap_or('*');
            format!("missing argument to repetition operator: `{operator}`")
        } else if text.contains("size limit") {
            format!("expression too large: `{pattern}`")
        } else if text.contains("look-around") {
            "invalid or unsupported Perl syntax: `(?`".to_owned()
        } else {
            format!("invalid regular expression: `{pattern}`")
        };
        format!("error parsing regexp: {cause}")
    })
}

/// Replaces a constant pattern by its compiled form.
pub(in crate::cel) fn prepare(function: &str, arguments: &mut [Step]) -> Result<(), Error> {
    if !matches!(function, "matches" | "find" | "findAll") {
        return Ok(());
    }
    if let Some(Step::Constant(value)) = arguments.get_mut(1)
        && let Value::String(text) = &*value
    {
        let regex = compile(text).map_err(Error::new)?;
        *value = Value::Pattern(Arc::new(Pattern { regex, length: text.chars().count() }));
    }
    Ok(())
}
