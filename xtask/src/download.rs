//! Downloads the pinned wheels with pip, verifies them, and unpacks what the build needs into the cache folder.
//!
//! Everything happens in a temporary folder that is renamed into place at the end: a set-up may be killed at any
//! moment, and two may run at once. It does not know about the checkout or about a libtorch of the user's own
//! (`libtorch.rs`).

use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use zip::ZipArchive;

use crate::host::Host;
use crate::libtorch::{SetupError, last_lines, megabytes, said};

/// A wheel, pinned: the one file that is accepted, and what is taken out of it.
#[derive(Clone, Copy, Debug)]
pub struct Wheel<'a> {
    /// The project's name on the package index.
    pub name: &'a str,
    /// Its exact version.
    pub version: &'a str,
    /// The platform tag by which pip finds this file, whatever machine and Python it runs on.
    pub platform: &'a str,
    /// The SHA-256 of the file, in lower-case hexadecimal digits.
    pub sha256: &'a str,
    /// The length of the file.
    pub bytes: u64,
    /// The length of what is taken out of it.
    pub unpacked_bytes: u64,
    /// The files to take, and folders (with a `/` at the end) to take whole.
    pub members: &'a [&'a str],
}

/// libtorch 2.11.0 for CPU. The wheel's own RPATH leads from `torch/lib` to `nvidia/cu13/lib`, so that the layout of
/// site-packages is kept and nothing needs to be patched. `libtorch_cuda.so` stays out: `torch-sys` would link it.
pub const WHEELS: [Wheel<'static>; 3] = [
    Wheel {
        name: "nvidia-cuda-runtime",
        version: "13.0.96",
        platform: "manylinux2014_x86_64",
        sha256: "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
        bytes: 2_243_632,
        unpacked_bytes: 704_288,
        members: &["nvidia/cu13/lib/libcudart.so.13"],
    },
    Wheel {
        name: "nvidia-cuda-cupti",
        version: "13.0.85",
        platform: "manylinux_2_25_x86_64",
        sha256: "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
        bytes: 10_715_597,
        unpacked_bytes: 4_152_208,
        members: &["nvidia/cu13/lib/libcupti.so.13"],
    },
    Wheel {
        name: "torch",
        version: "2.11.0",
        platform: "manylinux_2_28_x86_64",
        sha256: "7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a",
        bytes: 530_604_548,
        // As on disk: the headers are 9,400 small files.
        unpacked_bytes: 522_000_000,
        members: &["torch/lib/libc10.so", "torch/lib/libgomp.so.1", "torch/lib/libtorch_cpu.so", "torch/include/"],
    },
];

/// Files that set-up writes itself, and why.
const WRITTEN: [(&str, &str); 2] = [
    // A linker script. The real file needs libtorch_cuda.so, without which a program would not start.
    ("torch/lib/libtorch.so", "INPUT(libtorch_cpu.so)\n"),
    // `torch-sys` compares it with the version that it is made for.
    ("torch/build-version", "2.11.0\n"),
];

/// The list of files and lengths that makes an unpacked folder complete; written last.
const CONTENTS: &str = "contents.txt";

/// The start of the temporary folders' names.
const TEMPORARY: &str = ".libtorch-";

/// The folder in `cache` for exactly these wheels: other pins, or another way of unpacking them, give another folder.
pub fn home(cache: &Path, wheels: &[Wheel]) -> PathBuf {
    let mut hash = Sha256::new();
    for wheel in wheels {
        hash.update(format!("{} {} {}\n", wheel.sha256, wheel.name, wheel.members.join(" ")));
    }
    for (file, text) in WRITTEN {
        hash.update(format!("{file} {text}\n"));
    }
    cache.join(format!("libtorch-2.11.0-cpu-{}", &hexadecimal(hash)[..8]))
}

/// Whether every file that `contents.txt` lists is there in its full length.
pub fn is_complete(home: &Path) -> bool {
    let Ok(contents) = fs::read_to_string(home.join(CONTENTS)) else { return false };
    !contents.is_empty()
        && contents.lines().all(|line| {
            let Some((bytes, path)) = line.split_once(' ') else { return false };
            let found = fs::metadata(home.join(path));
            if path.ends_with('/') {
                return found.is_ok_and(|meta| meta.is_dir());
            }
            found.is_ok_and(|meta| meta.is_file() && bytes.parse() == Ok(meta.len()))
        })
}

