//! Objects: the life of one, and the words of every failure that clients depend on.

use crate::world::World;
use serde_json::{Value, json};

fn config(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { "a": "1" } })
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn an_object_lives_from_create_to_delete() {
    let world = World::new().await;
    let made = world.post(MAPS, &config("one")).await.expect(201);
    let metadata = &made["metadata"];
    assert_eq!(metadata["namespace"], "default");
    assert!(
        metadata["uid"].as_str().unwrap().len() == 36 && metadata["creationTimestamp"].is_string(),
        "{made}"
    );
    let path = format!("{MAPS}/one");
    assert_eq!(world.get(&path).await.expect(200), made);
    assert_eq!(
        world.post(MAPS, &config("one")).await.failure(),
        "409 AlreadyExists: configmaps \"one\" already exists"
    );

    // A PUT that changes nothing writes nothing.
    assert_eq!(world.put(&path, &made).await.expect(200), made);
    let mut changed = made.clone();
    changed["data"]["a"] = "2".into();
    let put = world.put(&path, &changed).await.expect(200);
    assert_eq!(put["data"]["a"], "2");
    assert_ne!(put["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    assert_eq!(
        world.put(&path, &changed).await.failure(),
        "409 Conflict: Operation cannot be fulfilled on configmaps \"one\": the object has been modified; please apply your changes to the latest version and try again"
    );
    let mut unconditional = config("one");
    unconditional["data"]["a"] = "3".into();
    assert_eq!(world.put(&path, &unconditional).await.expect(200)["data"]["a"], "3");

    let list = world.get(MAPS).await.expect(200);
    assert_eq!((list["kind"].as_str(), list["items"].as_array().unwrap().len()), (Some("ConfigMapList"), 1));
    let gone = world.delete(&path).await.expect(200);
    assert_eq!((&gone["status"], &gone["details"]["kind"]), (&json!("Success"), &json!("configmaps")));
    assert_eq!(gone["details"]["uid"], metadata["uid"]);
    assert_eq!(world.get(&path).await.failure(), "404 NotFound: configmaps \"one\" not found");
    assert_eq!(world.delete(&path).await.failure(), "404 NotFound: configmaps \"one\" not found");
}

#[tokio::test]
async fn failures_are_in_upstreams_words() {
    let world = World::with(|config| config.limits.body_bytes = 10_000).await;
    world.post(MAPS, &config("taken")).await.expect(201);
    let big = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "big" },
        "data": { "a": "x".repeat(20_000) } });
    let named = |name: &str| {
        let mut one = config("x");
        one["metadata"] = json!({ "name": name });
        one
    };
    let elsewhere =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "x", "namespace": "other" } });
    let versioned = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "x", "resourceVersion": "1" } });
    let typed = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "x" }, "data": [1] });
    let meant =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "missing", "uid": "x" } });
    let other =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "taken", "uid": "x" } });
    let precondition = |name: &str| {
        format!(
            "409 Conflict: Operation cannot be fulfilled on configmaps \"{name}\": StorageError: invalid object, Code: 4, Key: /registry/configmaps/default/{name}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: x, UID in object meta: "
        )
    };
    let cases: [(&str, Value, &str); 18] = [
        (&format!("POST {MAPS}"), big, "413 RequestEntityTooLarge: Request entity too large: limit is 10000"),
        (
            &format!("POST {MAPS}"),
            named("Upper"),
            "422 Invalid: ConfigMap \"Upper\" is invalid: metadata.name: Invalid value: \"Upper\": a lowercase RFC 1123 subdomain",
        ),
        (&format!("POST {MAPS}"), named(&"n".repeat(300)), "422 Invalid: ConfigMap \"nnn"),
        (
            &format!("POST {MAPS}"),
            json!({ "apiVersion": "v1", "kind": "ConfigMap" }),
            "422 Invalid: ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required",
        ),
        (
            &format!("POST {MAPS}"),
            elsewhere.clone(),
            "400 BadRequest: the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            &format!("POST {MAPS}"),
            versioned,
            "400 BadRequest: resourceVersion should not be set on objects to be created",
        ),
        (
            &format!("POST {MAPS}"),
            typed,
            "400 BadRequest: ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal",
        ),
        (
            &format!("POST {MAPS}"),
            json!({ "apiVersion": "v1", "kind": "Secret" }),
            "400 BadRequest: Secret in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): unknown conversion",
        ),
        (
            "POST /apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
            json!({ "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler" }),
            "400 BadRequest: the API version in the data (autoscaling/v1) does not match the expected API version (autoscaling/v2)",
        ),
        (
            &format!("POST {MAPS}"),
            json!({ "apiVersion": "v2", "kind": "ConfigMap" }),
            "400 BadRequest: ConfigMap in version \"v2\" cannot be handled as a ConfigMap: no kind \"ConfigMap\" is registered for version \"v2\" in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
        ),
        (
            &format!("PUT {MAPS}/taken"),
            named("other"),
            "400 BadRequest: the name of the object (other) does not match the name on the URL (taken)",
        ),
        (&format!("PUT {MAPS}/missing"), named("missing"), "404 NotFound: configmaps \"missing\" not found"),
        (&format!("PUT {MAPS}/missing"), meant, &precondition("missing")),
        (&format!("PUT {MAPS}/taken"), other, &precondition("taken")),
        (
            &format!("GET {MAPS}/.."),
            Value::Null,
            "400 BadRequest: Name parameter invalid: \"..\": may not be '..'",
        ),
        (
            "POST /api/v1/configmaps",
            config("x"),
            "405 MethodNotAllowed: the server does not allow this method on the requested resource",
        ),
        (
            "GET /api/v1/nothing",
            Value::Null,
            "404 NotFound: the server could not find the requested resource",
        ),
        (
            "GET /api/v1/namespaces/default/nodes",
            Value::Null,
            "404 NotFound: the server could not find the requested resource",
        ),
    ];
    for (request, body, expect) in cases {
        let failure = world.call(request, &body, &[]).await.failure();
        assert!(failure.starts_with(expect), "{request}: {failure}");
    }
    let answer = world.call("GET /api/v1/pods", &Value::Null, &[("accept", "application/cbor")]).await;
    assert_eq!(
        answer.failure(),
        "406 NotAcceptable: only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"
    );
    let answer = world.call(&format!("POST {MAPS}"), &config("x"), &[("content-type", "text/plain")]).await;
    assert!(answer.failure().starts_with("415 UnsupportedMediaType: the body of the request was in an unknown format - accepted media types include: application/json"));
    let answer = world.call("GET /api/v1/pods", &Value::Null, &[("authorization", "Bearer nobody")]).await;
    assert_eq!(
        answer.failure(),
        "403 Forbidden: pods is forbidden: User \"nobody\" cannot list resource \"pods\" in API group \"\" at the cluster scope: not you"
    );
}

