//! Any sequence of operations on a store says what a simple model says.

use std::collections::BTreeMap;

use bytes::Bytes;
use gifee_store::{
    Change, Engine, Entry, Error, Event, Limits, Outcome, Range, Store, Write,
    memory::{Disk, Fault},
};
use proptest::{collection::vec, prelude::*};

/// Which revision a write expects.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Current,
    Stale,
    Any,
}

#[derive(Clone, Debug)]
enum Request {
    Create(u8),
    Update(u8, Expected),
    Delete(u8, Expected),
}

#[derive(Clone, Debug)]
enum Step {
    /// Writes that wait together and so share commits; with a failing disk if so said.
    Writes(Vec<Request>, Option<Fault>),
    /// Compaction so many writes ago.
    Compact(usize),
    Reopen,
}

fn requests() -> impl Strategy<Value = Request> {
    let expected =
        prop_oneof![4 => Just(Expected::Current), 1 => Just(Expected::Stale), 1 => Just(Expected::Any)];
    prop_oneof![
        3 => (0..6_u8).prop_map(Request::Create),
        4 => (0..6_u8, expected.clone()).prop_map(|(key, expected)| Request::Update(key, expected)),
        2 => (0..6_u8, expected).prop_map(|(key, expected)| Request::Delete(key, expected)),
    ]
}

fn steps(faults: bool) -> impl Strategy<Value = Vec<Step>> {
    let fault = prop_oneof![
        8 => Just(None),
        1 => Just(Some(Fault::Full)),
        1 => Just(Some(Fault::Broken)),
    ];
    let step = prop_oneof![
        12 => (vec(requests(), 1..6), fault)
            .prop_map(move |(requests, fault)| Step::Writes(requests, fault.filter(|_| faults))),
        2 => (0..10_usize).prop_map(Step::Compact),
        1 => Just(Step::Reopen),
    ];
    vec(step, 1..30)
}

/// What happened, simply.
#[derive(Default)]
struct Model {
    state: BTreeMap<Bytes, Entry>,
    /// All writes, and the state after each.
    events: Vec<(Event, Vec<Entry>)>,
    compacted: u64,
}

impl Model {
    fn write(&self, request: &Request, number: usize) -> Write {
        let key = |key: &u8| Bytes::from(format!("/{key}"));
        let value = Bytes::from(number.to_string());
        let expect = |key: &u8, expected: &Expected| {
            let current = self.state.get(&self::key(*key)).map_or(0, |entry| entry.revision);
            match expected {
                Expected::Current | Expected::Any => current,
                Expected::Stale => current.wrapping_sub(1),
            }
        };
        match request {
            Request::Create(k) => Write::Create { key: key(k), value },
            Request::Update(k, expected) => {
                Write::Update { key: key(k), value, expected: expect(k, expected) }
            }
            Request::Delete(k, Expected::Any) => Write::Delete { key: key(k), expected: None },
            Request::Delete(k, expected) => {
                Write::Delete { key: key(k), expected: Some(expect(k, expected)) }
            }
        }
    }

    /// Whether the write must succeed; if it is to, applies it.
    fn apply(&mut self, write: &Write, outcome: &Outcome) {
        let current = self.state.get(write.key()).cloned();
        let allowed = match (write, &current) {
            (Write::Create { .. }, current) => current.is_none(),
            (Write::Update { expected, .. }, Some(current)) => current.revision == *expected,
            (Write::Delete { expected, .. }, Some(current)) => {
                expected.is_none_or(|expected| current.revision == expected)
            }
            (_, None) => false,
        };
        let Outcome::Done(revision) = *outcome else {
            assert!(!allowed, "{write:?} must succeed");
            assert_eq!(*outcome, Outcome::Conflict(current));
            return;
        };
        assert!(allowed, "{write:?} must not succeed on {current:?}");
        assert!(self.events.last().is_none_or(|(last, _)| last.revision < revision));
        let key = write.key().clone();
        let change = match write.value().cloned() {
            Some(value) => {
                let created = current.as_ref().map_or(revision, |current| current.created);
                let entry = Entry { key: key.clone(), value: value.clone(), revision, created };
                self.state.insert(key.clone(), entry);
                let previous = current.map(|current| (current.value, current.revision));
                Change::Put { value, created, previous }
            }
            None => {
                self.state.remove(&key);
                let current = current.unwrap();
                Change::Delete { previous: current.value, previous_revision: current.revision }
            }
        };
        self.events.push((Event { revision, key, change }, self.state.values().cloned().collect()));
    }

