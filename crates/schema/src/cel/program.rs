//! A compiled expression, the values that its names have, and the budget that it runs on.

use std::collections::HashSet;

use super::environment::Composition;
use super::error::Error;
use super::evaluate::Machine;
use super::kind::Type;
use super::plan::Step;
use super::value::Value;

/// The most one evaluation may cost.
pub const PER_CALL: u64 = 1_000_000;
/// The most all evaluations for one binding of a policy, or for one custom resource, may cost.
pub const PER_OBJECT: u64 = 10_000_000;
/// The most all match conditions of one webhook or one binding may cost.
pub const PER_MATCH_CONDITIONS: u64 = 2_500_000;
/// The most values that may be touched on one budget by what costs nothing or little upstream, such as comparing
/// values that share their parts: about half a second of work.
const WORK: usize = 20_000_000;

/// What evaluations may still cost.
#[derive(Clone, Debug)]
pub struct Budget {
    remaining: u64,
    work: usize,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget::new(PER_OBJECT)
    }
}

impl Budget {
    /// A budget for several evaluations; each may cost [`PER_CALL`] of it.
    pub fn new(total: u64) -> Budget {
        Budget { remaining: total, work: WORK }
    }

    /// What is left.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Counts values that are touched.
    pub(super) fn work(&mut self, count: usize) -> Result<(), Error> {
        match self.work.checked_sub(count) {
            Some(left) => {
                self.work = left;
                Ok(())
            }
            None => {
                self.work = 0;
                Err(Error::Limit)
            }
        }
    }

    pub(super) fn take(&mut self, cost: u64) -> Result<(), Error> {
        match self.remaining.checked_sub(cost) {
            Some(left) => {
                self.remaining = left;
                Ok(())
            }
            None => {
                self.remaining = 0;
                Err(Error::Budget)
            }
        }
    }
}

/// The values of an environment's variables, and those that composed fields turned out to have.
///
/// One is made per request (or per validated object) and shared by all expressions about it.
#[derive(Clone, Default)]
pub struct Activation<'a> {
    pub(super) variables: Vec<Value<'a>>,
    pub(super) composed: Vec<Option<Result<Value<'a>, Error>>>,
}

impl<'a> Activation<'a> {
    /// Values in the order in which the environment declared its variables.
    pub fn new(variables: Vec<Value<'a>>) -> Activation<'a> {
        Activation { variables, composed: Vec::new() }
    }

    /// Replaces the value of a variable; composed fields are run anew.
    pub fn set(&mut self, place: usize, value: Value<'a>) {
        if let Some(own) = self.variables.get_mut(place) {
            *own = value;
        }
        self.composed.clear();
    }

    /// The value of a variable.
    pub fn get(&self, place: usize) -> Option<&Value<'a>> {
        self.variables.get(place)
    }
}

/// A compiled expression. Immutable; shared between threads.
#[derive(Clone)]
pub struct Program {
    kind: Type,
    step: Step,
    composed: Composition,
    used: HashSet<usize>,
    variables: usize,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Program").field("kind", &self.kind.to_string()).finish_non_exhaustive()
    }
}

impl Program {
    pub(super) fn new(
        kind: Type,
        step: Step,
        composed: Composition,
        used: HashSet<usize>,
        variables: usize,
    ) -> Program {
        Program { kind, step, composed, used, variables }
    }

    /// The type of its result.
    pub fn kind(&self) -> &Type {
        &self.kind
    }

    /// Whether it names the variable in a place; composed fields are looked into.
    pub fn uses(&self, place: usize) -> bool {
        self.used.contains(&place)
            || self.used.contains(&self.variables)
                && self
                    .composed
                    .iter()
                    .any(|(_, program)| program.as_ref().is_ok_and(|program| program.uses(place)))
    }

    /// Runs it. The cost is taken from the budget whether or not there is a value.
    ///
    /// # Errors
    /// What the expression does wrong, or that it costs too much.
    pub fn evaluate<'a>(
        &'a self,
        activation: &mut Activation<'a>,
        budget: &mut Budget,
    ) -> Result<Value<'a>, Error> {
        self.measure(activation, budget).0
    }

    /// Runs it, and says what it cost without what composed fields did.
    pub fn measure<'a>(
        &'a self,
        activation: &mut Activation<'a>,
        budget: &mut Budget,
    ) -> (Result<Value<'a>, Error>, u64) {
        let mut machine = Machine::new(&self.composed, activation, budget);
        let result = machine.run(&self.step);
        let cost = machine.cost();
        match budget.take(cost) {
            Ok(()) => (result, cost),
            Err(error) => (Err(error), cost),
        }
    }
}
