//! Carries questions to extenders, with the whole objects that those want who know none.

use crate::drive::Shared;
use crate::extender::{self, Answer, Objects, Question};
use crate::scheduler::Binding;
use futures_util::future::join_all;
use gifee_base::{Gvr, Object};
use gifee_client::{Error, ListOptions, Result};
use serde_json::Value;
use std::collections::HashMap;

/// Objects by name of a node and by UID of a pod.
#[derive(Default)]
struct Whole {
    nodes: HashMap<String, Value>,
    pods: HashMap<String, Value>,
}

impl Objects for Whole {
    fn node(&self, name: &str) -> Value {
        self.nodes.get(name).cloned().unwrap_or_default()
    }

    fn pod(&self, uid: &str) -> Value {
        self.pods.get(uid).cloned().unwrap_or_default()
    }
}

fn tree(object: &Object) -> Value {
    serde_json::from_slice(&object.to_json()).unwrap_or_default()
}

impl Shared {
    /// Asks the extenders that a pod concerns.
    pub(crate) async fn consult(&self, question: &Question) -> Answer {
        match self.gather(question).await {
            Ok((pod, whole)) => extender::ask(&self.effects.extenders, question, &pod, &whole).await,
            Err(error) => Answer { error: Some(error.to_string()), ..Answer::default() },
        }
    }

    async fn gather(&self, question: &Question) -> Result<(Value, Whole)> {
        let client = &self.effects.client;
        let pod = tree(&client.get(&Gvr::core("pods"), &question.pod.key).await?);
        let mut whole = Whole::default();
        let concerned =
            self.effects.extenders.iter().filter(|one| one.extender.concerns(&question.pod.template));
        if concerned.clone().all(|one| one.extender.knows_nodes) {
            return Ok((pod, whole));
        }
        if !question.nodes.is_empty() {
            let nodes = client.list_all(&Gvr::core("nodes"), "", &ListOptions::default()).await?;
            whole.nodes = nodes.items.iter().map(|one| (one.name().to_owned(), tree(one))).collect();
        }
        let (pods, keys) = (Gvr::core("pods"), &question.leaving);
        let read = join_all(keys.iter().map(|key| client.get(&pods, key))).await;
        whole.pods = read.into_iter().flatten().map(|one| (one.uid().to_owned(), tree(&one))).collect();
        Ok((pod, whole))
    }

    /// Has an extender bind a pod, if one does that; whether one did.
    pub(crate) async fn bind_elsewhere(&self, binding: &Binding) -> Result<bool> {
        let binds = |one: &&extender::Caller| {
            !one.extender.bind.is_empty() && one.extender.concerns(&binding.pod.template)
        };
        let Some(caller) = self.effects.extenders.iter().find(binds) else { return Ok(false) };
        let outcome = caller.bind(&binding.pod, &binding.node).await;
        let failed = |why: String| Error::Transport { path: caller.extender.url.clone(), source: why.into() };
        outcome.map(|()| true).map_err(failed)
    }
}
