//! Extenders: others that have a say in where pods go, asked over HTTP.
//!
//! Invariant: who does not answer in time, or not sensibly, keeps a pod from being placed, unless it may be passed over.
//! Answers to upstream's `HTTPExtender` and the wire format of `k8s.io/kube-scheduler/extender/v1`.

use crate::pod::Template;
use gifee_client::{Client, Credentials, Request, Tls, TlsConfig};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// By how much scores of extenders, up to 10, are smaller than those of plugins.
pub const SCORE_SCALE: i64 = 10;

/// What is presented to an extender, and what it must prove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Do not verify its certificate.
    pub insecure: bool,
    /// The name that its certificate must carry.
    pub server_name: Option<String>,
    /// Certificate, key and authorities: in the configuration, or in files.
    pub certificate: Source,
    /// See there.
    pub key: Source,
    /// See there.
    pub authorities: Source,
}

/// Where PEM comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// There is none.
    #[default]
    None,
    /// It is this.
    Data(Vec<u8>),
    /// It is in a file.
    File(PathBuf),
}

impl Source {
    fn read(&self) -> Result<Vec<u8>, String> {
        match self {
            Self::None => Ok(Vec::new()),
            Self::Data(data) => Ok(data.clone()),
            Self::File(path) => std::fs::read(path).map_err(|error| format!("{}: {error}", path.display())),
        }
    }
}

/// An extender, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extender {
    /// `urlPrefix`
    pub url: String,
    /// Path under which nodes are filtered, or empty.
    pub filter: String,
    /// Path under which nodes are scored, or empty.
    pub prioritize: String,
    /// Path under which victims are judged, or empty.
    pub preempt: String,
    /// Path under which pods are bound, or empty.
    pub bind: String,
    /// How much its scores count.
    pub weight: i64,
    /// Who it is, if it is asked over TLS.
    pub identity: Option<Identity>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Whether it knows nodes, so that their names will do.
    pub knows_nodes: bool,
    /// Only pods that ask for one of these resources concern it; none: all pods do.
    pub resources: Vec<Box<str>>,
    /// Whether it is passed over if it fails.
    pub ignorable: bool,
}

impl Extender {
    /// Whether a pod concerns it.
    pub fn concerns(&self, template: &Template) -> bool {
        let asks = |name: &str| template.requests.others.iter().any(|(one, _)| **one == *name);
        self.resources.is_empty() || self.resources.iter().any(|name| asks(name))
    }
}

/// A pod and the nodes that come into question for it.
#[derive(Clone, Debug)]
pub struct Question {
    /// The pod.
    pub pod: crate::pod::Pod,
    /// Names of nodes.
    pub nodes: Vec<Arc<str>>,
    /// Who leaves each node for the pod, and how many of them a budget protects: asked instead, if there are any.
    pub victims: BTreeMap<Arc<str>, Victims>,
    /// Those that would leave.
    pub leaving: Vec<gifee_base::ObjectKey>,
}

/// UIDs of pods, and how many of them a budget protects.
pub type Victims = (Vec<Arc<str>>, usize);

/// What extenders say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Nodes that are left, with their scores.
    pub nodes: Vec<(Arc<str>, i64)>,
    /// Why others are not, and whether they could be if pods went away.
    pub failed: BTreeMap<Arc<str>, (String, bool)>,
    /// Who is left to leave, by node.
    pub victims: BTreeMap<Arc<str>, Victims>,
    /// Why there is no answer.
    pub error: Option<String>,
}

/// Calls an extender.
#[derive(Clone)]
pub struct Caller {
    /// Who is called.
    pub extender: Arc<Extender>,
    client: Result<Client, String>,
}

impl Caller {
    /// For an extender; connects with the first call.
    pub fn new(extender: Arc<Extender>) -> Self {
        let client = connect(&extender);
        if let Err(why) = &client {
            tracing::error!(extender = extender.url, why, "cannot call an extender");
        }
        Self { extender, client }
    }

