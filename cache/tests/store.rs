//! The local store as the engine uses it: conformance, publishing, sharing between processes.

mod conformance;
mod place;

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use conformance::{action, conform, stored_result};
use place::{Place, big, finished, model, publish};
use pru_flow_cache::{
    ActionResult, Digest, LocalStore, Maintain, OutputProblem, Publication, Put, Store, StoreError, Stored, Verdict,
};

#[test]
fn the_local_store_does_what_every_store_must_do() {
    conform(|folder| {
        let store = LocalStore::open(folder).unwrap();
        let writer = store.writer().clone();
        (store, writer)
    });
}

#[test]
fn what_is_published_is_found_by_another_process() {
    let place = Place::new();
    let published = publish(&place.store, 1, 7, Put::IfAbsent);
    assert!(published.new && published.differing.is_empty());
    let store = place.reopened();
    let result = store.get_results(&[action(1).key().unwrap()]).unwrap().remove(0).unwrap();
    assert_eq!(result, published.result);
    assert_eq!(&result.writer, store.writer());
    assert_eq!(model(&result), Digest::of(&big(7)));
    let names: Vec<&str> = result.outputs["parts"].files.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["a", "b/x"]);
    assert_eq!(result.blobs().len(), 2);
    assert_eq!(result.inline[&Digest::of(b"small")], b"small");
    assert_eq!(result.measurements, BTreeMap::from([("seconds".into(), 1.0)]), "NaN has no place in a record");
    assert_eq!(store.unusable(&result).unwrap(), []);
    for file in result.outputs.values().flat_map(|output| &output.files) {
        let path = store.materialise(&result, &file.digest).unwrap();
        assert_eq!(Digest::of_file(&path).unwrap(), (file.digest, file.bytes));
        assert_eq!(store.materialise(&result, &file.digest).unwrap(), path);
    }
    let blob = store.local_path(&model(&result)).unwrap();
    assert_eq!(std::fs::metadata(blob).unwrap().permissions().mode() & 0o222, 0, "blobs are read-only");
    assert_eq!(std::fs::metadata(place.root().join("tmp")).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn many_results_are_published_together_each_with_its_own_outcome() {
    let place = Place::new();
    let publications: Vec<Publication> = (0..40)
        .map(|number| {
            let path = place.store.attempt_folder().unwrap().join("out");
            // Every tenth writes nothing.
            if number % 10 != 9 {
                std::fs::write(&path, format!("{number}")).unwrap();
            }
            let outputs = BTreeMap::from([("out".to_owned(), (false, path))]);
            Publication { outputs, finished: finished(number), put: Put::IfAbsent }
        })
        .collect();
    let outcomes = place.store.publish_all(publications);
    assert_eq!(outcomes.len(), 40);
    for (number, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Ok(published) => {
                assert_eq!(published.result.key, action(number as i64).key().unwrap());
                let digest = Digest::of(number.to_string().as_bytes());
                assert_eq!(published.result.outputs["out"].files[0].digest, digest);
            }
            Err(error) => assert!(number % 10 == 9, "{number}: {error}"),
        }
    }
    assert_eq!(place.store.records().unwrap().count(), 36);
    assert!(place.store.publish_all(Vec::new()).is_empty());
}

#[test]
fn an_attempt_s_files_are_moved_and_its_folder_goes() {
    let place = Place::new();
    let attempt = place.store.attempt_folder().unwrap();
    std::fs::write(attempt.join("model"), big(1)).unwrap();
    let inode = std::fs::metadata(attempt.join("model")).unwrap().ino();
    let (digest, bytes) = place.store.ingest(&attempt.join("model")).unwrap();
    assert_eq!((digest, bytes), (Digest::of(&big(1)), 10_000));
    let blob = place.store.local_path(&digest).unwrap();
    assert_eq!(std::fs::metadata(&blob).unwrap().ino(), inode, "it was moved, not copied");
    assert!(!attempt.join("model").exists());

    // A file with a second name could be changed through it.
    std::fs::write(attempt.join("two"), big(2)).unwrap();
    std::fs::hard_link(attempt.join("two"), place.folder.path().join("other-name")).unwrap();
    let (digest, _) = place.store.ingest(&attempt.join("two")).unwrap();
    std::fs::write(place.folder.path().join("other-name"), "changed").unwrap();
    assert_eq!(place.store.verify(&digest).unwrap(), Verdict::Good);
    assert_eq!(std::fs::metadata(place.store.local_path(&digest).unwrap()).unwrap().nlink(), 1);

    // One outside the store is copied.
    let outside = place.folder.path().join("outside");
    std::fs::write(&outside, big(3)).unwrap();
    let (digest, _) = place.store.ingest(&outside).unwrap();
    assert_eq!(place.store.verify_bytes(&digest).unwrap(), Verdict::Good);
    assert!(outside.exists());

    let other = place.store.attempt_folder().unwrap();
    assert_ne!(other, attempt);
    place.store.remove_attempt(&attempt);
    assert!(!attempt.exists() && other.exists());
    place.store.remove_attempt(place.folder.path());
    place.store.remove_attempt(&place.root());
    assert!(place.root().join("VERSION").exists(), "only attempts are removed");
    let (root, folder) = (place.root(), place.folder);
    drop(place.store);
    assert_eq!(std::fs::read_dir(root.join("tmp")).unwrap().count(), 0);
    drop(folder);
}

