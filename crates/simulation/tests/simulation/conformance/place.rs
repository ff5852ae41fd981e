//! A namespace of a running cluster of simulated nodes, and what is done in it: the API by paths, waiting by watches.
//!
//! Invariant: how pods of the namespace behave is said by its own test.

use crate::sight::{self, Sight, Which};
use gifee_base::{Gvr, Object, ObjectKey};
use gifee_client::{Client, Error, Request};
use gifee_simulation::fleet::{Conduct, Fleet};
use http::Method;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Says how a pod of a namespace behaves.
pub type Script = Box<dyn Fn(&Value) -> Conduct + Send + Sync>;

/// How the pods of all namespaces behave.
#[derive(Default)]
pub struct Scripts {
    by_namespace: HashMap<String, Script>,
    unready: HashSet<ObjectKey>,
}

impl Scripts {
    /// How one behaves. An image whose name begins with `none` cannot be had.
    pub fn conduct(&self, pod: &Object) -> Conduct {
        let value = pod.to_value().unwrap_or_default();
        let mut conduct =
            self.by_namespace.get(pod.namespace()).map(|script| script(&value)).unwrap_or_default();
        conduct.unready |= self.unready.contains(&pod.key());
        let containers = value["spec"]["containers"].as_array().into_iter().flatten();
        let mut images = containers.filter_map(|one| one["image"].as_str());
        conduct.stuck |= images.any(|image| image.starts_with("none"));
        conduct
    }
}

/// A namespace of a test's own.
#[derive(Clone)]
pub struct Place {
    /// May do everything.
    pub client: Client,
    /// The simulated nodes.
    pub fleet: Arc<Fleet>,
    /// How pods behave.
    pub scripts: Arc<Mutex<Scripts>>,
    /// Its name.
    pub namespace: String,
}

fn gvr(resource: &str) -> Gvr {
    let (version, resource) = resource.rsplit_once('/').unwrap();
    let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
    Gvr::new(group, version, resource)
}

impl Place {
    /// Makes the namespace and waits until pods may be made in it.
    pub async fn open(self) -> Self {
        self.post("/api/v1/namespaces", &json!({ "metadata": { "name": self.namespace } })).await;
        self.until("v1/serviceaccounts", "default", Value::is_object).await;
        self
    }

    /// Says how the pods of the namespace behave.
    pub fn direct(&self, script: impl Fn(&Value) -> Conduct + Send + Sync + 'static) {
        self.scripts.lock().by_namespace.insert(self.namespace.clone(), Box::new(script));
    }

    /// Makes a pod ready or unready, and waits until it is.
    pub async fn turn(&self, pod: &str, ready: bool) {
        let key = ObjectKey::new(&self.namespace, pod);
        // Seen from before, for what follows of it may be that it goes.
        let mut sight = self.sight("v1/pods", pod).await;
        {
            let mut scripts = self.scripts.lock();
            match ready {
                true => drop(scripts.unready.remove(&key)),
                false => drop(scripts.unready.insert(key.clone())),
            }
        }
        self.fleet.look(&key).await.unwrap();
        let state = if ready { "True" } else { "False" };
        sight.until(|pods| condition(sight::one(pods), "Ready")["status"] == state).await;
    }

    /// The path of a resource of the namespace, such as `v1/pods` or `apps/v1/deployments/web/scale`.
    pub fn path(&self, resource: &str) -> String {
        if resource.starts_with('/') {
            return resource.to_owned();
        }
        let mut words = resource.split('/');
        let first = words.next().unwrap();
        let version = match first {
            "v1" => "/api/v1".to_owned(),
            group => format!("/apis/{group}/{}", words.next().unwrap()),
        };
        format!("{version}/namespaces/{}/{}", self.namespace, words.collect::<Vec<_>>().join("/"))
    }

    /// Sends a request: its answer, or what is said against it.
    pub async fn try_call(
        &self,
        method: Method,
        resource: &str,
        content_type: &str,
        body: &Value,
    ) -> Result<Value, gifee_base::Status> {
        let mut request = Request::new(method.clone(), self.path(resource));
        if !body.is_null() {
            request = request.payload(content_type, body);
        }
        match self.client.value(&request).await {
            Ok(value) => Ok(value),
            Err(Error::Status(status)) => Err(*status),
            Err(error) => panic!("{method} {resource}: {error}"),
        }
    }

