//! Ends of agents and shims that nobody planned.

use std::io::Read;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use gifee_oci::status::{ContainerState, EventKind, SandboxState};
use gifee_oci::{Runtime, cgroups};

use crate::machine::{Machine, open_images, open_runtime, output, shell, wait_for_exit};

/// The first argument that makes this executable an agent, to be killed.
pub const AGENT: &str = "test-agent";

/// Runs containers in a folder, says so, and waits for its end.
pub fn agent(mut args: impl Iterator<Item = String>) -> ExitCode {
    let (folder, cgroup) = (args.next().expect("a folder"), args.next().expect("a group"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let folder = Path::new(&folder);
        let local = open_runtime(folder, open_images(folder)).await;
        let spec = gifee_oci::spec::SandboxSpec {
            hostname: Some("box".to_owned()),
            cgroup_parent: cgroup,
            log_directory: folder.join("logs"),
            ..Default::default()
        };
        let sandbox = local.create_sandbox(spec).await.expect("a sandbox").id;
        let scripts = [
            ("stays.log", "trap 'exit 11' USR1; i=0; while true; do i=$((i+1)); echo $i; sleep 0.05; done"),
            ("ends.log", "sleep 1; echo last words; exit 12"),
        ];
        for (log, script) in scripts {
            let mut spec = shell(script);
            spec.name = log.to_owned();
            spec.log_path = Some(log.into());
            let id = local.create_container(&sandbox, spec).await.expect("create");
            local.start_container(&id).await.expect("start");
        }
        local.create_container(&sandbox, shell("exit 13")).await.expect("create");
        println!("ready");
        std::future::pending::<()>().await;
    });
    ExitCode::SUCCESS
}

/// After `kill -9` of the agent everything goes on, and is found again.
pub async fn agent_killed() {
    let machine = Machine::new().await;
    let folder = machine.folder.path().to_owned();
    let other = folder.join("other");
    std::fs::create_dir_all(other.join("images")).expect("a folder");
    let archive = folder.join("busybox.tar");
    use gifee_oci::ImageService;
    open_images(&other)
        .import_rootfs(
            &archive,
            crate::machine::IMAGE,
            gifee_oci::images::ProcessConfig {
                env: Some(vec!["PATH=/bin".to_owned()]),
                ..Default::default()
            },
        )
        .await
        .expect("import");
    let mut agent = Command::new("/proc/self/exe")
        .arg(AGENT)
        .arg(&other)
        .arg(&machine.cgroup)
        .stdout(Stdio::piped())
        .spawn()
        .expect("an agent");
    let mut word = [0; 6];
    agent.stdout.take().expect("piped").read_exact(&mut word).expect("ready");
    agent.kill().expect("killed");
    agent.wait().expect("gone");
    // One container ends while there is no agent.
    crate::running::wait_for(|| output(&other.join("logs/ends.log")).contains("last words")).await;
    tokio::time::sleep(Duration::from_millis(200)).await;

    let local = open_runtime(&other, open_images(&other)).await;
    let sandboxes = local.sandboxes().await.expect("a list");
    assert_eq!(sandboxes.iter().map(|it| it.state).collect::<Vec<_>>(), [SandboxState::Ready]);
    assert!(sandboxes[0].pid.is_some());
    let mut containers = local.containers().await.expect("a list");
    containers.sort_by_key(|it| it.spec.name.clone());
    let states: Vec<_> = containers.iter().map(|it| (it.spec.name.as_str(), it.state)).collect();
    let expect = [
        ("ends.log", ContainerState::Exited),
        ("shell", ContainerState::Created),
        ("stays.log", ContainerState::Running),
    ];
    assert_eq!(states, expect);
    assert_eq!(containers[0].exit.as_ref().expect("an exit").code, 12);
    // It was not restarted: it went on counting.
    let stays = &containers[2];
    let count = |text: String| text.lines().last().and_then(|line| line.parse::<u32>().ok()).unwrap_or(0);
    let log = other.join("logs/stays.log");
    let before = count(output(&log));
    crate::running::wait_for(|| count(output(&log)) > before + 3).await;
    let lines: Vec<u32> = output(&log).lines().filter_map(|line| line.parse().ok()).collect();
    assert_eq!(lines, (1..=lines.len() as u32).collect::<Vec<_>>());
    let result = local.exec_sync(&stays.id, &["hostname".to_owned()], None).await.expect("exec");
    assert_eq!(result.stdout, b"box\n");
    local.signal_container(&stays.id, "USR1").await.expect("signal");
    assert_eq!(wait_for_exit(&local, &stays.id).await.code, 11);
    local.start_container(&containers[1].id).await.expect("start");
    assert_eq!(wait_for_exit(&local, &containers[1].id).await.code, 13);
    local.clear().await.expect("clear");
    assert_eq!(std::fs::read_dir(other.join("run/sandboxes")).expect("a folder").count(), 0);
    machine.clean().await;
}

