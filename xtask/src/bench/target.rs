//! What is measured against: a gifee that is started for it, or the ceiling.
//!
//! Invariant: what is started here is ended when its value is dropped, and its data with it.

use super::client::Endpoint;
use super::objects::bare;
use super::process::Process;
use anyhow::{Context, Result, bail, ensure};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A server that answers.
#[derive(Clone)]
pub struct Target {
    /// Where.
    pub endpoint: Endpoint,
    /// Which process.
    pub process: Process,
}

/// A gifee of a data directory of its own.
pub struct Cluster {
    binary: PathBuf,
    folder: PathBuf,
    ports: [u16; 2],
}

impl Cluster {
    /// Not started yet; its data will be in `folder`.
    ///
    /// # Errors
    /// If no ports are free.
    pub fn new(binary: &Path, folder: &Path) -> Result<Self> {
        // Both at once, so that they differ.
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let (api, kubelet) = (TcpListener::bind(any)?, TcpListener::bind(any)?);
        let ports = [api.local_addr()?.port(), kubelet.local_addr()?.port()];
        Ok(Self { binary: binary.to_owned(), folder: folder.to_owned(), ports })
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(words).arg("--data-dir").arg(&self.folder).stdin(Stdio::null());
        command
    }

    /// Runs `gifee server` or `gifee up` until it is ready, and says how long that took.
    ///
    /// # Errors
    /// With what it printed, if it fails.
    pub async fn start(&self, role: &str) -> Result<Duration> {
        self.start_with(role, &[]).await
    }

    /// The same with further flags.
    ///
    /// # Errors
    /// With what it printed, if it fails.
    pub async fn start_with(&self, role: &str, more: &[&str]) -> Result<Duration> {
        let [api, kubelet] = self.ports.map(|port| port.to_string());
        let mut words = vec![role, "--detach", "--api-port", &api, "--kubelet-port", &kubelet];
        words.extend(more);
        let begun = Instant::now();
        self.run(&words).await?;
        Ok(begun.elapsed())
    }

    /// Its data directory.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs an applet on the data directory.
    ///
    /// # Errors
    /// With what it printed, if it fails.
    pub async fn run(&self, words: &[&str]) -> Result<()> {
        let output = tokio::process::Command::from(self.command(words)).output().await?;
        let printed = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ensure!(
            output.status.success(),
            "gifee {} failed:\n{}{}",
            words.join(" "),
            printed(&output.stdout),
            printed(&output.stderr)
        );
        Ok(())
    }

    /// The running server.
    ///
    /// # Errors
    /// If it does not run.
    pub fn target(&self) -> Result<Target> {
        let lock = self.folder.join("gifee.lock");
        let process = std::fs::read_to_string(&lock)
            .with_context(|| format!("reading {}", lock.display()))?
            .trim()
            .parse()
            .context("no process number in the lock")?;
        let endpoint = Endpoint::of_kubeconfig(&self.folder.join("kubeconfig"))?;
        Ok(Target { endpoint, process: Process(process) })
    }

    /// Starts a control plane alone, whose namespace `default` takes Pods when this returns.
    ///
    /// # Errors
    /// If it does not come up.
    pub async fn server(binary: &Path, folder: &Path) -> Result<(Self, Target)> {
        let cluster = Self::new(binary, folder)?;
        cluster.start("server").await?;
        let target = cluster.target()?;
        target.await_account().await?;
        Ok((cluster, target))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.folder.exists() {
            return;
        }
        match self.command(&["down", "--purge"]).output() {
            Ok(output) if output.status.success() => {}
            Ok(output) => eprintln!("gifee down failed: {}", String::from_utf8_lossy(&output.stderr)),
            Err(error) => eprintln!("gifee down could not run: {error}"),
        }
    }
}

impl Target {
    /// Waits until the namespace `default` has the service account that Pods in it need.
    ///
    /// # Errors
    /// If the server ends the watch.
    pub async fn await_account(&self) -> Result<()> {
        let path =
            "/api/v1/namespaces/default/serviceaccounts?watch=true&fieldSelector=metadata.name%3Ddefault";
        self.await_line(path, |_| true).await
    }

    /// Follows a watch until a line of it is what is waited for.
    ///
    /// # Errors
    /// If the server refuses or ends the watch.
    pub async fn await_line(&self, path: &str, enough: impl FnMut(&str) -> bool) -> Result<()> {
        let mut connection = self.endpoint.connect().await?;
        let code = connection.send(&bare("GET", path)).await?;
        if code != 200 {
            bail!("GET {path}: {code}");
        }
        connection.lines_until(enough).await
    }
}
