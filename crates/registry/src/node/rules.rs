//! What is special about RuntimeClasses.
//!
//! Answers to upstream's `pkg/apis/node/validation`.

use crate::podspec;
use crate::rule::{changed, label, required_name, resource};
use crate::rules::{RULES, Rules};
use crate::value::entries;
use gifee_base::{Path, name};

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
    validate: |errors, class| {
        required_name(errors, &class["handler"], &Path::root("handler"), name::dns_label);
        let at = Path::root("overhead");
        let at = at.child("podFixed");
        for (one, value) in entries(&class["overhead"]["podFixed"]) {
            resource::container_resource_name(errors, one, &at.key(one));
            resource::amount(errors, one, value, &at.key(one));
        }
        let at = Path::root("scheduling");
        let scheduling = &class["scheduling"];
        label::labels(errors, &scheduling["nodeSelector"], &at.child("nodeSelector"));
        podspec::tolerations(errors, &scheduling["tolerations"], &at.child("tolerations"));
    },
    validate_update: |errors, class, old| {
        changed(errors, &class["handler"], &old["handler"], &Path::root("handler"));
    },
    ..RULES
};
