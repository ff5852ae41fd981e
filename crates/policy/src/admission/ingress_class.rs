//! An Ingress that names no class gets the default one.
//!
//! Answers to upstream's `DefaultIngressClass`.

use super::storage_class::annotated;
use super::{Operation, Request, Rule};
use crate::Lookup;
use gifee_base::Status;
use serde_json::Value;

const GROUP: &str = "networking.k8s.io";
const DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";
const OLD_CLASS: &str = "kubernetes.io/ingress.class";

/// The rule.
pub struct DefaultIngressClass;

impl Rule for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    fn half(&self) -> super::Half {
        super::Half::Mutates
    }

    fn mutate(&self, request: &Request<'_>, ingress: &mut Value, lookup: &dyn Lookup) -> Result<(), Status> {
        if !request.is(GROUP, "ingresses") || request.operation != Operation::Create {
            return Ok(());
        }
        let named = ingress["spec"]["ingressClassName"].is_string()
            || ingress["metadata"]["annotations"].get(OLD_CLASS).is_some();
        if !named && let Some(class) = annotated(lookup, GROUP, "ingressclasses", &[DEFAULT]) {
            ingress["spec"]["ingressClassName"] = class.into();
        }
        Ok(())
    }
}
