//! A store in a temporary folder and a result to publish to it, for the tests of the local store.
#![allow(dead_code, reason = "each test binary uses its share")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use pru_flow_cache::{ActionResult, Digest, Finished, LocalStore, Published, Put};

use crate::conformance::action;

/// A store in a temporary folder.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub store: LocalStore,
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::open(&folder.path().join("store")).unwrap();
        Self { folder, store }
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Another process's view of the same store: nothing remembered but what lies on disk.
    pub fn reopened(&self) -> LocalStore {
        LocalStore::open(&self.root()).unwrap()
    }
}

pub fn finished(number: i64) -> Finished {
    let measurements = BTreeMap::from([("seconds".into(), 1.0), ("loss".into(), f64::NAN)]);
    let provenance = BTreeMap::from([("execution".into(), "cpu".into())]);
    Finished { action: action(number), node: "node".into(), measurements, provenance }
}

pub fn big(seed: u8) -> Vec<u8> {
    vec![seed; 10_000]
}

/// Publishes a file `model` (a blob), a file `metrics` (inline) and a folder `parts` with one of each.
pub fn publish(store: &LocalStore, number: i64, seed: u8, put: Put) -> Published {
    let attempt = store.attempt_folder().unwrap();
    let outputs = BTreeMap::from([
        ("metrics".to_owned(), (false, attempt.join("metrics.json"))),
        ("model".to_owned(), (false, attempt.join("model"))),
        ("parts".to_owned(), (true, attempt.join("parts"))),
    ]);
    std::fs::write(attempt.join("metrics.json"), [seed; 10]).unwrap();
    std::fs::write(attempt.join("model"), big(seed)).unwrap();
    std::fs::write(attempt.join("undeclared"), "scratch").unwrap();
    std::fs::create_dir_all(attempt.join("parts/b")).unwrap();
    std::fs::write(attempt.join("parts/b/x"), big(200)).unwrap();
    std::fs::write(attempt.join("parts/a"), "small").unwrap();
    let published = store.publish(&outputs, finished(number), put).unwrap();
    store.remove_attempt(&attempt);
    published
}

pub fn model(result: &ActionResult) -> Digest {
    result.outputs["model"].files[0].digest
}
