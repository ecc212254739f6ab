//! What lies on the disk, looked at once per look, and a list of all that was looked at, so that a later look can tell
//! whether it is still so. Knows nothing of languages.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, Metadata};
use std::hash::Hash;
use std::io::{self, Read};
use std::ops::Bound;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// How long before a look a file's last change must lie for its identity to vouch for it: two changes within one tick
/// of the file system's clock leave equal identities (2 s is the coarsest tick in use, FAT's).
const RACY_NS: i64 = 2_000_000_000;
/// Bytes of a text that are read; a longer one is no script of anybody's.
const TEXT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What the file system says of a path, links followed. Two equal identities of one path mean equal content, but for
/// changes within one tick of its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub folder: bool,
    pub file: bool,
    /// Whether anybody may run it.
    pub executable: bool,
    device: u64,
    inode: u64,
    bytes: u64,
    modified_ns: i64,
    changed_ns: i64,
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        let time = |seconds: i64, ns: i64| seconds.saturating_mul(1_000_000_000).saturating_add(ns);
        Self {
            folder: metadata.is_dir(),
            file: metadata.is_file(),
            executable: metadata.permissions().mode() & 0o111 != 0,
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified_ns: time(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: time(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether it vouches for what was read at `seen_ns`.
    pub fn is_settled(&self, seen_ns: i64) -> bool {
        self.modified_ns.max(self.changed_ns) < seen_ns.saturating_sub(RACY_NS)
    }
}

/// Unix time in ns.
pub(super) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Values that many threads remember by key.
#[derive(Debug)]
pub(super) struct Memo<K, V>(RwLock<HashMap<K, V>>);

impl<K, V> Default for Memo<K, V> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<K: Hash + Eq, V: Clone> Memo<K, V> {
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
    {
        // The map is valid after any of its calls, so a panic elsewhere is no reason to stop.
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    pub fn set(&self, key: K, value: V) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(key, value);
    }

    pub fn to_vec(&self) -> Vec<(K, V)>
    where
        K: Clone,
    {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        map.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

/// The names in a folder, those that are no text left out: nothing can import them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// Whether each is a folder.
    folders: BTreeMap<String, bool>,
}

impl Listing {
    /// Whether there is a file of that name.
    pub fn has_file(&self, name: &str) -> bool {
        self.folders.get(name) == Some(&false)
    }

    /// Whether there is a folder of that name.
    pub fn has_folder(&self, name: &str) -> bool {
        self.folders.get(name) == Some(&true)
    }

    /// The files whose names begin so, in order.
    pub fn files_from<'a>(&'a self, start: &'a str) -> impl Iterator<Item = &'a str> {
        let from = self.folders.range::<str, _>((Bound::Included(start), Bound::Unbounded));
        let from = from.take_while(move |(name, _)| name.starts_with(start));
        from.filter(|(_, folder)| !**folder).map(|(name, _)| name.as_str())
    }

    /// All names, and whether each is a folder.
    pub fn all(&self) -> impl Iterator<Item = (&str, bool)> {
        self.folders.iter().map(|(name, folder)| (name.as_str(), *folder))
    }
}

/// The disk as it is at one moment: nothing is looked at twice.
#[derive(Debug, Default)]
pub(super) struct Disk {
    identities: Memo<PathBuf, Option<Identity>>,
    listings: Memo<PathBuf, Option<Arc<Listing>>>,
}

impl Disk {
    /// What a path is; `None` when there is nothing, or nothing that can be reached.
    pub fn identity(&self, path: &Path) -> Option<Identity> {
        if let Some(known) = self.identities.get(path) {
            return known;
        }
        let identity = fs::metadata(path).ok().as_ref().map(Identity::of);
        self.identities.set(path.to_owned(), identity);
        identity
    }

    fn listing(&self, path: &Path) -> Option<Arc<Listing>> {
        if let Some(known) = self.listings.get(path) {
            return known;
        }
        let listing = list(path).ok().map(Arc::new);
        self.listings.set(path.to_owned(), listing.clone());
        listing
    }
}

fn list(path: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let folder = if kind.is_symlink() { fs::metadata(entry.path()).map(|m| m.is_dir()) } else { Ok(kind.is_dir()) };
        // A link to nothing is neither.
        if let Ok(folder) = folder {
            listing.folders.insert(name, folder);
        }
    }
    Ok(listing)
}

/// All that decided something: paths, and what was there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Witnesses {
    seen: BTreeMap<PathBuf, Option<Identity>>,
    /// Whether it also depends on something that no path tells.
    pub restless: bool,
}

impl Witnesses {
    /// Whether all of it is now as it was when it was looked at, at `seen_ns`.
    pub fn still_hold(&self, disk: &Disk, seen_ns: i64) -> bool {
        let settled =
            |identity: &Option<Identity>| identity.as_ref().is_none_or(|identity| identity.is_settled(seen_ns));
        !self.restless && self.seen.iter().all(|(path, was)| settled(was) && disk.identity(path) == *was)
    }

    /// Adds what another thing depends on.
    pub fn extend(&mut self, other: &Self) {
        self.seen.extend(other.seen.iter().map(|(path, identity)| (path.clone(), *identity)));
        self.restless |= other.restless;
    }
}

/// Looks at a disk and notes what it looks at.
#[derive(Debug)]
pub(super) struct Eyes<'d> {
    disk: &'d Disk,
    pub seen: Witnesses,
}

impl<'d> Eyes<'d> {
    pub fn new(disk: &'d Disk) -> Self {
        Self { disk, seen: Witnesses::default() }
    }

    /// What a path is.
    pub fn identity(&mut self, path: &Path) -> Option<Identity> {
        if let Some(known) = self.seen.seen.get(path) {
            return *known;
        }
        let identity = self.disk.identity(path);
        self.seen.seen.insert(path.to_owned(), identity);
        identity
    }

    pub fn is_file(&mut self, path: &Path) -> bool {
        self.identity(path).is_some_and(|identity| identity.file)
    }

    pub fn is_folder(&mut self, path: &Path) -> bool {
        self.identity(path).is_some_and(|identity| identity.folder)
    }

    /// The names in a folder; `None` when it is none, or cannot be read.
    pub fn listing(&mut self, path: &Path) -> Option<Arc<Listing>> {
        if self.is_folder(path) { self.disk.listing(path) } else { None }
    }

    /// The bytes of a file.
    pub fn bytes(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        self.identity(path);
        let mut bytes = Vec::new();
        open(path)?.take(TEXT_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The first two lines of a file that begins with `#!`; empty for any other one.
    pub fn first_lines(&mut self, path: &Path) -> String {
        self.identity(path);
        let mut bytes = Vec::new();
        let read = open(path).and_then(|file| file.take(512).read_to_end(&mut bytes));
        if read.is_err() || !bytes.starts_with(b"#!") {
            return String::new();
        }
        let lines: Vec<&[u8]> = bytes.splitn(3, |byte| *byte == b'\n').take(2).collect();
        String::from_utf8_lossy(&lines.join(&b'\n')).into_owned()
    }
}

/// Opens a regular file; a pipe of that name would block.
fn open(path: &Path) -> io::Result<File> {
    if fs::metadata(path)?.is_file() {
        File::open(path)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
    }
}

/// A path without `.` and `..`, as far as these can be taken away by name alone.
pub(super) fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}
