//! What is special about webhooks and admission policies.
//!
//! Answers to upstream's `pkg/apis/admissionregistration/validation`.

use crate::rule::required_one_of;
use crate::rule::{Errors, SPEC, label, one_of, optional_one_of, required, required_because, required_name};
use crate::rules::{RULES, Rules};
use crate::value::{is_empty, items, text};
use gifee_base::{FieldError, Path, name};
use gifee_schema::cel::admission::{Declared, environment};
use gifee_schema::cel::{Environment, Type};
use serde_json::Value;
use std::sync::Arc;

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
    let mut wrong = name::dns_subdomain(text);
    if text.split('.').count() < 3 {
        wrong.push("should be a domain with at least three segments separated by dots".to_owned());
    }
    wrong
}

fn webhooks(errors: &mut Errors, configuration: &Value, mutating: bool) {
    let path = Path::root("webhooks");
    let mut seen = Vec::new();
    for (index, webhook) in items(&configuration["webhooks"]).iter().enumerate() {
        let at = path.index(index);
        required_name(errors, &webhook["name"], &at.child("name"), qualified_domain);
        crate::rule::unique(errors, &mut seen, text(&webhook["name"]), &at.child("name"));
        let versions = &webhook["admissionReviewVersions"];
        let versions_at = at.child("admissionReviewVersions");
        let why = "must specify one of v1, v1beta1";
        if !required_because(errors, versions, &versions_at, why)
            && !items(versions).iter().any(|one| one == "v1" || one == "v1beta1")
        {
            let why = "must include at least one of v1, v1beta1";
            errors.push(FieldError::invalid(&versions_at, versions.clone(), why));
        }
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
        match_conditions(errors, &webhook["matchConditions"], &at.child("matchConditions"));
    }
}

/// Where a webhook is reached.
pub(crate) fn client_config(errors: &mut Errors, config: &Value, path: &Path<'_>) {
    let (url, service) = (&config["url"], &config["service"]);
    if url.is_null() == service.is_null() {
        return errors.push(FieldError::required(path, "exactly one of url or service is required"));
    }
    if !url.is_null() && !text(url).starts_with("https://") {
        let why = "'https' is the only allowed URL scheme; desired format: https://host[/path]";
        errors.push(FieldError::invalid(&path.child("url"), text(url), why));
    }
    if service.is_null() {
        return;
    }
    let at = path.child("service");
    let why = "service name is required";
    required_because(errors, &service["name"], &at.child("name"), why);
    let why = "service namespace is required";
    required_because(errors, &service["namespace"], &at.child("namespace"), why);
    let port = &service["port"];
    if port.as_i64().is_some_and(|port| !(1..=65_535).contains(&port)) {
        let why = "port is not valid: must be between 1 and 65535, inclusive";
        errors.push(FieldError::invalid(&at.child("port"), port.clone(), why));
    }
    let given = text(&service["path"]);
    if !given.is_empty() && !given.starts_with('/') {
        errors.push(FieldError::invalid(&at.child("path"), given, "must start with a '/'"));
    }
}

fn match_rules(errors: &mut Errors, list: &Value, path: &Path<'_>) {
    for (index, rule) in items(list).iter().enumerate() {
        let at = path.index(index);
        for field in ["apiGroups", "apiVersions", "resources"] {
            let (values, at) = (&rule[field], at.child(field));
            required(errors, values, &at);
            if items(values).len() > 1 && items(values).iter().any(|one| one == "*") && field != "resources" {
                let why = "if '*' is present, must not specify other ";
                let what = if field == "apiGroups" { "API groups" } else { "API versions" };
                errors.push(FieldError::invalid(&at, values.clone(), &format!("{why}{what}")));
            }
        }
        let (operations, at_operations) = (&rule["operations"], at.child("operations"));
        required(errors, operations, &at_operations);
        for (index, one) in items(operations).iter().enumerate() {
            one_of(errors, one, &at_operations.index(index), &OPERATIONS);
        }
        optional_one_of(errors, &rule["scope"], &at.child("scope"), &SCOPES);
    }
}

