//! Macros beyond CEL's own: over two variables, over optionals, and `sortBy`.
//!
//! Invariant: what they expand to costs what upstream's expansion costs. Answers to cel-go's
//! `ext.TwoVarComprehensions`, its optional library and the `sortBy` of `ext.Lists`.

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, ListExpr, LiteralValue, MapExpr};
use cel::parser::{Macro, MacroExprHelper, ParseError};

/// The variable in which a comprehension gathers its result.
pub(super) const ACCUMULATOR: &str = "@result";
const INSERT: &str = "cel.@mapInsert";

type Expanded = Result<Option<IdedExpr>, ParseError>;

/// All of them.
pub(super) fn macros() -> Vec<Macro> {
    let mut macros = vec![
        Macro::global("has", 1, has),
        Macro::receiver("optMap", 2, |helper, target, args| optional(helper, target, args, true)),
        Macro::receiver("optFlatMap", 2, |helper, target, args| optional(helper, target, args, false)),
        Macro::receiver("sortBy", 2, sort_by),
    ];
    let pairs: [(&str, &[usize], Step); 7] = [
        ("all", &[3], Step::All),
        ("exists", &[3], Step::Exists),
        ("existsOne", &[3], Step::ExistsOne),
        ("exists_one", &[3], Step::ExistsOne),
        ("transformList", &[3, 4], Step::List),
        ("transformMap", &[3, 4], Step::Map),
        ("transformMapEntry", &[3, 4], Step::Entry),
    ];
    for (name, counts, step) in pairs {
        for count in counts {
            macros.push(Macro::receiver(name, *count, move |helper, target, args| {
                over_pairs(helper, target, args, step)
            }));
        }
    }
    for (name, counts, step) in [
        ("all", &[2][..], Step::All),
        ("exists", &[2], Step::Exists),
        ("exists_one", &[2], Step::ExistsOne),
        ("map", &[2, 3], Step::List),
        ("filter", &[2], Step::Filter),
    ] {
        for count in counts {
            macros.push(Macro::receiver(name, *count, move |helper, target, args| {
                let name = variable(helper, &args[0], "argument must be a simple name")?;
                over(helper, target, args, (name, None), step)
            }));
        }
    }
    macros
}

