//! The store in a folder of this machine's: its layout, opening it, reading records and blobs.
//!
//! Any number of processes may share one folder; nothing but atomic renames keeps them apart. `publish.rs` writes,
//! `check.rs` verifies, `restore.rs` gives out. `FORMAT.md` states the layout and what in it is authoritative.

use std::collections::BTreeSet;
use std::io::{self, Read, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::action::ActionKey;
use crate::attempts;
use crate::digest::Digest;
use crate::fs::{Flush, Fs, Kind, RealFs, Stat, random_hex};
use crate::record::{ActionResult, RECORD_BYTES_MAX, RecordError, WriterId};
use crate::stat_index::{self, StatIndex};
use crate::store::{BlobEntry, Maintain, Put, RecordEntry, RecordName, Store, StoreError, Stored, Verdict};

/// The store's format: a folder with a higher one is refused.
pub const STORE_FORMAT: u32 = 1;

const VERSION: &str = "VERSION";
const WRITER: &str = "writer";
const IGNORE: &str = ".gitignore";
const BLOBS: &str = "blobs";
const RECORDS: &str = "records";
const TMP: &str = "tmp";
const QUARANTINE: &str = "quarantine";
const EVIDENCE: &str = "evidence";
const INDEX: &str = "index";
const BLOB_INDEX: &str = "index/blobs";
/// All that the store itself puts into its folder; other names are a user's.
const OURS: [&str; 9] = [VERSION, WRITER, IGNORE, BLOBS, RECORDS, TMP, QUARANTINE, EVIDENCE, INDEX];

/// A store in a folder. Cheap to share by reference among threads; dropping it removes its temporary files.
#[derive(Debug)]
pub struct LocalStore {
    pub(crate) fs: Arc<dyn Fs>,
    root: PathBuf,
    writer: WriterId,
    /// What blobs were verified as, by stat. Read from disk when first asked.
    verified: OnceLock<Mutex<StatIndex>>,
    /// Folders whose own entries this process has forced to the disk.
    durable: Mutex<BTreeSet<PathBuf>>,
    /// This store's own folder in `tmp/`, once made.
    own_tmp: Mutex<Option<PathBuf>>,
    /// Whether files were to be restored on another file system than the store's.
    pub(crate) is_apart: AtomicBool,
    /// Whether it was said that hard links are not possible.
    pub(crate) told_no_links: AtomicBool,
    counter: AtomicU64,
}

impl LocalStore {
    /// Opens the store in `folder`, and makes one there if there is none.
    ///
    /// # Errors
    /// [`StoreError::NewerFormat`], [`StoreError::NotAStore`] for a folder with other things in it, or the
    /// operating system's reason.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Self::open_on(folder, Arc::new(RealFs))
    }

    /// As [`LocalStore::open`], on a file system of the caller's: for tests that make it fail.
    ///
    /// # Errors
    /// As [`LocalStore::open`].
    pub fn open_on(folder: &Path, fs: Arc<dyn Fs>) -> Result<Self, StoreError> {
        let root = std::path::absolute(folder).map_err(|e| StoreError::io("opening the store", folder, e))?;
        let mut store = Self {
            fs,
            root,
            // Replaced below by the store's own.
            writer: WriterId::unnamed(),
            verified: OnceLock::new(),
            durable: Mutex::default(),
            own_tmp: Mutex::default(),
            is_apart: AtomicBool::new(false),
            told_no_links: AtomicBool::new(false),
            counter: AtomicU64::new(0),
        };
        if !store.has_version()? {
            store.lay_out()?;
        }
        store.writer = store.read_writer()?;
        attempts::remove_leftovers(store.fs.as_ref(), &store.path(TMP));
        Ok(store)
    }

    /// The store's folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The id under which this store writes records.
    #[must_use]
    pub fn writer(&self) -> &WriterId {
        &self.writer
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn has_version(&self) -> Result<bool, StoreError> {
        let path = self.path(VERSION);
        let text = match self.read(&path, 64) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(StoreError::io("reading", &path, error)),
        };
        match text.trim().parse::<u32>() {
            Ok(STORE_FORMAT) => Ok(true),
            Ok(found) if found > STORE_FORMAT => {
                Err(StoreError::NewerFormat { path: self.root.clone(), found, known: STORE_FORMAT })
            }
            _ => Err(StoreError::NotAStore {
                path: self.root.clone(),
                problem: format!("its file VERSION holds {:?}", text.trim()),
            }),
        }
    }

    /// Makes the layout. `VERSION` comes last, after everything else is durable: whoever sees it can rely on the rest.
    fn lay_out(&self) -> Result<(), StoreError> {
        self.create_root()?;
        for name in [BLOBS, RECORDS, QUARANTINE, EVIDENCE, INDEX] {
            self.create_dir(&self.path(name), 0o777)?;
        }
        self.create_dir(&self.path(TMP), 0o700)?;
        self.write_once(IGNORE, b"*\n", 0o644)?;
        self.write_once(WRITER, &self.fresh_writer()?, 0o644)?;
        self.sync_dir(&self.root)?;
        if let Some(parent) = self.root.parent() {
            self.sync_dir(parent)?;
        }
        self.write_once(VERSION, format!("{STORE_FORMAT}\n").as_bytes(), 0o644)?;
        self.sync_dir(&self.root)
    }

    fn create_root(&self) -> Result<(), StoreError> {
        let missing: Vec<&Path> = self.root.ancestors().take_while(|path| self.fs.stat(path).is_err()).collect();
        for path in missing.iter().rev() {
            self.create_dir(path, 0o777)?;
            if let Some(parent) = path.parent() {
                self.sync_dir(parent)?;
            }
        }
        let names = self.fs.list(&self.root).map_err(|e| StoreError::io("listing", &self.root, e))?;
        // What an interrupted opening left is ours to complete; a user's folder is not ours to spread into.
        match names.iter().find(|name| !OURS.iter().any(|ours| name == ours)) {
            // Another process completed its opening in between, and has begun to work.
            Some(_) if self.has_version()? => Ok(()),
            Some(stranger) => Err(StoreError::NotAStore {
                path: self.root.clone(),
                problem: format!("it holds {}", stranger.display()),
            }),
            None => Ok(()),
        }
    }

    pub(crate) fn create_dir(&self, path: &Path, mode: u32) -> Result<(), StoreError> {
        match self.fs.create_dir(path, mode) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(self.failed("making the folder", path, error))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn sync_dir(&self, path: &Path) -> Result<(), StoreError> {
        self.fs.sync_dir(path).map_err(|e| self.failed("flushing the folder", path, e))
    }

    /// Writes a small file under a name of the root, unless another process already has.
    fn write_once(&self, name: &str, content: &[u8], mode: u32) -> Result<(), StoreError> {
        let temporary = self.temporary()?;
        let target = self.path(name);
        temporary.write(content, mode)?;
        match self.fs.rename_new(&temporary.path, &target) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(self.failed("writing", &target, error)),
            _ => Ok(()),
        }
    }

    fn read_writer(&self) -> Result<WriterId, StoreError> {
        let path = self.path(WRITER);
        let read = || match self.read(&path, 256) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).trim().parse::<WriterId>().ok()),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => Ok(None),
            Err(error) => Err(StoreError::io("reading", &path, error)),
        };
        if let Some(writer) = read()? {
            return Ok(writer);
        }
        // Deleted or damaged: any new id does, for a reader takes other writers' records too.
        tracing::warn!("{} is missing or damaged; making a new one", path.display());
        let temporary = self.temporary()?;
        temporary.write(&self.fresh_writer()?, 0o644)?;
        self.fs.rename(&temporary.path, &path).map_err(|e| self.failed("writing", &path, e))?;
        self.sync_dir(&self.root)?;
        // Another process may have done the same a moment later.
        read()?.ok_or_else(|| StoreError::NotAStore {
            path: self.root.clone(),
            problem: "its file `writer` changes while it is read".to_owned(),
        })
    }

    fn fresh_writer(&self) -> Result<Vec<u8>, StoreError> {
        let id = random_hex(16).map_err(|e| StoreError::io("making a writer's id for", &self.root, e))?;
        Ok(format!("{id}\n").into_bytes())
    }

    /// All of a file, if it has at most `most` bytes.
    pub(crate) fn read(&self, path: &Path, most: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.fs.open(path)?.take(most as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > most {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("longer than {most} bytes")));
        }
        Ok(bytes)
    }

    /// An error of writing, with the free space where that is the reason.
    pub(crate) fn failed(&self, doing: &'static str, path: &Path, source: io::Error) -> StoreError {
        let mut error = StoreError::io(doing, path, source);
        if let StoreError::NoSpace { free, .. } = &mut error {
            *free = self.fs.free_bytes(&self.root).ok();
        }
        error
    }

    // Temporary files.

    fn own_tmp(&self) -> Result<PathBuf, StoreError> {
        let mut own = lock(&self.own_tmp);
        if let Some(path) = &*own {
            return Ok(path.clone());
        }
        let tmp = self.path(TMP);
        self.fs.spread_folders(&tmp);
        let name = attempts::fresh_name().map_err(|e| StoreError::io("making a folder in", &tmp, e))?;
        let path = tmp.join(name);
        self.fs.create_dir(&path, 0o700).map_err(|e| self.failed("making the folder", &path, e))?;
        *own = Some(path.clone());
        Ok(path)
    }

    /// A fresh, private folder on the store's file system, for one attempt at running a node. It goes with
    /// [`LocalStore::remove_attempt`], with the store, or, after a crash, when a store is next opened here.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn attempt_folder(&self) -> Result<PathBuf, StoreError> {
        let path = self.own_tmp()?.join(format!("a{}", self.next()));
        self.fs.create_dir(&path, 0o700).map_err(|e| self.failed("making the folder", &path, e))?;
        Ok(path)
    }

    /// Removes an attempt's folder with all that was not cached. Never fails: a leftover goes later.
    pub fn remove_attempt(&self, folder: &Path) {
        if !self.is_inside_tmp(folder) {
            tracing::warn!("{} is no attempt's folder; it stays", folder.display());
            return;
        }
        match self.fs.remove_tree(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::debug!("cannot remove {}: {error}", folder.display());
            }
            _ => {}
        }
    }

    /// Where attempts at one action keep what the next one can go on from: a folder that outlives attempts and
    /// processes. It need not exist, and nothing in it is to be relied on. One that is left alone for a week goes when
    /// a store is opened here.
    #[must_use]
    pub fn kept_folder(&self, key: &ActionKey) -> PathBuf {
        self.path(TMP).join(format!("kept-{key}"))
    }

    /// Where content that lies in records is put for stages to read.
    pub(crate) fn inline_folder(&self) -> Result<PathBuf, StoreError> {
        let path = self.own_tmp()?.join("inline");
        self.create_dir(&path, 0o700)?;
        Ok(path)
    }

    pub(crate) fn is_inside_tmp(&self, path: &Path) -> bool {
        use std::path::Component::Normal;
        match path.strip_prefix(self.path(TMP)) {
            Ok(rest) => rest.components().count() >= 2 && rest.components().all(|c| matches!(c, Normal(_))),
            Err(_) => false,
        }
    }

    fn next(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn temporary(&self) -> Result<Temporary<'_>, StoreError> {
        Ok(Temporary { path: self.own_tmp()?.join(format!("t{}", self.next())), store: self })
    }

    // Where things lie.

    pub(crate) fn blob_shard(&self, digest: &Digest) -> PathBuf {
        self.root.join(BLOBS).join(&digest.to_string()[..2])
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blob_shard(digest).join(digest.to_string())
    }

    pub(crate) fn record_folder(&self, key: &ActionKey) -> PathBuf {
        let key = key.to_string();
        self.root.join(RECORDS).join(&key[..2]).join(key)
    }

    pub(crate) fn quarantine_path(&self, name: &str) -> io::Result<PathBuf> {
        Ok(self.root.join(QUARANTINE).join(format!("{name}-{}", random_hex(4)?)))
    }

    pub(crate) fn evidence_path(&self, key: &ActionKey, record: &Digest) -> PathBuf {
        self.root.join(EVIDENCE).join(format!("{key}-{}", record.short()))
    }

    /// Whether this process has forced the entry of `folder` in its parent to the disk.
    pub(crate) fn is_durable(&self, folder: &Path) -> bool {
        lock(&self.durable).contains(folder)
    }

    pub(crate) fn note_durable(&self, folder: PathBuf) {
        lock(&self.durable).insert(folder);
    }

    // Records.

    /// The valid record of `key` by `writer`, with its bytes' problem where there is one.
    pub(crate) fn read_record(&self, key: &ActionKey, writer: &str) -> Result<ActionResult, Unread> {
        let path = self.record_folder(key).join(writer);
        let bytes = self.read(&path, RECORD_BYTES_MAX).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Unread::Absent,
            _ => Unread::Bad(error.to_string()),
        })?;
        let result = ActionResult::decode(&bytes).map_err(|problem: RecordError| Unread::Bad(problem.to_string()))?;
        if result.key != *key {
            return Err(Unread::Bad(format!("it is the record of {}", result.key)));
        }
        if result.writer.as_str() != writer {
            return Err(Unread::Bad(format!("it was written by {}", result.writer)));
        }
        Ok(result)
    }

    fn get_result(&self, key: &ActionKey) -> Option<ActionResult> {
        let accept = |writer: &str| match self.read_record(key, writer) {
            Ok(result) => Some(result),
            Err(Unread::Absent) => None,
            Err(Unread::Bad(problem)) => {
                tracing::info!("ignoring {}/{writer}: {problem}", self.record_folder(key).display());
                None
            }
        };
        // Our own record first; the order of the others will be that of trust.
        accept(self.writer.as_str()).or_else(|| {
            let others = self.record_writers(key);
            others.iter().filter(|writer| **writer != self.writer).find_map(|writer| accept(writer.as_str()))
        })
    }

    /// All records by their names, unread, in order of key.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub fn record_names(&self) -> Result<Vec<RecordName>, StoreError> {
        let keys = self.sharded(RECORDS)?.into_iter().filter_map(|name| name.parse::<ActionKey>().ok());
        let names = keys.flat_map(|key| {
            self.record_writers(&key).into_iter().filter_map(move |writer| {
                let stat = self.fs.stat(&self.record_folder(&key).join(writer.as_str())).ok()?;
                Some(RecordName { key, writer, modified: system_time(stat.modified_ns) })
            })
        });
        Ok(names.collect())
    }

    /// The record of `key` by `writer`; `None` when there is no valid one.
    #[must_use]
    pub fn record(&self, key: &ActionKey, writer: &WriterId) -> Option<ActionResult> {
        self.read_record(key, writer.as_str()).ok()
    }

    /// Who has a record of `key`, by the files' names.
    fn record_writers(&self, key: &ActionKey) -> Vec<WriterId> {
        let names = self.fs.list(&self.record_folder(key)).unwrap_or_default();
        // A signature `<writer>.sig` is no writer's id, and so is not among them.
        names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect()
    }

    // Blobs.

    pub(crate) fn stat_blob(&self, digest: &Digest) -> Result<Option<Stat>, StoreError> {
        let path = self.blob_path(digest);
        match self.fs.stat(&path) {
            Ok(stat) if stat.kind == Kind::File => Ok(Some(stat)),
            Ok(_) => Ok(None),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(StoreError::io("reading", &path, error)),
        }
    }

    pub(crate) fn verified(&self) -> MutexGuard<'_, StatIndex> {
        lock(self.verified.get_or_init(|| {
            let index = self.read(&self.path(BLOB_INDEX), stat_index::BYTES_MAX);
            Mutex::new(index.map(|bytes| StatIndex::decode(&bytes)).unwrap_or_default())
        }))
    }

    /// Writes down which blobs were verified. Also done when the store is dropped.
    ///
    /// # Errors
    /// When it cannot be written; only time is lost.
    pub fn save_index(&self) -> Result<(), StoreError> {
        let Some(index) = self.verified.get() else { return Ok(()) };
        let mut index = lock(index);
        if !index.is_changed() {
            return Ok(());
        }
        let bytes = index.encode();
        drop(index);
        let temporary = self.temporary()?;
        let target = self.path(BLOB_INDEX);
        let write = |path: &Path| {
            // A torn index is noticed by its digest, so it need not be flushed.
            self.fs.write_new(path, &mut bytes.as_slice(), 0o644, Flush::Never)?;
            self.fs.rename(path, &target)
        };
        write(&temporary.path).map_err(|e| self.failed("writing", &target, e))
    }
}

