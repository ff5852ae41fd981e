//! Upstream's default roles and bindings, read from the table `roles.txt`.
//!
//! Answers to upstream's `bootstrappolicy`. A server writes them at its start, adds what is missing in them, and
//! leaves alone what an administrator has marked with `rbac.authorization.kubernetes.io/autoupdate: "false"`.

use super::Rule;
use serde_json::{Value, json};

const TABLE: &str = include_str!("roles.txt");
const READ: &str = "get,list,watch";
const WRITE: &str = "create,delete,deletecollection,patch,update";
const API_GROUP: &str = "rbac.authorization.k8s.io";
const CONTROLLER: &str = "system:controller:";

struct Role {
    namespace: String,
    name: String,
    labels: Vec<String>,
    aggregate: Option<String>,
    rules: Vec<Rule>,
}

struct Binding {
    namespace: String,
    role: String,
    subjects: Vec<(char, String)>,
}

fn words(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

fn verbs(text: &str) -> Vec<String> {
    match text {
        "read" => words(READ),
        "write" => words(WRITE),
        other => words(other),
    }
}

fn rule(line: &[&str]) -> Rule {
    match line {
        ["emit"] => Rule {
            verbs: words("create,patch,update"),
            api_groups: vec![String::new(), "events.k8s.io".into()],
            resources: words("events"),
            ..Rule::default()
        },
        [who, "url", urls] => Rule { verbs: verbs(who), non_resource_urls: words(urls), ..Rule::default() },
        [who, groups, resources, rest @ ..] => Rule {
            verbs: verbs(who),
            api_groups: groups
                .split(',')
                .map(|group| if group == "-" { "" } else { group }.to_owned())
                .collect(),
            resources: words(resources),
            resource_names: rest
                .iter()
                .find_map(|word| word.strip_prefix("names="))
                .map(words)
                .unwrap_or_default(),
            ..Rule::default()
        },
        _ => Rule::default(),
    }
}

fn parse() -> (Vec<Role>, Vec<Binding>) {
    let (mut roles, mut bindings) = (Vec::<Role>::new(), Vec::new());
    for line in TABLE.lines() {
        let line: Vec<&str> = line.split_whitespace().collect();
        match line.as_slice() {
            [] | ["#", ..] => {}
            ["role", name, labels @ ..] => {
                let (namespace, name) = name.split_once('/').unwrap_or(("", name));
                let labels = labels.iter().filter_map(|label| label.strip_prefix('+')).map(str::to_owned);
                roles.push(Role {
                    namespace: namespace.into(),
                    name: name.into(),
                    labels: labels.collect(),
                    aggregate: None,
                    rules: Vec::new(),
                });
                if let Some(controller) = name.strip_prefix(CONTROLLER).filter(|_| namespace.is_empty()) {
                    let subject = ('s', format!("kube-system/{controller}"));
                    bindings.push(Binding {
                        namespace: String::new(),
                        role: name.into(),
                        subjects: vec![subject],
                    });
                }
            }
            ["bind", rest @ ..] => bindings.push(binding(rest)),
            ["aggregate", label] => {
                if let Some(role) = roles.last_mut() {
                    role.aggregate = Some((*label).to_owned());
                }
            }
            line => {
                if let Some(role) = roles.last_mut() {
                    let mut rule = rule(line);
                    let has = |verb: &str| rule.verbs.iter().any(|one| one == verb);
                    if role.name.starts_with(CONTROLLER) && has("update") && !has("patch") {
                        rule.verbs.push("patch".into());
                    }
                    role.rules.push(rule);
                }
            }
        }
    }
    (roles, bindings)
}

fn binding(words: &[&str]) -> Binding {
    let mut namespace = String::new();
    let mut role = String::new();
    let mut subjects = Vec::new();
    for word in words {
        if let Some(name) = word.strip_prefix('@') {
            namespace = name.into();
        } else if role.is_empty() {
            role = (*word).into();
        } else if let Some((kind @ ("u" | "g" | "s"), name)) = word.split_once(':') {
            subjects.push((kind.chars().next().unwrap_or('u'), name.into()));
        }
    }
    Binding { namespace, role, subjects }
}

/// The rules of one default ClusterRole; empty if there is none of that name.
pub fn rules_of(name: &str) -> Vec<Rule> {
    let (roles, _) = parse();
    roles
        .into_iter()
        .find(|role| role.namespace.is_empty() && role.name == name)
        .map(|role| role.rules)
        .unwrap_or_default()
}

fn metadata(namespace: &str, name: &str, labels: &[String]) -> Value {
    let mut metadata = json!({
        "name": name,
        "labels": { "kubernetes.io/bootstrapping": "rbac-defaults" },
        "annotations": { "rbac.authorization.kubernetes.io/autoupdate": "true" },
    });
    for label in labels {
        metadata["labels"][label] = "true".into();
    }
    if !namespace.is_empty() {
        metadata["namespace"] = namespace.into();
    }
    metadata
}

fn rule_value(rule: &Rule) -> Value {
    let mut value = json!({ "verbs": rule.verbs });
    let mut set = |key: &str, list: &[String]| {
        if !list.is_empty() {
            value[key] = list.into();
        }
    };
    set("apiGroups", &rule.api_groups);
    set("resources", &rule.resources);
    set("resourceNames", &rule.resource_names);
    set("nonResourceURLs", &rule.non_resource_urls);
    value
}

/// One default object: its resource, and its body.
pub struct Default {
    /// `clusterroles`, `clusterrolebindings`, `roles` or `rolebindings`.
    pub resource: &'static str,
    /// The object as it is created.
    pub object: Value,
}

/// All default roles and bindings, roles first.
pub fn objects() -> Vec<Default> {
    let (roles, bindings) = parse();
    let mut all = Vec::new();
    for role in roles {
        let cluster = role.namespace.is_empty();
        let mut object = json!({
            "apiVersion": format!("{API_GROUP}/v1"),
            "kind": if cluster { "ClusterRole" } else { "Role" },
            "metadata": metadata(&role.namespace, &role.name, &role.labels),
            "rules": role.rules.iter().map(rule_value).collect::<Vec<_>>(),
        });
        if let Some(label) = &role.aggregate {
            object["aggregationRule"] =
                json!({ "clusterRoleSelectors": [{ "matchLabels": { label: "true" } }] });
        }
        all.push(Default { resource: if cluster { "clusterroles" } else { "roles" }, object });
    }
    for binding in bindings {
        let cluster = binding.namespace.is_empty();
        let subjects: Vec<Value> = binding.subjects.iter().map(subject).collect();
        let object = json!({
            "apiVersion": format!("{API_GROUP}/v1"),
            "kind": if cluster { "ClusterRoleBinding" } else { "RoleBinding" },
            "metadata": metadata(&binding.namespace, &binding.role, &[]),
            "roleRef": {
                "apiGroup": API_GROUP, "name": binding.role,
                "kind": if cluster { "ClusterRole" } else { "Role" },
            },
            "subjects": subjects,
        });
        all.push(Default { resource: if cluster { "clusterrolebindings" } else { "rolebindings" }, object });
    }
    all
}

fn subject((kind, name): &(char, String)) -> Value {
    match (kind, name.split_once('/')) {
        ('s', Some((namespace, name))) => {
            json!({ "kind": "ServiceAccount", "namespace": namespace, "name": name })
        }
        ('g', _) => json!({ "kind": "Group", "apiGroup": API_GROUP, "name": name }),
        _ => json!({ "kind": "User", "apiGroup": API_GROUP, "name": name }),
    }
}

/// What an existing default object lacks: the merged object if there is something to add, None if not.
///
/// Rules, subjects, labels and annotations are only ever added; an aggregated role's rules are its controller's.
pub fn reconcile(existing: &Value, wanted: &Value) -> Option<Value> {
    let autoupdate = &existing["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"];
    if autoupdate == "false" {
        return None;
    }
    let mut merged = existing.clone();
    for list in ["rules", "subjects"] {
        if list == "rules" && !wanted["aggregationRule"].is_null() {
            continue;
        }
        for item in wanted[list].as_array().into_iter().flatten() {
            let there = existing[list].as_array().is_some_and(|have| have.contains(item));
            if !there {
                match merged[list].as_array_mut() {
                    Some(have) => have.push(item.clone()),
                    None => merged[list] = json!([item]),
                }
            }
        }
    }
    for map in ["labels", "annotations"] {
        for (key, value) in wanted["metadata"][map].as_object().into_iter().flatten() {
            if existing["metadata"][map][key] != *value {
                merged["metadata"][map][key] = value.clone();
            }
        }
    }
    (merged != *existing).then_some(merged)
}
