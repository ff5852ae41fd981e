//! From source text to a tree: the `cel` crate's parser with Kubernetes' macros, inside bounds.
//!
//! Invariant: neither a long nor a deeply nested text ends in a panic or an overflowing stack; the tree that comes
//! out is at most [`DEPTH`] deep. Answers to cel-go's parser as the apiserver's environment configures it.

use std::sync::LazyLock;

use cel::common::ast::{EntryExpr, Expr, IdedEntryExpr, IdedExpr, SourceInfo};

use super::error::{Compilation, Issues};
use super::macros;

/// The longest source in code points, as upstream has it.
const SOURCE_CODE_POINTS: usize = 100_000;
/// How deep the grammar may nest, as upstream has it.
const RECURSION: u16 = 250;
/// How deep the tree may be after macros were expanded.
const DEPTH: usize = 800;
/// Stack of the thread that parses and checks; the generated parser needs some 20 KiB a level without optimisation.
const STACK_BYTES: usize = 64 << 20;

static ENVIRONMENT: LazyLock<cel::Env> = LazyLock::new(|| {
    let mut environment = cel::Env::default();
    for expander in macros::macros() {
        // Only duplicates are refused, and there are none.
        let _ = environment.add_macro(expander);
    }
    environment
});

/// Runs work that recurses on a stack that is large enough; a panic becomes `otherwise`.
pub(super) fn with_stack<T: Send>(work: impl FnOnce() -> T + Send, otherwise: impl FnOnce() -> T) -> T {
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("cel-compile".into()).stack_size(STACK_BYTES);
        match builder.spawn_scoped(scope, work) {
            Ok(thread) => thread.join().unwrap_or_else(|_| otherwise()),
            Err(_) => otherwise(),
        }
    })
}

/// Where expressions start.
#[derive(Debug)]
pub(super) struct Positions {
    source: SourceInfo,
}

impl Positions {
    /// Line, from 1, and column in code points, from 0, of an expression.
    pub fn of(&self, id: u64) -> (usize, usize) {
        let Some((start, _)) = self.source.offset_for(id) else { return (1, 0) };
        let text = &self.source.source;
        let start = (0..=start as usize).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let before = &text[..start.min(text.len())];
        let line = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line..].chars().count())
    }
}

/// Parses. Called on a large stack.
pub(super) fn parse(source: &str) -> Result<(IdedExpr, Positions), Compilation> {
    let count = source.chars().count();
    if count > SOURCE_CODE_POINTS {
        let message =
            format!("expression code point size exceeds limit: size: {count}, limit {SOURCE_CODE_POINTS}");
        return Err(Compilation::new(source, only(message, 0)));
    }
    let parser = ENVIRONMENT
        .parser()
        .enable_optional_syntax(true)
        .enable_ident_escape_syntax(true)
        .max_recursion_depth(RECURSION);
    let (tree, info) = parser.parse_with_source_info(source).map_err(|errors| {
        let mut issues = Issues::default();
        for error in errors.errors {
            let line = usize::try_from(error.pos.0).unwrap_or(0).max(1);
            issues.add(error.msg, || (line, column(source, error.pos)));
        }
        Compilation::new(source, issues)
    })?;
    if too_deep(&tree) {
        let message = "expression recursion limit exceeded".to_owned();
        return Err(Compilation::new(source, only(message, 1)));
    }
    Ok((tree, Positions { source: info }))
}

fn only(message: String, line: usize) -> Issues {
    let mut issues = Issues::default();
    issues.add(message, || (line, 0));
    issues
}

/// The column in code points of a place that the parser gives as line and column in bytes, both from 1.
fn column(source: &str, place: (isize, isize)) -> usize {
    let line = usize::try_from(place.0).unwrap_or(1).max(1);
    let bytes = usize::try_from(place.1).unwrap_or(1).max(1) - 1;
    let text = source.split('\n').nth(line - 1).unwrap_or("");
    text.char_indices().take_while(|(at, _)| *at < bytes).count()
}

/// Whether a tree is deeper than [`DEPTH`]; walks with its own stack.
fn too_deep(tree: &IdedExpr) -> bool {
    let mut waiting = vec![(tree, 1)];
    while let Some((node, depth)) = waiting.pop() {
        if depth > DEPTH {
            return true;
        }
        children(node, &mut |child| waiting.push((child, depth + 1)));
    }
    false
}

/// Calls for each direct child of an expression.
pub(super) fn children<'a>(node: &'a IdedExpr, visit: &mut dyn FnMut(&'a IdedExpr)) {
    match &node.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
        Expr::Select(select) => visit(&select.operand),
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).for_each(visit),
        Expr::List(list) => list.elements.iter().for_each(visit),
        Expr::Map(map) => map.entries.iter().for_each(|entry| entry_children(entry, visit)),
        Expr::Struct(object) => object.entries.iter().for_each(|entry| entry_children(entry, visit)),
        Expr::Comprehension(fold) => {
            let parts = [&fold.iter_range, &fold.accu_init, &fold.loop_cond, &fold.loop_step, &fold.result];
            parts.into_iter().for_each(visit);
        }
    }
}

fn entry_children<'a>(entry: &'a IdedEntryExpr, visit: &mut dyn FnMut(&'a IdedExpr)) {
    match &entry.expr {
        EntryExpr::StructField(field) => visit(&field.value),
        EntryExpr::MapEntry(entry) => {
            visit(&entry.key);
            visit(&entry.value);
        }
    }
}
