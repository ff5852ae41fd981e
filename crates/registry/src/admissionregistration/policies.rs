//! What is special about admission policies and their bindings: every expression compiles.
//!
//! Answers to upstream's `pkg/apis/admissionregistration/validation`.

use super::rules::{match_conditions, match_rules};
use crate::rule::{Errors, SPEC, declared_required, label, one_of, optional_name, optional_one_of, required};
use crate::rule::{required_because, required_name, required_one_of};
use crate::rules::{RULES, Rules};
use crate::value::{is_empty, items, text};
use gifee_base::gvk::split_api_version;
use gifee_base::{FieldError, Path, name};
use gifee_schema::cel::admission::{Declared, environment};
use gifee_schema::cel::{self, Environment, Type};
use serde_json::Value;
use std::sync::Arc;

const ANNOTATIONS_MAXIMUM: usize = 20;
/// Bytes of an expression of an annotation.
const ANNOTATION_BYTES: usize = 5 * 1024;

/// The environments of a policy: with an authorizer and without.
struct Expressions {
    full: Environment,
    plain: Environment,
}

impl Expressions {
    fn new(spec: &Value, mutation: bool) -> Self {
        let variables = !is_empty(&spec["variables"]);
        let declared =
            Declared { params: !spec["paramKind"].is_null(), authorizer: true, variables, mutation };
        Self { full: environment(declared), plain: environment(Declared { authorizer: false, ..declared }) }
    }
}

fn compile(
    errors: &mut Errors,
    environment: &Environment,
    (shown, expression): (&str, &str),
    results: &[Type],
    path: &Path<'_>,
) {
    if let Err(error) = environment.compile(expression, results) {
        errors.push(FieldError::invalid(path, shown, &error.detail()));
    }
}

fn policy(errors: &mut Errors, object: &Value, mutating: bool) -> Expressions {
    let spec = &object["spec"];
    let failure = "failurePolicy";
    required_one_of(errors, &spec[failure], &SPEC.child(failure), &["Fail", "Ignore"]);
    let kind = &spec["paramKind"];
    if !kind.is_null() {
        param_kind(errors, kind, &SPEC.child("paramKind"));
    }
    let (constraints, at) = (&spec["matchConstraints"], SPEC.child("matchConstraints"));
    if constraints.is_null() {
        errors.push(FieldError::required(&at, ""));
    } else {
        match_resources(errors, constraints, &at);
        required(errors, &constraints["resourceRules"], &at.child("resourceRules"));
    }
    let at = SPEC.child("matchConditions");
    match_conditions(errors, &spec["matchConditions"], !kind.is_null(), &at);
    let mut expressions = Expressions::new(spec, mutating);
    let at = SPEC.child("variables");
    for (index, one) in items(&spec["variables"]).iter().enumerate() {
        variable(errors, &mut expressions, one, &at.index(index));
    }
    expressions
}

fn param_kind(errors: &mut Errors, kind: &Value, path: &Path<'_>) {
    let (given, at) = (text(&kind["apiVersion"]), path.child("apiVersion"));
    if !required(errors, &kind["apiVersion"], &at) {
        let (group, version) = split_api_version(given);
        let mut wrong = |value: &str, why: &str| errors.push(FieldError::invalid(&at, value, why));
        if given.matches('/').count() > 1 {
            wrong(given, &format!("unexpected GroupVersion string: {given}"));
        } else {
            let group_is = if group.is_empty() { Vec::new() } else { name::dns_subdomain(group) };
            if !group_is.is_empty() {
                wrong(group, &group_is.join(","));
            }
            let version_is = name::dns1035_label(version);
            if version.is_empty() {
                wrong(given, "version must be specified");
            } else if !version_is.is_empty() {
                wrong(version, &version_is.join(","));
            }
        }
    }
    let (given, at) = (text(&kind["kind"]), path.child("kind"));
    if !required(errors, &kind["kind"], &at) {
        let wrong = name::dns1035_label(&given.to_lowercase());
        if !wrong.is_empty() {
            let why = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
            errors.push(FieldError::invalid(&at, given, &why));
        }
    }
}

fn is_identifier(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|first| first == '_' || first.is_ascii_alphabetic())
        && letters.all(|letter| letter == '_' || letter.is_ascii_alphanumeric())
        && !cel::reserved(name)
}

