//! What the status of a CustomResourceDefinition says: which names it has, whether it is served, whether it ends.
//!
//! Invariant: pure; the status made of a status that was made here is the same. Answers to apiextensions' naming,
//! establishing, non-structural-schema and approval controllers.

use gifee_registry::apiextensions::{Approval, approval};
use serde_json::{Value, json};
use std::collections::HashSet;

/// Names that other definitions of a group have.
#[derive(Debug, Default)]
pub struct Taken {
    /// Plural, singular and short names.
    pub resources: HashSet<String>,
    /// Kinds and kinds of lists.
    pub kinds: HashSet<String>,
}

impl Taken {
    /// Adds the names that a definition has been given.
    pub fn add(&mut self, definition: &Value) {
        let names = &definition["status"]["acceptedNames"];
        let text = |field: &str| names[field].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        self.resources.extend(["plural", "singular"].into_iter().filter_map(text));
        let short = names["shortNames"].as_array().into_iter().flatten();
        self.resources.extend(short.filter_map(Value::as_str).map(str::to_owned));
        self.kinds.extend(["kind", "listKind"].into_iter().filter_map(text));
    }
}

/// A condition of a definition; null if there is none of that type.
pub fn condition<'a>(definition: &'a Value, kind: &str) -> &'a Value {
    let all = definition["status"]["conditions"].as_array().into_iter().flatten();
    all.into_iter().find(|one| one["type"] == kind).unwrap_or(&Value::Null)
}

/// Whether a condition holds.
pub fn holds(definition: &Value, kind: &str) -> bool {
    condition(definition, kind)["status"] == "True"
}

/// Sets a condition: its time changes only with its status.
pub fn set(definition: &mut Value, kind: &str, status: &str, reason: &str, message: &str, now: &str) {
    let list = &mut definition["status"]["conditions"];
    if !list.is_array() {
        *list = json!([]);
    }
    let Some(list) = list.as_array_mut() else { return };
    let known = list.iter().position(|one| one["type"] == kind);
    let since =
        known.filter(|at| list[*at]["status"] == status).map(|at| list[at]["lastTransitionTime"].clone());
    let condition = json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": since.unwrap_or_else(|| now.into()),
    });
    match known {
        Some(at) => list[at] = condition,
        None => list.push(condition),
    }
}

/// Gives a definition the names that are free, and says whether that is all of them and whether it is established.
pub fn settle(definition: &mut Value, taken: &Taken, now: &str) {
    names(definition, taken, now);
    if !holds(definition, "NamesAccepted") {
        if condition(definition, "Established").is_null() {
            set(definition, "Established", "False", "NotAccepted", "not all names are accepted", now);
        }
    } else if !holds(definition, "Established") {
        let message = "the initial names have been accepted";
        set(definition, "Established", "True", "InitialNamesAccepted", message, now);
    }
    let (status, reason, message) = match approval(definition) {
        None => return,
        Some((Approval::Approved, message)) => ("True", "ApprovedAnnotation", message),
        Some((Approval::Bypassed, message)) => ("False", "UnapprovedAnnotation", message),
        Some((Approval::Missing, message)) => ("False", "MissingAnnotation", message),
        Some((Approval::Invalid, message)) => ("False", "InvalidAnnotation", message),
    };
    set(definition, "KubernetesAPIApprovalPolicyConformant", status, reason, &message, now);
}

fn names(definition: &mut Value, taken: &Taken, now: &str) {
    let wanted = definition["spec"]["names"].clone();
    let had = definition["status"]["acceptedNames"].clone();
    if wanted == had && !condition(definition, "NamesAccepted").is_null() {
        return;
    }
    let mut given = if had.is_object() { had.clone() } else { json!({}) };
    let mut conflict = None;
    let used = |name: &str| format!("{name:?} is already in use");
    for (field, reason, taken) in [
        ("plural", "PluralConflict", &taken.resources),
        ("singular", "SingularConflict", &taken.resources),
        ("shortNames", "ShortNamesConflict", &taken.resources),
        ("kind", "KindConflict", &taken.kinds),
        ("listKind", "ListKindConflict", &taken.kinds),
    ] {
        let wrong = match &wanted[field] {
            Value::String(name) if wanted[field] != had[field] && taken.contains(name) => vec![used(name)],
            Value::Array(list) => {
                let own = had[field].as_array().map_or(&[][..], Vec::as_slice);
                let fresh = list.iter().filter(|one| !own.contains(one)).filter_map(Value::as_str);
                fresh.filter(|name| taken.contains(*name)).map(used).collect()
            }
            _ => Vec::new(),
        };
        match wrong.as_slice() {
            [] => copy(&mut given, &wanted, field),
            [one] => conflict = Some((reason, one.clone())),
            several => conflict = Some((reason, format!("[{}]", several.join(", ")))),
        }
    }
    copy(&mut given, &wanted, "categories");
    definition["status"]["acceptedNames"] = given;
    match conflict {
        None => set(definition, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now),
        Some((reason, message)) => set(definition, "NamesAccepted", "False", reason, &message, now),
    }
}

