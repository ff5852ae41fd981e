//! Extenders over HTTP: what they are asked, and what becomes of what they say.

use crate::configuration::{self, Configuration};
use crate::{Config, run};
use gifee_base::{Gvr, ObjectKey};
use gifee_client::fake::Fake;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

type Asked = Arc<Mutex<Vec<(String, Value)>>>;

/// An HTTP server that answers each request; its address, and what it was asked.
async fn serve(answer: impl Fn(&str, &Value) -> Value + Send + Sync + 'static) -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/scheduler/", listener.local_addr().unwrap());
    let asked = Asked::default();
    let (seen, answer) = (asked.clone(), Arc::new(answer));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (seen, answer) = (seen.clone(), answer.clone());
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                loop {
                    let (mut path, mut length) = (String::new(), 0);
                    loop {
                        let mut line = String::new();
                        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                            return;
                        }
                        let lower = line.to_ascii_lowercase();
                        if let Some(rest) = line.strip_prefix("POST ") {
                            path = rest.split(' ').next().unwrap_or_default().to_owned();
                        } else if let Some(size) = lower.strip_prefix("content-length:") {
                            length = size.trim().parse().unwrap();
                        } else if line == "\r\n" {
                            break;
                        }
                    }
                    let mut body = vec![0; length];
                    stream.read_exact(&mut body).await.unwrap();
                    let body: Value = serde_json::from_slice(&body).unwrap();
                    let said = answer(&path, &body).to_string();
                    seen.lock().push((path, body));
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", said.len());
                    stream.write_all(format!("{head}{said}").as_bytes()).await.unwrap();
                }
            });
        }
    });
    (url, asked)
}

fn configured(extenders: &Value) -> Result<Configuration, Vec<String>> {
    configuration::read(&json!({ "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration", "extenders": extenders }))
}

struct World {
    fake: Arc<Fake>,
    shutdown: CancellationToken,
}

