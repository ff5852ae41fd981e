//! Kubeconfig files: finding, reading, merging and writing them.
//!
//! Invariant: what a file holds that is not understood here is kept when it is written back. Answers to
//! client-go's `tools/clientcmd`; credential plugins (`exec`, `auth-provider`) are not run.

#[cfg(test)]
mod tests;
mod yaml;

use crate::error::{Error, Result};
use crate::tls::{Credentials, TlsConfig};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A kubeconfig, perhaps merged from several files.
#[derive(Clone, Debug)]
pub struct Kubeconfig {
    tree: Value,
}

impl Kubeconfig {
    /// One without entries.
    pub fn empty() -> Self {
        Self {
            tree: json!({
                "apiVersion": "v1", "kind": "Config", "preferences": {},
                "clusters": [], "contexts": [], "users": [], "current-context": "",
            }),
        }
    }

    /// With one cluster, user and context, all of one name.
    pub fn single(name: &str, config: &TlsConfig) -> Self {
        let mut cluster = json!({ "server": config.server });
        if config.insecure {
            cluster["insecure-skip-tls-verify"] = true.into();
        } else if !config.authorities.is_empty() {
            cluster["certificate-authority-data"] = STANDARD.encode(&config.authorities).into();
        }
        if let Some(server_name) = &config.server_name {
            cluster["tls-server-name"] = server_name.as_str().into();
        }
        let mut user = json!({});
        if let Some((certificate, key)) = &config.credentials.certificate {
            user["client-certificate-data"] = STANDARD.encode(certificate).into();
            user["client-key-data"] = STANDARD.encode(key).into();
        }
        if let Some(token) = &config.credentials.token {
            user["token"] = token.as_str().into();
        }
        if let Some(file) = &config.credentials.token_file {
            user["tokenFile"] = file.to_string_lossy().into();
        }
        let mut new = Self::empty();
        new.tree["clusters"] = json!([{ "name": name, "cluster": cluster }]);
        new.tree["users"] = json!([{ "name": name, "user": user }]);
        new.tree["contexts"] = json!([{ "name": name, "context": { "cluster": name, "user": name } }]);
        new.tree["current-context"] = name.into();
        new
    }

    /// From YAML or JSON; relative paths in it start at `folder`.
    ///
    /// # Errors
    /// [`Error::Config`] naming `subject`.
    pub fn parse(subject: &str, text: &str, folder: &Path) -> Result<Self> {
        let mut tree = yaml::parse(text).map_err(|why| Error::config(subject, why))?;
        if tree.is_null() {
            return Ok(Self::empty());
        }
        if !tree.is_object() {
            return Err(Error::config(subject, "not a kubeconfig: a mapping was expected"));
        }
        for (list, inner, fields) in [
            ("clusters", "cluster", &["certificate-authority"][..]),
            ("users", "user", &["client-certificate", "client-key", "tokenFile"][..]),
        ] {
            for entry in tree[list].as_array_mut().into_iter().flatten() {
                for field in fields {
                    if let Some(path) = entry[inner][*field].as_str().filter(|path| !path.is_empty()) {
                        entry[inner][*field] = folder.join(path).to_string_lossy().into();
                    }
                }
            }
        }
        Ok(Self { tree })
    }

    /// From a file.
    ///
    /// # Errors
    /// [`Error::Config`] if it cannot be read or understood.
    pub fn load(path: &Path) -> Result<Self> {
        let subject = path.to_string_lossy();
        let text = std::fs::read_to_string(path).map_err(|error| Error::config(&*subject, error))?;
        Self::parse(&subject, &text, path.parent().unwrap_or(Path::new(".")))
    }

    /// From where kubectl looks: a given file, or those of `KUBECONFIG`, or `~/.kube/config`. Files that
    /// do not exist count as empty, unless given.
    ///
    /// # Errors
    /// [`Error::Config`] if one cannot be read or understood.
    pub fn find(given: Option<&Path>) -> Result<Self> {
        if let Some(path) = given {
            return Self::load(path);
        }
        let mut merged = Self::empty();
        for path in default_paths().iter().filter(|path| path.exists()) {
            merged.merge(&Self::load(path)?, false);
        }
        Ok(merged)
    }

