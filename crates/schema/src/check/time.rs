//! Times as Go reads and writes them: RFC 3339, in UTC, in whole seconds or microseconds.

use std::borrow::Cow;

use crate::go::quote;

struct Reader<'a> {
    whole: &'a str,
    rest: &'a str,
    layout: &'static str,
}

type Read<T> = Result<T, String>;

/// The canonical text of a time: UTC, in whole seconds, or with `micro` in microseconds. Empty for the zero time,
/// year 1, which stands for no time.
///
/// # Errors
/// Go's text, `parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006"`.
pub fn canonical(text: &str, micro: bool) -> Result<Cow<'_, str>, String> {
    if is_canonical(text.as_bytes(), micro) {
        return Ok(Cow::Borrowed(text));
    }
    let layout = if micro { "2006-01-02T15:04:05.000000Z07:00" } else { "2006-01-02T15:04:05Z07:00" };
    let mut reader = Reader { whole: text, rest: text, layout };
    let (seconds, micros) = reader.read(micro)?;
    let days = seconds.div_euclid(86_400);
    let (year, month, day) = civil(days);
    if (year, month, day, seconds.rem_euclid(86_400), micros) == (1, 1, 1, 0, 0) {
        return Ok(Cow::Borrowed(""));
    }
    let second = seconds.rem_euclid(86_400);
    if !(0..=9999).contains(&year) {
        return reader.range("year");
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let start = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    Ok(Cow::Owned(if micro { format!("{start}.{micros:06}Z") } else { format!("{start}Z") }))
}

/// The common case, without reading: the right form, and numbers that need no thought.
fn is_canonical(text: &[u8], micro: bool) -> bool {
    const FORM: &[u8] = b"0000-00-00T00:00:00.000000Z";
    let form = |form: &[u8], text: &[u8]| {
        form.len() == text.len()
            && form.iter().zip(text).all(|(form, byte)| match form {
                b'0' => byte.is_ascii_digit(),
                other => other == byte,
            })
    };
    let fits = match micro {
        true => form(FORM, text),
        false => text.len() == 20 && form(&FORM[..19], &text[..19]) && text[19] == b'Z',
    };
    if !fits {
        return false;
    }
    let two = |at: usize| (text[at] - b'0') * 10 + (text[at + 1] - b'0');
    let year_one = text.starts_with(b"0001") || text.starts_with(b"0000");
    (1..=12).contains(&two(5))
        && (1..=28).contains(&two(8))
        && two(11) < 24
        && two(14) < 60
        && two(17) < 60
        && !year_one
}

impl<'a> Reader<'a> {
    fn bad<T>(&self, element: &str, at: &str) -> Read<T> {
        Err(format!(
            "parsing time {} as {}: cannot parse {} as {}",
            quote(self.whole),
            quote(self.layout),
            quote(at),
            quote(element)
        ))
    }

    fn range<T>(&self, what: &str) -> Read<T> {
        Err(format!("parsing time {}: {what} out of range", quote(self.whole)))
    }

    fn literal(&mut self, text: &'static str) -> Read<()> {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None => self.bad(text, self.rest),
        }
    }

    fn digits(&mut self, element: &'static str, minimum: usize, maximum: usize) -> Read<i64> {
        let count = self.rest.bytes().take(maximum).take_while(u8::is_ascii_digit).count();
        if count < minimum {
            return self.bad(element, self.rest);
        }
        let (number, rest) = self.rest.split_at(count);
        self.rest = rest;
        Ok(number.bytes().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
    }

    /// Seconds since 1970 and microseconds.
    fn read(&mut self, micro: bool) -> Read<(i64, i64)> {
        let year = self.digits("2006", 4, 4)?;
        self.literal("-")?;
        let month = self.digits("01", 2, 2)?;
        if !(1..=12).contains(&month) {
            return self.range("month");
        }
        self.literal("-")?;
        let day = self.digits("02", 2, 2)?;
        self.literal("T")?;
        let hour = self.digits("15", 1, 2)?;
        if hour > 23 {
            return self.range("hour");
        }
        self.literal(":")?;
        let minute = self.digits("04", 2, 2)?;
        if minute > 59 {
            return self.range("minute");
        }
        self.literal(":")?;
        let second = self.digits("05", 2, 2)?;
        if second > 59 {
            return self.range("second");
        }
        let micros = if micro { self.micros()? } else { self.fraction() };
        let offset = self.zone()?;
        if !self.rest.is_empty() {
            return Err(format!("parsing time {}: extra text: {}", quote(self.whole), quote(self.rest)));
        }
        if day < 1 || day > days_in(year, month) {
            return self.range("day");
        }
        let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
        Ok((seconds, micros))
    }

    fn micros(&mut self) -> Read<i64> {
        let start = self.rest;
        let Some(rest) = start.strip_prefix(['.', ',']) else { return self.bad(".000000", start) };
        let digits = rest.bytes().take(6).take_while(u8::is_ascii_digit).count();
        if digits < 6 {
            return self.bad(".000000", start);
        }
        self.rest = rest;
        self.digits(".000000", 6, 6)
    }

    /// A fraction of a second may follow, and is dropped.
    fn fraction(&mut self) -> i64 {
        if let Some(rest) = self.rest.strip_prefix(['.', ','])
            && rest.starts_with(|letter: char| letter.is_ascii_digit())
        {
            self.rest = rest.trim_start_matches(|letter: char| letter.is_ascii_digit());
        }
        0
    }

    fn zone(&mut self) -> Read<i64> {
        const ELEMENT: &str = "Z07:00";
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(0);
        }
        let hold = self.rest;
        let bytes = hold.as_bytes();
        let [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2, ..] = bytes else { return self.bad(ELEMENT, hold) };
        if ![h1, h2, m1, m2].iter().all(|byte| byte.is_ascii_digit()) {
            return self.bad(ELEMENT, hold);
        }
        let two = |a: &u8, b: &u8| i64::from(a - b'0') * 10 + i64::from(b - b'0');
        let (hours, minutes) = (two(h1, h2), two(m1, m2));
        if hours > 24 {
            return self.range("time zone offset hour");
        }
        if minutes > 60 {
            return self.range("time zone offset minute");
        }
        self.rest = &hold[6..];
        let offset = hours * 3600 + minutes * 60;
        Ok(if *sign == b'-' { -offset } else { offset })
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970 of a date of the Gregorian calendar, by eras of 400 years that start in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date of a day since 1970.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}
