//! The publish protocol with one mistake planted at a time, made by bending the calls to the file system. The
//! crash tests must catch every one of them: a harness that finds nothing in these would prove nothing.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use pru_flow_cache::fs::{Flush, Fs, ReadSeek, Stat};

use super::SimFs;

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// No file is flushed.
    NoFileFlush,
    /// Blobs are not flushed.
    NoBlobFlush,
    /// Records are not flushed.
    NoRecordFlush,
    /// No folder is flushed.
    NoFolderFlush,
    /// The folders of blobs are not flushed.
    NoBlobFolderFlush,
    /// The folders of records are not flushed.
    NoRecordFolderFlush,
    /// A new folder's own entry is not flushed.
    NoParentFlush,
    /// A folder is flushed before the rename into it and not after.
    FolderFlushBeforeRename,
    /// The record is written before its blobs have their names.
    RecordBeforeBlobs,
    /// Blobs are written under their own names.
    BlobInPlace,
    /// Records are written under their own names.
    RecordInPlace,
    /// A flush that failed is tried again.
    RetryFlush,
    /// A write that failed for want of space counts as done.
    IgnoreNoSpace,
    /// Whether a record is there is asked before the rename, not by it.
    CheckThenRename,
}

/// A simulated file system on which a mistake is made.
#[derive(Debug)]
pub struct Planted {
    pub inner: SimFs,
    pub bug: Bug,
    held: Mutex<Vec<(PathBuf, PathBuf)>>,
}

fn is_blob(path: &Path) -> bool {
    path.starts_with("/store/blobs")
}

fn is_record(path: &Path) -> bool {
    path.starts_with("/store/records")
}

impl Planted {
    pub fn new(inner: SimFs, bug: Bug) -> Self {
        Self { inner, bug, held: Mutex::default() }
    }

    fn in_place(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut content = Vec::new();
        self.inner.open(from)?.read_to_end(&mut content)?;
        self.inner.remove_file(from)?;
        let _ = self.inner.remove_file(to);
        self.inner.write_new(to, &mut content.as_slice(), 0o444, Flush::Now).map(|_| ())
    }

    fn named(&self, from: &Path, to: &Path, rename: impl Fn() -> io::Result<()>) -> io::Result<()> {
        match self.bug {
            Bug::BlobInPlace if is_blob(to) => self.in_place(from, to),
            Bug::RecordInPlace if is_record(to) => self.in_place(from, to),
            Bug::FolderFlushBeforeRename => {
                self.inner.sync_dir(to.parent().unwrap())?;
                rename()
            }
            Bug::RecordBeforeBlobs if is_blob(to) => {
                self.held.lock().unwrap().push((from.to_owned(), to.to_owned()));
                Ok(())
            }
            _ => rename(),
        }
    }
}

impl Fs for Planted {
    fn write_new(&self, path: &Path, content: &mut dyn Read, mode: u32, flush: Flush) -> io::Result<u64> {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        let record = bytes.starts_with(b"prurecrd");
        let skip = match self.bug {
            Bug::NoFileFlush | Bug::RetryFlush => true,
            // A store's own files are shorter.
            Bug::NoBlobFlush => !record && bytes.len() >= 5000,
            Bug::NoRecordFlush => record,
            _ => false,
        };
        let flush_now = if skip { Flush::Never } else { flush };
        let written = self.inner.write_new(path, &mut bytes.as_slice(), mode, flush_now);
        if self.bug == Bug::RetryFlush && flush == Flush::Now && written.is_ok() {
            self.sync_file(path)?;
        }
        match written {
            Err(error) if self.bug == Bug::IgnoreNoSpace && error.kind() == io::ErrorKind::StorageFull => {
                if record && self.inner.stat(path).is_ok() { Ok(bytes.len() as u64) } else { Err(error) }
            }
            other => other,
        }
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        match self.bug {
            Bug::NoFileFlush | Bug::NoBlobFlush => Ok(()),
            Bug::RetryFlush => self.inner.sync_file(path).or_else(|_| self.inner.sync_file(path)),
            _ => self.inner.sync_file(path),
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let parent = path == Path::new("/store/blobs")
            || path == Path::new("/store/records")
            || path.parent() == Some(Path::new("/store/records"));
        let skip = match self.bug {
            Bug::NoFolderFlush => true,
            Bug::NoBlobFolderFlush | Bug::RecordBeforeBlobs => is_blob(path),
            Bug::NoRecordFolderFlush => is_record(path),
            Bug::NoParentFlush => parent,
            Bug::FolderFlushBeforeRename => is_blob(path) || is_record(path),
            _ => false,
        };
        if !skip {
            self.inner.sync_dir(path)?;
        }
        if self.bug == Bug::RecordBeforeBlobs && is_record(path) && parent {
            for (from, to) in self.held.lock().unwrap().drain(..) {
                self.inner.rename(&from, &to)?;
                self.inner.sync_dir(to.parent().unwrap())?;
                self.inner.sync_dir(Path::new("/store/blobs"))?;
            }
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.named(from, to, || self.inner.rename(from, to))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.bug == Bug::CheckThenRename && is_record(to) {
            return self.inner.rename(from, to);
        }
        if self.bug == Bug::RecordInPlace && is_record(to) && self.inner.stat(to).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.named(from, to, || self.inner.rename_new(from, to))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadSeek>> {
        self.inner.open(path)
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        let held = self.held.lock().unwrap().iter().find(|(_, to)| to == path).map(|(from, _)| from.clone());
        self.inner.stat(held.as_deref().unwrap_or(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.inner.list(path)
    }

    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.inner.create_dir(path, mode)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        // A temporary whose rename is held back is not there to be removed, as after a rename.
        if self.held.lock().unwrap().iter().any(|(from, _)| from == path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.inner.remove_file(path)
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_tree(path)
    }

    fn set_read_only(&self, path: &Path) -> io::Result<()> {
        self.inner.set_read_only(path)
    }

    fn copy_new(&self, from: &Path, to: &Path) -> io::Result<u64> {
        self.inner.copy_new(from, to)
    }

    fn spread_folders(&self, path: &Path) {
        self.inner.spread_folders(path);
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.hard_link(from, to)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.inner.free_bytes(path)
    }
}