fn copy(into: &mut Value, from: &Value, field: &str) {
    match &from[field] {
        Value::Null => drop(into.as_object_mut().and_then(|map| map.remove(field))),
        value => into[field] = value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-01-01T00:00:00Z";

    fn definition(names: Value) -> Value {
        json!({ "metadata": {"name": "x"}, "spec": {"group": "example.com", "names": names} })
    }

    fn check(mut definition: Value, taken: &Taken, expect: &[&str]) -> Value {
        settle(&mut definition, taken, NOW);
        let again = definition.clone();
        settle(&mut definition, taken, "2027-01-01T00:00:00Z");
        assert_eq!(definition, again, "a settled definition is settled");
        let said = definition["status"]["conditions"].as_array().unwrap().iter().map(|one| {
            let word = |field: &str| one[field].as_str().unwrap().to_owned();
            format!("{} {} {}: {}", word("type"), word("status"), word("reason"), word("message"))
        });
        assert_eq!(said.collect::<Vec<_>>(), expect);
        definition
    }

    #[test]
    fn groups_of_the_project_say_who_approved_them() {
        let settled = |group: &str, annotation: Value| {
            let mut definition = definition(json!({"plural": "xs", "kind": "X"}));
            definition["spec"]["group"] = group.into();
            definition["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": annotation});
            settle(&mut definition, &Taken::default(), NOW);
            let said = condition(&definition, "KubernetesAPIApprovalPolicyConformant").clone();
            let word = |field: &str| said[field].as_str().unwrap_or_default().to_owned();
            format!("{} {} {}", word("status"), word("reason"), word("message"))
        };
        let must = "protected groups must have approval annotation \"api-approved.kubernetes.io\"";
        let see = "see https://github.com/kubernetes/enhancements/pull/1111";
        let either = "with either a URL or a reason starting with \"unapproved\"";
        for (group, annotation, expect) in [
            ("example.com", json!("x"), "  ".to_owned()),
            ("notk8s.io", json!("x"), "  ".to_owned()),
            ("k8s.io", json!(""), format!("False MissingAnnotation {must}, {see}")),
            ("a.k8s.io", Value::Null, format!("False MissingAnnotation {must}, {see}")),
            ("a.kubernetes.io", json!("soon"), format!("False InvalidAnnotation {must} {either}, {see}")),
            (
                "a.k8s.io",
                json!("unapproved, test"),
                "False UnapprovedAnnotation not approved: \"unapproved, test\"".into(),
            ),
            (
                "a.k8s.io",
                json!("https://x/pull/1"),
                "True ApprovedAnnotation approved in https://x/pull/1".into(),
            ),
        ] {
            assert_eq!(settled(group, annotation.clone()), expect, "{group} {annotation}");
        }
    }

    #[test]
    fn names_are_given_to_who_comes_first() {
        let names = json!({"plural": "crontabs", "singular": "crontab", "kind": "CronTab",
            "listKind": "CronTabList", "shortNames": ["ct"], "categories": ["all"]});
        let first = check(
            definition(names.clone()),
            &Taken::default(),
            &[
                "NamesAccepted True NoConflicts: no conflicts found",
                "Established True InitialNamesAccepted: the initial names have been accepted",
            ],
        );
        assert_eq!(first["status"]["acceptedNames"], names);
        let mut taken = Taken::default();
        taken.add(&first);
        let other = json!({"plural": "cats", "singular": "cat", "kind": "CronTab", "listKind": "CatList",
            "shortNames": ["ct", "c"]});
        let second = check(
            definition(other),
            &taken,
            &[
                "NamesAccepted False KindConflict: \"CronTab\" is already in use",
                "Established False NotAccepted: not all names are accepted",
            ],
        );
        assert_eq!(
            second["status"]["acceptedNames"],
            json!({"plural": "cats", "singular": "cat", "listKind": "CatList"})
        );
        // What was established stays so when its names change to taken ones.
        let mut changed = first.clone();
        changed["spec"]["names"]["kind"] = "Taken".into();
        taken.kinds.insert("Taken".into());
        check(
            changed,
            &taken,
            &[
                "NamesAccepted False KindConflict: \"Taken\" is already in use",
                "Established True InitialNamesAccepted: the initial names have been accepted",
            ],
        );
    }
}
