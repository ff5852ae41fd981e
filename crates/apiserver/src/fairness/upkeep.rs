//! Keeps fairness at what the objects say, the objects at what they must be, and seats where they are wanted.
//!
//! Invariant: it writes as any client would, through the pipeline, and what it has written gives it nothing to write.
//! Answers to `apf_controller.go` and to kube-apiserver's `flowcontrol/ensurer`.

use super::objects::{self, AUTOUPDATE, MANDATORY};
use crate::body::Body;
use crate::cache::{Cache, Caches, Filter, Next, Subscription};
use crate::server::Server;
use futures_util::future::poll_fn;
use gifee_base::clock::format_time;
use gifee_base::{FieldSelector, LabelSelector};
use gifee_policy::User;
use http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::MissedTickBehavior;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const SCHEMAS: &str = "flowschemas";
const LEVELS: &str = "prioritylevelconfigurations";
/// How often seats move between levels, and objects that could not be written are tried again; upstream's figure.
const INTERVAL: Duration = Duration::from_secs(10);

/// Runs until the server stops. `keep` says whether objects are made and kept.
pub async fn run(server: Weak<Server>, keep: bool) {
    let (stop, caches) = match server.upgrade() {
        Some(server) => (server.stopping(), server.caches.clone()),
        None => return,
    };
    let both = [SCHEMAS, LEVELS].map(|resource| caches.find(GROUP, resource));
    let [Some(schemas), Some(levels)] = both else { return };
    let mut watches = [follow(&caches, &schemas), follow(&caches, &levels)];
    let mut tick = tokio::time::interval(INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut changed = true;
    loop {
        {
            let Some(server) = server.upgrade() else { return };
            if changed {
                server.fairness.adopt(&all(&schemas), &all(&levels));
            }
            if keep {
                maintain(&server, &schemas, &levels).await;
            }
        }
        changed = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = event(&caches, &mut watches, [&schemas, &levels]) => true,
            _ = tick.tick() => {
                let Some(server) = server.upgrade() else { return };
                server.fairness.allot();
                false
            }
        };
    }
}

/// What happens from now on.
fn follow(caches: &Caches, cache: &Arc<Cache>) -> Option<Subscription> {
    let now = caches.progress();
    let filter = Filter::new(
        &cache.fields,
        false,
        "",
        None,
        LabelSelector::everything(),
        &FieldSelector::everything(),
    );
    let filter = Arc::new(filter.ok()?);
    cache.subscribe(&filter, now, false).ok()
}

/// Waits until something changes. A watch that cannot go on begins anew, and what it missed is read anyway.
async fn event(all: &Caches, watches: &mut [Option<Subscription>; 2], caches: [&Arc<Cache>; 2]) {
    let broken = poll_fn(|context| {
        for (index, watch) in watches.iter_mut().enumerate() {
            let Some(watch) = watch else { continue };
            match watch.poll_next(context) {
                std::task::Poll::Ready(Next::Event(..) | Next::Bookmark(_)) => {
                    return std::task::Poll::Ready(None);
                }
                std::task::Poll::Ready(_) => return std::task::Poll::Ready(Some(index)),
                std::task::Poll::Pending => {}
            }
        }
        std::task::Poll::Pending
    })
    .await;
    if let Some(index) = broken {
        watches[index] = follow(all, caches[index]);
    }
}

fn all(cache: &Cache) -> Vec<Value> {
    let snapshot = cache.snapshot();
    snapshot.objects.values().filter_map(|entry| entry.object.to_value().ok()).collect()
}

/// Makes what is missing, mends what must be as it was made, and says which schemas have no level.
async fn maintain(server: &Arc<Server>, schemas: &Cache, levels: &Cache) {
    for (resource, cache, wanted) in
        [(LEVELS, levels, objects::levels()), (SCHEMAS, schemas, objects::schemas())]
    {
        for object in wanted {
            ensure(server, resource, cache, object).await;
        }
    }
    let names: Vec<String> =
        all(levels).iter().map(|level| text(level, "/metadata/name").to_owned()).collect();
    for schema in all(schemas) {
        condition(server, &schema, &names).await;
    }
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

async fn ensure(server: &Arc<Server>, resource: &str, cache: &Cache, wanted: Value) {
    let name = text(&wanted, "/metadata/name").to_owned();
    let Some(entry) = cache.get(name.as_bytes()) else {
        return send(server, Method::POST, resource, "", &wanted).await;
    };
    let Ok(mut object) = entry.object.to_value() else { return };
    let kept = match object["metadata"]["annotations"][AUTOUPDATE].as_str() {
        _ if MANDATORY.contains(&name.as_str()) => true,
        Some(kept) => kept == "true",
        // Nobody has touched it since it was made.
        None => entry.object.generation() == 1,
    };
    if object["metadata"]["deletionTimestamp"].is_string() {
        return;
    }
    let word = if kept { "true" } else { "false" };
    let marked = object["metadata"]["annotations"][AUTOUPDATE] == word;
    if marked && (!kept || object["spec"] == wanted["spec"]) {
        return;
    }
    if !object["metadata"]["annotations"].is_object() {
        object["metadata"]["annotations"] = json!({});
    }
    object["metadata"]["annotations"][AUTOUPDATE] = word.into();
    if kept {
        object["spec"] = wanted["spec"].clone();
    }
    send(server, Method::PUT, resource, &name, &object).await;
}

/// Says whether the level of a schema is there.
async fn condition(server: &Arc<Server>, schema: &Value, levels: &[String]) {
    let level = text(schema, "/spec/priorityLevelConfiguration/name");
    let (status, reason, rest) = if levels.iter().any(|name| name == level) {
        ("False", "Found", "and it exists")
    } else {
        ("True", "NotFound", "but there is no such object")
    };
    let message =
        format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?} {rest}");
    let mut conditions: Vec<Value> = schema["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let old = conditions.iter().position(|one| one["type"] == "Dangling");
    let same = old.is_some_and(|at| {
        let old = &conditions[at];
        old["status"] == status && old["reason"] == reason && old["message"] == message.as_str()
    });
    if same {
        return;
    }
    let now = format_time(server.config.clock.now());
    let new = json!({ "type": "Dangling", "status": status, "lastTransitionTime": now,
        "reason": reason, "message": message });
    match old {
        Some(at) => conditions[at] = new,
        None => conditions.push(new),
    }
    let patch = json!({ "status": { "conditions": conditions } });
    let name = format!("{}/status", text(schema, "/metadata/name"));
    send(server, Method::PATCH, SCHEMAS, &name, &patch).await;
}

/// A request as the server itself; what fails is tried again later.
async fn send(server: &Arc<Server>, method: Method, resource: &str, name: &str, body: &Value) {
    let user = User {
        name: "system:apiserver".into(),
        groups: vec!["system:masters".into(), "system:authenticated".into()],
        ..User::default()
    };
    let content = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let slash = if name.is_empty() { "" } else { "/" };
    let manager = "fieldManager=api-priority-and-fairness-config-producer-v1";
    let request = Request::builder()
        .uri(format!("/apis/{GROUP}/v1/{resource}{slash}{name}?{manager}"))
        .header("content-type", content)
        .method(method)
        .body(Body::from(body.to_string()));
    // Names were checked when the objects were made.
    let Ok(request) = request else { return };
    let response = server.handle(Some(Arc::new(user)), request).await;
    let code = response.status().as_u16();
    if code >= 400 && code != 409 && code != 404 {
        let text = response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        tracing::warn!(resource, name, code, answer = %String::from_utf8_lossy(&text), "an object of fairness could not be written");
    }
}
