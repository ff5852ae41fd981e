//! A cursor over JSON that is known to be well formed: our own encoding, or an API server's.
//!
//! Invariant: it never reads beyond the bytes and never recurses; what it cannot follow gives None, and the caller
//! asks a real parser. It checks no more than it needs: numbers, literals and commas are taken on trust.

use memchr::memchr2;
use std::borrow::Cow;
use std::ops::Range;

/// How many words of a string are looked at one by one before it counts as a long one.
const WORDS: usize = 8;

/// Where it is.
#[derive(Clone, Debug)]
pub struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// A string in the bytes, without its quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// From where to where.
    pub range: Range<usize>,
    /// Whether it holds escapes, so that its bytes are not its text.
    pub escaped: bool,
}

impl<'a> Scanner<'a> {
    /// At the beginning.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Where the next value begins.
    pub fn position(&mut self) -> usize {
        self.space();
        self.at
    }

    /// Up to where it has read.
    pub fn passed(&self) -> usize {
        self.at
    }

    /// Goes on behind what somebody else has read.
    pub fn pass(&mut self, to: usize) {
        self.at = to;
    }

    /// The first byte of the next value.
    pub fn peek(&mut self) -> Option<u8> {
        self.space();
        self.bytes.get(self.at).copied()
    }

    /// Whether nothing but white space follows.
    pub fn at_end(&mut self) -> bool {
        self.peek().is_none()
    }

    fn space(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    /// Takes a byte if it is the next one.
    pub fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// The next string.
    pub fn string(&mut self) -> Option<Text> {
        if !self.take(b'"') {
            return None;
        }
        let start = self.at;
        let mut escaped = false;
        loop {
            let found = stop(self.bytes, self.at)?;
            if self.bytes[found] == b'"' {
                self.at = found + 1;
                return Some(Text { range: start..found, escaped });
            }
            escaped = true;
            self.at = found + 2;
        }
    }

    /// The next key of an object, whose opening brace or a member was just passed; `Some(None)` at its end, which
    /// is passed, too.
    pub fn key(&mut self) -> Option<Option<Text>> {
        if self.take(b'}') {
            return Some(None);
        }
        // Before the first member there is no comma.
        self.take(b',');
        let key = self.string()?;
        self.take(b':').then_some(Some(key))
    }

    /// Whether another item of an array follows; its end is passed.
    pub fn item(&mut self) -> Option<bool> {
        if self.take(b']') {
            return Some(false);
        }
        self.take(b',');
        self.peek().map(|_| true)
    }

    /// Passes the next value, whatever it is.
    pub fn skip(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(drop),
            b'{' | b'[' => self.nested(),
            b'}' | b']' | b',' | b':' => None,
            _ => {
                self.scalar();
                Some(())
            }
        }
    }

    /// Passes an object or array: of what is in it only strings and brackets are looked at.
    fn nested(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.bytes.get(self.at)? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }

    fn scalar(&mut self) {
        let rest = &self.bytes[self.at..];
        let ends = |byte: &u8| {
            matches!(byte, b',' | b':' | b']' | b'}' | b'[' | b'{' | b'"') || byte.is_ascii_whitespace()
        };
        self.at += rest.iter().position(ends).unwrap_or(rest.len()).max(1);
    }
}

/// Where the next quote or escape is. Most strings end within a few words, sooner than a search that is made for long
/// ones has begun.
fn stop(bytes: &[u8], from: usize) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    // The highest bit of each byte that is zero, and of none before the first such byte.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & (ONES << 7);
    let mut at = from;
    for _ in 0..WORDS {
        let Some(word) = bytes.get(at..at + 8).and_then(|word| word.try_into().ok()) else { break };
        let word = u64::from_le_bytes(word);
        let found = zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\')));
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    Some(at + memchr2(b'"', b'\\', bytes.get(at..)?)?)
}

impl Text {
    /// The text itself.
    pub fn of<'a>(&self, bytes: &'a [u8]) -> Option<Cow<'a, str>> {
        if self.escaped {
            let quoted = bytes.get(self.range.start - 1..self.range.end + 1)?;
            return serde_json::from_slice(quoted).ok().map(Cow::Owned);
        }
        std::str::from_utf8(bytes.get(self.range.clone())?).ok().map(Cow::Borrowed)
    }
}

impl<'a> Scanner<'a> {
    /// Up to the value at a path of members.
    pub fn find(&mut self, path: &[&str]) -> Option<()> {
        for (depth, name) in path.iter().enumerate() {
            if depth > 0 && !self.take(b'{') {
                return None;
            }
            loop {
                let key = self.key()??;
                if !key.escaped && &self.bytes[key.range] == name.as_bytes() {
                    break;
                }
                self.skip()?;
            }
        }
        Some(())
    }