type Make = fn(&Path);

#[test]
fn outputs_that_cannot_be_kept_are_refused_before_anything_is_stored() {
    let place = Place::new();
    let pipe: Make = |path| {
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, path, kind, rustix::fs::Mode::from_raw_mode(0o600), 0).unwrap();
    };
    let folder: Make = |path| std::fs::create_dir(path).unwrap();
    let cases: &[(&str, bool, Make, OutputProblem)] = &[
        ("missing", false, |_| {}, OutputProblem::Missing),
        ("missing", true, |_| {}, OutputProblem::Missing),
        ("link", false, |path| symlink("/etc/passwd", path).unwrap(), OutputProblem::Link),
        ("link to a folder", true, |path| symlink("/etc", path).unwrap(), OutputProblem::Link),
        ("pipe", false, pipe, OutputProblem::Special),
        ("folder", false, folder, OutputProblem::IsFolder),
        ("file", true, |path| std::fs::write(path, "").unwrap(), OutputProblem::IsFile),
    ];
    let try_publish = |path: &Path, folder: bool| {
        let good = path.with_extension("good");
        std::fs::write(&good, big(1)).unwrap();
        let outputs = BTreeMap::from([("a".to_owned(), (false, good)), ("b".to_owned(), (folder, path.to_owned()))]);
        place.store.publish(&outputs, finished(1), Put::IfAbsent).unwrap_err()
    };
    for (name, folder, make, expected) in cases {
        let path = place.store.attempt_folder().unwrap().join("out");
        make(&path);
        let error = try_publish(&path, *folder);
        assert!(matches!(&error, StoreError::Output { problem, .. } if problem == expected), "{name}: {error}");
    }
    let inside: &[(&str, Make)] = &[
        ("a link out", |path| symlink("/etc/passwd", path.join("x")).unwrap()),
        ("a link inside", |path| {
            std::fs::write(path.join("x"), "").unwrap();
            symlink("x", path.join("y")).unwrap();
        }),
        ("a pipe", |path| {
            let kind = rustix::fs::FileType::Fifo;
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(rustix::fs::CWD, path.join("x"), kind, mode, 0).unwrap();
        }),
        ("a newline", |path| std::fs::write(path.join("a\nb"), "").unwrap()),
        ("an escape code", |path| std::fs::write(path.join("a\u{1b}[2J"), "").unwrap()),
        ("a backslash", |path| std::fs::write(path.join("..\\x"), "").unwrap()),
        ("not UTF-8", |path| {
            use std::os::unix::ffi::OsStrExt;
            std::fs::write(path.join(std::ffi::OsStr::from_bytes(b"a\xff")), "").unwrap();
        }),
    ];
    for (name, make) in inside {
        let path = place.store.attempt_folder().unwrap().join("out");
        std::fs::create_dir(&path).unwrap();
        make(&path);
        let error = try_publish(&path, true);
        assert!(matches!(&error, StoreError::Output { output, .. } if output == "b"), "{name}: {error}");
    }
    assert_eq!(place.store.blobs().unwrap().count(), 0);
    assert_eq!(place.store.records().unwrap().count(), 0);
}

#[test]
fn an_empty_folder_and_very_many_small_files_can_be_published() {
    let place = Place::new();
    let attempt = place.store.attempt_folder().unwrap();
    std::fs::create_dir_all(attempt.join("empty")).unwrap();
    std::fs::create_dir_all(attempt.join("many")).unwrap();
    for i in 0..100 {
        std::fs::write(attempt.join(format!("many/{i}")), [i; 1000]).unwrap();
    }
    let outputs = BTreeMap::from([
        ("empty".to_owned(), (true, attempt.join("empty"))),
        ("many".to_owned(), (true, attempt.join("many"))),
    ]);
    let result = place.store.publish(&outputs, finished(1), Put::IfAbsent).unwrap().result;
    assert!(result.outputs["empty"].files.is_empty());
    assert_eq!(result.outputs["many"].files.len(), 100);
    assert_eq!((result.inline.len(), result.blobs().len()), (65, 35), "the record stays small");
    for file in &result.outputs["many"].files {
        place.store.materialise(&result, &file.digest).unwrap();
    }
}

