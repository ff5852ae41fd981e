//! Options of list, watch, patch and delete, and how they stand in a query or body.

use crate::request::Request;
use gifee_base::{FieldSelector, LabelSelector};
use serde_json::{Value, json};

/// What to list. Default: everything, consistently, in one page.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Only objects with these labels.
    pub labels: LabelSelector,
    /// Only objects with these field values.
    pub fields: FieldSelector,
    /// At most this many objects in the page; 0 is no limit.
    pub limit: u32,
    /// Where an earlier page ended.
    pub continuation: Option<String>,
    /// Resource version to read at; `"0"` is any that the server has at hand.
    pub resource_version: Option<String>,
    /// `NotOlderThan` or `Exact`.
    pub resource_version_match: Option<&'static str>,
    /// Only metadata, as `PartialObjectMetadata`.
    pub metadata_only: bool,
}

impl ListOptions {
    pub(crate) fn apply(&self, request: Request) -> Request {
        let mut request = selectors(request, &self.labels, &self.fields);
        if self.limit > 0 {
            request = request.query("limit", &self.limit.to_string());
        }
        for (name, value) in [
            ("continue", self.continuation.as_deref()),
            ("resourceVersion", self.resource_version.as_deref()),
            ("resourceVersionMatch", self.resource_version_match),
        ] {
            if let Some(value) = value {
                request = request.query(name, value);
            }
        }
        match self.metadata_only {
            true => request.accept(
                "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;q=0.9",
            ),
            false => request,
        }
    }
}

/// What to watch, from where on.
#[derive(Clone, Debug, Default)]
pub struct WatchOptions {
    /// Only objects with these labels.
    pub labels: LabelSelector,
    /// Only objects with these field values.
    pub fields: FieldSelector,
    /// Events after this resource version; none: the present state first, as ADDED events.
    pub resource_version: Option<String>,
    /// Begin with all objects and a bookmark behind them.
    pub send_initial_events: bool,
    /// Ask for bookmarks.
    pub bookmarks: bool,
    /// The server ends the watch after this time; 0 is the server's own choice.
    pub timeout_seconds: u32,
    /// Only metadata, as `PartialObjectMetadata`.
    pub metadata_only: bool,
}

impl WatchOptions {
    pub(crate) fn apply(&self, request: Request) -> Request {
        let mut request = selectors(request, &self.labels, &self.fields).query("watch", "true");
        if let Some(version) = &self.resource_version {
            request = request.query("resourceVersion", version);
        }
        if self.send_initial_events {
            request =
                request.query("sendInitialEvents", "true").query("resourceVersionMatch", "NotOlderThan");
        }
        if self.bookmarks {
            request = request.query("allowWatchBookmarks", "true");
        }
        if self.timeout_seconds > 0 {
            request = request.query("timeoutSeconds", &self.timeout_seconds.to_string());
        }
        match self.metadata_only {
            true => request.accept(
                "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json;q=0.9",
            ),
            false => request,
        }
    }
}

fn selectors(mut request: Request, labels: &LabelSelector, fields: &FieldSelector) -> Request {
    if !labels.is_everything() {
        request = request.query("labelSelector", &labels.to_string());
    }
    if !fields.requirements.is_empty() {
        request = request.query("fieldSelector", &fields.to_string());
    }
    request
}

/// What happens to the objects that an object owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// The garbage collector deletes them afterwards.
    Background,
    /// They are deleted first.
    Foreground,
    /// They stay.
    Orphan,
}

impl Propagation {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Background => "Background",
            Self::Foreground => "Foreground",
            Self::Orphan => "Orphan",
        }
    }
}

/// How to delete.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// Fails with a conflict if the object has another UID.
    pub uid: Option<String>,
    /// Fails with a conflict if the object has another resource version.
    pub resource_version: Option<String>,
    /// Time to end by itself; 0 is at once.
    pub grace_period_seconds: Option<i64>,
    /// What happens to what it owns; none: the kind's default.
    pub propagation: Option<Propagation>,
    /// Do everything but the commit.
    pub dry_run: bool,
}

impl DeleteOptions {
    /// Deletes only the object with this UID.
    pub fn of_uid(uid: &str) -> Self {
        Self { uid: Some(uid.to_owned()), ..Self::default() }
    }

    pub(crate) fn body(&self) -> Value {
        let mut body = json!({ "kind": "DeleteOptions", "apiVersion": "v1" });
        let mut preconditions = serde_json::Map::new();
        if let Some(uid) = &self.uid {
            preconditions.insert("uid".into(), uid.as_str().into());
        }
        if let Some(version) = &self.resource_version {
            preconditions.insert("resourceVersion".into(), version.as_str().into());
        }
        if !preconditions.is_empty() {
            body["preconditions"] = preconditions.into();
        }
        if let Some(seconds) = self.grace_period_seconds {
            body["gracePeriodSeconds"] = seconds.into();
        }
        if let Some(propagation) = self.propagation {
            body["propagationPolicy"] = propagation.as_str().into();
        }
        if self.dry_run {
            body["dryRun"] = json!(["All"]);
        }
        body
    }
}

/// The four patch formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' strategic merge patch.
    Strategic,
    /// Server-side apply; JSON is YAML.
    Apply,
}

impl PatchKind {
    /// Its content type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json-patch+json",
            Self::Merge => "application/merge-patch+json",
            Self::Strategic => "application/strategic-merge-patch+json",
            Self::Apply => "application/apply-patch+yaml",
        }
    }
}
