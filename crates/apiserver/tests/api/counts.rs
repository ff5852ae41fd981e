//! What dashboards read: the names and labels of upstream's metrics.

use crate::backend::{Authority, Backend, json};
use crate::world::{Anything, World};
use gifee_apiserver::admission::Rules;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn metrics(world: &World) -> String {
    String::from_utf8(world.get("/metrics").await.bytes).unwrap()
}

/// The values of all lines of a metric with these labels, added up.
fn sum(metrics: &str, name: &str, labels: &str) -> f64 {
    let lines =
        metrics.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.split_once("} "));
    let wanted: Vec<&str> = labels.split(' ').collect();
    let has = |given: &str| wanted.iter().all(|label| given.split(',').any(|one| one == *label));
    lines.filter(|(given, _)| has(given)).map(|(_, value)| value.parse::<f64>().unwrap()).sum()
}

#[tokio::test]
async fn requests_watches_and_objects_are_counted_as_upstream_counts_them() {
    let world = World::new().await;
    world.post("/api/v1/namespaces", &json!({ "metadata": { "name": "default" } })).await.expect(201);
    let mut events = world.watch(&format!("{MAPS}?watch=true")).await;
    let map = |name: &str| json!({ "metadata": { "name": name } });
    world.post(MAPS, &map("a")).await.expect(201);
    world.post(&format!("{MAPS}?dryRun=All"), &map("b")).await.expect(201);
    world.get(MAPS).await.expect(200);
    world.get(&format!("{MAPS}/none")).await.expect(404);
    let applied = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" } });
    let request = format!("PATCH {MAPS}/a?fieldManager=x");
    world.call(&request, &applied, &[("content-type", "application/apply-patch+yaml")]).await.expect(200);
    assert!(events.next().await.is_some());
    let text = metrics(&world).await;
    let own = "group=\"\" version=\"v1\" resource=\"configmaps\" component=\"apiserver\"";
    for (name, labels, expect) in [
        ("apiserver_request_total", "verb=\"POST\" dry_run=\"\" scope=\"resource\" code=\"201\"", 1.0),
        ("apiserver_request_total", "verb=\"POST\" dry_run=\"All\" code=\"201\"", 1.0),
        ("apiserver_request_total", "verb=\"LIST\" scope=\"namespace\" code=\"200\"", 1.0),
        ("apiserver_request_total", "verb=\"GET\" scope=\"resource\" code=\"404\"", 1.0),
        ("apiserver_request_total", "verb=\"APPLY\" code=\"200\"", 1.0),
        ("apiserver_request_duration_seconds_count", "verb=\"POST\" dry_run=\"\" subresource=\"\"", 1.0),
        ("apiserver_request_duration_seconds_bucket", "verb=\"LIST\" le=\"60.0\"", 1.0),
        ("apiserver_request_sli_duration_seconds_count", "verb=\"POST\"", 1.0),
        ("apiserver_request_sli_duration_seconds_count", "verb=\"APPLY\"", 1.0),
        ("apiserver_response_sizes_bucket", "verb=\"LIST\" le=\"1000000.0\"", 1.0),
        ("apiserver_longrunning_requests", "verb=\"WATCH\" scope=\"namespace\"", 1.0),
    ] {
        assert_eq!(sum(&text, name, &format!("{labels} {own}")), expect, "{name} {labels}\n{text}");
    }
    for (name, labels, expect) in [
        ("apiserver_watch_events_total", "group=\"\" version=\"v1\" resource=\"configmaps\"", 1.0),
        ("apiserver_watch_events_sizes_count", "resource=\"configmaps\"", 1.0),
        ("apiserver_storage_objects", "resource=\"configmaps\"", 1.0),
        ("apiserver_storage_objects", "resource=\"deployments.apps\"", 0.0),
        ("apiserver_resource_objects", "group=\"\" resource=\"configmaps\"", 1.0),
        ("apiserver_current_inflight_requests", "request_kind=\"readOnly\"", 1.0),
        ("apiserver_current_inflight_requests", "request_kind=\"mutating\"", 0.0),
        ("apiserver_current_inqueue_requests", "request_kind=\"mutating\"", 0.0),
        (
            "apiserver_admission_step_admission_duration_seconds_count",
            "operation=\"CREATE\" rejected=\"false\" type=\"admit\"",
            3.0,
        ),
        ("kubernetes_build_info", "major=\"1\" minor=\"37\"", 1.0),
    ] {
        assert_eq!(sum(&text, name, labels), expect, "{name} {labels}\n{text}");
    }
    for name in
        ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_max_fds"]
    {
        assert!(text.lines().any(|line| line.starts_with(&format!("{name} "))), "{name}\n{text}");
    }
    assert!(text.contains("\n# TYPE apiserver_request_total counter\n") && !text.contains("# EOF"), "{text}");
    let open = world
        .call(
            "GET /metrics",
            &serde_json::Value::Null,
            &[("accept", "application/openmetrics-text;version=1.0.0")],
        )
        .await;
    assert!(String::from_utf8(open.bytes).unwrap().ends_with("# EOF\n"));
}

