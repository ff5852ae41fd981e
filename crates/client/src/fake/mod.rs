//! A small API server in memory, for tests of whatever uses a client.
//!
//! Honest where controllers depend on it: resource versions, conflicts, generations, finalizers, graceful
//! deletion, status subresources, bindings, selectors, paging, watches with bookmarks and streaming lists,
//! 410 after compaction. It neither defaults nor validates, and knows of patches only JSON merge patches
//! and, of strategic ones, that conditions merge by type, that `$patch: replace` replaces a list, and
//! `$deleteFromPrimitiveList`.
//! Everything written is counted, so that a test can assert that nothing was.

mod route;
mod state;
#[cfg(test)]
mod tests;
mod verbs;
mod watch;

use crate::api::Client;
use crate::body::Body;
use crate::discovery::Resource;
use crate::error::Result;
use crate::transport::Transport;
use async_trait::async_trait;
use bytes::Bytes;
use gifee_base::{Clock, Gvk, Gvr, Object, ObjectKey, Status, SystemClock};
use parking_lot::Mutex;
use serde_json::{Value, json};
use state::State;
use std::sync::Arc;
use tokio::sync::watch as signal;

type Intercept = Box<dyn Fn(&str, &str) -> Option<Status> + Send + Sync>;

/// The kinds that every fake knows: `(group/version, resource, kind, namespaced)`.
const KINDS: &[(&str, &str, &str, bool)] = &[
    ("v1", "namespaces", "Namespace", false),
    ("v1", "nodes", "Node", false),
    ("v1", "pods", "Pod", true),
    ("v1", "services", "Service", true),
    ("v1", "endpoints", "Endpoints", true),
    ("v1", "configmaps", "ConfigMap", true),
    ("v1", "secrets", "Secret", true),
    ("v1", "serviceaccounts", "ServiceAccount", true),
    ("v1", "events", "Event", true),
    ("v1", "persistentvolumes", "PersistentVolume", false),
    ("v1", "persistentvolumeclaims", "PersistentVolumeClaim", true),
    ("v1", "replicationcontrollers", "ReplicationController", true),
    ("v1", "resourcequotas", "ResourceQuota", true),
    ("apps/v1", "deployments", "Deployment", true),
    ("apps/v1", "replicasets", "ReplicaSet", true),
    ("apps/v1", "statefulsets", "StatefulSet", true),
    ("apps/v1", "daemonsets", "DaemonSet", true),
    ("apps/v1", "controllerrevisions", "ControllerRevision", true),
    ("batch/v1", "jobs", "Job", true),
    ("batch/v1", "cronjobs", "CronJob", true),
    ("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", true),
    ("discovery.k8s.io/v1", "endpointslices", "EndpointSlice", true),
    ("coordination.k8s.io/v1", "leases", "Lease", true),
    ("events.k8s.io/v1", "events", "Event", true),
    ("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", true),
    ("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass", false),
    ("storage.k8s.io/v1", "storageclasses", "StorageClass", false),
    ("storage.k8s.io/v1", "csidrivers", "CSIDriver", false),
    ("storage.k8s.io/v1", "volumeattachments", "VolumeAttachment", false),
    ("storage.k8s.io/v1", "volumeattributesclasses", "VolumeAttributesClass", false),
    ("storagemigration.k8s.io/v1", "storageversionmigrations", "StorageVersionMigration", false),
    ("networking.k8s.io/v1", "servicecidrs", "ServiceCIDR", false),
    ("networking.k8s.io/v1", "ipaddresses", "IPAddress", false),
    ("resource.k8s.io/v1", "resourceclaims", "ResourceClaim", true),
    ("resource.k8s.io/v1", "resourceclaimtemplates", "ResourceClaimTemplate", true),
    ("resource.k8s.io/v1", "resourceslices", "ResourceSlice", false),
    ("resource.k8s.io/v1", "deviceclasses", "DeviceClass", false),
    ("resource.k8s.io/v1", "devicetaintrules", "DeviceTaintRule", false),
    ("rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole", false),
];

/// An API server in memory.
pub struct Fake {
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
    /// Tells watchers that the log has grown.
    grown: signal::Sender<u64>,
    writes: Mutex<Vec<String>>,
    intercept: Mutex<Option<Intercept>>,
}

impl Fake {
    /// Empty, with the machine's clock.
    pub fn new() -> Arc<Self> {
        Self::with_clock(Arc::new(SystemClock))
    }

