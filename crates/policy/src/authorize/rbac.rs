//! RBAC: roles bound to users, groups and service accounts.
//!
//! Answers to upstream's `rbac` authorizer. The bindings are compiled into an index from subject to rules; it is
//! made anew when one of the four resources has changed, which the lookup's version numbers tell.

use super::{Decision, Rule};
use crate::{Attributes, Lookup, User};
use arc_swap::ArcSwapOption;
use gifee_base::{Object, ObjectKey};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;

const GROUP: &str = "rbac.authorization.k8s.io";
const RESOURCES: [&str; 4] = ["roles", "clusterroles", "rolebindings", "clusterrolebindings"];

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PolicyRule {
    verbs: Option<Vec<String>>,
    api_groups: Option<Vec<String>>,
    resources: Option<Vec<String>>,
    resource_names: Option<Vec<String>>,
    #[serde(rename = "nonResourceURLs")]
    non_resource_urls: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Role {
    rules: Option<Vec<PolicyRule>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Binding {
    subjects: Option<Vec<Subject>>,
    role_ref: RoleRef,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Subject {
    kind: String,
    name: String,
    namespace: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RoleRef {
    kind: String,
    name: String,
}

/// A binding as a subject sees it.
struct Grant {
    /// Empty for the whole cluster.
    namespace: String,
    rules: Arc<[Rule]>,
    /// Such as `RBAC: allowed by ClusterRoleBinding "x" of ClusterRole "y" to User "z"`; shared, so that allowing
    /// costs no allocation.
    reason: Arc<str>,
}

#[derive(Default)]
struct Compiled {
    versions: [u64; 4],
    users: HashMap<String, Vec<Grant>>,
    groups: HashMap<String, Vec<Grant>>,
}

/// The RBAC authorizer.
#[derive(Default)]
pub struct Rbac {
    compiled: ArcSwapOption<Compiled>,
}

impl Rbac {
    /// Allows if any rule bound to the user covers the request; else has no opinion.
    pub fn authorize(&self, attributes: &Attributes, lookup: &dyn Lookup) -> Decision {
        self.with(lookup, |compiled| {
            for grant in compiled.of(&attributes.user) {
                let in_scope = grant.namespace.is_empty()
                    || (attributes.is_resource && grant.namespace == attributes.namespace);
                if in_scope && grant.rules.iter().any(|rule| covers(rule, attributes)) {
                    return Decision::Allow(grant.reason.clone());
                }
            }
            Decision::NoOpinion(Arc::default())
        })
    }

    /// All rules bound to a user in a namespace and in the cluster.
    pub fn rules(&self, user: &User, namespace: &str, lookup: &dyn Lookup) -> Vec<Rule> {
        self.with(lookup, |compiled| {
            let grants = compiled.of(user);
            let grants = grants.filter(|grant| grant.namespace.is_empty() || grant.namespace == namespace);
            grants.flat_map(|grant| grant.rules.iter().cloned()).collect()
        })
    }

    fn with<T>(&self, lookup: &dyn Lookup, ask: impl Fn(&Compiled) -> T) -> T {
        let versions = RESOURCES.map(|resource| lookup.version(GROUP, resource));
        if let Some(compiled) = &*self.compiled.load()
            && compiled.versions == versions
        {
            return ask(compiled);
        }
        let compiled = Arc::new(compile(lookup, versions));
        let answer = ask(&compiled);
        self.compiled.store(Some(compiled));
        answer
    }
}

impl Compiled {
    fn of<'a>(&'a self, user: &'a User) -> impl Iterator<Item = &'a Grant> {
        let groups = user.groups.iter().filter_map(|group| self.groups.get(group));
        self.users.get(&user.name).into_iter().chain(groups).flatten()
    }
}

fn compile(lookup: &dyn Lookup, versions: [u64; 4]) -> Compiled {
    let mut compiled = Compiled { versions, ..Compiled::default() };
    let mut roles: HashMap<(bool, ObjectKey), Arc<[Rule]>> = HashMap::new();
    for (resource, of_cluster) in [("rolebindings", false), ("clusterrolebindings", true)] {
        for object in lookup.list(GROUP, resource, "") {
            let Ok(binding) = object.decode::<Binding>() else { continue };
            let to_cluster_role = of_cluster || binding.role_ref.kind == "ClusterRole";
            let namespace = if to_cluster_role { "" } else { object.namespace() };
            let key = ObjectKey::new(namespace, &binding.role_ref.name);
            let rules = roles
                .entry((to_cluster_role, key.clone()))
                .or_insert_with(|| role_rules(lookup, to_cluster_role, &key))
                .clone();
            compiled.add(&object, of_cluster, &binding, &rules);
        }
    }
    compiled
}

impl Compiled {
    fn add(&mut self, object: &Object, of_cluster: bool, binding: &Binding, rules: &Arc<[Rule]>) {
        for subject in binding.subjects.iter().flatten() {
            let (holders, who) = match subject.kind.as_str() {
                "User" => (&mut self.users, subject.name.clone()),
                "Group" => (&mut self.groups, subject.name.clone()),
                "ServiceAccount" => {
                    let namespace =
                        if subject.namespace.is_empty() { object.namespace() } else { &subject.namespace };
                    (&mut self.users, format!("system:serviceaccount:{namespace}:{}", subject.name))
                }
                _ => continue,
            };
            let kind = if of_cluster { "ClusterRoleBinding" } else { "RoleBinding" };
            let reason = format!(
                "RBAC: allowed by {kind} {:?} of {} {:?} to {} {:?}",
                object.key().to_string(),
                binding.role_ref.kind,
                binding.role_ref.name,
                subject.kind,
                subject.name
            );
            let namespace = object.namespace().to_owned();
            holders.entry(who).or_default().push(Grant {
                namespace,
                rules: rules.clone(),
                reason: reason.into(),
            });
        }
    }
}

fn role_rules(lookup: &dyn Lookup, of_cluster: bool, key: &ObjectKey) -> Arc<[Rule]> {
    let resource = if of_cluster { "clusterroles" } else { "roles" };
    let role = lookup.get(GROUP, resource, key).and_then(|object| object.decode::<Role>().ok());
    let rules = role.and_then(|role| role.rules).unwrap_or_default();
    let rules = rules.into_iter().map(|rule| Rule {
        verbs: rule.verbs.unwrap_or_default(),
        api_groups: rule.api_groups.unwrap_or_default(),
        resources: rule.resources.unwrap_or_default(),
        resource_names: rule.resource_names.unwrap_or_default(),
        non_resource_urls: rule.non_resource_urls.unwrap_or_default(),
    });
    rules.collect()
}

fn among(list: &[String], wanted: &str) -> bool {
    list.iter().any(|one| one == "*" || one == wanted)
}

/// Whether a rule covers a request.
pub fn covers(rule: &Rule, attributes: &Attributes) -> bool {
    if !among(&rule.verbs, &attributes.verb) {
        return false;
    }
    if !attributes.is_resource {
        return rule.non_resource_urls.iter().any(|url| url_covers(url, &attributes.path));
    }
    among(&rule.api_groups, &attributes.group)
        && rule
            .resources
            .iter()
            .any(|one| resource_covers(one, &attributes.resource, &attributes.subresource))
        && (rule.resource_names.is_empty() || rule.resource_names.contains(&attributes.name))
}

fn url_covers(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => pattern == path,
    }
}

fn resource_covers(pattern: &str, resource: &str, subresource: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    match pattern.split_once('/') {
        None => subresource.is_empty() && pattern == resource,
        Some((before, after)) => {
            after == subresource && !after.is_empty() && (before == "*" || before == resource)
        }
    }
}
