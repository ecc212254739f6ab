//! What is installed for a Python: the distributions in its folders, as canonical text, and how two such texts differ.
//! Starts no Python.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::code::seen::{Eyes, plain};

/// A Python and what is installed for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    pub(in crate::code) version: String,
    pub(in crate::code) distributions: BTreeSet<String>,
    /// Folders outside the installed ones in which it looks for modules.
    pub(in crate::code) roots: Vec<PathBuf>,
    /// Paths of single modules, by name.
    pub(in crate::code) linked: BTreeMap<String, Vec<PathBuf>>,
}

impl Environment {
    /// Implementation and version: `CPython 3.11.2`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// All that decides what code runs, one line each: the version, then the distributions as `name==version`, sorted.
    /// Behind some stands what tells two builds of one version apart: `(content ...)` of those that were installed from
    /// a folder or a repository, `(conda BUILD)`; and `(editable)` behind those that are used where they are edited,
    /// whose files are followed as the project's own.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.version);
        for distribution in &self.distributions {
            text.push_str(distribution);
            text.push('\n');
        }
        text
    }
}

/// How two texts of [`Environment::text`] differ, a line for each thing that does: `numpy 1.26.4 -> 2.0.0`.
#[must_use]
pub fn differences(before: &str, now: &str) -> Vec<String> {
    let (old, new) = (by_name(before), by_name(now));
    let names: BTreeSet<&(&str, &str)> = old.keys().chain(new.keys()).collect();
    let shown = |found: Option<&BTreeSet<&str>>| found.map(|all| all.iter().copied().collect::<Vec<_>>().join(", "));
    let line = |key: &&(&str, &str)| {
        let name = key.1;
        match (shown(old.get(*key)), shown(new.get(*key))) {
            (Some(old), Some(new)) if old != new => Some(format!("{name} {old} -> {new}")),
            (None, Some(new)) => Some(format!("{name} {new} is new")),
            (Some(old), None) => Some(format!("{name} {old} is gone")),
            _ => None,
        }
    };
    names.iter().filter_map(line).collect()
}

/// What stands behind each name; the first line is Python's own. Packages of conda are told from distributions.
fn by_name(text: &str) -> BTreeMap<(&str, &str), BTreeSet<&str>> {
    let mut found: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let (kind, name, rest) = match line.split_once("==") {
            _ if index == 0 => ("", "Python", line),
            Some((name, version)) => (if version.contains("(conda ") { "conda" } else { "installed" }, name, version),
            None => {
                let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
                ("installed", name, rest)
            }
        };
        found.entry((kind, name)).or_default().insert(rest);
    }
    found
}

/// The distributions in folders, and the folders of those that are used where they are edited.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Installed {
    pub lines: BTreeSet<String>,
    pub edited: Vec<PathBuf>,
}

impl Installed {
    /// Reads the names in `folders`, the first of which win, and of conda's list in `prefix`.
    pub fn read(eyes: &mut Eyes<'_>, folders: &[PathBuf], prefix: &Path) -> Self {
        let mut installed = Self::default();
        let mut known = BTreeSet::new();
        for folder in folders {
            let Some(listing) = eyes.listing(folder) else { continue };
            for (name, _) in listing.all() {
                installed.entry(eyes, folder, name, &mut known);
            }
        }
        let list = prefix.join("conda-meta");
        for (name, _) in eyes.listing(&list).iter().flat_map(|listing| listing.all()) {
            let parts = name.strip_suffix(".json").and_then(|stem| stem.rsplit_once('-'));
            let parts = parts.and_then(|(stem, build)| Some((stem.rsplit_once('-')?, build)));
            if let Some(((name, version), build)) = parts {
                installed.lines.insert(format!("{}=={version} (conda {build})", normal(name)));
            }
        }
        installed
    }

