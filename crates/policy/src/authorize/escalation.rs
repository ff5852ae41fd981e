//! Whether somebody has all the rights that they are about to give.
//!
//! Answers to upstream's RBAC `validation` package and its compact form of rules.

use super::Rule;
use crate::User;
use gifee_base::{Gvk, ObjectKey};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The rules in a Role or ClusterRole.
pub fn rules_in(role: &Value) -> Vec<Rule> {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let rules = role["rules"].as_array().into_iter().flatten();
    rules
        .map(|rule| Rule {
            verbs: texts(&rule["verbs"]),
            api_groups: texts(&rule["apiGroups"]),
            resources: texts(&rule["resources"]),
            resource_names: texts(&rule["resourceNames"]),
            non_resource_urls: texts(&rule["nonResourceURLs"]),
        })
        .collect()
}

/// Every right there is.
pub fn everything() -> Vec<Rule> {
    let all = || vec!["*".to_owned()];
    vec![
        Rule { verbs: all(), api_groups: all(), resources: all(), ..Rule::default() },
        Rule { verbs: all(), non_resource_urls: all(), ..Rule::default() },
    ]
}

/// A rule in single rights.
fn single(rule: &Rule) -> Vec<Rule> {
    let mut all = Vec::new();
    let one = |text: &String| vec![text.clone()];
    for group in &rule.api_groups {
        for resource in &rule.resources {
            for verb in &rule.verbs {
                let right = Rule {
                    verbs: one(verb),
                    api_groups: one(group),
                    resources: one(resource),
                    ..Rule::default()
                };
                if rule.resource_names.is_empty() {
                    all.push(right);
                    continue;
                }
                let named = rule.resource_names.iter();
                all.extend(named.map(|name| Rule { resource_names: one(name), ..right.clone() }));
            }
        }
    }
    for url in &rule.non_resource_urls {
        let rights = rule.verbs.iter();
        all.extend(rights.map(|verb| Rule {
            verbs: one(verb),
            non_resource_urls: one(url),
            ..Rule::default()
        }));
    }
    all
}

fn has(list: &[String], wanted: &[String]) -> bool {
    list.iter().any(|one| one == "*") || wanted.iter().all(|one| list.contains(one))
}

fn has_resources(list: &[String], wanted: &[String]) -> bool {
    has(list, wanted)
        || wanted.iter().all(|one| {
            let part = one.split_once('/').map(|(_, part)| format!("*/{part}"));
            list.contains(one) || part.is_some_and(|part| list.contains(&part))
        })
}

fn has_urls(list: &[String], wanted: &[String]) -> bool {
    let covers = |one: &String, url: &String| match one.strip_suffix('*') {
        _ if one == "*" || one == url => true,
        Some(prefix) => url.starts_with(prefix),
        None => false,
    };
    wanted.iter().all(|url| list.iter().any(|one| covers(one, url)))
}

/// Whether a rule has a single right.
fn covers(rule: &Rule, right: &Rule) -> bool {
    let names = if right.resource_names.is_empty() {
        rule.resource_names.is_empty()
    } else {
        rule.resource_names.is_empty()
            || right.resource_names.iter().all(|name| rule.resource_names.contains(name))
    };
    has(&rule.verbs, &right.verbs)
        && (right.api_groups.is_empty() || has(&rule.api_groups, &right.api_groups))
        && (right.resources.is_empty() || has_resources(&rule.resources, &right.resources))
        && has_urls(&rule.non_resource_urls, &right.non_resource_urls)
        && names
}

/// The rights in `wanted` that `held` lacks.
pub fn missing(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    let rights = wanted.iter().flat_map(single);
    rights.filter(|right| !held.iter().any(|rule| covers(rule, right))).collect()
}

/// Rights on the same resource as one rule.
fn compact(rights: Vec<Rule>) -> Vec<Rule> {
    let mut all = Vec::new();
    let mut simple = BTreeMap::<[Vec<String>; 3], Rule>::new();
    for right in rights {
        if !right.non_resource_urls.is_empty() {
            all.push(right);
            continue;
        }
        let key = [right.api_groups.clone(), right.resources.clone(), right.resource_names.clone()];
        match simple.entry(key) {
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                entry.get_mut().verbs.extend(right.verbs)
            }
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(right);
            }
        }
    }
    all.extend(simple.into_values());
    all
}

