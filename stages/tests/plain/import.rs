//! `data/import`: what it takes, and what it refuses with how to convert.

use pru_flow_stages::dataset::{Dataset, Pixels};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

use crate::attempt::{Setup, numbered, put};

fn file(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.safetensors");
    put(&path, bytes);
    (folder, path)
}

fn error_for(bytes: &[u8]) -> String {
    let (_folder, path) = file(bytes);
    Setup::new("data/import", json!({"path": path, "test_fraction": 0.5})).run().err().expect("a refusal")
}

fn floats(values: Vec<f32>, labels: Vec<i64>) -> Dataset {
    let n = labels.len();
    Dataset { shape: [n, 1, 1, 2], pixels: Pixels::F32(values), labels, positions: vec![7; n] }
}

#[test]
fn floats_and_labels_come_through_and_foreign_positions_do_not() {
    let data = floats(vec![0.0, 0.25, 0.5, 1.0], vec![0, 2]);
    let (_folder, path) = file(&data.to_bytes().unwrap());
    let done = Setup::new("data/import", json!({"path": path, "test_path": path})).run().unwrap();
    assert_eq!(done.dataset("train"), Dataset { positions: vec![0, 1], ..data });
    assert_eq!(done.bytes("train"), done.bytes("test"));
}

#[test]
fn a_drawn_test_set_is_disjoint_complete_and_decided_by_the_seed() {
    let data = numbered((0..100).map(|i| i % 4).collect());
    let (_folder, path) = file(&data.to_bytes().unwrap());
    let draw = |seed: u64| {
        let done = Setup::new("data/import", json!({"path": path, "test_fraction": 0.25, "seed": seed})).run().unwrap();
        [done.dataset("train"), done.dataset("test")]
    };
    let [train, test] = draw(1);
    assert_eq!((train.len(), test.len()), (75, 25));
    let mut all: Vec<u8> = [&train, &test]
        .into_iter()
        .flat_map(|part| crate::attempt::u8_pixels(part).chunks_exact(2).map(|pixels| pixels[0]))
        .collect();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..100));
    assert_eq!(draw(1), [train, test.clone()]);
    assert_ne!(draw(2)[1], test);
}

#[test]
fn pickles_and_numpy_files_are_refused_with_how_to_convert() {
    for pickle in [&b"PK\x03\x04zip of pickles"[..], &b"\x80\x02}q\x00."[..], &b"\x80\x05\x95"[..]] {
        let error = error_for(pickle);
        assert!(error.contains("reading one can run code") && error.contains("save_file("), "{error}");
    }
    assert!(error_for(b"\x93NUMPY\x01\x00").contains("np.load('images.npy')"));
    assert!(error_for(b"\x89HDF\r\n").contains("HDF5"));
    assert!(error_for(b"").contains("not a readable safetensors file"));
}

#[test]
fn values_that_are_no_numbers_are_refused_by_sample() {
    let error = error_for(&floats(vec![0.0, 0.5, f32::NAN, 1.0], vec![0, 1]).to_bytes().unwrap());
    assert!(error.ends_with("`images` holds NaN in sample 1"), "{error}");
    let error = error_for(&floats(vec![0.0, f32::INFINITY, 0.5, 1.0], vec![0, 1]).to_bytes().unwrap());
    assert!(error.ends_with("`images` holds inf in sample 0"), "{error}");
}

#[test]
fn wrong_tensors_are_refused_with_what_was_expected() {
    let tensors = |tensors: Vec<(&str, Dtype, Vec<usize>, Vec<u8>)>| {
        let views: Vec<_> = tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| (*name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()))
            .collect();
        error_for(&safetensors::serialize(views, None).unwrap())
    };
    let labels = || ("labels", Dtype::I64, vec![1], vec![0; 8]);
    assert!(tensors(vec![labels()]).contains("no tensor `images`"));
    let flat = tensors(vec![labels(), ("images", Dtype::U8, vec![1, 4], vec![0; 4])]);
    assert!(flat.contains("[1, 4]; [N, C, H, W] was expected"), "{flat}");
    let wide = tensors(vec![labels(), ("images", Dtype::F64, vec![1, 1, 1, 1], vec![0; 8])]);
    assert!(wide.contains("F64; u8 or f32 was expected"), "{wide}");
    let narrow =
        tensors(vec![("labels", Dtype::I32, vec![1], vec![0; 4]), ("images", Dtype::U8, vec![1, 1, 1, 1], vec![0])]);
    assert!(narrow.contains("i64 [1] was expected"), "{narrow}");
    let empty = tensors(vec![("labels", Dtype::I64, vec![0], vec![]), ("images", Dtype::U8, vec![0, 1, 1, 1], vec![])]);
    assert!(empty.contains("no size may be 0"), "{empty}");
    let negative = numbered(vec![0, -1]);
    assert!(error_for(&negative.to_bytes().unwrap()).contains("label -1 of sample 1 is negative"));
}

#[test]
fn a_test_set_must_fit_its_training_set() {
    let (_train_folder, train) = file(&numbered(vec![0, 1]).to_bytes().unwrap());
    let error = |test: &Dataset| {
        let (_folder, path) = file(&test.to_bytes().unwrap());
        Setup::new("data/import", json!({"path": train, "test_path": path})).run().err().unwrap()
    };
    assert!(error(&numbered(vec![0, 2])).contains("label 2 of sample 1 is above every label"));
    let mut taller = numbered(vec![0, 1]);
    taller.shape = [2, 1, 2, 1];
    assert!(error(&taller).contains("images are [1, 2, 1]; the training set's are [1, 1, 2]"));
}

#[test]
fn exactly_one_way_to_a_test_set_must_be_given() {
    let error = |params| crate::attempt::error_of("data/import", params);
    assert!(error(json!({"path": "x"})).contains("give either `test_path` or `test_fraction`"));
    assert!(error(json!({"path": "x", "test_path": "y", "test_fraction": 0.5})).contains("not both"));
    assert!(error(json!({"path": "x", "test_fraction": 1.0})).contains("not above 0 and below 1"));
}
