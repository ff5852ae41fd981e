//! The set of controllers that run is the set that exists.

use super::*;
use expect_test::expect;
use gifee_client::fake::Fake;
use gifee_reconcile::Recorder;
use std::time::Duration;

#[tokio::test]
async fn every_controller_that_exists_runs() {
    let folders = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap();
    let folders = folders.filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_dir()).count();
    assert_eq!(CONTROLLERS.len(), folders, "every folder is a row");

    let (fake, stop) = (Fake::new(), CancellationToken::new());
    let certificates = "certificates.k8s.io/v1";
    fake.add_kind(certificates, "certificatesigningrequests", "CertificateSigningRequest", false);
    fake.add_kind(certificates, "clustertrustbundles", "ClusterTrustBundle", false);
    fake.add_kind(certificates, "podcertificaterequests", "PodCertificateRequest", true);
    let clock = Arc::new(gifee_base::SystemClock);
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
        deployment-controller
        disruption-controller
        endpoints-controller
        endpointslice-controller
        endpointslice-mirroring-controller
        garbage-collector-controller
        job-controller
        kube-apiserver-serving-clustertrustbundle-publisher-controller
        namespace-controller
        node-lifecycle-controller
        persistentvolume-binder-controller
        persistentvolume-protection-controller
        persistentvolumeclaim-protection-controller
        pod-garbage-collector-controller
        podcertificaterequest-cleaner-controller
        replicaset-controller
        replicationcontroller-controller
        resourcequota-controller
        root-ca-certificate-publisher-controller
        serviceaccount-controller
        serviceaccount-token-controller
        taint-eviction-controller
        token-cleaner-controller
        ttl-after-finished-controller
    "#]]
    .assert_eq(&names());
    // The bundle of the authority belongs to every cluster, empty as it may be.
    let mut writes = fake.writes();
    writes.retain(|write| !write.contains("clustertrustbundles"));
    assert_eq!(writes, Vec::<String>::new(), "an empty cluster is not written to");
    stop.cancel();
    running.await.unwrap();
}
