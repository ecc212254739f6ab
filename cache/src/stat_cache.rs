//! Digests of files and folders outside the store, remembered by stat so that unchanged ones are not read again.
//!
//! Its file lies in the store's folder and is only an index: deleting it costs time. Knows nothing of keys.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::action::Member;
use crate::attempts;
use crate::canon::{self, Value};
use crate::digest::Digest;
use crate::fields;
use crate::fs::{Kind, stat_of};
use crate::names::{self, BadName};
use crate::stat_index::{self, StatIndex, now_ns};

/// The context string under which a folder's digest is derived: no file's digest can equal it.
pub const TREE_CONTEXT: &str = "pru-flow folder of sources, format 1";
/// Where the index of outside files lies in the store.
const INDEX: &str = "index/sources";
/// How often a file that changes while it is read is tried.
const TRIES: usize = 3;

/// Digests of outside files, kept from run to run. Any number of threads may use one.
#[derive(Debug)]
pub struct StatCache {
    store: PathBuf,
    index: Mutex<StatIndex>,
}

/// A source that has no digest.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The operating system's reason.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// What was read.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A pipe, socket, device or folder where a file was expected, or the reverse.
    #[error("{} is not {expected}", path.display())]
    Kind {
        /// What was found there.
        path: PathBuf,
        /// What was expected.
        expected: &'static str,
    },
    /// A link in a folder that leads out of it, or to another folder.
    #[error("{} is a link {problem}; give the folder that it leads to by its own path", path.display())]
    Link {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        problem: &'static str,
    },
    /// A name in a folder that an artifact could not have.
    #[error("in {}: {problem}", path.display())]
    Name {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        problem: BadName,
    },
    /// The file changed each time while it was read.
    #[error("{} changes while it is read; wait until it is written completely", path.display())]
    Changing {
        /// The file.
        path: PathBuf,
    },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> SourceError + '_ {
    |source| SourceError::Io { path: path.to_owned(), source }
}

