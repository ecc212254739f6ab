//! Outputs that lie in the project: what was at their paths is moved aside before an attempt and put back if it fails,
//! and a file that is missing or changed is restored from the store. Nothing that the store cannot give back is ever
//! deleted: it goes to the store's folder `aside/`, and the user is told.
//!
//! Knows nothing of nodes and keys.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pru_flow_cache::{ActionResult, Digest, How, LocalStore, Member, Output as Stored};
use rustix::fs::{FlockOperation, flock};

use super::path_lock::PathLock;
use crate::sources::Outside;

/// Beside a path, what lay there before the attempt that runs now.
const BEFORE: &str = ".pru-flow-before-";
/// In the store's folder: what was replaced and is nowhere else.
const ASIDE: &str = "aside";
/// In the store's folder: which paths are moved aside right now.
const JOURNALS: &str = "journals";
/// In the store's folder: digests of what it can give back at a path.
const RESTORABLE: &str = "index/restorable";

/// The project's files, as far as nodes write them.
#[derive(Debug)]
pub struct Workspace {
    root: PathBuf,
    store: PathBuf,
    /// Read when first needed.
    restorable: Mutex<Option<HashSet<Digest>>>,
}

/// What lay at the outputs of a node before its attempt. Put back unless it is let go.
#[derive(Debug)]
pub struct Before<'w> {
    workspace: &'w Workspace,
    outputs: Vec<PathBuf>,
    /// Paths, and where what was there lies now.
    moved: Vec<(PathBuf, PathBuf)>,
    journal: Option<(PathBuf, File)>,
    /// Dropped last: the paths are as they should be then.
    _lock: PathLock,
}

impl Workspace {
    /// The files below `root`, with notes about them in the store's folder. What an interrupted run moved aside is put
    /// back.
    #[must_use]
    pub fn open(root: &Path, store: &Path) -> Self {
        let workspace = Self { root: root.to_owned(), store: store.to_owned(), restorable: Mutex::default() };
        workspace.recover();
        workspace
    }

    /// Where a path of the project lies.
    #[must_use]
    pub fn path(&self, path: &Path) -> PathBuf {
        self.root.join(path)
    }