    /// Empty, with a clock that creation and deletion timestamps come from.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Arc<Self> {
        let fake = Self {
            state: Mutex::new(State::default()),
            clock,
            grown: signal::Sender::new(0),
            writes: Mutex::default(),
            intercept: Mutex::default(),
        };
        for (api_version, resource, kind, namespaced) in KINDS {
            fake.add_kind(api_version, resource, kind, *namespaced);
        }
        Arc::new(fake)
    }

    /// Makes another kind known.
    pub fn add_kind(&self, api_version: &str, resource: &str, kind: &str, namespaced: bool) {
        let (group, version) = gifee_base::gvk::split_api_version(api_version);
        let verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
            .map(str::to_owned);
        self.state.lock().kinds.push(Resource {
            gvr: Gvr::new(group, version, resource),
            gvk: Gvk::new(group, version, kind),
            namespaced,
            singular: kind.to_lowercase(),
            short_names: Vec::new(),
            categories: Vec::new(),
            verbs: verbs.into(),
            subresources: vec!["status".into()],
            preferred: true,
        });
    }

    /// A client of this server.
    pub fn client(self: &Arc<Self>) -> Client {
        Client::new(Arc::new(Handle(self.clone())))
    }

    /// Puts an object in as it is, status and all; what is missing of its metadata is filled in. Not
    /// counted as a write.
    ///
    /// # Panics
    /// If its kind is not known.
    pub fn put(&self, object: Value) -> Object {
        let mut state = self.state.lock();
        let gvk = Gvk::from_api_version(text(&object["apiVersion"]), text(&object["kind"]));
        let kind = state.kinds.iter().find(|kind| kind.gvk == gvk).cloned();
        let kind = kind.unwrap_or_else(|| panic!("the fake does not know {gvk}"));
        let object = state.put(&kind.gvr, object, self.clock.now());
        self.grown.send_replace(state.revision);
        received(&object)
    }

    /// Takes an object out, whatever its finalizers. Not counted as a write.
    pub fn remove(&self, gvr: &Gvr, key: &ObjectKey) {
        let mut state = self.state.lock();
        state.remove(gvr, key);
        self.grown.send_replace(state.revision);
    }

    /// One object as a tree.
    pub fn object(&self, gvr: &Gvr, key: &ObjectKey) -> Option<Value> {
        self.state.lock().get(gvr, key).cloned()
    }

    /// All objects of a resource as trees, by namespace and name.
    pub fn objects(&self, gvr: &Gvr) -> Vec<Value> {
        self.state.lock().list(gvr, "").cloned().collect()
    }

    /// Changes an object's tree in place. Not counted as a write.
    ///
    /// # Panics
    /// If it does not exist.
    pub fn change(&self, gvr: &Gvr, key: &ObjectKey, change: impl FnOnce(&mut Value)) {
        let mut object = self.object(gvr, key).unwrap_or_else(|| panic!("the fake has no {gvr} {key}"));
        change(&mut object);
        self.put(object);
    }

    /// Takes the writes so far, as `VERB path`, whether they succeeded or not.
    pub fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.writes.lock())
    }

    /// Fails calls with what `intercept` says for a method and a path.
    pub fn intercept(&self, intercept: impl Fn(&str, &str) -> Option<Status> + Send + Sync + 'static) {
        *self.intercept.lock() = Some(Box::new(intercept));
    }

    /// The resource version of the last write.
    pub fn revision(&self) -> u64 {
        self.state.lock().revision
    }

    /// Forgets history: a watch from an earlier resource version gets 410, and so do open ones that lag.
    pub fn compact(&self) {
        let mut state = self.state.lock();
        state.compacted = state.revision;
        state.log.clear();
    }

    fn answer(self: &Arc<Self>, request: &http::Request<Bytes>) -> http::Response<Body> {
        let (method, path) = (request.method().as_str(), request.uri().to_string());
        if method != "GET" {
            self.writes.lock().push(format!("{method} {}", request.uri().path()));
        }
        let intercepted = self.intercept.lock().as_ref().and_then(|intercept| intercept(method, &path));
        let outcome = match intercepted {
            Some(status) => Err(status),
            None => self.dispatch(request),
        };
        match outcome {
            Ok(response) => response,
            Err(status) => json_response(status.code, &status.to_value()),
        }
    }
}

fn json_response(code: u16, value: &Value) -> http::Response<Body> {
    let body = Body::whole(value.to_string().into());
    let mut response = http::Response::new(body);
    *response.status_mut() =
        http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response
}

fn received(object: &Value) -> Object {
    Object::received(object.to_string().into())
        .expect("an object of the fake has metadata of the right shape")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn discovery(kinds: &[Resource], core: bool) -> Value {
    let mut items: Vec<Value> = Vec::new();
    for kind in kinds.iter().filter(|kind| kind.gvr.group.is_empty() == core) {
        let scope = if kind.namespaced { "Namespaced" } else { "Cluster" };
        let resource = json!({
            "resource": &*kind.gvr.resource, "responseKind": { "kind": &*kind.gvk.kind }, "scope": scope,
            "singularResource": kind.singular, "verbs": kind.verbs,
            "subresources": [{ "subresource": "status" }],
        });
        let group = &*kind.gvr.group;
        match items.iter_mut().find(|item| item["metadata"]["name"] == group) {
            Some(item) => {
                if let Some(list) = item["versions"][0]["resources"].as_array_mut() {
                    list.push(resource);
                }
            }
            None => items.push(json!({
                "metadata": { "name": group },
                "versions": [{ "version": &*kind.gvr.version, "freshness": "Current", "resources": [resource] }],
            })),
        }
    }
    json!({ "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": items })
}

struct Handle(Arc<Fake>);

#[async_trait]
impl Transport for Handle {
    async fn call(&self, request: http::Request<Bytes>) -> Result<http::Response<Body>> {
        // A real server always lets others run meanwhile.
        tokio::task::yield_now().await;
        Ok(self.0.answer(&request))
    }
}
