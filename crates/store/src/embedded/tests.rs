//! What torn and damaged journals open as. The journal is driven directly, so that its commits are known.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write as _},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::{records::Records, tail};
use crate::{Engine, Error, Limits, Outcome, Range, Store, Write, journal::Journal, record::Record};

fn record(revision: u64) -> Record {
    Record {
        revision,
        key: format!("/key/{revision}").into(),
        value: Some(format!("value of {revision}").into()),
        created: revision,
        previous: None,
    }
}

/// A closed store of commits of several records each, and where in the journal file they begin and end.
struct Prepared {
    folder: tempfile::TempDir,
    journal: PathBuf,
    bounds: Vec<u64>,
}

const COMMITS: [std::ops::Range<u64>; 3] = [2..4, 4..5, 5..8];

fn prepare() -> Prepared {
    let folder = tempfile::tempdir().unwrap();
    drop(super::open(folder.path(), Limits::default()).unwrap());
    let path = folder.path().join("records");
    let lock = File::create(folder.path().join("lock")).unwrap();
    let mut records = Records::open(folder.path(), path.clone(), lock).unwrap();
    let journal = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
    let journal = journal.max_by_key(|path| path.extension().is_some_and(|it| it == "jnl")).unwrap();
    let mut bounds = vec![end_of_batches(&journal)];
    for commit in COMMITS {
        records.commit(&commit.map(record).collect::<Vec<_>>()).unwrap();
        bounds.push(end_of_batches(&journal));
    }
    drop(records);
    // Without the space allocated ahead it is quick to copy.
    OpenOptions::new().write(true).open(&journal).unwrap().set_len(bounds[3]).unwrap();
    Prepared { folder, journal, bounds }
}

fn end_of_batches(journal: &Path) -> u64 {
    let mut reader = tail::Journal::open(journal).unwrap();
    while reader.batch().unwrap().is_some() {}
    reader.end
}

