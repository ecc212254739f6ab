//! Puts stored content back where a user has it: as a copy whose blocks are shared where the file system can, or, where
//! asked, as a hard link to the blob.
//!
//! A restored file appears under its name whole or not at all, whenever the process dies: it is written elsewhere and
//! renamed. It is not flushed, as it can be had again from the store. Knows nothing of who wants which file.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::digest::Digest;
use crate::fs::{Flush, random_hex};
use crate::local::LocalStore;
use crate::record::ActionResult;
use crate::store::{StoreError, Verdict};

/// How a restored file is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum How {
    /// A file of the user's own, writable. It shares its blocks with the blob where the file system can; editing it
    /// never reaches the store.
    #[default]
    Copy,
    /// The blob itself under a second name, read-only: no room is taken and nothing is copied. Whoever makes it writable
    /// and edits it damages the blob, which is noticed before the blob is used again: every link made or removed, and
    /// every write through one, changes the blob's stat, and so its bytes are read again. Content that lies in a record
    /// has no blob, and is copied; so is what cannot be linked (on another file system, or another user's), with a
    /// warning.
    HardLink,
}

/// One file of many: what [`LocalStore::restore_all`] takes.
#[derive(Clone, Copy, Debug)]
pub struct Restoration<'a> {
    /// The result that it belongs to.
    pub result: &'a ActionResult,
    /// Its content.
    pub digest: Digest,
    /// Where it is put.
    pub to: &'a Path,
    /// How it is made.
    pub how: How,
}

/// Files that a thread of [`LocalStore::restore_all`] takes at a time.
const TAKEN: usize = 16;
/// Threads of [`LocalStore::restore_all`]; beyond, they wait for each other in the file system.
const THREADS_MAX: usize = 8;

impl LocalStore {
    /// Puts content of `result` at `to`, from its blob, which is verified, or from the record. A file already there is
    /// replaced in one step, and folders on the way are made.
    ///
    /// # Errors
    /// [`StoreError::NoBlob`] when the blob is missing or damaged; the operating system's reason otherwise.
    pub fn restore(&self, result: &ActionResult, digest: &Digest, to: &Path, how: How) -> Result<(), StoreError> {
        if let Some(content) = result.inline.get(digest) {
            let write = |temporary: &Path| {
                self.fs.write_new(temporary, &mut content.as_slice(), 0o666, Flush::Never).map(|_| ())
            };
            return self.place(to, write);
        }
        if self.verify(digest)? != Verdict::Good {
            return Err(StoreError::NoBlob(*digest));
        }
        let blob = self.blob_path(digest);
        self.place(to, |temporary| match how {
            How::Copy => self.fs.copy_new(&blob, temporary).map(|_| ()),
            How::HardLink => self.link(&blob, temporary),
        })
    }

    /// Puts many files in their places, several at once, each as [`LocalStore::restore`] does and independent of the
    /// others; gives their outcomes in the same order.
    #[must_use]
    pub fn restore_all(&self, files: &[Restoration]) -> Vec<Result<(), StoreError>> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut outcomes = Vec::new();
            loop {
                let first = next.fetch_add(TAKEN, Ordering::Relaxed);
                let Some(rest) = files.get(first..).filter(|rest| !rest.is_empty()) else { return outcomes };
                let taken = rest.iter().take(TAKEN);
                let done = taken.map(|file| self.restore(file.result, &file.digest, file.to, file.how));
                outcomes.push((first, done.collect::<Vec<_>>()));
            }
        };
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = cores.min(THREADS_MAX).min(files.len().div_ceil(TAKEN));
        let mut outcomes: Vec<_> = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut outcomes = work();
            for other in others {
                // A panic of ours is a bug and goes on as one.
                outcomes.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            outcomes
        });
        outcomes.sort_by_key(|(first, _)| *first);
        outcomes.into_iter().flat_map(|(_, outcomes)| outcomes).collect()
    }

    /// Gives the blob a second name, or copies it where that is not possible.
    fn link(&self, blob: &Path, to: &Path) -> io::Result<()> {
        let linked = self.fs.set_read_only(blob).and_then(|()| self.fs.hard_link(blob, to));
        match linked {
            Err(error) if is_unlinkable(&error) => {
                if !self.told_no_links.swap(true, Ordering::Relaxed) {
                    let (folder, store) = (to.parent().unwrap_or(to).display(), self.root().display());
                    tracing::warn!("files in {folder} cannot be hard links into the store {store} ({error}): copied");
                }
                self.fs.copy_new(blob, to).map(|_| ())
            }
            other => other,
        }
    }

    /// Makes a file elsewhere and renames it to `to`: from the store's own folder, where what a killed process leaves is
    /// cleared away, or from beside `to` where that is on another file system.
    fn place(&self, to: &Path, make: impl Fn(&Path) -> io::Result<()>) -> Result<(), StoreError> {
        // The target lies outside the store, so what the store says of a full disk would mislead here.
        let failed = |source| StoreError::Io { doing: "writing", path: to.to_owned(), source };
        let target = std::path::absolute(to).map_err(failed)?;
        let (Some(parent), Some(_)) = (target.parent(), target.file_name()) else {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "this does not name a file")));
        };
        // A store that cannot be written to can still be restored from.
        if !self.is_apart.load(Ordering::Relaxed)
            && let Ok(temporary) = self.temporary()
        {
            make(&temporary.path).map_err(failed)?;
            match self.rename_out(&temporary.path, &target, parent) {
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                    self.is_apart.store(true, Ordering::Relaxed);
                }
                // Where both are names of one file, nothing was renamed; the temporary one goes in any case.
                done => return done.map_err(failed),
            }
        }
        self.create_folders(parent).map_err(failed)?;
        // Short, so that a name of full length still has room beside it.
        let temporary = parent.join(format!(".pru-{}", random_hex(6).map_err(failed)?));
        let placed = make(&temporary).and_then(|()| self.fs.rename(&temporary, &target));
        placed.map_err(|error| {
            let _ = self.fs.remove_file(&temporary);
            failed(error)
        })
    }

    /// Renames, and makes the folders on the way only when they are missing: looking for those of each of many files
    /// costs more than writing it.
    fn rename_out(&self, from: &Path, to: &Path, parent: &Path) -> io::Result<()> {
        match self.fs.rename(from, to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.create_folders(parent)?;
                self.fs.rename(from, to)
            }
            other => other,
        }
    }

    fn create_folders(&self, folder: &Path) -> io::Result<()> {
        for folder in folder.ancestors().collect::<Vec<_>>().into_iter().rev() {
            if self.fs.stat(folder).is_err() {
                match self.fs.create_dir(folder, 0o777) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// Whether a file system, or the rule that only a file's owner may link it, stands against a hard link.
fn is_unlinkable(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let reasons = [Errno::XDEV, Errno::PERM, Errno::MLINK, Errno::NOTSUP, Errno::NOSYS, Errno::ROFS];
    reasons.iter().any(|reason| error.raw_os_error() == Some(reason.raw_os_error()))
}
