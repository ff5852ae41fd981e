//! The objects of a cache: one ordered set, and sets by index value.
//!
//! Keys are read out of the objects themselves, so that an object costs no second copy of its name.

use super::Index;
use gifee_base::Object;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

/// Something that has a namespace and a name.
trait Named {
    fn pair(&self) -> (&str, &str);
}

impl Named for (&str, &str) {
    fn pair(&self) -> (&str, &str) {
        (self.0, self.1)
    }
}

impl PartialEq for dyn Named + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.pair() == other.pair()
    }
}

impl Eq for dyn Named + '_ {}

impl PartialOrd for dyn Named + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn Named + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.pair().cmp(&other.pair())
    }
}

/// An object ordered by its namespace and name.
struct Entry(Arc<Object>);

impl Named for Entry {
    fn pair(&self) -> (&str, &str) {
        (self.0.namespace(), self.0.name())
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.pair() == other.pair()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.pair().cmp(&other.pair())
    }
}

impl<'a> Borrow<dyn Named + 'a> for Entry {
    fn borrow(&self) -> &(dyn Named + 'a) {
        self
    }
}

type Values = HashMap<Box<str>, BTreeSet<Entry>>;

#[derive(Default)]
pub(super) struct Store {
    objects: BTreeSet<Entry>,
    indexes: Vec<(Index, Values)>,
}

impl Store {
    /// Empty, with the indexes of another.
    pub(super) fn like(other: &Self) -> Self {
        let indexes = other.indexes.iter().map(|(index, _)| (*index, Values::default())).collect();
        Self { objects: BTreeSet::new(), indexes }
    }

    pub(super) fn add_index(&mut self, index: Index) {
        if self.indexes.iter().any(|(present, _)| present.name == index.name) {
            return;
        }
        let mut values = Values::default();
        for Entry(object) in &self.objects {
            put(&mut values, &index, object);
        }
        self.indexes.push((index, values));
    }

    /// Puts an object in and returns the state that it replaces.
    pub(super) fn insert(&mut self, object: Arc<Object>) -> Option<Arc<Object>> {
        let old = self.remove(&object);
        for (index, values) in &mut self.indexes {
            put(values, index, &object);
        }
        self.objects.insert(Entry(object));
        old
    }

    /// Takes out the object of that name.
    pub(super) fn remove(&mut self, named: &Object) -> Option<Arc<Object>> {
        let key: &dyn Named = &(named.namespace(), named.name());
        let Entry(old) = self.objects.take(key)?;
        for (index, values) in &mut self.indexes {
            (index.values)(&old, &mut |value| {
                if let Some(set) = values.get_mut(value) {
                    set.remove(key);
                    if set.is_empty() {
                        values.remove(value);
                    }
                }
            });
        }
        Some(old)
    }

    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Object>> {
        let key: &dyn Named = &(namespace, name);
        self.objects.get(key).map(|Entry(object)| object)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.iter().map(|Entry(object)| object)
    }

    pub(super) fn namespace<'s>(&'s self, namespace: &'s str) -> impl Iterator<Item = &'s Arc<Object>> {
        let first = (namespace, "");
        let start: &dyn Named = &first;
        self.objects
            .range::<dyn Named + '_, _>((Bound::Included(start), Bound::Unbounded))
            .map(|Entry(object)| object)
            .take_while(move |object| object.namespace() == namespace)
    }

    pub(super) fn indexed<'s>(
        &'s self,
        index: &Index,
        value: &str,
    ) -> impl Iterator<Item = &'s Arc<Object>> + use<'s> {
        let found = self.indexes.iter().find(|(present, _)| present.name == index.name);
        debug_assert!(found.is_some(), "the index {} was not added", index.name);
        let set = found.and_then(|(_, values)| values.get(value));
        set.into_iter().flatten().map(|Entry(object)| object)
    }

    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }
}

fn put(values: &mut Values, index: &Index, object: &Arc<Object>) {
    (index.values)(object, &mut |value| match values.get_mut(value) {
        Some(set) => {
            set.insert(Entry(object.clone()));
        }
        None => {
            values.insert(value.into(), BTreeSet::from([Entry(object.clone())]));
        }
    });
}