    fn entry(&mut self, eyes: &mut Eyes<'_>, folder: &Path, entry: &str, known: &mut BTreeSet<String>) {
        let path = folder.join(entry);
        if let Some(stem) = entry.strip_suffix(".dist-info") {
            let (name, version) = stem.rsplit_once('-').unwrap_or((stem, ""));
            let name = normal(name);
            if known.insert(name.clone()) {
                let note = self.note(eyes, &path);
                self.lines.insert(format!("{name}=={version}{note}"));
            }
        } else if let Some(stem) = entry.strip_suffix(".egg-info") {
            // `name-1.0-py3.11`, or without a version where only the file in it tells.
            let mut parts = stem.splitn(3, '-');
            let name = normal(parts.next().unwrap_or_default());
            let version = parts.next().map(str::to_owned).or_else(|| version_in(eyes, &path)).unwrap_or_default();
            if known.insert(name.clone()) {
                self.lines.insert(format!("{name}=={version}"));
            }
        } else if let Some(stem) = entry.strip_suffix(".egg-link") {
            let name = normal(stem);
            let target = text(eyes, &path).and_then(|text| text.lines().next().map(|line| folder.join(line.trim())));
            if known.insert(name.clone()) {
                self.lines.insert(format!("{name} (editable)"));
                self.edited.extend(target.map(|target| plain(&target)));
            }
        } else if path.extension() == Some("pth".as_ref()) {
            // What it adds was told by Python itself; that it has changed must be seen.
            eyes.identity(&path);
        }
    }

    /// What tells a distribution apart from others of its version, when it was not taken from an index.
    fn note(&mut self, eyes: &mut Eyes<'_>, info: &Path) -> String {
        #[derive(Deserialize)]
        struct Origin {
            url: String,
            #[serde(default)]
            dir_info: DirInfo,
        }
        #[derive(Default, Deserialize)]
        struct DirInfo {
            #[serde(default)]
            editable: bool,
        }
        let path = info.join("direct_url.json");
        if !eyes.is_file(&path) {
            return String::new();
        }
        let origin: Option<Origin> = text(eyes, &path).and_then(|text| serde_json::from_str(&text).ok());
        match origin {
            Some(origin) if origin.dir_info.editable => {
                self.edited.extend(origin.url.strip_prefix("file://").map(|path| PathBuf::from(decoded(path))));
                " (editable)".to_owned()
            }
            _ => {
                let record = text(eyes, &info.join("RECORD")).unwrap_or_default();
                format!(" (content {})", content(&record))
            }
        }
    }
}

/// A digest of what a distribution's `RECORD` says of its modules. Scripts, which name the interpreter's path, and
/// bytecode, which names times, are left out: they differ from machine to machine.
fn content(record: &str) -> String {
    let counts = |line: &&str| {
        let name = line.split(',').next().unwrap_or_default();
        !(name.starts_with("..")
            || name.starts_with('/')
            || name.contains(".dist-info/")
            || Path::new(name).extension() == Some("pyc".as_ref()))
    };
    let lines: BTreeSet<&str> = record.lines().map(str::trim_end).filter(counts).collect();
    let text: Vec<&str> = lines.into_iter().collect();
    blake3::hash(text.join("\n").as_bytes()).to_hex()[..16].to_owned()
}

/// The version in the file of an `egg-info`.
fn version_in(eyes: &mut Eyes<'_>, path: &Path) -> Option<String> {
    let file = if eyes.is_folder(path) { path.join("PKG-INFO") } else { path.to_owned() };
    text(eyes, &file)?.lines().find_map(|line| line.strip_prefix("Version:").map(|version| version.trim().to_owned()))
}

fn text(eyes: &mut Eyes<'_>, path: &Path) -> Option<String> {
    String::from_utf8(eyes.bytes(path).ok()?).ok()
}

/// A name as the field writes it (PEP 503): lower case, with one dash for each run of `-`, `_` and `.`.
fn normal(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for c in name.chars() {
        let c = if matches!(c, '-' | '_' | '.') { '-' } else { c.to_ascii_lowercase() };
        if c != '-' || !normal.ends_with('-') {
            normal.push(c);
        }
    }
    normal
}

