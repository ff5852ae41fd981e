//! What an expression can cost at most, told without running it.
//!
//! Invariant: the numbers are upstream's, its oddities included, since they decide which rules may be written into a
//! definition. Answers to cel-go's `checker/cost.go` and, in [`call`], to the apiserver's `library/cost.go`.

mod call;
mod range;
mod sizes;

pub use sizes::Sizes;

use std::collections::HashMap;

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, SelectExpr};

use super::check::{Facts, Meaning};
use super::kind::{OPTIONAL, Type};
use range::Range;

const LIST: u64 = 10;
const MAP: u64 = 30;
const STRUCT: u64 = 40;

type Path = Vec<String>;

/// The most that a checked tree can cost.
pub(super) fn most(tree: &IdedExpr, facts: &Facts, sizes: &Sizes) -> u64 {
    let mut coster = Coster {
        facts,
        sizes,
        paths: HashMap::new(),
        known: HashMap::new(),
        entries: HashMap::new(),
        locals: Vec::new(),
    };
    coster.cost(tree).most
}

/// Sizes of the keys and values of a container.
#[derive(Clone, Copy)]
struct Entries {
    of_list: bool,
    key: Range,
    value: Range,
}

impl Entries {
    fn or(self, other: Option<Entries>) -> Option<Entries> {
        let other = other?;
        Some(Entries { key: self.key.or(other.key), value: self.value.or(other.value), ..self })
    }
}

/// A variable of a comprehension.
struct Local {
    name: String,
    path: Path,
    size: Option<Range>,
    entries: Option<Entries>,
}

struct Coster<'a> {
    facts: &'a Facts,
    sizes: &'a Sizes,
    paths: HashMap<u64, Path>,
    known: HashMap<u64, Range>,
    entries: HashMap<u64, Entries>,
    locals: Vec<Local>,
}

/// A target or an argument.
struct Node<'a> {
    path: Path,
    kind: Type,
    expr: &'a IdedExpr,
    size: Option<Range>,
}

