//! ConfigMaps, Secrets and trust bundles that pods of this node name: one watch for each object, shared by all pods that name it.
//!
//! Invariant: an object is watched exactly as long as a pod holds a [`Claim`] on it; a node asks for no list of all
//! Secrets, which it would not be allowed. Answers to the kubelet's `watch_based_manager`.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use gifee_base::{FieldSelector, LabelSelector, ObjectKey};
use gifee_client::{Cache, Client, Scope};
use gifee_reconcile::{decode, gvr};
use k8s_openapi::api::certificates::v1::ClusterTrustBundle;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::environment::Sources;
use crate::pod::members;
use crate::volumes;

/// How long a pod waits for the first sight of what it names.
const FIRST_SIGHT: Duration = Duration::from_secs(5);

/// The kinds that can be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `v1.ConfigMap`
    ConfigMap,
    /// `v1.Secret`
    Secret,
    /// `certificates.k8s.io/v1.ClusterTrustBundle`, which has no namespace.
    TrustBundle,
    /// All ClusterTrustBundles of the signer of this name.
    Signer,
}

/// A name in the pod's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// Of what.
    pub kind: Kind,
    /// The name.
    pub name: String,
}

impl Reference {
    /// To a ConfigMap.
    pub fn config_map(name: &str) -> Reference {
        Reference { kind: Kind::ConfigMap, name: name.to_owned() }
    }

    /// To a ClusterTrustBundle.
    pub fn trust_bundle(name: &str) -> Reference {
        Reference { kind: Kind::TrustBundle, name: name.to_owned() }
    }

    /// To all ClusterTrustBundles of a signer.
    pub fn signer(name: &str) -> Reference {
        Reference { kind: Kind::Signer, name: name.to_owned() }
    }

    /// To a Secret.
    pub fn secret(name: &str) -> Reference {
        Reference { kind: Kind::Secret, name: name.to_owned() }
    }
}

/// All names in a pod's spec.
pub fn references(pod: &Pod) -> BTreeSet<Reference> {
    let mut found: BTreeSet<Reference> = volumes::references(pod).into_iter().collect();
    for member in members::members(pod) {
        for from in member.container.env_from.iter().flatten() {
            found.extend(from.config_map_ref.iter().map(|map| Reference::config_map(&map.name)));
            found.extend(from.secret_ref.iter().map(|secret| Reference::secret(&secret.name)));
        }
        for from in member.container.env.iter().flatten().filter_map(|one| one.value_from.as_ref()) {
            found.extend(from.config_map_key_ref.iter().map(|map| Reference::config_map(&map.name)));
            found.extend(from.secret_key_ref.iter().map(|secret| Reference::secret(&secret.name)));
        }
    }
    let pull = members::spec(pod).image_pull_secrets.iter().flatten();
    found.extend(pull.map(|secret| Reference::secret(&secret.name)));
    found.retain(|reference| !reference.name.is_empty());
    found
}

type Key = (String, Reference);
type Listener = Arc<dyn Fn() + Send + Sync>;

struct Watched {
    cache: Arc<Cache>,
    stop: CancellationToken,
    listeners: Arc<Mutex<HashMap<u64, Listener>>>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What is watched. At most what the node's pods name.
pub struct References {
    client: Client,
    shutdown: CancellationToken,
    watched: Mutex<HashMap<Key, Weak<Watched>>>,
}

impl References {
    /// Nothing is watched yet.
    pub fn new(client: Client, shutdown: CancellationToken) -> References {
        References { client, shutdown, watched: Mutex::default() }
    }

    /// Watches what a pod names until the claim is dropped; `changed` is called at every change, and must be quick.
    pub fn claim(&self, pod: &Pod, changed: impl Fn() + Send + Sync + 'static) -> Claim {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let id = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let listener: Listener = Arc::new(changed);
        let namespace = members::namespace(pod).to_owned();
        let mut held = HashMap::new();
        for reference in references(pod) {
            let watched = self.watch(&namespace, &reference);
            watched.listeners.lock().insert(id, listener.clone());
            held.insert(reference, watched);
        }
        Claim { id, namespace, held }
    }

