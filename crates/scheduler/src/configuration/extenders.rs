//! The extenders of a configuration, and what is wrong with them.

use super::Mistakes;
use crate::extender::{Extender, Identity, Source};
use base64::Engine;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long an extender may take unless it is said.
const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
#[derive(Default)]
struct Configured {
    url_prefix: String,
    filter_verb: String,
    preempt_verb: String,
    prioritize_verb: String,
    weight: i64,
    bind_verb: String,
    #[serde(rename = "enableHTTPS")]
    enable_https: bool,
    tls_config: Option<Tls>,
    http_timeout: Option<String>,
    node_cache_capable: bool,
    managed_resources: Vec<Managed>,
    ignorable: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
#[derive(Default)]
struct Tls {
    insecure: bool,
    server_name: Option<String>,
    cert_file: String,
    key_file: String,
    ca_file: String,
    cert_data: String,
    key_data: String,
    ca_data: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Managed {
    name: Box<str>,
    #[serde(default)]
    ignored_by_scheduler: bool,
}

/// The extenders, and the resources that they alone look after.
pub(super) fn read(list: Vec<Value>, mistakes: &mut Mistakes) -> (Vec<Arc<Extender>>, Vec<Box<str>>) {
    let (mut extenders, mut ignored, mut managed) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (number, value) in list.into_iter().enumerate() {
        let path = format!("extenders[{number}]");
        let Some(one) = mistakes.decoded::<Configured>(&path, value) else { continue };
        if !one.prioritize_verb.is_empty() && one.weight <= 0 {
            let why = "must have a positive weight applied to it";
            mistakes.invalid(&format!("{path}.weight"), one.weight, why);
        }
        for (number, resource) in one.managed_resources.iter().enumerate() {
            let path = format!("{path}.managedResources[{number}].name");
            let name = &resource.name;
            if !name.contains('/') || name.contains("kubernetes.io/") {
                mistakes.invalid(&path, format!("{name:?}"), "is an invalid extended resource name");
            }
            if !managed.insert(name.clone()) {
                mistakes.invalid(&path, format!("{name:?}"), "duplicate extender managed resource name");
            }
            if resource.ignored_by_scheduler {
                ignored.push(name.clone());
            }
        }
        extenders.push(Arc::new(extender(one, &path, mistakes)));
    }
    let binders = extenders.iter().filter(|one| !one.bind.is_empty()).count();
    if binders > 1 {
        let found = format!("found {binders} extenders implementing bind");
        mistakes.invalid("extenders", format!("{found:?}"), "only one extender can implement bind");
    }
    (extenders, ignored)
}

fn extender(one: Configured, path: &str, mistakes: &mut Mistakes) -> Extender {
    let timeout = match one.http_timeout.as_deref().map(str::parse::<jiff::SignedDuration>) {
        None => TIMEOUT,
        Some(parsed) => parsed.ok().and_then(|parsed| Duration::try_from(parsed).ok()).unwrap_or_else(|| {
            let at = format!("{path}.httpTimeout");
            mistakes.invalid(&at, format!("{:?}", one.http_timeout.unwrap_or_default()), "invalid duration");
            TIMEOUT
        }),
    };
    let timeout = if timeout.is_zero() { TIMEOUT } else { timeout };
    let identity =
        one.enable_https.then(|| one.tls_config.map(|tls| identity(tls, path, mistakes)).unwrap_or_default());
    // Without a scheme upstream's client knows where to go only if TLS is said to be used.
    let scheme = if one.enable_https { "https" } else { "http" };
    let url = match one.url_prefix.contains("://") {
        true => one.url_prefix,
        false => format!("{scheme}://{}", one.url_prefix),
    };
    Extender {
        url,
        filter: one.filter_verb,
        prioritize: one.prioritize_verb,
        preempt: one.preempt_verb,
        bind: one.bind_verb,
        weight: one.weight,
        identity,
        timeout,
        knows_nodes: one.node_cache_capable,
        resources: one.managed_resources.into_iter().map(|resource| resource.name).collect(),
        ignorable: one.ignorable,
    }
}

fn identity(tls: Tls, path: &str, mistakes: &mut Mistakes) -> Identity {
    let mut source = |name: &str, data: &str, file: String| {
        if data.is_empty() {
            return if file.is_empty() { Source::None } else { Source::File(PathBuf::from(file)) };
        }
        match base64::engine::general_purpose::STANDARD.decode(data) {
            Ok(data) => Source::Data(data),
            Err(error) => {
                mistakes.invalid(&format!("{path}.tlsConfig.{name}"), "<omitted>", &error.to_string());
                Source::None
            }
        }
    };
    Identity {
        insecure: tls.insecure,
        server_name: tls.server_name.filter(|name| !name.is_empty()),
        certificate: source("certData", &tls.cert_data, tls.cert_file),
        key: source("keyData", &tls.key_data, tls.key_file),
        authorities: source("caData", &tls.ca_data, tls.ca_file),
    }
}
