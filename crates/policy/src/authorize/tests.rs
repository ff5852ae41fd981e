//! Decisions over a small world.

use super::*;
use crate::lookup::tests::World;
use serde_json::json;

fn ask(user: &str, groups: &[&str], verb: &str, resource: &str, namespace: &str, name: &str) -> Attributes {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let (group, resource) = match resource.split_once('.') {
        Some((resource, group)) => (group, resource),
        None => ("", resource),
    };
    Attributes {
        user: Arc::new(User {
            name: user.into(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..User::default()
        }),
        verb: verb.into(),
        is_resource: true,
        group: group.into(),
        version: "v1".into(),
        resource: resource.into(),
        subresource: subresource.into(),
        namespace: namespace.into(),
        name: name.into(),
        ..Attributes::default()
    }
}

fn world() -> World {
    let mut world = World::default();
    for one in bootstrap::objects() {
        world.add("rbac.authorization.k8s.io", one.resource, one.object);
    }
    let rbac = "rbac.authorization.k8s.io";
    world.add(rbac, "roles", json!({ "metadata": { "namespace": "shop", "name": "reader" },
        "rules": [{ "apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"] },
                  { "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["one"], "verbs": ["*"] }] }));
    world.add(
        rbac,
        "rolebindings",
        json!({ "metadata": { "namespace": "shop", "name": "reader" },
        "roleRef": { "kind": "Role", "name": "reader" },
        "subjects": [{ "kind": "User", "name": "ann" }, { "kind": "ServiceAccount", "name": "robot" }] }),
    );
    let pod = |name: &str, node: &str| {
        json!({ "metadata": { "namespace": "shop", "name": name }, "spec": { "nodeName": node,
            "serviceAccountName": "robot",
            "volumes": [{ "name": "a", "secret": { "secretName": format!("{name}-secret") } },
                { "name": "b", "projected": { "sources": [{ "configMap": { "name": "kube-root-ca.crt" } }] } }],
            "containers": [{ "env": [{ "valueFrom": { "secretKeyRef": { "name": format!("{name}-env") } } }] }] } })
    };
    world.add("", "pods", pod("web", "n1"));
    world.add("", "pods", pod("db", "n2"));
    let mut claims = pod("claims", "n1");
    claims["spec"]["volumes"] = json!([{ "name": "d", "persistentVolumeClaim": { "claimName": "data" } },
        { "name": "scratch", "ephemeral": {} }]);
    claims["spec"]["resourceClaims"] = json!([{ "name": "g", "resourceClaimName": "gpu" }]);
    world.add("", "pods", claims);
    let mut mirror = pod("mirror", "n1");
    mirror["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "x" });
    world.add("", "pods", mirror);
    world.add(
        "",
        "persistentvolumes",
        json!({ "metadata": { "name": "disk" }, "spec": {
        "claimRef": { "namespace": "shop", "name": "data" },
        "csi": { "nodeStageSecretRef": { "namespace": "storage", "name": "key" },
            "controllerPublishSecretRef": { "namespace": "storage", "name": "admin" } } } }),
    );
    world.add(
        "storage.k8s.io",
        "volumeattachments",
        json!({ "metadata": { "name": "va" }, "spec": { "nodeName": "n1" } }),
    );
    world
}

fn allowed(world: &World, attributes: &Attributes) -> bool {
    matches!(Authorizer::new().authorize(attributes, world), Decision::Allow(_))
}

#[test]
fn rbac_decides_by_role_scope_name_and_subject() {
    let world = world();
    let robot = "system:serviceaccount:shop:robot";
    for (user, verb, resource, namespace, name, expect) in [
        ("ann", "get", "pods", "shop", "web", true),
        ("ann", "get", "pods/log", "shop", "web", true),
        ("ann", "get", "pods/exec", "shop", "web", false),
        ("ann", "get", "pods", "other", "web", false),
        ("ann", "list", "pods", "", "", false),
        ("ann", "delete", "pods", "shop", "web", false),
        ("ann", "delete", "configmaps", "shop", "one", true),
        ("ann", "delete", "configmaps", "shop", "two", false),
        ("bob", "get", "pods", "shop", "web", false),
        (robot, "list", "pods", "shop", "", true),
        ("system:kube-scheduler", "create", "pods/binding", "shop", "web", true),
        ("system:kube-scheduler", "create", "pods", "shop", "web", false),
        ("system:kube-controller-manager", "watch", "deployments.apps", "", "", true),
        (
            "system:serviceaccount:kube-system:deployment-controller",
            "create",
            "replicasets.apps",
            "shop",
            "",
            true,
        ),
    ] {
        let attributes = ask(user, &["system:authenticated"], verb, resource, namespace, name);
        assert_eq!(allowed(&world, &attributes), expect, "{user} {verb} {resource} {namespace}/{name}");
    }
}

#[test]
fn masters_may_do_everything_and_paths_are_decided_by_prefix() {
    let world = world();
    assert!(allowed(&world, &ask("x", &["system:masters"], "delete", "nodes", "", "n1")));
    let path = |user: &str, group: &str, path: &str| Attributes {
        user: Arc::new(User { name: user.into(), groups: vec![group.into()], ..User::default() }),
        verb: "get".into(),
        path: path.into(),
        ..Attributes::default()
    };
    assert!(allowed(&world, &path("ann", "system:authenticated", "/apis/apps/v1")));
    assert!(allowed(&world, &path("system:anonymous", "system:unauthenticated", "/healthz")));
    assert!(!allowed(&world, &path("system:anonymous", "system:unauthenticated", "/apis")));
    assert!(!allowed(&world, &path("ann", "system:authenticated", "/metrics")));
}

#[test]
fn a_node_sees_what_its_pods_refer_to() {
    let world = world();
    let node = |verb: &str, resource: &str, namespace: &str, name: &str| {
        allowed(
            &world,
            &ask(
                "system:node:n1",
                &["system:nodes", "system:authenticated"],
                verb,
                resource,
                namespace,
                name,
            ),
        )
    };
    assert!(node("get", "secrets", "shop", "web-secret"));
    assert!(node("get", "secrets", "shop", "web-env"));
    assert!(node("get", "configmaps", "shop", "kube-root-ca.crt"));
    assert!(!node("get", "secrets", "shop", "db-secret"));
    assert!(!node("list", "secrets", "shop", ""));
    assert!(!node("update", "secrets", "shop", "web-secret"));
    assert!(node("create", "serviceaccounts/token", "shop", "robot"));
    assert!(!node("create", "serviceaccounts/token", "shop", "other"));
    assert!(node("get", "nodes", "", "n1"));
    assert!(!node("get", "nodes", "", "n2"));
    assert!(node("update", "leases.coordination.k8s.io", "kube-node-lease", "n1"));
    assert!(!node("update", "leases.coordination.k8s.io", "kube-node-lease", "n2"));
    assert!(node("get", "persistentvolumeclaims", "shop", "data"));
    assert!(node("get", "persistentvolumeclaims", "shop", "claims-scratch"));
    assert!(!node("get", "persistentvolumeclaims", "shop", "other"));
    assert!(node("patch", "persistentvolumeclaims/status", "shop", "data"));
    assert!(!node("delete", "persistentvolumeclaims", "shop", "data"));
    assert!(node("get", "persistentvolumes", "", "disk"));
    assert!(!node("get", "persistentvolumes", "", "tape"));
    assert!(node("get", "secrets", "storage", "key"));
    assert!(!node("get", "secrets", "storage", "admin"));
    assert!(!node("get", "secrets", "shop", "mirror-secret"));
    assert!(node("get", "resourceclaims.resource.k8s.io", "shop", "gpu"));
    assert!(node("get", "volumeattachments.storage.k8s.io", "", "va"));
    assert!(node("get", "serviceaccounts", "shop", "robot"));
    assert!(!node("create", "serviceaccounts", "shop", ""));
    assert!(node("create", "pods/eviction", "shop", "web"));
    assert!(!node("create", "pods/exec", "shop", "web"));
    assert!(!node("delete", "nodes", "", "n1"));
    assert!(!node("list", "pods", "", ""));
    let mut own = ask("system:node:n1", &["system:nodes"], "watch", "pods", "", "");
    own.field_selector = "spec.nodeName=n1".into();
    assert!(allowed(&world, &own));
    own.field_selector = "spec.nodeName=n2".into();
    assert!(!allowed(&world, &own));
}

#[test]
fn refusals_are_in_upstreams_words() {
    let attributes = ask("ann", &[], "list", "deployments.apps", "shop", "");
    expect_test::expect![[r#"deployments.apps is forbidden: User "ann" cannot list resource "deployments" in API group "apps" in the namespace "shop""#]]
        .assert_eq(&refusal(&attributes, "").message);
}

#[test]
fn a_reconciled_role_regains_what_it_lost_and_keeps_what_was_added() {
    let wanted = bootstrap::objects()
        .into_iter()
        .find(|one| one.object["metadata"]["name"] == "system:kube-scheduler");
    let wanted = wanted.map(|one| one.object).unwrap_or_default();
    assert_eq!(bootstrap::reconcile(&wanted, &wanted), None);
    let mut existing = wanted.clone();
    let extra = json!({ "verbs": ["get"], "apiGroups": ["x"], "resources": ["y"] });
    existing["rules"] = json!([extra]);
    let merged = bootstrap::reconcile(&existing, &wanted).unwrap();
    let rules = merged["rules"].as_array().unwrap();
    assert!(rules.contains(&extra));
    assert!(wanted["rules"].as_array().unwrap().iter().all(|rule| rules.contains(rule)));
    existing["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] = "false".into();
    assert_eq!(bootstrap::reconcile(&existing, &wanted), None);
}

/// Counts what the thread of a test allocates.
struct Counting;

thread_local! {
    static ALLOCATED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

unsafe impl std::alloc::GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: std::alloc::Layout) -> *mut u8 {
        let _ = ALLOCATED.try_with(|count| count.set(count.get() + 1));
        unsafe { std::alloc::System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: std::alloc::Layout) {
        unsafe { std::alloc::System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn an_allowed_request_costs_no_allocation() {
    let (world, authorizer) = (world(), Authorizer::new());
    for (user, groups, verb, resource, namespace) in [
        ("ann", &["system:authenticated"][..], "get", "pods", "shop"),
        ("system:kube-scheduler", &["system:authenticated"], "create", "pods/binding", "shop"),
        ("x", &["system:masters"], "delete", "nodes", ""),
    ] {
        let attributes = ask(user, groups, verb, resource, namespace, "web");
        authorizer.authorize(&attributes, &world);
        let before = ALLOCATED.get();
        let decision = authorizer.authorize(&attributes, &world);
        assert_eq!(ALLOCATED.get(), before, "{user}");
        assert!(matches!(decision, Decision::Allow(_)));
    }
}
