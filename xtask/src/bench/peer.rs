//! The store that upstream keeps its objects in, alone: an etcd that is started beside gifee in the same run.
//!
//! Invariant: it is given less to do than gifee is (no TLS, no identity, no validation, no object), so what gifee does
//! sooner than this, it does sooner than kube-apiserver on the same disk. It is ended when its value is dropped.

use super::client::Endpoint;
use super::objects::full;
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Under which keys are written.
const PREFIX: &str = "/registry/pods/default/";

/// A running etcd of one member, which answers JSON over plain HTTP.
pub struct Etcd {
    _child: Child,
    /// Where it answers.
    pub endpoint: Endpoint,
}

impl Etcd {
    /// Starts it with its data in `folder`.
    ///
    /// # Errors
    /// If it does not come up.
    pub async fn start(binary: &Path, folder: &Path) -> Result<Self> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (clients, peers) = (TcpListener::bind(any)?, TcpListener::bind(any)?);
        let (address, peer) = (clients.local_addr()?, format!("http://{}", peers.local_addr()?));
        drop((clients, peers));
        let client = format!("http://{address}");
        let mut child = Command::new(binary)
            .arg("--data-dir")
            .arg(folder)
            .args(["--name", "bench", "--initial-cluster", &format!("bench={peer}")])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        let mut lines = BufReader::new(child.stderr.take().context("no output")?).lines();
        while !lines.next_line().await?.context("etcd did not come up")?.contains("ready to serve") {}
        // It goes on to tell what it does, and would wait for a reader.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { _child: child, endpoint: Endpoint::plain(address) })
    }
}

/// A watch of all that is written; a line says that it has begun, then each event comes as one.
pub fn watch() -> Vec<u8> {
    let end = PREFIX.replace("default/", "default0");
    let range = json!({ "key": STANDARD.encode(PREFIX), "range_end": STANDARD.encode(end) });
    full("POST", "/v3/watch", &json!({ "create_request": range }))
}

/// A write of an object as kube-apiserver would put it.
pub fn put(object: &Value) -> Vec<u8> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let value = STANDARD.encode(object.to_string());
    full("POST", "/v3/kv/put", &json!({ "key": STANDARD.encode(format!("{PREFIX}{name}")), "value": value }))
}
