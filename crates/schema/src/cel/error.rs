//! What goes wrong while compiling and while evaluating, in upstream's words.

use std::fmt;
use std::sync::Arc;

/// One thing that is wrong with a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Line, from 1.
    pub line: usize,
    /// Column in code points, from 0.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// Why a source does not compile. Printed as upstream prints it: each issue, the line, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compilation {
    issues: Vec<Issue>,
    text: String,
    stage: Stage,
}

/// How far compiling came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It does not parse or does not check: `compilation failed`.
    Source,
    /// It has another type than was asked for.
    Result,
    /// A part that is constant cannot be computed: `program instantiation failed`.
    Program,
}

/// The most issues that are printed, and that are looked for in the source; upstream's figure.
const ISSUES: usize = 100;
/// Bytes of the longest line that is shown with an issue; upstream's figure.
const LINE_BYTES: usize = 16_384;

/// What is wrong with a source: the first issues, and how many more there are.
#[derive(Debug, Default)]
pub(super) struct Issues {
    first: Vec<Issue>,
    over: usize,
}

impl Issues {
    /// One more. Where it is, is only asked if it is told.
    pub fn add(&mut self, message: String, place: impl FnOnce() -> (usize, usize)) {
        if self.first.len() >= ISSUES {
            self.over += 1;
            return;
        }
        let (line, column) = place();
        self.first.push(Issue { line, column, message });
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }
}

impl Compilation {
    pub(super) fn new(source: &str, issues: Issues) -> Compilation {
        let Issues { first: mut issues, over } = issues;
        issues.sort_by_key(|issue| (issue.line, issue.column));
        let mut text = String::new();
        for issue in &issues {
            if !text.is_empty() {
                text.push('\n');
            }
            write_issue(&mut text, source, issue);
        }
        if over > 0 {
            text.push_str(&format!("\n{over} more errors were truncated"));
        }
        Compilation { issues, text, stage: Stage::Source }
    }

    /// A problem that has no place in the source.
    pub(super) fn plain(message: impl Into<String>) -> Compilation {
        let message = message.into();
        Compilation {
            text: message.clone(),
            issues: vec![Issue { line: 0, column: 0, message }],
            stage: Stage::Source,
        }
    }

    pub(super) fn program(error: Error) -> Compilation {
        Compilation { stage: Stage::Program, ..Compilation::plain(error.to_string()) }
    }

    pub(super) fn of_result(self) -> Compilation {
        Compilation { stage: Stage::Result, ..self }
    }

    /// As the apiserver puts it: what failed, before what is wrong.
    pub fn detail(&self) -> String {
        match self.stage {
            Stage::Source => format!("compilation failed: {self}"),
            Stage::Result => self.to_string(),
            Stage::Program => format!("program instantiation failed: {self}"),
        }
    }

    /// How far compiling came.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// What is wrong, in the order of the source.
    pub fn issues(&self) -> &[Issue] {
        &self.issues
    }
}

fn write_issue(text: &mut String, source: &str, issue: &Issue) {
    text.push_str(&format!("ERROR: <input>:{}:{}: {}", issue.line, issue.column + 1, issue.message));
    let line = issue.line.checked_sub(1).and_then(|index| source.split('\n').nth(index));
    let Some(line) = line.filter(|line| line.len() <= LINE_BYTES) else { return };
    text.push_str("\n | ");
    text.push_str(&line.replace('\t', " "));
    text.push_str("\n | ");
    let mut letters = line.chars();
    for letter in letters.by_ref().take(issue.column) {
        text.push(if letter.is_ascii() { '.' } else { '\u{ff0e}' });
    }
    text.push(if letters.next().is_none_or(|letter| letter.is_ascii()) { '^' } else { '\u{ff3e}' });
}

impl fmt::Display for Compilation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl std::error::Error for Compilation {}

/// Why an evaluation gave no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The expression is at fault, such as `no such key: x`.
    Failed(Arc<str>),
    /// One evaluation cost more than one may.
    Limit,
    /// All evaluations together cost more than they may.
    Budget,
}

impl Error {
    pub(super) fn new(message: impl AsRef<str>) -> Error {
        Error::Failed(Arc::from(message.as_ref()))
    }

    pub(super) fn overload() -> Error {
        Error::new("no such overload")
    }

    /// Whether it ends the evaluation whatever stands around it.
    pub(super) fn is_final(&self) -> bool {
        !matches!(self, Error::Failed(_))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Failed(message) => out.write_str(message),
            Error::Limit => out.write_str("operation cancelled: actual cost limit exceeded"),
            Error::Budget => out.write_str(
                "validation failed due to running out of cost budget, no further validation rules will be run",
            ),
        }
    }
}

impl std::error::Error for Error {}
