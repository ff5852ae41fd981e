//! Prometheus' text format, version 0.0.4.
//!
//! Invariant: label values are escaped, whatever they hold. It is written here because the format's library says no
//! times with its samples.

use std::fmt::{Display, Write};

use http::{Response, StatusCode};
use jiff::Timestamp;

use super::{Body, respond};

/// A text that grows.
#[derive(Default)]
pub(super) struct Exposition(String);

impl Exposition {
    /// Begins a family; `kind` is `counter` or `gauge`.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to memory does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A sample of a family, as of a time if there is one.
    pub(super) fn sample(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        value: impl Display,
        at: Option<Timestamp>,
    ) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"", if index == 0 { '{' } else { ',' });
            for letter in text.chars() {
                match letter {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    other => self.0.push(other),
                }
            }
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = write!(self.0, " {value}");
        if let Some(at) = at {
            let _ = write!(self.0, " {}", at.as_millisecond());
        }
        self.0.push('\n');
    }

    /// The answer.
    pub(super) fn answer(self) -> Response<Body> {
        respond(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", self.0)
    }

    #[cfg(test)]
    pub(super) fn text(self) -> String {
        self.0
    }
}

/// Nanoseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "what is lost is far below what was measured")]
pub(super) fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// A time as seconds since 1970.
#[expect(clippy::cast_precision_loss, reason = "what is lost is below a microsecond")]
pub(super) fn since_epoch(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1e3
}
