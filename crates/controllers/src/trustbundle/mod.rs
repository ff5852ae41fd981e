//! Publishes the authority of the API server's certificate as a ClusterTrustBundle.
//!
//! Answers to upstream's `kube-apiserver-serving-clustertrustbundle-publisher`.

use crate::Config;
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{FieldSelector, Gvr, ObjectKey};
use gifee_client::{Cache, DeleteOptions, PatchKind, Queue, Scope};
use gifee_reconcile::{Context, Error, Outcome, Reconcile, Result, work};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Upstream's name.
pub const NAME: &str = "kube-apiserver-serving-clustertrustbundle-publisher-controller";
const SIGNER: &str = "kubernetes.io/kube-apiserver-serving";

fn bundles() -> Gvr {
    Gvr::new("certificates.k8s.io", "v1", "clustertrustbundles")
}

/// Runs until the context's shutdown; without a certificate it has nothing to do.
pub fn run(context: Context, config: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let Some(certificate) = config.root_ca.clone().filter(|_| config.signer.is_some()) else {
            return context.shutdown.cancelled().await;
        };
        let queue = Arc::new(Queue::new());
        let fields = FieldSelector::parse(&format!("spec.signerName={SIGNER}")).unwrap_or_default();
        let cache = context.caches.scope(Scope { fields, ..Scope::all(bundles()) });
        cache.synced().await;
        let sink = queue.clone();
        let own = key(&certificate);
        let first = own.clone();
        cache.subscribe(move |_| sink.add(own.clone()));
        queue.add(first);
        let controller = Arc::new(Publisher { context: context.clone(), cache, certificate });
        work(&context, NAME, queue, controller, 1).await;
    }
    .boxed()
}

/// The name of a bundle says what is in it.
fn key(certificate: &str) -> ObjectKey {
    let digest = Sha256::digest(certificate);
    let hex: String = digest[..12].iter().map(|byte| format!("{byte:02x}")).collect();
    ObjectKey::cluster(&format!("{}:{hex}", SIGNER.replace('/', ":")))
}

struct Publisher {
    context: Context,
    cache: Arc<Cache>,
    certificate: String,
}

#[async_trait]
impl Reconcile<ObjectKey> for Publisher {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let client = &self.context.client;
        let spec = json!({ "signerName": SIGNER, "trustBundle": self.certificate });
        let present = self.cache.get(key).map(|bundle| bundle.to_value()).transpose();
        match present.map_err(|error| Error::invalid(key, error))? {
            None => {
                let body = json!({ "apiVersion": "certificates.k8s.io/v1", "kind": "ClusterTrustBundle",
                    "metadata": { "name": &*key.name }, "spec": spec });
                match client.create(&bundles(), "", body).await {
                    Err(error) if error.is_already_exists() => {}
                    other => drop(other?),
                }
            }
            Some(bundle) if bundle["spec"]["trustBundle"] != self.certificate.as_str() => {
                let version = &bundle["metadata"]["resourceVersion"];
                let change = json!({ "metadata": { "resourceVersion": version }, "spec": spec });
                client.patch(&bundles(), key, PatchKind::Merge, change).await?;
            }
            Some(_) => {}
        }
        let others: Vec<_> = self.cache.read().all().filter(|one| one.key() != *key).cloned().collect();
        for other in others {
            match client.delete(&bundles(), &other.key(), &DeleteOptions::of_uid(other.uid())).await {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => {}
            }
        }
        Ok(Outcome::Done)
    }
}
