//! `sandbox: enforce`: a command that can read what it declares, write its outputs, and reach nothing else of the file
//! system. By Landlock, which needs no rights and no daemon: the child restricts itself, for good and for all that it
//! starts, right before it becomes the program.
//!
//! What it does not do: the network and sockets are free; so is asking whether a path exists, what it is and where it
//! leads (`stat`, `readlink`), and going there (`cd`). Programs with the setuid bit (`sudo`) lose it.
//!
//! Landlock's rules hang on files and folders that exist, and a rule on a folder holds for all below. So a file in a
//! folder that holds other things too must be there before its writer starts: [`Placeholders`]. Its writer can fill and
//! truncate it, and neither remove it nor rename another over it.
//!
//! Knows nothing of stages; which files of the machine every program needs is told by `installed.rs`.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use landlock::{
    ABI, Access, AccessFs, BitFlags, LandlockStatus, PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus,
};

use super::installed;

/// The rights that are taken away, as far as the kernel knows them: an older one does not prevent truncating (before
/// 6.2), and forbids every rename from one folder to another (before 5.19).
const HANDLED: ABI = ABI::V5;

/// Bytes that a confinement may have on its way to the child.
const BYTES_MAX: u64 = 256 << 20;

/// The first byte that the child gets: go as you are, or be confined first.
const FREE: u8 = b'g';
const CONFINED: u8 = b'c';

/// What a command can reach beside the machine's own files. Folders stand for all that is in them; links are followed
/// now, so that a rule is about what they lead to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confinement {
    /// Files and folders that can be read, and run. One that is not there is no error: there is nothing to read.
    pub read: Vec<PathBuf>,
    /// Folders in which, and in all folders below which, names can be listed, though nothing read. Python finds the
    /// modules beside a script this way.
    pub list: Vec<PathBuf>,
    /// Files and folders that can be read and written. All of them must be there.
    pub write: Vec<PathBuf>,
}

/// Whether commands can be confined here: the version of Landlock's interface that the kernel has.
///
/// # Errors
/// Why not, and what to do instead.
pub fn available() -> Result<u32, String> {
    // A thread of its own is confined to nothing in particular, and ends: that it can be is the best proof.
    let probe = std::thread::spawn(|| {
        let created = Ruleset::default().handle_access(AccessFs::Execute).and_then(Ruleset::create)?;
        let everything = rule(Path::new("/"), AccessFs::Execute.into());
        created.add_rules(everything.into_iter().map(Ok::<_, RulesetError>))?.restrict_self()
    });
    match probe.join() {
        Ok(Ok(status)) => version(&status),
        Ok(Err(error)) => Err(unavailable(&format!("it cannot be used here ({error}); a container may forbid it"))),
        Err(_) => Err(unavailable("asking for it failed, which is a bug of pru-flow")),
    }
}

fn version(status: &RestrictionStatus) -> Result<u32, String> {
    match status.landlock {
        LandlockStatus::Available { effective_abi, kernel_abi } if status.ruleset != RulesetStatus::NotEnforced => {
            Ok(kernel_abi.and_then(|version| version.try_into().ok()).unwrap_or(effective_abi as u32))
        }
        LandlockStatus::NotEnabled => {
            Err(unavailable("this kernel has it, but not enabled (`landlock` belongs into its boot option `lsm=`)"))
        }
        _ => Err(unavailable("this kernel does not have it (Linux has it from 5.13 on)")),
    }
}

fn unavailable(reason: &str) -> String {
    format!("`sandbox: enforce` needs Landlock, and {reason}; `sandbox: warn` tells of undeclared writes without it")
}

impl Confinement {
    /// Confines this thread, and all that it becomes and starts, for good.
    ///
    /// # Errors
    /// When that cannot be done, or a path that is to be written is not there: the program must not run then.
    pub fn apply(&self) -> Result<(), String> {
        let all = AccessFs::from_all(HANDLED);
        let reading = AccessFs::from_read(HANDLED);
        // A device that a program makes would lead anywhere.
        let writing = all & !(AccessFs::MakeChar | AccessFs::MakeBlock);
        let mut rules = Vec::new();
        rules.extend(installed::READ.iter().filter_map(|path| rule(Path::new(path), reading)));
        let devices = reading | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev;
        rules.extend(rule(Path::new("/dev"), devices));
        // Memory that processes share is files there.
        rules.extend(rule(Path::new("/dev/shm"), writing));
        rules.extend(self.read.iter().filter_map(|path| rule(path, reading)));
        rules.extend(self.list.iter().filter_map(|path| rule(path, AccessFs::ReadDir.into())));
        for path in &self.write {
            rules.push(rule(path, writing).ok_or_else(|| format!("{} is not there to be written", path.display()))?);
        }
        let created = Ruleset::default().handle_access(all).and_then(Ruleset::create);
        let created = created.and_then(|created| created.add_rules(rules.into_iter().map(Ok::<_, RulesetError>)));
        let created = created.and_then(allow_log).map_err(|error| unavailable(&error.to_string()))?;
        let status = created.restrict_self().map_err(|error| unavailable(&error.to_string()))?;
        version(&status).map(|_| ())
    }

