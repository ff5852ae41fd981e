//! Runs steps and counts what they cost while they run.
//!
//! Invariant: an evaluation ends when its cost passes [`PER_CALL`], whatever the expression does about errors.
//! Recursion is as deep as the plan, which is bounded. Answers to cel-go's `interpreter/interpretable.go`,
//! `attributes.go` and `runtimecost.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::environment::Composition;
use super::error::Error;
use super::plan::{Call, Fold, Index, Select, Step, insert};
use super::program::{Activation, Budget, PER_CALL};
use super::value::{Key, Map, Struct, Value};
use super::{compare, cost};

type Outcome<'a> = Result<Value<'a>, Error>;

pub(super) struct Machine<'m, 'a> {
    composed: &'a Composition,
    activation: &'m mut Activation<'a>,
    budget: &'m mut Budget,
    locals: Vec<Outcome<'a>>,
    spent: u64,
}

impl<'m, 'a> Machine<'m, 'a> {
    pub fn new(
        composed: &'a Composition,
        activation: &'m mut Activation<'a>,
        budget: &'m mut Budget,
    ) -> Machine<'m, 'a> {
        Machine { composed, activation, budget, locals: Vec::new(), spent: 0 }
    }

    /// What has been spent.
    pub fn cost(&self) -> u64 {
        self.spent
    }

    fn charge(&mut self, cost: u64) -> Result<(), Error> {
        self.spent = self.spent.saturating_add(cost);
        if self.spent > PER_CALL { Err(Error::Limit) } else { Ok(()) }
    }

