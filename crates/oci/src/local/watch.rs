//! Finding what runs, and following it.
//!
//! Invariant: one task per sandbox reads what its holder reports; when that ends, the holder has, and every container
//! of it that had not ended is killed and recorded as ended with an unknown code. Answers to containerd's recovery of
//! tasks and its clean-up after dead shims.

use std::path::PathBuf;
use std::time::SystemTime;

use super::Local;
use super::connection::Connection;
use super::lifecycle::{erase, sibling};
use super::state::{Container, Phase, Record, Sandbox};
use crate::ImageStore;
use crate::cgroups;
use crate::error::{Error, Result};
use crate::shim;
use crate::shim::process::{CONTAINERS, EXIT_FILE, SANDBOX_FILE, START_FILE, Start, load, save};
use crate::shim::protocol::{Reply, Report, Request};
use crate::status::{Event, EventKind, Exit};

/// Name of a container's record in its folder.
pub(super) const RECORD_FILE: &str = "container.json";

impl Local {
    /// Takes in what a folder of a sandbox tells, and follows its holder if it lives.
    pub(super) async fn adopt(&self, folder: PathBuf) -> Result<()> {
        let Some(id) = folder.file_name().and_then(|name| name.to_str()).map(str::to_owned) else {
            return Ok(());
        };
        let loading = folder.clone();
        let images = self.0.images.clone();
        let loaded = crate::blocking(move || Ok(read(&loading, &images))).await?;
        let (record, containers) = match loaded {
            Ok(loaded) => loaded,
            // Its making was interrupted before the record was written: nothing was started yet.
            Err(error) => {
                tracing::info!("removing an incomplete sandbox: {error}");
                return crate::blocking(move || super::spawn::unmake(&folder, None)).await;
            }
        };
        let same_boot = record.boot == self.0.boot;
        {
            let mut state = self.0.state.lock();
            state.sandboxes.insert(id.clone(), Sandbox::new(folder.clone(), record, None));
            for (name, record, phase) in containers {
                let at = folder.join(CONTAINERS).join(&name);
                state.containers.insert(name, Container::new(&id, at, record, phase));
            }
        }
        match Connection::find(&folder, &id)?.filter(|_| same_boot) {
            Some(connection) => self.follow(&id, connection).await,
            None => self.lost(&id).await,
        }
    }

    /// Learns the state of a sandbox from its holder, and goes on listening in a task of its own.
    pub(super) async fn follow(&self, sandbox: &str, connection: Connection) -> Result<()> {
        self.catch_up(sandbox, &connection).await?;
        let (local, sandbox) = (self.clone(), sandbox.to_owned());
        tokio::spawn(async move {
            let folder = local.sandbox_folder(&sandbox);
            let mut connection = connection;
            loop {
                while let Ok(Some((reply, _))) = connection.receive().await {
                    if let Reply::Container(report) = reply {
                        local.take_in(&sandbox, report);
                    }
                }
                // A holder cuts off who does not read; only one that takes no connection any more has ended.
                match Connection::find(&folder, &sandbox) {
                    Ok(Some(again)) => connection = again,
                    Ok(None) => break,
                    Err(error) => {
                        tracing::error!("connecting again: {error}");
                        break;
                    }
                }
                let _ = local.catch_up(&sandbox, &connection).await;
            }
            if let Err(error) = local.lost(&sandbox).await {
                tracing::error!("cleaning up after the shim of sandbox {sandbox}: {error}");
            }
        });
        Ok(())
    }

    async fn catch_up(&self, sandbox: &str, connection: &Connection) -> Result<()> {
        connection.send(&Request::Watch, &[]).await?;
        while let Some((reply, _)) = connection.receive().await? {
            match reply {
                Reply::Container(report) => self.take_in(sandbox, report),
                _ => break,
            }
        }
        Ok(())
    }

