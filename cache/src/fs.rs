//! The calls to the file system that the store makes, behind one seam, so that tests can make each of them fail.
//!
//! Knows nothing of blobs and records. Which call follows which is the business of `publish.rs`.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{CWD, IFlags, OFlags, RenameFlags};

/// A file open for reading.
pub trait ReadSeek: Read + Seek + Send {}

impl<T: Read + Seek + Send> ReadSeek for T {}

/// Whether written content is forced to the disk before the call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// As `fsync` does, on the handle that wrote.
    Now,
    /// Left to the operating system: for files that can be lost.
    Never,
}

/// What kind of thing a path names; links are not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A pipe, socket or device.
    Other,
}

/// What the file system says of a path. Two equal stats of one path mean, but for the racy rule of
/// [`crate::stat_cache`], equal content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Kind.
    pub kind: Kind,
    /// Device.
    pub device: u64,
    /// Inode.
    pub inode: u64,
    /// Names that the inode has.
    pub links: u64,
    /// Length.
    pub bytes: u64,
    /// Time of the last change of content, unix time in ns.
    pub modified_ns: i64,
    /// Time of the last change of content or attributes, unix time in ns.
    pub changed_ns: i64,
}

/// The file system as the store uses it.
///
/// Paths are absolute. Errors are the operating system's; the store adds what was being done and where.
#[expect(clippy::missing_errors_doc, reason = "every call fails as its system call does")]
pub trait Fs: Send + Sync + std::fmt::Debug {
    /// Creates a file that must not exist, with permission bits `mode`, and writes all that `content` gives.
    /// On an error part of the file may be left behind.
    fn write_new(&self, path: &Path, content: &mut dyn Read, mode: u32, flush: Flush) -> io::Result<u64>;
    /// Forces a file's content to the disk.
    fn sync_file(&self, path: &Path) -> io::Result<()>;
    /// Forces the entries of a folder to the disk.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Gives a file another name, in one step; what has that name already is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// As [`Fs::rename`], but fails with [`io::ErrorKind::AlreadyExists`] when the name is taken: of many
    /// processes that try, exactly one succeeds.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Opens a regular file; anything else, and a link, is refused.
    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadSeek>>;
    /// What a path names.
    fn stat(&self, path: &Path) -> io::Result<Stat>;
    /// The names in a folder, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>>;
    /// Creates a folder with permission bits `mode`.
    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()>;
    /// Takes a file's name away.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder with all in it; links are removed, not followed.
    fn remove_tree(&self, path: &Path) -> io::Result<()>;
    /// Makes a file read-only for everybody.
    fn set_read_only(&self, path: &Path) -> io::Result<()>;
    /// Creates a file with the content of another, sharing its blocks where the file system can; never a hard link.
    fn copy_new(&self, from: &Path, to: &Path) -> io::Result<u64>;
    /// Asks the file system to put each folder in this one, and the files that are made there, on a part of the disk of
    /// its own; where that is not possible, or not known, nothing happens.
    ///
    /// ext4 does not give out the inodes of files that were deleted within the last minutes, and looks at all of them
    /// each time it makes a file in the same part: after 10,000 deletions 10,000 files took 1 to 5 s, and 0.4 s where
    /// nothing had been deleted.
    fn spread_folders(&self, path: &Path);
    /// Gives a file a second name, which must not be taken.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Bytes that can still be written below a folder.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFs;

impl Fs for RealFs {
    fn write_new(&self, path: &Path, content: &mut dyn Read, mode: u32, flush: Flush) -> io::Result<u64> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        // Most files are small, and clearing a large buffer takes longer than writing them.
        let mut buffer = vec![0; SMALL];
        let mut written = 0;
        loop {
            let read = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            io::Write::write_all(&mut file, &buffer[..read])?;
            written += read as u64;
            if read == buffer.len() {
                buffer.resize(LARGE, 0);
            }
        }
        if flush == Flush::Now {
            file.sync_all()?;
        }
        Ok(written)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        open_regular(path)?.sync_all()
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        match File::open(path)?.sync_all() {
            // Some network and FUSE file systems have no such call for folders, and nothing to replace it.
            Err(error) if matches!(error.raw_os_error(), Some(EINVAL | ENOTSUP)) => Ok(()),
            other => other,
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // NFS and some others cannot do this; a hard link is as exclusive there.
            Err(error) if matches!(error.raw_os_error(), EINVAL | ENOSYS | ENOTSUP) => {
                fs::hard_link(from, to)?;
                fs::remove_file(from)
            }
            other => Ok(other?),
        }
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadSeek>> {
        Ok(Box::new(open_regular(path)?))
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        Ok(stat_of(&fs::symlink_metadata(path)?))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let mut names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        fs::DirBuilder::new().mode(mode).create(path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn set_read_only(&self, path: &Path) -> io::Result<()> {
        fs::set_permissions(path, fs::Permissions::from_mode(0o444))
    }

    fn copy_new(&self, from: &Path, to: &Path) -> io::Result<u64> {
        let mut source = open_regular(from)?;
        let mut target = OpenOptions::new().write(true).create_new(true).open(to)?;
        if rustix::fs::ioctl_ficlone(&target, &source).is_ok() {
            return Ok(source.metadata()?.len());
        }
        let length = source.metadata()?.len();
        if length > LARGE as u64 {
            return io::copy(&mut source, &mut target);
        }
        // Two calls, where the kernel's copying takes a pipe and more of them. It may have grown since.
        let mut content = Vec::with_capacity(length as usize + 1);
        source.read_to_end(&mut content)?;
        io::Write::write_all(&mut target, &content)?;
        Ok(content.len() as u64)
    }

    fn spread_folders(&self, path: &Path) {
        let Ok(folder) = File::open(path) else { return };
        if let Ok(flags) = rustix::fs::ioctl_getflags(&folder)
            && !flags.contains(IFlags::TOPDIR)
        {
            // Only time is lost.
            let _ = rustix::fs::ioctl_setflags(&folder, flags | IFlags::TOPDIR);
        }
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// Buffers for copying.
const SMALL: usize = 16 * 1024;
const LARGE: usize = 256 * 1024;

const EIO: i32 = rustix::io::Errno::IO.raw_os_error();
const EINVAL: i32 = rustix::io::Errno::INVAL.raw_os_error();
const ENOSYS: i32 = rustix::io::Errno::NOSYS.raw_os_error();
const ENOTSUP: i32 = rustix::io::Errno::NOTSUP.raw_os_error();

/// Whether the disk, rather than a rule or a missing file, is the reason.
pub(crate) fn is_disk_error(error: &io::Error) -> bool {
    error.raw_os_error() == Some(EIO)
}

/// Whether there is no room for what was to be written: disk full, quota used up, or a file too large.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Neither follows a link nor waits for the other end of a pipe.
fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is not a regular file"));
    }
    Ok(file)
}

/// The stat of metadata that the standard library read.
pub(crate) fn stat_of(metadata: &fs::Metadata) -> Stat {
    let kind = metadata.file_type();
    let kind = if kind.is_symlink() {
        Kind::Link
    } else if kind.is_file() {
        Kind::File
    } else if kind.is_dir() {
        Kind::Folder
    } else {
        Kind::Other
    };
    let time = |seconds: i64, ns: i64| seconds.saturating_mul(1_000_000_000).saturating_add(ns);
    Stat {
        kind,
        device: metadata.dev(),
        inode: metadata.ino(),
        links: metadata.nlink(),
        bytes: metadata.len(),
        modified_ns: time(metadata.mtime(), metadata.mtime_nsec()),
        changed_ns: time(metadata.ctime(), metadata.ctime_nsec()),
    }
}

/// Lower-case hexadecimal digits of `count` bytes from the operating system's generator.
pub(crate) fn random_hex(count: usize) -> io::Result<String> {
    let mut bytes = vec![0; count];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(crate::canon::hex(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_of_many_takes_a_new_name() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        let wins: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|i| {
                    let (from, target) = (folder.path().join(format!("from{i}")), &target);
                    scope.spawn(move || {
                        fs::write(&from, i.to_string()).unwrap();
                        match RealFs.rename_new(&from, target) {
                            Ok(()) => 1,
                            Err(error) => {
                                assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
                                0
                            }
                        }
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(wins, 1);
    }

    #[test]
    fn only_regular_files_are_opened_and_a_pipe_does_not_hang() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "x").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0).unwrap();
        assert!(RealFs.open(&file).is_ok());
        for bad in [&link, &pipe, &folder.path().to_owned()] {
            assert!(RealFs.open(bad).is_err(), "{}", bad.display());
        }
        assert_eq!(RealFs.stat(&link).unwrap().kind, Kind::Link);
        assert_eq!(RealFs.stat(&pipe).unwrap().kind, Kind::Other);
    }

    #[test]
    fn a_new_file_never_overwrites_and_a_copy_is_not_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        assert_eq!(RealFs.write_new(&a, &mut &b"abc"[..], 0o444, Flush::Now).unwrap(), 3);
        assert!(RealFs.write_new(&a, &mut &b"x"[..], 0o444, Flush::Never).is_err());
        assert_eq!(RealFs.copy_new(&a, &b).unwrap(), 3);
        let (a, b) = (RealFs.stat(&a).unwrap(), RealFs.stat(&b).unwrap());
        assert_ne!(a.inode, b.inode);
        assert_eq!((a.links, b.links, b.bytes), (1, 1, 3));
        assert!(RealFs.free_bytes(folder.path()).unwrap() > 0);
    }
}
