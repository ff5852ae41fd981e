//! What is counted of who asks and whether they may.
//!
//! Invariant: a request moves counters that are there from the start, and looks none up. Answers to the metrics of
//! apiserver's `endpoints/filters` and of `server/dynamiccertificates`.

use gifee_policy::authorize::Decision;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Upper bounds of the buckets of times, in seconds; upstream's.
const SECONDS: [f64; 15] = [
    0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384,
];
/// The same of how long certificates are still good; upstream's.
const VALID_SECONDS: [f64; 14] = [
    0.0,
    1_800.0,
    3_600.0,
    7_200.0,
    21_600.0,
    43_200.0,
    86_400.0,
    172_800.0,
    345_600.0,
    604_800.0,
    2_592_000.0,
    7_776_000.0,
    15_552_000.0,
    31_104_000.0,
];
/// Users that are counted by their names; all others are counted as one.
const USERS: [&str; 7] = [
    "admin",
    "client",
    "kube_proxy",
    "kubelet",
    "system:serviceaccount:kube-system:default",
    "email_id",
    "other",
];
const AUTHENTICATED: [&str; 3] = ["success", "failure", "error"];
const AUTHORIZED: [&str; 3] = ["allowed", "denied", "no-opinion"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UserLabels {
    username: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

/// Outcomes of one question, in the order of their words.
struct Outcomes {
    counts: Family<ResultLabels, Counter>,
    times: Family<ResultLabels, Histogram>,
    lines: [(Counter, Histogram); 3],
}

impl Outcomes {
    fn new(words: [&'static str; 3]) -> Self {
        let counts = Family::default();
        let times: Family<ResultLabels, Histogram> = Family::new_with_constructor(|| Histogram::new(SECONDS));
        let line = |result| {
            let labels = ResultLabels { result };
            (Counter::clone(&counts.get_or_create(&labels)), times.get_or_create(&labels).clone())
        };
        Self { lines: words.map(line), counts, times }
    }

    fn add(&self, outcome: usize, took: Duration) {
        let (count, time) = &self.lines[outcome];
        count.inc();
        time.observe(took.as_secs_f64());
    }
}

/// All of it.
pub struct Access {
    users: Family<UserLabels, Counter>,
    by_user: [Counter; USERS.len()],
    authentication: Outcomes,
    authorization: Outcomes,
    certificates: Histogram,
}

fn place(user: &str) -> usize {
    let (named, kinds) = USERS.split_at(USERS.len() - 2);
    let known = named.iter().position(|known| *known == user);
    known.unwrap_or(named.len() + usize::from(!user.contains('@')).min(kinds.len() - 1))
}

impl Access {
    /// All at zero.
    pub fn new() -> Self {
        let users: Family<UserLabels, Counter> = Family::default();
        Self {
            by_user: USERS.map(|username| users.get_or_create(&UserLabels { username }).clone()),
            users,
            authentication: Outcomes::new(AUTHENTICATED),
            authorization: Outcomes::new(AUTHORIZED),
            certificates: Histogram::new(VALID_SECONDS),
        }
    }

    /// Adds it to what `/metrics` says.
    pub fn register(&self, registry: &mut Registry) {
        let what = "Requests by who sent them";
        registry.register("authenticated_user_requests", what, self.users.clone());
        let (who, may) = (&self.authentication, &self.authorization);
        let what = "Requests by whether it was found out who sent them";
        registry.register("authentication_attempts", what, who.counts.clone());
        let what = "Time of finding that out, in seconds";
        registry.register("authentication_duration_seconds", what, who.times.clone());
        let what = "Requests by whether they are allowed";
        registry.register("authorization_attempts", what, may.counts.clone());
        let what = "Time of deciding that, in seconds";
        registry.register("authorization_duration_seconds", what, may.times.clone());
        let what = "How long the certificates that clients showed are still good, in seconds";
        let name = "apiserver_client_certificate_expiration_seconds";
        registry.register(name, what, self.certificates.clone());
    }

    /// It is known who sent a request.
    pub fn known(&self, user: &str, took: Duration) {
        self.by_user[place(user)].inc();
        self.authentication.add(0, took);
    }

    /// Credentials were refused.
    pub fn unknown(&self, took: Duration) {
        self.authentication.add(2, took);
    }

    /// It was decided whether a request is allowed.
    pub fn decided(&self, decision: &Decision, took: Duration) {
        let outcome = match decision {
            Decision::Allow(_) => 0,
            Decision::Deny(_) => 1,
            Decision::NoOpinion(_) => 2,
        };
        self.authorization.add(outcome, took);
    }

    /// A connection was opened by this certificate, at this second of the epoch.
    pub fn certificate(&self, certificate: &[u8], now: i64) {
        if let Ok((_, certificate)) = X509Certificate::from_der(certificate) {
            self.certificates.observe((certificate.validity().not_after.timestamp() - now) as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_few() {
        let named = |user| USERS[place(user)];
        assert_eq!(["kubelet", "a@b.c", "ann", ""].map(named), ["kubelet", "email_id", "other", "other"]);
    }
}
