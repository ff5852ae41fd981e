//! Patterns of schemas: Go's regular expressions on an engine that is linear in time, too.
//!
//! Invariant: matching takes time linear in the text, and a compiled pattern a bounded amount of memory. Go's classes
//! are of ASCII, and braces and brackets that cannot be anything else are literal there; the text is rewritten so.

use regex::{Regex, RegexBuilder};

/// Bytes that a compiled pattern may take; a larger one counts as malformed.
const COMPILED_BYTES: usize = 16 << 20;

/// A pattern, and the text it was made from.
#[derive(Clone, Debug)]
pub struct Pattern {
    source: Box<str>,
    compiled: Result<Regex, String>,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Pattern {
    /// Compiles a pattern.
    pub fn new(source: &str) -> Self {
        let built = RegexBuilder::new(&rewrite(source)).size_limit(COMPILED_BYTES).build();
        Self { source: source.into(), compiled: built.map_err(|error| error.to_string()) }
    }

    /// The text it was made from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Why it is malformed, if it is.
    pub fn error(&self) -> Option<&str> {
        self.compiled.as_ref().err().map(String::as_str)
    }

    /// Whether it is found in a text; a malformed one is found in none.
    pub fn matches(&self, text: &str) -> bool {
        self.compiled.as_ref().is_ok_and(|compiled| compiled.is_match(text))
    }
}

/// Go's syntax as the engine here reads it.
pub(crate) fn rewrite(source: &str) -> String {
    let mut out = String::with_capacity(source.len() + 16);
    let mut rest = source;
    let mut class = false;
    while let Some(letter) = rest.chars().next() {
        let after = &rest[letter.len_utf8()..];
        match letter {
            '\\' => {
                rest = escape(after, class, &mut out);
                continue;
            }
            '[' if !class => {
                class = true;
                out.push('[');
                // A bracket that closes right after the start is literal.
                let negated = after.strip_prefix('^');
                if negated.is_some() {
                    out.push('^');
                }
                rest = negated.unwrap_or(after);
                if let Some(tail) = rest.strip_prefix(']') {
                    out.push_str("\\]");
                    rest = tail;
                }
                continue;
            }
            '[' if after.starts_with(':') => {
                let end = after.find(":]").map_or(0, |at| at + 2);
                out.push('[');
                out.push_str(&after[..end]);
                rest = &after[end..];
                continue;
            }
            '[' => out.push_str("\\["),
            ']' if class => {
                class = false;
                out.push(']');
            }
            '&' | '~' if class => {
                out.push('\\');
                out.push(letter);
            }
            '{' if !class && !repetition(after) => out.push_str("\\{"),
            other => out.push(other),
        }
        rest = after;
    }
    out
}

/// Whether `{` begins a count.
fn repetition(after: &str) -> bool {
    let Some(end) = after.find('}') else { return false };
    let (low, high) = after[..end].split_once(',').unwrap_or((&after[..end], ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    !low.is_empty() && digits(low) && digits(high)
}

/// Writes one escape, of which `after` is what follows the backslash; gives the rest.
fn escape<'a>(after: &'a str, class: bool, out: &mut String) -> &'a str {
    let Some(letter) = after.chars().next() else {
        out.push('\\');
        return after;
    };
    let rest = &after[letter.len_utf8()..];
    let members = match letter.to_ascii_lowercase() {
        'd' => "0-9",
        'w' => "0-9A-Za-z_",
        's' => "\\t\\n\\f\\r ",
        _ => "",
    };
    match letter {
        'Q' => {
            let (text, rest) = rest.split_once("\\E").unwrap_or((rest, ""));
            out.push_str(&regex::escape(text));
            return rest;
        }
        'd' | 'w' | 's' if class => out.push_str(members),
        'd' | 'w' | 's' => out.push_str(&format!("[{members}]")),
        'D' | 'W' | 'S' => out.push_str(&format!("[^{members}]")),
        'b' if !class => out.push_str("(?-u:\\b)"),
        'B' if !class => out.push_str("(?-u:\\B)"),
        other => {
            out.push('\\');
            out.push(other);
        }
    }
    rest
}