    /// Moves aside what lies at the outputs of a node that is to run, and makes their folders; waits while another run
    /// writes there.
    ///
    /// # Errors
    /// The operating system's reason; then all is back.
    pub fn clear<'w>(&'w self, outputs: &[PathBuf]) -> io::Result<Before<'w>> {
        let lock = PathLock::take(&self.store, outputs)?;
        let mut before = Before { workspace: self, outputs: Vec::new(), moved: Vec::new(), journal: None, _lock: lock };
        let random = Digest::of(format!("{}-{:?}", std::process::id(), std::time::Instant::now()).as_bytes()).short();
        for path in outputs.iter().map(|path| self.path(path)) {
            if path.symlink_metadata().is_ok() {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let name: String = name.chars().take(60).collect();
                before.moved.push((path.clone(), path.with_file_name(format!("{BEFORE}{random}-{name}"))));
            }
            before.outputs.push(path);
        }
        if !before.moved.is_empty() {
            before.journal = Some(self.write_journal(&random, &before.moved)?);
        }
        for (path, aside) in &before.moved {
            fs::rename(path, aside)?;
        }
        for path in &before.outputs {
            fs::create_dir_all(path.parent().unwrap_or(&self.root))?;
        }
        Ok(before)
    }

    /// Written before anything is moved, and locked as long as this process lives.
    fn write_journal(&self, name: &str, moved: &[(PathBuf, PathBuf)]) -> io::Result<(PathBuf, File)> {
        let folder = self.store.join(JOURNALS);
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{name}-{}.json", std::process::id()));
        let new = path.with_extension("new");
        let mut file = File::create_new(&new)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        file.write_all(&serde_json::to_vec(moved)?)?;
        file.sync_all()?;
        // It has its name only when it is locked: another run would take it for one that nobody holds.
        fs::rename(&new, &path)?;
        Ok((path, file))
    }

    /// Puts back what processes moved aside that are gone.
    fn recover(&self) {
        for entry in fs::read_dir(self.store.join(JOURNALS)).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(file) = File::open(&path) else { continue };
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                continue;
            }
            let moved: Vec<(PathBuf, PathBuf)> =
                fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
            for (path, aside) in moved {
                put_back(&path, &aside);
            }
            let _ = fs::remove_file(&path);
        }
    }

    fn restorable(&self) -> MutexGuard<'_, Option<HashSet<Digest>>> {
        let mut restorable = self.restorable.lock().unwrap_or_else(PoisonError::into_inner);
        restorable.get_or_insert_with(|| {
            let bytes = fs::read(self.store.join(RESTORABLE)).unwrap_or_default();
            bytes.as_chunks().0.iter().map(|chunk: &[u8; 32]| Digest::from_bytes(*chunk)).collect()
        });
        restorable
    }

    /// Remembers that the store has these contents.
    pub fn note_restorable(&self, result: &ActionResult, output: &str) {
        let mut restorable = self.restorable();
        let Some(known) = restorable.as_mut() else { return };
        let files = result.outputs.get(output).map_or(&[][..], |stored| stored.files.as_slice());
        let new: Vec<Digest> = files.iter().map(|file| file.digest).filter(|digest| known.insert(*digest)).collect();
        let bytes: Vec<u8> = new.iter().flat_map(|digest| *digest.as_bytes()).collect();
        let path = self.store.join(RESTORABLE);
        let written = fs::create_dir_all(path.parent().unwrap_or(&self.store))
            .and_then(|()| File::options().create(true).append(true).open(&path))
            .and_then(|mut file| file.write_all(&bytes));
        if let Err(error) = written {
            tracing::debug!("{}: {error}; what is replaced later may be kept needlessly", path.display());
        }
    }

    /// Whether the store can give back all that lies at `path`.
    fn is_restorable(&self, path: &Path, outside: &Outside) -> bool {
        let members = members(path, outside);
        let restorable = self.restorable();
        let known = |digest: &Digest| restorable.as_ref().is_some_and(|known| known.contains(digest));
        members.is_some_and(|members| members.iter().all(|member| known(&member.digest)))
    }

    /// Removes what is at `from`, which was or would have been at `path`; keeps what is nowhere else, and says where.
    fn let_go(&self, path: &Path, from: &Path, outside: &Outside) -> io::Result<Option<String>> {
        if self.is_restorable(from, outside) {
            remove(from)?;
            return Ok(None);
        }
        let shown = path.strip_prefix(&self.root).unwrap_or(path);
        let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S").to_string();
        let mut kept = self.store.join(ASIDE).join(&now).join(shown);
        let mut twin = 1;
        while kept.symlink_metadata().is_ok() {
            twin += 1;
            kept = self.store.join(ASIDE).join(format!("{now}-{twin}")).join(shown);
        }
        fs::create_dir_all(kept.parent().unwrap_or(&self.store))?;
        move_to(from, &kept)?;
        Ok(Some(format!(
            "{} held something that is not in the store; it is kept as {}",
            shown.display(),
            kept.display()
        )))
    }

    /// Makes what lies at `path` what `output` of `result` is, and says what was kept elsewhere. Costs no more than a
    /// look where that is so already.
    ///
    /// # Errors
    /// In words.
    pub fn place(
        &self,
        (store, outside): (&LocalStore, &Outside),
        path: &Path,
        (result, output): (&ActionResult, &str),
        hard_link: bool,
    ) -> Result<Vec<String>, String> {
        let Some(stored) = result.outputs.get(output) else { return Ok(Vec::new()) };
        let full = self.path(path);
        if is_as_stored(&full, stored, outside) {
            return Ok(Vec::new());
        }
        let cannot = |error: &dyn std::fmt::Display| format!("{}: {error}", full.display());
        let _alone = PathLock::take(&self.store, &[path.to_owned()]).map_err(|e| cannot(&e))?;
        if is_as_stored(&full, stored, outside) {
            return Ok(Vec::new());
        }
        let mut notes = Vec::new();
        let there: Vec<Member> = members(&full, outside).unwrap_or_default();
        if full.symlink_metadata().is_ok() && (there.is_empty() || full.is_dir() != stored.folder) {
            notes.extend(self.let_go(&full, &full, outside).map_err(|e| cannot(&e))?);
        }
        for member in &there {
            let same = stored.files.iter().any(|file| file.name == member.name && file.digest == member.digest);
            let file = member_path(&full, &member.name);
            if !same && file.symlink_metadata().is_ok() {
                notes.extend(self.let_go(&file, &file, outside).map_err(|e| cannot(&e))?);
            }
        }
        if stored.folder {
            fs::create_dir_all(&full).map_err(|e| cannot(&e))?;
        }
        for file in &stored.files {
            let to = member_path(&full, &file.name);
            if to.symlink_metadata().is_err() {
                store.restore(result, &file.digest, &to, how(hard_link)).map_err(|e| cannot(&e))?;
            }
        }
        self.note_restorable(result, output);
        Ok(notes)
    }

    /// Makes the files of a new output share their bytes with the store.
    ///
    /// # Errors
    /// In words.
    pub fn link(&self, store: &LocalStore, path: &Path, (result, output): (&ActionResult, &str)) -> Result<(), String> {
        let files = result.outputs.get(output).map_or(&[][..], |stored| stored.files.as_slice());
        for file in files.iter().filter(|file| !result.inline.contains_key(&file.digest)) {
            let to = member_path(&self.path(path), &file.name);
            store.restore(result, &file.digest, &to, How::HardLink).map_err(|e| format!("{}: {e}", to.display()))?;
        }
        Ok(())
    }

    /// Removes what lies at `path` if it is what `output` of `result` is: it can be had again by running its node.
    pub fn drop_output(&self, path: &Path, (result, output): (&ActionResult, &str), outside: &Outside) {
        let full = self.path(path);
        if result.outputs.get(output).is_some_and(|stored| is_as_stored(&full, stored, outside)) {
            let _ = remove(&full);
        }
    }
}

