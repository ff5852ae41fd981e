//! The table of functions: which overloads a name has, read once out of `functions.txt`.
//!
//! Invariant: type parameters of one overload are numbered from 0; the checker gives them fresh numbers at each
//! use. Answers to cel-go's standard library declarations and the apiserver's libraries.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::kind::Type;

/// One overload of a function.
#[derive(Debug)]
pub(super) struct Overload {
    /// Its name, by which its implementation and its cost are found.
    pub id: &'static str,
    /// Called on a target.
    pub member: bool,
    /// Types of target and arguments.
    pub arguments: Vec<Type>,
    /// Type of the result.
    pub result: Type,
    /// How many type parameters it has.
    pub params: u32,
}

/// A function.
#[derive(Debug)]
pub(super) struct Function {
    pub name: &'static str,
    pub overloads: Vec<Overload>,
}

static TABLE: LazyLock<HashMap<&'static str, Function>> = LazyLock::new(|| {
    let mut table: HashMap<&'static str, Function> = HashMap::new();
    for line in include_str!("functions.txt").lines().filter(|line| !line.starts_with('#')) {
        let (name, overload) = row(line).expect("the table is part of the source and read by every test");
        let function = table.entry(name).or_insert_with(|| Function { name, overloads: Vec::new() });
        function.overloads.push(overload);
    }
    table
});

/// The function of a name.
pub(super) fn function(name: &str) -> Option<&'static Function> {
    TABLE.get(name)
}

fn row(line: &'static str) -> Option<(&'static str, Overload)> {
    let mut words = line.splitn(4, ' ');
    let (name, style, id, rest) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let close = rest.rfind(") ")?;
    let mut letters = Vec::new();
    let mut arguments = Vec::new();
    let mut text = rest.get(1..close)?;
    while !text.is_empty() {
        let (argument, left) = read(text, &mut letters)?;
        arguments.push(argument);
        text = left.trim_start_matches([',', ' ']);
    }
    let (result, _) = read(rest.get(close + 2..)?, &mut letters)?;
    let params = letters.len() as u32;
    Some((name, Overload { id, member: style == "member", arguments, result, params }))
}

/// Reads one type from the start of a text; returns what is left.
fn read<'a>(text: &'a str, letters: &mut Vec<char>) -> Option<(Type, &'a str)> {
    let end = text.find(['(', ')', ',']).unwrap_or(text.len());
    let (word, mut left) = text.split_at(end);
    let mut params = Vec::new();
    if let Some(inner) = left.strip_prefix('(') {
        left = inner;
        while !left.starts_with(')') {
            let (param, rest) = read(left, letters)?;
            params.push(param);
            left = rest.trim_start_matches([',', ' ']);
        }
        left = &left[1..];
    }
    let mut params = params.into_iter();
    let kind = match word {
        "dyn" => Type::Dyn,
        "null" => Type::Null,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "duration" => Type::Duration,
        "timestamp" => Type::Timestamp,
        "list" => Type::list(params.next()?),
        "map" => Type::map(params.next()?, params.next()?),
        "optional_type" => Type::optional(params.next()?),
        "type" => Type::Type(params.next().map(Into::into)),
        letter if letter.len() == 1 => {
            let letter = letter.chars().next()?;
            let number = letters.iter().position(|known| *known == letter).unwrap_or_else(|| {
                letters.push(letter);
                letters.len() - 1
            });
            Type::Param(number as u32)
        }
        name => Type::opaque(name)?,
    };
    Some((kind, left))
}
