//! Each rule with what it adds and what it refuses.

mod classes;
mod foresight;
mod limits;
mod quotas;
mod resize;
mod security;

use super::*;
use crate::lookup::tests::World;
use serde_json::json;

fn world() -> World {
    let mut world = World::default();
    world.add("", "namespaces", json!({ "metadata": { "name": "a" } }));
    world.add(
        "",
        "namespaces",
        json!({ "metadata": { "name": "going", "deletionTimestamp": "2026-01-01T00:00:00Z" } }),
    );
    world.add(
        "",
        "serviceaccounts",
        json!({ "metadata": { "namespace": "a", "name": "default" }, "imagePullSecrets": [{ "name": "s" }] }),
    );
    world.add(
        "",
        "serviceaccounts",
        json!({ "metadata": { "namespace": "a", "name": "bare" }, "automountServiceAccountToken": false }),
    );
    world.add(
        "scheduling.k8s.io",
        "priorityclasses",
        json!({ "metadata": { "name": "high" }, "value": 9, "preemptionPolicy": "Never" }),
    );
    world.add(
        "scheduling.k8s.io",
        "priorityclasses",
        json!({ "metadata": { "name": "usual" }, "value": 5, "globalDefault": true }),
    );
    world.add(
        "",
        "pods",
        json!({ "metadata": { "namespace": "a", "name": "mine", "uid": "u" }, "spec": { "nodeName": "n1" } }),
    );
    world
}

struct Ask<'a> {
    operation: Operation,
    kind: (&'a str, &'a str, &'a str),
    subresource: &'a str,
    namespace: &'a str,
    name: &'a str,
    user: User,
    old: Option<Value>,
}

impl Default for Ask<'_> {
    fn default() -> Self {
        let user = User { name: "ann".into(), ..User::default() };
        Self {
            operation: Operation::Create,
            kind: ("", "Pod", "pods"),
            subresource: "",
            namespace: "a",
            name: "p",
            user,
            old: None,
        }
    }
}

/// Who may do nothing more than is asked, but what is named here: `verb name`.
struct Rights(&'static [&'static str]);

impl Permits for Rights {
    fn permits(&self, attributes: &Attributes, _: &dyn Lookup) -> Result<(), String> {
        let asked = format!("{} {}", attributes.verb, attributes.name);
        if self.0.contains(&asked.as_str()) { Ok(()) } else { Err("no".into()) }
    }
}

/// What came of a request: the object, what charges it, and the warnings.
type Outcome = Result<(Value, Vec<Charge>, Vec<String>), String>;

fn run_in(world: &World, chain: &Chain, ask: &Ask<'_>, mut object: Value) -> Outcome {
    let gvk = Gvk::new(ask.kind.0, "v1", ask.kind.1);
    let notes = Notes::default();
    let request = Request {
        operation: ask.operation,
        gvk: &gvk,
        resource: ask.kind.2,
        subresource: ask.subresource,
        namespace: ask.namespace,
        name: ask.name,
        user: &ask.user,
        old: ask.old.as_ref(),
        dry_run: false,
        options: &Value::Null,
        permits: &Rights(&["approve example.com/*", "sign example.com/one", "update p"]),
        notes: &notes,
        asked: &|_, _| (),
    };
    let mut all = || {
        chain.mutate(&request, &mut object, world)?;
        chain.validate(&request, &object, world)?;
        chain.charge(&request, &object, world, &[])
    };
    let charges = all().map_err(|status| status.message)?;
    Ok((object, charges, notes.warnings.into_inner()))
}

fn run(ask: &Ask<'_>, object: Value) -> Result<Value, String> {
    run_in(&world(), &Chain::default(), ask, object).map(|outcome| outcome.0)
}

fn node_user(name: &str) -> User {
    User { name: format!("system:node:{name}"), groups: vec!["system:nodes".into()], ..User::default() }
}

