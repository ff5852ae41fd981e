//! What is special about Roles and their bindings.
//!
//! Answers to upstream's `pkg/apis/rbac/validation`.

use crate::kind::Order;
use crate::rule::{Errors, declared_required, label, named, optional_name, required, required_because};
use crate::rules::{RULES, Rules};
use crate::value::{is_empty, items, same, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;

const GROUP: &str = "rbac.authorization.k8s.io";
const RULES_PATH: Path<'static> = Path::root("rules");

fn policy_rules(errors: &mut Errors, role: &Value, namespaced: bool) {
    for (index, rule) in items(&role["rules"]).iter().enumerate() {
        let at = RULES_PATH.index(index);
        declared_required(errors, &rule["verbs"], &at.child("verbs"));
        let (urls, at_urls) = (&rule["nonResourceURLs"], at.child("nonResourceURLs"));
        if !is_empty(urls) {
            if namespaced {
                let why = "namespaced rules cannot apply to non-resource URLs";
                errors.push(FieldError::invalid(&at_urls, urls.clone(), why));
            }
            if ["apiGroups", "resources", "resourceNames"].iter().any(|field| !is_empty(&rule[*field])) {
                let why = "rules cannot apply to both regular resources and non-resource URLs";
                errors.push(FieldError::invalid(&at_urls, urls.clone(), why));
            }
            continue;
        }
        let why = "resource rules must supply at least one api group";
        required_because(errors, &rule["apiGroups"], &at.child("apiGroups"), why);
        let why = "resource rules must supply at least one resource";
        required_because(errors, &rule["resources"], &at.child("resources"), why);
    }
}

/// Rules of Roles.
pub(crate) const ROLE: Rules =
    Rules { order: Order::ObjectTwice, validate: |errors, role| policy_rules(errors, role, true), ..RULES };

/// Rules of ClusterRoles.
pub(crate) const CLUSTER_ROLE: Rules = Rules {
    order: Order::ObjectTwice,
    validate: |errors, role| {
        policy_rules(errors, role, false);
        let aggregation = &role["aggregationRule"];
        if aggregation.is_null() {
            return;
        }
        let at = Path::root("aggregationRule");
        let at = at.child("clusterRoleSelectors");
        let why = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        required_because(errors, &aggregation["clusterRoleSelectors"], &at, why);
        for (index, one) in items(&aggregation["clusterRoleSelectors"]).iter().enumerate() {
            let at = at.index(index);
            let before = errors.len();
            label::selector(errors, one, &at);
            if errors.len() > before {
                errors.push(FieldError::invalid(&at, Value::Null, "invalid label selector."));
            }
        }
    },
    ..RULES
};

fn binding(errors: &mut Errors, object: &Value, namespaced: bool) {
    let (role, at) = (&object["roleRef"], Path::root("roleRef"));
    if role["apiGroup"] != GROUP {
        let given = text(&role["apiGroup"]);
        errors.push(FieldError::not_supported(&at.child("apiGroup"), given, &[GROUP]));
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    crate::rule::one_of(errors, &role["kind"], &at.child("kind"), kinds);
    optional_name(errors, &role["name"], &at.child("name"), name::path_segment);
    let at = Path::root("subjects");
    for (index, one) in items(&object["subjects"]).iter().enumerate() {
        subject(errors, one, namespaced, &at.index(index));
    }
    declared_required(errors, &role["name"], &Path::root("roleRef").child("name"));
}

fn subject(errors: &mut Errors, one: &Value, namespaced: bool, path: &Path<'_>) {
    declared_required(errors, &one["name"], &path.child("name"));
    let group = text(&one["apiGroup"]);
    match text(&one["kind"]) {
        "ServiceAccount" => {
            if !is_empty(&one["name"]) {
                named(errors, &one["name"], &path.child("name"), name::dns_subdomain);
            }
            if !group.is_empty() {
                errors.push(FieldError::not_supported(&path.child("apiGroup"), group, &[""]));
            }
            if !namespaced {
                required(errors, &one["namespace"], &path.child("namespace"));
            }
        }
        "User" | "Group" => {
            if group != GROUP {
                errors.push(FieldError::not_supported(&path.child("apiGroup"), group, &[GROUP]));
            }
        }
        other => {
            let kinds = ["ServiceAccount", "User", "Group"];
            errors.push(FieldError::not_supported(&path.child("kind"), other, &kinds));
        }
    }
}

fn same_role(errors: &mut Errors, object: &Value, old: &Value) {
    if !same(&object["roleRef"], &old["roleRef"]) {
        let part = |field: &str| Value::from(text(&object["roleRef"][field]));
        let shown = format!(
            "{{\"APIGroup\":{},\"Kind\":{},\"Name\":{}}}",
            part("apiGroup"),
            part("kind"),
            part("name")
        );
        let error = FieldError::invalid(&Path::root("roleRef"), "", "cannot change roleRef");
        errors.push(error.showing(&shown));
    }
}

/// Rules of RoleBindings.
pub(crate) const ROLE_BINDING: Rules = Rules {
    order: Order::ObjectTwice,
    validate: |errors, object| binding(errors, object, true),
    validate_update: same_role,
    ..RULES
};

/// Rules of ClusterRoleBindings.
pub(crate) const CLUSTER_ROLE_BINDING: Rules = Rules {
    order: Order::ObjectTwice,
    validate: |errors, object| binding(errors, object, false),
    validate_update: same_role,
    ..RULES
};