    /// Adds another's entries; of two of one name the other's stands if `replace`, else the own.
    pub fn merge(&mut self, other: &Self, replace: bool) {
        for list in ["clusters", "users", "contexts"] {
            for entry in array(&other.tree[list]) {
                let Some(own) = self.list(list) else { continue };
                match own.iter_mut().find(|one| one["name"] == entry["name"]) {
                    Some(present) if replace => *present = entry.clone(),
                    Some(_) => {}
                    None => own.push(entry.clone()),
                }
            }
        }
        let current = other.current_context();
        if !current.is_empty() && (replace || self.current_context().is_empty()) {
            self.tree["current-context"] = current.into();
        }
    }

    /// Takes out cluster, user and context of a name, and chooses none if it was the current one.
    pub fn remove(&mut self, name: &str) {
        for list in ["clusters", "users", "contexts"] {
            if let Some(own) = self.list(list) {
                own.retain(|entry| entry["name"] != name);
            }
        }
        if self.current_context() == name {
            self.tree["current-context"] = "".into();
        }
    }

    fn list(&mut self, name: &str) -> Option<&mut Vec<Value>> {
        if !self.tree[name].is_array() {
            self.tree[name] = json!([]);
        }
        self.tree[name].as_array_mut()
    }

    /// Name of the current context; may be empty.
    pub fn current_context(&self) -> &str {
        self.tree["current-context"].as_str().unwrap_or_default()
    }

    /// Chooses another context.
    pub fn set_current_context(&mut self, name: &str) {
        self.tree["current-context"] = name.into();
    }

    /// Names of all contexts.
    pub fn contexts(&self) -> impl Iterator<Item = &str> {
        array(&self.tree["contexts"]).filter_map(|entry| entry["name"].as_str())
    }

    /// The whole tree, as `kubectl config view` shows it.
    pub fn tree(&self) -> &Value {
        &self.tree
    }

    fn entry(&self, list: &str, inner: &str, name: &str) -> Result<&Value> {
        array(&self.tree[list])
            .find(|entry| entry["name"] == name)
            .map(|entry| &entry[inner])
            .ok_or_else(|| Error::config(format!("{inner} {name:?}"), "does not exist in the kubeconfig"))
    }

    /// The namespace of a context (none: the current one); `default` if it names none.
    pub fn namespace(&self, context: Option<&str>) -> String {
        let context = self.entry("contexts", "context", context.unwrap_or(self.current_context()));
        let namespace = context.ok().and_then(|context| context["namespace"].as_str());
        namespace.filter(|text| !text.is_empty()).unwrap_or("default").to_owned()
    }

    /// How to reach the cluster of a context (none: the current one) as its user.
    ///
    /// # Errors
    /// [`Error::Config`] if an entry or file is missing or malformed.
    pub fn tls(&self, context: Option<&str>) -> Result<TlsConfig> {
        let name = context.unwrap_or(self.current_context());
        if name.is_empty() {
            return Err(Error::config("kubeconfig", "no context is chosen"));
        }
        let context = self.entry("contexts", "context", name)?;
        let cluster_name = context["cluster"].as_str().unwrap_or_default();
        let cluster = self.entry("clusters", "cluster", cluster_name)?;
        let server = cluster["server"].as_str().unwrap_or_default();
        if server.is_empty() {
            return Err(Error::config(format!("cluster {cluster_name:?}"), "no server is given"));
        }
        let credentials = match context["user"].as_str().unwrap_or_default() {
            "" => Credentials::default(),
            user => credentials(user, self.entry("users", "user", user)?)?,
        };
        Ok(TlsConfig {
            server: server.to_owned(),
            authorities: data(cluster_name, cluster, "certificate-authority")?.unwrap_or_default(),
            server_name: cluster["tls-server-name"].as_str().map(str::to_owned),
            insecure: cluster["insecure-skip-tls-verify"] == true,
            credentials,
            ..TlsConfig::default()
        })
    }

