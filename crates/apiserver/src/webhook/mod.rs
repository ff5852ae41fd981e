//! Mutating and validating admission webhooks.
//!
//! Invariant: a request that no webhook wants costs two loads and a look into a small table; a webhook configuration
//! counts from the write on that made it. Answers to apiserver's `admission/plugin/webhook`.

mod annotate;
pub(crate) mod call;
mod condition;
pub(crate) mod hook;
mod index;
pub(crate) mod matching;
mod mutate;
mod review;
mod validate;

pub use mutate::mutate;
pub(crate) use mutate::settle;
pub use validate::validate;

use crate::cache::{Cache, Caches};
use crate::seam::Operation;
use arc_swap::ArcSwap;
use index::Index;
use parking_lot::Mutex;
use std::sync::Arc;

/// Group of the configurations.
const GROUP: &str = "admissionregistration.k8s.io";

/// The webhooks of a server.
pub struct Webhooks {
    mutating: Source,
    validating: Source,
}

/// The configurations of one resource, and what is made of them.
struct Source {
    cache: Option<Arc<Cache>>,
    index: ArcSwap<Index>,
    building: Mutex<()>,
}

impl Webhooks {
    /// The webhooks that the caches show.
    pub fn new(caches: &Caches) -> Self {
        let source = |resource: &str| Source {
            cache: caches.find(GROUP, resource),
            index: ArcSwap::default(),
            building: Mutex::default(),
        };
        Self {
            mutating: source("mutatingwebhookconfigurations"),
            validating: source("validatingwebhookconfigurations"),
        }
    }

    /// The validating webhooks, if one of them may want an operation on a resource.
    pub(crate) fn validating(&self, resource: &str, operation: Operation) -> Option<Arc<Index>> {
        self.validating.wanted(resource, operation)
    }
}

impl Source {
    /// The webhooks, if one of them may want an operation on a resource.
    fn wanted(&self, resource: &str, operation: Operation) -> Option<Arc<Index>> {
        let cache = self.cache.as_ref()?;
        let mut index = self.index.load();
        if index.revision != cache.revision() {
            self.build(cache);
            index = self.index.load();
        }
        index.may_want(resource, operation).then(|| index.clone())
    }

    fn build(&self, cache: &Cache) {
        let _one_at_a_time = self.building.lock();
        let snapshot = cache.snapshot();
        let before = self.index.load();
        if before.revision != snapshot.revision {
            self.index.store(Arc::new(Index::new(&snapshot, &before)));
        }
    }
}