fn variable(errors: &mut Errors, expressions: &mut Expressions, one: &Value, path: &Path<'_>) {
    let (name, expression) = (text(&one["name"]), text(&one["expression"]));
    if name.trim().is_empty() {
        errors.push(FieldError::required(&path.child("name"), "name is not specified"));
    } else if !is_identifier(name) {
        let why = "name is not a valid CEL identifier";
        errors.push(FieldError::invalid(&path.child("name"), name, why));
    }
    let at = path.child("expression");
    if expression.trim().is_empty() {
        return errors.push(FieldError::required(&at, "expression is not specified"));
    }
    let program = expressions.full.compile(expression, &[]).map(Arc::new).map_err(|error| error.detail());
    if let Err(why) = &program {
        errors.push(FieldError::invalid(&at, expression, why));
    }
    expressions.plain.compose(name, program.clone());
    expressions.full.compose(name, program);
}

fn match_resources(errors: &mut Errors, resources: &Value, path: &Path<'_>) {
    let field = "matchPolicy";
    required_one_of(errors, &resources[field], &path.child(field), &["Equivalent", "Exact"]);
    for field in ["namespaceSelector", "objectSelector"] {
        if resources[field].is_null() {
            errors.push(FieldError::required(&path.child(field), ""));
        }
        label::selector(errors, &resources[field], &path.child(field));
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        let at = path.child(list);
        for (index, rule) in items(&resources[list]).iter().enumerate() {
            let (at, mut seen) = (at.index(index), Vec::new());
            let at = at.child("resourceNames");
            for (index, one) in items(&rule["resourceNames"]).iter().enumerate() {
                let at = at.index(index);
                crate::rule::named(errors, one, &at, name::path_segment);
                crate::rule::unique(errors, &mut seen, text(one), &at);
            }
        }
        match_rules(errors, &resources[list], &at);
    }
}

fn validation(errors: &mut Errors, expressions: &Expressions, one: &Value, path: &Path<'_>) {
    let (expression, at) = (text(&one["expression"]), path.child("expression"));
    if expression.trim().is_empty() {
        errors.push(FieldError::required(&at, "expression is not specified"));
    } else {
        compile(errors, &expressions.full, (expression, expression), &[Type::Bool], &at);
    }
    let (given, at) = (text(&one["messageExpression"]), path.child("messageExpression"));
    if !given.trim().is_empty() {
        compile(errors, &expressions.plain, (given, given), &[Type::String], &at);
    } else if !given.is_empty() {
        errors.push(FieldError::invalid(&at, given, "must be non-empty if specified"));
    }
    let (given, at) = (text(&one["message"]), path.child("message"));
    if !given.is_empty() && given.trim().is_empty() {
        errors.push(FieldError::invalid(&at, given, "message must be non-empty if specified"));
    } else if given.trim().contains(['\n', '\r']) {
        errors.push(FieldError::invalid(&at, given, "message must not contain line breaks"));
    }
    let reasons = ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];
    optional_one_of(errors, &one["reason"], &path.child("reason"), &reasons);
}

fn annotations(errors: &mut Errors, expressions: &Expressions, object: &Value) {
    let (list, at) = (&object["spec"]["auditAnnotations"], SPEC.child("auditAnnotations"));
    if items(list).len() > ANNOTATIONS_MAXIMUM {
        let why = format!("must not have more than {ANNOTATIONS_MAXIMUM} auditAnnotations");
        errors.push(FieldError::invalid(&at, list.clone(), &why));
    }
    let policy = text(&object["metadata"]["name"]);
    let mut seen = Vec::new();
    for (index, one) in items(list).iter().enumerate() {
        let at = at.index(index);
        let (key, at_key) = (text(&one["key"]), at.child("key"));
        if policy.is_empty() {
            let why = "requires metadata.name be non-empty";
            errors.push(FieldError::invalid(&at_key, key, why));
        } else {
            crate::rule::named_text(errors, &format!("{policy}/{key}"), &at_key, name::qualified);
        }
        let (given, at_value) = (text(&one["valueExpression"]), at.child("valueExpression"));
        let trimmed = given.trim();
        if trimmed.is_empty() {
            errors.push(FieldError::required(&at_value, "valueExpression is not specified"));
        } else if trimmed.len() > ANNOTATION_BYTES {
            let why = format!("must not exceed {ANNOTATION_BYTES} bytes in length");
            errors.push(FieldError::required(&at_value, &why));
        } else {
            compile(errors, &expressions.full, (given, trimmed), &[Type::String, Type::Null], &at_value);
        }
        crate::rule::unique(errors, &mut seen, key, &at_key);
    }
}

