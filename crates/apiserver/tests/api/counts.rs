//! What dashboards read: the names and labels of upstream's metrics.

use crate::backend::{Authority, Backend, json};
use crate::world::World;
use serde_json::json;

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
