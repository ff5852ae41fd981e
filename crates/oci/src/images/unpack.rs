//! Layers: from a tar to a folder that overlayfs can stack.
//!
//! Invariant: whatever an archive says, nothing outside of the folder is read, written or linked: the kernel resolves
//! every path with the folder as root, an entry whose name climbs out is an error that names it, and sizes and counts
//! are bounded. Whiteouts become what overlayfs understands. Answers to containerd's `archive.Apply` and to Docker's
//! `pkg/archive`.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use tar::EntryType;

use super::metered::Metered;
use crate::error::{Error, Result};
use crate::rooted;

/// Most entries of a layer.
pub(super) const MOST_ENTRIES: usize = 2_000_000;
/// Most bytes of a layer, uncompressed.
pub(super) const MOST_BYTES: u64 = 128 << 30;
/// Longest name of an entry.
const NAME_BYTES: usize = 4096;

const WHITEOUT: &[u8] = b".wh.";
const WHITEOUT_META: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What unpacking a layer gave.
#[derive(Debug)]
pub(super) struct Unpacked {
    /// Digest of the uncompressed archive.
    pub diff_id: String,
    /// Folders that entries lie in, but that the archive itself does not have.
    pub implied: Vec<PathBuf>,
}

/// Unpacks a layer, which may be compressed, into an empty folder. `subject` names it in errors.
pub(super) fn unpack(from: impl Read, subject: &str, folder: &Path) -> Result<Unpacked> {
    let metered = Metered::new(super::metered::decompress(from).map_err(Error::system(subject.to_owned()))?);
    let meter = metered.meter();
    let root = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| Error::io("open", folder)(error.into()))?;
    let mut layer =
        Layer { root, subject, parent: None, folders: HashMap::new(), buffer: vec![0; 256 << 10] };
    let broken = |error: std::io::Error| Error::Archive {
        archive: subject.to_owned(),
        reason: format!("the archive is broken or too large: {error}"),
    };
    let mut archive = tar::Archive::new(metered);
    let mut entries = archive.entries().map_err(broken)?;
    for count in 0.. {
        // Whatever the library reads to find the next entry (long names, attributes) stays below this.
        meter.allow_header();
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(broken)?;
        if count >= MOST_ENTRIES {
            return Err(layer.refused(format!("it has more than {MOST_ENTRIES} entries")));
        }
        meter.allow_content();
        layer.entry(&mut entry)?;
    }
    meter.allow_content();
    let implied = layer.finish()?;
    let metered = archive.into_inner();
    let diff_id = metered.finish().map_err(broken)?;
    Ok(Unpacked { diff_id, implied })
}

/// A layer while it is unpacked.
struct Layer<'a> {
    root: OwnedFd,
    subject: &'a str,
    /// The folder of the last entry: archives are in order, so it is usually the next one's as well.
    parent: Option<(PathBuf, Rc<OwnedFd>)>,
    /// Folders, with the time that is set last of all; `None` for those that no entry describes.
    folders: HashMap<PathBuf, Option<Timestamps>>,
    buffer: Vec<u8>,
}

/// What an entry says about what it describes.
struct Attributes {
    mode: Mode,
    uid: Uid,
    gid: Gid,
    times: Timestamps,
    extended: Vec<(OsString, Vec<u8>)>,
}

