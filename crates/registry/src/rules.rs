//! Hooks as a table of functions: what nearly every kind needs, and no more.
//!
//! Invariant: a write to the object itself never changes its status, and a write to the status never changes
//! anything else. Answers to upstream's `strategy.go` files.

use crate::kind::{Context, Hooks, Order};
use crate::rule::{Errors, collect};
use crate::value::restore;
use gifee_base::FieldError;
use serde_json::Value;

/// What a kind does besides the common split of object and status.
pub(crate) struct Rules {
    /// Defaults that data cannot express.
    pub default: fn(&mut Value),
    /// The status of a new object, as JSON; [`GIVEN`] if it may come with one.
    pub status: &'static str,
    /// Whether a write to the status leaves labels, annotations, finalizers and owners as they are.
    pub status_only: bool,
    /// Before a create, after the status has been reset.
    pub create: fn(&mut Value, &Context<'_>),
    /// Before an update of the object itself or a part; the status has been put back, but of an approval.
    pub update: fn(&mut Value, &Value, &str, &Context<'_>),
    /// What is wrong with an object.
    pub validate: fn(&mut Errors, &Value),
    /// What else is wrong with a new object.
    pub validate_create: fn(&mut Errors, &Value),
    /// What is wrong with a change of the object itself.
    pub validate_update: fn(&mut Errors, &Value, &Value),
    /// What is wrong with a change of a part, such as the status.
    pub validate_part: fn(&mut Errors, &Value, &Value, &str),
    /// The same for what depends on the time or on who asks.
    pub validate_part_at: fn(&mut Errors, &Value, &Value, &str, &Context<'_>),
    /// In which order an update is judged.
    pub order: Order,
    /// Warnings about a new object, or about a change of one.
    pub warnings: fn(&mut Vec<String>, &Value, Option<&Value>),
    /// When a deletion that cannot end at once has begun.
    pub mark_deleting: fn(&mut Value),
    /// Whether something besides finalizers in the metadata keeps a deleted object.
    pub held: fn(&Value) -> bool,
    /// Whether a deletion that says nothing about dependents leaves them.
    pub orphans: bool,
}

/// A new object may come with a status.
pub(crate) const GIVEN: &str = "given";

/// Rules that allow everything.
pub(crate) const RULES: Rules = Rules {
    default: |_| {},
    status: "",
    status_only: false,
    create: |_, _| {},
    update: |_, _, _, _| {},
    validate: |_, _| {},
    validate_create: |_, _| {},
    validate_update: |_, _, _| {},
    validate_part: |_, _, _, _| {},
    validate_part_at: |_, _, _, _, _| {},
    order: Order::ObjectFirst,
    warnings: |_, _, _| {},
    mark_deleting: |_| {},
    held: |_| false,
    orphans: false,
};

/// What only writes to the object itself may change of the metadata.
const OWN_METADATA: [&str; 4] = ["annotations", "finalizers", "labels", "ownerReferences"];

/// Rules made into hooks.
pub(crate) struct Ruled {
    rules: Rules,
    has_status: bool,
    first_status: Option<Value>,
}

impl Ruled {
    /// Of a kind that has a status or not.
    pub fn new(rules: Rules, has_status: bool) -> Self {
        let text = if rules.status.is_empty() { "{}" } else { rules.status };
        let first_status = if has_status { serde_json::from_str(text).ok() } else { None };
        Self { rules, has_status, first_status }
    }
}

/// Leaves of a write to a status its status alone; `metadata_too`: its metadata as well.
pub fn keep_status_only(object: &mut Value, old: &Value, metadata_too: bool) {
    if !metadata_too {
        for field in OWN_METADATA {
            restore(&mut object["metadata"], &old["metadata"], field);
        }
    }
    let own = |name: &str| matches!(name, "status" | "metadata");
    let Some(fields) = object.as_object_mut() else { return };
    // Most writers leave the rest as it was: to see that costs less than to copy it.
    fields.retain(|name, _| own(name) || old.get(name).is_some());
    for (name, value) in old.as_object().into_iter().flatten().filter(|(name, _)| !own(name)) {
        if fields.get(name) != Some(value) {
            fields.insert(name.clone(), value.clone());
        }
    }
}

#[async_trait::async_trait]
impl Hooks for Ruled {
    fn default(&self, object: &mut Value) {
        (self.rules.default)(object);
    }

    fn prepare_create(&self, object: &mut Value, context: &Context<'_>) {
        if let Some(status) = &self.first_status {
            object["status"] = status.clone();
        }
        (self.rules.create)(object, context);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, subresource: &str, context: &Context<'_>) {
        if subresource == "status" {
            keep_status_only(object, old, !self.rules.status_only);
        } else if self.has_status && subresource != "approval" {
            // An approval is written into the conditions of the status: the kind's own rules put back the rest.
            restore(object, old, "status");
        }
        (self.rules.update)(object, old, subresource, context);
    }

    fn validate(&self, object: &Value, _: &Context<'_>) -> Vec<FieldError> {
        collect(|errors| (self.rules.validate)(errors, object))
    }

    fn validate_create(&self, object: &Value, _: &Context<'_>) -> Vec<FieldError> {
        collect(|errors| (self.rules.validate_create)(errors, object))
    }

    fn validate_update(
        &self,
        object: &Value,
        old: &Value,
        subresource: &str,
        context: &Context<'_>,
    ) -> Vec<FieldError> {
        collect(|errors| {
            // A scale changes the object itself.
            if matches!(subresource, "" | "scale") {
                (self.rules.validate_update)(errors, object, old);
            } else {
                (self.rules.validate_part)(errors, object, old, subresource);
                (self.rules.validate_part_at)(errors, object, old, subresource, context);
            }
        })
    }

    fn order(&self) -> Order {
        self.rules.order
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        (self.rules.warnings)(&mut warnings, object, old);
        warnings
    }

    fn mark_deleting(&self, object: &mut Value) {
        (self.rules.mark_deleting)(object);
    }

    fn held(&self, object: &Value) -> bool {
        (self.rules.held)(object)
    }

    fn default_propagation(&self) -> Option<&'static str> {
        self.rules.orphans.then_some("Orphan")
    }
}
