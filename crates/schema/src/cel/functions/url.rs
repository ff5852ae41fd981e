//! URLs as Go's `net/url` reads them, which is not as browsers do. Answers to the apiserver's `library/urls.go`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::{Native, Outcome};
use crate::cel::error::Error;
use crate::cel::value::{Key, Text, Value};

/// A URL that is absolute, or a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    text: String,
    scheme: String,
    host: String,
    path: String,
    query: String,
}

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "url" => |arguments, _| match arguments {
            [Value::String(text)] => parse(text)
                .map(|url| Value::Url(Arc::new(url)))
                .map_err(|why| Error::new(format!("URL parse error during conversion from string: {why}"))),
            _ => Err(Error::overload()),
        },
        "isURL" => |arguments, _| match arguments {
            [Value::String(text)] => Ok(Value::Bool(parse(text).is_ok())),
            _ => Err(Error::overload()),
        },
        "getScheme" => |arguments, _| part(arguments, |url| url.scheme.clone()),
        "getHost" => |arguments, _| part(arguments, |url| url.host.clone()),
        "getHostname" => |arguments, _| {
            part(arguments, |url| url.split().0.trim_start_matches('[').trim_end_matches(']').to_owned())
        },
        "getPort" => |arguments, _| part(arguments, |url| url.split().1.to_owned()),
        "getEscapedPath" => |arguments, _| part(arguments, |url| escaped(&url.path)),
        "getQuery" => |arguments, _| match arguments {
            [Value::Url(url)] => Ok(query(&url.query)),
            _ => Err(Error::overload()),
        },
        _ => return None,
    })
}

fn part<'a>(arguments: &[Value<'a>], part: fn(&Url) -> String) -> Outcome<'a> {
    match arguments {
        [Value::Url(url)] => Ok(Value::text(part(url))),
        _ => Err(Error::overload()),
    }
}

impl Url {
    /// Host and port.
    fn split(&self) -> (&str, &str) {
        let after = self.host.rfind(']').map_or(0, |at| at + 1);
        match self.host[after..].rfind(':') {
            Some(at) => (&self.host[..after + at], &self.host[after + at + 1..]),
            None => (&self.host, ""),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

/// Reads an absolute URL or an absolute path.
///
/// # Errors
/// Go's text.
pub(in crate::cel) fn parse(text: &str) -> Result<Url, String> {
    let refused = |why: &str| format!("parse {text:?}: {why}");
    if text.is_empty() {
        return Err(refused("empty url"));
    }
    if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return Err(refused("net/url: invalid control character in URL"));
    }
    let plain = text.split_once('#').map_or(text, |(plain, _)| plain);
    let (scheme, rest) = scheme(plain).map_err(refused)?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !rest.starts_with('/') {
        if scheme.is_empty() {
            return Err(refused("invalid URI for request"));
        }
        return Ok(Url {
            text: text.into(),
            scheme,
            host: String::new(),
            path: String::new(),
            query: query.into(),
        });
    }
    let with_host = rest.strip_prefix("//").filter(|_| !scheme.is_empty() || !rest.starts_with("///"));
    let (authority, path) = match with_host {
        Some(rest) if !scheme.is_empty() => {
            rest.find('/').map_or((rest, ""), |at| (&rest[..at], &rest[at..]))
        }
        _ => ("", rest),
    };
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    check_host(host).map_err(|why| refused(&why))?;
    check_escapes(path).map_err(|why| refused(&why))?;
    Ok(Url {
        text: text.into(),
        scheme: scheme.to_ascii_lowercase(),
        host: host.into(),
        path: path.into(),
        query: query.into(),
    })
}

fn scheme(text: &str) -> Result<(String, &str), &'static str> {
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at == 0 => return Err("missing protocol scheme"),
            b':' => return Ok((text[..at].to_owned(), &text[at + 1..])),
            _ => break,
        }
    }
    Ok((String::new(), text))
}

fn check_host(host: &str) -> Result<(), String> {
    let after = match (host.starts_with('['), host.rfind(']')) {
        (true, None) => return Err("missing ']' in host".into()),
        (true, Some(at)) => &host[at + 1..],
        (false, _) => host.rfind(':').map_or("", |at| &host[at..]),
    };
    let valid = after.is_empty()
        || after.strip_prefix(':').is_some_and(|port| port.bytes().all(|digit| digit.is_ascii_digit()));
    if !valid {
        return Err(format!("invalid port {after:?} after host"));
    }
    if let Some(letter) = host
        .chars()
        .find(|letter| matches!(letter, ' ' | '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}'))
    {
        return Err(format!("invalid character {:?} in host name", letter.to_string()));
    }
    Ok(())
}

fn check_escapes(text: &str) -> Result<(), String> {
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let digits = bytes.get(at + 1..at + 3);
        if *byte == b'%' && !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
            let end = (at + 3).min(bytes.len());
            return Err(format!("invalid URL escape {:?}", String::from_utf8_lossy(&bytes[at..end])));
        }
    }
    Ok(())
}

/// A path with what may not stand in one escaped; what is escaped already stays.
fn escaped(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@%!'()*[]".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            }
            other => bytes.push(other),
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn query<'a>(text: &str) -> Value<'a> {
    let mut values: BTreeMap<String, Vec<Value<'a>>> = BTreeMap::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if let (Some(key), Some(value)) = (unescaped(key), unescaped(value)) {
            values.entry(key).or_default().push(Value::text(value));
        }
    }
    let entries =
        values.into_iter().map(|(key, values)| (Key::String(Text::Shared(key.into())), Value::list(values)));
    Value::Map(Arc::new(entries.collect()))
}
