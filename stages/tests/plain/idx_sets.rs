//! What `data/mnist`, `data/fashion_mnist` and `data/kuzushiji_mnist` share: facts, the input `files`, npz.

use std::io::{Cursor, Write};
use std::path::Path;

use serde_json::{Value, json};
use zip::write::SimpleFileOptions;

use crate::attempt::{Done, Setup, error_of, put, u8_pixels};

const STAGES: [&str; 3] = ["data/mnist", "data/fashion_mnist", "data/kuzushiji_mnist"];
const IDX: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];
const NPZ: [&str; 4] =
    ["kmnist-train-imgs.npz", "kmnist-train-labels.npz", "kmnist-test-imgs.npz", "kmnist-test-labels.npz"];

/// Sizes and values of the four arrays: three training images, two test images.
fn arrays() -> [(Vec<u32>, Vec<u8>); 4] {
    let images = |count: u32| (vec![count, 28, 28], (0..count * 784).map(|i| (i % 251) as u8).collect());
    [images(3), (vec![3], vec![5, 0, 9]), images(2), (vec![2], vec![1, 2])]
}

fn idx((sizes, values): &(Vec<u32>, Vec<u8>)) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, sizes.len() as u8];
    bytes.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
    bytes.extend(values);
    bytes
}

fn npy((sizes, values): &(Vec<u32>, Vec<u8>)) -> Vec<u8> {
    let shape: Vec<String> = sizes.iter().map(u32::to_string).collect();
    let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({},), }}\n", shape.join(", "));
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), values].concat()
}

fn npz(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        writer.start_file(*name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn folder_of(names: [&str; 4], write: impl Fn(&(Vec<u32>, Vec<u8>)) -> Vec<u8>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, array) in names.iter().zip(arrays()) {
        put(&folder.path().join(name), &write(&array));
    }
    folder
}

fn run(stage: &'static str, root: &Path) -> Result<Done, String> {
    Setup::new(stage, json!({ "root": root })).run()
}

fn kuzushiji_npz() -> tempfile::TempDir {
    folder_of(NPZ, |array| npz(&[("arr_0.npy", npy(array))]))
}

#[test]
fn facts_count_and_name_the_files_and_call_none_official() {
    for stage in STAGES {
        let facts = run(stage, folder_of(IDX, idx).path()).unwrap().facts();
        let files = facts["files"].as_array().unwrap();
        let names: Vec<&str> = files.iter().map(|file| file["name"].as_str().unwrap()).collect();
        assert_eq!(names, IDX);
        assert!(files.iter().all(|file| file["official"] == false));
        // The MD5 of 00 00 08 01, 00 00 00 03, 05 00 09.
        assert_eq!(files[1]["digest"], "md5:99d6102236f75120e756463f5a98b181");
        let mut rest = facts.clone();
        rest.as_object_mut().unwrap().remove("files");
        let dataset = stage.strip_prefix("data/").unwrap();
        assert_eq!(rest, json!({"dataset": dataset, "official": false, "train": 3, "test": 2, "classes": 10}));
    }
}

#[test]
fn the_output_is_the_same_in_whatever_form_the_files_come() {
    let expected = run("data/kuzushiji_mnist", folder_of(IDX, idx).path()).unwrap();
    let gzip = |array: &(Vec<u32>, Vec<u8>)| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&idx(array)).unwrap();
        encoder.finish().unwrap()
    };
    let zipped = IDX.map(|name| format!("{name}.gz"));
    let zipped = folder_of(zipped.each_ref().map(String::as_str), gzip);
    for folder in [zipped, kuzushiji_npz()] {
        let done = run("data/kuzushiji_mnist", folder.path()).unwrap();
        for output in ["train", "test", "facts"] {
            assert_eq!(done.bytes(output), expected.bytes(output), "{output}");
        }
    }
    let train = expected.dataset("train");
    assert_eq!((train.shape, &train.labels[..]), ([3, 1, 28, 28], &[5, 0, 9][..]));
    assert_eq!(u8_pixels(&train), arrays()[0].1);
}

#[test]
fn npz_is_for_the_data_set_that_is_published_so() {
    for stage in ["data/mnist", "data/fashion_mnist"] {
        let error = run(stage, kuzushiji_npz().path()).err().unwrap();
        assert!(error.starts_with("put train-images-idx3-ubyte.gz ("), "{error}");
    }
    let error = error_of("data/kuzushiji_mnist", json!({"root": "nowhere"}));
    assert!(error.contains("or kmnist-train-imgs.npz will do) of Kuzushiji-MNIST into nowhere"), "{error}");
}