fn match_conditions(errors: &mut Errors, list: &Value, path: &Path<'_>) {
    let list = items(list);
    if list.len() > CONDITIONS_MAXIMUM {
        errors.push(FieldError::too_many(path, list.len(), CONDITIONS_MAXIMUM));
    }
    let mut seen = Vec::new();
    for (index, one) in list.iter().enumerate() {
        let at = path.index(index);
        required(errors, &one["expression"], &at.child("expression"));
        required_name(errors, &one["name"], &at.child("name"), name::qualified);
        crate::rule::unique(errors, &mut seen, text(&one["name"]), &at.child("name"));
    }
}

fn policy(errors: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    let failure = "failurePolicy";
    required_one_of(errors, &spec[failure], &SPEC.child(failure), &["Fail", "Ignore"]);
    let kind = &spec["paramKind"];
    if !kind.is_null() {
        let at = SPEC.child("paramKind");
        required(errors, &kind["apiVersion"], &at.child("apiVersion"));
        required(errors, &kind["kind"], &at.child("kind"));
    }
    let (constraints, at) = (&spec["matchConstraints"], SPEC.child("matchConstraints"));
    if constraints.is_null() {
        errors.push(FieldError::required(&at, ""));
    } else {
        required(errors, &constraints["resourceRules"], &at.child("resourceRules"));
        match_resources(errors, constraints, &at);
    }
    match_conditions(errors, &spec["matchConditions"], &SPEC.child("matchConditions"));
    let at = SPEC.child("variables");
    for (index, one) in items(&spec["variables"]).iter().enumerate() {
        let at = at.index(index);
        required(errors, &one["name"], &at.child("name"));
        required(errors, &one["expression"], &at.child("expression"));
    }
}

/// Says of each expression why it does not compile.
fn expressions(errors: &mut Errors, spec: &Value, mutating: bool) {
    let declared = Declared {
        params: !spec["paramKind"].is_null(),
        authorizer: true,
        variables: true,
        mutation: mutating,
    };
    let mut full = environment(declared);
    let mut plain = environment(Declared { authorizer: false, ..declared });
    let at = SPEC.child("variables");
    for (index, one) in items(&spec["variables"]).iter().enumerate() {
        let program = full.compile(text(&one["expression"]), &[]);
        if let Err(error) = &program
            && !is_empty(&one["expression"])
        {
            let at = at.index(index);
            errors.push(FieldError::invalid(
                &at.child("expression"),
                one["expression"].clone(),
                &error.detail(),
            ));
        }
        let program = program.map(Arc::new).map_err(|error| error.detail());
        plain.compose(text(&one["name"]), program.clone());
        full.compose(text(&one["name"]), program);
    }
    let patch = |name| [Type::object(name, [])];
    let (object, operations) = (patch("Object"), [Type::list(Type::object("JSONPatch", []))]);
    let texts = [Type::String, Type::Null];
    let fields: [(&str, &[&str], &Environment, &[Type]); 6] = [
        ("matchConditions", &["expression"], &full, &[Type::Bool]),
        ("validations", &["expression"], &full, &[Type::Bool]),
        ("validations", &["messageExpression"], &plain, &[Type::String]),
        ("auditAnnotations", &["valueExpression"], &plain, &texts),
        ("mutations", &["applyConfiguration", "expression"], &full, &object),
        ("mutations", &["jsonPatch", "expression"], &full, &operations),
    ];
    for (list, path, environment, results) in fields {
        let at = SPEC.child(list);
        for (index, one) in items(&spec[list]).iter().enumerate() {
            let expression = path.iter().fold(one, |value, field| &value[*field]);
            if is_empty(expression) {
                continue;
            }
            if let Err(error) = environment.compile(text(expression), results) {
                let at = at.index(index);
                let (outer, inner) = (at.child(path[0]), path.get(1));
                let refused = |at: &Path<'_>| FieldError::invalid(at, expression.clone(), &error.detail());
                errors.push(match inner {
                    Some(inner) => refused(&outer.child(inner)),
                    None => refused(&outer),
                });
            }
        }
    }
}

