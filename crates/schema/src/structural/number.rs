//! Numbers and values as Go prints them in messages about limits.

use serde_json::{Number, Value};

/// A float as `%v` prints it.
pub(super) fn float(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let exponent = value.abs().log10().floor();
    if !(-4.0..21.0).contains(&exponent) {
        // 1e+21, 1.5e-07: a sign and at least two digits.
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    format!("{value}")
}

/// Whether a number is a whole one that integers stand for.
pub(super) fn whole(number: &Number) -> Option<i64> {
    number.as_i64().filter(|_| !number.is_f64())
}

/// A value as a field error shows it: floats as `%v` prints them.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Number(number) if number.is_f64() => number.as_f64().map(float).unwrap_or_default(),
        Value::String(text) => crate::go::quote(text),
        other => other.to_string(),
    }
}
