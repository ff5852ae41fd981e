//! Sets of fields: which of an object's fields are meant, as a tree of path elements.
//!
//! Invariant: nodes are in the order of their elements, each once, and a node that is no member has members below it.
//! Answers to structured-merge-diff's `fieldpath.Set`.

use std::cmp::Ordering;

use super::element::Element;
use super::typing::Type;

/// A set of fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    pub(super) nodes: Vec<Node>,
}

/// One element of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub element: Element,
    pub member: bool,
    pub below: Set,
}

/// What becomes of nodes that two sets share, and of those of one of them.
struct Rule {
    left: bool,
    right: bool,
    member: fn(bool, bool) -> bool,
}

impl Set {
    /// A set of paths of field names.
    pub fn of(paths: &[&[&str]]) -> Self {
        let mut set = Self::default();
        for path in paths {
            let path: Vec<_> = path.iter().map(|name| Element::field(name)).collect();
            set.insert(&path);
        }
        set
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    fn position(&self, element: &Element) -> Result<usize, usize> {
        self.nodes.binary_search_by(|node| node.element.cmp(element))
    }

    pub(super) fn node(&self, element: &Element) -> Option<&Node> {
        self.position(element).ok().map(|at| &self.nodes[at])
    }

    /// The node of an element, made if it is not there; the caller makes it a member or puts members below it.
    pub(super) fn entry(&mut self, element: Element) -> &mut Node {
        // Mostly elements come in order.
        let at = match self.nodes.last() {
            Some(last) if last.element < element => Err(self.nodes.len()),
            _ => self.position(&element),
        };
        let at = at.unwrap_or_else(|at| {
            self.nodes.insert(at, Node { element, member: false, below: Self::default() });
            at
        });
        &mut self.nodes[at]
    }

    /// Adds a path. The empty one, which is the object itself, nobody owns.
    pub fn insert(&mut self, path: &[Element]) {
        let Some((first, rest)) = path.split_first() else { return };
        let node = self.entry(first.clone());
        if rest.is_empty() {
            node.member = true;
        } else {
            node.below.insert(rest);
        }
    }

    /// Whether a path is in it.
    pub fn has(&self, path: &[Element]) -> bool {
        let Some((first, rest)) = path.split_first() else { return false };
        self.node(first).is_some_and(|node| if rest.is_empty() { node.member } else { node.below.has(rest) })
    }

    fn zip(&self, other: &Self, rule: &Rule) -> Self {
        let (mut left, mut right) = (self.nodes.iter().peekable(), other.nodes.iter().peekable());
        let mut nodes = Vec::new();
        loop {
            let order = match (left.peek(), right.peek()) {
                (None, None) => return Self { nodes },
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(left), Some(right)) => left.element.cmp(&right.element),
            };
            match order {
                Ordering::Less => nodes.extend(left.next().filter(|_| rule.left).cloned()),
                Ordering::Greater => nodes.extend(right.next().filter(|_| rule.right).cloned()),
                Ordering::Equal => {
                    let (Some(left), Some(right)) = (left.next(), right.next()) else { continue };
                    let member = (rule.member)(left.member, right.member);
                    let below = left.below.zip(&right.below, rule);
                    if member || !below.is_empty() {
                        nodes.push(Node { element: left.element.clone(), member, below });
                    }
                }
            }
        }
    }

    /// What is in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.zip(other, &Rule { left: true, right: true, member: |left, right| left || right })
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.zip(other, &Rule { left: false, right: false, member: |left, right| left && right })
    }

    /// What is in this one and not in the other. A field that is left out does not take what is below it with it.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.zip(other, &Rule { left: true, right: false, member: |left, right| left && !right })
    }

    /// What is neither in the other nor below a member of it.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let nodes = self.nodes.iter().filter_map(|node| {
            let Some(out) = other.node(&node.element) else { return Some(node.clone()) };
            if out.member {
                return None;
            }
            let below = node.below.without(&out.below);
            let stays = node.member || !below.is_empty();
            stays.then(|| Node { element: node.element.clone(), member: node.member, below })
        });
        Self { nodes: nodes.collect() }
    }

    /// The same set with every field of a struct a member that has members below it: removing a part of a struct
    /// considers the struct too.
    #[must_use]
    pub(super) fn with_named_fields(&self, kind: Option<Type<'_>>) -> Self {
        let nodes = self.nodes.iter().map(|node| {
            let step = kind.and_then(|kind| kind.step(&node.element));
            let named = step.is_some_and(|step| step.declared) && !node.below.is_empty();
            Node {
                element: node.element.clone(),
                member: node.member || named,
                below: node.below.with_named_fields(step.map(|step| step.kind)),
            }
        });
        Self { nodes: nodes.collect() }
    }

    /// All paths, at each level first the members and then what is below.
    pub fn paths(&self) -> Vec<Vec<Element>> {
        let (mut paths, mut prefix) = (Vec::new(), Vec::new());
        self.collect(&mut prefix, &mut paths);
        paths
    }

    fn collect(&self, prefix: &mut Vec<Element>, paths: &mut Vec<Vec<Element>>) {
        for node in self.nodes.iter().filter(|node| node.member) {
            let mut path = prefix.clone();
            path.push(node.element.clone());
            paths.push(path);
        }
        for node in self.nodes.iter().filter(|node| !node.below.is_empty()) {
            prefix.push(node.element.clone());
            node.below.collect(prefix, paths);
            prefix.pop();
        }
    }

    /// How many members there are, counted no further than to `limit`.
    pub(super) fn size(&self, limit: usize) -> usize {
        let mut size = 0;
        for node in &self.nodes {
            size += usize::from(node.member) + node.below.size(limit);
            if size >= limit {
                break;
            }
        }
        size
    }
}

/// A path as messages show it.
pub fn path_text(path: &[Element]) -> String {
    path.iter().map(Element::to_string).collect()
}

/// Fields that a write of a resource or a part of it does not own, whatever it sends.
#[derive(Clone, Debug, Default)]
pub enum Filter {
    /// It may own all.
    #[default]
    All,
    /// Nothing of these or below them.
    Except(Set),
    /// Only these and what is below them; an empty name stands for any element.
    Only(&'static [&'static [&'static str]]),
}

impl Filter {
    /// What of a set it lets through.
    #[must_use]
    pub fn apply(&self, set: Set) -> Set {
        match self {
            Self::All => set,
            Self::Except(except) => set.without(except),
            Self::Only(patterns) => only(&set, patterns),
        }
    }
}

fn only(set: &Set, patterns: &[&[&str]]) -> Set {
    let mut nodes = Vec::new();
    for node in &set.nodes {
        let fits = |first: &str| match &node.element {
            Element::Field(name) => first.is_empty() || **name == *first,
            _ => first.is_empty(),
        };
        let rest: Vec<&[&str]> = patterns
            .iter()
            .filter_map(|pattern| {
                pattern.split_first().filter(|(first, _)| fits(first)).map(|(_, rest)| rest)
            })
            .collect();
        if rest.is_empty() {
            continue;
        }
        let below = if rest.iter().any(|rest| rest.is_empty()) {
            node.below.clone()
        } else {
            only(&node.below, &rest)
        };
        // Upstream's pattern matches a member on the way to what it names, too.
        if node.member || !below.is_empty() {
            nodes.push(Node { element: node.element.clone(), member: node.member, below });
        }
    }
    Set { nodes }
}
