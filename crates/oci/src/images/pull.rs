//! Pulling from a registry.
//!
//! Invariant: what arrives is checked against the digest that asked for it before it gets a name; a pull that is
//! interrupted leaves complete blobs, and the next one goes on from there. At most [`DOWNLOADS`] layers are on their
//! way at once. Answers to containerd's resolver and fetcher.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::manifest::OciDescriptor;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::content::{Configuration, DOCUMENT_BYTES, Descriptor, Manifest, name, verify};
use super::store::{ImageStore, Staged, check_layers};
use super::{Auth, Image, Progress, PullProgress, reference};
use crate::error::{Error, Result};

/// Layers that are downloaded at the same time.
const DOWNLOADS: usize = 4;
/// A registry that says nothing for so long is given up.
const SILENCE: std::time::Duration = std::time::Duration::from_secs(60);
/// An index of indexes goes no deeper.
const INDEX_DEPTH: usize = 4;

const MANIFESTS: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// One pull.
struct Pull<'a> {
    store: &'a ImageStore,
    client: Client,
    reference: Reference,
    name: &'a str,
    progress: Progress,
    done: Mutex<PullProgress>,
}

/// Pulls the image of this (normalised) name.
pub(super) async fn pull(
    store: &ImageStore,
    name: &str,
    auth: Option<Auth>,
    progress: Progress,
) -> Result<Image> {
    let reference = reference::parse(name)?;
    let client = Client::new(settings(store, &reference)?);
    let auth = match auth {
        None => RegistryAuth::Anonymous,
        Some(Auth::Basic(user, password)) => RegistryAuth::Basic(user, password),
        Some(Auth::Bearer(token)) => RegistryAuth::Bearer(token),
    };
    let done = Mutex::default();
    let pull = Pull { store, client, reference, name, progress, done };
    let lock = crate::blocking({
        let content = store.content.clone();
        move || content.shared()
    });
    let _lock = lock.await?;
    pull.run(&auth).await
}

