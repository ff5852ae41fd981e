//! What is special about webhooks, and what they have in common with admission policies.
//!
//! Answers to upstream's `pkg/apis/admissionregistration/validation`.

use super::client::{client_config, review_versions};
use crate::rule::{Errors, label, one_of, optional_one_of, required, required_name};
use crate::rules::{RULES, Rules};
use crate::value::{is_empty, items, text};
use gifee_base::{FieldError, Path, name};
use gifee_schema::cel::Type;
use gifee_schema::cel::admission::{Declared, environment};
use serde_json::Value;

const SCOPES: [&str; 3] = ["*", "Cluster", "Namespaced"];
const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const CONDITIONS_MAXIMUM: usize = 64;

/// Rules of MutatingWebhookConfigurations.
pub(crate) const MUTATING_WEBHOOKS: Rules =
    Rules { validate: |errors, configuration| webhooks(errors, configuration, true), ..RULES };

/// Rules of ValidatingWebhookConfigurations.
pub(crate) const VALIDATING_WEBHOOKS: Rules =
    Rules { validate: |errors, configuration| webhooks(errors, configuration, false), ..RULES };

fn qualified_domain(text: &str) -> Vec<String> {
    let wrong = name::dns_subdomain(text);
    if !wrong.is_empty() {
        return vec![wrong.join(",")];
    }
    if text.split('.').count() < 3 {
        return vec!["should be a domain with at least three segments separated by dots".to_owned()];
    }
    wrong
}

fn webhooks(errors: &mut Errors, configuration: &Value, mutating: bool) {
    let path = Path::root("webhooks");
    let mut seen = Vec::new();
    for (index, webhook) in items(&configuration["webhooks"]).iter().enumerate() {
        let at = path.index(index);
        required_name(errors, &webhook["name"], &at.child("name"), qualified_domain);
        match_rules(errors, &webhook["rules"], &at.child("rules"));
        optional_one_of(errors, &webhook["failurePolicy"], &at.child("failurePolicy"), &["Fail", "Ignore"]);
        optional_one_of(errors, &webhook["matchPolicy"], &at.child("matchPolicy"), &["Equivalent", "Exact"]);
        let effects = &webhook["sideEffects"];
        let supported = ["None", "NoneOnDryRun"];
        if effects.is_null() {
            let why = "must specify one of None, NoneOnDryRun";
            errors.push(FieldError::required(&at.child("sideEffects"), why));
        } else {
            one_of(errors, effects, &at.child("sideEffects"), &supported);
        }
        let seconds = &webhook["timeoutSeconds"];
        if seconds.as_i64().is_some_and(|seconds| !(1..=30).contains(&seconds)) {
            let why = "the timeout value must be between 1 and 30 seconds";
            errors.push(FieldError::invalid(&at.child("timeoutSeconds"), seconds.clone(), why));
        }
        for field in ["namespaceSelector", "objectSelector"] {
            label::selector(errors, &webhook[field], &at.child(field));
        }
        if mutating {
            let policy = "reinvocationPolicy";
            optional_one_of(errors, &webhook[policy], &at.child(policy), &["IfNeeded", "Never"]);
        }
        client_config(errors, &webhook["clientConfig"], &at.child("clientConfig"));
        match_conditions(errors, &webhook["matchConditions"], false, &at.child("matchConditions"));
        let versions = &webhook["admissionReviewVersions"];
        let versions_at = at.child("admissionReviewVersions");
        let accepted = ["v1", "v1beta1"];
        review_versions(errors, versions, &versions_at, &accepted, "must specify one of v1, v1beta1");
        if !is_empty(&webhook["name"]) {
            crate::rule::unique(errors, &mut seen, text(&webhook["name"]), &at.child("name"));
        }
    }
}

