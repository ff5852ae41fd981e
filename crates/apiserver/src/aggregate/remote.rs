//! What APIServices say about groups and versions that others answer.

use crate::cache::Snapshot;
use crate::outbound::{Endpoint, Identity, Place, Trust};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::sync::Arc;

/// The port of Services that an APIService does not name.
const PORT: u16 = 443;

/// A group and version that another server answers.
#[derive(Debug)]
pub struct Remote {
    /// Name of the APIService.
    pub name: String,
    pub group: String,
    pub version: String,
    /// Place of the group among groups; higher comes first.
    pub group_priority: i64,
    /// Place of the version among the group's versions; higher comes first.
    pub version_priority: i64,
    /// Namespace, name and port of the Service.
    pub service: (String, String, u16),
    pub available: bool,
    /// Whom to call, or why nobody can be.
    pub endpoint: Result<Endpoint, String>,
}

/// All of them at one moment.
#[derive(Debug, Default)]
pub struct Index {
    /// Revision of the newest APIService.
    pub revision: u64,
    /// In the order of discovery.
    pub remotes: Vec<Arc<Remote>>,
}

/// Whether the condition Available holds.
fn available(service: &Value) -> bool {
    let conditions = service["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|one| one["type"] == "Available" && one["status"] == "True")
}

impl Index {
    /// Of all APIServices.
    pub fn new(snapshot: &Snapshot, identity: Option<&Arc<Identity>>) -> Self {
        let all = snapshot.objects.values().filter_map(|entry| entry.object.to_value().ok());
        let mut remotes: Vec<_> = all.filter_map(|one| Remote::new(&one, identity)).map(Arc::new).collect();
        remotes.sort_by(|a, b| {
            let order = |one: &Remote| (-one.group_priority, one.group.clone(), -one.version_priority);
            order(a).cmp(&order(b)).then_with(|| b.version.cmp(&a.version))
        });
        Self { revision: snapshot.revision, remotes }
    }
}

impl Remote {
    fn new(service: &Value, identity: Option<&Arc<Identity>>) -> Option<Self> {
        let spec = &service["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let reference = spec["service"].as_object()?;
        let port = reference.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
        let place = |field: &str| text(reference.get(field).unwrap_or(&Value::Null));
        let service_place = (place("namespace"), place("name"), port.unwrap_or(PORT));
        let (namespace, name, port) = service_place.clone();
        let mut endpoint = Endpoint::new(Place::Service { namespace, name, port });
        endpoint.identity = identity.cloned();
        endpoint.http2 = true;
        let bundle = spec["caBundle"].as_str().unwrap_or_default();
        let endpoint = if spec["insecureSkipTLSVerify"] == true {
            endpoint.trust = Trust::Anything;
            Ok(endpoint)
        } else if bundle.is_empty() {
            Ok(endpoint)
        } else {
            STANDARD.decode(bundle).map_err(|error| format!("caBundle: {error}")).map(|bytes| {
                endpoint.trust = Trust::Bundle(bytes.into());
                endpoint
            })
        };
        Some(Self {
            name: text(&service["metadata"]["name"]),
            group: text(&spec["group"]),
            version: text(&spec["version"]),
            group_priority: spec["groupPriorityMinimum"].as_i64().unwrap_or_default(),
            version_priority: spec["versionPriority"].as_i64().unwrap_or_default(),
            service: service_place,
            available: available(service),
            endpoint,
        })
    }
}
