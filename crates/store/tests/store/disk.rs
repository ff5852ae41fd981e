//! Slow, full and broken disks: what is not durable is not visible, and what failed is not there.

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use gifee_store::{
    Engine, Error, Limits, Outcome, Range, Store, Write, embedded,
    memory::{Disk, Fault},
};

fn create(key: &str, value: &str) -> Write {
    Write::Create { key: key.to_owned().into(), value: value.to_owned().into() }
}

/// Starts writes so that they wait in this order.
async fn start(
    store: &Arc<Engine>,
    writes: Vec<Write>,
) -> Vec<tokio::task::JoinHandle<Result<Outcome, Error>>> {
    let mut waiting = Vec::new();
    for write in writes {
        let store = store.clone();
        waiting.push(tokio::spawn(async move { store.write(write).await }));
        tokio::task::yield_now().await;
    }
    waiting
}

#[tokio::test]
async fn nothing_is_visible_before_it_is_durable() {
    let disk = Disk::default();
    let store = Arc::new(disk.open(Limits::default()).unwrap());
    let mut watch = store.watch(Bytes::new(), Bytes::new(), 1).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().revision, 1);
    let still = disk.hold();
    let mut waiting = start(&store, vec![create("/a", "1"), create("/a", "2")]).await;
    let early = tokio::time::timeout(Duration::from_millis(50), watch.next()).await;
    assert!(early.is_err(), "{early:?}");
    assert_eq!(store.get(b"/a").await.unwrap(), (None, 1));
    assert_eq!(store.revision().await.unwrap(), 1);
    // Not even by the conflict that it will cause.
    assert!(!waiting[1].is_finished());
    drop(still);
    let conflict = waiting.pop().unwrap().await.unwrap().unwrap();
    let done = waiting.pop().unwrap().await.unwrap().unwrap();
    assert_eq!(done, Outcome::Done(2));
    assert!(matches!(conflict, Outcome::Conflict(Some(entry)) if entry.value == "1"));
    assert_eq!(watch.next().await.unwrap().unwrap().events.len(), 1);
}

#[tokio::test]
async fn a_failed_commit_leaves_nothing_and_the_next_works() {
    for fault in [Fault::Full, Fault::Broken] {
        let disk = Disk::default();
        let store = Arc::new(disk.open(Limits::default()).unwrap());
        store.write(create("/before", "")).await.unwrap();
        let mut watch = store.watch(Bytes::new(), Bytes::new(), 2).await.unwrap();
        watch.next().await.unwrap().unwrap();
        let still = disk.hold();
        disk.set_fault(Some(fault));
        let writes = vec![create("/a", "1"), create("/b", "1"), create("/b", "2"), create("/before", "2")];
        let waiting = start(&store, writes).await;
        drop(still);
        let mut results = Vec::new();
        for waiting in waiting {
            results.push(waiting.await.unwrap());
        }
        for result in &results[..3] {
            match fault {
                Fault::Full => assert!(matches!(result, Err(Error::Full { .. })), "{result:?}"),
                Fault::Broken => assert!(matches!(result, Err(Error::Disk { .. })), "{result:?}"),
            }
        }
        assert!(matches!(results[3], Ok(Outcome::Conflict(Some(_)))), "reads need no disk");
        assert_eq!(store.range(Range::prefix("")).await.unwrap().count, 1);
        disk.set_fault(None);
        let Outcome::Done(at) = store.write(create("/b", "3")).await.unwrap() else { panic!("a conflict") };
        let batch = watch.next().await.unwrap().unwrap();
        assert_eq!(batch.events.iter().map(|event| event.revision).collect::<Vec<_>>(), [at]);
        drop(store);
        let store = disk.open(Limits::default()).unwrap();
        let keys = store.range(Range::prefix("")).await.unwrap().entries;
        assert_eq!(
            keys.iter().map(|entry| &entry.key[..]).collect::<Vec<_>>(),
            [b"/b".as_slice(), b"/before"]
        );
    }
}

