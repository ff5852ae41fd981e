//! The controllers: each observes through shared caches, plans purely, applies.
//!
//! Invariants: each runs from a keyed queue that watches fill, never from a timer that lists; a cluster at
//! rest is not written to; every row of [`CONTROLLERS`] is started. Answers to kube-controller-manager.

pub mod attachdetach;
pub mod bootstrapsigner;
mod calls;
mod certificate;
pub mod claimprotection;
pub mod clusterroleaggregation;
pub mod cronjob;
pub mod csrapproving;
pub mod csrcleaner;
pub mod csrsigning;
pub mod daemonset;
pub mod deployment;
pub mod devicetainteviction;
pub mod disruption;
pub mod endpoints;
pub mod endpointslice;
pub mod endpointslicemirroring;
pub mod ephemeralvolume;
pub mod garbagecollector;
mod history;
pub mod horizontalpodautoscaling;
pub mod job;
pub mod legacytokencleaner;
pub mod localpath;
pub mod namespace;
pub mod nodeipam;
pub mod nodelifecycle;
pub mod persistentvolume;
pub mod persistentvolumeexpander;
pub mod podcertificates;
pub mod podgc;
mod pods;
pub mod replicaset;
pub mod replicationcontroller;
pub mod resourceclaim;
pub mod resourcequota;
pub mod rootca;
pub mod serviceaccount;
pub mod servicecidr;
pub mod statefulset;
pub mod storageversionmigrator;
pub mod tainteviction;
#[cfg(test)]
mod tests;
pub mod tokencleaner;
pub mod tokens;
pub mod trustbundle;
pub mod ttlafterfinished;
pub mod volumeattributesclass;
pub mod volumeprotection;

use futures_util::future::BoxFuture;
use gifee_base::ObjectKey;
use gifee_client::Client;
use gifee_reconcile::Context;
use gifee_reconcile::lease::{Election, Timing};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What the controllers need to know about the cluster.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Certificate of the authority that signs the API server's certificate, PEM; published to all
    /// namespaces. Without it nothing is published.
    pub root_ca: Option<String>,
    /// Who signs certificates for upstream's signers; none: nothing is signed or published for them.
    pub signer: Option<csrsigning::Signer>,
    /// Who signs the tokens of Secrets; none: they stay empty.
    pub tokens: Option<tokens::Issuer>,
    /// Unique name of this process if several compete to run the controllers; none: run at once.
    pub elect_as: Option<String>,
    /// What the ranges of nodes are cut out of, one of each family; none: nodes are given none.
    pub cluster_ranges: Vec<String>,
    /// Prefix length of a node's IPv4 range; none: 24.
    pub node_prefix: Option<u8>,
    /// Where queues and controllers are counted; none: nowhere.
    pub meters: Option<Metering>,
    /// Clients of the controllers' own service accounts; none: all write under the identity that watches.
    pub clients: Option<Clients>,
}

/// Counts queues and controllers.
#[derive(Clone)]
pub struct Metering(pub Arc<gifee_client::Meters>);

impl std::fmt::Debug for Metering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metering")
    }
}

/// Makes the client of a service account in `kube-system`, by its name.
#[derive(Clone)]
pub struct Clients(pub Arc<dyn Fn(&str) -> Client + Send + Sync>);

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clients")
    }
}

/// One controller.
pub struct Controller {
    /// Upstream's name.
    pub name: &'static str,
    /// Its service account in `kube-system`: what its default role is bound to; empty: it writes as
    /// kube-controller-manager itself.
    pub account: &'static str,
    /// Runs it until the context's shutdown.
    pub run: fn(Context, Arc<Config>) -> BoxFuture<'static, ()>,
}

