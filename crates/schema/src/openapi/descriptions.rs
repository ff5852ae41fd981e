//! Descriptions of types and fields, which the build script takes out of the k8s-openapi crate's sources.
//!
//! They lie in the binary as text and are only looked into while a document is made.

use std::borrow::Cow;
use std::collections::HashMap;

const TEXT: &str = include_str!(concat!(env!("OUT_DIR"), "/descriptions.txt"));

/// An index by type, made for one document.
pub(super) struct Descriptions {
    /// From a model's name to its lines.
    models: HashMap<&'static str, &'static str>,
}

impl Descriptions {
    pub fn new() -> Descriptions {
        let mut models = HashMap::new();
        let mut rest = TEXT;
        while let Some((model, _)) = rest.split_once('\t') {
            // A type's lines end where the next line does not start with a tab.
            let end = rest
                .match_indices('\n')
                .map(|(at, _)| at + 1)
                .find(|at| !rest[*at..].starts_with('\t'))
                .unwrap_or(rest.len());
            models.insert(model, &rest[..end]);
            rest = &rest[end..];
        }
        Descriptions { models }
    }

    /// What is said about a type; empty if nothing is.
    pub fn of_type(&self, model: &str) -> Cow<'static, str> {
        let line = self.models.get(model).and_then(|lines| lines.lines().next());
        unescape(line.and_then(|line| line.split_once('\t')).map_or("", |(_, text)| text))
    }

    /// What is said about a type's fields.
    pub fn of_fields(&self, model: &str) -> HashMap<&'static str, &'static str> {
        let lines = self.models.get(model).map_or("", |lines| lines).lines().skip(1);
        lines.filter_map(|line| line[1..].split_once('\t')).collect()
    }
}

pub(super) fn unescape(text: &'static str) -> Cow<'static, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some(letter) => out.push(letter),
                None => break,
            },
            letter => out.push(letter),
        }
    }
    Cow::Owned(out)
}
