//! What libcontainer logs as errors while it builds a container.
//!
//! Invariant: only in set-up processes; at most a pipe's worth is kept. Its errors name the step that failed and not
//! the cause, which it says only in its log; the process that says it is a descendant of the one that reports.

use std::fmt::{Debug, Write};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Collected complaints.
pub(super) struct Complaints(OwnedFd);

impl Complaints {
    /// Collects from now on, in this process and those forked from it.
    pub(super) fn collect() -> Option<Complaints> {
        let flags = rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK;
        let (read, write) = rustix::pipe::pipe_with(flags).ok()?;
        tracing::subscriber::set_global_default(Collector(write)).ok()?;
        Some(Complaints(read))
    }

    /// The first one, which is nearest to the cause.
    pub(super) fn first(self) -> Option<String> {
        let mut bytes = Vec::new();
        // Ends where there is nothing more to read: what was read is kept.
        let _ = File::from(self.0).take(64 << 10).read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).lines().next().map(str::to_owned)
    }
}

struct Collector(OwnedFd);

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let text = format!("{}{}", line.message, line.fields).replace('\n', " ");
        let _ = rustix::io::write(&self.0, format!("{text}\n").as_bytes());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