    /// The text of the next value, if it is a string.
    pub fn text(&mut self) -> Option<Cow<'a, str>> {
        self.string()?.of(self.bytes)
    }

    /// The JSON of the next value.
    pub fn value(&mut self) -> Option<&'a [u8]> {
        let start = self.position();
        self.skip()?;
        self.bytes.get(start..self.at)
    }
}

/// Where the value of a member of the object in `bytes` is. `Some(None)`: there is none of that name.
pub fn member(bytes: &[u8], name: &str) -> Option<Option<Range<usize>>> {
    let mut scanner = Scanner::new(bytes);
    if !scanner.take(b'{') {
        return None;
    }
    let mut found = None;
    while let Some(key) = scanner.key()? {
        let start = scanner.position();
        scanner.skip()?;
        if !key.escaped && &bytes[key.range] == name.as_bytes() {
            found = Some(start..scanner.at);
        }
    }
    scanner.at_end().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn check(text: &str, expect: Option<Option<&str>>) {
        let found = member(text.as_bytes(), "m").map(|found| found.map(|range| &text[range]));
        assert_eq!(found, expect, "{text}");
    }

    #[test]
    fn members_are_found_in_what_is_well_formed() {
        check(r#"{"a":[1,{"m":2}],"m":{"x":"}\""},"z":null}"#, Some(Some(r#"{"x":"}\""}"#)));
        check(" { \"a\" : \"m\" , \"m\" : -1.5e3 } ", Some(Some("-1.5e3")));
        check(r#"{"a":"\\","m":"b"}"#, Some(Some(r#""b""#)));
        check("{}", Some(None));
        check(r#"{"a":true}"#, Some(None));
        for bad in [
            "",
            "[]",
            "{",
            r#"{"a"}"#,
            r#"{"a":"b}"#,
            r#"{"a":{"b":1}"#,
            r#"{"a":1}x"#,
            "nonsense",
            "{\"a\":\"\\",
            "{]",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn a_value_is_found_by_its_path() {
        let bytes = br#"{"a":{"b":[{"c":"no"}],"c":"yes \u00fc"},"c":{"c":7,"d":"d"},"e":"e"}"#;
        let find = |bytes: &'static [u8], path: &[&str]| {
            let mut scanner = Scanner::new(bytes);
            (scanner.take(b'{') && scanner.find(path).is_some()).then_some(scanner)
        };
        for (path, text, value) in [
            (&["a", "c"][..], Some("yes \u{fc}"), Some(r#""yes \u00fc""#)),
            (&["c", "d"], Some("d"), Some(r#""d""#)),
            (&["e"], Some("e"), Some(r#""e""#)),
            (&["a", "b"], None, Some(r#"[{"c":"no"}]"#)),
            (&["c", "c"], None, Some("7")),
            (&["a", "b", "c"], None, None),
            (&["x"], None, None),
            (&["e", "e"], None, None),
        ] {
            assert_eq!(find(bytes, path).and_then(|mut found| found.text()).as_deref(), text, "{path:?}");
            let found = find(bytes, path).and_then(|mut found| found.value());
            assert_eq!(found, value.map(str::as_bytes), "{path:?}");
        }
        assert_eq!(find(b"{\"a\":\"b", &["a"]).and_then(|mut found| found.text()), None);
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC*".prop_map(Value::from),
            "[\"\\\\{}\\[\\],:\n]*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map("[m\"a-c]{0,3}", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_string_stops_where_it_ends(text in "[a-\u{e9}\"\\\\!#\u{20}]{0,90}", from in 0_usize..90) {
            let from = from.min(text.len());
            let plain = text.as_bytes()[from..].iter().position(|byte| matches!(byte, b'"' | b'\\'));
            prop_assert_eq!(stop(text.as_bytes(), from), plain.map(|found| from + found));
        }

        #[test]
        fn any_tree_is_passed_whole(value in tree(), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let text = text.unwrap();
            let mut scanner = Scanner::new(text.as_bytes());
            prop_assert_eq!(scanner.skip(), Some(()));
            prop_assert!(scanner.at_end());
            // Some floats read back as another one, but then in both places.
            let value: Value = serde_json::from_str(&text).unwrap();
            if let Value::Object(map) = &value {
                let found = member(text.as_bytes(), "m").unwrap();
                let found = found.map(|range| serde_json::from_str::<Value>(&text[range]).unwrap());
                prop_assert_eq!(found.as_ref(), map.get("m"));
            }
        }

        #[test]
        fn nothing_makes_it_panic(bytes: Vec<u8>, text in "[{}\\[\\]\",:\\\\a1 ]*") {
            let _ = member(&bytes, "m");
            let _ = member(text.as_bytes(), "m");
        }
    }
}
