//! What is on the disk after a crash, a full disk or a disk error at any point of publishing: whatever was
//! acknowledged is there, whole, and nothing torn is visible. The same harness is run on protocols with planted
//! mistakes, and must catch each.

mod sim;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use pru_flow_cache::fs::{Flush, Fs};
use pru_flow_cache::{
    Action, ActionKey, ActionResult, Digest, Finished, LocalStore, Maintain, Output, Put, Store, StoreError, Value,
    Verdict,
};
use sim::planted::{Bug, Planted};
use sim::{Fault, Random, SimFs};

const STORE: &str = "/store";
const ENOSPC: i32 = 28;
const EIO: i32 = 5;

fn action(number: i64) -> Action {
    Action {
        stage: "test".into(),
        version: 1,
        toolchain: BTreeMap::new(),
        params: Value::map([("number", Value::Int(number))]),
        sources: BTreeMap::new(),
        inputs: BTreeMap::new(),
    }
}

fn finished(number: i64) -> Finished {
    let (node, measurements, provenance) = ("test".into(), BTreeMap::new(), BTreeMap::new());
    Finished { action: action(number), node, measurements, provenance }
}

fn big(seed: u8) -> Vec<u8> {
    (0..5000u32).map(|i| (i % 251) as u8 ^ seed).collect()
}

/// Writes outputs as a stage does, unflushed, and publishes them.
fn publish(store: &LocalStore, fs: &dyn Fs, number: i64, seed: u8, put: Put) -> Result<ActionResult, StoreError> {
    let attempt = store.attempt_folder()?;
    let folder = attempt.join("parts");
    let wrote = (|| {
        fs.write_new(&attempt.join("model"), &mut big(seed).as_slice(), 0o644, Flush::Never)?;
        fs.write_new(&attempt.join("metrics"), &mut [seed; 10].as_slice(), 0o644, Flush::Never)?;
        fs.create_dir(&folder, 0o755)?;
        // Shared by all results.
        fs.write_new(&folder.join("a"), &mut big(99).as_slice(), 0o644, Flush::Never)
    })();
    wrote.map_err(|source| StoreError::Io { doing: "writing", path: attempt.clone(), source })?;
    let outputs = BTreeMap::from([
        ("metrics".to_owned(), (false, attempt.join("metrics"))),
        ("model".to_owned(), (false, attempt.join("model"))),
        ("parts".to_owned(), (true, folder)),
    ]);
    let published = store.publish(&outputs, finished(number), put)?;
    store.remove_attempt(&attempt);
    Ok(published.result)
}

/// A result that was asked to be published, and where in the log it began and was acknowledged.
struct Event {
    key: ActionKey,
    begun: usize,
    acknowledged: usize,
    outputs: BTreeMap<String, Output>,
}

