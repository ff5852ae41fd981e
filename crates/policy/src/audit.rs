//! The audit policy: of which requests how much is written down.
//!
//! Invariant: the first rule that matches a request decides; what no rule matches is not written down. Answers to
//! upstream's `audit.k8s.io/v1` Policy and `audit/policy`.

use crate::Attributes;
use gifee_base::field::{FieldError, Path};
use gifee_base::name;
use serde::Deserialize;
use serde_json::Value;

/// How much is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    #[default]
    None,
    /// Who asked for what, and what came of it.
    Metadata,
    /// The body of the request, too.
    Request,
    /// The body of the answer, too.
    RequestResponse,
}

/// All levels, as they are written.
const LEVELS: [(&str, Level); 4] = [
    ("None", Level::None),
    ("Metadata", Level::Metadata),
    ("Request", Level::Request),
    ("RequestResponse", Level::RequestResponse),
];

impl Level {
    /// As it is written.
    pub fn name(self) -> &'static str {
        LEVELS.iter().find(|(_, level)| *level == self).map_or("", |(name, _)| name)
    }
}

/// A moment of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It came.
    RequestReceived,
    /// An answer that lasts has begun.
    ResponseStarted,
    /// The answer is complete.
    ResponseComplete,
    /// The server failed on it.
    Panic,
}

/// All stages, as they are written.
const STAGES: [(&str, Stage); 4] = [
    ("RequestReceived", Stage::RequestReceived),
    ("ResponseStarted", Stage::ResponseStarted),
    ("ResponseComplete", Stage::ResponseComplete),
    ("Panic", Stage::Panic),
];

impl Stage {
    /// As it is written.
    pub fn name(self) -> &'static str {
        STAGES.iter().find(|(_, stage)| *stage == self).map_or("", |(name, _)| name)
    }
}

/// A set of stages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages(u8);

impl Stages {
    /// Whether a stage is in it.
    pub fn contains(self, stage: Stage) -> bool {
        self.0 & (1 << stage as u8) != 0
    }

    fn of(names: &[String]) -> Self {
        let known = STAGES.iter().filter(|(name, _)| names.iter().any(|one| one == name));
        Self(known.fold(0, |set, (_, stage)| set | 1 << *stage as u8))
    }
}

/// What is done with a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How much is written down.
    pub level: Level,
    /// Moments of which nothing is written down.
    pub omit_stages: Stages,
    /// Whether `metadata.managedFields` are left out of bodies.
    pub omit_managed_fields: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct File {
    api_version: String,
    kind: String,
    metadata: Value,
    rules: Vec<Rule>,
    omit_stages: Vec<String>,
    omit_managed_fields: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Rule {
    level: String,
    users: Vec<String>,
    user_groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<Resources>,
    namespaces: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    omit_stages: Vec<String>,
    omit_managed_fields: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Resources {
    group: String,
    resources: Vec<String>,
    resource_names: Vec<String>,
}

/// A policy that holds together.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: Vec<(Rule, Verdict)>,
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// What is wrong with it, a line each.
    pub fn read(value: Value) -> Result<Self, String> {
        let file: File =
            serde_json::from_value(value).map_err(|error| format!("failed decoding: {error}"))?;
        if file.kind != "Policy" || file.api_version != "audit.k8s.io/v1" {
            return Err(format!(
                "unknown group version {:?} of kind {:?}: expected Policy in audit.k8s.io/v1",
                file.api_version, file.kind
            ));
        }
        let errors = check(&file);
        if !errors.is_empty() {
            return Err(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
        }
        if file.rules.is_empty() {
            return Err("loaded illegal policy with 0 rules".to_owned());
        }
        let all = Stages::of(&file.omit_stages);
        let rules = file.rules.into_iter().map(|rule| {
            let level =
                LEVELS.iter().find(|(name, _)| *name == rule.level).map_or(Level::None, |(_, level)| *level);
            let omit_stages = Stages(all.0 | Stages::of(&rule.omit_stages).0);
            let omit_managed_fields = rule.omit_managed_fields.unwrap_or(file.omit_managed_fields);
            (rule, Verdict { level, omit_stages, omit_managed_fields })
        });
        Ok(Self { rules: rules.collect() })
    }

    /// What is done with a request.
    pub fn evaluate(&self, attributes: &Attributes) -> Verdict {
        let found = self.rules.iter().find(|(rule, _)| rule.matches(attributes));
        found.map(|(_, verdict)| *verdict).unwrap_or_default()
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|one| one == wanted)
}

impl Rule {
    fn matches(&self, attributes: &Attributes) -> bool {
        let user = &attributes.user;
        if !self.users.is_empty() && !has(&self.users, &user.name) {
            return false;
        }
        if !self.user_groups.is_empty() && !user.groups.iter().any(|group| has(&self.user_groups, group)) {
            return false;
        }
        if !self.verbs.is_empty() && !has(&self.verbs, &attributes.verb) {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return attributes.is_resource && self.matches_resource(attributes);
        }
        if !self.non_resource_urls.is_empty() {
            return !attributes.is_resource
                && self.non_resource_urls.iter().any(|url| covers(url, &attributes.path));
        }
        true
    }

    fn matches_resource(&self, attributes: &Attributes) -> bool {
        if !self.namespaces.is_empty() && !has(&self.namespaces, &attributes.namespace) {
            return false;
        }
        self.resources.is_empty() || self.resources.iter().any(|one| one.matches(attributes))
    }
}

impl Resources {
    fn matches(&self, attributes: &Attributes) -> bool {
        if self.group != attributes.group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        if !self.resource_names.is_empty() && !has(&self.resource_names, &attributes.name) {
            return false;
        }
        let (resource, part) = (attributes.resource.as_str(), attributes.subresource.as_str());
        self.resources.iter().any(|one| match one.split_once('/') {
            _ if one == "*" => true,
            None => one == resource && part.is_empty(),
            Some((of, "*")) if of == resource => true,
            Some((of, wanted)) => !part.is_empty() && wanted == part && (of == "*" || of == resource),
        })
    }
}

fn covers(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix.trim_end_matches('*')),
        None => pattern == path,
    }
}