#[tokio::test]
async fn old_history_is_cleared_away_by_itself() {
    let disk = Disk::default();
    let limits = Limits { history_age: Duration::from_millis(20), ..Limits::default() };
    let store = disk.open(limits).unwrap();
    let mut watch = store.watch(Bytes::new(), Bytes::new(), 1).await.unwrap();
    let mut at = 0;
    for number in 0..40 {
        let value = Bytes::from(number.to_string());
        let key = Bytes::from_static(b"/lease");
        let write = match at {
            0 => Write::Create { key, value },
            expected => Write::Update { key, value, expected },
        };
        let Outcome::Done(revision) = store.write(write).await.unwrap() else { panic!("a conflict") };
        at = revision;
    }
    // The writer must do this without another write; a watch of the compaction point would be the event to
    // wait for, but there is none, and so there is a bound instead.
    let cleared = async {
        while disk.record_count() > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), cleared).await.expect("history stays for ever");
    let old = store.range(Range { revision: Some(2), ..Range::prefix("") }).await;
    assert!(matches!(old, Err(Error::Compacted { .. })), "{old:?}");
    let mut seen = 0;
    while seen < 40 {
        seen += watch.next().await.unwrap().unwrap().events.len();
    }
    assert_eq!(store.range(Range::prefix("")).await.unwrap().entries[0].revision, at);
}

#[tokio::test]
async fn a_closed_store_says_so_and_ends_its_watches() {
    let disk = Disk::default();
    let store = disk.open(Limits::default()).unwrap();
    let mut live = store.watch(Bytes::new(), Bytes::new(), 1).await.unwrap();
    live.next().await.unwrap().unwrap();
    let mut late = store.watch(Bytes::new(), Bytes::new(), 1).await.unwrap();
    drop(store);
    assert!(live.next().await.is_none());
    assert!(live.next().await.is_none());
    late.next().await.unwrap().unwrap();
    assert!(late.next().await.is_none(), "what it had found before is all that comes");
}

/// A file system of a few megabytes, gone at the end.
struct Small(tempfile::TempDir);

impl Small {
    /// `None` where file systems cannot be mounted.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        succeeds(mount.args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(folder.path()))
            .then(|| Self(folder))
    }
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

