//! What is special about StorageVersionMigrations.
//!
//! Answers to upstream's `pkg/apis/storagemigration/validation`.

use crate::rule::{SPEC, immutable, required};
use crate::rules::{RULES, Rules};

/// Rules of StorageVersionMigrations.
pub(crate) const MIGRATION: Rules = Rules {
    status_only: true,
    validate: |errors, migration| {
        let at = SPEC.child("resource");
        required(errors, &migration["spec"]["resource"]["resource"], &at.child("resource"));
    },
    validate_update: |errors, migration, old| {
        immutable(errors, &migration["spec"], &old["spec"], &SPEC);
    },
    ..RULES
};
