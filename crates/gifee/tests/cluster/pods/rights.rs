//! As whom containers run, and what they may do.

use super::{make, output, path, phase, shell};
use crate::api::Api;
use crate::conformance::Step;
use serde_json::{Value, json};

/// What is done here.
pub const STEPS: &[Step] = &[
    ("users", containers_run_as_they_are_told),
    ("privileges", what_is_not_granted_is_refused),
    ("roots", a_root_file_system_is_writable_unless_it_is_not),
    ("sysctls", sysctls_are_set),
    ("tokens", tokens_are_there_and_readable),
];

fn with(mut container: Value, name: &str, value: Value) -> Value {
    container[name] = value;
    container
}

fn containers_run_as_they_are_told(api: &Api<'_>) {
    let id = "busybox id -u; busybox id -g";
    let as_is = || shell(id);
    let own = || with(shell(id), "securityContext", json!({ "runAsUser": 1001, "runAsGroup": 2002 }));
    let nobody = with(shell(id), "securityContext", json!({ "runAsUser": 65534 }));
    for (name, pod, container, expect) in [
        ("nobody", json!({}), nobody, "65534\n0\n"),
        ("root", json!({}), with(shell(id), "securityContext", json!({ "runAsUser": 0 })), "0\n0\n"),
        ("pod", json!({ "runAsUser": 1001, "runAsGroup": 2002 }), as_is(), "1001\n2002\n"),
        ("container", json!({ "runAsUser": 1, "runAsGroup": 2 }), own(), "1001\n2002\n"),
    ] {
        assert_eq!(output(api, name, &json!({ "securityContext": pod, "containers": [container] })), expect);
    }
}

fn what_is_not_granted_is_refused(api: &Api<'_>) {
    let adds = "busybox ip link add dummy0 type dummy 2>&1 || true";
    let bare = with(shell(adds), "securityContext", json!({ "privileged": false }));
    let said = output(api, "unprivileged", &json!({ "containers": [bare] }));
    assert!(said.contains("Operation not permitted"), "{said}");
    // A file that gives its rights to who runs it gives none.
    let gains = "busybox cp /bin/busybox /data/busybox; busybox chmod 4755 /data/busybox";
    let mut init = shell(gains);
    init["name"] = "init".into();
    let mounts = json!([{ "name": "data", "mountPath": "/data" }]);
    init["volumeMounts"] = mounts.clone();
    for (name, allowed, expect) in
        [("no", json!(false), "1"), ("yes", json!(true), "0"), ("unsaid", Value::Null, "0")]
    {
        let mut own =
            shell("busybox grep NoNewPrivs /proc/self/status; /data/busybox grep Uid /proc/self/status");
        own["volumeMounts"] = mounts.clone();
        own["securityContext"] = json!({ "runAsUser": 1000, "allowPrivilegeEscalation": allowed });
        let spec = json!({ "initContainers": [init], "containers": [own], "volumes": [{ "name": "data", "emptyDir": {} }] });
        let said = output(api, name, &spec);
        assert!(said.contains(&format!("NoNewPrivs:\t{expect}")), "{said}");
        if expect == "1" {
            assert!(said.contains("Uid:\t1000\t1000\t1000\t1000"), "{said}");
        }
    }
}

fn a_root_file_system_is_writable_unless_it_is_not(api: &Api<'_>) {
    let writes = || shell("echo checking > /file && cat /file");
    let open = with(writes(), "securityContext", json!({ "readOnlyRootFilesystem": false }));
    assert_eq!(output(api, "writable", &json!({ "containers": [open] })), "checking\n");
    let closed = with(writes(), "securityContext", json!({ "readOnlyRootFilesystem": true }));
    make(api, "readonly", &json!({ "containers": [closed] }));
    phase(api, "readonly", "Failed");
    let said = api.text(&format!("{}/log", path(api, "readonly")));
    assert_eq!(said, "sh: can't create /file: Read-only file system\n");
}

fn sysctls_are_set(api: &Api<'_>) {
    let spec = json!({ "securityContext": { "sysctls": [{ "name": "kernel.shm_rmid_forced", "value": "1" }] },
        "containers": [shell("cat /proc/sys/kernel/shm_rmid_forced")] });
    assert_eq!(output(api, "sysctl", &spec), "1\n");
}

fn tokens_are_there_and_readable(api: &Api<'_>) {
    let folder = "/var/run/secrets/kubernetes.io/serviceaccount";
    let reads = shell(&format!("cd {folder}; cat namespace; echo; head -n 1 ca.crt; cat token"));
    let said = output(api, "mounted", &json!({ "containers": [reads] }));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..2], [api.namespace.as_str(), "-----BEGIN CERTIFICATE-----"]);
    let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": { "token": lines[2] } });
    let review = api.post("/apis/authentication.k8s.io/v1/tokenreviews", &review);
    let user = format!("system:serviceaccount:{}:default", api.namespace);
    assert_eq!(review["status"]["user"]["username"], user.as_str());
    for (name, context, expect) in [
        ("root", json!({}), "644 0 0"),
        ("user", json!({ "runAsUser": 1000 }), "600 1000 0"),
        ("group", json!({ "fsGroup": 10000 }), "640 0 10000"),
        ("both", json!({ "runAsUser": 1000, "fsGroup": 10000 }), "640 1000 10000"),
    ] {
        let mut reads = shell("busybox stat -L -c '%a %u %g' /token/token");
        reads["volumeMounts"] = json!([{ "name": "token", "mountPath": "/token" }]);
        let source = json!({ "serviceAccountToken": { "path": "token", "expirationSeconds": 86400 } });
        let spec = json!({ "securityContext": context, "containers": [reads],
            "volumes": [{ "name": "token", "projected": { "sources": [source] } }] });
        assert_eq!(output(api, name, &spec).trim(), expect, "{name}");
    }
}
