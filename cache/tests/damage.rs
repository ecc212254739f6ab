//! Damage to blobs and records on the disk: always noticed, never served, healed by the next result.

mod conformance;
mod place;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use place::{Place, big, model, publish};
use pru_flow_cache::{ActionResult, How, Maintain, Put, Store, StoreError, Verdict};

fn flip(path: &Path, bit: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[bit / 8] ^= 1 << (bit % 8);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// A small seeded generator (an LCG is random enough to choose bits).
fn choose(state: &mut u64, end: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize % end
}

#[test]
fn any_flipped_bit_of_a_blob_is_noticed_and_the_blob_moved_aside() {
    let place = Place::new();
    let mut state = 1;
    for _ in 0..200 {
        let result = publish(&place.store, 1, 7, Put::Replace).result;
        let digest = model(&result);
        assert_eq!(place.store.verify(&digest).unwrap(), Verdict::Good);
        flip(&place.store.local_path(&digest).unwrap(), choose(&mut state, 80_000));
        assert_eq!(place.store.unusable(&result).unwrap(), [(digest, Verdict::Damaged)]);
        assert_eq!(place.store.verify(&digest).unwrap(), Verdict::Missing);
        assert!(matches!(place.store.materialise(&result, &digest), Err(StoreError::NoBlob(_))));
        assert!(matches!(place.store.open_blob(&digest, None), Err(StoreError::NoBlob(_))));
        let target = place.folder.path().join("target");
        assert!(matches!(place.store.restore(&result, &digest, &target, How::Copy), Err(StoreError::NoBlob(_))));
        assert!(!target.exists());
    }
    assert_eq!(std::fs::read_dir(place.root().join("quarantine")).unwrap().count(), 200);
}

#[test]
fn a_truncated_zeroed_or_swapped_blob_is_noticed() {
    let place = Place::new();
    let damage: [fn(&Path); 4] = [
        |path| std::fs::write(path, &big(7)[..5000]).unwrap(),
        |path| std::fs::write(path, "").unwrap(),
        |path| std::fs::write(path, big(0)).unwrap(),
        |path| std::fs::write(path, big(8)).unwrap(),
    ];
    for damage in damage {
        let result = publish(&place.store, 1, 7, Put::Replace).result;
        let path = place.store.local_path(&model(&result)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        damage(&path);
        // Also by a process that only knows the index on disk.
        place.store.save_index().unwrap();
        assert_eq!(place.reopened().verify(&model(&result)).unwrap(), Verdict::Damaged);
    }
}

#[test]
fn any_damage_to_a_record_is_a_miss_and_the_next_result_takes_its_place() {
    let place = Place::new();
    let other = publish(&place.store, 2, 9, Put::IfAbsent).result;
    let record = |result: &ActionResult| {
        let key = result.key.to_string();
        place.root().join("records").join(&key[..2]).join(&key).join(result.writer.as_str())
    };
    let result = publish(&place.store, 1, 7, Put::IfAbsent).result;
    let path = record(&result);
    let good = std::fs::read(&path).unwrap();
    let mut cases: Vec<Vec<u8>> = vec![
        Vec::new(),
        good[..good.len() / 2].to_vec(),
        vec![0; good.len()],
        // The record of another key, copied here.
        std::fs::read(record(&other)).unwrap(),
        // The record of a later format.
        [&good[..8], &2u32.to_le_bytes(), &good[12..]].concat(),
    ];
    let mut state = 2;
    for _ in 0..100 {
        let mut bytes = good.clone();
        let bit = choose(&mut state, good.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        cases.push(bytes);
    }
    for (index, bytes) in cases.iter().enumerate() {
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let store = place.reopened();
        assert_eq!(store.get_results(&[result.key]).unwrap(), [None], "case {index}");
        assert_eq!(store.records().unwrap().count(), 1, "case {index}");
        assert!(publish(&store, 1, 7, Put::IfAbsent).new, "case {index}");
        assert_eq!(store.get_results(&[result.key]).unwrap(), [Some(result.clone())], "case {index}");
    }
    let kept = std::fs::read_dir(place.root().join("quarantine")).unwrap().count();
    assert_eq!(kept, cases.len(), "what was damaged is kept");
}

#[test]
fn a_record_under_another_writer_s_name_is_a_miss() {
    let place = Place::new();
    let result = publish(&place.store, 1, 7, Put::IfAbsent).result;
    let key = result.key.to_string();
    let folder = place.root().join("records").join(&key[..2]).join(&key);
    std::fs::rename(folder.join(result.writer.as_str()), folder.join("somebody")).unwrap();
    assert_eq!(place.store.get_results(&[result.key]).unwrap(), [None]);
    std::fs::write(folder.join("somebody.sig"), "a signature is not a record").unwrap();
    std::fs::create_dir(folder.join("a-folder")).unwrap();
    assert_eq!(place.reopened().get_results(&[result.key]).unwrap(), [None]);
    assert_eq!(place.store.records().unwrap().count(), 0);
}
