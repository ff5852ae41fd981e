//! Custom resources in several versions that a webhook makes of one another.
//!
//! Caches hold objects of such a definition as they are stored; what is shown in another version is converted when
//! somebody wants it, many objects in one call, and remembered by revision. Invariant: no webhook is called for what
//! is in the wanted version already, nor twice for what is remembered. Answers to apiextensions-apiserver's
//! `conversion` package.

mod metadata;
mod review;
mod selected;

pub use selected::{entries, event, select, snapshot};

use crate::kinds::{Forms, Resource};
use crate::metrics::Mistake;
use crate::outbound::{Endpoint, Outbound};
use bytes::Bytes;
use gifee_base::{Object, Reason, Status};
use parking_lot::Mutex;
use review::Review;
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long one call may take; upstream's figure.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Objects that go into one call at most, and bytes after which none is added to it.
const BATCH_OBJECTS: usize = 500;
const BATCH_BYTES: usize = 2 << 20;
/// Bytes of converted objects of one definition that are remembered; the oldest are forgotten beyond.
const REMEMBERED_BYTES: usize = 32 << 20;

/// What makes one version of another.
#[derive(Debug)]
pub struct Converter {
    definition: Box<str>,
    kind: Arc<str>,
    endpoint: Result<Endpoint, String>,
    review: Option<Review>,
    forms: Arc<Forms>,
    memory: Mutex<Memory>,
}

/// Which object, as of which revision, in which version.
type Key = (Box<str>, u64, Box<str>);

#[derive(Debug, Default)]
struct Memory {
    objects: HashMap<Key, Arc<Object>>,
    order: VecDeque<Key>,
    bytes: usize,
}

impl Memory {
    fn keep(&mut self, key: Key, object: Arc<Object>) {
        let weight = object.raw().len() + 256;
        if self.objects.insert(key.clone(), object).is_some() {
            return;
        }
        self.order.push_back(key);
        self.bytes += weight;
        while self.bytes > REMEMBERED_BYTES
            && let Some(oldest) = self.order.pop_front()
        {
            let gone = self.objects.remove(&oldest);
            self.bytes -= gone.map_or(0, |gone| (gone.raw().len() + 256).min(self.bytes));
        }
    }
}

/// What upstream answers if a conversion fails: no reason but the text.
fn failed(why: String) -> Status {
    Status::new(Reason::Unknown, why)
}

/// What who asks for many is answered while a webhook fails: upstream keeps a cache of each version, and it cannot be
/// filled.
pub fn unready(resource: &Resource, failure: &Status) -> Status {
    let (version, kind) = (&resource.api_version, &resource.kind.gvk.kind);
    let why =
        format!("storage is (re)initializing: failed to list {version}, Kind={kind}: {}", failure.message);
    let mut status = Status::new(Reason::TooManyRequests, why);
    status.details.get_or_insert_default().retry_after_seconds = 1;
    status
}

impl Converter {
    /// Of a definition whose strategy is a webhook.
    pub fn new(definition: &Value, forms: Arc<Forms>) -> Option<Arc<Self>> {
        let conversion = &definition["spec"]["conversion"];
        if conversion["strategy"] != "Webhook" {
            return None;
        }
        let webhook = &conversion["webhook"];
        Some(Arc::new(Self {
            definition: definition["metadata"]["name"].as_str().unwrap_or_default().into(),
            kind: definition["status"]["acceptedNames"]["kind"].as_str().unwrap_or_default().into(),
            endpoint: Endpoint::from_client_config(&webhook["clientConfig"])
                .map_err(|error| error.to_string()),
            review: Review::first(&webhook["conversionReviewVersions"]),
            forms,
            memory: Mutex::default(),
        }))
    }