/// Rules of ValidatingAdmissionPolicies.
pub(crate) const VALIDATING_POLICY: Rules = Rules {
    validate: |errors, object| {
        let expressions = policy(errors, object, false);
        let spec = &object["spec"];
        if is_empty(&spec["validations"]) && is_empty(&spec["auditAnnotations"]) {
            for field in ["validations", "auditAnnotations"] {
                let why = "validations or auditAnnotations must contain at least one item";
                errors.push(FieldError::required(&SPEC.child(field), why));
            }
        }
        let at = SPEC.child("validations");
        for (index, one) in items(&spec["validations"]).iter().enumerate() {
            validation(errors, &expressions, one, &at.index(index));
        }
        annotations(errors, &expressions, object);
    },
    ..RULES
};

fn mutation(errors: &mut Errors, expressions: &Expressions, one: &Value, path: &Path<'_>) {
    let kinds = ["ApplyConfiguration", "JSONPatch"];
    required_one_of(errors, &one["patchType"], &path.child("patchType"), &kinds);
    let patch = |name| Type::object(name, []);
    for (field, result) in
        [("applyConfiguration", patch("Object")), ("jsonPatch", Type::list(patch("JSONPatch")))]
    {
        let at = path.child(field);
        let (given, at) = (text(&one[field]["expression"]), at.child("expression"));
        if !one[field].is_null() && given.trim().is_empty() {
            errors.push(FieldError::required(&at, "expression is not specified"));
        } else if !given.is_empty() {
            compile(errors, &expressions.full, (given, given), &[result], &at);
        }
    }
}

/// Rules of MutatingAdmissionPolicies.
pub(crate) const MUTATING_POLICY: Rules = Rules {
    validate: |errors, object| {
        let expressions = policy(errors, object, true);
        let spec = &object["spec"];
        let why = "mutations must contain at least one item";
        required_because(errors, &spec["mutations"], &SPEC.child("mutations"), why);
        let at = SPEC.child("mutations");
        for (index, one) in items(&spec["mutations"]).iter().enumerate() {
            mutation(errors, &expressions, one, &at.index(index));
        }
        let field = "reinvocationPolicy";
        required_one_of(errors, &spec[field], &SPEC.child(field), &["IfNeeded", "Never"]);
    },
    ..RULES
};

/// `declares`: whether upstream declares that a policy must be named.
fn binding(errors: &mut Errors, object: &Value, declares: bool) {
    let spec = &object["spec"];
    if declares {
        declared_required(errors, &spec["policyName"], &SPEC.child("policyName"));
        optional_name(errors, &spec["policyName"], &SPEC.child("policyName"), name::dns_subdomain);
    } else {
        required_name(errors, &spec["policyName"], &SPEC.child("policyName"), name::dns_subdomain);
    }
    let (reference, at) = (&spec["paramRef"], SPEC.child("paramRef"));
    if !reference.is_null() {
        let (named, selected) = (!is_empty(&reference["name"]), !reference["selector"].is_null());
        if named {
            crate::rule::named(errors, &reference["name"], &at.child("name"), name::path_segment);
        }
        label::selector(errors, &reference["selector"], &at.child("selector"));
        if named && selected {
            for field in ["name", "selector"] {
                let why = "name and selector are mutually exclusive";
                errors.push(FieldError::forbidden(&at.child(field), why));
            }
        }
        if !named && !selected {
            errors.push(FieldError::required(&at, "one of name or selector must be specified"));
        }
        let action = "parameterNotFoundAction";
        required_one_of(errors, &reference[action], &at.child(action), &["Deny", "Allow"]);
    }
    if !spec["matchResources"].is_null() {
        // Upstream's own spelling of the path.
        match_resources(errors, &spec["matchResources"], &SPEC.child("matchResouces"));
    }
}

/// Rules of ValidatingAdmissionPolicyBindings.
pub(crate) const VALIDATING_BINDING: Rules = Rules {
    validate: |errors, object| {
        binding(errors, object, true);
        let (actions, at) = (&object["spec"]["validationActions"], SPEC.child("validationActions"));
        let mut seen = Vec::new();
        for (index, one) in items(actions).iter().enumerate() {
            one_of(errors, one, &at.index(index), &["Audit", "Deny", "Warn"]);
            crate::rule::unique(errors, &mut seen, text(one), &at.index(index));
        }
        if seen.contains(&"Deny") && seen.contains(&"Warn") {
            let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
            errors.push(FieldError::invalid(&at, actions.clone(), why));
        }
        declared_required(errors, actions, &at);
    },
    ..RULES
};

/// Rules of MutatingAdmissionPolicyBindings.
pub(crate) const MUTATING_BINDING: Rules =
    Rules { validate: |errors, object| binding(errors, object, false), ..RULES };
