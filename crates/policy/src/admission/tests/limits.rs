//! LimitRanger: what is filled in, and what is refused in which words.

use super::*;

fn ranged(limits: Value) -> World {
    let mut world = world();
    world.add(
        "",
        "limitranges",
        json!({ "metadata": { "namespace": "a", "name": "l" }, "spec": { "limits": limits } }),
    );
    world
}

fn pod(resources: Value) -> Value {
    json!({ "spec": { "serviceAccountName": "bare", "containers": [{ "name": "c", "resources": resources }] } })
}

#[test]
fn containers_get_the_defaults_that_they_do_not_name() {
    let world = ranged(json!([{ "type": "Container", "default": { "cpu": "500m", "memory": "1Gi" },
        "defaultRequest": { "cpu": "100m" } }]));
    let asked = json!({ "limits": { "memory": "2Gi" } });
    let (made, ..) = run_in(&world, &Chain::default(), &Ask::default(), pod(asked)).unwrap();
    assert_eq!(
        made["spec"]["containers"][0]["resources"],
        json!({ "limits": { "memory": "2Gi", "cpu": "500m" }, "requests": { "cpu": "100m" } })
    );
    assert_eq!(
        made["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
    );
    let (again, ..) = run_in(&world, &Chain::default(), &Ask::default(), made.clone()).unwrap();
    assert_eq!(again, made);
}

#[test]
fn amounts_out_of_range_are_refused() {
    let check = |limit: Value, resources: Value, expect: &str| {
        let world = ranged(json!([limit]));
        let outcome = run_in(&world, &Chain::default(), &Ask::default(), pod(resources));
        let text = outcome.err().unwrap_or_default();
        assert_eq!(text.strip_prefix("pods \"p\" is forbidden: ").unwrap_or(&text), expect);
    };
    let cpu =
        |request: &str, limit: &str| json!({ "requests": { "cpu": request }, "limits": { "cpu": limit } });
    let minimum = json!({ "type": "Container", "min": { "cpu": "200m" } });
    check(minimum.clone(), json!({}), "minimum cpu usage per Container is 200m.  No request is specified");
    check(minimum.clone(), cpu("100m", "1"), "minimum cpu usage per Container is 200m, but request is 100m");
    check(minimum, cpu("200m", "1"), "");
    let maximum = json!({ "type": "Pod", "max": { "cpu": "1", "memory": "1Gi" } });
    check(
        maximum,
        cpu("1", "2"),
        "[maximum cpu usage per Pod is 1, but limit is 2, maximum memory usage per Pod is 1Gi.  No limit is specified]",
    );
    let ratio = json!({ "type": "Container", "maxLimitRequestRatio": { "cpu": "2" } });
    check(
        ratio.clone(),
        cpu("1", "3"),
        "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000",
    );
    check(ratio, cpu("1", "2"), "");
}

#[test]
fn claims_are_ranged_and_only_changes_are_judged() {
    let world = ranged(json!([{ "type": "PersistentVolumeClaim", "max": { "storage": "5Gi" } }]));
    let claim = |storage: &str| json!({ "metadata": { "name": "p" }, "spec": { "resources": { "requests": { "storage": storage } } } });
    let ask = |operation, old| Ask {
        operation,
        kind: ("", "PersistentVolumeClaim", "persistentvolumeclaims"),
        old,
        ..Ask::default()
    };
    let chain = Chain::new(&[], &["PersistentVolumeClaimResize"]);
    assert_eq!(
        run_in(&world, &chain, &ask(Operation::Create, None), claim("6Gi")).unwrap_err(),
        "persistentvolumeclaims \"p\" is forbidden: maximum storage usage per PersistentVolumeClaim is 5Gi, but request is 6Gi"
    );
    assert!(run_in(&world, &chain, &ask(Operation::Update, Some(claim("6Gi"))), claim("6Gi")).is_ok());
}
