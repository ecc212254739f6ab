//! Holds every stage's VERSION against its source: a change of the code that may change what a stage writes must bump
//! its version, or say in `versions.lock` why the output stays the same. Without this an edited stage would go on
//! serving results of the old code.
//!
//! A stage's source is its own file and, transitively, the modules of this crate that it names, and the versions of the
//! libraries that decide bytes; comments and test modules do not count, nor do the seams through which the engine calls (`io`, `stage`, `protocol`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use pru_flow_stages::BUILTINS;

const HEADER: &str = "\
# One line a stage: name, VERSION, digest of its source; held by tests/versions.rs. After an edit, bump the VERSION of the
# stages whose output may change, then: PRU_FLOW_VERSIONS=update cargo test -p pru-flow-stages --test versions
# Where the output stays the same: PRU_FLOW_SAME_OUTPUT='reason' beside it writes the reason into the line.
";

/// Libraries that decide bytes: their versions in Cargo.lock are part of every stage's source.
const LIBRARIES: [&str; 14] = [
    "flate2",
    "image",
    "parquet",
    "png",
    "rand",
    "rand_chacha",
    "rand_core",
    "rand_distr",
    "rand_mt",
    "safetensors",
    "tar",
    "tch",
    "zune-core",
    "zune-jpeg",
];

/// The name under which they stand among the source files.
const LOCK: &str = "Cargo.lock";

/// Modules that cannot change what a stage writes.
const SEAMS: [&str; 4] = ["io.rs", "stage.rs", "protocol.rs", "lib.rs"];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn lock_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("versions.lock")
}

/// Name and version of [`LIBRARIES`] as Cargo.lock has them, one a line.
fn libraries() -> String {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    let lock = std::fs::read_to_string(lock).expect("Cargo.lock is committed");
    let mut found = Vec::new();
    for package in lock.split("[[package]]") {
        let field = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
            line.unwrap_or_default().trim_matches('"')
        };
        if LIBRARIES.contains(&field("name")) {
            found.push(format!("{} {}", field("name"), field("version")));
        }
    }
    found.sort();
    found.join("\n")
}

/// All source files by path relative to `src`, and the versions of [`LIBRARIES`].
fn files() -> BTreeMap<String, String> {
    let mut found = BTreeMap::from([(LOCK.to_owned(), libraries())]);
    let mut folders = vec![source()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the source can be listed") {
            let path = entry.expect("the source can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(source()).expect("inside src").to_string_lossy().into_owned();
                found.insert(name, std::fs::read_to_string(&path).expect("source is text"));
            }
        }
    }
    found
}

/// The code of a file: no comments that stand alone on their line, no test module at its end.
fn code(text: &str) -> String {
    let code = text.split("\n#[cfg(test)]").next().unwrap_or(text);
    let lines = code.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The module that a file is, as path segments: `train/fit.rs` is train, fit; `train/mod.rs` is train.
fn module_of(file: &str) -> Vec<String> {
    let mut segments: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if matches!(segments.last().map(String::as_str), Some("mod" | "lib")) {
        segments.pop();
    }
    segments
}

/// The file of the deepest module on a path that exists.
fn file_of(segments: &[String], files: &BTreeMap<String, String>) -> Option<String> {
    (1..=segments.len()).rev().find_map(|length| {
        let path = segments[..length].join("/");
        [format!("{path}.rs"), format!("{path}/mod.rs")].into_iter().find(|name| files.contains_key(name))
    })
}

/// Paths in `text` that begin with `crate::` or `super::`, groups in braces written out.
fn paths(text: &str, own: &[String]) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for (word, base) in [("crate::", &[][..]), ("super::", &own[..own.len().saturating_sub(1)])] {
        for (at, _) in text.match_indices(word) {
            write_out(&text[at + word.len()..], base.to_vec(), &mut all);
        }
    }
    all
}

