//! How components of this process reach the API server in it: one function call, under an identity of their own.

use bytes::Bytes;
use futures_util::FutureExt;
use gifee_apiserver::Server;
use gifee_client::{Client, InProcess};
use gifee_policy::User;
use gifee_policy::authenticate::{AUTHENTICATED, service_account};
use std::sync::Arc;

/// Makes clients of a server in this process.
#[derive(Clone)]
pub struct Loopback {
    server: Arc<Server>,
}

impl Loopback {
    /// To this server.
    pub fn new(server: Arc<Server>) -> Self {
        Self { server }
    }

    /// A client of a user in groups.
    pub fn client(&self, name: &str, groups: &[&str]) -> Client {
        let mut groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        groups.push(AUTHENTICATED.into());
        self.of(name, User { name: name.into(), groups, ..User::default() })
    }

    /// A client of a service account in `kube-system`, as upstream's controllers each have one.
    pub fn controller(&self, name: &str) -> Client {
        self.of(name, service_account("kube-system", name, ""))
    }

    fn of(&self, agent: &str, user: User) -> Client {
        let (server, user) = (self.server.clone(), Arc::new(user));
        let transport = InProcess::new(move |request: http::Request<Bytes>| {
            let (server, user) = (server.clone(), user.clone());
            async move {
                let request = request.map(gifee_apiserver::Body::from);
                server.handle(Some(user), request).await.map(gifee_client::Body::from_http)
            }
            .boxed()
        });
        Client::new(Arc::new(transport)).named(agent)
    }
}
