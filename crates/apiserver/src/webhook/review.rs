//! The AdmissionReview: what a webhook is asked, and what it answers.
//!
//! Answers to upstream's `webhook/request`.

use super::hook::{ReviewVersion, word};
use super::matching::{Invocation, Subject};
use crate::outbound::review::Answer;
use crate::seam::Operation;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gifee_base::Gvk;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;

#[derive(Serialize)]
struct Kind<'a> {
    group: &'a str,
    version: &'a str,
    kind: &'a str,
}

#[derive(Serialize)]
struct Resource<'a> {
    group: &'a str,
    version: &'a str,
    resource: &'a str,
}

#[derive(Serialize)]
struct UserInfo<'a> {
    username: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    uid: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    groups: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extra: &'a BTreeMap<String, Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Question<'a> {
    uid: &'a str,
    kind: Kind<'a>,
    resource: Resource<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    sub_resource: &'a str,
    request_kind: Kind<'a>,
    request_resource: Resource<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    request_sub_resource: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    operation: &'static str,
    user_info: UserInfo<'a>,
    object: &'a Value,
    old_object: &'a Value,
    dry_run: bool,
    options: Cow<'a, Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    kind: &'static str,
    api_version: &'static str,
    request: Question<'a>,
}

fn kind(gvk: &Gvk) -> Kind<'_> {
    Kind { group: &gvk.group, version: &gvk.version, kind: &gvk.kind }
}

fn resource(resource: &crate::kinds::Resource) -> Resource<'_> {
    Resource { group: resource.group(), version: resource.version(), resource: resource.name() }
}

/// The body of a call. `object` and `old` are in the version of the invocation.
pub fn question(
    subject: &Subject<'_>,
    invocation: &Invocation<'_>,
    version: ReviewVersion,
    uid: &str,
    object: &Value,
    old: &Value,
) -> Vec<u8> {
    let write = subject.write;
    let user = &write.attributes.user;
    let request = Question {
        uid,
        kind: kind(&invocation.gvk),
        resource: resource(&invocation.resource),
        sub_resource: write.subresource,
        request_kind: kind(&subject.gvk),
        request_resource: resource(write.resource),
        request_sub_resource: write.subresource,
        name: &subject.name,
        namespace: &subject.namespace,
        operation: word(subject.operation),
        user_info: UserInfo {
            username: &user.name,
            uid: &user.uid,
            groups: &user.groups,
            extra: &user.extra,
        },
        object,
        old_object: old,
        dry_run: write.dry_run,
        options: options(subject.operation, &write.options),
    };
    let review = Review { kind: "AdmissionReview", api_version: version.api_version(), request };
    // A tree always has a JSON form.
    serde_json::to_vec(&review).unwrap_or_default()
}

/// The options of the operation: a PATCH is an update to webhooks, and a PUT may be a creation.
fn options(operation: Operation, options: &Value) -> Cow<'_, Value> {
    let wanted = match operation {
        Operation::Create => "CreateOptions",
        Operation::Update => "UpdateOptions",
        _ => return Cow::Borrowed(options),
    };
    if options.is_null() || options["kind"] == wanted {
        return Cow::Borrowed(options);
    }
    let mut changed = options.clone();
    if let Some(map) = changed.as_object_mut() {
        map.insert("kind".into(), wanted.into());
        map.remove("force");
    }
    Cow::Owned(changed)
}

/// What a webhook has decided.
#[derive(Debug, Default, PartialEq)]
pub struct Decision {
    /// Whether the request may go on.
    pub allowed: bool,
    /// Why not, as a `metav1.Status`.
    pub result: Value,
    /// A JSON patch.
    pub patch: Option<Vec<u8>>,
    /// For the client.
    pub warnings: Vec<String>,
    /// For the audit log.
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Response {
    uid: String,
    allowed: bool,
    status: Option<Map<String, Value>>,
    patch: Option<String>,
    patch_type: Option<String>,
    audit_annotations: Option<BTreeMap<String, String>>,
    warnings: Option<Vec<String>>,
}

/// What an answer says, or what is wrong with it: the reason of a failed call.
///
/// # Errors
/// In upstream's words, with what failed before the colon.
pub fn decide(version: ReviewVersion, uid: &str, mutating: bool, body: &[u8]) -> Result<Decision, String> {
    let answer =
        Answer::<Response>::read(body).map_err(|error| format!("failed to call webhook: {error}"))?;
    let invalid = |why: String| Err(format!("received invalid webhook response: {why}"));
    let kind = answer.is(version.api_version(), "AdmissionReview");
    let Some(response) = answer.response else { return invalid("webhook response was absent".to_owned()) };
    if version == ReviewVersion::V1 {
        if response.uid != uid {
            return invalid(format!("expected response.uid={uid:?}, got {:?}", response.uid));
        }
        if let Err(why) = kind {
            return invalid(why);
        }
    }
    let encoded = response.patch.filter(|patch| !patch.is_empty());
    let patch = encoded.map(|patch| STANDARD.decode(patch)).transpose();
    let patch = patch.map_err(|error| format!("failed to call webhook: illegal base64 data: {error}"))?;
    if let Err(why) = patch_fits(version, mutating, patch.is_some(), response.patch_type.as_deref()) {
        return invalid(why);
    }
    Ok(Decision {
        allowed: response.allowed,
        result: response.status.map_or(Value::Null, Value::Object),
        patch: patch.filter(|_| mutating),
        warnings: response.warnings.unwrap_or_default(),
        annotations: response.audit_annotations.unwrap_or_default(),
    })
}

fn patch_fits(
    version: ReviewVersion,
    mutating: bool,
    patch: bool,
    patch_type: Option<&str>,
) -> Result<(), String> {
    let say = |text: &str| Err(text.to_owned());
    match (version, mutating, patch, patch_type) {
        (ReviewVersion::V1Beta1, ..) => Ok(()),
        (_, true, true, None) => say("webhook returned response.patch but not response.patchType"),
        (_, true, false, Some(_)) => say("webhook returned response.patchType but not response.patch"),
        (_, true, true, Some("")) => say("webhook returned invalid response.patchType of \"\""),
        (_, true, true, Some("JSONPatch")) | (_, _, false, None) => Ok(()),
        (_, true, true, Some(other)) => Err(format!("unsupported patch type {other:?}")),
        (_, false, true, _) => say("validating webhook may not return response.patch"),
        (_, false, false, Some(_)) => say("validating webhook may not return response.patchType"),
    }
}