    /// The kind of each path and its bytes, whatever they are, ended by the one byte that no path holds.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, paths) in [(b'r', &self.read), (b'l', &self.list), (b'w', &self.write)] {
            for path in paths {
                bytes.push(kind);
                bytes.extend_from_slice(path.as_os_str().as_bytes());
                bytes.push(0);
            }
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut confinement = Self::default();
        if bytes.is_empty() {
            return Some(confinement);
        }
        let mut parts = bytes.strip_suffix(&[0])?.split(|byte| *byte == 0);
        parts.try_for_each(|part| {
            let (kind, path) = part.split_first()?;
            let path = PathBuf::from(OsString::from_vec(path.to_vec()));
            match kind {
                b'r' => confinement.read.push(path),
                b'l' => confinement.list.push(path),
                b'w' => confinement.write.push(path),
                _ => return None,
            }
            Some(())
        })?;
        Some(confinement)
    }
}

/// The rule that gives `rights` on `path`, as far as they mean something for a file where it is one; `None` when there
/// is nothing.
fn rule(path: &Path, rights: BitFlags<AccessFs>) -> Option<PathBeneath<PathFd>> {
    let opened = PathFd::new(path).ok()?;
    let is_folder = std::fs::metadata(path).ok()?.is_dir();
    let rights = if is_folder { rights } else { rights & AccessFs::from_file(HANDLED) };
    (!rights.is_empty()).then(|| PathBeneath::new(opened, rights))
}

/// `> /dev/stderr` opens the file behind it once more, which is the node's log.
fn allow_log(mut created: RulesetCreated) -> Result<RulesetCreated, RulesetError> {
    for stream in [rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let is_file = rustix::fs::fstat(stream)
            .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile);
        if is_file {
            created = created.add_rule(PathBeneath::new(stream, AccessFs::from_file(HANDLED)))?;
        }
    }
    Ok(created)
}

/// Tells a child that waits for it that it may go: as it is, or confined.
///
/// # Errors
/// When the child is gone.
pub fn let_go(pipe: &mut impl Write, confinement: Option<&Confinement>) -> io::Result<()> {
    let Some(confinement) = confinement else { return pipe.write_all(&[FREE]) };
    let body = confinement.encode();
    let head = [&[CONFINED][..], &(body.len() as u64).to_le_bytes()].concat();
    pipe.write_all(&head)?;
    pipe.write_all(&body)
}

/// The child's side of [`let_go`]: waits until it may go, and tells how it is to be confined.
///
/// # Errors
/// When the parent is gone before it has said so, or says something else: then nothing is to be run.
pub fn wait_for_go(mut pipe: impl Read) -> io::Result<Option<Confinement>> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "what says how to run is damaged");
    let mut first = [0];
    pipe.read_exact(&mut first)?;
    match first {
        [FREE] => return Ok(None),
        [CONFINED] => {}
        _ => return Err(invalid()),
    }
    let mut length = [0; 8];
    pipe.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    let mut body = Vec::new();
    if length > BYTES_MAX || pipe.take(length).read_to_end(&mut body)? as u64 != length {
        return Err(invalid());
    }
    Confinement::decode(&body).map(Some).ok_or_else(invalid)
}

/// Outputs that are made empty, so that a confined command can write them and nothing beside them.
#[derive(Debug, Default)]
pub struct Placeholders {
    made: Vec<PathBuf>,
}

impl Placeholders {
    /// Makes an output: an empty file, or an empty folder. Nothing may lie there; folders on the way are made.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn add(&mut self, path: &Path, folder: bool) -> io::Result<()> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        if folder {
            std::fs::create_dir(path)?;
        } else {
            File::create_new(path)?;
        }
        self.made.push(path.to_owned());
        // A time that no write leaves behind. A folder's can be set through a handle for reading.
        File::open(path)?.set_modified(SystemTime::UNIX_EPOCH)
    }

    /// Removes those that were left as they were made, so that an output that was not written is not there; gives them.
    pub fn remove_unwritten(&mut self) -> Vec<PathBuf> {
        let unwritten = |path: &PathBuf| {
            let stat = path.symlink_metadata();
            stat.is_ok_and(|stat| stat.modified().is_ok_and(|time| time == SystemTime::UNIX_EPOCH))
        };
        // Both fail, and nothing is lost, when something was written after all.
        let removed = |path: &PathBuf| std::fs::remove_dir(path).or_else(|_| remove_empty(path)).is_ok();
        std::mem::take(&mut self.made).into_iter().filter(|path| unwritten(path) && removed(path)).collect()
    }
}

