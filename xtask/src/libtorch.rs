//! Which libtorch the build uses: the user's own, or the downloaded one behind the checkout's link `.libtorch`.
//!
//! It checks the user's own before a compiler stumbles over it, and says for every failure what to do. It does not
//! know how the download is made (`download.rs`).

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::download::{self, Progress, Wheel};
use crate::host::Host;

/// The release that the crate `tch` of `stages/Cargo.toml` is made for.
pub const RELEASE: &str = "2.11";

/// The link in the checkout that `.cargo/config.toml` names.
const LINK: &str = ".libtorch";

/// A libtorch that the build can use.
#[derive(Debug, PartialEq, Eq)]
pub struct Libtorch {
    /// The absolute folder of `libtorch_cpu.so`, its links resolved.
    pub lib: PathBuf,
}

/// Finds libtorch, or downloads it. Silent and instant where it is already set up.
///
/// # Errors
/// See [`SetupError`]; nothing half-done is left in place of a libtorch.
pub fn set_up(host: &Host, wheels: &[Wheel], progress: &mut Progress) -> Result<Libtorch, SetupError> {
    if host.use_pytorch {
        return of_pytorch(host);
    }
    if let Some(given) = &host.libtorch {
        return of_the_user(host, given);
    }
    let link = host.root.join(LINK);
    if link.symlink_metadata().is_ok_and(|meta| !meta.is_symlink()) {
        // Someone put a real folder there. It is theirs: used if it can be, never removed.
        return checked(&link.join("torch"), None, None, host.any_version)
            .map_err(|why| SetupError::LinkTaken { link, why: Box::new(why) });
    }
    if (host.platform.0.as_str(), host.platform.1.as_str()) != ("linux", "x86_64") {
        return Err(SetupError::Platform { os: host.platform.0.clone(), processor: host.platform.1.clone() });
    }
    let cache = host.cache.as_ref().ok_or(SetupError::NoCacheFolder)?.join("pru-flow");
    let home = download::home(&cache, wheels);
    if !download::is_complete(&home) {
        download::install(host, &cache, &home, wheels, progress)?;
    }
    point_link(&link, &home)?;
    Ok(Libtorch { lib: resolved(&home.join("torch/lib")) })
}

/// Makes `link` lead to `home`; anyone who looks meanwhile finds the old target or the new one.
fn point_link(link: &Path, home: &Path) -> Result<(), SetupError> {
    if fs::read_link(link).is_ok_and(|target| target == home) {
        return Ok(());
    }
    let fresh = link.with_extension(format!("{}.tmp", std::process::id()));
    let _ = fs::remove_file(&fresh);
    symlink(home, &fresh)
        .and_then(|()| fs::rename(&fresh, link))
        .map_err(|why| SetupError::Io { doing: format!("link {} to {}", link.display(), home.display()), why })
}

fn of_the_user(host: &Host, given: &Path) -> Result<Libtorch, SetupError> {
    if given.is_relative() {
        // Build scripts run in other folders than the user's.
        return Err(SetupError::Relative(given.to_path_buf()));
    }
    checked(given, host.libtorch_include.as_deref(), host.libtorch_lib.as_deref(), host.any_version)
}

/// Looks for what the compiler and the linker will need, where `torch-sys` will look for it.
fn checked(
    torch: &Path,
    include: Option<&Path>,
    lib: Option<&Path>,
    any_version: bool,
) -> Result<Libtorch, SetupError> {
    let include = include.unwrap_or(torch).join("include");
    let lib = lib.unwrap_or(torch).join("lib");
    for needed in [include.join("torch/csrc/api/include/torch/torch.h"), lib.join("libtorch_cpu.so")] {
        if !needed.is_file() {
            return Err(SetupError::NotALibtorch { torch: torch.to_path_buf(), lacks: needed });
        }
    }
    let version = fs::read_to_string(torch.join("build-version")).ok().or_else(|| version_of_headers(&include));
    let fits = version.as_deref().is_some_and(is_of_release);
    if fits || any_version {
        return Ok(Libtorch { lib: resolved(&lib) });
    }
    Err(SetupError::Version { what: torch.display().to_string(), version })
}

