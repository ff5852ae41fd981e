//! Who may do what: the access reviews and the rules of the caller.
//!
//! Answers to upstream's `authorization` registries.

use super::answered;
use crate::body::Body;
use crate::kinds::Resource;
use crate::request::Request;
use crate::write::decode_call;
use gifee_base::Status;
use gifee_base::field::{FieldError, Path};
use gifee_policy::authorize::Decision;
use gifee_policy::authorize::review::selector_text;
use gifee_policy::{Attributes, User};
use http::Response;
use serde_json::{Value, json};
use std::sync::Arc;

/// About whom a review asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Who sends it.
    Caller,
    /// Who is named in it.
    Named,
    /// Who is named in it, within the namespace of the request.
    Local,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

fn named(spec: &Value) -> User {
    let extra = spec["extra"].as_object().into_iter().flatten();
    User {
        name: text(&spec["user"]),
        uid: text(&spec["uid"]),
        groups: texts(&spec["groups"]),
        extra: extra.map(|(key, values)| (key.clone(), texts(values))).collect(),
    }
}

fn attributes(spec: &Value, user: Arc<User>) -> Attributes {
    let resource = &spec["resourceAttributes"];
    if resource.is_object() {
        let selector = |name: &str| match resource[name]["rawSelector"].as_str() {
            Some(raw) if !raw.is_empty() => raw.to_owned(),
            _ => selector_text(&resource[name]["requirements"], name == "fieldSelector"),
        };
        return Attributes {
            user,
            verb: text(&resource["verb"]),
            is_resource: true,
            group: text(&resource["group"]),
            version: text(&resource["version"]),
            resource: text(&resource["resource"]),
            subresource: text(&resource["subresource"]),
            namespace: text(&resource["namespace"]),
            name: text(&resource["name"]),
            path: String::new(),
            field_selector: selector("fieldSelector"),
            label_selector: selector("labelSelector"),
        };
    }
    let other = &spec["nonResourceAttributes"];
    Attributes { user, verb: text(&other["verb"]), path: text(&other["path"]), ..Attributes::default() }
}

/// An error that shows attributes of no resource, as upstream's own form of them is.
fn without_resource(path: &Path<'_>, given: &Value, why: &str) -> FieldError {
    let part = |field: &str| Value::from(text(&given[field]));
    let shown = format!("{{\"Path\":{},\"Verb\":{}}}", part("path"), part("verb"));
    FieldError::invalid(path, "", why).showing(&shown)
}

fn validate(review: &Value, subject: Subject, namespace: &str) -> Vec<FieldError> {
    let (root, spec) = (Path::root("spec"), &review["spec"]);
    let mut errors = Vec::new();
    let (resource, other) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    if resource.is_object() == other.is_object() {
        let path = if resource.is_object() {
            root.child("nonResourceAttributes")
        } else {
            root.child("resourceAttributes")
        };
        errors.push(if resource.is_object() {
            without_resource(&path, other, "cannot be specified in combination with resourceAttributes")
        } else {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            FieldError::invalid(&path, Value::Null, why)
        });
    }
    if subject != Subject::Caller && text(&spec["user"]).is_empty() && texts(&spec["groups"]).is_empty() {
        let why = "at least one of user or group must be specified";
        errors.push(FieldError::invalid(&root.child("user"), "", why));
    }
    let attributes = root.child("resourceAttributes");
    for name in ["fieldSelector", "labelSelector"] {
        selector(&attributes.child(name), &resource[name], &mut errors);
    }
    errors.extend(bare(&review["metadata"], subject));
    if subject == Subject::Local {
        let path = attributes.child("namespace");
        let own = text(&resource["namespace"]);
        if resource.is_object() && own != namespace {
            let why = "must match metadata.namespace";
            errors.push(FieldError::invalid(&path, own, why));
        }
        if other.is_object() {
            let path = root.child("nonResourceAttributes");
            errors.push(without_resource(&path, other, "disallowed on this kind of request"));
        }
    }
    errors
}