#[tokio::test]
async fn webhooks_are_counted_by_what_they_say() {
    let authority = Authority::new();
    let backend = Backend::tls(
        &authority,
        &["localhost"],
        json(|review| {
            let named = review["request"]["object"]["metadata"]["name"] == "bad";
            json!({ "apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": {
                "uid": review["request"]["uid"], "allowed": !named, "status": { "code": 418 } } })
        }),
    );
    let backend = backend.await;
    let world = World::new().await;
    world.post("/api/v1/namespaces", &json!({ "metadata": { "name": "default" } })).await.expect(201);
    let hook = |name: &str, url: &str, policy: &str| {
        json!({ "name": name, "clientConfig": { "url": url, "caBundle": authority.bundle() }, "failurePolicy": policy,
            "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"] }],
            "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 1 })
    };
    let hooks = [
        hook("judge.example.com", &backend.url("/"), "Fail"),
        hook("gone.example.com", "https://localhost:1/", "Ignore"),
    ];
    let configuration = json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": "c" }, "webhooks": hooks });
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    world.post(path, &configuration).await.expect(201);
    world.post(MAPS, &json!({ "metadata": { "name": "good" } })).await.expect(201);
    world.post(MAPS, &json!({ "metadata": { "name": "bad" } })).await.expect(418);
    let text = metrics(&world).await;
    let own = "name=\"judge.example.com\" type=\"validating\" operation=\"CREATE\"";
    for (name, labels) in [
        ("webhook_request_total", format!("{own} code=\"200\" rejected=\"false\"")),
        ("webhook_request_total", format!("{own} code=\"418\" rejected=\"true\"")),
        ("webhook_rejection_count", format!("{own} error_type=\"no_error\" rejection_code=\"418\"")),
        ("webhook_admission_duration_seconds_count", format!("{own} rejected=\"true\"")),
    ] {
        assert_eq!(
            sum(&text, &format!("apiserver_admission_{name}"), &labels),
            1.0,
            "{name} {labels}\n{text}"
        );
    }
    let passed = sum(
        &text,
        "apiserver_admission_webhook_fail_open_count",
        "name=\"gone.example.com\" type=\"validating\"",
    );
    assert_eq!(passed, 2.0, "{text}");
}

/// Type and names of labels of what `/metrics` says, by name; no labels if it has no lines.
fn described(metrics: &str) -> BTreeMap<String, (String, Option<BTreeSet<String>>)> {
    let mut all = BTreeMap::new();
    for line in metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let suffix = if kind == "histogram" { "_count" } else { "" };
        let mut lines = metrics.lines().filter_map(|line| line.strip_prefix(&format!("{name}{suffix}")));
        let labels = lines.find_map(|rest| {
            let labels = match rest.strip_prefix('{') {
                Some(rest) => rest.rsplit_once("} ").unwrap().0,
                None if rest.starts_with(' ') => "",
                None => return None,
            };
            let names = labels.split("\",").filter_map(|one| one.split_once("=\""));
            Some(names.map(|(name, _)| name.to_owned()).collect())
        });
        all.insert(name.to_owned(), (kind.to_owned(), labels));
    }
    all
}

