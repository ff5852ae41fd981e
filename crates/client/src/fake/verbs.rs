//! What each verb does to the state, as the real server's generic registry does it.

use super::route::{Query, Route};
use super::state::{State, key_of, list_body};
use super::{Fake, discovery, json_response, text, watch};
use crate::body::Body;
use crate::discovery::Resource;
use bytes::Bytes;
use gifee_base::{Reason, Status, clock};
use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;

impl Fake {
    pub(super) fn dispatch(
        self: &Arc<Self>,
        request: &http::Request<Bytes>,
    ) -> Result<http::Response<Body>, Status> {
        let path = request.uri().path();
        if path == "/api" || path == "/apis" {
            return Ok(json_response(200, &discovery(&self.state.lock().kinds, path == "/api")));
        }
        let route = Route::parse(path)?;
        let query = Query::parse(request.uri().query().unwrap_or_default())?;
        let mut state = self.state.lock();
        let kind = state.kinds.iter().find(|kind| kind.gvr == route.gvr).cloned();
        let kind = kind.ok_or_else(Status::no_such_path)?;
        let body = || -> Result<Value, Status> {
            serde_json::from_slice(request.body()).map_err(|error| Status::bad_request(error.to_string()))
        };
        let now = self.clock.now();
        let single = !route.key.name.is_empty();
        let (code, value) = match (request.method(), single) {
            (&Method::GET, true) => (200, state.found(&route.gvr, &route.key)?.clone()),
            (&Method::GET, false) if query.watch => {
                let stream = watch::open(self.clone(), &state, &route, query)?;
                return Ok(http::Response::new(stream));
            }
            (&Method::GET, false) => (200, list(&state, &kind, &route, &query)?),
            (&Method::POST, false) => (201, create(&mut state, &kind, &route, body()?, now)?),
            (&Method::POST, true) => (201, subresource(&mut state, &route, &body()?, now)?),
            (&Method::PUT, true) => (200, update(&mut state, &route, body()?, now)?),
            (&Method::PATCH, true) => {
                let content_type = request.headers().get(http::header::CONTENT_TYPE);
                let known = ["application/merge-patch+json", "application/strategic-merge-patch+json"];
                if content_type.is_none_or(|found| known.iter().all(|known| found != known)) {
                    return Err(Status::new(
                        Reason::UnsupportedMediaType,
                        "the fake knows only merge patches",
                    ));
                }
                (200, patch(&mut state, &route, &body()?, now)?)
            }
            (&Method::DELETE, true) => (200, delete(&mut state, &route, &body()?, now)?),
            (&Method::DELETE, false) => (200, delete_collection(&mut state, &route, &query, &body()?, now)?),
            _ => return Err(Status::new(Reason::MethodNotAllowed, "not allowed")),
        };
        self.grown.send_replace(state.revision);
        Ok(json_response(code, &value))
    }
}

fn list(state: &State, kind: &Resource, route: &Route, query: &Query) -> Result<Value, Status> {
    let after = query.continuation.as_deref().and_then(|token| token.split_once('/'));
    let mut items: Vec<Value> = state
        .list(&route.gvr, &route.key.namespace)
        .filter(|object| query.selects(object))
        .filter(|object| {
            let key = key_of(object);
            after.is_none_or(|after| (&*key.namespace, &*key.name) > after)
        })
        .cloned()
        .collect();
    let mut token = None;
    if query.limit > 0 && items.len() > query.limit {
        items.truncate(query.limit);
        token = items.last().map(|last| {
            let key = key_of(last);
            format!("{}/{}", key.namespace, key.name)
        });
    }
    Ok(list_body(kind, items, state.revision, token))
}

fn create(
    state: &mut State,
    kind: &Resource,
    route: &Route,
    mut object: Value,
    now: Timestamp,
) -> Result<Value, Status> {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    let metadata = &mut object["metadata"];
    if kind.namespaced {
        metadata["namespace"] = (*route.key.namespace).into();
    }
    if text(&metadata["name"]).is_empty() {
        let base = text(&metadata["generateName"]).to_owned();
        if base.is_empty() {
            return Err(Status::bad_request("name or generateName is required"));
        }
        metadata["name"] = state.generate(&base).into();
    }
    for field in ["uid", "resourceVersion", "creationTimestamp", "generation", "deletionTimestamp"] {
        if let Some(map) = metadata.as_object_mut() {
            map.remove(field);
        }
    }
    let key = key_of(&object);
    if state.get(&route.gvr, &key).is_some() {
        return Err(Status::already_exists(&route.gvr.group, &route.gvr.resource, &key.name));
    }
    object["apiVersion"] = kind.gvk.api_version().into();
    object["kind"] = (*kind.gvk.kind).into();
    match &*kind.gvk.kind {
        "Pod" => object["status"] = json!({ "phase": "Pending" }),
        "Namespace" => {
            object["spec"]["finalizers"] = json!(["kubernetes"]);
            object["status"] = json!({ "phase": "Active" });
        }
        "Node" => {}
        _ => {
            if let Some(map) = object.as_object_mut() {
                map.remove("status");
            }
        }
    }
    Ok(state.put(&route.gvr, object, now))
}

