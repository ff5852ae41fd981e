//! The type checker: finds what each name and each call means, and what type it has.
//!
//! Invariant: a tree that checks without an issue has a type and, where it is a name or a call, a meaning for each
//! of its nodes. Answers to cel-go's `checker/checker.go`; messages are its own.

use std::collections::HashMap;
use std::sync::Arc;

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, StructExpr};

use super::declare::{self, Function, Overload};
use super::environment::Environment;
use super::error::Issues;
use super::kind::{Object, Type};
use super::syntax::Positions;
use super::unify::{Bindings, general};

/// What a node means.
#[derive(Clone, Debug)]
pub(super) enum Meaning {
    /// A variable of a comprehension.
    Local,
    /// A variable of the environment, by its place.
    Variable(usize),
    /// The name of a type.
    Type(Type),
    /// A call of one of these overloads; `global` if what looked like a target is part of the name.
    Call { function: &'static str, overloads: Vec<&'static str>, global: bool },
}

/// What is known about the nodes of a tree.
#[derive(Default)]
pub(super) struct Facts {
    pub types: HashMap<u64, Type>,
    pub meanings: HashMap<u64, Meaning>,
}

pub(super) struct Checker<'a> {
    environment: &'a Environment,
    positions: &'a Positions,
    bindings: Bindings,
    scopes: Vec<(String, Type)>,
    facts: Facts,
    issues: Issues,
}

/// Checks a tree.
pub(super) fn check(
    environment: &Environment,
    positions: &Positions,
    tree: &IdedExpr,
) -> Result<Facts, Issues> {
    let mut checker = Checker {
        environment,
        positions,
        bindings: Bindings::default(),
        scopes: Vec::new(),
        facts: Facts::default(),
        issues: Issues::default(),
    };
    checker.visit(tree);
    if !checker.issues.is_empty() {
        return Err(checker.issues);
    }
    let mut facts = checker.facts;
    for kind in facts.types.values_mut() {
        *kind = checker.bindings.substitute(kind, true);
    }
    Ok(facts)
}

