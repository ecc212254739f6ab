//! `data/cifar10` and `data/cifar100` on small files in the binary form, whole and damaged.

use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use crate::attempt::{Done, Setup, error_of, put, u8_pixels};

const TEN: &str = "data/cifar10";
const HUNDRED: &str = "data/cifar100";
const TEN_FILES: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
];

/// An image: its label bytes, then planes of `3 * seed`, `3 * seed + 1` and `3 * seed + 2`.
fn record(labels: &[u8], seed: u8) -> Vec<u8> {
    let planes = (0..3).flat_map(|plane| [3 * seed + plane; 1024]);
    labels.iter().copied().chain(planes).collect()
}

/// Batch `i` holds two images with the labels `i` and `9 - i`; the test batch is number 5.
fn ten() -> Vec<(String, Vec<u8>)> {
    let batch = |i: u8| [record(&[i], 2 * i), record(&[9 - i], 2 * i + 1)].concat();
    TEN_FILES.iter().zip(0..).map(|(name, i)| ((*name).to_owned(), batch(i))).collect()
}

fn hundred() -> Vec<(String, Vec<u8>)> {
    let train = [record(&[19, 99], 0), record(&[0, 7], 1), record(&[4, 0], 2)].concat();
    vec![("train.bin".to_owned(), train), ("test.bin".to_owned(), record(&[3, 42], 9))]
}

fn tar_gz(folder: &str, files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, format!("{folder}/{name}"), bytes).unwrap();
    };
    add("readme.html", b"<html>");
    // Not in the order of their names, as in the official archive.
    for (name, bytes) in files.iter().rev() {
        add(name, bytes);
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&builder.into_inner().unwrap()).unwrap();
    encoder.finish().unwrap()
}

fn run(stage: &'static str, path: &Path) -> Result<Done, String> {
    Setup::new(stage, json!({ "path": path })).run()
}

fn folder_of(files: &[(String, Vec<u8>)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        put(&folder.path().join(name), bytes);
    }
    folder
}

fn archive_error(stage: &'static str, bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    put(&folder.path().join("a.tar.gz"), bytes);
    let error = run(stage, &folder.path().join("a.tar.gz")).err().expect("a refusal");
    assert!(error.contains("a.tar.gz"), "the file is not named: {error}");
    error
}

/// The error after one file of CIFAR-10 is replaced.
fn error_with(file: &str, bytes: &[u8]) -> String {
    let mut files = ten();
    files.iter_mut().find(|(name, _)| name == file).unwrap().1 = bytes.to_vec();
    let error = run(TEN, folder_of(&files).path()).err().expect("the damage was to be seen");
    assert!(error.contains(file), "the file is not named: {error}");
    error
}

#[test]
fn the_archive_and_its_folder_give_the_same_images_wherever_they_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in ten() {
        put(&folder.path().join("unpacked/cifar-10-batches-bin").join(name), &bytes);
    }
    let archive = tar_gz("cifar-10-batches-bin", &ten());
    put(&folder.path().join("packed/cifar-10-binary.tar.gz"), &archive);
    let expected = run(TEN, &folder.path().join("unpacked/cifar-10-batches-bin")).unwrap();
    let train = expected.dataset("train");
    assert_eq!((train.shape, &train.labels[..]), ([10, 3, 32, 32], &[0, 9, 1, 8, 2, 7, 3, 6, 4, 5][..]));
    let corners: Vec<u8> = u8_pixels(&train).chunks_exact(1024).map(|plane| plane[0]).collect();
    assert!(corners.iter().copied().eq(0..30), "{corners:?}");
    let test = expected.dataset("test");
    assert_eq!((test.shape, &test.labels[..], u8_pixels(&test)[0]), ([2, 3, 32, 32], &[5, 4][..], 30));
    for place in ["unpacked", "packed", "packed/cifar-10-binary.tar.gz"] {
        let done = run(TEN, &folder.path().join(place)).unwrap();
        assert!(["train", "test"].iter().all(|part| done.bytes(part) == expected.bytes(part)), "{place}");
    }
    let files: Vec<(String, Vec<u8>)> = ten();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    for given in [&[("cifar-10-binary.tar.gz", archive.as_slice())][..], &files] {
        let done = Setup::new(TEN, json!({})).folder_input("files", given).run().unwrap();
        assert!(done.bytes("train") == expected.bytes("train"));
    }
}

#[test]
fn of_cifar_100_the_fine_labels_are_taken() {
    let done = run(HUNDRED, folder_of(&hundred()).path()).unwrap();
    let train = done.dataset("train");
    assert_eq!((train.shape, &train.labels[..]), ([3, 3, 32, 32], &[99, 7, 0][..]));
    assert_eq!(done.dataset("test").labels, [42]);
    let facts = done.facts();
    assert_eq!((&facts["classes"], &facts["train"], &facts["test"]), (&json!(100), &json!(3), &json!(1)));
}