impl Layer<'_> {
    fn refused(&self, reason: String) -> Error {
        Error::Archive { archive: self.subject.to_owned(), reason }
    }

    fn failed<'a>(&'a self, path: &'a Path) -> impl Fn(Errno) -> Error + 'a {
        move |error| {
            let error = std::io::Error::from(error);
            self.refused(format!("entry {:?} cannot be unpacked: {error}", path.display()))
        }
    }

    fn entry(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> Result<()> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let raw = entry.path_bytes().into_owned();
        let path = self.inside(&raw, &raw)?;
        let attributes = self.attributes(entry)?;
        let Some((folder, name)) = rooted::split(&path) else {
            if kind.is_dir() {
                self.describe(Path::new(""), self.root.as_fd().try_clone_to_owned().ok(), &attributes)?;
                self.folders.insert(PathBuf::new(), Some(attributes.times));
            }
            return Ok(());
        };
        let (folder, name) = (folder.to_owned(), name.to_owned());
        let parent = self.open_parent(&folder)?;
        if name.as_bytes().starts_with(WHITEOUT) {
            return self.whiteout(&path, &folder, &parent, name.as_bytes());
        }
        if kind.is_dir() {
            return self.folder(&path, &parent, &name, &attributes);
        }
        self.make_room(&path, &parent, &name)?;
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(entry, &path, &parent, &name, &attributes)
            }
            EntryType::Link => self.hard_link(entry, &raw, &path, &parent, &name),
            EntryType::Symlink => self.symbolic_link(entry, &path, &parent, &name, &attributes),
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                self.node(entry, kind, &path, &parent, &name, &attributes)
            }
            other => Err(self.refused(format!(
                "entry {:?} is of an unknown kind {:?}",
                path.display(),
                other.as_byte()
            ))),
        }
    }

    /// The entry's name relative to the root; an error if it climbs out.
    fn inside(&self, name: &[u8], entry: &[u8]) -> Result<PathBuf> {
        let shown = String::from_utf8_lossy(entry);
        if name.len() > NAME_BYTES || name.contains(&0) {
            let head: String = shown.chars().take(64).collect();
            return Err(self.refused(format!("entry {head:?}… has a name that is too long or holds a NUL")));
        }
        let mut path = PathBuf::new();
        for part in Path::new(OsStr::from_bytes(name)).components() {
            match part {
                Component::Normal(part) => path.push(part),
                Component::ParentDir if !path.pop() => {
                    return Err(self.refused(format!("entry {shown:?} escapes the root filesystem")));
                }
                _ => {}
            }
        }
        Ok(path)
    }

    fn open_parent(&mut self, folder: &Path) -> Result<Rc<OwnedFd>> {
        if let Some((path, file)) = &self.parent
            && path == folder
        {
            return Ok(file.clone());
        }
        // Folders that no entry has described so far; an entry for them may still come.
        let mut at = PathBuf::new();
        for part in folder.components() {
            at.push(part);
            if !self.folders.contains_key(&at) {
                self.folders.insert(at.clone(), None);
            }
        }
        let opened = rooted::create_folders(&self.root, folder).map_err(self.failed(folder))?;
        let file = Rc::new(opened);
        self.parent = Some((folder.to_owned(), file.clone()));
        Ok(file)
    }

    fn attributes(&self, entry: &mut tar::Entry<'_, impl Read>) -> Result<Attributes> {
        let header = entry.header();
        // An empty field stands for root.
        let number = |result: std::io::Result<u64>, what: &str| {
            u32::try_from(result.unwrap_or(0))
                .ok()
                .ok_or_else(|| self.refused(format!("entry {:?} has an invalid {what}", entry_name(entry))))
        };
        let mode = header.mode().unwrap_or(0o644);
        let (uid, gid) = (number(header.uid(), "user")?, number(header.gid(), "group")?);
        let seconds = i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(0);
        let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        let mut extended = Vec::new();
        if let Ok(Some(extensions)) = entry.pax_extensions() {
            for extension in extensions.flatten() {
                let Some(name) = extension.key_bytes().strip_prefix(b"SCHILY.xattr.") else { continue };
                // `trusted.overlay.…` would let an archive point overlayfs anywhere.
                if !name.starts_with(b"trusted.") {
                    extended.push((OsString::from_vec(name.to_vec()), extension.value_bytes().to_vec()));
                }
            }
        }
        Ok(Attributes {
            mode: Mode::from_raw_mode(mode & 0o7777),
            uid: Uid::from_raw(uid),
            gid: Gid::from_raw(gid),
            times: Timestamps { last_access: time, last_modification: time },
            extended,
        })
    }

    /// Sets owner, mode, attributes of an open file or folder. The order matters: a change of owner clears set-user-id
    /// and file capabilities.
    fn describe(&self, path: &Path, file: Option<OwnedFd>, attributes: &Attributes) -> Result<()> {
        let Some(file) = file else { return Ok(()) };
        let failed = self.failed(path);
        // Also works on handles that are not open for anything.
        let name = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        let (uid, gid) = (Some(attributes.uid), Some(attributes.gid));
        rustix::fs::chownat(&file, "", uid, gid, AtFlags::EMPTY_PATH).map_err(&failed)?;
        rustix::fs::chmod(&name, attributes.mode).map_err(&failed)?;
        for (key, value) in &attributes.extended {
            match rustix::fs::setxattr(&name, key, value, XattrFlags::empty()) {
                // Labels of a security module that this machine does not have.
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }

    /// An earlier entry of the same name gives way.
    fn make_room(&self, path: &Path, parent: &OwnedFd, name: &OsStr) -> Result<()> {
        match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR) => match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
                Ok(()) => Ok(()),
                Err(error) => Err(self.failed(path)(error)),
            },
            Err(error) => Err(self.failed(path)(error)),
        }
    }

    fn whiteout(&mut self, path: &Path, folder: &Path, parent: &OwnedFd, name: &[u8]) -> Result<()> {
        let failed = self.failed(path);
        if name == OPAQUE {
            let at = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(parent));
            rustix::fs::setxattr(at, "trusted.overlay.opaque", b"y", XattrFlags::empty()).map_err(failed)?;
            return Ok(());
        }
        if name.starts_with(WHITEOUT_META) {
            return Ok(());
        }
        let hidden = OsStr::from_bytes(&name[WHITEOUT.len()..]);
        if hidden.is_empty() || hidden == "." || hidden == ".." {
            return Err(self.refused(format!("entry {:?} is not a valid whiteout", path.display())));
        }
        match rustix::fs::mknodat(parent, hidden, FileType::CharacterDevice, Mode::empty(), 0) {
            // The layer brings something of this name itself.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(failed(error)),
        }
        drop(failed);
        self.folders.remove(&folder.join(hidden));
        Ok(())
    }

    fn folder(&mut self, path: &Path, parent: &OwnedFd, name: &OsStr, attributes: &Attributes) -> Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => rustix::fs::openat(parent, name, flags, Mode::empty()),
            Err(Errno::EXIST) => match rustix::fs::openat(parent, name, flags, Mode::empty()) {
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    self.make_room(path, parent, name)?;
                    rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))
                        .and_then(|()| rustix::fs::openat(parent, name, flags, Mode::empty()))
                }
                result => result,
            },
            Err(error) => Err(error),
        };
        let opened = opened.map_err(self.failed(path))?;
        self.describe(path, Some(opened), attributes)?;
        self.folders.insert(path.to_owned(), Some(attributes.times.clone()));
        Ok(())
    }

    fn file(
        &mut self,
        entry: &mut tar::Entry<'_, impl Read>,
        path: &Path,
        parent: &OwnedFd,
        name: &OsStr,
        attributes: &Attributes,
    ) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file =
            rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600)).map_err(self.failed(path))?;
        let mut file = File::from(file);
        loop {
            let length = entry.read(&mut self.buffer).map_err(|error| {
                self.refused(format!("entry {:?} is broken or too large: {error}", path.display()))
            })?;
            if length == 0 {
                break;
            }
            file.write_all(&self.buffer[..length]).map_err(|error| Error::System {
                operation: format!("unpack entry {:?} of {}", path.display(), self.subject),
                source: error,
            })?;
        }
        let file = OwnedFd::from(file);
        let times = rustix::fs::futimens(&file, &attributes.times);
        self.describe(path, Some(file), attributes)?;
        times.map_err(self.failed(path))
    }

    fn hard_link(
        &mut self,
        entry: &tar::Entry<'_, impl Read>,
        raw: &[u8],
        path: &Path,
        parent: &OwnedFd,
        name: &OsStr,
    ) -> Result<()> {
        let target = entry.link_name_bytes().unwrap_or_default();
        let target = self.inside(&target, raw)?;
        let Some((folder, target_name)) = rooted::split(&target) else {
            return Err(self.refused(format!("entry {:?} is a hard link to nothing", path.display())));
        };
        let linked = rooted::open_folder(&self.root, folder).and_then(|folder| {
            // Never through a link: the target itself is linked, whatever it is.
            rustix::fs::linkat(&folder, target_name, parent, name, AtFlags::empty())
        });
        linked.map_err(|error| {
            let error = std::io::Error::from(error);
            let (path, target) = (path.display(), target.display());
            self.refused(format!("entry {path:?} cannot be linked to {target:?}: {error}"))
        })
    }

    fn symbolic_link(
        &mut self,
        entry: &tar::Entry<'_, impl Read>,
        path: &Path,
        parent: &OwnedFd,
        name: &OsStr,
        attributes: &Attributes,
    ) -> Result<()> {
        let failed = self.failed(path);
        let target = entry.link_name_bytes().unwrap_or_default().into_owned();
        // Where it points is of no concern: nothing is ever resolved past the root.
        rustix::fs::symlinkat(OsStr::from_bytes(&target), parent, name).map_err(&failed)?;
        let (uid, gid) = (Some(attributes.uid), Some(attributes.gid));
        rustix::fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(&failed)?;
        rustix::fs::utimensat(parent, name, &attributes.times, AtFlags::SYMLINK_NOFOLLOW).map_err(&failed)
    }

    fn node(
        &mut self,
        entry: &tar::Entry<'_, impl Read>,
        kind: EntryType,
        path: &Path,
        parent: &OwnedFd,
        name: &OsStr,
        attributes: &Attributes,
    ) -> Result<()> {
        let failed = self.failed(path);
        let header = entry.header();
        let part = |number: std::io::Result<Option<u32>>| number.ok().flatten().unwrap_or(0);
        let device = rustix::fs::makedev(part(header.device_major()), part(header.device_minor()));
        let (kind, device) = match kind {
            EntryType::Fifo => (FileType::Fifo, 0),
            EntryType::Block => (FileType::BlockDevice, device),
            _ => (FileType::CharacterDevice, device),
        };
        rustix::fs::mknodat(parent, name, kind, attributes.mode, device).map_err(&failed)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let node = rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(&failed)?;
        self.describe(path, Some(node), attributes)?;
        rustix::fs::utimensat(parent, name, &attributes.times, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)
    }

    /// Folders get their times when nothing is put into them any more.
    fn finish(&mut self) -> Result<Vec<PathBuf>> {
        self.parent = None;
        let mut implied = Vec::new();
        for (path, times) in std::mem::take(&mut self.folders) {
            let Some(times) = times else {
                implied.push(path);
                continue;
            };
            // It may have given way to something else since.
            if let Ok(folder) =
                rooted::open(&self.root, &path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
            {
                rustix::fs::futimens(&folder, &times).map_err(self.failed(&path))?;
            }
        }
        implied.sort_unstable();
        Ok(implied)
    }
}

