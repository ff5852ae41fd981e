//! One webhook, made ready to be matched and called.

use crate::outbound::Endpoint;
use crate::seam::Operation;
use gifee_base::LabelSelector;
use gifee_policy::policies::Condition;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// What stands for everything in a rule.
pub const WILDCARD: &str = "*";
/// Seconds that a webhook may take if it does not say; upstream's default.
const TIMEOUT_SECONDS: u64 = 10;

/// The form of the review that a webhook takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReviewVersion {
    /// `admission.k8s.io/v1`
    V1,
    /// `admission.k8s.io/v1beta1`
    V1Beta1,
}

impl ReviewVersion {
    /// `admission.k8s.io/…`
    pub fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "admission.k8s.io/v1",
            Self::V1Beta1 => "admission.k8s.io/v1beta1",
        }
    }
}

/// Where the objects of a rule live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Any,
    Namespaced,
    Cluster,
}

/// What a webhook is asked about.
pub struct Rule {
    pub groups: Vec<String>,
    pub versions: Vec<String>,
    /// Resource and subresource.
    pub resources: Vec<(String, String)>,
    /// A bit per operation.
    pub operations: u8,
    pub scope: Scope,
    /// Names of objects, of all if empty; only policies have them.
    pub names: Vec<String>,
}

/// A label selector, or what is wrong with it.
pub type Selector = Result<LabelSelector, String>;

/// A webhook.
pub struct Hook {
    /// Name of the configuration that it is of.
    pub configuration: String,
    /// Its own name.
    pub name: String,
    pub rules: Vec<Rule>,
    /// Whether rules also match by another version of the same resource.
    pub equivalent: bool,
    pub namespaces: Selector,
    pub objects: Selector,
    /// All must hold for it to be called.
    pub conditions: Arc<[Condition]>,
    /// Whether a failed call is passed over.
    pub ignores_failure: bool,
    pub timeout: Duration,
    /// Whether it may be called in a dry run.
    pub dry_run: bool,
    /// Whether it is called again after another has changed the object.
    pub reinvoked: bool,
    pub version: Option<ReviewVersion>,
    /// Whom to call, or why nobody can be.
    pub endpoint: Result<Endpoint, String>,
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The bit of an operation.
pub fn bit(operation: Operation) -> u8 {
    match operation {
        Operation::Create => 1,
        Operation::Update => 2,
        Operation::Delete => 4,
        Operation::Connect => 8,
    }
}

/// The word of an operation.
pub fn word(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
        Operation::Connect => "CONNECT",
    }
}

fn bits(text: &str) -> u8 {
    match text {
        WILDCARD => 15,
        "CREATE" => 1,
        "UPDATE" => 2,
        "DELETE" => 4,
        "CONNECT" => 8,
        _ => 0,
    }
}

impl Rule {
    /// From one of the `rules` of a webhook or of the `resourceRules` of a policy.
    pub fn new(rule: &Value) -> Self {
        let split = |text: String| match text.split_once('/') {
            Some((resource, part)) => (resource.to_owned(), part.to_owned()),
            None => (text, String::new()),
        };
        Self {
            groups: texts(&rule["apiGroups"]),
            versions: texts(&rule["apiVersions"]),
            resources: texts(&rule["resources"]).into_iter().map(split).collect(),
            operations: texts(&rule["operations"]).iter().fold(0, |all, one| all | bits(one)),
            scope: match rule["scope"].as_str() {
                Some("Namespaced") => Scope::Namespaced,
                Some("Cluster") => Scope::Cluster,
                _ => Scope::Any,
            },
            names: texts(&rule["resourceNames"]),
        }
    }
}

fn conditions(configuration: &str, webhook: &Value, before: &[Hook]) -> Arc<[Condition]> {
    let list = &webhook["matchConditions"];
    let wanted = list.as_array().map_or(&[][..], Vec::as_slice);
    let same =
        |known: &Hook| {
            known.configuration == configuration
                && webhook["name"] == *known.name
                && known.conditions.len() == wanted.len()
                && known.conditions.iter().zip(wanted).all(|(one, wanted)| {
                    wanted["expression"] == *one.expression && wanted["name"] == *one.name
                })
        };
    match before.iter().find(|known| same(known)) {
        Some(known) => known.conditions.clone(),
        None => Condition::of_webhook(list).into(),
    }
}

impl Hook {
    /// From one of the `webhooks` of a configuration. Conditions that one of `before` has are not compiled again.
    pub fn new(configuration: &str, webhook: &Value, before: &[Hook]) -> Self {
        let text = |field: &str| webhook[field].as_str().unwrap_or_default();
        let rules = webhook["rules"].as_array().into_iter().flatten();
        let versions = texts(&webhook["admissionReviewVersions"]);
        let version = versions.iter().find_map(|version| match version.as_str() {
            "v1" => Some(ReviewVersion::V1),
            "v1beta1" => Some(ReviewVersion::V1Beta1),
            _ => None,
        });
        Self {
            configuration: configuration.to_owned(),
            name: text("name").to_owned(),
            rules: rules.map(Rule::new).collect(),
            equivalent: text("matchPolicy") == "Equivalent",
            namespaces: LabelSelector::from_value(&webhook["namespaceSelector"]),
            objects: LabelSelector::from_value(&webhook["objectSelector"]),
            conditions: conditions(configuration, webhook, before),
            ignores_failure: text("failurePolicy") == "Ignore",
            timeout: Duration::from_secs(webhook["timeoutSeconds"].as_u64().unwrap_or(TIMEOUT_SECONDS)),
            dry_run: matches!(text("sideEffects"), "None" | "NoneOnDryRun"),
            reinvoked: text("reinvocationPolicy") == "IfNeeded",
            version,
            endpoint: Endpoint::from_client_config(&webhook["clientConfig"])
                .map_err(|error| error.to_string()),
        }
    }
}
