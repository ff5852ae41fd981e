//! The status of ValidatingAdmissionPolicies: what their expressions get wrong about the kinds that they name.
//!
//! Invariant: a policy is checked once per generation, and what was written gives nothing to write. Answers to
//! kube-controller-manager's `validatingadmissionpolicy-status` controller, which needs nothing but what is served
//! here.

use super::GROUP;
use crate::cache::{Cache, Caches, Filter, Next, Subscription};
use crate::cluster::own_status;
use crate::kinds::Kinds;
use crate::server::Server;
use futures_util::future::poll_fn;
use gifee_base::gvk::split_api_version;
use gifee_base::{FieldSelector, Gvk, LabelSelector, Reason, Status};
use gifee_policy::policies::warnings;
use gifee_schema::cel::{Type, from_schema};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

const RESOURCE: &str = "validatingadmissionpolicies";
/// Who owns the status.
const MANAGER: &str = "validatingadmissionpolicy-status-controller";
/// Kinds that one rule is checked for; upstream's figure.
const KINDS: usize = 10;

/// Follows the policies until the server stops.
pub async fn run(server: Weak<Server>) {
    let (stop, caches) = match server.upgrade() {
        Some(server) => (server.stopping(), server.caches.clone()),
        None => return,
    };
    let Some(cache) = caches.find(GROUP, RESOURCE) else { return };
    loop {
        // Followed before it is read, so that nothing falls between.
        let Some(mut events) = follow(&caches, &cache) else { return };
        let goes_on = loop {
            for entry in cache.snapshot().objects.values() {
                let Some(server) = server.upgrade() else { return };
                let Ok(policy) = entry.object.to_value() else { continue };
                settle(&server, policy).await;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                next = poll_fn(|context| events.poll_next(context)) => match next {
                    Next::Event(..) | Next::Bookmark(_) => {}
                    Next::TooOld(_) => break true,
                    Next::Closed => break false,
                },
            }
        };
        if !goes_on {
            return;
        }
    }
}

fn follow(caches: &Caches, cache: &Arc<Cache>) -> Option<Subscription> {
    let (labels, fields) = (LabelSelector::everything(), FieldSelector::everything());
    let filter = Filter::new(&cache.fields, false, "", None, labels, &fields).ok()?;
    cache.subscribe(&Arc::new(filter), caches.progress(), false).ok()
}

/// Checks a policy that has changed since it was checked, and writes down what was found.
async fn settle(server: &Arc<Server>, policy: Value) {
    let generation = policy["metadata"]["generation"].as_i64().unwrap_or_default();
    let observed = policy["status"]["observedGeneration"].as_i64().unwrap_or_default();
    if generation <= observed {
        return;
    }
    let name = policy["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let kinds = server.kinds.load_full();
    // Schemas are read and expressions compiled for some milliseconds each.
    let checked = tokio::task::spawn_blocking(move || check(&kinds, &policy)).await;
    let Ok(found) = checked else { return };
    let checking = if found.is_empty() { json!({}) } else { json!({ "expressionWarnings": found }) };
    match write(server, &name, generation, &checking).await {
        Err(status) if !status.is(Reason::NotFound) => {
            tracing::warn!(name, %status, "the status of an admission policy could not be written");
        }
        _ => {}
    }
}

fn check(kinds: &Kinds, policy: &Value) -> Vec<Value> {
    let named: Vec<(String, Type)> = named(kinds, &policy["spec"]["matchConstraints"]["resourceRules"])
        .into_iter()
        .filter_map(|gvk| Some((shown(&gvk), kind(kinds, &gvk)?)))
        .collect();
    let params = &policy["spec"]["paramKind"];
    let params = params["apiVersion"].as_str().and_then(|api_version| {
        let (group, version) = split_api_version(api_version);
        kind(kinds, &Gvk::new(group, version, params["kind"].as_str().unwrap_or_default()))
    });
    warnings(policy, &named, params.as_ref())
}

/// As Go prints it.
fn shown(gvk: &Gvk) -> String {
    format!("{}/{}, Kind={}", gvk.group, gvk.version, gvk.kind)
}

fn kind(kinds: &Kinds, gvk: &Gvk) -> Option<Type> {
    from_schema(&crate::openapi::schema(kinds, gvk)?, true)
}

/// The kinds that rules name without wildcards, sorted.
fn named(kinds: &Kinds, rules: &Value) -> Vec<Gvk> {
    let mut all = BTreeSet::new();
    for rule in rules.as_array().into_iter().flatten() {
        let texts = |field: &str| {
            let mut texts: Vec<&str> =
                rule[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            texts.sort_unstable();
            texts
        };
        let (groups, versions) = (texts("apiGroups"), texts("apiVersions"));
        if groups.iter().chain(&versions).any(|text| text.contains('*')) {
            continue;
        }
        let resources = texts("resources");
        let resources: Vec<_> = resources.into_iter().filter(|text| !text.contains(['*', '/'])).collect();
        let places = groups.iter().flat_map(|group| versions.iter().map(move |version| (group, version)));
        let found = places.flat_map(|(group, version)| {
            resources.iter().filter_map(move |resource| kinds.find(group, version, resource))
        });
        let found = found.take(KINDS).map(|one| &one.kind.gvk);
        all.extend(found.map(|gvk| (gvk.group.clone(), gvk.version.clone(), gvk.kind.clone())));
    }
    all.into_iter().map(|(group, version, kind)| Gvk { group, version, kind }).collect()
}

async fn write(server: &Arc<Server>, name: &str, generation: i64, checking: &Value) -> Result<(), Status> {
    let mut edit = |policy: &mut Value| {
        policy["status"]["observedGeneration"] = generation.into();
        policy["status"]["typeChecking"] = checking.clone();
    };
    own_status(server, [GROUP, RESOURCE], name, MANAGER, &mut edit).await.map(drop)
}
