//! The image store: what is present, and what becomes of it.
//!
//! Invariant: work on files is done on blocking threads; one pull per reference at a time, a second one waits for the
//! first. Answers to CRI's `ImageService` as containerd implements it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::content::{Configuration, Content, Descriptor, Manifest, RootFs, sync_folder, verify};
use super::unpack::{self, Unpacked};
use super::{Auth, Config, Image, ProcessConfig, Progress, archive, pull, reference};
use crate::error::{Error, Result};
use crate::runtime::ImageService;
use crate::status::DiskUsage;

/// The built-in [`ImageService`]: a folder with blobs, layers and names.
#[derive(Clone)]
pub struct ImageStore {
    pub(super) content: Content,
    pub(super) config: Arc<Config>,
    /// References that are being pulled.
    pulls: Arc<Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>>,
}

impl std::fmt::Debug for ImageStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ImageStore").field(&self.content.root()).finish()
    }
}

/// An image's layers on disk, for whoever stacks them.
#[derive(Clone, Debug)]
pub struct Stack {
    /// The image.
    pub image: Image,
    /// Folder that the layers lie in.
    pub folder: PathBuf,
    /// Their names in it, top first; never empty.
    pub layers: Vec<String>,
    manifest: String,
}

/// A layer that is unpacked, but does not have its name yet.
pub(super) struct Staged {
    folder: tempfile::TempDir,
    unpacked: Unpacked,
}

/// A layer of an image that overlays nothing.
const EMPTY: &str = "empty";

impl ImageStore {
    /// Opens the store, creating its folders if needed. Blocks.
    pub fn open(config: Config) -> Result<ImageStore> {
        let content = Content::open(&config.root)?;
        let empty = config.root.join("layers").join(EMPTY);
        std::fs::create_dir_all(&empty).map_err(Error::io("create folder", empty))?;
        Ok(ImageStore { content, config: Arc::new(config), pulls: Arc::default() })
    }

    /// The image and its layers, if it is present. Blocks (a few small files).
    pub fn stack(&self, reference: &str) -> Result<Option<Stack>> {
        let Some(manifest) = self.manifest(reference)? else { return Ok(None) };
        let image = self.image(&manifest, &self.content.names()?)?;
        let mut layers: Vec<String> = chain(&image.layers).into_iter().rev().collect();
        if layers.is_empty() {
            layers.push(EMPTY.to_owned());
        }
        let folder = self.layers();
        if let Some(missing) = layers.iter().find(|layer| !folder.join(layer).exists()) {
            return Err(Error::NotFound { kind: "layer", name: missing.clone() });
        }
        Ok(Some(Stack { image, folder, layers, manifest }))
    }

    /// Like [`ImageStore::stack`] of each, and keeps the layers while `key` (a container) uses them, whatever is removed.
    pub fn take(&self, key: &str, references: &[&str]) -> Result<Vec<Stack>> {
        let path = self.content.root().join("pins").join(key);
        let _lock = self.content.shared()?;
        let missing = |name: &str| Error::NotFound { kind: "image", name: name.to_owned() };
        let taken = references.iter().map(|name| self.stack(name)?.ok_or_else(|| missing(name)));
        let stacks = taken.collect::<Result<Vec<Stack>>>()?;
        let manifests: Vec<&str> = stacks.iter().map(|stack| stack.manifest.as_str()).collect();
        std::fs::write(&path, manifests.join("\n")).map_err(Error::io("write", path))?;
        Ok(stacks)
    }

