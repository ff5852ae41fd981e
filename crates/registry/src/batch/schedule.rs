//! Whether a text is a cron schedule.
//!
//! Answers to `ParseStandard` of the cron library that upstream uses, and to its error texts.

const FIELDS: [(i64, i64, &[&str]); 5] = [
    (0, 59, &[]),
    (0, 23, &[]),
    (1, 31, &[]),
    (1, 12, &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
    (0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
];
const DESCRIPTORS: [&str; 7] =
    ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
const UNITS: [&str; 7] = ["ns", "us", "\u{b5}s", "\u{3bc}s", "ms", "s", "m"];

/// Ok, or what is wrong.
///
/// # Errors
/// The text of what is wrong.
pub(crate) fn check(schedule: &str) -> Result<(), String> {
    let zoned = schedule.strip_prefix("CRON_").unwrap_or(schedule).strip_prefix("TZ=");
    let schedule = match zoned.map(|rest| rest.split_once(' ')) {
        None => schedule,
        Some(None) => return Err("invalid schedule format: time zone without schedule".to_owned()),
        Some(Some((zone, rest))) => {
            if !matches!(zone, "" | "UTC" | "Local") && jiff::tz::TimeZone::get(zone).is_err() {
                return Err(format!("provided bad location {zone}: unknown time zone {zone}"));
            }
            rest.trim()
        }
    };
    if schedule.starts_with('@') {
        return match schedule.strip_prefix("@every ") {
            Some(duration) if !is_duration(duration) => {
                Err(format!("failed to parse duration {schedule}: time: invalid duration {duration:?}"))
            }
            None if !DESCRIPTORS.contains(&schedule) => Err(format!("unrecognized descriptor: {schedule}")),
            _ => Ok(()),
        };
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        let shown = fields.join(" ");
        return Err(format!("expected exactly 5 fields, found {}: [{shown}]", fields.len()));
    }
    for (field, (low, high, names)) in fields.iter().zip(FIELDS) {
        for range in field.split(',') {
            check_range(range, low, high, names)?;
        }
    }
    Ok(())
}

/// Whether it is a duration such as `1h30m`.
fn is_duration(text: &str) -> bool {
    let mut rest = text.trim_start_matches(['+', '-']);
    if rest == "0" {
        return true;
    }
    let mut parts = 0;
    while !rest.is_empty() {
        let unit = rest.trim_start_matches(|one: char| one.is_ascii_digit() || one == '.');
        let number = &rest[..rest.len() - unit.len()];
        let next = unit.find(|one: char| one.is_ascii_digit() || one == '.').unwrap_or(unit.len());
        let known = unit[..next] == *"h" || UNITS.contains(&&unit[..next]);
        if !known || number.matches('.').count() > 1 || number.trim_matches('.').is_empty() {
            return false;
        }
        rest = &unit[next..];
        parts += 1;
    }
    parts > 0
}

fn number(text: &str, names: &[&str], low: i64) -> Result<i64, String> {
    let lower = text.to_ascii_lowercase();
    if let Some(at) = names.iter().position(|name| *name == lower) {
        return Ok(low + i64::try_from(at).unwrap_or_default());
    }
    text.parse::<u32>().map(i64::from).map_err(|_| {
        format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax")
    })
}

fn check_range(range: &str, low: i64, high: i64, names: &[&str]) -> Result<(), String> {
    let mut halves = range.split('/');
    let (base, step, more) = (halves.next().unwrap_or_default(), halves.next(), halves.next());
    if more.is_some() {
        return Err(format!("too many slashes: {range}"));
    }
    let (start, end) = if base == "*" || base == "?" {
        (low, high)
    } else {
        let mut ends = base.split('-');
        let start = number(ends.next().unwrap_or_default(), names, low)?;
        let end = match ends.next() {
            Some(end) => number(end, names, low)?,
            None if step.is_some() => high,
            None => start,
        };
        if ends.next().is_some() {
            return Err(format!("too many hyphens: {range}"));
        }
        (start, end)
    };
    // 0 and 7 both stand for Sunday in many crons, but not in this one.
    if start < low {
        return Err(format!("beginning of range ({start}) below minimum ({low}): {range}"));
    }
    if end > high {
        return Err(format!("end of range ({end}) above maximum ({high}): {range}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {range}"));
    }
    match step.map(|step| number(step, &[], 0)).transpose()? {
        Some(0) => Err(format!("step of range should be a positive number: {range}")),
        _ => Ok(()),
    }
}