#[tokio::test]
async fn broken_bodies_are_refused() {
    let world = World::new().await;
    let send = async |content_type: &str, body: Vec<u8>| {
        let request = http::Request::post(MAPS).header("content-type", content_type);
        world.send(request.body(body.into()).unwrap()).await.failure()
    };
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (content_type, body, expect) in [
        (
            "application/json",
            "{\"a\": nonsense}".to_owned(),
            "400 BadRequest: the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: invalid character 'o' in literal null (expecting 'u') ({\"a\": nonsense})",
        ),
        (
            "application/json",
            "{\"kind\": 1}".to_owned(),
            "400 BadRequest: the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: json: cannot unmarshal number into Go struct field .kind of type string ({\"kind\": 1})",
        ),
        (
            "application/json",
            "{\"apiVersion\":\"a/b/c\"}".to_owned(),
            "400 BadRequest: the object provided is unrecognized (must be of type ConfigMap): unexpected GroupVersion string: a/b/c",
        ),
        (
            "application/json",
            "null".to_owned(),
            "422 Invalid: ConfigMap \"\" is invalid: metadata.name: Required value",
        ),
        ("application/json", deep.clone(), "400 BadRequest"),
        ("application/json", String::new(), "400 BadRequest"),
        ("application/json", "[]".to_owned(), "400 BadRequest"),
        ("application/yaml", "a: [b".to_owned(), "400 BadRequest"),
        ("application/yaml", deep, "400 BadRequest"),
        (
            "application/json",
            "{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":7}".to_owned(),
            "400 BadRequest",
        ),
    ] {
        let failure = send(content_type, body.into_bytes()).await;
        assert!(failure.starts_with(expect), "{failure}");
    }
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: from-yaml\ndata:\n  a: \"1\"\n";
    let request = http::Request::post(MAPS)
        .header("content-type", "application/yaml")
        .header("accept", "application/yaml");
    let answer = world.send(request.body(yaml.into()).unwrap()).await;
    assert_eq!(answer.code, 201);
    let text = String::from_utf8(answer.bytes).unwrap();
    assert!(
        text.starts_with(
            "apiVersion: v1\ndata:\n  a: \"1\"\nkind: ConfigMap\nmetadata:\n  creationTimestamp: \""
        ),
        "{text}"
    );
}

