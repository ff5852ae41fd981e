//! The Node authorizer: a node agent may read what the pods bound to its node refer to, and nothing else.
//!
//! Answers to upstream's `node` authorizer. Upstream keeps a graph; here the pods of the namespace in question
//! are looked through when a node asks, which it does once for each object it then watches.

mod relation;

use super::{Decision, Rule, bootstrap, rbac};
use crate::{Attributes, Lookup};
use gifee_base::FieldSelector;
use relation::Related;
use std::sync::{Arc, LazyLock};

const USER_PREFIX: &str = "system:node:";
const GROUP: &str = "system:nodes";
/// Verbs on what belongs to one node by its name.
const OWN: [&str; 5] = ["get", "create", "update", "patch", "delete"];

/// The name of the node that a user is the agent of.
pub fn node_of<'a>(name: &'a str, groups: &[String]) -> Option<&'a str> {
    let node = name.strip_prefix(USER_PREFIX).filter(|node| !node.is_empty())?;
    groups.iter().any(|group| group == GROUP).then_some(node)
}

/// What every node may do, wherever it is: the rules of `system:node`.
static NODE_RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| bootstrap::rules_of("system:node"));

/// Decides what nodes ask; has no opinion on others.
pub fn authorize(attributes: &Attributes, lookup: &dyn Lookup) -> Decision {
    let Some(node) = node_of(&attributes.user.name, &attributes.user.groups) else {
        return Decision::NoOpinion(Arc::default());
    };
    if attributes.is_resource
        && let Some(decision) = (Question { node, attributes, lookup }).own()
    {
        return decision;
    }
    if NODE_RULES.iter().any(|rule| rbac::covers(rule, attributes)) {
        return Decision::Allow(Arc::default());
    }
    Decision::NoOpinion(Arc::default())
}

fn allowed() -> Option<Decision> {
    Some(Decision::Allow(Arc::default()))
}

fn refused(why: &str) -> Option<Decision> {
    Some(Decision::NoOpinion(why.into()))
}

/// What a node asks.
struct Question<'a> {
    node: &'a str,
    attributes: &'a Attributes,
    lookup: &'a dyn Lookup,
}

