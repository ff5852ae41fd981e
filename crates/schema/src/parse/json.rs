//! A recursive JSON reader that notices duplicate fields and stops at a depth.
//!
//! Invariant: recursion ends at `MAXIMUM_DEPTH`; errors are Go's scanner's texts.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::{Map, Number, Value};

use super::path::{Frame, join};
use super::{MAXIMUM_DEPTH, MAXIMUM_FINDINGS, Parsed};
use crate::go::{quote, quote_byte};
use crate::{Error, Result};

pub(super) fn parse(bytes: &[u8]) -> Result<Parsed> {
    let text = String::from_utf8_lossy(bytes);
    let mut reader = Reader::new(&text);
    let value = reader.document()?;
    let duplicates =
        reader.duplicates.iter().map(|path| format!("duplicate field {}", quote(path))).collect();
    Ok(Parsed { value, duplicates })
}

/// One thing strict validation reports.
#[derive(Debug, PartialEq, Eq, Clone)]
pub(crate) enum Found {
    Unknown(String),
    Duplicate(String),
}

/// The unknown fields and the duplicate ones of a JSON text that was read before, in the order in which
/// they stand in it. What is in an unknown field is not looked at. None if the text is not JSON.
pub(crate) fn in_order(bytes: &[u8], unknown: &[String]) -> Option<Vec<Found>> {
    let text = String::from_utf8_lossy(bytes);
    let mut reader = Reader::new(&text);
    reader.watch = Some(Watch { unknown: unknown.iter().map(String::as_str).collect(), found: Vec::new() });
    reader.document().ok()?;
    reader.watch.map(|watch| watch.found)
}

struct Watch<'a> {
    unknown: HashSet<&'a str>,
    found: Vec<Found>,
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    duplicates: Vec<String>,
    watch: Option<Watch<'a>>,
    /// How many unknown fields the watching reader is inside of.
    inside_unknown: usize,
    error: String,
}

/// The text says why, in `Reader::error`: the reader's functions return often, so what they return is small.
struct Stopped;

