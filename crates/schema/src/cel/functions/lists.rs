//! Functions of lists: Kubernetes' own library, the lists extension, and `indexOf` of texts, which shares a name.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Native, Outcome, strings};
use crate::cel::compare;
use crate::cel::error::Error;
use crate::cel::program::Budget;
use crate::cel::value::{Items, Value};

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "isSorted" => is_sorted,
        "sum" => sum,
        "min" => |arguments, _| extreme(arguments, "min", Ordering::Greater),
        "max" => |arguments, _| extreme(arguments, "max", Ordering::Less),
        "indexOf" => index_of,
        "lastIndexOf" => last_index_of,
        "includes" => includes,
        "distinct" => distinct,
        "flatten" => flatten,
        "lists.range" => range,
        "reverse" => |arguments, _| {
            let mut all = items(arguments)?.collect()?;
            all.reverse();
            Ok(Value::list(all))
        },
        "slice" => slice,
        "sort" => |arguments, _| match arguments {
            [list] => sorted(list, list),
            _ => Err(Error::overload()),
        },
        "@sortByAssociatedKeys" => |arguments, _| match arguments {
            [list, keys] => sorted(list, keys),
            _ => Err(Error::overload()),
        },
        "first" => |arguments, _| end(arguments, |_| Some(0)),
        "last" => |arguments, _| end(arguments, |count| count.checked_sub(1)),
        _ => return None,
    })
}

fn items<'b, 'a>(arguments: &'b [Value<'a>]) -> Result<Items<'b, 'a>, Error> {
    arguments.first().and_then(Value::items).ok_or_else(Error::overload)
}

fn is_sorted<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    let mut previous: Option<Value<'a>> = None;
    for item in items(arguments)?.iter() {
        let item = item?;
        if let Some(previous) = &previous
            && compare::compare(previous, &item)? == Some(Ordering::Greater)
        {
            return Ok(Value::Bool(false));
        }
        previous = Some(item);
    }
    Ok(Value::Bool(true))
}

fn sum<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    let overflow = || Error::new("integer overflow");
    let mut total: Option<Value<'a>> = None;
    for item in items(arguments)?.iter() {
        let item = item?;
        total = Some(match (total, item) {
            (None, item @ (Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::Duration(_))) => item,
            (Some(Value::Int(a)), Value::Int(b)) => Value::Int(a.checked_add(b).ok_or_else(overflow)?),
            (Some(Value::Uint(a)), Value::Uint(b)) => {
                Value::Uint(a.checked_add(b).ok_or_else(|| Error::new("unsigned integer overflow"))?)
            }
            (Some(Value::Double(a)), Value::Double(b)) => Value::Double(a + b),
            (Some(Value::Duration(a)), Value::Duration(b)) => {
                Value::Duration(a.checked_add(b).ok_or_else(overflow)?)
            }
            _ => return Err(Error::overload()),
        });
    }
    Ok(total.unwrap_or(Value::Int(0)))
}

fn extreme<'a>(arguments: &[Value<'a>], name: &str, replaced: Ordering) -> Outcome<'a> {
    let mut best: Option<Value<'a>> = None;
    for item in items(arguments)?.iter() {
        let item = item?;
        best = Some(match best {
            // What cannot be compared does not replace what was there.
            Some(best) if compare::compare(&best, &item).ok().flatten() != Some(replaced) => best,
            _ => item,
        });
    }
    best.ok_or_else(|| Error::new(format!("{name} called on empty list")))
}

fn find<'a>(arguments: &[Value<'a>], budget: &mut Budget, last: bool) -> Outcome<'a> {
    let [_, wanted] = arguments else { return Err(Error::overload()) };
    let items = items(arguments)?;
    let count = items.len();
    for step in 0..count {
        let index = if last { count - 1 - step } else { step };
        if let Some(item) = items.get(index)
            && compare::equal(&item?, wanted, budget)?
        {
            return Ok(Value::Int(index as i64));
        }
    }
    Ok(Value::Int(-1))
}

fn index_of<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::String(text), Value::String(part)] => strings::index_of(text, part, 0),
        [Value::String(text), Value::String(part), Value::Int(from)] => strings::index_of(text, part, *from),
        _ => find(arguments, budget, false),
    }
}

fn last_index_of<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    match arguments {
        [Value::String(text), Value::String(part)] => strings::last_index_of(text, part, None),
        [Value::String(text), Value::String(part), Value::Int(until)] => {
            strings::last_index_of(text, part, Some(*until))
        }
        _ => find(arguments, budget, true),
    }
}