#[test]
fn a_second_result_with_other_bytes_is_reported_and_kept_as_evidence() {
    let place = Place::new();
    let first = publish(&place.store, 1, 7, Put::IfAbsent);
    let again = publish(&place.store, 1, 7, Put::IfAbsent);
    assert!(!again.new && again.differing.is_empty());
    let other = publish(&place.store, 1, 8, Put::IfAbsent);
    assert!(!other.new);
    assert_eq!(other.differing, ["metrics", "model"]);
    assert_eq!(other.result, first.result, "the first stays");
    let evidence: Vec<PathBuf> =
        std::fs::read_dir(place.root().join("evidence")).unwrap().map(|e| e.unwrap().path()).collect();
    let [evidence] = evidence.as_slice() else { panic!("{evidence:?}") };
    let kept = ActionResult::decode(&std::fs::read(evidence).unwrap()).unwrap();
    assert_eq!(model(&kept), Digest::of(&big(8)));
    let replaced = publish(&place.store, 1, 9, Put::Replace);
    assert!(replaced.new);
    assert_eq!(place.store.get_results(&[replaced.result.key]).unwrap(), [Some(replaced.result)]);
}

#[test]
fn a_missing_or_damaged_writer_s_id_is_made_anew_and_older_records_stay_hits() {
    let place = Place::new();
    let result = publish(&place.store, 1, 7, Put::IfAbsent).result;
    for damage in [None, Some(""), Some("../../x\n"), Some("\0\0\0\0")] {
        std::fs::remove_file(place.root().join("writer")).unwrap();
        if let Some(text) = damage {
            std::fs::write(place.root().join("writer"), text).unwrap();
        }
        let store = place.reopened();
        assert_ne!(store.writer(), place.store.writer());
        assert_eq!(place.reopened().writer(), store.writer(), "made once");
        assert_eq!(store.get_results(&[result.key]).unwrap(), [Some(result.clone())]);
    }
}

#[test]
fn a_folder_with_a_user_s_files_does_not_become_a_store() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thesis.tex"), "").unwrap();
    let error = LocalStore::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("thesis.tex"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let file = folder.path().join("thesis.tex");
    assert!(LocalStore::open(&file).is_err());
}

#[test]
fn an_interrupted_opening_is_completed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("blobs")).unwrap();
    std::fs::write(folder.path().join(".gitignore"), "*\n").unwrap();
    let store = LocalStore::open(folder.path()).unwrap();
    assert!(publish(&store, 1, 7, Put::IfAbsent).new);
}

#[test]
fn many_threads_that_publish_the_same_and_different_results_do_not_disturb_each_other() {
    let place = Place::new();
    let stores: Vec<LocalStore> = (0..4).map(|_| place.reopened()).collect();
    std::thread::scope(|scope| {
        for (index, store) in stores.iter().enumerate() {
            scope.spawn(move || {
                for number in 0..12 {
                    // Half of the results are the same in all threads.
                    let seed = if number % 2 == 0 { 1 } else { index as u8 + 10 };
                    let published = publish(store, number, seed, Put::IfAbsent);
                    assert!(number % 2 == 1 || published.differing.is_empty());
                    assert_eq!(store.unusable(&published.result).unwrap(), []);
                }
            });
        }
    });
    assert_eq!(place.store.records().unwrap().count(), 12);
    for entry in place.store.records().unwrap() {
        assert_eq!(place.store.unusable(&entry.result).unwrap(), []);
    }
}

/// Not a test of its own: what the processes of the next test run.
#[test]
fn a_process_that_publishes_when_told_where() {
    let Some(root) = std::env::var_os("PRU_TEST_STORE") else { return };
    let seed: u8 = std::env::var("PRU_TEST_SEED").unwrap().parse().unwrap();
    let store = LocalStore::open(Path::new(&root)).unwrap();
    for number in 0..10 {
        let published = publish(&store, number, seed, Put::IfAbsent);
        println!("kept {number} {} {}", published.new, model(&published.result));
    }
}

