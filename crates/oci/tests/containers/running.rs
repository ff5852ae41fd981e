//! How containers start, end, log, and are limited.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use gifee_oci::spec::{ContainerSpec, LogRotation, Resources, Stop};
use gifee_oci::status::{ContainerState, EventKind};
use gifee_oci::{Error, Runtime};

use crate::machine::{IMAGE, Machine, output, shell};

/// Created, started, stopped, removed; what is asked for twice is done once.
pub async fn lifecycle() {
    let machine = Machine::new().await;
    let mut events = machine.runtime.events();
    let sandbox = machine.sandbox().await;
    let script = "trap 'echo bye; exit 7' TERM; echo hello; while true; do sleep 0.1; done";
    let spec = ContainerSpec { log_path: Some("web/0.log".into()), ..shell(script) };
    let id = machine.runtime.create_container(&sandbox, spec).await.expect("create");
    assert_eq!(machine.runtime.container(&id).await.expect("known").state, ContainerState::Created);
    machine.runtime.start_container(&id).await.expect("start");
    let status = machine.runtime.container(&id).await.expect("known");
    assert_eq!(status.state, ContainerState::Running);
    assert!(status.started_at >= Some(status.created_at) && status.pid.is_some());
    let again = machine.runtime.start_container(&id).await;
    assert!(matches!(again, Err(Error::State { .. })), "{again:?}");
    let log = machine.logs().join("web/0.log");
    wait_for(|| output(&log) == "hello\n").await;
    let stop = Stop { signal: None, grace: Duration::from_secs(20) };
    machine.runtime.stop_container(&id, stop.clone()).await.expect("stop");
    let exit = machine.runtime.container(&id).await.expect("known").exit.expect("an exit");
    assert_eq!((exit.code, exit.signal, exit.oom_killed, exit.reason()), (7, None, false, "Error"));
    assert_eq!(output(&log), "hello\nbye\n");
    machine.runtime.stop_container(&id, stop).await.expect("stop again");
    machine.runtime.remove_container(&id).await.expect("remove");
    machine.runtime.remove_container(&id).await.expect("remove again");
    assert!(machine.runtime.container(&id).await.expect_err("gone").is_not_found());
    let mut seen = Vec::new();
    while let Ok(event) = events.try_recv() {
        seen.push(event.kind);
    }
    assert_eq!(seen, [EventKind::Created, EventKind::Started, EventKind::Exited(exit), EventKind::Removed]);
    machine.clean().await;
}

/// Codes of programs that end by themselves or are killed.
pub async fn exit_codes() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox().await;
    for (script, code, reason) in
        [("exit 0", 0, "Completed"), ("exit 42", 42, "Error"), ("exit 255", 255, "Error")]
    {
        let (exit, _) = machine.run(&sandbox, shell(script)).await;
        assert_eq!((exit.code, exit.reason()), (code, reason), "{script}");
    }
    let id = machine.start(&sandbox, shell("sleep 100")).await;
    machine.runtime.signal_container(&id, "KILL").await.expect("kill");
    let exit = machine.exit(&id).await;
    assert_eq!((exit.code, exit.signal, exit.oom_killed), (137, Some(9), false));
    // The first process of a namespace is deaf to signals that it does not handle: it is killed in the end.
    let id = machine.start(&sandbox, shell("sleep 100 & wait")).await;
    let begun = Instant::now();
    let stop = Stop { signal: Some("SIGTERM".to_owned()), grace: Duration::from_millis(300) };
    machine.runtime.stop_container(&id, stop).await.expect("stop");
    assert!(begun.elapsed() >= Duration::from_millis(300) && begun.elapsed() < Duration::from_secs(5));
    assert_eq!(machine.exit(&id).await.code, 137);
    // Stopped before it was started.
    let id = machine.runtime.create_container(&sandbox, shell("true")).await.expect("create");
    machine.runtime.stop_container(&id, Stop::default()).await.expect("stop");
    assert_eq!(machine.runtime.container(&id).await.expect("known").state, ContainerState::Exited);
    assert!(machine.runtime.start_container(&id).await.is_err());
    machine.clean().await;
}

