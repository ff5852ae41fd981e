//! From a checked tree to the steps that run: names become places, constants are computed, prices are looked up.
//!
//! Invariant: steps cost what upstream's interpreter counts for the same expression; in particular a chain of
//! selections counts its root once, and nothing at all where the chain is a branch of a condition, an index, or
//! tested by `has`. Answers to cel-go's `interpreter/planner.go` with its optimisations.

use std::sync::Arc;

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr};

use super::Budget;
use super::check::{Facts, Meaning};
use super::cost::{self, Price};
use super::environment::Environment;
use super::error::Error;
use super::functions::regex::Patterns;
use super::functions::{self, Native};
use super::value::{Key, Map, Text, Value};

/// One step.
#[derive(Clone)]
pub(super) enum Step {
    Constant(Value<'static>),
    /// A variable; whether it is charged for.
    Variable(usize, bool),
    /// A field of the composed variable.
    Composed(usize, bool),
    /// A variable of a comprehension; whether it is charged for.
    Local(usize, bool),
    Select(Box<Select>),
    Index(Box<Index>),
    Condition(Box<[Step; 3]>),
    And(Box<[Step; 2]>),
    Or(Box<[Step; 2]>),
    /// Whether it is in a list of constants.
    Member(Box<Step>, Arc<Vec<Value<'static>>>),
    List(Vec<(Step, bool)>),
    Map(Vec<(Step, Step, bool)>),
    Struct(Arc<str>, Vec<(Arc<str>, Step, bool)>),
    Lasting(Box<Step>),
    /// `or` and `orValue` of optionals, which run their argument only if they need it; whether it unwraps.
    Otherwise(Box<[Step; 2]>, bool),
    Call(Box<Call>),
    /// A call whose first argument is the accumulator in this place, which is moved instead of copied.
    Gather(usize, bool, Box<Call>),
    Fold(Box<Fold>),
}

#[derive(Clone)]
pub(super) struct Select {
    pub operand: Step,
    pub field: Key<'static>,
    pub optional: bool,
    pub test: bool,
    /// The operand is no chain itself and is charged for as the root of one.
    pub root: bool,
}

#[derive(Clone)]
pub(super) struct Index {
    pub operand: Step,
    pub index: Step,
    pub optional: bool,
    pub root: bool,
}

#[derive(Clone)]
pub(super) struct Call {
    pub native: Native,
    pub price: Price,
    pub arguments: Vec<Step>,
}

#[derive(Clone)]
pub(super) struct Fold {
    pub range: Step,
    pub init: Step,
    pub condition: Step,
    pub step: Step,
    pub result: Step,
    /// Two variables are set instead of one.
    pub pairs: bool,
}

/// Plans a tree.
pub(super) fn plan(
    environment: &Environment,
    facts: &Facts,
    tree: &IdedExpr,
    patterns: &mut Patterns,
) -> Result<Step, Error> {
    Planner { environment, facts, patterns, locals: Vec::new() }.step(tree)
}

struct Planner<'a> {
    environment: &'a Environment,
    facts: &'a Facts,
    patterns: &'a mut Patterns,
    locals: Vec<String>,
}

impl Planner<'_> {
    fn step(&mut self, node: &IdedExpr) -> Result<Step, Error> {
        match self.facts.meanings.get(&node.id) {
            Some(Meaning::Variable(place)) => return Ok(Step::Variable(*place, true)),
            Some(Meaning::Type(kind)) if !matches!(node.expr, Expr::Struct(_)) => {
                return Ok(Step::Constant(Value::Type(Arc::from(kind.name()))));
            }
            _ => {}
        }
        match &node.expr {
            Expr::Unspecified => Err(Error::new("unspecified expression")),
            Expr::Literal(literal) => Ok(Step::Constant(constant(literal))),
            Expr::Ident(name) => match self.locals.iter().rposition(|own| own == name) {
                Some(place) => Ok(Step::Local(place, true)),
                None => Err(Error::new(format!("no such attribute: {name}"))),
            },
            Expr::Select(select) => self.select(select),
            Expr::Call(call) => self.call(node.id, call),
            Expr::List(list) => {
                let mut elements = Vec::with_capacity(list.elements.len());
                for (index, element) in list.elements.iter().enumerate() {
                    elements.push((self.step(element)?, list.optional_indices.binary_search(&index).is_ok()));
                }
                Ok(fold_list(elements))
            }
            Expr::Map(map) => {
                let mut entries = Vec::with_capacity(map.entries.len());
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else { continue };
                    entries.push((self.step(&entry.key)?, self.step(&entry.value)?, entry.optional));
                }
                fold_map(entries)
            }
            Expr::Struct(object) => {
                let name = match self.facts.meanings.get(&node.id) {
                    Some(Meaning::Type(kind)) => kind.name().to_owned(),
                    _ => object.type_name.clone(),
                };
                let mut fields = Vec::new();
                for entry in &object.entries {
                    let EntryExpr::StructField(field) = &entry.expr else { continue };
                    fields.push((Arc::from(field.field.as_str()), self.step(&field.value)?, field.optional));
                }
                Ok(Step::Struct(Arc::from(name), fields))
            }
            Expr::Comprehension(fold) => self.fold(fold),
        }
    }

    fn select(&mut self, select: &SelectExpr) -> Result<Step, Error> {
        let operand = &select.operand;
        if let Some(Meaning::Variable(place)) = self.facts.meanings.get(&operand.id)
            && self.environment.is_composed(*place)
        {
            let fields = self.environment.composition();
            return match fields.iter().rposition(|(name, _)| *name == select.field) {
                Some(_) if select.test => Ok(Step::Constant(Value::Bool(true))),
                Some(index) => Ok(Step::Composed(index, true)),
                None => Err(Error::new(format!("no such key: {}", select.field))),
            };
        }
        let mut operand = self.step(operand)?;
        let mut root = !operand.is_chain();
        if select.test {
            operand.uncharge();
            root = false;
        }
        let field = Key::String(Text::Shared(Arc::from(select.field.as_str())));
        Ok(Step::Select(Box::new(Select { operand, field, optional: false, test: select.test, root })))
    }

    fn call(&mut self, id: u64, call: &CallExpr) -> Result<Step, Error> {
        let Some(Meaning::Call { function, overloads, global }) = self.facts.meanings.get(&id) else {
            return Err(Error::new(format!("no such overload: {}", call.func_name)));
        };
        let overload = match overloads.as_slice() {
            [one] => *one,
            _ => "",
        };
        let mut arguments = Vec::with_capacity(call.args.len() + 1);
        if let Some(target) = &call.target
            && !global
        {
            arguments.push(self.step(target)?);
        }
        for arg in &call.args {
            arguments.push(self.step(arg)?);
        }
        match (*function, arguments.len()) {
            ("_?_:_", 3) => {
                arguments[1].uncharge();
                arguments[2].uncharge();
                return into(arguments).map(|parts| Step::Condition(Box::new(parts)));
            }
            ("_&&_", 2) => return into(arguments).map(|parts| Step::And(Box::new(parts))),
            ("_||_", 2) => return into(arguments).map(|parts| Step::Or(Box::new(parts))),
            ("or" | "orValue", 2) => {
                return into(arguments).map(|parts| Step::Otherwise(Box::new(parts), *function == "orValue"));
            }
            ("@not_strictly_false", 1) => {
                return into(arguments).map(|[one]| Step::Lasting(Box::new(one)));
            }
            ("_[_]" | "_[?_]" | "_?._", 2) => return index(arguments, *function != "_[_]"),
            ("@in", 2) if overload == "in_list" => {
                if let Step::Constant(Value::List(items)) = &arguments[1]
                    && items.iter().all(is_primitive)
                {
                    let items = items.clone();
                    if items.is_empty() {
                        return Ok(Step::Constant(Value::Bool(false)));
                    }
                    return Ok(Step::Member(Box::new(arguments.swap_remove(0)), items));
                }
            }
            _ => {}
        }
        let native =
            functions::native(function).ok_or_else(|| Error::new(format!("no such overload: {function}")))?;
        if CONVERSIONS.contains(function)
            && let [Step::Constant(value)] = arguments.as_slice()
        {
            let mut budget = Budget::default();
            return native(std::slice::from_ref(value), &mut budget).map(Step::Constant);
        }
        self.patterns.prepare(function, &mut arguments)?;
        Ok(Step::Call(Box::new(Call { native, price: cost::price(function, overload), arguments })))
    }

    fn fold(&mut self, fold: &ComprehensionExpr) -> Result<Step, Error> {
        let init = self.step(&fold.accu_init)?;
        let range = self.step(&fold.iter_range)?;
        let base = self.locals.len();
        self.locals.push(fold.accu_var.clone());
        self.locals.push(fold.iter_var.clone());
        if let Some(second) = &fold.iter_var2 {
            self.locals.push(second.clone());
        }
        let condition = self.step(&fold.loop_cond)?;
        let step = gather(self.step(&fold.loop_step)?, base);
        self.locals.truncate(base + 1);
        let result = self.step(&fold.result)?;
        self.locals.truncate(base);
        let pairs = fold.iter_var2.is_some();
        Ok(Step::Fold(Box::new(Fold { range, init, condition, step, result, pairs })))
    }
}

