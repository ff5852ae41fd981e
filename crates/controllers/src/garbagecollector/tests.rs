//! The graph and the plans as tables, and the controller against a fake server.

use super::graph::Kind;
use super::plan::plan;
use super::*;
use gifee_base::{Gvr, Status};
use gifee_client::Propagation;
use gifee_client::fake::Fake;
use gifee_reconcile::Recorder;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

fn kind(kind: &str) -> Arc<Kind> {
    let resource = format!("{}s", kind.to_lowercase());
    let namespaced = kind != "Node";
    let (group, version, api_version) = match kind {
        "Deployment" | "ReplicaSet" => ("apps", "v1", "apps/v1"),
        _ => ("", "v1", "v1"),
    };
    let gvr = Gvr::new(group, version, &resource);
    Arc::new(Kind { gvr, api_version: api_version.into(), kind: kind.into(), namespaced })
}

/// `Kind/namespace/name`, whose UID is the name unless `uid=` says otherwise, then references
/// `<Kind/name` that block or `~Kind/name` that do not, and finalizers `+name`; `deleting`.
fn tree(text: &str) -> (Arc<Kind>, Value) {
    let mut words = text.split_whitespace();
    let path: Vec<&str> = words.next().unwrap().split('/').collect();
    let of = kind(path[0]);
    let mut metadata = json!({ "name": path[2], "uid": path[2] });
    if !path[1].is_empty() {
        metadata["namespace"] = path[1].into();
    }
    let (mut owners, mut finalizers) = (Vec::new(), Vec::new());
    for word in words {
        match word.split_at(1) {
            ("+", finalizer) => finalizers.push(finalizer),
            ("<" | "~", owner) => {
                let (owner, name) = owner.split_once('/').unwrap();
                owners.push(json!({ "apiVersion": kind(owner).api_version, "kind": owner, "name": name,
                    "uid": name, "blockOwnerDeletion": word.starts_with('<') }));
            }
            _ if word == "deleting" => metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z".into(),
            _ => metadata["uid"] = word.trim_start_matches("uid=").into(),
        }
    }
    if !owners.is_empty() {
        metadata["ownerReferences"] = owners.into();
    }
    if !finalizers.is_empty() {
        metadata["finalizers"] = finalizers.into();
    }
    let api_version = of.api_version.clone();
    let kind = of.kind.clone();
    (of, json!({ "apiVersion": api_version, "kind": kind, "metadata": metadata }))
}

fn applied(graph: &mut Graph, text: &str) -> String {
    let (kind, tree) = tree(text);
    let object = Object::received(tree.to_string().into()).unwrap();
    let mut effects = Vec::new();
    graph.apply(&kind, &object, &mut effects);
    words(&effects)
}

fn removed(graph: &mut Graph, text: &str) -> String {
    let (kind, tree) = tree(text);
    let mut effects = Vec::new();
    graph.remove(&kind, tree["metadata"]["uid"].as_str().unwrap(), &mut effects);
    words(&effects)
}

