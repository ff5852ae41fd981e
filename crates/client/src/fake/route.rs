//! A path and query as a resource, a name and parameters.

use gifee_base::{FieldSelector, Gvr, LabelSelector, ObjectKey, Status};
use percent_encoding::percent_decode_str;
use serde_json::Value;

/// What a request is about.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) gvr: Gvr,
    pub(super) key: ObjectKey,
    pub(super) subresource: String,
}

impl Route {
    pub(super) fn parse(path: &str) -> Result<Self, Status> {
        let decoded: Vec<String> = path
            .trim_matches('/')
            .split('/')
            .map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned())
            .collect();
        let parts: Vec<&str> = decoded.iter().map(String::as_str).collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Err(Status::no_such_path()),
        };
        let (namespace, rest) = match rest {
            ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => ("", rest),
            ["namespaces", namespace, rest @ ..] => (*namespace, rest),
            _ => ("", rest),
        };
        let (resource, name, subresource) = match rest {
            [resource] => (*resource, "", ""),
            [resource, name] => (*resource, *name, ""),
            [resource, name, subresource] => (*resource, *name, *subresource),
            _ => return Err(Status::no_such_path()),
        };
        Ok(Self {
            gvr: Gvr::new(group, version, resource),
            key: ObjectKey::new(namespace, name),
            subresource: subresource.to_owned(),
        })
    }
}

/// The parameters of a request.
#[derive(Debug, Default)]
pub(super) struct Query {
    pub(super) watch: bool,
    pub(super) send_initial_events: bool,
    pub(super) bookmarks: bool,
    pub(super) resource_version: Option<u64>,
    pub(super) limit: usize,
    pub(super) continuation: Option<String>,
    pub(super) labels: LabelSelector,
    pub(super) fields: FieldSelector,
}

impl Query {
    pub(super) fn parse(query: &str) -> Result<Self, Status> {
        let mut parsed = Self::default();
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
            match name {
                "watch" => parsed.watch = value == "true",
                "sendInitialEvents" => parsed.send_initial_events = value == "true",
                "allowWatchBookmarks" => parsed.bookmarks = value == "true",
                "resourceVersion" => parsed.resource_version = value.parse().ok(),
                "limit" => parsed.limit = value.parse().unwrap_or_default(),
                "continue" => parsed.continuation = Some(value),
                "labelSelector" => {
                    parsed.labels = LabelSelector::parse(&value).map_err(Status::bad_request)?
                }
                "fieldSelector" => {
                    parsed.fields = FieldSelector::parse(&value).map_err(Status::bad_request)?
                }
                _ => {}
            }
        }
        Ok(parsed)
    }

    pub(super) fn selects(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.labels.matches(|key| labels[key].as_str()) && self.fields.matches(|field| at(object, field))
    }
}

fn at<'a>(object: &'a Value, field: &str) -> &'a str {
    let found = field.split('.').fold(object, |value, part| &value[part]);
    found.as_str().unwrap_or_default()
}