/// Downloads, verifies and unpacks `wheels` and puts the result at `home`, which lies in `cache`.
pub fn install(
    host: &Host,
    cache: &Path,
    home: &Path,
    wheels: &[Wheel],
    progress: &mut Progress,
) -> Result<(), SetupError> {
    let denied = |why| cannot_write(cache, wheels, why);
    fs::create_dir_all(cache).map_err(denied)?;
    let lock = File::create(cache.join("set-up.lock")).map_err(denied)?;
    let alone = take_turns(&lock, progress);
    if is_complete(home) {
        return Ok(());
    }
    if alone {
        // Whoever made these was killed: they would hold the lock.
        remove_temporary_folders(cache);
    }
    let python = python_with_pip(host)?;
    refuse_if_disk_full(host, cache, wheels)?;
    let total = wheels.iter().map(|wheel| wheel.bytes).sum();
    progress.line(&format!(
        "libtorch 2.11.0 (CPU) is not set up yet: downloading {} with {} -m pip",
        megabytes(total),
        python.display()
    ));
    let temporary = Temporary::create(cache).map_err(denied)?;
    let site = temporary.path.join("site");
    let mut contents = Vec::new();
    for (index, wheel) in wheels.iter().enumerate() {
        let folder = temporary.path.join(format!("wheel-{index}"));
        let file = fetch(host, &python, wheel, &folder, progress).map_err(|why| why.with_room(cache, wheels))?;
        verify(&file, wheel)?;
        progress.line(&format!("  {}: checksum is right, unpacking", title(wheel)));
        contents.extend(unpack(&file, wheel, &site).map_err(|why| why.with_room(cache, wheels))?);
        let _ = fs::remove_dir_all(&folder);
    }
    for (path, text) in WRITTEN {
        write_durably(&site.join(path), &mut text.as_bytes()).map_err(denied)?;
        contents.push(format!("{} {path}", text.len()));
    }
    write_durably(&site.join(CONTENTS), &mut contents.join("\n").as_bytes()).map_err(denied)?;
    put_in_place(&site, home, &temporary.path)?;
    progress.line(&format!("libtorch is in {}", home.display()));
    Ok(())
}

/// Waits until no other set-up works in this cache folder. False where the file system has no locks; then each
/// set-up works for itself, and the first to finish wins.
fn take_turns(lock: &File, progress: &mut Progress) -> bool {
    match lock.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => {
            progress.line("another set-up is at work in the same cache folder: waiting for it");
            lock.lock().is_ok()
        }
        Err(TryLockError::Error(_)) => false,
    }
}