    async fn compare(&self, store: &Engine) {
        let current = store.range(Range::prefix("")).await.unwrap();
        assert_eq!(current.entries, self.state.values().cloned().collect::<Vec<_>>());
        for (index, (event, entries)) in self.events.iter().enumerate() {
            let at = event.revision;
            let range = Range { revision: Some(at), ..Range::prefix("/") };
            let page = store.range(range).await;
            let half = store.range(Range { revision: Some(at), limit: 2, ..Range::prefix("/") }).await;
            if at < self.compacted {
                assert!(matches!(page, Err(Error::Compacted { oldest }) if oldest == self.compacted));
                continue;
            }
            assert_eq!(page.unwrap().entries, *entries, "at {at}");
            let half = half.unwrap();
            assert_eq!(half.entries, entries[..entries.len().min(2)]);
            assert_eq!((half.count, half.more), (entries.len() as u64, entries.len() > 2));
            let after: Vec<_> = self.events[index + 1..].iter().map(|(event, _)| event.clone()).collect();
            assert_eq!(self.watched(store, "", "", at).await, after, "after {at}");
            let narrow: Vec<_> = after.iter().filter(|it| it.key >= "/2" && it.key < "/4").cloned().collect();
            assert_eq!(self.watched(store, "/2", "/4", at).await, narrow, "after {at}");
        }
    }

    async fn watched(&self, store: &Engine, start: &str, end: &str, after: u64) -> Vec<Event> {
        let now = store.revision().await.unwrap();
        let (start, end) = (start.to_owned().into(), end.to_owned().into());
        let mut watch = store.watch(start, end, after).await.unwrap();
        let mut events = Vec::new();
        loop {
            let batch = watch.next().await.unwrap().unwrap();
            events.extend(batch.events);
            if batch.revision >= now {
                return events;
            }
        }
    }
}

fn key(key: u8) -> Bytes {
    format!("/{key}").into()
}

/// Where stores are opened, again and again.
enum Bed {
    Memory(Disk),
    Embedded(tempfile::TempDir),
}

impl Bed {
    fn open(&self) -> Engine {
        // Little history in memory, so that most of it comes out of the journal.
        let limits = Limits { recent_events: 4, ..Limits::default() };
        match self {
            Self::Memory(disk) => disk.open(limits).unwrap(),
            Self::Embedded(folder) => crate::open(folder.path(), limits),
        }
    }

    /// Puts all writes in line, in order, before the first can be committed, where that is possible.
    async fn write(&self, store: &std::sync::Arc<Engine>, writes: Vec<Write>) -> Vec<Result<Outcome, Error>> {
        let held = match self {
            Self::Memory(disk) => Some(disk.hold()),
            Self::Embedded(_) => None,
        };
        let mut waiting = Vec::new();
        for write in writes {
            let store = store.clone();
            waiting.push(Box::pin(async move { store.write(write).await }));
        }
        // The first poll of each puts it in line.
        let mut results: Vec<_> = waiting.iter().map(|_| None).collect();
        let mut held = held;
        std::future::poll_fn(|context| {
            for (waiting, result) in waiting.iter_mut().zip(&mut results) {
                if result.is_none()
                    && let std::task::Poll::Ready(ready) = waiting.as_mut().poll(context)
                {
                    *result = Some(ready);
                }
            }
            drop(held.take());
            if results.iter().all(Option::is_some) {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await;
        results.into_iter().map(Option::unwrap).collect()
    }
}

async fn run(bed: Bed, steps: Vec<Step>) {
    let mut model = Model::default();
    let mut store = std::sync::Arc::new(bed.open());
    let mut number = 0;
    for step in steps {
        match step {
            Step::Writes(requests, fault) => {
                let mut writes = Vec::new();
                for request in requests {
                    number += 1;
                    writes.push(model.write(&request, number));
                }
                if let Bed::Memory(disk) = &bed {
                    disk.set_fault(fault);
                }
                for (write, result) in writes.iter().zip(bed.write(&store, writes.clone()).await) {
                    match result {
                        Ok(outcome) => model.apply(write, &outcome),
                        Err(error) => assert!(fault.is_some(), "{error}"),
                    }
                }
                if let Bed::Memory(disk) = &bed {
                    disk.set_fault(None);
                }
            }
            Step::Compact(back) => {
                let Some(index) = model.events.len().checked_sub(back + 1) else { continue };
                let at = model.events[index].0.revision;
                match store.compact(at).await {
                    Ok(()) => {
                        assert!(at > model.compacted);
                        model.compacted = at;
                    }
                    Err(Error::Compacted { oldest }) => assert!(at <= oldest && oldest == model.compacted),
                    Err(error) => panic!("{error}"),
                }
            }
            Step::Reopen => {
                drop(store);
                store = std::sync::Arc::new(bed.open());
            }
        }
    }
    model.compare(&store).await;
    drop(store);
    model.compare(&bed.open()).await;
}

fn check(bed: Bed, steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(bed, steps));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_agrees_with_the_model(steps in steps(true)) {
        check(Bed::Memory(Disk::default()), steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn embedded_agrees_with_the_model(steps in steps(false)) {
        check(Bed::Embedded(tempfile::tempdir().unwrap()), steps);
    }
}