/// After `kill -9` of a shim its containers are ended, and that is known.
pub async fn shim_killed() {
    let machine = Machine::new().await;
    let mut events = machine.runtime.events();
    let sandbox = machine.sandbox().await;
    let id = machine.start(&sandbox, shell("sleep 6543 & exec sleep 6543")).await;
    let ended = machine.start(&sandbox, shell("exit 5")).await;
    machine.exit(&ended).await;
    let holder = machine.runtime.sandbox(&sandbox).await.expect("known").pid.expect("a holder");
    let holder = rustix::process::Pid::from_raw(holder as i32).expect("a number");
    rustix::process::kill_process(holder, rustix::process::Signal::KILL).expect("killed");
    let exit = machine.exit(&id).await;
    assert_eq!((exit.code, exit.reason()), (255, "ContainerStatusUnknown"));
    assert_eq!(machine.runtime.container(&ended).await.expect("known").exit.expect("an exit").code, 5);
    while events.recv().await.expect("an event").kind != EventKind::SandboxLost {}
    assert_eq!(machine.runtime.sandbox(&sandbox).await.expect("known").state, SandboxState::NotReady);
    let refused = machine.runtime.create_container(&sandbox, shell("true")).await.expect_err("not ready");
    assert!(refused.to_string().contains("not ready"), "{refused}");
    crate::running::wait_for(|| crate::machine::processes_of("6543").is_empty()).await;
    machine.clean().await;
}

/// Half-made sandboxes and containers disappear when the folder is opened again.
pub async fn leftovers() {
    let machine = Machine::new().await;
    let other = machine.folder.path().join("other");
    let half = other.join("run/sandboxes/half/containers/none");
    std::fs::create_dir_all(half).expect("a folder");
    let local = open_runtime(&other, open_images(&other)).await;
    assert!(local.sandboxes().await.expect("a list").is_empty());
    assert!(!other.join("run/sandboxes/half").exists());
    let config = gifee_oci::local::Config {
        root: other.join("run"),
        executable: "/proc/self/exe".into(),
        images: machine.images.clone(),
    };
    let second = gifee_oci::Local::open(config).await.expect_err("locked").to_string();
    assert!(second.contains("another process"), "{second}");
    assert!(cgroups::children(&machine.cgroup).expect("groups").is_empty());
    machine.clean().await;
}

/// A shim is small.
pub async fn memory() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox().await;
    for _ in 0..3 {
        machine.start(&sandbox, shell("exec sleep 1000")).await;
    }
    let holder = machine.runtime.sandbox(&sandbox).await.expect("known").pid.expect("a holder");
    let rollup = std::fs::read_to_string(format!("/proc/{holder}/smaps_rollup")).expect("a process");
    let field = |name: &str| -> u64 {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name)).expect("a field");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    };
    let (private, anonymous) = (field("Private_Dirty:"), field("Anonymous:"));
    println!("shim: {private} kB private, {anonymous} kB anonymous, {} kB resident", field("Rss:"));
    // Relocated pages of this large unoptimised executable included.
    assert!(private < 6000, "{rollup}");
    machine.clean().await;
}
