//! What a person calls a resource: `po`, `pods`, `deployments.apps`, `all`, `deploy/web`.

use anyhow::{Result, bail};
use gifee_client::Resource;
use gifee_client::discovery::Discovery;

/// A resource and the names in it; no names means all of it.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The resource.
    pub resource: Resource,
    /// Names, in the order given.
    pub names: Vec<String>,
}

/// Reads words such as `pods a b`, `po,svc`, `deploy/web svc/web`.
///
/// # Errors
/// If the server has no such resource, or the words mix the two forms.
pub fn parse(discovery: &Discovery, words: &[String]) -> Result<Vec<Wanted>> {
    let Some(first) = words.first() else {
        bail!("say which resource: for example `pods`, `deploy/web` or `all`");
    };
    if !first.contains('/') {
        let names = words[1..].to_vec();
        if let Some(odd) = names.iter().find(|name| name.contains('/')) {
            bail!("{odd:?} names a resource of its own; write either `pods a b` or `pod/a svc/b`");
        }
        let mut wanted = Vec::new();
        for word in first.split(',') {
            for resource in find(discovery, word)? {
                wanted.push(Wanted { resource, names: names.clone() });
            }
        }
        return Ok(wanted);
    }
    let mut wanted: Vec<Wanted> = Vec::new();
    for word in words {
        let Some((resource, name)) = word.split_once('/') else {
            bail!("{word:?} has no resource; write either `pods a b` or `pod/a svc/b`");
        };
        let Some(resource) = find(discovery, resource)?.into_iter().next() else { continue };
        match wanted.iter_mut().find(|one| one.resource == resource) {
            Some(one) => one.names.push(name.to_owned()),
            None => wanted.push(Wanted { resource, names: vec![name.to_owned()] }),
        }
    }
    Ok(wanted)
}

/// The resource, or those of the category, that a word means.
///
/// # Errors
/// If the server has none.
pub fn find(discovery: &Discovery, word: &str) -> Result<Vec<Resource>> {
    let lower = word.to_lowercase();
    let (plain, group) = lower.split_once('.').unwrap_or((&lower, ""));
    let names = |resource: &Resource| {
        *resource.gvr.resource == *plain
            || resource.singular == plain
            || resource.short_names.iter().any(|short| short == plain)
            || resource.gvk.kind.to_lowercase() == plain
    };
    let in_group = |resource: &Resource| {
        let own = &*resource.gvr.group;
        group.is_empty() || own == group || format!("{}.{own}", resource.gvr.version) == group
    };
    if let Some(found) = discovery.preferred().find(|one| names(one) && in_group(one)) {
        return Ok(vec![found.clone()]);
    }
    if let Some(found) = discovery.resources.iter().find(|one| names(one) && in_group(one)) {
        return Ok(vec![found.clone()]);
    }
    let category: Vec<Resource> = discovery
        .preferred()
        .filter(|one| one.categories.iter().any(|name| name == plain))
        .cloned()
        .collect();
    if category.is_empty() {
        bail!("the server doesn't have a resource type {word:?}");
    }
    Ok(category)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gifee_base::{Gvk, Gvr};

    fn discovery() -> Discovery {
        let one = |group: &str, resource: &str, kind: &str, short: &str, all: bool| Resource {
            gvr: Gvr::new(group, "v1", resource),
            gvk: Gvk::new(group, "v1", kind),
            namespaced: true,
            singular: kind.to_lowercase(),
            short_names: vec![short.into()],
            categories: if all { vec!["all".into()] } else { Vec::new() },
            verbs: vec!["get".into(), "list".into()],
            subresources: Vec::new(),
            preferred: true,
        };
        let resources = vec![
            one("", "pods", "Pod", "po", true),
            one("", "services", "Service", "svc", true),
            one("apps", "deployments", "Deployment", "deploy", true),
            one("", "events", "Event", "ev", false),
            one("events.k8s.io", "events", "Event", "ev", false),
        ];
        Discovery { resources, missing: Vec::new() }
    }

    fn check(words: &str, expect: &[&str]) {
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        let wanted = parse(&discovery(), &words).unwrap();
        let shown: Vec<String> =
            wanted.iter().map(|one| format!("{} {}", one.resource.gvr, one.names.join("+"))).collect();
        assert_eq!(shown, expect, "{words:?}");
    }

    #[test]
    fn people_call_resources_many_names() {
        check("po", &["v1/pods "]);
        check("Pod a b", &["v1/pods a+b"]);
        check("pods,svc", &["v1/pods ", "v1/services "]);
        check("deployments.apps web", &["apps/v1/deployments web"]);
        check("deployment.v1.apps web", &["apps/v1/deployments web"]);
        check("events.events.k8s.io", &["events.k8s.io/v1/events "]);
        check("deploy/web svc/web deploy/db", &["apps/v1/deployments web+db", "v1/services web"]);
        check("all", &["v1/pods ", "v1/services ", "apps/v1/deployments "]);
    }

    #[test]
    fn what_the_server_has_not_is_refused() {
        for (words, why) in
            [("widgets", "resource type"), ("pods a/b", "of its own"), ("po/a svc", "no resource")]
        {
            let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
            assert!(parse(&discovery(), &words).unwrap_err().to_string().contains(why));
        }
    }
}