    pub fn run(&mut self, step: &'a Step) -> Outcome<'a> {
        match step {
            Step::Constant(value) => Ok(value.clone()),
            Step::Variable(place, charged) => {
                self.charge(u64::from(*charged))?;
                let value = self.activation.variables.get(*place);
                value.cloned().ok_or_else(|| Error::new("no such attribute"))
            }
            Step::Local(place, charged) => {
                self.charge(u64::from(*charged))?;
                self.locals.get(*place).cloned().unwrap_or_else(|| Err(Error::new("no such attribute")))
            }
            Step::Composed(index, charged) => self.composed(*index, *charged),
            Step::Select(select) => self.select(select),
            Step::Index(index) => self.index(index),
            Step::Condition(parts) => match self.run(&parts[0])? {
                Value::Bool(true) => self.run(&parts[1]),
                Value::Bool(false) => self.run(&parts[2]),
                _ => Err(Error::overload()),
            },
            Step::And(terms) => self.logic(terms, false),
            Step::Or(terms) => self.logic(terms, true),
            Step::Member(operand, items) => self.member(operand, items),
            Step::List(elements) => self.list(elements),
            Step::Map(entries) => self.map(entries),
            Step::Struct(name, fields) => self.structure(name, fields),
            Step::Lasting(operand) => {
                let value = self.soft(operand)?;
                self.charge(1)?;
                Ok(Value::Bool(!matches!(value, Ok(Value::Bool(false)))))
            }
            Step::Otherwise(parts, unwrap) => self.otherwise(parts, *unwrap),
            Step::Call(call) => self.call(call),
            Step::Gather(place, charged, call) => self.gather(*place, *charged, call),
            Step::Fold(fold) => self.fold(fold),
        }
    }

    /// Runs a step whose error is looked at; errors that end everything stay errors.
    fn soft(&mut self, step: &'a Step) -> Result<Outcome<'a>, Error> {
        match self.run(step) {
            Err(error) if error.is_final() => Err(error),
            outcome => Ok(outcome),
        }
    }

    fn composed(&mut self, index: usize, charged: bool) -> Outcome<'a> {
        self.charge(1 + u64::from(charged))?;
        if let Some(Some(known)) = self.activation.composed.get(index) {
            return known.clone();
        }
        let composed = self.composed;
        let Some((name, program)) = composed.get(index) else { return Err(Error::new("no such attribute")) };
        let outcome = match program {
            Ok(program) => match program.evaluate(self.activation, self.budget) {
                Err(Error::Budget) => return Err(Error::Budget),
                Err(error) => {
                    Err(Error::new(format!("composited variable {name:?} fails to evaluate: {error}")))
                }
                value => value,
            },
            Err(error) => Err(Error::new(format!("composited variable {name:?} fails to compile: {error}"))),
        };
        if self.activation.composed.len() <= index {
            self.activation.composed.resize_with(index + 1, || None);
        }
        self.activation.composed[index] = Some(outcome.clone());
        outcome
    }

    fn logic(&mut self, terms: &'a [Step; 2], decides: bool) -> Outcome<'a> {
        let mut failure = None;
        for term in terms {
            match self.soft(term)? {
                Ok(Value::Bool(value)) if value == decides => return Ok(Value::Bool(value)),
                Ok(Value::Bool(_)) => {}
                Ok(_) => failure = failure.or(Some(Error::overload())),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(Value::Bool(!decides)), Err)
    }

    fn member(&mut self, operand: &'a Step, items: &'a [Value<'static>]) -> Outcome<'a> {
        let value = self.run(operand)?;
        for item in items {
            if compare::equal(item, &value, self.budget)? {
                return Ok(Value::Bool(true));
            }
        }
        Ok(Value::Bool(false))
    }

    fn list(&mut self, elements: &'a [(Step, bool)]) -> Outcome<'a> {
        let mut items = Vec::with_capacity(elements.len());
        for (step, optional) in elements {
            match (self.run(step)?, optional) {
                (Value::Optional(value), true) => items.extend(value.as_deref().cloned()),
                (value, true) => {
                    return Err(Error::new(format!(
                        "cannot initialize optional list element from non-optional value {value:?}"
                    )));
                }
                (value, false) => items.push(value),
            }
        }
        self.charge(10)?;
        Ok(Value::list(items))
    }

    fn map(&mut self, entries: &'a [(Step, Step, bool)]) -> Outcome<'a> {
        let mut map = Map::new();
        for (key, step, optional) in entries {
            let key = self.run(key)?;
            let value = match (self.run(step)?, optional) {
                (Value::Optional(None), true) => continue,
                (Value::Optional(Some(value)), true) => (*value).clone(),
                (value, true) => {
                    return Err(Error::new(format!(
                        "cannot initialize optional entry '{key:?}' from non-optional value {value:?}"
                    )));
                }
                (value, false) => value,
            };
            insert(&mut map, &key, value)?;
        }
        self.charge(30)?;
        Ok(Value::Map(Arc::new(map)))
    }

    fn structure(&mut self, name: &Arc<str>, entries: &'a [(Arc<str>, Step, bool)]) -> Outcome<'a> {
        let mut fields = BTreeMap::new();
        for (field, step, optional) in entries {
            match (self.run(step)?, optional) {
                (Value::Optional(None), true) => {}
                (Value::Optional(Some(value)), true) => {
                    fields.insert(field.clone(), (*value).clone());
                }
                (value, _) => {
                    fields.insert(field.clone(), value);
                }
            }
        }
        self.charge(40)?;
        Ok(Value::Struct(Arc::new(Struct { name: name.clone(), fields })))
    }

    fn otherwise(&mut self, parts: &'a [Step; 2], unwrap: bool) -> Outcome<'a> {
        match self.run(&parts[0])? {
            Value::Optional(Some(value)) if unwrap => Ok((*value).clone()),
            Value::Optional(None) => self.run(&parts[1]),
            some @ Value::Optional(_) => Ok(some),
            _ => Err(Error::overload()),
        }
    }

    fn call(&mut self, call: &'a Call) -> Outcome<'a> {
        let mut arguments = Vec::with_capacity(call.arguments.len());
        let mut failure = None;
        for step in &call.arguments {
            match self.soft(step)? {
                Ok(value) => arguments.push(value),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        if let Some(error) = failure {
            self.charge(1)?;
            return Err(error);
        }
        // What a call can make larger than its arguments is refused before it is made.
        self.charge(cost::ahead(call.price, &arguments))?;
        let outcome = (call.native)(&arguments, self.budget);
        self.charge(cost::actual(call.price, &arguments, outcome.as_ref().ok()))?;
        outcome
    }

    fn gather(&mut self, place: usize, charged: bool, call: &'a Call) -> Outcome<'a> {
        self.charge(u64::from(charged))?;
        let mut arguments = Vec::with_capacity(call.arguments.len());
        for step in &call.arguments {
            arguments.push(self.run(step)?);
        }
        let accumulator = match self.locals.get_mut(place) {
            Some(slot) => std::mem::replace(slot, Ok(Value::Null))?,
            None => return Err(Error::new("no such attribute")),
        };
        match (accumulator, arguments.as_mut_slice()) {
            (Value::List(mut items), [Value::List(more)]) => {
                self.charge(1)?;
                self.budget.work(more.len())?;
                Arc::make_mut(&mut items).extend(more.iter().cloned());
                Ok(Value::List(items))
            }
            (Value::Map(mut map), [key, value]) if call.price.inserts() => {
                self.charge(1)?;
                insert_entry(Arc::make_mut(&mut map), key, value.clone())?;
                Ok(Value::Map(map))
            }
            (accumulator, _) => {
                arguments.insert(0, accumulator);
                let outcome = (call.native)(&arguments, self.budget);
                self.charge(cost::actual(call.price, &arguments, outcome.as_ref().ok()))?;
                outcome
            }
        }
    }

    fn fold(&mut self, fold: &'a Fold) -> Outcome<'a> {
        let range = self.run(&fold.range)?;
        let init = self.soft(&fold.init)?;
        let base = self.locals.len();
        self.locals.push(init);
        let outcome = self.iterate(fold, &range, base);
        self.locals.truncate(base + 1);
        let outcome = outcome.and_then(|()| self.run(&fold.result));
        self.locals.truncate(base);
        outcome
    }

    fn iterate(&mut self, fold: &'a Fold, range: &Value<'a>, base: usize) -> Result<(), Error> {
        if let Some(items) = range.items() {
            for index in 0..items.len() {
                let Some(item) = items.get(index) else { break };
                let going = if fold.pairs {
                    self.turn(fold, base, [Ok(Value::Int(index as i64)), item])?
                } else {
                    self.turn(fold, base, [item])?
                };
                if !going {
                    break;
                }
            }
            return Ok(());
        }
        let Some(keys) = range.keys() else {
            let word = match range.type_name() {
                "int" => "types.Int",
                "string" => "types.String",
                "bool" => "types.Bool",
                "double" => "types.Double",
                "uint" => "types.Uint",
                "null_type" => "types.Null",
                other => other,
            };
            return Err(Error::new(format!("got '{word}', expected iterable type")));
        };
        for key in keys {
            let going = if fold.pairs {
                let value = Key::of(&key).and_then(|key| range.entry(&key));
                self.turn(fold, base, [Ok(key), value.unwrap_or(Ok(Value::Null))])?
            } else {
                self.turn(fold, base, [Ok(key)])?
            };
            if !going {
                break;
            }
        }
        Ok(())
    }

    /// One round of a comprehension; whether there is to be another one.
    fn turn<const N: usize>(
        &mut self,
        fold: &'a Fold,
        base: usize,
        variables: [Outcome<'a>; N],
    ) -> Result<bool, Error> {
        self.budget.work(1)?;
        self.locals.truncate(base + 1);
        self.locals.extend(variables);
        if matches!(self.soft(&fold.condition)?, Ok(Value::Bool(false))) {
            return Ok(false);
        }
        let next = self.soft(&fold.step)?;
        self.locals[base] = next;
        Ok(true)
    }

    fn select(&mut self, select: &'a Select) -> Outcome<'a> {
        let operand = self.run(&select.operand)?;
        self.charge(u64::from(select.root))?;
        let (operand, wrapped) = match operand {
            Value::Optional(Some(value)) => ((*value).clone(), true),
            none @ Value::Optional(None) => {
                return Ok(if select.test { Value::Bool(false) } else { none });
            }
            other => (other, false),
        };
        if select.test {
            self.charge(1)?;
            return present(&operand, &select.field).map(Value::Bool);
        }
        self.qualify(operand, &select.field, select.optional || wrapped)
    }

    fn qualify(&mut self, operand: Value<'a>, key: &Key<'_>, optional: bool) -> Outcome<'a> {
        match operand.entry(key) {
            Some(value) => {
                self.charge(1)?;
                if optional { Ok(Value::some(value?)) } else { value }
            }
            None if optional && (operand.is_map() || matches!(operand, Value::Optional(_))) => {
                Ok(Value::Optional(None))
            }
            None => {
                self.charge(1)?;
                Err(missing(&operand, key))
            }
        }
    }

    fn index(&mut self, step: &'a Index) -> Outcome<'a> {
        let operand = self.run(&step.operand)?;
        self.charge(u64::from(step.root))?;
        let (operand, wrapped) = match operand {
            Value::Optional(Some(value)) => ((*value).clone(), true),
            none @ Value::Optional(None) => return Ok(none),
            other => (other, false),
        };
        let optional = step.optional || wrapped;
        let index = self.run(&step.index)?;
        let Some(items) = operand.items() else {
            let Some(key) = Key::of(&index) else {
                self.charge(1)?;
                return Err(Error::new(format!("no such key: {index:?}")));
            };
            return self.qualify(operand, &key, optional);
        };
        let place = match &index {
            Value::Int(value) => *value,
            Value::Uint(value) => i64::try_from(*value).unwrap_or(i64::MAX),
            Value::Double(value) if value.fract() == 0.0 => *value as i64,
            other => {
                self.charge(1)?;
                let word = other.type_name();
                return Err(Error::new(format!("unsupported index type '{word}' in list")));
            }
        };
        match usize::try_from(place).ok().and_then(|place| items.get(place)) {
            Some(value) => {
                self.charge(1)?;
                if optional { Ok(Value::some(value?)) } else { value }
            }
            None if optional => Ok(Value::Optional(None)),
            None => {
                self.charge(1)?;
                Err(Error::new(format!("index out of bounds: {place}")))
            }
        }
    }
}

fn missing(operand: &Value<'_>, key: &Key<'_>) -> Error {
    match (operand.items(), key) {
        (Some(_), Key::String(_)) => Error::new("unsupported index type 'string' in list"),
        _ => Error::new(format!("no such key: {key}")),
    }
}

/// Whether `has` finds a field.
fn present(operand: &Value<'_>, field: &Key<'_>) -> Result<bool, Error> {
    match operand {
        operand if operand.is_map() => Ok(operand.entry(field).is_some()),
        operand if operand.items().is_some() => Err(missing(operand, field)),
        _ => Ok(false),
    }
}

/// Adds an entry for `cel.@mapInsert`.
pub(super) fn insert_entry<'a>(map: &mut Map<'a>, key: &Value<'a>, value: Value<'a>) -> Result<(), Error> {
    let own = Key::of(key).ok_or_else(|| Error::new(format!("unsupported key type: {}", key.type_name())))?;
    if super::value::lookup(map, &own).is_some() {
        return Err(Error::new(format!("insert failed: key {own} already exists")));
    }
    map.insert(own, value);
    Ok(())
}
