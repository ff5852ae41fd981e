//! Kubeconfigs as people have them, merged, written and refused.

use super::*;
use expect_test::expect;

const SAMPLE: &str = r#"
apiVersion: v1
kind: Config
current-context: dev
clusters:
- name: one
  cluster:
    server: https://127.0.0.1:6443
    certificate-authority-data: Y2VydA==
- cluster: {server: "https://other:1/prefix", insecure-skip-tls-verify: true}
  name: two
contexts:
- {name: dev, context: {cluster: one, user: admin, namespace: web}}
- {name: bare, context: {cluster: two}}
users:
- name: admin
  user:
    token: 0123
    unknown-field: kept
"#;

#[test]
fn reads_and_keeps() {
    let config = Kubeconfig::parse("sample", SAMPLE, Path::new("/")).unwrap();
    let tls = config.tls(None).unwrap();
    assert_eq!(tls.server, "https://127.0.0.1:6443");
    assert_eq!(tls.authorities, b"cert");
    assert_eq!(tls.credentials.token.as_deref(), Some("0123"));
    assert_eq!(config.namespace(None), "web");
    assert_eq!(config.namespace(Some("bare")), "default");
    assert!(config.tls(Some("bare")).unwrap().insecure);
    let again = Kubeconfig::parse("again", &config.to_yaml(), Path::new("/")).unwrap();
    assert_eq!(again.tree(), config.tree());
    assert!(config.to_yaml().contains("unknown-field: kept"));
}

#[test]
fn names_what_is_wrong() {
    let check = |text: &str, expected: expect_test::Expect| {
        let found = Kubeconfig::parse("file", text, Path::new("/")).and_then(|config| config.tls(None));
        expected.assert_eq(&found.err().map(|error| error.to_string()).unwrap_or_default());
    };
    check("", expect!["kubeconfig: no context is chosen"]);
    check("- a", expect!["file: not a kubeconfig: a mapping was expected"]);
    check("current-context: x", expect![[r#"context "x": does not exist in the kubeconfig"#]]);
    check("a: &x [1]\nb: *x", expect!["file: aliases are not supported"]);
}

#[test]
fn writes_and_merges() {
    let tls = TlsConfig { server: "https://h:1".into(), authorities: b"pem".into(), ..TlsConfig::default() };
    let mut config = Kubeconfig::single("gifee", &tls);
    expect![[r#"
        apiVersion: v1
        clusters:
        - cluster:
            certificate-authority-data: cGVt
            server: https://h:1
          name: gifee
        contexts:
        - context:
            cluster: gifee
            user: gifee
          name: gifee
        current-context: gifee
        kind: Config
        preferences: {}
        users:
        - name: gifee
          user: {}
    "#]]
    .assert_eq(&config.to_yaml());
    let sample = Kubeconfig::parse("sample", SAMPLE, Path::new("/")).unwrap();
    config.merge(&sample, false);
    assert_eq!(config.current_context(), "gifee");
    assert_eq!(config.contexts().collect::<Vec<_>>(), ["gifee", "dev", "bare"]);
    config.remove("gifee");
    assert_eq!(config.contexts().collect::<Vec<_>>(), ["dev", "bare"]);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/config");
    config.write(&path).unwrap();
    assert_eq!(Kubeconfig::load(&path).unwrap().tree(), config.tree());
}

#[test]
fn a_pod_is_told_where_its_cluster_is_and_who_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let told = |host: &'static str, port: &'static str| {
        move |name: &str| {
            let value = if name.ends_with("HOST") { host } else { port };
            Some(value.to_owned()).filter(|value| *value != "none")
        }
    };
    let failure = |host, port| in_pod(folder.path(), told(host, port)).err().unwrap().to_string();
    assert_eq!(failure("none", "443"), "KUBERNETES_SERVICE_HOST: is not set");
    assert_eq!(failure("10.0.0.1", ""), "KUBERNETES_SERVICE_PORT: is not set");
    assert!(failure("10.0.0.1", "443").contains("ca.crt"));
    std::fs::write(folder.path().join("ca.crt"), "authorities").unwrap();
    for (host, expect) in [("10.0.0.1", "https://10.0.0.1:443"), ("fd00::1", "https://[fd00::1]:443")] {
        let tls = in_pod(folder.path(), told(host, "443")).unwrap();
        assert_eq!((tls.server.as_str(), &tls.authorities[..]), (expect, &b"authorities"[..]));
        // A token is read when it is used: it is renewed beside.
        assert_eq!(tls.credentials.token_file, Some(folder.path().join("token")));
        assert!(!tls.insecure && tls.credentials.token.is_none());
    }
}