impl StatCache {
    /// The cache that lies in the store's folder; an empty one when there is none or it is damaged.
    #[must_use]
    pub fn load(store: &Path) -> Self {
        let read = |path: &Path| -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            File::open(path)?.take(stat_index::BYTES_MAX as u64).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let index = match read(&store.join(INDEX)) {
            Ok(bytes) => StatIndex::decode(&bytes),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::debug!("cannot read {}: {error}", store.join(INDEX).display());
                }
                StatIndex::default()
            }
        };
        Self { store: store.to_owned(), index: Mutex::new(index) }
    }

    fn index(&self) -> MutexGuard<'_, StatIndex> {
        // The index is valid after any of its calls, so a panic elsewhere is no reason to stop.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The digest of a file's content. A link to a file is followed.
    ///
    /// # Errors
    /// When it is not a regular file, cannot be read, or keeps changing.
    pub fn digest_file(&self, path: &Path) -> Result<Digest, SourceError> {
        // The real path, so that a link that is turned to another file is not mistaken for the old one.
        self.digest_real(&path.canonicalize().map_err(io_error(path))?)
    }

    fn digest_real(&self, path: &Path) -> Result<Digest, SourceError> {
        for _ in 0..TRIES {
            let before = stat_of(&fs::metadata(path).map_err(io_error(path))?);
            if before.kind != Kind::File {
                return Err(SourceError::Kind { path: path.to_owned(), expected: "a regular file" });
            }
            if let Some(digest) = self.index().lookup(path, &before) {
                return Ok(digest);
            }
            let hashed_ns = now_ns();
            let (digest, bytes) = Digest::of_file(path).map_err(io_error(path))?;
            let after = stat_of(&fs::metadata(path).map_err(io_error(path))?);
            if before == after && bytes == after.bytes {
                self.index().note(path.to_owned(), &after, digest, hashed_ns);
                return Ok(digest);
            }
        }
        Err(SourceError::Changing { path: path.to_owned() })
    }

    /// The digest of a folder: of the relative paths and contents of all files in it. Empty folders, times and
    /// modes do not count.
    ///
    /// # Errors
    /// As [`StatCache::tree_members`].
    pub fn digest_tree(&self, path: &Path) -> Result<Digest, SourceError> {
        let members = self.tree_members(path)?;
        let list = members.iter().map(|m| Value::List(vec![Value::text(&m.name), fields::of_digest(&m.digest)]));
        let bytes = canon::encode(&Value::List(list.collect())).map_err(|_| SourceError::Name {
            path: path.to_owned(),
            problem: BadName { name: path.display().to_string(), problem: "holds too many files for one source" },
        })?;
        let mut hasher = blake3::Hasher::new_derive_key(TREE_CONTEXT);
        hasher.update(&bytes);
        Ok(Digest::from_bytes(*hasher.finalize().as_bytes()))
    }

    /// The digest of whatever lies at `path`: a file's or a folder's.
    ///
    /// # Errors
    /// As [`StatCache::digest_file`] and [`StatCache::tree_members`].
    pub fn digest_source(&self, path: &Path) -> Result<Digest, SourceError> {
        if fs::metadata(path).map_err(io_error(path))?.is_dir() {
            self.digest_tree(path)
        } else {
            self.digest_file(path)
        }
    }

    /// The files below a folder with their digests, in order of their relative paths. A link to a file inside the
    /// folder counts as a file of its own.
    ///
    /// # Errors
    /// When there is a link out of the folder or to a folder, a special file, a name that an artifact could not
    /// have, or something cannot be read.
    pub fn tree_members(&self, path: &Path) -> Result<Vec<Member>, SourceError> {
        let root = path.canonicalize().map_err(io_error(path))?;
        if !fs::metadata(&root).map_err(io_error(path))?.is_dir() {
            return Err(SourceError::Kind { path: path.to_owned(), expected: "a folder" });
        }
        let mut members = Vec::new();
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            let full = root.join(&folder);
            for entry in fs::read_dir(&full).map_err(io_error(&full))? {
                let entry = entry.map_err(io_error(&full))?;
                let name = member_name(&folder, &entry.file_name())
                    .map_err(|problem| SourceError::Name { path: full.clone(), problem })?;
                let path = entry.path();
                let kind = stat_of(&fs::symlink_metadata(&path).map_err(io_error(&path))?).kind;
                match kind {
                    Kind::Folder => folders.push(name),
                    Kind::File => members.push(Member { digest: self.digest_real(&path)?, name }),
                    Kind::Link => members.push(Member { digest: self.digest_link(&root, &path)?, name }),
                    Kind::Other => return Err(SourceError::Kind { path, expected: "a regular file or folder" }),
                }
            }
        }
        members.sort();
        Ok(members)
    }

    fn digest_link(&self, root: &Path, path: &Path) -> Result<Digest, SourceError> {
        let link = |problem| Err(SourceError::Link { path: path.to_owned(), problem });
        let target = path.canonicalize().map_err(io_error(path))?;
        if !target.starts_with(root) {
            return link("out of its folder");
        }
        if target.is_dir() {
            return link("to another folder");
        }
        self.digest_real(&target)
    }

    /// Writes the index into the store's folder, if anything changed. Another process's is replaced: at worst a
    /// file is hashed once more.
    ///
    /// # Errors
    /// When it cannot be written; nothing but time is lost.
    pub fn save(&self) -> io::Result<()> {
        let mut index = self.index();
        if !index.is_changed() {
            return Ok(());
        }
        let bytes = index.encode();
        drop(index);
        let target = self.store.join(INDEX);
        let temporary = self.store.join("tmp").join(attempts::fresh_name()?);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        if let Some(parent) = temporary.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&temporary, bytes)?;
        fs::rename(&temporary, &target).inspect_err(|_| _ = fs::remove_file(&temporary))
    }
}

