//! Ranges: etcd's Range with limit, count and revision, and what compaction leaves of it.

use std::{collections::BTreeMap, sync::Arc};

use super::{bytes, create, delete, entry, expect, get, keys, range, revision, text, update};
use crate::{Entry, Error, Page, Range, Revision, Store, prefix_end};

pub(super) async fn edges(store: Arc<dyn Store>) {
    for key in ["/a", "/a/", "/a/b", "/a/b/c", "/a0", "/b", "\u{7f}"] {
        create(&*store, key, key).await;
    }
    assert_eq!(keys(&*store, range("/a/", "/a0")).await, ["/a/", "/a/b", "/a/b/c"]);
    assert_eq!(keys(&*store, range("/a", "/a/b")).await, ["/a", "/a/"]);
    assert_eq!(keys(&*store, range("/a/b", "/a/b\0")).await, ["/a/b"]);
    assert_eq!(keys(&*store, range("/a0", "")).await, ["/a0", "/b", "\u{7f}"]);
    assert_eq!(keys(&*store, Range::prefix("/a/")).await, ["/a/", "/a/b", "/a/b/c"]);
    assert_eq!(keys(&*store, Range::prefix("")).await.len(), 7);
    assert_eq!(prefix_end(b"/a/"), "/a0");
    assert_eq!(prefix_end(b"a\xff\xff"), "b");
    assert_eq!(prefix_end(b"\xff"), "");
}

pub(super) async fn empty(store: Arc<dyn Store>) {
    let nothing = |revision| Page { entries: Vec::new(), revision, more: false, count: 0 };
    let start = revision(&*store).await;
    assert_eq!(expect("range", store.range(range("", "")).await), nothing(start));
    let at = create(&*store, "/b", "").await;
    for (start, end) in [("/a", "/b"), ("/c", ""), ("/b", "/b"), ("/c", "/a")] {
        for limit in [0, 1] {
            let page = expect("range", store.range(Range { limit, ..range(start, end) }).await);
            assert_eq!(page, nothing(at), "from {start} to {end}");
        }
    }
}

pub(super) async fn limits(store: Arc<dyn Store>) {
    for number in 0..5 {
        create(&*store, &format!("/k/{number}"), "").await;
    }
    create(&*store, "/other", "").await;
    for (limit, expected) in [(0, 5), (1, 1), (4, 4), (5, 5), (6, 5), (usize::MAX, 5)] {
        let page = expect("range", store.range(Range { limit, ..Range::prefix("/k/") }).await);
        assert_eq!(page.entries.len(), expected, "limit {limit}");
        assert_eq!(page.more, expected < 5, "limit {limit}");
        assert_eq!(page.count, 5, "limit {limit}");
    }
}

pub(super) async fn pages(store: Arc<dyn Store>) {
    let mut first = Vec::new();
    for number in 0..25 {
        let key = format!("/k/{number:02}");
        let at = create(&*store, &key, "old").await;
        first.push(entry(&key, "old", at, at));
    }
    let mut request = Range { limit: 7, ..Range::prefix("/k/") };
    let mut seen: Vec<Entry> = Vec::new();
    for round in 0.. {
        let page = expect("range", store.range(request.clone()).await);
        assert_eq!(page.count as usize, first.len() - seen.len(), "the count is of what is left");
        let next = page.next_start();
        assert_eq!(page.more, next.is_some());
        request.revision = Some(page.revision);
        seen.extend(page.entries);
        let Some(next) = next else { break };
        request.start = next;
        // Between pages: ahead of them something goes, something comes, something changes.
        delete(&*store, &format!("/k/{:02}", 24 - round)).await;
        create(&*store, &format!("/k/{:02}+", 20 - round), "new").await;
        let changed = &first[12 + round];
        let current = get(&*store, &text(&changed.key)).await.map_or(0, |entry| entry.revision);
        update(&*store, &text(&changed.key), "new", current).await;
    }
    assert_eq!(seen, first);
}

