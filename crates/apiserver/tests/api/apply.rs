//! Server-side apply and `managedFields`: who owns what after every kind of write.

use crate::world::{Answer, World};
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const AGENT: (&str, &str) = ("user-agent", "kubectl/v1.37.0 (linux/amd64) kubernetes/0000000");

async fn apply(world: &World, path: &str, query: &str, body: &Value) -> Answer {
    let request = format!("PATCH {path}?{query}");
    world.call(&request, body, &[("content-type", "application/apply-patch+yaml"), AGENT]).await
}

/// `manager operation[/subresource]: fields` of every entry, in order.
fn owners(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    entries
        .iter()
        .map(|entry| {
            let part = entry["subresource"].as_str().map_or(String::new(), |part| format!("/{part}"));
            assert_eq!(entry["fieldsType"], "FieldsV1");
            let word = |name: &str| entry[name].as_str().unwrap_or("-").to_owned();
            let mut paths = Vec::new();
            paths_of(&entry["fieldsV1"], "", &mut paths);
            format!("{} {}{part}: {}", word("manager"), word("operation"), paths.join(" "))
        })
        .collect()
}

fn paths_of(fields: &Value, prefix: &str, paths: &mut Vec<String>) {
    let map = fields.as_object().unwrap();
    if map.is_empty() || map.contains_key(".") {
        paths.push(prefix.to_owned());
    }
    for (key, below) in map.iter().filter(|(key, _)| *key != ".") {
        let (kind, rest) = key.split_at(2);
        let step = if kind == "f:" { format!(".{rest}") } else { format!("[{rest}]") };
        paths_of(below, &format!("{prefix}{step}"), paths);
    }
}

fn config(data: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "one" }, "data": data })
}

fn deployment(replicas: Option<i64>, image: &str) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "spec": {
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "web", "image": image }] },
            },
        },
    });
    if let Some(replicas) = replicas {
        object["spec"]["replicas"] = replicas.into();
    }
    object
}

#[tokio::test]
async fn every_write_says_who_owns_what() {
    let world = World::new().await;
    let made = world.call(&format!("POST {MAPS}"), &config(&json!({ "a": "1", "b": "1" })), &[AGENT]).await;
    let made = made.expect(201);
    assert_eq!(owners(&made), ["kubectl Update: .data .data.a .data.b"]);
    assert_eq!(made["metadata"]["managedFields"][0]["apiVersion"], "v1");
    assert_eq!(made["metadata"]["managedFields"][0]["time"], made["metadata"]["creationTimestamp"]);
    let path = format!("{MAPS}/one");
    assert_eq!(world.get(&path).await.expect(200), made);

    // What another changes becomes its own; what it removes, nobody's.
    let mut changed = made.clone();
    changed["data"] = json!({ "a": "2", "c": "1" });
    let put = world.call(&format!("PUT {path}?fieldManager=other"), &changed, &[AGENT]).await.expect(200);
    assert_eq!(owners(&put), ["kubectl Update: .data", "other Update: .data.a .data.c"]);

    // A write that changes nothing changes no time either, and is no write.
    assert_eq!(world.put(&path, &put).await.expect(200), put);

    // A client that does not send them does not erase them.
    let mut without = put.clone();
    without["metadata"].as_object_mut().unwrap().remove("managedFields");
    assert_eq!(world.put(&path, &without).await.expect(200), put);

    let patch = json!({ "metadata": { "labels": { "x": "y" } } });
    let patched = world.patch(&path, "merge-patch", &patch).await.expect(200);
    assert_eq!(owners(&patched)[2], "unknown Update: .metadata.labels .metadata.labels.x");

    // An empty list, or one empty entry, forgets all.
    let reset = json!({ "metadata": { "managedFields": [{}] } });
    let forgotten = world.patch(&path, "merge-patch", &reset).await.expect(200);
    assert_eq!(forgotten["metadata"]["managedFields"], Value::Null);
    let patch = json!({ "data": { "a": "3" } });
    let untracked = world.patch(&path, "merge-patch", &patch).await.expect(200);
    assert_eq!(untracked["metadata"]["managedFields"], Value::Null);
}

