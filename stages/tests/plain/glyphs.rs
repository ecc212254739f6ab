//! `data/glyphs`: its exact bytes, and what makes a good data set of them.

use pru_flow_cache::Digest;
use pru_flow_stages::dataset::Dataset;
use serde_json::{Value, json};

use crate::attempt::{Setup, error_of, u8_pixels};

fn draw(params: Value, threads: u32) -> [Dataset; 2] {
    let done = Setup::new("data/glyphs", params).threads(threads).run().unwrap();
    [done.dataset("train"), done.dataset("test")]
}

#[test]
fn the_bytes_are_those_of_every_machine_and_number_of_threads() {
    for threads in [1, 4] {
        let done = Setup::new("data/glyphs", json!({"seed": 7, "train": 200, "test": 50})).threads(threads).run();
        let done = done.unwrap();
        let digests = ["train", "test"].map(|part| Digest::of(&done.bytes(part)).to_string());
        assert_eq!(digests.each_ref().map(|digest| &digest[..16]), ["7e3edddde95b2b53", "a4dc35da26584e75"]);
    }
}

#[test]
fn classes_are_balanced_and_a_small_set_begins_a_large_one() {
    let [small, _] = draw(json!({"train": 37, "test": 5}), 2);
    let [large, test] = draw(json!({"train": 60, "test": 5}), 2);
    assert_eq!((large.shape, test.len()), ([60, 1, 28, 28], 5));
    for class in 0..10 {
        assert_eq!(large.labels.iter().filter(|&&label| label == class).count(), 6, "class {class}");
    }
    assert_eq!(small.labels, large.labels[..37]);
    assert_eq!(u8_pixels(&small), &u8_pixels(&large)[..37 * 28 * 28]);
    assert_ne!(u8_pixels(&test), &u8_pixels(&large)[..5 * 28 * 28]);
}

#[test]
fn another_seed_draws_other_images() {
    let [one, _] = draw(json!({"seed": 1, "train": 20, "test": 1}), 1);
    let [two, _] = draw(json!({"seed": 2, "train": 20, "test": 1}), 1);
    assert_ne!(one, two);
}

/// The part of `tested` whose nearest neighbour in `known` has its label.
fn nearest_neighbour_accuracy(known: &Dataset, tested: &Dataset) -> f64 {
    let images = |data: &Dataset| -> Vec<Vec<u8>> { u8_pixels(data).chunks_exact(784).map(<[u8]>::to_vec).collect() };
    let known_images = images(known);
    let distance = |a: &[u8], b: &[u8]| -> u64 { a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum() };
    let right = images(tested)
        .iter()
        .zip(&tested.labels)
        .filter(|(image, label)| {
            let nearest = (0..known.len()).min_by_key(|&k| distance(image, &known_images[k])).unwrap();
            known.labels[nearest] == **label
        })
        .count();
    right as f64 / tested.len() as f64
}

#[test]
fn the_classes_can_be_told_apart_but_not_by_pixels_alone() {
    let [train, test] = draw(json!({"seed": 3, "train": 1000, "test": 300}), 2);
    let accuracy = nearest_neighbour_accuracy(&train, &test);
    assert!((0.5..0.97).contains(&accuracy), "{accuracy}");
    let [train, test] = draw(
        json!({"seed": 3, "train": 200, "test": 100, "rotation_degrees": 0, "scale": [0.9, 0.9], "slant": 0,
               "shift": 0, "wobble": 0, "noise": 0}),
        2,
    );
    assert!((nearest_neighbour_accuracy(&train, &test) - 1.0).abs() < 1e-9);
}

#[test]
fn a_stop_request_ends_the_drawing() {
    let error = Setup::new("data/glyphs", json!({})).cancelled().run().err().unwrap();
    assert_eq!(error, "stopped on request");
}

#[test]
fn params_out_of_range_are_refused() {
    let error = |params| error_of("data/glyphs", params);
    assert!(error(json!({"train": 0})).starts_with("train: 0 is not between"));
    assert!(error(json!({"test": 1_000_001})).starts_with("test"));
    assert!(error(json!({"noise": -0.1})).starts_with("noise"));
    assert!(error(json!({"rotation_degrees": 181})).starts_with("rotation_degrees"));
    assert!(error(json!({"scale": [1.0, 0.5]})).starts_with("scale: [1, 0.5] is no range"));
    assert!(error(json!({"stroke": [0.0, 2.0]})).starts_with("stroke"));
    assert!(error(json!({"colour": true})).contains("unknown field `colour`"));
}
