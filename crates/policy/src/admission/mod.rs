//! Is what they ask acceptable, and what is added to it: the ordered admission RULES.
//!
//! Answers to upstream's admission chain. Mutating rules run in the order of the table, then, after validation of
//! the object itself, the validating ones. A rule is one file and one row.

mod always_pull;
mod certificates;
mod extended_resources;
mod foresight;
mod ingress_class;
mod limit_ranger;
mod namespace_lifecycle;
mod node_restriction;
mod owner_references;
mod pod_resize;
mod pod_security;
mod priority;
mod protection;
mod resource_quota;
mod runtime_class;
mod service_account;
mod storage_class;
mod tolerations;
mod topology_labels;
mod trust_bundle;
mod volume_resize;

use crate::{Attributes, Lookup, User};
use gifee_base::{Gvk, Object, ObjectKey, Reason, Status};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
pub use storage_class::default_storage_class;

/// What is being done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new object.
    Create,
    /// A changed object, or a changed part of it.
    Update,
    /// An object goes.
    Delete,
    /// A stream or proxy is opened.
    Connect,
}

/// A write on its way to the store.
pub struct Request<'a> {
    /// What.
    pub operation: Operation,
    /// Kind of the object.
    pub gvk: &'a Gvk,
    /// Plural resource.
    pub resource: &'a str,
    /// Subresource or empty.
    pub subresource: &'a str,
    /// Namespace or empty.
    pub namespace: &'a str,
    /// Name; empty while it is still to be generated.
    pub name: &'a str,
    /// Who asks.
    pub user: &'a User,
    /// The object as it is in the store.
    pub old: Option<&'a Value>,
    /// Whether nothing will be written.
    pub dry_run: bool,
    /// Options of the request, such as DeleteOptions.
    pub options: &'a Value,
    /// Whether the user may do something else: for rules that a change needs further rights by.
    pub permits: &'a dyn Permits,
    /// What is said besides the decision.
    pub notes: &'a Notes,
    /// Told of every rule that was asked.
    pub asked: Asked<'a>,
}

/// Who says whether a user may do something.
pub trait Permits: Send + Sync {
    /// Whether it is allowed; the error is the reason why not.
    ///
    /// # Errors
    /// The reason of the authorizers, which may be empty.
    fn permits(&self, attributes: &Attributes, lookup: &dyn Lookup) -> Result<(), String>;
}

impl Permits for crate::authorize::Authorizer {
    fn permits(&self, attributes: &Attributes, lookup: &dyn Lookup) -> Result<(), String> {
        use crate::authorize::Decision;
        match self.authorize(attributes, lookup) {
            Decision::Allow(_) => Ok(()),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => Err(reason.to_string()),
        }
    }
}

/// What rules say besides their decision.
#[derive(Debug, Default)]
pub struct Notes {
    /// For the client.
    pub warnings: RefCell<Vec<String>>,
    /// For the audit log, by `plugin.domain/key`.
    pub annotations: RefCell<BTreeMap<String, String>>,
}

/// A change that a request makes to what it is counted by; it is committed before the request's own object.
#[derive(Clone, Debug, PartialEq)]
pub struct Charge {
    /// The ResourceQuota.
    pub key: ObjectKey,
    /// The revision of it that the decision was based on.
    pub revision: u64,
    /// Its `status.used` afterwards.
    pub used: Value,
}

impl Request<'_> {
    /// Whether the request is for this resource itself, none of its subresources.
    pub fn is(&self, group: &str, resource: &str) -> bool {
        &*self.gvk.group == group && self.resource == resource && self.subresource.is_empty()
    }

    /// Whether an object is created or changed.
    pub fn writes(&self) -> bool {
        matches!(self.operation, Operation::Create | Operation::Update)
    }

    /// Whether the user may do `verb` to a resource in this request's namespace or in none.
    fn permitted(&self, ask: Attributes, lookup: &dyn Lookup) -> Result<(), String> {
        let attributes = Attributes { user: Arc::new(self.user.clone()), is_resource: true, ..ask };
        self.permits.permits(&attributes, lookup)
    }

    fn forbidden(&self, why: &str) -> Status {
        Status::forbidden(&self.gvk.group, self.resource, self.name, why)
    }
}

/// What a rule takes part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// It changes objects.
    Mutates,
    /// It judges them.
    Validates,
    /// Both.
    Both,
    /// It counts what all others have accepted.
    Charges,
}

/// Told of every rule that was asked, by its place in [`RULES`], and whether it refused the request.
pub type Asked<'a> = &'a dyn Fn(usize, bool);

/// One admission rule. Both functions do nothing by default.
pub trait Rule: Send + Sync {
    /// Name, as upstream's plugin has it.
    fn name(&self) -> &'static str;

    /// What it takes part in: it is not asked for anything else.
    fn half(&self) -> Half {
        Half::Validates
    }

    /// Changes the object or refuses the request.
    ///
    /// # Errors
    /// The refusal.
    fn mutate(
        &self,
        _request: &Request<'_>,
        _object: &mut Value,
        _lookup: &dyn Lookup,
    ) -> Result<(), Status> {
        Ok(())
    }

    /// Refuses the request, or not; `object` is null for a deletion.
    ///
    /// # Errors
    /// The refusal.
    fn validate(&self, _request: &Request<'_>, _object: &Value, _lookup: &dyn Lookup) -> Result<(), Status> {
        Ok(())
    }

