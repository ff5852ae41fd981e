//! Whether a webhook wants a request, and in which version of its resource.
//!
//! Answers to upstream's `predicates` and `ShouldCallHook`.

use super::GROUP;
use super::hook::{Hook, Rule, Scope, Selector, WILDCARD, bit};
use crate::kinds::Resource;
use crate::seam::Operation;
use crate::write::Write;
use gifee_base::{Gvk, LabelSelector, ObjectKey, Status};
use gifee_policy::Lookup;
use serde_json::Value;
use std::sync::Arc;

/// A request, as webhooks are asked about it.
pub struct Subject<'a> {
    /// The write.
    pub write: &'a Write<'a>,
    /// What is done.
    pub operation: Operation,
    /// The object as it is.
    pub old: Option<&'a Value>,
    /// Namespace; that of a Namespace is its own name.
    pub namespace: String,
    /// Name; empty while it is still to be generated.
    pub name: String,
    /// Kind of the object, which for some subresources is not the resource's.
    pub gvk: Gvk,
}

/// A webhook that wants a request.
pub struct Invocation<'a> {
    /// The webhook.
    pub hook: &'a Hook,
    /// The resource in the version that a rule names.
    pub resource: Arc<Resource>,
    /// Kind of the object in that version.
    pub gvk: Gvk,
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

fn gvk_of(object: &Value) -> Option<Gvk> {
    let (kind, api_version) = (object["kind"].as_str()?, object["apiVersion"].as_str()?);
    let (group, version) = gifee_base::gvk::split_api_version(api_version);
    (!kind.is_empty()).then(|| Gvk::new(group, version, kind))
}

impl<'a> Subject<'a> {
    /// Of a write.
    pub fn new(write: &'a Write<'a>, operation: Operation, object: &Value, old: Option<&'a Value>) -> Self {
        let attributes = write.attributes;
        let shown = if object.is_null() { old.unwrap_or(object) } else { object };
        let mut name = attributes.name.as_str();
        if name.is_empty() {
            name = text(shown, "name");
        }
        let mut namespace = attributes.namespace.as_str();
        if namespace.is_empty() && is_namespaces(write.resource) && write.subresource.is_empty() {
            namespace = name;
        }
        let gvk = gvk_of(shown).unwrap_or_else(|| write.resource.kind.gvk.clone());
        Self { write, operation, old, namespace: namespace.into(), name: name.into(), gvk }
    }

    /// Whether webhooks are never asked: about webhooks and policies themselves.
    pub fn is_exempt(&self) -> bool {
        &*self.gvk.group == GROUP
            && matches!(
                &*self.gvk.kind,
                "ValidatingWebhookConfiguration"
                    | "MutatingWebhookConfiguration"
                    | "ValidatingAdmissionPolicy"
                    | "ValidatingAdmissionPolicyBinding"
                    | "MutatingAdmissionPolicy"
                    | "MutatingAdmissionPolicyBinding"
            )
    }

    /// The invocation of a webhook that wants this.
    ///
    /// # Errors
    /// If it cannot be decided: 404 without the namespace, 500 with a malformed selector.
    pub fn invocation<'b>(&self, hook: &'b Hook, object: &Value) -> Result<Option<Invocation<'b>>, Status> {
        // As upstream, what cannot be decided counts only for a webhook whose rules match.
        let in_namespace = self.in_namespace(&hook.namespaces, object);
        if matches!(in_namespace, Ok(false)) {
            return Ok(None);
        }
        let selected = self.selected(&hook.objects, object);
        if matches!(selected, Ok(false)) {
            return Ok(None);
        }
        let Some((resource, gvk)) = self.resource(&hook.rules, hook.equivalent) else { return Ok(None) };
        in_namespace?;
        selected?;
        Ok(Some(Invocation { hook, resource, gvk }))
    }

    /// The resource, in the version that the first matching rule names, and the kind in that version.
    pub(crate) fn resource(&self, rules: &[Rule], equivalent: bool) -> Option<(Arc<Resource>, Gvk)> {
        let own = self.write.resource;
        if rules.iter().any(|rule| self.matches(rule, own)) {
            return Some((own.clone(), self.gvk.clone()));
        }
        if !equivalent {
            return None;
        }
        let kinds = self.write.server.kinds.load();
        let others = |one: &&Arc<Resource>| {
            one.kind.stored && one.kind.storage == own.kind.storage && !Arc::ptr_eq(one, own)
        };
        for rule in rules {
            if let Some(found) = kinds.all().iter().filter(others).find(|one| self.matches(rule, one)) {
                // A part with a kind of its own has that in every version.
                let part = found.subresource(self.write.subresource).and_then(|part| part.gvk.clone());
                return Some((found.clone(), part.unwrap_or_else(|| found.kind.gvk.clone())));
            }
        }
        None
    }

    fn matches(&self, rule: &Rule, resource: &Resource) -> bool {
        let any = |list: &[String], wanted: &str| list.iter().any(|one| one == WILDCARD || one == wanted);
        let namespaces = is_namespaces(resource);
        let scope = match rule.scope {
            Scope::Any => true,
            Scope::Namespaced => !namespaces && !self.namespace.is_empty(),
            Scope::Cluster => namespaces || self.namespace.is_empty(),
        };
        scope
            && (rule.names.is_empty() || rule.names.contains(&self.name))
            && rule.operations & bit(self.operation) != 0
            && any(&rule.groups, resource.group())
            && any(&rule.versions, resource.version())
            && rule.resources.iter().any(|(name, part)| {
                (name == WILDCARD || name == resource.name())
                    && (part == WILDCARD || part == self.write.subresource)
            })
    }

    /// Whether its namespace is selected.
    pub(crate) fn in_namespace(&self, selector: &Selector, object: &Value) -> Result<bool, Status> {
        let namespaces = self.write.resource.name() == "namespaces";
        if self.namespace.is_empty() && !namespaces {
            return Ok(true);
        }
        let selector = selector.as_ref().map_err(Status::internal)?;
        if selector.is_everything() {
            return Ok(true);
        }
        let written = matches!(self.operation, Operation::Create | Operation::Update);
        if namespaces && self.write.subresource.is_empty() && written {
            return Ok(labelled(selector, object));
        }
        let key = ObjectKey::cluster(&self.namespace);
        let found = Lookup::get(&*self.write.server.caches, "", "namespaces", &key);
        let found = found.ok_or_else(|| Status::not_found("", "namespaces", &self.namespace))?;
        Ok(found.selected(selector))
    }

    /// Whether the object is selected, as it is or as it is to be.
    pub(crate) fn selected(&self, selector: &Selector, object: &Value) -> Result<bool, Status> {
        let selector = selector.as_ref().map_err(Status::internal)?;
        let carries = |object: &Value| object["metadata"].is_object() && labelled(selector, object);
        Ok(selector.is_everything() || carries(object) || self.old.is_some_and(carries))
    }
}

fn is_namespaces(resource: &Resource) -> bool {
    resource.group().is_empty() && resource.name() == "namespaces"
}

fn labelled(selector: &LabelSelector, object: &Value) -> bool {
    let labels = &object["metadata"]["labels"];
    selector.matches(|key| labels.get(key).and_then(Value::as_str))
}