/// Programs that cannot be started say why, and end as such.
pub async fn failing_starts() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox().await;
    let command = |words: &[&str]| ContainerSpec {
        image: IMAGE.to_owned(),
        command: words.iter().map(|word| (*word).to_owned()).collect(),
        ..ContainerSpec::default()
    };
    let mut user = command(&["true"]);
    user.user.name = Some("nobody".to_owned());
    let mut mount = command(&["true"]);
    mount.mounts.push(gifee_oci::spec::Mount {
        host_path: "/no/such/place".into(),
        container_path: "/x".into(),
        ..Default::default()
    });
    for (spec, expect) in [
        (command(&["nope"]), "exec: \"nope\": executable file not found in $PATH"),
        (command(&["/nope"]), "exec: \"/nope\": stat /nope: no such file or directory"),
        (command(&["/etc/passwd"]), "exec: \"/etc/passwd\": permission denied"),
        (command(&["/etc"]), "exec: \"/etc\": is a directory"),
        (user, "unable to find user nobody: no matching entries in passwd file"),
    ] {
        let id = machine.runtime.create_container(&sandbox, spec).await.expect("create");
        let error = machine.runtime.start_container(&id).await.expect_err("fails").to_string();
        assert!(error.contains(expect), "{error}");
        let status = machine.runtime.container(&id).await.expect("known");
        let exit = status.exit.expect("an exit");
        assert_eq!((exit.code, exit.reason()), (128, "StartError"));
        assert!(exit.message.is_some_and(|message| message.contains(expect)));
        machine.runtime.remove_container(&id).await.expect("remove");
    }
    let error = machine.runtime.create_container(&sandbox, mount).await.expect_err("refused").to_string();
    assert!(error.contains("\"/no/such/place\": No such file"), "{error}");
    // What the library underneath cannot do is told with its cause.
    let mut mount = command(&["true"]);
    mount.mounts.push(gifee_oci::spec::Mount {
        host_path: "/etc".into(),
        container_path: "/etc/passwd".into(),
        ..Default::default()
    });
    let id = machine.runtime.create_container(&sandbox, mount).await.expect("create");
    let error = machine.runtime.start_container(&id).await.expect_err("fails").to_string();
    assert!(error.contains("/etc/passwd"), "{error}");
    let unloggable = ContainerSpec { log_path: Some("file/0.log".into()), ..command(&["true"]) };
    std::fs::create_dir_all(machine.logs()).expect("a folder");
    std::fs::write(machine.logs().join("file"), "").expect("a file");
    let id = machine.runtime.create_container(&sandbox, unloggable).await.expect("create");
    let error = machine.runtime.start_container(&id).await.expect_err("fails").to_string();
    assert!(error.contains("create folder"), "{error}");
    assert_eq!(machine.exit(&id).await.reason(), "StartError");
    let nothing = machine.runtime.create_container(&sandbox, command(&[])).await.expect_err("refused");
    assert!(nothing.to_string().contains("no command specified"), "{nothing}");
    let missing = ContainerSpec { image: "nothere".to_owned(), ..command(&["true"]) };
    assert!(machine.runtime.create_container(&sandbox, missing).await.expect_err("refused").is_not_found());
    machine.clean().await;
}

/// Memory, tasks, CPU.
pub async fn limits() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox().await;
    let limited = |resources: Resources, script: &str| ContainerSpec { resources, ..shell(script) };
    let memory = Resources { memory_limit: Some(16 << 20), ..Resources::default() };
    let (exit, _) = machine.run(&sandbox, limited(memory.clone(), "exec tail /dev/zero")).await;
    assert_eq!((exit.code, exit.oom_killed, exit.reason()), (137, true, "OOMKilled"));
    let (exit, text) = machine.run(&sandbox, limited(memory, "tail /dev/zero; echo $?")).await;
    assert_eq!((exit.code, exit.oom_killed, text.as_str()), (0, true, "Killed\n137\n"));
    let tasks = Resources { pids_limit: Some(3), ..Resources::default() };
    let (_, text) = machine.run(&sandbox, limited(tasks, "sleep 5 & sleep 5 & sleep 5 & echo started")).await;
    assert!(!text.contains("started"), "{text}");
    let cpu = Resources {
        cpu_shares: Some(256),
        cpu_quota: Some(20_000),
        cpu_period: Some(100_000),
        memory_limit: Some(64 << 20),
        ..Resources::default()
    };
    let id = machine.start(&sandbox, limited(cpu, "yes > /dev/null")).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let stats = machine.runtime.stats(&id).await.expect("figures");
    assert!(stats.cpu_nanos > 1_000_000 && stats.cpu_nanos < 400_000_000, "{stats:?}");
    assert_eq!((stats.memory_limit, stats.oom_kills), (Some(64 << 20), 0));
    assert!(stats.memory_usage > 0 && stats.pids >= 1, "{stats:?}");
    let more = Resources { memory_limit: Some(128 << 20), ..Resources::default() };
    machine.runtime.update_container(&id, &more).await.expect("update");
    assert_eq!(machine.runtime.stats(&id).await.expect("figures").memory_limit, Some(128 << 20));
    machine.clean().await;
}

