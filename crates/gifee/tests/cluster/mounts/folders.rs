//! `emptyDir` on disk and in memory, and `hostPath`.

use super::{Case, at, check, log, runs, shell, start, succeeds, unmounted};
use crate::api::Api;
use crate::conformance::Step;
use serde_json::{Value, json};

pub const STEPS: &[Step] = &[
    ("empty", empty_folders_have_modes),
    ("empty-grouped", empty_folders_belong_to_groups),
    ("empty-shared", containers_share_a_folder),
    ("empty-sized", folders_in_memory_have_sizes),
    ("host-paths", host_paths_are_of_types),
    ("propagation", mounts_propagate),
];

/// As whom, the mode of the file, and where the folder is.
const FILES: &[&str] = &[
    "(root,0644,default)",
    "(root,0644,tmpfs)",
    "(root,0666,default)",
    "(root,0666,tmpfs)",
    "(root,0777,default)",
    "(root,0777,tmpfs)",
    "(non-root,0644,default)",
    "(non-root,0644,tmpfs)",
    "(non-root,0666,default)",
    "(non-root,0666,tmpfs)",
    "(non-root,0777,default)",
    "(non-root,0777,tmpfs)",
];

fn medium(name: &str) -> Value {
    if name == "tmpfs" { json!({ "medium": "Memory" }) } else { json!({}) }
}

/// Whether what is at a path is a file system in memory.
const IS_TMPFS: &str = "busybox grep -q ' /v tmpfs ' /proc/mounts && echo tmpfs || echo default";

