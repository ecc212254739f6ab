//! A file system in memory that can fail at any call and can lose power.
//!
//! Every change is logged. [`SimFs::crash`] gives a disk as it may be found after power was lost at some point of
//! the log: what was flushed is there, and of the rest any part, in any combination, with torn and zeroed content.
//! This is harsher than common file systems are: a rename's two ends are kept or lost apart, and flushing a file
//! does not flush its name.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{self, Cursor, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use pru_flow_cache::fs::{Flush, Fs, Kind, ReadSeek, Stat};

pub mod planted;

type Inode = u64;
const ROOT: Inode = 1;

/// What a call may be made to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This call fails with that error number; a write leaves half of its content.
    Error(i32),
    /// This call and all later ones fail: the process is gone.
    Kill,
}

#[derive(Clone, Debug)]
enum Node {
    File(Vec<u8>),
    Folder(BTreeMap<OsString, Inode>),
}

#[derive(Clone, Debug)]
struct Object {
    node: Node,
    /// Stands for both times. Counts calls, so that every change is seen, and lies long ago, so that the racy
    /// rule never comes to the rescue.
    time: i64,
}

type Disk = BTreeMap<Inode, Object>;

#[derive(Clone, Debug)]
enum Op {
    New { inode: Inode, folder: bool },
    Entry { folder: Inode, name: OsString, to: Option<Inode> },
    Write { inode: Inode, offset: usize, bytes: Vec<u8> },
    Flush { inode: Inode, worked: bool },
}

#[derive(Clone, Debug)]
struct State {
    /// The disk where the log begins.
    base: Disk,
    /// What running processes see.
    now: Disk,
    log: Vec<Op>,
    calls: u64,
    fault: Option<(u64, Fault)>,
    dead: bool,
}

/// The simulated file system; clones share it.
#[derive(Clone, Debug)]
pub struct SimFs(Arc<Mutex<State>>);

impl SimFs {
    pub fn new() -> Self {
        let root = Object { node: Node::Folder(BTreeMap::new()), time: 0 };
        Self::on(Disk::from([(ROOT, root)]))
    }

    fn on(disk: Disk) -> Self {
        let state = State { base: disk.clone(), now: disk, log: Vec::new(), calls: 0, fault: None, dead: false };
        Self(Arc::new(Mutex::new(state)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// An independent copy of it as processes see it, with the log so far.
    pub fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.lock().clone())))
    }

    /// Makes the `call`-th call from now (from 1) fail.
    pub fn fail_at(&self, call: u64, fault: Fault) {
        let mut state = self.lock();
        state.fault = Some((state.calls + call, fault));
    }

    /// Ends faults: what follows is another process on the same machine.
    pub fn heal(&self) {
        let mut state = self.lock();
        state.fault = None;
        state.dead = false;
    }

    pub fn is_dead(&self) -> bool {
        self.lock().dead
    }

    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// How many changes were logged.
    pub fn position(&self) -> usize {
        self.lock().log.len()
    }

    /// All files below `folder` as processes see them.
    pub fn files(&self, folder: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let state = self.lock();
        let mut files = Vec::new();
        let Ok(inode) = state.find(Path::new(folder)) else { return files };
        let mut open = vec![(PathBuf::from(folder), inode)];
        while let Some((path, inode)) = open.pop() {
            match &state.now[&inode].node {
                Node::File(bytes) => files.push((path, bytes.clone())),
                Node::Folder(names) => open.extend(names.iter().map(|(name, inode)| (path.join(name), *inode))),
            }
        }
        files.sort();
        files
    }

    /// Flips one bit of a file, as a bad disk does: no time changes.
    pub fn flip(&self, path: &Path, bit: usize) {
        let mut state = self.lock();
        let inode = state.find(path).unwrap();
        let Node::File(bytes) = &mut state.now.get_mut(&inode).unwrap().node else { panic!("not a file") };
        bytes[bit / 8] ^= 1 << (bit % 8);
    }

    /// The disk as it may be found when power is lost after the first `upto` logged changes.
    pub fn crash(&self, upto: usize, random: &mut Random) -> Self {
        let state = self.lock();
        let log = &state.log[..upto];
        let durable = durable(log);
        let mut disk = state.base.clone();
        // Some crashes lose everything that was not flushed, some nothing, most a part.
        let mode = random.below(5);
        for (index, op) in log.iter().enumerate() {
            let keep = durable.contains(&index) || mode == 1 || (mode > 1 && random.below(2) == 0);
            let time = index as i64 + 1;
            match op {
                Op::Write { inode, offset, bytes } if !keep && mode > 1 => {
                    // Torn: the length may be there and the content not, or only its beginning.
                    let kept = random.below(bytes.len() as u64 + 1) as usize;
                    let mut torn = bytes[..kept].to_vec();
                    if random.below(2) == 0 {
                        torn.resize(bytes.len(), 0);
                    }
                    apply(&mut disk, &Op::Write { inode: *inode, offset: *offset, bytes: torn }, time);
                }
                Op::New { .. } => apply(&mut disk, op, time),
                _ if keep => apply(&mut disk, op, time),
                _ => {}
            }
        }
        Self::on(disk)
    }
}

