//! What a profile says, also in Docker's JSON.
//!
//! Invariant: a word of a profile that is not understood is an error, never ignored. Answers to the runtime
//! specification's `linux.seccomp` and to Docker's `includes` and `excludes`.

use serde::Deserialize;

use crate::error::{Error, Result};

/// A filter in words.
#[derive(Clone, Debug)]
pub(super) struct Profile {
    /// For what no rule matches.
    pub default: Action,
    /// Rules.
    pub rules: Vec<Rule>,
}

/// System calls and what happens to them.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// Names; those that this architecture does not have are skipped.
    pub names: Vec<String>,
    /// What happens.
    pub action: Action,
    /// All must hold.
    pub arguments: Vec<Argument>,
    /// Only if the container has this capability.
    pub with: Option<String>,
    /// Only if it has not.
    pub without: Option<String>,
}

impl Rule {
    /// Allows `names`.
    pub(super) fn allow(names: Vec<String>) -> Rule {
        Rule { names, action: Action::Allow, arguments: Vec::new(), with: None, without: None }
    }
}

/// What happens to a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Allow,
    Errno(u32),
    KillThread,
    KillProcess,
    Log,
    Trap,
}

/// A condition on an argument.
#[derive(Clone, Debug)]
pub(super) struct Argument {
    pub index: u8,
    pub value: u64,
    pub comparison: Comparison,
}

/// How an argument is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// Equal under this mask.
    Masked(u64),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    syscalls: Vec<FileRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileRule {
    names: Vec<String>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<FileArgument>>,
    #[serde(default)]
    includes: Option<Scope>,
    #[serde(default)]
    excludes: Option<Scope>,
}

#[derive(Default, Deserialize)]
struct Scope {
    #[serde(default)]
    caps: Vec<String>,
    #[serde(default)]
    arches: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileArgument {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

impl Profile {
    /// Reads Docker's JSON.
    pub(super) fn parse(json: &[u8]) -> Result<Profile> {
        let file: File = serde_json::from_slice(json)
            .map_err(|error| Error::Invalid(format!("seccomp profile: {error}")))?;
        let mut rules = Vec::new();
        for rule in file.syscalls {
            let (includes, excludes) = (rule.includes.unwrap_or_default(), rule.excludes.unwrap_or_default());
            let here = |arches: &[String]| arches.iter().any(|arch| ARCHITECTURES.contains(&arch.as_str()));
            if (!includes.arches.is_empty() && !here(&includes.arches)) || here(&excludes.arches) {
                continue;
            }
            let arguments: Result<Vec<Argument>> =
                rule.args.unwrap_or_default().iter().map(argument).collect();
            rules.push(Rule {
                names: rule.names,
                action: action(&rule.action, rule.errno_ret)?,
                arguments: arguments?,
                with: one(includes.caps)?,
                without: one(excludes.caps)?,
            });
        }
        Ok(Profile { default: action(&file.default_action, file.default_errno_ret)?, rules })
    }
}

#[cfg(target_arch = "x86_64")]
const ARCHITECTURES: [&str; 1] = ["amd64"];
#[cfg(target_arch = "aarch64")]
const ARCHITECTURES: [&str; 1] = ["arm64"];

fn one(mut capabilities: Vec<String>) -> Result<Option<String>> {
    match capabilities.len() {
        0 | 1 => Ok(capabilities.pop()),
        _ => Err(Error::Invalid("seccomp profile: a rule names several capabilities".to_owned())),
    }
}

fn action(word: &str, errno: Option<u32>) -> Result<Action> {
    Ok(match word {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_ERRNO" => Action::Errno(errno.unwrap_or(1)),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_TRAP" => Action::Trap,
        _ => return Err(Error::Invalid(format!("seccomp profile: unknown action {word:?}"))),
    })
}

fn argument(from: &FileArgument) -> Result<Argument> {
    let (value, comparison) = match from.op.as_str() {
        "SCMP_CMP_EQ" => (from.value, Comparison::Equal),
        "SCMP_CMP_NE" => (from.value, Comparison::NotEqual),
        "SCMP_CMP_LT" => (from.value, Comparison::Less),
        "SCMP_CMP_LE" => (from.value, Comparison::LessOrEqual),
        "SCMP_CMP_GT" => (from.value, Comparison::Greater),
        "SCMP_CMP_GE" => (from.value, Comparison::GreaterOrEqual),
        // In the JSON, `value` is the mask and `valueTwo` what is to remain.
        "SCMP_CMP_MASKED_EQ" => (from.value_two, Comparison::Masked(from.value)),
        other => return Err(Error::Invalid(format!("seccomp profile: unknown comparison {other:?}"))),
    };
    Ok(Argument { index: from.index, value, comparison })
}
