//! The options of lists and watches: selectors, and which revisions will do.
//!
//! Answers to `metav1.ListOptions` and its validation.

use crate::cache::Filter;
use crate::info::Query;
use crate::kinds::Resource;
use crate::request::Request;
use gifee_base::field::{FieldError, Path};
use gifee_base::{FieldSelector, LabelSelector, Status};
use std::sync::Arc;

/// Which revision a list wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The newest there is.
    Newest,
    /// Whatever is at hand.
    Any,
    /// This one or a newer one.
    NotOlderThan(u64),
    /// This very one.
    Exact(u64),
}

/// The selection of a list, watch or deletecollection.
///
/// # Errors
/// 400 if a selector cannot be read or names a field that cannot be selected by.
pub fn filter(request: &Request<'_>, resource: &Resource) -> Result<Arc<Filter>, Status> {
    let Some(cache) = &resource.cache else { return Err(Status::no_such_path()) };
    let labels = match request.query.get("labelSelector") {
        None => LabelSelector::everything(),
        Some(text) => LabelSelector::parse(text).map_err(Status::bad_request)?,
    };
    let fields = match request.query.get("fieldSelector") {
        None => FieldSelector::everything(),
        Some(text) => FieldSelector::parse(text).map_err(Status::bad_request)?,
    };
    let namespaced = resource.namespaced();
    let namespace = if namespaced { &*request.info.namespace } else { "" };
    let name = Some(&*request.info.name).filter(|name| !name.is_empty());
    let filter = Filter::new(&cache.fields, namespaced, namespace, name, labels, &fields);
    let filter = filter.map_err(|field| {
        Status::bad_request(if resource.kind.fields.is_empty() {
            format!("{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
        } else {
            format!("field label not supported: {field}")
        })
    })?;
    Ok(Arc::new(filter))
}

/// A resource version; None if it is not given or empty.
///
/// # Errors
/// 400 if it is no number.
pub fn revision(query: &Query) -> Result<Option<u64>, Status> {
    let Some(text) = query.get("resourceVersion") else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        Status::bad_request(format!(
            "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
        ))
    })
}

fn invalid(errors: &[FieldError]) -> Status {
    Status::invalid("meta.k8s.io", "ListOptions", "", errors)
}

/// Which revision a list wants.
///
/// # Errors
/// 422 if the options contradict each other.
pub fn list_at(query: &Query, limited: bool) -> Result<At, Status> {
    let revision = revision(query)?;
    let matching = query.get("resourceVersionMatch");
    let path = Path::root("resourceVersionMatch");
    if query.get("sendInitialEvents").is_some() {
        let path = Path::root("sendInitialEvents");
        return Err(invalid(&[FieldError::forbidden(&path, "sendInitialEvents is forbidden for list")]));
    }
    if let Some(matching) = matching {
        if query.get("continue").is_some() {
            let why = "resourceVersionMatch is forbidden when continue is provided";
            return Err(invalid(&[FieldError::forbidden(&path, why)]));
        }
        if revision.is_none() {
            let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            return Err(invalid(&[FieldError::forbidden(&path, why)]));
        }
        if !matches!(matching, "Exact" | "NotOlderThan") {
            let supported = ["", "Exact", "NotOlderThan"];
            return Err(invalid(&[FieldError::not_supported(&path, matching, &supported)]));
        }
        if matching == "Exact" && revision == Some(0) {
            let why = "resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"";
            return Err(invalid(&[FieldError::forbidden(&path, why)]));
        }
    }
    Ok(match (revision, matching) {
        (None, _) => At::Newest,
        (Some(0), _) => At::Any,
        (Some(revision), Some("Exact")) => At::Exact(revision),
        (Some(revision), None) if limited => At::Exact(revision),
        (Some(revision), _) => At::NotOlderThan(revision),
    })
}

/// How a watch starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// From which state.
    pub at: At,
    /// Whether the objects of that state are sent first, as additions.
    pub initial: bool,
    /// Whether a bookmark marks their end.
    pub marked: bool,
}

/// How a watch starts.
///
/// # Errors
/// 422 if the options contradict each other.
pub fn watch_start(query: &Query) -> Result<Start, Status> {
    let revision = revision(query)?;
    let matching = query.get("resourceVersionMatch");
    let path = Path::root("resourceVersionMatch");
    let at = match revision {
        None => At::Newest,
        Some(0) => At::Any,
        Some(revision) => At::NotOlderThan(revision),
    };
    if query.get("sendInitialEvents").is_none() {
        if matching.is_some() {
            let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            return Err(invalid(&[FieldError::forbidden(&path, why)]));
        }
        return Ok(match revision {
            Some(revision @ 1..) => Start { at: At::Exact(revision), initial: false, marked: false },
            _ => Start { at, initial: true, marked: false },
        });
    }
    match matching {
        Some("NotOlderThan") => {}
        None => {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            return Err(invalid(&[FieldError::forbidden(&path, why)]));
        }
        Some(other) => {
            return Err(invalid(&[FieldError::not_supported(&path, other, &["NotOlderThan"])]));
        }
    }
    let initial = query.flag("sendInitialEvents");
    let bookmarks = query.flag("allowWatchBookmarks");
    Ok(match revision {
        Some(revision @ 1..) if !initial => Start { at: At::Exact(revision), initial: false, marked: false },
        _ => Start { at, initial, marked: initial && bookmarks },
    })
}