/// The version that the C++ headers state, as `2.11.0`.
fn version_of_headers(include: &Path) -> Option<String> {
    let files = ["torch/headeronly/version.h", "torch/csrc/api/include/torch/version.h"];
    files.iter().find_map(|file| {
        let text = fs::read_to_string(include.join(file)).ok()?;
        let number = |part: &str| {
            let define = format!("#define TORCH_VERSION_{part} ");
            text.lines().find_map(|line| line.strip_prefix(&define)?.trim().parse::<u32>().ok())
        };
        Some(format!("{}.{}.{}", number("MAJOR")?, number("MINOR")?, number("PATCH")?))
    })
}

/// Whether a version like `2.11.0+cu130` is one of [`RELEASE`].
fn is_of_release(version: &str) -> bool {
    version.trim().strip_prefix(RELEASE).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '+']))
}

/// Asks the Python that `torch-sys` will ask.
fn of_pytorch(host: &Host) -> Result<Libtorch, SetupError> {
    const ASK: &str = "import os, torch; print(torch.__version__); print(os.path.dirname(torch.__file__))";
    let name = if host.virtual_env { "python" } else { "python3" };
    let python = host.programs(name).next().ok_or(SetupError::NoPython)?;
    let refused = |said: String| SetupError::NoPytorch { python: python.clone(), said };
    let output = host.command(&python).args(["-c", ASK]).output().map_err(|why| refused(why.to_string()))?;
    if !output.status.success() {
        return Err(refused(last_lines(&said(&output), 3)));
    }
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    let (version, folder) = answer.trim().split_once('\n').ok_or_else(|| refused(answer.clone()))?;
    if !is_of_release(version) && !host.any_version {
        let what = format!("the PyTorch of {}", python.display());
        return Err(SetupError::Version { what, version: Some(version.to_owned()) });
    }
    checked(Path::new(folder), None, None, true)
}

/// The path without links, or as it is where it cannot be resolved.
fn resolved(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

/// What a program wrote to both of its outputs.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The last lines of a program's output that are not empty, indented and cut for a message.
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(count)..];
    let shortened = |line: &&str| format!("    {}", line.chars().take(200).collect::<String>());
    last.iter().map(shortened).collect::<Vec<_>>().join("\n")
}

