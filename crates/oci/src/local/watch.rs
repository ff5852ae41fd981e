//! Finding what runs, and following it.
//!
//! Invariant: one task per sandbox reads what its holder reports; when that ends, the holder has, and every container
//! of it that had not ended is killed and recorded as ended with an unknown code. Answers to containerd's recovery of
//! tasks and its clean-up after dead shims.

use std::path::PathBuf;
use std::time::SystemTime;

use super::Local;
use super::connection::Connection;
use super::state::{Container, Phase, Record, Sandbox};
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
        let loaded = crate::blocking(move || Ok(read(&loading))).await?;
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
        match Connection::open(&folder, &id) {
            Ok(connection) if same_boot => self.follow(&id, connection).await,
            _ => self.lost(&id).await,
        }
    }

    /// Learns the state of a sandbox from its holder, and goes on listening in a task of its own.
    pub(super) async fn follow(&self, sandbox: &str, connection: Connection) -> Result<()> {
        connection.send(&Request::Watch, &[]).await?;
        loop {
            match connection.receive().await? {
                Some((Reply::Container(report), _)) => self.take_in(sandbox, report),
                Some((Reply::Done, _)) => break,
                Some(_) => {}
                None => return self.lost(sandbox).await,
            }
        }
        let (local, sandbox) = (self.clone(), sandbox.to_owned());
        tokio::spawn(async move {
            while let Ok(Some((reply, _))) = connection.receive().await {
                if let Reply::Container(report) = reply {
                    local.take_in(&sandbox, report);
                }
            }
            if let Err(error) = local.lost(&sandbox).await {
                tracing::error!("cleaning up after the shim of sandbox {sandbox}: {error}");
            }
        });
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
            let left: Vec<(String, PathBuf, String, Option<SystemTime>)> = state
                .containers
                .iter()
                .filter(|(_, it)| it.sandbox == sandbox)
                .filter(|(_, it)| it.phase.borrow().exit.is_none() && it.folder.join(START_FILE).exists())
                .map(|(id, it)| {
                    (id.clone(), it.folder.clone(), it.cgroup.clone(), it.phase.borrow().started_at)
                })
                .collect();
            (child, left)
        };
        let ended = crate::blocking(move || {
            if let Some(mut child) = child {
                let _ = child.wait();
            }
            let end = |(id, folder, cgroup, started_at): (String, PathBuf, String, Option<SystemTime>)| {
                let exit = end_orphan(&folder, &cgroup)?;
                Ok(Report { container: id, pid: None, started_at, exit: Some(exit) })
            };
            left.into_iter().map(end).collect::<Result<Vec<Report>>>()
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

/// Kills what runs without a holder. How it would have ended nobody will learn, unless the holder wrote it down.
fn end_orphan(folder: &std::path::Path, cgroup: &str) -> Result<Exit> {
    if let Ok(exit) = load(&folder.join(EXIT_FILE)) {
        return Ok(exit);
    }
    cgroups::kill(cgroup)?;
    let exit = Exit {
        code: 255,
        signal: None,
        oom_killed: false,
        finished_at: SystemTime::now(),
        message: Some("the process that held the sandbox ended, or the machine was restarted".to_owned()),
    };
    save(&folder.join(EXIT_FILE), &exit)?;
    Ok(exit)
}

type Found = (String, Record, Phase);

fn read(folder: &std::path::Path) -> Result<(shim::Sandbox, Vec<Found>)> {
    let record = load(&folder.join(SANDBOX_FILE))?;
    let mut containers = Vec::new();
    let list = folder.join(CONTAINERS);
    for entry in std::fs::read_dir(&list).map_err(Error::io("read", list))?.flatten() {
        let at = entry.path();
        let Ok(record) = load::<Record>(&at.join(RECORD_FILE)) else {
            // The record is written last: this one was never told of.
            let _ = std::fs::remove_dir_all(&at);
            continue;
        };
        let start: Option<Start> = load(&at.join(START_FILE)).ok();
        let phase = Phase {
            pid: start.as_ref().map(|start| start.pid),
            started_at: start.map(|start| start.started_at),
            exit: load(&at.join(EXIT_FILE)).ok(),
        };
        containers.push((entry.file_name().to_string_lossy().into_owned(), record, phase));
    }
    Ok((record, containers))
}
