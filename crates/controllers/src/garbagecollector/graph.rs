//! Who owns whom: of every object its name, its owners and how far its deletion is; nothing else of it.
//!
//! Invariants: the two directions of a reference agree; an owner that nobody has seen yet has dependents but
//! no node. Pure: a change comes in, what must be looked at because of it comes out. Answers to upstream's
//! graph builder.

use gifee_base::{Gvr, Object, ObjectKey};
use serde::Deserialize;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// A UID; all mentions of one share one allocation.
pub type Uid = Arc<str>;

/// A resource that is watched.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// How URLs name it.
    pub gvr: Gvr,
    /// `apiVersion` of its objects.
    pub api_version: String,
    /// `kind` of its objects.
    pub kind: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

/// `apiVersion` and `kind` as an owner reference has them.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Named {
    /// `apiVersion`
    pub api_version: Box<str>,
    /// `kind`
    pub kind: Box<str>,
}

/// An owner reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// `uid`
    pub uid: Uid,
    /// `apiVersion` and `kind`
    pub named: Arc<Named>,
    /// `name`
    pub name: Box<str>,
    /// `blockOwnerDeletion`
    pub block: bool,
}

/// What somebody believes an owner to be. The namespace is that of who believes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// `apiVersion` and `kind`
    pub named: Arc<Named>,
    /// Namespace of the dependent; empty if that has none.
    pub namespace: Arc<str>,
    /// `name`
    pub name: Box<str>,
    /// `uid`
    pub uid: Uid,
}

/// A finalizer of this controller's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Finalizer {
    /// Neither.
    #[default]
    None,
    /// `orphan`: dependents stay, and forget this owner.
    Orphan,
    /// `foregroundDeletion`: dependents go first.
    Foreground,
}

impl Finalizer {
    /// The word in the metadata.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Orphan => "orphan",
            Self::Foreground => "foregroundDeletion",
        }
    }

    /// That of an object.
    pub fn of(object: &Object) -> Self {
        #[derive(Deserialize)]
        struct Whole {
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        struct Metadata {
            finalizers: Option<Vec<String>>,
        }
        if object.finalizers() == 0 {
            return Self::None;
        }
        let whole: Option<Whole> = serde_json::from_slice(object.raw()).ok();
        let all = whole.and_then(|whole| whole.metadata.finalizers).unwrap_or_default();
        let has = |one: Self| all.iter().any(|finalizer| finalizer == one.as_str());
        [Self::Orphan, Self::Foreground].into_iter().find(|one| has(*one)).unwrap_or_default()
    }
}

/// One object.
#[derive(Debug)]
pub struct Node {
    /// Its resource.
    pub kind: Arc<Kind>,
    namespace: Arc<str>,
    name: Box<str>,
    revision: u64,
    owners: Box<[Owner]>,
    deleting: bool,
    finalizer: Finalizer,
}

impl Node {
    fn deleting_with(&self, finalizer: Finalizer) -> bool {
        self.deleting && self.finalizer == finalizer
    }

    /// Whether a reference in a namespace really means this object.
    fn is(&self, owner: &Owner, namespace: &str) -> bool {
        self.visible_from(namespace)
            && *owner.named.api_version == *self.kind.api_version
            && *owner.named.kind == *self.kind.kind
            && owner.name == self.name
    }

    fn visible_from(&self, namespace: &str) -> bool {
        self.namespace.is_empty() || *self.namespace == *namespace
    }
}

/// What must be done because of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// An object must be looked at.
    Examine(Uid),
    /// An owner that nobody has seen must be looked for.
    Verify(Uid),
    /// An owner that others refer to is gone.
    Gone(Claim),
    /// A dependent refers to an owner of another namespace.
    Misplaced {
        /// The dependent.
        dependent: Uid,
        /// The owner.
        owner: Uid,
    },
}

/// A node, and of its neighbours what decides about it.
#[derive(Debug)]
pub struct View {
    /// Its resource.
    pub kind: Arc<Kind>,
    /// Namespace and name.
    pub key: ObjectKey,
    /// UID.
    pub uid: Uid,
    /// Resource version of the state that was seen last.
    pub revision: u64,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Its finalizer.
    pub finalizer: Finalizer,
    /// What it believes its owners to be, and whether it blocks their deletion.
    pub owners: Vec<(Claim, bool)>,
    /// Whether anything depends on it.
    pub owns: bool,
    /// Whether a dependent waits for its own dependents.
    pub owns_waiting: bool,
    /// If its dependents must go or stay first: all of them, or those that block.
    pub dependents: Vec<Uid>,
}

/// The graph. Bounded by the objects that there are.
#[derive(Default)]
pub struct Graph {
    nodes: HashMap<Uid, Node>,
    dependents: HashMap<Uid, BTreeSet<Uid>>,
    named: HashSet<Arc<Named>>,
    namespaces: HashSet<Arc<str>>,
    /// Names that nobody uses any more are dropped when there are so many.
    purge_at: usize,
}