    fn take_in(&self, sandbox: &str, report: Report) {
        let Report { container: id, pid, started_at, exit } = report;
        let mut news = Vec::new();
        {
            let state = self.0.state.lock();
            let Some(container) = state.containers.get(&id) else { return };
            container.phase.send_if_modified(|phase| {
                if phase.started_at.is_none() && started_at.is_some() {
                    news.push(EventKind::Started);
                }
                if let (None, Some(exit)) = (&phase.exit, &exit) {
                    news.push(EventKind::Exited(exit.clone()));
                }
                let changed = Phase { pid, started_at, exit: phase.exit.clone().or(exit) };
                let different = *phase != changed;
                *phase = changed;
                different
            });
        }
        for kind in news {
            self.emit(Event { container: id.clone(), sandbox: sandbox.to_owned(), kind });
        }
    }

    /// The holder of a sandbox has ended, whyever.
    pub(super) async fn lost(&self, sandbox: &str) -> Result<()> {
        let (child, left) = {
            let mut state = self.0.state.lock();
            let Some(known) = state.sandboxes.get_mut(sandbox) else { return Ok(()) };
            let child = known.child.take();
            let left: Vec<Orphan> = state
                .containers
                .iter()
                .filter(|(_, it)| it.sandbox == sandbox && it.phase.borrow().exit.is_none())
                .map(|(id, it)| Orphan {
                    id: id.clone(),
                    folder: it.folder.clone(),
                    cgroup: it.cgroup.clone(),
                    started_at: it.phase.borrow().started_at,
                })
                .collect();
            (child, left)
        };
        let ended = crate::blocking(move || {
            if let Some(mut child) = child {
                let _ = child.wait();
            }
            left.into_iter().filter_map(|orphan| orphan.end().transpose()).collect::<Result<Vec<Report>>>()
        })
        .await?;
        for report in ended {
            self.take_in(sandbox, report);
        }
        if let Some(known) = self.0.state.lock().sandboxes.get(sandbox) {
            known.ready.send_replace(false);
        }
        let event =
            Event { container: String::new(), sandbox: sandbox.to_owned(), kind: EventKind::SandboxLost };
        self.emit(event);
        Ok(())
    }
}

/// A container without a holder.
struct Orphan {
    id: String,
    folder: PathBuf,
    cgroup: String,
    started_at: Option<SystemTime>,
}

impl Orphan {
    /// Kills what runs of it. How it would have ended nobody will learn, unless the holder wrote it down; `None` if it
    /// was not started.
    fn end(self) -> Result<Option<Report>> {
        let file = self.folder.join(EXIT_FILE);
        let exit = match load(&file) {
            Ok(exit) => exit,
            Err(_) => {
                cgroups::kill(&self.cgroup)?;
                if !self.folder.join(START_FILE).exists() {
                    return Ok(None);
                }
                let message = "the process that held the sandbox ended, or the machine was restarted";
                let exit = Exit {
                    code: 255,
                    signal: None,
                    oom_killed: false,
                    finished_at: SystemTime::now(),
                    message: Some(message.to_owned()),
                };
                save(&file, &exit)?;
                exit
            }
        };
        Ok(Some(Report { container: self.id, pid: None, started_at: self.started_at, exit: Some(exit) }))
    }
}

type Found = (String, Record, Phase);

fn read(folder: &std::path::Path, images: &ImageStore) -> Result<(shim::Sandbox, Vec<Found>)> {
    let record: shim::Sandbox = load(&folder.join(SANDBOX_FILE))?;
    let mut containers = Vec::new();
    let list = folder.join(CONTAINERS);
    for entry in std::fs::read_dir(&list).map_err(Error::io("read", list))?.flatten() {
        let at = entry.path();
        let id = entry.file_name().to_string_lossy().into_owned();
        let Ok(record) = load::<Record>(&at.join(RECORD_FILE)) else {
            // The record is written last: nobody was ever told of this one.
            erase(images, &id, &at, &sibling(&record.cgroup, &id))?;
            continue;
        };
        let start: Option<Start> = load(&at.join(START_FILE)).ok();
        let phase = Phase {
            pid: start.as_ref().map(|start| start.pid),
            started_at: start.map(|start| start.started_at),
            exit: load(&at.join(EXIT_FILE)).ok(),
        };
        containers.push((id, record, phase));
    }
    Ok((record, containers))
}
