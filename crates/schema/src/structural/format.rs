//! The formats of strings that custom resources are validated against.
//!
//! Invariant: a format that is not supported for its type restricts nothing. Answers to kube-openapi's `strfmt` and to
//! apiextensions' list of supported formats.

use super::Type;
use crate::check::parse_duration;
use regex::Regex;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

/// A format of strings, its name without dashes.
type Format = (&'static str, fn(&str) -> bool);

const FORMATS: &[Format] = &[
    ("bsonobjectid", |text| text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit())),
    ("byte", |text| matches(&BASE64, text)),
    ("cidr", cidr),
    ("creditcard", credit_card),
    ("date", date),
    ("datetime", date_time),
    ("duration", duration),
    ("email", email),
    ("hexcolor", |text| matches(&HEX_COLOR, text)),
    ("hostname", hostname),
    ("ipv4", |text| ipv4(text).is_some()),
    ("ipv6", ipv6),
    ("isbn", |text| isbn10(text) || isbn13(text)),
    ("isbn10", isbn10),
    ("isbn13", isbn13),
    ("k8slongname", |text| text.len() <= 253 && text.split('.').all(is_label)),
    ("k8sshortname", |text| text.len() <= 63 && is_label(text)),
    ("mac", mac),
    ("password", |_| true),
    ("rgbcolor", |text| matches(&RGB_COLOR, text)),
    ("ssn", |text| matches(&SSN, text)),
    ("uri", uri),
    ("uuid", |text| uuid(text, None)),
    ("uuid3", |text| uuid(text, Some('3'))),
    ("uuid4", |text| uuid(text, Some('4'))),
    ("uuid5", |text| uuid(text, Some('5'))),
];

type Pattern = LazyLock<Option<Regex>>;

static BASE64: Pattern = LazyLock::new(|| {
    Regex::new("^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$").ok()
});
static HEX_COLOR: Pattern = LazyLock::new(|| Regex::new("^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$").ok());
static RGB_COLOR: Pattern = LazyLock::new(|| {
    let part = r"\s*(0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])\s*";
    Regex::new(&format!(r"^rgb\({part},{part},{part}\)$")).ok()
});
static SSN: Pattern = LazyLock::new(|| Regex::new("^[0-9]{3}[- ][0-9]{2}[- ][0-9]{4}$").ok());
static HOSTNAME: Pattern = LazyLock::new(|| {
    let letter = r"a-zA-Z0-9\p{S}\p{L}";
    Regex::new(&format!(
        r"^([{letter}]((-?[{letter}]{{0,62}})?)|([{letter}](([{letter}-]{{0,61}}[{letter}])?)(\.))+([a-zA-Z\p{{L}}]){{2,63}})$"
    ))
    .ok()
});
static CREDIT_CARD: Pattern = LazyLock::new(|| {
    Regex::new("^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|(222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11}|6[27][0-9]{14})$").ok()
});
static TIME: Pattern = LazyLock::new(|| {
    Regex::new(r"^([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))$").ok()
});
static SPOKEN_DURATION: Pattern = LazyLock::new(|| Regex::new("[0-9]+[\\t\\n\\f\\r ]*([A-Za-zµ]+)").ok());

fn matches(pattern: &Pattern, text: &str) -> bool {
    pattern.as_ref().is_some_and(|pattern| pattern.is_match(text))
}

fn find(format: &str) -> Option<&'static Format> {
    let name: String = format.chars().filter(|letter| *letter != '-').collect();
    FORMATS.iter().find(|(known, _)| *known == name)
}

/// Whether a format restricts values of a type.
pub(super) fn supported(format: &str, kind: Option<Type>, int_or_string: bool) -> bool {
    match kind {
        _ if format.is_empty() || int_or_string => false,
        None | Some(Type::String) => find(format).is_some(),
        Some(Type::Integer) => matches!(format, "int32" | "int64"),
        Some(Type::Number) => matches!(format, "float" | "double"),
        Some(_) => false,
    }
}

/// Whether a format, with the word of the type it stands beside, is one that restricts nothing.
pub fn unrecognized(format: &str, kind: &str) -> bool {
    !format.is_empty()
        && match kind {
            "" | "string" => find(format).is_none(),
            "integer" => !matches!(format, "int32" | "int64"),
            "number" => !matches!(format, "float" | "double"),
            _ => true,
        }
}

/// Whether a text has a format; None if the format says nothing of texts.
pub(super) fn holds(format: &str, text: &str) -> Option<bool> {
    find(format).map(|(_, holds)| holds(text))
}

fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = bytes.first().zip(bytes.last()).is_some_and(|(first, last)| inner(*first) && inner(*last));
    ends && bytes.iter().all(|byte| inner(*byte) || *byte == b'-')
}

/// Leading zeros are tolerated, as upstream does.
fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let parts: Option<Vec<u8>> = text
        .split('.')
        .map(|part| match part.bytes().all(|byte| byte.is_ascii_digit()) {
            true => part.parse::<u32>().ok().and_then(|part| u8::try_from(part).ok()),
            false => None,
        })
        .collect();
    <[u8; 4]>::try_from(parts?).ok().map(Ipv4Addr::from)
}

fn ipv6(text: &str) -> bool {
    text.contains(':') && text.parse::<Ipv6Addr>().is_ok()
}

fn cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let bits = match ipv4(address).map(IpAddr::V4).or_else(|| address.parse().ok()) {
        Some(IpAddr::V4(_)) => 32,
        Some(IpAddr::V6(_)) => 128,
        None => return false,
    };
    let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    digits && length.parse::<u32>().is_ok_and(|length| length <= bits)
}

