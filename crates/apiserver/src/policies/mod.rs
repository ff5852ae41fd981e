//! Admission policies over the pipeline: which of them a write concerns, and what follows.
//!
//! Invariant: a request that no policy wants costs a few loads and a look into a small table; policies are compiled
//! when they or their bindings have changed, and those that have not keep their programs. Answers to apiserver's
//! `admission/plugin/policy`; what expressions say is decided in `gifee_policy::policies`.

mod annotate;
pub(crate) mod ask;
mod bound;
mod index;
mod mutate;
mod params;
mod status;
mod validate;

pub use mutate::{mutate, mutate_again};
pub use status::run;
pub use validate::validate;

use crate::cache::{Cache, Caches};
use crate::seam::Operation;
use arc_swap::ArcSwap;
use index::Index;
use parking_lot::Mutex;
use std::sync::Arc;

/// Group of policies and bindings.
const GROUP: &str = "admissionregistration.k8s.io";

/// The policies of a server.
pub struct Policies {
    validating: Source,
    mutating: Source,
}

/// Policies and bindings of one sort, and what is made of them.
struct Source {
    policies: Option<Arc<Cache>>,
    bindings: Option<Arc<Cache>>,
    index: ArcSwap<Index>,
    building: Mutex<()>,
}

impl Policies {
    /// The policies that the caches show.
    pub fn new(caches: &Caches) -> Self {
        let source = |policies: &str, bindings: &str| Source {
            policies: caches.find(GROUP, policies),
            bindings: caches.find(GROUP, bindings),
            index: ArcSwap::default(),
            building: Mutex::default(),
        };
        Self {
            validating: source("validatingadmissionpolicies", "validatingadmissionpolicybindings"),
            mutating: source("mutatingadmissionpolicies", "mutatingadmissionpolicybindings"),
        }
    }

    /// The validating policies, if one of them may want an operation on a resource.
    pub(crate) fn validating(&self, resource: &str, operation: Operation) -> Option<Arc<Index>> {
        self.validating.wanted(resource, operation)
    }
}

impl Source {
    /// The policies, if one of them may want an operation on a resource.
    fn wanted(&self, resource: &str, operation: Operation) -> Option<Arc<Index>> {
        let (policies, bindings) = (self.policies.as_ref()?, self.bindings.as_ref()?);
        let mut index = self.index.load();
        if index.revisions != (policies.revision(), bindings.revision()) {
            self.build(policies, bindings);
            index = self.index.load();
        }
        index.may_want(resource, operation).then(|| index.clone())
    }

    fn build(&self, policies: &Cache, bindings: &Cache) {
        let _one_at_a_time = self.building.lock();
        let (policies, bindings) = (policies.snapshot(), bindings.snapshot());
        let index = self.index.load();
        if index.revisions != (policies.revision, bindings.revision) {
            self.index.store(Arc::new(Index::new(&policies, &bindings, &index)));
        }
    }
}
