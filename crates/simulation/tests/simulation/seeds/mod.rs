//! Seeded simulation: store, API server, controllers, scheduler and simulated nodes in one thread, with a clock, faults
//! and randomness that come out of one number.
//!
//! Invariants hold at every commit, and others once faults have ended and time has passed: the rows of
//! [`model::INVARIANTS`]. What happens is done by the rows of [`deeds::DEEDS`]. The same seed gives the same commits,
//! byte for byte: `GIFEE_SEED=7 cargo test -p gifee-simulation -- seeds` replays the one that failed, and
//! `GIFEE_SEEDS=1000` runs more of them, `GIFEE_SEEDS=200..400` those between.

mod bounds;
mod deeds;
mod faults;
mod model;
mod random;
mod story;
mod work;

use faults::FAULTS;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds of an ordinary run.
const SEEDS: u64 = 24;

fn environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Which seeds are told, the last one excluded.
fn seeds() -> (u64, u64) {
    let wanted = std::env::var("GIFEE_SEEDS").unwrap_or_default();
    let (first, end) = wanted.split_once("..").unwrap_or(("0", &wanted));
    (first.parse().unwrap_or_default(), end.parse().unwrap_or(SEEDS))
}

/// Tells a seed's story in a thread of its own, whose randomness is the seed's.
fn tell(seed: u64) -> story::Told {
    let thread = std::thread::Builder::new().name(format!("seed {seed}")).stack_size(16 << 20);
    let told = thread.spawn(move || {
        random::seed(seed);
        story::tell(seed)
    });
    told.unwrap().join().unwrap_or_else(|_| panic!("seed {seed} panicked"))
}

#[test]
fn seeds_keep_the_invariants() {
    if let Some(seed) = environment("GIFEE_SEED") {
        let told = tell(seed);
        assert!(
            told.broken.is_empty(),
            "seed {seed}:\n{}\n{}",
            told.deeds.join("\n"),
            told.broken.join("\n")
        );
        return;
    }
    let (first, end) = seeds();
    let (next, broken) = (AtomicU64::new(first), Mutex::new(Vec::new()));
    let happened = Mutex::new(BTreeMap::<&str, u64>::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let told = tell(seed);
                    println!("seed {seed}: {} deeds, {} commits", told.deeds.len(), told.commits);
                    for (kind, count) in told.faults {
                        *happened.lock().unwrap().entry(kind).or_default() += count;
                    }
                    if !told.broken.is_empty() {
                        broken.lock().unwrap().push(format!("seed {seed}: {}", told.broken.join("\n  ")));
                    }
                }
            });
        }
    });
    let broken = broken.into_inner().unwrap();
    assert!(
        broken.is_empty(),
        "{} of {} seeds broke an invariant:\n{}",
        broken.len(),
        end - first,
        broken.join("\n")
    );
    let happened = happened.into_inner().unwrap();
    println!("{happened:#?}");
    if end - first >= SEEDS {
        let missing: Vec<&str> = FAULTS.into_iter().filter(|kind| !happened.contains_key(kind)).collect();
        assert_eq!(missing, Vec::<&str>::new(), "these never happened");
    }
}

#[test]
fn a_seed_replays_exactly() {
    let (first, second) = (tell(1), tell(1));
    assert_eq!(first.deeds, second.deeds);
    let differs = first.told.iter().zip(&second.told).position(|(one, other)| one != other);
    let pair = differs.map(|at| format!("commit {at}:\n{}\n{}", first.told[at], second.told[at]));
    assert_eq!(pair, None);
    assert_eq!((first.commits, first.digest), (second.commits, second.digest));
    assert!(first.commits > 100, "only {} commits", first.commits);
    assert_ne!(tell(2).digest, first.digest, "another seed is another story");
}
