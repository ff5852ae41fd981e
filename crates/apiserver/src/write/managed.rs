//! Who owns what: the `managedFields` that every write leaves behind, and server-side apply.
//!
//! Invariant: on the way of a write `metadata.managedFields` of a tree is text or nothing; a list is what a client
//! sent, and ends here. Answers to apiserver's `endpoints/handlers/fieldmanager` and to apimachinery's
//! `FieldManager`, whose sets and merges are [`gifee_schema::apply`].

use super::versions::Served;
use super::{Write, metadata};
use crate::request::Request;
use gifee_base::field::{FieldError, Path};
use gifee_base::gvk::split_api_version;
use gifee_base::object::unfold;
use gifee_base::{Cause, Reason, Status};
use gifee_policy::Attributes;
use gifee_schema::apply::{
    Change, Filter, MAXIMUM_MANAGER_BYTES, Misnamed, Recorded, Refused, apply, decode, encode, misnamed,
    record, record_created, same_but_times, unprintable,
};
use http::header::USER_AGENT;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// The manager of what the server itself makes.
pub const SERVER: &str = "kube-apiserver";

/// Version of scales.
const SCALE_VERSION: &str = "autoscaling/v1";

/// The field of the metadata.
const FIELD: &str = "managedFields";

/// Who a request's changes belong to: its `fieldManager`, else what its user agent begins with.
///
/// # Errors
/// 422 if the name is too long or cannot be printed.
pub fn manager<'a>(request: &'a Request<'_>) -> Result<Cow<'a, str>, Status> {
    let options = match request.info.verb {
        "create" => "CreateOptions",
        "update" => "UpdateOptions",
        "patch" => "PatchOptions",
        _ => return Ok(Cow::Borrowed("")),
    };
    let Some(name) = request.query.get("fieldManager").filter(|name| !name.is_empty()) else {
        let agent = request.headers.get(USER_AGENT);
        return Ok(agent.map_or(Cow::Borrowed(""), |agent| of_agent(agent.as_bytes())));
    };
    let path = Path::root("fieldManager");
    let mut errors = Vec::new();
    if name.len() > MAXIMUM_MANAGER_BYTES {
        errors.push(FieldError::too_long(&path, MAXIMUM_MANAGER_BYTES));
    }
    errors.extend(unprintable(name).map(|(at, letter)| invalid_letter(&path, name, letter, at)));
    if errors.is_empty() {
        return Ok(Cow::Borrowed(name));
    }
    Err(Status::invalid("meta.k8s.io", options, "", &errors))
}

fn invalid_letter(path: &Path<'_>, name: &str, letter: char, at: usize) -> FieldError {
    let why = format!("invalid character U+{:04X} (at position {at})", letter as u32);
    FieldError::invalid(path, name, &why)
}

/// What comes before the first slash, as far as it can be printed and fits.
fn of_agent(agent: &[u8]) -> Cow<'_, str> {
    let name = agent.split(|byte| *byte == b'/').next().unwrap_or_default();
    match std::str::from_utf8(name) {
        Ok(name) if name.len() <= MAXIMUM_MANAGER_BYTES && unprintable(name).is_none() => Cow::Borrowed(name),
        _ => {
            let mut kept = String::new();
            for letter in String::from_utf8_lossy(name).chars() {
                if unprintable(letter.encode_utf8(&mut [0; 4])).is_some() {
                    continue;
                }
                if kept.len() + letter.len_utf8() > MAXIMUM_MANAGER_BYTES {
                    break;
                }
                kept.push(letter);
            }
            Cow::Owned(kept)
        }
    }
}

/// The text of a tree's `managedFields`.
pub fn text(object: &Value) -> Option<&str> {
    object["metadata"][FIELD].as_str()
}

/// Takes `managedFields` out of a tree.
pub fn take(object: &mut Value) -> Option<Value> {
    object.get_mut("metadata")?.as_object_mut()?.remove(FIELD)
}

/// Puts `managedFields` into a tree.
pub fn put(object: &mut Value, managed: Option<Value>) {
    if let Some(managed) = managed {
        metadata::of(object).insert(FIELD.into(), managed);
    }
}

/// A tree as it is shown to others, who know `managedFields` as a list.
pub fn shown(object: &Value) -> Cow<'_, Value> {
    if text(object).is_none() {
        return Cow::Borrowed(object);
    }
    let mut shown = object.clone();
    unfold(&mut shown);
    Cow::Owned(shown)
}

