//! Follows a file: when it changes, it is read again.
//!
//! Invariant: the folder is watched, not the file, so that a file that is replaced is followed as well as one that is
//! written to, and links that are turned to a new folder, too.

use anyhow::{Context, Result};
use rustix::fs::inotify;
use std::mem::MaybeUninit;
use std::path::Path;
use tokio::io::unix::AsyncFd;
use tokio_util::sync::CancellationToken;

/// Calls `read` whenever something in the file's folder changes and the file says something else than before, until
/// `stop`. A failure is told, and changes nothing.
///
/// # Errors
/// If the folder cannot be watched.
pub fn follow(
    path: &Path,
    read: impl Fn() -> Result<()> + Send + 'static,
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
                Ok(()) => tracing::info!(path = %path.display(), "a configuration was read again"),
                Err(error) => {
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
        follow(&path, read, stop.clone()).unwrap();
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
    }
}
