//! Named formats: `format.dns1123Label().validate(text)`. Answers to the apiserver's `library/format.go`.

use base64::Engine;
use gifee_base::name;

use super::{Native, Outcome, time, url};
use crate::cel::error::Error;
use crate::cel::program::Budget;
use crate::cel::value::Value;

/// A format, by its place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format(usize);

struct Row {
    name: &'static str,
    /// The length of the regular expression that costs are counted by.
    regex_size: u64,
    validate: fn(&str) -> Vec<String>,
}

const fn row(name: &'static str, regex_size: u64, validate: fn(&str) -> Vec<String>) -> Row {
    Row { name, regex_size, validate }
}

static FORMATS: [Row; 13] = [
    row("dns1123Label", 30, name::dns_label),
    row("dns1123Subdomain", 60, name::dns_subdomain),
    row("dns1035Label", 30, name::dns1035_label),
    row("qualifiedName", 60, name::qualified),
    row("dns1123LabelPrefix", 30, |text| name::dns_label(&prefix(text))),
    row("dns1123SubdomainPrefix", 60, |text| name::dns_subdomain(&prefix(text))),
    row("dns1035LabelPrefix", 30, |text| name::dns1035_label(&prefix(text))),
    row("labelValue", 40, name::label_value),
    row("uri", 1103, |text| url::parse(text).err().into_iter().collect()),
    row("uuid", 70, |text| wrong(is_uuid(text), "does not match the UUID format")),
    row("byte", 84, |text| {
        wrong(base64::engine::general_purpose::STANDARD.decode(text).is_ok(), "invalid base64")
    }),
    row("date", 71, |text| {
        wrong(text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(), "invalid date")
    }),
    row("datetime", 71, |text| wrong(time::parse(text).is_ok(), "invalid datetime")),
];

impl Format {
    /// The length of the regular expression that costs are counted by.
    pub(in crate::cel) fn regex_size(self) -> u64 {
        FORMATS[self.0].regex_size
    }

    fn find(name: &str) -> Option<Format> {
        FORMATS.iter().position(|row| row.name == name).map(Format)
    }
}

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "validate" => validate,
        "format.named" => {
            |arguments, _| match arguments {
                [Value::String(name)] => Ok(Format::find(name)
                    .map_or(Value::Optional(None), |format| Value::some(Value::Format(format)))),
                _ => Err(Error::overload()),
            }
        }
        "format.dns1123Label" => |_, _| constant("dns1123Label"),
        "format.dns1123Subdomain" => |_, _| constant("dns1123Subdomain"),
        "format.dns1035Label" => |_, _| constant("dns1035Label"),
        "format.qualifiedName" => |_, _| constant("qualifiedName"),
        "format.dns1123LabelPrefix" => |_, _| constant("dns1123LabelPrefix"),
        "format.dns1123SubdomainPrefix" => |_, _| constant("dns1123SubdomainPrefix"),
        "format.dns1035LabelPrefix" => |_, _| constant("dns1035LabelPrefix"),
        "format.labelValue" => |_, _| constant("labelValue"),
        "format.uri" => |_, _| constant("uri"),
        "format.uuid" => |_, _| constant("uuid"),
        "format.byte" => |_, _| constant("byte"),
        "format.date" => |_, _| constant("date"),
        "format.datetime" => |_, _| constant("datetime"),
        _ => return None,
    })
}

fn constant<'a>(name: &str) -> Outcome<'a> {
    Format::find(name).map(Value::Format).ok_or_else(Error::overload)
}

fn validate<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    let [Value::Format(format), Value::String(text)] = arguments else { return Err(Error::overload()) };
    let wrong = (FORMATS[format.0].validate)(text);
    Ok(if wrong.is_empty() {
        Value::Optional(None)
    } else {
        Value::some(Value::list(wrong.into_iter().map(Value::text).collect()))
    })
}

fn wrong(right: bool, why: &str) -> Vec<String> {
    if right { Vec::new() } else { vec![why.to_owned()] }
}

/// A prefix may end with a dash, since more follows.
fn prefix(text: &str) -> String {
    match text.strip_suffix('-') {
        Some(rest) => format!("{rest}a"),
        None => text.to_owned(),
    }
}

fn is_uuid(text: &str) -> bool {
    let plain: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
    let dashes =
        text.len() == 32 || text.len() == 36 && [8, 13, 18, 23].iter().all(|at| text.as_bytes()[*at] == b'-');
    plain.len() == 32 && dashes && plain.iter().all(u8::is_ascii_hexdigit)
}
