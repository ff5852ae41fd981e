//! Specs by table.

use std::path::Path;

use gifee_oci::images::Image;
use gifee_oci::spec::{ContainerSpec, Seccomp};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::*;
use crate::pod::members::members;

fn make(pod: Value, image_user: &str) -> Result<ContainerSpec, String> {
    let mut pod = pod;
    pod["containers"][0]["name"] = json!("c");
    pod["containers"][0]["image"] = json!("busybox");
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "blog", "namespace": "web", "uid": "u1"}, "spec": pod}))
    .unwrap();
    let mut image = Image::default();
    image.config.user = Some(image_user.to_owned());
    let parts = Parts {
        image,
        number: 3,
        environment: vec![("A".into(), "1".into())],
        mounts: Vec::new(),
        target: None,
        memory_capacity: 1 << 30,
        seccomp_default: true,
        seccomp_folder: "/r/seccomp".into(),
        log_rotation: Default::default(),
    };
    spec(&pod, &members(&pod)[0], &PodPaths::new(Path::new("/r"), "u1"), parts)
}

#[test]
fn a_plain_container_has_the_standard_files() {
    let made = make(json!({"containers": [{"command": ["$(A)"], "args": ["x"]}]}), "").unwrap();
    assert_eq!((made.command, made.args), (vec!["1".to_owned()], vec!["x".to_owned()]));
    let mounts: Vec<_> = made.mounts.iter().map(|mount| mount.container_path.to_str().unwrap()).collect();
    assert_eq!(mounts, ["/etc/hosts", "/dev/termination-log"]);
    assert_eq!(made.mounts[1].host_path, Path::new("/r/pods/u1/containers/c/3.message"));
    assert_eq!(made.log_path.as_deref(), Some(Path::new("c/3.log")));
    assert_eq!(made.security.seccomp, Seccomp::RuntimeDefault);
    assert_eq!(made.oom_score_adj, Some(1000));
    assert_eq!(made.annotations["io.kubernetes.container.restartCount"], "3");
}

#[test]
fn the_container_wins_over_the_pod() {
    let made = make(
        json!({"securityContext": {"runAsUser": 5, "runAsGroup": 6, "fsGroup": 9, "supplementalGroups": [8],
                "seccompProfile": {"type": "Unconfined"}},
            "containers": [{"securityContext": {"runAsUser": 7, "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}}}]}),
        "",
    )
    .unwrap();
    assert_eq!((made.user.uid, made.user.gid), (Some(7), Some(6)));
    assert_eq!(made.user.supplemental_groups, [8, 9]);
    assert!(made.security.no_new_privileges && made.security.readonly_rootfs);
    assert_eq!(made.security.seccomp, Seccomp::Unconfined);
    assert_eq!(made.security.capabilities_drop, ["ALL"]);
}

#[test]
fn root_is_refused_where_it_was_ruled_out() {
    let refused = |user: Value, image: &str| {
        let security = json!({"runAsNonRoot": true, "runAsUser": user});
        make(json!({"securityContext": security, "containers": [{}]}), image).err().unwrap_or_default()
    };
    let subject = r#"(pod: "blog_web(u1)", container: c)"#;
    assert_eq!(refused(json!(0), "5"), format!("container's runAsUser breaks non-root policy {subject}"));
    assert_eq!(
        refused(Value::Null, ""),
        format!("container has runAsNonRoot and image will run as root {subject}")
    );
    assert!(refused(Value::Null, "www").contains("non-numeric user (www)"));
    assert_eq!(refused(Value::Null, "1000:1000"), "");
    assert_eq!(refused(json!(5), ""), "");
}

#[test]
fn last_words_come_from_the_file_or_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let (file, log) = (folder.path().join("m"), folder.path().join("l"));
    std::fs::write(&log, "2026-01-01T00:00:00Z stdout F one two\n2026-01-01T00:00:01Z stderr F three\n")
        .unwrap();
    assert_eq!(termination_message(&file, None), "");
    assert_eq!(termination_message(&file, Some(&log)), "one two\nthree\n");
    std::fs::write(&log, "2026-01-01T00:00:00Z stdout F one\n2026-01-01T00:00:01Z stdout P open\n").unwrap();
    assert_eq!(termination_message(&file, Some(&log)), "one\nopen");
    std::fs::write(&file, "bye").unwrap();
    assert_eq!(termination_message(&file, Some(&log)), "bye");
}
