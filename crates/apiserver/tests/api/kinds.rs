//! Every row of KINDS through every verb, with the example object of its kind.

use crate::world::World;
use gifee_registry::Kind;
use gifee_registry::kind::{Scope, Verb};
use serde_json::{Value, json};
use std::path::PathBuf;

pub fn example(kind: &Kind) -> String {
    let group = if kind.gvk.group.is_empty() { "core" } else { &kind.gvk.group };
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../registry/examples").join(group);
    let file = format!("{}.yaml", kind.gvk.kind.to_lowercase());
    let own = folder.join(&*kind.gvk.version).join(&file);
    let path = if own.exists() { own } else { folder.join(file) };
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Drives one kind; the error says which step fails and how.
async fn drive(kind: &Kind) -> Result<(), String> {
    let world = World::new().await;
    let text = example(kind);
    let tree = gifee_schema::parse::yaml(text.as_bytes()).unwrap().value;
    let root = if kind.gvk.group.is_empty() {
        "/api/v1".into()
    } else {
        format!("/apis/{}", kind.gvk.api_version())
    };
    let namespace = tree["metadata"]["namespace"].as_str().unwrap_or("default");
    let base = match kind.scope {
        Scope::Namespaced => format!("{root}/namespaces/{namespace}/{}", kind.resource),
        Scope::Cluster => format!("{root}/{}", kind.resource),
    };
    let step = |name: &str, answer: crate::world::Answer, code: u16| {
        if answer.code == code {
            Ok(answer.json())
        } else {
            Err(format!("{name}: {}", String::from_utf8_lossy(&answer.bytes)))
        }
    };
    let request = http::Request::post(format!("{base}?fieldValidation=Strict"))
        .header("content-type", "application/yaml");
    let made = world.send(request.body(text.into()).unwrap()).await;
    let made = step("create", made, 201)?;
    let name = made["metadata"]["name"].as_str().unwrap();
    let path = format!("{base}/{name}");
    // The server itself goes on with a definition until it is established.
    let made = match &*kind.gvk.kind {
        "CustomResourceDefinition" => world.until(&base, name, super::custom::established).await,
        _ => made,
    };
    let name = made["metadata"]["name"].as_str().unwrap();
    if step("get", world.get(&path).await, 200)? != made {
        return Err("get shows something else than create did".into());
    }
    let list = step("list", world.get(&base).await, 200)?;
    let found = list["items"].as_array().unwrap().contains(&made);
    if list["kind"] != *kind.list_kind || !found {
        return Err(format!("list: {list}"));
    }
    let table = ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let table = step("table", world.call(&format!("GET {path}"), &Value::Null, &[table]).await, 200)?;
    if table["rows"][0]["cells"].as_array().unwrap().len()
        != table["columnDefinitions"].as_array().unwrap().len()
    {
        return Err(format!("table: {table}"));
    }
    let put = step("put of the same", world.put(&path, &made).await, 200)?;
    if put["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"] {
        return Err(format!("a PUT without a change writes:\n{made}\n{put}"));
    }
    let label = json!({ "metadata": { "labels": { "touched": "yes" } } });
    let patched = step("merge patch", world.patch(&path, "merge-patch", &label).await, 200)?;
    // Of EndpointSlices labels are wanted as much as the rest is.
    let counts = &*kind.gvk.kind == "EndpointSlice";
    let counted = patched["metadata"]["generation"] != made["metadata"]["generation"];
    if patched["metadata"]["labels"]["touched"] != "yes" || counted != counts {
        return Err(format!("merge patch: {patched}"));
    }
    let strategic = json!({ "metadata": { "annotations": { "touched": "yes" } } });
    step("strategic patch", world.patch(&path, "strategic-merge-patch", &strategic).await, 200)?;
    for part in kind.subresources.iter().filter(|part| part.verbs.contains(&Verb::Get) && part.gvk.is_none())
    {
        if part.action == gifee_registry::kind::Action::Part {
            step(&part.name, world.get(&format!("{path}/{}", part.name)).await, 200)?;
            let same = json!({ "metadata": {} });
            step(&part.name, world.patch(&format!("{path}/{}", part.name), "merge-patch", &same).await, 200)?;
        }
    }
    let mut watch = world.watch(&format!("{base}?watch=1")).await;
    if !watch.take(list["items"].as_array().unwrap().len()).await.contains(&format!("ADDED {name}")) {
        return Err("watch".into());
    }
    let gone = world.call(&format!("DELETE {path}"), &json!({ "gracePeriodSeconds": 0 }), &[]).await;
    step("delete", gone, 200)?;
    if world.get(&path).await.code == 200 {
        // What is left is held by a finalizer or by its namespace's.
        let left = world.get(&path).await.json();
        let held = left["metadata"]["finalizers"].is_array() || left["spec"]["finalizers"].is_array();
        if !left["metadata"]["deletionTimestamp"].is_string() || !held {
            return Err(format!("delete: {left}"));
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_kind_lives_by_the_same_rules() {
    let mut failures = Vec::new();
    for kind in gifee_registry::kinds(&gifee_registry::Settings::default()) {
        if kind.stored
            && let Err(failure) = drive(&kind).await
        {
            failures.push(format!("{}: {failure}", kind.gvk));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
