//! Who may come in by what, who decides elsewhere, and what is written down: the flags of kube-apiserver that name
//! files, and what the files say.
//!
//! Invariant: a file that is wrong at start keeps the server from starting; one that becomes wrong while it runs changes
//! nothing. Answers to kube-apiserver's authentication, authorization and audit options.

use super::reload::{self, Reloads};
use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use gifee_apiserver::audit::{self, Auditor, Rotation, Sink};
use gifee_apiserver::authenticate::{Credentials, FrontProxies, Webhook};
use gifee_apiserver::authorize::Chain;
use gifee_apiserver::delegate::Delegate;
use gifee_apiserver::outbound::{Direct, Endpoint, Identity, Outbound, Trust};
use gifee_apiserver::seam::Authorizer;
use gifee_base::{Clock, Gvr, ObjectKey};
use gifee_client::{Client, Kubeconfig, PatchKind};
use gifee_plane::bootstrap;
use gifee_policy::audit::Policy;
use gifee_policy::authenticate::configuration;
use gifee_policy::authenticate::legacy::{LAST_USED, day};
use gifee_policy::authenticate::token::Tokens;
use gifee_policy::authorize::configuration as authorization;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How long a webhook may take to answer.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// The flags.
#[derive(Args, Clone, Debug, Default)]
pub struct Access {
    /// AuthenticationConfiguration: issuers of tokens, and who may be anonymous; read again when it changes
    #[arg(long, value_name = "FILE")]
    authentication_config: Option<PathBuf>,
    /// Kubeconfig of a server that knows tokens
    #[arg(long, value_name = "FILE")]
    authentication_token_webhook_config_file: Option<PathBuf>,
    /// Version of the TokenReview that it is sent
    #[arg(long, value_name = "VERSION", default_value = "v1beta1", value_parser = ["v1", "v1beta1"])]
    authentication_token_webhook_version: String,
    /// Seconds for which its answers are remembered
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    authentication_token_webhook_cache_ttl: u64,
    /// Authorities of proxies that authenticate others, PEM
    #[arg(long, value_name = "FILE")]
    requestheader_client_ca_file: Option<PathBuf>,
    /// Common names that such proxies may have [default: any]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    requestheader_allowed_names: Vec<String>,
    /// AuthorizationConfiguration: authorizers in their order, webhooks among them; read again when it changes
    #[arg(long, value_name = "FILE")]
    authorization_config: Option<PathBuf>,
    /// What is written down of which requests
    #[arg(long, value_name = "FILE")]
    audit_policy_file: Option<PathBuf>,
    /// Where it is written; - is standard output
    #[arg(long, value_name = "FILE")]
    audit_log_path: Option<PathBuf>,
    /// Days after which old audit logs go [default: never]
    #[arg(long, value_name = "DAYS", default_value_t = 0)]
    audit_log_maxage: u32,
    /// Old audit logs that stay [default: all]
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    audit_log_maxbackup: usize,
    /// Megabytes after which a new audit log begins
    #[arg(long, value_name = "MEGABYTES", default_value_t = 100)]
    audit_log_maxsize: u64,
    /// Kubeconfig of a server that audit events are sent to
    #[arg(long, value_name = "FILE")]
    audit_webhook_config_file: Option<PathBuf>,
}

/// A YAML or JSON file.
///
/// # Errors
/// If it cannot be read, or is neither.
pub fn tree(path: &Path) -> Result<Value> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let parsed = gifee_schema::parse::yaml(&bytes).map_err(|error| anyhow!("{}: {error}", path.display()))?;
    Ok(parsed.value)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    let found = found.with_context(|| format!("reading {}", path.display()))?;
    if found.is_empty() {
        bail!("{} holds no certificate", path.display());
    }
    Ok(found)
}

/// The server that a kubeconfig names.
pub fn endpoint(path: &Path) -> Result<Endpoint> {
    let config = Kubeconfig::load(path)?.tls(None)?;
    let mut endpoint = Endpoint::from_url(&config.server)?;
    if config.insecure {
        endpoint.trust = Trust::Anything;
    } else if !config.authorities.is_empty() {
        endpoint.trust = Trust::Bundle(config.authorities.into());
    }
    endpoint.server_name = config.server_name;
    if let Some((certificate, key)) = &config.credentials.certificate {
        endpoint.identity = Some(Arc::new(Identity::from_pem(certificate, key)?));
    }
    let token = match (&config.credentials.token, &config.credentials.token_file) {
        (Some(token), _) => Some(token.clone()),
        (None, Some(file)) => Some(fs::read_to_string(file)?.trim().to_owned()),
        (None, None) => None,
    };
    if let Some(token) = token {
        endpoint.authorization = Some(format!("Bearer {token}").parse()?);
    }
    Ok(endpoint)
}

