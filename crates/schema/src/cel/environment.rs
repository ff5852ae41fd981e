//! What an expression may name, and compiling it.
//!
//! Invariant: a program fits the activations of the environment it was compiled in: the same variables in the same
//! order. Answers to the apiserver's `environment.EnvSet` and `CompositionEnv`.

use std::collections::HashSet;
use std::sync::Arc;

use super::check::{self, Facts, Meaning};
use super::error::Compilation;
use super::estimate::{self, Sizes};
use super::functions::regex::Patterns;
use super::kind::{Field, Object, Type};
use super::program::Program;
use super::syntax;
use super::{literal, plan};

/// Named expressions, in the order in which they may name one another; those that do not compile with why.
pub(super) type Composition = Vec<(String, Result<Arc<Program>, Arc<str>>)>;

/// Variables, types and functions. Cheap to clone against what compiling costs.
#[derive(Clone, Default)]
pub struct Environment {
    variables: Vec<(String, Type)>,
    /// Expressions behind the fields of one more variable, and its name.
    composed: Option<(String, Composition)>,
    /// Whether `Object{…}` and `JSONPatch{…}` can be built.
    mutation: bool,
}

impl Environment {
    /// Nothing but Kubernetes' libraries.
    pub fn new() -> Environment {
        Environment::default()
    }

    /// Declares a variable. Its place among the variables is its place in an [`super::Activation`].
    #[must_use]
    pub fn variable(mut self, name: &str, kind: Type) -> Environment {
        self.variables.push((name.to_owned(), kind));
        self
    }

    /// Declares a variable whose fields are expressions, run when they are first asked for: `variables`.
    #[must_use]
    pub fn composed(mut self, name: &str) -> Environment {
        self.composed = Some((name.to_owned(), Vec::new()));
        self
    }

    /// Adds a field to the composed variable: what compiling it in this environment gave. One that did not compile
    /// is dynamic to others, and fails when it is asked for.
    pub fn compose(&mut self, field: &str, program: Result<Arc<Program>, String>) {
        if let Some((_, fields)) = &mut self.composed {
            fields.push((field.to_owned(), program.map_err(Arc::from)));
        }
    }

    /// Lets expressions build `Object{…}` and `JSONPatch{…}`, as mutating policies do.
    #[must_use]
    pub fn mutation(mut self) -> Environment {
        self.mutation = true;
        self
    }