pub(super) async fn past(store: Arc<dyn Store>) {
    let mut model: BTreeMap<String, Entry> = BTreeMap::new();
    let mut history: Vec<(Revision, Vec<Entry>)> = vec![(revision(&*store).await, Vec::new())];
    for step in 0..60_u32 {
        let key = format!("/k/{}", step * 7 % 5);
        let value = step.to_string();
        let at = match model.get(&key).cloned() {
            None => {
                let at = create(&*store, &key, &value).await;
                model.insert(key.clone(), entry(&key, &value, at, at));
                at
            }
            Some(_) if step % 3 == 0 => {
                model.remove(&key);
                delete(&*store, &key).await
            }
            Some(old) => {
                let at = update(&*store, &key, &value, old.revision).await;
                model.insert(key.clone(), entry(&key, &value, at, old.created));
                at
            }
        };
        history.push((at, model.values().cloned().collect()));
    }
    for (at, entries) in &history {
        let asked = Range { revision: Some(*at), ..Range::prefix("/k/") };
        let page = expect("range", store.range(asked).await);
        assert_eq!(&page.entries, entries, "at revision {at}");
        assert_eq!((page.revision, page.count), (*at, entries.len() as u64));
        let asked = Range { revision: Some(*at), ..range("/k/1", "/k/3") };
        let page = expect("range", store.range(asked).await);
        let within = |entry: &&Entry| (bytes("/k/1")..bytes("/k/3")).contains(&entry.key);
        assert_eq!(page.count as usize, entries.iter().filter(within).count(), "at revision {at}");
    }
}

pub(super) async fn future(store: Arc<dyn Store>) {
    let at = create(&*store, "/a", "").await;
    let asked = Range { revision: Some(at + 1), ..range("", "") };
    let refused = store.range(asked.clone()).await;
    match refused {
        Err(Error::FutureRevision { requested, current }) => assert_eq!((requested, current), (at + 1, at)),
        other => panic!("{other:?}"),
    }
    let mut now = at;
    while now < at + 1 {
        now = create(&*store, &format!("/b{now}"), "").await;
    }
    expect("range", store.range(asked).await);
}

pub(super) async fn compaction(store: Arc<dyn Store>) {
    let first = create(&*store, "/a", "one").await;
    let second = update(&*store, "/a", "two", first).await;
    let gone = create(&*store, "/gone", "x").await;
    let third = delete(&*store, "/gone").await;
    let fourth = update(&*store, "/a", "three", second).await;
    let refused = store.compact(fourth + 1).await;
    assert!(matches!(refused, Err(Error::FutureRevision { .. })), "{refused:?}");
    expect("compact", store.compact(third).await);
    for at in [first, second, gone] {
        let refused = store.range(Range { revision: Some(at), ..range("", "") }).await;
        match refused {
            Err(Error::Compacted { oldest }) => assert_eq!(oldest, third),
            other => panic!("at {at}: {other:?}"),
        }
    }
    let at_third = vec![entry("/a", "two", second, first)];
    let page = expect("range", store.range(Range { revision: Some(third), ..range("", "") }).await);
    assert_eq!(page.entries, at_third, "the state at the compaction point stays");
    for again in [first, third] {
        let refused = store.compact(again).await;
        assert!(matches!(refused, Err(Error::Compacted { .. })), "{refused:?}");
    }
    assert_eq!(get(&*store, "/a").await, Some(entry("/a", "three", fourth, first)));
    assert_eq!(revision(&*store).await, fourth, "compaction is not a write");
    expect("compact", store.compact(fourth).await);
    let page = expect("range", store.range(Range { revision: Some(fourth), ..range("", "") }).await);
    assert_eq!(page.entries, [entry("/a", "three", fourth, first)]);
    let fifth = create(&*store, "/gone", "again").await;
    assert_eq!(get(&*store, "/gone").await, Some(entry("/gone", "again", fifth, fifth)));
}
