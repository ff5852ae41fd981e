//! Removes trees that containers filled.
//!
//! Invariant: nothing outside of the tree is touched, whatever links lie in it, and neither the stack nor the number of
//! open files grows with its depth, which a container can make as large as it likes. Answers to `os.RemoveAll`.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// Folders below each other that are emptied at once; what lies deeper is moved to the top first.
const DEPTH: usize = 32;

/// Removes a file or a tree. Succeeds if there is none. Blocks.
///
/// # Errors
/// If something of it cannot be removed.
pub fn remove(root: &Path) -> std::io::Result<()> {
    let folder = match open(CWD, root) {
        Ok(folder) => folder,
        Err(Errno::NOENT) => return Ok(()),
        // Not a folder, or a link to one.
        Err(Errno::NOTDIR | Errno::LOOP) => {
            return Ok(gone(rustix::fs::unlinkat(CWD, root, AtFlags::empty()))?);
        }
        Err(error) => return Err(error.into()),
    };
    let mut removal = Removal { root: &folder, moved: 0 };
    loop {
        let before = removal.moved;
        removal.empty(&folder, 0)?;
        // What was moved to the top is found there at the next look.
        if removal.moved == before {
            break;
        }
    }
    Ok(gone(rustix::fs::unlinkat(CWD, root, AtFlags::REMOVEDIR))?)
}

struct Removal<'a> {
    root: &'a OwnedFd,
    /// How many folders were moved to the top.
    moved: u64,
}

impl Removal<'_> {
    fn empty(&mut self, folder: &OwnedFd, depth: usize) -> rustix::io::Result<()> {
        let mut entries = Dir::read_from(folder)?;
        while let Some(entry) = entries.read() {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if !matches!(entry.file_type(), FileType::Directory | FileType::Unknown) {
                gone(rustix::fs::unlinkat(folder, name, AtFlags::empty()))?;
                continue;
            }
            match rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY | Errno::EXIST) if depth < DEPTH => {
                    let below = open(folder, name)?;
                    self.empty(&below, depth + 1)?;
                    gone(rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR))?;
                }
                Err(Errno::NOTEMPTY | Errno::EXIST) => self.raise(folder, name)?,
                Err(Errno::NOTDIR) => gone(rustix::fs::unlinkat(folder, name, AtFlags::empty()))?,
                other => gone(other)?,
            }
        }
        Ok(())
    }

    /// Moves a folder to the top, under a name that nothing has.
    fn raise(&mut self, folder: &OwnedFd, name: &CStr) -> rustix::io::Result<()> {
        loop {
            let other = format!(".removed-{}", self.moved);
            self.moved += 1;
            match rustix::fs::renameat_with(folder, name, self.root, other.as_str(), RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                result => return gone(result),
            }
        }
    }
}

fn open(at: impl AsFd, path: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, path, flags, Mode::empty())
}

/// What is gone already need not be removed.
fn gone(result: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes folders in each other, deeper than a path can say.
    fn dig(root: &Path, depth: usize) {
        let mut at = open(CWD, root).expect("the root");
        for _ in 0..depth {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).expect("a folder");
            rustix::fs::symlinkat("/etc", &at, "link").expect("a link");
            at = open(&at, "d").expect("the folder");
        }
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        rustix::fs::openat(&at, "file", flags, Mode::RUSR).expect("a file");
    }

    #[test]
    fn trees_of_any_depth_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let outside = folder.path().join("outside");
        std::fs::create_dir(&outside).expect("a folder");
        std::fs::write(outside.join("kept"), "").expect("a file");
        for depth in [0, 1, DEPTH, DEPTH + 1, DEPTH + 2, 4_000] {
            let root = folder.path().join("tree");
            std::fs::create_dir_all(root.join("wide/below")).expect("folders");
            std::fs::write(root.join("wide/below/.removed-0"), "").expect("a file");
            std::fs::write(root.join(".removed-0"), "").expect("a file");
            std::os::unix::fs::symlink(&outside, root.join("wide/out")).expect("a link");
            dig(&root, depth);
            // On a thread as small as that of a busy server.
            let removal = std::thread::Builder::new().stack_size(128 << 10).spawn(move || remove(&root));
            removal.expect("a thread").join().expect("no panic").expect("it is removed");
            assert!(!folder.path().join("tree").exists(), "{depth}");
        }
        assert!(outside.join("kept").exists());
        remove(&folder.path().join("nothing")).expect("nothing is removed");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&outside, &link).expect("a link");
        remove(&link).expect("the link is removed");
        assert!(outside.join("kept").exists() && link.symlink_metadata().is_err());
    }
}