/// Why a record was not read.
pub(crate) enum Unread {
    /// There is none.
    Absent,
    /// There is one that says nothing valid.
    Bad(String),
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these hold is valid after any of their calls, so a panic elsewhere is no reason to stop.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for LocalStore {
    fn drop(&mut self) {
        if let Err(error) = self.save_index() {
            tracing::debug!("the index of verified blobs is not saved: {error}");
        }
        if let Some(path) = lock(&self.own_tmp).take()
            && let Err(error) = self.fs.remove_tree(&path)
        {
            tracing::debug!("cannot remove {}: {error}", path.display());
        }
    }
}

/// A name for a temporary file; the file, if it still has that name, goes when this is dropped.
pub(crate) struct Temporary<'a> {
    pub(crate) path: PathBuf,
    store: &'a LocalStore,
}

impl Temporary<'_> {
    /// Writes the file and forces it to the disk.
    pub(crate) fn write(&self, mut content: &[u8], mode: u32) -> Result<(), StoreError> {
        let needed = content.len() as u64;
        self.store.fs.write_new(&self.path, &mut content, mode, Flush::Now).map(|_| ()).map_err(|e| {
            let mut error = self.store.failed("writing", &self.path, e);
            if let StoreError::NoSpace { needed: n, .. } = &mut error {
                *n = Some(needed);
            }
            error
        })
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        // After a rename there is nothing here to remove, and that is the usual case.
        let _ = self.store.fs.remove_file(&self.path);
    }
}