impl Graph {
    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// A node.
    pub fn node(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// An object is new or changed.
    pub fn apply(&mut self, kind: &Arc<Kind>, object: &Object, effects: &mut Vec<Effect>) {
        let uid = self.uid(object.uid());
        let old = self.nodes.remove(&uid);
        let fresh = old.is_none();
        let before = old.as_ref().map_or((false, Finalizer::None), |old| (old.deleting, old.finalizer));
        let old = old.map_or_else(Box::default, |old| old.owners);
        let same = old.len() == object.owners().count() && old.iter().zip(object.owners()).all(equal);
        let owners = if same { old.clone() } else { self.owners(object) };
        let node = Node {
            kind: kind.clone(),
            namespace: self.namespace(object.namespace()),
            name: object.name().into(),
            revision: object.revision(),
            owners,
            deleting: object.deleting(),
            finalizer: Finalizer::of(object),
        };
        let after = (node.deleting, node.finalizer);
        self.nodes.insert(uid.clone(), node);
        if !same {
            self.relink(&uid, &old, effects);
        }
        if fresh {
            self.check_dependents(&uid, effects);
        }
        if before != after && after.0 && after.1 != Finalizer::None {
            effects.push(Effect::Examine(uid.clone()));
            if after.1 == Finalizer::Foreground {
                effects.extend(self.of(&uid).cloned().map(Effect::Examine));
            }
        }
    }

    /// An object is gone.
    pub fn remove(&mut self, kind: &Arc<Kind>, uid: &str, effects: &mut Vec<Effect>) {
        if self.nodes.get(uid).is_none_or(|node| node.kind.gvr != kind.gvr) {
            return;
        }
        let Some((uid, node)) = self.nodes.remove_entry(uid) else { return };
        for owner in &node.owners {
            self.unlink(&uid, &owner.uid);
            if self.waiting(&owner.uid) {
                effects.push(Effect::Examine(owner.uid.clone()));
            }
        }
        if !self.dependents.contains_key(&uid) {
            return;
        }
        let named = self.named(&node.kind.api_version, &node.kind.kind);
        let claim = Claim { named, namespace: node.namespace, name: node.name, uid: uid.clone() };
        effects.push(Effect::Gone(claim));
        effects.extend(self.of(&uid).cloned().map(Effect::Examine));
    }

    /// These are all objects of a resource.
    pub fn replace(&mut self, kind: &Arc<Kind>, objects: &[Object], effects: &mut Vec<Effect>) {
        let present: HashSet<&str> = objects.iter().map(Object::uid).collect();
        let gone = |(uid, node): (&Uid, &Node)| {
            (node.kind.gvr == kind.gvr && !present.contains(&**uid)).then(|| uid.clone())
        };
        let gone: Vec<Uid> = self.nodes.iter().filter_map(gone).collect();
        for object in objects {
            self.apply(kind, object, effects);
        }
        for uid in gone {
            self.remove(kind, &uid, effects);
        }
    }

    /// A resource is no longer served: nothing more is known of its objects, and nothing follows from that.
    pub fn forget(&mut self, kind: &Kind) {
        let of_kind = |(uid, node): (&Uid, &Node)| (node.kind.gvr == kind.gvr).then(|| uid.clone());
        let uids: Vec<Uid> = self.nodes.iter().filter_map(of_kind).collect();
        for uid in uids {
            let Some(node) = self.nodes.remove(&uid) else { continue };
            for owner in &node.owners {
                self.unlink(&uid, &owner.uid);
            }
        }
    }

    /// What decides about an object.
    pub fn view(&self, uid: &str) -> Option<View> {
        let (uid, node) = self.nodes.get_key_value(uid)?;
        let neighbours = || self.of(uid).filter_map(|one| Some((one, self.nodes.get(one)?)));
        let blocks = |dependent: &Node| dependent.owners.iter().any(|owner| owner.uid == *uid && owner.block);
        let dependents = match node.finalizer {
            _ if !node.deleting => Vec::new(),
            Finalizer::None => Vec::new(),
            Finalizer::Orphan => neighbours().map(|(uid, _)| uid.clone()).collect(),
            Finalizer::Foreground => {
                neighbours().filter(|(_, one)| blocks(one)).map(|(uid, _)| uid.clone()).collect()
            }
        };
        Some(View {
            kind: node.kind.clone(),
            key: ObjectKey::new(&node.namespace, &node.name),
            uid: uid.clone(),
            revision: node.revision,
            deleting: node.deleting,
            finalizer: node.finalizer,
            owners: node.owners.iter().map(|owner| (claim(node, owner), owner.block)).collect(),
            owns: neighbours().next().is_some(),
            owns_waiting: neighbours().any(|(_, one)| one.deleting_with(Finalizer::Foreground)),
            dependents,
        })
    }

    /// What dependents believe an owner to be that nobody has seen, each with those who do.
    pub fn claims(&self, owner: &str) -> HashMap<Claim, Vec<Uid>> {
        let mut claims: HashMap<Claim, Vec<Uid>> = HashMap::new();
        if self.nodes.contains_key(owner) {
            return claims;
        }
        for uid in self.of(owner) {
            let Some(node) = self.nodes.get(uid) else { continue };
            for reference in node.owners.iter().filter(|reference| &*reference.uid == owner) {
                claims.entry(claim(node, reference)).or_default().push(uid.clone());
            }
        }
        claims
    }

    /// Whether an object waits for its dependents to go.
    pub fn waiting(&self, uid: &str) -> bool {
        self.nodes.get(uid).is_some_and(|node| node.deleting_with(Finalizer::Foreground))
    }

    fn of(&self, owner: &str) -> impl Iterator<Item = &Uid> {
        self.dependents.get(owner).into_iter().flatten()
    }

    /// Brings the other direction of an object's references up to date.
    fn relink(&mut self, uid: &Uid, old: &[Owner], effects: &mut Vec<Effect>) {
        let Some(node) = self.nodes.get(uid) else { return };
        let (namespace, owners) = (node.namespace.clone(), node.owners.clone());
        let find = |list: &[Owner], uid: &Uid| list.iter().find(|one| one.uid == *uid).cloned();
        for before in old {
            let after = find(&owners, &before.uid);
            if after.is_none() {
                self.unlink(uid, &before.uid);
            }
            // It no longer stands in the way of an owner that waits.
            if before.block && after.is_none_or(|after| !after.block) && self.waiting(&before.uid) {
                effects.push(Effect::Examine(before.uid.clone()));
            }
        }
        for owner in owners.iter().filter(|owner| find(old, &owner.uid).is_none_or(|old| old != **owner)) {
            self.dependents.entry(owner.uid.clone()).or_default().insert(uid.clone());
            match self.nodes.get(&owner.uid) {
                None => effects.push(Effect::Verify(owner.uid.clone())),
                Some(node) => {
                    if !node.is(owner, &namespace) {
                        effects.push(Effect::Examine(uid.clone()));
                    }
                    if !node.visible_from(&namespace) {
                        effects.push(Effect::Misplaced { dependent: uid.clone(), owner: owner.uid.clone() });
                    }
                    if owner.block && node.deleting_with(Finalizer::Foreground) {
                        effects.push(Effect::Examine(owner.uid.clone()));
                    }
                }
            }
        }
    }

    /// Looks at those who had believed this owner to be something else before it was seen.
    fn check_dependents(&self, uid: &Uid, effects: &mut Vec<Effect>) {
        let Some(owner) = self.nodes.get(uid) else { return };
        for dependent in self.of(uid) {
            let Some(node) = self.nodes.get(dependent) else { continue };
            let mut references = node.owners.iter().filter(|reference| reference.uid == *uid);
            if references.any(|reference| !owner.is(reference, &node.namespace)) {
                effects.push(Effect::Examine(dependent.clone()));
            }
            if !owner.visible_from(&node.namespace) {
                effects.push(Effect::Misplaced { dependent: dependent.clone(), owner: uid.clone() });
            }
        }
    }

    fn unlink(&mut self, dependent: &Uid, owner: &Uid) {
        if let Some(all) = self.dependents.get_mut(owner) {
            all.remove(dependent);
            if all.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }

    fn uid(&self, text: &str) -> Uid {
        let known = self.nodes.get_key_value(text).map(|(uid, _)| uid);
        let known = known.or_else(|| self.dependents.get_key_value(text).map(|(uid, _)| uid));
        known.cloned().unwrap_or_else(|| text.into())
    }

    fn owners(&mut self, object: &Object) -> Box<[Owner]> {
        let owner = |owner: gifee_base::Owner<'_>| Owner {
            uid: self.uid(owner.uid),
            named: self.named(owner.api_version, owner.kind),
            name: owner.name.into(),
            block: owner.block_owner_deletion,
        };
        object.owners().map(owner).collect()
    }

    fn named(&mut self, api_version: &str, kind: &str) -> Arc<Named> {
        let named = Named { api_version: api_version.into(), kind: kind.into() };
        if let Some(known) = self.named.get(&named) {
            return known.clone();
        }
        self.purge();
        let named = Arc::new(named);
        self.named.insert(named.clone());
        named
    }

    fn namespace(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.namespaces.get(name) {
            return known.clone();
        }
        self.purge();
        let namespace: Arc<str> = name.into();
        self.namespaces.insert(namespace.clone());
        namespace
    }

    fn purge(&mut self) {
        if self.named.len() + self.namespaces.len() < self.purge_at {
            return;
        }
        self.named.retain(|named| Arc::strong_count(named) > 1);
        self.namespaces.retain(|namespace| Arc::strong_count(namespace) > 1);
        self.purge_at = 2 * (self.named.len() + self.namespaces.len()).max(128);
    }
}

fn equal((owner, other): (&Owner, gifee_base::Owner<'_>)) -> bool {
    *owner.uid == *other.uid
        && *owner.name == *other.name
        && *owner.named.kind == *other.kind
        && *owner.named.api_version == *other.api_version
        && owner.block == other.block_owner_deletion
}

fn claim(node: &Node, owner: &Owner) -> Claim {
    Claim {
        named: owner.named.clone(),
        namespace: node.namespace.clone(),
        name: owner.name.clone(),
        uid: owner.uid.clone(),
    }
}