#[test]
fn a_plain_pod_gets_account_token_priority_and_tolerations() {
    let pod = run(&Ask::default(), json!({ "spec": { "containers": [{ "name": "c" }] } })).unwrap();
    let spec = &pod["spec"];
    assert_eq!(
        (&spec["serviceAccountName"], &spec["serviceAccount"]),
        (&json!("default"), &json!("default"))
    );
    assert_eq!(spec["imagePullSecrets"], json!([{ "name": "s" }]));
    assert_eq!((&spec["priority"], &spec["priorityClassName"]), (&json!(5), &json!("usual")));
    assert_eq!(spec["tolerations"].as_array().map(Vec::len), Some(2));
    let mount = &spec["containers"][0]["volumeMounts"][0];
    assert_eq!(mount["mountPath"], "/var/run/secrets/kubernetes.io/serviceaccount");
    assert_eq!(mount["name"], spec["volumes"][0]["name"]);
    assert_eq!(spec["volumes"][0]["projected"]["sources"].as_array().map(Vec::len), Some(3));
    let again = run(&Ask::default(), pod.clone()).unwrap();
    assert_eq!(again, pod);
}

#[test]
fn accounts_and_pods_may_opt_out_of_the_token() {
    let pod = json!({ "spec": { "serviceAccountName": "bare", "containers": [{ "name": "c" }] } });
    assert!(run(&Ask::default(), pod).unwrap()["spec"]["volumes"].is_null());
    let pod = json!({ "spec": { "automountServiceAccountToken": false, "containers": [{ "name": "c" }] } });
    assert!(run(&Ask::default(), pod).unwrap()["spec"]["volumes"].is_null());
}

