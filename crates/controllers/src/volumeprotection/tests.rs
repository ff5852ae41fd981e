//! Which volumes keep their finalizer.

use super::*;

#[test]
fn bound_volumes_stay() {
    let check = |deleting: bool, protected: bool, phase: &str, expect: Option<Vec<&str>>| {
        let mut volume = json!({ "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": "v",
            "finalizers": ["other"] }, "status": { "phase": phase } });
        if deleting {
            volume["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        if protected {
            volume["metadata"]["finalizers"] = json!(["other", FINALIZER]);
        }
        let object = Object::received(volume.to_string().into()).unwrap();
        let planned = plan(&object);
        let planned: Option<Vec<&str>> =
            planned.as_ref().map(|all| all.iter().filter_map(Value::as_str).collect());
        assert_eq!(planned, expect, "{volume}");
    };
    check(false, true, "Available", None);
    check(false, false, "Available", Some(vec!["other", FINALIZER]));
    check(true, true, "Bound", None);
    check(true, true, "Released", Some(vec!["other"]));
    check(true, false, "Released", None);
}
