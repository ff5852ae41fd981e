//! What a size or a cost can be at least and at most.
//!
//! Invariant: sums and products that would overflow are the greatest number. Answers to `SizeEstimate` and
//! `CostEstimate` of cel-go's `checker/cost.go`.

/// From the least to the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub least: u64,
    pub most: u64,
}

impl Range {
    pub const UNKNOWN: Range = Range { least: 0, most: u64::MAX };
    pub const ZERO: Range = Range { least: 0, most: 0 };
    /// What any union with another gives that one.
    pub const NONE: Range = Range { least: u64::MAX, most: 0 };

    pub fn of(number: u64) -> Range {
        Range { least: number, most: number }
    }

    pub fn up_to(most: u64) -> Range {
        Range { least: 0, most }
    }

    pub fn plus(self, other: Range) -> Range {
        Range { least: self.least.saturating_add(other.least), most: self.most.saturating_add(other.most) }
    }

    pub fn times(self, other: Range) -> Range {
        Range { least: self.least.saturating_mul(other.least), most: self.most.saturating_mul(other.most) }
    }

    /// Times a factor, rounded up.
    pub fn scaled(self, factor: f64) -> Range {
        Range { least: scaled(self.least, factor), most: scaled(self.most, factor) }
    }

    pub fn or(self, other: Range) -> Range {
        Range { least: self.least.min(other.least), most: self.most.max(other.most) }
    }
}

/// A number times a factor, rounded up; what is too large becomes the greatest, as a cast has it.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn scaled(number: u64, factor: f64) -> u64 {
    (number as f64 * factor).ceil() as u64
}

/// A quotient, rounded up.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(super) fn quotient(number: u64, by: u64) -> u64 {
    (number as f64 / by as f64).ceil() as u64
}
