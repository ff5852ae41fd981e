//! `metav1.DeleteOptions`, from the body or from the query.

use super::body::options as decode_options;
use crate::body::Body;
use crate::negotiate::body_encoding;
use crate::request::Request;
use gifee_base::Status;
use gifee_base::field::{FieldError, Path};
use serde_json::{Value, json};

/// How a deletion is to happen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds until the object is forced away.
    pub grace_period_seconds: Option<i64>,
    /// UID that the object must have.
    pub uid: Option<String>,
    /// Resource version that the object must have.
    pub resource_version: Option<String>,
    /// The old form of `propagation_policy`: whether dependents stay.
    pub orphan_dependents: Option<bool>,
    /// `Foreground`, `Background` or `Orphan`.
    pub propagation_policy: Option<String>,
    /// Whether nothing is to happen.
    pub dry_run: bool,
    /// Values of `dryRun` in a body that mean nothing.
    odd_dry_run: Vec<String>,
}

impl DeleteOptions {
    /// Those of a request: of its body if it has one, else of its query.
    ///
    /// # Errors
    /// 400, 413, 415, 422.
    pub async fn read(request: &Request<'_>, body: Body) -> Result<Self, Status> {
        let bytes = body.read(request.server.config.limits.body_bytes).await?;
        let options = if bytes.is_empty() {
            Self::from_query(request)?
        } else {
            Self::from_value(&decode_options(body_encoding(request.headers)?, &bytes)?)
        };
        options.validate()?;
        Ok(options)
    }

    /// Of a tree that has been checked, such as an Eviction carries.
    pub fn from_value(value: &Value) -> Self {
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let preconditions = &value["preconditions"];
        Self {
            grace_period_seconds: value["gracePeriodSeconds"].as_i64(),
            uid: text(&preconditions["uid"]),
            resource_version: text(&preconditions["resourceVersion"]),
            orphan_dependents: value["orphanDependents"].as_bool(),
            propagation_policy: text(&value["propagationPolicy"]),
            dry_run: value["dryRun"].as_array().is_some_and(|all| all.iter().any(|one| one == "All")),
            odd_dry_run: match value["dryRun"].as_array() {
                Some(all) if all.iter().any(|one| one != "All") => {
                    all.iter().map(|one| one.as_str().unwrap_or_default().to_owned()).collect()
                }
                _ => Vec::new(),
            },
        }
    }

    fn from_query(request: &Request<'_>) -> Result<Self, Status> {
        let query = request.query;
        let grace = match query.get("gracePeriodSeconds") {
            None => None,
            Some(text) => Some(text.parse::<i64>().map_err(|_| {
                Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
            })?),
        };
        let text = |name: &str| query.get(name).map(str::to_owned);
        Ok(Self {
            grace_period_seconds: grace,
            uid: text("uid"),
            resource_version: text("resourceVersion"),
            dry_run: request.dry_run()?,
            orphan_dependents: query.has("orphanDependents").then(|| query.flag("orphanDependents")),
            propagation_policy: text("propagationPolicy"),
            ..Self::default()
        })
    }

    fn validate(&self) -> Result<(), Status> {
        let path = Path::root("propagationPolicy");
        let mut errors = Vec::new();
        if let Some(policy) = &self.propagation_policy {
            if self.orphan_dependents.is_some() {
                let why = "orphanDependents and deletionPropagation cannot be both set";
                errors.push(FieldError::invalid(&path, policy.as_str(), why));
            }
            if !matches!(policy.as_str(), "Foreground" | "Background" | "Orphan") {
                let supported = ["Foreground", "Background", "Orphan", "nil"];
                errors.push(FieldError::not_supported(&path, policy.as_str(), &supported));
            }
        }
        if !self.odd_dry_run.is_empty() {
            let given = self.odd_dry_run.clone();
            errors.push(FieldError::not_supported(&Path::root("dryRun"), given, &["All"]));
        }
        if errors.is_empty() {
            return Ok(());
        }
        Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", &errors))
    }

    /// As admission sees them.
    pub fn to_value(&self) -> Value {
        let mut value = json!({ "kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1" });
        if let Some(grace) = self.grace_period_seconds {
            value["gracePeriodSeconds"] = grace.into();
        }
        if let Some(policy) = &self.propagation_policy {
            value["propagationPolicy"] = policy.as_str().into();
        }
        if let Some(orphan) = self.orphan_dependents {
            value["orphanDependents"] = orphan.into();
        }
        value
    }

    /// Whether the dependents of an object with these finalizers are to stay.
    pub fn orphans(&self, finalizers: &[String], by_default: Option<&str>) -> bool {
        if let Some(orphan) = self.orphan_dependents {
            return orphan;
        }
        if let Some(policy) = &self.propagation_policy {
            return policy == "Orphan";
        }
        let known = finalizers.iter().find(|one| matches!(one.as_str(), "orphan" | "foregroundDeletion"));
        known.map_or(by_default == Some("Orphan"), |one| one == "orphan")
    }

    /// Whether the object is to go after its dependents.
    pub fn foreground(&self, finalizers: &[String]) -> bool {
        if self.orphan_dependents.is_some() {
            return false;
        }
        if let Some(policy) = &self.propagation_policy {
            return policy == "Foreground";
        }
        let known = finalizers.iter().find(|one| matches!(one.as_str(), "orphan" | "foregroundDeletion"));
        known.is_some_and(|one| one == "foregroundDeletion")
    }
}
