//! Conditional writes: etcd's transactions on a key's mod revision, as kube-apiserver uses them.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    create as created, delete as deleted, done, entry, expect, get, revision, update as updated, write,
};
use crate::{Error, KEY_BYTES_MAX, Outcome, Store, VALUE_BYTES_MAX, Write};

fn create_of(key: &str, value: &str) -> Write {
    Write::Create { key: super::bytes(key), value: super::bytes(value) }
}

fn update_of(key: &str, value: &str, expected: u64) -> Write {
    Write::Update { key: super::bytes(key), value: super::bytes(value), expected }
}

fn delete_of(key: &str, expected: Option<u64>) -> Write {
    Write::Delete { key: super::bytes(key), expected }
}

pub(super) async fn create(store: Arc<dyn Store>) {
    assert_eq!(get(&*store, "/a").await, None);
    let at = created(&*store, "/a", "one").await;
    assert_eq!(get(&*store, "/a").await, Some(entry("/a", "one", at, at)));
    let conflict = write(&*store, create_of("/a", "two")).await;
    assert_eq!(conflict, Outcome::Conflict(Some(entry("/a", "one", at, at))));
    assert_eq!(get(&*store, "/a").await, Some(entry("/a", "one", at, at)));
}

pub(super) async fn update(store: Arc<dyn Store>) {
    assert_eq!(write(&*store, update_of("/a", "x", 1)).await, Outcome::Conflict(None));
    assert_eq!(write(&*store, update_of("/a", "x", 0)).await, Outcome::Conflict(None));
    let first = created(&*store, "/a", "one").await;
    let second = updated(&*store, "/a", "two", first).await;
    assert_eq!(get(&*store, "/a").await, Some(entry("/a", "two", second, first)));
    for expected in [0, first, second + 1] {
        let conflict = write(&*store, update_of("/a", "x", expected)).await;
        assert_eq!(conflict, Outcome::Conflict(Some(entry("/a", "two", second, first))));
    }
    let third = updated(&*store, "/a", "two", second).await;
    assert!(third > second, "the same value again is a write too");
    assert_eq!(get(&*store, "/a").await, Some(entry("/a", "two", third, first)));
}

pub(super) async fn delete(store: Arc<dyn Store>) {
    assert_eq!(write(&*store, delete_of("/a", None)).await, Outcome::Conflict(None));
    assert_eq!(write(&*store, delete_of("/a", Some(1))).await, Outcome::Conflict(None));
    let first = created(&*store, "/a", "one").await;
    let second = updated(&*store, "/a", "two", first).await;
    let conflict = write(&*store, delete_of("/a", Some(first))).await;
    assert_eq!(conflict, Outcome::Conflict(Some(entry("/a", "two", second, first))));
    let third = done(write(&*store, delete_of("/a", Some(second))).await);
    assert!(third > second);
    assert_eq!(get(&*store, "/a").await, None);
    assert_eq!(write(&*store, delete_of("/a", Some(second))).await, Outcome::Conflict(None));
    created(&*store, "/a", "three").await;
    deleted(&*store, "/a").await;
    assert_eq!(get(&*store, "/a").await, None);
}

pub(super) async fn create_again(store: Arc<dyn Store>) {
    let first = created(&*store, "/a", "one").await;
    deleted(&*store, "/a").await;
    let again = created(&*store, "/a", "two").await;
    assert!(again > first);
    assert_eq!(get(&*store, "/a").await, Some(entry("/a", "two", again, again)));
    let conflict = write(&*store, update_of("/a", "x", first)).await;
    assert_eq!(conflict, Outcome::Conflict(Some(entry("/a", "two", again, again))));
}

pub(super) async fn revisions(store: Arc<dyn Store>) {
    let start = revision(&*store).await;
    assert!(start > 0, "revision 0 means any revision to a Kubernetes client");
    let a = created(&*store, "/a", "").await;
    let b = created(&*store, "/b", "").await;
    let c = updated(&*store, "/a", "x", a).await;
    let d = deleted(&*store, "/b").await;
    assert!(start < a && a < b && b < c && c < d, "{start} {a} {b} {c} {d}");
    assert_eq!(revision(&*store).await, d);
    write(&*store, create_of("/a", "x")).await;
    write(&*store, update_of("/a", "x", a)).await;
    write(&*store, delete_of("/none", None)).await;
    assert_eq!(revision(&*store).await, d, "a conflict changes nothing");
    let (found, at) = expect("get", store.get(b"/a").await);
    assert_eq!((found, at), (Some(entry("/a", "x", c, a)), d));
    let (found, at) = expect("get", store.get(b"/b").await);
    assert_eq!((found, at), (None, d));
}

