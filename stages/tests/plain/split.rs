//! `data/split` against the indices of numpy and of the published notebook.

use pru_flow_stages::dataset::Dataset;
use safetensors::SafeTensors;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::attempt::{Done, Setup, numbered, u8_pixels};

fn split(data: &Dataset, params: serde_json::Value) -> Result<Done, String> {
    Setup::new("data/split", params).input("data", &[], &data.to_bytes().unwrap()).run()
}

fn indices(done: &Done, part: &str) -> Vec<i64> {
    let bytes = done.bytes("indices");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.tensor(part).unwrap().data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect()
}

/// Samples, seed, first five training rows, and SHA-256 (first 16 digits) of the training, validation and request rows
/// as little-endian i64, computed with numpy: `np.random.seed(seed); s = np.arange(n); np.random.shuffle(s)`.
type Golden = (usize, u32, [i64; 5], [&'static str; 3]);

const GOLDEN: [Golden; 10] = [
    (60_000, 7, [25_170, 10_935, 43_596, 13_970, 24_883], ["a070f18421c9984e", "1e8ee1476eb06e5e", "3b88f61ae410093d"]),
    (60_000, 8, [32_997, 56_059, 13_395, 50_681, 27_244], ["cf56c322fa7f8e95", "a6e5b8166c306b89", "e479d7f709be277a"]),
    (60_000, 9, [13_131, 14_170, 37_932, 50_105, 40_269], ["f3968266d32e1268", "3e5497ebed517f88", "e226ffa2c7d9e5ad"]),
    (60_000, 10, [4_883, 28_477, 8_527, 38_347, 3_363], ["07c9e7372c9d5dd1", "0efb582515311fe6", "086eddd9e80c1915"]),
    (
        60_000,
        11,
        [17_110, 52_027, 54_904, 11_983, 58_999],
        ["a1b1a6929b74c14a", "a309055c6a367cec", "c9e5332ea5996020"],
    ),
    (50_000, 7, [29_430, 27_750, 47_782, 10_498, 24_747], ["80dfa734d0b66598", "e36307c58d75fc2e", "d48d3ecf82e13bec"]),
    (50_000, 8, [40_552, 6_106, 27_831, 28_253, 37_221], ["8cc158fdb9e8eedc", "6de5f37e6c4375dd", "f9ff580cc751d788"]),
    (50_000, 9, [9_112, 1_597, 21_092, 8_391, 38_471], ["afd47771c5a8eb23", "6196c9b0282f1017", "f6bfc633f865fc11"]),
    (50_000, 10, [27_632, 36_119, 4_796, 3_648, 24_501], ["5ab28277ab6152fa", "ef94469bf8b789b3", "fa51a5d29d96c4f9"]),
    (
        50_000,
        11,
        [43_072, 16_416, 15_864, 11_903, 27_298],
        ["635f0da764c6232b", "4f0c35f7a464dab5", "0c71fd53377c3fa2"],
    ),
];

#[test]
fn all_published_splits_are_reproduced_to_the_index() {
    for (n, seed, first, hashes) in GOLDEN {
        let data = numbered((0..n as i64).map(|i| i % 10).collect());
        let done = split(&data, json!({"seed": seed})).unwrap();
        assert_eq!(indices(&done, "train")[..5], first, "{n} samples, seed {seed}");
        for (part, expected) in ["train", "validation", "request"].into_iter().zip(hashes) {
            let bytes: Vec<u8> = indices(&done, part).iter().flat_map(|i| i.to_le_bytes()).collect();
            let found = u64::from_be_bytes(Sha256::digest(bytes)[..8].try_into().unwrap());
            assert_eq!(format!("{found:016x}"), expected, "{part} of {n} samples, seed {seed}");
        }
    }
}

#[test]
fn sizes_that_do_not_divide_are_cut_as_python_cuts_them() {
    // int(int(n * (1 - 0.2)) * (1 - 0.2)), the rest, and what is left: computed with Python.
    for (n, expected) in [(10_001, [6_400, 1_600, 2_001]), (7, [4, 1, 2]), (13, [8, 2, 3]), (1, [0, 0, 1])] {
        let done = split(&numbered(vec![0; n]), json!({"seed": 7})).unwrap();
        assert_eq!(["train", "validation", "request"].map(|part| indices(&done, part).len()), expected, "{n} samples");
    }
    // 1 - 0.9 is 0.09999999999999998 in doubles, so that 10 samples leave none: as in Python.
    let done = split(&numbered(vec![0; 10]), json!({"seed": 7, "request_fraction": 0.9})).unwrap();
    assert_eq!(["train", "validation", "request"].map(|part| indices(&done, part).len()), [0, 0, 10]);
}

#[test]
fn files_of_classes_merge_into_the_order_of_the_split() {
    let data = numbered((0..1000).map(|i| i * 7 % 5).collect());
    let done = split(&data, json!({"seed": 9})).unwrap();
    for part in ["train", "validation", "request"] {
        let rows = indices(&done, part);
        let mut merged: Vec<(i64, u8, u8, i64)> = Vec::new();
        for class in 0..5 {
            let member = done.dataset(&format!("{part}/class-{class}.safetensors"));
            assert!(member.labels.iter().all(|&label| label == class));
            let pixels = u8_pixels(&member).chunks_exact(2);
            merged.extend(member.positions.iter().zip(pixels).map(|(&place, p)| (place, p[0], p[1], class)));
        }
        merged.sort_unstable();
        let expected: Vec<(i64, u8, u8, i64)> = rows
            .iter()
            .zip(0..)
            .map(|(&row, place)| (place, (row % 256) as u8, (row / 256) as u8, row * 7 % 5))
            .collect();
        assert_eq!(merged, expected, "{part}");
    }
}

#[test]
fn a_class_without_samples_has_an_empty_file() {
    let done = split(&numbered(vec![0, 3, 0, 3, 0, 0, 0, 0, 0, 0]), json!({"seed": 7})).unwrap();
    for part in ["train", "validation", "request"] {
        let files = std::fs::read_dir(done.path(part)).unwrap().count();
        assert_eq!(files, 4, "{part}");
        assert_eq!(done.dataset(&format!("{part}/class-2.safetensors")).shape, [0, 1, 1, 2]);
    }
}

#[test]
fn impossible_fractions_labels_and_params_are_refused() {
    let data = numbered(vec![0, 1]);
    let error = |params| split(&data, params).err().unwrap();
    assert!(error(json!({"seed": 7, "request_fraction": 1.0})).starts_with("request_fraction: 1 is not"));
    assert!(error(json!({"seed": 7, "validation_fraction": -0.1})).starts_with("validation_fraction"));
    assert!(error(json!({"seed": -1})).starts_with("seed"));
    assert!(error(json!({"seed": 4_294_967_296_u64})).starts_with("seed"));
    assert!(error(json!({"seed": 7, "fraction": 0.1})).contains("unknown field `fraction`"));
    assert!(split(&numbered(vec![]), json!({"seed": 7})).err().unwrap().contains("no sample"));
    assert!(split(&numbered(vec![1 << 40]), json!({"seed": 7})).err().unwrap().contains("label 1099511627776"));
}
