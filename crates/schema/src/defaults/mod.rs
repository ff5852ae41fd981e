//! Defaults as data: a text table of rules per type, compiled once, applied to trees by one walk.
//!
//! A table is lines; `#` starts a comment line:
//!
//! ```text
//! type apps/v1.Deployment apps/v1.Other     # one or more types, PACKAGE.NAME as in facts/kubernetes.txt
//! spec.replicas = 1
//! spec.strategy.type = "RollingUpdate"
//! spec.strategy.rollingUpdate.maxSurge = "25%" if spec.strategy.type == "RollingUpdate"
//! spec.ports[*].targetPort = $@.port                  # copy: `@` is the item that `[*]` is at
//! spec.selector = $spec.template.metadata.labels      # copy: from the type
//! resources.requests += $resources.limits             # copies map entries that are missing
//! spec.sessionAffinityConfig delete if spec.sessionAffinity == "None"
//! emptyDir = {} if none +VolumeSource                 # no field of the embedded struct is set
//! hook image_pull_policy                              # a function given to `compile`
//! ```
//!
//! A rule belongs to a type and works wherever that type occurs, as upstream's `SetDefaults_TYPE` do; types outside
//! run before those inside, and a type's rules run in their order, then the defaults the facts themselves declare
//! (`+default`). A rule sets a field that is *unset*: absent or null, or, if it is not behind a pointer, `""`, `0`,
//! `false` or empty. Objects on the way to it are made. Conditions, joined by ` and `: `PATH == JSON`, `PATH != JSON`
//! (an absent field compares as its zero value), `PATH in [JSON, ...]`, `set PATH`, `unset PATH`, `none +NAME`; in
//! them paths start at the type, or with `@.` at the item of the innermost `[*]`.
//!
//! Invariant: applying twice changes nothing more (of hooks their writers promise it); what is added is complete in
//! the sense of [`check`](crate::check). Answers to the `SetDefaults_*` functions and their generated callers.

mod apply;
mod table;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::shape::{NodeId, StructId, Types};
use crate::{Result, Schema};

/// A function for what rules cannot say. It gets one object of the type it is listed under.
pub type Hook = fn(&mut Map<String, Value>);

/// A compiled table, for all kinds of one arena.
#[derive(Debug)]
pub struct Defaults {
    types: Arc<Types>,
    rules: HashMap<StructId, Vec<Rule>>,
    /// Structs that have rules or contain ones that do: where the walk goes.
    visited: Vec<bool>,
}

#[derive(Debug, Clone)]
struct Rule {
    action: Action,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone)]
enum Action {
    Set(FieldPath, Source),
    /// Copies the entries of a map that the target does not have.
    Merge(FieldPath, FieldPath),
    Delete(FieldPath),
    Hook(Hook),
}

#[derive(Debug, Clone)]
enum Source {
    Value(Value),
    Copy(FieldPath),
}

#[derive(Debug, Clone)]
enum Condition {
    Equal(FieldPath, Vec<Value>),
    Unequal(FieldPath, Value),
    Set(FieldPath),
    Unset(FieldPath),
    /// None of these fields is set.
    None(Vec<String>),
}

/// A path from a type, or from the item at `[*]`.
#[derive(Debug, Clone)]
struct FieldPath {
    from_item: bool,
    steps: Vec<PathStep>,
}

#[derive(Debug, Clone)]
struct PathStep {
    name: String,
    /// What the field holds.
    node: NodeId,
    pointer: bool,
    /// `[*]` follows: the rest of the path is in each item.
    items: bool,
}

impl Defaults {
    /// Compiles tables against the built-in types.
    ///
    /// # Errors
    /// `Error::Table` with the line, if one is malformed, names a type, field or hook that does not exist, or has a
    /// value that does not fit its field.
    pub fn builtin(tables: &[&str], hooks: &[(&str, Hook)]) -> Result<Defaults> {
        Defaults::compile(crate::facts::builtin().clone(), tables, hooks)
    }

    /// Compiles tables against an arena.
    ///
    /// # Errors
    /// As [`Defaults::builtin`].
    pub fn compile(types: Arc<Types>, tables: &[&str], hooks: &[(&str, Hook)]) -> Result<Defaults> {
        table::compile(types, tables, hooks)
    }

    /// Fills in what is unset in an object that [`check`](crate::check::check) has passed.
    pub fn apply(&self, schema: &Schema, value: &mut Value) {
        debug_assert!(std::ptr::eq(schema.types(), &*self.types), "the schema is of the table's arena");
        self.node(schema.root(), value);
    }
}
