//! `data/mnist` on small IDX files, whole and damaged in every way.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::attempt::{Setup, put, u8_pixels};

fn idx(kind: u8, sizes: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, kind, sizes.len() as u8];
    bytes.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
    bytes.extend(values);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn images(count: u32) -> Vec<u8> {
    idx(8, &[count, 2, 3], &(0..count * 6).map(|i| i as u8).collect::<Vec<u8>>())
}

const TRAIN_IMAGES: &str = "train-images-idx3-ubyte";
const TRAIN_LABELS: &str = "train-labels-idx1-ubyte";

/// Four whole files: three training images and two test images of 2 x 3 pixels.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    put(&folder.path().join(TRAIN_IMAGES), &images(3));
    put(&folder.path().join(TRAIN_LABELS), &idx(8, &[3], &[5, 0, 9]));
    put(&folder.path().join("t10k-images-idx3-ubyte"), &images(2));
    put(&folder.path().join("t10k-labels-idx1-ubyte"), &idx(8, &[2], &[1, 2]));
    folder
}

fn params(root: &Path) -> Value {
    json!({"root": root, "size": [2, 3]})
}

/// The error after one file is replaced.
fn error_with(file: &str, bytes: &[u8]) -> String {
    let folder = folder();
    put(&folder.path().join(file), bytes);
    let error = Setup::new("data/mnist", params(folder.path())).run().err().expect("the damage was to be seen");
    assert!(error.contains(file), "the file is not named: {error}");
    error
}

#[test]
fn plain_gzipped_and_dotted_files_give_the_same_bytes() {
    let plain = folder();
    let expected = Setup::new("data/mnist", params(plain.path())).run().unwrap();
    let train = expected.dataset("train");
    assert_eq!((train.shape, &train.labels[..]), ([3, 1, 2, 3], &[5, 0, 9][..]));
    assert_eq!(u8_pixels(&train), (0..18).collect::<Vec<u8>>());
    assert_eq!(expected.dataset("test").labels, [1, 2]);

    let zipped = folder();
    for entry in std::fs::read_dir(plain.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        std::fs::remove_file(zipped.path().join(name)).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        if name == TRAIN_LABELS {
            put(&zipped.path().join("train-labels.idx1-ubyte"), &bytes);
        } else {
            put(&zipped.path().join(format!("{name}.gz")), &gzip(&bytes));
        }
    }
    let found = Setup::new("data/mnist", params(zipped.path())).run().unwrap();
    assert_eq!(found.bytes("train"), expected.bytes("train"));
    assert_eq!(found.bytes("test"), expected.bytes("test"));
}

#[test]
fn a_file_cut_off_at_any_byte_is_refused() {
    let whole = images(3);
    for length in 0..whole.len() {
        let error = error_with(TRAIN_IMAGES, &whole[..length]);
        assert!(error.contains("ends") || error.contains("truncated"), "{length}: {error}");
    }
    let error = error_with(TRAIN_IMAGES, &whole[..30]);
    let expected = "truncated: the header states 3 x 2 x 3 = 18 bytes of images, 14 follow (the official \
                    train-images-idx3-ubyte.gz has 9912422 bytes and the MD5 f68b3c2dcbeaaa9fbdd348bbdeb94873; \
                    `data/download` fetches it)";
    assert!(error.ends_with(expected), "{error}");
    let zipped = gzip(&whole);
    for length in 2..zipped.len() {
        let error = error_with(TRAIN_IMAGES, &zipped[..length]);
        assert!(error.contains("gzip") || error.contains("ends"), "{length}: {error}");
    }
}

#[test]
fn trailing_bytes_are_refused_inside_and_after_the_gzip_stream() {
    let mut longer = images(3);
    longer.push(0);
    assert!(error_with(TRAIN_IMAGES, &longer).contains("bytes follow after the 3 x 2 x 3 = 18 bytes"));
    assert!(error_with(TRAIN_IMAGES, &gzip(&longer)).contains("bytes follow after"));
    let mut zipped = gzip(&images(3));
    zipped.extend(b"junk");
    assert!(error_with(TRAIN_IMAGES, &zipped).contains("gzip"));
}

#[test]
fn a_wrong_magic_number_is_shown_beside_the_expected_one() {
    let labels = error_with(TRAIN_IMAGES, &idx(8, &[3], &[5, 0, 9]));
    assert!(labels.contains("00000801, which is that of labels; 00000803 was expected for images"), "{labels}");
    assert!(error_with(TRAIN_LABELS, &images(3)).contains("00000803, which is that of images"));
    assert!(error_with(TRAIN_IMAGES, &idx(0x0d, &[3, 2, 3], &[0; 72])).contains("other values than unsigned bytes"));
    assert!(error_with(TRAIN_IMAGES, b"<!DOCTYPE html>").contains("not that of an IDX file"));
}

#[test]
fn counts_labels_and_sizes_that_do_not_fit_are_refused() {
    assert!(error_with(TRAIN_LABELS, &idx(8, &[2], &[5, 0])).contains("2 labels for the 3 images of"));
    let error = error_with(TRAIN_LABELS, &idx(8, &[3], &[5, 10, 9]));
    assert!(error.contains("label 10 of sample 1 is out of range; 0 to 9 was expected; `classes`"), "{error}");
    let error = error_with(TRAIN_IMAGES, &idx(8, &[3, 3, 2], &[0; 18]));
    assert!(error.contains("the images are 3 x 2 pixels; 2 x 3 was expected; `classes` and `size` admit"), "{error}");
    assert!(error_with(TRAIN_IMAGES, &idx(8, &[0, 2, 3], &[])).contains("no image"));
}

#[test]
fn a_header_that_lies_costs_no_memory() {
    let error = error_with(TRAIN_IMAGES, &idx(8, &[u32::MAX, u32::MAX, u32::MAX], &[0; 9]));
    assert!(error.contains("which no file holds"), "{error}");
    let error = error_with(TRAIN_IMAGES, &idx(8, &[u32::MAX, 28, 28], &[0; 9]));
    assert!(error.contains("truncated"), "{error}");
}

#[test]
fn a_missing_file_comes_with_a_hint() {
    let folder = folder();
    std::fs::remove_file(folder.path().join(TRAIN_LABELS)).unwrap();
    let error = Setup::new("data/mnist", params(folder.path())).run().err().unwrap();
    let expected = "put train-labels-idx1-ubyte.gz (28881 bytes; train-labels-idx1-ubyte or train-labels.idx1-ubyte will \
                    do) of MNIST into ";
    assert!(error.starts_with(expected) && error.contains("or let `data/download` fetch it"), "{error}");
}

#[test]
fn params_out_of_range_are_refused() {
    let error = |params| crate::attempt::error_of("data/mnist", params);
    assert!(error(json!({"root": "x", "classes": 0})).starts_with("classes"));
    assert!(error(json!({"root": "x", "size": [0, 28]})).starts_with("size"));
    assert!(error(json!({})).starts_with("root: needs a value, or connect the input `files`"));
}
