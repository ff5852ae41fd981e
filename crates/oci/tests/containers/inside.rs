//! What a container finds around it, and what it may do.

use std::os::unix::fs::PermissionsExt;

use gifee_oci::spec::{
    ContainerSpec, Device, Dns, Mount, Network, PidMode, Propagation, Rlimit, Seccomp, User,
};
use gifee_oci::{Runtime, netns};

use crate::machine::{Machine, shell};

/// Users by number and name, groups, home, folder, environment.
pub async fn users() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox().await;
    let check = async |user: User, expect: &str| {
        let script = "echo $(id -u):$(id -g):$(id -G) $HOME $FROM_IMAGE";
        let (_, text) = machine.run(&sandbox, ContainerSpec { user, ..shell(script) }).await;
        assert_eq!(text.trim(), expect);
    };
    let user = User::default;
    check(user(), "0:0:0 /root yes").await;
    check(User { name: Some("web".into()), ..user() }, "33:44:44 50 /srv yes").await;
    check(User { uid: Some(33), ..user() }, "33:44:44 50 /srv yes").await;
    check(User { uid: Some(1000), gid: Some(7), supplemental_groups: vec![9], ..user() }, "1000:7:7 9 / yes")
        .await;
    let mut spec = shell("pwd; echo $A $B; ls -ld $(pwd)");
    spec.working_dir = Some("/made/for/it".to_owned());
    spec.env = vec![("A".into(), "1 2".into()), ("B".into(), "x=y".into()), ("A".into(), "3".into())];
    let (_, text) = machine.run(&sandbox, spec).await;
    assert!(text.starts_with("/made/for/it\n3 x=y\ndrwxr-xr-x"), "{text}");
    machine.clean().await;
}

/// Capabilities, filter, no new privileges, read-only root, masked paths, limits.
pub async fn privileges() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox().await;
    let check = async |change: &dyn Fn(&mut ContainerSpec), script: &str, expect: &str| {
        let mut spec = shell(script);
        change(&mut spec);
        let (_, text) = machine.run(&sandbox, spec).await;
        assert_eq!(text.trim(), expect, "{script}");
    };
    let status = |name: &str| format!("awk '/^{name}:/ {{print $2}}' /proc/self/status");
    check(&|_| (), &status("CapEff"), "00000000a80425fb").await;
    check(&|spec| spec.user.uid = Some(1000), &status("CapEff"), "0000000000000000").await;
    let dropped = |spec: &mut ContainerSpec| {
        spec.security.capabilities_drop = vec!["ALL".into()];
        spec.security.capabilities_add = vec!["NET_BIND_SERVICE".into()];
    };
    check(&dropped, &status("CapBnd"), "0000000000000400").await;
    let confined = |spec: &mut ContainerSpec| spec.security.seccomp = Seccomp::RuntimeDefault;
    check(&confined, &status("Seccomp"), "2").await;
    check(&confined, &status("NoNewPrivs"), "0").await;
    check(&confined, "unshare -U true 2>&1 | grep -c 'not permitted'; sh -c 'echo alive'", "1\nalive").await;
    let as_user = |spec: &mut ContainerSpec| {
        spec.security.seccomp = Seccomp::RuntimeDefault;
        spec.user.uid = Some(1000);
    };
    check(&as_user, &status("Seccomp"), "2").await;
    let strict = |spec: &mut ContainerSpec| {
        spec.security.seccomp = Seccomp::RuntimeDefault;
        spec.security.no_new_privileges = true;
    };
    check(&strict, &format!("{}; {}", status("NoNewPrivs"), status("Seccomp")), "1\n2").await;
    let readonly = |spec: &mut ContainerSpec| spec.security.readonly_rootfs = true;
    check(&readonly, "touch /x 2>&1 | grep -c 'Read-only'; touch /dev/shm/x && echo ok", "1\nok").await;
    check(
        &|_| (),
        "touch /x && echo ok; (echo 1 > /proc/sys/kernel/panic) 2>&1 | grep -c Read-only",
        "ok\n1",
    )
    .await;
    check(&|_| (), "wc -c < /proc/keys; ls /sys/firmware | wc -l", "0\n0").await;
    let limit = |spec: &mut ContainerSpec| {
        spec.rlimits = vec![Rlimit { name: "nofile".into(), soft: 100, hard: 200 }];
        spec.oom_score_adj = Some(500);
    };
    check(&limit, "ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj", "100\n200\n500").await;
    // Neither limits nor devices of its own group are its own to change.
    check(&|_| (), "for f in /sys/fs/cgroup/*/*.max /sys/fs/cgroup/*/*.allow; do echo x 2>/dev/null > $f && echo $f; done", "").await;
    let make = "mknod /disk b 254 0 && head -c 1 /disk 2>&1 | grep -c 'not permitted'";
    check(&|_| (), make, "1").await;
    let privileged = |spec: &mut ContainerSpec| spec.security.privileged = true;
    check(&privileged, &status("CapEff"), &host_capabilities()).await;
    check(
        &privileged,
        "mkdir /t && mount -t tmpfs x /t && echo mounted; test -e /dev/kmsg && echo there",
        "mounted\nthere",
    )
    .await;
    let device = |spec: &mut ContainerSpec| {
        spec.devices = vec![Device {
            host_path: "/dev/kmsg".into(),
            container_path: "/dev/log0".into(),
            permissions: "r".into(),
        }];
        spec.security.capabilities_add = vec!["SYSLOG".into()];
    };
    check(&device, "dd if=/dev/log0 bs=8192 count=1 of=/dev/null 2>/dev/null && echo read; echo x 2>/dev/null > /dev/log0 || echo no", "read\nno").await;
    machine.clean().await;
}

