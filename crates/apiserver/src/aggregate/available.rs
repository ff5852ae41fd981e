//! Whether others answer, and what they serve: asked when something about them changes, and every half minute.
//!
//! One task follows APIServices, and Services and EndpointSlices only while others are there. Answers to
//! kube-aggregator's `AvailableConditionController`.

use super::discovered::{Discovered, resources};
use super::published::{Published, asker, published};
use super::remote::Remote;
use super::{DISCOVERY_TIMEOUT, GROUP, RESOURCE, local, name_user};
use crate::body::Body;
use crate::cache::{Caches, Filter, Next, Subscription};
use crate::cluster::own_status;
use crate::outbound::slices;
use crate::server::Server;
use futures_util::future::join_all;
use gifee_base::clock::format_time;
use gifee_base::{FieldSelector, LabelSelector, ObjectKey, Status};
use gifee_policy::Lookup;
use http::Request;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};

/// How often others are asked again although nothing changed; upstream's figure.
const AGAIN: Duration = Duration::from_secs(30);
/// Bytes of what another server says that it serves.
const DISCOVERY_BYTES: usize = 4 << 20;

/// The outcome of a check: status, reason and message of the condition.
type Outcome = (&'static str, &'static str, String);

fn follow(caches: &Caches, group: &str, resource: &str) -> Option<Subscription> {
    let cache = caches.find(group, resource)?;
    let (labels, fields) = (LabelSelector::everything(), FieldSelector::everything());
    let filter = Filter::new(&cache.fields, false, "", None, labels, &fields).ok()?;
    cache.subscribe(&Arc::new(filter), caches.progress(), false).ok()
}

/// What has changed, as far as it is known without waiting; None if the server stops.
fn drain(
    events: &mut Option<Subscription>,
    context: &mut Context<'_>,
    names: &mut BTreeSet<ObjectKey>,
) -> Option<bool> {
    let Some(subscription) = events else { return Some(false) };
    let mut any = false;
    loop {
        match subscription.poll_next(context) {
            Poll::Ready(Next::Event(delivery, _)) => {
                any = true;
                names.insert(delivery.event.entry.object.key());
            }
            Poll::Ready(Next::Bookmark(_)) => {}
            // The half-minute check makes up for what was missed.
            Poll::Ready(Next::TooOld(_)) => {
                *events = None;
                return Some(any);
            }
            Poll::Ready(Next::Closed) => return None,
            Poll::Pending => return Some(any),
        }
    }
}

/// Follows APIServices until the server stops.
pub async fn run(server: Weak<Server>, kinds: Arc<Notify>) {
    let Some((caches, stop)) = server.upgrade().map(|server| (server.caches.clone(), server.stopping()))
    else {
        return;
    };
    let mut told: BTreeSet<String> = BTreeSet::new();
    let mut own = follow(&caches, GROUP, RESOURCE);
    let mut others: [Option<Subscription>; 2] = [None, None];
    let mut again = interval(AGAIN);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let Some(running) = server.upgrade() else { return };
        local::settle(&running).await;
        let remotes = running.aggregator.index().remotes.clone();
        let usage = crate::usage::PLACE;
        running.replace(usage, remotes.iter().any(|one| (&*one.group, &*one.version) == usage));
        if remotes.is_empty() {
            others = [None, None];
        } else if others[0].is_none() {
            others = [follow(&caches, "", "services"), follow(&caches, "discovery.k8s.io", "endpointslices")];
        }
        let names: BTreeSet<String> = remotes.iter().map(|remote| remote.name.clone()).collect();
        told.difference(&names).for_each(|gone| running.metrics.forgotten(gone));
        told = names;
        join_all(remotes.iter().map(|remote| look(&running, remote))).await;
        drop(running);
        let changed = poll_fn(|context| {
            let mut names = BTreeSet::new();
            for events in std::iter::once(&mut own).chain(&mut others) {
                if drain(events, context, &mut names).is_none() {
                    return Poll::Ready(false);
                }
            }
            if names.iter().any(|key| concerns(key, &remotes)) { Poll::Ready(true) } else { Poll::Pending }
        });
        tokio::select! {
            () = stop.cancelled() => return,
            () = kinds.notified() => {}
            goes_on = changed => if !goes_on { return },
            _ = again.tick(), if !remotes.is_empty() => {}
        }
    }
}

/// Whether an APIService has changed, or what may be the Service of one, or a slice of it.
fn concerns(key: &ObjectKey, remotes: &[Arc<Remote>]) -> bool {
    key.namespace.is_empty()
        || remotes.iter().any(|one| *one.service.0 == *key.namespace && key.name.starts_with(&one.service.1))
}

