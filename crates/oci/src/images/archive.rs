//! Import of archives: OCI image layouts and what `docker save` writes.
//!
//! Invariant: the archive is read once, front to back; content goes to the blob store under its own digest, so that
//! nothing in it can name a file of this machine. Answers to `ctr images import` and `docker load`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path};

use serde::Deserialize;

use super::content::{DOCUMENT_BYTES, Descriptor, Manifest};
use super::metered::decompress;
use super::store::{ImageStore, LAYER};
use super::{Image, pull, reference};
use crate::error::{Error, Result};

/// Most files of an archive.
const MOST_FILES: usize = 100_000;
/// An index of indexes goes no deeper.
const INDEX_DEPTH: usize = 4;

/// An image of `docker save`'s `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// What an archive holds.
#[derive(Default)]
struct Files {
    index: Option<Vec<u8>>,
    manifest: Option<Vec<u8>>,
    /// Path to digest and size.
    blobs: BTreeMap<String, (String, u64)>,
    /// Path to path.
    links: BTreeMap<String, String>,
}

/// Imports every image of the archive.
pub(super) fn import(store: &ImageStore, path: &Path, name: Option<&str>) -> Result<Vec<Image>> {
    let subject = path.display().to_string();
    let refused = |reason: String| Error::Archive { archive: subject.clone(), reason };
    let _lock = store.content.shared()?;
    let files = read(store, path, &subject)?;
    let found: Vec<(String, Vec<String>)> = if let Some(index) = &files.index {
        layout(store, index, &refused)?
    } else if let Some(manifest) = &files.manifest {
        saved(store, manifest, &files, &refused)?
    } else {
        let reason =
            "it is neither an OCI layout nor a Docker archive: it has no index.json and no manifest.json";
        return Err(refused(format!("{reason} (a root file system is imported as such)")));
    };
    if found.is_empty() {
        return Err(refused(format!("it has no image for linux/{}", reference::architecture())));
    }
    if name.is_some() && found.len() > 1 {
        return Err(refused(format!("it has {} images: one name does not do", found.len())));
    }
    let mut images = Vec::new();
    for (manifest, own) in found {
        let names = match name {
            Some(name) => vec![reference::normalise(name)?],
            None => own.iter().map(|name| reference::normalise(name)).collect::<Result<Vec<_>>>()?,
        };
        if names.is_empty() {
            return Err(refused("it names no image: a name has to be given".to_owned()));
        }
        images.push(store.adopt(&manifest, &names)?);
    }
    Ok(images)
}

fn read(store: &ImageStore, path: &Path, subject: &str) -> Result<Files> {
    let broken = |error: std::io::Error| Error::Archive {
        archive: subject.to_owned(),
        reason: format!("the archive is broken: {error}"),
    };
    let file = File::open(path).map_err(Error::io("open", path))?;
    let mut archive = tar::Archive::new(decompress(file).map_err(broken)?);
    let mut files = Files::default();
    for (count, entry) in archive.entries().map_err(broken)?.enumerate() {
        let mut entry = entry.map_err(broken)?;
        let name = plain(&entry.path().map_err(broken)?);
        if count >= MOST_FILES {
            return Err(broken(std::io::Error::other(format!("more than {MOST_FILES} files"))));
        }
        let kind = entry.header().entry_type();
        if kind.is_symlink() || kind.is_hard_link() {
            let target = entry.link_name().map_err(broken)?.unwrap_or_default().into_owned();
            let folder = if kind.is_symlink() { Path::new(&name).parent() } else { None };
            files.links.insert(name.clone(), plain(&folder.unwrap_or(Path::new("")).join(target)));
            continue;
        }
        if !kind.is_file() {
            continue;
        }
        match name.as_str() {
            "index.json" | "manifest.json" => {
                let mut bytes = Vec::new();
                entry.by_ref().take(DOCUMENT_BYTES).read_to_end(&mut bytes).map_err(broken)?;
                *(if name == "index.json" { &mut files.index } else { &mut files.manifest }) = Some(bytes);
            }
            "oci-layout" | "repositories" | "VERSION" => {}
            _ => {
                let expected = name.strip_prefix("blobs/sha256/").map(|hex| format!("sha256:{hex}"));
                let blob = format!("{name} of {subject}");
                let stored = store.content.copy(&mut entry, &blob, expected.as_deref())?;
                files.blobs.insert(name, stored);
            }
        }
    }
    Ok(files)
}

