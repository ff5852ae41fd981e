//! Roles and bindings give rights: nobody gives what they do not have.
//!
//! Invariant: it is asked before anything of the object is validated, of everybody but the privileged group. Answers
//! to upstream's `policybased` storages.

use super::Write;
use crate::seam::Operation;
use gifee_base::{ObjectKey, Status};
use gifee_policy::authorize::escalation::{concerns, everything, only_collects, refusal, role_of, rules_in};
use gifee_policy::authorize::{Decision, PRIVILEGED_GROUP, Rule};
use gifee_policy::{Attributes, Lookup};
use serde_json::Value;

const GROUP: &str = "rbac.authorization.k8s.io";

impl Write<'_> {
    /// Refuses an object that gives more than its writer has.
    pub(super) async fn may_give(
        &self,
        operation: Operation,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        let user = &self.attributes.user;
        let writes = matches!(operation, Operation::Create | Operation::Update);
        if !writes
            || !concerns(&self.resource.kind.gvk)
            || user.groups.iter().any(|group| group == PRIVILEGED_GROUP)
        {
            return Ok(());
        }
        if old.is_some_and(|old| only_collects(object, old)) {
            return Ok(());
        }
        match self.resource.name() {
            "roles" | "clusterroles" => self.may_write_role(object, old).await,
            "rolebindings" | "clusterrolebindings" => self.may_bind(object).await,
            _ => Ok(()),
        }
    }

    async fn may_write_role(&self, object: &Value, old: Option<&Value>) -> Result<(), Status> {
        let mut asked = self.attributes.clone();
        (asked.verb, asked.version) = ("escalate".into(), "*".into());
        if self.says_yes(&asked).await {
            return Ok(());
        }
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let held = self.held();
        if let Some(why) = refusal(&asked.user, &held, &rules_in(object)) {
            return Err(Status::forbidden(GROUP, self.resource.name(), name, &why));
        }
        let aggregates = |role: &Value| !role["aggregationRule"].is_null();
        if (aggregates(object) || old.is_some_and(aggregates))
            && refusal(&asked.user, &held, &everything()).is_some()
        {
            let why = "must have cluster-admin privileges to use aggregationRules";
            return Err(Status::forbidden(GROUP, self.resource.name(), name, why));
        }
        Ok(())
    }

    async fn may_bind(&self, object: &Value) -> Result<(), Status> {
        let namespace = self.attributes.namespace.as_str();
        let (resource, key) = role_of(object, namespace);
        let asked = Attributes {
            user: self.attributes.user.clone(),
            verb: "bind".into(),
            is_resource: true,
            group: GROUP.into(),
            version: "*".into(),
            resource: resource.into(),
            namespace: namespace.into(),
            name: key.name.to_string(),
            ..Attributes::default()
        };
        if self.says_yes(&asked).await {
            return Ok(());
        }
        let wanted = self.role(resource, &key)?;
        if let Some(why) = refusal(&asked.user, &self.held(), &wanted) {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            return Err(Status::forbidden(GROUP, self.resource.name(), name, &why));
        }
        Ok(())
    }

    fn role(&self, resource: &str, key: &ObjectKey) -> Result<Vec<Rule>, Status> {
        let role = Lookup::get(&*self.server.caches, GROUP, resource, key);
        let role = role.ok_or_else(|| Status::not_found(GROUP, resource, &key.name))?;
        Ok(rules_in(&role.to_value().map_err(Status::internal)?))
    }

    /// The rights of the writer where they write.
    fn held(&self) -> Vec<Rule> {
        let Attributes { user, namespace, .. } = self.attributes;
        self.server.config.authorizer.rules(user, namespace, &*self.server.caches).rules
    }

    async fn says_yes(&self, asked: &Attributes) -> bool {
        let decision = self.server.config.authorizer.authorize(asked, &*self.server.caches).settle().await;
        matches!(decision, Decision::Allow(_))
    }
}