fn empty_folders_have_modes(api: &Api<'_>) {
    let (mut volumes, mut cases) = (Vec::new(), Vec::<Case<'_>>::new());
    let names: Vec<String> = FILES.iter().map(|row| row.trim_matches(['(', ')']).replace(',', "-")).collect();
    for (row, name) in FILES.iter().zip(&names) {
        let words: Vec<&str> = row.trim_matches(['(', ')']).split(',').collect();
        let [who, mode, place] = words[..] else { panic!("{row}") };
        let user = if who == "root" { 0 } else { 1001 };
        volumes.push(json!({ "name": name, "emptyDir": medium(place) }));
        let line = format!(
            "umask 0; echo content > /v/file && busybox chmod {mode} /v/file; cat /v/file; \
             busybox stat -c '%a %u:%g' /v/file; {IS_TMPFS}"
        );
        let prints = format!("content\n{} {user}:{user}\n{place}\n", &mode[1..]);
        cases.push((name, user, at(name, "/v"), line, prints));
    }
    for place in ["default", "tmpfs"] {
        volumes.push(json!({ "name": place, "emptyDir": medium(place) }));
        let line = format!("busybox stat -c '%a %u:%g' /v; {IS_TMPFS}");
        cases.push((place, 0, at(place, "/v"), line, format!("777 0:0\n{place}\n")));
    }
    check(api, "modes", &json!(volumes), &json!({}), &cases);
}

fn empty_folders_belong_to_groups(api: &Api<'_>) {
    let (mut volumes, mut cases) = (Vec::new(), Vec::<Case<'_>>::new());
    let places = ["default", "tmpfs"]
        .map(|place| ["root", "non-root"].map(|who| (place, who, format!("{place}-{who}"))));
    for (place, who, name) in places.iter().flatten() {
        let user = if *who == "root" { 0 } else { 1001 };
        volumes.push(json!({ "name": name, "emptyDir": medium(place) }));
        let mounts = json!([{ "name": name, "mountPath": "/v" }, { "name": name, "mountPath": "/sub", "subPath": "new/deep" }]);
        let line = "umask 022; echo > /v/file; busybox stat -c '%a %u:%g' /v /v/file /sub /v/new; \
            echo > /sub/file && busybox stat -c '%a %u:%g' /sub/file";
        let file = format!("644 {user}:123\n");
        let prints = format!("2777 0:123\n{file}2777 0:123\n2777 0:123\n{file}");
        cases.push((name, user, mounts, line.to_owned(), prints));
    }
    check(api, "grouped", &json!(volumes), &json!({ "securityContext": { "fsGroup": 123 } }), &cases);
}

fn containers_share_a_folder(api: &Api<'_>) {
    let message = "Hello from the busy-box sub-container";
    let waits = format!(
        "{}; cat /usr/share/volumeshare/shareddata.txt",
        super::files::once("[ -s /usr/share/volumeshare/shareddata.txt ]")
    );
    let cases: [Case<'_>; 2] = [
        ("main", 0, at("shared", "/usr/share/volumeshare"), waits, format!("{message}\n")),
        (
            "sub",
            0,
            at("shared", "/pod-data"),
            format!("echo {message} > /pod-data/shareddata.txt"),
            String::new(),
        ),
    ];
    check(api, "shares", &json!([{ "name": "shared", "emptyDir": {} }]), &json!({}), &cases);
}

/// A folder in memory is as large as it says, at most as the pod may have memory, at most as the node has.
fn folders_in_memory_have_sizes(api: &Api<'_>) {
    let nodes = api.get("/api/v1/nodes");
    let memory = nodes["items"][0]["status"]["allocatable"]["memory"].as_str().unwrap();
    let memory = memory.parse::<gifee_base::Quantity>().unwrap().value() / 4096 * 4;
    let size = "busybox df -k /v | busybox awk 'NR == 2 { print $2 }'";
    let volumes = json!([{ "name": "ten", "emptyDir": { "medium": "Memory", "sizeLimit": "10Mi" } },
        { "name": "all", "emptyDir": { "medium": "Memory" } }]);
    let cases: [Case<'_>; 2] = [
        ("ten", 0, at("ten", "/v"), size.into(), "10240\n".into()),
        ("all", 0, at("all", "/v"), size.into(), format!("{memory}\n")),
    ];
    check(api, "sized", &volumes, &json!({}), &cases);
    let limited = |name: &str| {
        let mut one = shell(name, 0, &at(name, "/v"), size);
        one["resources"] = json!({ "limits": { "memory": "32Mi" } });
        one
    };
    start(api, "limited", &volumes, vec![limited("ten"), limited("all")], &json!({}));
    succeeds(api, "limited");
    assert_eq!((&*log(api, "limited", "ten"), &*log(api, "limited", "all")), ("10240\n", "65536\n"));
}

/// Each type takes what is of it, and says of what is not that it is not.
fn host_paths_are_of_types(api: &Api<'_>) {
    let folder = api.cluster.folder.path().join("host");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("file"), "of the host\n").unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
    let of = |path: &std::path::Path, kind: &str| json!({ "hostPath": { "path": path, "type": kind } });
    let null = std::path::Path::new("/dev/null");
    let rows = [
        ("any", of(&folder, ""), "ls", "file\nmade\nmade-file\nsocket\n"),
        ("folder", of(&folder, "Directory"), "ls", "file\nmade\nmade-file\nsocket\n"),
        ("file", of(&folder.join("file"), "File"), "cat", "of the host\n"),
        ("socket", of(&folder.join("socket"), "Socket"), "test -S", ""),
        ("device", of(null, "CharDevice"), "test -c", ""),
        ("made", of(&folder.join("made"), "DirectoryOrCreate"), "stat -c %a", "755\n"),
        ("made-file", of(&folder.join("made-file"), "FileOrCreate"), "stat -c %a", "644\n"),
    ];
    let (mut volumes, mut cases) = (Vec::new(), Vec::<Case<'_>>::new());
    for (name, source, line, prints) in &rows {
        let mut volume = source.clone();
        volume["name"] = (*name).into();
        volumes.push(volume);
        cases.push((name, 0, at(name, "/v"), format!("busybox {line} /v"), (*prints).into()));
    }
    check(api, "types", &json!(volumes), &json!({}), &cases);

    let refused = [
        ("no-folder", folder.join("missing"), "Directory", "a directory"),
        ("no-file", folder.clone(), "File", "a file"),
        ("no-socket", folder.join("file"), "Socket", "a socket file"),
        ("no-character", folder.join("file"), "CharDevice", "a character device"),
        ("no-block", null.to_owned(), "BlockDevice", "a block device"),
        ("no-new-folder", folder.join("file"), "DirectoryOrCreate", "a directory"),
        ("no-new-file", folder.clone(), "FileOrCreate", "a file"),
    ];
    for (name, path, kind, _) in &refused {
        let mut volume = of(path, kind);
        volume["name"] = "v".into();
        start(api, name, &json!([volume]), vec![shell("c", 0, &at("v", "/v"), "true")], &json!({}));
    }
    for (name, path, _, what) in &refused {
        let wanted = format!(
            "MountVolume.SetUp failed for volume \"v\" : hostPath type check failed: {} is not {what}",
            path.display()
        );
        assert_eq!(unmounted(api, name), wanted);
    }
}

/// What is mounted on the host later is seen where that is asked for, and what a privileged container mounts is seen
/// by the host and by others, where both ask for it.
fn mounts_propagate(api: &Api<'_>) {
    let folder = api.cluster.folder.path().join("propagation");
    std::fs::create_dir_all(folder.join("host")).unwrap();
    std::fs::create_dir_all(folder.join("private")).unwrap();
    std::fs::create_dir_all(folder.join("container")).unwrap();
    // A mount of its own whose mounts propagate, wherever the test runs.
    rustix::mount::mount_bind(&folder, &folder).unwrap();
    let _gone = Unmount(folder.clone());
    rustix::mount::mount_change(&folder, rustix::mount::MountPropagationFlags::SHARED).unwrap();
    let volumes = json!([{ "name": "v", "hostPath": { "path": folder } }]);
    let mount = |how: &str| json!([{ "name": "v", "mountPath": "/v", "mountPropagation": how }]);
    let there = |path: &str| super::files::once(&format!("[ -e /v/{path} ]"));
    let mut master = shell(
        "master",
        0,
        &mount("Bidirectional"),
        &format!(
            "busybox mount -t tmpfs own /v/container && echo > /v/container/file && {} && exec sleep 100000",
            there("end")
        ),
    );
    master["securityContext"]["privileged"] = true.into();
    let slave = shell(
        "slave",
        0,
        &mount("HostToContainer"),
        &format!("{}; {}; echo both", there("host/file"), there("container/file")),
    );
    let private =
        shell("private", 0, &mount("None"), &format!("{}; busybox ls /v /v/host /v/container", there("end")));
    start(api, "private", &volumes, vec![private], &json!({}));
    start(api, "slave", &volumes, vec![slave], &json!({}));
    runs(api, "private", "private");
    runs(api, "slave", "slave");
    let inner = folder.join("host");
    rustix::mount::mount(
        "host",
        &inner,
        "tmpfs",
        rustix::mount::MountFlags::empty(),
        None::<&std::ffi::CStr>,
    )
    .unwrap();
    std::fs::write(inner.join("file"), "").unwrap();
    start(api, "master", &volumes, vec![master], &json!({}));
    succeeds(api, "slave");
    assert_eq!(log(api, "slave", "slave"), "both\n");
    // The host sees what the container mounted, since the other container did.
    assert!(folder.join("container/file").exists());
    std::fs::write(folder.join("end"), "").unwrap();
    succeeds(api, "private");
    assert_eq!(
        log(api, "private", "private"),
        "/v:\ncontainer\nend\nhost\nprivate\n\n/v/container:\n\n/v/host:\n"
    );
    let grace = json!({ "gracePeriodSeconds": 0 });
    api.delete(&format!("{}/master", api.path("v1/pods")), &grace);
    api.until("v1/pods", "master", Value::is_null);
}

/// Takes a mount away, and what is mounted below it.
pub(super) struct Unmount(pub std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = gifee_oci::mounts::unmount_below(&self.0);
    }
}