#[tokio::test]
async fn parts_of_an_object_have_owners_of_their_own() {
    let world = World::new().await;
    let mut pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "one" },
        "spec": { "containers": [{ "name": "a", "image": "b", "ports": [{ "containerPort": 80 }] }] },
        "status": { "phase": "Running" } });
    let pods = "/api/v1/namespaces/default/pods";
    let made = world.call(&format!("POST {pods}"), &pod, &[AGENT]).await.expect(201);
    let text = &owners(&made)[0];
    for owned in [
        r#" .spec.containers[{"name":"a"}] "#,
        r#" .spec.containers[{"name":"a"}].image "#,
        r#" .spec.containers[{"name":"a"}].ports "#,
        r#" .spec.containers[{"name":"a"}].ports[{"containerPort":80,"protocol":"TCP"}] "#,
        " .spec.restartPolicy ",
    ] {
        assert!(text.contains(owned), "{owned} in {text}");
    }
    assert!(!text.contains(".status") && !text.contains(".metadata"), "{text}");

    let status =
        json!({ "status": { "phase": "Running", "podIP": "10.0.0.1" }, "spec": { "nodeName": "x" } });
    let kubelet = ("user-agent", "kubelet/v1.37.0");
    let strategy = ("content-type", "application/merge-patch+json");
    let request = format!("PATCH {pods}/one/status");
    let patched = world.call(&request, &status, &[kubelet, strategy]).await.expect(200);
    assert_eq!(owners(&patched)[1..], ["kubelet Update/status: .status.phase .status.podIP"]);
    // Renewals of the same fields leave the sets alone.
    let status = json!({ "status": { "podIP": "10.0.0.2" } });
    let again = world.call(&request, &status, &[kubelet, strategy]).await.expect(200);
    assert_eq!(owners(&again), owners(&patched));
    pod["metadata"]["labels"] = json!({ "a": "b" });
    let bound = json!({ "apiVersion": "v1", "kind": "Binding", "metadata": { "name": "one" },
        "target": { "kind": "Node", "name": "node" } });
    world.post(&format!("{pods}/one/binding"), &bound).await.expect(201);
    let bound = world.get(&format!("{pods}/one")).await.expect(200);
    assert_eq!(owners(&bound), owners(&patched));
}

#[tokio::test]
async fn a_configuration_creates_merges_and_takes_away() {
    let world = World::new().await;
    let path = format!("{DEPLOYMENTS}/web");
    let made = apply(&world, &path, "fieldManager=one", &deployment(Some(1), "a")).await.expect(201);
    let own = "one Apply: .spec.replicas .spec.selector .spec.template.metadata.labels.app \
        .spec.template.spec.containers[{\"name\":\"web\"}] .spec.template.spec.containers[{\"name\":\"web\"}].image \
        .spec.template.spec.containers[{\"name\":\"web\"}].name";
    assert_eq!(owners(&made), [own]);
    assert_eq!(made["spec"]["strategy"]["type"], "RollingUpdate", "defaults are nobody's");

    // Again: nothing is written.
    let again = apply(&world, &path, "fieldManager=one", &deployment(Some(1), "a")).await.expect(200);
    assert_eq!(again, made);

    // Others may say the same, and then share; or differ, and then conflict.
    let part = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "spec": { "replicas": 1, "paused": true } });
    let shared = apply(&world, &path, "fieldManager=two", &part).await.expect(200);
    assert_eq!(owners(&shared), [own, "two Apply: .spec.paused .spec.replicas"]);
    let conflict = apply(&world, &path, "fieldManager=one", &deployment(Some(3), "a")).await;
    assert_eq!(
        conflict.failure(),
        "409 Conflict: Apply failed with 1 conflict: conflict with \"two\": .spec.replicas"
    );
    let causes = json!([{ "reason": "FieldManagerConflict", "message": "conflict with \"two\"", "field": ".spec.replicas" }]);
    assert_eq!(conflict.json()["details"]["causes"], causes);
    let forced =
        apply(&world, &path, "fieldManager=one&force=true", &deployment(Some(3), "a")).await.expect(200);
    assert_eq!(forced["spec"]["replicas"], 3);
    assert_eq!(owners(&forced), [own, "two Apply: .spec.paused"]);

    // What a manager does not say any more goes, if nobody else owns it; what has a default gets that.
    let less = apply(&world, &path, "fieldManager=one", &deployment(None, "a")).await.expect(200);
    assert_eq!(less["spec"]["replicas"], 1);
    let none = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" } });
    let none = apply(&world, &path, "fieldManager=two", &none).await.expect(200);
    assert_eq!((&none["spec"]["paused"], owners(&none).len()), (&Value::Null, 1));
}

