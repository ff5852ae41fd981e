//! Rations and signs of life.

use super::*;
use std::time::Duration;
use tokio::time::Instant;

#[test]
fn zones_ration_by_how_many_nodes_fail() {
    let at = Instant::now();
    let mut zones = Zones::default();
    assert_eq!(zones.set("a", "z", false), Shift::None);
    assert!(zones.all_down(), "the only node is not ready");
    assert_eq!(zones.set("b", "z", true), Shift::Recovered);
    assert_eq!(zones.take("z", at), Permit::Now);
    assert_eq!(zones.take("z", at), Permit::Later(Duration::from_secs(10)));
    zones.give_back("z");
    assert_eq!(zones.take("z", at), Permit::Now);
    assert_eq!(zones.take("z", at + Duration::from_secs(10)), Permit::Now);
    // Three of four in one zone, while another zone is well.
    zones.set("other", "y", true);
    zones.set("c", "z", false);
    assert_eq!(zones.set("d", "z", false), Shift::Changed);
    assert_eq!(zones.take("z", at + Duration::from_secs(99)), Permit::Held);
    // A zone that fails as a whole is evicted at the usual pace as long as another is well.
    assert_eq!(zones.set("b", "z", false), Shift::Changed);
    assert_eq!(zones.take("z", at + Duration::from_secs(99)), Permit::Now);
    assert_eq!(zones.set("other", "y", false), Shift::Changed);
    assert!(zones.all_down());
    assert_eq!(zones.remove("other"), Shift::None);
    for name in ["a", "b", "c", "d"] {
        zones.remove(name);
    }
    assert!(!zones.all_down(), "without nodes nothing is down");
    for number in 0..60 {
        zones.set(&number.to_string(), "z", number < 20);
    }
    assert_eq!(zones.take("z", at), Permit::Now);
    assert_eq!(zones.take("z", at), Permit::Later(Duration::from_secs(100)));
}

#[test]
fn limits_are_the_callers() {
    let limits = Limits { interval: Duration::from_secs(60), unhealthy_percent: 101, ..Limits::default() };
    let (at, mut zones) = (Instant::now(), Zones::limited(limits));
    for (name, well) in [("a", true), ("b", false), ("c", false), ("d", false)] {
        zones.set(name, "z", well);
    }
    assert_eq!(zones.take("z", at), Permit::Now);
    assert_eq!(zones.take("z", at), Permit::Later(Duration::from_secs(60)));
}

#[test]
fn a_sign_is_another_mark_or_a_later_renewal() {
    let (start, mut signs) = (Instant::now(), Signs::default());
    let after = |seconds: u64| start + Duration::from_secs(seconds);
    let seconds = |signs: &Signs, at: u64| signs.silent("a", after(at)).as_secs();
    assert!(signs.observe("a", "1", "x", start));
    assert!(!signs.observe("a", "1", "x", after(5)));
    assert_eq!(seconds(&signs, 5), 5);
    assert!(!signs.observe("a", "1", "y", after(5)));
    assert_eq!(seconds(&signs, 10), 5);
    let at = "2026-01-01T00:00:00Z".parse().ok();
    signs.renewed("a", at, after(10));
    assert_eq!(seconds(&signs, 10), 0);
    signs.renewed("a", at, after(15));
    assert_eq!(seconds(&signs, 15), 5);
    signs.unlease("a");
    assert_eq!(seconds(&signs, 15), 10);
    signs.excuse(after(15));
    assert_eq!(seconds(&signs, 15), 0);
    assert!(signs.observe("a", "2", "y", after(15)), "another of the same name");
    assert_eq!(signs.forget("a").as_deref(), Some("2"));
    assert_eq!(signs.silent("b", after(99)), Duration::ZERO, "who was never seen has all their time");
}
