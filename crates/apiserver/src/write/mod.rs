//! Writes: the one pipeline.
//!
//! decode, prune or report unknown fields → default → merge → mutating admission → prepare → allocate → validate →
//! validating admission → commit at the expected revision. Dry-run stops before commit.
//!
//! Invariant: there is nowhere else to write an object. Answers to apiserver's `registry/generic` store and to
//! `endpoints/handlers`.

mod body;
mod charge;
mod collection;
mod commit;
mod create;
mod delete;
mod grant;
mod managed;
mod metadata;
mod options;
mod patch;
mod scale;
mod shown;
mod update;
mod versions;

pub use body::{decode_call, json_word};
pub use charge::Turns;
pub use collection::delete_collection;
pub use commit::stored_form;
pub use create::{create, create_object};
pub use delete::{DeleteOptions, delete, delete_object};
pub use managed::SERVER;
pub use patch::patch;
pub use scale::{get_scale, patch_scale, put_scale};
pub use shown::{Lent, Shown};
pub use update::{Updated, put, update_object};

use crate::kinds::Resource;
use crate::metrics::{Plugin, Waited};
use crate::request::Request;
use crate::seam::{Operation, Review};
use crate::server::Server;
use crate::webhook::matching::Subject;
use gifee_base::clock::format_time;
use gifee_base::{Gvk, ObjectKey, Reason, Status};
use gifee_policy::Attributes;
use gifee_registry::kind::Context;
use gifee_schema::Schema;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

/// Options of a create, as admission sees them.
static CREATE_OPTIONS: LazyLock<Value> = LazyLock::new(|| options("CreateOptions"));
/// Options of a PUT, as admission sees them.
static UPDATE_OPTIONS: LazyLock<Value> = LazyLock::new(|| options("UpdateOptions"));
/// Options of a PATCH, as admission sees them.
static PATCH_OPTIONS: LazyLock<Value> = LazyLock::new(|| options("PatchOptions"));

fn options(kind: &str) -> Value {
    json!({ "kind": kind, "apiVersion": "meta.k8s.io/v1" })
}

/// The options of a request, as admission sees them: `usual` and what the query says.
fn options_of(request: &Request<'_>, usual: &'static Value) -> Cow<'static, Value> {
    let mut options = Cow::Borrowed(usual);
    for field in ["dryRun", "fieldManager", "fieldValidation", "force"] {
        let Some(text) = request.query.get(field) else { continue };
        options.to_mut()[field] = match field {
            "dryRun" => json!([text]),
            "force" => request.query.flag(field).into(),
            _ => text.into(),
        };
    }
    options
}

/// One write on its way: who writes what, and how far it may go.
pub struct Write<'a> {
    /// The server.
    pub server: &'a Arc<Server>,
    /// Of which resource.
    pub resource: &'a Arc<Resource>,
    /// Which part of the object; empty: the object itself.
    pub subresource: &'a str,
    /// Who does what, as policy sees it.
    pub attributes: &'a Attributes,
    /// Whether it stops before commit.
    pub dry_run: bool,
    /// Whether admission is asked: not for what the server itself does on behalf of a write.
    pub admitted: bool,
    /// Whether it is the server's own change, of which the rules of the kind are not asked.
    pub trusted: bool,
    /// Who owns what it changes.
    pub manager: Cow<'a, str>,
    /// Whether it says itself who owns what, as what applies a configuration does.
    pub applies: bool,
    /// Kind and schema of what the client writes, if that is another kind than the resource's: a scale.
    pub subject: Option<(&'a Gvk, Option<&'a Schema>)>,
    /// Now, as `metav1.Time`.
    pub now: String,
    /// Options, as admission sees them.
    pub options: Cow<'a, Value>,
    /// For the client.
    pub warnings: &'a Mutex<Vec<String>>,
    /// How long its request has waited for others, if a client waits for it.
    pub waited: Option<&'a Waited>,
    /// What a webhook made of objects, to tell who owns what.
    pub converted: versions::Converted,
}