impl Store for LocalStore {
    fn get_results(&self, keys: &[ActionKey]) -> Result<Vec<Option<ActionResult>>, StoreError> {
        Ok(keys.iter().map(|key| self.get_result(key)).collect())
    }

    fn put_result(&self, result: &ActionResult, put: Put) -> Result<Stored, StoreError> {
        self.publish_record(result, put)
    }

    fn has_blobs(&self, digests: &[Digest]) -> Result<Vec<bool>, StoreError> {
        digests.iter().map(|digest| Ok(self.stat_blob(digest)?.is_some())).collect()
    }

    fn open_blob(&self, digest: &Digest, range: Option<Range<u64>>) -> Result<Box<dyn Read + Send>, StoreError> {
        if self.verify(digest)? != Verdict::Good {
            return Err(StoreError::NoBlob(*digest));
        }
        let path = self.blob_path(digest);
        let mut file = self.fs.open(&path).map_err(|e| StoreError::io("reading", &path, e))?;
        let Some(range) = range else { return Ok(Box::new(file)) };
        file.seek(SeekFrom::Start(range.start)).map_err(|e| StoreError::io("reading", &path, e))?;
        Ok(Box::new(file.take(range.end.saturating_sub(range.start))))
    }

    fn put_blob(&self, path: &Path) -> Result<(Digest, u64), StoreError> {
        let (digest, bytes) = self.copy_in(path)?;
        self.sync_shards(&BTreeSet::from([self.blob_shard(&digest)]))?;
        Ok((digest, bytes))
    }