/// The changes of `log` that are on the disk for sure: a flush of the file or folder worked after them. For a
/// file's content none may have failed in between: a failed flush drops what was to be written, and a later one
/// reports success. (Entries of folders lie in a journal, which either gets them there or stops the file system.)
fn durable(log: &[Op]) -> BTreeSet<usize> {
    let (mut flushed, mut dropped) = (BTreeSet::new(), BTreeSet::new());
    let mut durable = BTreeSet::new();
    for (index, op) in log.iter().enumerate().rev() {
        match op {
            Op::Flush { inode, worked: true } => _ = flushed.insert(*inode),
            Op::Flush { inode, worked: false } => _ = dropped.insert(*inode),
            Op::Entry { folder, .. } if flushed.contains(folder) => _ = durable.insert(index),
            Op::Write { inode, .. } if flushed.contains(inode) && !dropped.contains(inode) => {
                durable.insert(index);
            }
            Op::Entry { .. } | Op::Write { .. } | Op::New { .. } => {}
        }
    }
    durable
}

fn apply(disk: &mut Disk, op: &Op, time: i64) {
    match op {
        Op::New { inode, folder } => {
            let node = if *folder { Node::Folder(BTreeMap::new()) } else { Node::File(Vec::new()) };
            disk.insert(*inode, Object { node, time });
        }
        Op::Entry { folder, name, to } => {
            if let Some(inode) = to {
                // Naming changes an inode's change time.
                disk.get_mut(inode).expect("an inode is made before it is named").time = time;
            }
            let object = disk.get_mut(folder).expect("a folder is made before its entries");
            let Node::Folder(names) = &mut object.node else { panic!("entries lie in folders") };
            match to {
                Some(inode) => _ = names.insert(name.clone(), *inode),
                None => _ = names.remove(name),
            }
        }
        Op::Write { inode, offset, bytes } => {
            let object = disk.get_mut(inode).expect("an inode is made before it is written");
            object.time = time;
            let Node::File(content) = &mut object.node else { panic!("content lies in files") };
            let end = offset + bytes.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[*offset..end].copy_from_slice(bytes);
        }
        Op::Flush { .. } => {}
    }
}

fn error(kind: io::ErrorKind) -> io::Error {
    io::Error::from(kind)
}

impl State {
    /// Counts a call, and fails it when its turn has come.
    fn enter(&mut self) -> io::Result<()> {
        self.calls += 1;
        if let Some((at, fault)) = self.fault
            && at == self.calls
        {
            match fault {
                Fault::Error(number) => return Err(io::Error::from_raw_os_error(number)),
                Fault::Kill => self.dead = true,
            }
        }
        if self.dead { Err(io::Error::other("the process was killed")) } else { Ok(()) }
    }

    fn log(&mut self, op: Op) {
        let time = self.log.len() as i64 + 1;
        apply(&mut self.now, &op, time);
        self.log.push(op);
    }