    async fn call(&self, method: Method, resource: &str, content_type: &str, body: &Value) -> Value {
        let outcome = self.try_call(method.clone(), resource, content_type, body).await;
        outcome.unwrap_or_else(|status| panic!("{method} {resource}: {status:?}"))
    }

    /// Reads.
    pub async fn get(&self, resource: &str) -> Value {
        self.call(Method::GET, resource, "", &Value::Null).await
    }

    /// Reads a list.
    pub async fn list(&self, resource: &str) -> Vec<Value> {
        self.get(resource).await["items"].as_array().unwrap().clone()
    }

    /// Creates.
    pub async fn post(&self, resource: &str, body: &Value) -> Value {
        self.call(Method::POST, resource, "application/json", body).await
    }

    /// Replaces what is read by what is made of it, again if somebody else was faster.
    pub async fn update(&self, resource: &str, change: impl Fn(&mut Value)) -> Value {
        loop {
            let mut object = self.get(resource).await;
            change(&mut object);
            match self.try_call(Method::PUT, resource, "application/json", &object).await {
                Err(status) if status.code == 409 => {}
                other => return other.unwrap_or_else(|status| panic!("PUT {resource}: {status:?}")),
            }
        }
    }

    /// Changes by a merge patch.
    pub async fn patch(&self, resource: &str, body: &Value) -> Value {
        self.call(Method::PATCH, resource, "application/merge-patch+json", body).await
    }

    /// Changes by a strategic merge patch.
    pub async fn strategic(&self, resource: &str, body: &Value) -> Value {
        self.call(Method::PATCH, resource, "application/strategic-merge-patch+json", body).await
    }

    /// Deletes, with options.
    pub async fn delete(&self, resource: &str, options: &Value) -> Value {
        self.call(Method::DELETE, resource, "application/json", options).await
    }

    /// One object of the namespace, from now on.
    pub async fn sight(&self, resource: &str, name: &str) -> Sight {
        Sight::open(&self.client, Which::named(gvr(resource), &self.namespace, name)).await
    }

    /// The objects of the namespace with these labels, from now on.
    pub async fn sight_all(&self, resource: &str, labels: &str) -> Sight {
        Sight::open(&self.client, Which::labelled(gvr(resource), &self.namespace, labels)).await
    }

    /// Waits until an object is as wanted; a missing one is null.
    #[track_caller]
    pub fn until<'a>(
        &'a self,
        resource: &'a str,
        name: &'a str,
        wanted: impl Fn(&Value) -> bool + 'a,
    ) -> impl Future<Output = Value> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let mut sight = self.sight(resource, name).await;
            let objects = sight.until_from(caller, move |objects| wanted(sight::one(objects))).await;
            sight::one(&objects).clone()
        }
    }

    /// Waits until the objects with these labels are as wanted.
    #[track_caller]
    pub fn until_all<'a>(
        &'a self,
        resource: &'a str,
        labels: &'a str,
        wanted: impl Fn(&[Value]) -> bool + 'a,
    ) -> impl Future<Output = Vec<Value>> + 'a {
        let caller = std::panic::Location::caller();
        async move { self.sight_all(resource, labels).await.until_from(caller, wanted).await }
    }
}

/// A condition of an object, or null.
pub fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.find(|one| one["type"] == kind).unwrap_or(&Value::Null)
}

/// Whether a pod is ready and stays.
pub fn ready(pod: &Value) -> bool {
    live(pod) && condition(pod, "Ready")["status"] == "True"
}

/// Whether an object is not being deleted.
pub fn live(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_null()
}

/// Whether a controller has seen the newest generation.
pub fn observed(object: &Value) -> bool {
    object["status"]["observedGeneration"] == object["metadata"]["generation"]
}

/// Names of objects, sorted.
pub fn names(objects: &[Value]) -> Vec<&str> {
    let mut names: Vec<&str> =
        objects.iter().filter_map(|object| object["metadata"]["name"].as_str()).collect();
    names.sort_unstable();
    names
}

/// The UID of what controls an object, or null.
pub fn controller(object: &Value) -> Value {
    let mut owners = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    owners.find(|owner| owner["controller"] == true).map_or(Value::Null, |owner| owner["uid"].clone())
}

/// A template of pods with labels and an image.
pub fn template(labels: &Value, image: &str) -> Value {
    json!({ "metadata": { "labels": labels }, "spec": {
        "terminationGracePeriodSeconds": 0, "containers": [{ "name": "main", "image": image }] } })
}