fn date(text: &str) -> bool {
    let shape = text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    shape && text.parse::<jiff::civil::Date>().is_ok()
}

fn date_time(text: &str) -> bool {
    let lower = text.to_lowercase();
    let mut parts = lower.split('t');
    let (Some(day), Some(time)) = (parts.next(), parts.next()) else { return false };
    let within =
        || time.get(..2) <= Some("23") && time.get(3..5) <= Some("59") && time.get(6..8) <= Some("59");
    date(day) && matches(&TIME, time) && within()
}

fn duration(text: &str) -> bool {
    const UNITS: [&str; 8] = ["nano", "micro", "milli", "sec", "min", "hour", "day", "week"];
    const SHORT: [&str; 10] = ["ns", "us", "µs", "ms", "s", "m", "h", "hr", "d", "w"];
    let stripped = text.strip_prefix(['-', '+']).unwrap_or(text);
    if parse_duration(stripped).is_ok() {
        return true;
    }
    let Some(pattern) = &*SPOKEN_DURATION else { return false };
    pattern.captures_iter(text).any(|found| {
        let unit = found[1].to_lowercase();
        unit == "wk" || SHORT.contains(&&*unit) || UNITS.iter().any(|one| unit.starts_with(one))
    })
}

fn email(text: &str) -> bool {
    let address = match text.rsplit_once('<') {
        Some((_, rest)) => match rest.trim_end().strip_suffix('>') {
            Some(address) => address,
            None => return false,
        },
        None => text.trim(),
    };
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let atom =
        |letter: char| !letter.is_whitespace() && !letter.is_control() && !"()<>[]:;@\\,\"".contains(letter);
    let dotted = |text: &str| {
        !text.is_empty()
            && text.chars().all(atom)
            && !text.starts_with('.')
            && !text.ends_with('.')
            && !text.contains("..")
    };
    let quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
    (quoted || dotted(local)) && (dotted(domain) || domain.starts_with('[') && domain.ends_with(']'))
}

fn hostname(text: &str) -> bool {
    text.len() <= 255 && text.split('.').all(|part| part.len() <= 63) && matches(&HOSTNAME, text)
}

fn mac(text: &str) -> bool {
    let hex = |part: &str, length: usize| part.len() == length && part.bytes().all(|b| b.is_ascii_hexdigit());
    let octets = |separator: char, length: usize| {
        let parts: Vec<&str> = text.split(separator).collect();
        let right = parts.iter().all(|part| hex(part, length));
        right && matches!(parts.len() * length / 2, 6 | 8 | 20)
    };
    octets(':', 2) || octets('-', 2) || octets('.', 4)
}

fn digits_of(text: &str) -> Vec<u32> {
    text.chars().filter_map(|letter| letter.to_digit(10)).collect()
}

fn isbn10(text: &str) -> bool {
    let bare: String = text.chars().filter(|letter| !matches!(letter, ' ' | '-')).collect();
    let shape = bare.len() == 10
        && bare.bytes().enumerate().all(|(at, byte)| byte.is_ascii_digit() || at == 9 && byte == b'X');
    let weighted = |(at, letter): (usize, char)| (at as u32 + 1) * letter.to_digit(10).unwrap_or(10);
    shape && bare.chars().enumerate().map(weighted).sum::<u32>() % 11 == 0
}

fn isbn13(text: &str) -> bool {
    let bare: String = text.chars().filter(|letter| !matches!(letter, ' ' | '-')).collect();
    let digits = digits_of(&bare);
    let weighted = |(at, digit): (usize, &u32)| if at % 2 == 0 { *digit } else { digit * 3 };
    bare.len() == 13
        && digits.len() == 13
        && (bare.starts_with("978") || bare.starts_with("979"))
        && digits.iter().enumerate().map(weighted).sum::<u32>() % 10 == 0
}

fn credit_card(text: &str) -> bool {
    let bare: String = text.chars().filter(char::is_ascii_digit).collect();
    let doubled = |(at, digit): (usize, &u32)| match at % 2 {
        0 => *digit,
        _ if *digit > 4 => digit * 2 - 9,
        _ => digit * 2,
    };
    matches(&CREDIT_CARD, &bare)
        && digits_of(&bare).iter().rev().enumerate().map(doubled).sum::<u32>() % 10 == 0
}

/// An absolute URI, or an absolute path.
fn uri(text: &str) -> bool {
    if text.is_empty() || text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return false;
    }
    let path = match text.split_once(':') {
        _ if text.starts_with('/') => text,
        Some((scheme, rest)) => {
            let first = scheme.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
            if !first || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) {
                return false;
            }
            rest
        }
        None => return text == "*",
    };
    let hex = |text: &str| text.len() >= 2 && text.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    let authority = path.strip_prefix("//").map(|rest| rest.split(['/', '?']).next().unwrap_or_default());
    path.split('%').skip(1).all(hex) && !authority.is_some_and(|host| host.contains(' '))
}

fn uuid(text: &str, version: Option<char>) -> bool {
    let mut rest = text;
    let mut part = |length: usize| {
        let (found, after) = rest.split_at_checked(length)?;
        rest = after.strip_prefix('-').unwrap_or(after);
        found.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(found)
    };
    let parts: Option<Vec<&str>> = [8, 4, 4, 4].into_iter().map(&mut part).collect();
    let Some(parts) = parts else { return false };
    let variant = matches!(version, None | Some('3')) || parts[3].starts_with(['8', '9', 'a', 'b', 'A', 'B']);
    let last = rest.len() == 12 && rest.bytes().all(|byte| byte.is_ascii_hexdigit());
    last && variant && version.is_none_or(|version| parts[2].starts_with(version))
}
