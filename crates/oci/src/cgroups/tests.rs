//! Conversions on fixtures, and one real group.

use super::hierarchy::{Hierarchies, Version};
use super::limits::weight;
use super::*;

#[test]
fn mount_tables() {
    let check = |table: &str, expect: Option<(Version, &str, &str)>| {
        let found = Hierarchies::parse(table).map(|found| {
            let memory = found.folder("memory", "/a/b").expect("a memory controller");
            (
                found.version(),
                memory.display().to_string(),
                found.folders("a/b").expect("valid").len().to_string(),
            )
        });
        let found =
            found.as_ref().map(|(version, memory, count)| (*version, memory.as_str(), count.as_str()));
        assert_eq!(found, expect);
    };
    check(
        "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw",
        Some((Version::V2, "/sys/fs/cgroup/a/b", "1")),
    );
    check(
        "31 30 0:27 / /c/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
         32 30 0:28 / /c/memory rw shared:1 - cgroup cgroup rw,memory\n\
         33 30 0:29 / /c/systemd rw - cgroup cgroup rw,name=systemd\n\
         34 30 0:30 / /c/unified rw - cgroup2 cgroup2 rw",
        Some((Version::V1, "/c/memory/a/b", "2")),
    );
    check("22 27 0:21 / /proc rw - proc proc rw", None);
}

#[test]
fn shares_become_weights() {
    for (shares, expect) in [(0, 1), (2, 1), (1024, 100), (262_144, 10_000), (999_999, 10_000)] {
        assert_eq!(weight(shares), expect, "{shares}");
    }
}

#[test]
fn paths_that_lead_elsewhere() {
    for path in ["", "/", "/a/../b", "..", "/a/./../.."] {
        assert!(create(path, &Resources::default()).is_err(), "{path:?}");
    }
}

#[test]
fn a_group_holds_and_kills_a_process() {
    let path = format!("/gifee-oci-unit-{}/deep", std::process::id());
    let limits = Resources {
        memory_limit: Some(64 << 20),
        cpu_shares: Some(512),
        cpu_quota: Some(50_000),
        cpu_period: Some(100_000),
        pids_limit: Some(50),
        ..Resources::default()
    };
    create(&path, &limits).expect("create");
    create(&path, &limits).expect("create again");
    update(&path, &Resources { memory_limit: Some(32 << 20), ..Resources::default() }).expect("lower");
    update(&path, &Resources { memory_limit: Some(96 << 20), ..Resources::default() }).expect("raise");
    let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
    let pid = Pid::from_raw(child.id() as i32).expect("a pid");
    enter(&path, pid).expect("enter");
    let parent = path.trim_end_matches("/deep");
    assert_eq!(processes(parent).expect("processes"), [pid]);
    assert_eq!(children(parent).expect("children"), ["deep"]);
    let stats = stats(&path).expect("stats");
    assert_eq!((stats.memory_limit, stats.pids), (Some(96 << 20), 1));
    assert!(kill(parent).expect("kill") > 0);
    child.wait().expect("killed");
    remove(parent).expect("remove");
    assert!(!exists(parent).expect("exists"));
    remove(parent).expect("remove again");
}

#[test]
fn version_2_in_a_fixture() {
    let folder = tempfile::tempdir().expect("a folder");
    let table = format!("30 24 0:26 / {} rw - cgroup2 cgroup2 rw", folder.path().display());
    let hierarchies = Hierarchies::parse(&table).expect("a hierarchy");
    let group = folder.path().join("pod");
    std::fs::create_dir(&group).expect("a folder");
    std::fs::write(group.join("memory.swap.max"), "max").expect("a file");
    let resources = Resources {
        cpu_shares: Some(1024),
        cpu_quota: Some(50_000),
        memory_limit: Some(1 << 20),
        memory_min: Some(4096),
        pids_limit: Some(-1),
        unified: [("memory.oom.group".to_owned(), "1".to_owned())].into(),
        ..Resources::default()
    };
    super::limits::write(&hierarchies, "/pod", &resources).expect("set");
    for (name, expect) in [
        ("cpu.weight", "100"),
        ("cpu.max", "50000 100000"),
        ("memory.max", "1048576"),
        ("memory.min", "4096"),
        ("memory.swap.max", "0"),
        ("memory.oom.group", "1"),
        ("pids.max", "max"),
    ] {
        assert_eq!(std::fs::read_to_string(group.join(name)).expect(name), expect, "{name}");
    }
    for (name, text) in [
        ("memory.current", "5000\n"),
        (
            "memory.stat",
            "anon 3000\nfile 2000\nfile_mapped 700\ninactive_file 1500\npgfault 7\npgmajfault 1\n",
        ),
        ("memory.events", "low 0\noom 3\noom_kill 2\n"),
        (
            "cpu.stat",
            "usage_usec 12\nuser_usec 10\nsystem_usec 2\nnr_periods 9\nnr_throttled 3\nthrottled_usec 5\n",
        ),
        ("memory.swap.current", "800\n"),
        ("pids.current", "4\n"),
    ] {
        std::fs::write(group.join(name), text).expect("a file");
    }
    let expect = Stats {
        cpu_nanos: 12_000,
        cpu_user_nanos: 10_000,
        cpu_system_nanos: 2_000,
        cpu_periods: 9,
        cpu_throttled_periods: 3,
        cpu_throttled_nanos: 5_000,
        memory_usage: 5000,
        memory_working_set: 3500,
        memory_rss: 3000,
        memory_cache: 2000,
        memory_mapped: 700,
        memory_swap: 800,
        memory_limit: Some(1 << 20),
        page_faults: 7,
        major_page_faults: 1,
        pids: 4,
        oom_kills: 2,
    };
    assert_eq!(super::stats::read(&hierarchies, "pod").expect("figures"), expect);
    assert!(super::stats::read(&hierarchies, "none").is_err());
}
