//! Objects of any kind: made in numbers, applied, changed, scaled, deleted.

use super::stage::AT_ONCE;
use super::template::Template;
use super::{Outcome, Stage, Step, apart};
use crate::error::{Error, Result, While};
use crate::workload::{Reading, decode, documents};
use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use gifee_base::{LabelSelector, ObjectKey};
use gifee_client::{
    Client, DeleteOptions, Event, ListOptions, PatchKind, Propagation, Request, Resource, WatchOptions,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

const TIMEOUT_SECONDS: u64 = 600;
const MANAGER: &str = "gifee-simulate";

fn seconds() -> u64 {
    TIMEOUT_SECONDS
}

fn default_namespace() -> String {
    "default".into()
}

/// Adds namespaces.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Namespaces {
    prefix: String,
    #[serde(default = "one")]
    count: usize,
}

fn one() -> usize {
    1
}

#[async_trait]
impl Step for Namespaces {
    async fn run(&self, stage: &Stage) -> Result<Outcome> {
        let first = stage.numbers(&format!("namespaces/{}", self.prefix), self.count);
        stream::iter(first..first + self.count)
            .map(|number| async move { stage.namespace(&format!("{}-{number}", self.prefix)).await })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        Ok(Outcome::of(self.count))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CreateFields {
    #[serde(default = "one")]
    count: usize,
    #[serde(default = "default_namespace")]
    namespace: String,
    #[serde(default)]
    template: Option<Value>,
    #[serde(default)]
    template_path: Option<String>,
}

struct Create {
    fields: CreateFields,
    object: Value,
}

/// Reads `createAny`.
pub fn create(fields: Value, reading: &Reading<'_>) -> Result<Box<dyn Step>> {
    let mut fields: CreateFields = decode(fields, &reading.path)?;
    let template = reading.template(fields.template.take(), fields.template_path.as_deref())?;
    let Some(object) = template else {
        return Err(Error::field(reading.field("template"), "required, here or as templatePath"));
    };
    for field in ["apiVersion", "kind"] {
        if !object[field].is_string() {
            return Err(Error::field(reading.field(&format!("template.{field}")), "required"));
        }
    }
    Ok(Box::new(Create { fields, object }))
}

#[async_trait]
impl Step for Create {
    async fn run(&self, stage: &Stage) -> Result<Outcome> {
        let CreateFields { count, namespace, .. } = &self.fields;
        let resource = stage.resource(&self.object).await?;
        let namespace = if resource.namespaced { namespace.as_str() } else { "" };
        if !namespace.is_empty() {
            stage.namespace(namespace).await?;
        }
        let template = Template::new(self.object.clone(), &resource.singular);
        let first = stage.numbers(&format!("{}/{namespace}", resource.gvr), *count);
        let (resource, template) = (&resource, &template);
        stream::iter(first..first + count)
            .map(|number| async move {
                let made = stage.client.create(&resource.gvr, namespace, template.write(number)).await;
                made.map(drop).while_doing(|| format!("creating {} {number}", resource.singular))
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        Ok(Outcome::of(*count))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ApplyFields {
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    objects: Vec<Value>,
    #[serde(default = "default_namespace")]
    namespace: String,
}

struct Apply {
    objects: Vec<Value>,
    namespace: String,
}

/// Reads `apply`.
pub fn apply(fields: Value, reading: &Reading<'_>) -> Result<Box<dyn Step>> {
    let ApplyFields { path, mut objects, namespace } = decode(fields, &reading.path)?;
    if let Some(path) = path {
        objects.extend(documents(&reading.file(&path))?);
    }
    if objects.is_empty() {
        return Err(Error::field(reading.field("path"), "required: a file with objects, or objects"));
    }
    Ok(Box::new(Apply { objects, namespace }))
}

#[async_trait]
impl Step for Apply {
    async fn run(&self, stage: &Stage) -> Result<Outcome> {
        for object in &self.objects {
            let resource = stage.resource(object).await?;
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let own = object["metadata"]["namespace"].as_str().unwrap_or(&self.namespace);
            let key = if resource.namespaced { ObjectKey::new(own, name) } else { ObjectKey::cluster(name) };
            if resource.namespaced {
                stage.namespace(own).await?;
            }
            apply_one(&stage.client, &resource, &key, object).await?;
        }
        Ok(Outcome { question: true, ..Outcome::of(self.objects.len()) })
    }
}

async fn apply_one(client: &Client, resource: &Resource, key: &ObjectKey, object: &Value) -> Result<()> {
    let mut object = object.clone();
    // What a server wrote is not anybody's wish.
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in ["managedFields", "resourceVersion", "uid", "creationTimestamp", "generation"] {
            metadata.remove(field);
        }
    }
    let request = Request::object(http::Method::PATCH, &resource.gvr, key)
        .query("fieldManager", MANAGER)
        .query("force", "true")
        .payload(PatchKind::Apply.content_type(), object);
    client.object(&request).await.map(drop).while_doing(|| format!("applying {} {key}", resource.singular))
}

/// Which objects are meant.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Chosen {
    kind: String,
    #[serde(default = "default_namespace")]
    namespace: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    label_selector: String,
}

impl Chosen {
    async fn find(&self, stage: &Stage) -> Result<(Resource, Vec<ObjectKey>)> {
        let resource = stage.named(&self.kind).await?;
        let namespace = if resource.namespaced { self.namespace.as_str() } else { "" };
        if !self.name.is_empty() {
            return Ok((resource, vec![ObjectKey::new(namespace, &self.name)]));
        }
        let labels = LabelSelector::parse(&self.label_selector);
        let labels = labels.map_err(|error| Error::field("labelSelector", error))?;
        let options = ListOptions { labels, metadata_only: true, ..ListOptions::default() };
        let listed = stage.client.list_all(&resource.gvr, namespace, &options).await;
        let listed = listed.while_doing(|| format!("listing {}", resource.gvr))?;
        Ok((resource, listed.items.iter().map(gifee_base::Object::key).collect()))
    }
}

/// Changes objects by a merge patch.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PatchFields {
    patch: Value,
}

struct Patch {
    own: PatchFields,
    chosen: Chosen,
}

/// Reads `patch`.
pub fn patch(fields: Value, reading: &Reading<'_>) -> Result<Box<dyn Step>> {
    let (own, chosen) = apart(fields, reading, &["patch"])?;
    Ok(Box::new(Patch { own, chosen }))
}

#[async_trait]
impl Step for Patch {
    async fn run(&self, stage: &Stage) -> Result<Outcome> {
        let (resource, keys) = self.chosen.find(stage).await?;
        let (resource, count) = (&resource, keys.len());
        stream::iter(keys)
            .map(|key| async move {
                let patched =
                    stage.client.patch(&resource.gvr, &key, PatchKind::Merge, &self.own.patch).await;
                patched.map(drop).while_doing(|| format!("patching {} {key}", resource.singular))
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        Ok(Outcome { question: true, ..Outcome::of(count) })
    }
}

/// Sets replicas.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ScaleFields {
    replicas: u32,
}

struct Scale {
    own: ScaleFields,
    chosen: Chosen,
}

/// Reads `scale`.
pub fn scale(fields: Value, reading: &Reading<'_>) -> Result<Box<dyn Step>> {
    let (own, chosen) = apart(fields, reading, &["replicas"])?;
    Ok(Box::new(Scale { own, chosen }))
}

#[async_trait]
impl Step for Scale {
    async fn run(&self, stage: &Stage) -> Result<Outcome> {
        let (resource, keys) = self.chosen.find(stage).await?;
        for key in &keys {
            let body = json!({ "spec": { "replicas": self.own.replicas } });
            let request = Request::object(http::Method::PATCH, &resource.gvr, key)
                .segment("scale")
                .payload(PatchKind::Merge.content_type(), body);
            let scaled = stage.client.value(&request).await;
            scaled.map(drop).while_doing(|| format!("scaling {} {key}", resource.singular))?;
        }
        Ok(Outcome { question: true, ..Outcome::of(keys.len()) })
    }
}

/// Deletes objects, and waits until they and what they own of pods are gone.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct DeleteFields {
    #[serde(default = "seconds")]
    timeout_seconds: u64,
}

struct Delete {
    own: DeleteFields,
    chosen: Chosen,
}

/// Reads `delete`.
pub fn delete(fields: Value, reading: &Reading<'_>) -> Result<Box<dyn Step>> {
    let (own, chosen) = apart(fields, reading, &["timeoutSeconds"])?;
    Ok(Box::new(Delete { own, chosen }))
}

#[async_trait]
impl Step for Delete {
    async fn run(&self, stage: &Stage) -> Result<Outcome> {
        let (resource, keys) = self.chosen.find(stage).await?;
        let namespace = keys.first().map(|key| key.namespace.to_string()).unwrap_or_default();
        let options = WatchOptions { send_initial_events: true, bookmarks: true, ..WatchOptions::default() };
        let watch = stage.client.watch(&resource.gvr, &namespace, &options).await;
        let mut watch = watch.while_doing(|| format!("watching {}", resource.gvr))?;
        let options =
            DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
        for key in &keys {
            match stage.client.delete(&resource.gvr, key, &options).await {
                Err(error) if !error.is_not_found() => {
                    return Err(Error::Call {
                        what: format!("deleting {} {key}", resource.singular),
                        source: error,
                    });
                }
                _ => {}
            }
        }
        let mut left: std::collections::HashSet<ObjectKey> = keys.iter().cloned().collect();
        let gone = async {
            // One that was gone before the watch began never shows.
            let mut shown = std::collections::HashSet::new();
            while !left.is_empty() {
                match watch.next().await {
                    Some(Ok(Event::Added(object) | Event::Modified(object))) => {
                        shown.insert(object.key());
                    }
                    Some(Ok(Event::Deleted(object))) => {
                        left.remove(&object.key());
                    }
                    Some(Ok(Event::Bookmark { initial_events_end: true, .. })) => {
                        left.retain(|key| shown.contains(key));
                    }
                    Some(Ok(Event::Bookmark { .. })) => {}
                    Some(Err(source)) => {
                        return Err(Error::Call { what: "watching what is deleted".into(), source });
                    }
                    None => return Ok(()),
                }
            }
            Ok(())
        };
        let timeout = Duration::from_secs(self.own.timeout_seconds);
        let what = || format!("{} to be gone", resource.gvr.resource);
        tokio::time::timeout(timeout, gone)
            .await
            .map_err(|_| Error::Time { what: what(), seconds: timeout.as_secs() })??;
        Ok(Outcome { question: true, ..Outcome::of(keys.len()) })
    }
}
