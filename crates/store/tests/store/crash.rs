//! Kill it at any moment: every acknowledged write is there, and history agrees with it.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write as _},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use gifee_store::{Change, Engine, Error, Limits, Outcome, Range, Store, Write};

const FOLDER: &str = "GIFEE_STORE_TEST_FOLDER";
const ROUND: &str = "GIFEE_STORE_TEST_ROUND";
const ROUNDS: u64 = 10;
const WRITERS: u64 = 32;

/// Half of the rounds compact all the time, so that some kills fall into that.
fn limits(round: u64) -> Limits {
    let history_age = Duration::from_millis(if round.is_multiple_of(2) { 300_000 } else { 20 });
    Limits { history_age, ..Limits::default() }
}

/// Per key the number of its last acknowledged write, and whether that was a deletion.
type Acknowledged = BTreeMap<String, (u64, bool)>;

#[test]
fn every_acknowledged_write_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Acknowledged::new();
    for round in 0..ROUNDS {
        let mut child = start(folder.path(), round);
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut heard = 0;
        for line in output.lines() {
            let line = line.unwrap();
            // The test harness prints to the same pipe; a line cut off by the kill has no end.
            if let Some((key, number, gone)) = parse(&line) {
                acknowledged.insert(key.into(), (number, gone));
                heard += 1;
                if heard == 100 + 377 * round {
                    child.kill().unwrap();
                }
            }
        }
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "round {round} ended by itself after {heard} writes");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let engine = crate::open(folder.path(), limits(round));
        runtime.block_on(verify(&engine, &acknowledged));
    }
}

fn start(folder: &Path, round: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child_that_is_killed", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn parse(line: &str) -> Option<(&str, u64, bool)> {
    let mut words = line.strip_prefix("ack ")?.strip_suffix(" .")?.split(' ');
    Some((words.next()?, words.next()?.parse().ok()?, words.next()? == "gone"))
}

async fn verify(engine: &Engine, acknowledged: &Acknowledged) {
    let page = engine.range(Range::prefix("/")).await.unwrap();
    let mut stored = BTreeMap::new();
    for entry in &page.entries {
        let (key, value) = (text(&entry.key), text(&entry.value));
        stored.insert(key, value.split(' ').next().unwrap().parse::<u64>().unwrap());
    }
    for (key, (number, gone)) in acknowledged {
        match (stored.get(key), gone) {
            // One more than the acknowledged may have been durable when the kill came.
            (Some(stored), false) => assert!(stored == number || *stored == number + 1, "{key}: {stored}"),
            (Some(_), true) => panic!("{key} is back"),
            (None, true) => {}
            // The fifth write of a key deletes it.
            (None, false) => assert_eq!(*number, 3, "{key} is lost; {number} was acknowledged"),
        }
    }
    replay(engine, page.revision).await;
}

/// The oldest state that is kept and the events since make the present state.
async fn replay(engine: &Engine, now: u64) {
    let mut at = 0;
    let state = loop {
        // Compaction goes on meanwhile.
        match replay_from(engine, at, now).await {
            Ok(state) => break state,
            Err(Error::Compacted { oldest }) => at = oldest,
            Err(error) => panic!("{error}"),
        }
    };
    let present = engine.range(Range::prefix("/")).await.unwrap().entries;
    let present: BTreeMap<_, _> = present.into_iter().map(|it| (it.key, it.value)).collect();
    assert_eq!(state, present);
}

async fn replay_from(engine: &Engine, at: u64, now: u64) -> Result<BTreeMap<Bytes, Bytes>, Error> {
    let page = engine.range(Range { revision: Some(at), ..Range::prefix("/") }).await?;
    let mut state: BTreeMap<_, _> = page.entries.into_iter().map(|it| (it.key, it.value)).collect();
    let mut watch = engine.watch("/".into(), "0".into(), at).await?;
    let mut reached = at;
    while reached < now {
        let batch = watch.next().await.unwrap()?;
        reached = batch.revision;
        for event in batch.events {
            match event.change {
                Change::Put { value, previous, .. } => {
                    let before = state.insert(event.key, value);
                    assert_eq!(before, previous.map(|(value, _)| value));
                }
                Change::Delete { previous, .. } => assert_eq!(state.remove(&event.key), Some(previous)),
            }
        }
    }
    Ok(state)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Not a test of its own: `every_acknowledged_write_survives_a_kill` starts it, names a folder, and kills it.
#[test]
fn child_that_is_killed() {
    let (Ok(folder), Ok(round)) = (std::env::var(FOLDER), std::env::var(ROUND)) else { return };
    let round = round.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let engine = Arc::new(crate::open(Path::new(&folder), limits(round)));
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            writers.spawn(write_for_ever(engine.clone(), round, writer));
        }
        writers.join_all().await;
    });
}

/// Key after key is created, updated three times, deleted, or left at one of these, each acknowledged aloud.
async fn write_for_ever(engine: Arc<Engine>, round: u64, writer: u64) {
    for key_number in 0.. {
        let key = format!("/{round}/{writer}/{key_number}");
        let mut at = 0;
        for number in 0..=(key_number + writer) % 5 {
            let name = key.clone();
            let key = name.clone().into();
            // Long enough that a commit is many pages.
            let value = format!("{number} {:>1$}", writer, 200 * writer as usize).into();
            let write = match number {
                0 => Write::Create { key, value },
                4 => Write::Delete { key, expected: Some(at) },
                _ => Write::Update { key, value, expected: at },
            };
            match engine.write(write).await.unwrap() {
                Outcome::Done(revision) => at = revision,
                Outcome::Conflict(entry) => panic!("{entry:?}"),
            }
            let state = if number == 4 { "gone" } else { "there" };
            let line = format!("ack {name} {number} {state} .\n");
            std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
        }
    }
}