type Read<T> = std::result::Result<T, Stopped>;

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Reader {
            text,
            bytes: text.as_bytes(),
            at: 0,
            duplicates: Vec::new(),
            watch: None,
            inside_unknown: 0,
            error: String::new(),
        }
    }

    fn document(&mut self) -> Result<Value> {
        self.whole().map_err(|Stopped| Error::Syntax(std::mem::take(&mut self.error)))
    }

    fn whole(&mut self) -> Read<Value> {
        self.space();
        let value = self.value(None, 0)?;
        self.space();
        if self.at < self.bytes.len() {
            return self.invalid("after top-level value");
        }
        Ok(value)
    }

    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    #[cold]
    fn stop<T>(&mut self, message: String) -> Read<T> {
        self.error = message;
        Err(Stopped)
    }

    /// The byte here does not belong here.
    #[cold]
    fn invalid<T>(&mut self, context: &str) -> Read<T> {
        let message = match self.bytes.get(self.at) {
            Some(byte) => format!("invalid character {} {context}", quote_byte(*byte)),
            None => "unexpected end of JSON input".to_string(),
        };
        self.stop(message)
    }

    fn value(&mut self, parent: Option<&Frame>, depth: usize) -> Read<Value> {
        match self.bytes.get(self.at) {
            Some(b'{') if depth < MAXIMUM_DEPTH => self.object(parent, depth + 1),
            Some(b'[') if depth < MAXIMUM_DEPTH => self.array(parent, depth + 1),
            Some(b'{' | b'[') => self.stop("exceeded max depth".to_string()),
            Some(b'"') => Ok(Value::String(self.string()?.into_owned())),
            Some(b't') => self.literal("true", Value::Bool(true)),
            Some(b'f') => self.literal("false", Value::Bool(false)),
            Some(b'n') => self.literal("null", Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            _ => self.invalid("looking for beginning of value"),
        }
    }

    fn literal(&mut self, word: &str, value: Value) -> Read<Value> {
        for (index, expected) in word.bytes().enumerate() {
            if self.bytes.get(self.at) != Some(&expected) {
                debug_assert!(index > 0);
                return self.invalid(&format!("in literal {word} (expecting '{}')", char::from(expected)));
            }
            self.at += 1;
        }
        Ok(value)
    }

    fn object(&mut self, parent: Option<&Frame>, depth: usize) -> Read<Value> {
        self.at += 1;
        let mut map = Map::new();
        self.space();
        if self.bytes.get(self.at) == Some(&b'}') {
            self.at += 1;
            return Ok(Value::Object(map));
        }
        loop {
            self.space();
            if self.bytes.get(self.at) != Some(&b'"') {
                return self.invalid("looking for beginning of object key string");
            }
            let key = self.string()?;
            self.space();
            if self.bytes.get(self.at) != Some(&b':') {
                return self.invalid("after object key");
            }
            self.at += 1;
            self.space();
            let unknown = self.watch.is_some() && self.watched(parent, &key, map.contains_key(&*key));
            self.inside_unknown += usize::from(unknown);
            let value = self.value(Some(&Frame::key(parent, &key)), depth)?;
            self.inside_unknown -= usize::from(unknown);
            let key = key.into_owned();
            match map.entry(key) {
                serde_json::map::Entry::Vacant(entry) => {
                    entry.insert(value);
                }
                serde_json::map::Entry::Occupied(mut entry) => {
                    if self.duplicates.len() < MAXIMUM_FINDINGS {
                        let path = join(parent, entry.key());
                        if !self.duplicates.contains(&path) {
                            self.duplicates.push(path);
                        }
                    }
                    entry.insert(value);
                }
            }
            self.space();
            match self.bytes.get(self.at) {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::Object(map));
                }
                _ => return self.invalid("after object key:value pair"),
            }
        }
    }

    /// Reports a field to the watch; true if it is unknown.
    #[cold]
    fn watched(&mut self, parent: Option<&Frame>, key: &str, again: bool) -> bool {
        let Some(watch) = &mut self.watch else { return false };
        if self.inside_unknown > 0 {
            return false;
        }
        let path = join(parent, key);
        let unknown = watch.unknown.contains(path.as_str());
        let found = match (unknown, again) {
            (true, _) => Found::Unknown(path),
            (false, true) => Found::Duplicate(path),
            (false, false) => return false,
        };
        if watch.found.len() < MAXIMUM_FINDINGS && !watch.found.contains(&found) {
            watch.found.push(found);
        }
        unknown
    }

    fn array(&mut self, parent: Option<&Frame>, depth: usize) -> Read<Value> {
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.bytes.get(self.at) == Some(&b']') {
            self.at += 1;
            return Ok(Value::Array(items));
        }
        loop {
            self.space();
            let item = self.value(Some(&Frame::index(parent, items.len())), depth)?;
            items.push(item);
            self.space();
            match self.bytes.get(self.at) {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::Array(items));
                }
                _ => return self.invalid("after array element"),
            }
        }
    }

    /// A string, borrowed if it has no escapes. The opening quote is here.
    fn string(&mut self) -> Read<Cow<'a, str>> {
        self.at += 1;
        let start = self.at;
        self.plain();
        match self.bytes.get(self.at) {
            Some(b'"') => {
                let text = &self.text[start..self.at];
                self.at += 1;
                Ok(Cow::Borrowed(text))
            }
            Some(b'\\') => self.escaped(start).map(Cow::Owned),
            _ => self.invalid("in string literal"),
        }
    }

    /// Passes over what stands for itself in a string.
    #[inline]
    fn plain(&mut self) {
        let rest = &self.bytes[self.at..];
        let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
        self.at += plain.unwrap_or(rest.len());
    }

    fn escaped(&mut self, start: usize) -> Read<String> {
        let mut out = self.text[start..self.at].to_string();
        loop {
            let run = self.at;
            self.plain();
            out.push_str(&self.text[run..self.at]);
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => self.escape(&mut out)?,
                _ => return self.invalid("in string literal"),
            }
        }
    }

    fn escape(&mut self, out: &mut String) -> Read<()> {
        self.at += 1;
        let letter = match self.bytes.get(self.at) {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(*byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                let first = self.hexadecimal()?;
                let letter = match first {
                    0xd800..0xdc00 if self.bytes[self.at..].starts_with(b"\\u") => {
                        let before = self.at;
                        self.at += 2;
                        let second = self.hexadecimal()?;
                        if (0xdc00..0xe000).contains(&second) {
                            char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))
                        } else {
                            self.at = before;
                            None
                        }
                    }
                    other => char::from_u32(other),
                };
                out.push(letter.unwrap_or(char::REPLACEMENT_CHARACTER));
                return Ok(());
            }
            _ => return self.invalid("in string escape code"),
        };
        self.at += 1;
        out.push(letter);
        Ok(())
    }

    fn hexadecimal(&mut self) -> Read<u32> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = self.bytes.get(self.at).and_then(|byte| char::from(*byte).to_digit(16));
            let Some(digit) = digit else { return self.invalid("in \\u hexadecimal character escape") };
            value = value * 16 + digit;
            self.at += 1;
        }
        Ok(value)
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.bytes.get(self.at) {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Read<Number> {
        let start = self.at;
        if self.bytes[self.at] == b'-' {
            self.at += 1;
        }
        match self.bytes.get(self.at) {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => {
                self.digits();
            }
            _ => return self.invalid("in numeric literal"),
        }
        let mut whole = true;
        if self.bytes.get(self.at) == Some(&b'.') {
            whole = false;
            self.at += 1;
            if self.digits() == 0 {
                return self.invalid("after decimal point in numeric literal");
            }
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            whole = false;
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return self.invalid("in exponent of numeric literal");
            }
        }
        let text = &self.text[start..self.at];
        if whole && let Ok(value) = text.parse::<i64>() {
            return Ok(Number::from(value));
        }
        match text.parse::<f64>().ok().and_then(Number::from_f64) {
            Some(number) => Ok(number),
            None => self.stop(format!("json: cannot unmarshal number {text} into Go value of type float64")),
        }
    }
}
