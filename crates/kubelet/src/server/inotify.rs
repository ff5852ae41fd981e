//! Told when a folder's files change.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

/// A folder that is listened to.
pub(super) struct Listener(AsyncFd<OwnedFd>);

impl Listener {
    /// Listens for files that are written, made or moved.
    pub(super) fn new(folder: &Path) -> io::Result<Listener> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let events = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::DELETE_SELF;
        inotify::add_watch(&inotify, folder, events)?;
        #[expect(unsafe_code, reason = "the descriptor is owned by what is registered")]
        // SAFETY: an `OwnedFd` stays open, and the same, until it is dropped with the registration.
        let registered = unsafe { AsyncFd::register(inotify) };
        Ok(Listener(registered.map_err(|error| error.into_parts().1)?))
    }

    /// Waits until something changed since the last call, and forgets what.
    pub(super) async fn changed(&self) -> io::Result<()> {
        let mut ready = self.0.readable().await?;
        let mut buffer = [0; 4096];
        loop {
            match rustix::io::read(self.0.get_ref(), &mut buffer[..]) {
                Ok(_) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    ready.clear_ready();
                    return Ok(());
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
