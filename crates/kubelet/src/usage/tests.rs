//! Rates by hand, and the kernel's texts.

use super::*;
use crate::paths::PodPaths;
use crate::pod::members;
use gifee_oci::status::Stats;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn figures(cpu_nanos: u64, started: i64) -> Figures {
    let stats = Stats { cpu_nanos, memory_working_set: 4096, ..Stats::default() };
    Figures { stats, cpu_rate: None, started: at(started) }
}

/// A machine with one pod, whose container has used so much.
pub fn sample(second: i64, machine: u64, container: u64, started: i64) -> Sample {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "web-0", "namespace": "shop", "uid": "u1"},
        "spec": {"containers": [{"name": "main", "resources": {"limits": {"cpu": "500m"}}}]}
    }))
    .unwrap();
    let shown = Shown {
        paths: PodPaths::new(std::path::Path::new("/nowhere"), members::uid(&pod)),
        pod: Arc::new(pod),
        containers: [("main".to_owned(), vec![("c1".to_owned(), 0, true)])].into(),
        network: None,
    };
    let interface = Interface { name: "eth0".to_owned(), received: [7, 1, 0, 0], sent: [9, 2, 0, 0] };
    Sample {
        at: at(second),
        machine: figures(machine, 0),
        memory_available: 1 << 20,
        network: vec![interface.clone()],
        agent: figures(0, 0),
        all_pods: figures(container, 0),
        pods: vec![PodUsage {
            shown: Arc::new(shown),
            cgroup: "/pods/podu1".to_owned(),
            figures: figures(container, started),
            containers: vec![ContainerUsage {
                name: "main".to_owned(),
                id: "c1".to_owned(),
                image: "web:1".to_owned(),
                figures: figures(container, started),
            }],
            network: vec![interface],
        }],
        failed: false,
    }
}

const SECOND: u64 = 1_000_000_000;

#[test]
fn rates_are_over_the_time_between_samples() {
    let (mut state, then) = (State::default(), Instant::now());
    state.remember(&sample(100, 50 * SECOND, 10 * SECOND, 90), then);
    assert!(state.base(then).is_none(), "a sample of now says nothing about a rate");
    let now = then + Duration::from_secs(10);
    let mut next = sample(110, 55 * SECOND, 15 * SECOND, 90);
    rate(&mut next, state.base(now).unwrap(), now);
    assert_eq!(next.machine.cpu_rate, Some(SECOND / 2));
    assert_eq!(next.pods[0].containers[0].figures.cpu_rate, Some(SECOND / 2));
    // One that began meanwhile has a rate since its beginning; one that was there before and is not known has none.
    let mut begun = sample(110, 55 * SECOND, 3 * SECOND, 104);
    begun.pods[0].containers[0].id = "c2".to_owned();
    rate(&mut begun, state.base(now).unwrap(), now);
    assert_eq!(begun.pods[0].containers[0].figures.cpu_rate, Some(SECOND / 2));
    begun.pods[0].containers[0].figures = figures(3 * SECOND, 90);
    rate(&mut begun, state.base(now).unwrap(), now);
    assert_eq!(begun.pods[0].containers[0].figures.cpu_rate, None);
}

#[test]
fn the_window_is_neither_short_nor_stale() {
    let (mut state, begun) = (State::default(), Instant::now());
    let at = |seconds: u64| begun + Duration::from_secs(seconds);
    for seconds in [0, 15, 30, 45, 60] {
        state.remember(&sample(0, 0, 0, 0), at(seconds));
    }
    let base =
        |state: &State, now: u64| state.base(at(now)).map(|past| past.at.duration_since(begun).as_secs());
    assert_eq!((base(&state, 60), base(&state, 62)), (Some(45), Some(45)));
    assert_eq!((base(&state, 75), base(&state, 135), base(&state, 181)), (Some(60), Some(60), None));
    for _ in 0..100 {
        state.remember(&sample(0, 0, 0, 0), at(62));
    }
    assert_eq!(state.past.len(), SAMPLES);
}

#[test]
fn texts_of_the_kernel() {
    let text = "MemTotal: 1000 kB\nMemFree: 200 kB\nCached: 300 kB\nInactive(file): 100 kB\nAnonPages: 50 kB\n\
        SwapTotal: 20 kB\nSwapFree: 5 kB\n";
    let stats = machine::memory(text);
    let kib = |bytes: u64| bytes / 1024;
    assert_eq!(
        (kib(stats.memory_usage), kib(stats.memory_working_set), kib(stats.memory_swap)),
        (800, 700, 15)
    );
    let text = "cpu  10 1 5 1000 50 2 1 9 0 0\ncpu0 10 1 5 1000 50 2 1 9 0 0\n";
    assert_eq!(machine::processor(text), [110_000_000, 80_000_000]);
    let text = "Inter-|   Receive                                                |  Transmit\n \
        face |bytes    packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed\n \
        lo: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n  eth0: 11 12 13 14 0 0 0 0 15 16 17 18 0 0 0 0\n";
    let expect = Interface { name: "eth0".to_owned(), received: [11, 12, 13, 14], sent: [15, 16, 17, 18] };
    assert_eq!(machine::parse_interfaces(text), [expect]);
}