    /// The place of a variable.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.variables.iter().position(|(own, _)| own == name)
    }

    /// How many variables there are.
    pub fn variables(&self) -> usize {
        self.variables.len()
    }

    pub(super) fn composition(&self) -> &Composition {
        static NONE: Composition = Vec::new();
        self.composed.as_ref().map_or(&NONE, |(_, fields)| fields)
    }

    pub(super) fn is_composed(&self, place: usize) -> bool {
        place == self.variables.len()
    }

    /// What a name of the environment means.
    pub(super) fn lookup(&self, name: &str) -> Option<(Meaning, Type)> {
        if let Some(place) = self.place(name) {
            return Some((Meaning::Variable(place), self.variables[place].1.clone()));
        }
        if let Some((own, fields)) = &self.composed
            && own == name
        {
            let fields = fields.iter().map(|(name, program)| {
                let kind = program.as_ref().map_or(Type::Dyn, |program| program.kind().clone());
                (name.clone(), Field { name: name.clone(), kind })
            });
            let kind = Object { name: "kubernetes.variables".into(), fields: fields.collect(), open: false };
            return Some((Meaning::Variable(self.variables.len()), Type::Object(Arc::new(kind))));
        }
        let kind = named(name).or_else(|| self.built(name))?;
        Some((Meaning::Type(kind.clone()), Type::Type(Some(Arc::new(kind)))))
    }

    /// The types that mutating policies build.
    fn built(&self, name: &str) -> Option<Type> {
        if !self.mutation {
            return None;
        }
        if name == "JSONPatch" {
            let fields =
                [("op", Type::String), ("path", Type::String), ("from", Type::String), ("value", Type::Dyn)];
            return Some(Type::object("JSONPatch", fields));
        }
        let open = name == "Object" || name.starts_with("Object.");
        open.then(|| {
            Type::Object(Arc::new(Object { name: name.to_owned(), fields: Default::default(), open: true }))
        })
    }

    /// Whether a function is there.
    pub(super) fn has(&self, function: &str) -> bool {
        self.mutation || function != "jsonpatch.escapeKey"
    }

    /// Compiles an expression. `results` are the types it may have, one of them; none means any. A dynamic type
    /// is what anything may be.
    ///
    /// Takes up to some milliseconds and a thread with a large stack of its own, so never on the way of a request
    /// that only evaluates: keep the program with its owner.
    ///
    /// # Errors
    /// As upstream's compiler words them.
    pub fn compile(&self, source: &str, results: &[Type]) -> Result<Program, Compilation> {
        self.estimated(source, results, None).map(|(program, _)| program)
    }

    /// Compiles an expression over values of known sizes, and says what it can cost at most.
    ///
    /// # Errors
    /// As upstream's compiler words them.
    pub fn estimate(
        &self,
        source: &str,
        results: &[Type],
        sizes: &Sizes,
    ) -> Result<(Program, u64), Compilation> {
        self.estimated(source, results, Some(sizes))
    }

    fn estimated(
        &self,
        source: &str,
        results: &[Type],
        sizes: Option<&Sizes>,
    ) -> Result<(Program, u64), Compilation> {
        syntax::with_stack(
            || self.compile_here(source, results, sizes),
            || Err(Compilation::plain("expression could not be compiled")),
        )
    }

    fn compile_here(
        &self,
        source: &str,
        results: &[Type],
        sizes: Option<&Sizes>,
    ) -> Result<(Program, u64), Compilation> {
        let (tree, positions) = syntax::parse(source)?;
        let facts =
            check::check(self, &positions, &tree).map_err(|issues| Compilation::new(source, issues))?;
        let mut patterns = Patterns::default();
        let issues = literal::check(&tree, &facts, &positions, &mut patterns);
        if !issues.is_empty() {
            return Err(Compilation::new(source, issues));
        }
        let kind = facts.types.get(&tree.id).cloned().unwrap_or(Type::Dyn);
        self.expect(&kind, results)?;
        let step = plan::plan(self, &facts, &tree, &mut patterns).map_err(Compilation::program)?;
        let variables = used(&facts);
        let cost = sizes.map_or(0, |sizes| estimate::most(&tree, &facts, sizes));
        Ok((Program::new(kind, step, self.composition().clone(), variables, self.variables.len()), cost))
    }

    fn expect(&self, kind: &Type, results: &[Type]) -> Result<(), Compilation> {
        // A dynamic result is none of a known type, as upstream has it.
        let fits = |wanted: &Type| matches!(wanted, Type::Dyn) || wanted.same(kind);
        if results.is_empty() || results.iter().any(fits) {
            return Ok(());
        }
        let words: Vec<&str> = results.iter().map(Type::name).collect();
        Err(Compilation::plain(match results {
            [one] => format!("must evaluate to {one} but got {kind}"),
            _ => format!("must evaluate to one of [{}] but got {kind}", words.join(" ")),
        })
        .of_result())
    }
}

/// The variables that an expression names, by place.
fn used(facts: &Facts) -> HashSet<usize> {
    facts
        .meanings
        .values()
        .filter_map(|meaning| match meaning {
            Meaning::Variable(place) => Some(*place),
            _ => None,
        })
        .collect()
}

/// A type of the language or of a library by its name.
fn named(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "null_type" => Type::Null,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "type" => Type::Type(None),
        "dyn" => Type::Dyn,
        "optional_type" => Type::optional(Type::Dyn),
        "google.protobuf.Duration" => Type::Duration,
        "google.protobuf.Timestamp" => Type::Timestamp,
        "net.IP" | "net.CIDR" => return Type::opaque(name),
        _ => return None,
    })
}