#[tokio::test]
async fn conflicts_name_every_manager_and_field() {
    let world = World::new().await;
    let made = deployment(Some(1), "a");
    world.call(&format!("POST {DEPLOYMENTS}"), &made, &[AGENT]).await.expect(201);
    let path = format!("{DEPLOYMENTS}/web");
    let status = json!({ "metadata": { "annotations": { "x": "y" } } });
    world
        .call(
            &format!("PATCH {path}/status?fieldManager=other"),
            &status,
            &[("content-type", "application/merge-patch+json")],
        )
        .await
        .expect(200);
    let mut wanted = deployment(Some(2), "b");
    wanted["metadata"]["annotations"] = json!({ "x": "z" });
    let refused = apply(&world, &path, "fieldManager=one", &wanted).await;
    let text = "409 Conflict: Apply failed with 3 conflicts: conflicts with \"kubectl\" using apps/v1:\n\
        - .spec.replicas\n- .spec.template.spec.containers[name=\"web\"].image\n\
        conflicts with \"other\" with subresource \"status\" using apps/v1:\n- .metadata.annotations.x";
    assert_eq!(refused.failure(), text);
    let causes = refused.json()["details"]["causes"].as_array().unwrap().len();
    assert_eq!(causes, 3);
}

#[tokio::test]
async fn what_apply_refuses_is_in_upstreams_words() {
    let world = World::new().await;
    let path = format!("{DEPLOYMENTS}/web");
    let body = deployment(None, "a");
    let check = async |query: &str, body: &Value, expect: &str| {
        assert_eq!(apply(&world, &path, query, body).await.failure(), expect);
    };
    check("", &body, "422 Invalid: PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch").await;
    let mut with = body.clone();
    with["metadata"]["managedFields"] = json!([]);
    check("fieldManager=a", &with, "400 BadRequest: metadata.managedFields must be nil").await;
    let mut with = body.clone();
    with["apiVersion"] = "apps/v1beta1".into();
    check("fieldManager=a", &with, "400 BadRequest: invalid object type: apps/v1beta1, Kind=Deployment")
        .await;
    let mut with = body.clone();
    with["spec"]["foo"] = 1.into();
    check("fieldManager=a", &with, "500 : failed to create typed patch object (/web; apps/v1, Kind=Deployment): .spec.foo: field not declared in schema").await;
    let mut with = body.clone();
    let one = with["spec"]["template"]["spec"]["containers"][0].clone();
    with["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().push(one);
    check("fieldManager=a", &with, "500 : failed to create typed patch object (/web; apps/v1, Kind=Deployment): .spec.template.spec.containers: duplicate entries for key [name=\"web\"]").await;
    let mut with = body.clone();
    with["metadata"]["uid"] = "123".into();
    check("fieldManager=a", &with, "409 Conflict: Operation cannot be fulfilled on deployments.apps \"web\": uid mismatch: the provided object specified uid 123, and no existing object was found").await;
    let mut with = body.clone();
    with["metadata"]["name"] = "other".into();
    check(
        "fieldManager=a",
        &with,
        "400 BadRequest: the name of the object (other) does not match the name on the URL (web)",
    )
    .await;
    apply(&world, &path, "fieldManager=a", &body).await.expect(201);
    let mut with = body.clone();
    with["metadata"]["resourceVersion"] = "1".into();
    check("fieldManager=a", &with, "409 Conflict: Operation cannot be fulfilled on deployments.apps \"web\": the object has been modified; please apply your changes to the latest version and try again").await;
    let long = format!("fieldManager={}", "x".repeat(129));
    check(&long, &body, "422 Invalid: PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Too long: may not be more than 128 bytes").await;
    let request = format!("PATCH {path}?force=true");
    let refused = world.call(&request, &json!({}), &[("content-type", "application/merge-patch+json")]).await;
    assert_eq!(
        refused.failure(),
        "422 Invalid: PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch"
    );
}

#[tokio::test]
async fn bodies_are_yaml_and_checked_strictly_if_wanted() {
    let world = World::new().await;
    let path = format!("{MAPS}/one");
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: one\ndata:\n  a: \"1\"\n  a: \"2\"\n";
    let send = async |query: &str| {
        let request = http::Request::patch(format!("{path}?fieldManager=a{query}"))
            .header("content-type", "application/apply-patch+yaml")
            .body(yaml.to_owned().into());
        world.send(request.unwrap()).await
    };
    let refused = send("&fieldValidation=Strict").await;
    assert_eq!(
        refused.failure(),
        "400 BadRequest: error strict decoding patch: error converting YAML to JSON: yaml: unmarshal errors:\n  line 7: key \"a\" already set in map"
    );
    let dry = send("&dryRun=All&fieldValidation=Ignore").await;
    assert!(dry.warnings().is_empty());
    assert_eq!(dry.expect(201)["data"]["a"], "2");
    assert_eq!(world.get(&path).await.code, 404);
    let made = send("").await;
    assert_eq!(made.warnings(), [r#"299 - "line 7: key \"a\" already set in map""#]);
    assert_eq!(owners(&made.expect(201)), ["a Apply: .data.a"]);
}

#[tokio::test]
async fn patches_report_what_is_unknown_in_them() {
    let world = World::new().await;
    world.post(MAPS, &config(&json!({ "a": "1" }))).await.expect(201);
    let path = format!("{MAPS}/one");
    let send = async |query: &str, strategy: &str, body: &'static str| {
        let request = http::Request::patch(format!("{path}?{query}"))
            .header("content-type", format!("application/{strategy}+json"))
            .body(body.into());
        world.send(request.unwrap()).await
    };
    let twice = r#"{"data":{"b":"1","b":"2"},"foo":1}"#;
    let warned = send("", "merge-patch", twice).await;
    assert_eq!(
        warned.warnings(),
        [r#"299 - "duplicate field \"data.b\"""#, r#"299 - "unknown field \"foo\"""#]
    );
    warned.expect(200);
    let refused = send("fieldValidation=Strict", "merge-patch", twice).await.failure();
    assert!(
        refused.starts_with("422 Invalid:  \"\" is invalid: patch: Invalid value: \"{\\\"apiVersion"),
        "{refused}"
    );
    assert!(
        refused.ends_with("strict decoding error: duplicate field \"data.b\", unknown field \"foo\""),
        "{refused}"
    );
    let operation = r#"[{"op":"add","path":"/data/c","value":"1","foo":2}]"#;
    let warned = send("", "json-patch", operation).await;
    assert_eq!(warned.warnings(), [r#"299 - "json patch unknown field \"[0].foo\"""#]);
    let wrong = send("", "merge-patch", r#"{"data":{"c":{}}}"#).await.failure();
    assert!(wrong.starts_with("422 Invalid:  \"\" is invalid: patch: Invalid value: "), "{wrong}");
    assert!(
        wrong.contains("json: cannot unmarshal object into Go struct field ConfigMap.data of type string"),
        "{wrong}"
    );
}

#[tokio::test]
async fn clients_change_sides() {
    let world = World::new().await;
    let mut made = deployment(Some(1), "a");
    let last = deployment(Some(1), "a").to_string();
    made["metadata"]["annotations"] = json!({ "kubectl.kubernetes.io/last-applied-configuration": last });
    let request = format!("POST {DEPLOYMENTS}?fieldManager=kubectl-client-side-apply");
    world.call(&request, &made, &[AGENT]).await.expect(201);
    let path = format!("{DEPLOYMENTS}/web");
    // Another name gets no such grace.
    let conflict = apply(&world, &path, "fieldManager=other", &deployment(Some(2), "b")).await;
    assert_eq!(conflict.code, 409);
    let moved = apply(&world, &path, "fieldManager=kubectl", &deployment(Some(2), "b")).await.expect(200);
    assert_eq!(moved["spec"]["replicas"], 2);
    let annotation = &moved["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
    let annotation: Value = serde_json::from_str(annotation.as_str().unwrap()).unwrap();
    assert_eq!(annotation, deployment(Some(2), "b"));
    assert!(owners(&moved)[0].starts_with("kubectl Apply: .spec.replicas"));

    // What nobody tracked belongs to an entry of its own from the first apply on.
    let reset = json!({ "metadata": { "managedFields": [{}] } });
    world.patch(&path, "merge-patch", &reset).await.expect(200);
    let conflict = apply(&world, &path, "fieldManager=new", &deployment(Some(3), "b")).await.failure();
    assert_eq!(
        conflict,
        "409 Conflict: Apply failed with 1 conflict: conflict with \"before-first-apply\" using apps/v1: .spec.replicas"
    );
}

#[tokio::test]
async fn replicas_change_hands_through_scale() {
    let world = World::new().await;
    let path = format!("{DEPLOYMENTS}/web");
    apply(&world, &path, "fieldManager=one", &deployment(Some(1), "a")).await.expect(201);
    let scale = json!({ "apiVersion": "autoscaling/v1", "kind": "Scale",
        "metadata": { "name": "web", "namespace": "default" }, "spec": { "replicas": 2 } });
    world.call(&format!("PUT {path}/scale?fieldManager=scaler"), &scale, &[]).await.expect(200);
    let object = world.get(&path).await.expect(200);
    assert_eq!(object["spec"]["replicas"], 2);
    let all = owners(&object);
    assert!(!all[0].contains(".spec.replicas") && all[0].starts_with("one Apply"), "{all:?}");
    assert_eq!(all[1], "scaler Update/scale: .spec.replicas");
    let conflict = apply(&world, &path, "fieldManager=one", &deployment(Some(1), "a")).await.failure();
    assert_eq!(
        conflict,
        "409 Conflict: Apply failed with 1 conflict: conflict with \"scaler\" with subresource \"scale\" using apps/v1: .spec.replicas"
    );
    let mut applied = scale.clone();
    applied["spec"]["replicas"] = 5.into();
    let refused = apply(&world, &format!("{path}/scale"), "fieldManager=two", &applied).await;
    assert_eq!(refused.code, 409, "{}", refused.failure());
    apply(&world, &format!("{path}/scale"), "fieldManager=two&force=true", &applied).await.expect(200);
    let object = world.get(&path).await.expect(200);
    assert_eq!(object["spec"]["replicas"], 5);
    assert_eq!(owners(&object)[1], "two Apply/scale: .spec.replicas");
    // The same again changes nothing.
    let scale = json!({ "spec": { "replicas": 5 } });
    world.patch(&format!("{path}/scale"), "merge-patch", &scale).await.expect(200);
    assert_eq!(world.get(&path).await.expect(200), object);
}

#[tokio::test]
async fn lists_keep_their_order_and_their_owners() {
    let world = World::new().await;
    let path = "/api/v1/namespaces/default/services/web";
    let service = |ports: &[(&str, u16)]| {
        let ports: Vec<_> = ports
            .iter()
            .map(|(name, port)| json!({ "name": name, "port": port, "protocol": "TCP" }))
            .collect();
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web" }, "spec": { "ports": ports } })
    };
    let names = |object: &Value| -> Vec<String> {
        let ports = object["spec"]["ports"].as_array().unwrap().iter();
        ports.map(|port| port["name"].as_str().unwrap().to_owned()).collect()
    };
    apply(&world, path, "fieldManager=one", &service(&[("a", 1), ("b", 2)])).await.expect(201);
    let both = apply(&world, path, "fieldManager=two", &service(&[("c", 3), ("b", 2)])).await.expect(200);
    assert_eq!(names(&both), ["a", "c", "b"]);
    let less = apply(&world, path, "fieldManager=one", &service(&[("a", 1)])).await.expect(200);
    assert_eq!(names(&less), ["a", "c", "b"], "the other still wants it");
    let less = apply(&world, path, "fieldManager=two", &service(&[("c", 3)])).await.expect(200);
    assert_eq!(names(&less), ["a", "c"]);
}

#[tokio::test]
async fn status_is_applied_through_its_subresource_alone() {
    let world = World::new().await;
    let path = format!("{DEPLOYMENTS}/web");
    let mut whole = deployment(None, "a");
    whole["status"] = json!({ "replicas": 7 });
    let made = apply(&world, &path, "fieldManager=one", &whole).await.expect(201);
    assert!(!owners(&made)[0].contains(".status"));
    let status = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "status": { "replicas": 1, "conditions": [{ "type": "Available", "status": "True" }] } });
    let applied = apply(&world, &format!("{path}/status"), "fieldManager=two", &status).await.expect(200);
    assert_eq!(
        owners(&applied)[1],
        r#"two Apply/status: .status.conditions[{"type":"Available"}] .status.conditions[{"type":"Available"}].status .status.conditions[{"type":"Available"}].type .status.replicas"#
    );
    let missing = format!("{DEPLOYMENTS}/none/status");
    assert_eq!(apply(&world, &missing, "fieldManager=two", &status).await.code, 404);
}

#[tokio::test]
async fn the_oldest_updates_become_one() {
    let world = World::new().await;
    world
        .call(&format!("POST {MAPS}?fieldManager=m0"), &config(&json!({ "k0": "1" })), &[])
        .await
        .expect(201);
    let path = format!("{MAPS}/one");
    for index in 1..13 {
        let mut patch = json!({ "data": {} });
        patch["data"][format!("k{index}")] = "1".into();
        let request = format!("PATCH {path}?fieldManager=m{index}");
        let strategy = ("content-type", "application/merge-patch+json");
        world.call(&request, &patch, &[strategy]).await.expect(200);
    }
    let object = world.get(&path).await.expect(200);
    let all = owners(&object);
    assert_eq!(all.len(), 10, "{all:?}");
    let ancient: Vec<_> = all.iter().filter(|one| one.starts_with("ancient-changes Update: ")).collect();
    assert_eq!(ancient.len(), 1, "{all:?}");
    let owned: usize = all.iter().map(|one| one.matches(".data.k").count()).sum();
    assert_eq!(owned, 13, "{all:?}");
}

#[tokio::test]
async fn two_versions_of_a_kind_know_each_others_owners() {
    let world = World::new().await;
    let (one, two) = (
        "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers/web",
        "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers/web",
    );
    let target = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" });
    let body = |version: &str, maximum: i64| {
        json!({ "apiVersion": format!("autoscaling/{version}"), "kind": "HorizontalPodAutoscaler",
            "metadata": { "name": "web" }, "spec": { "scaleTargetRef": target, "maxReplicas": maximum } })
    };
    apply(&world, one, "fieldManager=one", &body("v1", 3)).await.expect(201);
    let refused = apply(&world, two, "fieldManager=two", &body("v2", 4)).await.failure();
    assert_eq!(
        refused,
        "409 Conflict: Apply failed with 1 conflict: conflict with \"one\": .spec.maxReplicas"
    );
    let forced = apply(&world, two, "fieldManager=two&force=true", &body("v2", 4)).await.expect(200);
    let all = owners(&forced);
    assert!(!all[0].contains("maxReplicas") && all[1].contains("maxReplicas"), "{all:?}");
    assert_eq!(forced["metadata"]["managedFields"][0]["apiVersion"], "autoscaling/v1");
}

/// May change, and not create.
struct Changes;

impl gifee_apiserver::seam::Authorizer for Changes {
    fn authorize<'a>(
        &'a self,
        attributes: &'a gifee_policy::Attributes,
        _: &'a dyn gifee_policy::Lookup,
    ) -> gifee_apiserver::seam::Answer<'a, gifee_policy::authorize::Decision> {
        use gifee_policy::authorize::Decision;
        gifee_apiserver::seam::Answer::Now(match &*attributes.verb {
            "create" => Decision::NoOpinion("not you".into()),
            _ => Decision::Allow(std::sync::Arc::default()),
        })
    }

    fn rules(
        &self,
        _: &gifee_policy::User,
        _: &str,
        _: &dyn gifee_policy::Lookup,
    ) -> gifee_policy::authorize::Rules {
        gifee_policy::authorize::Rules::default()
    }
}

#[tokio::test]
async fn who_may_not_create_does_not_create_by_applying() {
    let world = World::with(|config| config.authorizer = std::sync::Arc::new(Changes)).await;
    let refused = apply(&world, &format!("{MAPS}/one"), "fieldManager=a", &config(&json!({}))).await;
    assert!(
        refused.failure().starts_with("403 Forbidden: configmaps \"one\" is forbidden: User "),
        "{}",
        refused.failure()
    );
}

#[tokio::test]
async fn custom_resources_are_applied_by_their_schemas() {
    use crate::custom::{definition, version};
    let world = World::new().await;
    let namespace = json!({ "metadata": { "name": "default" } });
    world.post("/api/v1/namespaces", &namespace).await.expect(201);
    let port = json!({ "type": "object", "required": ["port"], "properties": {
        "port": { "type": "integer" }, "protocol": { "type": "string", "default": "TCP" }, "name": { "type": "string" } } });
    let spec = json!({ "spec": { "type": "object", "properties": {
        "ports": { "type": "array", "items": port, "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["port", "protocol"] },
        "names": { "type": "array", "items": { "type": "string" }, "x-kubernetes-list-type": "set" },
        "whole": { "type": "array", "items": { "type": "string" } },
        "free": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } } } });
    world.define(&definition(json!([version("v1", spec)]))).await;
    let path = "/apis/stable.example.com/v1/namespaces/default/crontabs/one";
    let tab = |spec: Value| {
        json!({ "apiVersion": "stable.example.com/v1", "kind": "CronTab",
            "metadata": { "name": "one" }, "spec": spec })
    };
    let one = json!({ "ports": [{ "port": 1, "name": "a" }], "names": ["a"], "whole": ["x"], "free": { "a": { "b": 1 } } });
    let made = apply(&world, path, "fieldManager=one", &tab(one)).await.expect(201);
    let own = r#"one Apply: .spec.free.a.b .spec.names["a"] .spec.ports[{"port":1,"protocol":"TCP"}] .spec.ports[{"port":1,"protocol":"TCP"}].name .spec.ports[{"port":1,"protocol":"TCP"}].port .spec.whole"#;
    let made = owners(&made);
    assert_eq!(made[0].replace(".spec.free.a .spec.free.a.b", ".spec.free.a.b"), own);
    let two = json!({ "ports": [{ "port": 2 }], "names": ["b"], "free": { "c": 1 } });
    let both = apply(&world, path, "fieldManager=two", &tab(two)).await.expect(200);
    assert_eq!(both["spec"]["names"], json!(["a", "b"]));
    assert_eq!(both["spec"]["ports"].as_array().unwrap().len(), 2);
    assert_eq!(both["spec"]["free"], json!({ "a": { "b": 1 }, "c": 1 }));
    let clash = tab(json!({ "whole": ["y"] }));
    let refused = apply(&world, path, "fieldManager=two", &clash).await.failure();
    assert_eq!(refused, "409 Conflict: Apply failed with 1 conflict: conflict with \"one\": .spec.whole");
    let unknown = apply(&world, path, "fieldManager=two", &tab(json!({ "nothing": 1 }))).await.failure();
    assert_eq!(
        unknown,
        "500 : failed to create typed patch object (/one; stable.example.com/v1, Kind=CronTab): .spec.nothing: field not declared in schema"
    );
    let gone = apply(&world, path, "fieldManager=one", &tab(json!({}))).await.expect(200);
    assert_eq!(gone["spec"]["names"], json!(["b"]));
    assert_eq!(gone["spec"]["whole"], Value::Null);
    let patch = json!({ "spec": { "whole": ["z"] } });
    let patched = world.patch(path, "merge-patch", &patch).await.expect(200);
    assert!(owners(&patched).contains(&"unknown Update: .spec.whole".to_owned()), "{:?}", owners(&patched));
}
