//! One request on its way through the pipeline, and what every step may need of it.

use crate::info::{Query, RequestInfo};
use crate::kinds::Resource;
use crate::metrics::Waited;
use crate::negotiate::{self, Accept, Offer};
use crate::server::Server;
use gifee_base::{FieldError, Path, Status};
use gifee_policy::{Attributes, User};
use http::{HeaderMap, Method};
use hyper::upgrade::OnUpgrade;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;

/// Where a request came from, put into its extensions by the listener; absent in-process.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Put into the extensions of the requests of a connection whose certificate is not a user's alone.
#[derive(Clone, Debug)]
pub struct FrontProxy {
    /// Whether it is a front proxy's.
    pub believed: bool,
    /// Who it is without naming others; None: nobody.
    pub user: Option<Arc<User>>,
}

/// A request whose user is known.
pub struct Request<'a> {
    /// The server.
    pub server: &'a Arc<Server>,
    /// Method.
    pub method: &'a Method,
    /// What it asks for.
    pub info: &'a RequestInfo<'a>,
    /// The resource it asks for, if that is served.
    pub resource: Option<&'a Arc<Resource>>,
    /// Query parameters.
    pub query: &'a Query,
    /// The query as sent.
    pub query_text: &'a str,
    /// Headers.
    pub headers: &'a HeaderMap,
    /// Who asks.
    pub user: Arc<User>,
    /// The same question, as policy sees it.
    pub attributes: Attributes,
    /// Whether a watch may be answered by objects instead of bytes.
    pub objects: bool,
    /// The raw connection, for who asked to switch protocols.
    pub upgrade: Mutex<Option<OnUpgrade>>,
    /// Where it came from; None in-process.
    pub peer: Option<SocketAddr>,
    /// For the client.
    pub warnings: Mutex<Vec<String>>,
    /// How long it has waited for others.
    pub waited: &'a Waited,
}

impl Request<'_> {
    /// Adds a warning for the client.
    pub fn warn(&self, warning: impl Into<String>) {
        self.warnings.lock().push(warning.into());
    }

    /// The form of the response.
    ///
    /// # Errors
    /// 406 in upstream's words.
    pub fn accept(&self, offer: Offer) -> Result<Accept, Status> {
        let wire = offer == Offer::Objects || self.resource.is_none_or(|resource| resource.has_wire());
        negotiate::accept(self.headers, self.query, offer, wire)
    }

    /// `dryRun` of the query.
    ///
    /// # Errors
    /// 422 if it is anything but `All`.
    pub fn dry_run(&self) -> Result<bool, Status> {
        let mut dry_run = false;
        for value in self.query.all("dryRun") {
            if value != "All" {
                return Err(self.odd_dry_run());
            }
            dry_run = true;
        }
        Ok(dry_run)
    }

    fn odd_dry_run(&self) -> Status {
        let kind = match self.info.verb {
            "create" => "CreateOptions",
            "update" => "UpdateOptions",
            "patch" => "PatchOptions",
            _ => "DeleteOptions",
        };
        let given: Vec<String> = self.query.all("dryRun").map(str::to_owned).collect();
        let error = FieldError::not_supported(&Path::root("dryRun"), given, &["All"]);
        Status::invalid("meta.k8s.io", kind, "", &[error])
    }

    /// The failure of a name that is not there.
    pub fn not_found(&self, resource: &Resource, name: &str) -> Status {
        Status::not_found(resource.group(), resource.name(), name)
    }
}

/// The attributes of a request, as policy sees them.
pub fn attributes(user: &Arc<User>, info: &RequestInfo<'_>, query: &Query) -> Attributes {
    let collection = matches!(info.verb, "list" | "watch" | "deletecollection");
    let selector = |name: &str| {
        if collection { query.get(name).unwrap_or_default().to_owned() } else { String::new() }
    };
    Attributes {
        user: user.clone(),
        verb: info.verb.to_owned(),
        is_resource: info.is_resource,
        group: info.group.to_string(),
        version: info.version.to_string(),
        resource: info.resource.to_string(),
        subresource: info.subresource.to_string(),
        namespace: info.namespace.to_string(),
        name: info.name.to_string(),
        path: info.path.to_owned(),
        field_selector: selector("fieldSelector"),
        label_selector: selector("labelSelector"),
    }
}