/// Where a pod finds what its account is known by.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The API server of the cluster that this server is a pod of, by what a pod is told in its environment and in `account`.
fn in_cluster(account: &Path, variable: impl Fn(&str) -> Option<String>) -> Result<Endpoint> {
    let told = |name: &str| variable(name).filter(|value| !value.is_empty());
    let (Some(host), Some(port)) = (told("KUBERNETES_SERVICE_HOST"), told("KUBERNETES_SERVICE_PORT")) else {
        anyhow::bail!(
            "unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined"
        );
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let mut endpoint = Endpoint::from_url(&format!("https://{host}:{port}"))?;
    let token = account.join("token");
    let token = fs::read_to_string(&token).with_context(|| format!("cannot read {}", token.display()))?;
    endpoint.authorization = Some(format!("Bearer {}", token.trim()).parse()?);
    let authorities = account.join("ca.crt");
    if let Ok(authorities) = fs::read(&authorities) {
        endpoint.trust = Trust::Bundle(authorities.into());
    }
    Ok(endpoint)
}

impl Access {
    /// Calls of the server to whoever decides elsewhere.
    pub fn outbound() -> Arc<Outbound> {
        Arc::new(Outbound::new(Arc::new(Direct), None))
    }

    /// Who is believed about others: the cluster's own proxy, whose authorities are `own`, and those that the flags
    /// name. `clients` are the authorities of users' certificates.
    ///
    /// # Errors
    /// If a file is wrong.
    pub fn proxies(
        &self,
        own: &[CertificateDer<'static>],
        clients: &[CertificateDer<'static>],
    ) -> Result<FrontProxies> {
        let mut authorities = self.proxy_authorities()?;
        authorities.extend_from_slice(own);
        let mut names = self.requestheader_allowed_names.clone();
        if !names.is_empty() || self.requestheader_client_ca_file.is_none() {
            names.push(bootstrap::FRONT_PROXY.to_owned());
        }
        Ok(FrontProxies::new(&authorities, clients, names)?)
    }

    /// The authenticators. Follows the configuration until `stop`.
    ///
    /// # Errors
    /// If a file is wrong.
    pub fn credentials(
        &self,
        tokens: &Arc<Tokens>,
        clock: Arc<dyn Clock>,
        proxies: FrontProxies,
        outbound: &Arc<Outbound>,
        reloads: &Reloads,
        stop: &CancellationToken,
    ) -> Result<(Arc<Credentials>, mpsc::Receiver<ObjectKey>)> {
        let mut credentials = Credentials::new(tokens.clone(), clock).with_front_proxies(proxies);
        if let Some(path) = &self.authentication_token_webhook_config_file {
            let delegate =
                Delegate { outbound: outbound.clone(), endpoint: endpoint(path)?, timeout: WEBHOOK_TIMEOUT };
            let version = if self.authentication_token_webhook_version == "v1" { "v1" } else { "v1beta1" };
            let life = Duration::from_secs(self.authentication_token_webhook_cache_ttl);
            let webhook = Webhook::new(delegate, version, life, tokens.audiences().to_vec());
            credentials = credentials.with_webhook(webhook);
        }
        let used = credentials.used();
        let credentials = Arc::new(credentials);
        if let Some(path) = &self.authentication_config {
            let own = tokens.issuer().to_owned();
            let (credentials, outbound, file) = (credentials.clone(), outbound.clone(), path.clone());
            let configure = move || -> Result<()> {
                let read = configuration::read(tree(&file)?, &[&own], &gifee_policy::expression::of_token);
                let read = read.map_err(|error| anyhow!("{}: {error}", file.display()))?;
                credentials.configure(read, &outbound);
                Ok(())
            };
            configure()?;
            reload::follow(path, configure, reloads.clone(), stop.clone())?;
        }
        Ok((credentials, used))
    }

    /// The authorizers: `usual`, which are Node and RBAC, unless a file says otherwise. Follows the file until `stop`.
    ///
    /// # Errors
    /// If the file is wrong.
    pub fn authorizer(
        &self,
        usual: Arc<gifee_policy::authorize::Authorizer>,
        outbound: &Arc<Outbound>,
        reloads: &Reloads,
        stop: &CancellationToken,
    ) -> Result<Arc<dyn Authorizer>> {
        let Some(path) = &self.authorization_config else {
            return Ok(usual);
        };
        let outbound = outbound.clone();
        let connect = move |webhook: &authorization::Webhook| {
            let endpoint = match &webhook.kubeconfig {
                Some(file) => endpoint(Path::new(file)),
                None => in_cluster(Path::new(ACCOUNT), |name| std::env::var(name).ok()),
            };
            let endpoint = endpoint.map_err(|error| format!("{error:#}"))?;
            Ok(Delegate { outbound: outbound.clone(), endpoint, timeout: webhook.timeout })
        };
        let file = path.clone();
        let steps =
            move || authorization::read(tree(&file)?).map_err(|error| anyhow!("{}: {error}", file.display()));
        let chain =
            Arc::new(Chain::new(steps()?, &connect).map_err(|error| anyhow!("{}: {error}", path.display()))?);
        let followed = chain.clone();
        let configure = move || followed.configure(steps()?, &connect).map_err(|error| anyhow!(error));
        reload::follow(path, configure, reloads.clone(), stop.clone())?;
        Ok(chain)
    }

    /// Authorities whose certificates a connection may present, besides those of users.
    ///
    /// # Errors
    /// If the file is wrong.
    pub fn proxy_authorities(&self) -> Result<Vec<CertificateDer<'static>>> {
        self.requestheader_client_ca_file.as_deref().map_or_else(|| Ok(Vec::new()), certificates)
    }

    /// What writes requests down, if anything does.
    ///
    /// # Errors
    /// If a file is wrong.
    pub fn auditor(
        &self,
        clock: Arc<dyn Clock>,
        outbound: &Arc<Outbound>,
        stop: &CancellationToken,
    ) -> Result<Option<Arc<Auditor>>> {
        let Some(path) = &self.audit_policy_file else {
            if self.audit_log_path.is_some() || self.audit_webhook_config_file.is_some() {
                tracing::warn!("no audit policy file provided, no events will be recorded");
            }
            return Ok(None);
        };
        let policy = Policy::read(tree(path)?).map_err(|error| anyhow!("{}: {error}", path.display()))?;
        let mut sinks: Vec<Arc<dyn Sink>> = Vec::new();
        if let Some(path) = &self.audit_log_path {
            let rotation = Rotation {
                max_size_megabytes: self.audit_log_maxsize,
                max_age_days: self.audit_log_maxage,
                max_backups: self.audit_log_maxbackup,
            };
            let log = audit::Log::open(path, rotation);
            sinks.push(Arc::new(log.with_context(|| format!("opening the audit log {}", path.display()))?));
        }
        if let Some(path) = &self.audit_webhook_config_file {
            let webhook = audit::Webhook::start(outbound.clone(), endpoint(path)?, None, stop.clone());
            sinks.push(Arc::new(webhook));
        }
        if sinks.is_empty() {
            tracing::warn!("no audit backend is named, no events will be recorded");
            return Ok(None);
        }
        Ok(Some(Arc::new(Auditor::new(policy, sinks, clock))))
    }
}

/// Writes on Secrets on which day their tokens were last used, until `stop`.
pub async fn label(
    client: Client,
    clock: Arc<dyn Clock>,
    mut used: mpsc::Receiver<ObjectKey>,
    stop: CancellationToken,
) {
    loop {
        let key = tokio::select! {
            () = stop.cancelled() => return,
            key = used.recv() => key,
        };
        let Some(key) = key else { return };
        let today = day(clock.now().as_second());
        let change = json!({ "metadata": { "labels": { LAST_USED: today } } });
        // What fails is tried again when the token is used again.
        if let Err(error) = client.patch(&Gvr::core("secrets"), &key, PatchKind::Merge, change).await {
            tracing::debug!(%key, %error, "the last use of a token was not written down");
        }
    }
}
