//! The scale subresource: autoscaling/v1 Scale as a view of an object's replicas.

use super::body::decode;
use super::patch::Patch;
use super::update::{named, update_object};
use super::{Write, managed, metadata};
use crate::body::Body;
use crate::kinds::Resource;
use crate::negotiate::{Accept, Offer};
use crate::read::newest;
use crate::render::present;
use crate::request::Request;
use crate::respond;
use gifee_base::field::{FieldError, Path};
use gifee_base::{Gvk, LabelSelector, Object, Status};
use gifee_registry::kind::Scale;
use gifee_schema::Schema;
use gifee_schema::apply::{from_scale, to_scale};
use http::Response;
use serde_json::{Map, Value, json};
use std::sync::Arc;

fn gvk() -> Gvk {
    Gvk::new("autoscaling", "v1", "Scale")
}

fn rule(resource: &Resource) -> Result<&Scale, Status> {
    resource.kind.scale.as_ref().ok_or_else(Status::no_such_path)
}

fn at<'a>(value: &'a Value, path: &[Arc<str>]) -> &'a Value {
    path.iter().fold(value, |value, part| &value[&**part])
}

fn set(value: &mut Value, path: &[Arc<str>], new: Value) {
    let mut place = value;
    for part in path {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[&**part];
    }
    *place = new;
}

/// The text of a selector in any of its three forms.
fn selector_text(selector: &Value) -> String {
    match selector {
        Value::String(text) => text.clone(),
        Value::Object(map) if map.contains_key("matchLabels") || map.contains_key("matchExpressions") => {
            LabelSelector::from_value(selector).map(|selector| selector.to_string()).unwrap_or_default()
        }
        Value::Object(map) => {
            let pairs = map.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)));
            LabelSelector::from_pairs(pairs).to_string()
        }
        _ => String::new(),
    }
}

