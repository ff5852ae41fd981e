//! Rules for addresses, ranges and ports.

use super::{Errors, range_text};
use crate::value::text;
use gifee_base::{FieldError, Path};
use serde_json::Value;
use std::net::IpAddr;

const IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
const PORT_NAME_MAXIMUM: usize = 15;

/// Reports what is no address; the address otherwise.
pub(crate) fn ip(errors: &mut Errors, value: &Value, path: &Path<'_>) -> Option<IpAddr> {
    let address = text(value).parse().ok();
    if address.is_none() {
        errors.push(FieldError::invalid(path, text(value), IP));
    }
    address
}

/// An address and the length of its prefix.
pub(crate) fn parse_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let (address, bits): (IpAddr, u8) = (address.parse().ok()?, length.parse().ok()?);
    let maximum = if address.is_ipv4() { 32 } else { 128 };
    (bits <= maximum && !length.starts_with('+')).then_some((address, bits))
}

/// Reports what is no range of addresses.
pub(crate) fn cidr(errors: &mut Errors, value: &Value, path: &Path<'_>) {
    if parse_cidr(text(value)).is_none() {
        errors.push(FieldError::invalid(path, text(value), CIDR));
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
    let Some(address) = ip(errors, value, path) else { return };
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
