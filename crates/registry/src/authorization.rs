//! Rows of authorization.k8s.io/v1.

use crate::kind::Kind;
use crate::row::review;

const V1: &str = "authorization.k8s.io/v1";

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    vec![
        review(V1, "LocalSubjectAccessReview", "localsubjectaccessreviews"),
        review(V1, "SelfSubjectAccessReview", "selfsubjectaccessreviews").cluster(),
        review(V1, "SelfSubjectRulesReview", "selfsubjectrulesreviews").cluster(),
        review(V1, "SubjectAccessReview", "subjectaccessreviews").cluster(),
    ]
}
