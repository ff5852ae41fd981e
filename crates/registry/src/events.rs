//! Rows of events.k8s.io/v1: the same events as the core group's, in another form.

use crate::kind::Kind;
use crate::row::row;

const V1: &str = "events.k8s.io/v1";

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    vec![row(V1, "Event", "events").short(&["ev"]).create_on_update()]
}
