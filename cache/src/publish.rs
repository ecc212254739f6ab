//! How results come into the store: blobs first, each complete and on the disk before it has its name, then the
//! record that names them. Whoever sees a record sees all of its blobs, after any crash.
//!
//! The order for each file: temporary, write, flush, rename; then flush the folder; only then the next step. A call
//! that fails ends the publication: nothing is tried again on a file whose flush failed, for the kernel may have
//! dropped the pages and would report success (`fsync` tells of an error once).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::action::Action;
use crate::digest::{Digest, HashingReader};
use crate::fs::{Flush, Kind, Stat};
use crate::local::{LocalStore, Unread, lock};
use crate::record::{ActionResult, INLINE_BYTES_MAX, INLINE_TOTAL_MAX, Output, OutputFile};
use crate::stat_cache::member_name;
use crate::stat_index::now_ns;
use crate::store::{OutputProblem, Put, StoreError, Stored};

/// What is known of a finished attempt beside the files that it wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// The action that was run.
    pub action: Action,
    /// The node that ran it.
    pub node: String,
    /// Times, memory and the like; numbers that are not finite are left out of the record.
    pub measurements: BTreeMap<String, f64>,
    /// Execution class, host class, code version, start and end (unix ms).
    pub provenance: BTreeMap<String, String>,
}

/// What publishing gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// The record that the key has from now on: the new one, or an earlier one that stays.
    pub result: ActionResult,
    /// The outputs in which an earlier record that stays differs from what was now computed: not empty means
    /// that the stage is not deterministic.
    pub differing: Vec<String>,
    /// Whether `result` is what was now computed.
    pub new: bool,
}

/// One publication of many: what [`LocalStore::publish`] takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Publication {
    /// For each output whether it is a folder, and where it lies.
    pub outputs: BTreeMap<String, (bool, PathBuf)>,
    /// What else is known of the attempt.
    pub finished: Finished,
    /// What to do when there is a record already.
    pub put: Put,
}

/// Publications that are under way at once in [`LocalStore::publish_all`].
const TOGETHER: usize = 16;

/// A file of an output, found but not yet read.
struct Found {
    output: String,
    name: String,
    path: PathBuf,
    stat: Stat,
}

impl LocalStore {
    /// Takes the declared outputs of an attempt into the store and records them. `outputs` gives for each output
    /// whether it is a folder, and where it lies. Files in the store's own `tmp/` are moved, others copied; empty
    /// folders are not kept; files up to 4 KiB go into the record. When this returns, all of it is on the disk.
    ///
    /// # Errors
    /// [`StoreError::Output`] when an output is missing, a link, a special file, or has a name that cannot be kept,
    /// before anything is stored; or why it could not be stored: then there is no record.
    pub fn publish(
        &self,
        outputs: &BTreeMap<String, (bool, PathBuf)>,
        finished: Finished,
        put: Put,
    ) -> Result<Published, StoreError> {
        let mut found = Vec::new();
        for (output, (folder, path)) in outputs {
            self.find_files(output, *folder, path, &mut found)?;
        }
        let mut result = ActionResult::new(finished.action, finished.node, self.writer().clone())?;
        result.measurements = finished.measurements;
        result.measurements.retain(|_, number| number.is_finite());
        result.provenance = finished.provenance;
        for (output, (folder, _)) in outputs {
            result.outputs.insert(output.clone(), Output { folder: *folder, files: Vec::new() });
        }
        let mut shards = BTreeSet::new();
        let mut inline_bytes = 0;
        for file in found {
            let (digest, bytes) = if let Some(content) = self.read_small(&file, inline_bytes)? {
                let (digest, bytes) = (Digest::of(&content), content.len());
                if result.inline.insert(digest, content).is_none() {
                    inline_bytes += bytes;
                }
                (digest, bytes as u64)
            } else {
                let taken = self.take_in(&file.output, &file.path, &file.stat)?;
                shards.insert(self.blob_shard(&taken.0));
                taken
            };
            if let Some(output) = result.outputs.get_mut(&file.output) {
                output.files.push(OutputFile { name: file.name, digest, bytes });
            }
        }
        for output in result.outputs.values_mut() {
            output.files.sort_by(|a, b| a.name.cmp(&b.name));
        }
        self.sync_shards(&shards)?;
        Ok(match self.publish_record(&result, put)? {
            Stored::New => Published { result, differing: Vec::new(), new: true },
            Stored::Exists(first) => {
                let differing = differing(&first, &result);
                Published { result: *first, differing, new: false }
            }
        })
    }

