//! Sets of capabilities by name.
//!
//! Invariant: only capabilities that this kernel has are ever set. Answers to runc's and CRI's capability lists.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Every capability; the position is the kernel's number.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What a container has if nothing is said.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// A set of capabilities, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Capabilities(pub u64);

impl Capabilities {
    /// The empty set.
    pub(crate) fn none() -> Capabilities {
        Capabilities(0)
    }

    /// Those that this process may give away: what the kernel knows and the bounding set still has.
    pub(crate) fn all() -> Capabilities {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
        let known = (1 << NAMES.len()) - 1;
        Capabilities(mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(known) & known)
    }

    /// The default set, changed as CRI says: `ALL` first, then what is dropped, then what is added.
    pub(crate) fn changed(add: &[String], drop: &[String]) -> Result<Capabilities> {
        let has_all = |names: &[String]| names.iter().any(|name| plain(name) == "ALL");
        let single = |names: &[String]| -> Result<u64> {
            names.iter().filter(|name| plain(name) != "ALL").try_fold(0, |set, name| Ok(set | bit(name)?))
        };
        let mut set = if has_all(add) { Capabilities::all() } else { Capabilities::none().with(&DEFAULT)? };
        if has_all(drop) {
            set = Capabilities::none();
        }
        let mut set = (set.0 & !single(drop)?) | single(add)?;
        if has_all(add) && has_all(drop) {
            set = Capabilities::all().0;
        }
        Ok(Capabilities(set & Capabilities::all().0))
    }

    /// With more, by name.
    pub(crate) fn with(self, names: &[&str]) -> Result<Capabilities> {
        names.iter().try_fold(self, |set, name| Ok(Capabilities(set.0 | bit(name)?)))
    }

    /// Whether it has one, by name; an unknown one it has not.
    pub(crate) fn has(self, name: &str) -> bool {
        bit(name).is_ok_and(|bit| self.0 & bit != 0)
    }

    /// The names in the runtime specification's form.
    pub(crate) fn names(self) -> Vec<String> {
        let held = NAMES.iter().enumerate().filter(|(number, _)| self.0 & (1 << number) != 0);
        held.map(|(_, name)| format!("CAP_{name}")).collect()
    }
}

fn plain(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    upper.strip_prefix("CAP_").map(str::to_owned).unwrap_or(upper)
}

fn bit(name: &str) -> Result<u64> {
    let wanted = plain(name);
    match NAMES.iter().position(|known| *known == wanted) {
        Some(number) => Ok(1 << number),
        None => Err(Error::Invalid(format!("unknown capability {name:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes() {
        let check = |add: &[&str], drop: &[&str], has: &[&str], lacks: &[&str]| {
            let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
            let set = Capabilities::changed(&own(add), &own(drop)).expect("known names");
            has.iter().for_each(|name| assert!(set.has(name), "{add:?} {drop:?} lacks {name}"));
            lacks.iter().for_each(|name| assert!(!set.has(name), "{add:?} {drop:?} has {name}"));
        };
        check(&[], &[], &["CHOWN", "CAP_KILL"], &["SYS_ADMIN", "NET_ADMIN"]);
        check(&["NET_ADMIN"], &["CAP_CHOWN"], &["NET_ADMIN", "KILL"], &["CHOWN"]);
        check(&["NET_BIND_SERVICE"], &["ALL"], &["NET_BIND_SERVICE"], &["CHOWN", "KILL"]);
        check(&["ALL"], &["CHOWN"], &["SYS_ADMIN"], &["CHOWN"]);
        check(&[], &["all"], &[], &["CHOWN", "KILL", "NET_RAW"]);
        assert!(Capabilities::changed(&["FLY".to_owned()], &[]).is_err());
    }
}
