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
const DESCRIPTORS: [&str; 8] =
    ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly", "@every"];

/// Ok, or what is wrong.
///
/// # Errors
/// The text of what is wrong.
pub(crate) fn check(schedule: &str) -> Result<(), String> {
    if schedule.contains("TZ") {
        return Err("cannot use TZ or CRON_TZ in schedule, use timeZone field instead".into());
    }
    if schedule.starts_with('@') {
        let word = schedule.split(' ').next().unwrap_or_default();
        let known = DESCRIPTORS.contains(&word) && (word == "@every") == schedule.starts_with("@every ");
        return if known { Ok(()) } else { Err(format!("unrecognized descriptor: {schedule}")) };
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
