//! Containers that do what they should not: each is held to what is its own, and leaves nothing.

use super::{PODS, ask, exec, holds, make, output, path, ready, shell};
use crate::api::Api;
use crate::conformance::Step;
use serde_json::{Value, json};

/// What is done here.
pub const STEPS: &[Step] = &[
    ("forks", a_container_forks_without_end),
    ("children", a_thousand_children_go_with_their_pod),
    ("deaf", who_ignores_the_signal_is_killed),
    ("memory", who_eats_memory_is_killed_alone),
    ("silent", who_closes_its_output_goes_on),
    ("flood", a_flood_of_words_is_bounded),
    ("reach", what_is_not_its_own_is_out_of_reach),
];

fn removed(api: &Api<'_>, name: &str) {
    api.delete(&path(api, name), &Value::Null);
    api.until(PODS, name, Value::is_null);
}

fn a_container_forks_without_end(api: &Api<'_>) {
    let mut bomb = shell("bomb() { bomb | bomb & }; bomb; while true; do sleep 1; done");
    // What it may take of the processor is not the question, and other tests want some of it.
    bomb["resources"] = json!({ "limits": { "cpu": "500m" } });
    make(api, "bomb", &json!({ "containers": [bomb] }));
    // Others come and work beside it.
    ready(api, "bomb");
    assert_eq!(output(api, "neighbour", &json!({ "containers": [shell("echo $(echo well)")] })), "well\n");
    removed(api, "bomb");
}

fn a_thousand_children_go_with_their_pod(api: &Api<'_>) {
    let line = "n=0; while [ $n -lt 1000 ]; do sleep 100000 & n=$((n+1)); done; echo all; wait";
    make(api, "parent", &json!({ "containers": [shell(line)] }));
    let log = format!("{}/log", path(api, "parent"));
    ready(api, "parent");
    ask("all children", || api.text(&log) == "all\n");
    assert_eq!(exec(api, "parent", "c", "set -- /proc/[0-9]*; [ $# -gt 1000 ] && echo many"), "many\n");
    removed(api, "parent");
}

fn who_ignores_the_signal_is_killed(api: &Api<'_>) {
    let line = "trap '' TERM INT HUP; while true; do sleep 1; done";
    make(api, "deaf", &json!({ "terminationGracePeriodSeconds": 2, "containers": [shell(line)] }));
    ready(api, "deaf");
    removed(api, "deaf");
}

fn who_eats_memory_is_killed_alone(api: &Api<'_>) {
    let mut eater = shell("busybox tail /dev/zero");
    eater["resources"] = json!({ "limits": { "memory": "32Mi" } });
    let mut other = shell("exec sleep 100000");
    other["name"] = "other".into();
    make(api, "eater", &json!({ "containers": [eater, other] }));
    let status = |pod: &Value, name: &str| -> Value {
        let mut all = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
        all.find(|one| one["name"] == name).cloned().unwrap_or_default()
    };
    let pod = api.until(PODS, "eater", |pod| !status(pod, "c")["state"]["terminated"].is_null());
    let ended = &status(&pod, "c")["state"]["terminated"];
    assert_eq!((&ended["reason"], &ended["exitCode"]), (&json!("OOMKilled"), &json!(137)), "{ended}");
    assert!(!status(&pod, "other")["state"]["running"].is_null());
}

fn who_closes_its_output_goes_on(api: &Api<'_>) {
    make(
        api,
        "silent",
        &json!({ "containers": [shell("echo last; exec 0<&- 1>&- 2>&-; exec sleep 100000")] }),
    );
    let pod = ready(api, "silent");
    assert_eq!(exec(api, "silent", "c", "echo heard"), "heard\n");
    assert_eq!(api.text(&format!("{}/log", path(api, "silent"))), "last\n");
    assert!(holds(&pod, "ContainersReady"));
}

fn a_flood_of_words_is_bounded(api: &Api<'_>) {
    // More than the files of a log may hold together.
    let line = "busybox yes 0123456789012345678901234567890123456789012345678901234567890 | head -c 80000000; echo; echo end; exec sleep 100000";
    let pod = make(api, "flood", &json!({ "containers": [shell(line)] }));
    let last = format!("{}/log?tailLines=1", path(api, "flood"));
    ready(api, "flood");
    ask("the end", || api.text(&last) == "end\n");
    let name = format!("{}_flood_{}", api.namespace, pod["metadata"]["uid"].as_str().unwrap());
    let folder = api.cluster.data_dir.join("kubelet/logs").join(name).join("c");
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let bytes: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes > 1 << 20 && bytes < 60 << 20, "{bytes}");
}

fn what_is_not_its_own_is_out_of_reach(api: &Api<'_>) {
    let tries = [
        "echo 1 > /proc/sys/kernel/panic",
        "echo h > /proc/sysrq-trigger",
        "echo 1 > /sys/kernel/mm/transparent_hugepage/enabled",
        "busybox mount -t tmpfs none /www",
        "busybox mknod /disk b 8 0 && busybox head -c 1 /disk",
        "busybox mknod /memory c 1 1 && busybox head -c 1 /memory",
        "busybox unshare -m busybox true",
        "hostname other",
        "busybox ip link set lo down",
        "busybox chroot /proc/1/cwd/../../../proc/2/root busybox true",
        "busybox renice -n -5 1",
    ];
    let each = tries.map(|line| format!("if ( {line} ) >/dev/null 2>&1; then echo reached: '{line}'; fi"));
    // Nor does it see the processes of others.
    let line = format!("{}\nset -- /proc/[0-9]*; [ $# -lt 10 ] && echo alone", each.join("\n"));
    assert_eq!(output(api, "reach", &json!({ "containers": [shell(&line)] })), "alone\n");
}
