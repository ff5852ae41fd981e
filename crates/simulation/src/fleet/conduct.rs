//! How single pods behave where they differ from all others: what somebody who tries something out says of them.
//!
//! Invariant: a conduct is asked for whenever something is decided of a pod and never kept, so it may change while the
//! pod lives; [`Fleet::look`] has a pod looked at again.

use super::{Fleet, status};
use gifee_base::{Gvr, Object, ObjectKey};
use std::sync::Arc;

/// How one pod behaves.
#[derive(Clone, Debug, Default)]
pub struct Conduct {
    /// The node does not take it, for this reason.
    pub refused: Option<String>,
    /// Its image is never there, so it waits for ever.
    pub stuck: bool,
    /// It runs, and is not ready.
    pub unready: bool,
    /// It goes on until it is told to go, though by its policy it would end by itself.
    pub endless: bool,
    /// The exit code of each of its runs, the last one from then on; empty: what its annotation says.
    pub codes: Vec<i64>,
}

/// Says how a pod behaves.
pub type Script = Arc<dyn Fn(&Object) -> Conduct + Send + Sync>;

impl Conduct {
    /// The exit code of the run that follows so many restarts.
    pub(super) fn code(&self, pod: &Object, restarts: usize) -> i64 {
        let codes = if self.codes.is_empty() { status::exit_codes(pod) } else { self.codes.clone() };
        codes.get(restarts).or(codes.last()).copied().unwrap_or_default()
    }
}

impl Fleet {
    /// Has pods behave by a script from now on.
    pub fn direct(&self, script: Script) {
        self.state.lock().script = Some(script);
    }

    /// Looks at a pod again, since its script may say something else of it now.
    ///
    /// # Errors
    /// If the pod cannot be read.
    pub async fn look(&self, pod: &ObjectKey) -> gifee_client::Result<()> {
        self.client.get(&Gvr::core("pods"), pod).await.map(|object| self.see_again(object))
    }
}