/// A path without `.`, `..` and a leading `/`: names in an archive are only compared, never opened.
fn plain(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
            Component::ParentDir => drop(parts.pop()),
            _ => {}
        }
    }
    parts.join("/")
}

type Found = Vec<(String, Vec<String>)>;

fn layout(store: &ImageStore, index: &[u8], refused: &dyn Fn(String) -> Error) -> Result<Found> {
    let index: Manifest = serde_json::from_slice(index)
        .map_err(|error| refused(format!("index.json does not parse: {error}")))?;
    let mut found: Found = Vec::new();
    let several_platforms = index.manifests.iter().all(|it| it.platform.is_some() && own_name(it).is_none());
    let top: Vec<&Descriptor> = match several_platforms && index.manifests.len() > 1 {
        true => pull::choose(&index.manifests).into_iter().collect(),
        false => index.manifests.iter().collect(),
    };
    for descriptor in top {
        let Some(digest) = resolve(store, descriptor, refused)? else { continue };
        let name = own_name(descriptor);
        match found.iter_mut().find(|(known, _)| *known == digest) {
            Some((_, names)) => names.extend(name),
            None => found.push((digest, name.into_iter().collect())),
        }
    }
    Ok(found)
}

/// Follows indexes to the manifest for this machine; `None` if there is none.
fn resolve(
    store: &ImageStore,
    from: &Descriptor,
    refused: &dyn Fn(String) -> Error,
) -> Result<Option<String>> {
    let mut digest = from.digest.clone();
    for _ in 0..INDEX_DEPTH {
        let document: Manifest = match store.content.document(&digest) {
            Err(error) if error.is_not_found() => return Err(refused(format!("it lacks blob {digest}"))),
            result => result?,
        };
        if document.manifests.is_empty() {
            let layers = document.config.iter().chain(&document.layers);
            for blob in layers {
                if !store.content.has(&blob.digest, 0)? {
                    return Err(refused(format!("it lacks blob {}", blob.digest)));
                }
            }
            return Ok(Some(digest));
        }
        match pull::choose(&document.manifests) {
            Some(chosen) => digest = chosen.digest.clone(),
            None => return Ok(None),
        }
    }
    Err(refused("its index is nested too deeply".to_owned()))
}

/// A full name, as containerd, Docker and Podman write it; a bare tag is none.
fn own_name(descriptor: &Descriptor) -> Option<String> {
    let annotations = descriptor.annotations.as_ref()?;
    let full = annotations.get("io.containerd.image.name");
    let reference = annotations.get("org.opencontainers.image.ref.name");
    full.or(reference.filter(|name| name.contains([':', '/']))).cloned()
}

fn saved(
    store: &ImageStore,
    manifest: &[u8],
    files: &Files,
    refused: &dyn Fn(String) -> Error,
) -> Result<Found> {
    let images: Vec<Saved> = serde_json::from_slice(manifest)
        .map_err(|error| refused(format!("manifest.json does not parse: {error}")))?;
    let find = |path: &str| {
        let path = plain(Path::new(path));
        let path = files.links.get(&path).unwrap_or(&path);
        files.blobs.get(path).ok_or_else(|| refused(format!("it lacks {path:?}")))
    };
    let mut found = Found::new();
    for image in images {
        let (config, _) = find(&image.config)?;
        let mut layers = Vec::new();
        for layer in &image.layers {
            let (digest, size) = find(layer)?.clone();
            layers.push(Descriptor { media_type: LAYER.to_owned(), digest, size, ..Descriptor::default() });
        }
        let manifest = store.compose(&store.content.read(config)?, layers)?;
        found.push((manifest, image.repo_tags.unwrap_or_default()));
    }
    Ok(found)
}