/// Functions that upstream computes at once when their argument is constant.
const CONVERSIONS: &[&str] =
    &["bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "type", "uint"];

impl Step {
    /// Whether it is a name or a selection from one: what a further selection prolongs.
    fn is_chain(&self) -> bool {
        matches!(
            self,
            Step::Variable(..)
                | Step::Local(..)
                | Step::Composed(..)
                | Step::Select(_)
                | Step::Index(_)
                | Step::Condition(_)
        )
    }

    /// Takes the charge off the root of a chain.
    fn uncharge(&mut self) {
        match self {
            Step::Variable(_, charged) | Step::Local(_, charged) | Step::Composed(_, charged) => {
                *charged = false
            }
            Step::Select(select) => {
                select.root = false;
                if select.operand.is_chain() {
                    select.operand.uncharge();
                }
            }
            Step::Index(index) => {
                index.root = false;
                if index.operand.is_chain() {
                    index.operand.uncharge();
                }
            }
            _ => {}
        }
    }
}

fn into<const N: usize>(arguments: Vec<Step>) -> Result<[Step; N], Error> {
    <[Step; N]>::try_from(arguments).map_err(|_| Error::overload())
}

fn index(arguments: Vec<Step>, optional: bool) -> Result<Step, Error> {
    let [operand, mut index] = into(arguments)?;
    let root = !operand.is_chain();
    if let Step::Constant(Value::String(field)) = &index {
        let field = Key::String(field.clone());
        return Ok(Step::Select(Box::new(Select { operand, field, optional, test: false, root })));
    }
    if index.is_chain() {
        index.uncharge();
    }
    Ok(Step::Index(Box::new(Index { operand, index, optional, root })))
}

/// Marks the accumulator of a step to be moved where nothing else can see it any more.
fn gather(step: Step, accumulator: usize) -> Step {
    match step {
        Step::Call(mut call)
            if call.price.gathers()
                && call.arguments.len() > 1
                && matches!(call.arguments[0], Step::Local(place, _) if place == accumulator) =>
        {
            let charged = matches!(call.arguments.remove(0), Step::Local(_, true));
            Step::Gather(accumulator, charged, call)
        }
        Step::Condition(parts) => {
            let [condition, then, otherwise] = *parts;
            Step::Condition(Box::new([condition, gather(then, accumulator), gather(otherwise, accumulator)]))
        }
        other => other,
    }
}

fn constant(literal: &LiteralValue) -> Value<'static> {
    match literal {
        LiteralValue::Boolean(value) => Value::Bool(*value.inner()),
        LiteralValue::Bytes(bytes) => Value::Bytes(Arc::from(bytes.inner())),
        LiteralValue::Double(value) => Value::Double(*value.inner()),
        LiteralValue::Int(value) => Value::Int(*value.inner()),
        LiteralValue::Null => Value::Null,
        LiteralValue::String(text) => Value::text(text.inner()),
        LiteralValue::UInt(value) => Value::Uint(*value.inner()),
    }
}

