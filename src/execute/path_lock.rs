//! One run at a time writes a path of the project: two that share a store would spoil each other's outputs. A lock is a
//! file in the store's folder that is held as long as the process lives, and gone with it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use pru_flow_cache::Digest;
use rustix::fs::{FlockOperation, flock};

/// In the store's folder.
const LOCKS: &str = "locks";

/// Paths that this holder alone may write.
#[derive(Debug)]
pub struct PathLock {
    held: Vec<(PathBuf, File)>,
}

impl PathLock {
    /// Waits until no other run writes `paths`.
    ///
    /// # Errors
    /// The operating system's reason.
    pub fn take(store: &Path, paths: &[PathBuf]) -> io::Result<Self> {
        let folder = store.join(LOCKS);
        fs::create_dir_all(&folder)?;
        let name = |path: &PathBuf| Digest::of(path.as_os_str().as_encoded_bytes()).to_string();
        let mut names: Vec<String> = paths.iter().map(name).collect();
        // In one order everywhere: nobody waits for one who waits for them.
        names.sort_unstable();
        names.dedup();
        let mut lock = Self { held: Vec::new() };
        for name in names {
            lock.add(folder.join(name))?;
        }
        Ok(lock)
    }

    fn add(&mut self, path: PathBuf) -> io::Result<()> {
        loop {
            let file = File::options().create(true).truncate(false).write(true).open(&path)?;
            flock(&file, FlockOperation::LockExclusive)?;
            // Its holder removes it when it is done: who has waited for that holds a file that is no lock any more.
            let ours = file.metadata()?;
            if fs::metadata(&path).is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
                self.held.push((path, file));
                return Ok(());
            }
        }
    }
}

impl Drop for PathLock {
    fn drop(&mut self) {
        for (path, _) in &self.held {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn one_holder_at_a_time_whatever_the_order_of_the_paths() {
        let store = tempfile::tempdir().unwrap();
        let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (store, inside, most) = (store.path(), &inside, &most);
                scope.spawn(move || {
                    let mut paths = vec![PathBuf::from("a"), PathBuf::from("b/c")];
                    if thread % 2 == 0 {
                        paths.reverse();
                    }
                    for _ in 0..50 {
                        let lock = PathLock::take(store, &paths).unwrap();
                        let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(now, Ordering::SeqCst);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
        assert_eq!(most.load(Ordering::SeqCst), 1);
        assert_eq!(fs::read_dir(store.path().join(LOCKS)).unwrap().count(), 0, "no lock is left");
    }
}