/// Does something of everything that is counted.
async fn everything(world: &World) {
    world.post("/api/v1/namespaces", &json!({ "metadata": { "name": "default" } })).await.expect(201);
    let rules = [{ json!({ "rule": "self.size < 3" }) }];
    let schema = json!({ "type": "object", "properties": { "size": { "type": "integer" } }, "required": ["size"],
        "x-kubernetes-validations": rules });
    let definition = json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "tins.example.com" }, "spec": { "group": "example.com", "scope": "Cluster",
            "names": { "plural": "tins", "kind": "Tin" }, "versions": [{ "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": schema } }] } });
    world.define(&definition).await;
    let tin =
        json!({ "apiVersion": "example.com/v1", "kind": "Tin", "metadata": { "name": "a" }, "size": 2 });
    world.post("/apis/example.com/v1/tins", &tin).await.expect(201);
    let group = "/apis/admissionregistration.k8s.io/v1";
    let matched = json!({ "resourceRules": [{ "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
        "operations": ["CREATE"] }] });
    for (sort, what) in [
        ("Validating", json!({ "validations": [{ "expression": "object.metadata.name != 'bad'" }] })),
        (
            "Mutating",
            json!({ "reinvocationPolicy": "Never", "mutations": [{ "patchType": "ApplyConfiguration", "applyConfiguration": {
                "expression": "Object{metadata: Object.metadata{labels: {'a': 'b'}}}" } }] }),
        ),
    ] {
        let (mut spec, lower) = (what, sort.to_lowercase());
        spec["matchConstraints"] = matched.clone();
        let object = |suffix: &str, spec: &Value| {
            json!({ "apiVersion": "admissionregistration.k8s.io/v1", "metadata": { "name": "p" }, "spec": spec,
                "kind": format!("{sort}AdmissionPolicy{suffix}") })
        };
        world.post(&format!("{group}/{lower}admissionpolicies"), &object("", &spec)).await.expect(201);
        let mut bound = json!({ "policyName": "p" });
        if sort == "Validating" {
            bound["validationActions"] = json!(["Deny", "Audit"]);
        }
        let path = format!("{group}/{lower}admissionpolicybindings");
        world.post(&path, &object("Binding", &bound)).await.expect(201);
    }
    let hook = json!({ "name": "gone.example.com", "clientConfig": { "url": "https://localhost:1/" },
        "failurePolicy": "Ignore", "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 1,
        "matchConditions": [{ "name": "c", "expression": "object.metadata.name == 'asked'" }],
        "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"] }] });
    let configuration = json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": "c" }, "webhooks": [hook] });
    world.post(&format!("{group}/validatingwebhookconfigurations"), &configuration).await.expect(201);
    for (name, code) in [("bad", 422), ("asked", 201), ("spared", 201)] {
        let made = world.post(MAPS, &json!({ "metadata": { "name": name } })).await;
        assert_eq!(made.code, code, "{}", made.failure());
    }
    world.get("/api/v1/namespaces/default/endpoints").await.expect(200);
    let listed =
        "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut events = world.watch(&format!("{MAPS}?{listed}")).await;
    while events.next().await.unwrap()["type"] != "BOOKMARK" {}
    assert_eq!(world.get("/readyz").await.code, 200);
}