/// The name of an entry of `folder`, relative to the tree's root and checked.
pub(crate) fn member_name(folder: &str, entry: &std::ffi::OsStr) -> Result<String, BadName> {
    let Some(entry) = entry.to_str() else {
        let name = entry.to_string_lossy().into_owned();
        return Err(BadName { name, problem: "is not UTF-8" });
    };
    let name = if folder.is_empty() { entry.to_owned() } else { format!("{folder}/{entry}") };
    names::check_path(&name)?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::time::{Duration, SystemTime};

    fn set_times(path: &Path, time: SystemTime) {
        File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }

    fn store() -> (tempfile::TempDir, PathBuf, StatCache) {
        let folder = tempfile::tempdir().unwrap();
        let (store, data) = (folder.path().join("store"), folder.path().join("data"));
        fs::create_dir_all(&store).unwrap();
        fs::create_dir_all(&data).unwrap();
        let cache = StatCache::load(&store);
        (folder, data, cache)
    }

    #[test]
    fn a_change_of_equal_length_within_one_tick_is_seen() {
        let (_folder, data, cache) = store();
        let path = data.join("a");
        let time = SystemTime::now();
        for round in 0..20u8 {
            fs::write(&path, [round; 8]).unwrap();
            set_times(&path, time);
            assert_eq!(cache.digest_file(&path).unwrap(), Digest::of(&[round; 8]), "round {round}");
        }
    }

    #[test]
    fn a_file_with_an_old_or_a_future_time_has_its_own_digest() {
        let (_folder, data, cache) = store();
        let path = data.join("a");
        let day = Duration::from_hours(24);
        for (time, content) in [(SystemTime::now() - day, "one"), (SystemTime::now() + day, "two")] {
            fs::write(&path, content).unwrap();
            set_times(&path, time);
            assert_eq!(cache.digest_file(&path).unwrap(), Digest::of(content.as_bytes()));
            // The same time, another content: the change time tells.
            fs::write(&path, "xyz").unwrap();
            set_times(&path, time);
            assert_eq!(cache.digest_file(&path).unwrap(), Digest::of(b"xyz"));
        }
    }

    #[test]
    fn the_index_is_saved_loaded_deleted_and_corrupted_without_harm() {
        let (folder, data, cache) = store();
        let path = data.join("a");
        fs::write(&path, "content").unwrap();
        let digest = cache.digest_file(&path).unwrap();
        cache.save().unwrap();
        let store = folder.path().join("store");
        let index = store.join(INDEX);
        assert!(index.is_file());
        assert_eq!(fs::read_dir(store.join("tmp")).unwrap().count(), 0, "no temporary file is left");
        assert_eq!(StatCache::load(&store).digest_file(&path).unwrap(), digest);
        for bytes in [&b""[..], b"garbage that is longer than a digest of 32 bytes"] {
            fs::write(&index, bytes).unwrap();
            assert_eq!(StatCache::load(&store).digest_file(&path).unwrap(), digest);
        }
        fs::remove_file(&index).unwrap();
        assert_eq!(StatCache::load(&store).digest_file(&path).unwrap(), digest);
    }

    #[test]
    fn an_entry_that_is_settled_saves_reading_the_file() {
        let (_folder, data, cache) = store();
        let path = data.join("a").canonicalize().unwrap_or(data.canonicalize().unwrap().join("a"));
        fs::write(&path, "abc").unwrap();
        let stat = stat_of(&fs::metadata(&path).unwrap());
        let planted = Digest::of(b"planted");
        cache.index().note(path.clone(), &stat, planted, stat.changed_ns + 3_000_000_000);
        assert_eq!(cache.digest_file(&path).unwrap(), planted, "the index was not asked");
        fs::write(&path, "abd").unwrap();
        assert_eq!(cache.digest_file(&path).unwrap(), Digest::of(b"abd"));
    }

    #[test]
    fn a_folder_s_digest_follows_names_and_contents_only() {
        let (_folder, data, cache) = store();
        fs::create_dir_all(data.join("x/y")).unwrap();
        fs::write(data.join("x/y/a"), "1").unwrap();
        fs::write(data.join("b"), "2").unwrap();
        let first = cache.digest_tree(&data).unwrap();
        assert_eq!(cache.digest_source(&data).unwrap(), first);
        let names: Vec<String> = cache.tree_members(&data).unwrap().into_iter().map(|m| m.name).collect();
        assert_eq!(names, ["b", "x/y/a"]);
        set_times(&data.join("b"), SystemTime::UNIX_EPOCH);
        fs::create_dir(data.join("empty")).unwrap();
        assert_eq!(cache.digest_tree(&data).unwrap(), first);
        fs::rename(data.join("b"), data.join("c")).unwrap();
        let renamed = cache.digest_tree(&data).unwrap();
        assert_ne!(renamed, first);
        fs::write(data.join("c"), "3").unwrap();
        assert_ne!(cache.digest_tree(&data).unwrap(), renamed);
    }

    #[test]
    fn links_that_lead_out_folders_by_link_and_special_files_are_refused() {
        let (folder, data, cache) = store();
        let outside = folder.path().join("outside");
        fs::write(&outside, "secret").unwrap();
        fs::write(data.join("a"), "1").unwrap();
        symlink("a", data.join("inside")).unwrap();
        let members = cache.tree_members(&data).unwrap();
        assert_eq!(members[0].digest, members[1].digest, "a link inside is a file like any other");
        let refuse = |name: &str| {
            let error = cache.digest_tree(&data).unwrap_err().to_string();
            fs::remove_file(data.join(name)).unwrap();
            error
        };
        symlink(&outside, data.join("out")).unwrap();
        assert!(refuse("out").contains("out of its folder"));
        symlink("../outside", data.join("out")).unwrap();
        assert!(refuse("out").contains("out of its folder"));
        symlink(".", data.join("loop")).unwrap();
        assert!(refuse("loop").contains("to another folder"));
        symlink("nowhere", data.join("dangling")).unwrap();
        assert!(refuse("dangling").contains("cannot read"));
        let _socket = std::os::unix::net::UnixListener::bind(data.join("socket")).unwrap();
        assert!(refuse("socket").contains("is not a regular file or folder"));
        fs::write(data.join("new\nline"), "").unwrap();
        assert!(refuse("new\nline").contains("control character"));
        assert!(cache.digest_file(&data).is_err());
        assert!(cache.digest_tree(&data.join("a")).is_err());
        cache.digest_tree(&data).unwrap();
    }
}
