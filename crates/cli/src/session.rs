//! A connection to a cluster: the flags that every verb takes, and what they lead to.

use anyhow::{Context, Result, bail};
use clap::Args;
use gifee_client::discovery::Discovery;
use gifee_client::{Client, Error, Kubeconfig, Tls};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where `gifee up` leaves the administrator's kubeconfig if it is told no other place.
const OWN_KUBECONFIG: &str = "/var/lib/gifee/kubeconfig";

/// Flags of every verb.
#[derive(Args, Clone, Debug, Default)]
pub struct Globals {
    /// Kubeconfig file [default: $KUBECONFIG, ~/.kube/config, or the one of `gifee up`]
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Namespace [default: the context's]
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
}

/// A cluster to talk to.
pub struct Session {
    /// Calls the API.
    pub client: Client,
    /// The namespace that is meant where none is named.
    pub namespace: String,
}

impl Globals {
    /// Connects.
    ///
    /// # Errors
    /// If there is no usable kubeconfig.
    pub fn open(&self) -> Result<Session> {
        let mut kubeconfig = Kubeconfig::find(self.kubeconfig.as_deref())?;
        let own = Path::new(OWN_KUBECONFIG);
        if kubeconfig.contexts().next().is_none() && own.exists() {
            kubeconfig = Kubeconfig::load(own)?;
        }
        if kubeconfig.contexts().next().is_none() {
            bail!(
                "there is no cluster to talk to: bring one up with `gifee up`, or name a file with --kubeconfig"
            );
        }
        let context = self.context.as_deref();
        let tls = kubeconfig.tls(context)?;
        let namespace = self.namespace.clone().unwrap_or_else(|| kubeconfig.namespace(context));
        let namespace = if namespace.is_empty() { "default".to_owned() } else { namespace };
        let client = Client::new(Arc::new(Tls::new(&tls)?)).named("gifee-cli");
        Ok(Session { client, namespace })
    }
}

impl Session {
    /// Which resources the server has.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn discovery(&self) -> Result<Discovery> {
        Discovery::load(&self.client).await.context("asking the server for its resources")
    }
}

/// An error as kubectl words it.
pub fn describe(error: &anyhow::Error) -> String {
    if let Some(Error::Status(status)) = error.downcast_ref::<Error>() {
        let reason = status.reason.as_str();
        if !reason.is_empty() {
            return format!("Error from server ({reason}): {}", status.message);
        }
        return format!("Error from server: {}", status.message);
    }
    format!("error: {error:#}")
}
