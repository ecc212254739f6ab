//! Verifying blobs, moving damaged ones aside, and giving files out so that nobody can change the store through them.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::fs::{Flush, is_disk_error, random_hex};
use crate::local::LocalStore;
use crate::record::ActionResult;
use crate::stat_index::now_ns;
use crate::store::{StoreError, Verdict};

impl LocalStore {
    /// Checks a blob's bytes against its name, unless its stat says that they are those that were last checked
    /// here. A damaged blob, or one that the disk cannot read, is moved to quarantine.
    ///
    /// # Errors
    /// When it can neither be read nor moved aside.
    pub fn verify(&self, digest: &Digest) -> Result<Verdict, StoreError> {
        let name = PathBuf::from(digest.to_string());
        let Some(before) = self.stat_blob(digest)? else {
            return Ok(Verdict::Missing);
        };
        if self.verified().lookup(&name, &before) == Some(*digest) {
            return Ok(Verdict::Good);
        }
        self.verify_bytes(digest)
    }

    /// As [`LocalStore::verify`], but reads the bytes whatever is remembered of them.
    ///
    /// # Errors
    /// As [`LocalStore::verify`].
    pub fn verify_bytes(&self, digest: &Digest) -> Result<Verdict, StoreError> {
        let path = self.blob_path(digest);
        let Some(before) = self.stat_blob(digest)? else {
            return Ok(Verdict::Missing);
        };
        let hashed_ns = now_ns();
        let found = match self.fs.open(&path).and_then(Digest::of_reader) {
            Ok((found, _)) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Verdict::Missing),
            Err(error) if is_disk_error(&error) => {
                tracing::warn!("disk error reading {}: {error}", path.display());
                None
            }
            Err(error) => return Err(StoreError::io("reading", &path, error)),
        };
        let after = self.stat_blob(digest)?;
        if found == Some(*digest) {
            if after == Some(before) {
                self.verified().note(PathBuf::from(digest.to_string()), &before, *digest, hashed_ns);
            }
            return Ok(Verdict::Good);
        }
        // Another process may have put a good one in its place since.
        if after.is_some_and(|after| after.inode != before.inode) {
            return self.verify_bytes(digest);
        }
        let moved = self.move_to_quarantine(digest)?;
        Ok(if moved { Verdict::Damaged } else { Verdict::Missing })
    }

    pub(crate) fn move_to_quarantine(&self, digest: &Digest) -> Result<bool, StoreError> {
        let path = self.blob_path(digest);
        self.verified().forget(Path::new(&digest.to_string()));
        let moving = |e| StoreError::io("moving to quarantine", &path, e);
        let aside = self.quarantine_path(&format!("blob-{digest}")).map_err(moving)?;
        match self.fs.rename(&path, &aside) {
            Ok(()) => {
                tracing::warn!("the blob {digest} was damaged; it lies in {} now", aside.display());
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(moving(error)),
        }
    }

    /// Verifies all blobs that a result names, and gives those that are not good.
    ///
    /// # Errors
    /// As [`LocalStore::verify`].
    pub fn unusable(&self, result: &ActionResult) -> Result<Vec<(Digest, Verdict)>, StoreError> {
        let mut bad = Vec::new();
        for digest in result.blobs() {
            match self.verify(&digest)? {
                Verdict::Good => {}
                verdict => bad.push((digest, verdict)),
            }
        }
        Ok(bad)
    }

    /// A path under which a stage can read content of `result`: the verified blob, or a file of this process's own
    /// for content that lies in the record (it goes with the store object). To be read only.
    ///
    /// # Errors
    /// [`StoreError::NoBlob`] when the blob is missing or damaged; the operating system's reason otherwise.
    pub fn materialise(&self, result: &ActionResult, digest: &Digest) -> Result<PathBuf, StoreError> {
        let Some(content) = result.inline.get(digest) else {
            return match self.verify(digest)? {
                Verdict::Good => Ok(self.blob_path(digest)),
                Verdict::Damaged | Verdict::Missing => Err(StoreError::NoBlob(*digest)),
            };
        };
        let folder = self.inline_folder()?;
        let path = folder.join(digest.to_string());
        if self.fs.stat(&path).is_ok_and(|stat| stat.bytes == content.len() as u64) {
            return Ok(path);
        }
        let temporary = self.temporary()?;
        self.fs
            .write_new(&temporary.path, &mut content.as_slice(), 0o444, Flush::Never)
            .and_then(|_| self.fs.rename(&temporary.path, &path))
            .map_err(|e| self.failed("writing", &path, e))?;
        Ok(path)
    }

    /// Puts a copy of a verified blob at `to`, with its blocks shared where the file system can, and never a hard
    /// link: a file already there is replaced in one step, and editing the copy does not reach the store.
    ///
    /// # Errors
    /// [`StoreError::NoBlob`] when the blob is missing or damaged; the operating system's reason otherwise.
    pub fn restore(&self, digest: &Digest, to: &Path) -> Result<(), StoreError> {
        if self.verify(digest)? != Verdict::Good {
            return Err(StoreError::NoBlob(*digest));
        }
        let blob = self.blob_path(digest);
        self.place(to, |temporary| self.fs.copy_new(&blob, temporary))
    }

    /// As [`LocalStore::restore`], for content that may lie in the record.
    ///
    /// # Errors
    /// As [`LocalStore::restore`].
    pub fn restore_from(&self, result: &ActionResult, digest: &Digest, to: &Path) -> Result<(), StoreError> {
        match result.inline.get(digest) {
            Some(content) => {
                self.place(to, |temporary| self.fs.write_new(temporary, &mut content.as_slice(), 0o666, Flush::Never))
            }
            None => self.restore(digest, to),
        }
    }

    /// Writes a file beside `to` and renames it. Not flushed: it can be had again from the store.
    fn place(&self, to: &Path, write: impl FnOnce(&Path) -> io::Result<u64>) -> Result<(), StoreError> {
        // The target lies outside the store, so what the store says of a full disk would mislead here.
        let failed = |source| StoreError::Io { doing: "writing", path: to.to_owned(), source };
        let to = std::path::absolute(to).map_err(failed)?;
        let Some((parent, name)) = to.parent().zip(to.file_name()) else {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "this does not name a file")));
        };
        for folder in parent.ancestors().collect::<Vec<_>>().into_iter().rev() {
            if self.fs.stat(folder).is_err() {
                self.create_dir(folder, 0o777)?;
            }
        }
        // Short, so that a name of full length still has room beside it.
        let random = random_hex(6).map_err(failed)?;
        let temporary = parent.join(format!(".pru-{random}"));
        let placed = write(&temporary).and_then(|_| self.fs.rename(&temporary, &parent.join(name)));
        placed.map_err(|error| {
            let _ = self.fs.remove_file(&temporary);
            failed(error)
        })
    }
}
