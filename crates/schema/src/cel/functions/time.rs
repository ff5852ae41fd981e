//! Durations and timestamps: reading, printing, arithmetic, and the parts of both.

use jiff::tz::TimeZone;
use jiff::{Timestamp as Instant, Zoned};

use super::{Native, Outcome};
use crate::cel::error::Error;
use crate::cel::program::Budget;
use crate::cel::value::{Timestamp, Value};
use crate::check::duration;

/// Years 1 to 9999, as CEL bounds timestamps.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "duration" => |arguments, _| match arguments {
            [value @ Value::Duration(_)] => Ok(value.clone()),
            [Value::String(text)] => duration::nanoseconds(text).map(Value::Duration).map_err(Error::new),
            [other] => Err(refused(other, "google.protobuf.Duration")),
            _ => Err(Error::overload()),
        },
        "timestamp" => |arguments, _| match arguments {
            [value @ Value::Timestamp(_)] => Ok(value.clone()),
            [Value::String(text)] => parse(text).map(Value::Timestamp),
            [Value::Int(seconds)] => bounded(*seconds, 0).map(Value::Timestamp),
            [other] => Err(refused(other, "google.protobuf.Timestamp")),
            _ => Err(Error::overload()),
        },
        "getFullYear" => |arguments, _| part(arguments, |at| at.year().into(), None),
        "getMonth" => |arguments, _| part(arguments, |at| i64::from(at.month()) - 1, None),
        "getDate" => |arguments, _| part(arguments, |at| at.day().into(), None),
        "getDayOfMonth" => |arguments, _| part(arguments, |at| i64::from(at.day()) - 1, None),
        "getDayOfWeek" => {
            |arguments, _| part(arguments, |at| at.weekday().to_sunday_zero_offset().into(), None)
        }
        "getDayOfYear" => |arguments, _| part(arguments, |at| i64::from(at.day_of_year()) - 1, None),
        "getHours" => |arguments, _| part(arguments, |at| at.hour().into(), Some(3_600_000_000_000)),
        "getMinutes" => |arguments, _| part(arguments, |at| at.minute().into(), Some(60_000_000_000)),
        "getSeconds" => |arguments, _| part(arguments, |at| at.second().into(), Some(1_000_000_000)),
        "getMilliseconds" => milliseconds,
        _ => return None,
    })
}

fn refused(value: &Value<'_>, to: &str) -> Error {
    Error::new(format!("type conversion error from '{}' to '{to}'", value.type_name()))
}

fn bounded(seconds: i64, nanoseconds: u32) -> Result<Timestamp, Error> {
    if SECONDS.contains(&seconds) {
        Ok(Timestamp { seconds, nanoseconds })
    } else {
        Err(Error::new("timestamp overflow"))
    }
}

/// Reads RFC 3339.
pub(in crate::cel) fn parse(text: &str) -> Result<Timestamp, Error> {
    let refused = || {
        Error::new(format!(
            "parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text:?} as \"2006\""
        ))
    };
    let strict = text.len() >= 20 && text.as_bytes().get(10) == Some(&b'T') && !text.contains(['[', ',']);
    let instant: Instant = text.parse().ok().filter(|_| strict).ok_or_else(refused)?;
    // Whole seconds below, nanoseconds above: also before 1970.
    let nanoseconds = instant.as_nanosecond();
    let seconds = nanoseconds.div_euclid(1_000_000_000) as i64;
    bounded(seconds, nanoseconds.rem_euclid(1_000_000_000) as u32)
}

/// A text of a schema with the format `date` or `date-time`.
pub(in crate::cel) fn schema_time<'a>(text: &str) -> Outcome<'a> {
    if let Ok(date) = text.parse::<jiff::civil::Date>()
        && text.len() == 10
    {
        let at = date.to_zoned(TimeZone::UTC).map_err(|error| Error::new(error.to_string()))?;
        return Ok(Value::Timestamp(Timestamp { seconds: at.timestamp().as_second(), nanoseconds: 0 }));
    }
    parse(text)
        .map(Value::Timestamp)
        .map_err(|error| Error::new(format!("Invalid date-time formatted string {text}: {error}")))
}