/// What is wrong with a selector: it is given in one form, and in one.
fn selector(path: &Path<'_>, selector: &Value, errors: &mut Vec<FieldError>) {
    if !selector.is_object() {
        return;
    }
    let raw = text(&selector["rawSelector"]);
    let none = selector["requirements"].as_array().is_none_or(Vec::is_empty);
    if !raw.is_empty() && !none {
        let why = "may not specified at the same time as requirements";
        errors.push(FieldError::invalid(&path.child("rawSelector"), raw, why));
    } else if raw.is_empty() && none {
        let why = format!("when {path} is specified, requirements or rawSelector is required");
        errors.push(FieldError::required(&path.child("requirements"), &why));
    }
}

/// What is wrong with the metadata of a review: it has none of its own.
fn bare(metadata: &Value, subject: Subject) -> Option<FieldError> {
    let local = subject == Subject::Local;
    let own = metadata.as_object().into_iter().flatten().find(|(key, value)| {
        let given = !(value.is_null() || value == &"" || key.as_str() == "managedFields");
        given && key.as_str() != "creationTimestamp" && !(local && key.as_str() == "namespace")
    });
    own?;
    let why = if local { "must be empty except for namespace" } else { "must be empty" };
    Some(FieldError::invalid(&Path::root("metadata"), metadata.clone(), why))
}

/// Answers an access review.
pub async fn review(
    request: &Request<'_>,
    resource: &Arc<Resource>,
    body: Body,
    subject: Subject,
) -> Result<Response<Body>, Status> {
    let mut review = decode_call(request, body, &resource.kind.gvk).await?;
    let spec = &review["spec"];
    let errors = validate(&review, subject, &request.info.namespace);
    if !errors.is_empty() {
        return Err(Status::invalid(resource.group(), &resource.kind.gvk.kind, "", &errors));
    }
    let user = if subject == Subject::Caller { request.user.clone() } else { Arc::new(named(spec)) };
    let asked = attributes(spec, user);
    let server = request.server;
    let decision = server.config.authorizer.authorize(&asked, &*server.caches).settle().await;
    let (allowed, denied, reason) = match decision {
        Decision::Allow(reason) => (true, false, reason),
        Decision::Deny(reason) => (false, true, reason),
        Decision::NoOpinion(reason) => (false, false, reason),
    };
    let mut status = json!({ "allowed": allowed });
    if denied {
        status["denied"] = true.into();
    }
    if !reason.is_empty() {
        status["reason"] = (*reason).into();
    }
    review["status"] = status;
    answered(request, &review)
}

/// Answers a SelfSubjectRulesReview.
pub async fn rules(
    request: &Request<'_>,
    resource: &Arc<Resource>,
    body: Body,
) -> Result<Response<Body>, Status> {
    let mut review = decode_call(request, body, &resource.kind.gvk).await?;
    let namespace = text(&review["spec"]["namespace"]);
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let server = request.server;
    let (mut resources, mut others) = (Vec::new(), Vec::new());
    let known = server.config.authorizer.rules(&request.user, &namespace, &*server.caches);
    for rule in known.rules {
        if rule.non_resource_urls.is_empty() {
            let mut value =
                json!({ "verbs": rule.verbs, "apiGroups": rule.api_groups, "resources": rule.resources });
            if !rule.resource_names.is_empty() {
                value["resourceNames"] = rule.resource_names.into();
            }
            resources.push(value);
        } else {
            others.push(json!({ "verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls }));
        }
    }
    let mut status = json!({ "resourceRules": resources, "nonResourceRules": others,
        "incomplete": !known.incomplete.is_empty() });
    if !known.incomplete.is_empty() {
        status["evaluationError"] = known.incomplete.into();
    }
    review["status"] = status;
    answered(request, &review)
}
