//! Watches: etcd's Watch API guarantees (ordered, reliable, resumable, bookmarkable) and previous values.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{bytes, create, delete, done, end, expect, next, revision, text, until, update, watch, write};
use crate::{Change, Error, Event, Revision, Store, Write};

fn put(key: &str, value: &str, revision: Revision, created: Revision) -> Event {
    let change = Change::Put { value: bytes(value), created, previous: None };
    Event { revision, key: bytes(key), change }
}

fn replaced(event: Event, value: &str, at: Revision) -> Event {
    match event.change {
        Change::Put { value: new, created, .. } => {
            let previous = Some((bytes(value), at));
            Event { change: Change::Put { value: new, created, previous }, ..event }
        }
        Change::Delete { .. } => event,
    }
}

fn deleted(key: &str, value: &str, at: Revision, revision: Revision) -> Event {
    let change = Change::Delete { previous: bytes(value), previous_revision: at };
    Event { revision, key: bytes(key), change }
}

/// A history with every kind of change, and its events.
async fn history(store: &dyn Store) -> Vec<Event> {
    let a1 = create(store, "/a", "1").await;
    let b1 = create(store, "/b", "1").await;
    let a2 = update(store, "/a", "2", a1).await;
    let a3 = update(store, "/a", "3", a2).await;
    let a4 = delete(store, "/a").await;
    let b2 = update(store, "/b", "2", b1).await;
    let a5 = create(store, "/a", "5").await;
    let a6 = update(store, "/a", "6", a5).await;
    vec![
        put("/a", "1", a1, a1),
        put("/b", "1", b1, b1),
        replaced(put("/a", "2", a2, a1), "1", a1),
        replaced(put("/a", "3", a3, a1), "2", a2),
        deleted("/a", "3", a3, a4),
        replaced(put("/b", "2", b2, b1), "1", b1),
        put("/a", "5", a5, a5),
        replaced(put("/a", "6", a6, a5), "5", a5),
    ]
}

pub(super) async fn since(store: Arc<dyn Store>) {
    let start = revision(&*store).await;
    let events = history(&*store).await;
    let now = revision(&*store).await;
    let mut all = watch(&*store, "", "", start).await;
    assert_eq!(until(&mut all, now).await, events);
    let mut one = watch(&*store, "/b", "/b\0", start).await;
    let of_b: Vec<_> = events.iter().filter(|event| event.key == "/b").cloned().collect();
    assert_eq!(until(&mut one, now).await, of_b);
    let mut none = watch(&*store, "", "", now).await;
    assert_eq!(until(&mut none, now).await, []);
}

pub(super) async fn resume(store: Arc<dyn Store>) {
    let events = history(&*store).await;
    let now = revision(&*store).await;
    for (index, event) in events.iter().enumerate() {
        let mut resumed = watch(&*store, "", "", event.revision).await;
        assert_eq!(until(&mut resumed, now).await, events[index + 1..]);
    }
}

pub(super) async fn live(store: Arc<dyn Store>) {
    let start = revision(&*store).await;
    let mut watches = Vec::new();
    for _ in 0..3 {
        let mut watch = watch(&*store, "", "", start).await;
        let batch = next(&mut watch).await;
        assert_eq!((batch.events.len(), batch.revision), (0, start), "a watch says that it has caught up");
        watches.push(watch);
    }
    let events = history(&*store).await;
    let now = revision(&*store).await;
    for watch in &mut watches {
        assert_eq!(until(watch, now).await, events);
    }
    drop(watches.pop());
    let at = create(&*store, "/c", "").await;
    for watch in &mut watches {
        assert_eq!(until(watch, at).await, [put("/c", "", at, at)]);
    }
}

pub(super) async fn edges(store: Arc<dyn Store>) {
    let start = revision(&*store).await;
    let ranges = [("/a/", "/a0"), ("/a", "/a\0"), ("/a/b", ""), ("/b", "/a"), ("", "")];
    // The first half of the keys is history to the watches, the second comes live.
    let keys = ["/", "/a", "/a/", "/a/b", "/a/b/c", "/a0", "/b", "/\u{7f}"];
    for key in &keys[..4] {
        create(&*store, key, "").await;
    }
    let mut watches = Vec::new();
    for (from, to) in ranges {
        watches.push(watch(&*store, from, to, start).await);
    }
    let mut seen: Vec<Vec<String>> = vec![Vec::new(); ranges.len()];
    let half = revision(&*store).await;
    for (watch, seen) in watches.iter_mut().zip(&mut seen) {
        seen.extend(until(watch, half).await.iter().map(|event| text(&event.key)));
    }
    for key in &keys[4..] {
        create(&*store, key, "").await;
    }
    let now = revision(&*store).await;
    for ((watch, seen), (from, to)) in watches.iter_mut().zip(&mut seen).zip(ranges) {
        seen.extend(until(watch, now).await.iter().map(|event| text(&event.key)));
        let within = |key: &&&str| **key >= from && (to.is_empty() || **key < to);
        let expected: Vec<_> = keys.iter().filter(within).map(ToString::to_string).collect();
        assert_eq!(*seen, expected, "from {from} to {to}");
    }
}

pub(super) async fn future(store: Arc<dyn Store>) {
    let at = create(&*store, "/a", "0").await;
    let mut ahead = watch(&*store, "", "", at + 3).await;
    let mut last = at;
    let mut expected = Vec::new();
    while last < at + 6 {
        let before = last;
        let value = last.to_string();
        last = update(&*store, "/a", &value, before).await;
        if last > at + 3 {
            expected.push(last);
        }
    }
    let seen: Vec<_> = until(&mut ahead, last).await.iter().map(|event| event.revision).collect();
    assert_eq!(seen, expected);
}

