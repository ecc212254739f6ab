//! Literal bytes of the formats. When one of these fails, a format changed: every user's store would be cold, or
//! unreadable. Then bump the format and keep the old literal as a case that is refused or still read.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use pru_flow_cache::record::MAGIC;
use pru_flow_cache::{
    Action, ActionInput, ActionResult, Digest, Gathered, LocalStore, Member, Output, OutputFile, Put, RecordError,
    StatCache, Store, StoreError, Value, canon,
};

fn action() -> Action {
    let member = |name: &str, content: &str| Member { name: name.into(), digest: Digest::of(content.as_bytes()) };
    let cell = |method: &str| Gathered {
        coordinates: vec![("method".into(), method.into()), ("class".into(), "3".into())],
        members: vec![member("", method)],
    };
    Action {
        stage: "unlearn/pru".into(),
        version: 2,
        toolchain: BTreeMap::from([("libtorch".into(), "2.11".into())]),
        params: Value::map([
            ("lr", Value::Float(0.001)),
            ("epochs", Value::Int(10)),
            ("seed", Value::UInt(u64::MAX)),
            ("variant", Value::text("as-described")),
            ("nesterov", Value::Bool(false)),
            ("schedule", Value::List(vec![Value::Int(5), Value::Null])),
        ]),
        sources: BTreeMap::from([("images".into(), Digest::of(b"images"))]),
        inputs: BTreeMap::from([
            ("model".into(), ActionInput::One(vec![member("", "weights")])),
            ("forget".into(), ActionInput::One(vec![member("class-3.safetensors", "three")])),
            ("tables".into(), ActionInput::Gather(vec![cell("pru"), cell("retrain")])),
        ]),
    }
}

fn result() -> ActionResult {
    let mut result = ActionResult::new(action(), "pru[class=3]", "0123456789abcdef".parse().unwrap()).unwrap();
    let file = |name: &str, content: &[u8]| OutputFile {
        name: name.into(),
        digest: Digest::of(content),
        bytes: content.len() as u64,
    };
    let parts = Output { folder: true, files: vec![file("a", b"A"), file("b/c", b"C")] };
    result.outputs.insert("parts".into(), parts);
    result.outputs.insert("metrics".into(), Output { folder: false, files: vec![file("", b"{}")] });
    result.inline.insert(Digest::of(b"{}"), b"{}".to_vec());
    result.measurements.insert("train_seconds".into(), 1.5);
    result.provenance.insert("execution".into(), "cpu".into());
    result
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[test]
fn the_canonical_encoding_has_these_bytes() {
    let cases = [
        (Value::Null, "00"),
        (Value::Bool(false), "01"),
        (Value::Bool(true), "02"),
        (Value::Int(-2), "03feffffffffffffff"),
        (Value::UInt(u64::MAX), "04ffffffffffffffff"),
        (Value::Float(1.5), "05000000000000f83f"),
        (Value::text("é"), "060200000000000000c3a9"),
        (Value::Bytes(vec![1, 2]), "0702000000000000000102"),
        (Value::List(vec![Value::Null, Value::Bool(true)]), "0802000000000000000002"),
        (
            Value::map([("b", Value::Null), ("a", Value::Bool(true))]),
            concat!("090200000000000000", "010000000000000061", "02", "010000000000000062", "00"),
        ),
    ];
    for (value, expected) in cases {
        assert_eq!(hex(&canon::encode(&value).unwrap()), expected, "{value:?}");
    }
}

#[test]
fn the_key_of_a_fixed_action_is_this_one() {
    let preimage = action().preimage().unwrap();
    assert_eq!((preimage.len(), Digest::of(&preimage).to_string()), (PREIMAGE_BYTES, PREIMAGE.to_owned()));
    assert_eq!(action().key().unwrap().to_string(), KEY);
}

#[test]
fn a_fixed_record_has_these_bytes() {
    let expected = include_bytes!("fixtures/record-format-1.bin");
    let bytes = result().encode().unwrap();
    assert_eq!(hex(&bytes), hex(expected));
    assert_eq!(ActionResult::decode(expected).unwrap(), result());
}

#[test]
fn a_record_of_another_format_is_refused_by_its_number() {
    let mut bytes = result().encode().unwrap();
    for format in [0u32, 2, u32::MAX] {
        bytes[MAGIC.len()..MAGIC.len() + 4].copy_from_slice(&format.to_le_bytes());
        assert_eq!(ActionResult::decode(&bytes), Err(RecordError::UnknownFormat(format)));
    }
}

#[test]
fn the_digest_of_a_fixed_folder_of_sources_is_this_one() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("x")).unwrap();
    std::fs::write(folder.path().join("x/b"), "2").unwrap();
    std::fs::write(folder.path().join("a"), "1").unwrap();
    let digest = StatCache::load(folder.path()).digest_tree(folder.path()).unwrap();
    assert_eq!(digest.to_string(), TREE);
}

