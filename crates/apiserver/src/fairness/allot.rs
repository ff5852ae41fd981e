//! How seats move between levels: who wants more than is theirs gets what others lend.
//!
//! Invariant: no level has fewer than what it does not lend or needs itself, nor more than it may borrow, and all
//! together have no more than there are. Answers to `conc_alloc.go`.

use super::level::Level;
use super::meter::Meter;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Halvings until a factor is exact enough.
const HALVINGS: usize = 40;

/// What one level must have, may have and would like.
#[derive(Clone, Copy, Debug)]
struct Claim {
    least: f64,
    most: f64,
    wish: f64,
}

/// Moves seats.
pub fn allot(levels: &BTreeMap<Box<str>, Arc<Level>>, all: u32, meter: &Meter) {
    let claims: Vec<_> =
        levels.values().filter_map(|level| level.demand().map(|demand| (level, demand))).collect();
    let nominal: u32 = claims.iter().map(|(_, (seats, ..))| seats.nominal).sum();
    // While everybody gets by with what is theirs, they keep it, ready for the next moment.
    if claims.iter().all(|(_, (seats, _, smooth))| *smooth <= f64::from(seats.nominal)) {
        meter.fraction(0.0);
        for (level, (seats, _, smooth)) in claims {
            level.aimed(smooth.max(f64::from(seats.least)));
            if seats.now != seats.nominal {
                level.resize(seats.nominal);
            }
        }
        return;
    }
    let wishes: Vec<Claim> = claims
        .iter()
        .map(|(_, (seats, peak, smooth))| {
            let least = f64::from(seats.least.max(seats.nominal.min(*peak)));
            Claim { least, most: f64::from(seats.most), wish: smooth.max(least).max(1.0) }
        })
        .collect();
    let (factor, shares) = share(&wishes, f64::from(nominal.max(all)));
    meter.fraction(factor);
    for (((level, (seats, ..)), now), claim) in claims.iter().zip(shares).zip(&wishes) {
        level.aimed(claim.wish);
        if seats.now != now {
            level.resize(now);
        }
    }
}

/// The same multiple of every wish, within bounds, so that all together have `total`; the multiple first.
fn share(claims: &[Claim], total: f64) -> (f64, Vec<u32>) {
    let given =
        |factor: f64, claim: &Claim| (claim.wish * factor).clamp(claim.least, claim.most.max(claim.least));
    let (mut low, mut high) = (0.0, total.max(1.0));
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        let sum: f64 = claims.iter().map(|claim| given(middle, claim)).sum();
        if sum > total { high = middle } else { low = middle }
    }
    (low, claims.iter().map(|claim| given(low, claim).floor().max(1.0) as u32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(claims: &[(f64, f64, f64)], total: f64, expect: &[u32]) {
        let claims: Vec<_> = claims.iter().map(|&(least, most, wish)| Claim { least, most, wish }).collect();
        let (_, shares) = share(&claims, total);
        for (share, expect) in shares.iter().zip(expect) {
            assert!(share.abs_diff(*expect) <= 1, "{shares:?}");
        }
    }

    #[test]
    fn seats_are_shared_by_wish_within_bounds() {
        check(&[(10.0, 100.0, 20.0), (10.0, 100.0, 60.0)], 80.0, &[20, 60]);
        check(&[(10.0, 100.0, 10.0), (10.0, 100.0, 1_000.0)], 80.0, &[10, 70]);
        check(&[(10.0, 30.0, 30.0), (10.0, 100.0, 10.0)], 80.0, &[30, 50]);
        check(&[(50.0, 100.0, 50.0), (30.0, 100.0, 500.0)], 80.0, &[50, 30]);
        check(&[(1.0, 5.0, 5.0), (1.0, 5.0, 5.0)], 80.0, &[5, 5]);
    }
}