fn has(helper: &mut MacroExprHelper<'_>, _: &mut Option<IdedExpr>, args: &mut Vec<IdedExpr>) -> Expanded {
    match args.pop() {
        Some(IdedExpr { expr: Expr::Select(mut select), .. }) => {
            select.test = true;
            Ok(Some(helper.next_expr(Expr::Select(select))))
        }
        Some(other) => Err(helper.new_error(other.id, "invalid argument to has() macro")),
        None => Ok(None),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Step {
    All,
    Exists,
    ExistsOne,
    List,
    Filter,
    Map,
    Entry,
}

fn ident(helper: &mut MacroExprHelper<'_>, name: &str) -> IdedExpr {
    helper.next_expr(Expr::Ident(name.to_owned()))
}

fn literal(helper: &mut MacroExprHelper<'_>, value: LiteralValue) -> IdedExpr {
    helper.next_expr(Expr::Literal(value))
}

fn call(helper: &mut MacroExprHelper<'_>, name: &str, args: Vec<IdedExpr>) -> IdedExpr {
    helper.next_expr(Expr::Call(CallExpr { func_name: name.to_owned(), target: None, args }))
}

fn member(helper: &mut MacroExprHelper<'_>, name: &str, target: IdedExpr, args: Vec<IdedExpr>) -> IdedExpr {
    helper.next_expr(Expr::Call(CallExpr {
        func_name: name.to_owned(),
        target: Some(Box::new(target)),
        args,
    }))
}

fn list(helper: &mut MacroExprHelper<'_>, elements: Vec<IdedExpr>) -> IdedExpr {
    helper.next_expr(Expr::List(ListExpr::new(elements)))
}

/// The name of a variable that a macro declares.
fn variable(helper: &mut MacroExprHelper<'_>, arg: &IdedExpr, otherwise: &str) -> Result<String, ParseError> {
    match &arg.expr {
        Expr::Ident(name) => Ok(name.clone()),
        _ => Err(helper.new_error(arg.id, otherwise)),
    }
}

fn over_pairs(
    helper: &mut MacroExprHelper<'_>,
    target: &mut Option<IdedExpr>,
    args: &mut Vec<IdedExpr>,
    step: Step,
) -> Expanded {
    let first = variable(helper, &args[0], "argument must be a simple name")?;
    let second = variable(helper, &args[1], "argument must be a simple name")?;
    if first == second {
        return Err(helper.new_error(args[1].id, format!("duplicate variable name: {first}")));
    }
    over(helper, target, args, (first, Some(second)), step)
}

/// A comprehension over a target. What is left of the arguments after the variables is an optional filter and a body.
fn over(
    helper: &mut MacroExprHelper<'_>,
    target: &mut Option<IdedExpr>,
    args: &mut Vec<IdedExpr>,
    (first, second): (String, Option<String>),
    step: Step,
) -> Expanded {
    for (name, arg) in [Some(&first), second.as_ref()].into_iter().flatten().zip(args.iter()) {
        if name == ACCUMULATOR || name == "__result__" {
            return Err(helper.new_error(arg.id, "iteration variable overwrites accumulator variable"));
        }
    }
    let variables = 1 + usize::from(second.is_some());
    let (Some(range), Some(mut body)) = (target.take(), args.pop()) else { return Ok(None) };
    let mut filter = if args.len() > variables { args.pop() } else { None };
    if step == Step::Filter {
        filter = Some(std::mem::replace(&mut body, args.swap_remove(0)));
    }
    let h = helper;
    let accumulator = ident(h, ACCUMULATOR);
    let one = literal(h, LiteralValue::Int(1i64.into()));
    let mut result = ident(h, ACCUMULATOR);
    let mut condition = literal(h, LiteralValue::Boolean(true.into()));
    let init = start(h, step);
    let mut next = match step {
        Step::All => call(h, "_&&_", vec![accumulator, body]),
        Step::Exists => call(h, "_||_", vec![accumulator, body]),
        Step::ExistsOne => {
            let more = call(h, "_+_", vec![accumulator, one.clone()]);
            let same = ident(h, ACCUMULATOR);
            result = call(h, "_==_", vec![result, one]);
            call(h, "_?_:_", vec![body, more, same])
        }
        Step::List | Step::Filter => {
            let item = list(h, vec![body]);
            call(h, "_+_", vec![accumulator, item])
        }
        Step::Map => {
            let key = ident(h, &first);
            call(h, INSERT, vec![accumulator, key, body])
        }
        Step::Entry => call(h, INSERT, vec![accumulator, body]),
    };
    if matches!(step, Step::All | Step::Exists) {
        let mut test = ident(h, ACCUMULATOR);
        if step == Step::Exists {
            test = call(h, "!_", vec![test]);
        }
        condition = call(h, "@not_strictly_false", vec![test]);
    }
    if let Some(filter) = filter {
        let same = ident(h, ACCUMULATOR);
        next = call(h, "_?_:_", vec![filter, next, same]);
    }
    Ok(Some(h.next_expr(Expr::Comprehension(Box::new(ComprehensionExpr {
        iter_range: range,
        iter_var: first,
        iter_var2: second,
        accu_var: ACCUMULATOR.to_owned(),
        accu_init: init,
        loop_cond: condition,
        loop_step: next,
        result,
    })))))
}

/// What a comprehension starts with.
fn start(helper: &mut MacroExprHelper<'_>, step: Step) -> IdedExpr {
    match step {
        Step::All => literal(helper, LiteralValue::Boolean(true.into())),
        Step::Exists => literal(helper, LiteralValue::Boolean(false.into())),
        Step::ExistsOne => literal(helper, LiteralValue::Int(0i64.into())),
        Step::List | Step::Filter => list(helper, Vec::new()),
        Step::Map | Step::Entry => helper.next_expr(Expr::Map(MapExpr { entries: Vec::new() })),
    }
}

/// `body` with a variable bound to a value: a comprehension over nothing.
fn bind(helper: &mut MacroExprHelper<'_>, name: &str, value: IdedExpr, body: IdedExpr) -> IdedExpr {
    let range = list(helper, Vec::new());
    let condition = literal(helper, LiteralValue::Boolean(false.into()));
    let step = ident(helper, name);
    helper.next_expr(Expr::Comprehension(Box::new(ComprehensionExpr {
        iter_range: range,
        iter_var: "#unused".to_owned(),
        iter_var2: None,
        accu_var: name.to_owned(),
        accu_init: value,
        loop_cond: condition,
        loop_step: step,
        result: body,
    })))
}

fn optional(
    helper: &mut MacroExprHelper<'_>,
    target: &mut Option<IdedExpr>,
    args: &mut Vec<IdedExpr>,
    wrap: bool,
) -> Expanded {
    let word = if wrap { "optMap" } else { "optFlatMap" };
    let name = variable(helper, &args[0], &format!("{word}() variable name must be a simple identifier"))?;
    let (Some(target), Some(body)) = (target.take(), args.pop()) else { return Ok(None) };
    let has = member(helper, "hasValue", target.clone(), Vec::new());
    let value = member(helper, "value", target, Vec::new());
    let mut mapped = bind(helper, &name, value, body);
    if wrap {
        mapped = call(helper, "optional.of", vec![mapped]);
    }
    let none = call(helper, "optional.none", Vec::new());
    Ok(Some(call(helper, "_?_:_", vec![has, mapped, none])))
}

fn sort_by(
    helper: &mut MacroExprHelper<'_>,
    target: &mut Option<IdedExpr>,
    args: &mut Vec<IdedExpr>,
) -> Expanded {
    const INPUT: &str = "@__sortBy_input__";
    let sortable = matches!(
        target.as_ref().map(|target| &target.expr),
        Some(Expr::List(_) | Expr::Select(_) | Expr::Ident(_) | Expr::Comprehension(_) | Expr::Call(_))
    );
    if !sortable {
        let id = target.as_ref().map_or(0, |target| target.id);
        let message =
            "sortBy can only be applied to a list, identifier, comprehension, call or select expression";
        return Err(helper.new_error(id, message));
    }
    let name = variable(helper, &args[0], "argument is not an identifier")?;
    let (Some(target), Some(body)) = (target.take(), args.pop()) else { return Ok(None) };
    let range = ident(helper, INPUT);
    let init = list(helper, Vec::new());
    let condition = literal(helper, LiteralValue::Boolean(true.into()));
    let accumulator = ident(helper, ACCUMULATOR);
    let item = list(helper, vec![body]);
    let step = call(helper, "_+_", vec![accumulator, item]);
    let result = ident(helper, ACCUMULATOR);
    let keys = helper.next_expr(Expr::Comprehension(Box::new(ComprehensionExpr {
        iter_range: range,
        iter_var: name,
        iter_var2: None,
        accu_var: ACCUMULATOR.to_owned(),
        accu_init: init,
        loop_cond: condition,
        loop_step: step,
        result,
    })));
    let input = ident(helper, INPUT);
    let sorted = member(helper, "@sortByAssociatedKeys", input, vec![keys]);
    Ok(Some(bind(helper, INPUT, target, sorted)))
}