/// Makes text again of the `managedFields` of a tree that others changed; `before` is what it was.
pub fn refold(write: &Write<'_>, object: &mut Value, before: Option<String>) {
    let Some(given) = take(object) else { return };
    let same = before
        .as_deref()
        .is_some_and(|before| serde_json::from_str(before).is_ok_and(|before: Value| before == given));
    if same || given.is_string() {
        return put(object, before.map(Value::String));
    }
    match decode(&given.to_string()) {
        Ok(mut entries) => put(object, encode(&mut entries).map(Value::String)),
        Err(why) => {
            write.warn(vec![format!(
                ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating admission controller; please fix your requests: {why}"
            )]);
            put(object, before.map(Value::String));
        }
    }
}

/// Takes back new times where nothing else is new: who says what is already so has changed nothing.
pub fn keep_times(object: &mut Value, old: &Value) {
    let (Some(new), Some(before)) = (text(object), text(old)) else { return };
    if new != before && same_object(object, old) && same_but_times(new, before) {
        let before = before.into();
        put(object, Some(before));
    }
}

/// Whether two trees say the same but for who owns what, and at which version. Metadata comes first: it is the
/// smaller part, and differs in most changes that reach this.
fn same_object(left: &Value, right: &Value) -> bool {
    let same = |left: &Value, right: &Value, except: &[&str]| {
        let fields = |value: &Value, judge: &dyn Fn(&str, &Value) -> bool| {
            let all = value.as_object().into_iter().flatten();
            all.into_iter().all(|(name, value)| except.contains(&name.as_str()) || judge(name, value))
        };
        fields(left, &|name, value| right.get(name) == Some(value))
            && fields(right, &|name, _| left.get(name).is_some())
    };
    same(&left["metadata"], &right["metadata"], &["managedFields", "resourceVersion"])
        && same(left, right, &["metadata"])
}

