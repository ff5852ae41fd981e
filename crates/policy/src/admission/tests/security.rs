//! PodSecurity, certificates, owners: who and what is refused.

use super::*;

fn labelled(mode: &str, level: &str) -> World {
    let mut world = world();
    let key = format!("pod-security.kubernetes.io/{mode}");
    world.add("", "namespaces", json!({ "metadata": { "name": "a", "labels": { key: level } } }));
    world
}

fn pod() -> Value {
    json!({ "spec": { "serviceAccountName": "bare", "hostNetwork": true, "containers": [{ "name": "c" }] } })
}

#[test]
fn levels_refuse_pods_and_warn_of_templates() {
    let chain = Chain::default();
    assert_eq!(
        run_in(&labelled("enforce", "baseline"), &chain, &Ask::default(), pod()).unwrap_err(),
        "pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)"
    );
    let (_, _, warnings) = run_in(&labelled("warn", "baseline"), &chain, &Ask::default(), pod()).unwrap();
    let text = "would violate PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)";
    assert_eq!(warnings, [text]);
    let ask = Ask { kind: ("apps", "Deployment", "deployments"), ..Ask::default() };
    let deployment = json!({ "spec": { "template": pod() } });
    let (_, _, warnings) = run_in(&labelled("enforce", "baseline"), &chain, &ask, deployment).unwrap();
    assert_eq!(warnings, [text]);
    let mut old = pod();
    old["spec"]["containers"][0]["image"] = "x".into();
    let update = |old: Value| Ask { operation: Operation::Update, old: Some(old), ..Ask::default() };
    assert!(run_in(&labelled("enforce", "baseline"), &chain, &update(pod()), pod()).is_ok());
    assert!(run_in(&labelled("enforce", "baseline"), &chain, &update(old), pod()).is_err());
}

#[test]
fn a_stricter_namespace_tells_of_its_pods() {
    let mut world = world();
    for name in ["x", "y"] {
        let mut pod = pod();
        pod["metadata"] = json!({ "namespace": "a", "name": name });
        world.add("", "pods", pod);
    }
    let namespace = |level: &str| json!({ "metadata": { "name": "a", "labels": { "pod-security.kubernetes.io/enforce": level } } });
    let ask = |old| Ask {
        operation: Operation::Update,
        kind: ("", "Namespace", "namespaces"),
        name: "a",
        old: Some(old),
        ..Ask::default()
    };
    let chain = Chain::default();
    let (_, _, warnings) =
        run_in(&world, &chain, &ask(namespace("privileged")), namespace("baseline")).unwrap();
    assert_eq!(
        warnings,
        [
            "existing pods in namespace \"a\" violate the new PodSecurity enforce level \"baseline:latest\"",
            "x (and 1 other pod): host namespaces",
        ]
    );
    let (_, _, warnings) =
        run_in(&world, &chain, &ask(namespace("restricted")), namespace("baseline")).unwrap();
    assert!(warnings.is_empty());
    assert_eq!(
        run_in(&world, &chain, &ask(json!({})), namespace("x")).unwrap_err(),
        "Namespace \"a\" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"x\": must be one of privileged, baseline, restricted"
    );
}

#[test]
fn certificates_need_rights_for_their_signer() {
    let old = |signer: &str| Some(json!({ "spec": { "signerName": signer } }));
    let ask = |subresource: &'static str, signer: &str| Ask {
        operation: Operation::Update,
        kind: ("certificates.k8s.io", "CertificateSigningRequest", "certificatesigningrequests"),
        subresource,
        namespace: "",
        name: "c",
        old: old(signer),
        ..Ask::default()
    };
    let signed = json!({ "status": { "certificate": "x" } });
    assert!(run(&ask("approval", "example.com/two"), json!({})).is_ok());
    assert_eq!(
        run(&ask("approval", "other.com/x"), json!({})).unwrap_err(),
        "certificatesigningrequests.certificates.k8s.io \"c\" is forbidden: user not permitted to approve requests with signerName \"other.com/x\""
    );
    assert!(run(&ask("status", "example.com/one"), signed.clone()).is_ok());
    assert!(run(&ask("status", "example.com/two"), json!({})).is_ok());
    assert_eq!(
        run(&ask("status", "example.com/two"), signed).unwrap_err(),
        "certificatesigningrequests.certificates.k8s.io \"c\" is forbidden: user not permitted to sign requests with signerName \"example.com/two\""
    );
    let bundle = Ask {
        kind: ("certificates.k8s.io", "ClusterTrustBundle", "clustertrustbundles"),
        namespace: "",
        ..Ask::default()
    };
    assert!(run(&bundle, json!({ "spec": {} })).is_ok());
    assert!(
        run(&bundle, json!({ "spec": { "signerName": "a.b/c" } }))
            .unwrap_err()
            .ends_with("user not permitted to attest for signerName \"a.b/c\"")
    );
}

#[test]
fn rules_that_are_off_can_be_switched_on() {
    let strict = Chain::new(&["OwnerReferencesPermissionEnforcement", "AlwaysPullImages"], &[]);
    let ask = Ask { operation: Operation::Update, old: Some(pod()), ..Ask::default() };
    let mut owned = pod();
    owned["metadata"] =
        json!({ "ownerReferences": [{ "apiVersion": "v1", "kind": "Pod", "name": "o", "uid": "u" }] });
    assert!(run_in(&world(), &Chain::default(), &ask, owned.clone()).is_ok());
    assert_eq!(
        run_in(&world(), &strict, &ask, owned).unwrap_err(),
        "pods \"p\" is forbidden: cannot set an ownerRef on a resource you can't delete: no, <nil>"
    );
    let (made, ..) = run_in(&world(), &strict, &Ask::default(), pod()).unwrap();
    assert_eq!(made["spec"]["containers"][0]["imagePullPolicy"], "Always");
}