/// What a deletion says of itself is read as strictly as upstream reads it.
#[tokio::test]
async fn broken_options_of_deletions_are_refused() {
    let world = World::new().await;
    let parse = "couldn't get version/kind; json parse error:";
    let scheme = "in scheme \"pkg/apis/meta/internalversion/scheme/register.go:27\"";
    let unmarshal = "json: cannot unmarshal";
    for (body, expect) in [
        ("{", format!("{parse} unexpected end of JSON input")),
        ("{\"kind\":1}", format!("{parse} {unmarshal} number into Go struct field .kind of type string")),
        (
            "{\"kind\":\"Pod\",\"apiVersion\":\"v1\"}",
            format!("no kind \"Pod\" is registered for version \"v1\" {scheme}"),
        ),
        ("{\"kind\":\"X\"}", format!("no kind \"X\" is registered for version \"meta.k8s.io/v1\" {scheme}")),
        ("{\"apiVersion\":\"a/b/c\"}", "unexpected GroupVersion string: a/b/c".into()),
        (
            "{\"gracePeriodSeconds\":\"x\"}",
            format!("{unmarshal} string into Go struct field DeleteOptions.gracePeriodSeconds of type int64"),
        ),
        (
            "{\"preconditions\":{\"uid\":1}}",
            format!(
                "{unmarshal} number into Go struct field Preconditions.preconditions.uid of type types.UID"
            ),
        ),
        (
            "{\"dryRun\":\"All\"}",
            format!("{unmarshal} string into Go struct field DeleteOptions.dryRun of type []string"),
        ),
    ] {
        let request = http::Request::delete(format!("{MAPS}/a")).header("content-type", "application/json");
        let failure = world.send(request.body(body.to_owned().into()).unwrap()).await.failure();
        assert_eq!(failure, format!("400 BadRequest: {expect}"), "{body}");
    }
    for body in ["null", "{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v9\",\"foo\":1}", ""] {
        let request = http::Request::delete(format!("{MAPS}/a")).header("content-type", "application/json");
        let failure = world.send(request.body(body.to_owned().into()).unwrap()).await.failure();
        assert_eq!(failure, "404 NotFound: configmaps \"a\" not found", "{body}");
    }
}

