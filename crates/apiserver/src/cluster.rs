//! Other objects of the same server, for the hooks of a kind.
//!
//! Invariant: what a dry run asks for is answered as if it had happened, and does not happen.

use crate::cache::{RANGES, store_failed};
use crate::server::Server;
use crate::write::{DeleteOptions, Updated, Write, create_object, delete_object, update_object};
use bytes::Bytes;
use gifee_base::{Object, ObjectKey, Reason, Status};
use gifee_policy::{Attributes, Lookup, User};
use gifee_registry::kind::Cluster;
use gifee_store::{self as store, Outcome};
use parking_lot::Mutex;
use serde_json::Value;
use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

/// The name under which the server itself acts.
const SELF: &str = "system:apiserver";

/// The server's own identity.
static OWN: LazyLock<Arc<User>> = LazyLock::new(|| {
    let groups = vec!["system:masters".into(), "system:authenticated".into()];
    Arc::new(User { name: SELF.into(), groups, ..User::default() })
});

/// The server, seen from inside a write.
pub struct Inside<'a> {
    server: &'a Arc<Server>,
    dry_run: bool,
}

impl<'a> Inside<'a> {
    /// From inside a write.
    pub fn new(server: &'a Arc<Server>, dry_run: bool) -> Self {
        Self { server, dry_run }
    }
}

/// The attributes of what the server itself does.
pub fn own_attributes(verb: &str, group: &str, resource: &str, key: &ObjectKey) -> Attributes {
    Attributes {
        user: OWN.clone(),
        verb: verb.into(),
        is_resource: true,
        group: group.into(),
        resource: resource.into(),
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        ..Attributes::default()
    }
}

/// Changes the status of a cluster-wide object, or its finalizers, as the server's own controllers do: by the pipeline,
/// as `manager`, without asking admission or the rules of the kind.
///
/// # Errors
/// As the API gives them.
pub async fn own_status(
    server: &Arc<Server>,
    [group, resource]: [&str; 2],
    name: &str,
    manager: &str,
    edit: &mut (dyn FnMut(&mut Value) + Send),
) -> Result<Updated, Status> {
    let kinds = server.kinds.load_full();
    let row = kinds.preferred(group, resource).ok_or_else(Status::no_such_path)?;
    let attributes = own_attributes("update", group, resource, &ObjectKey::cluster(name));
    let warnings = Mutex::default();
    let write = Write {
        subresource: "status",
        trusted: true,
        manager: Cow::Borrowed(manager),
        ..Write::own(server, row, &attributes, &warnings)
    };
    let mut edit = |old: &Value| {
        let mut new = old.clone();
        edit(&mut new);
        Ok(new)
    };
    update_object(&write, "", name, &mut edit, false).await
}

#[async_trait::async_trait]
impl Cluster for Inside<'_> {
    fn get(&self, group: &str, resource: &str, key: &ObjectKey) -> Option<Arc<Object>> {
        Lookup::get(&*self.server.caches, group, resource, key)
    }

    fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Arc<Object>> {
        Lookup::list(&*self.server.caches, group, resource, namespace)
    }

    async fn create(&self, group: &str, resource: &str, object: Value) -> Result<(), Status> {
        let kinds = self.server.kinds.load_full();
        let row = kinds.preferred(group, resource).ok_or_else(Status::no_such_path)?;
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        let attributes = own_attributes("create", group, resource, &ObjectKey::new(&namespace, ""));
        let warnings = Mutex::default();
        let write = Write { dry_run: self.dry_run, ..Write::own(self.server, row, &attributes, &warnings) };
        create_object(&write, &namespace, object).await.map(drop)
    }

    async fn delete(&self, group: &str, resource: &str, key: &ObjectKey) -> Result<(), Status> {
        let kinds = self.server.kinds.load_full();
        let row = kinds.preferred(group, resource).ok_or_else(Status::no_such_path)?;
        let attributes = own_attributes("delete", group, resource, key);
        let warnings = Mutex::default();
        let write = Write { dry_run: self.dry_run, ..Write::own(self.server, row, &attributes, &warnings) };
        match delete_object(&write, &key.namespace, &key.name, &DeleteOptions::default()).await {
            Err(status) if !status.is(Reason::NotFound) => Err(status),
            _ => Ok(()),
        }
    }

    async fn reserve(&self, range: &str, name: &str, owner: &str) -> Result<bool, Status> {
        let key: Bytes = format!("{RANGES}{range}/{name}").into();
        let store = &self.server.config.store;
        if self.dry_run {
            let (entry, _) = store.get(&key).await.map_err(store_failed)?;
            return Ok(entry.is_none());
        }
        let write = store::Write::Create { key, value: owner.to_owned().into() };
        match store.write(write).await.map_err(store_failed)? {
            Outcome::Done(_) => Ok(true),
            // Whoever holds the name already may take it again: a write that was repeated.
            Outcome::Conflict(held) => Ok(held.is_some_and(|held| held.value == owner.as_bytes())),
        }
    }

    async fn release(&self, range: &str, name: &str) -> Result<(), Status> {
        if self.dry_run {
            return Ok(());
        }
        let write = store::Write::Delete { key: format!("{RANGES}{range}/{name}").into(), expected: None };
        self.server.config.store.write(write).await.map(drop).map_err(store_failed)
    }
}
