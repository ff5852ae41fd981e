//! Names of signals.
//!
//! Invariant: a name that is understood is a signal of this machine. Answers to `moby/sys/signal`.

use std::str::FromStr;

use crate::error::{Error, Result};

/// `SIGTERM`, `term`, `15`, `SIGRTMIN+3` to a number.
pub(crate) fn number(name: &str) -> Result<i32> {
    let unknown = || Error::Invalid(format!("{name:?} is not a signal"));
    if let Ok(number) = name.parse::<i32>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err(unknown()) };
    }
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<i32>().ok() };
    if let Some(rest) = bare.strip_prefix("RTMIN") {
        return offset(rest)
            .map(|offset| 34 + offset)
            .filter(|it| (34..=64).contains(it))
            .ok_or_else(unknown);
    }
    if let Some(rest) = bare.strip_prefix("RTMAX") {
        return offset(rest)
            .map(|offset| 64 + offset)
            .filter(|it| (34..=64).contains(it))
            .ok_or_else(unknown);
    }
    nix::sys::signal::Signal::from_str(&format!("SIG{bare}"))
        .map(|signal| signal as i32)
        .map_err(|_| unknown())
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn names() {
        for (name, expect) in [
            ("SIGTERM", Some(15)),
            ("kill", Some(9)),
            ("2", Some(2)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("SIGRTMIN+99", None),
            ("0", None),
            ("65", None),
            ("SIGNONE", None),
            ("", None),
        ] {
            assert_eq!(number(name).ok(), expect, "{name}");
        }
    }
}