/// Both streams, in order, complete at the end; rotation; a new file on request.
pub async fn logs() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox().await;
    let (_, text) = machine.run(&sandbox, shell("seq 1 20000; echo -n end")).await;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), lines[19_999], lines[20_000]), (20_001, "20000", "end"));
    let spec =
        ContainerSpec { log_path: Some("both.log".into()), ..shell("echo out; sleep 0.2; echo err >&2") };
    let id = machine.start(&sandbox, spec).await;
    machine.exit(&id).await;
    let text = std::fs::read_to_string(machine.logs().join("both.log")).expect("a log");
    let fields: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').skip(1).collect()).collect();
    assert_eq!(fields, [["stdout", "F", "out"], ["stderr", "F", "err"]]);
    assert!(text.starts_with("20") && text.as_bytes()[29] == b'Z', "{text}");

    let log_rotation = LogRotation { max_bytes: 100_000, max_files: 3 };
    let spec = ContainerSpec { log_path: Some("many/0.log".into()), log_rotation, ..shell("seq 1 40000") };
    let id = machine.start(&sandbox, spec).await;
    machine.exit(&id).await;
    let files = std::fs::read_dir(machine.logs().join("many")).expect("logs").count();
    assert_eq!(files, 3);

    let script = "while true; do echo tick; sleep 0.05; done";
    let spec = ContainerSpec { log_path: Some("tick.log".into()), ..shell(script) };
    let id = machine.start(&sandbox, spec).await;
    let log = machine.logs().join("tick.log");
    wait_for(|| output(&log).contains("tick")).await;
    let aside: PathBuf = machine.logs().join("tick.log.1");
    std::fs::rename(&log, &aside).expect("moved");
    machine.runtime.reopen_log(&id).await.expect("reopen");
    let before = std::fs::metadata(&aside).expect("a file").len();
    wait_for(|| output(&log).contains("tick")).await;
    assert_eq!(std::fs::metadata(&aside).expect("a file").len(), before);
    machine.clean().await;
}

/// Twenty at once, in sandboxes of their own.
pub async fn many() {
    let machine = Machine::new().await;
    let one = async |number: usize| {
        let sandbox = machine.sandbox().await;
        let (exit, text) = machine.run(&sandbox, shell(&format!("echo {number}; exit {number}"))).await;
        assert_eq!((exit.code, text), (number as i32, format!("{number}\n")));
        machine.runtime.remove_sandbox(&sandbox).await.expect("remove");
    };
    futures_util::future::join_all((1..=20).map(one)).await;
    // And in one sandbox.
    let sandbox = machine.sandbox().await;
    let one = async |number: usize| machine.run(&sandbox, shell(&format!("exit {number}"))).await.0.code;
    let codes = futures_util::future::join_all((1..=20).map(one)).await;
    assert_eq!(codes, (1..=20).collect::<Vec<i32>>());
    machine.clean().await;
}

/// Medians, for people to read: the limit only catches what waits for a clock.
pub async fn speed() {
    let machine = Machine::new().await;
    let mut all: [Vec<Duration>; 5] = Default::default();
    for _ in 0..9 {
        let begun = Instant::now();
        let sandbox = machine.sandbox().await;
        let made = Instant::now();
        let id = machine.runtime.create_container(&sandbox, shell("exec sleep 1000")).await.expect("create");
        let created = Instant::now();
        machine.runtime.start_container(&id).await.expect("start");
        let started = Instant::now();
        machine.runtime.exec_sync(&id, &["true".to_owned()], None).await.expect("exec");
        let executed = Instant::now();
        machine.runtime.remove_sandbox(&sandbox).await.expect("remove");
        let times = [made - begun, created - made, started - created, executed - started, executed.elapsed()];
        all.iter_mut().zip(times).for_each(|(all, time)| all.push(time));
    }
    for (name, times) in ["sandbox", "create", "start", "exec", "remove"].iter().zip(&mut all) {
        times.sort_unstable();
        println!("{name}: {:?} (best {:?})", times[4], times[0]);
        assert!(times[4] < Duration::from_millis(500), "{name}");
    }
    machine.clean().await;
}

/// Waits until something is the case, at most for ten seconds.
pub async fn wait_for(mut condition: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not happen");
}
