//! Publishes the certificate of the API server's authority to every namespace.
//!
//! Answers to upstream's root CA certificate publisher. Tested beside the service accounts.

use crate::Config;
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{FieldSelector, Gvr, ObjectKey};
use gifee_client::{Cache, PatchKind, Queue, Scope};
use gifee_reconcile::{Context, Error, Outcome, Reconcile, Result, work};
use serde_json::{Value, json};
use std::sync::Arc;

/// Upstream's name.
pub const NAME: &str = "root-ca-certificate-publisher-controller";
const MAP: &str = "kube-root-ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";
const DESCRIPTION_TEXT: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

/// Runs until the context's shutdown; without a certificate it has nothing to do.
pub fn run(context: Context, config: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let Some(certificate) = config.root_ca.clone() else {
            return context.shutdown.cancelled().await;
        };
        let queue = Arc::new(Queue::new());
        let namespaces = context.caches.scope(Scope::all(Gvr::core("namespaces")));
        let fields = FieldSelector::parse(&format!("metadata.name={MAP}")).unwrap_or_default();
        let maps = context.caches.scope(Scope { fields, ..Scope::all(Gvr::core("configmaps")) });
        namespaces.synced().await;
        maps.synced().await;
        let sink = queue.clone();
        namespaces.subscribe(move |change| sink.add(change.object().key()));
        let sink = queue.clone();
        maps.subscribe(move |change| sink.add(ObjectKey::cluster(change.object().namespace())));
        let controller = Arc::new(Publisher { context: context.clone(), namespaces, maps, certificate });
        work(&context, NAME, queue, controller, 1).await;
    }
    .boxed()
}

struct Publisher {
    context: Context,
    namespaces: Arc<Cache>,
    maps: Arc<Cache>,
    certificate: String,
}

enum Plan {
    Nothing,
    Create(Value),
    Patch(Value),
}

fn plan(certificate: &str, deleting: bool, present: Option<&Value>) -> Plan {
    let wanted = json!({ "ca.crt": certificate });
    match present {
        _ if deleting => Plan::Nothing,
        None => Plan::Create(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": MAP, "annotations": { DESCRIPTION: DESCRIPTION_TEXT } },
            "data": wanted,
        })),
        Some(map) => {
            let annotations = json!({ "annotations": { DESCRIPTION: DESCRIPTION_TEXT } });
            if map["data"] == wanted && map["metadata"]["annotations"][DESCRIPTION] == DESCRIPTION_TEXT {
                return Plan::Nothing;
            }
            let mut data = wanted;
            for key in map["data"].as_object().into_iter().flatten().map(|(key, _)| key) {
                if key != "ca.crt" {
                    data[key.as_str()] = Value::Null;
                }
            }
            Plan::Patch(json!({ "metadata": annotations, "data": data }))
        }
    }
}

#[async_trait]
impl Reconcile<ObjectKey> for Publisher {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(namespace) = self.namespaces.get(key) else { return Ok(Outcome::Done) };
        let map_key = ObjectKey::new(&key.name, MAP);
        let present = self.maps.get(&map_key).map(|map| map.to_value()).transpose();
        let present = present.map_err(|error| Error::invalid(&map_key, error))?;
        let (client, maps) = (&self.context.client, Gvr::core("configmaps"));
        let outcome = match plan(&self.certificate, namespace.deleting(), present.as_ref()) {
            Plan::Nothing => return Ok(Outcome::Done),
            Plan::Create(body) => client.create(&maps, &key.name, body).await,
            Plan::Patch(change) => client.patch(&maps, &map_key, PatchKind::Merge, change).await,
        };
        match outcome {
            Err(error) if error.is_already_exists() || error.is_not_found() => Ok(Outcome::Done),
            Err(error) if crate::pods::namespace_terminating(&error) => Ok(Outcome::Done),
            other => Ok(other.map(|_| Outcome::Done)?),
        }
    }
}