    /// Undoes [`ImageStore::take`]. Also succeeds without one.
    pub fn unpin(&self, key: &str) -> Result<()> {
        let path = self.content.root().join("pins").join(key);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", path)(error))
            }
            _ => Ok(()),
        }
    }

    fn layers(&self) -> PathBuf {
        self.content.root().join("layers")
    }

    /// The manifest that a name or id stands for.
    fn manifest(&self, wanted: &str) -> Result<Option<String>> {
        let names = self.content.names()?;
        if let Some(id) = reference::id(wanted) {
            for manifest in names.values() {
                let config = self.content.document::<Manifest>(manifest)?.config.unwrap_or_default();
                if config.digest == id || *manifest == id {
                    return Ok(Some(manifest.clone()));
                }
            }
            return Ok(None);
        }
        Ok(names.get(&reference::normalise(wanted)?).cloned())
    }

    fn image(&self, digest: &str, names: &BTreeMap<String, String>) -> Result<Image> {
        let manifest: Manifest = self.content.document(digest)?;
        let config = manifest.config.unwrap_or_default();
        let configuration: Configuration = self.content.document(&config.digest)?;
        let mut image = Image {
            size: config.size + manifest.layers.iter().map(|layer| layer.size).sum::<u64>(),
            id: config.digest,
            layers: configuration.rootfs.diff_ids,
            config: configuration.config,
            ..Image::default()
        };
        for (name, _) in names.iter().filter(|(_, manifest)| *manifest == digest) {
            if name.contains('@') { &mut image.digests } else { &mut image.names }.push(name.clone());
        }
        Ok(image)
    }

    /// Unpacks a blob beside the layers. Blocks.
    pub(super) fn stage(&self, subject: &str, blob: &Path) -> Result<Staged> {
        let folder = self.content.root().join("tmp");
        let folder = tempfile::TempDir::new_in(&folder).map_err(Error::io("create a folder in", folder))?;
        rustix::fs::chmod(folder.path(), rustix::fs::Mode::from_raw_mode(0o755))
            .map_err(|error| Error::io("create", folder.path())(error.into()))?;
        let file = File::open(blob).map_err(Error::io("open", blob))?;
        let unpacked = unpack::unpack(file, subject, folder.path())?;
        Ok(Staged { folder, unpacked })
    }

    /// Whether the layer at this place of the chain is there.
    pub(super) fn has_layer(&self, diff_ids: &[String], at: usize) -> bool {
        chain(diff_ids).get(at).is_some_and(|name| self.layers().join(name).exists())
    }

    /// Gives staged layers (by their place) their names, once everything is on disk.
    pub(super) fn settle(&self, diff_ids: &[String], staged: BTreeMap<usize, Staged>) -> Result<()> {
        let names = chain(diff_ids);
        let folder = self.layers();
        let mut below: Vec<PathBuf> = Vec::new();
        for (at, name) in names.iter().enumerate() {
            let path = match staged.get(&at) {
                Some(layer) => {
                    let subject = format!("layer {}", diff_ids[at]);
                    verify(&subject, &diff_ids[at], &layer.unpacked.diff_id)?;
                    unpack::inherit(layer.folder.path(), &layer.unpacked.implied, &below)?;
                    layer.folder.path().to_owned()
                }
                None => folder.join(name),
            };
            below.insert(0, path);
        }
        if staged.is_empty() {
            return Ok(());
        }
        // One sync for all of them: a layer that has its name must survive a loss of power whole.
        let root = File::open(&folder).map_err(Error::io("open", &folder))?;
        rustix::fs::syncfs(&root).map_err(|error| Error::io("sync", &folder)(error.into()))?;
        for (at, layer) in staged {
            let path = folder.join(&names[at]);
            match std::fs::rename(layer.folder.path(), &path) {
                Ok(()) => drop(layer.folder.keep()),
                // Someone else was quicker; what is there is the same.
                Err(_) if path.exists() => {}
                Err(error) => return Err(Error::io("create layer", path)(error)),
            }
        }
        sync_folder(&folder)
    }

    /// Names a complete image; returns it.
    pub(super) fn publish(&self, manifest: &str, names: &[String]) -> Result<Image> {
        self.content.rename(|all| {
            for name in names {
                all.insert(name.clone(), manifest.to_owned());
            }
        })?;
        self.image(manifest, &self.content.names()?)
    }

    /// Unpacks and publishes an image whose blobs are all there. Blocks.
    pub(super) fn adopt(&self, digest: &str, names: &[String]) -> Result<Image> {
        let manifest: Manifest = self.content.document(digest)?;
        let config = manifest.config.clone().unwrap_or_default();
        let configuration: Configuration = self.content.document(&config.digest)?;
        let diff_ids = check_layers(&manifest, &configuration, digest)?;
        let mut staged = BTreeMap::new();
        for (at, layer) in manifest.layers.iter().enumerate() {
            if !self.has_layer(diff_ids, at) {
                let subject = format!("layer {}", layer.digest);
                staged.insert(at, self.stage(&subject, &self.content.path(&layer.digest)?)?);
            }
        }
        self.settle(diff_ids, staged)?;
        self.publish(digest, names)
    }

    fn adopt_rootfs(&self, path: &Path, name: &str, config: ProcessConfig) -> Result<Image> {
        let name = reference::normalise(name)?;
        let _lock = self.content.shared()?;
        let mut file = File::open(path).map_err(Error::io("open", path))?;
        let (digest, size) = self.content.copy(&mut file, &path.display().to_string(), None)?;
        let staged = self.stage(&path.display().to_string(), &self.content.path(&digest)?)?;
        let diff_ids = vec![staged.unpacked.diff_id.clone()];
        let configuration = Configuration {
            architecture: reference::architecture().to_owned(),
            os: "linux".to_owned(),
            config,
            rootfs: RootFs { kind: "layers".to_owned(), diff_ids: diff_ids.clone() },
        };
        let layer = Descriptor { media_type: LAYER.to_owned(), digest, size, ..Descriptor::default() };
        let manifest = self.compose(&to_json(&configuration)?, vec![layer])?;
        let staged =
            if self.has_layer(&diff_ids, 0) { BTreeMap::new() } else { BTreeMap::from([(0, staged)]) };
        self.settle(&diff_ids, staged)?;
        self.publish(&manifest, &[name])
    }

    /// Writes a configuration and a manifest for it; returns the manifest's digest.
    pub(super) fn compose(&self, configuration: &[u8], layers: Vec<Descriptor>) -> Result<String> {
        let config = Descriptor {
            media_type: "application/vnd.oci.image.config.v1+json".to_owned(),
            digest: self.content.write(configuration)?,
            size: configuration.len() as u64,
            ..Descriptor::default()
        };
        let manifest = Manifest {
            schema_version: 2,
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            config: Some(config),
            layers,
            manifests: Vec::new(),
        };
        self.content.write(&to_json(&manifest)?)
    }

    fn forget(&self, wanted: &str) -> Result<()> {
        let Some(manifest) = self.manifest(wanted)? else { return Ok(()) };
        let name = match reference::id(wanted) {
            Some(_) => None,
            None => Some(reference::normalise(wanted)?),
        };
        self.content.rename(|names| {
            names.retain(|known, digest| match &name {
                Some(name) => known != name,
                None => *digest != manifest,
            });
            // A digest that only came along with the last of the image's tags goes with it.
            let tagged = names.iter().any(|(known, digest)| *digest == manifest && !known.contains('@'));
            if !tagged {
                names.retain(|_, digest| *digest != manifest);
            }
        })?;
        self.collect()
    }

    /// Removes blobs and layers that no name and no pin leads to. Leaves that to a later time if a pull is under way.
    pub fn collect(&self) -> Result<()> {
        let Some(_lock) = self.content.try_exclusive()? else { return Ok(()) };
        let mut roots: BTreeSet<String> = self.content.names()?.into_values().collect();
        let pins = self.content.root().join("pins");
        for pin in std::fs::read_dir(&pins).map_err(Error::io("read", pins))?.flatten() {
            let pinned = std::fs::read_to_string(pin.path()).unwrap_or_default();
            roots.extend(pinned.lines().map(str::to_owned));
        }
        let mut blobs = roots.clone();
        let mut layers = BTreeSet::from([EMPTY.to_owned()]);
        for root in &roots {
            let manifest: Manifest = match self.content.document(root) {
                Err(error) if error.is_not_found() => continue,
                result => result?,
            };
            let config = manifest.config.unwrap_or_default();
            layers.extend(chain(&self.content.document::<Configuration>(&config.digest)?.rootfs.diff_ids));
            blobs.insert(config.digest);
            blobs.extend(manifest.layers.into_iter().map(|layer| layer.digest));
        }
        self.content.sweep(&blobs)?;
        let folder = self.layers();
        for entry in std::fs::read_dir(&folder).map_err(Error::io("read", &folder))?.flatten() {
            if !layers.contains(&*entry.file_name().to_string_lossy()) {
                // Out of the way at once, so that half of it is never taken for a layer.
                let aside = self.content.root().join("tmp").join(entry.file_name());
                std::fs::rename(entry.path(), &aside).map_err(Error::io("remove", entry.path()))?;
                crate::trees::remove(&aside).map_err(Error::io("remove", aside))?;
            }
        }
        Ok(())
    }

    /// One pull per reference.
    fn turn(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut pulls = self.pulls.lock();
        pulls.retain(|_, pull| pull.strong_count() > 0);
        if let Some(pull) = pulls.get(name).and_then(Weak::upgrade) {
            return pull;
        }
        let pull = Arc::new(tokio::sync::Mutex::new(()));
        pulls.insert(name.to_owned(), Arc::downgrade(&pull));
        pull
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ImageStore) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let store = self.clone();
        crate::blocking(move || work(&store)).await
    }
}

