//! The times of a cron schedule in a time zone. The API server has checked the text.
//!
//! Invariant: the search for a time ends after five years. Answers to the cron library that upstream uses: a day must
//! fit both the day of the month and the day of the week if one of them is a star, else either.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

const YEARS_MAXIMUM: i16 = 5;
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Allowed values as bits, and whether the field was a star.
#[derive(Clone, Copy, Debug, Default)]
struct Field {
    bits: u64,
    star: bool,
}

impl Field {
    fn has(self, value: i8) -> bool {
        u32::try_from(value).is_ok_and(|value| value < 64 && self.bits & (1 << value) != 0)
    }
}

#[derive(Debug)]
enum Times {
    /// Every so often.
    Every(SignedDuration),
    /// Minute, hour, day of the month, month, day of the week.
    Fields([Field; 5]),
}

/// A schedule in a time zone.
#[derive(Debug)]
pub struct Schedule {
    times: Times,
    zone: TimeZone,
}

impl Schedule {
    /// Reads a schedule; none if the text is none.
    pub fn parse(text: &str, zone: TimeZone) -> Option<Self> {
        // Older objects may say the zone in the schedule itself.
        let (zone, text) = match text.strip_prefix("TZ=").or_else(|| text.strip_prefix("CRON_TZ=")) {
            Some(rest) => {
                let (name, rest) = rest.split_once(' ')?;
                (TimeZone::get(name).ok()?, rest.trim())
            }
            None => (zone, text.trim()),
        };
        let fields = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        if let Some(every) = fields.strip_prefix("@every ") {
            let every: SignedDuration = every.trim().parse().ok()?;
            // Whole seconds, and one at least.
            let every = SignedDuration::from_secs(every.as_secs().max(1));
            return Some(Self { times: Times::Every(every), zone });
        }
        let words: Vec<&str> = fields.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = words[..] else { return None };
        let fields = [
            field(minute, 0, 59, &[])?,
            field(hour, 0, 23, &[])?,
            field(day, 1, 31, &[])?,
            field(month, 1, 12, &MONTHS)?,
            field(weekday, 0, 6, &DAYS)?,
        ];
        Some(Self { times: Times::Fields(fields), zone })
    }

    /// Its time zone.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The first time after another; none if there is none within five years.
    pub fn after(&self, time: Timestamp) -> Option<Timestamp> {
        let fields = match &self.times {
            Times::Every(every) => {
                let whole = Timestamp::from_second(time.as_second()).ok()?;
                return whole.checked_add(*every).ok();
            }
            Times::Fields(fields) => fields,
        };
        let local = self.zone.to_datetime(time);
        let first = local.with().second(0).subsec_nanosecond(0).build().ok()?.checked_add(1.minute()).ok()?;
        let mut at = first;
        while at.year() - first.year() <= YEARS_MAXIMUM {
            match step(fields, at)? {
                Some(later) => at = later,
                None => {
                    // A time that a change of the clocks leaves out is none.
                    let found = self.zone.to_ambiguous_timestamp(at);
                    let exact = found.compatible().ok()?;
                    if exact > time && self.zone.to_datetime(exact) == at {
                        return Some(exact);
                    }
                    at = at.checked_add(1.minute()).ok()?;
                }
            }
        }
        None
    }

    /// The last time in `(after, until]`, and about how many there are.
    pub fn last(&self, after: Timestamp, until: Timestamp) -> Option<(Timestamp, i64)> {
        let first = self.after(after).filter(|first| *first <= until)?;
        let Some(second) = self.after(first).filter(|second| *second <= until) else {
            return Some((first, 1));
        };
        let interval = (second.as_second() - first.as_second()).max(1);
        let count = (until.as_second() - first.as_second()) / interval + 1;
        // From so near to the end that few are left to walk, ever farther back.
        let mut back = interval;
        loop {
            let from = Timestamp::from_second(until.as_second().saturating_sub(back)).ok()?.max(after);
            let mut found = self.after(from).filter(|time| *time <= until);
            if found.is_none() && from > after {
                back = back.saturating_mul(4);
                continue;
            }
            while let Some(next) = found.and_then(|last| self.after(last)).filter(|time| *time <= until) {
                found = Some(next);
            }
            return found.map(|last| (last, count));
        }
    }
}

/// Whether a time fits (none), or where to look next.
fn step(fields: &[Field; 5], at: DateTime) -> Option<Option<DateTime>> {
    let [minute, hour, day, month, weekday] = fields;
    let midnight = at.date().to_datetime(jiff::civil::Time::midnight());
    if !month.has(at.month()) {
        return Some(Some(midnight.first_of_month().checked_add(1.month()).ok()?));
    }
    let (by_day, by_week) = (day.has(at.day()), weekday.has(at.weekday().to_sunday_zero_offset()));
    let fits = if day.star || weekday.star { by_day && by_week } else { by_day || by_week };
    if !fits {
        return Some(Some(midnight.checked_add(1.day()).ok()?));
    }
    if !hour.has(at.hour()) {
        return Some(Some(at.with().minute(0).build().ok()?.checked_add(1.hour()).ok()?));
    }
    Some(if minute.has(at.minute()) { None } else { Some(at.checked_add(1.minute()).ok()?) })
}

fn field(text: &str, low: u32, high: u32, names: &[&str]) -> Option<Field> {
    let mut field = Field::default();
    for range in text.split(',') {
        let (base, step) = range.split_once('/').map_or((range, None), |(base, step)| (base, Some(step)));
        let step: u32 = step.map_or(Some(1), |step| step.parse().ok().filter(|step| *step > 0))?;
        let stepped = base.len() != range.len();
        let (from, to) = if base == "*" || base == "?" {
            field.star |= step == 1;
            (low, high)
        } else {
            let (from, to) = base.split_once('-').map_or((base, None), |(from, to)| (from, Some(to)));
            let from = number(from, low, names)?;
            let to = match to {
                Some(to) => number(to, low, names)?,
                None if stepped => high,
                None => from,
            };
            (from, to)
        };
        if from < low || to > high || from > to {
            return None;
        }
        let mut value = from;
        while value <= to {
            field.bits |= 1 << value;
            value = value.checked_add(step)?;
        }
    }
    Some(field)
}

fn number(text: &str, low: u32, names: &[&str]) -> Option<u32> {
    let lower = text.to_ascii_lowercase();
    match names.iter().position(|name| *name == lower) {
        Some(at) => Some(low + u32::try_from(at).ok()?),
        None => text.parse().ok(),
    }
}
