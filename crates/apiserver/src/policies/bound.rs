//! A policy with its bindings, ready to be matched.

use crate::kinds::Resource;
use crate::webhook::hook::{Rule, Selector};
use crate::webhook::matching::Subject;
use gifee_base::{Gvk, LabelSelector, Status};
use gifee_policy::policies::Policy;
use serde_json::Value;
use std::sync::Arc;

/// What a policy or a binding is for.
pub struct Target {
    pub rules: Vec<Rule>,
    excludes: Vec<Rule>,
    equivalent: bool,
    namespaces: Selector,
    objects: Selector,
}

/// Which objects are parameters.
pub struct Params {
    pub name: String,
    pub namespace: String,
    pub selector: Option<Selector>,
    /// Whether a request is refused if there are none.
    pub required: bool,
}

/// What follows if a validation does not hold.
#[derive(Clone, Copy, Default)]
pub struct Actions {
    pub deny: bool,
    pub warn: bool,
    pub audit: bool,
}

/// A binding.
pub struct Binding {
    pub name: String,
    target: Option<Target>,
    pub params: Option<Params>,
    pub actions: Actions,
    /// The actions as they stand in the binding.
    pub listed: Value,
}

/// A policy with at least one binding.
pub struct Bound {
    pub policy: Arc<Policy>,
    /// The revision at which it was compiled.
    pub revision: u64,
    pub target: Target,
    pub bindings: Vec<Binding>,
}

fn rules(list: &Value) -> Vec<Rule> {
    list.as_array().into_iter().flatten().map(Rule::new).collect()
}

fn selector(value: &Value) -> Selector {
    // A selector that is not given selects everything.
    if value.is_null() { Ok(LabelSelector::everything()) } else { LabelSelector::from_value(value) }
}

impl Target {
    /// From `matchConstraints` or `matchResources`.
    pub fn new(value: &Value) -> Self {
        Self {
            rules: rules(&value["resourceRules"]),
            excludes: rules(&value["excludeResourceRules"]),
            equivalent: value["matchPolicy"] != "Exact",
            namespaces: selector(&value["namespaceSelector"]),
            objects: selector(&value["objectSelector"]),
        }
    }

    /// The resource and kind in the version that matches, if it matches at all.
    ///
    /// # Errors
    /// If it cannot be decided.
    pub fn matched(
        &self,
        subject: &Subject<'_>,
        object: &Value,
    ) -> Result<Option<(Arc<Resource>, Gvk)>, Status> {
        // As upstream, what cannot be decided counts only where the rules match.
        let in_namespace = subject.in_namespace(&self.namespaces, object);
        let selected = subject.selected(&self.objects, object);
        if matches!(in_namespace, Ok(false)) || matches!(selected, Ok(false)) {
            return Ok(None);
        }
        if subject.resource(&self.excludes, self.equivalent).is_some() {
            return Ok(None);
        }
        let found = if self.rules.is_empty() {
            Some((subject.write.resource.clone(), subject.gvk.clone()))
        } else {
            subject.resource(&self.rules, self.equivalent)
        };
        if found.is_some() {
            in_namespace?;
            selected?;
        }
        Ok(found)
    }
}

impl Binding {
    /// From a binding object of either kind.
    pub fn new(object: &Value) -> Self {
        let spec = &object["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut actions = Actions::default();
        for action in spec["validationActions"].as_array().into_iter().flatten() {
            match action.as_str() {
                Some("Deny") => actions.deny = true,
                Some("Warn") => actions.warn = true,
                Some("Audit") => actions.audit = true,
                _ => {}
            }
        }
        let params = &spec["paramRef"];
        Self {
            name: text(&object["metadata"]["name"]),
            target: spec["matchResources"].is_object().then(|| Target::new(&spec["matchResources"])),
            params: params.is_object().then(|| Params {
                name: text(&params["name"]),
                namespace: text(&params["namespace"]),
                selector: params["selector"]
                    .is_object()
                    .then(|| LabelSelector::from_value(&params["selector"])),
                required: params["parameterNotFoundAction"] == "Deny",
            }),
            actions,
            listed: spec["validationActions"].clone(),
        }
    }

    /// Whether it is for a request.
    ///
    /// # Errors
    /// If it cannot be decided.
    pub fn matches(&self, subject: &Subject<'_>, object: &Value) -> Result<bool, Status> {
        match &self.target {
            None => Ok(true),
            Some(target) => Ok(target.matched(subject, object)?.is_some()),
        }
    }
}
