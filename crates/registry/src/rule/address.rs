//! Rules for addresses, ranges and ports.

use super::{Errors, range_text};
use crate::value::text;
use gifee_base::{FieldError, Path};
use serde_json::Value;
use std::net::IpAddr;

const IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
const PORT_NAME_MAXIMUM: usize = 15;

/// A text without zeros that lead numbers of an IPv4 address, with which old clients wrote them.
fn without_zeros(text: &str) -> String {
    let part = |part: &str| {
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let rest = part.trim_start_matches('0');
        if digits { if rest.is_empty() { "0" } else { rest } } else { part }.to_owned()
    };
    text.split('.').map(part).collect::<Vec<_>>().join(".")
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some())
}

/// Reports what is no address, or one that programs read in different ways; the address otherwise.
pub(crate) fn ip(errors: &mut Errors, value: &Value, path: &Path<'_>) -> Option<IpAddr> {
    let given = text(value);
    match given.parse::<IpAddr>() {
        Ok(address) => {
            if is_mapped(address) {
                let why = "must not be an IPv4-mapped IPv6 address";
                errors.push(FieldError::invalid(path, given, why));
            }
            Some(address)
        }
        Err(_) => {
            let address = without_zeros(given).parse().ok();
            let why = if address.is_some() { "must not have leading 0s" } else { IP };
            errors.push(FieldError::invalid(path, given, why));
            address
        }
    }
}

/// The same, but for addresses that stood there before.
pub(crate) fn ip_unless_old(errors: &mut Errors, value: &Value, old: &[&str], path: &Path<'_>) {
    if !old.contains(&text(value)) {
        ip(errors, value, path);
    }
}

/// An address and the length of its prefix.
pub(crate) fn parse_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let (address, bits): (IpAddr, u8) = (address.parse().ok()?, length.parse().ok()?);
    let maximum = if address.is_ipv4() { 32 } else { 128 };
    let plain = !length.starts_with('+') && (length.len() == 1 || !length.starts_with('0'));
    (bits <= maximum && plain).then_some((address, bits))
}

/// The first address of a range.
pub(crate) fn network(address: IpAddr, bits: u8) -> IpAddr {
    let keep = |width: u32| u128::MAX.checked_shl(width - u32::from(bits)).unwrap_or_default();
    match address {
        IpAddr::V4(address) => {
            let mask = u32::try_from(keep(32) & u128::from(u32::MAX)).unwrap_or(u32::MAX);
            IpAddr::from((u32::from(address) & mask).to_be_bytes())
        }
        IpAddr::V6(address) => IpAddr::from((u128::from(address) & keep(128)).to_be_bytes()),
    }
}

/// Reports what is no range of addresses, or one that programs read in different ways.
pub(crate) fn cidr(errors: &mut Errors, value: &Value, path: &Path<'_>) {
    let given = text(value);
    let zeros = given.split_once('/').and_then(|(address, length)| {
        parse_cidr(&format!("{}/{}", without_zeros(address), without_zeros(length)))
    });
    let why = match (parse_cidr(given), zeros) {
        (None, None) => CIDR,
        (None, _) => "must not have leading 0s in IP or prefix length",
        (Some((address, _)), _) if is_mapped(address) => "must not have an IPv4-mapped IPv6 address",
        (Some((address, bits)), _) if network(address, bits) != address => {
            "must not have bits set beyond the prefix length"
        }
        _ => return,
    };
    errors.push(FieldError::invalid(path, given, why));
}

/// The same, but for ranges that stood there before.
pub(crate) fn cidr_unless_old(errors: &mut Errors, value: &Value, old: &[&str], path: &Path<'_>) {
    if !old.contains(&text(value)) {
        cidr(errors, value, path);
    }
}

/// Reports a range that is not in its one written form.
pub(crate) fn canonical_cidr(errors: &mut Errors, value: &Value, path: &Path<'_>) {
    let before = errors.len();
    cidr(errors, value, path);
    if let Some((address, bits)) = parse_cidr(text(value)).filter(|_| errors.len() == before) {
        let form = format!("{address}/{bits}");
        if form != text(value) {
            let why = format!("must be in canonical form ({form:?})");
            errors.push(FieldError::invalid(path, text(value), &why));
        }
    }
}

