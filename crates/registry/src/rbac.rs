//! Rows of rbac.authorization.k8s.io/v1.

mod rules;

use crate::kind::Kind;
use crate::row::row;
use crate::table::extension;
use gifee_base::name;

const V1: &str = "rbac.authorization.k8s.io/v1";

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    vec![
        row(V1, "ClusterRoleBinding", "clusterrolebindings")
            .table(extension::table_of_role_bindings())
            .cluster()
            .rules(rules::CLUSTER_ROLE_BINDING),
        row(V1, "ClusterRole", "clusterroles").cluster().rules(rules::CLUSTER_ROLE),
        row(V1, "RoleBinding", "rolebindings")
            .defaults(include_str!("../defaults/rbac.txt"))
            .table(extension::table_of_role_bindings())
            .rules(rules::ROLE_BINDING),
        row(V1, "Role", "roles").rules(rules::ROLE),
    ]
    .into_iter()
    .map(|row| row.named(name::path_segment).create_on_update())
    .collect()
}
