//! The blog of `examples/blog`: reached by name and from outside, its content outlives its pods, and a new version
//! goes out under load without one failed request.

use crate::first::available;
use crate::fixture::Cluster;
use crate::http::{Load, answers, call};
use crate::run::runtime;
use crate::steps::Steps;
use gifee_base::Gvr;
use serde_json::Value;

const EXAMPLE: &str = include_str!("../../../../examples/blog/blog.yaml");
const POST: &str = "title=Hello&body=written+by+a+test";

#[test]
fn blog() {
    let cluster = Cluster::up("blog");
    let steps = Steps::new(&cluster);
    steps.step("the image", || cluster.example("blog"));
    steps.step("apply", || {
        cluster.aged("1.36", &["apply", "-f", "-"], &own(&cluster)).ok();
        cluster.kubectl(&["wait", "--for=condition=Available", "deployment/blog", "--timeout=100s"]).ok();
        available(&cluster, "default", "blog", 2);
    });
    let service = cluster.until(&Gvr::core("services"), "default", "blog", Value::is_object);
    let outside = format!("127.0.0.1:{}", service["spec"]["ports"][0]["nodePort"]);
    let inside = format!("{}:80", service["spec"]["clusterIP"].as_str().unwrap());
    steps.step("answers at its port of the machine", || drop(answers(&outside, "/", "A blog on gifee")));
    steps.step("answers at its Service's address", || drop(answers(&inside, "/", "A blog on gifee")));
    steps.step("answers by its name", || {
        let ask = "import urllib.request; print(urllib.request.urlopen('http://blog.default.svc/').read().decode())";
        let page = cluster.kubectl(&["exec", "deploy/blog", "--", "python3", "-c", ask]).ok();
        assert!(page.contains("A blog on gifee"), "{page}");
    });
    steps.step("a post is read from every pod, also after one was replaced", || {
        let posted = runtime().block_on(call(&outside, "/", Some(POST))).unwrap();
        assert_eq!(posted.code, 302, "{posted:?}");
        let first = pods(&cluster).remove(0);
        cluster.kubectl(&["delete", "pod", first["metadata"]["name"].as_str().unwrap()]).ok();
        available(&cluster, "default", "blog", 2);
        let pods = pods(&cluster);
        assert!(pods.iter().all(|pod| pod["metadata"]["uid"] != first["metadata"]["uid"]));
        for pod in &pods {
            let address = format!("{}:8000", pod["status"]["podIP"].as_str().unwrap());
            answers(&address, "/posts/1/", "written by a test");
        }
    });
    steps.step("a rollout under load fails no request", || {
        let load = Load::start(&outside, "/", 3);
        cluster.kubectl(&["set", "env", "deployment/blog", "TITLE=The second edition"]).ok();
        cluster.kubectl(&["rollout", "status", "deployment/blog", "--timeout=100s"]).ok();
        available(&cluster, "default", "blog", 2);
        let (good, bad) = load.end();
        assert!(bad.is_empty(), "{} of {} failed: {bad:#?}", bad.len(), good + bad.len() as u64);
        assert!(good > 20, "only {good} requests were made");
        answers(&outside, "/", "The second edition");
    });
    steps.end();
}

/// The example with a volume of the test's own, and a port that the cluster chooses.
fn own(cluster: &Cluster) -> String {
    let volume = cluster.folder.path().join("volume");
    let (path, port) = ("/var/lib/gifee-example-blog", ", nodePort: 30080");
    assert!(EXAMPLE.contains(path) && EXAMPLE.contains(port), "the example has changed: so must this test");
    EXAMPLE.replace(path, &volume.to_string_lossy()).replace(port, "")
}

fn pods(cluster: &Cluster) -> Vec<Value> {
    let mut pods = cluster.list(&Gvr::core("pods"), "default", "app=blog");
    pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    assert_eq!(pods.len(), 2, "{pods:#?}");
    pods
}
