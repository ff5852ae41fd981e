//! Durations as people read them: `42s`, `3m5s`, `2d4h`.
//!
//! Answers to apimachinery's `duration.HumanDuration`.

use gifee_base::clock::parse_time;
use serde_json::Value;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

fn pair(seconds: i64, large: (i64, char), small: (i64, char)) -> String {
    let (count, rest) = (seconds / large.0, seconds % large.0 / small.0);
    if rest == 0 { format!("{count}{}", large.1) } else { format!("{count}{}{rest}{}", large.1, small.1) }
}

/// A duration with two significant parts at most, fewer the longer it is.
pub fn human(seconds: i64) -> String {
    match seconds {
        i64::MIN..-1 => "<invalid>".into(),
        -1 => "0s".into(),
        0..120 => format!("{seconds}s"),
        120..600 => pair(seconds, (MINUTE, 'm'), (1, 's')),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => pair(seconds, (HOUR, 'h'), (MINUTE, 'm')),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => pair(seconds, (DAY, 'd'), (HOUR, 'h')),
        _ if seconds < 2 * YEAR => format!("{}d", seconds / DAY),
        _ if seconds < 8 * YEAR => pair(seconds, (YEAR, 'y'), (DAY, 'd')),
        _ => format!("{}y", seconds / YEAR),
    }
}

/// A timestamp field as Unix seconds.
pub fn seconds(value: &Value) -> Option<i64> {
    parse_time(value.as_str()?).map(|at| at.as_second())
}

/// How long ago a timestamp field was; `<unknown>` if it is absent.
pub fn since(value: &Value, now: i64) -> String {
    seconds(value).map_or_else(|| "<unknown>".into(), |at| human(now - at))
}