fn words(effects: &[Effect]) -> String {
    let word = |effect: &Effect| match effect {
        Effect::Examine(uid) => format!("examine:{uid}"),
        Effect::Verify(uid) => format!("verify:{uid}"),
        Effect::Gone(claim) => format!("gone:{}/{}/{}", claim.named.kind, claim.namespace, claim.name),
        Effect::Misplaced { dependent, owner } => format!("misplaced:{dependent}<{owner}"),
    };
    effects.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_graph_says_what_a_change_means() {
    let graph = &mut Graph::default();
    assert_eq!(applied(graph, "Pod/a/p1 <ReplicaSet/rs"), "verify:rs");
    assert_eq!(applied(graph, "ReplicaSet/a/rs"), "");
    assert_eq!(applied(graph, "Pod/a/p2 <ReplicaSet/rs"), "");
    assert_eq!(applied(graph, "Pod/a/p2 <ReplicaSet/rs"), "", "nothing changed");
    assert_eq!(
        removed(graph, "ReplicaSet/a/rs"),
        "gone:ReplicaSet/a/rs examine:p1 examine:p2",
        "its dependents have lost it"
    );
    assert_eq!(removed(graph, "Pod/a/p1"), "");
    assert_eq!(removed(graph, "Pod/a/p2"), "");
    assert!(graph.is_empty() && graph.claims("rs").is_empty());
}

#[test]
fn the_graph_follows_a_foreground_deletion() {
    let graph = &mut Graph::default();
    applied(graph, "ReplicaSet/a/rs");
    applied(graph, "Pod/a/p1 <ReplicaSet/rs");
    applied(graph, "Pod/a/p2 ~ReplicaSet/rs");
    let deleting = "ReplicaSet/a/rs deleting +foregroundDeletion";
    assert_eq!(applied(graph, deleting), "examine:rs examine:p1 examine:p2");
    assert_eq!(applied(graph, deleting), "", "it is known to be deleted");
    let view = graph.view("rs").unwrap();
    assert_eq!(view.dependents, ["p1".into()], "only p1 blocks");
    assert_eq!(applied(graph, "Pod/a/p3 <ReplicaSet/rs"), "examine:rs", "one that comes late");
    assert_eq!(applied(graph, "Pod/a/p3 ~ReplicaSet/rs"), "examine:rs", "it blocks no more");
    assert_eq!(applied(graph, "Pod/a/p3"), "");
    assert_eq!(removed(graph, "Pod/a/p1"), "examine:rs");
    assert_eq!(graph.view("rs").unwrap().dependents, []);
    assert_eq!(applied(graph, "ReplicaSet/a/other deleting +orphan"), "examine:other");
    assert_eq!(applied(graph, "ReplicaSet/a/third deleting +mine"), "");
}

#[test]
fn the_graph_doubts_references_that_do_not_fit() {
    let graph = &mut Graph::default();
    applied(graph, "Pod/a/early <Secret/rs");
    applied(graph, "Pod/a/other <Deployment/rs");
    assert_eq!(applied(graph, "ReplicaSet/a/rs"), "examine:early examine:other");
    assert_eq!(applied(graph, "Pod/b/far <ReplicaSet/rs"), "examine:far misplaced:far<rs");
    applied(graph, "Node//n");
    assert_eq!(applied(graph, "Pod/b/near <Node/n"), "", "all see what has no namespace");
    let (kind, _) = tree("Pod/a/x");
    graph.forget(&kind);
    assert_eq!(removed(graph, "ReplicaSet/a/rs"), "", "what is no longer served is not touched");
}

#[test]
fn a_new_list_brings_and_takes() {
    let graph = &mut Graph::default();
    applied(graph, "ReplicaSet/a/old");
    applied(graph, "ReplicaSet/a/kept");
    applied(graph, "Pod/a/p <ReplicaSet/old");
    let (of, kept) = tree("ReplicaSet/a/kept");
    let (_, new) = tree("ReplicaSet/a/new deleting +orphan");
    let objects = [kept, new].map(|tree| Object::received(tree.to_string().into()).unwrap());
    let mut effects = Vec::new();
    graph.replace(&of, &objects, &mut effects);
    assert_eq!(words(&effects), "examine:new gone:ReplicaSet/a/old examine:p");
    assert_eq!(graph.len(), 3);
}

#[test]
fn plans_by_what_owners_are() {
    let check = |objects: &[&str], uid: &str, verdicts: &str, expected: Plan| {
        let graph = &mut Graph::default();
        for object in objects {
            applied(graph, object);
        }
        let verdicts: Vec<Verdict> = verdicts
            .chars()
            .map(|letter| match letter {
                's' => Verdict::Solid,
                'w' => Verdict::Waiting,
                _ => Verdict::Absent,
            })
            .collect();
        let view = graph.view(uid).unwrap();
        assert_eq!(plan(&view, &verdicts), expected, "{objects:?} {verdicts:?}");
    };
    let delete = |propagation, unblock| Plan::Delete { propagation, unblock };
    let background = || delete(Propagation::Background, false);
    check(&["Pod/a/p"], "p", "", Plan::Nothing);
    check(&["Pod/a/p <ReplicaSet/x"], "p", "s", Plan::Nothing);
    check(&["Pod/a/p <ReplicaSet/x"], "p", "a", background());
    check(&["Pod/a/p <ReplicaSet/x"], "p", "w", background());
    check(&["Pod/a/p <ReplicaSet/x deleting"], "p", "", Plan::Nothing);
    let three = "Pod/a/p <ReplicaSet/x <ReplicaSet/y <ReplicaSet/z";
    check(&[three], "p", "saw", Plan::Release(vec!["y".into(), "z".into()]));
    check(&[three], "p", "aaw", background());
    check(&["Pod/a/p <ReplicaSet/x +orphan"], "p", "a", delete(Propagation::Orphan, false));
    check(&["Pod/a/p <ReplicaSet/x +foregroundDeletion"], "p", "a", delete(Propagation::Foreground, false));
    // One that owns something itself waits for that as well.
    let set = "ReplicaSet/a/rs <Deployment/d";
    check(&[set, "Pod/a/p <ReplicaSet/rs"], "rs", "w", delete(Propagation::Foreground, false));
    let circle = "Deployment/a/d <ReplicaSet/rs deleting +foregroundDeletion";
    check(&[set, circle], "rs", "w", delete(Propagation::Foreground, true));
    // What is being deleted.
    let owner = "Deployment/a/d deleting +foregroundDeletion";
    check(&[owner, set], "d", "", Plan::Wait(vec!["rs".into()]));
    check(&[owner, "ReplicaSet/a/rs ~Deployment/d"], "d", "", Plan::Finish);
    check(&[owner], "d", "", Plan::Finish);
    check(&["Deployment/a/d deleting +orphan", set], "d", "", Plan::Orphan(vec!["rs".into()]));
}

struct World {
    fake: Arc<Fake>,
    events: Recorder,
    stop: CancellationToken,
}

impl World {
    fn new() -> Self {
        let (fake, stop) = (Fake::new(), CancellationToken::new());
        fake.add_kind(
            "apiextensions.k8s.io/v1",
            "customresourcedefinitions",
            "CustomResourceDefinition",
            false,
        );
        Self { fake, events: Recorder::memory(), stop }
    }

    fn run(&self) {
        let clock = gifee_testkit::RuntimeClock::new();
        let context = Context::with(self.fake.client(), clock, self.events.clone(), self.stop.clone());
        tokio::spawn(run(context, Arc::default()));
    }

    fn put(&self, text: &str) {
        self.fake.put(tree(text).1);
    }

    /// Deletes as a user does.
    async fn delete(&self, text: &str, propagation: Propagation) {
        let (kind, tree) = tree(text);
        let key = ObjectKey::new(
            tree["metadata"]["namespace"].as_str().unwrap_or_default(),
            tree["metadata"]["name"].as_str().unwrap(),
        );
        let options = gifee_client::DeleteOptions { propagation: Some(propagation), ..Default::default() };
        self.fake.client().delete(&kind.gvr, &key, &options).await.unwrap();
    }

    fn names(&self) -> String {
        let kinds = ["Deployment", "ReplicaSet", "Pod", "Secret", "Node"];
        let objects = kinds.iter().flat_map(|one| self.fake.objects(&kind(one).gvr));
        let names: Vec<String> =
            objects.map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect();
        names.join(" ")
    }

    async fn until(&self, expected: &str) {
        for _ in 0..2500 {
            if self.names() == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("{:?} are there, not {expected:?}", self.names());
    }

    fn owners(&self, text: &str) -> Value {
        let (kind, tree) = tree(text);
        let metadata = &tree["metadata"];
        let key = ObjectKey::new(
            metadata["namespace"].as_str().unwrap_or_default(),
            metadata["name"].as_str().unwrap(),
        );
        self.fake.object(&kind.gvr, &key).unwrap()["metadata"]["ownerReferences"].clone()
    }

    fn example(&self) {
        self.put("Deployment/a/d");
        for set in ["r1", "r2"] {
            self.put(&format!("ReplicaSet/a/{set} <Deployment/d"));
            for number in 0..50 {
                self.put(&format!("Pod/a/{set}-{number:02} <ReplicaSet/{set}"));
            }
        }
        self.put("Pod/a/z-bare");
    }

    /// Nothing is done although things happen.
    async fn rests(&self) {
        self.fake.writes();
        self.put("Secret/a/unrelated");
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert_eq!(self.fake.writes(), Vec::<String>::new());
        self.stop.cancel();
    }
}

#[tokio::test(start_paused = true)]
async fn dependents_go_after_their_owner() {
    let world = World::new();
    world.run();
    world.example();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let start = Instant::now();
    world.delete("Deployment/a/d", Propagation::Background).await;
    world.until("z-bare").await;
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    let writes = world.fake.writes();
    assert_eq!(writes.len(), 103, "each is deleted once, without another call: {writes:?}");
    world.rests().await;
}

#[tokio::test(start_paused = true)]
async fn what_lost_its_owner_unseen_goes_too() {
    let world = World::new();
    world.put("Pod/a/lost <ReplicaSet/gone");
    world.put("Pod/a/kept <ReplicaSet/r1");
    world.put("ReplicaSet/a/r1");
    // Another of the same name.
    world.put("ReplicaSet/a/again uid=new");
    world.put("Pod/a/stale <ReplicaSet/again");
    world.put("Node//n");
    world.put("Pod/a/static <Node/n");
    // References that cannot be right.
    world.put("Pod/b/far <ReplicaSet/r1");
    world.put("Node//impossible <ReplicaSet/gone");
    world.put("Pod/a/unknown <Secret/s");
    world.fake.change(&kind("Pod").gvr, &ObjectKey::new("a", "unknown"), |pod| {
        pod["metadata"]["ownerReferences"][0]["apiVersion"] = "example.com/v1".into();
    });
    world.run();
    world.until("again r1 kept static unknown impossible n").await;
    let events: Vec<String> = world.events.take().into_iter().map(|event| event.message).collect();
    let expected =
        "ownerRef [apps/v1/ReplicaSet, namespace: b, name: r1, uid: r1] does not exist in namespace \"b\"";
    assert_eq!(events, [expected]);
    world.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn foreground_deletion_takes_dependents_first() {
    let world = World::new();
    world.run();
    world.example();
    // Held by somebody else, and so hold their owners.
    world.put("Pod/a/r1-00 <ReplicaSet/r1 +mine");
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.delete("Deployment/a/d", Propagation::Foreground).await;
    world.until("d r1 r1-00 z-bare").await;
    world.fake.change(&kind("Pod").gvr, &ObjectKey::new("a", "r1-00"), |pod| {
        assert!(pod["metadata"]["deletionTimestamp"].is_string());
    });
    world.fake.remove(&kind("Pod").gvr, &ObjectKey::new("a", "r1-00"));
    world.until("z-bare").await;
    world.rests().await;
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_others_share_is_forgotten() {
    let world = World::new();
    world.run();
    world.put("ReplicaSet/a/one");
    world.put("ReplicaSet/a/two");
    world.put("Pod/a/p <ReplicaSet/one <ReplicaSet/two");
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.delete("ReplicaSet/a/one", Propagation::Foreground).await;
    world.until("two p").await;
    assert_eq!(world.owners("Pod/a/p").as_array().unwrap().len(), 1);
    world.delete("ReplicaSet/a/two", Propagation::Background).await;
    world.until("").await;
    world.rests().await;
}

#[tokio::test(start_paused = true)]
async fn orphans_stay_and_forget() {
    let world = World::new();
    world.run();
    world.example();
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.delete("ReplicaSet/a/r1", Propagation::Orphan).await;
    for _ in 0..1000 {
        if !world.names().contains("r1 ") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(world.names().split(' ').filter(|name| name.starts_with("r1")).count(), 50);
    assert!(world.owners("Pod/a/r1-07").is_null());
    assert!(world.owners("Pod/a/r2-07").is_array());
    world.rests().await;
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_nobody_watches_is_asked_for_until_it_is_gone() {
    let world = World::new();
    let name = json!({ "name": "e", "namespace": "a", "uid": "e" });
    world.fake.put(json!({ "apiVersion": "v1", "kind": "Event", "metadata": name }));
    world.put("Pod/a/p <Event/e");
    world.run();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.names(), "p");
    world.fake.remove(&Gvr::core("events"), &ObjectKey::new("a", "e"));
    world.until("").await;
    world.rests().await;
}

#[tokio::test(start_paused = true)]
async fn a_circle_does_not_block() {
    let world = World::new();
    world.run();
    world.put("ReplicaSet/a/one <Secret/two");
    world.put("Secret/a/two <ReplicaSet/one");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(world.names(), "one two");
    world.delete("ReplicaSet/a/one", Propagation::Foreground).await;
    world.until("").await;
    world.rests().await;
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_meets_another_writer_is_decided_anew() {
    let world = World::new();
    world.put("ReplicaSet/a/r");
    world.put("ReplicaSet/a/other");
    world.put("Pod/a/adopted <ReplicaSet/r");
    world.put("Pod/a/busy <ReplicaSet/r");
    world.run();
    tokio::time::sleep(Duration::from_millis(50)).await;
    // Just before each deletion somebody writes: the one is adopted, the other gets a label.
    let fake = world.fake.clone();
    let written = Mutex::new(std::collections::HashSet::new());
    world.fake.intercept(move |method, path| {
        let name = path.rsplit('/').next()?.to_owned();
        if method == "DELETE" && path.contains("/pods/") && written.lock().insert(name.clone()) {
            match name.as_str() {
                "adopted" => fake.put(tree("Pod/a/adopted <ReplicaSet/other").1),
                _ => fake.change_label(&name),
            };
        }
        None::<Status>
    });
    world.delete("ReplicaSet/a/r", Propagation::Background).await;
    world.until("other adopted").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.names(), "other adopted");
    world.stop.cancel();
}

/// What a test does to a pod behind everybody's back.
trait ChangeLabel {
    fn change_label(&self, name: &str) -> Object;
}

impl ChangeLabel for Fake {
    fn change_label(&self, name: &str) -> Object {
        let mut pod = self.object(&kind("Pod").gvr, &ObjectKey::new("a", name)).unwrap();
        pod["metadata"]["labels"]["busy"] = "very".into();
        self.put(pod)
    }
}

#[tokio::test(start_paused = true)]
async fn new_kinds_are_found_when_they_are_defined() {
    let world = World::new();
    world.run();
    world.put("ReplicaSet/a/r");
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.fake.add_kind("example.com/v1", "widgets", "Widget", true);
    world.fake.put(json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "widgets.example.com" } }));
    let widget = json!({ "apiVersion": "example.com/v1", "kind": "Widget", "metadata": { "name": "w",
        "namespace": "a", "uid": "w", "ownerReferences": tree("Pod/a/x <ReplicaSet/r").1["metadata"]["ownerReferences"] } });
    world.fake.put(widget);
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.delete("ReplicaSet/a/r", Propagation::Background).await;
    let widgets = Gvr::new("example.com", "v1", "widgets");
    for _ in 0..1000 {
        if world.fake.objects(&widgets).is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(world.fake.objects(&widgets), Vec::<Value>::new());
    world.rests().await;
}