fn remove_temporary_folders(cache: &Path) {
    let Ok(entries) = fs::read_dir(cache) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            // What cannot be removed costs disk only; the next set-up tries again.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A folder that is removed when set-up ends, in success or failure.
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    fn create(cache: &Path) -> io::Result<Self> {
        for number in 0.. {
            let path = cache.join(format!("{TEMPORARY}{}-{number}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path }),
                // Another machine on the same network file system may have a process of the same number.
                Err(why) if why.kind() == io::ErrorKind::AlreadyExists && number < 100 => {}
                Err(why) => return Err(why),
            }
        }
        unreachable!("the loop ends with the hundredth name at the latest")
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The first Python on `PATH` that has pip: an activated environment may well be without.
fn python_with_pip(host: &Host) -> Result<PathBuf, SetupError> {
    let mut without = None;
    for python in host.programs("python3").chain(host.programs("python")) {
        let said = match host.command(&python).args(["-m", "pip", "--version"]).stdin(Stdio::null()).output() {
            Ok(output) if output.status.success() => return Ok(python),
            Ok(output) => last_lines(&said(&output), 3),
            Err(why) => last_lines(&why.to_string(), 1),
        };
        without.get_or_insert(SetupError::NoPip { python, said });
    }
    Err(without.unwrap_or(SetupError::NoPython))
}

/// Asks `df`, if there is one, so that half a gigabyte is not downloaded in vain.
fn refuse_if_disk_full(host: &Host, cache: &Path, wheels: &[Wheel]) -> Result<(), SetupError> {
    let Some(df) = host.programs("df").next() else { return Ok(()) };
    let Ok(output) = host.command(df).arg("-Pk").arg(cache).env("LC_ALL", "C").output() else { return Ok(()) };
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    let free = table.lines().nth(1).and_then(|line| line.split_whitespace().nth(3)?.parse::<u64>().ok());
    let needed_bytes = peak_bytes(wheels);
    match free.map(|kib| kib * 1024) {
        Some(free) if free < needed_bytes => {
            Err(SetupError::DiskFull { folder: cache.to_path_buf(), needed_bytes, free_bytes: Some(free) })
        }
        _ => Ok(()),
    }
}

/// The most disk that set-up takes at one time. pip holds two copies of a wheel for a moment; a wheel is removed once
/// it is unpacked.
fn peak_bytes(wheels: &[Wheel]) -> u64 {
    let mut peak = 0;
    let mut unpacked = 0;
    for wheel in wheels {
        peak = peak.max(unpacked + 2 * wheel.bytes).max(unpacked + wheel.bytes + wheel.unpacked_bytes);
        unpacked += wheel.unpacked_bytes;
    }
    peak + peak / 10
}

/// Has pip download one wheel into `folder`, and gives its path.
fn fetch(
    host: &Host,
    python: &Path,
    wheel: &Wheel,
    folder: &Path,
    progress: &mut Progress,
) -> Result<PathBuf, SetupError> {
    let failed = |doing: &str, why| SetupError::io(format!("{doing} for {}", title(wheel)), why);
    let [scratch, destination] = ["scratch", "wheel"].map(|name| folder.join(name));
    fs::create_dir_all(&scratch).map_err(|why| failed("make a folder", why))?;
    let log_path = folder.join("pip.log");
    let log = File::create(&log_path).map_err(|why| failed("make a log", why))?;
    let log_too = log.try_clone().map_err(|why| failed("make a log", why))?;
    let mut pip = host.command(python);
    pip.args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--progress-bar=off"])
        // The download is kept unpacked: a second copy in pip's own cache would only take room.
        .args(["--no-cache-dir", "--disable-pip-version-check"])
        .args(["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"])
        .args(["--platform", wheel.platform, "--dest"])
        .arg(&destination)
        // Three `=`: a `2.11.0+cpu` on some extra index is another file.
        .arg(format!("{}==={}", wheel.name, wheel.version))
        .env("PIP_REQUIRE_VIRTUALENV", "0")
        // pip downloads to TMPDIR first, and /tmp is often a small memory file system.
        .env("TMPDIR", &scratch)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(log_too);
    let mut child = pip.spawn().map_err(|why| failed("start pip", why))?;
    let status = loop {
        progress.bytes(&title(wheel), bytes_below(folder), wheel.bytes);
        if let Some(status) = child.try_wait().map_err(|why| failed("wait for pip", why))? {
            break status;
        }
        thread::sleep(Duration::from_millis(100));
    };
    progress.end_bytes();
    let file = fs::read_dir(&destination)
        .ok()
        .and_then(|mut entries| entries.find_map(|entry| Some(entry.ok()?.path())))
        .filter(|_| status.success());
    file.ok_or_else(|| {
        let log = fs::read(&log_path).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default();
        if log.contains("No space left on device") || log.contains("Disk quota exceeded") {
            return SetupError::io("download".to_owned(), io::ErrorKind::StorageFull.into());
        }
        SetupError::Pip { python: python.to_path_buf(), wheel: title(wheel), said: last_lines(&log, 4) }
    })
}

/// The bytes of all files below a folder, as far as they can be seen; pip moves them while this looks.
fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let of_entry = |entry: fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => bytes_below(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    };
    entries.flatten().map(of_entry).sum()
}

fn verify(file: &Path, wheel: &Wheel) -> Result<(), SetupError> {
    let name = file_name(file);
    let mut hash = Sha256::new();
    File::open(file)
        .and_then(|mut file| in_pieces(&mut file, |piece| hash.write_all(piece)))
        .map_err(|why| SetupError::io(format!("read {name}"), why))?;
    let got = hexadecimal(hash);
    if got == wheel.sha256 {
        return Ok(());
    }
    Err(SetupError::Checksum { file: name, wanted: wheel.sha256.to_owned(), got })
}

/// Takes the wheel's members out of the file and gives their lines of `contents.txt`.
fn unpack(file: &Path, wheel: &Wheel, site: &Path) -> Result<Vec<String>, SetupError> {
    let name = file_name(file);
    let damaged = |why: String| SetupError::Wheel { file: name.clone(), why };
    let opened = File::open(file).map_err(|why| SetupError::io(format!("open {name}"), why))?;
    let mut archive = ZipArchive::new(BufReader::new(opened)).map_err(|why| damaged(why.to_string()))?;
    let names: Vec<String> = archive.file_names().filter(|name| !name.ends_with('/')).map(str::to_owned).collect();
    let mut contents = Vec::new();
    for member in wheel.members {
        let wanted: Vec<&String> = names.iter().filter(|name| holds(member, name)).collect();
        if wanted.is_empty() {
            return Err(damaged(format!("it has no `{member}`")));
        }
        let mut bytes = 0;
        for path in wanted {
            let mut entry = archive.by_name(path).map_err(|why| damaged(why.to_string()))?;
            let inside = entry.enclosed_name().ok_or_else(|| damaged(format!("`{path}` leads out of the folder")))?;
            let target = site.join(inside);
            let written = if member == path {
                bytes = entry.size();
                write_durably(&target, &mut entry)
            } else {
                write(&target, &mut entry).map(drop)
            };
            written.map_err(|why| SetupError::io(format!("unpack {path} of {name}"), why))?;
        }
        contents.push(format!("{bytes} {member}"));
    }
    Ok(contents)
}

/// Whether a member of the table, a file or a folder, is or holds the path.
fn holds(member: &str, path: &str) -> bool {
    if member.ends_with('/') { path.starts_with(member) } else { path == member }
}

fn write(target: &Path, content: &mut impl Read) -> io::Result<File> {
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = File::create(target)?;
    in_pieces(content, |piece| file.write_all(piece))?;
    Ok(file)
}

fn write_durably(target: &Path, content: &mut impl Read) -> io::Result<()> {
    write(target, content)?.sync_all()
}

/// Reads to the end, 256 KiB at a time.
fn in_pieces(from: &mut impl Read, mut to: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut piece = vec![0; 256 * 1024];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => to(&piece[..count])?,
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) => return Err(why),
        }
    }
}