/// A run of everything that writes to a store, from its first opening on.
fn script(fs: &Arc<dyn Fs>, sim: &SimFs) -> (Vec<Event>, Vec<(usize, Digest)>) {
    let store = LocalStore::open_on(Path::new(STORE), fs.clone()).unwrap();
    let mut events = Vec::new();
    let steps = [(1, 10, Put::IfAbsent), (2, 20, Put::IfAbsent), (1, 11, Put::Replace), (2, 21, Put::IfAbsent)];
    for (number, seed, put) in steps {
        let begun = sim.position();
        let result = publish(&store, fs.as_ref(), number, seed, put).unwrap();
        events.push(Event { key: result.key, begun, acknowledged: sim.position(), outputs: result.outputs });
        store.save_index().unwrap();
    }
    assert_eq!(events[1].outputs, events[3].outputs, "the first stays");
    fs.write_new(Path::new("/outside"), &mut big(77).as_slice(), 0o644, Flush::Never).unwrap();
    let (digest, _) = store.put_blob(Path::new("/outside")).unwrap();
    (events, vec![(sim.position(), digest)])
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// Nothing torn is visible: every blob has its name's bytes, every record is whole and its blobs are there.
fn nothing_torn(fs: &SimFs) -> Result<(), String> {
    let blobs: BTreeMap<String, Vec<u8>> =
        fs.files("/store/blobs").into_iter().map(|(path, bytes)| (name_of(&path), bytes)).collect();
    for (name, bytes) in &blobs {
        if Digest::of(bytes).to_string() != *name {
            return Err(format!("torn blob {name}"));
        }
    }
    for (path, bytes) in fs.files("/store/records") {
        let record = ActionResult::decode(&bytes).map_err(|e| format!("torn record {}: {e}", path.display()))?;
        for digest in record.blobs() {
            if !blobs.contains_key(&digest.to_string()) {
                return Err(format!("a record names the blob {digest}, which is not there"));
            }
        }
    }
    Ok(())
}

/// What was acknowledged by `upto` is there, when the disk `found` is opened again.
fn acknowledged_is_there(
    found: &SimFs,
    upto: usize,
    events: &[Event],
    blobs: &[(usize, Digest)],
) -> Result<(), String> {
    let store = LocalStore::open_on(Path::new(STORE), Arc::new(found.clone())).map_err(|e| e.to_string())?;
    for (index, event) in events.iter().enumerate() {
        let later = || events[index + 1..].iter().filter(|e| e.key == event.key);
        if event.acknowledged > upto || later().any(|e| e.acknowledged <= upto) {
            continue;
        }
        let result = store.get_results(&[event.key]).map_err(|e| e.to_string())?.remove(0);
        let Some(result) = result else { return Err(format!("acknowledged record {index} is lost")) };
        let begun = later().filter(|e| e.begun < upto);
        if !std::iter::once(event).chain(begun).any(|e| e.outputs == result.outputs) {
            return Err(format!("record {index} is another"));
        }
        for digest in result.blobs() {
            if store.verify_bytes(&digest).map_err(|e| e.to_string())? != Verdict::Good {
                return Err(format!("acknowledged blob {digest} is lost or damaged"));
            }
        }
    }
    for (acknowledged, digest) in blobs {
        if *acknowledged <= upto && store.verify_bytes(digest).map_err(|e| e.to_string())? != Verdict::Good {
            return Err(format!("acknowledged blob {digest} is lost or damaged"));
        }
    }
    Ok(())
}

/// Loses power after every logged change of the script, many times each; gives how many states were fine.
fn power_loss(fs: &Arc<dyn Fs>, sim: &SimFs, states_per_position: usize) -> Result<usize, String> {
    let (events, blobs) = script(fs, sim);
    let mut random = Random(1);
    let mut states = 0;
    for upto in 0..=sim.position() {
        for round in 0..states_per_position {
            let found = sim.crash(upto, &mut random);
            let at = |problem: String| format!("position {upto}, state {states}: {problem}");
            nothing_torn(&found).map_err(at)?;
            acknowledged_is_there(&found, upto, &events, &blobs).map_err(at)?;
            if round == 0 {
                // The next run completes what was interrupted, and that is durable in its turn.
                let fs: Arc<dyn Fs> = Arc::new(found.clone());
                let store = LocalStore::open_on(Path::new(STORE), fs.clone()).map_err(|e| at(e.to_string()))?;
                let result = publish(&store, fs.as_ref(), 1, 12, Put::Replace).map_err(|e| at(e.to_string()))?;
                let event = Event { key: result.key, begun: 0, acknowledged: 0, outputs: result.outputs };
                let again = found.crash(found.position(), &mut random);
                nothing_torn(&again).map_err(at)?;
                acknowledged_is_there(&again, 0, &[event], &[]).map_err(at)?;
            }
            states += 1;
        }
    }
    Ok(states)
}

/// Fails every call of a publication in every way, then publishes again; gives how many faults were survived.
fn faults(wrap: impl Fn(SimFs) -> Arc<dyn Fs>) -> Result<usize, String> {
    let base = SimFs::new();
    drop(LocalStore::open_on(Path::new(STORE), Arc::new(base.clone())).unwrap());
    let dry = base.fork();
    let before = dry.calls();
    let store = LocalStore::open_on(Path::new(STORE), Arc::new(dry.clone())).unwrap();
    publish(&store, &dry, 1, 10, Put::IfAbsent).unwrap();
    drop(store);
    let calls = dry.calls() - before;
    let mut random = Random(2);
    let mut survived = 0;
    for call in 1..=calls {
        for fault in [Fault::Error(ENOSPC), Fault::Error(EIO), Fault::Kill] {
            let at = |problem: String| format!("call {call}, {fault:?}: {problem}");
            let sim = base.fork();
            let fs = wrap(sim.clone());
            sim.fail_at(call, fault);
            let outcome = LocalStore::open_on(Path::new(STORE), fs.clone()).and_then(|store| {
                let outcome = publish(&store, fs.as_ref(), 1, 10, Put::IfAbsent);
                let left = sim.files("/store/tmp").into_iter().any(|(path, _)| name_of(&path).starts_with('t'));
                if outcome.is_err() && left && !sim.is_dead() {
                    return Err(StoreError::NotAStore { path: PathBuf::new(), problem: "a temporary is left".into() });
                }
                outcome
            });
            if let Err(error @ StoreError::NotAStore { .. }) = &outcome {
                return Err(at(error.to_string()));
            }
            if fault == Fault::Error(ENOSPC)
                && let Err(error) = &outcome
            {
                let text = error.to_string();
                let plain = matches!(error, StoreError::Io { doing: "writing", .. });
                if !(plain || text.contains("nothing was cached")) {
                    return Err(at(format!("the message does not say what to do: {text}")));
                }
            }
            check_after_fault(&sim, &fs, outcome.ok(), &mut random).map_err(at)?;
            survived += 1;
        }
    }
    Ok(survived)
}

fn check_after_fault(
    sim: &SimFs,
    fs: &Arc<dyn Fs>,
    acknowledged: Option<ActionResult>,
    random: &mut Random,
) -> Result<(), String> {
    sim.heal();
    nothing_torn(sim)?;
    let event = |result: ActionResult| Event { key: result.key, begun: 0, acknowledged: 0, outputs: result.outputs };
    if let Some(result) = acknowledged {
        let events = [event(result)];
        acknowledged_is_there(&sim.fork(), 0, &events, &[])?;
        for _ in 0..10 {
            let found = sim.crash(sim.position(), random);
            nothing_torn(&found)?;
            acknowledged_is_there(&found, 0, &events, &[])?;
        }
    }
    // Another process takes over: its acknowledgement holds too, also of what the first left half done.
    let store = LocalStore::open_on(Path::new(STORE), fs.clone()).map_err(|e| e.to_string())?;
    let result = publish(&store, fs.as_ref(), 1, 10, Put::IfAbsent).map_err(|e| e.to_string())?;
    let events = [event(result)];
    for _ in 0..5 {
        let found = sim.crash(sim.position(), random);
        nothing_torn(&found)?;
        acknowledged_is_there(&found, 0, &events, &[])?;
    }
    Ok(())
}

/// A file system on which another process publishes the same key just before ours gives its record its name.
#[derive(Debug)]
struct Race {
    inner: Arc<dyn Fs>,
    sim: SimFs,
    armed: Mutex<bool>,
}

/// Runs two processes that publish one key with different bytes, the second in the middle of the first.
fn race(wrap: impl Fn(SimFs) -> Arc<dyn Fs>) -> Result<(), String> {
    let sim = SimFs::new();
    drop(LocalStore::open_on(Path::new(STORE), Arc::new(sim.clone())).unwrap());
    let fs: Arc<dyn Fs> = Arc::new(Race { inner: wrap(sim.clone()), sim: sim.clone(), armed: Mutex::new(true) });
    let store = LocalStore::open_on(Path::new(STORE), fs.clone()).map_err(|e| e.to_string())?;
    let ours = publish(&store, fs.as_ref(), 1, 10, Put::IfAbsent).map_err(|e| e.to_string())?;
    let kept = store.get_results(&[ours.key]).map_err(|e| e.to_string())?.remove(0);
    let theirs = Digest::of(&big(55));
    if kept.as_ref().map(|k| k.outputs["model"].files[0].digest) != Some(theirs) {
        return Err("the record that was there first did not stay".into());
    }
    if kept.map(|k| k.outputs) != Some(ours.outputs) {
        return Err("the second was not told of the first".into());
    }
    let evidence = sim.files("/store/evidence");
    let [(_, bytes)] = evidence.as_slice() else { return Err("there is no evidence of the difference".into()) };
    let second = ActionResult::decode(bytes).map_err(|e| e.to_string())?;
    if second.outputs["model"].files[0].digest != Digest::of(&big(10)) {
        return Err("the evidence is not the second result".into());
    }
    Ok(())
}

impl Fs for Race {
    fn write_new(&self, p: &Path, c: &mut dyn std::io::Read, m: u32, f: Flush) -> std::io::Result<u64> {
        self.inner.write_new(p, c, m, f)
    }
    fn sync_file(&self, p: &Path) -> std::io::Result<()> {
        self.inner.sync_file(p)
    }
    fn sync_dir(&self, p: &Path) -> std::io::Result<()> {
        self.inner.sync_dir(p)
    }
    fn rename(&self, a: &Path, b: &Path) -> std::io::Result<()> {
        self.inner.rename(a, b)
    }
    fn rename_new(&self, a: &Path, b: &Path) -> std::io::Result<()> {
        if b.starts_with("/store/records") && std::mem::take(&mut *self.armed.lock().unwrap()) {
            let other = LocalStore::open_on(Path::new(STORE), Arc::new(self.sim.clone())).unwrap();
            publish(&other, &self.sim, 1, 55, Put::IfAbsent).unwrap();
        }
        self.inner.rename_new(a, b)
    }
    fn open(&self, p: &Path) -> std::io::Result<Box<dyn pru_flow_cache::fs::ReadSeek>> {
        self.inner.open(p)
    }
    fn stat(&self, p: &Path) -> std::io::Result<pru_flow_cache::fs::Stat> {
        self.inner.stat(p)
    }
    fn list(&self, p: &Path) -> std::io::Result<Vec<std::ffi::OsString>> {
        self.inner.list(p)
    }
    fn create_dir(&self, p: &Path, m: u32) -> std::io::Result<()> {
        self.inner.create_dir(p, m)
    }
    fn remove_file(&self, p: &Path) -> std::io::Result<()> {
        self.inner.remove_file(p)
    }
    fn remove_tree(&self, p: &Path) -> std::io::Result<()> {
        self.inner.remove_tree(p)
    }
    fn set_read_only(&self, p: &Path) -> std::io::Result<()> {
        self.inner.set_read_only(p)
    }
    fn copy_new(&self, a: &Path, b: &Path) -> std::io::Result<u64> {
        self.inner.copy_new(a, b)
    }
    fn spread_folders(&self, p: &Path) {
        self.inner.spread_folders(p);
    }
    fn hard_link(&self, a: &Path, b: &Path) -> std::io::Result<()> {
        self.inner.hard_link(a, b)
    }
    fn free_bytes(&self, p: &Path) -> std::io::Result<u64> {
        self.inner.free_bytes(p)
    }
}

#[test]
fn power_loss_at_any_point_loses_nothing_acknowledged_and_shows_nothing_torn() {
    let sim = SimFs::new();
    let fs: Arc<dyn Fs> = Arc::new(sim.clone());
    let states = power_loss(&fs, &sim, 60).unwrap();
    assert!(states > 8_000, "only {states} states were looked at");
}

#[test]
fn a_fault_at_any_call_fails_the_publication_or_leaves_it_whole() {
    let survived = faults(|sim| Arc::new(sim)).unwrap();
    assert!(survived > 150, "only {survived} faults were tried");
}

#[test]
fn of_two_processes_the_first_record_stays_and_the_second_is_kept_as_evidence() {
    race(|sim| Arc::new(sim)).unwrap();
}

#[test]
fn every_planted_mistake_is_caught() {
    use Bug::{
        BlobInPlace, CheckThenRename, FolderFlushBeforeRename, IgnoreNoSpace, NoBlobFlush, NoBlobFolderFlush,
        NoFileFlush, NoFolderFlush, NoParentFlush, NoRecordFlush, NoRecordFolderFlush, RecordBeforeBlobs,
        RecordInPlace, RetryFlush,
    };
    let mut missed = Vec::new();
    for bug in [
        NoFileFlush,
        NoBlobFlush,
        NoRecordFlush,
        NoFolderFlush,
        NoBlobFolderFlush,
        NoRecordFolderFlush,
        NoParentFlush,
        FolderFlushBeforeRename,
        RecordBeforeBlobs,
        BlobInPlace,
        RecordInPlace,
    ] {
        let sim = SimFs::new();
        let fs: Arc<dyn Fs> = Arc::new(Planted::new(sim.clone(), bug));
        match power_loss(&fs, &sim, 24) {
            Err(problem) => println!("{bug:?}: {problem}"),
            Ok(states) => missed.push(format!("{bug:?} in {states} states of power loss")),
        }
    }
    for bug in [RetryFlush, IgnoreNoSpace] {
        match faults(|sim| Arc::new(Planted::new(sim, bug))) {
            Err(problem) => println!("{bug:?}: {problem}"),
            Ok(tried) => missed.push(format!("{bug:?} in {tried} faults")),
        }
    }
    match race(|sim| Arc::new(Planted::new(sim, CheckThenRename))) {
        Err(problem) => println!("{CheckThenRename:?}: {problem}"),
        Ok(()) => missed.push(format!("{CheckThenRename:?} in a race")),
    }
    assert_eq!(missed, Vec::<String>::new());
}

#[test]
fn a_full_disk_is_reported_with_the_path_and_the_bytes() {
    let sim = SimFs::new();
    let fs: Arc<dyn Fs> = Arc::new(sim.clone());
    let store = LocalStore::open_on(Path::new(STORE), fs.clone()).unwrap();
    fs.write_new(Path::new("/data"), &mut big(1).as_slice(), 0o644, Flush::Never).unwrap();
    let mut seen = Vec::new();
    for call in 1..20 {
        sim.fail_at(call, Fault::Error(ENOSPC));
        if let Err(error @ StoreError::NoSpace { needed: Some(5000), .. }) = store.put_blob(Path::new("/data")) {
            seen.push(error.to_string());
        }
        sim.heal();
    }
    assert!(!seen.is_empty());
    for text in seen {
        for part in ["/data", "5000 bytes are needed", "1234 bytes are free", "nothing was cached"] {
            assert!(text.contains(part), "{text}");
        }
    }
    assert_eq!(store.blobs().unwrap().count(), 1, "some attempts beyond the fault succeeded");
}

#[test]
fn a_blob_is_read_again_only_when_its_stat_changed_or_all_bytes_are_to_be_checked() {
    let sim = SimFs::new();
    let fs: Arc<dyn Fs> = Arc::new(sim.clone());
    let store = LocalStore::open_on(Path::new(STORE), fs.clone()).unwrap();
    let result = publish(&store, fs.as_ref(), 1, 10, Put::IfAbsent).unwrap();
    let digest = Digest::of(&big(10));
    let path = store.local_path(&digest).unwrap();
    store.save_index().unwrap();
    // What no stat shows: a bit that flipped on the disk.
    sim.flip(&path, 12_345);
    assert_eq!(store.verify(&digest).unwrap(), Verdict::Good);
    let other = LocalStore::open_on(Path::new(STORE), fs.clone()).unwrap();
    assert_eq!(other.verify(&digest).unwrap(), Verdict::Good, "the index on disk was not used");
    assert_eq!(other.verify_bytes(&digest).unwrap(), Verdict::Damaged);
    assert_eq!(store.unusable(&result).unwrap(), [(digest, Verdict::Missing)]);
    // Without the index the bytes are read.
    let digest = Digest::of(&big(99));
    sim.flip(&store.local_path(&digest).unwrap(), 1);
    drop((store, other));
    sim.remove_file(Path::new("/store/index/blobs")).unwrap();
    let store = LocalStore::open_on(Path::new(STORE), fs).unwrap();
    assert_eq!(store.verify(&digest).unwrap(), Verdict::Damaged);
}

#[test]
fn a_blob_that_the_disk_cannot_read_is_moved_aside() {
    let sim = SimFs::new();
    let fs: Arc<dyn Fs> = Arc::new(sim.clone());
    let store = LocalStore::open_on(Path::new(STORE), fs.clone()).unwrap();
    publish(&store, fs.as_ref(), 1, 10, Put::IfAbsent).unwrap();
    let digest = Digest::of(&big(10));
    // The first call is the stat, the second opens the file.
    sim.fail_at(2, Fault::Error(EIO));
    assert_eq!(store.verify_bytes(&digest).unwrap(), Verdict::Damaged);
    sim.heal();
    assert_eq!(store.verify(&digest).unwrap(), Verdict::Missing);
    assert_eq!(sim.files("/store/quarantine").len(), 1);
}
