//! What a program needs of the machine to run at all, however it is confined: the system's own folders, and where the
//! programs that a command names are installed, with their libraries. No file of the project is among them but an
//! environment of Python or conda.
//!
//! Knows nothing of Landlock, and asks no program: it looks at names, links and first lines.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Folders of the system that every program may read.
pub const READ: [&str; 20] = [
    "/bin",
    "/etc",
    "/gnu/store",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix",
    "/opt",
    "/proc",
    // Where `/etc/resolv.conf` leads to, and where NixOS has its programs and drivers.
    "/run/current-system",
    "/run/opengl-driver",
    "/run/systemd/resolve",
    "/sbin",
    "/snap",
    "/sys",
    "/usr",
    "/var/cache/fontconfig",
    // TeX's formats on Debian.
    "/var/lib/texmf",
    "/var/lib/snapd",
];

/// What folders of programs are called.
const OF_PROGRAMS: [&str; 4] = ["bin", "condabin", "sbin", "shims"];

/// What lies beside a folder of programs and belongs to them.
const BESIDE: [&str; 11] =
    ["Cellar", "etc", "include", "lib", "lib32", "lib64", "libexec", "opt", "share", "ssl", "version"];

/// Links and environments that are followed before it is given up.
const STEPS_MAX: u32 = 16;

/// What programs may read of the machine's own software beside [`READ`]: folders of the search path `path`, and where
/// each program that `words` name (those of a command line, or texts for a shell) really lies, with its libraries. The
/// command runs in `current`, a folder of the project in `root`.
#[must_use]
pub fn software(words: &[String], path: &OsStr, root: &Path, current: &Path) -> BTreeSet<PathBuf> {
    let mut found = Software { root, current, path, files: BTreeSet::new() };
    for folder in std::env::split_paths(path).filter(|folder| folder.is_absolute()) {
        found.add_folder(&folder, STEPS_MAX);
    }
    let cut = |c: char| c.is_whitespace() || "'\"`;|&<>()=$".contains(c);
    let whole = words.iter().map(String::as_str);
    let names: BTreeSet<&str> = whole.chain(words.iter().flat_map(|word| word.split(cut))).collect();
    for name in names.into_iter().filter(|name| !name.is_empty() && !name.contains('\0')) {
        found.add_program(OsStr::new(name), STEPS_MAX);
    }
    found.files
}

struct Software<'a> {
    root: &'a Path,
    current: &'a Path,
    path: &'a OsStr,
    files: BTreeSet<PathBuf>,
}

impl Software<'_> {
    /// A program by its name, as a shell finds it, or by its path; what is none is passed over.
    fn add_program(&mut self, name: &OsStr, steps: u32) {
        let found = if Path::new(name).components().count() > 1 {
            Some(self.current.join(name))
        } else {
            std::env::split_paths(self.path).map(|folder| folder.join(name)).find(|path| path.is_file())
        };
        if let Some(path) = found.filter(|path| is_program(path)) {
            self.add_file(&path, steps);
        }
    }

    /// A program's file: through all its links to where it is installed, and what runs it when it is a script.
    fn add_file(&mut self, path: &Path, steps: u32) {
        let Some(steps) = steps.checked_sub(1) else { return };
        // One of the project's own is a file that its stage declares.
        if !path.starts_with(self.root) {
            self.files.insert(path.to_owned());
        }
        self.add_folder_of(path, steps);
        match std::fs::read_link(path) {
            Ok(target) => self.add_file(&path.parent().unwrap_or(path).join(target), steps),
            Err(_) => {
                for word in interpreter(path) {
                    self.add_program(OsStr::new(&word), steps);
                }
                // A folder on the way may be a link too.
                self.add_folder_of(&path.canonicalize().unwrap_or_default(), steps);
            }
        }
    }

    /// The folder that a program lies in, when it is one of programs: beside a script in a folder of data lie data.
    fn add_folder_of(&mut self, program: &Path, steps: u32) {
        if let Some(folder) = program.parent()
            && OF_PROGRAMS.iter().any(|name| folder.file_name() == Some(OsStr::new(name)))
        {
            self.add_folder(folder, steps);
        }
    }

    /// A folder of programs, and the libraries that belong to them.
    fn add_folder(&mut self, folder: &Path, steps: u32) {
        let Some(steps) = steps.checked_sub(1) else { return };
        let Some(prefix) = folder.parent().filter(|_| folder != Path::new("/")) else { return };
        if is_environment(prefix) && !self.root.starts_with(prefix) {
            let is_new = self.files.insert(prefix.to_owned());
            if let Some(base) = base_of(prefix).filter(|_| is_new) {
                self.add_folder(&base, steps);
            }
            return;
        }
        let is_of_project = folder.starts_with(self.root) || self.root.starts_with(folder);
        if !is_of_project && self.files.insert(folder.to_owned()) {
            let name = folder.file_name().unwrap_or_default();
            // In a folder that the project lies in too (`~/bin` beside `~/project`), the rest is the user's.
            if self.root.starts_with(prefix) {
                return;
            }
            if name == "shims" {
                // The whole of what makes shims (`pyenv`, `asdf`) lies beside them.
                self.files.insert(prefix.to_owned());
            } else if OF_PROGRAMS.iter().any(|known| name == *known) {
                self.files.extend(BESIDE.iter().map(|name| prefix.join(name)).filter(|path| path.exists()));
            }
        }
    }
}