pub(super) fn match_rules(errors: &mut Errors, list: &Value, path: &Path<'_>) {
    for (index, rule) in items(list).iter().enumerate() {
        let at = path.index(index);
        let (operations, at_operations) = (&rule["operations"], at.child("operations"));
        one_or_all(errors, operations, &at_operations, "operations");
        for (index, one) in items(operations).iter().enumerate() {
            one_of(errors, one, &at_operations.index(index), &OPERATIONS);
        }
        one_or_all(errors, &rule["apiGroups"], &at.child("apiGroups"), "API groups");
        let (versions, at_versions) = (&rule["apiVersions"], at.child("apiVersions"));
        one_or_all(errors, versions, &at_versions, "API versions");
        for (index, one) in items(versions).iter().enumerate() {
            required(errors, one, &at_versions.index(index));
        }
        match_names(errors, &rule["resources"], &at.child("resources"));
        optional_one_of(errors, &rule["scope"], &at.child("scope"), &SCOPES);
    }
}

/// A list that must not be empty, and in which everything stands alone.
fn one_or_all(errors: &mut Errors, list: &Value, path: &Path<'_>, what: &str) {
    required(errors, list, path);
    if items(list).len() > 1 && items(list).iter().any(|one| one == "*") {
        let why = format!("if '*' is present, must not specify other {what}");
        errors.push(FieldError::invalid(path, list.clone(), &why));
    }
}

/// Resources and their parts, of which none may be in another already.
fn match_names(errors: &mut Errors, list: &Value, path: &Path<'_>) {
    required(errors, list, path);
    let (mut whole_resources, mut whole_parts) = (Vec::new(), Vec::new());
    let (mut everything, mut all_resources, mut plain) = (false, false, false);
    for (index, one) in items(list).iter().enumerate() {
        let at = path.index(index);
        if required(errors, one, &at) {
            continue;
        }
        let name = text(one);
        everything |= name == "*/*";
        all_resources |= name == "*";
        let Some((resource, part)) = name.split_once('/') else {
            plain = name != "*";
            continue;
        };
        if whole_resources.contains(&resource) {
            let why = format!("if '{resource}/*' is present, must not specify {name}");
            errors.push(FieldError::invalid(&at, name, &why));
        }
        if whole_parts.contains(&part) {
            let why = format!("if '*/{part}' is present, must not specify {name}");
            errors.push(FieldError::invalid(&at, name, &why));
        }
        if part == "*" {
            whole_resources.push(resource);
        }
        if resource == "*" {
            whole_parts.push(part);
        }
    }
    if items(list).len() > 1 && everything {
        let why = "if '*/*' is present, must not specify other resources";
        errors.push(FieldError::invalid(path, list.clone(), why));
    }
    if all_resources && plain {
        let why = "if '*' is present, must not specify other resources without subresources";
        errors.push(FieldError::invalid(path, list.clone(), why));
    }
}

/// Conditions of a webhook or a policy, compiled; `params` says whether they may name parameters.
pub(super) fn match_conditions(errors: &mut Errors, list: &Value, params: bool, path: &Path<'_>) {
    let list = items(list);
    if list.len() > CONDITIONS_MAXIMUM {
        errors.push(FieldError::too_many(path, list.len(), CONDITIONS_MAXIMUM));
    }
    // As upstream, they may not name variables, even where there are some.
    let environment =
        (!list.is_empty()).then(|| environment(Declared { params, authorizer: true, ..Declared::default() }));
    let mut seen = Vec::new();
    for (index, one) in list.iter().enumerate() {
        let at = path.index(index);
        let (expression, at_expression) = (text(&one["expression"]).trim(), at.child("expression"));
        if expression.is_empty() {
            errors.push(FieldError::required(&at_expression, ""));
        } else if let Some(environment) = environment.as_ref().filter(|_| index < CONDITIONS_MAXIMUM)
            && let Err(error) = environment.compile(expression, &[Type::Bool])
        {
            errors.push(FieldError::invalid(&at_expression, expression, &error.detail()));
        }
        required_name(errors, &one["name"], &at.child("name"), name::qualified);
        crate::rule::unique(errors, &mut seen, text(&one["name"]), &at.child("name"));
    }
}