impl World {
    fn new(extender: &Value) -> Self {
        let fake = Fake::new();
        for (resource, kind, namespaced) in [
            ("csinodes", "CSINode", false),
            ("csidrivers", "CSIDriver", false),
            ("csistoragecapacities", "CSIStorageCapacity", true),
        ] {
            fake.add_kind("storage.k8s.io/v1", resource, kind, namespaced);
        }
        for name in ["one", "two", "three"] {
            fake.put(json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name },
                "status": { "allocatable": { "cpu": "1", "memory": "4Gi", "pods": "110" } } }));
        }
        let shutdown = CancellationToken::new();
        let configuration = configured(&json!([extender])).unwrap();
        let config = Config { seed: Some(1), configuration, ..Config::default() };
        tokio::spawn(run(fake.client(), config, shutdown.clone()));
        Self { fake, shutdown }
    }

    fn create(&self, name: &str, spec: &Value) {
        let mut pod = json!({ "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": "shop", "uid": format!("uid-{name}") },
            "spec": { "schedulerName": "default-scheduler",
                "containers": [{ "name": "c", "image": "web", "resources": { "requests": { "cpu": "600m" } } }] },
            "status": { "phase": "Pending" } });
        super::merge(&mut pod["spec"], spec);
        self.fake.put(pod);
    }

    async fn eventually(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let key = ObjectKey::new("shop", name);
        let last = async {
            loop {
                let pod = self.fake.object(&Gvr::core("pods"), &key).unwrap_or_default();
                if wanted(&pod) {
                    return pod;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(300), last).await;
        found.unwrap_or_else(|_| panic!("{name}: {:?}", self.fake.object(&Gvr::core("pods"), &key)))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

#[tokio::test]
async fn they_filter_and_score() {
    let (url, asked) = serve(|path, body| match path {
        "/scheduler/filter" => json!({ "nodenames": ["one", "three"],
            "FailedAndUnresolvableNodes": { "two": "too blue" }, "pod": body["Pod"]["metadata"]["name"] }),
        _ => json!([{ "Host": "one", "Score": 1 }, { "Host": "three", "Score": 9 }]),
    })
    .await;
    let world =
        World::new(&json!({ "urlPrefix": url, "filterVerb": "filter", "prioritizeVerb": "prioritize",
        "weight": 2, "nodeCacheCapable": true }));
    world.create("web", &json!({}));
    let web = world.eventually("web", |pod| pod["spec"]["nodeName"].is_string()).await;
    assert_eq!(web["spec"]["nodeName"], "three");
    let asked = asked.lock().clone();
    let paths: Vec<&str> = asked.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["/scheduler/filter", "/scheduler/prioritize"]);
    assert_eq!(asked[0].1["Pod"]["metadata"]["name"], "web");
    assert_eq!(asked[0].1["NodeNames"], json!(["one", "three", "two"]));
    assert_eq!(asked[1].1["NodeNames"], json!(["one", "three"]));
}

#[tokio::test]
async fn they_refuse_and_fail() {
    let (url, asked) = serve(|_, body| {
        let names = body["Nodes"]["items"].as_array().unwrap().iter();
        let failed: serde_json::Map<String, Value> = names
            .map(|one| (one["metadata"]["name"].as_str().unwrap().to_owned(), "too blue".into()))
            .collect();
        match body["Pod"]["metadata"]["name"] == "broken" {
            true => json!({ "Error": "no idea" }),
            false => json!({ "Nodes": { "items": [] }, "FailedAndUnresolvableNodes": failed }),
        }
    })
    .await;
    let resource = json!([{ "name": "example.com/colour", "ignoredByScheduler": true }]);
    let world =
        World::new(&json!({ "urlPrefix": url, "filterVerb": "filter", "managedResources": resource }));
    world.create("plain", &json!({}));
    world.eventually("plain", |pod| pod["spec"]["nodeName"].is_string()).await;
    assert_eq!(asked.lock().len(), 0, "the pod does not concern it");
    let coloured = json!({ "containers": [{ "name": "c", "image": "web",
        "resources": { "requests": { "example.com/colour": "1" } } }] });
    world.create("web", &coloured);
    let web = world.eventually("web", |pod| pod["status"]["conditions"].is_array()).await;
    assert_eq!(
        web["status"]["conditions"][0]["message"],
        "0/3 nodes are available: 3 too blue. no new claims to deallocate, preemption: 0/3 nodes are available: \
         3 Preemption is not helpful for scheduling."
    );
    world.create("broken", &coloured);
    let broken = world.eventually("broken", |pod| pod["status"]["conditions"].is_array()).await;
    assert_eq!(broken["status"]["conditions"][0]["reason"], "SchedulerError");
    assert_eq!(broken["status"]["conditions"][0]["message"], "no idea");
}

#[tokio::test]
async fn they_bind_and_judge_victims() {
    let (url, asked) = serve(|path, body| match path {
        "/scheduler/preempt" => {
            let all = body["NodeNameToMetaVictims"].as_object().unwrap();
            json!({ "NodeNameToMetaVictims": { "two": all["two"] } })
        }
        _ => json!({}),
    })
    .await;
    let world = World::new(&json!({ "urlPrefix": url, "preemptVerb": "preempt", "nodeCacheCapable": true }));
    for name in ["a", "b", "c"] {
        world.create(name, &json!({}));
        world.eventually(name, |pod| pod["spec"]["nodeName"].is_string()).await;
    }
    world.create("high", &json!({ "priority": 9 }));
    let high = world.eventually("high", |pod| pod["status"]["nominatedNodeName"].is_string()).await;
    assert_eq!(high["status"]["nominatedNodeName"], "two");
    let (path, body) = asked.lock()[0].clone();
    assert_eq!(path, "/scheduler/preempt");
    assert_eq!(body["NodeNameToMetaVictims"].as_object().unwrap().len(), 3);
    drop(world);

    let (url, asked) = serve(|_, _| json!({})).await;
    let world = World::new(&json!({ "urlPrefix": url, "bindVerb": "bind" }));
    world.create("web", &json!({}));
    let bound = async {
        while asked.lock().is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        asked.lock()[0].clone()
    };
    let (path, body) = tokio::time::timeout(Duration::from_secs(300), bound).await.unwrap();
    assert_eq!(path, "/scheduler/bind");
    assert_eq!((&body["PodName"], &body["PodUID"]), (&json!("web"), &json!("uid-web")));
    assert!(
        world.fake.object(&Gvr::core("pods"), &ObjectKey::new("shop", "web")).unwrap()["spec"]["nodeName"]
            .is_null()
    );
}

#[test]
fn mistakes_are_told() {
    let check = |extenders: Value, expected: &[&str]| {
        let mistakes = configured(&extenders).err().unwrap_or_default();
        assert_eq!(mistakes, expected, "{extenders}");
    };
    check(
        json!([{ "urlPrefix": "http://x", "filterVerb": "filter", "httpTimeout": "100ms", "weight": 1,
        "enableHTTPS": true, "tlsConfig": { "insecure": true }, "ignorable": true }]),
        &[],
    );
    check(
        json!([{ "prioritizeVerb": "p", "bindVerb": "b" }, { "bindVerb": "b", "httpTimeout": "soon" }]),
        &[
            "extenders[0].weight: Invalid value: 0: must have a positive weight applied to it",
            "extenders[1].httpTimeout: Invalid value: \"soon\": invalid duration",
            "extenders: Invalid value: \"found 2 extenders implementing bind\": only one extender can implement bind",
        ],
    );
    let twice = json!([{ "name": "example.com/a" }, { "name": "example.com/a" }]);
    check(
        json!([{ "managedResources": twice }]),
        &[
            "extenders[0].managedResources[1].name: Invalid value: \"example.com/a\": duplicate extender managed resource name",
        ],
    );
}