/// Checks one, and says so in its status if something changed.
async fn look(server: &Arc<Server>, remote: &Remote) {
    let (status, reason, message) = match refused(&*server.caches, remote) {
        Some(outcome) => outcome,
        None => discover(server, remote).await,
    };
    let aggregator = &server.aggregator;
    server.metrics.available(&remote.name, (status != "True").then_some(reason));
    if status != "True" {
        let mut discovered = aggregator.discovered.lock();
        if let Some(known) = discovered.get_mut(&remote.name).filter(|known| known.current) {
            let Discovered { resources, published, .. } = Discovered::clone(known);
            *known = Arc::new(Discovered { resources, current: false, published });
            aggregator.generation.fetch_add(1, Ordering::Release);
        }
    }
    if let Err(error) = say(server, &remote.name, status, reason, &message).await {
        tracing::debug!(name = remote.name, %error, "the status of an APIService could not be written");
    }
}

/// What is wrong with the Service.
fn refused(lookup: &dyn Lookup, remote: &Remote) -> Option<Outcome> {
    let (namespace, name, port) = &remote.service;
    let Some(service) = lookup.get("", "services", &ObjectKey::new(namespace, name)) else {
        return Some(("False", "ServiceNotFound", format!("service/{name} in {namespace:?} is not present")));
    };
    let service = service.to_value().ok()?;
    if !matches!(service["spec"]["type"].as_str(), None | Some("ClusterIP")) {
        return None;
    }
    let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let Some(found) = ports.find(|one| one["port"] == *port) else {
        let why = format!("service/{name} in {namespace:?} is not listening on port {port}");
        return Some(("False", "ServicePortError", why));
    };
    let port_name = found["name"].as_str().unwrap_or_default();
    let slices = slices(lookup, namespace, name);
    if slices.is_empty() {
        let why = format!("cannot find endpointslices for service/{name} in {namespace:?}");
        return Some(("False", "EndpointsNotFound", why));
    }
    if crate::outbound::endpoint(&slices, port_name, "", &|_| true).is_none() {
        let why = format!(
            "endpointslices for service/{name} in {namespace:?} have no addresses with port name {port_name:?}"
        );
        return Some(("False", "MissingEndpoints", why));
    }
    None
}

/// Asks what it serves.
async fn discover(server: &Arc<Server>, remote: &Remote) -> Outcome {
    let failed = |why: String| ("False", "FailedDiscoveryCheck", why);
    let (namespace, name, port) = &remote.service;
    let path = format!("/apis/{}/{}", remote.group, remote.version);
    let url = format!("https://{name}.{namespace}.svc:{port}{path}");
    let endpoint = match &remote.endpoint {
        Ok(endpoint) => endpoint,
        Err(why) => return failed(why.clone()),
    };
    let mut request = Request::new(Body::empty());
    if let Ok(path) = path.parse() {
        *request.uri_mut() = path;
    }
    if let Err(status) = name_user(request.headers_mut(), &asker()) {
        return failed(status.message);
    }
    let ask = async {
        let response = server.outbound.send(endpoint, request).await.map_err(|error| error.to_string())?;
        let code = response.status().as_u16();
        if !(200..300).contains(&code) {
            return Err(format!("failing or missing response from {url}: bad status from {url}: {code}"));
        }
        let bytes = Body::wrap(response.into_body()).read(DISCOVERY_BYTES).await;
        bytes.map_err(|status| status.message)
    };
    let bytes = match tokio::time::timeout(DISCOVERY_TIMEOUT, ask).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(why)) if why.starts_with("failing or missing") => return failed(why),
        Ok(Err(why)) => return failed(format!("failing or missing response from {url}: {why}")),
        Err(_) => {
            let why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
            return failed(format!("failing or missing response from {url}: Get {url:?}: {why}"));
        }
    };
    let list: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let found = resources(&list);
    let aggregator = &server.aggregator;
    let before = aggregator.found(&remote.name);
    let documents = before.as_ref().map_or_else(Published::default, |known| known.published.clone());
    let documents = published(server, remote, &documents).await;
    let same =
        |known: &Discovered| known.current && known.resources == found && known.published.is(&documents);
    if !before.is_some_and(|known| same(&known)) {
        let found = Arc::new(Discovered { resources: found, current: true, published: documents });
        aggregator.discovered.lock().insert(remote.name.clone(), found);
        aggregator.generation.fetch_add(1, Ordering::Release);
    }
    ("True", "Passed", "all checks passed".to_owned())
}

/// Writes the condition Available, if it is not what it says already.
async fn say(
    server: &Arc<Server>,
    name: &str,
    status: &str,
    reason: &str,
    message: &str,
) -> Result<(), Status> {
    let now = format_time(server.config.clock.now());
    let mut edit = |service: &mut Value| {
        let conditions = &mut service["status"]["conditions"];
        if !conditions.is_array() {
            *conditions = json!([]);
        }
        let Some(all) = conditions.as_array_mut() else { return };
        let said = all.iter().position(|one| one["type"] == "Available");
        let since = said.map(|at| &all[at]).filter(|one| one["status"] == status);
        let since = since.map_or(Value::from(now.as_str()), |one| one["lastTransitionTime"].clone());
        let condition = json!({ "type": "Available", "status": status, "reason": reason, "message": message,
            "lastTransitionTime": since });
        match said {
            Some(at) => all[at] = condition,
            None => all.push(condition),
        }
    };
    own_status(server, [GROUP, RESOURCE], name, "kube-aggregator", &mut edit).await.map(drop)
}
