//! Trust anchors out of ClusterTrustBundles, as a file of a projected volume.
//!
//! Invariant: each certificate is there once, and nothing but certificates. Answers to
//! `pkg/kubelet/clustertrustbundle`.

use std::collections::BTreeSet;
use std::sync::Arc;

use gifee_base::LabelSelector;
use k8s_openapi::api::certificates::v1::ClusterTrustBundle;
use k8s_openapi::api::core::v1::ClusterTrustBundleProjection;

use super::{Context, Error};
use crate::files::ownership;
use crate::files::payload::{self, Payload};
use crate::references::Reference;

/// What it follows.
pub(super) fn reference(source: &ClusterTrustBundleProjection) -> Option<Reference> {
    match (&source.name, &source.signer_name) {
        (Some(name), _) => Some(Reference::trust_bundle(name)),
        (None, Some(signer)) => Some(Reference::signer(signer)),
        (None, None) => None,
    }
}

/// The file.
pub(super) fn file(
    context: &Context<'_>,
    source: &ClusterTrustBundleProjection,
    mode: Option<i32>,
) -> Result<Payload, Error> {
    let optional = source.optional == Some(true);
    let bundles = if let Some(name) = &source.name {
        let bundle = context.sources.trust_bundle(name);
        if bundle.is_none() && !optional {
            return Err(Error::Reference(format!(
                "error while getting ClusterTrustBundle: clustertrustbundle.certificates.k8s.io {name:?} not found"
            )));
        }
        bundle.into_iter().collect()
    } else if let Some(signer) = &source.signer_name {
        let bundles = selected(context.sources.trust_bundles(signer), source);
        if bundles.is_empty() && !optional {
            let why = "combination of signerName and labelSelector matched zero ClusterTrustBundles";
            return Err(Error::Reference(why.to_owned()));
        }
        bundles
    } else {
        let why = "ClusterTrustBundle projection requires either name or signerName to be set";
        return Err(Error::Invalid(why.to_owned()));
    };
    let owner = ownership::only_user(context.pod);
    let group = ownership::fs_group(context.pod).is_some();
    payload::token(&source.path, anchors(&bundles), mode.unwrap_or(payload::DEFAULT_MODE), owner, group)
}

/// Those with the labels; without a selector, none.
fn selected(
    bundles: Vec<Arc<ClusterTrustBundle>>,
    source: &ClusterTrustBundleProjection,
) -> Vec<Arc<ClusterTrustBundle>> {
    let selector = source.label_selector.as_ref().and_then(|selector| serde_json::to_value(selector).ok());
    let Some(selector) = selector.and_then(|value| LabelSelector::from_value(&value).ok()) else {
        return Vec::new();
    };
    let labels = |bundle: &ClusterTrustBundle| bundle.metadata.labels.clone().unwrap_or_default();
    let matches = |bundle: &Arc<ClusterTrustBundle>| {
        let labels = labels(bundle);
        selector.matches(|key| labels.get(key).map(String::as_str))
    };
    bundles.into_iter().filter(matches).collect()
}

fn anchors(bundles: &[Arc<ClusterTrustBundle>]) -> String {
    let mut known = BTreeSet::new();
    let mut text = String::new();
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    for bundle in bundles {
        for block in pem::parse_many(&bundle.spec.trust_bundle).unwrap_or_default() {
            if block.tag() == "CERTIFICATE" && known.insert(block.contents().to_vec()) {
                text.push_str(&pem::encode_config(&pem::Pem::new("CERTIFICATE", block.contents()), config));
            }
        }
    }
    text
}
