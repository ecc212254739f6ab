//! What every store can do, wherever its bytes lie: [`Store`] for runs, [`Maintain`] for looking after it.
//!
//! All calls block. A record is only ever a hit or a miss; damage is the store's business to notice.

use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::action::{ActionError, ActionKey};
use crate::digest::Digest;
use crate::fs;
use crate::names::BadName;
use crate::record::{ActionResult, RecordError, WriterId};

/// Results by key and blobs by digest.
pub trait Store: Send + Sync {
    /// The result of each key, in the order asked for; `None` where there is no valid record. Whether its blobs
    /// are there is checked when their bytes are needed.
    ///
    /// # Errors
    /// Only when the store as a whole cannot be asked: a single bad record is a miss.
    fn get_results(&self, keys: &[ActionKey]) -> Result<Vec<Option<ActionResult>>, StoreError>;

    /// Records a result, durably, after the blobs that it names, which must be there. With [`Put::IfAbsent`] of
    /// many that race under one writer's id (all processes that share a store) one is new and the others are told
    /// of it; another writer's record of the same key is left alone in any case.
    ///
    /// # Errors
    /// When it could not be recorded: then nothing was.
    fn put_result(&self, result: &ActionResult, put: Put) -> Result<Stored, StoreError>;

    /// Whether each blob is there; its bytes are not looked at.
    ///
    /// # Errors
    /// When the store cannot be asked.
    fn has_blobs(&self, digests: &[Digest]) -> Result<Vec<bool>, StoreError>;

    /// Opens a blob whose bytes were verified, all of it or a range (cut to the blob's end). Content that lies
    /// inline in a record need not be a blob: look there first.
    ///
    /// # Errors
    /// [`StoreError::NoBlob`] when it is missing, or was damaged and has been moved aside.
    fn open_blob(&self, digest: &Digest, range: Option<Range<u64>>) -> Result<Box<dyn Read + Send>, StoreError>;

    /// Copies a regular file into the store, durably; gives its digest and length.
    ///
    /// # Errors
    /// When it is not a regular file, or could not be stored: then nothing was.
    fn put_blob(&self, path: &Path) -> Result<(Digest, u64), StoreError>;

    /// Where the blob lies as a file, for stores that have it as one. Not verified: see `LocalStore::verify`.
    fn local_path(&self, digest: &Digest) -> Option<PathBuf>;
}

/// What to do when there is a record already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// Leave it.
    IfAbsent,
    /// Replace it: its blobs were lost or damaged, or the user asked to run again.
    Replace,
}

/// What became of a result.
#[derive(Clone, Debug, PartialEq)]
pub enum Stored {
    /// It is recorded.
    New,
    /// Another was there first and stays. When its outputs differ, the new record is kept as evidence.
    Exists(Box<ActionResult>),
}

/// What checking a blob found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its bytes have its digest.
    Good,
    /// They did not; it has been moved to quarantine.
    Damaged,
    /// It is not there.
    Missing,
}

/// What looks after a store: collection of garbage, verification, comparing with earlier results.
pub trait Maintain: Store {
    /// All valid records, in order of key and writer. Invalid ones are skipped.
    ///
    /// # Errors
    /// When the store cannot be listed.
    fn records(&self) -> Result<Box<dyn Iterator<Item = RecordEntry> + '_>, StoreError>;

    /// All blobs, in order of digest, unverified.
    ///
    /// # Errors
    /// When the store cannot be listed.
    fn blobs(&self) -> Result<Box<dyn Iterator<Item = BlobEntry> + '_>, StoreError>;

    /// Moves a blob aside; whoever needs it runs its producer again. `false` when it is not there.
    ///
    /// # Errors
    /// When it cannot be moved.
    fn quarantine(&self, digest: &Digest) -> Result<bool, StoreError>;

    /// Removes a record. `false` when there was none.
    ///
    /// # Errors
    /// When it cannot be removed.
    fn delete_record(&self, key: &ActionKey, writer: &WriterId) -> Result<bool, StoreError>;