#[test]
fn the_layout_of_a_store_is_this_one() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let store = LocalStore::open(&root).unwrap();
    std::fs::write(folder.path().join("a"), vec![7; 5000]).unwrap();
    let (digest, bytes) = store.put_blob(&folder.path().join("a")).unwrap();
    let mut result = ActionResult::new(action(), "n", store.writer().clone()).unwrap();
    let files = vec![OutputFile { name: String::new(), digest, bytes }];
    result.outputs.insert("model".into(), Output { folder: false, files });
    store.put_result(&result, Put::IfAbsent).unwrap();
    let (writer, key) = (store.writer().to_string(), result.key.to_string());
    drop(store);
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.path().strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
                found.push(name + "/");
            } else {
                found.push(name);
            }
        }
    }
    found.sort();
    let digest = digest.to_string();
    let mut expected = vec![
        ".gitignore".to_owned(),
        "VERSION".to_owned(),
        "blobs/".to_owned(),
        format!("blobs/{}/", &digest[..2]),
        format!("blobs/{}/{digest}", &digest[..2]),
        "evidence/".to_owned(),
        "index/".to_owned(),
        "index/blobs".to_owned(),
        "quarantine/".to_owned(),
        "records/".to_owned(),
        format!("records/{}/", &key[..2]),
        format!("records/{}/{key}/", &key[..2]),
        format!("records/{}/{key}/{writer}", &key[..2]),
        "tmp/".to_owned(),
        "writer".to_owned(),
    ];
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(std::fs::read_to_string(root.join("VERSION")).unwrap(), "1\n");
    assert_eq!(std::fs::read_to_string(root.join(".gitignore")).unwrap(), "*\n");
}

#[test]
fn a_store_of_a_newer_format_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let root: PathBuf = folder.path().join("store");
    drop(LocalStore::open(&root).unwrap());
    std::fs::write(root.join("VERSION"), "2\n").unwrap();
    std::fs::create_dir(root.join("tmp/1-1-0-0")).unwrap();
    let error = LocalStore::open(&root).unwrap_err();
    assert!(matches!(error, StoreError::NewerFormat { found: 2, known: 1, .. }), "{error}");
    assert!(root.join("tmp/1-1-0-0").exists());
    std::fs::write(root.join("VERSION"), "one").unwrap();
    assert!(matches!(LocalStore::open(&root).unwrap_err(), StoreError::NotAStore { .. }));
}

const PREIMAGE_BYTES: usize = 1047;
const PREIMAGE: &str = "385621b804e1a75a3aacfa6caaefb9fd429dc98f674282a9b0ac43a07f6423e6";
const KEY: &str = "b68b54aaa7cb4e510814aed154644392ce821583170120d931f3431f70af2ec3";
const TREE: &str = "702a9219e101b7dc2b0a3133a45972c3252ed5b1e4396d1eabc14851b58b703c";