fn how(hard_link: bool) -> How {
    if hard_link { How::HardLink } else { How::Copy }
}

impl Before<'_> {
    /// The attempt has failed: all is as it was.
    pub fn put_back(self) {
        drop(self);
    }

    /// The attempt has succeeded: what was there before goes, unless it is nowhere else. Gives what to tell of that.
    ///
    /// # Errors
    /// The operating system's reason.
    pub fn let_go(mut self, outside: &Outside) -> io::Result<Vec<String>> {
        let mut notes = Vec::new();
        for (path, aside) in std::mem::take(&mut self.moved) {
            notes.extend(self.workspace.let_go(&path, &aside, outside)?);
        }
        self.outputs.clear();
        Ok(notes)
    }
}

impl Drop for Before<'_> {
    fn drop(&mut self) {
        for path in &self.outputs {
            let _ = remove(path);
        }
        for (path, aside) in &self.moved {
            put_back(path, aside);
        }
        if let Some((path, _locked)) = self.journal.take() {
            let _ = fs::remove_file(path);
        }
    }
}

/// Puts `aside` back to `path`, if it is there.
fn put_back(path: &Path, aside: &Path) {
    if aside.symlink_metadata().is_ok() {
        let _ = remove(path);
        if let Err(error) = fs::rename(aside, path) {
            tracing::warn!("{} stays as {}: {error}", path.display(), aside.display());
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(stat) if stat.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Moves a file or folder, to another file system if need be.
fn move_to(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            copy_all(from, to)?;
            remove(from)
        }
        moved => moved,
    }
}

fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    let stat = from.symlink_metadata()?;
    if stat.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy_all(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    if stat.is_symlink() {
        return std::os::unix::fs::symlink(fs::read_link(from)?, to);
    }
    fs::copy(from, to).map(|_| ())
}

fn member_path(path: &Path, name: &str) -> PathBuf {
    if name.is_empty() { path.to_owned() } else { path.join(name) }
}

/// The files at `path`; `None` where it cannot be read as an artifact.
fn members(path: &Path, outside: &Outside) -> Option<Vec<Member>> {
    let stat = path.symlink_metadata().ok()?;
    if stat.is_dir() {
        return outside.stat.tree_members(path).ok();
    }
    let digest = stat.is_file().then(|| outside.stat.digest_file(path).ok()).flatten()?;
    Some(vec![Member { name: String::new(), digest }])
}

/// Whether the files at `path` are those of a stored output.
pub fn is_as_stored(path: &Path, stored: &Stored, outside: &Outside) -> bool {
    members(path, outside).is_some_and(|members| {
        path.is_dir() == stored.folder
            && members.len() == stored.files.len()
            && members.iter().zip(&stored.files).all(|(a, b)| a.name == b.name && a.digest == b.digest)
    })
}
