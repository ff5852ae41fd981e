//! A program of kube-rs: a custom resource from a derived definition, applied and waited for; a controller with a
//! finalizer that keeps a ConfigMap of each; a shell in a container. Ends with an error if the server answers anything
//! but what upstream would.

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, AttachParams, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::finalizer::{Event, finalizer};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::watcher;
use kube::{Client, CustomResource, CustomResourceExt, Resource, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

const NAMESPACE: &str = "kube-rs";

#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[kube(group = "kube.example.com", version = "v1", kind = "Note", namespaced, status = "NoteStatus", shortname = "nt")]
struct NoteSpec {
    text: String,
    #[serde(default)]
    copies: u8,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
struct NoteStatus {
    kept: bool,
}

type Error = Box<dyn std::error::Error + Send + Sync>;

async fn defined(client: &Client) -> Result<(), Error> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let apply = PatchParams::apply("kube-rs").force();
    definitions.patch("notes.kube.example.com", &apply, &Patch::Apply(Note::crd())).await?;
    let established = conditions::is_crd_established();
    let established = await_condition(definitions, "notes.kube.example.com", established);
    timeout(Duration::from_secs(10), established).await??;
    Ok(())
}

async fn kept(note: Arc<Note>, client: Arc<Client>) -> Result<Action, kube::runtime::finalizer::Error<kube::Error>> {
    let namespace = note.namespace().unwrap_or_default();
    let notes: Api<Note> = Api::namespaced((*client).clone(), &namespace);
    let maps: Api<ConfigMap> = Api::namespaced((*client).clone(), &namespace);
    finalizer(&notes.clone(), "kube.example.com/kept", note, |event| async move {
        match event {
            Event::Apply(note) => {
                let mut map = ConfigMap {
                    data: Some(BTreeMap::from([("text".to_owned(), note.spec.text.clone())])),
                    ..ConfigMap::default()
                };
                map.metadata.name = Some(note.name_any());
                map.metadata.owner_references = note.controller_owner_ref(&()).map(|owner| vec![owner]);
                let apply = PatchParams::apply("keeper").force();
                maps.patch(&note.name_any(), &apply, &Patch::Apply(map)).await?;
                let status = json!({ "status": { "kept": true } });
                notes.patch_status(&note.name_any(), &PatchParams::default(), &Patch::Merge(status)).await?;
            }
            Event::Cleanup(note) => {
                maps.delete(&note.name_any(), &DeleteParams::default()).await?;
            }
        }
        Ok(Action::requeue(Duration::from_secs(300)))
    })
    .await
}

async fn controlled(client: &Client) -> Result<(), Error> {
    let notes: Api<Note> = Api::namespaced(client.clone(), NAMESPACE);
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let controller = Controller::new(notes.clone(), watcher::Config::default())
        .owns(maps.clone(), watcher::Config::default())
        .run(kept, |_, _, _| Action::requeue(Duration::from_secs(1)), Arc::new(client.clone()))
        .for_each(|_| async {});
    let controller = tokio::spawn(controller);
    let made = Note::new("one", NoteSpec { text: "first".to_owned(), copies: 1 });
    let made = notes.create(&PostParams::default(), &made).await?;
    let told = await_condition(notes.clone(), "one", |note: Option<&Note>| {
        note.and_then(|note| note.status.as_ref()).is_some_and(|status| status.kept)
    });
    timeout(Duration::from_secs(20), told).await??;
    assert_eq!(maps.get("one").await?.data.unwrap_or_default()["text"], "first");
    notes.patch("one", &PatchParams::default(), &Patch::Merge(json!({ "spec": { "text": "second" } }))).await?;
    let changed = await_condition(maps.clone(), "one", |map: Option<&ConfigMap>| {
        map.and_then(|map| map.data.as_ref()).is_some_and(|data| data["text"] == "second")
    });
    timeout(Duration::from_secs(20), changed).await??;
    notes.delete("one", &DeleteParams::default()).await?;
    let uid = made.uid().unwrap_or_default();
    timeout(Duration::from_secs(20), await_condition(notes.clone(), "one", conditions::is_deleted(&uid))).await??;
    assert!(maps.get_opt("one").await?.is_none(), "its ConfigMap outlived it");
    controller.abort();
    Ok(())
}

async fn entered(client: &Client) -> Result<(), Error> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": "shell" },
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{ "name": "main", "image": "busybox:1", "command": ["sleep", "3600"] }],
        },
    }))?;
    pods.create(&PostParams::default(), &pod).await?;
    let running = await_condition(pods.clone(), "shell", conditions::is_pod_running());
    timeout(Duration::from_secs(60), running).await??;
    let mut attached = pods.exec("shell", ["echo", "from within"], &AttachParams::default().stderr(false)).await?;
    let mut said = String::new();
    attached.stdout().ok_or("no output")?.read_to_string(&mut said).await?;
    assert_eq!(said.trim(), "from within");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let client = Client::try_default().await?;
    assert_eq!(client.apiserver_version().await?.minor, "37");
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = json!({ "metadata": { "name": NAMESPACE } });
    namespaces.create(&PostParams::default(), &serde_json::from_value(namespace)?).await?;
    defined(&client).await?;
    controlled(&client).await?;
    entered(&client).await?;
    let mut first = watcher(namespaces.clone(), watcher::Config::default()).boxed();
    assert!(first.try_next().await?.is_some());
    assert!(namespaces.list(&ListParams::default().limit(1)).await?.metadata.continue_.is_some());
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions.delete("notes.kube.example.com", &DeleteParams::default()).await?;
    namespaces.delete(NAMESPACE, &DeleteParams::default()).await?;
    println!("kube-rs: all well");
    Ok(())
}
