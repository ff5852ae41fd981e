//! Who may use the node agent's server: the API server is asked, with a SubjectAccessReview.
//!
//! Answers to the kubelet's delegated authentication and authorization (mode Webhook).

use gifee_base::{Gvr, Reason, Status};
use gifee_client::{Client, Error};
use gifee_kubelet::{Access, Peer};
use gifee_policy::User;
use gifee_policy::authenticate::certificate;
use serde_json::{Value, json};

/// Asks the API server.
pub struct Delegated {
    client: Client,
    node: String,
}

impl Delegated {
    /// Asks with this client about this node.
    pub fn new(client: Client, node: &str) -> Self {
        Self { client, node: node.to_owned() }
    }

    async fn user(&self, peer: &Peer) -> Result<User, Status> {
        if let Some(user) = peer.certificate.as_deref().and_then(certificate::user) {
            return Ok(user);
        }
        let unauthorized = || Status::new(Reason::Unauthorized, "Unauthorized");
        let token = peer.token.as_deref().ok_or_else(unauthorized)?;
        let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": { "token": token } });
        let review = self.ask("authentication.k8s.io", "tokenreviews", review).await?;
        if review["status"]["authenticated"] != true {
            return Err(unauthorized());
        }
        let user = &review["status"]["user"];
        let list = |value: &Value| -> Vec<String> {
            value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let extra = user["extra"].as_object().into_iter().flatten();
        Ok(User {
            name: user["username"].as_str().unwrap_or_default().into(),
            uid: user["uid"].as_str().unwrap_or_default().into(),
            groups: list(&user["groups"]),
            extra: extra.map(|(key, values)| (key.clone(), list(values))).collect(),
        })
    }

    async fn ask(&self, group: &str, resource: &str, review: Value) -> Result<Value, Status> {
        let answer = self.client.create(&Gvr::new(group, "v1", resource), "", review).await;
        let answer = answer.map_err(|error| match error {
            Error::Status(status) => *status,
            other => Status::unavailable(format!("asking the API server who may use this node: {other}")),
        })?;
        answer.to_value().map_err(Status::internal)
    }
}

#[async_trait::async_trait]
impl Access for Delegated {
    async fn allowed(&self, peer: &Peer, verb: &str, subresource: &str) -> Result<(), Status> {
        let user = self.user(peer).await?;
        let review = json!({ "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
            "user": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra,
            "resourceAttributes": { "verb": verb, "version": "v1", "resource": "nodes", "name": self.node,
                "subresource": subresource } } });
        let review = self.ask("authorization.k8s.io", "subjectaccessreviews", review).await?;
        if review["status"]["allowed"] == true {
            return Ok(());
        }
        let why = format!(
            "Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{subresource}])",
            user.name
        );
        Err(Status::new(Reason::Forbidden, why))
    }
}
