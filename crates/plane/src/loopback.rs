//! How components of this process reach the API server in it: one function call, under an identity of their own.
//! Watches hand over the objects of the server's cache, so that they are in memory once for all.

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use gifee_apiserver::seam::Exporter;
use gifee_apiserver::{AsObjects, Events, Server};
use gifee_client::{Client, Error, InProcess, Measured, Meters, Transport};
use gifee_policy::User;
use gifee_policy::authenticate::{AUTHENTICATED, service_account};
use std::sync::Arc;

/// The host that calls of the same process are counted under.
const HOST: &str = "localhost";

/// What clients and queues count, said by the server that they are clients of.
pub struct Exported(pub Arc<Meters>);

impl Exporter for Exported {
    fn register(&self, registry: &mut prometheus_client::registry::Registry) {
        self.0.register(registry);
    }
}

/// Makes clients of a server in this process.
#[derive(Clone)]
pub struct Loopback {
    server: Arc<Server>,
    meters: Option<Arc<Meters>>,
}

impl Loopback {
    /// To this server.
    pub fn new(server: Arc<Server>) -> Self {
        Self { server, meters: None }
    }

    /// The same with clients whose calls are counted.
    #[must_use]
    pub fn measured(self, meters: Arc<Meters>) -> Self {
        Self { meters: Some(meters), ..self }
    }

    /// A client of a user in groups.
    pub fn client(&self, name: &str, groups: &[&str]) -> Client {
        let mut groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        groups.push(AUTHENTICATED.into());
        self.of(agent(name), User { name: name.into(), groups, ..User::default() })
    }

    /// A client of a service account in `kube-system`, as upstream's controllers each have one.
    pub fn controller(&self, name: &str) -> Client {
        self.of("kube-controller-manager", service_account("kube-system", name, ""))
    }

    fn of(&self, agent: &str, user: User) -> Client {
        let (server, user) = (self.server.clone(), Arc::new(user));
        let transport = InProcess::new(move |request: http::Request<Bytes>| {
            let (server, user) = (server.clone(), user.clone());
            async move {
                let mut request = request.map(gifee_apiserver::Body::from);
                request.extensions_mut().insert(AsObjects);
                let mut response = server.handle(Some(user), request).await;
                match Events::of(&mut response) {
                    Some(events) => response.map(|_| gifee_client::Body::events(events.map(event))),
                    None => response.map(gifee_client::Body::from_http),
                }
            }
            .boxed()
        });
        let mut transport: Arc<dyn Transport> = Arc::new(transport);
        if let Some(meters) = &self.meters {
            transport = Arc::new(Measured::new(transport, HOST, meters.clone()));
        }
        Client::new(transport).named(agent)
    }
}

/// The program that upstream runs as a user: the manager of the fields that it sets.
fn agent(user: &str) -> &str {
    match user.strip_prefix("system:") {
        Some("apiserver") => "kube-apiserver",
        Some(node) if node.starts_with("node:") => "kubelet",
        Some(component) => component,
        None => user,
    }
}

/// The server's event as the client has it. An object's clone shares its bytes.
fn event(event: gifee_apiserver::Event) -> Result<gifee_client::Event, Error> {
    use gifee_apiserver::Event as Told;
    use gifee_client::Event;
    Ok(match event {
        Told::Added(object) => Event::Added(Arc::unwrap_or_clone(object)),
        Told::Modified(object) => Event::Modified(Arc::unwrap_or_clone(object)),
        Told::Deleted(object) => Event::Deleted(Arc::unwrap_or_clone(object)),
        Told::Bookmark { revision, initial_events_end } => Event::Bookmark { revision, initial_events_end },
        Told::Failed(status) => return Err((*status).into()),
    })
}
