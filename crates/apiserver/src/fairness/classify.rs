//! From a request to its flow.
//!
//! Invariant: nothing is allocated; who asks is looked up, and only the rules that name them are compared, in order.

use super::plan::{Distinguisher, Flow, Plan};
use crate::info::RequestInfo;
use gifee_policy::User;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What begins the names of service accounts as users.
const ACCOUNT: &str = "system:serviceaccount:";

/// Words, of which `*` means any.
#[derive(Debug)]
enum Words {
    Any,
    These(Box<[Box<str>]>),
}

impl Words {
    fn of(list: &Value) -> Self {
        let words: Vec<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if words.contains(&"*") {
            return Self::Any;
        }
        Self::These(words.into_iter().map(Box::from).collect())
    }

    fn has(&self, word: &str) -> bool {
        self.any(|one| one == word)
    }

    fn any(&self, test: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::These(words) => words.iter().any(|one| test(one)),
        }
    }
}

#[derive(Debug)]
struct ResourceRule {
    verbs: Words,
    groups: Words,
    resources: Words,
    namespaces: Words,
    cluster_scope: bool,
}

#[derive(Debug)]
struct PathRule {
    verbs: Words,
    paths: Words,
}

/// The rules that share their subjects, and whose they are.
#[derive(Debug)]
pub struct Rule {
    flow: usize,
    resources: Vec<ResourceRule>,
    paths: Vec<PathRule>,
}

impl Rule {
    /// One of `spec.rules` of the flow with this number.
    pub fn of(rule: &Value, flow: usize) -> Self {
        let resources = rule["resourceRules"].as_array().into_iter().flatten().map(|one| ResourceRule {
            verbs: Words::of(&one["verbs"]),
            groups: Words::of(&one["apiGroups"]),
            resources: Words::of(&one["resources"]),
            namespaces: Words::of(&one["namespaces"]),
            cluster_scope: one["clusterScope"].as_bool().unwrap_or_default(),
        });
        let paths = rule["nonResourceRules"].as_array().into_iter().flatten().map(|one| PathRule {
            verbs: Words::of(&one["verbs"]),
            paths: Words::of(&one["nonResourceURLs"]),
        });
        Self { flow, resources: resources.collect(), paths: paths.collect() }
    }

    fn matches(&self, info: &RequestInfo<'_>) -> bool {
        if !info.is_resource {
            let path = |one: &str| match one.strip_suffix('*') {
                Some(start) => info.path.starts_with(start),
                None => info.path == one,
            };
            return self.paths.iter().any(|rule| rule.verbs.has(info.verb) && rule.paths.any(path));
        }
        let resource = |one: &str| match one.split_once('/') {
            Some((resource, part)) => resource == info.resource && part == info.subresource,
            None => info.subresource.is_empty() && one == info.resource,
        };
        self.resources.iter().any(|rule| {
            let place = if info.namespace.is_empty() {
                rule.cluster_scope
            } else {
                rule.namespaces.has(&info.namespace)
            };
            place && rule.verbs.has(info.verb) && rule.groups.has(&info.group) && rule.resources.any(resource)
        })
    }
}

/// From subjects to the numbers of rules, which are in order.
#[derive(Debug, Default)]
pub struct Index {
    rules: Vec<Rule>,
    everybody: Vec<u32>,
    users: HashMap<Box<str>, Vec<u32>>,
    groups: HashMap<Box<str>, Vec<u32>>,
    /// All service accounts of a namespace.
    namespaces: HashMap<Box<str>, Vec<u32>>,
}

impl Index {
    /// Adds a rule behind the others.
    pub fn add(&mut self, subjects: &Value, rule: Rule) {
        // More rules than a number counts do not fit into a store.
        let number = u32::try_from(self.rules.len()).unwrap_or(u32::MAX);
        self.rules.push(rule);
        for subject in subjects["subjects"].as_array().into_iter().flatten() {
            let name = |of: &str| subject[of]["name"].as_str().unwrap_or_default();
            let list = match subject["kind"].as_str().unwrap_or_default() {
                "User" if name("user") == "*" => &mut self.everybody,
                "User" => self.users.entry(name("user").into()).or_default(),
                "Group" if name("group") == "*" => &mut self.everybody,
                "Group" => self.groups.entry(name("group").into()).or_default(),
                "ServiceAccount" => {
                    let namespace = subject["serviceAccount"]["namespace"].as_str().unwrap_or_default();
                    match name("serviceAccount") {
                        "*" => self.namespaces.entry(namespace.into()).or_default(),
                        name => {
                            let user = format!("{ACCOUNT}{namespace}:{name}");
                            self.users.entry(user.into()).or_default()
                        }
                    }
                }
                _ => continue,
            };
            if list.last() != Some(&number) {
                list.push(number);
            }
        }
    }

    /// The number of the first flow that a request matches.
    fn find(&self, user: &User, info: &RequestInfo<'_>) -> Option<usize> {
        let mut best = u32::MAX;
        let mut try_all = |numbers: Option<&Vec<u32>>| {
            for number in numbers.into_iter().flatten() {
                if *number >= best {
                    return;
                }
                if self.rules[*number as usize].matches(info) {
                    best = *number;
                    return;
                }
            }
        };
        for group in &user.groups {
            try_all(self.groups.get(group.as_str()));
        }
        try_all(self.users.get(user.name.as_str()));
        if let Some((namespace, _)) = user.name.strip_prefix(ACCOUNT).and_then(|rest| rest.split_once(':')) {
            try_all(self.namespaces.get(namespace));
        }
        try_all(Some(&self.everybody));
        self.rules.get(best as usize).map(|rule| rule.flow)
    }
}

impl Plan {
    /// The flow of a request, and the hash that tells it from others of its schema.
    pub fn classify(&self, user: &User, info: &RequestInfo<'_>) -> (Arc<Flow>, u64) {
        // The last flow takes everybody; who is neither authenticated nor not falls to it as well.
        let number = self.index.find(user, info).unwrap_or(self.flows.len() - 1);
        let flow = &self.flows[number];
        let by = match flow.by {
            Distinguisher::None => "",
            Distinguisher::User => &user.name,
            Distinguisher::Namespace => &info.namespace,
        };
        (flow.clone(), xxh3_64_with_seed(by.as_bytes(), flow.seed))
    }
}