// Not extensions: calls, certificate, history, pods.
/// Every controller there is.
pub const CONTROLLERS: &[Controller] = &[
    Controller { name: deployment::NAME, account: "deployment-controller", run: deployment::run },
    Controller { name: replicaset::NAME, account: "replicaset-controller", run: replicaset::run },
    Controller { name: daemonset::NAME, account: "daemon-set-controller", run: daemonset::run },
    Controller { name: statefulset::NAME, account: "statefulset-controller", run: statefulset::run },
    Controller { name: endpoints::NAME, account: "endpoint-controller", run: endpoints::run },
    Controller { name: endpointslice::NAME, account: "endpointslice-controller", run: endpointslice::run },
    Controller {
        name: endpointslicemirroring::NAME,
        account: "endpointslicemirroring-controller",
        run: endpointslicemirroring::run,
    },
    Controller {
        name: replicationcontroller::NAME,
        account: "replication-controller",
        run: replicationcontroller::run,
    },
    Controller { name: cronjob::NAME, account: "cronjob-controller", run: cronjob::run },
    Controller {
        name: horizontalpodautoscaling::NAME,
        account: "horizontal-pod-autoscaler",
        run: horizontalpodautoscaling::run,
    },
    Controller { name: job::NAME, account: "job-controller", run: job::run },
    Controller {
        name: ttlafterfinished::NAME,
        account: "ttl-after-finished-controller",
        run: ttlafterfinished::run,
    },
    Controller { name: disruption::NAME, account: "disruption-controller", run: disruption::run },
    Controller { name: namespace::NAME, account: "namespace-controller", run: namespace::run },
    Controller { name: rootca::NAME, account: "root-ca-cert-publisher", run: rootca::run },
    Controller {
        name: serviceaccount::NAME,
        account: "service-account-controller",
        run: serviceaccount::run,
    },
    Controller { name: nodeipam::NAME, account: "node-controller", run: nodeipam::run },
    Controller { name: nodelifecycle::NAME, account: "node-controller", run: nodelifecycle::run },
    Controller { name: tainteviction::NAME, account: "node-controller", run: tainteviction::run },
    Controller { name: podgc::NAME, account: "pod-garbage-collector", run: podgc::run },
    Controller {
        name: garbagecollector::NAME,
        account: "generic-garbage-collector",
        run: garbagecollector::run,
    },
    Controller { name: resourcequota::NAME, account: "resourcequota-controller", run: resourcequota::run },
    Controller {
        name: claimprotection::NAME,
        account: "pvc-protection-controller",
        run: claimprotection::run,
    },
    Controller {
        name: volumeprotection::NAME,
        account: "pv-protection-controller",
        run: volumeprotection::run,
    },
    Controller {
        name: persistentvolume::NAME,
        account: "persistent-volume-binder",
        run: persistentvolume::run,
    },
    Controller { name: attachdetach::NAME, account: "attachdetach-controller", run: attachdetach::run },
    Controller {
        name: ephemeralvolume::NAME,
        account: "ephemeral-volume-controller",
        run: ephemeralvolume::run,
    },
    Controller {
        name: persistentvolumeexpander::NAME,
        account: "expand-controller",
        run: persistentvolumeexpander::run,
    },
    Controller { name: localpath::NAME, account: "local-path-provisioner", run: localpath::run },
    Controller {
        name: volumeattributesclass::NAME,
        account: "volumeattributesclass-protection-controller",
        run: volumeattributesclass::run,
    },
    Controller {
        name: storageversionmigrator::NAME,
        account: "storage-version-migrator-controller",
        run: storageversionmigrator::run,
    },
    Controller { name: servicecidr::NAME, account: "service-cidrs-controller", run: servicecidr::run },
    Controller {
        name: legacytokencleaner::NAME,
        account: "legacy-service-account-token-cleaner",
        run: legacytokencleaner::run,
    },
    Controller {
        name: devicetainteviction::NAME,
        account: "device-taint-eviction-controller",
        run: devicetainteviction::run,
    },
    Controller { name: resourceclaim::NAME, account: "resource-claim-controller", run: resourceclaim::run },
    Controller { name: csrapproving::NAME, account: "certificate-controller", run: csrapproving::run },
    Controller { name: csrsigning::NAME, account: "certificate-controller", run: csrsigning::run },
    Controller { name: csrcleaner::NAME, account: "certificate-controller", run: csrcleaner::run },
    Controller {
        name: podcertificates::NAME,
        account: "podcertificaterequestcleaner",
        run: podcertificates::run,
    },
    Controller {
        name: trustbundle::NAME,
        account: "kube-apiserver-serving-clustertrustbundle-publisher",
        run: trustbundle::run,
    },
    Controller {
        name: clusterroleaggregation::NAME,
        account: "clusterrole-aggregation-controller",
        run: clusterroleaggregation::run,
    },
    Controller { name: tokens::NAME, account: "", run: tokens::run },
    Controller { name: tokencleaner::NAME, account: "token-cleaner", run: tokencleaner::run },
    Controller { name: bootstrapsigner::NAME, account: "bootstrap-signer", run: bootstrapsigner::run },
];

/// The program that upstream runs them in.
const MANAGER: &str = "kube-controller-manager";

/// Runs all controllers until the shutdown; with [`Config::elect_as`] only while elected.
pub async fn run(client: Client, config: Config, shutdown: CancellationToken) {
    run_timed(client, config, Timing::default(), shutdown).await;
}

async fn run_timed(client: Client, config: Config, timing: Timing, shutdown: CancellationToken) {
    let Some(identity) = config.elect_as.clone() else {
        let context = Context::new(client, MANAGER, shutdown);
        return start(&context, config).await;
    };
    let election = Election {
        client: client.clone(),
        clock: Arc::new(gifee_base::SystemClock),
        lease: ObjectKey::new("kube-system", MANAGER),
        identity,
        timing,
    };
    let lead = |term| {
        let context = Context::new(client.clone(), MANAGER, term);
        election.announce(&context.events, "");
        let config = config.clone();
        async move { start(&context, config).await }
    };
    election.run(shutdown, lead).await;
}

/// Runs all controllers in a context until its shutdown.
pub async fn start(context: &Context, config: Config) {
    let config = Arc::new(config);
    let meters = config.meters.as_ref().map(|metering| metering.0.clone());
    let context = context.clone().measured(meters.clone());
    let runs = |name, runs| meters.iter().for_each(|meters| meters.runs(name, MANAGER, runs));
    let mut tasks = tokio::task::JoinSet::new();
    for controller in CONTROLLERS {
        tracing::debug!(controller = controller.name, "starting");
        runs(controller.name, true);
        let mut own = context.clone();
        if let Some(clients) = config.clients.as_ref().filter(|_| !controller.account.is_empty()) {
            own.client = (clients.0)(controller.account);
        }
        tasks.spawn((controller.run)(own, config.clone()));
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a controller ended");
        }
    }
    CONTROLLERS.iter().for_each(|controller| runs(controller.name, false));
}