fn remove_empty(file: &Path) -> io::Result<()> {
    if file.symlink_metadata()?.len() == 0 { std::fs::remove_file(file) } else { Err(io::Error::other("not empty")) }
}

/// What to add to the failure of a confined command whose log, or its end, is `log`; nothing when no access was denied.
#[must_use]
pub fn hint(log: &str) -> Option<String> {
    // The last is what Landlock says of a rename or link from where one may not.
    const DENIED: [&str; 5] =
        ["permission denied", "permissionerror", "eacces", "errno 13", "invalid cross-device link"];
    let denied = log.lines().rfind(|line| {
        let line = line.to_lowercase();
        DENIED.iter().any(|sign| line.contains(sign))
    })?;
    let shown: String = denied.trim().chars().take(200).collect();
    Some(format!(
        "`sandbox: enforce` is on, and the log says `{shown}`: a file that is not declared cannot be read or written. \
         Declare it under `inputs:`, `code:` or `outputs:`, write to `${{outputs.NAME}}` or to $TMPDIR, or use \
         `sandbox: warn`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confinement() -> Confinement {
        let odd = OsString::from_vec(b"/odd \n\xff\"path".to_vec());
        Confinement {
            read: vec!["/a".into(), PathBuf::from(odd)],
            list: vec!["/".into()],
            write: vec!["/out put".into()],
        }
    }

    #[test]
    fn a_confinement_reaches_the_child_whatever_its_paths_hold() {
        let many = (0..200_000).map(|n| PathBuf::from(format!("/inputs/number-{n}"))).collect();
        for sent in [confinement(), Confinement::default(), Confinement { read: many, ..Confinement::default() }] {
            let mut pipe = Vec::new();
            let_go(&mut pipe, Some(&sent)).unwrap();
            assert_eq!(wait_for_go(pipe.as_slice()).unwrap(), Some(sent));
        }
        let mut pipe = Vec::new();
        let_go(&mut pipe, None).unwrap();
        assert_eq!(wait_for_go(pipe.as_slice()).unwrap(), None);
    }

    #[test]
    fn a_child_that_was_not_told_all_does_not_go() {
        let mut pipe = Vec::new();
        let_go(&mut pipe, Some(&confinement())).unwrap();
        for length in 0..pipe.len() {
            assert!(wait_for_go(&pipe[..length]).is_err(), "cut to {length}");
        }
        for bad in
            [&b"x"[..], b"c\xff\xff\xff\xff\xff\xff\xff\xff", b"c\x03\0\0\0\0\0\0\0x/\0", b"c\x02\0\0\0\0\0\0\0r/"]
        {
            assert!(wait_for_go(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_output_that_was_not_written_is_not_there_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join("deep").join(name);
        let mut placeholders = Placeholders::default();
        for (name, is_folder) in
            [("file", false), ("emptied", false), ("untouched", false), ("plots", true), ("none", true)]
        {
            placeholders.add(&path(name), is_folder).unwrap();
        }
        assert!(placeholders.add(&path("file"), false).is_err(), "nothing is overwritten");
        std::fs::write(path("file"), "x").unwrap();
        std::fs::write(path("emptied"), "").unwrap();
        std::fs::write(path("plots/a.svg"), "").unwrap();
        assert_eq!(placeholders.remove_unwritten(), [path("untouched"), path("none")]);
        for (name, there) in
            [("file", true), ("emptied", true), ("untouched", false), ("plots/a.svg", true), ("none", false)]
        {
            assert_eq!(path(name).exists(), there, "{name}");
        }
        assert!(placeholders.remove_unwritten().is_empty());
    }

    #[test]
    fn a_denied_access_is_told_with_the_line_that_says_so() {
        let logs = [
            "begin\nsh: 1: cannot create b.txt: Permission denied\nfailed",
            "PermissionError: [Errno 13] Permission denied: 'data/x.csv'",
            "Error: EACCES: permission denied, open 'x'",
        ];
        for log in logs {
            let hint = hint(log).expect(log);
            assert!(hint.contains("sandbox: enforce") && hint.contains("${outputs.NAME}"), "{hint}");
        }
        assert!(hint(logs[0]).unwrap().contains("`sh: 1: cannot create b.txt: Permission denied`"));
        for log in ["", "ValueError: permission was not granted", "no such file"] {
            assert_eq!(hint(log), None, "{log}");
        }
    }
}