fn check_version(route: &Route, old: &Value, new: &Value) -> Result<(), Status> {
    let (group, resource, name) = (&route.gvr.group, &route.gvr.resource, &route.key.name);
    let differs = |field: &str| {
        let given = text(&new["metadata"][field]);
        !given.is_empty() && given != text(&old["metadata"][field])
    };
    if differs("uid") {
        return Err(Status::conflict(group, resource, name, "Precondition failed: UID in precondition"));
    }
    if differs("resourceVersion") {
        return Err(Status::stale(group, resource, name));
    }
    Ok(())
}

fn update(state: &mut State, route: &Route, new: Value, now: Timestamp) -> Result<Value, Status> {
    let old = state.found(&route.gvr, &route.key)?.clone();
    check_version(route, &old, &new)?;
    let mut next = match route.subresource.as_str() {
        "" => {
            let mut next = new;
            next["status"] = old["status"].clone();
            next
        }
        "status" => {
            let mut next = old.clone();
            next["status"] = new["status"].clone();
            next
        }
        "finalize" => {
            let mut next = old.clone();
            next["spec"]["finalizers"] = new["spec"]["finalizers"].clone();
            next
        }
        _ => return Err(Status::no_such_path()),
    };
    if next["status"].is_null()
        && let Some(map) = next.as_object_mut()
    {
        map.remove("status");
    }
    for field in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"]
    {
        match &old["metadata"][field] {
            Value::Null => {
                if let Some(map) = next["metadata"].as_object_mut() {
                    map.remove(field);
                }
            }
            kept => next["metadata"][field] = kept.clone(),
        }
    }
    if route.subresource.is_empty() && specification(&old) != specification(&next) {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or_default();
        next["metadata"]["generation"] = (generation + 1).into();
    }
    if removable(&next) {
        state.remove(&route.gvr, &route.key);
        return Ok(next);
    }
    Ok(state.put(&route.gvr, next, now))
}

/// All that raises the generation when it changes.
fn specification(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(map) = object.as_object_mut() {
        map.remove("metadata");
        map.remove("status");
    }
    object
}

/// Whether an object that is being deleted has nothing left to wait for.
fn removable(object: &Value) -> bool {
    let metadata = &object["metadata"];
    let empty = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
    !metadata["deletionTimestamp"].is_null()
        && empty(&metadata["finalizers"])
        && metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or_default() == 0
        && (object["kind"] != "Namespace" || empty(&object["spec"]["finalizers"]))
}

fn patch(state: &mut State, route: &Route, patch: &Value, now: Timestamp) -> Result<Value, Status> {
    let old = state.found(&route.gvr, &route.key)?.clone();
    check_version(route, &old, patch)?;
    let mut new = old;
    merge(&mut new, patch);
    update(state, route, new, now)
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Some(map) = target.as_object_mut() else { return };
    for (key, change) in changes {
        if let Some(list) = key.strip_prefix("$deleteFromPrimitiveList/") {
            if let Some(list) = map.get_mut(list).and_then(Value::as_array_mut) {
                list.retain(|one| change.as_array().is_none_or(|gone| !gone.contains(one)));
            }
        } else if change.is_null() {
            map.remove(key);
        } else if let Some(list) = change.as_array() {
            merge_list(map.entry(key.as_str()).or_insert(Value::Null), key, list);
        } else {
            merge(map.entry(key.as_str()).or_insert(Value::Null), change);
        }
    }
}

/// A list replaces the old one, but conditions merge by type, as they do strategically.
fn merge_list(target: &mut Value, name: &str, list: &[Value]) {
    let replaces = list.first().is_some_and(|first| first["$patch"] == "replace");
    let list: Vec<Value> = list.iter().skip(usize::from(replaces)).cloned().collect();
    let mut merged = match target.as_array() {
        Some(old) if name == "conditions" && !replaces => old.clone(),
        _ => Vec::new(),
    };
    for one in list {
        match merged.iter_mut().find(|old| name == "conditions" && old["type"] == one["type"]) {
            Some(old) => merge(old, &one),
            None => merged.push(one),
        }
    }
    *target = merged.into();
}

