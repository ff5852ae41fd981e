//! The bounded queue in front of the writer.
//!
//! Invariant: every command that was accepted is either answered or dropped, and a dropped one answers
//! [`Error::Closed`]; so nobody waits for ever.

use std::{sync::Arc, time::Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::limits::QUEUE_KIBIBYTES;
use crate::{Error, Outcome, Revision, Write, record};

/// Where the answer to a command goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// What the writer is asked to do.
pub(super) enum Command {
    Write(Write, Reply<Outcome>),
    Compact(Revision, Reply<()>),
}

impl Command {
    fn bytes(&self) -> usize {
        match self {
            Self::Write(write, _) => record::bytes_of(write),
            Self::Compact(..) => 0,
        }
    }
}

/// A command and its share of the queue's bound, which it holds until it is answered.
pub(super) struct Waiting {
    pub command: Command,
    pub share: OwnedSemaphorePermit,
}

pub(super) struct Queue {
    line: Mutex<Line>,
    filled: Condvar,
    shares: Arc<Semaphore>,
}

#[derive(Default)]
struct Line {
    waiting: Vec<Waiting>,
    closed: bool,
}

impl Default for Queue {
    fn default() -> Self {
        let shares = Arc::new(Semaphore::new(QUEUE_KIBIBYTES));
        Self { line: Mutex::default(), filled: Condvar::new(), shares }
    }
}

impl Queue {
    /// Puts a command in line, waiting for room if need be, and awaits its answer.
    pub async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let command = command(reply);
        // Values are limited, so this fits u32 and the semaphore.
        let size = u32::try_from(1 + command.bytes() / 1024).unwrap_or(u32::MAX);
        let share = self.shares.clone().acquire_many_owned(size).await.map_err(|_| Error::Closed)?;
        {
            let mut line = self.line.lock();
            if line.closed {
                return Err(Error::Closed);
            }
            line.waiting.push(Waiting { command, share });
            if line.waiting.len() == 1 {
                self.filled.notify_one();
            }
        }
        answer.await.unwrap_or(Err(Error::Closed))
    }

    /// Moves all that wait to the empty `to`, first awaiting the first until `deadline` (`None`: for ever).
    /// False once the queue is closed.
    pub fn take(&self, to: &mut Vec<Waiting>, deadline: Option<Instant>) -> bool {
        let mut line = self.line.lock();
        while line.waiting.is_empty() && !line.closed {
            match deadline {
                None => self.filled.wait(&mut line),
                Some(deadline) => {
                    if self.filled.wait_until(&mut line, deadline).timed_out() {
                        break;
                    }
                }
            }
        }
        std::mem::swap(&mut line.waiting, to);
        !line.closed
    }

    /// Refuses all further commands and drops those that wait.
    pub fn close(&self) {
        let waiting = {
            let mut line = self.line.lock();
            line.closed = true;
            std::mem::take(&mut line.waiting)
        };
        self.shares.close();
        self.filled.notify_all();
        drop(waiting);
    }
}