    /// Removes a blob. `false` when there was none.
    ///
    /// # Errors
    /// When it cannot be removed.
    fn delete_blob(&self, digest: &Digest) -> Result<bool, StoreError>;
}

/// A record that was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordName {
    /// Its key.
    pub key: ActionKey,
    /// Who wrote it.
    pub writer: WriterId,
    /// When it was written.
    pub modified: SystemTime,
}

/// One valid record.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordEntry {
    /// Its key.
    pub key: ActionKey,
    /// Who wrote it.
    pub writer: WriterId,
    /// When it was written.
    pub modified: SystemTime,
    /// What it says.
    pub result: ActionResult,
}

/// One blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobEntry {
    /// Its name.
    pub digest: Digest,
    /// Its length.
    pub bytes: u64,
    /// When it was written.
    pub modified: SystemTime,
}

/// Why a store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Disk full, quota used up or file too large.
    #[error(
        "no room {doing} {}: {}{} bytes are free; nothing was cached. Free some space, or use another store with --store",
        path.display(), needed.map(|n| format!("{n} bytes are needed and ")).unwrap_or_default(), free.map_or("an unknown number of".to_owned(), |n| n.to_string())
    )]
    NoSpace {
        /// What was being done.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// Bytes to be written, where known.
        needed: Option<u64>,
        /// Bytes free, where known.
        free: Option<u64>,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The disk reports an error.
    #[error("disk error {doing} {}: {source}; nothing was cached. Check the disk, or use another store with --store", path.display())]
    Disk {
        /// What was being done.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Any other reason of the operating system.
    #[error("{doing} {} failed: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The store was made by a newer version.
    #[error("the store {} has format {found}; this version reads up to {known}. Update pru-flow, or use another store with --store", path.display())]
    NewerFormat {
        /// The store.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest known here.
        known: u32,
    },
    /// A folder with other things in it.
    #[error("{} is not a store: {problem}. Give an empty or a new folder with --store", path.display())]
    NotAStore {
        /// The folder.
        path: PathBuf,
        /// What was found.
        problem: String,
    },
    /// A result that cannot be recorded.
    #[error("the result of {key} cannot be recorded: {problem}")]
    Record {
        /// Its key.
        key: ActionKey,
        /// Why not.
        problem: RecordError,
    },
    /// An action without a key.
    #[error(transparent)]
    Action(#[from] ActionError),
    /// A blob that is not there, or no longer.
    #[error("the blob {0} is not in the store; run its producer again")]
    NoBlob(Digest),
    /// A declared output that is not what was declared.
    #[error("{} {problem}", output_named(output, path))]
    Output {
        /// Its name, empty for a file given directly.
        output: String,
        /// Where.
        path: PathBuf,
        /// What is wrong.
        problem: OutputProblem,
    },
}

fn output_named(output: &str, path: &Path) -> String {
    if output.is_empty() { path.display().to_string() } else { format!("the output `{output}` ({})", path.display()) }
}

/// What is wrong with an output.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutputProblem {
    /// Nothing lies there.
    #[error("was not written")]
    Missing,
    /// A link, which may lead anywhere.
    #[error("is a link; write the file itself")]
    Link,
    /// A pipe, socket or device.
    #[error("is not a regular file")]
    Special,
    /// A folder where a file was declared.
    #[error("is a folder where a file was declared")]
    IsFolder,
    /// A file where a folder was declared.
    #[error("is a file where a folder was declared")]
    IsFile,
    /// A name that an artifact cannot have.
    #[error("holds a file that cannot be kept: {0}")]
    Name(BadName),
    /// Written to while it was being cached.
    #[error("changed while it was being cached; does a process of the stage still run?")]
    Changing,
}

impl StoreError {
    /// Puts the operating system's reason into the variant that says what to do about it.
    pub(crate) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        if fs::is_no_space(&source) {
            Self::NoSpace { doing, path, needed: None, free: None, source }
        } else if fs::is_disk_error(&source) {
            Self::Disk { doing, path, source }
        } else {
            Self::Io { doing, path, source }
        }
    }
}
