//! How many members may be missing, and how many too many, while a rollout is under way.

use serde_json::Value;

/// Which way the fraction of a percentage goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// To the next larger number.
    Up,
    /// To the next smaller number.
    Down,
}

/// A number, or a percentage of a total; `otherwise` if nothing of the kind is given. Never negative.
pub fn scaled(value: &Value, total: i32, round: Round, otherwise: i32) -> i32 {
    let percent = match value {
        Value::Number(number) => {
            let number = number.as_i64().unwrap_or_default();
            return i32::try_from(number).unwrap_or(i32::MAX).max(0);
        }
        Value::String(text) => match text.trim().strip_suffix('%').map(str::parse::<i64>) {
            Some(Ok(percent)) => percent.max(0),
            _ => return text.parse::<i32>().unwrap_or(otherwise).max(0),
        },
        _ => return otherwise,
    };
    let exact = percent.saturating_mul(i64::from(total.max(0)));
    let rounded = match round {
        Round::Up => exact.saturating_add(99) / 100,
        Round::Down => exact / 100,
    };
    i32::try_from(rounded).unwrap_or(i32::MAX)
}

/// What a rollout may do to a pool, in members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How many may be there beyond the wanted number.
    pub surge: i32,
    /// How many may be missing from the wanted number.
    pub unavailable: i32,
}

impl Bounds {
    /// Both zero would block every rollout, so then one may be missing.
    #[must_use]
    pub fn passable(self) -> Self {
        match self {
            Self { surge: 0, unavailable: 0 } => Self { surge: 0, unavailable: 1 },
            bounds => bounds,
        }
    }

    /// How many members there may be.
    pub fn maximum(self, wanted: i32) -> i32 {
        wanted.saturating_add(self.surge)
    }

    /// How many members must be available.
    pub fn minimum_available(self, wanted: i32) -> i32 {
        wanted - self.unavailable.min(wanted)
    }
}
