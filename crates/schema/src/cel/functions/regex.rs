//! `matches`, `find` and `findAll`. Answers to Go's `regexp`, whose syntax is that of the crate but for corners.
//!
//! Invariant: a pattern that is constant is compiled once, with its program; any other at each use. What compiling
//! costs is known before it is done and bounded, for one pattern, for one expression and for one evaluation: classes of
//! Unicode are large here, where Go's engine keeps them as they are written.

use std::collections::HashMap;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Class, Hir, HirKind};

use super::{Native, Outcome};
use crate::cel::error::Error;
use crate::cel::plan::Step;
use crate::cel::program::Budget;
use crate::cel::value::Value;
use crate::structural::pattern::rewrite;

/// The most memory a compiled pattern may take.
const PATTERN_BYTES: usize = 2 << 20;
/// What one pattern may weigh: letters and ranges of letters, each as often as it is repeated. About a microsecond each.
const WEIGHT: u64 = 20_000;
/// What the different constant patterns of one expression may weigh together.
const WEIGHTS: u64 = 200_000;
/// Values that an evaluation could touch in the time that one letter or range takes.
const WORK: usize = 50;

/// A constant pattern.
pub struct Pattern {
    regex: Regex,
    /// Its length in code points.
    pub(in crate::cel) length: usize,
}

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "matches" => {
            |arguments, budget| with(arguments, budget, |regex, text, _| Value::Bool(regex.is_match(text)))
        }
        "find" => |arguments, budget| {
            with(arguments, budget, |regex, text, _| {
                Value::text(regex.find(text).map_or("", |found| found.as_str()))
            })
        },
        "findAll" => |arguments: &[Value<'_>], budget: &mut Budget| {
            with(arguments, budget, |regex, text, count| {
                Value::list(
                    regex.find_iter(text).take(count).map(|found| Value::text(found.as_str())).collect(),
                )
            })
        },
        _ => return None,
    })
}

fn with<'a>(
    arguments: &[Value<'a>],
    budget: &mut Budget,
    answer: impl Fn(&Regex, &str, usize) -> Value<'a>,
) -> Outcome<'a> {
    let count = match arguments.get(2) {
        None => usize::MAX,
        Some(Value::Int(count)) => usize::try_from(*count).unwrap_or(usize::MAX),
        Some(_) => return Err(Error::overload()),
    };
    match arguments {
        [Value::String(text), Value::Pattern(pattern), ..] => Ok(answer(&pattern.regex, text, count)),
        [Value::String(text), Value::String(pattern), ..] => {
            let (rewritten, weight) = weighed(pattern).map_err(Error::new)?;
            budget.work(usize::try_from(weight).unwrap_or(usize::MAX).saturating_mul(WORK))?;
            Ok(answer(&build(pattern, &rewritten).map_err(Error::new)?, text, count))
        }
        _ => Err(Error::overload()),
    }
}

/// The constant patterns of one expression.
#[derive(Default)]
pub(in crate::cel) struct Patterns {
    known: HashMap<String, Result<Arc<Pattern>, String>>,
    weight: u64,
}

impl Patterns {
    /// A pattern, compiled the first time.
    ///
    /// # Errors
    /// Go's text where the cause is a common one.
    pub fn compiled(&mut self, text: &str) -> Result<Arc<Pattern>, String> {
        if let Some(known) = self.known.get(text) {
            return known.clone();
        }
        let compiled = weighed(text).and_then(|(rewritten, weight)| {
            self.weight = self.weight.saturating_add(weight);
            if self.weight > WEIGHTS {
                return Err(too_large(text));
            }
            let regex = build(text, &rewritten)?;
            Ok(Arc::new(Pattern { regex, length: text.chars().count() }))
        });
        self.known.insert(text.to_owned(), compiled.clone());
        compiled
    }

    /// Replaces a constant pattern by its compiled form.
    pub fn prepare(&mut self, function: &str, arguments: &mut [Step]) -> Result<(), Error> {
        if !matches!(function, "matches" | "find" | "findAll") {
            return Ok(());
        }
        if let Some(Step::Constant(value)) = arguments.get_mut(1)
            && let Value::String(text) = &*value
        {
            *value = Value::Pattern(self.compiled(text).map_err(Error::new)?);
        }
        Ok(())
    }
}

/// A pattern in the syntax of the engine here, and what it weighs.
fn weighed(pattern: &str) -> Result<(String, u64), String> {
    let rewritten = rewrite(pattern);
    let tree = regex_syntax::parse(&rewritten).map_err(|error| malformed(pattern, &error.to_string()))?;
    let weight = weight(&tree);
    if weight > WEIGHT { Err(too_large(pattern)) } else { Ok((rewritten, weight)) }
}

/// As deep as the parser lets patterns be.
fn weight(tree: &Hir) -> u64 {
    let sum = |all: &[Hir]| all.iter().fold(1_u64, |sum, one| sum.saturating_add(weight(one)));
    match tree.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len() as u64,
        HirKind::Class(Class::Unicode(class)) => class.ranges().len() as u64,
        HirKind::Class(Class::Bytes(class)) => class.ranges().len() as u64,
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min).max(1);
            weight(&repetition.sub).saturating_mul(u64::from(times))
        }
        HirKind::Capture(capture) => weight(&capture.sub).saturating_add(1),
        HirKind::Concat(all) | HirKind::Alternation(all) => sum(all),
    }
}

fn build(pattern: &str, rewritten: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(rewritten).size_limit(PATTERN_BYTES).build();
    built.map_err(|error| malformed(pattern, &error.to_string()))
}

fn too_large(pattern: &str) -> String {
    format!("error parsing regexp: expression too large: `{pattern}`")
}

/// What Go says where this engine says `text`.
fn malformed(pattern: &str, text: &str) -> String {
    if text.contains("size limit") {
        return too_large(pattern);
    }
    let cause = if text.contains("unclosed group") {
        format!("missing closing ): `{pattern}`")
    } else if text.contains("unopened group") {
        format!("unexpected ): `{pattern}`")
    } else if text.contains("unclosed character class") {
        format!("missing closing ]: `{}`", &pattern[pattern.find('[').unwrap_or(0)..])
    } else if text.contains("repetition operator missing expression") {
        let operator = pattern.chars().find(|letter| "*+?".contains(*letter)).unwrap_or('*');
        format!("missing argument to repetition operator: `{operator}`")
    } else if text.contains("look-around") {
        "invalid or unsupported Perl syntax: `(?`".to_owned()
    } else {
        format!("invalid regular expression: `{pattern}`")
    };
    format!("error parsing regexp: {cause}")
}