/// Renames the finished folder to its place. What lies there already is either as good or damaged.
fn put_in_place(site: &Path, home: &Path, temporary: &Path) -> Result<(), SetupError> {
    if is_complete(home) {
        return Ok(());
    }
    let _ = fs::rename(home, temporary.join("damaged"));
    match fs::rename(site, home) {
        Err(why) if !is_complete(home) => Err(SetupError::io(format!("make {}", home.display()), why)),
        _ => Ok(()),
    }
}

fn cannot_write(cache: &Path, wheels: &[Wheel], why: io::Error) -> SetupError {
    let folder = cache.to_path_buf();
    if is_full(&why) {
        return SetupError::DiskFull { folder, needed_bytes: peak_bytes(wheels), free_bytes: None };
    }
    SetupError::CacheNotWritable { folder, why }
}

fn is_full(why: &io::Error) -> bool {
    matches!(why.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl SetupError {
    fn io(doing: String, why: io::Error) -> Self {
        Self::Io { doing, why }
    }

    /// Says how much room is needed, where the failure is a full disk.
    fn with_room(self, cache: &Path, wheels: &[Wheel]) -> Self {
        match self {
            Self::Io { why, .. } if is_full(&why) => cannot_write(cache, wheels, why),
            other => other,
        }
    }
}

fn title(wheel: &Wheel) -> String {
    format!("{} {}", wheel.name, wheel.version)
}

fn file_name(file: &Path) -> String {
    file.file_name().unwrap_or(file.as_os_str()).display().to_string()
}

fn hexadecimal(hash: Sha256) -> String {
    format!("{:x}", hash.finalize())
}

/// Says what goes on: lines, and a count of bytes that a terminal sees moving.
pub struct Progress<'a> {
    out: &'a mut dyn Write,
    terminal: bool,
    said_at: Option<Instant>,
}

impl<'a> Progress<'a> {
    /// Writes to `out`; with `terminal` a count of bytes overwrites the one before.
    pub fn new(out: &'a mut dyn Write, terminal: bool) -> Self {
        Self { out, terminal, said_at: None }
    }

    fn line(&mut self, text: &str) {
        // A closed terminal is no reason to stop.
        let _ = writeln!(self.out, "{text}");
    }

    fn bytes(&mut self, what: &str, done: u64, all: u64) {
        let pause = if self.terminal { Duration::from_millis(200) } else { Duration::from_secs(10) };
        if self.said_at.is_some_and(|then| then.elapsed() < pause) {
            return;
        }
        let first = self.said_at.replace(Instant::now()).is_none();
        let done = done.min(all) / 1_000_000;
        let _ = match (self.terminal, first) {
            (true, _) => write!(self.out, "\r  {what}: {done} of {}", megabytes(all)),
            (false, true) => writeln!(self.out, "  {what}: {}", megabytes(all)),
            (false, false) => writeln!(self.out, "  {what}: {done} of {}", megabytes(all)),
        };
        let _ = self.out.flush();
    }

    fn end_bytes(&mut self) {
        self.said_at = None;
        if self.terminal {
            // Clears the line that was overwritten.
            let _ = write!(self.out, "\r\x1b[K");
        }
    }
}