pub(super) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

pub(super) fn to_json<T: serde::Serialize>(document: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(document).map_err(|error| Error::Invalid(error.to_string()))
}

/// A manifest and a configuration must agree on how many layers there are.
pub(super) fn check_layers<'a>(
    manifest: &Manifest,
    configuration: &'a Configuration,
    digest: &str,
) -> Result<&'a [String]> {
    let diff_ids = &configuration.rootfs.diff_ids;
    if diff_ids.len() == manifest.layers.len() {
        return Ok(diff_ids);
    }
    Err(Error::Archive {
        archive: format!("image {digest}"),
        reason: format!(
            "its manifest has {} layers, its configuration {}",
            manifest.layers.len(),
            diff_ids.len()
        ),
    })
}

/// Names of the folders of layers, lowest first. A layer is kept per what lies below it, since folders that it only
/// implies take after those. Short, for all of them are named in one page of mount options; 96 bits do not collide.
fn chain(diff_ids: &[String]) -> Vec<String> {
    let mut names = Vec::new();
    let mut below = String::new();
    for diff_id in diff_ids {
        below = match below.is_empty() {
            true => diff_id.clone(),
            false => super::content::digest(format!("{below} {diff_id}").as_bytes()),
        };
        names.push(below.trim_start_matches("sha256:").chars().take(24).collect());
    }
    names
}