fn match_resources(errors: &mut Errors, resources: &Value, path: &Path<'_>) {
    for field in ["namespaceSelector", "objectSelector"] {
        label::selector(errors, &resources[field], &path.child(field));
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        match_rules(errors, &resources[list], &path.child(list));
    }
    let field = "matchPolicy";
    optional_one_of(errors, &resources[field], &path.child(field), &["Equivalent", "Exact"]);
}

/// Rules of ValidatingAdmissionPolicies.
pub(crate) const VALIDATING_POLICY: Rules = Rules {
    validate: |errors, object| {
        policy(errors, object);
        let spec = &object["spec"];
        if is_empty(&spec["validations"]) && is_empty(&spec["auditAnnotations"]) {
            for field in ["validations", "auditAnnotations"] {
                let why = "validations or auditAnnotations must contain at least one item";
                errors.push(FieldError::required(&SPEC.child(field), why));
            }
        }
        let at = SPEC.child("validations");
        for (index, one) in items(&spec["validations"]).iter().enumerate() {
            let at = at.index(index);
            let why = "expression is not specified";
            required_because(errors, &one["expression"], &at.child("expression"), why);
            let reasons = ["Unauthorized", "Forbidden", "Invalid", "RequestEntityTooLarge"];
            optional_one_of(errors, &one["reason"], &at.child("reason"), &reasons);
        }
        expressions(errors, spec, false);
    },
    ..RULES
};

/// Rules of MutatingAdmissionPolicies.
pub(crate) const MUTATING_POLICY: Rules = Rules {
    validate: |errors, object| {
        policy(errors, object);
        let spec = &object["spec"];
        let why = "mutations must contain at least one item";
        required_because(errors, &spec["mutations"], &SPEC.child("mutations"), why);
        let at = SPEC.child("mutations");
        for (index, one) in items(&spec["mutations"]).iter().enumerate() {
            let at = at.index(index);
            let kinds = ["ApplyConfiguration", "JSONPatch"];
            required_one_of(errors, &one["patchType"], &at.child("patchType"), &kinds);
        }
        let field = "reinvocationPolicy";
        required_one_of(errors, &spec[field], &SPEC.child(field), &["IfNeeded", "Never"]);
        expressions(errors, spec, true);
    },
    ..RULES
};

fn binding(errors: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    required_name(errors, &spec["policyName"], &SPEC.child("policyName"), name::dns_subdomain);
    let (reference, at) = (&spec["paramRef"], SPEC.child("paramRef"));
    if !reference.is_null() {
        if is_empty(&reference["name"]) == reference["selector"].is_null() {
            let why = "one of name or selector must be specified";
            errors.push(FieldError::required(&at, why));
        }
        label::selector(errors, &reference["selector"], &at.child("selector"));
        let action = "parameterNotFoundAction";
        required_one_of(errors, &reference[action], &at.child(action), &["Allow", "Deny"]);
    }
    match_resources(errors, &spec["matchResources"], &SPEC.child("matchResources"));
}

/// Rules of ValidatingAdmissionPolicyBindings.
pub(crate) const VALIDATING_BINDING: Rules = Rules {
    validate: |errors, object| {
        binding(errors, object);
        let (actions, at) = (&object["spec"]["validationActions"], SPEC.child("validationActions"));
        required(errors, actions, &at);
        let mut seen = Vec::new();
        for (index, one) in items(actions).iter().enumerate() {
            one_of(errors, one, &at.index(index), &["Audit", "Deny", "Warn"]);
            crate::rule::unique(errors, &mut seen, text(one), &at.index(index));
        }
        if seen.contains(&"Deny") && seen.contains(&"Warn") {
            let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
            errors.push(FieldError::invalid(&at, actions.clone(), why));
        }
    },
    ..RULES
};

/// Rules of MutatingAdmissionPolicyBindings.
pub(crate) const MUTATING_BINDING: Rules = Rules { validate: binding, ..RULES };