/// Why there is no libtorch to build with. The text says what to do about it.
#[derive(Debug)]
pub enum SetupError {
    /// There is no pinned wheel for this machine.
    Platform { os: String, processor: String },
    /// `LIBTORCH` is a relative path.
    Relative(PathBuf),
    /// `LIBTORCH` lacks a file.
    NotALibtorch { torch: PathBuf, lacks: PathBuf },
    /// It is another release, or its release cannot be told.
    Version { what: String, version: Option<String> },
    /// `LIBTORCH_USE_PYTORCH` is set, but that Python cannot import torch.
    NoPytorch { python: PathBuf, said: String },
    /// The checkout has a real file or folder where the link belongs.
    LinkTaken { link: PathBuf, why: Box<SetupError> },
    /// Neither `XDG_CACHE_HOME` nor `HOME` is set.
    NoCacheFolder,
    /// The cache folder cannot be made or written to.
    CacheNotWritable { folder: PathBuf, why: io::Error },
    /// There is no Python on `PATH`.
    NoPython,
    /// No Python on `PATH` has pip.
    NoPip { python: PathBuf, said: String },
    /// pip failed.
    Pip { python: PathBuf, wheel: String, said: String },
    /// A downloaded file is not the pinned one.
    Checksum { file: String, wanted: String, got: String },
    /// There is not enough room.
    DiskFull { folder: PathBuf, needed_bytes: u64, free_bytes: Option<u64> },
    /// A file of the right checksum could not be unpacked.
    Wheel { file: String, why: String },
    /// Any other failure of the file system.
    Io { doing: String, why: io::Error },
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Platform { os, processor } => write!(
                f,
                "set-up can download libtorch for Linux on x86_64 only, and this is {os} on {processor}.\n\
                 Set LIBTORCH to a libtorch {RELEASE} for this machine (the folder with include/ and lib/)."
            ),
            Self::Relative(given) => write!(
                f,
                "LIBTORCH is the relative path `{}`, which means another folder to each build script.\n\
                 Set it to an absolute path, or unset it to let set-up download libtorch.",
                given.display()
            ),
            Self::NotALibtorch { torch, lacks } => write!(
                f,
                "`{}` is not a libtorch: there is no {}.\n\
                 Set LIBTORCH to the folder with include/ and lib/, or unset it to let set-up download libtorch.",
                torch.display(),
                lacks.display()
            ),
            Self::Version { what, version } => {
                let found = version.as_deref().map_or("of unknown version", str::trim);
                write!(
                    f,
                    "{what} is {found}, and libtorch {RELEASE} is needed.\n\
                     Unset LIBTORCH and LIBTORCH_USE_PYTORCH to let set-up download it. \
                     (LIBTORCH_BYPASS_VERSION_CHECK=1 tries another version at your own risk.)"
                )
            }
            Self::NoPytorch { python, said } => write!(
                f,
                "LIBTORCH_USE_PYTORCH is set, but {} cannot import torch:\n{said}\n\
                 Install PyTorch {RELEASE} for it, or unset LIBTORCH_USE_PYTORCH to let set-up download libtorch.",
                python.display()
            ),
            Self::LinkTaken { link, why } => write!(
                f,
                "`{}` is not the link that set-up makes, and cannot be used as it is: {why}\n\
                 Move it away and run this again.",
                link.display()
            ),
            Self::NoCacheFolder => write!(
                f,
                "neither XDG_CACHE_HOME nor HOME is set, so there is no folder to keep libtorch in.\n\
                 Set XDG_CACHE_HOME to a folder that you may write to."
            ),
            Self::CacheNotWritable { folder, why } => write!(
                f,
                "cannot write to the cache folder `{}`: {why}.\n\
                 Make it writable, or set XDG_CACHE_HOME to a folder that you may write to.",
                folder.display()
            ),
            Self::NoPython => write!(
                f,
                "there is no python3 on PATH; set-up downloads libtorch with its pip.\n\
                 Install it (Debian and Ubuntu: apt-get install python3 python3-pip), or set LIBTORCH to a libtorch \
                 {RELEASE} that you have."
            ),
            Self::NoPip { python, said } => write!(
                f,
                "{} has no pip, with which set-up downloads libtorch:\n{said}\n\
                 Install it (Debian and Ubuntu: apt-get install python3-pip; elsewhere: python3 -m ensurepip), or set \
                 LIBTORCH to a libtorch {RELEASE} that you have.",
                python.display()
            ),
            Self::Pip { python, wheel, said } => write!(
                f,
                "pip could not download {wheel}. It ended with:\n{said}\n\
                 Check the network and pip's own settings (`{} -m pip config list`: index, proxy, certificates) and \
                 run this again, or set LIBTORCH to a libtorch {RELEASE} that you have.",
                python.display()
            ),
            Self::Checksum { file, wanted, got } => write!(
                f,
                "{file} is not the pinned file, so nothing was installed.\n    \
                 wanted SHA-256 {wanted}\n    got    SHA-256 {got}\n\
                 Run this again in case the download was damaged. If it stays so, the package index in pip's settings \
                 serves another file: use another index, or set LIBTORCH to a libtorch {RELEASE} that you have."
            ),
            Self::DiskFull { folder, needed_bytes, free_bytes } => {
                let free = free_bytes.map_or(String::new(), |free| format!(" and {} are free", megabytes(free)));
                write!(
                    f,
                    "the disk is too full: `{}` needs {} while libtorch is unpacked{free}.\n\
                     Make room, or set XDG_CACHE_HOME to a folder on another disk.",
                    folder.display(),
                    megabytes(*needed_bytes)
                )
            }
            Self::Wheel { file, why } => write!(f, "cannot unpack {file}: {why}.\nRun this again."),
            Self::Io { doing, why } => write!(f, "cannot {doing}: {why}."),
        }
    }
}

/// Bytes as whole megabytes, rounded up: `531 MB`.
pub fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}
