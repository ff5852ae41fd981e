//! Rows of authentication.k8s.io/v1.

use crate::kind::Kind;
use crate::row::review;

const V1: &str = "authentication.k8s.io/v1";

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    vec![
        review(V1, "SelfSubjectReview", "selfsubjectreviews").cluster(),
        review(V1, "TokenReview", "tokenreviews")
            .defaults(include_str!("../defaults/authentication.txt"))
            .cluster(),
    ]
}
