//! Digests by path and stat: saves hashing a file again that has not changed since we last hashed it.
//!
//! Only a hint. A file that is missing, damaged, of another version or forged in part is an empty index;
//! deleting it costs time, never correctness. Knows nothing of how files are read.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::digest::Digest;
use crate::fs::{Kind, Stat};

const MAGIC: [u8; 8] = *b"prustat1";
/// Bytes that an index file may have; a larger one is dropped.
pub(crate) const BYTES_MAX: usize = 256 * 1024 * 1024;
/// Entries that are saved; beyond, those that this process did not use go first.
const ENTRIES_MAX: usize = 500_000;
/// How long before hashing a file's last change must lie for its stat to vouch for it: two changes within one
/// tick of the file system's clock leave equal stats (git's racy rule; 2 s is the coarsest tick in use, FAT's).
const RACY_NS: i64 = 2_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    device: u64,
    inode: u64,
    bytes: u64,
    modified_ns: i64,
    changed_ns: i64,
    /// When hashing began.
    hashed_ns: i64,
    digest: Digest,
}

/// The index.
#[derive(Clone, Debug, Default)]
pub(crate) struct StatIndex {
    entries: HashMap<PathBuf, (Entry, Used)>,
    changed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Used {
    Now,
    Before,
}

/// Unix time in ns.
pub(crate) fn now_ns() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(_) => 0,
    }
}

impl StatIndex {
    /// The digest of the file at `path`, if `stat` says that it is still the one that was hashed.
    pub(crate) fn lookup(&mut self, path: &Path, stat: &Stat) -> Option<Digest> {
        let (entry, used) = self.entries.get_mut(path)?;
        let same = stat.kind == Kind::File
            && entry.device == stat.device
            && entry.inode == stat.inode
            && entry.bytes == stat.bytes
            && entry.modified_ns == stat.modified_ns
            && entry.changed_ns == stat.changed_ns;
        // A time in the future never becomes trusted: such a file is hashed each time, which is slow and right.
        let settled = stat.modified_ns.max(stat.changed_ns) < entry.hashed_ns.saturating_sub(RACY_NS);
        if !(same && settled) {
            return None;
        }
        *used = Used::Now;
        Some(entry.digest)
    }

    /// Notes that the file at `path`, whose stat was `stat` before and after, had `digest` when it was hashed
    /// from `hashed_ns` on.
    pub(crate) fn note(&mut self, path: PathBuf, stat: &Stat, digest: Digest, hashed_ns: i64) {
        let entry = Entry {
            device: stat.device,
            inode: stat.inode,
            bytes: stat.bytes,
            modified_ns: stat.modified_ns,
            changed_ns: stat.changed_ns,
            hashed_ns,
            digest,
        };
        self.entries.insert(path, (entry, Used::Now));
        self.changed = true;
    }

    /// Drops what is known of `path`.
    pub(crate) fn forget(&mut self, path: &Path) {
        self.changed |= self.entries.remove(path).is_some();
    }

    /// Whether there is anything to save.
    pub(crate) fn is_changed(&self) -> bool {
        self.changed
    }

    /// The bytes of an index file.
    pub(crate) fn encode(&mut self) -> Vec<u8> {
        self.changed = false;
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_by_key(|(path, (_, used))| (*used, *path));
        entries.truncate(ENTRIES_MAX);
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&(entries.len() as u64).to_le_bytes());
        for (path, (entry, _)) in entries {
            let path = path.as_os_str().as_bytes();
            bytes.extend_from_slice(&(path.len() as u64).to_le_bytes());
            bytes.extend_from_slice(path);
            for number in [entry.device, entry.inode, entry.bytes] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            for time in [entry.modified_ns, entry.changed_ns, entry.hashed_ns] {
                bytes.extend_from_slice(&time.to_le_bytes());
            }
            bytes.extend_from_slice(entry.digest.as_bytes());
        }
        let digest = Digest::of(&bytes);
        bytes.extend_from_slice(digest.as_bytes());
        bytes
    }

    /// The index in `bytes`; an empty one when they are not the whole of an index file.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        Self::try_decode(bytes).unwrap_or_else(|| {
            tracing::debug!("the stat index is damaged or of another version; starting with an empty one");
            Self::default()
        })
    }

    fn try_decode(bytes: &[u8]) -> Option<Self> {
        let (body, digest) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
        if Digest::of(body).as_bytes() != digest {
            return None;
        }
        let mut reader = Reader(body.strip_prefix(&MAGIC)?);
        let count = reader.number()?;
        let mut entries = HashMap::with_capacity(usize::try_from(count).ok()?.min(body.len() / 80));
        for _ in 0..count {
            let length = usize::try_from(reader.number()?).ok()?;
            let path = PathBuf::from(OsString::from_vec(reader.take(length)?.to_vec()));
            let entry = Entry {
                device: reader.number()?,
                inode: reader.number()?,
                bytes: reader.number()?,
                modified_ns: reader.number()?.cast_signed(),
                changed_ns: reader.number()?.cast_signed(),
                hashed_ns: reader.number()?.cast_signed(),
                digest: Digest::from_bytes(reader.take(32)?.try_into().ok()?),
            };
            entries.insert(path, (entry, Used::Before));
        }
        reader.0.is_empty().then_some(Self { entries, changed: false })
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn stat() -> Stat {
        Stat {
            kind: Kind::File,
            device: 1,
            inode: 2,
            links: 1,
            bytes: 3,
            modified_ns: 100 * SECOND,
            changed_ns: 101 * SECOND,
        }
    }

    fn noted(hashed_ns: i64) -> StatIndex {
        let mut index = StatIndex::default();
        index.note("a".into(), &stat(), Digest::of(b"abc"), hashed_ns);
        index
    }

    #[test]
    fn any_part_of_the_stat_that_differs_makes_the_entry_void() {
        let mut index = noted(200 * SECOND);
        assert_eq!(index.lookup(Path::new("a"), &stat()), Some(Digest::of(b"abc")));
        let others = [
            Stat { kind: Kind::Link, ..stat() },
            Stat { device: 9, ..stat() },
            Stat { inode: 9, ..stat() },
            Stat { bytes: 9, ..stat() },
            Stat { modified_ns: 100 * SECOND + 1, ..stat() },
            Stat { changed_ns: 101 * SECOND + 1, ..stat() },
        ];
        for other in others {
            assert_eq!(index.lookup(Path::new("a"), &other), None, "{other:?}");
        }
        assert_eq!(index.lookup(Path::new("b"), &stat()), None);
    }

    #[test]
    fn a_file_that_changed_within_two_seconds_of_hashing_is_hashed_again() {
        for (hashed, trusted) in [(101, false), (102, false), (103, false), (104, true), (99, false)] {
            let found = noted(hashed * SECOND).lookup(Path::new("a"), &stat()).is_some();
            assert_eq!(found, trusted, "hashed at {hashed} s, changed at 101 s");
        }
    }

    #[test]
    fn an_index_file_comes_back_and_a_damaged_one_is_empty() {
        let mut index = noted(200 * SECOND);
        let bytes = index.encode();
        assert!(StatIndex::decode(&bytes).lookup(Path::new("a"), &stat()).is_some());
        for at in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            assert!(StatIndex::decode(&damaged).entries.is_empty(), "bit {at}");
        }
        for length in 0..bytes.len() {
            assert!(StatIndex::decode(&bytes[..length]).entries.is_empty(), "cut to {length}");
        }
    }
}