#[tokio::test]
async fn every_metric_of_upstream_is_there_under_its_labels_or_is_said_not_to_be() {
    let world = World::with(|config| {
        config.admission = Arc::new(Rules::new(Arc::new(Anything)));
    });
    let world = world.await;
    everything(&world).await;
    let checks = String::from_utf8(world.get("/metrics/slis").await.bytes).unwrap();
    let text = metrics(&world).await + &checks;
    let there = described(&text);
    let mut wrong = Vec::new();
    for line in include_str!("metrics.txt").lines().filter(|line| !line.starts_with('#')) {
        let (wanted, reason) = line.split_once(" -- ").map_or((line, None), |(line, why)| (line, Some(why)));
        let mut words = wanted.split(' ').skip(1);
        let (kind, name) = (words.next().unwrap(), words.next().unwrap());
        let labels: BTreeSet<String> = words.map(str::to_owned).collect();
        match (there.get(name), reason) {
            (Some(_), Some(_)) => wrong.push(format!("{name} is there after all")),
            // What is neither stable nor beta is named here for its labels; not all of it has happened.
            (None, None) if wanted.starts_with("ALPHA") => {}
            (None, None) => wrong.push(format!("{name} is not there")),
            (None, Some(_)) => {}
            (Some((own, _)), None) if own != kind => wrong.push(format!("{name} is a {own}")),
            (Some((_, Some(own))), None) if *own != labels => wrong.push(format!("{name} has {own:?}")),
            (Some(_), None) => {}
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}\n{text}");
    let map = "operation=\"CREATE\"";
    for (name, labels, least) in [
        (
            "apiserver_admission_controller_admission_duration_seconds_count",
            "name=\"PodSecurity\" type=\"validate\"",
            3.0,
        ),
        (
            "apiserver_admission_controller_admission_duration_seconds_count",
            "name=\"LimitRanger\" type=\"admit\"",
            3.0,
        ),
        (
            "apiserver_admission_controller_admission_duration_seconds_count",
            "name=\"ValidatingAdmissionPolicy\" rejected=\"true\"",
            1.0,
        ),
        (
            "apiserver_admission_controller_admission_duration_seconds_count",
            "name=\"ValidatingAdmissionWebhook\"",
            2.0,
        ),
        (
            "apiserver_validating_admission_policy_check_total",
            "policy=\"p\" policy_binding=\"p\" error_type=\"no_error\" enforcement_action=\"deny\"",
            1.0,
        ),
        ("apiserver_validating_admission_policy_check_total", "enforcement_action=\"audit\"", 1.0),
        ("apiserver_mutating_admission_policy_check_total", "policy=\"p\" error_type=\"no_error\"", 3.0),
        (
            "apiserver_admission_match_condition_exclusions_total",
            "name=\"gone.example.com\" kind=\"webhook\"",
            1.0,
        ),
        ("apiserver_admission_match_condition_evaluation_seconds_count", map, 2.0),
        ("apiserver_admission_webhook_fail_open_count", "name=\"gone.example.com\"", 1.0),
        ("apiserver_requested_deprecated_apis", "resource=\"endpoints\" removed_release=\"\"", 1.0),
        ("apiserver_watch_list_duration_seconds_count", "resource=\"configmaps\" scope=\"namespace\"", 1.0),
        ("apiserver_storage_events_received_total", "resource=\"configmaps\"", 2.0),
        ("authenticated_user_requests", "username=\"other\"", 10.0),
        ("authorization_attempts_total", "result=\"allowed\"", 10.0),
        ("kubernetes_healthcheck", "name=\"ping\" type=\"readyz\"", 1.0),
        ("kubernetes_healthchecks_total", "name=\"etcd\" type=\"readyz\" status=\"success\"", 1.0),
    ] {
        let count = sum(&text, name, labels);
        assert!(count >= least, "{name} {labels}: {count}\n{text}");
    }
    for name in [
        "apiserver_cel_compilation_duration_seconds_count",
        "apiserver_cel_evaluation_duration_seconds_count",
    ] {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        assert!(line.is_some_and(|count| count.parse::<f64>().unwrap() >= 1.0), "{name}\n{text}");
    }
}

#[tokio::test]
async fn objectives_leave_out_the_time_of_webhooks() {
    const SLOW: Duration = Duration::from_millis(300);
    let authority = Authority::new();
    let backend = Backend::tls(
        &authority,
        &["localhost"],
        json(|review| {
            std::thread::sleep(SLOW);
            json!({ "apiVersion": review["apiVersion"], "kind": "AdmissionReview",
                "response": { "uid": review["request"]["uid"], "allowed": true } })
        }),
    );
    let backend = backend.await;
    let world = World::new().await;
    world.post("/api/v1/namespaces", &json!({ "metadata": { "name": "default" } })).await.expect(201);
    for sort in ["Mutating", "Validating"] {
        let hook = json!({ "name": "slow.example.com", "failurePolicy": "Fail", "timeoutSeconds": 30,
            "clientConfig": { "url": backend.url("/"), "caBundle": authority.bundle() },
            "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"] }],
            "sideEffects": "None", "admissionReviewVersions": ["v1"] });
        let configuration = json!({ "apiVersion": "admissionregistration.k8s.io/v1", "metadata": { "name": "c" },
            "kind": format!("{sort}WebhookConfiguration"), "webhooks": [hook] });
        let lower = sort.to_lowercase();
        let path = format!("/apis/admissionregistration.k8s.io/v1/{lower}webhookconfigurations");
        world.post(&path, &configuration).await.expect(201);
    }
    world.post(MAPS, &json!({ "metadata": { "name": "a" } })).await.expect(201);
    let text = metrics(&world).await;
    let own = "verb=\"POST\" resource=\"configmaps\"";
    let (all, objective) = (
        sum(&text, "apiserver_request_duration_seconds_sum", own),
        sum(&text, "apiserver_request_sli_duration_seconds_sum", own),
    );
    // However slow the rest was: both are of one request.
    assert!(all - objective >= 2.0 * SLOW.as_secs_f64(), "{all} {objective}");
}