/// A list as Go quotes it.
pub fn quoted(list: &[String]) -> String {
    let quoted: Vec<String> = list.iter().map(|one| format!("{one:?}")).collect();
    format!("[{}]", quoted.join(" "))
}

fn described(rule: &Rule) -> String {
    let parts = [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("ResourceNames", &rule.resource_names),
        ("Verbs", &rule.verbs),
    ];
    let parts = parts.iter().filter(|(_, list)| !list.is_empty());
    let parts: Vec<String> = parts.map(|(name, list)| format!("{name}:{}", quoted(list))).collect();
    format!("{{{}}}", parts.join(", "))
}

/// Why a user may not give rights; None if they have them all.
pub fn refusal(user: &User, held: &[Rule], wanted: &[Rule]) -> Option<String> {
    let missing = missing(held, wanted);
    if missing.is_empty() {
        return None;
    }
    let lines: BTreeSet<String> = compact(missing).iter().map(described).collect();
    let lines: Vec<String> = lines.into_iter().collect();
    Some(format!(
        "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        quoted(&user.groups),
        lines.join("\n")
    ))
}

/// The role that a binding gives: its resource and its key.
pub fn role_of(binding: &Value, namespace: &str) -> (&'static str, ObjectKey) {
    let reference = &binding["roleRef"];
    let name = reference["name"].as_str().unwrap_or_default();
    match reference["kind"].as_str() {
        Some("Role") => ("roles", ObjectKey::new(namespace, name)),
        _ => ("clusterroles", ObjectKey::cluster(name)),
    }
}

/// Whether an update only helps a garbage collector: it changes owners and finalizers, and nothing else.
pub fn only_collects(object: &Value, old: &Value) -> bool {
    let stripped = |value: &Value| {
        let mut value = value.clone();
        for field in ["ownerReferences", "finalizers", "managedFields", "resourceVersion", "generation"] {
            if let Some(metadata) = value["metadata"].as_object_mut() {
                metadata.remove(field);
            }
        }
        value
    };
    stripped(object) == stripped(old)
}

/// Whether a kind gives rights.
pub fn concerns(gvk: &Gvk) -> bool {
    &*gvk.group == "rbac.authorization.k8s.io"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rules(value: Value) -> Vec<Rule> {
        rules_in(&json!({ "rules": value }))
    }

    #[test]
    fn nobody_gives_what_they_do_not_have() {
        let user = User { name: "ann".into(), groups: vec!["a".into(), "b".into()], ..User::default() };
        let held = rules(json!([
            { "verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "*/status"] },
            { "verbs": ["*"], "apiGroups": ["apps"], "resources": ["*"] },
            { "verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["one"] },
            { "verbs": ["get"], "nonResourceURLs": ["/healthz/*"] },
        ]));
        for fine in [
            json!([{ "verbs": ["get"], "apiGroups": [""], "resources": ["pods", "nodes/status"] }]),
            json!([{ "verbs": ["escalate"], "apiGroups": ["apps"], "resources": ["deployments/scale"] }]),
            json!([{ "verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["one"] }]),
            json!([{ "verbs": ["get"], "nonResourceURLs": ["/healthz/etcd"] }]),
        ] {
            assert_eq!(refusal(&user, &held, &rules(fine.clone())), None, "{fine}");
        }
        let wanted = rules(json!([
            { "verbs": ["get", "delete", "watch"], "apiGroups": [""], "resources": ["pods"] },
            { "verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"] },
            { "verbs": ["get"], "nonResourceURLs": ["/metrics"] },
        ]));
        let expect = r#"user "ann" (groups=["a" "b"]) is attempting to grant RBAC permissions not currently held:
{APIGroups:[""], Resources:["configmaps"], Verbs:["get"]}
{APIGroups:[""], Resources:["pods"], Verbs:["delete" "watch"]}
{NonResourceURLs:["/metrics"], Verbs:["get"]}"#;
        assert_eq!(refusal(&user, &held, &wanted).unwrap(), expect);
        assert!(refusal(&user, &held, &everything()).is_some());
        assert_eq!(refusal(&user, &everything(), &wanted), None);
    }
}