    /// What the request is counted by, if it is accepted by all others; of `only` these if it is not empty.
    ///
    /// # Errors
    /// The refusal.
    fn charge(
        &self,
        _request: &Request<'_>,
        _object: &Value,
        _lookup: &dyn Lookup,
        _only: &[ObjectKey],
    ) -> Result<Vec<Charge>, Status> {
        Ok(Vec::new())
    }

    /// Whether it runs unless it is switched off.
    fn on(&self) -> bool {
        true
    }
}

/// All built-in rules in upstream's order.
pub const RULES: &[&dyn Rule] = &[
    &namespace_lifecycle::NamespaceLifecycle,
    &service_account::ServiceAccount,
    &node_restriction::NodeRestriction,
    &tolerations::TaintNodesByCondition,
    &always_pull::AlwaysPullImages,
    &limit_ranger::LimitRanger,
    &pod_security::PodSecurity,
    &topology_labels::PodTopologyLabels,
    &priority::Priority,
    &tolerations::DefaultTolerationSeconds,
    &extended_resources::ExtendedResourceToleration,
    &storage_class::DefaultStorageClass,
    &protection::StorageObjectInUseProtection,
    &owner_references::OwnerReferencesPermissionEnforcement,
    &volume_resize::PersistentVolumeClaimResize,
    &runtime_class::RuntimeClass,
    &certificates::CertificateApproval,
    &certificates::CertificateSigning,
    &trust_bundle::ClusterTrustBundleAttest,
    &certificates::CertificateSubjectRestriction,
    &ingress_class::DefaultIngressClass,
    &pod_resize::NodeDeclaredFeatureValidator,
    &pod_resize::PodResizeValidator,
    &foresight::Foresight,
    &resource_quota::ResourceQuota,
];

/// The rules that run: those that are on unless they are named otherwise; with their places in [`RULES`].
pub struct Chain {
    rules: Vec<(usize, &'static dyn Rule)>,
}

impl Default for Chain {
    fn default() -> Self {
        Self::new(&[], &[])
    }
}

impl Chain {
    /// The rules that are on, with these and without those.
    pub fn new(enable: &[&str], disable: &[&str]) -> Self {
        let runs = |(_, rule): &(usize, &dyn Rule)| {
            let name = rule.name();
            !disable.contains(&name) && (rule.on() || enable.contains(&name))
        };
        Self { rules: RULES.iter().copied().enumerate().filter(runs).collect() }
    }

    /// Asks the rules that have a part in it, one after the other, until one refuses.
    fn each(
        &self,
        request: &Request<'_>,
        halves: [Half; 2],
        mut ask: impl FnMut(&dyn Rule) -> Result<(), Status>,
    ) -> Result<(), Status> {
        for (place, rule) in self.rules.iter().filter(|(_, rule)| halves.contains(&rule.half())) {
            let outcome = ask(*rule);
            (request.asked)(*place, outcome.is_err());
            outcome?;
        }
        Ok(())
    }

    /// Runs the mutating half.
    ///
    /// # Errors
    /// The first refusal.
    pub fn mutate(
        &self,
        request: &Request<'_>,
        object: &mut Value,
        lookup: &dyn Lookup,
    ) -> Result<(), Status> {
        let outcome =
            self.each(request, [Half::Mutates, Half::Both], |rule| rule.mutate(request, object, lookup));
        outcome.map_err(|status| named(status, request, object))
    }

    /// Runs the validating half.
    ///
    /// # Errors
    /// The first refusal.
    pub fn validate(&self, request: &Request<'_>, object: &Value, lookup: &dyn Lookup) -> Result<(), Status> {
        let outcome =
            self.each(request, [Half::Validates, Half::Both], |rule| rule.validate(request, object, lookup));
        outcome.map_err(|status| named(status, request, object))
    }

    /// What the request is counted by, when nothing else refuses it.
    ///
    /// # Errors
    /// The first refusal.
    pub fn charge(
        &self,
        request: &Request<'_>,
        object: &Value,
        lookup: &dyn Lookup,
        only: &[ObjectKey],
    ) -> Result<Vec<Charge>, Status> {
        let mut charges = Vec::new();
        let outcome = self.each(request, [Half::Charges; 2], |rule| {
            charges.extend(rule.charge(request, object, lookup, only)?);
            Ok(())
        });
        outcome.map_err(|status| named(status, request, object))?;
        Ok(charges)
    }
}

/// A refusal of what has no name in the URL names it as its object does.
fn named(status: Status, request: &Request<'_>, object: &Value) -> Status {
    if !request.name.is_empty() || !status.is(Reason::Forbidden) {
        return status;
    }
    let nameless = request.forbidden("");
    let Some(why) = status.message.strip_prefix(&nameless.message) else { return status };
    let text = |field: &str| object["metadata"][field].as_str().filter(|text| !text.is_empty());
    let name = text("name").or_else(|| text("generateName")).unwrap_or("Unknown");
    let mut refusal = Status::forbidden(&request.gvk.group, request.resource, name, why);
    if let (Some(details), Some(old)) = (&mut refusal.details, status.details) {
        details.causes = old.causes;
    }
    refusal
}

fn decoded(object: Option<Arc<Object>>) -> Option<Value> {
    object.and_then(|object| object.to_value().ok())
}

/// The text of several failures, as upstream's aggregates have it.
fn aggregate(mut failures: Vec<String>) -> Option<String> {
    let mut seen = Vec::new();
    failures.retain(|one| {
        !seen.contains(one) && {
            seen.push(one.clone());
            true
        }
    });
    match failures.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(format!("[{}]", many.join(", "))),
    }
}

#[cfg(test)]
mod tests;