    async fn call(&self, verb: &str, body: Value) -> Result<Value, String> {
        let client = self.client.as_ref().map_err(Clone::clone)?;
        let (_, path) = split(&self.extender.url);
        let path = format!("{}/{verb}", path.trim_end_matches('/'));
        let request = Request::new(http::Method::POST, path).json(body);
        let answer = tokio::time::timeout(self.extender.timeout, client.value(&request)).await;
        let url = &self.extender.url;
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(format!("failed {verb} with extender at URL {url}: {error}")),
            Err(_) => Err(format!("failed {verb} with extender at URL {url}: context deadline exceeded")),
        }
    }

    /// Which nodes are left; the others with why.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn filter(
        &self,
        pod: &Value,
        nodes: &[Arc<str>],
        objects: &dyn Objects,
        failed: &mut BTreeMap<Arc<str>, (String, bool)>,
    ) -> Result<Vec<Arc<str>>, String> {
        let answer = self.call(&self.extender.filter, self.about(pod, nodes, objects)).await?;
        if let Some(error) = field(&answer, "Error").as_str().filter(|error| !error.is_empty()) {
            return Err(error.to_owned());
        }
        for (name, resolvable) in [("FailedNodes", true), ("FailedAndUnresolvableNodes", false)] {
            for (node, why) in field(&answer, name).as_object().into_iter().flatten() {
                let why = why.as_str().unwrap_or_default().to_owned();
                failed.insert(node.as_str().into(), (why, resolvable));
            }
        }
        let names = field(&answer, "NodeNames");
        let named = list(names).filter_map(Value::as_str);
        let whole =
            list(field(field(&answer, "Nodes"), "items")).filter_map(|one| one["metadata"]["name"].as_str());
        let by_name = self.extender.knows_nodes && !names.is_null();
        let left: Vec<&str> = if by_name { named.collect() } else { whole.collect() };
        if let Some(unknown) = left.iter().find(|name| nodes.iter().all(|one| **one != ***name)) {
            let url = &self.extender.url;
            return Err(format!(
                "extender {url:?} claims a filtered node {unknown:?} which is not found in the input node list"
            ));
        }
        Ok(nodes.iter().filter(|one| left.iter().any(|name| **name == ***one)).cloned().collect())
    }

    /// Scores of nodes, up to 10, times the weight.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn prioritize(
        &self,
        pod: &Value,
        nodes: &[Arc<str>],
        objects: &dyn Objects,
    ) -> Result<BTreeMap<Arc<str>, i64>, String> {
        let answer = self.call(&self.extender.prioritize, self.about(pod, nodes, objects)).await?;
        let scores = list(&answer).filter_map(|one| {
            let score = field(one, "Score").as_i64()?;
            Some((field(one, "Host").as_str()?.into(), score.saturating_mul(self.extender.weight)))
        });
        Ok(scores.collect())
    }

    /// Binds a pod.
    ///
    /// # Errors
    /// Why it is not bound.
    pub async fn bind(&self, pod: &crate::pod::Pod, node: &str) -> Result<(), String> {
        let body = json!({ "PodName": &*pod.key.name, "PodNamespace": &*pod.key.namespace,
            "PodUID": &*pod.uid, "Node": node });
        let answer = self.call(&self.extender.bind, body).await?;
        match field(&answer, "Error").as_str().filter(|error| !error.is_empty()) {
            Some(error) => Err(error.to_owned()),
            None => Ok(()),
        }
    }

    /// Who is left to leave for a pod, by node.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn preempt(
        &self,
        pod: &Value,
        victims: &BTreeMap<Arc<str>, Victims>,
        objects: &dyn Objects,
    ) -> Result<BTreeMap<Arc<str>, Victims>, String> {
        let mut body = json!({ "Pod": pod });
        let mut shown = Map::new();
        for (node, (uids, violations)) in victims {
            let pods: Vec<Value> = match self.extender.knows_nodes {
                true => uids.iter().map(|uid| json!({ "UID": &**uid })).collect(),
                false => uids.iter().map(|uid| objects.pod(uid)).collect(),
            };
            shown.insert((**node).into(), json!({ "Pods": pods, "NumPDBViolations": violations }));
        }
        let name = if self.extender.knows_nodes { "NodeNameToMetaVictims" } else { "NodeNameToVictims" };
        body[name] = shown.into();
        let answer = self.call(&self.extender.preempt, body).await?;
        let mut left = BTreeMap::new();
        for (node, one) in field(&answer, "NodeNameToMetaVictims").as_object().into_iter().flatten() {
            let uids = list(field(one, "Pods")).filter_map(|pod| field(pod, "UID").as_str());
            let violations = field(one, "NumPDBViolations").as_u64().unwrap_or_default();
            let victims = (uids.map(Into::into).collect(), usize::try_from(violations).unwrap_or_default());
            left.insert(node.as_str().into(), victims);
        }
        Ok(left)
    }

    fn about(&self, pod: &Value, nodes: &[Arc<str>], objects: &dyn Objects) -> Value {
        if self.extender.knows_nodes {
            let names: Vec<&str> = nodes.iter().map(|name| &**name).collect();
            return json!({ "Pod": pod, "Nodes": null, "NodeNames": names });
        }
        let items: Vec<Value> = nodes.iter().map(|name| objects.node(name)).collect();
        json!({ "Pod": pod, "Nodes": { "metadata": {}, "items": items }, "NodeNames": null })
    }
}