impl Checker<'_> {
    fn issue(&mut self, id: u64, message: String) {
        let positions = self.positions;
        self.issues.add(message, || positions.of(id));
    }

    fn kind(&self, node: &IdedExpr) -> Type {
        self.facts.types.get(&node.id).cloned().unwrap_or(Type::Error)
    }

    fn mean(&mut self, id: u64, meaning: Meaning) {
        self.facts.meanings.insert(id, meaning);
    }

    fn visit(&mut self, node: &IdedExpr) -> Type {
        let kind = match &node.expr {
            Expr::Unspecified => Type::Error,
            Expr::Literal(literal) => literal_kind(literal),
            Expr::Ident(name) => self.name(node.id, name),
            Expr::Select(select) => {
                if !select.test
                    && let Some(segments) = qualified(node)
                    && let Some(kind) = self.qualified_name(node.id, &segments)
                {
                    kind
                } else {
                    let kind = self.select(node.id, &select.operand, &select.field, false);
                    if select.test { Type::Bool } else { self.bindings.substitute(&kind, false) }
                }
            }
            Expr::Call(call) => self.call(node.id, call),
            Expr::List(list) => {
                let mut item = None;
                for (index, element) in list.elements.iter().enumerate() {
                    let kind = self.visit(element);
                    let kind =
                        self.unwrapped(element, kind, list.optional_indices.binary_search(&index).is_ok());
                    item = Some(self.join(item, kind));
                }
                Type::list(item.unwrap_or_else(|| self.bindings.fresh()))
            }
            Expr::Map(map) => self.map(map),
            Expr::Struct(object) => self.structure(node.id, object),
            Expr::Comprehension(fold) => self.comprehension(fold),
        };
        self.facts.types.insert(node.id, kind.clone());
        kind
    }

    /// A name alone: the innermost variable of it, or a type.
    fn name(&mut self, id: u64, name: &str) -> Type {
        if let Some((_, kind)) = self.scopes.iter().rev().find(|(own, _)| own == name) {
            let kind = kind.clone();
            self.mean(id, Meaning::Local);
            return kind;
        }
        match self.environment.lookup(name.strip_prefix('.').unwrap_or(name)) {
            Some((meaning, kind)) => {
                self.mean(id, meaning);
                kind
            }
            None => {
                self.issue(id, format!("undeclared reference to '{name}' (in container '')"));
                Type::Error
            }
        }
    }

    /// A name of several words, if the environment knows it and no variable of a comprehension hides it.
    fn qualified_name(&mut self, id: u64, segments: &[&str]) -> Option<Type> {
        if self.scopes.iter().any(|(own, _)| own == segments[0]) {
            return None;
        }
        let (meaning, kind) = self.environment.lookup(&segments.join("."))?;
        self.mean(id, meaning);
        Some(kind)
    }

    fn select(&mut self, id: u64, operand: &IdedExpr, field: &str, optional: bool) -> Type {
        let operand = self.visit(operand);
        let operand = self.bindings.substitute(&operand, false);
        let (target, wrapped) = match operand.as_optional() {
            Some(inner) => (inner.clone(), true),
            None => (operand, false),
        };
        let result = match &target {
            Type::Map(map) => map.1.clone(),
            Type::Object(object) => self.field(id, object, field),
            Type::Param(_) => {
                self.bindings.assignable(&[Type::Dyn], std::slice::from_ref(&target));
                Type::Dyn
            }
            other if other.is_dyn_or_error() => Type::Dyn,
            other => {
                self.issue(id, format!("type '{other}' does not support field selection"));
                Type::Dyn
            }
        };
        if wrapped || optional { Type::optional(result) } else { result }
    }

    fn field(&mut self, id: u64, object: &Object, field: &str) -> Type {
        match object.fields.get(field) {
            Some(field) => field.kind.clone(),
            None if object.open => Type::Dyn,
            None => {
                self.issue(id, format!("undefined field '{field}'"));
                Type::Error
            }
        }
    }

    fn call(&mut self, id: u64, call: &CallExpr) -> Type {
        if call.func_name == "_?._" {
            return self.optional_select(id, call);
        }
        let mut arguments: Vec<Type> = call.args.iter().map(|arg| self.visit(arg)).collect();
        let Some(target) = &call.target else {
            return match declare::function(&call.func_name).filter(|_| self.environment.has(&call.func_name))
            {
                Some(function) => self.resolve(id, function, arguments, false, false),
                None => self.undeclared(id, &call.func_name),
            };
        };
        if let Some(segments) = qualified(target) {
            let name = format!("{}.{}", segments.join("."), call.func_name);
            if let Some(function) = declare::function(&name).filter(|_| self.environment.has(&name)) {
                return self.resolve(id, function, arguments, false, true);
            }
        }
        let kind = self.visit(target);
        match declare::function(&call.func_name).filter(|_| self.environment.has(&call.func_name)) {
            Some(function) => {
                arguments.insert(0, kind);
                self.resolve(id, function, arguments, true, false)
            }
            None => self.undeclared(id, &call.func_name),
        }
    }

    fn undeclared(&mut self, id: u64, name: &str) -> Type {
        self.issue(id, format!("undeclared reference to '{name}' (in container '')"));
        Type::Error
    }

    fn optional_select(&mut self, id: u64, call: &CallExpr) -> Type {
        let [operand, field] = call.args.as_slice() else { return Type::Error };
        let Expr::Literal(LiteralValue::String(name)) = &field.expr else {
            self.issue(field.id, "unsupported optional field selection".into());
            return Type::Error;
        };
        self.facts.types.insert(field.id, Type::String);
        let kind = self.select(id, operand, name.inner(), true);
        self.mean(
            id,
            Meaning::Call { function: "_?._", overloads: vec!["select_optional_field"], global: false },
        );
        self.bindings.substitute(&kind, false)
    }

    fn resolve(
        &mut self,
        id: u64,
        function: &'static Function,
        arguments: Vec<Type>,
        member: bool,
        global: bool,
    ) -> Type {
        let mut result: Option<Type> = None;
        let mut overloads = Vec::new();
        for overload in function.overloads.iter().filter(|overload| overload.member == member) {
            let (wanted, given) = self.instance(overload);
            if !self.bindings.assignable(&arguments, &wanted) {
                continue;
            }
            overloads.push(overload.id);
            let given = self.bindings.substitute(&given, false);
            result = Some(match result {
                Some(known) if !known.is_dyn() && !given.same(&known) => Type::Dyn,
                Some(known) => known,
                None => given,
            });
        }
        if let Some(result) = result {
            self.mean(id, Meaning::Call { function: function.name, overloads, global });
            return result;
        }
        let given: Vec<String> =
            arguments.iter().map(|kind| self.bindings.substitute(kind, true).to_string()).collect();
        let signature = match (member, given.split_first()) {
            (true, Some((target, rest))) => format!("{target}.({})", rest.join(", ")),
            _ => format!("({})", given.join(", ")),
        };
        let name = function.name;
        self.issue(id, format!("found no matching overload for '{name}' applied to '{signature}'"));
        Type::Error
    }

    /// An overload's arguments and result with fresh parameters.
    fn instance(&mut self, overload: &Overload) -> (Vec<Type>, Type) {
        if overload.params == 0 {
            return (overload.arguments.clone(), overload.result.clone());
        }
        let first = self.bindings.fresh_many(overload.params);
        let wanted = overload.arguments.iter().map(|kind| shift(kind, first)).collect();
        (wanted, shift(&overload.result, first))
    }

    /// The type of an element that is marked with `?`, without the optional around it.
    fn unwrapped(&mut self, node: &IdedExpr, kind: Type, optional: bool) -> Type {
        if !optional {
            return kind;
        }
        if let Some(inner) = kind.as_optional() {
            return inner.clone();
        }
        if !kind.is_dyn() {
            self.issue(node.id, format!("expected type 'optional_type({kind})' but found '{kind}'"));
        }
        kind
    }

    fn join(&mut self, previous: Option<Type>, current: Type) -> Type {
        let Some(previous) = previous else { return current };
        if self.bindings.assignable(std::slice::from_ref(&previous), std::slice::from_ref(&current)) {
            return general(&previous, &current);
        }
        // Different types are an issue of their own kind, which texts to be formatted are exempt from.
        Type::Dyn
    }

    fn map(&mut self, map: &cel::common::ast::MapExpr) -> Type {
        let mut kinds: (Option<Type>, Option<Type>) = (None, None);
        for entry in &map.entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else { continue };
            let key = self.visit(&entry.key);
            kinds.0 = Some(self.join(kinds.0, key));
            let value = self.visit(&entry.value);
            let value = self.unwrapped(&entry.value, value, entry.optional);
            kinds.1 = Some(self.join(kinds.1, value));
        }
        match kinds {
            (Some(key), Some(value)) => Type::map(key, value),
            _ => Type::map(self.bindings.fresh(), self.bindings.fresh()),
        }
    }

    fn structure(&mut self, id: u64, object: &StructExpr) -> Type {
        let name = object.type_name.strip_prefix('.').unwrap_or(&object.type_name);
        let Some((Meaning::Type(kind), _)) = self.environment.lookup(name) else {
            return self.undeclared(id, &object.type_name);
        };
        let Type::Object(declared) = &kind else {
            self.issue(id, format!("'{kind}' is not a message type"));
            return Type::Error;
        };
        self.mean(id, Meaning::Type(kind.clone()));
        for entry in &object.entries {
            let EntryExpr::StructField(field) = &entry.expr else { continue };
            let value = self.visit(&field.value);
            let wanted = self.field(entry.id, declared, &field.field);
            let value = self.unwrapped(&field.value, value, field.optional);
            if !self.bindings.assignable(std::slice::from_ref(&wanted), std::slice::from_ref(&value)) {
                let value = self.bindings.substitute(&value, true);
                self.issue(
                    entry.id,
                    format!(
                        "expected type of field '{}' is '{wanted}' but provided type is '{value}'",
                        field.field
                    ),
                );
            }
        }
        kind
    }

    fn comprehension(&mut self, fold: &ComprehensionExpr) -> Type {
        let range = self.visit(&fold.iter_range);
        let accumulator = self.visit(&fold.accu_init);
        let range = self.bindings.substitute(&range, false);
        let two = fold.iter_var2.is_some();
        let (first, second) = match &range {
            Type::List(list) if two => (Type::Int, list.item.clone()),
            Type::List(list) => (list.item.clone(), Type::Dyn),
            Type::Map(map) => (map.0.clone(), map.1.clone()),
            Type::Param(_) => {
                self.bindings.assignable(&[Type::Dyn], std::slice::from_ref(&range));
                (Type::Dyn, Type::Dyn)
            }
            other if other.is_dyn_or_error() => (Type::Dyn, Type::Dyn),
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.issue(fold.iter_range.id, message);
                (Type::Error, Type::Error)
            }
        };
        let depth = self.scopes.len();
        self.scopes.push((fold.accu_var.clone(), accumulator.clone()));
        self.scopes.push((fold.iter_var.clone(), first));
        if let Some(name) = &fold.iter_var2 {
            self.scopes.push((name.clone(), second));
        }
        self.visit(&fold.loop_cond);
        self.expect(&fold.loop_cond, &Type::Bool);
        self.visit(&fold.loop_step);
        self.expect(&fold.loop_step, &accumulator);
        self.scopes.truncate(depth + 1);
        let result = self.visit(&fold.result);
        self.scopes.truncate(depth);
        self.bindings.substitute(&result, false)
    }

    fn expect(&mut self, node: &IdedExpr, wanted: &Type) {
        let found = self.kind(node);
        if !self.bindings.assignable(std::slice::from_ref(wanted), std::slice::from_ref(&found)) {
            let wanted = self.bindings.substitute(wanted, true);
            let found = self.bindings.substitute(&found, true);
            self.issue(node.id, format!("expected type '{wanted}' but found '{found}'"));
        }
    }
}

