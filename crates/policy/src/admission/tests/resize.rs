//! Pods that get other resources where they run.

use super::*;

/// Parts of the spec of the pod before and after, and the node; then the refusal.
fn check(part: &str, before: Value, after: Value, node: Value, expect: Result<(), &str>) {
    let mut world = world();
    world.add("", "nodes", node);
    let pod = |spec: &Value, generation: i64| {
        let mut pod = json!({ "metadata": { "namespace": "a", "name": "p", "generation": generation }, "spec": {
            "nodeName": "n", "serviceAccountName": "bare", "containers": [{ "name": "c" }] } });
        for (field, value) in spec.as_object().unwrap() {
            pod["spec"][field] = value.clone();
        }
        pod
    };
    let generation = if before == after { 1 } else { 2 };
    let ask =
        Ask { operation: Operation::Update, subresource: part, old: Some(pod(&before, 1)), ..Ask::default() };
    let outcome = run_in(&world, &Chain::default(), &ask, pod(&after, generation));
    assert_eq!(
        outcome.map(|_| ()).as_ref().map_err(String::as_str),
        expect.as_ref().map_err(|why| *why),
        "{after}"
    );
}

fn node(name: &str, system: &str, features: &[&str]) -> Value {
    json!({ "metadata": { "name": name, "labels": { "kubernetes.io/os": system } },
        "status": { "allocatable": { "cpu": "1", "memory": "1Gi" }, "declaredFeatures": features } })
}

fn asking(cpu: &str, memory: &str) -> Value {
    let requests = json!({ "cpu": cpu, "memory": memory });
    json!({ "containers": [{ "name": "c", "resources": { "requests": requests } }] })
}

#[test]
fn a_pod_grows_as_far_as_its_node_has_room() {
    let linux = || node("n", "linux", &[]);
    let small = || asking("100m", "1Mi");
    check("resize", small(), asking("1", "1Gi"), linux(), Ok(()));
    check(
        "resize",
        small(),
        asking("2", "2Gi"),
        linux(),
        Err(
            "pods \"p\" is forbidden: Node didn't have enough allocatable resources: cpu, requested: 2000, allocatable: 1000; memory, requested: 2147483648, allocatable: 1073741824",
        ),
    );
    check(
        "resize",
        small(),
        asking("1", "2Gi"),
        linux(),
        Err(
            "pods \"p\" is forbidden: Node didn't have enough allocatable resources: memory, requested: 2147483648, allocatable: 1073741824",
        ),
    );
    // Nothing that is wanted has changed, or it is no resize.
    check("resize", asking("2", "2Gi"), asking("2", "2Gi"), linux(), Ok(()));
    check("", small(), asking("2", "2Gi"), linux(), Ok(()));
    check(
        "resize",
        small(),
        asking("1", "1Gi"),
        node("other", "linux", &[]),
        Err("pods \"p\" is forbidden: node \"n\" not found"),
    );
    check(
        "resize",
        small(),
        asking("1", "1Gi"),
        node("n", "windows", &[]),
        Err(
            "pods \"p\" is forbidden: pod resize is only supported on linux nodes, node \"n\" is \"windows\"",
        ),
    );
}

#[test]
fn a_node_must_say_that_it_can() {
    let whole = "InPlacePodLevelResourcesVerticalScaling";
    let first = "InPlacePodVerticalScalingInitContainers";
    let of_pod = |cpu: &str| json!({ "resources": { "requests": { "cpu": cpu } } });
    let of_first = |cpu: &str, policy: Value| {
        json!({ "initContainers": [
        { "name": "i", "restartPolicy": policy, "resources": { "requests": { "cpu": cpu } } }] })
    };
    let linux = |features: &[&str]| node("n", "linux", features);
    let lacks = |what: &str| {
        format!(
            "pods \"p\" is forbidden: pod update requires features {what} which are not available on node \"n\""
        )
    };
    check("resize", of_pod("1m"), of_pod("2m"), linux(&[whole]), Ok(()));
    check("resize", of_pod("1m"), of_pod("2m"), linux(&[]), Err(&lacks(whole)));
    check("resize", of_first("1m", Value::Null), of_first("2m", Value::Null), linux(&[first]), Ok(()));
    check(
        "resize",
        of_first("1m", Value::Null),
        of_first("2m", Value::Null),
        linux(&[whole]),
        Err(&lacks(first)),
    );
    // Those that run beside the others always could.
    check("resize", of_first("1m", "Always".into()), of_first("2m", "Always".into()), linux(&[]), Ok(()));
    let (mut before, mut after) = (of_pod("1m"), of_pod("2m"));
    before["initContainers"] = of_first("1m", Value::Null)["initContainers"].clone();
    after["initContainers"] = of_first("2m", Value::Null)["initContainers"].clone();
    check("", before, after, linux(&[]), Err(&lacks(&format!("{whole}, {first}"))));
}
