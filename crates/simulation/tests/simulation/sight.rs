//! What is seen of some objects from a moment on: each of their states, in order, none left out.
//!
//! Invariant: a watch that breaks off goes on where it was. The deadline only bounds a hang; it is no measure of speed.

use futures_util::StreamExt;
use gifee_base::{FieldSelector, Gvr, LabelSelector, Object};
use gifee_client::{Client, Event, ListOptions, Watch, WatchOptions};
use serde_json::Value;
use std::panic::Location;
use std::time::Duration;

/// After which something is taken not to happen any more.
const DEADLINE: Duration = Duration::from_secs(300);

/// Which objects are looked at.
#[derive(Clone)]
pub struct Which {
    /// Resource.
    pub gvr: Gvr,
    /// Namespace; empty: all of them, or none.
    pub namespace: String,
    /// Those with these labels.
    pub labels: LabelSelector,
    /// Those with these fields.
    pub fields: FieldSelector,
}

impl Which {
    /// One object.
    pub fn named(gvr: Gvr, namespace: &str, name: &str) -> Self {
        let fields = FieldSelector::parse(&format!("metadata.name={name}")).unwrap();
        Self { gvr, namespace: namespace.to_owned(), labels: LabelSelector::default(), fields }
    }

    /// Objects with labels.
    pub fn labelled(gvr: Gvr, namespace: &str, labels: &str) -> Self {
        let labels = LabelSelector::parse(labels).unwrap();
        Self { gvr, namespace: namespace.to_owned(), labels, fields: FieldSelector::default() }
    }
}

/// Objects as they were last seen.
pub struct Sight {
    client: Client,
    which: Which,
    revision: String,
    /// The objects.
    pub objects: Vec<Value>,
    watch: Option<Watch>,
}

fn value(object: &Object) -> Value {
    object.to_value().unwrap()
}

impl Sight {
    /// Begins to look.
    pub async fn open(client: &Client, which: Which) -> Self {
        let mut sight =
            Self { client: client.clone(), which, revision: String::new(), objects: Vec::new(), watch: None };
        sight.list().await;
        sight
    }

    async fn list(&mut self) {
        let Which { gvr, namespace, labels, fields } = self.which.clone();
        let options = ListOptions { labels, fields, ..ListOptions::default() };
        let page = self.client.list_all(&gvr, &namespace, &options).await.unwrap();
        self.objects = page.items.iter().map(value).collect();
        self.revision = page.resource_version;
    }

    /// Waits for the next state.
    async fn next(&mut self) {
        loop {
            let Some(watch) = &mut self.watch else {
                let Which { gvr, namespace, labels, fields } = self.which.clone();
                let resource_version = Some(self.revision.clone());
                let options = WatchOptions { labels, fields, resource_version, ..WatchOptions::default() };
                match self.client.watch(&gvr, &namespace, &options).await {
                    Ok(watch) => self.watch = Some(watch),
                    Err(error) if error.is_expired() => return self.list().await,
                    Err(error) => panic!("{gvr}: {error}"),
                }
                continue;
            };
            let Some(Ok(event)) = watch.next().await else {
                self.watch = None;
                continue;
            };
            let (Event::Added(object) | Event::Modified(object) | Event::Deleted(object)) = &event else {
                continue;
            };
            self.revision = object.revision().to_string();
            let same = |one: &Value| {
                one["metadata"]["name"] == object.name()
                    && one["metadata"]["namespace"].as_str().unwrap_or_default() == object.namespace()
            };
            self.objects.retain(|one| !same(one));
            if !matches!(event, Event::Deleted(_)) {
                self.objects.push(value(object));
            }
            return;
        }
    }

    /// Waits until the objects are as wanted. Every state is looked at, so what holds of each can be asserted in `wanted`.
    #[track_caller]
    pub fn until<'a>(
        &'a mut self,
        wanted: impl Fn(&[Value]) -> bool + 'a,
    ) -> impl Future<Output = Vec<Value>> + 'a {
        self.until_from(Location::caller(), wanted)
    }

    /// The same, on behalf of somebody else.
    pub async fn until_from(
        &mut self,
        caller: &Location<'_>,
        wanted: impl Fn(&[Value]) -> bool,
    ) -> Vec<Value> {
        let seen = async {
            while !wanted(&self.objects) {
                self.next().await;
            }
        };
        let waited = tokio::time::timeout(DEADLINE, seen).await;
        assert!(
            waited.is_ok(),
            "{caller}: {} in {:?} did not become as wanted: {:#?}",
            self.which.gvr,
            self.which.namespace,
            self.objects
        );
        self.objects.clone()
    }
}

/// What an object alone in sight is; null if there is none.
pub fn one(objects: &[Value]) -> &Value {
    objects.first().unwrap_or(&Value::Null)
}