fn entry_name(entry: &tar::Entry<'_, impl Read>) -> String {
    String::from_utf8_lossy(&entry.path_bytes()).into_owned()
}

/// Gives folders that a layer only implies what they are in the layers below, which overlayfs would otherwise hide.
pub(super) fn inherit(folder: &Path, implied: &[PathBuf], below: &[PathBuf]) -> Result<()> {
    let root = File::open(folder).map_err(Error::io("open", folder))?;
    let below: Vec<File> = below.iter().flat_map(File::open).collect();
    for path in implied {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let Ok(ours) = rooted::open(&root, path, flags, Mode::empty()) else { continue };
        let found = below.iter().find_map(|layer| rooted::open(layer, path, flags, Mode::empty()).ok());
        let Some(theirs) = found else { continue };
        copy_attributes(&theirs, &ours).map_err(|error| Error::io("describe", path)(error.into()))?;
    }
    Ok(())
}

fn copy_attributes(from: &OwnedFd, to: &OwnedFd) -> rustix::io::Result<()> {
    let about = rustix::fs::fstat(from)?;
    rustix::fs::fchown(to, Some(Uid::from_raw(about.st_uid)), Some(Gid::from_raw(about.st_gid)))?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(about.st_mode & 0o7777))?;
    let time = Timespec { tv_sec: about.st_mtime as i64, tv_nsec: about.st_mtime_nsec as _ };
    rustix::fs::futimens(to, &Timestamps { last_access: time, last_modification: time })
}
