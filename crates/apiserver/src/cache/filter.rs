//! Which objects of a resource a list or watch wants.
//!
//! Answers to apiserver's `storage.SelectionPredicate`.

use super::{Entry, fields::Fields};
use gifee_base::{FieldSelector, LabelSelector};
use std::sync::Arc;

/// A conjunction of place, labels and fields.
#[derive(Debug)]
pub struct Filter {
    namespaced: bool,
    namespace: Box<str>,
    labels: LabelSelector,
    tests: Vec<Test>,
    fields: Arc<Fields>,
}

#[derive(Clone, Debug)]
struct Test {
    subject: Subject,
    value: Box<str>,
    equal: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Name,
    Namespace,
    Field(usize),
}

impl Filter {
    /// Compiles selectors; `name` is the name in the path of a watch of one object.
    ///
    /// # Errors
    /// The name of a field that cannot be selected by.
    pub fn new(
        fields: &Arc<Fields>,
        namespaced: bool,
        namespace: &str,
        name: Option<&str>,
        labels: LabelSelector,
        selector: &FieldSelector,
    ) -> Result<Self, String> {
        let mut tests = Vec::new();
        if let Some(name) = name {
            tests.push(Test { subject: Subject::Name, value: name.into(), equal: true });
        }
        let mut namespace: Box<str> = namespace.into();
        for one in &selector.requirements {
            let subject = match one.field.as_str() {
                "metadata.name" => Subject::Name,
                "metadata.namespace" if namespaced => Subject::Namespace,
                field => Subject::Field(fields.index(field).ok_or_else(|| field.to_owned())?),
            };
            if subject == Subject::Namespace && one.equal && namespace.is_empty() {
                namespace = one.value.as_str().into();
                continue;
            }
            tests.push(Test { subject, value: one.value.as_str().into(), equal: one.equal });
        }
        Ok(Self { namespaced, namespace, labels, tests, fields: fields.clone() })
    }

    /// Whether it selects by what another version may show otherwise: labels and fields.
    pub fn selects_shown(&self) -> bool {
        let shown = |test: &Test| matches!(test.subject, Subject::Field(_));
        !self.labels.is_everything() || self.tests.iter().any(shown)
    }

    /// The same without what another version may show otherwise.
    pub fn placed(&self) -> Self {
        let kept = self.tests.iter().filter(|test| !matches!(test.subject, Subject::Field(_)));
        Self {
            namespaced: self.namespaced,
            namespace: self.namespace.clone(),
            labels: LabelSelector::everything(),
            tests: kept.cloned().collect(),
            fields: self.fields.clone(),
        }
    }

    /// Whether it selects by more than the namespace.
    pub fn selects(&self) -> bool {
        !self.tests.is_empty() || !self.labels.is_everything()
    }

    /// Whether it lets everything through.
    pub fn is_everything(&self) -> bool {
        self.namespace.is_empty() && !self.selects()
    }

    /// Whether the resource lives in namespaces.
    pub fn namespaced(&self) -> bool {
        self.namespaced
    }

    /// The fields that it can ask for.
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// The namespace, or empty for all.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name that objects must have.
    pub fn pinned_name(&self) -> Option<&str> {
        self.pinned(&Subject::Name)
    }

    /// The value that a field must have.
    pub fn pinned_field(&self, index: usize) -> Option<&str> {
        self.pinned(&Subject::Field(index))
    }

    fn pinned(&self, subject: &Subject) -> Option<&str> {
        self.tests.iter().find(|test| test.equal && test.subject == *subject).map(|test| &*test.value)
    }

    /// Whether an object passes.
    pub fn matches(&self, entry: &Entry) -> bool {
        let object = &entry.object;
        if !self.namespace.is_empty() && *self.namespace != *object.namespace() {
            return false;
        }
        let holds = |test: &Test| {
            let value = match test.subject {
                Subject::Name => object.name(),
                Subject::Namespace => object.namespace(),
                Subject::Field(index) => entry.field(&self.fields, index),
            };
            (*test.value == *value) == test.equal
        };
        self.tests.iter().all(holds) && (self.labels.is_everything() || object.selected(&self.labels))
    }
}