fn includes<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let [target, wanted] = arguments else { return Err(Error::overload()) };
    let Some(items) = target.items() else {
        return Ok(Value::Bool(compare::equal(target, wanted, budget)?));
    };
    for item in items.iter() {
        if compare::equal(&item?, wanted, budget)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn distinct<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let mut unique: Vec<Value<'a>> = Vec::new();
    'items: for item in items(arguments)?.iter() {
        let item = item?;
        for known in &unique {
            if compare::equal(known, &item, budget)? {
                continue 'items;
            }
        }
        unique.push(item);
    }
    Ok(Value::list(unique))
}

fn flatten<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let depth = match arguments {
        [_] => 1,
        [_, Value::Int(depth)] if *depth >= 0 => *depth,
        [_, Value::Int(_)] => return Err(Error::new("level must be non-negative")),
        _ => return Err(Error::overload()),
    };
    let mut flat = Vec::new();
    // Nested lists are opened on a stack of our own, so depth cannot overflow the machine's.
    let mut waiting: Vec<(Value<'a>, i64)> = Vec::new();
    let push = |list: Items<'_, 'a>, depth: i64, waiting: &mut Vec<(Value<'a>, i64)>| {
        let all = list.collect()?;
        waiting.extend(all.into_iter().rev().map(|item| (item, depth)));
        Ok::<(), Error>(())
    };
    push(items(arguments)?, depth, &mut waiting)?;
    while let Some((item, depth)) = waiting.pop() {
        budget.work(1)?;
        match item.items() {
            Some(list) if depth > 0 => push(list, depth - 1, &mut waiting)?,
            _ => flat.push(item),
        }
    }
    Ok(Value::list(flat))
}

fn range<'a>(arguments: &[Value<'a>], budget: &mut Budget) -> Outcome<'a> {
    let [Value::Int(count)] = arguments else { return Err(Error::overload()) };
    if *count < 0 {
        return Err(Error::new(format!("lists.range: size must be non-negative, got {count}")));
    }
    budget.work(usize::try_from(*count).unwrap_or(usize::MAX))?;
    Ok(Value::list((0..*count).map(Value::Int).collect()))
}

fn slice<'a>(arguments: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    let [_, Value::Int(start), Value::Int(end)] = arguments else { return Err(Error::overload()) };
    let items = items(arguments)?;
    let refused = |why: String| Err(Error::new(format!("cannot slice({start}, {end}), {why}")));
    if *start < 0 || *end < 0 {
        return refused("negative indexes not supported".into());
    }
    if start > end {
        return refused("start index must be less than or equal to end index".into());
    }
    if (items.len() as i64) < *end {
        return refused(format!("list is length {}", items.len()));
    }
    let part: Result<Vec<_>, Error> =
        (*start as usize..*end as usize).filter_map(|index| items.get(index)).collect();
    Ok(Value::List(Arc::new(part?)))
}

fn sorted<'a>(list: &Value<'a>, keys: &Value<'a>) -> Outcome<'a> {
    let list = list.items().ok_or_else(Error::overload)?.collect()?;
    let keys = keys.items().ok_or_else(Error::overload)?.collect()?;
    if list.len() != keys.len() {
        return Err(Error::new(format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {} and {} \
             elements respectively",
            list.len(),
            keys.len()
        )));
    }
    if let Some(first) = keys.first() {
        compare::compare(first, first).map_err(|_| Error::new("list elements must be comparable"))?;
        if keys.iter().any(|key| key.type_name() != first.type_name()) {
            return Err(Error::new("list elements must have the same type"));
        }
    }
    let mut pairs: Vec<(Value<'a>, Value<'a>)> = keys.into_iter().zip(list).collect();
    pairs.sort_by(|a, b| {
        let order = compare::compare(&a.0, &b.0);
        order.ok().flatten().unwrap_or_else(|| match (&a.0, &b.0) {
            // A total order is needed even where a float is not a number.
            (Value::Double(a), Value::Double(b)) => a.total_cmp(b),
            _ => Ordering::Equal,
        })
    });
    Ok(Value::list(pairs.into_iter().map(|(_, item)| item).collect()))
}

fn end<'a>(arguments: &[Value<'a>], place: fn(usize) -> Option<usize>) -> Outcome<'a> {
    let items = items(arguments)?;
    match place(items.len()).and_then(|index| items.get(index)) {
        Some(item) => Ok(Value::some(item?)),
        None => Ok(Value::Optional(None)),
    }
}