impl Prepared {
    /// Damages a copy of the store, opens it, and closes it again after a write if it does open.
    fn open_damaged(&self, damage: &dyn Fn(&File)) -> Result<Vec<u64>, Error> {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(self.folder.path(), copy.path());
        let journal = copy.path().join(self.journal.strip_prefix(self.folder.path()).unwrap());
        damage(&OpenOptions::new().read(true).write(true).open(&journal).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let engine = super::open(copy.path(), Limits::default())?;
        let found = runtime.block_on(revisions(&engine));
        // It must also go on from here: a write, and its way back.
        let write = Write::Create { key: Bytes::from_static(b"/after"), value: Bytes::from_static(b"x") };
        let Outcome::Done(at) = runtime.block_on(engine.write(write)).unwrap() else { panic!("a conflict") };
        drop(engine);
        let engine = super::open(copy.path(), Limits::default())?;
        let mut after = runtime.block_on(revisions(&engine));
        assert_eq!(after.pop(), Some(at));
        assert_eq!(after, found);
        Ok(found)
    }
}

/// The revisions of all entries, in order, after a look at what they say.
async fn revisions(engine: &Engine) -> Vec<u64> {
    let page = engine.range(Range::prefix("")).await.unwrap();
    let mut revisions = Vec::new();
    for entry in page.entries {
        if entry.key.starts_with(b"/key/") {
            assert_eq!(Some(entry.value), record(entry.revision).value);
        }
        revisions.push(entry.revision);
    }
    revisions.sort_unstable();
    revisions
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn whole() -> Vec<u64> {
    (2..8).collect()
}

fn without_last() -> Vec<u64> {
    (2..5).collect()
}

#[test]
fn an_undamaged_journal_opens_whole() {
    let prepared = prepare();
    assert_eq!(prepared.open_damaged(&|_| {}).unwrap(), whole());
    let allocated_ahead = |journal: &File| journal.set_len(64 * 1024 * 1024).unwrap();
    assert_eq!(prepared.open_damaged(&allocated_ahead).unwrap(), whole());
}

#[test]
fn a_last_commit_cut_short_is_not_there_at_all() {
    let prepared = prepare();
    for length in (prepared.bounds[2]..prepared.bounds[3]).step_by(3) {
        for then in [length, prepared.bounds[3], prepared.bounds[3] + 5_000] {
            let damage = |journal: &File| {
                journal.set_len(length).unwrap();
                journal.set_len(then).unwrap();
            };
            let found = prepared.open_damaged(&damage);
            assert_eq!(found.unwrap(), without_last(), "cut to {length}, then zeros up to {then}");
        }
    }
}

#[test]
fn a_last_commit_with_a_hole_is_not_there_at_all() {
    let prepared = prepare();
    let [.., start, end] = prepared.bounds[..] else { panic!("no commits") };
    for at in (start..end - 24).step_by(5) {
        let damage = |journal: &File| journal.write_all_at(&[0; 24], at).unwrap();
        let found = prepared.open_damaged(&damage);
        assert_eq!(found.unwrap(), without_last(), "zeros at {at} of {start} to {end}");
    }
}

#[test]
fn damage_before_the_last_commit_is_refused() {
    let prepared = prepare();
    for at in (prepared.bounds[0]..prepared.bounds[2]).step_by(3) {
        let damage = |mut journal: &File| {
            let mut byte = [0];
            journal.seek(SeekFrom::Start(at)).unwrap();
            journal.read_exact(&mut byte).unwrap();
            journal.seek(SeekFrom::Start(at)).unwrap();
            journal.write_all(&[byte[0] ^ 0x10]).unwrap();
        };
        match prepared.open_damaged(&damage) {
            Err(Error::Corrupt { .. }) => {}
            other => panic!("a flipped bit at {at}: {other:?}"),
        }
    }
}

#[test]
fn a_commit_that_failed_is_cut_off_whole() {
    let prepared = prepare();
    let mut reader = tail::Journal::open(&prepared.journal).unwrap();
    let numbers: Vec<_> = std::iter::from_fn(|| reader.batch().unwrap()).collect();
    let [.., second, third] = numbers[..] else { panic!("too few batches") };
    let folder = prepared.journal.parent().unwrap();
    for (first, expected) in [(third + 1, 3), (third, 2), (second, 1), (second, 1)] {
        tail::cut(folder, first).unwrap();
        assert_eq!(fs::metadata(&prepared.journal).unwrap().len(), prepared.bounds[expected]);
    }
    assert_eq!(prepared.open_damaged(&|_| {}).unwrap(), [2, 3]);
}

#[test]
fn a_crash_while_the_folder_is_made_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let aside = folder.path().join("records.new");
    fs::create_dir_all(aside.join("keyspaces")).unwrap();
    File::create(aside.join("0.jnl")).unwrap().set_len(1000).unwrap();
    drop(super::open(folder.path(), Limits::default()).unwrap());
    assert!(!aside.exists());
}

#[test]
fn a_folder_is_for_one_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let first = super::open(folder.path(), Limits::default()).unwrap();
    let second = super::open(folder.path(), Limits::default()).map(drop);
    assert!(matches!(&second, Err(Error::Locked { .. })), "{second:?}");
    let message = second.unwrap_err().to_string();
    assert!(message.contains("in use by another process"), "{message}");
    drop(first);
    super::open(folder.path(), Limits::default()).map(drop).unwrap();
}

#[test]
fn records_that_contradict_each_other_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(super::open(folder.path(), Limits::default()).unwrap());
    let lock = File::create(folder.path().join("lock")).unwrap();
    let mut records = Records::open(folder.path(), folder.path().join("records"), lock).unwrap();
    let orphan = Record { previous: Some((Bytes::new(), 3)), created: 3, ..record(4) };
    records.commit(&[record(2), orphan]).unwrap();
    drop(records);
    let opened = super::open(folder.path(), Limits::default()).map(drop);
    assert!(matches!(opened, Err(Error::Corrupt { .. })), "{opened:?}");
}