fn check(file: &File) -> Vec<FieldError> {
    let mut errors = Vec::new();
    stages(&file.omit_stages, &Path::root("omitStages"), &mut errors);
    let root = Path::root("rules");
    for (index, rule) in file.rules.iter().enumerate() {
        let path = root.index(index);
        let level = path.child("level");
        if rule.level.is_empty() {
            errors.push(FieldError::required(&level, ""));
        } else if !LEVELS.iter().any(|(name, _)| *name == rule.level) {
            errors.push(FieldError::not_supported(
                &level,
                rule.level.as_str(),
                &LEVELS.map(|(name, _)| name),
            ));
        }
        urls(rule, &path.child("nonResourceURLs"), &mut errors);
        resources(rule, &path.child("resources"), &mut errors);
        stages(&rule.omit_stages, &path.child("omitStages"), &mut errors);
    }
    errors
}

fn urls(rule: &Rule, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    for (index, url) in rule.non_resource_urls.iter().enumerate() {
        let mut wrong = |why: &str| errors.push(FieldError::invalid(&path.index(index), url.as_str(), why));
        if url == "*" {
            continue;
        }
        if !url.starts_with('/') {
            wrong("non-resource URL rules must begin with a '/' character");
        }
        if url.find('*').is_some_and(|at| at + 1 < url.len()) {
            wrong("non-resource URL wildcards '*' must be the final character of the rule");
        }
    }
    let of_resources = !rule.resources.is_empty() || !rule.namespaces.is_empty();
    if of_resources && !rule.non_resource_urls.is_empty() {
        let why = "rules cannot apply to both regular resources and non-resource URLs";
        errors.push(FieldError::invalid(path, rule.non_resource_urls.clone(), why));
    }
}

fn resources(rule: &Rule, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    for one in &rule.resources {
        if !one.group.is_empty() && one.group != "*" {
            let wrong = name::dns_subdomain(&one.group);
            if !wrong.is_empty() {
                errors.push(FieldError::invalid(&path.child("group"), one.group.as_str(), &wrong.join(",")));
            }
        }
        if !one.resource_names.is_empty() && one.resources.is_empty() {
            let why = "using resourceNames requires at least one resource";
            errors.push(FieldError::invalid(&path.child("resourceNames"), one.resource_names.clone(), why));
        }
    }
}

