//! Which shares of a capacity may be asked for.
//!
//! Answers to upstream's `pkg/apis/resource/validation`.

use crate::rule::Errors;
use crate::rule::list::each;
use crate::rule::resource::quantity;
use crate::value::{is_empty, items};
use gifee_base::{FieldError, Path, Quantity};
use serde_json::Value;

const VALUES_MAXIMUM: usize = 10;

/// A policy about requests for a capacity of so much.
pub(super) fn request_policy(errors: &mut Errors, policy: &Value, capacity: &Value, path: &Path<'_>) {
    let (values, range, capacity) = (&policy["validValues"], &policy["validRange"], quantity(capacity));
    let default = &policy["default"];
    let field = match (is_empty(values), range.is_null()) {
        (false, false) => {
            let why = "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time";
            return errors.push(FieldError::forbidden(path, why));
        }
        (true, true) => return,
        (false, true) => "validValues",
        (true, false) => "validRange",
    };
    if default.is_null() {
        let why = format!("required when {field} is defined");
        return errors.push(FieldError::required(&path.child("default"), &why));
    }
    let (default, at) = (quantity(default), path.child(field));
    if range.is_null() {
        valid_values(errors, values, default, capacity, &at);
    } else {
        valid_range(errors, range, default, capacity, &at);
    }
}

fn valid_values(errors: &mut Errors, list: &Value, default: Quantity, capacity: Quantity, path: &Path<'_>) {
    let values: Vec<Quantity> = items(list).iter().map(quantity).collect();
    for (index, pair) in values.windows(2).enumerate() {
        if pair[0] > pair[1] {
            let why = "values must be sorted in ascending order";
            errors.push(FieldError::invalid(&path.index(index + 1), pair[1].to_string(), why));
        }
    }
    each(errors, list, VALUES_MAXIMUM, path, |errors, one, path| {
        let option = quantity(one);
        if option > capacity {
            let why = format!("option is larger than capacity value: {capacity}");
            errors.push(FieldError::invalid(path, option.to_string(), &why));
        }
    });
    for (index, value) in values.iter().enumerate() {
        if values[..index].iter().any(|before| before.value() == value.value()) {
            errors.push(FieldError::duplicate(&path.index(index), value.value().to_string()));
        }
    }
    if !values.contains(&default) {
        let why = "default value is not valid according to the requestPolicy";
        errors.push(FieldError::invalid(path, default.to_string(), why));
    }
}

fn valid_range(errors: &mut Errors, range: &Value, default: Quantity, capacity: Quantity, path: &Path<'_>) {
    if range["min"].is_null() {
        return errors.push(FieldError::required(&path.child("min"), "required when validRange is defined"));
    }
    let mut wrong = |field: &str, value: Quantity, why: String| {
        errors.push(FieldError::invalid(&path.child(field), value.to_string(), &why));
    };
    let least = quantity(&range["min"]);
    if least > capacity {
        wrong("min", least, format!("min is larger than capacity value: {capacity}"));
    }
    if default < least {
        wrong("min", default, format!("default is less than min: {least}"));
    }
    let most = Some(&range["max"]).filter(|most| !most.is_null()).map(quantity);
    if let Some(most) = most {
        if least > most {
            wrong("max", least, format!("min is larger than max: {most}"));
        }
        if most > capacity {
            wrong("max", most, format!("max is larger than capacity value: {capacity}"));
        }
        if default > most {
            wrong("max", default, format!("default is more than max: {most}"));
        }
    }
    if range["step"].is_null() {
        return;
    }
    let step = quantity(&range["step"]);
    let first = least.plus(step);
    if first > capacity {
        wrong("step", step, format!("one step {first} is larger than capacity value: {capacity}"));
    }
    for value in [Some(default), most].into_iter().flatten() {
        let over = value.value().saturating_sub(least.value()).checked_rem(step.value());
        if over.unwrap_or_default() != 0 {
            wrong("step", value, format!("value is not a multiple of a given step ({step}) from ({least})"));
        }
    }
}
