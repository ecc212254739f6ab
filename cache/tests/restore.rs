//! What is put back where a user has it: whole, the user's own unless a hard link was asked for, and never a way to
//! change the store unnoticed.

mod conformance;
mod place;

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use place::{Place, big, model, publish};
use pru_flow_cache::{ActionResult, Digest, How, LocalStore, Put, Restoration, Store, StoreError, Verdict};

fn published(place: &Place) -> ActionResult {
    publish(&place.store, 1, 7, Put::IfAbsent).result
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Edits a file as one who may: a superuser, or its owner after `chmod`.
fn edit(path: &Path, content: &[u8]) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(path, content).unwrap();
}

#[test]
fn an_edited_copy_does_not_reach_the_store() {
    let place = Place::new();
    let result = published(&place);
    let target = place.folder.path().join("new/folder/model");
    for digest in [model(&result), Digest::of(&[7; 10])] {
        place.store.restore(&result, &digest, &target, How::Copy).unwrap();
        assert_eq!(Digest::of_file(&target).unwrap().0, digest);
        assert_eq!(std::fs::metadata(&target).unwrap().nlink(), 1);
        assert_eq!(mode(&target) & 0o600, 0o600, "a copy is the user's own");
        let mut bytes = std::fs::read(&target).unwrap();
        bytes[0] ^= 1;
        std::fs::write(&target, bytes).expect("a copy can be written to");
    }
    assert_eq!(place.store.verify_bytes(&model(&result)).unwrap(), Verdict::Good);
    // Replacing an edited copy is one step and leaves nothing beside it.
    place.store.restore(&result, &model(&result), &target, How::Copy).unwrap();
    assert_eq!(Digest::of_file(&target).unwrap().0, model(&result));
    assert_eq!(std::fs::read_dir(target.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn a_link_at_the_target_is_replaced_and_a_folder_there_is_an_error() {
    for how in [How::Copy, How::HardLink] {
        let place = Place::new();
        let result = published(&place);
        let outside = place.folder.path().join("outside");
        std::fs::write(&outside, "mine").unwrap();
        let target = place.folder.path().join("target");
        symlink(&outside, &target).unwrap();
        place.store.restore(&result, &model(&result), &target, how).unwrap();
        assert_eq!(std::fs::read_to_string(&outside).unwrap(), "mine");
        assert!(std::fs::symlink_metadata(&target).unwrap().is_file());
        let folder = place.folder.path().join("taken");
        std::fs::create_dir_all(folder.join("x")).unwrap();
        assert!(place.store.restore(&result, &model(&result), &folder, how).is_err());
        // A file where a folder should be is one too.
        assert!(place.store.restore(&result, &model(&result), &outside.join("x"), how).is_err());
        let left: Vec<_> = std::fs::read_dir(place.folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left.len(), 4, "nothing is left beside: {left:?}");
    }
}

#[test]
fn a_hard_link_is_the_blob_read_only_and_asked_for() {
    let place = Place::new();
    let result = published(&place);
    let blob = place.store.local_path(&model(&result)).unwrap();
    // Somebody made the blob writable: as a link it would be an invitation.
    std::fs::set_permissions(&blob, std::fs::Permissions::from_mode(0o644)).unwrap();
    let target = place.folder.path().join("a/model");
    // Again over itself: renaming one of two names of a file over the other does nothing.
    for _ in 0..3 {
        place.store.restore(&result, &model(&result), &target, How::HardLink).unwrap();
        assert_eq!(std::fs::metadata(&target).unwrap().ino(), std::fs::metadata(&blob).unwrap().ino());
        assert_eq!(mode(&target), 0o444);
        assert_eq!(std::fs::metadata(&target).unwrap().nlink(), 2, "one name each");
        assert_eq!(std::fs::read_dir(target.parent().unwrap()).unwrap().count(), 1);
    }
    // A copy takes the link's place without touching the blob.
    place.store.restore(&result, &model(&result), &target, How::Copy).unwrap();
    assert_eq!(std::fs::metadata(&blob).unwrap().nlink(), 1);
    assert_ne!(std::fs::metadata(&target).unwrap().ino(), std::fs::metadata(&blob).unwrap().ino());
    // Content of a record has no blob, and is the user's own.
    let small = Digest::of(&[7; 10]);
    place.store.restore(&result, &small, &target, How::HardLink).unwrap();
    assert_eq!((std::fs::read(&target).unwrap(), mode(&target) & 0o600), (vec![7; 10], 0o600));
}

/// Ways to change a linked file.
const EDITS: [fn(&Path); 4] = [
    |path| edit(path, &big(8)),
    |path| edit(path, b"shorter"),
    |path| {
        // With the old time put back, as tools that copy in place do.
        let before = std::fs::metadata(path).unwrap().modified().unwrap();
        edit(path, &big(9));
        std::fs::File::options().write(true).open(path).unwrap().set_modified(before).unwrap();
    },
    |path| {
        // Written to while the link is there, seen after it has gone.
        edit(path, &big(10));
        std::fs::remove_file(path).unwrap();
    },
];

#[test]
fn an_edit_through_a_hard_link_is_seen_before_the_blob_is_used_again() {
    let linked: Vec<_> = (0..2 * EDITS.len())
        .map(|_| {
            let place = Place::new();
            let result = published(&place);
            let target = place.folder.path().join("model");
            place.store.restore(&result, &model(&result), &target, How::HardLink).unwrap();
            (place, result, target)
        })
        .collect();
    // From now on the stats of what was done so far are trusted.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    for (index, (place, result, target)) in linked.iter().enumerate() {
        let digest = model(result);
        assert_eq!(place.store.verify(&digest).unwrap(), Verdict::Good);
        place.store.save_index().unwrap();
        EDITS[index % EDITS.len()](target);
        // Also by a process that trusts what another has written down.
        let store = if index < EDITS.len() { &place.store } else { &place.reopened() };
        let second = place.folder.path().join("second");
        for how in [How::HardLink, How::Copy] {
            let outcome = store.restore(result, &digest, &second, how);
            assert!(matches!(outcome, Err(StoreError::NoBlob(_))), "case {index}: {outcome:?}");
        }
        assert!(!second.exists(), "case {index}");
        assert!(matches!(store.materialise(result, &digest), Err(StoreError::NoBlob(_))), "case {index}");
        assert!(matches!(store.open_blob(&digest, None), Err(StoreError::NoBlob(_))), "case {index}");
        // The user's edit stays the user's, and the producer's next run heals the store.
        publish(store, 1, 7, Put::Replace);
        assert_eq!(store.verify(&digest).unwrap(), Verdict::Good, "case {index}");
        assert!(!target.exists() || Digest::of_file(target).unwrap().0 != digest, "case {index}");
    }
}

#[test]
fn what_cannot_be_linked_is_copied() {
    // Another file system, where this machine has one that can be written to.
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else {
        eprintln!("skipped: no second file system");
        return;
    };
    let place = Place::new();
    let result = published(&place);
    let target = elsewhere.path().join("model");
    if std::fs::metadata(place.root()).unwrap().dev() == std::fs::metadata(elsewhere.path()).unwrap().dev() {
        eprintln!("skipped: no second file system");
        return;
    }
    place.store.restore(&result, &model(&result), &target, How::HardLink).unwrap();
    assert_eq!(Digest::of_file(&target).unwrap().0, model(&result));
    assert_eq!(mode(&target) & 0o600, 0o600, "a copy is the user's own");
    std::fs::create_dir_all(elsewhere.path().join("taken/x")).unwrap();
    for how in [How::Copy, How::HardLink] {
        assert!(place.store.restore(&result, &model(&result), &elsewhere.path().join("taken"), how).is_err());
        place.store.restore(&result, &model(&result), &elsewhere.path().join("new/model"), how).unwrap();
    }
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 3, "nothing is left beside");
}

#[test]
fn many_files_are_put_back_together_each_with_its_own_outcome() {
    let place = Place::new();
    let results: Vec<ActionResult> = (0..12).map(|n| publish(&place.store, n, n as u8, Put::IfAbsent).result).collect();
    std::fs::remove_file(place.store.local_path(&model(&results[5])).unwrap()).unwrap();
    let root = place.folder.path().join("out");
    let targets: Vec<(usize, Digest, PathBuf)> = (0..200)
        .map(|index| {
            let number = index % 12;
            let digest = if index % 2 == 0 { Digest::of(&[number as u8; 10]) } else { model(&results[number]) };
            (number, digest, root.join(format!("{}/{}/f{index}", index % 7, index % 3)))
        })
        .collect();
    for how in [How::Copy, How::HardLink] {
        let files: Vec<Restoration> = targets
            .iter()
            .map(|(number, digest, to)| Restoration { result: &results[*number], digest: *digest, to, how })
            .collect();
        let outcomes = place.store.restore_all(&files);
        assert_eq!(outcomes.len(), 200);
        for (file, outcome) in files.iter().zip(&outcomes) {
            if file.digest == model(&results[5]) {
                assert!(matches!(outcome, Err(StoreError::NoBlob(digest)) if *digest == file.digest));
                assert!(!file.to.exists());
            } else {
                outcome.as_ref().unwrap();
                assert_eq!(Digest::of_file(file.to).unwrap().0, file.digest);
            }
        }
    }
    let all = Command::new("find").arg(&root).args(["-name", ".pru-*"]).output().unwrap();
    assert!(all.stdout.is_empty(), "{}", String::from_utf8_lossy(&all.stdout));
    assert!(place.store.restore_all(&[]).is_empty());
}

/// Not a test of its own: what the process of the next test runs until it is killed.
#[test]
fn a_process_that_restores_when_told_where() {
    let Some(root) = std::env::var_os("PRU_TEST_RESTORE") else { return };
    let root = PathBuf::from(root);
    let store = LocalStore::open(&root.join("store")).unwrap();
    let result = publish(&store, 1, 7, Put::IfAbsent).result;
    let content = root.join("large");
    std::fs::write(&content, vec![3; 8 << 20]).unwrap();
    let digest = store.put_blob(&content).unwrap().0;
    println!("begun");
    for index in 0.. {
        store.restore(&result, &digest, &root.join(format!("out/{}", index % 50)), How::Copy).unwrap();
    }
}

#[test]
fn a_process_killed_while_it_restores_leaves_no_half_file_under_its_name() {
    use std::io::{BufRead, BufReader};
    let mut seen = 0;
    for delay_ms in [1, 5, 12, 20, 33, 47] {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_process_that_restores_when_told_where", "--nocapture"])
            .env("PRU_TEST_RESTORE", folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.contains("begun")));
        std::thread::sleep(std::time::Duration::from_millis(delay_ms));
        child.kill().unwrap();
        child.wait().unwrap();
        for entry in std::fs::read_dir(folder.path().join("out")).into_iter().flatten().flatten() {
            if !entry.file_name().to_string_lossy().starts_with(".pru-") {
                seen += 1;
                assert_eq!(entry.metadata().unwrap().len(), 8 << 20, "{}", entry.path().display());
            }
        }
    }
    assert!(seen > 0, "some were restored before the kill");
}