/// Whole objects, for those that know none.
pub trait Objects: Sync {
    /// A node by its name; null if there is none.
    fn node(&self, name: &str) -> Value;
    /// A pod by its UID.
    fn pod(&self, uid: &str) -> Value;
}

/// Asks those that a pod concerns, one after the other.
pub async fn ask(callers: &[Caller], question: &Question, pod: &Value, objects: &dyn Objects) -> Answer {
    let concerned: Vec<&Caller> =
        callers.iter().filter(|one| one.extender.concerns(&question.pod.template)).collect();
    if !question.victims.is_empty() {
        return about_victims(&concerned, question, pod, objects).await;
    }
    let mut answer = Answer::default();
    let mut nodes = question.nodes.clone();
    for one in concerned.iter().filter(|one| !one.extender.filter.is_empty()) {
        if nodes.is_empty() {
            break;
        }
        match one.filter(pod, &nodes, objects, &mut answer.failed).await {
            Ok(left) => nodes = left,
            Err(why) if one.extender.ignorable => {
                tracing::info!(extender = one.extender.url, why, "skipping an extender");
            }
            Err(why) => return Answer { error: Some(why), ..Answer::default() },
        }
    }
    let mut scores: BTreeMap<Arc<str>, i64> = BTreeMap::new();
    if nodes.len() > 1 {
        for one in concerned.iter().filter(|one| !one.extender.prioritize.is_empty()) {
            match one.prioritize(pod, &nodes, objects).await {
                Ok(more) => {
                    more.into_iter().for_each(|(node, score)| *scores.entry(node).or_default() += score)
                }
                // Scores are wishes: who does not say any has none.
                Err(why) => tracing::info!(extender = one.extender.url, why, "cannot have scores"),
            }
        }
    }
    let scored = nodes.into_iter().map(|name| {
        let score = scores.get(&name).copied().unwrap_or_default().saturating_mul(SCORE_SCALE);
        (name, score)
    });
    answer.nodes = scored.collect();
    answer
}

async fn about_victims(
    callers: &[&Caller],
    question: &Question,
    pod: &Value,
    objects: &dyn Objects,
) -> Answer {
    let mut victims = question.victims.clone();
    for one in callers.iter().filter(|one| !one.extender.preempt.is_empty()) {
        match one.preempt(pod, &victims, objects).await {
            Ok(left) => victims = left,
            Err(why) if one.extender.ignorable => {
                tracing::info!(extender = one.extender.url, why, "skipping an extender");
            }
            Err(why) => return Answer { error: Some(why), ..Answer::default() },
        }
        if victims.is_empty() {
            break;
        }
    }
    Answer { victims, ..Answer::default() }
}

/// Origin and path of a URL.
fn split(url: &str) -> (&str, &str) {
    let start = url.find("://").map_or(0, |at| at + 3);
    url[start..].find('/').map_or((url, ""), |at| url.split_at(start + at))
}

fn connect(extender: &Extender) -> Result<Client, String> {
    let (server, _) = split(&extender.url);
    let mut config = TlsConfig { server: server.to_owned(), ..TlsConfig::default() };
    config.timeouts.answer = extender.timeout;
    if let Some(identity) = &extender.identity {
        config.insecure = identity.insecure;
        config.server_name.clone_from(&identity.server_name);
        config.authorities = identity.authorities.read()?;
        let (certificate, key) = (identity.certificate.read()?, identity.key.read()?);
        if !certificate.is_empty() {
            config.credentials =
                Credentials { certificate: Some((certificate, key)), ..Credentials::default() };
        }
    }
    Ok(Client::new(Arc::new(Tls::new(&config).map_err(|error| error.to_string())?)))
}

/// A field by its name, in whatever case: Go reads both.
fn field<'a>(tree: &'a Value, name: &str) -> &'a Value {
    let found = tree.as_object().into_iter().flatten().find(|(one, _)| one.eq_ignore_ascii_case(name));
    found.map_or(&Value::Null, |(_, value)| value)
}

fn list(tree: &Value) -> impl Iterator<Item = &Value> {
    tree.as_array().into_iter().flatten()
}
