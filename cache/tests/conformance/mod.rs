//! What every store must do. A new kind of store is tested by one call of [`conform`].
#![allow(dead_code, reason = "each test binary uses its share")]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use pru_flow_cache::{
    Action, ActionKey, ActionResult, Digest, Maintain, Output, OutputFile, Put, Store, StoreError, Stored, Value,
    WriterId,
};

pub fn action(number: i64) -> Action {
    Action {
        stage: "test".into(),
        version: 1,
        toolchain: BTreeMap::new(),
        params: Value::map([("number", Value::Int(number))]),
        sources: BTreeMap::new(),
        inputs: BTreeMap::new(),
    }
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// A result with one output, whose blob is stored first.
pub fn stored_result(
    store: &impl Store,
    folder: &Path,
    number: i64,
    content: &[u8],
    writer: &WriterId,
) -> ActionResult {
    let (digest, bytes) = store.put_blob(&write(folder, "content", content)).unwrap();
    let mut result = ActionResult::new(action(number), "node", writer.clone()).unwrap();
    let files = vec![OutputFile { name: String::new(), digest, bytes }];
    result.outputs.insert("out".into(), Output { folder: false, files });
    result
}

fn read(store: &impl Store, digest: &Digest, range: Option<std::ops::Range<u64>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.open_blob(digest, range).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// Runs the suite. `make` opens a fresh, empty store in the folder that it is given, and tells its writer's id.
pub fn conform<S: Maintain>(make: impl Fn(&Path) -> (S, WriterId)) {
    blobs(&make);
    records(&make);
    putting_twice(&make);
    maintenance(&make);
}

fn blobs<S: Maintain>(make: &impl Fn(&Path) -> (S, WriterId)) {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = make(&folder.path().join("store"));
    let large = vec![7; 300_000];
    for content in [&b""[..], b"x", &large] {
        let (digest, bytes) = store.put_blob(&write(folder.path(), "a", content)).unwrap();
        assert_eq!((digest, bytes), (Digest::of(content), content.len() as u64));
        assert_eq!(read(&store, &digest, None), content);
        // Again: the same, and nothing breaks.
        assert_eq!(store.put_blob(&folder.path().join("a")).unwrap(), (digest, bytes));
    }
    let content: Vec<u8> = (0..=255).collect();
    let (digest, _) = store.put_blob(&write(folder.path(), "a", &content)).unwrap();
    // (start, end, bytes that are there)
    for (start, end, expected) in
        [(0, 256, 0..256), (3, 10, 3..10), (0, 0, 0..0), (250, 1000, 250..256), (256, 300, 0..0), (9, 3, 0..0)]
    {
        assert_eq!(read(&store, &digest, Some(start..end)), &content[expected], "{start}..{end}");
    }
    let absent = Digest::of(b"absent");
    assert_eq!(store.has_blobs(&[digest, absent, digest]).unwrap(), [true, false, true]);
    assert!(store.has_blobs(&[]).unwrap().is_empty());
    assert!(matches!(store.open_blob(&absent, None), Err(StoreError::NoBlob(d)) if d == absent));
    assert_eq!(store.local_path(&absent), None);
    if let Some(path) = store.local_path(&digest) {
        assert_eq!(std::fs::read(path).unwrap(), content);
    }
    for bad in ["missing", "link", "."] {
        if bad == "link" {
            std::os::unix::fs::symlink("a", folder.path().join(bad)).unwrap();
        }
        assert!(matches!(store.put_blob(&folder.path().join(bad)), Err(StoreError::Output { .. })), "{bad}");
    }
}

fn records<S: Maintain>(make: &impl Fn(&Path) -> (S, WriterId)) {
    let folder = tempfile::tempdir().unwrap();
    let (store, writer) = make(&folder.path().join("store"));
    let absent = action(99).key().unwrap();
    assert!(store.get_results(&[]).unwrap().is_empty());
    assert_eq!(store.get_results(&[absent]).unwrap(), [None]);
    let one = stored_result(&store, folder.path(), 1, b"one", &writer);
    let two = stored_result(&store, folder.path(), 2, b"two", &writer);
    assert_eq!(store.put_result(&one, Put::IfAbsent).unwrap(), Stored::New);
    assert_eq!(store.put_result(&two, Put::Replace).unwrap(), Stored::New);
    let found = store.get_results(&[two.key, absent, one.key, two.key]).unwrap();
    assert_eq!(found, [Some(two.clone()), None, Some(one), Some(two)]);

    // A record never names a blob that is not there, and never has another action's key.
    let mut orphan = ActionResult::new(action(3), "node", writer.clone()).unwrap();
    let files = vec![OutputFile { name: String::new(), digest: Digest::of(b"nowhere"), bytes: 7 }];
    orphan.outputs.insert("out".into(), Output { folder: false, files });
    assert!(matches!(store.put_result(&orphan, Put::IfAbsent), Err(StoreError::NoBlob(_))));
    orphan.outputs.clear();
    orphan.key = ActionKey::from_digest(Digest::of(b"another"));
    assert!(matches!(store.put_result(&orphan, Put::Replace), Err(StoreError::Record { .. })));
    assert_eq!(store.get_results(&[orphan.key, action(3).key().unwrap()]).unwrap(), [None, None]);

    // Another writer's record is a hit as well.
    let other: WriterId = "another-writer".parse().unwrap();
    let theirs = stored_result(&store, folder.path(), 4, b"four", &other);
    store.put_result(&theirs, Put::IfAbsent).unwrap();
    assert_eq!(store.get_results(&[theirs.key]).unwrap(), [Some(theirs.clone())]);
    let ours = stored_result(&store, folder.path(), 4, b"four, ours", &writer);
    assert_eq!(store.put_result(&ours, Put::IfAbsent).unwrap(), Stored::New);
    assert_eq!(store.get_results(&[theirs.key]).unwrap(), [Some(ours)], "the store's own record comes first");
}

fn putting_twice<S: Maintain>(make: &impl Fn(&Path) -> (S, WriterId)) {
    let folder = tempfile::tempdir().unwrap();
    let (store, writer) = make(&folder.path().join("store"));
    let first = stored_result(&store, folder.path(), 1, b"first", &writer);
    let second = stored_result(&store, folder.path(), 1, b"second", &writer);
    assert_eq!(store.put_result(&first, Put::IfAbsent).unwrap(), Stored::New);
    assert_eq!(store.put_result(&first, Put::IfAbsent).unwrap(), Stored::Exists(Box::new(first.clone())));
    assert_eq!(store.put_result(&second, Put::IfAbsent).unwrap(), Stored::Exists(Box::new(first.clone())));
    assert_eq!(store.get_results(&[first.key]).unwrap(), [Some(first.clone())]);
    assert_eq!(store.put_result(&second, Put::Replace).unwrap(), Stored::New);
    assert_eq!(store.get_results(&[first.key]).unwrap(), [Some(second)]);

    // Of many threads that put different results under one key, one is new and all agree on which.
    let results: Vec<ActionResult> =
        (0..8).map(|i| stored_result(&store, folder.path(), 2, format!("thread {i}").as_bytes(), &writer)).collect();
    let stored: Vec<Stored> = std::thread::scope(|scope| {
        let store = &store;
        let threads: Vec<_> =
            results.iter().map(|r| scope.spawn(move || store.put_result(r, Put::IfAbsent).unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let kept = store.get_results(&[results[0].key]).unwrap().remove(0).unwrap();
    for (result, stored) in results.iter().zip(&stored) {
        match stored {
            Stored::New => assert_eq!(*result, kept),
            Stored::Exists(first) => assert_eq!(**first, kept),
        }
    }
    assert_eq!(stored.iter().filter(|s| **s == Stored::New).count(), 1);
}

fn maintenance<S: Maintain>(make: &impl Fn(&Path) -> (S, WriterId)) {
    let folder = tempfile::tempdir().unwrap();
    let (store, writer) = make(&folder.path().join("store"));
    assert_eq!(store.records().unwrap().count(), 0);
    assert_eq!(store.blobs().unwrap().count(), 0);
    let results: Vec<ActionResult> = (0..5)
        .map(|number| stored_result(&store, folder.path(), number, format!("{number}").as_bytes(), &writer))
        .collect();
    for result in &results {
        store.put_result(result, Put::IfAbsent).unwrap();
    }
    let mut keys: Vec<ActionKey> = results.iter().map(|r| r.key).collect();
    keys.sort();
    let entries: Vec<_> = store.records().unwrap().collect();
    assert_eq!(entries.iter().map(|e| e.key).collect::<Vec<_>>(), keys);
    let hour = std::time::Duration::from_hours(1);
    assert!(entries.iter().all(|e| e.writer == writer && results.contains(&e.result)));
    assert!(entries.iter().all(|e| e.modified.elapsed().is_ok_and(|age| age < hour)));
    let mut digests: Vec<Digest> = results.iter().flat_map(ActionResult::blobs).collect();
    digests.sort();
    assert_eq!(store.blobs().unwrap().map(|b| b.digest).collect::<Vec<_>>(), digests);
    assert!(store.blobs().unwrap().all(|b| b.bytes == 1));

    assert!(store.delete_record(&keys[0], &writer).unwrap());
    assert!(!store.delete_record(&keys[0], &writer).unwrap());
    assert_eq!(store.get_results(&keys[..1]).unwrap(), [None]);
    assert!(store.delete_blob(&digests[0]).unwrap());
    assert!(!store.delete_blob(&digests[0]).unwrap());
    assert!(store.quarantine(&digests[1]).unwrap());
    assert!(!store.quarantine(&digests[1]).unwrap());
    assert_eq!(store.has_blobs(&digests[..3]).unwrap(), [false, false, true]);
    assert_eq!((store.records().unwrap().count(), store.blobs().unwrap().count()), (4, 3));
}