/// What is wrong with a text that must be an address in its one written form.
pub(crate) fn canonical_ip(text: &str) -> Vec<String> {
    let mut errors = Errors::new();
    let address = ip(&mut errors, &text.into(), &Path::root(""));
    if !errors.is_empty() {
        return vec![if address.is_none() { IP } else { "must not have leading 0s" }.to_owned()];
    }
    address
        .map(|address| address.to_string())
        .filter(|form| form != text)
        .into_iter()
        .map(|form| format!("must be in canonical form ({form:?})"))
        .collect()
}

/// Warns of an address that is not written as others would write it.
pub(crate) fn ip_form(warnings: &mut Vec<String>, value: &Value, path: &Path<'_>) {
    let given = text(value);
    let plain = given.parse::<IpAddr>().ok();
    let Some(address) = plain.or_else(|| without_zeros(given).parse().ok()) else { return };
    if plain.is_none() || is_mapped(address) {
        let form = address.to_canonical();
        warnings.push(format!("{path}: non-standard IP address {given:?} is invalid: use \"{form}\""));
    } else if address.is_ipv6() && address.to_string() != given {
        warnings.push(format!(
            "{path}: IPv6 address {given:?} should be in RFC 5952 canonical format (\"{address}\")"
        ));
    }
}

/// Warns of a range that is not written as others would write it.
pub(crate) fn cidr_form(warnings: &mut Vec<String>, value: &Value, path: &Path<'_>) {
    let given = text(value);
    let Some((address, bits)) = parse_cidr(given) else { return };
    let (first, whole) = (network(address, bits), if address.is_ipv4() { 32 } else { 128 });
    if first != address {
        warnings.push(format!(
            "{path}: CIDR value {given:?} is ambiguous in this context (should be \"{first}/{bits}\" or \"{address}/{whole}\"?)"
        ));
    } else if address.is_ipv6() && format!("{address}/{bits}") != given {
        warnings.push(format!(
            "{path}: IPv6 CIDR value {given:?} should be in RFC 5952 canonical format (\"{address}/{bits}\")"
        ));
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn is_link_local_multicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[..3] == [224, 0, 0],
        IpAddr::V6(address) => address.segments()[0] & 0xff0f == 0xff02,
    }
}

/// Reports what is no address, or one that stands for no machine.
pub(crate) fn ordinary_ip(errors: &mut Errors, value: &Value, path: &Path<'_>) {
    let before = errors.len();
    ip(errors, value, path);
    if errors.len() == before {
        no_special_ip(errors, value, path);
    }
}

/// Reports an address that stands for no machine.
pub(crate) fn no_special_ip(errors: &mut Errors, value: &Value, path: &Path<'_>) {
    let Ok(address) = without_zeros(text(value)).parse::<IpAddr>() else {
        return errors.push(FieldError::invalid(path, text(value), "must be a valid IP address"));
    };
    let address = address.to_canonical();
    let mut wrong = |why: &str| errors.push(FieldError::invalid(path, text(value), why));
    if address.is_unspecified() {
        wrong(&format!("may not be unspecified ({})", text(value)));
    }
    if address.is_loopback() {
        wrong("may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    if is_link_local(address) {
        wrong("may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if is_link_local_multicast(address) {
        wrong("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

/// What is wrong with the name of a port.
pub(crate) fn port_name(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > PORT_NAME_MAXIMUM {
        wrong.push(format!("must be no more than {PORT_NAME_MAXIMUM} bytes"));
    }
    if text.is_empty()
        || !text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    {
        wrong.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        wrong.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        wrong.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        wrong.push("must not begin or end with a hyphen".to_owned());
    }
    wrong
}

/// Reports a port number out of range; an absent one counts as 0.
pub(crate) fn port(errors: &mut Errors, value: &Value, path: &Path<'_>) {
    let number = value.as_i64().unwrap_or_default();
    if !(1..=65_535).contains(&number) {
        errors.push(FieldError::invalid(path, number, &range_text(1, 65_535)));
    }
}

/// Reports what is neither a port number nor the name of a port.
pub(crate) fn port_or_name(errors: &mut Errors, value: &Value, path: &Path<'_>) {
    match value {
        Value::String(name) => super::named_text(errors, name, path, port_name),
        _ => port(errors, value, path),
    }
}

/// Whether a list of addresses holds at most one of each family, and how many.
pub(crate) fn families<'a>(list: impl Iterator<Item = &'a str>) -> (usize, usize) {
    list.filter_map(|one| one.split('/').next().and_then(|one| one.parse::<IpAddr>().ok()))
        .fold((0, 0), |(four, six), one| if one.is_ipv4() { (four + 1, six) } else { (four, six + 1) })
}