#[test]
fn facts_name_every_file_with_its_digest_and_call_none_official() {
    let folder = tempfile::tempdir().unwrap();
    put(&folder.path().join("a.tar.gz"), &tar_gz("cifar-10-batches-bin", &ten()));
    let packed = run(TEN, &folder.path().join("a.tar.gz")).unwrap().facts();
    let unpacked = run(TEN, folder_of(&ten()).path()).unwrap().facts();
    for field in ["dataset", "official", "train", "test", "classes"] {
        assert_eq!(packed[field], unpacked[field], "{field}");
    }
    assert_eq!((&packed["dataset"], &packed["official"]), (&json!("cifar10"), &json!(false)));
    assert_eq!((&packed["train"], &packed["test"], &packed["classes"]), (&json!(10), &json!(2), &json!(10)));
    let names = |facts: &Value| -> Vec<String> {
        facts["files"].as_array().unwrap().iter().map(|file| file["name"].as_str().unwrap().to_owned()).collect()
    };
    // A path, or the name that the file happens to have, is no fact.
    assert_eq!(names(&packed)[0], "cifar-10-binary.tar.gz");
    assert_eq!(names(&packed)[1..], TEN_FILES);
    assert_eq!(names(&unpacked), TEN_FILES);
    assert_eq!(packed["files"].as_array().unwrap()[1..], unpacked["files"].as_array().unwrap()[..]);
    assert!(unpacked["files"][0]["digest"].as_str().unwrap().starts_with("md5:"));
}

#[test]
fn official_files_can_be_required() {
    let folder = folder_of(&ten());
    let params = json!({"path": folder.path(), "require_official": true});
    let error = Setup::new(TEN, params).run().err().unwrap();
    let begin = "require_official: these files are not the official ones of CIFAR-10:\n  data_batch_1.bin is md5:";
    assert!(error.starts_with(begin), "{error}");
    assert!(error.contains("; md5:803d5f7f4d78ea53de84dbe85f74fb6d was expected (read in "), "{error}");
    assert!(error.contains("never yet checked on the real file"), "{error}");
    assert!(error.contains("  cifar-10-binary.tar.gz  170052171 bytes  md5 c32a1d4ab5d0"), "{error}");
}

#[test]
fn files_that_are_no_whole_number_of_images_are_refused() {
    let whole = record(&[1], 0);
    for length in [0, 1, 3072, 3074, 6145] {
        let bytes: Vec<u8> = whole.iter().copied().cycle().take(length).collect();
        let error = error_with("data_batch_3.bin", &bytes);
        assert!(error.contains(&format!("{length} bytes are not a whole number of images of 3073 bytes")), "{error}");
        assert!(error.contains("(the official cifar-10-binary.tar.gz has 170052171 bytes and the MD5"), "{error}");
    }
    let mut files = hundred();
    files[0].1.pop();
    let error = run(HUNDRED, folder_of(&files).path()).err().unwrap();
    assert!(error.contains("train.bin: 9221 bytes are not a whole number of images of 3074 bytes"), "{error}");
}

#[test]
fn labels_out_of_range_are_refused() {
    let error = error_with("test_batch.bin", &[record(&[9], 0), record(&[10], 0)].concat());
    assert!(error.contains("label 10 of image 1 is out of range; 0 to 9 was expected"), "{error}");
    for (labels, problem) in [([20, 0], "coarse label 20 of image 0"), ([0, 100], "fine label 100 of image 0")] {
        let mut files = hundred();
        files[1].1 = record(&labels, 0);
        let error = run(HUNDRED, folder_of(&files).path()).err().unwrap();
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn missing_files_are_named_with_what_to_do() {
    let mut files = ten();
    files.remove(2);
    let error = run(TEN, folder_of(&files).path()).err().unwrap();
    assert!(error.contains("there is no data_batch_3.bin in it (the official"), "{error}");
    assert!(archive_error(TEN, &tar_gz("x", &files)).contains("there is no data_batch_3.bin in it"));
    let error = Setup::new(TEN, json!({})).folder_input("files", &[("a.tar.gz", b"x")]).run().err().unwrap();
    let expected = "files: it holds a.tar.gz, and not cifar-10-binary.tar.gz: connect `files` of a `data/download` with \
                    `dataset: cifar10`";
    assert_eq!(error, expected);
    let error = error_of(TEN, json!({"path": "nowhere"}));
    assert!(error.starts_with("put cifar-10-binary.tar.gz (170052171 bytes), or the folder"), "{error}");
}

#[test]
fn damaged_archives_are_refused() {
    let whole = tar_gz("cifar-10-batches-bin", &ten());
    for length in [0, 1, 20, whole.len() / 2, whole.len() - 1] {
        let error = archive_error(TEN, &whole[..length]);
        assert!(error.contains("cut off") || error.contains("there is no"), "{length}: {error}");
        assert!(error.contains("`data/download` fetches it"), "{error}");
    }
    assert!(archive_error(TEN, b"<html>").contains("not a readable tar"));
    let twice = [ten(), ten()].concat();
    assert!(archive_error(TEN, &tar_gz("x", &twice)).contains("occurs twice"));
    // The files of the other data set.
    assert!(archive_error(HUNDRED, &whole).contains("there is no train.bin in it"));
}

#[test]
fn exactly_one_of_path_and_input_is_taken() {
    for stage in [TEN, HUNDRED] {
        let error = error_of(stage, json!({}));
        assert!(error.starts_with("path: needs a value, or connect the input `files`"), "{error}");
        let both = Setup::new(stage, json!({"path": "x"})).folder_input("files", &[("a", b"x")]).run();
        assert_eq!(both.err().unwrap(), "path: give it or the input `files`, not both");
    }
}
