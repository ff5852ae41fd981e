//! ResourceQuota: what is charged, and what is refused in which words.

use super::*;

fn quoted(quotas: &[(&str, Value, Value, Value)]) -> World {
    let mut world = world();
    for (name, spec, hard, used) in quotas {
        world.add(
            "",
            "resourcequotas",
            json!({ "metadata": { "namespace": "a", "name": name }, "spec": spec,
                "status": { "hard": hard, "used": used } }),
        );
    }
    world
}

fn pod(cpu: &str) -> Value {
    let resources = if cpu.is_empty() { json!({}) } else { json!({ "requests": { "cpu": cpu } }) };
    json!({ "spec": { "serviceAccountName": "bare", "containers": [{ "name": "c", "resources": resources }] } })
}

fn charged(world: &World, ask: &Ask<'_>, object: Value) -> Result<Vec<(String, Value)>, String> {
    let (_, charges, _) = run_in(world, &Chain::default(), ask, object)?;
    Ok(charges.into_iter().map(|charge| (charge.key.name.to_string(), charge.used)).collect())
}

#[test]
fn what_fits_is_charged_and_what_does_not_is_refused() {
    let world = quoted(&[(
        "q",
        json!({}),
        json!({ "requests.cpu": "1", "pods": "5" }),
        json!({ "requests.cpu": "300m", "pods": "1" }),
    )]);
    assert_eq!(
        charged(&world, &Ask::default(), pod("700m")).unwrap(),
        [("q".to_owned(), json!({ "requests.cpu": "1", "pods": "2" }))]
    );
    assert_eq!(
        charged(&world, &Ask::default(), pod("701m")).unwrap_err(),
        "pods \"p\" is forbidden: exceeded quota: q, requested: requests.cpu=701m, used: requests.cpu=300m, limited: requests.cpu=1"
    );
    assert_eq!(
        charged(&world, &Ask::default(), pod("")).unwrap_err(),
        "pods \"p\" is forbidden: failed quota: q: must specify requests.cpu for: c"
    );
    let mut named = pod("2");
    named["metadata"] = json!({ "generateName": "g-" });
    let refused = charged(&world, &Ask { name: "", ..Ask::default() }, named).unwrap_err();
    assert!(refused.starts_with("pods \"g-\" is forbidden: exceeded quota"), "{refused}");
    let maps = Ask { kind: ("", "ConfigMap", "configmaps"), ..Ask::default() };
    assert_eq!(charged(&world, &maps, json!({})).unwrap(), []);
}

#[test]
fn a_quota_that_was_not_counted_yet_refuses() {
    let world =
        quoted(&[("q", json!({}), json!({ "pods": "5", "count/secrets": "1" }), json!({ "pods": "0" }))]);
    let ask = Ask { kind: ("", "Secret", "secrets"), ..Ask::default() };
    assert_eq!(
        charged(&world, &ask, json!({})).unwrap_err(),
        "secrets \"p\" is forbidden: status unknown for quota: q, resources: count/secrets"
    );
}

#[test]
fn only_quotas_in_scope_and_only_growth_count() {
    let hard = || json!({ "pods": "5" });
    let used = || json!({ "pods": "0" });
    let world = quoted(&[
        ("best", json!({ "scopes": ["BestEffort"] }), hard(), used()),
        ("rest", json!({ "scopes": ["NotBestEffort"] }), hard(), used()),
    ]);
    let names = |cpu| {
        charged(&world, &Ask::default(), pod(cpu)).unwrap().into_iter().map(|one| one.0).collect::<Vec<_>>()
    };
    assert_eq!((names(""), names("1")), (vec!["best".to_owned()], vec!["rest".to_owned()]));
    let world = quoted(&[(
        "q",
        json!({}),
        json!({ "services.nodeports": "2" }),
        json!({ "services.nodeports": "1" }),
    )]);
    let service = |kind: &str, ports: usize| json!({ "spec": { "type": kind, "ports": vec![json!({ "port": 1 }); ports] } });
    let update = |old| Ask {
        operation: Operation::Update,
        kind: ("", "Service", "services"),
        old: Some(old),
        ..Ask::default()
    };
    assert_eq!(charged(&world, &update(service("NodePort", 1)), service("NodePort", 1)).unwrap(), []);
    assert_eq!(
        charged(&world, &update(service("ClusterIP", 1)), service("NodePort", 1)).unwrap(),
        [("q".to_owned(), json!({ "services.nodeports": "2" }))]
    );
    assert_eq!(
        charged(&world, &update(service("NodePort", 1)), service("NodePort", 3)).unwrap_err(),
        "services \"p\" is forbidden: exceeded quota: q, requested: services.nodeports=2, used: services.nodeports=1, limited: services.nodeports=2"
    );
}