impl Write<'_> {
    fn change<'b>(&'b self, served: &'b Served<'b>) -> Change<'b> {
        let own = (&*self.resource.api_version, self.resource.schema.as_ref());
        let (api_version, schema) = self.subject.map_or(own, |(_, schema)| (SCALE_VERSION, schema));
        let filter = match self.subject {
            Some(_) => &Filter::All,
            None => self.resource.filter(self.subresource),
        };
        Change {
            schema,
            api_version,
            manager: &self.manager,
            subresource: self.subresource,
            filter,
            now: &self.now,
            versions: served,
        }
    }

    /// The changed scale's `managedFields`, of which those of the scale as it is are `live`.
    pub(super) fn own_scale(&self, scale: &mut Value, old: &Value) {
        let live = text(old);
        put(scale, live.map(Value::from));
        match record(&self.change(&Served(self)), old, scale, live, None) {
            Recorded::Unchanged => {}
            Recorded::Time(text) | Recorded::Changed(Some(text)) => put(scale, Some(text.into())),
            Recorded::Changed(None) => drop(take(scale)),
        }
    }

    /// Records who made a new object, which comes with what its client says of that, if anything.
    ///
    /// # Errors
    /// 422 if a client's entries have names that they may not have.
    pub(super) fn own_new(&self, object: &mut Value) -> Result<(), Status> {
        let given = take(object);
        // A text comes from apply, which has recorded.
        if matches!(given, Some(Value::String(_))) {
            put(object, given);
            return Ok(());
        }
        self.check_given(object, given.as_ref())?;
        let managed = record_created(&self.change(&Served(self)), object, given.as_ref());
        put(object, managed.map(Value::String));
        Ok(())
    }

    /// Records who changed what of an object.
    ///
    /// # Errors
    /// 422 if a client's entries have names that they may not have.
    pub(super) fn own_changed(&self, object: &mut Value, old: &Value) -> Result<(), Status> {
        let given = take(object);
        if self.applies {
            put(object, given);
            return Ok(());
        }
        let live = text(old);
        // What comes through a subresource says nothing about this.
        let given = given.filter(|given| given.is_array() && self.subresource.is_empty());
        self.check_given(object, given.as_ref())?;
        // As it is on both sides it is no difference.
        put(object, live.map(Value::from));
        let served = Served(self);
        match record(&self.change(&served), old, object, live, given.as_ref()) {
            Recorded::Unchanged => {}
            Recorded::Time(text) | Recorded::Changed(Some(text)) => put(object, Some(text.into())),
            Recorded::Changed(None) => drop(take(object)),
        }
        Ok(())
    }

    fn check_given(&self, object: &Value, given: Option<&Value>) -> Result<(), Status> {
        let found = given.map(misnamed).unwrap_or_default();
        if found.is_empty() {
            return Ok(());
        }
        let root = Path::root("metadata");
        let list = root.child(FIELD);
        let errors: Vec<_> = found
            .into_iter()
            .map(|misnamed| match misnamed {
                Misnamed::TooLong(index, field, maximum) => {
                    FieldError::too_long(&list.index(index).child(field), maximum)
                }
                Misnamed::Unprintable(index, name, letter, at) => {
                    invalid_letter(&list.index(index).child("manager"), &name, letter, at)
                }
            })
            .collect();
        Err(self.invalid(metadata::text(object, "name"), &errors))
    }

    /// Applies a configuration to an object as it is; null if it is not there yet.
    ///
    /// # Errors
    /// 400, 409 and 500 in upstream's words.
    pub(super) fn apply(&self, old: &Value, configuration: &Value, force: bool) -> Result<Value, Status> {
        let gvk = self.subject.map_or(&self.resource.kind.gvk, |(gvk, _)| gvk);
        let word = |name: &str| configuration[name].as_str().unwrap_or_default();
        let (api_version, kind) = (word("apiVersion"), word("kind"));
        if api_version != gvk.api_version() || kind != &*gvk.kind {
            let (group, version) = split_api_version(api_version);
            return Err(Status::bad_request(format!("invalid object type: {group}/{version}, Kind={kind}")));
        }
        let mut live = if old.is_object() { old.clone() } else { Value::Object(Map::new()) };
        let managed = take(&mut live);
        let managed = managed.as_ref().and_then(Value::as_str);
        let served = Served(self);
        let change = self.change(&served);
        let applied =
            apply(&change, &live, old.is_object(), managed, configuration, force).map_err(refused)?;
        let mut object = applied.object;
        put(&mut object, applied.managed.map(Value::String));
        if !old.is_object() {
            self.begins(&mut object)?;
        }
        Ok(object)
    }

    /// What a configuration may not say of an object that it creates.
    fn begins(&self, object: &mut Value) -> Result<(), Status> {
        let uid = metadata::text(object, "uid");
        if !uid.is_empty() {
            let why = format!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            );
            let (group, resource) = (self.resource.group(), self.resource.name());
            return Err(Status::conflict(group, resource, metadata::text(object, "name"), &why));
        }
        metadata::of(object).remove("resourceVersion");
        Ok(())
    }

    /// Asks whether who may change an object may also create it, where a change does that.
    ///
    /// # Errors
    /// 403
    pub(super) async fn may_create(&self) -> Result<(), Status> {
        let attributes = Attributes { verb: "create".to_owned(), ..self.attributes.clone() };
        self.server.authorize(&attributes).await
    }
}

fn refused(refused: Refused) -> Status {
    let conflicts = match refused {
        Refused::Malformed(text) => return Status::bad_request(text),
        Refused::Failed(text) => return Status::new(Reason::Unknown, text),
        Refused::Conflicts(conflicts) => conflicts,
    };
    let message = if let [one] = conflicts.as_slice() {
        format!("Apply failed with 1 conflict: conflict with {}: {}", one.manager, one.path)
    } else {
        let mut lines = Vec::new();
        let mut last = None;
        for conflict in &conflicts {
            if last != Some(&conflict.manager) {
                lines.push(format!("conflicts with {}:", conflict.manager));
                last = Some(&conflict.manager);
            }
            lines.push(format!("- {}", conflict.path));
        }
        format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
    };
    let mut status = Status::new(Reason::Conflict, message);
    status.details.get_or_insert_default().causes = conflicts
        .into_iter()
        .map(|conflict| Cause {
            reason: "FieldManagerConflict".into(),
            message: format!("conflict with {}", conflict.manager),
            field: conflict.path,
        })
        .collect();
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_name_managers() {
        for (agent, expect) in [
            (&b"kubectl/v1.36.0 (linux/amd64) kubernetes/abc"[..], "kubectl"),
            (b"kube-controller-manager/v1.37.0/tokens", "kube-controller-manager"),
            (b"Go-http-client/1.1", "Go-http-client"),
            (b"a\tb\xff c/1", "ab\u{fffd} c"),
            (b"", ""),
        ] {
            assert_eq!(of_agent(agent), expect);
        }
        assert_eq!(of_agent(&[b'x'; 200]).len(), MAXIMUM_MANAGER_BYTES);
    }
}
