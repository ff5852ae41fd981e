//! The query form of label selectors, token by token.
//!
//! Invariant: what is accepted, and the words in which the rest is refused, are upstream's. Answers to the lexer and
//! the parser of apimachinery's `labels`.

use super::{Operator, Requirement};
use crate::name;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    End,
    /// A key, a value, or one of the words `in` and `notin`.
    Word(&'a str),
    /// `=`, `==`, `!=`, `!`, `>`, `<`, `(`, `)` or `,`.
    Sign(&'a str),
}

impl<'a> Token<'a> {
    fn text(self) -> &'a str {
        match self {
            Self::End => "",
            Self::Word(text) | Self::Sign(text) => text,
        }
    }
}

const SIGNS: [&str; 9] = ["==", "!=", "=", "!", ">", "<", "(", ")", ","];
const OPERATORS: &str = "in, notin, =, ==, !=, gt, lt";

struct Parser<'a> {
    rest: &'a str,
    next: Token<'a>,
}

/// The requirements of a text, in its order.
pub(super) fn requirements(text: &str) -> Result<Vec<Requirement>, String> {
    let mut parser = Parser { rest: text, next: Token::End };
    parser.take();
    let mut all = Vec::new();
    loop {
        match parser.next {
            Token::Word(_) | Token::Sign("!") => {}
            Token::End => return Ok(all),
            other => {
                return Err(format!("found '{}', expected: !, identifier, or 'end of string'", other.text()));
            }
        }
        let one = parser.requirement().map_err(|why| format!("unable to parse requirement: {why}"))?;
        all.push(one);
        match parser.take() {
            Token::End => return Ok(all),
            Token::Sign(",") if matches!(parser.next, Token::Word(_) | Token::Sign("!")) => {}
            Token::Sign(",") => {
                return Err(format!("found '{}', expected: identifier after ','", parser.next.text()));
            }
            other => return Err(format!("found '{}', expected: ',' or 'end of string'", other.text())),
        }
    }
}

impl<'a> Parser<'a> {
    /// Passes the next token and gives it.
    fn take(&mut self) -> Token<'a> {
        let text = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let (token, length) = match SIGNS.into_iter().find(|sign| text.starts_with(sign)) {
            Some(sign) => (Token::Sign(&text[..sign.len()]), sign.len()),
            None => {
                let ends = |one: char| matches!(one, ' ' | '\t' | '\r' | '\n') || "=!(),><".contains(one);
                let length = text.find(ends).unwrap_or(text.len());
                (if length == 0 { Token::End } else { Token::Word(&text[..length]) }, length)
            }
        };
        self.rest = &text[length..];
        std::mem::replace(&mut self.next, token)
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let mut absent = false;
        let mut token = self.take();
        if token == Token::Sign("!") {
            absent = true;
            token = self.take();
        }
        let Token::Word(key) = token else {
            return Err(format!("found '{}', expected: identifier", token.text()));
        };
        let wrong = name::qualified(key);
        if !wrong.is_empty() {
            let wrong = wrong.join("; ").replace("a qualified name must", "a valid label key must");
            return Err(format!("<nil>: Invalid value: {key:?}: {wrong}"));
        }
        if absent || matches!(self.next, Token::End | Token::Sign(",")) {
            let operator = if absent { Operator::DoesNotExist } else { Operator::Exists };
            return Requirement::new(key, operator, Vec::new());
        }
        let (operator, set) = match self.take() {
            Token::Word("in") => (Operator::In, true),
            Token::Word("notin") => (Operator::NotIn, true),
            Token::Sign("=" | "==") => (Operator::In, false),
            Token::Sign("!=") => (Operator::NotIn, false),
            Token::Sign(">") => (Operator::GreaterThan, false),
            Token::Sign("<") => (Operator::LessThan, false),
            other => return Err(format!("found '{}', expected: {OPERATORS}", other.text())),
        };
        let values = if set { self.values()? } else { vec![self.value()?] };
        Requirement::new(key, operator, values)
    }

    /// One value; none is the empty one.
    fn value(&mut self) -> Result<String, String> {
        match self.next {
            Token::End | Token::Sign(",") => Ok(String::new()),
            Token::Word(value) => {
                self.take();
                Ok(value.to_owned())
            }
            other => Err(format!("found '{}', expected: identifier", other.text())),
        }
    }

    /// Values in parentheses; where a comma has none beside it, the empty one.
    fn values(&mut self) -> Result<Vec<String>, String> {
        let open = self.take();
        if open != Token::Sign("(") {
            return Err(format!("found '{}' expected: '('", open.text()));
        }
        match self.next {
            Token::Sign(")") => {
                self.take();
                return Ok(vec![String::new()]);
            }
            Token::Word(_) | Token::Sign(",") => {}
            other => return Err(format!("found '{}', expected: ',', ')' or identifier", other.text())),
        }
        let mut values = Vec::new();
        loop {
            match self.take() {
                Token::Word(value) => {
                    values.push(value.to_owned());
                    match self.next {
                        Token::Sign(",") => {}
                        Token::Sign(")") => break,
                        other => return Err(format!("found '{}', expected: ',' or ')'", other.text())),
                    }
                }
                Token::Sign(",") => {
                    if values.is_empty() || matches!(self.next, Token::Sign(")" | ",")) {
                        values.push(String::new());
                    }
                    if self.next == Token::Sign(")") {
                        break;
                    }
                }
                other => return Err(format!("found '{}', expected: ',', or identifier", other.text())),
            }
        }
        self.take();
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use crate::{FieldSelector, LabelSelector};

    /// What upstream's parsers say, line by line: a text, and its form or, behind `! `, why it is refused.
    const SAID: &str = include_str!("said.txt");

    #[test]
    fn texts_are_understood_and_refused_as_upstream_does() {
        let (labels, fields) = SAID.split_once("--\n").unwrap();
        let parse = |line: &str| serde_json::from_str::<[String; 2]>(line).unwrap();
        for [text, expect] in labels.lines().map(parse) {
            match (LabelSelector::parse(&text), expect.strip_prefix("! ")) {
                (Err(why), Some(expect)) => assert_eq!(why, expect, "{text}"),
                (Ok(selector), None) => {
                    assert_eq!(selector, LabelSelector::parse(&expect).unwrap(), "{text}")
                }
                (outcome, _) => panic!("{text}: {outcome:?}, upstream: {expect}"),
            }
        }
        for [text, expect] in fields.lines().map(parse) {
            match (FieldSelector::parse(&text), expect.strip_prefix("! ")) {
                (Err(why), Some(expect)) => assert_eq!(why, expect, "{text}"),
                (Ok(selector), None) => assert_eq!(selector.to_string(), expect, "{text}"),
                (outcome, _) => panic!("{text}: {outcome:?}, upstream: {expect}"),
            }
        }
    }
}