/// A text of a schema with the format `duration`, which knows days and weeks and words.
pub(in crate::cel) fn schema_duration<'a>(text: &str) -> Outcome<'a> {
    if let Ok(nanoseconds) = duration::nanoseconds(text) {
        return Ok(Value::Duration(nanoseconds));
    }
    const UNITS: &[(&[&str], i64)] = &[
        (&["ns", "nano", "nanos", "nanosecond", "nanoseconds"], 1),
        (&["us", "µs", "micro", "micros", "microsecond", "microseconds"], 1_000),
        (&["ms", "milli", "millis", "millisecond", "milliseconds"], 1_000_000),
        (&["s", "sec", "secs", "second", "seconds"], 1_000_000_000),
        (&["m", "min", "mins", "minute", "minutes"], 60_000_000_000),
        (&["h", "hr", "hour", "hours"], 3_600_000_000_000),
        (&["d", "day", "days"], 86_400_000_000_000),
        (&["w", "wk", "week", "weeks"], 604_800_000_000_000),
    ];
    let refused = || Error::new(format!("Invalid duration {text}: unable to parse {text} as duration"));
    let mut total: i64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(refused());
    }
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(refused)?;
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let end = after.find(|letter: char| letter.is_ascii_digit() || letter.is_whitespace());
        let (unit, left) = after.split_at(end.unwrap_or(after.len()));
        let unit = unit.to_lowercase();
        let scale = UNITS.iter().find(|(names, _)| names.contains(&unit.as_str())).ok_or_else(refused)?.1;
        let amount = number.parse::<i64>().ok().and_then(|amount| amount.checked_mul(scale));
        total = amount.and_then(|amount| total.checked_add(amount)).ok_or_else(refused)?;
        rest = left.trim_start();
    }
    Ok(Value::Duration(total))
}

/// A timestamp moved by nanoseconds.
pub(super) fn shift<'a>(at: Timestamp, by: i64) -> Outcome<'a> {
    let nanoseconds = i128::from(at.seconds) * 1_000_000_000 + i128::from(at.nanoseconds) + i128::from(by);
    let seconds = nanoseconds.div_euclid(1_000_000_000) as i64;
    bounded(seconds, nanoseconds.rem_euclid(1_000_000_000) as u32).map(Value::Timestamp)
}

/// The time from the second to the first.
pub(super) fn between<'a>(a: Timestamp, b: Timestamp) -> Outcome<'a> {
    let nanoseconds = i128::from(a.seconds - b.seconds) * 1_000_000_000 + i128::from(a.nanoseconds)
        - i128::from(b.nanoseconds);
    i64::try_from(nanoseconds).map(Value::Duration).map_err(|_| Error::new("integer overflow"))
}

/// A duration as CEL prints it: in seconds.
pub(in crate::cel) fn print_duration(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let all = nanoseconds.unsigned_abs();
    let (seconds, rest) = (all / 1_000_000_000, all % 1_000_000_000);
    if rest == 0 {
        return format!("{sign}{seconds}s");
    }
    let fraction = format!("{rest:09}");
    format!("{sign}{seconds}.{}s", fraction.trim_end_matches('0'))
}

/// A timestamp in RFC 3339.
pub(in crate::cel) fn print_time(at: Timestamp) -> String {
    Instant::new(at.seconds, 0).map_or_else(
        |_| at.seconds.to_string(),
        |instant| {
            let text = instant.to_string();
            if at.nanoseconds == 0 {
                return text;
            }
            let fraction = format!("{:09}", at.nanoseconds);
            format!("{}.{}Z", text.trim_end_matches('Z'), fraction.trim_end_matches('0'))
        },
    )
}

fn zone(name: &str) -> Result<TimeZone, Error> {
    let unknown = || Error::new(format!("unknown time zone {name}"));
    let (sign, digits) = match name.as_bytes().first() {
        Some(b'-') => (-1, &name[1..]),
        Some(b'+') => (1, &name[1..]),
        _ => (1, name),
    };
    if let Some((hours, minutes)) = digits.split_once(':') {
        let hours: i32 = hours.parse().map_err(|_| unknown())?;
        let minutes: i32 = minutes.parse().map_err(|_| unknown())?;
        let seconds = hours.checked_mul(3_600).and_then(|hours| hours.checked_add(minutes.checked_mul(60)?));
        let offset = seconds.and_then(|seconds| jiff::tz::Offset::from_seconds(sign * seconds).ok());
        return offset.map(TimeZone::fixed).ok_or_else(unknown);
    }
    if name.is_empty() || name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    TimeZone::get(name).map_err(|_| unknown())
}

fn zoned(arguments: &[Value<'_>]) -> Result<Zoned, Error> {
    let (at, zone) = match arguments {
        [Value::Timestamp(at)] => (at, TimeZone::UTC),
        [Value::Timestamp(at), Value::String(name)] => (at, zone(name)?),
        _ => return Err(Error::overload()),
    };
    let instant = Instant::new(at.seconds, 0).map_err(|_| Error::new("timestamp overflow"))?;
    Ok(instant.to_zoned(zone))
}

fn part<'a>(arguments: &[Value<'a>], of: fn(&Zoned) -> i64, unit: Option<i64>) -> Outcome<'a> {
    if let ([Value::Duration(nanoseconds)], Some(unit)) = (arguments, unit) {
        return Ok(Value::Int(nanoseconds / unit));
    }
    zoned(arguments).map(|at| Value::Int(of(&at)))
}

fn milliseconds<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::Duration(nanoseconds)] => Ok(Value::Int(nanoseconds / 1_000_000)),
        [Value::Timestamp(at), ..] => {
            zoned(arguments)?;
            Ok(Value::Int(i64::from(at.nanoseconds / 1_000_000)))
        }
        _ => Err(Error::overload()),
    }
}
