//! What expressions are shown of a request, and how they ask what its user may do.

use crate::kinds::Resource;
use crate::seam::Answer;
use crate::webhook::hook::word;
use crate::webhook::matching::Subject;
use crate::write::Write;
use gifee_base::{Gvk, ObjectKey, Status};
use gifee_policy::authorize::Decision;
use gifee_policy::policies::Input;
use gifee_policy::{Attributes, Lookup, User};
use gifee_schema::cel;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;

/// How often a policy is asked again with answers of an authorizer that had to be waited for.
const ROUNDS: usize = 16;

/// The request without its objects.
pub fn request(subject: &Subject<'_>, resource: &Resource, gvk: &Gvk) -> Value {
    let write = subject.write;
    let user = &write.attributes.user;
    let kind = |gvk: &Gvk| json!({ "group": *gvk.group, "version": *gvk.version, "kind": *gvk.kind });
    let of = |resource: &Resource| json!({ "group": resource.group(), "version": resource.version(), "resource": resource.name() });
    let mut who = json!({ "username": user.name });
    if !user.uid.is_empty() {
        who["uid"] = user.uid.as_str().into();
    }
    if !user.groups.is_empty() {
        who["groups"] = user.groups.iter().map(String::as_str).collect();
    }
    if !user.extra.is_empty() {
        who["extra"] = json!(user.extra);
    }
    let mut request = json!({
        "uid": "",
        "kind": kind(gvk),
        "resource": of(resource),
        "requestKind": kind(&subject.gvk),
        "requestResource": of(write.resource),
        "operation": word(subject.operation),
        "userInfo": who,
        "object": null,
        "oldObject": null,
        "dryRun": write.dry_run,
        "options": *write.options,
    });
    for (field, text) in [
        ("subResource", write.subresource),
        ("requestSubResource", write.subresource),
        ("name", &subject.name),
        ("namespace", &subject.namespace),
    ] {
        if !text.is_empty() {
            request[field] = text.into();
        }
    }
    request
}

/// The namespace that the object is in, as much of it as expressions may see; null for what is in none.
///
/// # Errors
/// 404 if there is no such namespace.
pub fn namespace(subject: &Subject<'_>) -> Result<Value, Status> {
    let own = &subject.gvk;
    if subject.namespace.is_empty() || own.group.is_empty() && &*own.kind == "Namespace" {
        return Ok(Value::Null);
    }
    let key = ObjectKey::cluster(&subject.namespace);
    let found = Lookup::get(&*subject.write.server.caches, "", "namespaces", &key);
    let found = found.ok_or_else(|| Status::not_found("", "namespaces", &subject.namespace))?;
    let mut tree = found.to_value().map_err(Status::internal)?;
    if let Some(tree) = tree.as_object_mut() {
        tree.remove("kind");
        tree.remove("apiVersion");
    }
    if let Some(metadata) = tree["metadata"].as_object_mut() {
        metadata.remove("managedFields");
        metadata.remove("ownerReferences");
    }
    Ok(tree)
}

type Question = (Option<(String, String)>, cel::Request);

/// The server's authorizer for the expressions of one request. Answers are remembered; those that have to be waited
/// for are collected first.
pub struct Asker<'a> {
    write: &'a Write<'a>,
    /// The request itself.
    pub resource: cel::Request,
    known: Mutex<Vec<(Question, cel::Decision)>>,
    waiting: Mutex<Vec<Question>>,
}

impl<'a> Asker<'a> {
    /// For a request.
    pub fn new(subject: &Subject<'a>) -> Self {
        let write = subject.write;
        let resource = cel::Request {
            group: write.resource.group().into(),
            resource: write.resource.name().into(),
            subresource: write.subresource.into(),
            namespace: subject.namespace.clone(),
            name: subject.name.clone(),
            ..cel::Request::default()
        };
        Self { write, resource, known: Mutex::default(), waiting: Mutex::default() }
    }

    fn attributes(&self, (account, request): &Question) -> Attributes {
        let user = match account {
            None => self.write.attributes.user.clone(),
            Some((namespace, name)) => Arc::new(User {
                name: format!("system:serviceaccount:{namespace}:{name}"),
                groups: vec![
                    "system:serviceaccounts".into(),
                    format!("system:serviceaccounts:{namespace}"),
                    "system:authenticated".into(),
                ],
                ..User::default()
            }),
        };
        Attributes {
            user,
            verb: request.verb.clone(),
            is_resource: request.path.is_none(),
            group: request.group.clone(),
            version: if request.path.is_none() { "*".into() } else { String::new() },
            resource: request.resource.clone(),
            subresource: request.subresource.clone(),
            namespace: request.namespace.clone(),
            name: request.name.clone(),
            path: request.path.clone().unwrap_or_default(),
            field_selector: request.field_selector.clone(),
            label_selector: request.label_selector.clone(),
        }
    }

    /// Runs what asks, until no question is open any more.
    pub async fn asked<T>(&self, run: impl Fn() -> T) -> T {
        for _ in 0..ROUNDS {
            let outcome = run();
            let waiting = std::mem::take(&mut *self.waiting.lock());
            if waiting.is_empty() {
                return outcome;
            }
            for question in waiting {
                let attributes = self.attributes(&question);
                let caches: &dyn Lookup = &*self.write.server.caches;
                let answer =
                    self.write.server.config.authorizer.authorize(&attributes, caches).settle().await;
                self.known.lock().push((question, decision(answer)));
            }
        }
        run()
    }

    /// What a policy is shown.
    pub fn input<'b>(
        &'b self,
        (object, old): (&'b Value, &'b Value),
        namespace: &'b Value,
        request: &'b Value,
        params: &'b Value,
    ) -> Input<'b> {
        Input { object, old, namespace, request, params, authorizer: self, resource: &self.resource }
    }
}

fn decision(decision: Decision) -> cel::Decision {
    let (allowed, reason) = match decision {
        Decision::Allow(reason) => (true, reason),
        Decision::Deny(reason) | Decision::NoOpinion(reason) => (false, reason),
    };
    cel::Decision { allowed, reason: reason.to_string(), error: None }
}

impl cel::Authorize for Asker<'_> {
    fn authorize(&self, account: Option<(&str, &str)>, request: &cel::Request) -> cel::Decision {
        let account = account.map(|(namespace, name)| (namespace.to_owned(), name.to_owned()));
        let question = (account, request.clone());
        if let Some((_, known)) = self.known.lock().iter().find(|(known, _)| *known == question) {
            return known.clone();
        }
        let attributes = self.attributes(&question);
        let caches: &dyn Lookup = &*self.write.server.caches;
        match self.write.server.config.authorizer.authorize(&attributes, caches) {
            Answer::Now(answer) => {
                let answer = decision(answer);
                self.known.lock().push((question, answer.clone()));
                answer
            }
            Answer::Later(_) => {
                self.waiting.lock().push(question);
                cel::Decision { error: Some("not decided yet".into()), ..cel::Decision::default() }
            }
        }
    }
}
