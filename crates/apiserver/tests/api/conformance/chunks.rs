//! Lists in pieces: of one state while it is remembered, of the present afterwards.

use crate::world::World;
use serde_json::{Value, json};

const TEMPLATES: &str = "/api/v1/namespaces/default/podtemplates";

async fn fill(world: &World, count: usize) {
    for index in 0..count {
        let template = json!({ "apiVersion": "v1", "kind": "PodTemplate",
            "metadata": { "name": format!("template-{index:04}") },
            "template": { "spec": { "containers": [{ "name": "test", "image": "test2" }] } } });
        world.post(TEMPLATES, &template).await.expect(201);
    }
}

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

fn token(list: &Value) -> Option<&str> {
    list["metadata"]["continue"].as_str()
}

#[tokio::test]
async fn chunks_make_the_whole_list() {
    const TOTAL: usize = 400;
    let world = World::new().await;
    fill(&world, TOTAL).await;
    for limit in [1, 7, 133, 399, 400, 401] {
        let (mut found, mut last, mut version) = (Vec::new(), String::new(), Value::Null);
        loop {
            let more = if last.is_empty() { String::new() } else { format!("&continue={last}") };
            let list = world.get(&format!("{TEMPLATES}?limit={limit}{more}")).await.expect(200);
            assert!(list["items"].as_array().unwrap().len() <= limit);
            if version.is_null() {
                version = list["metadata"]["resourceVersion"].clone();
            }
            assert_eq!(list["metadata"]["resourceVersion"], version);
            found.extend(names(&list));
            let remaining = list["metadata"]["remainingItemCount"].as_u64();
            let Some(next) = token(&list) else {
                assert_eq!(remaining, None);
                break;
            };
            assert_eq!(remaining, Some((TOTAL - found.len()) as u64));
            last = next.to_owned();
        }
        let expect: Vec<String> = (0..TOTAL).map(|index| format!("template-{index:04}")).collect();
        assert_eq!(found, expect, "by {limit}");
    }
    let whole = world.get(&format!("{TEMPLATES}?limit=500")).await.expect(200);
    assert_eq!(names(&whole).len(), TOTAL);
}

#[tokio::test]
async fn a_compacted_list_goes_on_with_what_is_there_now() {
    const TOTAL: usize = 40;
    let world = World::with(|config| config.limits.history_events = 5).await;
    fill(&world, TOTAL).await;
    let first = world.get(&format!("{TEMPLATES}?limit=4")).await.expect(200);
    assert_eq!(first["metadata"]["remainingItemCount"], TOTAL as u64 - 4);
    let old = token(&first).unwrap().to_owned();
    // The state of the first list is forgotten when others were listed and changed often enough.
    let answer = loop {
        let touch =
            json!({ "metadata": { "annotations": { "at": format!("{:?}", std::time::Instant::now()) } } });
        world.patch(&format!("{TEMPLATES}/template-0039"), "merge-patch", &touch).await.expect(200);
        world.get(&format!("{TEMPLATES}?limit=1")).await.expect(200);
        let answer = world.get(&format!("{TEMPLATES}?limit=4&continue={old}")).await;
        if answer.code != 200 {
            break answer;
        }
    };
    assert!(
        answer.failure().starts_with("410 Expired: The provided continue parameter is too old"),
        "{}",
        answer.failure()
    );
    let status = answer.json();
    let inconsistent = token(&status).expect("the failure says where to go on").to_owned();
    let second = world.get(&format!("{TEMPLATES}?limit=4&continue={inconsistent}")).await.expect(200);
    assert_ne!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    assert_eq!(names(&second), ["template-0004", "template-0005", "template-0006", "template-0007"]);
    assert_eq!(second["metadata"]["remainingItemCount"], TOTAL as u64 - 8);
    let next = token(&second).unwrap();
    let rest = world.get(&format!("{TEMPLATES}?continue={next}")).await.expect(200);
    assert_eq!(rest["metadata"]["resourceVersion"], second["metadata"]["resourceVersion"]);
    assert_eq!(names(&rest).len(), TOTAL - 8);
    assert!(token(&rest).is_none() && rest["metadata"]["remainingItemCount"].is_null());
}
