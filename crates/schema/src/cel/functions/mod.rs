//! Implementations of the functions in the table, by name; each serves all overloads of its name.
//!
//! Invariant: a function never panics whatever it is given, and what it makes is bounded by what its call was
//! charged. Answers to cel-go's standard library and extensions, and to the apiserver's `cel/library`.

pub mod authorize;
pub(super) mod convert;
pub mod format;
mod lists;
pub mod network;
mod optional;
pub(super) mod print;
pub(super) mod quantity;
pub mod regex;
pub mod semver;
mod sets;
mod standard;
mod strings;
pub(super) mod time;
pub mod url;

use super::error::Error;
use super::program::Budget;
use super::value::Value;

/// An implementation: arguments, target first.
pub(super) type Native = for<'a> fn(&[Value<'a>], &mut Budget) -> Result<Value<'a>, Error>;

/// What an implementation gives.
type Outcome<'a> = Result<Value<'a>, Error>;

/// The implementation of a name.
pub(super) fn native(name: &str) -> Option<Native> {
    const GROUPS: &[fn(&str) -> Option<Native>] = &[
        standard::native,
        convert::native,
        strings::native,
        lists::native,
        sets::native,
        optional::native,
        time::native,
        regex::native,
        network::native,
        quantity::native,
        semver::native,
        url::native,
        format::native,
        authorize::native,
    ];
    GROUPS.iter().find_map(|group| group(name))
}