    /// As YAML.
    pub fn to_yaml(&self) -> String {
        yaml::write(&self.tree)
    }

    /// Writes the file for its owner alone, all of it or nothing, with its folder.
    ///
    /// # Errors
    /// [`Error::Config`] naming the file.
    pub fn write(&self, path: &Path) -> Result<()> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        let attempt = || -> std::io::Result<()> {
            if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                std::fs::create_dir_all(folder)?;
            }
            let mut beside = path.as_os_str().to_owned();
            beside.push(".new");
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&beside)?;
            file.write_all(self.to_yaml().as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&beside, path)
        };
        attempt().map_err(|error| Error::config(path.to_string_lossy(), error))
    }
}

/// Where kubectl looks, in order.
pub fn default_paths() -> Vec<PathBuf> {
    match std::env::var_os("KUBECONFIG").filter(|text| !text.is_empty()) {
        Some(list) => std::env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()).collect(),
        None => {
            std::env::var_os("HOME").map(|home| Path::new(&home).join(".kube/config")).into_iter().collect()
        }
    }
}

/// How a process in a pod reaches its cluster, as its service account.
///
/// # Errors
/// [`Error::Config`] outside a pod.
pub fn in_cluster() -> Result<TlsConfig> {
    in_pod(Path::new(SERVICE_ACCOUNT), |name| std::env::var(name).ok())
}

/// The same of a pod with this folder and these variables.
fn in_pod(folder: &Path, variable: impl Fn(&str) -> Option<String>) -> Result<TlsConfig> {
    let told = |name: &str| {
        variable(name).filter(|value| !value.is_empty()).ok_or_else(|| Error::config(name, "is not set"))
    };
    let (host, port) = (told("KUBERNETES_SERVICE_HOST")?, told("KUBERNETES_SERVICE_PORT")?);
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let authority = folder.join("ca.crt");
    let authorities =
        std::fs::read(&authority).map_err(|error| Error::config(authority.to_string_lossy(), error))?;
    Ok(TlsConfig {
        server: format!("https://{host}:{port}"),
        authorities,
        credentials: Credentials { token_file: Some(folder.join("token")), ..Credentials::default() },
        ..TlsConfig::default()
    })
}

fn credentials(name: &str, user: &Value) -> Result<Credentials> {
    let certificate = match (data(name, user, "client-certificate")?, data(name, user, "client-key")?) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err(Error::config(format!("user {name:?}"), "certificate and key must both be given")),
    };
    let token = user["token"].as_str().filter(|token| !token.is_empty()).map(str::to_owned);
    let token_file = user["tokenFile"].as_str().filter(|file| !file.is_empty()).map(PathBuf::from);
    if certificate.is_none() && token.is_none() && token_file.is_none() {
        for plugin in ["exec", "auth-provider"] {
            if !user[plugin].is_null() {
                let why = format!("credentials by {plugin:?} are not supported");
                return Err(Error::config(format!("user {name:?}"), why));
            }
        }
    }
    Ok(Credentials { certificate, token, token_file })
}

/// `<field>-data` in base64, or the file that `<field>` names.
fn data(subject: &str, entry: &Value, field: &str) -> Result<Option<Vec<u8>>> {
    let inline = entry[format!("{field}-data")].as_str().filter(|text| !text.is_empty());
    if let Some(text) = inline {
        let bytes = STANDARD.decode(text.trim());
        return bytes.map(Some).map_err(|error| Error::config(format!("{field}-data of {subject:?}"), error));
    }
    match entry[field].as_str().filter(|path| !path.is_empty()) {
        Some(path) => std::fs::read(path).map(Some).map_err(|error| Error::config(path, error)),
        None => Ok(None),
    }
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