#[test]
fn refusals() {
    let pod = json!({ "spec": { "containers": [] } });
    let refused = |ask: Ask<'_>, object: Value| run(&ask, object).unwrap_err();
    assert_eq!(
        refused(
            Ask { namespace: "none", kind: ("", "ConfigMap", "configmaps"), ..Ask::default() },
            json!({})
        ),
        "namespaces \"none\" not found"
    );
    // The namespace is missed before the account that its pods would run under.
    assert_eq!(
        refused(Ask { namespace: "none", ..Ask::default() }, pod.clone()),
        "namespaces \"none\" not found"
    );
    expect_test::expect![[r#"configmaps "p" is forbidden: unable to create new content in namespace going because it is being terminated"#]]
        .assert_eq(&refused(Ask { namespace: "going", kind: ("", "ConfigMap", "configmaps"), ..Ask::default() }, json!({})));
    let delete = Ask {
        operation: Operation::Delete,
        kind: ("", "Namespace", "namespaces"),
        namespace: "",
        name: "kube-system",
        ..Ask::default()
    };
    assert_eq!(
        refused(delete, Value::Null),
        "namespaces \"kube-system\" is forbidden: this namespace may not be deleted"
    );
    let mut other = pod.clone();
    other["spec"]["serviceAccountName"] = "nobody".into();
    expect_test::expect![[r#"pods "p" is forbidden: error looking up service account a/nobody: serviceaccount "nobody" not found"#]]
        .assert_eq(&refused(Ask::default(), other));
    let mut classed = pod.clone();
    classed["spec"]["priorityClassName"] = "none".into();
    assert!(refused(Ask::default(), classed).ends_with("no PriorityClass with name none was found"));
    let mut numbered = pod;
    numbered["spec"]["priority"] = 7.into();
    assert!(refused(Ask::default(), numbered).contains("must not be provided in pod spec"));
    let group = |spec: Value| {
        let kind = ("scheduling.k8s.io", "PodGroup", "podgroups");
        run(&Ask { kind, ..Ask::default() }, json!({ "metadata": { "name": "p" }, "spec": spec }))
    };
    assert_eq!(
        group(json!({ "priorityClassName": "system-node-critical" })).unwrap()["spec"],
        json!({ "priorityClassName": "system-node-critical", "priority": 2_000_001_000 })
    );
    assert!(group(json!({ "priority": 7 })).unwrap_err().contains("must not be provided in pod group spec"));
    let class = json!({ "metadata": { "name": "second" }, "globalDefault": true });
    let ask = Ask {
        kind: ("scheduling.k8s.io", "PriorityClass", "priorityclasses"),
        namespace: "",
        name: "second",
        ..Ask::default()
    };
    assert!(refused(ask, class).contains("is already marked as default. Only one default can exist"));
}

#[test]
fn a_node_keeps_to_itself() {
    let node = |name: &'static str, operation, object: Value, old: Option<Value>| {
        run(
            &Ask {
                operation,
                kind: ("", "Node", "nodes"),
                namespace: "",
                name,
                user: node_user("n1"),
                old,
                ..Ask::default()
            },
            object,
        )
    };
    let own = json!({ "metadata": { "name": "n1", "labels": { "kubernetes.io/os": "linux" } } });
    assert_eq!(
        node("n1", Operation::Create, own.clone(), None).unwrap()["spec"]["taints"][0]["key"],
        "node.kubernetes.io/not-ready"
    );
    assert!(node("n2", Operation::Create, json!({ "metadata": { "name": "n2" } }), None).is_err());
    let mut claimed = own.clone();
    claimed["metadata"]["labels"]["node-restriction.kubernetes.io/secure"] = "yes".into();
    assert!(node("n1", Operation::Update, claimed, Some(own.clone())).unwrap_err().contains("modify labels"));
    let mut tainted = own.clone();
    tainted["spec"] = json!({ "taints": [{ "key": "x" }] });
    assert!(node("n1", Operation::Update, tainted, Some(own)).unwrap_err().contains("modify taints"));
    let status = |node: &str| Ask {
        operation: Operation::Update,
        subresource: "status",
        name: "mine",
        user: node_user(node),
        old: Some(json!({ "spec": { "nodeName": "n1" } })),
        ..Ask::default()
    };
    assert!(run(&status("n1"), json!({})).is_ok());
    let labelled = json!({ "metadata": { "labels": { "a": "b" } } });
    assert!(run(&status("n1"), labelled).unwrap_err().contains("cannot update labels through pod status"));
    assert!(run(&status("n2"), json!({})).is_err());
    let token = |node: &str| Ask {
        kind: ("", "ServiceAccount", "serviceaccounts"),
        subresource: "token",
        name: "default",
        user: node_user(node),
        ..Ask::default()
    };
    let bound = json!({ "spec": { "boundObjectRef": { "apiVersion": "v1", "kind": "Pod", "name": "mine", "uid": "u" } } });
    assert!(run(&token("n1"), bound.clone()).is_ok());
    assert!(run(&token("n2"), bound).is_err());
    assert!(run(&token("n1"), json!({ "spec": {} })).is_err());
}

#[test]
fn rules_are_asked_for_what_they_take_part_in() {
    let (gvk, notes, asked) = (Gvk::new("", "v1", "Pod"), Notes::default(), RefCell::new(Vec::new()));
    let user = User { name: "ann".into(), ..User::default() };
    let mut request = Request {
        operation: Operation::Create,
        gvk: &gvk,
        resource: "pods",
        subresource: "",
        namespace: "a",
        name: "p",
        user: &user,
        old: None,
        dry_run: false,
        options: &Value::Null,
        permits: &Rights(&[]),
        notes: &notes,
        asked: &|place, refused| asked.borrow_mut().push((RULES[place].name(), refused)),
    };
    let chain = Chain::new(&[], &["ServiceAccount"]);
    let mut pod = json!({ "spec": { "containers": [] } });
    chain.mutate(&request, &mut pod, &world()).unwrap();
    let mutating = std::mem::take(&mut *asked.borrow_mut());
    assert!(mutating.contains(&("Priority", false)) && !mutating.contains(&("PodSecurity", false)));
    assert!(!mutating.iter().any(|(name, _)| *name == "ServiceAccount"), "{mutating:?}");
    chain.charge(&request, &pod, &world(), &[]).unwrap();
    assert_eq!(asked.take(), [("ResourceQuota", false)]);
    request.namespace = "none";
    chain.mutate(&request, &mut pod, &world()).unwrap_err();
    assert_eq!(asked.take(), [("NamespaceLifecycle", true)]);
}