impl Drop for Small {
    fn drop(&mut self) {
        assert!(succeeds(Command::new("umount").arg("-l").arg(self.0.path())));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_until_there_is_space() {
    let Some(small) = Small::mount() else {
        eprintln!("skipped: this user may not mount");
        return;
    };
    let ballast = small.0.path().join("ballast");
    fs::write(&ballast, vec![1; 3 * 1024 * 1024]).unwrap();
    let folder = small.0.path().join("store");
    let store = crate::open(&folder, Limits::default());
    let mut kept = fill(&store, "first").await;
    assert!(!kept.is_empty());
    // Merging tables may have made a little space meanwhile.
    for number in 0..3 {
        let key = format!("/later/{number}");
        match store.write(create(&key, &"x".repeat(100_000))).await {
            Ok(Outcome::Done(_)) => kept.push(key),
            Err(Error::Full { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(keys(&store).await, kept);
    drop(store);
    // The full disk does not keep the store from opening.
    let store = crate::open(&folder, Limits::default());
    assert_eq!(keys(&store).await, kept);
    fs::remove_file(&ballast).unwrap();
    let more = fill(&store, "second").await;
    assert!(!more.is_empty(), "there is space again");
    kept.extend(more);
    assert_eq!(keys(&store).await, kept);
    drop(store);
    let store = crate::open(&folder, Limits::default());
    assert_eq!(keys(&store).await, kept);
    drop(store);
    only_error_is_full(&small.0.path().join("other"), &ballast);
}

/// Creates keys until the disk is full; returns those acknowledged.
async fn fill(store: &Engine, prefix: &str) -> Vec<String> {
    let mut kept = Vec::new();
    for number in 0..1000 {
        let key = format!("/{prefix}/{number:04}");
        match store.write(create(&key, &"x".repeat(50_000))).await {
            Ok(Outcome::Done(_)) => kept.push(key),
            Err(Error::Full { .. }) => return kept,
            other => panic!("{other:?}"),
        }
    }
    panic!("the disk is never full");
}

async fn keys(store: &Engine) -> Vec<String> {
    let entries = store.range(Range::prefix("")).await.unwrap().entries;
    entries.iter().map(|entry| String::from_utf8_lossy(&entry.key).into_owned()).collect()
}

/// A store that has no space even to begin says so, and begins once there is space.
fn only_error_is_full(folder: &Path, ballast: &Path) {
    drop(File::create(ballast).unwrap());
    while fs::OpenOptions::new()
        .append(true)
        .open(ballast)
        .and_then(|mut file| std::io::Write::write_all(&mut file, &[1; 4096]))
        .is_ok()
    {}
    let refused = embedded::open(folder, Limits::default()).map(drop);
    assert!(matches!(refused, Err(Error::Full { .. })), "{refused:?}");
    fs::remove_file(ballast).unwrap();
    drop(crate::open(folder, Limits::default()));
}

#[tokio::test]
async fn what_a_compaction_leaves_over_is_cleared_by_the_next_process() {
    let disk = Disk::default();
    let store = disk.open(Limits::default()).unwrap();
    for number in 0..1000 {
        let key = format!("/{number}");
        let Outcome::Done(at) = store.write(create(&key, "")).await.unwrap() else { panic!("a conflict") };
        let write = match number % 2 {
            0 => Write::Delete { key: key.into(), expected: None },
            _ => Write::Update { key: key.into(), value: Bytes::new(), expected: at },
        };
        store.write(write).await.unwrap();
    }
    // The compaction succeeds, and some of the clearing.
    disk.fail_after(3, Fault::Broken);
    store.compact(store.revision().await.unwrap()).await.unwrap();
    drop(store);
    assert!(disk.record_count() > 500, "there is nothing left to clear");
    disk.set_fault(None);
    let store = disk.open(Limits::default()).unwrap();
    let cleared = async {
        while disk.record_count() > 500 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), cleared).await.expect("it stays for ever");
    assert_eq!(store.range(Range::prefix("")).await.unwrap().count, 500);
}

/// Readers of old history either see all of it or learn that it is gone, whenever it goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_whole_or_gone() {
    let limits = Limits { recent_events: 1, ..Limits::default() };
    let store = Arc::new(Disk::default().open(limits).unwrap());
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            let mut at = [0; 4];
            for number in 0..4_000_usize {
                let key = Bytes::from(format!("/{}", number % 4));
                let value = Bytes::from(number.to_string());
                let write = match at[number % 4] {
                    0 => Write::Create { key, value },
                    expected => Write::Update { key, value, expected },
                };
                let Outcome::Done(done) = store.write(write).await.unwrap() else { panic!("a conflict") };
                at[number % 4] = done;
                if number % 100 == 99 {
                    store.compact(done - 10).await.unwrap();
                }
            }
        })
    };
    let (mut whole, mut gone) = (0, 0);
    let mut from = 1;
    while !writer.is_finished() || whole == 0 {
        match read_from(&store, from).await {
            Ok(now) => {
                whole += 1;
                from = now.saturating_sub(60).max(from);
            }
            Err(Error::Compacted { oldest }) => {
                gone += 1;
                from = oldest;
            }
            Err(error) => panic!("{error}"),
        }
    }
    writer.await.unwrap();
    assert!(gone > 0, "of {whole} readers none was too late");
}

/// Reads the state and the events since; fails if they do not fit together without a gap.
async fn read_from(store: &Engine, from: u64) -> Result<u64, Error> {
    let page = store.range(Range { revision: Some(from), ..Range::prefix("") }).await?;
    assert!(page.entries.iter().all(|entry| entry.revision <= from));
    assert!(from == 1 || page.entries.iter().any(|entry| entry.revision == from), "{from} is not there");
    let now = store.revision().await?;
    let mut watch = store.watch(Bytes::new(), Bytes::new(), from).await?;
    let mut reached = from;
    while reached < now {
        for event in watch.next().await.unwrap()?.events {
            assert_eq!(event.revision, reached + 1);
            reached += 1;
        }
    }
    Ok(now)
}