#[async_trait]
impl ImageService for ImageStore {
    async fn pull(&self, reference: &str, auth: Option<Auth>, progress: Progress) -> Result<Image> {
        let name = reference::normalise(reference)?;
        let turn = self.turn(&name);
        let _turn = turn.lock().await;
        pull::pull(self, &name, auth, progress).await
    }

    async fn import_archive(&self, path: &Path, name: Option<&str>) -> Result<Vec<Image>> {
        let (path, name) = (path.to_owned(), name.map(str::to_owned));
        self.blocking(move |store| archive::import(store, &path, name.as_deref())).await
    }

    async fn import_rootfs(&self, path: &Path, name: &str, config: ProcessConfig) -> Result<Image> {
        let (path, name) = (path.to_owned(), name.to_owned());
        self.blocking(move |store| store.adopt_rootfs(&path, &name, config)).await
    }

    async fn list(&self) -> Result<Vec<Image>> {
        self.blocking(|store| {
            let names = store.content.names()?;
            let manifests: BTreeSet<&String> = names.values().collect();
            let mut images: BTreeMap<String, Image> = BTreeMap::new();
            for manifest in manifests {
                let image = store.image(manifest, &names)?;
                let known = images.entry(image.id.clone()).or_insert_with(|| Image {
                    names: Vec::new(),
                    digests: Vec::new(),
                    ..image.clone()
                });
                known.names.extend(image.names);
                known.digests.extend(image.digests);
            }
            Ok(images.into_values().collect())
        })
        .await
    }

    async fn inspect(&self, reference: &str) -> Result<Option<Image>> {
        let reference = reference.to_owned();
        self.blocking(move |store| match store.manifest(&reference)? {
            Some(manifest) => Ok(Some(store.image(&manifest, &store.content.names()?)?)),
            None => Ok(None),
        })
        .await
    }

    async fn remove(&self, reference: &str) -> Result<()> {
        let reference = reference.to_owned();
        self.blocking(move |store| store.forget(&reference)).await
    }

    async fn disk_usage(&self) -> Result<DiskUsage> {
        self.blocking(|store| crate::disk::usage(store.content.root())).await
    }
}
