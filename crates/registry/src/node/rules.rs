//! What is special about RuntimeClasses.
//!
//! Answers to upstream's `pkg/apis/node/validation`.

use crate::podspec;
use crate::rule::{changed, declared, declared_required, label, required_name, resource};
use crate::rules::{RULES, Rules};
use crate::value::entries;
use gifee_base::{Path, name};
use serde_json::json;

/// Rules of RuntimeClasses.
pub(crate) const RUNTIME_CLASS: Rules = Rules {
    warnings: |warnings, class, _| {
        let at = Path::root("scheduling");
        let at = at.child("nodeSelector");
        for (key, _) in entries(&class["scheduling"]["nodeSelector"]) {
            if let Some(since) = podspec::warning::old_label(key) {
                warnings.push(format!("{at}: {since}"));
            }
        }
    },
    validate_create: |errors, class| {
        declared(errors, |errors| {
            required_name(errors, &class["handler"], &Path::root("handler"), name::dns_label);
        });
        // Upstream judges it as limits, and says so.
        let limits = json!({ "limits": class["overhead"]["podFixed"] });
        let rule = resource::container_resource_name;
        resource::requirements(errors, &limits, rule, &Path::root("overhead"));
        let at = Path::root("scheduling");
        let scheduling = &class["scheduling"];
        label::labels(errors, &scheduling["nodeSelector"], &at.child("nodeSelector"));
        podspec::tolerations(errors, &scheduling["tolerations"], &at.child("tolerations"));
    },
    validate_update: |errors, class, old| {
        declared_required(errors, &class["handler"], &Path::root("handler"));
        changed(errors, &class["handler"], &old["handler"], &Path::root("handler"));
    },
    ..RULES
};