#[test]
fn processes_that_publish_one_key_agree_on_one_record() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let children: Vec<_> = (0..4)
        .map(|seed| {
            std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "a_process_that_publishes_when_told_where", "--nocapture"])
                .env("PRU_TEST_STORE", &root)
                .env("PRU_TEST_SEED", seed.to_string())
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut kept: BTreeMap<String, Vec<(bool, String)>> = BTreeMap::new();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            if let Some(rest) = line.strip_prefix("kept ") {
                let words: Vec<&str> = rest.split(' ').collect();
                kept.entry(words[0].to_owned()).or_default().push((words[1] == "true", words[2].to_owned()));
            }
        }
    }
    let store = LocalStore::open(&root).unwrap();
    assert_eq!(kept.len(), 10);
    for (number, kept) in kept {
        assert_eq!(kept.len(), 4);
        assert_eq!(kept.iter().filter(|(new, _)| *new).count(), 1, "exactly one is new");
        let key = action(number.parse().unwrap()).key().unwrap();
        let result = store.get_results(&[key]).unwrap().remove(0).unwrap();
        assert!(kept.iter().all(|(_, digest)| *digest == model(&result).to_string()), "all agree");
        assert_eq!(store.unusable(&result).unwrap(), []);
    }
    assert_eq!(std::fs::read_dir(root.join("tmp")).unwrap().count(), 0, "nothing is left");
}

#[test]
fn what_a_killed_process_leaves_goes_when_the_store_is_next_opened() {
    let place = Place::new();
    let live = place.store.attempt_folder().unwrap();
    std::fs::write(live.join("half"), big(1)).unwrap();
    // A copy of a live process's folder under the name of one that is gone.
    let own = live.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    let (pid, rest) = own.split_once('-').unwrap();
    let (start, rest) = rest.split_once('-').unwrap();
    let dead = format!("{pid}-{}-{rest}", start.parse::<u64>().unwrap() - 1);
    std::fs::create_dir_all(place.root().join("tmp").join(&dead).join("a0")).unwrap();
    place.reopened();
    assert!(!place.root().join("tmp").join(&dead).exists());
    assert!(live.join("half").exists(), "a live process is left alone");
}

#[test]
fn a_lost_blob_is_put_back_by_publishing_again() {
    let place = Place::new();
    let result = publish(&place.store, 1, 7, Put::IfAbsent).result;
    std::fs::remove_file(place.store.local_path(&model(&result)).unwrap()).unwrap();
    assert_eq!(place.store.unusable(&result).unwrap(), [(model(&result), Verdict::Missing)]);
    assert!(publish(&place.store, 1, 7, Put::Replace).new);
    assert_eq!(place.store.unusable(&result).unwrap(), []);
}

#[test]
fn an_output_that_is_written_to_while_it_is_cached_is_never_stored_under_a_wrong_digest() {
    let place = Place::new();
    let attempt = place.store.attempt_folder().unwrap();
    let path = attempt.join("growing");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            use std::io::Write;
            let mut file = std::fs::File::create(&path).unwrap();
            file.write_all(&big(1)).unwrap();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                file.write_all(&[2; 100]).unwrap();
            }
        });
        while !path.exists() {
            std::thread::yield_now();
        }
        let outcome = place.store.ingest(&path);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        if let Err(error) = &outcome {
            assert!(matches!(error, StoreError::Output { problem: OutputProblem::Changing, .. }), "{error}");
        }
    });
    for blob in place.store.blobs().unwrap() {
        // The writer may have gone on after the move: then the damage is noticed on the next check.
        let verdict = place.store.verify(&blob.digest).unwrap();
        assert!(matches!(verdict, Verdict::Good | Verdict::Damaged));
    }
}

#[test]
fn a_store_that_cannot_be_written_says_so_and_can_still_be_read() {
    let place = Place::new();
    let result = publish(&place.store, 1, 7, Put::IfAbsent).result;
    let shard = place.root().join("records");
    let set = |mode| std::fs::set_permissions(&shard, std::fs::Permissions::from_mode(mode)).unwrap();
    set(0o555);
    let writable = std::fs::write(shard.join("probe"), "").is_ok();
    let _ = std::fs::remove_file(shard.join("probe"));
    let store = place.reopened();
    assert_eq!(store.get_results(&[result.key]).unwrap(), [Some(result)]);
    // The superuser may write anywhere, and then there is nothing to see here.
    if !writable {
        let mut new = (10..300).map(|number| {
            let result = stored_result(&store, place.folder.path(), number, b"x", store.writer());
            store.put_result(&result, Put::IfAbsent)
        });
        let error = new.find_map(Result::err).unwrap().to_string();
        assert!(error.contains("records"), "{error}");
    }
    set(0o755);
    let result = stored_result(&store, place.folder.path(), 5, b"x", store.writer());
    assert_eq!(store.put_result(&result, Put::IfAbsent).unwrap(), Stored::New);
}