#[tokio::test]
async fn unknown_and_duplicate_fields_are_ignored_reported_or_refused() {
    let world = World::new().await;
    let send = async |validation: &str, name: &str| {
        let body = format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}","wrong":1}},"data":{{"a":"1","a":"2"}}}}"#
        );
        let request = http::Request::post(format!("{MAPS}{validation}"));
        world.send(request.body(body.into()).unwrap()).await
    };
    let warned = send("", "warn").await;
    assert_eq!(
        warned.warnings(),
        [r#"299 - "unknown field \"metadata.wrong\"""#, r#"299 - "duplicate field \"data.a\"""#]
    );
    assert!(warned.expect(201)["metadata"]["wrong"].is_null());
    let ignored = send("?fieldValidation=Ignore", "ignore").await;
    assert_eq!((ignored.code, ignored.warnings().len()), (201, 0));
    assert_eq!(
        send("?fieldValidation=Strict", "strict").await.failure(),
        "400 BadRequest: ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"metadata.wrong\", duplicate field \"data.a\""
    );
    assert!(send("?fieldValidation=Maybe", "x").await.failure().starts_with("422 Invalid: CreateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \"Maybe\""));
}

#[tokio::test]
async fn names_are_generated() {
    let world = World::new().await;
    let body = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "generateName": "gen-" } });
    let one = world.post(MAPS, &body).await.expect(201);
    let two = world.post(MAPS, &body).await.expect(201);
    let name = one["metadata"]["name"].as_str().unwrap();
    assert!(
        name.starts_with("gen-") && name.len() == 9 && one["metadata"]["name"] != two["metadata"]["name"]
    );
}

#[tokio::test]
async fn patches_of_every_kind() {
    let world = World::new().await;
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let deployment = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "d" }, "spec": {
        "selector": { "matchLabels": { "a": "b" } },
        "template": { "metadata": { "labels": { "a": "b" } },
            "spec": { "containers": [{ "name": "one", "image": "i" }, { "name": "two", "image": "j" }] } } } });
    let made = world.post(deployments, &deployment).await.expect(201);
    assert_eq!(
        (&made["spec"]["replicas"], &made["metadata"]["generation"]),
        (&json!(1), &json!(1)),
        "defaulted"
    );
    let path = format!("{deployments}/d");
    let strategic =
        json!({ "spec": { "template": { "spec": { "containers": [{ "name": "two", "image": "k" }] } } } });
    let patched = world.patch(&path, "strategic-merge-patch", &strategic).await.expect(200);
    let containers = &patched["spec"]["template"]["spec"]["containers"];
    assert_eq!((&containers[0]["image"], &containers[1]["image"]), (&json!("i"), &json!("k")));
    assert_eq!(patched["metadata"]["generation"], 2);
    let merge = json!({ "metadata": { "labels": { "x": "y" } } });
    let patched = world.patch(&path, "merge-patch", &merge).await.expect(200);
    assert_eq!(
        (&patched["metadata"]["labels"]["x"], &patched["metadata"]["generation"]),
        (&json!("y"), &json!(2))
    );
    let operations = json!([{ "op": "test", "path": "/spec/replicas", "value": 1 }, { "op": "replace", "path": "/spec/replicas", "value": 3 }]);
    let patched = world.patch(&path, "json-patch", &operations).await.expect(200);
    assert_eq!(patched["spec"]["replicas"], 3);
    let failed = world.patch(&path, "json-patch", &operations).await;
    assert_eq!(
        failed.failure(),
        "422 Invalid: the server rejected our request due to an error in our request"
    );
    let stale = json!({ "metadata": { "resourceVersion": made["metadata"]["resourceVersion"], "labels": { "x": "z" } } });
    assert!(world.patch(&path, "merge-patch", &stale).await.failure().starts_with("409 Conflict"));
    let answer = world.call(&format!("PATCH {path}"), &merge, &[("content-type", "application/json")]).await;
    assert!(
        answer
            .failure()
            .starts_with("415 UnsupportedMediaType: the body of the request was in an unknown format")
    );
    // A status is changed through its own door, and through no other.
    let status = world
        .patch(
            &format!("{path}/status"),
            "merge-patch",
            &json!({ "status": { "replicas": 2 }, "spec": { "replicas": 9 } }),
        )
        .await
        .expect(200);
    assert_eq!((&status["status"]["replicas"], &status["spec"]["replicas"]), (&json!(2), &json!(3)));
    let main = world.patch(&path, "merge-patch", &json!({ "status": { "replicas": 7 } })).await.expect(200);
    assert_eq!(main["status"]["replicas"], 2);

    let scale = world.get(&format!("{path}/scale")).await.expect(200);
    assert_eq!(scale["spec"]["replicas"], 3);
    assert_eq!(scale["status"], json!({ "replicas": 2, "selector": "a=b" }));
    let scaled = world
        .patch(&format!("{path}/scale"), "merge-patch", &json!({ "spec": { "replicas": 5 } }))
        .await
        .expect(200);
    assert_eq!((&scaled["kind"], &scaled["spec"]["replicas"]), (&json!("Scale"), &json!(5)));
    assert_eq!(world.put(&format!("{path}/scale"), &scale).await.code, 409, "its version is stale");
    let mut unversioned = scale.clone();
    unversioned["metadata"] = json!({ "name": "d" });
    assert_eq!(world.put(&format!("{path}/scale"), &unversioned).await.expect(200)["spec"]["replicas"], 3);
    unversioned["spec"]["replicas"] = (-1).into();
    assert!(
        world
            .put(&format!("{path}/scale"), &unversioned)
            .await
            .failure()
            .starts_with("422 Invalid: Scale.autoscaling \"d\" is invalid: spec.replicas: Invalid value: -1")
    );
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let world = World::new().await;
    let made = world.post(&format!("{MAPS}?dryRun=All"), &config("dry")).await.expect(201);
    assert!(made["metadata"]["uid"].is_string());
    assert_eq!(world.get(&format!("{MAPS}/dry")).await.code, 404);
    let real = world.post(MAPS, &config("real")).await.expect(201);
    assert_eq!(world.post(&format!("{MAPS}?dryRun=All"), &config("real")).await.code, 409);
    let patch = json!({ "data": { "a": "9" } });
    let patched = world.patch(&format!("{MAPS}/real?dryRun=All"), "merge-patch", &patch).await.expect(200);
    assert_eq!(patched["data"]["a"], "9");
    world.delete(&format!("{MAPS}/real?dryRun=All")).await.expect(200);
    assert_eq!(world.get(&format!("{MAPS}/real")).await.expect(200), real);
    assert_eq!(world.post(&format!("{MAPS}?dryRun=Some"), &config("x")).await.code, 422);
}

