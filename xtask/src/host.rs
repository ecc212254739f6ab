//! What set-up reads from the machine: the checkout, the platform, and a few environment variables.
//!
//! It is read once, in `main`, so that tests can describe a machine without touching their own environment.
//! This file does not know what the values are used for.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// The machine and the user's environment, as far as `xtask` looks at them.
#[derive(Clone, Debug)]
pub struct Host {
    /// The checkout: the folder of the workspace's `Cargo.toml`.
    pub root: PathBuf,
    /// The operating system and the processor, in the words of `std::env::consts`.
    pub platform: (String, String),
    /// `PATH`.
    pub path: OsString,
    /// The user's cache folder; none where neither `XDG_CACHE_HOME` nor `HOME` says.
    pub cache: Option<PathBuf>,
    /// `LIBTORCH`, unless it is empty or this checkout's own link.
    pub libtorch: Option<PathBuf>,
    /// `LIBTORCH_INCLUDE`, as the crate `torch-sys` reads it.
    pub libtorch_include: Option<PathBuf>,
    /// `LIBTORCH_LIB`, as the crate `torch-sys` reads it.
    pub libtorch_lib: Option<PathBuf>,
    /// `LIBTORCH_USE_PYTORCH` is set: to anything, because that is how the crate `torch-sys` reads it.
    pub use_pytorch: bool,
    /// `LIBTORCH_BYPASS_VERSION_CHECK` is set.
    pub any_version: bool,
    /// `VIRTUAL_ENV` is set: then the crate `torch-sys` calls `python`, else `python3`.
    pub virtual_env: bool,
}

impl Host {
    /// The machine and the environment that this process runs in.
    pub fn of_this_process() -> Self {
        let root = root();
        let folder = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        // `.cargo/config.toml` sets LIBTORCH to the checkout's link for `cargo run` too: that is not the user's word.
        let libtorch = folder("LIBTORCH").filter(|given| !same_path(given, &root.join(".libtorch/torch")));
        Self {
            platform: (env::consts::OS.to_owned(), env::consts::ARCH.to_owned()),
            path: env::var_os("PATH").unwrap_or_default(),
            // A relative XDG_CACHE_HOME is invalid by its specification, and to be ignored.
            cache: folder("XDG_CACHE_HOME")
                .filter(|cache| cache.is_absolute())
                .or_else(|| folder("HOME").map(|home| home.join(".cache"))),
            libtorch,
            libtorch_include: folder("LIBTORCH_INCLUDE"),
            libtorch_lib: folder("LIBTORCH_LIB"),
            use_pytorch: env::var_os("LIBTORCH_USE_PYTORCH").is_some(),
            any_version: env::var_os("LIBTORCH_BYPASS_VERSION_CHECK").is_some(),
            virtual_env: env::var_os("VIRTUAL_ENV").is_some(),
            root,
        }
    }

    /// The executable files of that name on `PATH`, in its order.
    pub fn programs(&self, name: &str) -> impl Iterator<Item = PathBuf> {
        env::split_paths(&self.path).map(move |folder| folder.join(name)).filter(|file| is_executable(file))
    }

    /// A command that runs in the checkout, with this host's `PATH` and with `LIBTORCH` only if the user set it.
    ///
    /// Cargo sets its own `LIBTORCH` where there is none, and so sees one and the same value whether it is
    /// called by the user or from here: a difference would compile `torch-sys` again.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).env("PATH", &self.path);
        match &self.libtorch {
            Some(given) => command.env("LIBTORCH", given),
            None => command.env_remove("LIBTORCH"),
        };
        command
    }
}

/// The checkout. `cargo run` says where the package lies; a copied program remembers where it was compiled.
fn root() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    package.parent().unwrap_or(&package).to_path_buf()
}

/// Whether two paths are the same text, but for `.` and doubled or trailing slashes.
fn same_path(a: &Path, b: &Path) -> bool {
    let parts = |path: &Path| path.components().filter(|part| *part != Component::CurDir).collect::<PathBuf>();
    parts(a) == parts(b)
}

fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_compared_by_its_parts() {
        assert!(same_path(Path::new("/a//b/./c/"), Path::new("/a/b/c")));
        assert!(!same_path(Path::new("/a/b"), Path::new("/a/b/c")));
    }

    #[test]
    fn the_checkout_is_the_folder_above_this_package() {
        assert!(root().join("xtask/Cargo.toml").is_file());
    }
}