fn write_out(mut rest: &str, mut path: Vec<String>, all: &mut Vec<Vec<String>>) {
    loop {
        rest = rest.trim_start();
        if let Some(group) = rest.strip_prefix('{') {
            let end = group.find(';').unwrap_or(group.len());
            for item in group[..end].split([',', '{', '}']) {
                write_out(item, path.clone(), all);
            }
            return;
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        if end > 0 {
            path.push(rest[..end].to_owned());
        }
        match rest[end..].strip_prefix("::") {
            Some(after) => rest = after,
            None => break,
        }
    }
    all.push(path);
}

/// The digest of a stage's source, and the files that it was computed from.
fn digest(stage: &str, files: &BTreeMap<String, String>) -> (String, BTreeSet<String>) {
    let mark = format!("const NAME: &'static str = \"{stage}\";");
    let own = files.iter().find(|(_, text)| text.contains(&mark)).map(|(name, _)| name.clone());
    let own = own.unwrap_or_else(|| panic!("no source file says `{mark}`"));
    let mut reached = BTreeSet::new();
    let mut open = vec![own, LOCK.to_owned()];
    while let Some(file) = open.pop() {
        if SEAMS.contains(&file.as_str()) || !reached.insert(file.clone()) {
            continue;
        }
        let code = code(&files[&file]);
        open.extend(paths(&code, &module_of(&file)).iter().filter_map(|path| file_of(path, files)));
    }
    let mut hasher = blake3::Hasher::new();
    for file in &reached {
        let code = code(&files[file]);
        hasher.update(&(file.len() as u64).to_le_bytes()).update(file.as_bytes());
        hasher.update(&(code.len() as u64).to_le_bytes()).update(code.as_bytes());
    }
    (hasher.finalize().to_hex()[..16].to_owned(), reached)
}

struct Line {
    version: u32,
    digest: String,
    note: String,
}

fn read_lock() -> BTreeMap<String, Line> {
    let text = std::fs::read_to_string(lock_path()).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut words = line.splitn(4, ' ');
        let (name, version, digest) = (words.next()?, words.next()?.parse().ok()?, words.next()?.to_owned());
        let note = words.next().unwrap_or_default().to_owned();
        Some((name.to_owned(), Line { version, digest, note }))
    });
    lines.collect()
}

#[test]
fn a_changed_stage_has_a_new_version_or_says_why_not() {
    let files = files();
    let old = read_lock();
    let update = std::env::var("PRU_FLOW_VERSIONS").is_ok_and(|value| value == "update");
    let reason = std::env::var("PRU_FLOW_SAME_OUTPUT").ok();
    let mut new = HEADER.to_owned();
    let mut wrong = Vec::new();
    for def in BUILTINS {
        let (digest, _) = digest(def.name, &files);
        let before = old.get(def.name);
        let mut note =
            before.filter(|line| line.version == def.version).map_or(String::new(), |line| line.note.clone());
        match before {
            Some(line) if line.digest == digest && line.version == def.version => {}
            Some(line) if line.version == def.version && !update => {
                wrong.push(format!("{}: its source changed and its VERSION is still {}", def.name, def.version));
            }
            Some(line) if line.version == def.version => match &reason {
                Some(reason) => note = format!("same output: {reason}"),
                None => wrong.push(format!("{}: bump its VERSION, or give PRU_FLOW_SAME_OUTPUT", def.name)),
            },
            _ if update => {}
            _ => wrong.push(format!("{}: version {} is not in versions.lock", def.name, def.version)),
        }
        let _ = writeln!(new, "{}", format!("{} {} {digest} {note}", def.name, def.version).trim_end());
    }
    assert!(wrong.is_empty(), "{}\n\n{HEADER}", wrong.join("\n"));
    if update {
        std::fs::write(lock_path(), &new).expect("the lock can be written");
    }
    let now = std::fs::read_to_string(lock_path()).unwrap_or_default();
    assert_eq!(now, new, "versions.lock is not what an update writes");
}

#[test]
fn what_enters_the_key_of_decoded_images_names_the_versions_that_are_built() {
    let (name, version) = pru_flow_stages::Tool::ImageDecoder.fingerprint();
    let libraries = libraries();
    for (library, version) in name.split(" and ").zip(version.split(" and ")) {
        let line = format!("{library} {version}.");
        assert!(libraries.lines().any(|l| l.starts_with(&line)), "`{line}` is not in\n{libraries}");
    }
    assert!(libraries.lines().count() >= LIBRARIES.len(), "{libraries}");
}

#[test]
fn a_stage_is_held_by_the_modules_that_it_uses_and_by_no_others() {
    let files = files();
    let (before, reached) = digest("unlearn/pru", &files);
    for needed in ["unlearn/pru.rs", "train/loss.rs", "train/sgd.rs", "model/network.rs", "dataset.rs", "rng.rs"] {
        assert!(reached.contains(needed), "{needed} is not among {reached:?}");
    }
    let with = |name: &str, text: &str| {
        let mut files = files.clone();
        files.entry(name.to_owned()).or_default().insert_str(0, text);
        digest("unlearn/pru", &files).0
    };
    assert_ne!(with(LOCK, "rand 99.0.0 "), before);
    assert_ne!(with("train/loss.rs", "fn planted() {}\n"), before);
    assert_eq!(with("train/loss.rs", "// A comment.\n"), before);
    assert_eq!(with("tables/statistics.rs", "fn planted() {}\n"), before);
    assert_eq!(with("data/glyphs.rs", "fn planted() {}\n"), before);
}