impl Question<'_> {
    /// Decisions on resources of which a node sees only a part; None where the common rules hold.
    fn own(&self) -> Option<Decision> {
        let (verb, part) = (self.attributes.verb.as_str(), self.attributes.subresource.as_str());
        match (self.attributes.group.as_str(), self.attributes.resource.as_str()) {
            ("", "secrets" | "configmaps") => self.read(),
            ("", "persistentvolumeclaims") if part == "status" => match verb {
                "update" | "patch" => self.related(),
                _ => refused("can only get/update/patch this type"),
            },
            ("", "persistentvolumeclaims" | "persistentvolumes")
            | ("resource.k8s.io", "resourceclaims")
            | ("storage.k8s.io", "volumeattachments") => self.get(),
            ("", "serviceaccounts") => self.service_account(),
            ("coordination.k8s.io", "leases") => self.lease(),
            ("storage.k8s.io", "csinodes") => self.csi_node(),
            ("resource.k8s.io", "resourceslices") => self.resource_slice(),
            ("certificates.k8s.io", "podcertificaterequests") => self.certificate_request(),
            ("", "nodes") => self.node(),
            ("", "pods") => self.pod(),
            _ => None,
        }
    }

    /// Whether something on the node leads to the object that is asked for.
    fn related(&self) -> Option<Decision> {
        if self.attributes.name.is_empty() {
            return refused("No Object name found");
        }
        let related = Related { node: self.node, lookup: self.lookup };
        let Attributes { resource, namespace, name, .. } = self.attributes;
        if related.to(resource, namespace, name) {
            return allowed();
        }
        refused(&format!("no relationship found between node '{}' and this object", self.node))
    }

    fn read(&self) -> Option<Decision> {
        if !matches!(self.attributes.verb.as_str(), "get" | "list" | "watch") {
            return refused("can only read resources of this type");
        }
        if !self.attributes.subresource.is_empty() {
            return refused("cannot read subresource");
        }
        if self.attributes.namespace.is_empty() {
            return refused("can only read namespaced object of this type");
        }
        self.related()
    }

    fn get(&self) -> Option<Decision> {
        if self.attributes.verb != "get" {
            return refused("can only get individual resources of this type");
        }
        if !self.attributes.subresource.is_empty() {
            return refused("cannot get subresource");
        }
        self.related()
    }

    fn service_account(&self) -> Option<Decision> {
        let Attributes { verb, subresource, name, .. } = self.attributes;
        if verb == "get" && subresource.is_empty() {
            return self.read();
        }
        if verb != "create" || name.is_empty() {
            return refused("can only create tokens for individual service accounts");
        }
        if subresource != "token" {
            return refused("can only create token subresource of serviceaccount");
        }
        self.related()
    }

    /// Whether an object that bears the node's name is asked for; on creation admission looks at the name.
    fn named(&self, why: &str) -> Option<Decision> {
        if self.attributes.verb != "create" && self.attributes.name != self.node {
            return refused(why);
        }
        allowed()
    }

    fn lease(&self) -> Option<Decision> {
        if !OWN.contains(&self.attributes.verb.as_str()) {
            return refused("can only get, create, update, patch, or delete a node lease");
        }
        if self.attributes.namespace != "kube-node-lease" {
            return refused("can only access leases in the \"kube-node-lease\" system namespace");
        }
        self.named("can only access node lease with the same name as the requesting node")
    }

    fn csi_node(&self) -> Option<Decision> {
        if !OWN.contains(&self.attributes.verb.as_str()) {
            return refused("can only get, create, update, patch, or delete a CSINode");
        }
        if !self.attributes.subresource.is_empty() {
            return refused("cannot authorize CSINode subresources");
        }
        self.named("can only access CSINode with the same name as the requesting node")
    }

    /// Whether a selector pins a field to the node.
    fn selects(&self, field: &str) -> bool {
        let selector = FieldSelector::parse(&self.attributes.field_selector);
        selector.is_ok_and(|selector| selector.pinned(field) == Some(self.node))
    }

    fn resource_slice(&self) -> Option<Decision> {
        if !self.attributes.subresource.is_empty() {
            return refused("cannot authorize ResourceSlice subresources");
        }
        match self.attributes.verb.as_str() {
            "create" => allowed(),
            "get" | "update" | "patch" | "delete" => self.related(),
            "watch" | "list" | "deletecollection"
                if self.selects("spec.nodeName") || self.selects("nodeName") =>
            {
                allowed()
            }
            "watch" | "list" | "deletecollection" => {
                refused("can only list/watch/deletecollection resourceslices with nodeName field selector")
            }
            _ => refused(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection",
            ),
        }
    }

    fn certificate_request(&self) -> Option<Decision> {
        let Attributes { verb, subresource, .. } = self.attributes;
        if !subresource.is_empty() {
            return refused(&format!(
                "nodes may not access the {subresource:?} subresource of podcertificaterequests"
            ));
        }
        match verb.as_str() {
            "create" => allowed(),
            "get" => self.related(),
            "list" | "watch" if self.selects("spec.nodeName") => allowed(),
            "list" | "watch" => {
                refused("can only list/watch podcertificaterequests with nodeName field selector")
            }
            verb => refused(&format!("nodes may not {verb} podcertificaterequests")),
        }
    }

    fn node(&self) -> Option<Decision> {
        let node = self.node;
        match (self.attributes.subresource.as_str(), self.attributes.verb.as_str()) {
            ("", "create" | "update" | "patch") | ("status", "update" | "patch") => allowed(),
            ("", "get" | "list" | "watch") => match self.attributes.name.as_str() {
                name if name == node => allowed(),
                "" => refused(&format!("node '{node}' cannot read all nodes, only its own Node object")),
                name => refused(&format!("node '{node}' cannot read '{name}', only its own Node object")),
            },
            _ => refused(""),
        }
    }

    fn pod(&self) -> Option<Decision> {
        match (self.attributes.subresource.as_str(), self.attributes.verb.as_str()) {
            ("", "get") => self.get(),
            ("", "list" | "watch") if self.selects("spec.nodeName") => allowed(),
            ("", "list" | "watch") if !self.attributes.name.is_empty() => self.related(),
            ("", "list" | "watch") => refused("can only list/watch pods with spec.nodeName field selector"),
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => allowed(),
            _ => refused(""),
        }
    }
}