/// The scale of an object, at a resource version.
fn scale_of(rule: &Scale, object: &Value, resource_version: &str) -> Value {
    let source = &object["metadata"];
    let mut metadata = Map::new();
    for field in ["name", "namespace", "uid", "creationTimestamp"] {
        if !source[field].is_null() {
            metadata.insert(field.into(), source[field].clone());
        }
    }
    if !resource_version.is_empty() {
        metadata.insert("resourceVersion".into(), resource_version.into());
    }
    let replicas = at(object, &rule.spec_replicas).as_i64().unwrap_or_default();
    let mut spec = json!({});
    if replicas != 0 {
        spec["replicas"] = replicas.into();
    }
    let mut status = json!({ "replicas": at(object, &rule.status_replicas).as_i64().unwrap_or_default() });
    if let Some(path) = &rule.selector {
        let text = selector_text(at(object, path));
        if !text.is_empty() {
            status["selector"] = text.into();
        }
    }
    json!({ "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status })
}

/// The Scale that admission is shown in place of an object.
pub fn shown(resource: &Resource, object: &Value) -> Option<Value> {
    let rule = resource.kind.scale.as_ref().filter(|_| object.is_object())?;
    Some(scale_of(rule, object, metadata::text(object, "resourceVersion")))
}

/// What admission made of a Scale, put into the object.
pub fn put_back(resource: &Resource, object: &mut Value, scale: &Value) {
    if let (Some(rule), Some(replicas)) = (&resource.kind.scale, scale["spec"]["replicas"].as_i64()) {
        set(object, &rule.spec_replicas, replicas.into());
    }
}

fn respond_scale(resource: &Resource, accept: &Accept, object: &Object) -> Result<Response<Body>, Status> {
    let value = present(resource, object.to_value().map_err(Status::internal)?);
    let scale = scale_of(rule(resource)?, &value, &object.revision().to_string());
    Ok(respond::value(200, accept, &scale))
}

/// Answers a get of a scale.
pub async fn get_scale(request: &Request<'_>, resource: &Arc<Resource>) -> Result<Response<Body>, Status> {
    let accept = request.accept(Offer::Objects)?;
    let cache = resource.cache.as_ref().ok_or_else(Status::no_such_path)?;
    let namespace = request.info.namespace_of(resource);
    let object = newest(request.server, cache, namespace, &request.info.name).await?;
    let object = object.ok_or_else(|| request.not_found(resource, &request.info.name))?;
    let object = resource.shown(&request.server.outbound, object).await?;
    respond_scale(resource, &accept, &object)
}

/// Answers a PUT of a scale.
pub async fn put_scale(
    request: &Request<'_>,
    resource: &Arc<Resource>,
    body: Body,
) -> Result<Response<Body>, Status> {
    let schema = (request.server.config.schemas)(&gvk());
    let scale = decode(request, body, &gvk(), schema.as_ref()).await?.value;
    change(request, resource, schema.as_ref(), Sent::Whole(scale)).await
}

/// Answers a PATCH of a scale.
pub async fn patch_scale(
    request: &Request<'_>,
    resource: &Arc<Resource>,
    body: Body,
) -> Result<Response<Body>, Status> {
    let schema = (request.server.config.schemas)(&gvk());
    let patch = Patch::read(request, body, schema.is_some()).await?;
    change(request, resource, schema.as_ref(), Sent::Patch(patch)).await
}

/// What a client sent.
enum Sent {
    Whole(Value),
    Patch(Patch),
}

async fn change(
    request: &Request<'_>,
    resource: &Arc<Resource>,
    schema: Option<&Schema>,
    sent: Sent,
) -> Result<Response<Body>, Status> {
    let accept = request.accept(Offer::Objects)?;
    let gvk = gvk();
    let mut write = Write::new(request, resource, "scale")?;
    let options: &'static Value = match &sent {
        Sent::Whole(_) => &super::UPDATE_OPTIONS,
        Sent::Patch(_) => &super::PATCH_OPTIONS,
    };
    write.options = super::options_of(request, options);
    write.applies = true;
    write.subject = Some((&gvk, schema));
    let rule = rule(resource)?;
    let namespace = request.info.namespace_of(resource);
    let name = &*request.info.name;
    let replicas: Vec<&str> = rule.spec_replicas.iter().map(|part| &**part).collect();
    let (mut first, writing) = (true, &write);
    let mut edit = |old: &Value| {
        let mut before = scale_of(rule, old, metadata::text(old, "resourceVersion"));
        managed::put(&mut before, to_scale(managed::text(old), &replicas).map(Value::String));
        let mut scale = match &sent {
            Sent::Whole(scale) => scale.clone(),
            Sent::Patch(patch) => patch.apply(writing, &gvk, schema, &before, std::mem::take(&mut first))?,
        };
        named(&scale, name, namespace)?;
        let count = scale["spec"]["replicas"].as_i64().unwrap_or_default();
        if count < 0 {
            let root = Path::root("spec");
            let path = root.child("replicas");
            let error = FieldError::invalid(&path, count, "must be greater than or equal to 0");
            return Err(Status::invalid("autoscaling", "Scale", name, &[error]));
        }
        if !matches!(&sent, Sent::Patch(patch) if patch.applies()) {
            writing.own_scale(&mut scale, &before);
        }
        let mut new = old.clone();
        set(&mut new, &rule.spec_replicas, count.into());
        let (whole, part) = (managed::text(old), managed::text(&scale));
        let managed = from_scale(whole, part, &replicas, &resource.api_version);
        managed::take(&mut new);
        managed::put(&mut new, managed.map(Value::String));
        let metadata = metadata::of(&mut new);
        for field in ["resourceVersion", "uid"] {
            match &scale["metadata"][field] {
                Value::String(text) => drop(metadata.insert(field.into(), text.as_str().into())),
                _ => drop(metadata.remove(field)),
            }
        }
        Ok(new)
    };
    let updated = update_object(&write, namespace, name, &mut edit, false).await?;
    respond_scale(resource, &accept, &updated.object)
}