fn stages(names: &[String], path: &Path<'_>, errors: &mut Vec<FieldError>) {
    for (index, name) in names.iter().enumerate() {
        if !STAGES.iter().any(|(known, _)| known == name) {
            let supported = STAGES.map(|(name, _)| name);
            errors.push(FieldError::not_supported(&path.index(index), name.as_str(), &supported));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::User;
    use serde_json::json;
    use std::sync::Arc;

    fn ask(who: &str, verb: &str, what: &str) -> Attributes {
        let (user, group) = who.split_once('/').unwrap_or((who, "system:authenticated"));
        let user = Arc::new(User { name: user.into(), groups: vec![group.into()], ..User::default() });
        if what.starts_with('/') {
            return Attributes { user, verb: verb.into(), path: what.into(), ..Attributes::default() };
        }
        let mut parts = what.split(' ');
        let mut part = || parts.next().unwrap_or_default().to_owned();
        let (resource, namespace, name) = (part(), part(), part());
        let (resource, subresource) = resource.split_once('/').unwrap_or((&resource, ""));
        let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
        Attributes {
            user,
            verb: verb.into(),
            is_resource: true,
            group: group.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            namespace,
            name,
            ..Attributes::default()
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let policy = Policy::read(json!({ "apiVersion": "audit.k8s.io/v1", "kind": "Policy",
            "omitStages": ["RequestReceived"], "omitManagedFields": true,
            "rules": [
                { "level": "None", "users": ["system:kube-proxy"], "verbs": ["watch"], "resources": [{ "resources": ["endpoints", "services"] }] },
                { "level": "None", "userGroups": ["system:nodes"], "nonResourceURLs": ["/healthz*", "/version"] },
                { "level": "RequestResponse", "resources": [{ "group": "apps" }], "omitStages": ["Panic"], "omitManagedFields": false },
                { "level": "Request", "resources": [{ "resources": ["configmaps"], "resourceNames": ["one"] }] },
                { "level": "Request", "namespaces": ["kube-system"] },
                { "level": "Metadata", "resources": [{ "resources": ["pods/log", "*/status", "secrets/*"] }] },
                { "level": "Metadata", "nonResourceURLs": ["*"] },
            ] }))
        .unwrap();
        for (who, verb, what, expect) in [
            ("system:kube-proxy", "watch", "services a", Level::None),
            ("system:kube-proxy", "list", "services kube-system", Level::Request),
            ("n/system:nodes", "get", "/healthz/etcd", Level::None),
            ("ann", "get", "/healthz", Level::Metadata),
            ("ann", "create", "deployments.apps a", Level::RequestResponse),
            ("ann", "get", "configmaps a one", Level::Request),
            ("ann", "get", "configmaps a two", Level::None),
            ("ann", "get", "pods/log a p", Level::Metadata),
            ("ann", "get", "pods a p", Level::None),
            ("ann", "update", "nodes/status", Level::Metadata),
            ("ann", "get", "secrets a s", Level::Metadata),
        ] {
            assert_eq!(policy.evaluate(&ask(who, verb, what)).level, expect, "{who} {verb} {what}");
        }
        let verdict = policy.evaluate(&ask("ann", "create", "deployments.apps a"));
        assert!(
            verdict.omit_stages.contains(Stage::Panic)
                && verdict.omit_stages.contains(Stage::RequestReceived)
        );
        assert!(!verdict.omit_stages.contains(Stage::ResponseComplete) && !verdict.omit_managed_fields);
    }

    #[test]
    fn wrong_policies_say_what_is_wrong() {
        let read = |rules: Value| {
            let policy = json!({ "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules });
            Policy::read(policy).err().unwrap_or_default()
        };
        assert_eq!(read(json!([])), "loaded illegal policy with 0 rules");
        assert_eq!(read(json!([{}])), "rules[0].level: Required value");
        assert_eq!(
            read(json!([{ "level": "All", "nonResourceURLs": ["a*b"], "resources": [{ "resourceNames": ["x"] }], "omitStages": ["X"] }])).lines().count(),
            6
        );
        assert!(read(json!([{ "level": "None", "extra": 1 }])).contains("unknown field"));
    }
}
