//! The API by paths: a request in a line, and what came of it.

use crate::fixture::Cluster;
use crate::run::runtime;
use gifee_base::Status;
use gifee_client::{Client, Error, Request};
use http::Method;
use serde_json::{Value, json};

/// A client of a cluster, inside a namespace of its own.
pub struct Api<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The namespace.
    pub namespace: String,
    client: Client,
}

impl<'a> Api<'a> {
    /// Makes a namespace and waits until pods may be made in it.
    pub fn new(cluster: &'a Cluster, namespace: &str) -> Self {
        let api = Self { cluster, namespace: namespace.into(), client: cluster.client() };
        api.post("/api/v1/namespaces", &json!({ "metadata": { "name": namespace } }));
        cluster.until(&gifee_base::Gvr::core("serviceaccounts"), namespace, "default", Value::is_object);
        api
    }

    /// The path of a resource of the namespace, such as `v1/pods` or `apps/v1/deployments`.
    pub fn path(&self, resource: &str) -> String {
        let (version, name) = resource.rsplit_once('/').unwrap();
        let root = if version == "v1" { "/api" } else { "/apis" };
        format!("{root}/{version}/namespaces/{}/{name}", self.namespace)
    }

    /// Sends a request: its answer, or what is said against it.
    #[track_caller]
    pub fn try_call(&self, request: &str, content_type: &str, body: &Value) -> Result<Value, Status> {
        let (method, path) = request.split_once(' ').unwrap();
        let mut request = Request::new(method.parse::<Method>().unwrap(), path);
        if !body.is_null() {
            request = request.payload(content_type, body);
        }
        match runtime().block_on(self.client.value(&request)) {
            Ok(value) => Ok(value),
            Err(Error::Status(status)) => Err(*status),
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }

    #[track_caller]
    fn call(&self, request: &str, content_type: &str, body: &Value) -> Value {
        self.try_call(request, content_type, body).unwrap_or_else(|status| panic!("{request}: {status:?}"))
    }

    /// Reads.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        self.call(&format!("GET {path}"), "", &Value::Null)
    }

    /// Reads what is served as text, such as a log.
    #[track_caller]
    pub fn text(&self, path: &str) -> String {
        let answer = runtime().block_on(self.client.send(&Request::new(Method::GET, path)));
        let answer = answer.unwrap_or_else(|error| panic!("GET {path}: {error}"));
        String::from_utf8_lossy(answer.body()).into_owned()
    }

    /// Creates.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Value {
        self.call(&format!("POST {path}"), "application/json", body)
    }

    /// What is said against a creation.
    #[track_caller]
    pub fn refused(&self, path: &str, body: &Value) -> Status {
        self.try_call(&format!("POST {path}"), "application/json", body).expect_err("it was created")
    }

    /// Replaces.
    #[track_caller]
    pub fn put(&self, path: &str, body: &Value) -> Value {
        self.call(&format!("PUT {path}"), "application/json", body)
    }

    /// Replaces what is read by what is made of it, again if somebody else was faster.
    #[track_caller]
    pub fn update(&self, path: &str, change: impl Fn(&mut Value)) -> Value {
        loop {
            let mut object = self.get(path);
            change(&mut object);
            match self.try_call(&format!("PUT {path}"), "application/json", &object) {
                Err(status) if status.code == 409 => {}
                other => return other.unwrap_or_else(|status| panic!("PUT {path}: {status:?}")),
            }
        }
    }

    /// Changes by a merge patch.
    #[track_caller]
    pub fn patch(&self, path: &str, body: &Value) -> Value {
        self.call(&format!("PATCH {path}"), "application/merge-patch+json", body)
    }

    /// Deletes, with options.
    #[track_caller]
    pub fn delete(&self, path: &str, options: &Value) -> Value {
        self.call(&format!("DELETE {path}"), "application/json", options)
    }

    /// Waits until an object of the namespace is as wanted; a missing one is null.
    #[track_caller]
    pub fn until(&self, resource: &str, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let (version, resource) = resource.rsplit_once('/').unwrap();
        let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
        self.cluster.until(&gifee_base::Gvr::new(group, version, resource), &self.namespace, name, wanted)
    }

    /// Waits until the objects with these labels are as wanted.
    #[track_caller]
    pub fn until_all(&self, resource: &str, labels: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let (version, resource) = resource.rsplit_once('/').unwrap();
        let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
        let gvr = gifee_base::Gvr::new(group, version, resource);
        self.cluster.until_all(&gvr, &self.namespace, labels, wanted)
    }
}