/// Files and folders of the host.
pub async fn mounts() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox().await;
    let host = machine.folder.path().join("host");
    std::fs::create_dir_all(host.join("sub")).expect("a folder");
    std::fs::write(host.join("file"), "from the host\n").expect("a file");
    let mount = |host_path: &std::path::Path, container_path: &str, readonly| Mount {
        host_path: host_path.to_owned(),
        container_path: container_path.into(),
        readonly,
        ..Mount::default()
    };
    let mut spec = shell(
        "cat /a/b/file /etc/one; touch /ro/x 2>&1 | grep -c Read-only; touch /a/b/made; readlink /proc/1/ns/mnt",
    );
    spec.mounts = vec![
        mount(&host, "/a/b", false),
        mount(&host, "/ro", true),
        mount(&host.join("file"), "/etc/one", true),
    ];
    let (_, text) = machine.run(&sandbox, spec).await;
    assert!(text.starts_with("from the host\nfrom the host\n1\nmnt:"), "{text}");
    assert!(host.join("made").exists());
    assert!(!std::fs::read_to_string("/proc/self/mountinfo").expect("mounts").contains("containers/"));

    // Mounts that a privileged container makes appear on the host, if they are meant to.
    let shared = machine.folder.path().join("shared");
    std::fs::create_dir_all(&shared).expect("a folder");
    rustix::mount::mount_bind(&shared, &shared).expect("bind");
    rustix::mount::mount_change(&shared, rustix::mount::MountPropagationFlags::SHARED).expect("share");
    let mut spec = shell("mkdir /s/new && mount -t tmpfs x /s/new && echo done; exec sleep 100");
    spec.mounts = vec![Mount { propagation: Propagation::Bidirectional, ..mount(&shared, "/s", false) }];
    let refused = machine.runtime.create_container(&sandbox, spec.clone()).await;
    assert!(refused.is_err());
    spec.security.privileged = true;
    let id = machine.start(&sandbox, spec).await;
    let seen = || std::fs::read_to_string("/proc/self/mountinfo").expect("mounts").contains("shared/new");
    crate::running::wait_for(seen).await;
    machine.runtime.remove_container(&id).await.expect("remove");
    let _ = rustix::mount::unmount(shared.join("new"), rustix::mount::UnmountFlags::DETACH);
    rustix::mount::unmount(&shared, rustix::mount::UnmountFlags::DETACH).expect("unmount");
    machine.clean().await;
}