impl<'a> Write<'a> {
    /// The write that a request asks for.
    ///
    /// # Errors
    /// If `dryRun` or `fieldManager` is malformed.
    pub fn new(
        request: &'a Request<'_>,
        resource: &'a Arc<Resource>,
        subresource: &'a str,
    ) -> Result<Self, Status> {
        // A deletion says it in its options, which may be in the body.
        let deletes = matches!(request.info.verb, "delete" | "deletecollection");
        Ok(Self {
            server: request.server,
            resource,
            subresource,
            attributes: &request.attributes,
            dry_run: !deletes && request.dry_run()?,
            admitted: true,
            trusted: false,
            manager: managed::manager(request)?,
            applies: false,
            subject: None,
            now: format_time(request.server.config.clock.now()),
            options: Cow::Borrowed(&Value::Null),
            warnings: &request.warnings,
            waited: Some(request.waited),
            converted: Default::default(),
        })
    }

    /// What the server does of itself or on behalf of a write: admission is not asked.
    pub fn own(
        server: &'a Arc<Server>,
        resource: &'a Arc<Resource>,
        attributes: &'a Attributes,
        warnings: &'a Mutex<Vec<String>>,
    ) -> Self {
        Self {
            server,
            resource,
            subresource: "",
            attributes,
            dry_run: false,
            admitted: false,
            trusted: false,
            manager: Cow::Borrowed(SERVER),
            applies: false,
            subject: None,
            now: format_time(server.config.clock.now()),
            options: Cow::Borrowed(&Value::Null),
            warnings,
            waited: None,
            converted: Default::default(),
        }
    }

    /// The write that changes a status for this one, as the server's own.
    pub fn own_status(&self, resource: &'a Arc<Resource>) -> Self {
        Self {
            subresource: "status",
            dry_run: self.dry_run,
            trusted: true,
            ..Self::own(self.server, resource, self.attributes, self.warnings)
        }
    }

    fn context<'b>(&'b self, key: &'b ObjectKey, cluster: &'b crate::cluster::Inside<'a>) -> Context<'b> {
        let user = &self.attributes.user;
        Context {
            user: &user.name,
            user_uid: &user.uid,
            groups: &user.groups,
            extra: &user.extra,
            now: &self.now,
            key,
            dry_run: self.dry_run,
            cluster,
        }
    }

    /// Asks the mutating half of admission.
    pub async fn mutate(
        &self,
        operation: Operation,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        let started = Instant::now();
        let outcome = self.changed_by_admission(operation, object, old).await;
        self.server.metrics.admission.step(true, operation, outcome.is_err(), started.elapsed());
        outcome
    }

    async fn changed_by_admission(
        &self,
        operation: Operation,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        self.admit(operation, object, old, true).await?;
        let round = crate::policies::mutate(self, operation, object, old).await?;
        crate::webhook::mutate(self, operation, object, old).await?;
        crate::policies::mutate_again(self, operation, object, old, round).await?;
        if self.admitted && self.subresource.is_empty() {
            return self.may_give(operation, object, old).await;
        }
        Ok(())
    }

    /// Asks the validating half of admission.
    pub async fn admit_validated(
        &self,
        operation: Operation,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        let started = Instant::now();
        let outcome = self.judged_by_admission(operation, object, old).await;
        self.server.metrics.admission.step(false, operation, outcome.is_err(), started.elapsed());
        outcome
    }

