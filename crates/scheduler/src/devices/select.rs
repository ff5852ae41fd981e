//! Which devices expressions select, asked once for each.
//!
//! Invariant: an answer stays true as long as the device's number does. Answers to the CEL cache of upstream's plugin.

use super::object::Device;
use gifee_schema::cel::device::{self, Selector};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// So many expressions are kept compiled; with one more all are forgotten.
const EXPRESSIONS_MAXIMUM: usize = 512;
/// So many answers are kept; with one more all are forgotten.
const ANSWERS_MAXIMUM: usize = 1 << 20;

type Compiled = Arc<Result<Selector, String>>;

/// What is known of expressions.
#[derive(Default)]
pub struct Selections {
    compiled: RefCell<HashMap<Arc<str>, (u32, Compiled)>>,
    /// By expression and device.
    answers: RefCell<HashMap<(u32, u64), bool>>,
}

impl std::fmt::Debug for Selections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Selections").field("answers", &self.answers.borrow().len()).finish_non_exhaustive()
    }
}

impl Selections {
    /// Whether an expression selects a device.
    ///
    /// # Errors
    /// What is wrong with the expression.
    pub fn select(&self, expression: &Arc<str>, device: &Device) -> Result<bool, String> {
        let (number, selector) = self.compile(expression);
        let selector = selector.as_ref().as_ref().map_err(|why| format!("CEL compile error: {why}"))?;
        if let Some(answer) = self.answers.borrow().get(&(number, device.number)) {
            return Ok(*answer);
        }
        let shown = device::Device {
            driver: &device.id.driver,
            attributes: &device.attributes,
            capacity: &device.capacity,
            multiple: device.multiple,
        };
        let answer = selector.matches(&shown).map_err(|error| format!("CEL runtime error: {error}"))?;
        let mut answers = self.answers.borrow_mut();
        if answers.len() >= ANSWERS_MAXIMUM {
            answers.clear();
        }
        answers.insert((number, device.number), answer);
        Ok(answer)
    }

    fn compile(&self, expression: &Arc<str>) -> (u32, Compiled) {
        let mut compiled = self.compiled.borrow_mut();
        if let Some(known) = compiled.get(expression) {
            return known.clone();
        }
        if compiled.len() >= EXPRESSIONS_MAXIMUM {
            compiled.clear();
            self.answers.borrow_mut().clear();
        }
        let selector = Selector::compile(expression).map_err(|error| error.to_string());
        let number = u32::try_from(compiled.len()).unwrap_or(u32::MAX);
        compiled.insert(expression.clone(), (number, Arc::new(selector)));
        (number, compiled[expression].1.clone())
    }
}
