//! How fast a target may be scaled: stabilization windows and rates of change. Pure.
//!
//! Answers to the `behavior` of upstream's horizontal pod autoscaler and to what it does without one.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// How long the highest recommendation holds unless an autoscaler says otherwise.
const DOWN_SECONDS: i64 = 300;
/// How long anything is remembered: the longest window that there can be.
const MEMORY_SECONDS: i64 = 3600;

/// What is remembered of an autoscaler. A round is some seconds, so there are a few hundred entries at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    recommendations: Vec<(Timestamp, i32)>,
    /// Changes of the number of replicas.
    changes: Vec<(Timestamp, i32)>,
}

/// A size, and what to say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sized {
    /// So many replicas.
    pub replicas: i32,
    /// `AbleToScale`: reason and message.
    pub able: (&'static str, &'static str),
    /// `ScalingLimited`: whether, reason and message.
    pub limited: (bool, &'static str, &'static str),
}

/// Between which sizes an autoscaler stays.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// At least.
    pub least: i32,
    /// At most.
    pub most: i32,
    /// What there is now.
    pub current: i32,
}

const READY: (&str, &str) = ("ReadyForNewScale", "recommended size matches current size");
const HELD_DOWN: (&str, &str) = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const HELD_UP: (&str, &str) = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const FITS: (&str, &str) = ("DesiredWithinRange", "the desired count is within the acceptable range");
const UP_LIMIT: (&str, &str) =
    ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const DOWN_LIMIT: (&str, &str) =
    ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");
const TOO_MANY: (&str, &str) =
    ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const TOO_FEW: (&str, &str) =
    ("TooFewReplicas", "the desired replica count is less than the minimum replica count");

fn ago(now: Timestamp, seconds: i64) -> Timestamp {
    now.checked_sub(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MIN)
}

impl Memory {
    /// Begins with what there is.
    pub fn begin(&mut self, current: i32, now: Timestamp) {
        if self.recommendations.is_empty() {
            self.recommendations.push((now, current));
        }
    }

    /// A target was scaled.
    pub fn scaled(&mut self, from: i32, to: i32, now: Timestamp) {
        self.changes.push((now, to.saturating_sub(from)));
    }

    /// The size that follows from what is desired.
    pub fn size(&mut self, behavior: &Value, desired: i32, bounds: Bounds, now: Timestamp) -> Sized {
        let horizon = ago(now, MEMORY_SECONDS);
        self.recommendations.retain(|(at, _)| *at >= horizon);
        self.changes.retain(|(at, _)| *at >= horizon);
        let (stable, held) = match behavior.is_object() {
            true => self.stable(behavior, desired, bounds, now),
            false => (self.highest(desired, ago(now, DOWN_SECONDS)), HELD_DOWN),
        };
        self.recommendations.push((now, desired));
        let able = if stable == desired { READY } else { held };
        let (replicas, (reason, message)) = match behavior.is_object() {
            true => self.limited(behavior, stable, bounds, now),
            false => plainly(stable, bounds),
        };
        Sized { replicas, able, limited: (replicas != stable, reason, message) }
    }

    fn highest(&self, desired: i32, since: Timestamp) -> i32 {
        self.recommendations
            .iter()
            .filter(|(at, _)| *at >= since)
            .map(|(_, one)| *one)
            .fold(desired, i32::max)
    }

    fn stable(
        &self,
        behavior: &Value,
        desired: i32,
        bounds: Bounds,
        now: Timestamp,
    ) -> (i32, (&'static str, &'static str)) {
        let window =
            |side: &str, default| behavior[side]["stabilizationWindowSeconds"].as_i64().unwrap_or(default);
        let after = |seconds| {
            let cutoff = ago(now, seconds);
            self.recommendations.iter().filter(move |(at, _)| *at > cutoff).map(|(_, one)| *one)
        };
        let up = after(window("scaleUp", 0)).fold(desired, i32::min);
        let down = after(window("scaleDown", DOWN_SECONDS)).fold(desired, i32::max);
        let stable = bounds.current.max(up).min(down);
        (stable, if desired >= bounds.current { HELD_UP } else { HELD_DOWN })
    }

    fn limited(
        &self,
        behavior: &Value,
        desired: i32,
        bounds: Bounds,
        now: Timestamp,
    ) -> (i32, (&'static str, &'static str)) {
        let Bounds { least, most, current } = bounds;
        if desired > current {
            let limit = self.limit(&behavior["scaleUp"], current, true, now).max(current);
            let (bound, why) = if most > limit { (limit, UP_LIMIT) } else { (most, TOO_MANY) };
            if desired > bound {
                return (bound, why);
            }
        } else if desired < current {
            let limit = self.limit(&behavior["scaleDown"], current, false, now).min(current);
            let (bound, why) = if least < limit { (limit, DOWN_LIMIT) } else { (least, TOO_FEW) };
            if desired < bound {
                return (bound, why);
            }
        }
        (desired, FITS)
    }

    /// As far as the policies let it go.
    fn limit(&self, rules: &Value, current: i32, up: bool, now: Timestamp) -> i32 {
        let least = match rules["selectPolicy"].as_str() {
            Some("Disabled") => return current,
            choice => choice == Some("Min"),
        };
        let reach = rules["policies"].as_array().into_iter().flatten().map(|policy| {
            let value = policy["value"].as_i64().unwrap_or_default() as f64;
            let since = ago(now, policy["periodSeconds"].as_i64().unwrap_or_default());
            let changed =
                self.changes.iter().filter(|(at, _)| *at > since).map(|(_, by)| i64::from(*by)).sum::<i64>();
            let start = (i64::from(current) - changed) as f64;
            // Casts of floats saturate.
            match (policy["type"] == "Percent", up) {
                (true, true) => (start * (1.0 + value / 100.0)).ceil() as i32,
                (true, false) => (start * (1.0 - value / 100.0)) as i32,
                (false, true) => (start + value) as i32,
                (false, false) => (start - value) as i32,
            }
        });
        // The most change is the highest size on the way up and the lowest on the way down.
        let chosen = if least == up { reach.min() } else { reach.max() };
        chosen.unwrap_or(current)
    }
}

/// Without a behavior: at most twice what there is, or four.
fn plainly(desired: i32, bounds: Bounds) -> (i32, (&'static str, &'static str)) {
    let limit = bounds.current.saturating_mul(2).max(4);
    let (most, why) = if bounds.most > limit { (limit, UP_LIMIT) } else { (bounds.most, TOO_MANY) };
    if desired < bounds.least {
        (bounds.least, TOO_FEW)
    } else if desired > most {
        (most, why)
    } else {
        (desired, FITS)
    }
}