    /// Publishes many results, each as [`LocalStore::publish`] does and independent of the others, and gives their
    /// outcomes in the same order. Several are under way at once, so that the file system writes its journal once
    /// for all that wait for it: on ext4, 16 at once take a thirtieth of the time that one after the other do.
    #[must_use]
    pub fn publish_all(&self, publications: Vec<Publication>) -> Vec<Result<Published, StoreError>> {
        let threads = publications.len().min(TOGETHER);
        let queue = Mutex::new(publications.into_iter().enumerate());
        let work = || {
            let mut outcomes = Vec::new();
            loop {
                // A statement of its own, so that the queue is free while this one is published.
                let next = lock(&queue).next();
                let Some((index, one)) = next else { return outcomes };
                outcomes.push((index, self.publish(&one.outputs, one.finished, one.put)));
            }
        };
        let mut outcomes: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            // A panic of ours is a bug and goes on as one.
            threads.into_iter().flat_map(|t| t.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).collect()
        });
        outcomes.sort_by_key(|(index, _)| *index);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// Moves a file that lies in the store's `tmp/` into the store, durably and without copying it; one that lies
    /// elsewhere, or has other names (hard links) by which it could be changed, is copied.
    ///
    /// # Errors
    /// When it is not a regular file, changes meanwhile, or cannot be stored: then nothing was.
    pub fn ingest(&self, path: &Path) -> Result<(Digest, u64), StoreError> {
        let stat = self.regular("", path)?;
        let (digest, bytes) = self.take_in("", path, &stat)?;
        self.sync_shards(&BTreeSet::from([self.blob_shard(&digest)]))?;
        Ok((digest, bytes))
    }

    fn regular(&self, output: &str, path: &Path) -> Result<Stat, StoreError> {
        let refuse = |problem| Err(StoreError::Output { output: output.to_owned(), path: path.to_owned(), problem });
        match self.fs.stat(path) {
            Ok(stat) => match stat.kind {
                Kind::File => Ok(stat),
                Kind::Link => refuse(OutputProblem::Link),
                Kind::Folder => refuse(OutputProblem::IsFolder),
                Kind::Other => refuse(OutputProblem::Special),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => refuse(OutputProblem::Missing),
            Err(error) => Err(StoreError::io("reading", path, error)),
        }
    }

    fn find_files(&self, output: &str, folder: bool, path: &Path, found: &mut Vec<Found>) -> Result<(), StoreError> {
        let refuse = |path: &Path, problem| {
            Err(StoreError::Output { output: output.to_owned(), path: path.to_owned(), problem })
        };
        if !folder {
            let stat = self.regular(output, path)?;
            found.push(Found { output: output.to_owned(), name: String::new(), path: path.to_owned(), stat });
            return Ok(());
        }
        match self.fs.stat(path) {
            Ok(stat) if stat.kind == Kind::Folder => {}
            Ok(stat) if stat.kind == Kind::Link => return refuse(path, OutputProblem::Link),
            Ok(_) => return refuse(path, OutputProblem::IsFile),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return refuse(path, OutputProblem::Missing),
            Err(error) => return Err(StoreError::io("reading", path, error)),
        }
        let mut folders = vec![(String::new(), path.to_owned())];
        while let Some((prefix, folder)) = folders.pop() {
            for entry in self.fs.list(&folder).map_err(|e| StoreError::io("listing", &folder, e))? {
                let path = folder.join(&entry);
                let name = match member_name(&prefix, &entry) {
                    Ok(name) => name,
                    Err(problem) => return refuse(&folder, OutputProblem::Name(problem)),
                };
                let stat = self.fs.stat(&path).map_err(|e| StoreError::io("reading", &path, e))?;
                match stat.kind {
                    Kind::Folder => folders.push((name, path)),
                    Kind::File => found.push(Found { output: output.to_owned(), name, path, stat }),
                    Kind::Link => return refuse(&path, OutputProblem::Link),
                    Kind::Other => return refuse(&path, OutputProblem::Special),
                }
            }
        }
        Ok(())
    }

    /// The content of a file that is small enough for the record; `None` when it is to be a blob.
    fn read_small(&self, file: &Found, so_far: usize) -> Result<Option<Vec<u8>>, StoreError> {
        let bytes = usize::try_from(file.stat.bytes).unwrap_or(usize::MAX);
        if bytes > INLINE_BYTES_MAX || so_far + bytes > INLINE_TOTAL_MAX {
            return Ok(None);
        }
        let changing = || StoreError::Output {
            output: file.output.clone(),
            path: file.path.clone(),
            problem: OutputProblem::Changing,
        };
        match self.read(&file.path, bytes) {
            Ok(content) if content.len() == bytes => Ok(Some(content)),
            Ok(_) => Err(changing()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(changing()),
            Err(error) => Err(StoreError::io("reading", &file.path, error)),
        }
    }

    /// Makes a blob of a file; its folder's entry is not flushed yet.
    fn take_in(&self, output: &str, path: &Path, before: &Stat) -> Result<(Digest, u64), StoreError> {
        if !self.is_inside_tmp(path) || before.links != 1 {
            return self.copy_in(path);
        }
        let hashed_ns = now_ns();
        let reader = self.fs.open(path).map_err(|e| StoreError::io("reading", path, e))?;
        let (digest, bytes) = Digest::of_reader(reader).map_err(|e| StoreError::io("reading", path, e))?;
        self.fs.set_read_only(path).map_err(|e| self.failed("protecting", path, e))?;
        if let Err(error) = self.fs.sync_file(path) {
            // What could not be flushed is not to be trusted again, by anyone.
            let _ = self.fs.remove_file(path);
            return Err(self.no_space_for(bytes, "flushing", path, error));
        }
        let after = self.fs.stat(path).map_err(|e| StoreError::io("reading", path, e))?;
        let same = (after.inode, after.bytes, after.modified_ns, after.links)
            == (before.inode, before.bytes, before.modified_ns, 1);
        if !same || bytes != after.bytes {
            let (output, path) = (output.to_owned(), path.to_owned());
            return Err(StoreError::Output { output, path, problem: OutputProblem::Changing });
        }
        self.settle(path, &digest, hashed_ns)?;
        Ok((digest, bytes))
    }

    /// Copies a file, hashing what is copied; its folder's entry is not flushed yet.
    pub(crate) fn copy_in(&self, path: &Path) -> Result<(Digest, u64), StoreError> {
        let stat = self.regular("", path)?;
        let source = self.fs.open(path).map_err(|e| StoreError::io("reading", path, e))?;
        let temporary = self.temporary()?;
        let hashed_ns = now_ns();
        let mut reader = HashingReader::new(source);
        let bytes = self
            .fs
            .write_new(&temporary.path, &mut reader, 0o444, Flush::Now)
            .map_err(|e| self.no_space_for(stat.bytes, "copying", path, e))?;
        let digest = reader.finish();
        self.settle(&temporary.path, &digest, hashed_ns)?;
        Ok((digest, bytes))
    }

    /// Gives a flushed file its blob's name. What has that name is replaced: the bytes are the same unless that
    /// one is damaged, and whether it is on the disk already is not known to us.
    fn settle(&self, from: &Path, digest: &Digest, hashed_ns: i64) -> Result<(), StoreError> {
        self.create_dir(&self.blob_shard(digest), 0o777)?;
        let path = self.blob_path(digest);
        self.fs.rename(from, &path).map_err(|e| self.failed("naming", &path, e))?;
        if let Ok(Some(stat)) = self.stat_blob(digest) {
            self.verified().note(PathBuf::from(digest.to_string()), &stat, *digest, hashed_ns);
        }
        Ok(())
    }

    /// Forces the entries of new blobs to the disk, and those of their folders.
    pub(crate) fn sync_shards(&self, shards: &BTreeSet<PathBuf>) -> Result<(), StoreError> {
        for shard in shards {
            self.sync_dir(shard)?;
        }
        self.sync_parents(shards.iter())
    }

    /// Forces the entries of `folders` themselves to the disk, where this process has not done so. That a folder
    /// was there before us does not mean that it is on the disk.
    fn sync_parents<'a>(&self, folders: impl Iterator<Item = &'a PathBuf>) -> Result<(), StoreError> {
        let unknown: Vec<&PathBuf> = folders.filter(|folder| !self.is_durable(folder)).collect();
        let parents: BTreeSet<&Path> = unknown.iter().filter_map(|folder| folder.parent()).collect();
        for parent in parents {
            self.sync_dir(parent)?;
        }
        for folder in unknown {
            self.note_durable(folder.clone());
        }
        Ok(())
    }

    /// Writes a record after the blobs that it names.
    pub(crate) fn publish_record(&self, result: &ActionResult, put: Put) -> Result<Stored, StoreError> {
        let bytes = result.encode().map_err(|problem| StoreError::Record { key: result.key, problem })?;
        for digest in result.blobs() {
            if self.stat_blob(&digest)?.is_none() {
                return Err(StoreError::NoBlob(digest));
            }
        }
        let folder = self.record_folder(&result.key);
        let shard = folder.parent().map(Path::to_owned).unwrap_or_default();
        self.create_dir(&shard, 0o777)?;
        self.create_dir(&folder, 0o777)?;
        let target = folder.join(result.writer.as_str());
        let temporary = self.temporary()?;
        temporary.write(&bytes, 0o444)?;
        let naming = |e| self.failed("naming", &target, e);
        let stored = match put {
            Put::Replace => {
                self.fs.rename(&temporary.path, &target).map_err(naming)?;
                Stored::New
            }
            Put::IfAbsent => match self.fs.rename_new(&temporary.path, &target) {
                Ok(()) => Stored::New,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    self.meet_existing(result, &temporary.path, &target)?
                }
                Err(error) => return Err(naming(error)),
            },
        };
        // Also for a record that was there: the process that wrote it may not have come this far.
        self.sync_dir(&folder)?;
        self.sync_dir(&shard)?;
        self.sync_parents(std::iter::once(&shard))?;
        Ok(stored)
    }

    /// There is a record already: a valid one stays, an invalid one gives way.
    fn meet_existing(&self, result: &ActionResult, temporary: &Path, target: &Path) -> Result<Stored, StoreError> {
        let naming = |e| self.failed("naming", target, e);
        match self.read_record(&result.key, result.writer.as_str()) {
            Ok(first) => {
                if !first.same_outputs(result) {
                    let record = Digest::of_reader(self.fs.open(temporary).map_err(naming)?).map_err(naming)?.0;
                    let evidence = self.evidence_path(&result.key, &record);
                    if let Err(error) = self.fs.rename(temporary, &evidence) {
                        tracing::warn!("cannot keep the evidence {}: {error}", evidence.display());
                    }
                }
                Ok(Stored::Exists(Box::new(first)))
            }
            Err(unread) => {
                if let Unread::Bad(problem) = unread {
                    tracing::warn!("replacing the record {}: {problem}", target.display());
                    // A copy, so that at no time there is no record under this name: another process may just
                    // have put a good one there.
                    let aside = self.quarantine_path(&format!("record-{}", result.key)).map_err(naming)?;
                    if let Err(error) = self.fs.copy_new(target, &aside) {
                        tracing::debug!("cannot keep a copy of {}: {error}", target.display());
                    }
                }
                self.fs.rename(temporary, target).map_err(naming)?;
                Ok(Stored::New)
            }
        }
    }

    fn no_space_for(&self, bytes: u64, doing: &'static str, path: &Path, source: io::Error) -> StoreError {
        let mut error = self.failed(doing, path, source);
        if let StoreError::NoSpace { needed, .. } = &mut error {
            *needed = Some(bytes);
        }
        error
    }
}

/// The outputs in which two results differ.
fn differing(first: &ActionResult, second: &ActionResult) -> Vec<String> {
    let names: BTreeSet<&String> = first.outputs.keys().chain(second.outputs.keys()).collect();
    names.into_iter().filter(|name| first.outputs.get(*name) != second.outputs.get(*name)).cloned().collect()
}