#[tokio::test]
async fn concurrent_changes_are_all_applied() {
    let world = std::sync::Arc::new(World::new().await);
    world.post(MAPS, &config("many")).await.expect(201);
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..20 {
        let world = world.clone();
        tasks.spawn(async move {
            let patch = json!({ "data": { format!("k{index}"): "v" } });
            world.patch(&format!("{MAPS}/many"), "merge-patch", &patch).await.expect(200);
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let map = world.get(&format!("{MAPS}/many")).await.expect(200);
    assert_eq!(map["data"].as_object().unwrap().len(), 21);
}

#[tokio::test]
async fn a_port_that_a_service_gives_up_is_free_again() {
    let world = World::new().await;
    let services = "/api/v1/namespaces/default/services";
    let service = |name: &str| {
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name },
            "spec": { "type": "NodePort", "selector": { "a": "b" }, "ports": [{ "port": 80, "nodePort": 30123 }] } })
    };
    let mut first = world.post(services, &service("first")).await.expect(201);
    assert!(
        world
            .post(services, &service("second"))
            .await
            .failure()
            .contains("provided port is already allocated")
    );
    first["spec"]["type"] = "ClusterIP".into();
    first["spec"]["ports"][0]["nodePort"].take();
    world.put(&format!("{services}/first"), &first).await.expect(200);
    world.post(services, &service("second")).await.expect(201);
}