#[test]
fn damaged_npz_files_are_refused_by_name() {
    let error = |bytes: &[u8]| {
        let folder = kuzushiji_npz();
        put(&folder.path().join(NPZ[0]), bytes);
        let error = run("data/kuzushiji_mnist", folder.path()).err().expect("the damage was to be seen");
        assert!(error.contains(NPZ[0]) && error.contains("`data/download` fetches it"), "{error}");
        error
    };
    let images = npy(&arrays()[0]);
    let whole = npz(&[("arr_0.npy", images.clone())]);
    for length in (2..whole.len()).step_by(7) {
        let error = error(&whole[..length]);
        assert!(error.contains("not a readable npz, or cut off"), "{length}: {error}");
    }
    let mut flipped = whole.clone();
    flipped[200] ^= 0x10;
    assert!(error(&flipped).contains("damaged or cut off"));
    let two = npz(&[("arr_0.npy", images.clone()), ("arr_1.npy", images.clone())]);
    assert!(error(&two).contains("the npz holds 2 files (arr_0.npy, arr_1.npy); one array of images was expected"));
    assert!(error(&npz(&[("arr_0.npy", images[..500].to_vec())])).contains("3 x 28 x 28 = 2352 bytes of images, "));
    assert!(error(&npz(&[("a.txt", b"no array at all".to_vec())])).contains("holds no numpy array"));
    assert!(error(&npz(&[("arr_0.npy", npy(&arrays()[1]))])).contains("3 dimension(s) of images were expected"));
}

#[test]
fn the_input_takes_the_place_of_the_folder() {
    let files: Vec<(String, Vec<u8>)> =
        IDX.iter().zip(arrays()).map(|(name, array)| ((*name).to_owned(), idx(&array))).collect();
    let given: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    for stage in STAGES {
        let expected = run(stage, folder_of(IDX, idx).path()).unwrap();
        let done = Setup::new(stage, json!({})).folder_input("files", &given).run().unwrap();
        for output in ["train", "test", "facts"] {
            assert_eq!(done.bytes(output), expected.bytes(output), "{stage} {output}");
        }
        let error = Setup::new(stage, json!({})).folder_input("files", &given[..1]).run().err().unwrap();
        assert!(
            error.starts_with("files: it holds train-images-idx3-ubyte, and not train-labels-idx1-ubyte.gz or "),
            "{error}"
        );
        let mut cut = given.clone();
        cut[3].1 = &cut[3].1[..9];
        let error = Setup::new(stage, json!({})).folder_input("files", &cut).run().err().unwrap();
        assert!(error.starts_with("files/t10k-labels-idx1-ubyte: truncated"), "{error}");
    }
}

#[test]
fn exactly_one_of_root_and_input_is_taken() {
    for stage in STAGES {
        let error = error_of(stage, json!({}));
        assert!(error.starts_with("root: needs a value, or connect the input `files`"), "{error}");
        let both = Setup::new(stage, json!({"root": "x"})).folder_input("files", &[("a", b"x")]).run();
        assert_eq!(both.err().unwrap(), "root: give it or the input `files`, not both");
    }
}

#[test]
fn official_files_can_be_required() {
    for (stage, title, md5) in [
        ("data/mnist", "MNIST", "27ae3e4e09519cfbb04c329615203637 was expected (read in"),
        ("data/fashion_mnist", "Fashion-MNIST", "15d484375f8d13e6eb1aabb0c3f46965 was expected (read in"),
        ("data/kuzushiji_mnist", "Kuzushiji-MNIST", "7320c461ea6c1c855c0b718fb2a4b134 was expected (read in"),
    ] {
        let folder = folder_of(IDX, idx);
        let error = Setup::new(stage, json!({"root": folder.path(), "require_official": true})).run().err().unwrap();
        let begin = format!("require_official: these files are not the official ones of {title}:\n  train-images");
        assert!(error.starts_with(&begin), "{error}");
        assert!(error.contains(md5), "{error}");
        let listed = "\nput these in their place:\n  train-images-idx3-ubyte.gz  ";
        assert!(error.contains(listed) && error.contains("leave `require_official` out"), "{error}");
    }
}

#[test]
fn data_sets_that_nobody_publishes_say_so() {
    let facts = Setup::new("data/glyphs", json!({"train": 30, "test": 20})).run().unwrap().facts();
    let expected = |dataset: &str, train: usize, test: usize, classes: usize| -> Value {
        json!({"dataset": dataset, "official": false, "train": train, "test": test, "classes": classes, "files": []})
    };
    assert_eq!(facts, expected("glyphs", 30, 20, 10));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.safetensors");
    put(&path, &crate::attempt::numbered(vec![0, 1, 2, 0]).to_bytes().unwrap());
    let facts = Setup::new("data/import", json!({"path": path, "test_path": path})).run().unwrap().facts();
    assert_eq!(facts, expected("import", 4, 4, 3));
}