    async fn judged_by_admission(
        &self,
        operation: Operation,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        self.admit(operation, object, old, false).await?;
        if !self.admitted {
            return Ok(());
        }
        let name = self.resource.name();
        let policies = self.server.policies.validating(name, operation);
        let webhooks = self.server.webhooks.validating(name, operation);
        if policies.is_none() && webhooks.is_none() {
            return Ok(());
        }
        let ask = async {
            let shown = Shown::new(self, object, old);
            let subject = Subject::new(self, operation, &shown.object, shown.old.as_deref());
            if subject.is_exempt() {
                return Ok(());
            }
            if let Some(index) = policies {
                let asked = crate::policies::validate(&subject, &index, &shown.object);
                self.measured(Plugin::ValidatingPolicy, operation, asked).await?;
            }
            let Some(index) = webhooks else { return Ok(()) };
            let _waits = self.waited.map(Waited::wait);
            let asked = crate::webhook::validate(&subject, &index, &shown.object);
            self.measured(Plugin::ValidatingWebhook, operation, asked).await
        };
        Box::pin(ask).await
    }

    /// Notes how long a part of admission took.
    pub(crate) async fn measured<T>(
        &self,
        plugin: Plugin,
        operation: Operation,
        asked: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let started = Instant::now();
        let outcome = asked.await;
        self.server.metrics.admission.plugin(plugin, operation, outcome.is_err(), started.elapsed());
        outcome
    }

    fn review<'b>(
        &'b self,
        operation: Operation,
        object: &'b mut Value,
        old: Option<&'b Value>,
        warnings: &'b mut Vec<String>,
    ) -> Review<'b> {
        Review {
            attributes: self.attributes,
            gvk: &self.resource.kind.gvk,
            operation,
            object,
            old,
            options: &self.options,
            dry_run: self.dry_run,
            now: &self.now,
            warnings,
            metrics: &self.server.metrics.admission,
        }
    }

    /// Asks the built-in half of either.
    pub(crate) async fn admit(
        &self,
        operation: Operation,
        object: &mut Value,
        old: Option<&Value>,
        mutating: bool,
    ) -> Result<(), Status> {
        if !self.admitted {
            return Ok(());
        }
        let mut warnings = Vec::new();
        let admission = &self.server.config.admission;
        let caches = &self.server.caches;
        let outcome = if mutating {
            let seen = caches.progress();
            let outcome =
                admission.mutate(&mut self.review(operation, object, old, &mut warnings), &**caches).await;
            match outcome {
                // The caches may not have had what the client was told of, such as a new service account.
                Err(refusal) if refusal.is(Reason::Forbidden) && caches.fresh().await? > seen => {
                    warnings.clear();
                    admission.mutate(&mut self.review(operation, object, old, &mut warnings), &**caches).await
                }
                outcome => outcome,
            }
        } else {
            admission.validate(&mut self.review(operation, object, old, &mut warnings), &**caches).await
        };
        if !warnings.is_empty() {
            self.warnings.lock().extend(warnings);
        }
        outcome
    }

    /// What the rules of the kind say; of those that are expressions it is noted how long they take.
    fn ruled<T>(&self, ask: impl FnOnce() -> T) -> T {
        if !self.resource.ruled {
            return ask();
        }
        let started = Instant::now();
        let said = ask();
        self.server.metrics.expressions.evaluation.observe(started.elapsed().as_secs_f64());
        said
    }

    fn warn(&self, warnings: Vec<String>) {
        if !warnings.is_empty() {
            self.warnings.lock().extend(warnings);
        }
    }

    /// Applies defaults: the table's, then those that only code can say.
    pub(crate) fn default(&self, object: &mut Value) {
        if let (Some(defaults), Some(schema)) = (&self.resource.defaults, &self.resource.schema) {
            defaults.apply(schema, object);
        }
        self.resource.kind.hooks.default(object);
    }

    fn invalid(&self, name: &str, errors: &[gifee_base::FieldError]) -> Status {
        let errors = gifee_base::FieldError::in_order(errors.to_vec());
        Status::invalid(self.resource.group(), &self.resource.kind.gvk.kind, name, &errors)
    }

    fn not_found(&self, name: &str) -> Status {
        Status::not_found(self.resource.group(), self.resource.name(), name)
    }
}