    fn find(&self, path: &Path) -> io::Result<Inode> {
        let mut inode = ROOT;
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            let Node::Folder(names) = &self.now[&inode].node else { return Err(error(io::ErrorKind::NotADirectory)) };
            inode = *names.get(name).ok_or_else(|| error(io::ErrorKind::NotFound))?;
        }
        Ok(inode)
    }

    fn place(&self, path: &Path) -> io::Result<(Inode, OsString)> {
        let name = path.file_name().ok_or_else(|| error(io::ErrorKind::InvalidInput))?;
        Ok((self.find(path.parent().unwrap_or(Path::new("/")))?, name.to_owned()))
    }

    fn create(&mut self, path: &Path, folder: bool) -> io::Result<Inode> {
        let (parent, name) = self.place(path)?;
        if self.find(path).is_ok() {
            return Err(error(io::ErrorKind::AlreadyExists));
        }
        let inode = self.now.len() as Inode + 1;
        self.log(Op::New { inode, folder });
        self.log(Op::Entry { folder: parent, name, to: Some(inode) });
        Ok(inode)
    }

    fn write(&mut self, inode: Inode, bytes: &[u8]) {
        // In two parts, so that a crash also falls between them.
        let half = bytes.len() / 2;
        self.log(Op::Write { inode, offset: 0, bytes: bytes[..half].to_vec() });
        self.log(Op::Write { inode, offset: half, bytes: bytes[half..].to_vec() });
    }

    fn flush(&mut self, inode: Inode) -> io::Result<()> {
        let outcome = self.enter();
        if !self.dead {
            self.log(Op::Flush { inode, worked: outcome.is_ok() });
        }
        outcome
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = self.find(from)?;
        let ((old_folder, old_name), (folder, name)) = (self.place(from)?, self.place(to)?);
        self.log(Op::Entry { folder, name, to: Some(inode) });
        self.log(Op::Entry { folder: old_folder, name: old_name, to: None });
        Ok(())
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.find(path)?;
        let (folder, name) = self.place(path)?;
        self.log(Op::Entry { folder, name, to: None });
        Ok(())
    }

    fn content(&self, path: &Path) -> io::Result<Vec<u8>> {
        match &self.now[&self.find(path)?].node {
            Node::File(bytes) => Ok(bytes.clone()),
            Node::Folder(_) => Err(error(io::ErrorKind::IsADirectory)),
        }
    }
}

impl Fs for SimFs {
    fn write_new(&self, path: &Path, content: &mut dyn Read, _mode: u32, flush: Flush) -> io::Result<u64> {
        // Read first: the content may come from this file system.
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        let mut state = self.lock();
        state.enter()?;
        let inode = state.create(path, false)?;
        if let Err(error) = state.enter() {
            if !state.dead {
                state.write(inode, &bytes[..bytes.len() / 2]);
            }
            return Err(error);
        }
        state.write(inode, &bytes);
        if flush == Flush::Now {
            state.flush(inode)?;
        }
        Ok(bytes.len() as u64)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let inode = state.find(path)?;
        state.flush(inode)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.sync_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.enter()?;
        state.rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.enter()?;
        if state.find(to).is_ok() {
            return Err(error(io::ErrorKind::AlreadyExists));
        }
        state.rename(from, to)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadSeek>> {
        let mut state = self.lock();
        state.enter()?;
        Ok(Box::new(Cursor::new(state.content(path)?)))
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        let mut state = self.lock();
        state.enter()?;
        let inode = state.find(path)?;
        let object = &state.now[&inode];
        let (kind, bytes) = match &object.node {
            Node::File(bytes) => (Kind::File, bytes.len() as u64),
            Node::Folder(_) => (Kind::Folder, 0),
        };
        Ok(Stat { kind, device: 1, inode, links: 1, bytes, modified_ns: 1, changed_ns: object.time })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let mut state = self.lock();
        state.enter()?;
        match &state.now[&state.find(path)?].node {
            Node::Folder(names) => Ok(names.keys().cloned().collect()),
            Node::File(_) => Err(error(io::ErrorKind::NotADirectory)),
        }
    }

    fn create_dir(&self, path: &Path, _mode: u32) -> io::Result<()> {
        let mut state = self.lock();
        state.enter()?;
        state.create(path, true).map(|_| ())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.enter()?;
        state.remove(path)
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        self.remove_file(path)
    }

    fn set_read_only(&self, _path: &Path) -> io::Result<()> {
        self.lock().enter()
    }

    fn copy_new(&self, from: &Path, to: &Path) -> io::Result<u64> {
        let content = self.lock().content(from)?;
        self.write_new(to, &mut content.as_slice(), 0o644, Flush::Never)
    }

    fn spread_folders(&self, _path: &Path) {}

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.enter()?;
        let inode = state.find(from)?;
        if state.find(to).is_ok() {
            return Err(error(io::ErrorKind::AlreadyExists));
        }
        let (folder, name) = state.place(to)?;
        state.log(Op::Entry { folder, name, to: Some(inode) });
        Ok(())
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        Ok(1234)
    }
}

/// A small seeded generator (splitmix64): the same states in every run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