    /// An object in a version.
    ///
    /// # Errors
    /// 500 in upstream's words.
    pub async fn object(
        &self,
        outbound: &Outbound,
        object: Arc<Object>,
        api_version: &str,
    ) -> Result<Arc<Object>, Status> {
        if is_of(object.raw(), api_version) {
            return Ok(object);
        }
        let mut all = self.objects(outbound, vec![object], api_version).await?;
        all.pop().ok_or_else(|| Status::internal("nothing was converted"))
    }

    /// Objects in a version, in their order.
    ///
    /// # Errors
    /// 500 in upstream's words.
    pub async fn objects(
        &self,
        outbound: &Outbound,
        mut objects: Vec<Arc<Object>>,
        api_version: &str,
    ) -> Result<Vec<Arc<Object>>, Status> {
        let key = |object: &Object| (object.uid().into(), object.revision(), Box::from(api_version));
        let mut missing = Vec::new();
        {
            let memory = self.memory.lock();
            for (at, object) in objects.iter_mut().enumerate() {
                if is_of(object.raw(), api_version) {
                    continue;
                }
                match memory.objects.get(&key(object)) {
                    Some(known) => *object = known.clone(),
                    None => missing.push(at),
                }
            }
        }
        let raws = missing.iter().map(|at| objects[*at].raw().clone()).collect();
        for (at, raw) in missing.iter().zip(self.bytes(outbound, raws, api_version).await?) {
            let old = &objects[*at];
            let new = Object::stored(raw, old.revision()).map_err(Status::internal)?;
            let new = Arc::new(new);
            self.memory.lock().keep(key(old), new.clone());
            objects[*at] = new;
        }
        Ok(objects)
    }

    /// Bytes of objects in a version, in their order.
    ///
    /// # Errors
    /// 500 in upstream's words.
    pub async fn bytes(
        &self,
        outbound: &Outbound,
        raws: Vec<Bytes>,
        api_version: &str,
    ) -> Result<Vec<Bytes>, Status> {
        let mut done = Vec::with_capacity(raws.len());
        let mut rest = raws.as_slice();
        while !rest.is_empty() {
            let mut bytes = 0;
            let count = rest.iter().take(BATCH_OBJECTS).take_while(|raw| {
                let fits = bytes < BATCH_BYTES;
                bytes += raw.len();
                fits
            });
            let (batch, others) = rest.split_at(count.count());
            let trees: Result<Vec<Value>, _> = batch.iter().map(|raw| serde_json::from_slice(raw)).collect();
            let converted = self.trees(outbound, trees.map_err(Status::internal)?, api_version).await?;
            done.extend(converted.into_iter().map(|mut tree| Object::encode(&mut tree)));
            rest = others;
        }
        Ok(done)
    }

    /// Trees in a version, in their order, by one call. `managedFields` are a list in them.
    ///
    /// # Errors
    /// 500 in upstream's words.
    pub async fn trees(
        &self,
        outbound: &Outbound,
        mut trees: Vec<Value>,
        api_version: &str,
    ) -> Result<Vec<Value>, Status> {
        let mut places = Vec::new();
        for (at, tree) in trees.iter_mut().enumerate() {
            let own = tree["apiVersion"].as_str().unwrap_or_default().to_owned();
            if own == api_version {
                continue;
            }
            let Some(schema) = self.forms.get(&own) else {
                return Err(failed(format!("request to convert CR from an invalid group/version: {own}")));
            };
            schema.mend(tree);
            places.push(at);
        }
        let Some(first) = places.first() else { return Ok(trees) };
        let from = trees[*first]["apiVersion"].as_str().unwrap_or_default();
        let about = format!("conversion webhook for {from}, Kind={}", self.kind);
        let asked: Vec<&Value> = places.iter().map(|at| &trees[*at]).collect();
        let started = Instant::now();
        let answer = self.converted(outbound, &asked, api_version, &about).await;
        let mistake = answer.as_ref().err().map(|(mistake, _)| *mistake);
        outbound.conversions.asked(&self.definition, (from, api_version), mistake, started.elapsed());
        for (at, new) in places.into_iter().zip(answer.map_err(|(_, why)| failed(why))?) {
            trees[at] = new;
        }
        Ok(trees)
    }