impl Coster<'_> {
    fn kind(&self, expr: &IdedExpr) -> Type {
        self.facts.types.get(&expr.id).cloned().unwrap_or(Type::Dyn)
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|local| local.name == name)
    }

    fn cost(&mut self, expr: &IdedExpr) -> Range {
        match &expr.expr {
            Expr::Unspecified | Expr::Literal(_) => Range::ZERO,
            Expr::Ident(name) => self.ident(expr, name),
            Expr::Select(select) => self.select(expr, select),
            Expr::Call(call) => self.call(expr, call),
            Expr::List(list) => {
                let mut item = if list.elements.is_empty() { Range::ZERO } else { Range::NONE };
                let mut sum = Range::ZERO;
                for element in &list.elements {
                    sum = sum.plus(self.cost(element));
                    item = item.or(self.size_or_unknown(element));
                }
                self.entries.insert(expr.id, Entries { of_list: true, key: Range::of(1), value: item });
                sum.plus(Range::of(LIST))
            }
            Expr::Map(map) => {
                use cel::common::ast::EntryExpr;
                let empty = if map.entries.is_empty() { Range::ZERO } else { Range::NONE };
                let (mut sum, mut key, mut value) = (Range::ZERO, empty, empty);
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else { continue };
                    sum = sum.plus(self.cost(&entry.key)).plus(self.cost(&entry.value));
                    key = key.or(self.size_or_unknown(&entry.key));
                    value = value.or(self.size_or_unknown(&entry.value));
                }
                self.entries.insert(expr.id, Entries { of_list: false, key, value });
                sum.plus(Range::of(MAP))
            }
            Expr::Struct(object) => {
                use cel::common::ast::EntryExpr;
                let mut sum = Range::ZERO;
                for entry in &object.entries {
                    if let EntryExpr::StructField(field) = &entry.expr {
                        sum = sum.plus(self.cost(&field.value));
                    }
                }
                sum.plus(Range::of(STRUCT))
            }
            Expr::Comprehension(fold) => {
                if is_bind(fold) {
                    self.bind(expr, fold)
                } else {
                    self.fold(expr, fold)
                }
            }
        }
    }

    fn ident(&mut self, expr: &IdedExpr, name: &str) -> Range {
        let path = self.local(name).map_or_else(|| vec![name.to_owned()], |local| local.path.clone());
        self.paths.insert(expr.id, path);
        Range::of(1)
    }

    fn select(&mut self, expr: &IdedExpr, select: &SelectExpr) -> Range {
        // A name of several words is one name.
        if let Some(Meaning::Variable(_) | Meaning::Type(_)) = self.facts.meanings.get(&expr.id) {
            self.paths.insert(expr.id, vec![format!(".{}", select.field)]);
            return Range::of(1);
        }
        let below = self.cost(&select.operand);
        if select.test {
            return below;
        }
        let looks = matches!(self.kind(&select.operand), Type::Map(_) | Type::Object(_) | Type::Param(_));
        let mut path = self.path(&select.operand);
        path.push(select.field.clone());
        self.paths.insert(expr.id, path);
        if looks { below.plus(Range::of(1)) } else { below }
    }

    fn call(&mut self, expr: &IdedExpr, call: &CallExpr) -> Range {
        if call.func_name == "dyn"
            && let Some(argument) = call.args.first()
        {
            let cost = self.cost(argument);
            self.copy_sizes(expr, argument);
            return cost.plus(Range::of(1));
        }
        let mut arguments = Vec::with_capacity(call.args.len());
        let mut costs = Vec::with_capacity(call.args.len());
        for argument in &call.args {
            costs.push(self.cost(argument));
            arguments.push(self.node(argument));
        }
        let Some(Meaning::Call { function, overloads, global }) = self.facts.meanings.get(&expr.id) else {
            return Range::ZERO;
        };
        let mut sum = Range::ZERO;
        let target = call.target.as_deref().filter(|_| !*global).map(|target| {
            sum = sum.plus(self.cost(target));
            self.node(target)
        });
        let mut all = Range::NONE;
        let mut size: Option<Range> = None;
        for overload in overloads {
            let (cost, result) =
                self.overload(expr, (function, overload), target.as_ref(), &arguments, &costs);
            all = all.or(cost);
            size = match (size, result) {
                (Some(size), Some(result)) => Some(size.or(result)),
                (size, result) => size.or(result),
            };
            let step = match *overload {
                "index_list" => "@items",
                "index_map" => "@values",
                _ => "",
            };
            if let (Some(container), false) = (call.args.first(), step.is_empty()) {
                size = self.entries_of(container).map(|entries| entries.value);
                let mut path = self.path(container);
                path.push(step.to_owned());
                self.paths.insert(expr.id, path);
            }
            size = size.or_else(|| self.size(expr));
        }
        if let Some(size) = size {
            self.known.insert(expr.id, size);
        }
        sum.plus(all)
    }

    fn fold(&mut self, expr: &IdedExpr, fold: &ComprehensionExpr) -> Range {
        let mut sum = self.cost(&fold.iter_range).plus(self.cost(&fold.accu_init));
        self.enter(&fold.accu_var, &fold.accu_init);
        let range = &fold.iter_range;
        match &fold.iter_var2 {
            Some(second) => {
                self.iterate(&fold.iter_var, range, true, false);
                self.iterate(second, range, false, false);
            }
            None => self.iterate(&fold.iter_var, range, true, true),
        }
        let (condition, step) = (self.cost(&fold.loop_cond), self.cost(&fold.loop_step));
        self.leave(1 + usize::from(fold.iter_var2.is_some()));
        sum = sum.plus(self.cost(&fold.result));
        self.leave(1);
        let count = self.size_or_unknown(range);
        sum = sum.plus(count.times(step.plus(condition)));
        match &fold.accu_init.expr {
            Expr::Literal(_) => {
                if let Some(size) = self.size(&fold.accu_init) {
                    self.known.insert(expr.id, size);
                }
            }
            Expr::List(_) | Expr::Map(_) => {
                self.known.insert(expr.id, count);
                if let Some(entries) = self.entries_of(&fold.loop_step) {
                    self.entries.insert(expr.id, entries);
                }
            }
            _ => {}
        }
        sum
    }

    fn bind(&mut self, expr: &IdedExpr, fold: &ComprehensionExpr) -> Range {
        let mut sum = self.cost(&fold.iter_range).plus(self.cost(&fold.accu_init));
        self.enter(&fold.accu_var, &fold.accu_init);
        sum = sum.plus(self.cost(&fold.result));
        // Sizes of the result may be those of the variable.
        self.copy_sizes(expr, &fold.result);
        self.leave(1);
        sum
    }

    fn enter(&mut self, name: &str, value: &IdedExpr) {
        let (path, size, entries) = (self.path(value), self.size(value), self.entries_of(value));
        self.locals.push(Local { name: name.to_owned(), path, size, entries });
    }

    /// A variable over keys or values; over a list alone, it is the values.
    fn iterate(&mut self, name: &str, range: &IdedExpr, keys: bool, alone: bool) {
        let entries = self.entries_of(range);
        let list =
            entries.map_or_else(|| matches!(self.kind(range), Type::List(_)), |entries| entries.of_list);
        let keys = keys && !(alone && list);
        let step = match (keys, list) {
            (true, true) => "@indices",
            (true, false) => "@keys",
            (false, true) => "@items",
            (false, false) => "@values",
        };
        let mut path = self.path(range);
        path.push(step.to_owned());
        let size = entries.map(|entries| if keys { entries.key } else { entries.value });
        self.locals.push(Local { name: name.to_owned(), path, size, entries: None });
    }

    fn leave(&mut self, count: usize) {
        self.locals.truncate(self.locals.len().saturating_sub(count));
    }

    fn path(&self, expr: &IdedExpr) -> Path {
        if let Expr::Ident(name) = &expr.expr
            && let Some(local) = self.local(name)
        {
            return local.path.clone();
        }
        self.paths.get(&expr.id).cloned().unwrap_or_default()
    }

    fn node<'e>(&mut self, expr: &'e IdedExpr) -> Node<'e> {
        let path = self.path(expr);
        Node { path, kind: self.kind(expr), expr, size: self.size(expr) }
    }

    fn copy_sizes(&mut self, to: &IdedExpr, from: &IdedExpr) {
        if let Some(size) = self.size(from) {
            self.known.insert(to.id, size);
        }
        if let Some(entries) = self.entries_of(from) {
            self.entries.insert(to.id, entries);
        }
    }

    fn entries_of(&self, expr: &IdedExpr) -> Option<Entries> {
        if let Some(entries) = self.entries.get(&expr.id) {
            return Some(*entries);
        }
        let Expr::Ident(name) = &expr.expr else { return None };
        self.local(name)?.entries
    }

    fn size_or_unknown(&mut self, expr: &IdedExpr) -> Range {
        self.size(expr).unwrap_or(Range::UNKNOWN)
    }

    fn size(&mut self, expr: &IdedExpr) -> Option<Range> {
        if let Some(size) = self.known.get(&expr.id) {
            return Some(*size);
        }
        if let Some(size) = written(expr) {
            return Some(Range::of(size));
        }
        let path = self.path(expr);
        if !path.is_empty()
            && let Some(size) = self.sizes.at(&path)
        {
            self.known.insert(expr.id, size);
            return Some(size);
        }
        if is_scalar(&self.kind(expr)) {
            return Some(Range::of(1));
        }
        let Expr::Ident(name) = &expr.expr else { return None };
        self.local(name)?.size
    }
}

/// The size of what stands in the source.
fn written(expr: &IdedExpr) -> Option<u64> {
    Some(match &expr.expr {
        Expr::Literal(LiteralValue::String(text)) => text.inner().chars().count() as u64,
        Expr::Literal(LiteralValue::Bytes(bytes)) => bytes.inner().len() as u64,
        Expr::Literal(_) => 1,
        Expr::List(list) => list.elements.len() as u64,
        Expr::Map(map) => map.entries.len() as u64,
        _ => return None,
    })
}

fn is_scalar(kind: &Type) -> bool {
    match kind {
        Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint => true,
        Type::Opaque(OPTIONAL, inner) => inner.first().is_some_and(is_scalar),
        _ => false,
    }
}

fn is_bind(fold: &ComprehensionExpr) -> bool {
    let no_range = matches!(&fold.iter_range.expr, Expr::List(list) if list.elements.is_empty());
    let never =
        matches!(&fold.loop_cond.expr, Expr::Literal(LiteralValue::Boolean(value)) if !*value.inner());
    no_range && never && fold.accu_var != super::macros::ACCUMULATOR
}
