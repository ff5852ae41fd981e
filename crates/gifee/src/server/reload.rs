//! Follows a file: when it changes, it is read again, and that is counted.
//!
//! Invariant: the folder is watched, not the file, so that a file that is replaced is followed as well as one that is
//! written to, and links that are turned to a new folder, too.

use anyhow::{Context, Result};
use gifee_apiserver::seam::Exporter;
use gifee_base::{Clock, SystemClock};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use ring::digest::{SHA256, digest};
use rustix::fs::inotify;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio::io::unix::AsyncFd;
use tokio_util::sync::CancellationToken;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    status: &'static str,
    apiserver_id_hash: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ContentLabels {
    apiserver_id_hash: Arc<str>,
    hash: String,
}

/// How often a configuration was read again, when last, and what it is; under upstream's names.
#[derive(Clone)]
pub struct Reloads {
    /// Whose configuration: `authentication` or `authorization`.
    what: &'static str,
    server: Arc<str>,
    total: Family<Labels, Counter>,
    last: Family<Labels, Gauge<f64, AtomicU64>>,
    content: Family<ContentLabels, Gauge>,
}

fn hash(bytes: &[u8]) -> String {
    let digits: String = digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

impl Reloads {
    /// None yet, of a server of this name.
    pub fn new(what: &'static str, server: &str) -> Self {
        let server = hash(server.as_bytes()).into();
        let (total, last, content) = (Family::default(), Family::default(), Family::default());
        Self { what, server, total, last, content }
    }

    /// What the file holds is in effect.
    fn shown(&self, bytes: &[u8]) {
        self.content.clear();
        let labels = ContentLabels { apiserver_id_hash: self.server.clone(), hash: hash(bytes) };
        self.content.get_or_create(&labels).set(1);
    }

    fn read(&self, status: &'static str) {
        let labels = Labels { status, apiserver_id_hash: self.server.clone() };
        self.total.get_or_create(&labels).inc();
        self.last.get_or_create(&labels).set(SystemClock.now().as_duration().as_secs_f64());
    }
}

impl Exporter for Reloads {
    fn register(&self, registry: &mut Registry) {
        let name = |rest: &str| format!("apiserver_{}_config_controller_{rest}", self.what);
        let what = "How often the configuration was read again";
        registry.register(name("automatic_reloads"), what, self.total.clone());
        let what = "When it was last, in seconds since the epoch";
        registry.register(name("automatic_reload_last_timestamp_seconds"), what, self.last.clone());
        let what = "What the configuration in effect hashes to";
        registry.register(name("last_config_info"), what, self.content.clone());
    }
}

/// Calls `read` whenever something in the file's folder changes and the file says something else than before, until
/// `stop`. A failure is told, and changes nothing.
///
/// # Errors
/// If the folder cannot be watched.
pub fn follow(
    path: &Path,
    read: impl Fn() -> Result<()> + Send + 'static,
    reloads: Reloads,
    stop: CancellationToken,
) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
    let changes =
        inotify::WatchFlags::CLOSE_WRITE | inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::CREATE;
    inotify::add_watch(&watch, folder, changes).with_context(|| format!("watching {}", folder.display()))?;
    // SAFETY: the descriptor is owned, and lives as long as its registration.
    let watch = unsafe { AsyncFd::register(watch) }?;
    let path = path.to_owned();
    let mut last = std::fs::read(&path).ok();
    reloads.shown(last.as_deref().unwrap_or_default());
    tokio::spawn(async move {
        loop {
            let ready = tokio::select! {
                () = stop.cancelled() => return,
                ready = watch.readable() => ready,
            };
            let Ok(mut ready) = ready else { return };
            let mut buffer = [MaybeUninit::uninit(); 4_096];
            let mut reader = inotify::Reader::new(watch.get_ref(), &mut buffer);
            // What happened does not matter: the file is looked at once for all of it.
            while reader.next().is_ok() {}
            ready.clear_ready();
            let now = std::fs::read(&path).ok();
            if now.is_none() || now == last {
                continue;
            }
            last = now;
            match read() {
                Ok(()) => {
                    reloads.read("success");
                    reloads.shown(last.as_deref().unwrap_or_default());
                    tracing::info!(path = %path.display(), "a configuration was read again");
                }
                Err(error) => {
                    reloads.read("failure");
                    tracing::error!(path = %path.display(), error = format!("{error:#}"), "a changed configuration is wrong; the one before stays");
                }
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[tokio::test]
    async fn a_file_is_read_again_when_it_is_written_or_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, "one").unwrap();
        let (count, stop) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let counted = count.clone();
        let read = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        let reloads = Reloads::new("authentication", "a");
        follow(&path, read, reloads.clone(), stop.clone()).unwrap();
        let until = async |wanted: usize| {
            for _ in 0..1_000 {
                if count.load(Ordering::Relaxed) == wanted {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            panic!("{} of {wanted}", count.load(Ordering::Relaxed));
        };
        std::fs::write(&path, "two").unwrap();
        until(1).await;
        std::fs::write(folder.path().join("other"), "x").unwrap();
        let next = folder.path().join("next");
        std::fs::write(&next, "three").unwrap();
        std::fs::rename(&next, &path).unwrap();
        until(2).await;
        stop.cancel();
        let mut registry = Registry::default();
        reloads.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let server =
            "apiserver_id_hash=\"sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb\"";
        let read = format!(
            "apiserver_authentication_config_controller_automatic_reloads_total{{status=\"success\",{server}}} "
        );
        assert!(text.contains(&read), "{text}");
        assert!(
            text.contains(&format!("config_controller_last_config_info{{{server},hash=\"sha256:")),
            "{text}"
        );
    }
}
