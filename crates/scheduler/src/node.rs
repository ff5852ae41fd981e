//! A node, as far as placement looks at it.

use crate::resources::{Amounts, Resources};
use gifee_base::Object;
use gifee_base::nodes::{NodeSelector, Term};
use gifee_reconcile::nullable;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Name.
    pub name: Arc<str>,
    /// Labels, sorted by key.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// `spec.unschedulable`
    pub unschedulable: bool,
    /// Taints.
    pub taints: Box<[Taint]>,
    /// What pods may take.
    pub allocatable: Resources,
    /// How many pods there may be.
    pub pods_maximum: i64,
    /// `status.declaredFeatures`
    pub features: Box<[Box<str>]>,
    /// Bytes of images by each of their names, sorted.
    pub images: Box<[(Box<str>, i64)]>,
}

/// A taint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value.
    #[serde(deserialize_with = "nullable")]
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

#[derive(Deserialize)]
struct Whole {
    #[serde(default, deserialize_with = "nullable")]
    spec: Spec,
    #[serde(default, deserialize_with = "nullable")]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    #[serde(deserialize_with = "nullable")]
    unschedulable: bool,
    #[serde(deserialize_with = "nullable")]
    taints: Vec<Taint>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    allocatable: Amounts,
    #[serde(rename = "declaredFeatures", deserialize_with = "nullable")]
    declared_features: Vec<Box<str>>,
    #[serde(deserialize_with = "nullable")]
    images: Vec<Image>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Image {
    #[serde(deserialize_with = "nullable")]
    names: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    size_bytes: i64,
}

impl Node {
    /// Decodes a node.
    ///
    /// # Errors
    /// If the bytes are no node.
    pub fn decode(object: &Object) -> Result<Self, serde_json::Error> {
        let whole: Whole = serde_json::from_slice(object.raw())?;
        let mut labels: Vec<(Box<str>, Box<str>)> =
            object.labels().map(|(key, value)| (key.into(), value.into())).collect();
        labels.sort();
        let images: BTreeMap<Box<str>, i64> = whole
            .status
            .images
            .into_iter()
            .flat_map(|image| image.names.into_iter().map(move |name| (name.into(), image.size_bytes)))
            .collect();
        let allocatable = whole.status.allocatable;
        Ok(Self {
            name: object.name().into(),
            labels: labels.into(),
            unschedulable: whole.spec.unschedulable,
            taints: whole.spec.taints.into(),
            pods_maximum: allocatable.0.get("pods").map_or(0, gifee_base::Quantity::value),
            allocatable: allocatable.resources(),
            features: whole.status.declared_features.into(),
            images: images.into_iter().collect(),
        })
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        let found = self.labels.binary_search_by(|(one, _)| (**one).cmp(key));
        found.ok().map(|at| &*self.labels[at].1)
    }

    /// Whether it meets a term.
    pub fn meets(&self, term: &Term) -> bool {
        term.matches(&self.name, |key| self.label(key))
    }

    /// Whether a selector selects it.
    pub fn is_selected(&self, selector: &NodeSelector) -> bool {
        selector.matches(&self.name, |key| self.label(key))
    }

    /// Bytes of an image, if it is there.
    pub fn image(&self, name: &str) -> Option<i64> {
        let found = self.images.binary_search_by(|(one, _)| (**one).cmp(name));
        found.ok().map(|at| self.images[at].1)
    }
}
