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
        Some(text) => stored(resource, FieldSelector::parse(text).map_err(Status::bad_request)?)?,
    };
    let namespaced = resource.namespaced();
    let namespace = if namespaced { &*request.info.namespace } else { "" };
    let name = Some(&*request.info.name).filter(|name| !name.is_empty());
    let contradicts = |name: &str| fields.pinned("metadata.name") != Some(name);
    if !fields.requirements.is_empty() && name.is_some_and(contradicts) {
        return Err(Status::bad_request("fieldSelector metadata.name doesn't match requested name"));
    }
    let filter = Filter::new(&cache.fields, namespaced, namespace, name, labels, &fields);
    let filter = filter.map_err(|field| {
        Status::bad_request(if resource.kind.fields.is_empty() && resource.kind.custom.is_none() {
            format!("{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
        } else {
            format!("field label not supported: {field}")
        })
    })?;
    Ok(Arc::new(filter))
}

/// A selector by the names of the stored form: a kind in another form has names of its own.
fn stored(resource: &Resource, mut selector: FieldSelector) -> Result<FieldSelector, Status> {
    if resource.kind.conversion.is_none() {
        return Ok(selector);
    }
    for requirement in &mut selector.requirements {
        let name = &mut requirement.field;
        if matches!(name.as_str(), "metadata.name" | "metadata.namespace") {
            continue;
        }
        let field = resource.kind.fields.iter().find(|field| *field.name == **name);
        let field = field.ok_or_else(|| Status::bad_request(format!("field label not supported: {name}")))?;
        *name = field.path.join(".");
    }
    Ok(selector)
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

/// Refuses what stands beside `resourceVersionMatch`.
fn no_continue(query: &Query, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if query.get("continue").is_some() {
        let why = "resourceVersionMatch is forbidden when continue is provided";
        errors.push(FieldError::forbidden(path, why));
    }
}

/// Which revision a list wants.
///
/// # Errors
/// 422 if the options contradict each other.
pub fn list_at(query: &Query, limited: bool) -> Result<At, Status> {
    let matching = query.get("resourceVersionMatch");
    let given = query.get("resourceVersion");
    let path = Path::root("resourceVersionMatch");
    let mut errors = Vec::new();
    if let Some(matching) = matching {
        if given.is_none() {
            let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            errors.push(FieldError::forbidden(&path, why));
        }
        no_continue(query, &path, &mut errors);
        if !matches!(matching, "Exact" | "NotOlderThan") {
            errors.push(FieldError::not_supported(&path, matching, &["Exact", "NotOlderThan", ""]));
        }
        if matching == "Exact" && given == Some("0") {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            errors.push(FieldError::forbidden(&path, why));
        }
    }
    if query.has("sendInitialEvents") {
        let path = Path::root("sendInitialEvents");
        errors.push(FieldError::forbidden(&path, "sendInitialEvents is forbidden for list"));
    }
    if !errors.is_empty() {
        return Err(invalid(&errors));
    }
    Ok(match (revision(query)?, matching) {
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
    const NOT_OLDER: &str = "NotOlderThan";
    let matching = query.get("resourceVersionMatch");
    let given = query.has("sendInitialEvents");
    let path = Path::root("resourceVersionMatch");
    let mut errors = Vec::new();
    if given && matching != Some(NOT_OLDER) {
        let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        errors.push(FieldError::forbidden(&path, why));
    }
    if let Some(matching) = matching {
        if !given {
            let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            errors.push(FieldError::forbidden(&path, why));
        }
        if matching != NOT_OLDER {
            errors.push(FieldError::not_supported(&path, matching, &[NOT_OLDER]));
        }
        no_continue(query, &path, &mut errors);
    }
    if !errors.is_empty() {
        return Err(invalid(&errors));
    }
    let revision = revision(query)?;
    // Who names no revision, or any, is sent the state first, unless it is not wanted.
    let initial = if given { query.flag("sendInitialEvents") } else { matches!(revision, None | Some(0)) };
    let at = match revision {
        None => At::Newest,
        Some(0) => At::Any,
        Some(revision) if initial => At::NotOlderThan(revision),
        Some(revision) => At::Exact(revision),
    };
    Ok(Start { at, initial, marked: initial && query.flag("allowWatchBookmarks") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(query: &str, limited: bool) -> Result<At, String> {
        list_at(&Query::parse(query), limited).map_err(|status| status.message)
    }

    fn watch(query: &str) -> Result<(At, bool, bool), String> {
        let start = watch_start(&Query::parse(query)).map_err(|status| status.message)?;
        Ok((start.at, start.initial, start.marked))
    }

    const WRONG: &str = "ListOptions.meta.k8s.io \"\" is invalid: ";

    #[test]
    fn lists_take_every_legal_combination() {
        for (query, limited, expect) in [
            ("", false, At::Newest),
            ("resourceVersion=", true, At::Newest),
            ("resourceVersion=0", false, At::Any),
            ("resourceVersion=0&resourceVersionMatch=NotOlderThan", false, At::Any),
            ("resourceVersion=5", false, At::NotOlderThan(5)),
            ("resourceVersion=5", true, At::Exact(5)),
            ("resourceVersion=5&resourceVersionMatch=NotOlderThan", true, At::NotOlderThan(5)),
            ("resourceVersion=5&resourceVersionMatch=Exact", false, At::Exact(5)),
        ] {
            assert_eq!(list(query, limited), Ok(expect), "{query}");
        }
    }

    #[test]
    fn lists_refuse_the_rest_in_upstreams_words() {
        for (query, expect) in [
            (
                "resourceVersionMatch=Exact",
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
            ),
            (
                "resourceVersionMatch=Exact&resourceVersion=0",
                "resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ),
            (
                "resourceVersionMatch=exact&resourceVersion=1",
                "resourceVersionMatch: Unsupported value: \"exact\": supported values: \"Exact\", \"NotOlderThan\", \"\"",
            ),
            (
                "resourceVersionMatch=Exact&resourceVersion=1&continue=x",
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided",
            ),
            (
                "sendInitialEvents=true",
                "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list",
            ),
            (
                "resourceVersionMatch=x&continue=x",
                "[resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided, resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided, resourceVersionMatch: Unsupported value: \"x\": supported values: \"Exact\", \"NotOlderThan\", \"\"]",
            ),
        ] {
            assert_eq!(list(query, false), Err(format!("{WRONG}{expect}")), "{query}");
        }
    }

    #[test]
    fn watches_take_every_legal_combination() {
        let not_older = "resourceVersionMatch=NotOlderThan";
        for (query, expect) in [
            (String::new(), (At::Newest, true, false)),
            ("allowWatchBookmarks=1".into(), (At::Newest, true, true)),
            ("resourceVersion=0&allowWatchBookmarks=1".into(), (At::Any, true, true)),
            ("resourceVersion=5&allowWatchBookmarks=1".into(), (At::Exact(5), false, false)),
            (format!("{not_older}&sendInitialEvents=true"), (At::Newest, true, false)),
            (format!("{not_older}&sendInitialEvents=true&allowWatchBookmarks=1"), (At::Newest, true, true)),
            (
                format!("{not_older}&sendInitialEvents=true&resourceVersion=5"),
                (At::NotOlderThan(5), true, false),
            ),
            (format!("{not_older}&sendInitialEvents=false"), (At::Newest, false, false)),
            (format!("{not_older}&sendInitialEvents=false&resourceVersion=0"), (At::Any, false, false)),
            (format!("{not_older}&sendInitialEvents=false&resourceVersion=5"), (At::Exact(5), false, false)),
        ] {
            assert_eq!(watch(&query), Ok(expect), "{query}");
        }
    }

    #[test]
    fn watches_refuse_the_rest_in_upstreams_words() {
        let requires = "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        let unless = "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
        let unsupported =
            "resourceVersionMatch: Unsupported value: \"Exact\": supported values: \"NotOlderThan\"";
        for (query, expect) in [
            ("sendInitialEvents=true", requires.to_owned()),
            ("resourceVersionMatch=NotOlderThan", unless.to_owned()),
            ("resourceVersionMatch=Exact&sendInitialEvents=1", format!("[{requires}, {unsupported}]")),
            ("resourceVersionMatch=Exact", format!("[{unless}, {unsupported}]")),
            ("resourceVersionMatch=NotOlderThan&sendInitialEvents=1&continue=x", "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided".to_owned()),
        ] {
            assert_eq!(watch(query), Err(format!("{WRONG}{expect}")), "{query}");
        }
    }
}