/// What containers of a sandbox share, and what they do not.
pub async fn sharing() {
    let machine = Machine::new().await;
    let network = machine.folder.path().join("net/one");
    netns::create(&network).expect("a network namespace");
    let mut spec = machine.sandbox_spec();
    spec.network = Network::Path(network.clone());
    spec.pid = PidMode::Sandbox;
    spec.sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "81".to_owned());
    spec.dns = Some(Dns {
        servers: vec!["10.0.0.10".into()],
        searches: vec!["a.b".into(), "b".into()],
        options: vec!["ndots:5".into()],
    });
    let sandbox = machine.runtime.create_sandbox(spec).await.expect("a sandbox").id;
    let first = machine.start(&sandbox, shell("echo first > /dev/shm/word; exec sleep 1000")).await;
    let script = "hostname; cat /etc/hostname /etc/resolv.conf /dev/shm/word; ps | grep -c 'sleep 100[0]'; \
                  cat /proc/sys/net/ipv4/ip_unprivileged_port_start; ip link | grep -c mtu; readlink /proc/self/ns/net";
    let (_, text) = machine.run(&sandbox, shell(script)).await;
    let expect = "box\nbox\nsearch a.b b\nnameserver 10.0.0.10\noptions ndots:5\nfirst\n1\n81\n1\n";
    assert!(text.starts_with(expect), "{text}");
    let here = std::fs::read_link("/proc/self/ns/net").expect("a namespace");
    assert!(!text.contains(&*here.to_string_lossy()));
    let inside = netns::enter(&network, || std::fs::read_link("/proc/thread-self/ns/net"))
        .expect("enter")
        .expect("link");
    assert!(text.contains(&*inside.to_string_lossy()));
    // The first process that they share shows nothing of the host, not even to who may trace it.
    let mut spec = shell(
        "cd /proc/1/root; ls -a .. | wc -l; ls /proc/1/fd | wc -l; (echo x > x) 2>/dev/null || echo no",
    );
    spec.security.capabilities_add = vec!["SYS_PTRACE".to_owned()];
    assert_eq!(machine.run(&sandbox, spec).await.1, "2\n0\nno\n");
    // Everything of a container ends with it, even where it was not alone.
    let script = "setsid sleep 2000 & exit 0";
    machine.run(&sandbox, shell(script)).await;
    let (_, text) = machine.run(&sandbox, shell("ps | grep -c 'sleep 200[0]'")).await;
    assert_eq!(text, "0\n");
    machine.runtime.remove_sandbox(&sandbox).await.expect("remove");
    netns::remove(&network).expect("remove");
    netns::remove(&network).expect("remove again");

    // The host's network and names, and another container's processes.
    let mut spec = machine.sandbox_spec();
    spec.hostname = None;
    let sandbox = machine.runtime.create_sandbox(spec).await.expect("a sandbox").id;
    let (_, text) =
        machine.run(&sandbox, shell("readlink /proc/self/ns/net; ps | grep -c 'sleep 100[0]'")).await;
    assert_eq!(text, format!("{}\n0\n", here.display()));
    let other = machine.start(&sandbox, shell("exec sleep 3000")).await;
    let target = ContainerSpec { pid: Some(PidMode::Target(other)), ..shell("ps | grep -c 'sleep 300[0]'") };
    assert_eq!(machine.run(&sandbox, target).await.1, "1\n");
    let host = ContainerSpec { pid: Some(PidMode::Host), ..shell("readlink /proc/self/ns/pid") };
    let here = std::fs::read_link("/proc/self/ns/pid").expect("a namespace");
    assert_eq!(machine.run(&sandbox, host).await.1, format!("{}\n", here.display()));
    drop(first);

    let mut spec = machine.sandbox_spec();
    spec.sysctls.insert("kernel.nope".to_owned(), "1".to_owned());
    let error = machine.runtime.create_sandbox(spec).await.expect_err("refused").to_string();
    assert!(error.contains("kernel.nope"), "{error}");
    machine.clean().await;
}

/// The program that set a container up cannot be written to from inside, although its file on the host could.
pub async fn executable() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox().await;
    let mut spec = shell("exec sleep 100");
    spec.pid = Some(PidMode::Host);
    spec.security.privileged = true;
    let id = machine.start(&sandbox, spec).await;
    let holder = machine.runtime.sandbox(&sandbox).await.expect("known").pid.expect("a holder");
    let write = format!("echo x >> /proc/{holder}/exe || echo refused");
    let words = ["sh", "-c", &write].map(str::to_owned);
    let result = machine.runtime.exec_sync(&id, &words, None).await.expect("exec");
    assert_eq!(String::from_utf8_lossy(&result.stdout), "refused\n");
    let own = std::env::current_exe().and_then(std::fs::metadata).expect("an executable");
    assert!(own.permissions().mode() & 0o200 != 0);
    machine.clean().await;
}

fn host_capabilities() -> String {
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).expect("a bounding set");
    line.trim().to_owned()
}