fn literal_kind(literal: &LiteralValue) -> Type {
    match literal {
        LiteralValue::Boolean(_) => Type::Bool,
        LiteralValue::Bytes(_) => Type::Bytes,
        LiteralValue::Double(_) => Type::Double,
        LiteralValue::Int(_) => Type::Int,
        LiteralValue::Null => Type::Null,
        LiteralValue::String(_) => Type::String,
        LiteralValue::UInt(_) => Type::Uint,
    }
}

/// The words of `a.b.c`, if a node is nothing else.
fn qualified(node: &IdedExpr) -> Option<Vec<&str>> {
    let mut words = Vec::new();
    let mut node = node;
    loop {
        match &node.expr {
            Expr::Ident(name) => {
                words.push(name.as_str());
                words.reverse();
                return Some(words);
            }
            Expr::Select(select) if !select.test => {
                words.push(select.field.as_str());
                node = &select.operand;
            }
            _ => return None,
        }
    }
}

/// A type of the table with its parameters numbered from `first`.
fn shift(kind: &Type, first: u32) -> Type {
    match kind {
        Type::Param(number) => Type::Param(first + number),
        Type::List(list) => Type::list(shift(&list.item, first)),
        Type::Map(map) => Type::map(shift(&map.0, first), shift(&map.1, first)),
        Type::Opaque(name, params) => {
            Type::Opaque(name, params.iter().map(|param| shift(param, first)).collect())
        }
        Type::Type(Some(of)) => Type::Type(Some(Arc::new(shift(of, first)))),
        other => other.clone(),
    }
}