    /// Objects as the webhook makes them, and as they may be.
    async fn converted(
        &self,
        outbound: &Outbound,
        objects: &[&Value],
        api_version: &str,
        about: &str,
    ) -> Result<Vec<Value>, (Mistake, String)> {
        let mut answer = self.ask(outbound, objects, api_version, about).await?;
        if answer.len() != objects.len() {
            let (got, wanted) = (answer.len(), objects.len());
            let why = format!("{about} returned {got} objects, expected {wanted}");
            return Err((Mistake::Number, why));
        }
        for (old, new) in objects.iter().zip(&mut answer) {
            metadata::settle(old, new, api_version)
                .map_err(|why| (Mistake::Object, format!("{about} {why}")))?;
            if let Some(schema) = self.forms.get(api_version) {
                schema.prune(new);
            }
        }
        Ok(answer)
    }

    async fn ask(
        &self,
        outbound: &Outbound,
        objects: &[&Value],
        api_version: &str,
        about: &str,
    ) -> Result<Vec<Value>, (Mistake, String)> {
        let Some(review) = self.review else {
            return Err((Mistake::Call, "no supported conversion review versions".to_owned()));
        };
        let because = |mistake, why: &str| (mistake, format!("{about} failed: {why}"));
        let endpoint = self.endpoint.as_ref().map_err(|why| because(Mistake::Call, why))?;
        let uid = uuid::Uuid::new_v4().to_string();
        let question = review.question(&uid, api_version, objects);
        let answer = outbound.post_json(endpoint, question.into(), TIMEOUT).await;
        let answer = answer.map_err(|error| because(Mistake::Call, &error.to_string()))?;
        review.answer(&uid, &answer).map_err(|why| because(Mistake::Answer, &why))
    }
}

/// Whether bytes are of an object of a version.
fn is_of(raw: &Bytes, api_version: &str) -> bool {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head<'a> {
        #[serde(borrow)]
        api_version: std::borrow::Cow<'a, str>,
    }
    // Keys are sorted: nothing but this is in front.
    let plain = format!("{{\"apiVersion\":\"{api_version}\"");
    raw.starts_with(plain.as_bytes())
        || serde_json::from_slice(raw).is_ok_and(|head: Head<'_>| head.api_version == api_version)
}

impl Resource {
    /// An object of the cache or of the store, as this version shows it.
    ///
    /// # Errors
    /// If a webhook converts, and fails.
    pub async fn shown(&self, outbound: &Outbound, object: Arc<Object>) -> Result<Arc<Object>, Status> {
        match &self.converter {
            None => Ok(object),
            Some(converter) => converter.object(outbound, object, &self.api_version).await,
        }
    }

    /// The same of an object that may not be there.
    ///
    /// # Errors
    /// If a webhook converts, and fails.
    pub async fn shown_if(
        &self,
        outbound: &Outbound,
        object: Option<Arc<Object>>,
    ) -> Result<Option<Arc<Object>>, Status> {
        match (object, &self.converter) {
            (Some(object), Some(_)) => self.shown(outbound, object).await.map(Some),
            (object, _) => Ok(object),
        }
    }

    /// Bytes of this version in the form that is stored.
    ///
    /// # Errors
    /// If a webhook converts, and fails.
    pub async fn to_stored(&self, outbound: &Outbound, raw: &Bytes) -> Result<Bytes, Status> {
        let (Some(converter), Some(custom)) = (&self.converter, &self.kind.custom) else {
            return Ok(raw.clone());
        };
        if is_of(raw, &custom.stored_api_version) {
            return Ok(raw.clone());
        }
        let mut all = converter.bytes(outbound, vec![raw.clone()], &custom.stored_api_version).await?;
        all.pop().ok_or_else(|| Status::internal("nothing was converted"))
    }
}
