//! System-call filters: from a profile to a program for the kernel.
//!
//! Invariant: libseccomp (LGPL) is not needed: rules are compiled by `seccompiler`, numbers are a table here. A
//! filter covers the native architecture; any other (32-bit programs) is killed. Answers to runc's seccomp support.

mod default;
mod numbers;
mod profile;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, sock_filter,
};

use crate::capabilities::Capabilities;
use crate::error::{Error, Result};
use crate::spec::Seccomp;
use profile::{Action, Argument, Comparison, Profile};

/// A program for the kernel.
pub(crate) type Program = Vec<sock_filter>;

/// Loads what the specification names; `None` without a filter.
pub(crate) fn program(seccomp: &Seccomp, capabilities: Capabilities) -> Result<Option<Program>> {
    let profile = match seccomp {
        Seccomp::Unconfined => return Ok(None),
        Seccomp::RuntimeDefault => default::profile(),
        Seccomp::Localhost(path) => {
            Profile::parse(&std::fs::read(path).map_err(Error::io("read seccomp profile", path))?)?
        }
    };
    compile(&profile, capabilities).map(Some)
}

/// Installs a program for the calling process and its children. Without `no_new_privs` that takes `CAP_SYS_ADMIN`,
/// which is why `seccompiler`'s own function, which sets that flag, is of no use here.
pub(crate) fn install(program: &[sock_filter]) -> std::io::Result<()> {
    let filter = nix::libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| std::io::ErrorKind::InvalidInput)?,
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: the kernel copies the program, whose elements have the layout of the kernel's `sock_filter`.
    let result = unsafe {
        nix::libc::syscall(nix::libc::SYS_seccomp, nix::libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter)
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

fn compile(profile: &Profile, capabilities: Capabilities) -> Result<Program> {
    let applicable = profile.rules.iter().filter(|rule| {
        rule.with.as_deref().is_none_or(|name| capabilities.has(name))
            && rule.without.as_deref().is_none_or(|name| !capabilities.has(name))
            && rule.action != profile.default
    });
    // `seccompiler` knows one action besides the default. The first rule's is that one; a rule with another
    // is answered before the program proper.
    let mut main = None;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let mut early = Vec::new();
    for rule in applicable {
        let action = *main.get_or_insert(rule.action);
        for number in rule.names.iter().filter_map(|name| number(name)) {
            if rule.action == action {
                add(&mut rules, number, &rule.arguments)?;
            } else if rule.arguments.is_empty() {
                early.push((number, rule.action));
            } else {
                let reason = "conditions on arguments are possible only with the profile's main action";
                return Err(Error::Invalid(format!("seccomp profile: {reason}")));
            }
        }
    }
    let arch = std::env::consts::ARCH
        .try_into()
        .map_err(|_| Error::Invalid("no system-call filters on this architecture".to_owned()))?;
    let main = main.unwrap_or(Action::Allow);
    if main == profile.default {
        return Err(Error::Invalid("seccomp profile: no rule differs from the default action".to_owned()));
    }
    let filter = SeccompFilter::new(rules, profile.default.into(), main.into(), arch).map_err(failed)?;
    let body: Program = filter.try_into().map_err(failed)?;
    let mut program = prefix(&early);
    program.extend(body);
    Ok(program)
}

fn failed(error: seccompiler::BackendError) -> Error {
    Error::Invalid(format!("seccomp profile: {error}"))
}

fn number(name: &str) -> Option<i64> {
    let table = numbers::SYSCALLS;
    table.binary_search_by_key(&name, |(known, _)| known).ok().map(|at| table[at].1)
}

/// An unconditional rule (an empty list, to `seccompiler`) covers every conditional one.
fn add(rules: &mut BTreeMap<i64, Vec<SeccompRule>>, number: i64, arguments: &[Argument]) -> Result<()> {
    if arguments.is_empty() {
        rules.insert(number, Vec::new());
        return Ok(());
    }
    if rules.get(&number).is_some_and(Vec::is_empty) {
        return Ok(());
    }
    let conditions: Result<Vec<SeccompCondition>> = arguments.iter().map(condition).collect();
    rules.entry(number).or_default().push(SeccompRule::new(conditions?).map_err(failed)?);
    Ok(())
}

fn condition(argument: &Argument) -> Result<SeccompCondition> {
    let operator = match argument.comparison {
        Comparison::Equal => SeccompCmpOp::Eq,
        Comparison::NotEqual => SeccompCmpOp::Ne,
        Comparison::Less => SeccompCmpOp::Lt,
        Comparison::LessOrEqual => SeccompCmpOp::Le,
        Comparison::Greater => SeccompCmpOp::Gt,
        Comparison::GreaterOrEqual => SeccompCmpOp::Ge,
        Comparison::Masked(mask) => SeccompCmpOp::MaskedEq(mask),
    };
    // Values of 32 bits are compared as such: the upper half of a register is not defined for an `int`.
    let length =
        if argument.value <= u64::from(u32::MAX) { SeccompCmpArgLen::Dword } else { SeccompCmpArgLen::Qword };
    SeccompCondition::new(argument.index, length, operator, argument.value).map_err(failed)
}

impl From<Action> for SeccompAction {
    fn from(action: Action) -> SeccompAction {
        match action {
            Action::Allow => SeccompAction::Allow,
            Action::Errno(errno) => SeccompAction::Errno(errno),
            Action::KillThread => SeccompAction::KillThread,
            Action::KillProcess => SeccompAction::KillProcess,
            Action::Log => SeccompAction::Log,
            Action::Trap => SeccompAction::Trap,
        }
    }
}

/// `ld nr`, then for each number `jeq; ret action`. Jumps are relative, so the program proper follows unchanged.
fn prefix(early: &[(i64, Action)]) -> Program {
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    if early.is_empty() {
        return Vec::new();
    }
    let mut program = vec![sock_filter { code: LOAD_WORD, jt: 0, jf: 0, k: 0 }];
    for (number, action) in early {
        let value = u32::from(SeccompAction::from(*action));
        program.push(sock_filter { code: JUMP_IF_EQUAL, jt: 0, jf: 1, k: *number as u32 });
        program.push(sock_filter { code: RETURN, jt: 0, jf: 0, k: value });
    }
    program
}