pub(super) async fn compacted(store: Arc<dyn Store>) {
    let start = revision(&*store).await;
    let events = history(&*store).await;
    let point = events[4].revision;
    expect("compact", store.compact(point).await);
    for after in [start, events[0].revision, events[2].revision] {
        // Refused at once or with the first batch.
        let error = match store.watch(bytes(""), bytes(""), after).await {
            Ok(watch) => end(watch).await,
            Err(error) => error,
        };
        match error {
            Error::Compacted { oldest } => assert_eq!(oldest, point),
            other => panic!("after {after}: {other:?}"),
        }
    }
    let now = revision(&*store).await;
    let mut resumed = watch(&*store, "", "", point).await;
    let keys: Vec<_> = until(&mut resumed, now).await.iter().map(|event| event.revision).collect();
    assert_eq!(keys, events[5..].iter().map(|event| event.revision).collect::<Vec<_>>());
}

pub(super) async fn compaction(store: Arc<dyn Store>) {
    let start = revision(&*store).await;
    let mut current = watch(&*store, "", "", start).await;
    let mut seen = Vec::new();
    for round in 0..5 {
        let key = format!("/k/{round}");
        let at = create(&*store, &key, "").await;
        let gone = delete(&*store, &key).await;
        seen.extend(until(&mut current, gone).await.iter().map(|event| event.revision));
        assert_eq!(seen[2 * round..], [at, gone]);
        expect("compact", store.compact(gone).await);
    }
}

pub(super) async fn progress(store: Arc<dyn Store>) {
    let mut watched = watch(&*store, "/a/", "/a0", revision(&*store).await).await;
    next(&mut watched).await;
    let request = watched.progress();
    for round in 0..5 {
        let at = create(&*store, &format!("/b/{round}"), "").await;
        request.request();
        request.request();
        // No event of the range happened, so what comes can only be the answer.
        let mut batch = next(&mut watched).await;
        while batch.revision < at {
            batch = next(&mut watched).await;
        }
        assert_eq!(batch.events, []);
        assert_eq!(batch.revision, at);
    }
    let at = create(&*store, "/a/x", "").await;
    request.request();
    let events = until(&mut watched, at).await;
    assert_eq!(events, [put("/a/x", "", at, at)]);
}

/// More events than any store will hold for one watch.
const MANY: usize = 5_000;

pub(super) async fn slow(store: Arc<dyn Store>) {
    let start = revision(&*store).await;
    let mut slow = watch(&*store, "/k/", "/k0", start).await;
    next(&mut slow).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..50 {
        let store = store.clone();
        writers.spawn(async move {
            for number in 0..MANY / 50 {
                let prefix = if number % 10 == 9 { "/other" } else { "/k" };
                create(&*store, &format!("{prefix}/{writer}-{number}"), "value").await;
            }
        });
    }
    writers.join_all().await;
    let now = revision(&*store).await;
    assert_eq!(until(&mut slow, now).await.len(), MANY / 10 * 9);
    let at = create(&*store, "/k/last", "").await;
    assert_eq!(until(&mut slow, at).await, [put("/k/last", "", at, at)]);
}

pub(super) async fn cancelled(store: Arc<dyn Store>) {
    let start = revision(&*store).await;
    let mut watched = watch(&*store, "", "", start).await;
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for number in 0..200 {
                create(&*store, &format!("/k/{number:03}"), "").await;
            }
        })
    };
    let mut seen = Vec::new();
    while seen.len() < 200 {
        // A patience that often is too short, with the future dropped at any of its steps.
        let patience = Duration::from_micros(seen.len() as u64 % 7 * 20);
        if let Ok(batch) = tokio::time::timeout(patience, watched.next()).await {
            let batch = batch.unwrap_or_else(|| panic!("the watch ended"));
            seen.extend(expect("watch", batch).events.iter().map(|event| text(&event.key)));
        }
    }
    writer.await.unwrap_or_else(|error| panic!("{error}"));
    let expected: Vec<_> = (0..200).map(|number| format!("/k/{number:03}")).collect();
    assert_eq!(seen, expected);
}

pub(super) async fn order(store: Arc<dyn Store>) {
    let start = revision(&*store).await;
    let mut early = watch(&*store, "", "", start).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..16 {
        let store = store.clone();
        writers.spawn(async move {
            let mut done_at = Vec::new();
            for number in 0..20 {
                let value = format!("{writer}-{number}");
                let key = bytes(&format!("/k/{value}"));
                let at = done(write(&*store, Write::Create { key: key.clone(), value: bytes(&value) }).await);
                // Whoever has the answer can see what it says.
                let (found, now) = expect("get", store.get(&key).await);
                assert!(now >= at && found.is_some_and(|found| found.revision == at));
                done_at.push((at, value));
            }
            done_at
        });
    }
    let mut written: HashMap<Revision, String> = HashMap::new();
    for done_at in writers.join_all().await {
        assert!(done_at.is_sorted(), "one writer's writes are in its order");
        written.extend(done_at);
    }
    assert_eq!(written.len(), 320, "two writes share a revision");
    let now = revision(&*store).await;
    let events = until(&mut early, now).await;
    assert_eq!(events.len(), 320);
    for event in &events {
        let Change::Put { value, .. } = &event.change else { panic!("{event:?}") };
        assert_eq!(written.get(&event.revision), Some(&text(value)));
    }
    let mut late = watch(&*store, "", "", start).await;
    assert_eq!(until(&mut late, now).await, events);
}
