//! What requests a FlowSchema is about: whose, and for what.
//!
//! Answers to upstream's `pkg/apis/flowcontrol/validation`.

use crate::rule::{Errors, named, required, required_because};
use crate::value::{items, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;

const VERBS: [&str; 9] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
const NON_RESOURCE_VERBS: [&str; 7] = ["delete", "get", "head", "options", "patch", "post", "put"];

/// One rule with subjects.
pub(super) fn rule(errors: &mut Errors, rule: &Value, path: &Path<'_>) {
    let at = path.child("subjects");
    if !required_because(errors, &rule["subjects"], &at, "subjects must contain at least one value") {
        for (index, one) in items(&rule["subjects"]).iter().enumerate() {
            subject(errors, one, &at.index(index));
        }
    }
    let (resources, others) = (items(&rule["resourceRules"]), items(&rule["nonResourceRules"]));
    if resources.is_empty() && others.is_empty() {
        let why = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.push(FieldError::required(path, why));
    }
    let at = path.child("resourceRules");
    for (index, one) in resources.iter().enumerate() {
        resource_rule(errors, one, &at.index(index));
    }
    let at = path.child("nonResourceRules");
    for (index, one) in others.iter().enumerate() {
        non_resource_rule(errors, one, &at.index(index));
    }
}

fn subject(errors: &mut Errors, subject: &Value, path: &Path<'_>) {
    let kinds = [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];
    let kind = text(&subject["kind"]);
    let Some((_, own)) = kinds.iter().find(|(known, _)| *known == kind) else {
        let known = ["Group", "ServiceAccount", "User"];
        return errors.push(FieldError::not_supported(&path.child("kind"), kind, &known));
    };
    let (body, at) = (&subject[*own], path.child(own));
    if body.is_null() {
        let why = format!("{own} is required when subject kind is '{kind}'");
        errors.push(FieldError::required(&at, &why));
    } else if *own == "serviceAccount" {
        account(errors, body, &at);
    } else {
        required(errors, &body["name"], &at.child("name"));
    }
    for (other_kind, other) in kinds.iter().filter(|(other, _)| *other != kind) {
        if !subject[*other].is_null() {
            let why = format!("{other} is forbidden when subject kind is not '{other_kind}'");
            errors.push(FieldError::forbidden(&path.child(other), &why));
        }
    }
}

fn account(errors: &mut Errors, account: &Value, path: &Path<'_>) {
    if !required(errors, &account["name"], &path.child("name")) && account["name"] != "*" {
        named(errors, &account["name"], &path.child("name"), name::dns_subdomain);
    }
    let at = path.child("namespace");
    let why = "must specify namespace for service account";
    if !required_because(errors, &account["namespace"], &at, why) && account["namespace"] != "*" {
        named(errors, &account["namespace"], &at, name::dns_label);
    }
}

/// A list that is there, and is `*` alone or has no `*`.
fn exclusive(errors: &mut Errors, list: &Value, path: &Path<'_>, missing: &str, others: &str) -> bool {
    if required_because(errors, list, path, missing) {
        return false;
    }
    alone(errors, list, path, others)
}

fn alone(errors: &mut Errors, list: &Value, path: &Path<'_>, others: &str) -> bool {
    let wildcard = items(list).iter().any(|one| one == "*");
    if wildcard && items(list).len() > 1 {
        let why = format!("if '*' is present, must not specify other {others}");
        errors.push(FieldError::invalid(path, list.clone(), &why));
    }
    !wildcard
}

fn verbs(errors: &mut Errors, list: &Value, known: &[&str], path: &Path<'_>) {
    let at = path.child("verbs");
    if exclusive(errors, list, &at, "verbs must contain at least one value", "verbs")
        && items(list).iter().any(|verb| !known.contains(&text(verb)))
    {
        errors.push(FieldError::not_supported(&at, list.clone(), known));
    }
}

fn resource_rule(errors: &mut Errors, rule: &Value, path: &Path<'_>) {
    verbs(errors, &rule["verbs"], &VERBS, path);
    let why = "resource rules must supply at least one api group";
    exclusive(errors, &rule["apiGroups"], &path.child("apiGroups"), why, "api groups");
    let why = "resource rules must supply at least one resource";
    exclusive(errors, &rule["resources"], &path.child("resources"), why, "resources");
    let (namespaces, at) = (&rule["namespaces"], path.child("namespaces"));
    if items(namespaces).is_empty() && rule["clusterScope"] != true {
        let why = "resource rules that are not cluster scoped must supply at least one namespace";
        errors.push(FieldError::required(&at, why));
    } else {
        alone(errors, namespaces, &at, "namespaces");
    }
    for (index, one) in items(namespaces).iter().enumerate() {
        if one != "*" {
            named(errors, one, &at.index(index), name::dns_label);
        }
    }
}

fn non_resource_rule(errors: &mut Errors, rule: &Value, path: &Path<'_>) {
    verbs(errors, &rule["verbs"], &NON_RESOURCE_VERBS, path);
    let (urls, at) = (&rule["nonResourceURLs"], path.child("nonResourceURLs"));
    let why = "nonResourceURLs must contain at least one value";
    if !exclusive(errors, urls, &at, why, "non-resource URLs") {
        return;
    }
    for (index, one) in items(urls).iter().enumerate() {
        let given = text(one);
        let why = match given {
            "" => "must not be empty",
            "/" => continue,
            _ if !given.starts_with('/') => "must start with slash",
            _ if given.contains(' ') => "must not contain white-space",
            _ if given.contains("//") => "must not contain double slash",
            _ if given.matches('*').count() > 1 || (given.contains('*') && !given.ends_with("/*")) => {
                "wildcard can only do suffix matching"
            }
            _ => continue,
        };
        errors.push(FieldError::invalid(&at.index(index), given, why));
    }
}
