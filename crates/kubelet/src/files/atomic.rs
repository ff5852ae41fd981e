//! Replaces all files of a volume at once.
//!
//! A volume holds symbolic links through `..data` to a folder with a timestamp for a name; an update writes a new
//! folder and then moves `..data`. Invariant: a reader who resolves `..data` once sees one version of all files,
//! before, during and after a crash. Answers to `pkg/volume/util/atomic_writer.go`, whose layout programs know.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::Error;
use super::payload::Payload;

const DATA: &str = "..data";
const DATA_NEXT: &str = "..data_tmp";

/// Brings the folder `target` to `payload`; false if it was so already. `group` owns the files, if given.
pub fn write(target: &Path, payload: &Payload, group: Option<u32>, now: Timestamp) -> Result<bool, Error> {
    make_root(target, group).map_err(Error::file("make", target))?;
    let old = fs::read_link(target.join(DATA)).ok();
    let old_folder = old.as_ref().map(|name| target.join(name));
    if let Some(folder) = &old_folder
        && same(folder, payload, group)
    {
        links(target, payload)?;
        return Ok(false);
    }
    let folder = write_folder(target, payload, group, now)?;
    let (next, data) = (target.join(DATA_NEXT), target.join(DATA));
    let _ = fs::remove_file(&next);
    let name = PathBuf::from(folder.file_name().unwrap_or_default());
    symlink(&name, &next).map_err(Error::file("link", &next))?;
    fs::rename(&next, &data).map_err(Error::file("move", &next))?;
    links(target, payload)?;
    sweep(target, payload, &name)?;
    Ok(true)
}

/// The volume itself looks as an `emptyDir` does, which it is one of; containers cannot write to it.
fn make_root(target: &Path, group: Option<u32>) -> io::Result<()> {
    fs::create_dir_all(target)?;
    if group.is_some() {
        chown(target, None, group)?;
    }
    let mode = if group.is_some() { 0o2777 } else { 0o777 };
    fs::set_permissions(target, fs::Permissions::from_mode(mode))
}

/// The mode a file gets: a group that owns it can read it.
fn mode_of(mode: u32, group: Option<u32>) -> u32 {
    if group.is_some() { mode | 0o440 } else { mode }
}

fn same(folder: &Path, payload: &Payload, group: Option<u32>) -> bool {
    let mut found = BTreeSet::new();
    if collect(folder, "", &mut found).is_err() || found.len() != payload.len() {
        return false;
    }
    payload.iter().all(|(path, file)| {
        let full = folder.join(path);
        let metadata = fs::metadata(&full);
        found.contains(path)
            && metadata.is_ok_and(|metadata| metadata.mode() & 0o777 == mode_of(file.mode, group))
            && fs::read(&full).is_ok_and(|data| data == file.data)
    })
}

fn collect(folder: &Path, prefix: &str, found: &mut BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &format!("{name}/"), found)?;
        } else {
            found.insert(name);
        }
    }
    Ok(())
}

fn write_folder(
    target: &Path,
    payload: &Payload,
    group: Option<u32>,
    now: Timestamp,
) -> Result<PathBuf, Error> {
    let folder = target.join(now.strftime("..%Y_%m_%d_%H_%M_%S.%9f").to_string());
    let make = |folder: &Path| -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
        if let Some(group) = group {
            chown(folder, None, Some(group))?;
            fs::set_permissions(folder, fs::Permissions::from_mode(0o2755))?;
        }
        Ok(())
    };
    make(&folder).map_err(Error::file("create", &folder))?;
    for (path, file) in payload {
        let full = folder.join(path);
        if let Some(parent) = full.parent().filter(|parent| *parent != folder) {
            make(parent).map_err(Error::file("create", parent))?;
        }
        let put = || -> io::Result<()> {
            let mode = mode_of(file.mode, group);
            let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&full)?;
            out.write_all(&file.data)?;
            if file.owner.is_some() || group.is_some() {
                chown(&full, file.owner, group)?;
            }
            // After chown, and past the umask.
            out.set_permissions(fs::Permissions::from_mode(mode))
        };
        put().map_err(Error::file("write", &full))?;
    }
    Ok(folder)
}

/// The first parts of the paths: what is seen in the volume.
fn visible(payload: &Payload) -> BTreeSet<&str> {
    payload.keys().filter_map(|path| path.split('/').next()).collect()
}

fn links(target: &Path, payload: &Payload) -> Result<(), Error> {
    for name in visible(payload) {
        let (link, wanted) = (target.join(name), Path::new(DATA).join(name));
        if fs::read_link(&link).is_ok_and(|found| found == wanted) {
            continue;
        }
        let _ = fs::remove_file(&link);
        symlink(&wanted, &link).map_err(Error::file("link", &link))?;
    }
    Ok(())
}

/// Removes links to what is gone, and folders of earlier versions, also those that a crash left.
fn sweep(target: &Path, payload: &Payload, current: &Path) -> Result<(), Error> {
    let visible = visible(payload);
    for entry in fs::read_dir(target).map_err(Error::file("read", target))?.flatten() {
        let name = entry.file_name();
        let text = name.to_string_lossy();
        if text == DATA || Path::new(&name) == current || visible.contains(text.as_ref()) {
            continue;
        }
        let path = entry.path();
        let folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed = if folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(Error::file("remove", &path))?;
    }
    Ok(())
}
