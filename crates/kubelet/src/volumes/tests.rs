//! Payloads, the atomic layout, and parts of volumes that try to escape.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use std::path::Path;

use expect_test::{Expect, expect};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use serde_json::{Value, json};

use super::*;
use crate::container::mounts;
use crate::files::payload::{File, Payload};
use crate::files::{atomic, ownership, payload, subpath};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn files(pairs: &[(&str, &str)]) -> Payload {
    let file = |text: &str| File { data: text.as_bytes().to_vec(), mode: 0o640, owner: None };
    pairs.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect()
}

fn tree(root: &Path) -> String {
    let mut lines = Vec::new();
    let mut names: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for path in names {
        let name = path.strip_prefix(root).unwrap().display().to_string();
        match fs::read_link(&path) {
            Ok(target) => lines.push(format!("{name} -> {}", target.display())),
            Err(_) => lines.push(name),
        }
    }
    lines.join("\n")
}

#[test]
fn an_update_moves_one_link() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    assert!(atomic::write(root, &files(&[("a", "1"), ("sub/b", "2")]), None, at(0)).unwrap());
    expect![[r#"
        ..2023_11_14_22_13_20.000000000
        ..data -> ..2023_11_14_22_13_20.000000000
        a -> ..data/a
        sub -> ..data/sub"#]]
    .assert_eq(&tree(root));
    assert_eq!(fs::read_to_string(root.join("sub/b")).unwrap(), "2");
    assert_eq!(fs::metadata(root.join("a")).unwrap().mode() & 0o777, 0o640);
    assert!(!atomic::write(root, &files(&[("a", "1"), ("sub/b", "2")]), None, at(1)).unwrap());

    // What a crash left is swept with the next update.
    fs::create_dir(root.join("..2000_01_01_00_00_00.000000000")).unwrap();
    symlink("nowhere", root.join("..data_tmp")).unwrap();
    assert!(atomic::write(root, &files(&[("a", "3"), ("c", "4")]), None, at(2)).unwrap());
    expect![[r#"
        ..2023_11_14_22_13_22.000000000
        ..data -> ..2023_11_14_22_13_22.000000000
        a -> ..data/a
        c -> ..data/c"#]]
    .assert_eq(&tree(root));
    assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "3");
}

fn check_map(items: Value, optional: bool, expect: Expect) {
    let map: ConfigMap =
        serde_json::from_value(json!({"data": {"a": "1", "b": "2"}, "binaryData": {"c": "AAE="}})).unwrap();
    let items: Option<Vec<k8s_openapi::api::core::v1::KeyToPath>> = serde_json::from_value(items).unwrap();
    let made = payload::config_map(Some(&map), ("web", "settings"), items.as_ref(), None, optional);
    let text = match made {
        Ok(made) => {
            let line = |(path, file): (&String, &File)| format!("{path} {:o} {:?}", file.mode, file.data);
            made.iter().map(line).collect::<Vec<_>>().join("\n")
        }
        Err(error) => format!("error: {error}"),
    };
    expect.assert_eq(&text);
}

#[test]
fn entries_become_files() {
    check_map(
        Value::Null,
        false,
        expect![[r#"
        a 644 [49]
        b 644 [50]
        c 644 [0, 1]"#]],
    );
    check_map(json!([{"key": "a", "path": "x/y", "mode": 256}]), false, expect!["x/y 400 [49]"]);
    check_map(
        json!([{"key": "z", "path": "z"}]),
        false,
        expect!["error: configmap references non-existent config key: web/settings"],
    );
    check_map(json!([{"key": "z", "path": "z"}]), true, expect![""]);
    check_map(
        json!([{"key": "a", "path": "../z"}]),
        false,
        expect![[r#"error: invalid path "../z" in volume"#]],
    );
}

#[test]
fn host_paths_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let refused = |name: &str, kind: &str| {
        let text = host_path::prepare(&at(name), kind).unwrap_err().to_string();
        text.replace(&*folder.path().to_string_lossy(), "/ROOT")
    };
    assert_eq!(refused("no", "Directory"), "hostPath type check failed: /ROOT/no is not a directory");
    host_path::prepare(&at("made"), "DirectoryOrCreate").unwrap();
    host_path::prepare(&at("file"), "FileOrCreate").unwrap();
    assert_eq!(refused("made", "File"), "hostPath type check failed: /ROOT/made is not a file");
    assert_eq!(refused("file", "Socket"), "hostPath type check failed: /ROOT/file is not a socket file");
    host_path::prepare(&at("file"), "File").unwrap();
    host_path::prepare(&at("implied"), "").unwrap();
    assert!(at("implied").is_dir());
}

#[test]
fn a_part_stays_in_its_volume() {
    let folder = tempfile::tempdir().unwrap();
    let (root, target) = (folder.path().join("volume"), folder.path().join("target/0"));
    fs::create_dir_all(root.join("real")).unwrap();
    fs::write(folder.path().join("outside"), "secret").unwrap();
    symlink("../outside", root.join("escape")).unwrap();
    symlink("/etc", root.join("absolute")).unwrap();
    symlink("real", root.join("inside")).unwrap();
    for sub in ["escape", "absolute/passwd", "../outside", "/etc"] {
        let error = subpath::bind(&root, sub, &target).unwrap_err().to_string();
        assert!(error.contains("not below its volume"), "{sub}: {error}");
    }
    for sub in ["inside", "new/deep", "."] {
        subpath::bind(&root, sub, &target).unwrap();
    }
    assert!(root.join("new/deep").is_dir());
    fs::write(root.join("file"), "content").unwrap();
    let file = folder.path().join("target/1");
    subpath::bind(&root, "file", &file).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "content");
    subpath::clear(&folder.path().join("target")).unwrap();
    assert!(!folder.path().join("target").exists());
}

#[test]
fn mounts_follow_the_spec() {
    let folder = tempfile::tempdir().unwrap();
    let paths = PodPaths::new(folder.path(), "u1");
    let volume = folder.path().join("v");
    fs::create_dir(&volume).unwrap();
    let volumes = BTreeMap::from([(
        "v".to_owned(),
        Mounted { path: volume.clone(), readonly: true, ..Mounted::default() },
    )]);
    let pod: Pod = serde_json::from_value(json!({"spec": {"containers": [{"name": "c", "volumeMounts": [
        {"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "b", "mountPropagation": "HostToContainer"}]}]}}))
    .unwrap();
    let container = &pod.spec.as_ref().unwrap().containers[0];
    let made = mounts::mounts(container, &volumes, &paths, &[]).unwrap();
    assert_eq!(made.len(), 2);
    assert!(made[0].readonly && made[0].host_path == volume);
    assert_eq!(made[1].container_path, Path::new("/b"));
    assert_eq!(made[1].propagation, gifee_oci::spec::Propagation::HostToContainer);
    let error = mounts::mounts(container, &BTreeMap::new(), &paths, &[]).unwrap_err().to_string();
    assert_eq!(error, r#"cannot find volume "v" to mount into container "c""#);
}

#[test]
fn the_only_user_owns_tokens() {
    let user = |common: Value, one: Value, two: Value| {
        let pod: Pod = serde_json::from_value(json!({"spec": {"securityContext": {"runAsUser": common}, "containers": [
            {"name": "a", "securityContext": {"runAsUser": one}}, {"name": "b", "securityContext": {"runAsUser": two}}]}}))
        .unwrap();
        ownership::only_user(&pod)
    };
    assert_eq!(user(Value::Null, json!(5), json!(5)), Some(5));
    assert_eq!(user(json!(5), Value::Null, Value::Null), Some(5));
    assert_eq!(user(json!(5), json!(6), Value::Null), None);
    assert_eq!(user(Value::Null, json!(6), Value::Null), None);
}
