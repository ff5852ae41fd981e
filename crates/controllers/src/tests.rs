//! The set of controllers that run is the set that exists, and the set that upstream runs but for those named here.

mod quiet;

use super::*;
use expect_test::expect;
use gifee_client::fake::Fake;
use gifee_reconcile::Recorder;
use std::time::Duration;

/// Kinds that all controllers together need and that not every fake knows.
const MORE_KINDS: &[(&str, &str, &str, bool)] = &[
    ("certificates.k8s.io/v1", "certificatesigningrequests", "CertificateSigningRequest", false),
    ("certificates.k8s.io/v1", "clustertrustbundles", "ClusterTrustBundle", false),
    ("certificates.k8s.io/v1", "podcertificaterequests", "PodCertificateRequest", true),
];

/// Upstream's controllers that there is no row for, and why.
const ABSENT: &[(&str, &str)] = &[
    ("cloud-node-lifecycle-controller", "there is no cloud provider"),
    (
        "node-route-controller",
        "there is no cloud provider; nodes reach one another's pods without routes of it",
    ),
    ("resource-pool-status-request-controller", "behind a gate that is off"),
    ("selinux-warning-controller", "off by default"),
    ("service-lb-controller", "there is no cloud provider"),
    ("storageversion-garbage-collector-controller", "for an alpha API that is not served"),
    ("ttl-controller", "tells agents how long to cache what ours watches"),
    (
        "validatingadmissionpolicy-status-controller",
        "the API server writes this status where it compiles policies",
    ),
];

/// Controllers that upstream has no such of.
const OWN: &[&str] = &["local-path-provisioner-controller"];

/// What kube-controller-manager 1.37 has.
const UPSTREAM: &str = "
    bootstrap-signer-controller certificatesigningrequest-approving-controller
    certificatesigningrequest-cleaner-controller certificatesigningrequest-signing-controller
    cloud-node-lifecycle-controller clusterrole-aggregation-controller cronjob-controller daemonset-controller
    deployment-controller device-taint-eviction-controller disruption-controller endpoints-controller
    endpointslice-controller endpointslice-mirroring-controller ephemeral-volume-controller
    garbage-collector-controller horizontal-pod-autoscaler-controller job-controller
    kube-apiserver-serving-clustertrustbundle-publisher-controller legacy-serviceaccount-token-cleaner-controller
    namespace-controller node-ipam-controller node-lifecycle-controller node-route-controller
    persistentvolume-attach-detach-controller persistentvolume-binder-controller
    persistentvolume-expander-controller persistentvolume-protection-controller
    persistentvolumeclaim-protection-controller pod-garbage-collector-controller
    podcertificaterequest-cleaner-controller replicaset-controller replicationcontroller-controller
    resource-pool-status-request-controller resourceclaim-controller resourcequota-controller
    root-ca-certificate-publisher-controller selinux-warning-controller service-cidr-controller
    service-lb-controller serviceaccount-controller serviceaccount-token-controller statefulset-controller
    storage-version-migrator-controller storageversion-garbage-collector-controller taint-eviction-controller
    token-cleaner-controller ttl-after-finished-controller ttl-controller
    validatingadmissionpolicy-status-controller volumeattributesclass-protection-controller";

#[test]
fn what_is_missing_of_upstream_is_named() {
    let own: std::collections::BTreeSet<&str> = CONTROLLERS.iter().map(|one| one.name).collect();
    let upstream: std::collections::BTreeSet<&str> = UPSTREAM.split_whitespace().collect();
    let missing: Vec<&str> = upstream.difference(&own).copied().collect();
    let named: Vec<&str> = ABSENT.iter().map(|(name, _)| *name).collect();
    assert_eq!(missing, named);
    assert_eq!(own.difference(&upstream).copied().collect::<Vec<_>>(), OWN, "upstream has no such");
    assert!(ABSENT.iter().all(|(_, why)| !why.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn every_controller_that_exists_runs() {
    let folders = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap();
    let folders = folders.filter(|entry| {
        let entry = entry.as_ref().unwrap();
        entry.file_type().unwrap().is_dir() && entry.file_name() != "tests"
    });
    let folders = folders.count();
    assert_eq!(CONTROLLERS.len(), folders, "every folder is a row");

    let (fake, stop) = (Fake::new(), CancellationToken::new());
    for (api_version, resource, kind, namespaced) in MORE_KINDS {
        fake.add_kind(api_version, resource, kind, *namespaced);
    }
    let clock = gifee_testkit::RuntimeClock::new();
    let context = Context::with(fake.client(), clock, Recorder::memory(), stop.clone());
    let config = Config {
        root_ca: Some("PEM".into()),
        signer: Some(csrsigning::Signer(Arc::new(|_| Err("none".into())))),
        tokens: Some(tokens::Issuer(Arc::new(|_| Err("none".into())))),
        ..Config::default()
    };
    let running = tokio::spawn({
        let context = context.clone();
        async move { start(&context, config).await }
    });
    let names = || {
        let names: Vec<&str> = context.all_counts().into_iter().map(|(name, _)| name).collect();
        names.join("\n") + "\n"
    };
    for _ in 0..1000 {
        if names().lines().count() == CONTROLLERS.len() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    expect![[r#"
        bootstrap-signer-controller
        certificatesigningrequest-approving-controller
        certificatesigningrequest-cleaner-controller
        certificatesigningrequest-signing-controller
        clusterrole-aggregation-controller
        cronjob-controller
        daemonset-controller
        deployment-controller
        device-taint-eviction-controller
        disruption-controller
        endpoints-controller
        endpointslice-controller
        endpointslice-mirroring-controller
        ephemeral-volume-controller
        garbage-collector-controller
        horizontal-pod-autoscaler-controller
        job-controller
        kube-apiserver-serving-clustertrustbundle-publisher-controller
        legacy-serviceaccount-token-cleaner-controller
        local-path-provisioner-controller
        namespace-controller
        node-ipam-controller
        node-lifecycle-controller
        persistentvolume-attach-detach-controller
        persistentvolume-binder-controller
        persistentvolume-expander-controller
        persistentvolume-protection-controller
        persistentvolumeclaim-protection-controller
        pod-garbage-collector-controller
        podcertificaterequest-cleaner-controller
        replicaset-controller
        replicationcontroller-controller
        resourceclaim-controller
        resourcequota-controller
        root-ca-certificate-publisher-controller
        service-cidr-controller
        serviceaccount-controller
        serviceaccount-token-controller
        statefulset-controller
        storage-version-migrator-controller
        taint-eviction-controller
        token-cleaner-controller
        ttl-after-finished-controller
        volumeattributesclass-protection-controller
    "#]]
    .assert_eq(&names());
    // The bundle of the authority belongs to every cluster, empty as it may be.
    let mut writes = fake.writes();
    writes.retain(|write| !write.contains("clustertrustbundles"));
    assert_eq!(writes, Vec::<String>::new(), "an empty cluster is not written to");
    stop.cancel();
    running.await.unwrap();
}
