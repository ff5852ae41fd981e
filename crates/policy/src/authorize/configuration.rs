//! `AuthorizationConfiguration`: which authorizers decide, in which order.
//!
//! Invariant: a configuration is taken whole or not at all. Answers to `apiserver.config.k8s.io/v1` and its validation.

use crate::authenticate::oidc::Expression;
use crate::expression;
use gifee_base::field::{FieldError, Path};
use gifee_base::name;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

const GROUP: &str = "apiserver.config.k8s.io/";
const VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha1"];
const TYPES: [&str; 5] = ["AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook"];
/// Conditions of one webhook; upstream's figure.
const CONDITIONS_MAXIMUM: usize = 64;
/// Longest time that a webhook may take; upstream's figure.
const TIMEOUT_MAXIMUM: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct File {
    api_version: String,
    kind: String,
    authorizers: Vec<One>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct One {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    webhook: Option<WebhookFile>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct WebhookFile {
    #[serde(rename = "authorizedTTL")]
    authorized_ttl: String,
    cache_authorized_requests: bool,
    #[serde(rename = "unauthorizedTTL")]
    unauthorized_ttl: String,
    cache_unauthorized_requests: bool,
    timeout: String,
    subject_access_review_version: String,
    match_condition_subject_access_review_version: String,
    failure_policy: String,
    connection_info: Connection,
    match_conditions: Vec<Condition>,
}

impl Default for WebhookFile {
    fn default() -> Self {
        Self {
            authorized_ttl: "5m".into(),
            cache_authorized_requests: true,
            unauthorized_ttl: "30s".into(),
            cache_unauthorized_requests: true,
            timeout: String::new(),
            subject_access_review_version: String::new(),
            match_condition_subject_access_review_version: String::new(),
            failure_policy: String::new(),
            connection_info: Connection::default(),
            match_conditions: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Connection {
    #[serde(rename = "type")]
    kind: String,
    kube_config_file: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Condition {
    expression: String,
}

/// One authorizer of the chain.
#[derive(Clone, Debug)]
pub enum Step {
    /// What node agents may do.
    Node,
    /// Roles and bindings.
    Rbac,
    /// Everything is allowed.
    AlwaysAllow,
    /// Nothing is allowed.
    AlwaysDeny,
    /// Another server is asked.
    Webhook(Webhook),
}

/// A server that is asked.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Its name, in messages.
    pub name: String,
    /// For how long what it allows is remembered; zero: not at all.
    pub authorized: Duration,
    /// For how long what it does not allow is remembered; zero: not at all.
    pub unauthorized: Duration,
    /// How long it may take.
    pub timeout: Duration,
    /// Version of the SubjectAccessReview.
    pub version: String,
    /// Whether it denies when it fails; else it has no opinion then.
    pub fails_closed: bool,
    /// Kubeconfig that says where it is; None: the one of the cluster itself.
    pub kubeconfig: Option<String>,
    /// What must hold of a request for it to be asked.
    pub conditions: Vec<Expression>,
}

impl Webhook {
    /// Whether it is asked about a request, given as the spec of a SubjectAccessReview.
    ///
    /// # Errors
    /// If no condition says no, and one fails.
    pub fn concerns(&self, spec: &Value) -> Result<bool, String> {
        let mut errors = Vec::new();
        for condition in &self.conditions {
            match (condition.evaluate)(spec) {
                Ok(Value::Bool(true)) => {}
                Ok(Value::Bool(false)) => return Ok(false),
                Ok(other) => errors.push(format!(
                    "cel evaluation error: expression '{}' eval result type should be bool but got {other}",
                    condition.text
                )),
                Err(why) => errors.push(format!(
                    "cel evaluation error: expression '{}' resulted in error: {why}",
                    condition.text
                )),
            }
        }
        if errors.is_empty() { Ok(true) } else { Err(errors.join(", ")) }
    }
}

/// Reads a configuration.
///
/// # Errors
/// What is wrong with it, a line each.
pub fn read(value: Value) -> Result<Vec<Step>, String> {
    let file: File = serde_json::from_value(value).map_err(|error| format!("decoding: {error}"))?;
    let version = file.api_version.strip_prefix(GROUP).unwrap_or_default();
    if file.kind != "AuthorizationConfiguration" || !VERSIONS.contains(&version) {
        return Err(format!(
            "no kind {:?} is registered for version {:?}: expected AuthorizationConfiguration in {GROUP}v1",
            file.kind, file.api_version
        ));
    }
    let mut errors = Vec::new();
    let root = Path::root("authorizers");
    if file.authorizers.is_empty() {
        errors.push(FieldError::required(&root, "at least one authorization mode must be defined"));
    }
    let mut steps = Vec::new();
    for (index, one) in file.authorizers.iter().enumerate() {
        let path = root.index(index);
        steps.extend(step(&path, one, &file.authorizers[..index], &mut errors));
    }
    if errors.is_empty() {
        return Ok(steps);
    }
    Err(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

fn step(path: &Path<'_>, one: &One, before: &[One], errors: &mut Vec<FieldError>) -> Option<Step> {
    let kind = path.child("type");
    if one.kind.is_empty() {
        errors.push(FieldError::required(&kind, ""));
        return None;
    }
    if !TYPES.contains(&one.kind.as_str()) {
        errors.push(FieldError::not_supported(&kind, one.kind.as_str(), &TYPES));
        return None;
    }
    if one.kind != "Webhook" && before.iter().any(|other| other.kind == one.kind) {
        errors.push(FieldError::duplicate(&kind, one.kind.as_str()));
        return None;
    }
    let named = path.child("name");
    if one.name.is_empty() {
        errors.push(FieldError::required(&named, ""));
    } else if before.iter().any(|other| other.name == one.name) {
        errors.push(FieldError::duplicate(&named, one.name.as_str()));
    } else {
        let wrong = name::dns_subdomain(&one.name);
        if !wrong.is_empty() {
            let why = format!("authorizer name is invalid: {}", wrong.join(", "));
            errors.push(FieldError::invalid(&named, one.name.as_str(), &why));
        }
    }
    let at = path.child("webhook");
    match (one.kind.as_str(), &one.webhook) {
        ("Webhook", None) => errors.push(FieldError::required(&at, "required when type=Webhook")),
        ("Webhook", Some(file)) => return Some(Step::Webhook(webhook(path, one, file, errors))),
        (_, Some(_)) => {
            errors.push(FieldError::invalid(&at, "non-null", "may only be specified when type=Webhook"));
        }
        ("Node", None) => return Some(Step::Node),
        ("RBAC", None) => return Some(Step::Rbac),
        ("AlwaysAllow", None) => return Some(Step::AlwaysAllow),
        _ => return Some(Step::AlwaysDeny),
    }
    None
}

/// A duration as Go writes one, of hours, minutes, seconds and milliseconds.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let unit_end = rest[end..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| end + at);
        total += number
            * match &rest[end..unit_end] {
                "h" => 3_600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 0.001,
                _ => return None,
            };
        rest = &rest[unit_end..];
    }
    Duration::try_from_secs_f64(total).ok()
}

fn time(path: &Path<'_>, text: &str, maximum: Option<Duration>, errors: &mut Vec<FieldError>) -> Duration {
    if text.is_empty() {
        errors.push(FieldError::required(path, ""));
        return Duration::ZERO;
    }
    let range = if maximum.is_some() { "must be > 0s and <= 30s" } else { "must be > 0s" };
    match duration(text) {
        Some(found) if !found.is_zero() && maximum.is_none_or(|maximum| found <= maximum) => found,
        _ => {
            errors.push(FieldError::invalid(path, text, range));
            Duration::ZERO
        }
    }
}

fn one_of(path: &Path<'_>, text: &str, all: &[&str], errors: &mut Vec<FieldError>) {
    if text.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if !all.contains(&text) {
        errors.push(FieldError::not_supported(path, text, all));
    }
}

fn webhook(path: &Path<'_>, one: &One, file: &WebhookFile, errors: &mut Vec<FieldError>) -> Webhook {
    let timeout = time(&path.child("timeout"), &file.timeout, Some(TIMEOUT_MAXIMUM), errors);
    let authorized = time(&path.child("authorizedTTL"), &file.authorized_ttl, None, errors);
    let unauthorized = time(&path.child("unauthorizedTTL"), &file.unauthorized_ttl, None, errors);
    let version = &file.subject_access_review_version;
    one_of(&path.child("subjectAccessReviewVersion"), version, &["v1", "v1beta1"], errors);
    let at = path.child("matchConditionSubjectAccessReviewVersion");
    match file.match_condition_subject_access_review_version.as_str() {
        "" if !file.match_conditions.is_empty() => {
            errors.push(FieldError::required(&at, "required if match conditions are specified"));
        }
        "" | "v1" => {}
        other => errors.push(FieldError::not_supported(&at, other, &["v1"])),
    }
    one_of(&path.child("failurePolicy"), &file.failure_policy, &["NoOpinion", "Deny"], errors);
    connection(&path.child("connectionInfo"), &file.connection_info, errors);
    Webhook {
        name: one.name.clone(),
        authorized: if file.cache_authorized_requests { authorized } else { Duration::ZERO },
        unauthorized: if file.cache_unauthorized_requests { unauthorized } else { Duration::ZERO },
        timeout,
        version: version.clone(),
        fails_closed: file.failure_policy == "Deny",
        kubeconfig: file.connection_info.kube_config_file.clone(),
        conditions: conditions(&path.child("matchConditions"), &file.match_conditions, errors),
    }
}

fn connection(path: &Path<'_>, connection: &Connection, errors: &mut Vec<FieldError>) {
    let kind = path.child("type");
    let file = path.child("kubeConfigFile");
    match (connection.kind.as_str(), connection.kube_config_file.as_deref()) {
        ("InClusterConfig", Some(given)) => {
            errors.push(FieldError::invalid(&file, given, "can only be set when type=KubeConfigFile"));
        }
        ("InClusterConfig", None) => {}
        ("KubeConfigFile", None | Some("")) => errors.push(FieldError::required(&file, "")),
        ("KubeConfigFile", Some(given)) => {
            if !given.starts_with('/') {
                errors.push(FieldError::invalid(&file, given, "must be an absolute path"));
            }
        }
        (other, _) => one_of(&kind, other, &["InClusterConfig", "KubeConfigFile"], errors),
    }
}

fn conditions(path: &Path<'_>, list: &[Condition], errors: &mut Vec<FieldError>) -> Vec<Expression> {
    if list.len() > CONDITIONS_MAXIMUM {
        errors.push(FieldError::too_many(path, list.len(), CONDITIONS_MAXIMUM));
        return Vec::new();
    }
    let mut all = Vec::new();
    for (index, one) in list.iter().enumerate() {
        let item = path.index(index);
        let at = item.child("expression");
        let text = one.expression.as_str();
        if text.trim().is_empty() {
            errors.push(FieldError::required(&at, ""));
        } else if list[..index].iter().any(|before| before.expression == text) {
            errors.push(FieldError::duplicate(&at, text));
        } else {
            match expression::of_request(text) {
                Ok(expression) => all.push(expression),
                Err(why) => errors.push(FieldError::invalid(&at, text, &why)),
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(webhook: Value) -> Value {
        json!({ "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration", "authorizers": [
            { "type": "Webhook", "name": "w", "webhook": webhook },
            { "type": "Node", "name": "node" }, { "type": "RBAC", "name": "rbac" },
        ] })
    }

    #[test]
    fn a_configuration_is_an_order_of_authorizers() {
        let steps = read(config(json!({
            "timeout": "3s", "subjectAccessReviewVersion": "v1", "matchConditionSubjectAccessReviewVersion": "v1",
            "failurePolicy": "Deny", "authorizedTTL": "1m30s", "cacheUnauthorizedRequests": false,
            "connectionInfo": { "type": "KubeConfigFile", "kubeConfigFile": "/etc/w" },
            "matchConditions": [
                { "expression": "has(request.resourceAttributes)" },
                { "expression": "request.resourceAttributes.namespace == 'prod'" },
                { "expression": "!('system:serviceaccounts' in request.groups)" }],
        })))
        .unwrap();
        let [Step::Webhook(webhook), Step::Node, Step::Rbac] = steps.as_slice() else { panic!("{steps:?}") };
        assert_eq!(webhook.authorized, Duration::from_secs(90));
        assert!(webhook.fails_closed && webhook.unauthorized.is_zero());
        let ask = |namespace: &str, group: &str| {
            webhook.concerns(&json!({ "user": "ann", "groups": [group], "resourceAttributes": { "namespace": namespace } }))
        };
        assert_eq!(ask("prod", "team"), Ok(true));
        assert_eq!(ask("test", "team"), Ok(false));
        assert_eq!(ask("prod", "system:serviceaccounts"), Ok(false));
        assert_eq!(webhook.concerns(&json!({ "nonResourceAttributes": { "path": "/" } })), Ok(false));
    }

    #[test]
    fn wrong_configurations_say_what_is_wrong() {
        let error = read(config(json!({}))).unwrap_err();
        expect_test::expect![[r#"
            authorizers[0].timeout: Required value
            authorizers[0].subjectAccessReviewVersion: Required value
            authorizers[0].failurePolicy: Required value
            authorizers[0].connectionInfo.type: Required value"#]]
        .assert_eq(&error);
        let twice = json!({ "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration",
            "authorizers": [{ "type": "RBAC", "name": "a" }, { "type": "RBAC", "name": "b" }, { "type": "X", "name": "c" }] });
        assert_eq!(read(twice).unwrap_err().lines().count(), 2);
    }
}
