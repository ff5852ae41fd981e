//! Objects in the other versions in whose terms managers own fields.
//!
//! Invariant: who owns what is decided by pure functions; where a webhook makes the versions of one another, what they
//! miss is converted after they ran, and they run again, until nothing is missing. Answers to apimachinery's
//! `versionConverter`.

use super::Write;
use super::commit::stored_form;
use super::managed::{take, text};
use crate::render::present;
use gifee_base::Status;
use gifee_schema::Schema;
use gifee_schema::apply::Versions;
use parking_lot::Mutex;
use serde_json::Value;

/// How often a write is decided anew, since it took objects in versions that it had not had. Each time brings what the
/// last one asked for, and none asks for more than four objects of a version.
const ROUNDS: usize = 64;

/// What a webhook made of objects for one write.
#[derive(Default)]
pub struct Converted(Mutex<Objects>);

#[derive(Default)]
struct Objects {
    /// Object, version, and the object in that version.
    known: Vec<(Value, String, Value)>,
    missing: Vec<(Value, String)>,
}

impl Converted {
    /// An object in a version; None: it will be there the next time.
    fn find(&self, object: &Value, api_version: &str) -> Option<Value> {
        let mut objects = self.0.lock();
        let of = |known: &&(Value, String, Value)| known.1 == api_version && known.0 == *object;
        if let Some((.., found)) = objects.known.iter().find(of) {
            return Some(found.clone());
        }
        objects.missing.push((object.clone(), api_version.to_owned()));
        None
    }
}

/// The versions of a write's resource.
pub struct Served<'a>(pub &'a Write<'a>);

impl Versions for Served<'_> {
    fn at(&self, object: &Value, api_version: &str) -> Option<(Value, Option<Schema>)> {
        let resource = self.0.resource;
        if let (Some(forms), Some(custom)) = (&resource.forms, &resource.kind.custom) {
            let schema = forms.get(api_version)?.clone();
            if resource.converter.is_some() {
                return Some((self.0.converted.find(object, api_version)?, Some(schema)));
            }
            let mut value = object.clone();
            value["apiVersion"] = api_version.into();
            if api_version != &*custom.stored_api_version {
                schema.prune(&mut value);
            }
            return Some((value, Some(schema)));
        }
        let kinds = self.0.server.kinds.load();
        let other = kinds
            .all()
            .iter()
            .find(|other| other.api_version == api_version && other.kind.storage == resource.kind.storage)?;
        let mut value = present(other, stored_form(resource, object.clone()));
        if let Some(map) = value.as_object_mut() {
            map.insert("apiVersion".into(), api_version.into());
            map.insert("kind".into(), (&*other.kind.gvk.kind).into());
        }
        Some((value, other.schema.clone()))
    }
}

impl Write<'_> {
    /// Converts what a decision missed; true if that makes it worth deciding anew.
    ///
    /// # Errors
    /// If the webhook fails.
    pub(super) async fn convert_missing(&self) -> Result<bool, Status> {
        let Some(converter) = &self.resource.converter else { return Ok(false) };
        let missing = std::mem::take(&mut self.converted.0.lock().missing);
        for (object, api_version) in &missing {
            let mut asked = object.clone();
            if text(&asked).is_some() {
                drop(take(&mut asked));
            }
            let outbound = &self.server.outbound;
            let made = converter.trees(outbound, vec![asked], api_version).await?.pop().unwrap_or_default();
            self.converted.0.lock().known.push((object.clone(), api_version.clone(), made));
        }
        Ok(!missing.is_empty())
    }

    /// Decides again and again, until it missed nothing.
    ///
    /// # Errors
    /// The decision's, or the webhook's.
    pub(super) async fn decided<T: Send>(
        &self,
        decide: &mut (dyn FnMut() -> Result<T, Status> + Send),
    ) -> Result<T, Status> {
        for _ in 1..ROUNDS {
            let outcome = decide();
            if !self.convert_missing().await? {
                return outcome;
            }
        }
        decide()
    }

    /// Records who made or changed an object; what cannot be told, since a webhook fails, nobody owns.
    ///
    /// # Errors
    /// 422 if a client's entries have names that they may not have.
    pub(super) async fn claim(&self, object: &mut Value, old: Option<&Value>) -> Result<(), Status> {
        let record = |object: &mut Value| match old {
            Some(old) => self.own_changed(object, old),
            None => self.own_new(object),
        };
        if self.resource.converter.is_none() {
            return record(object);
        }
        let before = object.clone();
        for _ in 0..ROUNDS {
            *object = before.clone();
            record(object)?;
            match self.convert_missing().await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(message = %error.message, "who owns what of an object cannot be told any more");
                    drop(take(object));
                    break;
                }
            }
        }
        Ok(())
    }
}