/// A path in an address: `%20` is a space.
fn decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, more @ ..] = rest {
        let code = more.get(..2).and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &more[2..];
            }
            None => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::seen::Disk;

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn lines(folders: &[PathBuf], prefix: &Path) -> (Vec<String>, Vec<PathBuf>) {
        let disk = Disk::default();
        let installed = Installed::read(&mut Eyes::new(&disk), folders, prefix);
        (installed.lines.into_iter().collect(), installed.edited)
    }

    #[test]
    fn distributions_are_listed_by_normal_name_and_the_first_folder_wins() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        for info in ["NumPy-1.26.4.dist-info", "ruamel.yaml__x-0.18.6.dist-info", "torch-2.3.0+cu121.dist-info"] {
            write(&a.join(info).join("METADATA"), "");
        }
        write(&b.join("numpy-2.0.0.dist-info/METADATA"), "");
        write(&b.join("old-1.0-py3.11.egg-info"), "Metadata-Version: 1.0\n");
        write(&b.join("older.egg-info/PKG-INFO"), "Name: older\nVersion: 0.3\n");
        write(&b.join("dev.egg-link"), "../dev\n.");
        write(&b.join("notes.txt"), "");
        write(&folder.path().join("conda-meta/mkl-2024.0.0-h1_2.json"), "{}");
        write(&folder.path().join("conda-meta/history"), "");
        let (lines, edited) = lines(&[a, b], folder.path());
        let expected = [
            "dev (editable)",
            "mkl==2024.0.0 (conda h1_2)",
            "numpy==1.26.4",
            "old==1.0",
            "older==0.3",
            "ruamel-yaml-x==0.18.6",
            "torch==2.3.0+cu121",
        ];
        assert_eq!(lines, expected);
        assert_eq!(edited, [folder.path().join("dev")]);
    }

    #[test]
    fn what_was_not_taken_from_an_index_is_told_by_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let info = folder.path().join("own-0.1.dist-info");
        write(&info.join("direct_url.json"), r#"{"url": "file:///x", "dir_info": {}}"#);
        let with = |record: &str| {
            write(&info.join("RECORD"), record);
            lines(&[folder.path().to_owned()], folder.path()).0
        };
        let first = with("own/a.py,sha256=1,10\nown-0.1.dist-info/RECORD,,\n../../bin/own,sha256=5,3\n");
        assert!(first[0].starts_with("own==0.1 (content "), "{first:?}");
        let elsewhere = "../../bin/own,sha256=6,4\r\nown/__pycache__/a.pyc,,\r\nown/a.py,sha256=1,10\r\n";
        assert_eq!(with(elsewhere), first, "another machine's paths and order are the same content");
        assert_ne!(with("own/a.py,sha256=2,10\n"), first);
        write(&info.join("direct_url.json"), r#"{"url": "file:///a%20b/c", "dir_info": {"editable": true}}"#);
        let (lines, edited) = lines(&[folder.path().to_owned()], folder.path());
        assert_eq!(lines, ["own==0.1 (editable)"]);
        assert_eq!(edited, [PathBuf::from("/a b/c")]);
    }

    #[test]
    fn two_environments_are_told_apart_line_by_line() {
        let old = "CPython 3.11.2\nmkl==1 (conda a)\nnumpy==1.26.4\nown==0.1 (content 00)\nscipy==1.0\nsame==1\n";
        let new = "CPython 3.12.0\nmkl==1 (conda b)\nnumpy==2.0.0\nown==0.1 (content 11)\npandas==2.2\nsame==1\n";
        let expected = [
            "Python CPython 3.11.2 -> CPython 3.12.0",
            "mkl 1 (conda a) -> 1 (conda b)",
            "numpy 1.26.4 -> 2.0.0",
            "own 0.1 (content 00) -> 0.1 (content 11)",
            "pandas 2.2 is new",
            "scipy 1.0 is gone",
        ];
        assert_eq!(differences(old, new), expected);
        assert_eq!(differences(old, old), [""; 0]);
        assert_eq!(
            differences("", "CPython 3.11.2\na (editable)\n"),
            ["Python CPython 3.11.2 is new", "a (editable) is new"]
        );
    }

    #[test]
    fn a_text_names_the_version_first() {
        let environment = Environment {
            version: "CPython 3.11.2".to_owned(),
            distributions: ["b==2", "a==1"].map(str::to_owned).into(),
            roots: Vec::new(),
            linked: BTreeMap::new(),
        };
        assert_eq!(environment.text(), "CPython 3.11.2\na==1\nb==2\n");
        assert_eq!(environment.version(), "CPython 3.11.2");
    }
}
