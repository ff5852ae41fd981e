//! Resource quantities: `100m`, `1.5Gi`, `2e3`, with upstream's canonical form.
//!
//! Answers to apimachinery's `api/resource`. A value is an exact number of billionths in an i128,
//! which holds every int64 with nine decimals; smaller fractions round up, as upstream rounds.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

const NANO: i128 = 1_000_000_000;
/// The largest magnitude upstream keeps: beyond int64 a value is capped.
const MAXIMUM: i128 = i64::MAX as i128 * NANO;

/// How a quantity is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// `1k`, `500m`
    #[default]
    DecimalSi,
    /// `1Ki`
    BinarySi,
    /// `1e3`
    DecimalExponent,
}

/// A text that is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Does not match the grammar.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// A suffix that does not exist.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// An exact amount and the format it was written in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nano: i128,
    format: Format,
}

impl Quantity {
    /// Zero.
    pub const ZERO: Self = Self { nano: 0, format: Format::DecimalSi };

    /// A whole number.
    pub fn from_units(value: i64, format: Format) -> Self {
        Self { nano: i128::from(value) * NANO, format }
    }

    /// A number of thousandths, as CPU is counted.
    pub fn from_milli(value: i64) -> Self {
        Self { nano: i128::from(value) * (NANO / 1000), format: Format::DecimalSi }
    }

    /// The value rounded up to a whole number, within int64.
    pub fn value(&self) -> i64 {
        self.scaled(NANO)
    }

    /// The value in thousandths, rounded up, within int64.
    pub fn milli(&self) -> i64 {
        self.scaled(NANO / 1000)
    }

    fn scaled(&self, unit: i128) -> i64 {
        let up = -(-self.nano).div_euclid(unit);
        i64::try_from(up).unwrap_or(if up < 0 { i64::MIN } else { i64::MAX })
    }

    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        self.nano == 0
    }

    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        self.nano.signum() as i32
    }

    /// The sum, in this quantity's format (or the other's if this is zero).
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let format = if self.nano == 0 { other.format } else { self.format };
        Self { nano: (self.nano + other.nano).clamp(-MAXIMUM, MAXIMUM), format }
    }

    /// The difference, in this quantity's format.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        let format = if self.nano == 0 { other.format } else { self.format };
        Self { nano: (self.nano - other.nano).clamp(-MAXIMUM, MAXIMUM), format }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}

/// Binary suffixes by power of 1024, and decimal ones by power of ten.
const BINARY: [(&str, u32); 6] = [("Ki", 1), ("Mi", 2), ("Gi", 3), ("Ti", 4), ("Pi", 5), ("Ei", 6)];
const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];

enum Scale {
    Ten(i32),
    Binary(u32),
}

fn suffix(text: &str) -> Result<(Scale, Format), Error> {
    if let Some((_, power)) = BINARY.iter().find(|(name, _)| *name == text) {
        return Ok((Scale::Binary(power * 10), Format::BinarySi));
    }
    if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == text) {
        return Ok((Scale::Ten(*power), Format::DecimalSi));
    }
    if let Some(exponent) = text.strip_prefix(['e', 'E']) {
        let exponent = exponent.parse::<i32>().map_err(|_| Error::Suffix)?;
        return Ok((Scale::Ten(exponent), Format::DecimalExponent));
    }
    // Letters that no suffix begins with are against the grammar; the rest is a suffix that does not exist.
    let letters = text.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let digits = letters.strip_prefix(['-', '+']).unwrap_or(letters);
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { Err(Error::Suffix) } else { Err(Error::Format) }
}

impl FromStr for Quantity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (negative, body) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            Some(_) => (false, text),
            None => return Err(Error::Format),
        };
        let split = body.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(body.len());
        let (number, rest) = body.split_at(split);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(Error::Format);
        }
        let (scale, format) = suffix(rest)?;
        let magnitude = magnitude(whole, fraction, &scale).min(MAXIMUM);
        Ok(Self { nano: if negative { -magnitude } else { magnitude }, format })
    }
}

/// Billionths of `whole.fraction` times the scale, rounded up, capped at the maximum.
fn magnitude(whole: &str, fraction: &str, scale: &Scale) -> i128 {
    let digits = whole.bytes().chain(fraction.bytes()).map(|byte| i128::from(byte - b'0'));
    let mut dropped = 0_i64;
    let mut inexact = false;
    let mut mantissa = 0_i128;
    for digit in digits {
        // 27 digits are beyond every cap; the rest only shifts the point.
        if mantissa < 10_i128.pow(27) {
            mantissa = mantissa * 10 + digit;
        } else {
            dropped += 1;
            inexact |= digit != 0;
        }
    }
    if mantissa == 0 {
        return 0;
    }
    let (binary, ten) = match scale {
        Scale::Binary(bits) => (*bits, 0),
        Scale::Ten(power) => (0, i64::from(*power)),
    };
    let mut shift = 9 + ten + dropped - i64::try_from(fraction.len()).unwrap_or(i64::MAX);
    let mut value = mantissa;
    let mut bits = binary;
    // Multiply while it fits, so that a division below loses nothing it need not.
    while bits > 0 {
        match value.checked_mul(2) {
            Some(next) => value = next,
            None => return MAXIMUM,
        }
        bits -= 1;
    }
    while shift > 0 {
        match value.checked_mul(10) {
            Some(next) if next <= MAXIMUM * 10 || shift <= 0 => value = next,
            _ => return MAXIMUM,
        }
        shift -= 1;
    }
    while shift < 0 && value > 0 {
        inexact |= value % 10 != 0;
        value /= 10;
        shift += 1;
    }
    value + i128::from(inexact)
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nano == 0 {
            return f.write_str("0");
        }
        let sign = if self.nano < 0 { "-" } else { "" };
        let magnitude = self.nano.unsigned_abs();
        let nano = NANO.unsigned_abs();
        // Below 1024 a binary quantity is written as a decimal one, and so is one with a fraction.
        if self.format == Format::BinarySi && magnitude.is_multiple_of(nano) && magnitude >= 1024 * nano {
            let mut value = magnitude / nano;
            let mut power = 0;
            while value.is_multiple_of(1024) && power < BINARY.len() {
                value /= 1024;
                power += 1;
            }
            let name = if power == 0 { "" } else { BINARY[power - 1].0 };
            return write!(f, "{sign}{value}{name}");
        }
        let mut value = magnitude;
        let mut power = -9_i32;
        while value.is_multiple_of(1000) && power < 18 {
            value /= 1000;
            power += 3;
        }
        if self.format == Format::DecimalExponent {
            return if power == 0 { write!(f, "{sign}{value}") } else { write!(f, "{sign}{value}e{power}") };
        }
        let name = DECIMAL.iter().find(|(_, one)| *one == power).map_or("", |(name, _)| name);
        write!(f, "{sign}{value}{name}")
    }
}

/// The canonical text of a quantity.
///
/// # Errors
/// If the text is no quantity.
pub fn canonical(text: &str) -> Result<String, Error> {
    text.parse::<Quantity>().map(|quantity| quantity.to_string())
}