pub(super) async fn any_bytes(store: Arc<dyn Store>) {
    let long = vec![b'k'; KEY_BYTES_MAX];
    let keys: [&[u8]; 6] = [b"\0", b"\0\0", b"/a\0b", b"/\xff\xfe", b"\xff\xff", &long];
    let values: [&[u8]; 4] = [b"", b"\0", b"FJL\x03\x03", b"\xff\0\xff"];
    for (key, value) in keys.iter().zip(values.iter().cycle()) {
        let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        let at = done(write(&*store, Write::Create { key: key.clone(), value: value.clone() }).await);
        let (found, _) = expect("get", store.get(&key).await);
        let found = found.unwrap_or_else(|| panic!("key {key:?} is absent"));
        assert_eq!((&found.key, &found.value, found.revision), (&key, &value, at));
    }
    assert_eq!(get(&*store, "").await, None);
}

pub(super) async fn big_values(store: Arc<dyn Store>) {
    let big = Bytes::from(vec![b'v'; 1024 * 1024]);
    let key = super::bytes("/big");
    let at = done(write(&*store, Write::Create { key: key.clone(), value: big.clone() }).await);
    let (found, _) = expect("get", store.get(&key).await);
    assert!(found.is_some_and(|found| found.value == big), "a value of 1 MiB does not read back");
    let bigger = Bytes::from(vec![b'v'; VALUE_BYTES_MAX + 1]);
    let refused = store.write(Write::Update { key: key.clone(), value: bigger, expected: at }).await;
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
    let longer = Bytes::from(vec![b'k'; KEY_BYTES_MAX + 1]);
    let refused = store.write(Write::Create { key: longer, value: Bytes::new() }).await;
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
    assert_eq!(revision(&*store).await, at);
}

pub(super) async fn concurrent_creates(store: Arc<dyn Store>) {
    for round in 0..20 {
        let key = format!("/contested-{round}");
        let mut clients = tokio::task::JoinSet::new();
        for client in 0..16 {
            let (store, key) = (store.clone(), key.clone());
            clients
                .spawn(async move { (client, write(&*store, create_of(&key, &client.to_string())).await) });
        }
        let mut won = Vec::new();
        let mut saw = Vec::new();
        for (client, outcome) in clients.join_all().await {
            match outcome {
                Outcome::Done(at) => won.push(entry(&key, &client.to_string(), at, at)),
                Outcome::Conflict(entry) => saw.push(entry),
            }
        }
        assert_eq!(won.len(), 1, "{key} was created more than once or never");
        let stored = get(&*store, &key).await;
        assert_eq!(stored.as_ref(), won.first());
        for saw in saw {
            assert_eq!(saw, stored, "a loser saw something else than the winner");
        }
    }
}

pub(super) async fn concurrent_updates(store: Arc<dyn Store>) {
    created(&*store, "/counter", "0").await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        clients.spawn(async move {
            for _ in 0..25 {
                increment(&*store).await;
            }
        });
    }
    clients.join_all().await;
    let counter = get(&*store, "/counter").await.unwrap_or_else(|| panic!("the counter is gone"));
    assert_eq!(super::text(&counter.value), "200");
}

/// Reads, adds one, writes at the revision read; again until it is not too late.
async fn increment(store: &dyn Store) {
    let mut current = get(store, "/counter").await;
    while let Some(entry) = current {
        let count: u32 = super::text(&entry.value).parse().unwrap_or_else(|_| panic!("no number: {entry:?}"));
        let next = update_of("/counter", &(count + 1).to_string(), entry.revision);
        match write(store, next).await {
            Outcome::Done(_) => return,
            Outcome::Conflict(now) => {
                assert_ne!(now.as_ref().map(|now| now.revision), Some(entry.revision), "a baseless conflict");
                current = now;
            }
        }
    }
    panic!("the counter is gone");
}
