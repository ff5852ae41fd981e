//! By what pods without spread constraints of their own are spread: the selectors of the Services and the controller
//! that they belong to.
//!
//! Answers to `DefaultSelector` and the default constraints of PodTopologySpread.

use crate::pod::{Owner, Template};
use crate::profile::Profile;
use crate::terms::Spread;
use gifee_base::{LabelSelector, Object, ObjectKey};
use gifee_reconcile::nullable;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// So many templates are remembered with their constraints.
const REMEMBERED: usize = 8192;

/// Pairs of a label's key and value.
type Pairs = BTreeMap<String, String>;

/// The selectors.
#[derive(Debug, Default)]
pub struct Selectors {
    /// Of Services, by namespace and name.
    services: HashMap<Arc<str>, BTreeMap<Arc<str>, Pairs>>,
    controllers: HashMap<(Owner, ObjectKey), LabelSelector>,
    /// By the address of the template and the name of the profile.
    known: HashMap<(usize, Arc<str>), Known>,
}

/// A template, and the constraints that hold for it.
type Known = (Arc<Template>, Arc<[Spread]>);

#[derive(Deserialize)]
struct Service {
    #[serde(default, deserialize_with = "nullable")]
    spec: Spec<Pairs>,
}

#[derive(Deserialize)]
struct Controller {
    #[serde(default, deserialize_with = "nullable")]
    spec: Spec<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec<T: Default> {
    #[serde(deserialize_with = "nullable")]
    #[serde(bound(deserialize = "T: Default + Deserialize<'de>"))]
    selector: T,
}

impl Selectors {
    /// A Service is new or changed.
    ///
    /// # Errors
    /// If the bytes are no Service.
    pub fn put_service(&mut self, object: &Object) -> Result<(), serde_json::Error> {
        let service: Service = serde_json::from_slice(object.raw())?;
        let key = object.key();
        let of = self.services.entry(key.namespace).or_default();
        if of.get(&key.name) != Some(&service.spec.selector) {
            of.insert(key.name, service.spec.selector);
            self.known.clear();
        }
        Ok(())
    }

    /// A Service is gone.
    pub fn remove_service(&mut self, key: &ObjectKey) {
        let Some(of) = self.services.get_mut(&key.namespace) else { return };
        of.remove(&key.name);
        if of.is_empty() {
            self.services.remove(&key.namespace);
        }
        self.known.clear();
    }

    /// A controller is new or changed.
    ///
    /// # Errors
    /// If the bytes are no such controller.
    pub fn put_controller(&mut self, kind: Owner, object: &Object) -> Result<(), serde_json::Error> {
        let controller: Controller = serde_json::from_slice(object.raw())?;
        let value = controller.spec.selector;
        let selector = match kind {
            Owner::ReplicationController => {
                let pairs = value.as_object().into_iter().flatten();
                LabelSelector::from_pairs(
                    pairs.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))),
                )
            }
            _ => LabelSelector::from_value(&value).unwrap_or_else(|_| LabelSelector::nothing()),
        };
        let key = (kind, object.key());
        if self.controllers.get(&key) != Some(&selector) {
            self.controllers.insert(key, selector);
            self.known.clear();
        }
        Ok(())
    }

    /// A controller is gone.
    pub fn remove_controller(&mut self, kind: Owner, key: &ObjectKey) {
        self.controllers.remove(&(kind, key.clone()));
    }

    /// All of a kind are to be told anew.
    pub fn clear(&mut self, kind: Option<Owner>) {
        match kind {
            None => self.services.clear(),
            Some(kind) => self.controllers.retain(|(one, _), _| *one != kind),
        }
        self.known.clear();
    }

    /// The constraints that hold for a pod: its own, or else those by default.
    pub fn spread(&mut self, profile: &Profile, template: &Arc<Template>) -> Arc<[Spread]> {
        let key = (Arc::as_ptr(template) as usize, profile.name.clone());
        if let Some((_, spread)) = self.known.get(&key) {
            return spread.clone();
        }
        let spread: Arc<[Spread]> = match template.terms.spread.as_slice() {
            [] => self.by_default(profile, template).into(),
            own => own.into(),
        };
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.insert(key, (template.clone(), spread.clone()));
        spread
    }

    fn by_default(&self, profile: &Profile, template: &Template) -> Vec<Spread> {
        let constraints = &profile.defaults.constraints;
        if constraints.is_empty() {
            return Vec::new();
        }
        let mut pairs: BTreeMap<&str, &str> = BTreeMap::new();
        let selecting = |one: &&Pairs| {
            !one.is_empty() && one.iter().all(|(key, value)| template.label(key) == Some(value))
        };
        let services = self.services.get(&template.namespace).into_iter().flat_map(BTreeMap::values);
        for service in services.filter(selecting) {
            pairs.extend(service.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        }
        let mut selector = LabelSelector::from_pairs(pairs);
        let owner = template.owner.as_ref().and_then(|(kind, name)| {
            self.controllers.get(&(*kind, ObjectKey::new(&template.namespace, name)))
        });
        if let Some(owner) = owner {
            if *owner == LabelSelector::nothing() {
                return Vec::new();
            }
            selector.requirements.extend(owner.requirements.iter().cloned());
            selector.requirements.sort_by(|one, other| one.key.cmp(&other.key));
            selector.requirements.dedup();
        }
        if selector.is_everything() {
            return Vec::new();
        }
        constraints.iter().map(|one| Spread { selector: selector.clone(), ..one.clone() }).collect()
    }
}
