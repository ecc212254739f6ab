//! Verifying blobs, moving damaged ones aside, and giving them to stages to read. What a user gets is `restore.rs`.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::fs::{Flush, is_disk_error};
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
}
