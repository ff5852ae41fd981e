//! Literals that can be seen to be wrong before anything runs. Answers to cel-go's AST validators.

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue};

use super::check::Facts;
use super::error::Issues;
use super::functions::regex::Patterns;
use super::functions::{print, time};
use super::kind::Type;
use super::syntax::{Positions, children};
use crate::check::duration;

struct Validator<'a> {
    facts: &'a Facts,
    positions: &'a Positions,
    patterns: &'a mut Patterns,
    issues: Issues,
}

/// What is wrong with the literals of a checked tree.
pub(super) fn check(
    tree: &IdedExpr,
    facts: &Facts,
    positions: &Positions,
    patterns: &mut Patterns,
) -> Issues {
    let mut validator = Validator { facts, positions, patterns, issues: Issues::default() };
    // Whether the node is part of a text's formatting, where lists of several types are allowed.
    let mut waiting = vec![(tree, false)];
    while let Some((node, formatted)) = waiting.pop() {
        match &node.expr {
            Expr::Call(call) => validator.call(node.id, call),
            Expr::List(list) if !formatted => {
                let kinds = list.elements.iter().enumerate();
                validator.alike(
                    kinds.map(|(index, node)| (node, list.optional_indices.binary_search(&index).is_ok())),
                    true,
                );
            }
            Expr::Map(map) if !formatted => {
                let entries = || {
                    map.entries.iter().filter_map(|entry| match &entry.expr {
                        EntryExpr::MapEntry(entry) => Some(entry),
                        EntryExpr::StructField(_) => None,
                    })
                };
                validator.alike(entries().map(|entry| (&entry.key, false)), false);
                validator.alike(entries().map(|entry| (&entry.value, entry.optional)), false);
            }
            _ => {}
        }
        let formats = matches!(&node.expr, Expr::Call(call) if call.func_name == "format");
        children(node, &mut |child| waiting.push((child, formatted || formats)));
    }
    validator.issues
}

impl Validator<'_> {
    fn issue(&mut self, id: u64, message: String) {
        let positions = self.positions;
        self.issues.add(message, || positions.of(id));
    }

    /// Elements of one literal are of one type; `first` stops at the first that is not.
    fn alike<'a>(&mut self, elements: impl Iterator<Item = (&'a IdedExpr, bool)>, first: bool) {
        let mut wanted: Option<Type> = None;
        for (node, optional) in elements {
            let mut kind = self.facts.types.get(&node.id).cloned().unwrap_or(Type::Dyn);
            if optional && let Some(inner) = kind.as_optional() {
                kind = inner.clone();
            }
            match &wanted {
                None => wanted = Some(kind),
                Some(wanted) if wanted.same(&kind) => {}
                Some(wanted) => {
                    let message = format!("expected type '{wanted}' but found '{kind}'");
                    self.issue(node.id, message);
                    if first {
                        break;
                    }
                }
            }
        }
    }

    fn call(&mut self, id: u64, call: &CallExpr) {
        if call.func_name == "format" {
            return self.format(id, call);
        }
        let argument = match (call.func_name.as_str(), &call.target, call.args.as_slice()) {
            ("duration" | "timestamp", None, [argument]) => argument,
            ("matches", Some(_), [argument]) | ("matches", None, [_, argument]) => argument,
            _ => return,
        };
        let Expr::Literal(LiteralValue::String(text)) = &argument.expr else { return };
        let text = text.inner();
        let right = match call.func_name.as_str() {
            "duration" => duration::nanoseconds(text).is_ok(),
            "timestamp" => time::parse(text).is_ok(),
            _ => self.patterns.compiled(text).is_ok(),
        };
        if !right {
            self.issue(argument.id, format!("invalid {} argument", call.func_name));
        }
    }

    fn format(&mut self, id: u64, call: &CallExpr) {
        let Some(target) = &call.target else { return };
        let (Expr::Literal(LiteralValue::String(pattern)), [IdedExpr { expr: Expr::List(list), .. }]) =
            (&target.expr, call.args.as_slice())
        else {
            return;
        };
        let clauses = match print::clauses(pattern.inner()) {
            Ok(clauses) => clauses,
            Err(error) => return self.issue(id, error.to_string()),
        };
        for (index, clause) in clauses.iter().enumerate() {
            let Some(element) = list.elements.get(index) else {
                return self.issue(id, format!("index {index} out of range"));
            };
            let kind = self.facts.types.get(&element.id).cloned().unwrap_or(Type::Dyn);
            if let Err(error) = print::accepts(*clause, &kind) {
                return self.issue(element.id, error.to_string());
            }
        }
        if clauses.len() < list.elements.len() {
            let (wanted, given) = (clauses.len(), list.elements.len());
            let message =
                format!("too many arguments supplied to string.format (expected {wanted}, got {given})");
            self.issue(id, message);
        }
    }
}
