//! What is known of one request, as the audit log has it.
//!
//! Answers to upstream's `audit.k8s.io/v1` Event.

use gifee_base::Status;
use gifee_policy::audit::{Level, Stage};
use gifee_policy::{Attributes, User};
use http::request::Parts;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::net::SocketAddr;

/// Bytes of a user agent that are written down; upstream's figure.
const AGENT_BYTES: usize = 1_024;

/// One request so far.
pub struct Event {
    tree: Value,
    received: Timestamp,
}

/// A user, as events and reviews show them.
pub fn user_info(user: &User) -> Value {
    let mut value = json!({ "username": user.name });
    if !user.uid.is_empty() {
        value["uid"] = user.uid.as_str().into();
    }
    if !user.groups.is_empty() {
        value["groups"] = user.groups.clone().into();
    }
    if !user.extra.is_empty() {
        value["extra"] = json!(user.extra);
    }
    value
}

fn micro(time: Timestamp) -> Value {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string().into()
}

/// Where a request came from, by the way it came.
fn sources(parts: &Parts, peer: Option<SocketAddr>) -> Vec<Value> {
    let header =
        |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let forwarded = header("x-forwarded-for").split(',').chain(std::iter::once(header("x-real-ip")));
    let mut all: Vec<String> = Vec::new();
    let near = peer.map_or_else(|| "127.0.0.1".to_owned(), |peer| peer.ip().to_canonical().to_string());
    let far =
        forwarded.filter_map(|text| text.trim().parse::<std::net::IpAddr>().ok()).map(|ip| ip.to_string());
    for one in far.chain(std::iter::once(near)) {
        if all.last() != Some(&one) {
            all.push(one);
        }
    }
    all.into_iter().map(Value::String).collect()
}

impl Event {
    /// A request that was just received.
    pub fn new(
        id: &str,
        level: Level,
        parts: &Parts,
        peer: Option<SocketAddr>,
        attributes: &Attributes,
        received: Timestamp,
    ) -> Self {
        let uri = parts.uri.path_and_query().map_or("/", |uri| uri.as_str());
        let mut tree = json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": level.name(), "auditID": id, "stage": "",
            "requestURI": uri, "verb": attributes.verb, "user": user_info(&attributes.user),
            "sourceIPs": sources(parts, peer),
        });
        let agent = parts.headers.get(http::header::USER_AGENT).and_then(|value| value.to_str().ok());
        if let Some(agent) = agent.filter(|agent| !agent.is_empty()) {
            tree["userAgent"] = match agent.get(..AGENT_BYTES) {
                Some(start) if agent.len() > AGENT_BYTES => format!("{start}...TRUNCATED").into(),
                _ => agent.into(),
            };
        }
        if attributes.is_resource {
            let mut object = Map::new();
            for (key, text) in [
                ("resource", &attributes.resource),
                ("namespace", &attributes.namespace),
                ("name", &attributes.name),
                ("apiGroup", &attributes.group),
                ("apiVersion", &attributes.version),
                ("subresource", &attributes.subresource),
            ] {
                if !text.is_empty() {
                    object.insert(key.into(), text.as_str().into());
                }
            }
            tree["objectRef"] = object.into();
        }
        tree["requestReceivedTimestamp"] = micro(received);
        Self { tree, received }
    }

    /// Adds an annotation; the first value of a key stays.
    pub fn annotate(&mut self, key: &str, value: &str) {
        let annotations = &mut self.tree["annotations"];
        if annotations.is_null() {
            *annotations = json!({});
        }
        let entry = &mut annotations[key];
        if entry.is_null() {
            *entry = value.into();
        } else if entry != value {
            tracing::warn!(key, value, set = %entry, "an audit annotation has been set to another value");
        }
    }

    /// Whom the request acts as.
    pub fn acting(&mut self, user: &User, constraint: &str) {
        self.tree["impersonatedUser"] = user_info(user);
        if !constraint.is_empty() {
            self.tree["authenticationMetadata"] = json!({ "impersonationConstraint": constraint });
        }
    }

    /// Completes what the path did not say of the object.
    pub fn object(&mut self, object: &Value) {
        for (key, field) in [
            ("namespace", "namespace"),
            ("name", "name"),
            ("uid", "uid"),
            ("resourceVersion", "resourceVersion"),
        ] {
            if let (true, Some(text)) =
                (self.tree["objectRef"][key].is_null(), object["metadata"][field].as_str())
                && !text.is_empty()
            {
                self.tree["objectRef"][key] = text.into();
            }
        }
    }

    /// The body of the request.
    pub fn request(&mut self, object: Value) {
        self.tree["requestObject"] = object;
    }

    /// The body of the answer.
    pub fn response(&mut self, object: Value) {
        self.tree["responseObject"] = object;
    }

    /// What came of it.
    pub fn code(&mut self, code: u16) {
        self.tree["responseStatus"] = json!({ "metadata": {}, "code": code });
    }

    /// What came of it, if it has something to say.
    pub fn status(&mut self, status: &Value) {
        let mut shown = json!({ "metadata": {} });
        for key in ["status", "message", "reason", "details", "code"] {
            if !status[key].is_null() {
                shown[key] = status[key].clone();
            }
        }
        self.tree["responseStatus"] = shown;
    }

    /// The server failed on it, or nobody was let in.
    pub fn failed(&mut self, status: &Status) {
        self.status(&status.to_value());
    }

    /// The line of a moment of it.
    pub fn line(&mut self, stage: Stage, now: Timestamp) -> Vec<u8> {
        self.tree["stage"] = stage.name().into();
        let at = if stage == Stage::RequestReceived { self.received } else { now };
        self.tree["stageTimestamp"] = micro(at);
        self.tree.to_string().into_bytes()
    }
}

/// Takes `metadata.managedFields` out of an object, of the items of a list and of the rows of a table.
pub fn without_managed_fields(tree: &mut Value) {
    let strip = |object: &mut Value| {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
    };
    strip(tree);
    for item in tree.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        strip(item);
    }
    for row in tree.get_mut("rows").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(object) = row.get_mut("object") {
            strip(object);
        }
    }
}
