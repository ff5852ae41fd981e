//! Assignability of types with parameters, as the checker needs it to choose overloads.
//!
//! Invariant: a try that fails leaves no trace. Answers to cel-go's `checker/types.go`.

use std::sync::Arc;

use super::kind::{List, Type};

/// What type parameters stand for so far.
#[derive(Default)]
pub(super) struct Bindings {
    bound: Vec<Option<Type>>,
    /// What was there before each change, for undoing.
    trail: Vec<(u32, Option<Type>)>,
}

impl Bindings {
    /// A type parameter that nothing knows yet.
    pub fn fresh(&mut self) -> Type {
        self.bound.push(None);
        Type::Param(self.bound.len() as u32 - 1)
    }

    /// Numbers for an overload's parameters: the first of them.
    pub fn fresh_many(&mut self, count: u32) -> u32 {
        let first = self.bound.len() as u32;
        self.bound.resize(self.bound.len() + count as usize, None);
        first
    }

    /// Whether a value of type `from` fits where `to` is wanted, pairwise.
    pub fn assignable(&mut self, from: &[Type], to: &[Type]) -> bool {
        let mark = self.trail.len();
        let fits = from.len() == to.len() && from.iter().zip(to).all(|(from, to)| self.fits(from, to));
        if !fits {
            while self.trail.len() > mark {
                if let Some((number, old)) = self.trail.pop() {
                    self.bound[number as usize] = old;
                }
            }
        }
        fits
    }

    /// Replaces bound parameters; those that are free become dynamic if `free_to_dyn`.
    pub fn substitute(&self, kind: &Type, free_to_dyn: bool) -> Type {
        match kind {
            Type::Param(number) => match &self.bound[*number as usize] {
                Some(bound) => self.substitute(bound, free_to_dyn),
                None if free_to_dyn => Type::Dyn,
                None => kind.clone(),
            },
            Type::List(list) if closed(&list.item) => kind.clone(),
            Type::List(list) => Type::List(Arc::new(List {
                item: self.substitute(&list.item, free_to_dyn),
                order: list.order.clone(),
            })),
            Type::Map(map) if closed(&map.0) && closed(&map.1) => kind.clone(),
            Type::Map(map) => {
                Type::map(self.substitute(&map.0, free_to_dyn), self.substitute(&map.1, free_to_dyn))
            }
            Type::Opaque(name, params) if !params.is_empty() => {
                Type::Opaque(name, params.iter().map(|param| self.substitute(param, free_to_dyn)).collect())
            }
            Type::Type(Some(of)) => Type::Type(Some(Arc::new(self.substitute(of, free_to_dyn)))),
            other => other.clone(),
        }
    }

    fn set(&mut self, number: u32, kind: Type) {
        let old = self.bound[number as usize].replace(kind);
        self.trail.push((number, old));
    }

    fn fits(&mut self, from: &Type, to: &Type) -> bool {
        if let Type::Param(number) = to {
            match self.substitution(from, *number) {
                (true, _) => return true,
                (false, true) => return false,
                (false, false) => {}
            }
        }
        if let Type::Param(number) = from {
            return self.substitution(to, *number).0;
        }
        if from.is_dyn_or_error() || to.is_dyn_or_error() {
            return true;
        }
        match (from, to) {
            (Type::Null, other) | (other, Type::Null) => matches!(
                other,
                Type::Null | Type::Opaque(..) | Type::Object(_) | Type::Duration | Type::Timestamp
            ),
            (Type::Type(_), Type::Type(_)) => true,
            (Type::List(a), Type::List(b)) => self.fits(&a.item, &b.item),
            (Type::Map(a), Type::Map(b)) => self.fits(&a.0, &b.0) && self.fits(&a.1, &b.1),
            (Type::Opaque(a, p), Type::Opaque(b, q)) => {
                a == b && p.len() == q.len() && p.iter().zip(q.iter()).all(|(a, b)| self.fits(a, b))
            }
            (a, b) => a.same(b),
        }
    }

    /// Whether `kind` can stand for a parameter, and whether the parameter stood for something already.
    fn substitution(&mut self, kind: &Type, number: u32) -> (bool, bool) {
        if matches!(kind, Type::Param(own) if *own == number) {
            return (true, true);
        }
        if let Some(bound) = self.bound[number as usize].clone() {
            if kind.same(&bound) {
                return (true, true);
            }
            if self.fits(kind, &bound) {
                let general = if less_specific(kind, &bound) { kind.clone() } else { bound };
                if self.absent(number, &general) {
                    self.set(number, general);
                }
                return (true, true);
            }
            return (false, true);
        }
        if self.absent(number, kind) {
            self.set(number, kind.clone());
            return (true, false);
        }
        (false, false)
    }

    /// Whether a parameter does not occur in a type.
    fn absent(&self, number: u32, kind: &Type) -> bool {
        match kind {
            Type::Param(own) if *own == number => false,
            Type::Param(own) => match &self.bound[*own as usize] {
                Some(bound) => self.absent(number, bound),
                None => true,
            },
            Type::List(list) => self.absent(number, &list.item),
            Type::Map(map) => self.absent(number, &map.0) && self.absent(number, &map.1),
            Type::Opaque(_, params) => params.iter().all(|param| self.absent(number, param)),
            Type::Type(Some(of)) => self.absent(number, of),
            _ => true,
        }
    }
}

/// The more general of two types that are known to fit.
pub(super) fn general(a: &Type, b: &Type) -> Type {
    if less_specific(a, b) { a.clone() } else { b.clone() }
}

fn less_specific(a: &Type, b: &Type) -> bool {
    if a.is_dyn() || matches!(a, Type::Param(_)) {
        return true;
    }
    if b.is_dyn() || matches!(b, Type::Param(_)) {
        return false;
    }
    match (a, b) {
        (Type::Opaque(a, p), Type::Opaque(b, q)) => {
            a == b && p.len() == q.len() && p.iter().zip(q.iter()).all(|(a, b)| less_specific(a, b))
        }
        (Type::List(a), Type::List(b)) => less_specific(&a.item, &b.item),
        (Type::Map(a), Type::Map(b)) => less_specific(&a.0, &b.0) && less_specific(&a.1, &b.1),
        (Type::Type(_), Type::Type(_)) => true,
        (a, b) => a.same(b),
    }
}

/// Whether no parameter can occur in a type: a quick look at the types that are their own substitute.
fn closed(kind: &Type) -> bool {
    !matches!(kind, Type::Param(_) | Type::List(_) | Type::Map(_) | Type::Opaque(..) | Type::Type(_))
}