fn is_primitive(value: &Value<'_>) -> bool {
    matches!(value, Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::String(_))
}

fn fold_list(elements: Vec<(Step, bool)>) -> Step {
    let constant = elements.iter().all(|(step, optional)| matches!(step, Step::Constant(_)) && !optional);
    if !constant {
        return Step::List(elements);
    }
    let items = elements.into_iter().filter_map(|(step, _)| match step {
        Step::Constant(value) => Some(value),
        _ => None,
    });
    Step::Constant(Value::list(items.collect()))
}

fn fold_map(entries: Vec<(Step, Step, bool)>) -> Result<Step, Error> {
    let constant = entries.iter().all(|(key, value, optional)| {
        matches!((key, value), (Step::Constant(_), Step::Constant(_))) && !optional
    });
    if !constant {
        return Ok(Step::Map(entries));
    }
    let mut map = Map::new();
    for (key, value, _) in entries {
        if let (Step::Constant(key), Step::Constant(value)) = (key, value) {
            insert(&mut map, &key, value)?;
        }
    }
    Ok(Step::Constant(Value::Map(Arc::new(map))))
}

/// Adds an entry to a map that is being built; a later one of the same key wins.
pub(super) fn insert<'a>(map: &mut Map<'a>, key: &Value<'a>, value: Value<'a>) -> Result<(), Error> {
    let Some(own) = Key::of(key) else {
        return Err(Error::new(format!("unsupported key type: {}", key.type_name())));
    };
    map.insert(own, value);
    Ok(())
}