    fn local_path(&self, digest: &Digest) -> Option<PathBuf> {
        matches!(self.stat_blob(digest), Ok(Some(_))).then(|| self.blob_path(digest))
    }
}

impl Maintain for LocalStore {
    fn records(&self) -> Result<Box<dyn Iterator<Item = RecordEntry> + '_>, StoreError> {
        Ok(Box::new(self.record_names()?.into_iter().filter_map(|name| {
            let RecordName { key, writer, modified } = name;
            let result = self.record(&key, &writer)?;
            Some(RecordEntry { key, writer, modified, result })
        })))
    }

    fn blobs(&self) -> Result<Box<dyn Iterator<Item = BlobEntry> + '_>, StoreError> {
        let digests = self.sharded(BLOBS)?.into_iter().filter_map(|name| name.parse::<Digest>().ok());
        Ok(Box::new(digests.filter_map(|digest| {
            let stat = self.stat_blob(&digest).ok()??;
            Some(BlobEntry { digest, bytes: stat.bytes, modified: system_time(stat.modified_ns) })
        })))
    }

    fn quarantine(&self, digest: &Digest) -> Result<bool, StoreError> {
        self.move_to_quarantine(digest)
    }

    fn delete_record(&self, key: &ActionKey, writer: &WriterId) -> Result<bool, StoreError> {
        self.delete(&self.record_folder(key).join(writer.as_str()))
    }

    fn delete_blob(&self, digest: &Digest) -> Result<bool, StoreError> {
        self.verified().forget(Path::new(&digest.to_string()));
        self.delete(&self.blob_path(digest))
    }
}

impl LocalStore {
    fn delete(&self, path: &Path) -> Result<bool, StoreError> {
        match self.fs.remove_file(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("removing", path, error)),
        }
    }

    /// The names below the shards of `kind`, in order.
    fn sharded(&self, kind: &str) -> Result<Vec<String>, StoreError> {
        let folder = self.path(kind);
        let shards = self.fs.list(&folder).map_err(|e| StoreError::io("listing", &folder, e))?;
        let mut names = Vec::new();
        for shard in shards {
            // A stray file among the shards is none of ours.
            for name in self.fs.list(&folder.join(&shard)).unwrap_or_default() {
                names.extend(name.to_str().map(str::to_owned));
            }
        }
        Ok(names)
    }
}

fn system_time(ns: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(u64::try_from(ns).unwrap_or(0))
}