fn subresource(state: &mut State, route: &Route, body: &Value, now: Timestamp) -> Result<Value, Status> {
    match (&*route.gvr.resource, route.subresource.as_str()) {
        ("pods", "binding") => {
            let mut pod = state.found(&route.gvr, &route.key)?.clone();
            let uid = text(&body["metadata"]["uid"]);
            let name = &route.key.name;
            if !uid.is_empty() && uid != text(&pod["metadata"]["uid"]) {
                return Err(Status::conflict("", "pods/binding", name, "the pod was replaced"));
            }
            let node = text(&pod["spec"]["nodeName"]);
            if !node.is_empty() {
                let why = format!("pod {name} is already assigned to node \"{node}\"");
                return Err(Status::conflict("", "pods/binding", name, &why));
            }
            pod["spec"]["nodeName"] = body["target"]["name"].clone();
            let condition = json!({
                "type": "PodScheduled", "status": "True", "lastTransitionTime": clock::format_time(now),
            });
            let mut conditions: Vec<Value> =
                pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.retain(|one| one["type"] != "PodScheduled");
            conditions.push(condition);
            pod["status"]["conditions"] = conditions.into();
            state.put(&route.gvr, pod, now);
        }
        ("pods", "eviction") => {
            delete(state, route, &body["deleteOptions"], now)?;
        }
        _ => return Err(Status::no_such_path()),
    }
    Ok(json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success" }))
}

fn delete(state: &mut State, route: &Route, options: &Value, now: Timestamp) -> Result<Value, Status> {
    let mut object = state.found(&route.gvr, &route.key)?.clone();
    check_version(route, &object, &json!({ "metadata": options["preconditions"] }))?;
    let mut finalizers: Vec<Value> = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let finalizer = match text(&options["propagationPolicy"]) {
        "Orphan" => Some("orphan"),
        "Foreground" => Some("foregroundDeletion"),
        _ => None,
    };
    if let Some(finalizer) = finalizer
        && !finalizers.iter().any(|one| one == finalizer)
    {
        finalizers.push(finalizer.into());
    }
    if !finalizers.is_empty() {
        object["metadata"]["finalizers"] = finalizers.into();
    }
    let asked = options["gracePeriodSeconds"].as_i64();
    let grace = match object["kind"].as_str() {
        Some("Pod") => grace(&object, asked),
        _ => 0,
    };
    let earlier = object["metadata"]["deletionGracePeriodSeconds"].as_i64();
    if object["metadata"]["deletionTimestamp"].is_null() || earlier.is_some_and(|earlier| grace < earlier) {
        let at = now.checked_add(SignedDuration::from_secs(grace)).unwrap_or(now);
        object["metadata"]["deletionTimestamp"] = clock::format_time(at).into();
        object["metadata"]["deletionGracePeriodSeconds"] = grace.into();
        let generation = object["metadata"]["generation"].as_i64().unwrap_or_default();
        object["metadata"]["generation"] = (generation + 1).into();
    }
    if object["kind"] == "Namespace" {
        object["status"]["phase"] = "Terminating".into();
    }
    if removable(&object) {
        state.remove(&route.gvr, &route.key);
        return Ok(json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": { "name": &*route.key.name, "uid": object["metadata"]["uid"] },
        }));
    }
    Ok(state.put(&route.gvr, object, now))
}

fn grace(pod: &Value, asked: Option<i64>) -> i64 {
    let unbound = text(&pod["spec"]["nodeName"]).is_empty();
    let ended = matches!(text(&pod["status"]["phase"]), "Succeeded" | "Failed");
    if unbound || ended {
        return 0;
    }
    asked.or(pod["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(30)
}

fn delete_collection(
    state: &mut State,
    route: &Route,
    query: &Query,
    options: &Value,
    now: Timestamp,
) -> Result<Value, Status> {
    let objects = state.list(&route.gvr, &route.key.namespace).filter(|object| query.selects(object));
    let keys: Vec<_> = objects.map(key_of).collect();
    for key in keys {
        let route = Route { gvr: route.gvr.clone(), key, subresource: String::new() };
        delete(state, &route, options, now)?;
    }
    Ok(json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success" }))
}