impl Pull<'_> {
    async fn run(&self, auth: &RegistryAuth) -> Result<Image> {
        let (digest, top, manifest) = self.manifest(auth).await?;
        let config = manifest.config.clone().unwrap_or_default();
        self.done.lock().layers = manifest.layers.len();
        self.done.lock().bytes = config.size + manifest.layers.iter().map(|layer| layer.size).sum::<u64>();
        if config.size > DOCUMENT_BYTES {
            return Err(
                self.failed(format!("its configuration of {} bytes is too large", config.size), false)
            );
        }
        self.fetch(&config).await?;
        let configuration: Configuration = self.store.content.document(&config.digest)?;
        let diff_ids = Arc::new(check_layers(&manifest, &configuration, &digest)?.to_vec());
        let jobs: Vec<_> = manifest
            .layers
            .iter()
            .enumerate()
            .map(|(at, layer)| self.layer(at, layer.clone(), diff_ids.clone()))
            .collect();
        let staged: Vec<(usize, Option<Staged>)> =
            futures_util::stream::iter(jobs).buffer_unordered(DOWNLOADS).try_collect().await?;
        let staged: BTreeMap<usize, Staged> =
            staged.into_iter().filter_map(|(at, layer)| Some((at, layer?))).collect();
        let names = [self.name.to_owned(), reference::with_digest(&self.reference, &top)];
        let store = self.store.clone();
        crate::blocking(move || {
            store.settle(&diff_ids, staged)?;
            store.publish(&digest, &names)
        })
        .await
    }

    /// The manifest for this machine: its digest, the digest that the name stands for, and itself.
    async fn manifest(&self, auth: &RegistryAuth) -> Result<(String, String, Manifest)> {
        let mut reference = self.reference.clone();
        let mut top = None;
        for _ in 0..INDEX_DEPTH {
            let fetched = self.client.pull_manifest_raw(&reference, auth, &MANIFESTS).await;
            let (bytes, _) = fetched.map_err(|error| self.refused(error))?;
            if bytes.len() as u64 > DOCUMENT_BYTES {
                return Err(self.failed(format!("a manifest of {} bytes is too large", bytes.len()), false));
            }
            let content = self.store.content.clone();
            let copy = bytes.clone();
            let digest = crate::blocking(move || content.write(&copy)).await?;
            if let Some(expected) = reference.digest() {
                verify(self.name, expected, &digest)?;
            }
            let top = &*top.get_or_insert_with(|| digest.clone());
            let manifest: Manifest = serde_json::from_slice(&bytes)
                .map_err(|error| self.failed(format!("its manifest does not parse: {error}"), false))?;
            if manifest.manifests.is_empty() {
                return Ok((digest, top.clone(), manifest));
            }
            let chosen = choose(&manifest.manifests).ok_or_else(|| {
                self.failed(format!("no match for platform linux/{}", reference::architecture()), false)
            })?;
            reference = self.reference.clone_with_digest(chosen.digest.clone());
        }
        Err(self.failed("its index is nested too deeply".to_owned(), false))
    }

    async fn layer(
        &self,
        at: usize,
        layer: Descriptor,
        diff_ids: Arc<Vec<String>>,
    ) -> Result<(usize, Option<Staged>)> {
        self.fetch(&layer).await?;
        let (store, digest) = (self.store.clone(), layer.digest);
        let staged = crate::blocking(move || {
            if store.has_layer(&diff_ids, at) {
                return Ok(None);
            }
            store.stage(&format!("layer {digest}"), &store.content.path(&digest)?).map(Some)
        });
        let staged = staged.await?;
        self.advance(|done| done.layers_done += 1);
        Ok((at, staged))
    }

    /// Makes a blob present.
    async fn fetch(&self, blob: &Descriptor) -> Result<()> {
        if self.store.content.has(&blob.digest, blob.size)? {
            self.advance(|done| done.bytes_done += blob.size);
            return Ok(());
        }
        let descriptor = OciDescriptor {
            digest: blob.digest.clone(),
            size: i64::try_from(blob.size).unwrap_or(i64::MAX),
            media_type: blob.media_type.clone(),
            ..OciDescriptor::default()
        };
        let mut stream = self
            .client
            .pull_blob_stream(&self.reference, &descriptor)
            .await
            .map_err(|error| self.refused(error))?
            .stream;
        let mut file = self.store.content.scratch()?;
        let mut hash = Sha256::new();
        let mut size = 0;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| self.failed(format!("blob {}: {error}", blob.digest), true))?;
            size += chunk.len() as u64;
            if blob.size > 0 && size > blob.size {
                return Err(self.failed(format!("blob {} is larger than announced", blob.digest), false));
            }
            hash.update(&chunk);
            // Into the page cache; what waits for the disk is the sync below, on a thread of its own.
            file.write_all(&chunk).map_err(Error::io("write", file.path()))?;
            self.advance(|done| done.bytes_done += chunk.len() as u64);
        }
        verify(&format!("blob of {}", self.name), &blob.digest, &name(hash))?;
        let (content, digest) = (self.store.content.clone(), blob.digest.clone());
        crate::blocking(move || content.keep(file, &digest)).await
    }

    fn advance(&self, change: impl FnOnce(&mut PullProgress)) {
        let now = {
            let mut done = self.done.lock();
            change(&mut done);
            *done
        };
        (self.progress)(now);
    }

    fn failed(&self, reason: String, retriable: bool) -> Error {
        Error::Pull { image: self.name.to_owned(), reason, retriable }
    }

    fn refused(&self, error: OciDistributionError) -> Error {
        use OciDistributionError as E;
        let retriable = match &error {
            E::RequestError(_) | E::IoError(_) => true,
            E::ServerError { code, .. } => *code >= 500 || *code == 429,
            _ => false,
        };
        let reason = match &error {
            E::ImageManifestNotFoundError(_) => "not found".to_owned(),
            E::RegistryError { envelope, .. } if envelope.errors.iter().any(is_unknown) => {
                "not found".to_owned()
            }
            E::ServerError { code: 404, .. } => "not found".to_owned(),
            _ => chain(&error),
        };
        self.failed(reason, retriable)
    }
}

fn is_unknown(error: &oci_client::errors::OciError) -> bool {
    use oci_client::errors::OciErrorCode as Code;
    matches!(error.code, Code::ManifestUnknown | Code::NameUnknown | Code::NotFound)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The one for this machine out of a list.
pub(super) fn choose(manifests: &[Descriptor]) -> Option<&Descriptor> {
    let fits = |it: &&Descriptor| {
        it.platform.as_ref().is_some_and(|platform| {
            platform.os == "linux" && platform.architecture == reference::architecture()
        })
    };
    // A list of one that does not say what it is for is taken at its word.
    manifests.iter().find(fits).or_else(|| match manifests {
        [only] if only.platform.is_none() => Some(only),
        _ => None,
    })
}

fn settings(store: &ImageStore, reference: &Reference) -> Result<ClientConfig> {
    // No effect if the program has chosen one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut plain = store.config.insecure.clone();
    let registry = reference.resolve_registry();
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    if host == "localhost" || address.is_ok_and(|address| address.is_loopback()) {
        plain.push(registry.to_owned());
    }
    let mut extra_root_certificates = Vec::new();
    for path in &store.config.authorities {
        let data = std::fs::read(path).map_err(Error::io("read certificate authorities", path))?;
        extra_root_certificates.push(Certificate { encoding: CertificateEncoding::Pem, data });
    }
    Ok(ClientConfig {
        protocol: ClientProtocol::HttpsExcept(plain),
        extra_root_certificates,
        read_timeout: Some(SILENCE),
        connect_timeout: Some(SILENCE / 2),
        user_agent: concat!("gifee/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    })
}