    fn watch(&self, namespace: &str, reference: &Reference) -> Arc<Watched> {
        let (resource, namespace, field) = match reference.kind {
            Kind::ConfigMap => (gvr::<ConfigMap>(), namespace, "metadata.name"),
            Kind::Secret => (gvr::<Secret>(), namespace, "metadata.name"),
            Kind::TrustBundle => (gvr::<ClusterTrustBundle>(), "", "metadata.name"),
            Kind::Signer => (gvr::<ClusterTrustBundle>(), "", "spec.signerName"),
        };
        let key = (namespace.to_owned(), reference.clone());
        let mut all = self.watched.lock();
        all.retain(|_, watched| watched.strong_count() > 0);
        if let Some(watched) = all.get(&key).and_then(Weak::upgrade) {
            return watched;
        }
        let fields = FieldSelector::parse(&format!("{field}={}", reference.name));
        let scope = Scope {
            gvr: resource,
            namespace: namespace.to_owned(),
            labels: LabelSelector::everything(),
            fields: fields.unwrap_or_else(|_| FieldSelector::everything()),
            metadata_only: false,
        };
        let stop = self.shutdown.child_token();
        let cache = Cache::start(self.client.clone(), scope, stop.clone());
        let listeners: Arc<Mutex<HashMap<u64, Listener>>> = Arc::default();
        let told = listeners.clone();
        cache.subscribe(move |_| {
            let listeners: Vec<Listener> = told.lock().values().cloned().collect();
            listeners.iter().for_each(|listener| listener());
        });
        let watched = Arc::new(Watched { cache, stop, listeners });
        all.insert(key, Arc::downgrade(&watched));
        watched
    }
}

/// What one pod names, watched.
pub struct Claim {
    id: u64,
    namespace: String,
    held: HashMap<Reference, Arc<Watched>>,
}

impl Claim {
    /// Waits until each object was seen, or is known not to exist; not longer than a few seconds.
    ///
    /// # Errors
    /// With what was not seen in time: it must not be taken for something that does not exist.
    pub async fn synced(&self) -> Result<(), String> {
        let all = self.held.iter().map(async |(reference, watched)| {
            let seen = tokio::time::timeout(FIRST_SIGHT, watched.cache.synced()).await;
            seen.map_err(|_| match reference.kind {
                Kind::ConfigMap => "failed to sync configmap cache: timed out waiting for the condition",
                Kind::Secret => "failed to sync secret cache: timed out waiting for the condition",
                Kind::TrustBundle | Kind::Signer => {
                    "failed to sync clustertrustbundle cache: timed out waiting for the condition"
                }
            })
        });
        let all = futures_util::future::join_all(all).await;
        all.into_iter().collect::<Result<(), _>>().map_err(str::to_owned)
    }

    fn get<T>(&self, kind: Kind, name: &str) -> Option<Arc<T>>
    where
        T: k8s_openapi::Resource + serde::de::DeserializeOwned,
    {
        let watched = self.held.get(&Reference { kind, name: name.to_owned() })?;
        let namespace = if kind == Kind::TrustBundle { "" } else { &self.namespace };
        let object = watched.cache.get(&ObjectKey::new(namespace, name))?;
        decode::<T>(&object).ok().map(Arc::new)
    }
}

impl Sources for Claim {
    fn config_map(&self, name: &str) -> Option<Arc<ConfigMap>> {
        self.get(Kind::ConfigMap, name)
    }

    fn secret(&self, name: &str) -> Option<Arc<Secret>> {
        self.get(Kind::Secret, name)
    }

    fn trust_bundle(&self, name: &str) -> Option<Arc<ClusterTrustBundle>> {
        self.get(Kind::TrustBundle, name)
    }

    fn trust_bundles(&self, signer: &str) -> Vec<Arc<ClusterTrustBundle>> {
        let Some(watched) = self.held.get(&Reference::signer(signer)) else { return Vec::new() };
        let snapshot = watched.cache.read();
        snapshot.all().filter_map(|object| decode(object).ok().map(Arc::new)).collect()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        for watched in self.held.values() {
            watched.listeners.lock().remove(&self.id);
        }
    }
}