/// Whether a file is a program: on some file systems every file may be run.
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let may_run = path.metadata().is_ok_and(|stat| stat.is_file() && stat.permissions().mode() & 0o111 != 0);
    let start = if may_run { start_of(path) } else { Vec::new() };
    start.starts_with(b"#!") || start.starts_with(b"\x7fELF")
}

/// The first bytes of a file; of one that cannot be read, none.
fn start_of(path: &Path) -> Vec<u8> {
    let mut start = Vec::new();
    let _ = File::open(path).and_then(|file| file.take(256).read_to_end(&mut start));
    start
}

/// Whether `prefix` is an environment of Python's or conda's.
fn is_environment(prefix: &Path) -> bool {
    prefix.join("pyvenv.cfg").is_file() || prefix.join("conda-meta").is_dir()
}

/// The folder of the Python that an environment was made with.
fn base_of(environment: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(environment.join("pyvenv.cfg")).ok()?;
    let (_, home) = text.lines().filter_map(|line| line.split_once('=')).find(|(name, _)| name.trim() == "home")?;
    Some(PathBuf::from(home.trim())).filter(|folder| folder.is_absolute())
}

/// The words of a script's first line: its interpreter, and what that may start in turn (`#!/usr/bin/env python3`).
fn interpreter(path: &Path) -> Vec<String> {
    let start = start_of(path);
    let text = String::from_utf8_lossy(&start);
    let line = text.lines().next().and_then(|line| line.strip_prefix("#!")).unwrap_or_default();
    line.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    struct Place(tempfile::TempDir);

    impl Place {
        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn program(&self, name: &str, text: &str) -> PathBuf {
            let path = self.path(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            path
        }

        fn software(&self, words: &[&str], path: &[&str]) -> BTreeSet<PathBuf> {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let folders = path.iter().map(|folder| self.path(folder));
            let root = self.path("project");
            software(&words, &std::env::join_paths(folders).unwrap(), &root, &root)
        }
    }

    #[test]
    fn a_program_is_found_through_links_with_its_libraries_and_nothing_beside_them() {
        let place = Place(tempfile::tempdir().unwrap());
        let real = place.program("apps/python-3.12/bin/python3.12", "\x7fELF");
        for beside in ["apps/python-3.12/lib", "apps/python-3.12/data", "home/lib", "home/documents"] {
            std::fs::create_dir_all(place.path(beside)).unwrap();
        }
        std::fs::create_dir_all(place.path("home/.local/bin")).unwrap();
        symlink("../../../apps/python-3.12/bin/python3.12", place.path("home/.local/bin/python3")).unwrap();
        for words in [&["python3", "x.py"][..], &["sh", "-c", "cd a&&python3 x.py|tee y"]] {
            let found = place.software(words, &["home/.local/bin"]);
            let canonical = real.parent().unwrap().canonicalize().unwrap();
            assert!(found.contains(&canonical), "{found:?}");
            assert!(found.contains(&canonical.parent().unwrap().join("lib")), "{found:?}");
            assert!(found.contains(&place.path("home/.local/bin")));
            assert!(found.iter().all(|path| !path.ends_with("data") && !path.ends_with("home")), "{found:?}");
        }
        assert!(
            !place.software(&["other"], &["home/.local/bin"]).iter().any(|path| path.starts_with(place.path("apps")))
        );
    }

    #[test]
    fn scripts_lead_to_their_interpreters_and_shims_to_what_made_them() {
        let place = Place(tempfile::tempdir().unwrap());
        place.program("py/bin/python3", "\x7fELF");
        std::fs::create_dir_all(place.path("py/lib")).unwrap();
        let script =
            place.program("tools/run", &format!("#!/usr/bin/env -S {}\n", place.path("py/bin/python3").display()));
        let found = place.software(&[script.to_str().unwrap()], &[]);
        assert!(found.contains(&place.path("py/lib")) && found.contains(&script), "{found:?}");
        // Data beside a script, or that may be run because all files may, are not opened with it.
        let data = place.program("tools/data.csv", "1,2");
        let found = place.software(&[script.to_str().unwrap(), data.to_str().unwrap()], &[]);
        assert!(!found.contains(&data) && !found.contains(&place.path("tools")), "{found:?}");
        place.program("home/.pyenv/shims/python", "#!/bin/sh\n");
        assert!(place.software(&[], &["home/.pyenv/shims"]).contains(&place.path("home/.pyenv")));
    }

    #[test]
    fn of_the_project_only_an_environment_can_be_read() {
        let place = Place(tempfile::tempdir().unwrap());
        place.program("project/bin/tool", "#!/bin/sh\n");
        std::fs::create_dir_all(place.path("project/lib")).unwrap();
        let found = place.software(&["tool"], &["project/bin"]);
        assert!(found.iter().all(|path| !path.starts_with(place.path("project"))), "{found:?}");
        // Nor through a folder above it.
        place.program("bin/other", "");
        std::fs::create_dir_all(place.path("lib")).unwrap();
        let found = place.software(&["other"], &["bin", "project"]);
        assert!(found.contains(&place.path("bin")) && !found.contains(&place.path("lib")), "{found:?}");
        assert!(found.iter().all(|path| !place.path("project").starts_with(path)), "{found:?}");

        place.program("base/bin/python3", "\x7fELF");
        std::fs::create_dir_all(place.path("base/lib")).unwrap();
        std::fs::create_dir_all(place.path("project/.venv/bin")).unwrap();
        let home = format!("home = {}\nversion = 3.12\n", place.path("base/bin").display());
        std::fs::write(place.path("project/.venv/pyvenv.cfg"), home).unwrap();
        let found = place.software(&[], &["project/.venv/bin"]);
        assert!(found.contains(&place.path("project/.venv")) && found.contains(&place.path("base/lib")), "{found:?}");
        // Also when its Python is named and not on the path.
        symlink(place.path("base/bin/python3"), place.path("project/.venv/bin/python")).unwrap();
        for text in [".venv/bin/python train.py", "./.venv/bin/python -m x"] {
            let found = place.software(&["sh", "-c", text], &[]);
            let venv = found.iter().any(|path| path.ends_with(".venv"));
            assert!(venv && found.contains(&place.path("base/lib")), "{found:?}");
        }
        // Unless it is the project.
        std::fs::create_dir_all(place.path("project/bin")).unwrap();
        std::fs::write(place.path("project/pyvenv.cfg"), "").unwrap();
        assert!(!place.software(&[], &["project/bin"]).contains(&place.path("project")));
    }

    #[test]
    fn links_in_a_circle_come_to_an_end() {
        let place = Place(tempfile::tempdir().unwrap());
        std::fs::create_dir_all(place.path("bin")).unwrap();
        symlink("b", place.path("bin/a")).unwrap();
        symlink("a", place.path("bin/b")).unwrap();
        let loops = place.program("bin/c", "");
        std::fs::write(&loops, format!("#!{}\n", loops.display())).unwrap();
        place.software(&["a", "b", "c"], &["bin"]);
    }
}
