//! Tests of the room as its caller sees it: small projects in temporary folders, whose Python is a stub that answers as
//! Python would.

mod agreement;
mod commands;
mod environments;
mod imports;
mod memory;
mod shells;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::sync::Arc;

use super::*;

/// A project, and beside it what a machine has: programs in `bin`, installed distributions in `site`.
pub struct Project {
    folder: tempfile::TempDir,
    pub variables: BTreeMap<String, String>,
}

impl Project {
    /// A project with these files, and a machine with a stub of Python.
    pub fn new(files: &[(&str, &str)]) -> Self {
        let project = Self::without_python(files);
        for name in ["python3", "python"] {
            std::os::unix::fs::symlink(stub(), project.machine("bin").join(name)).unwrap();
        }
        project
    }

    /// A project with these files, and a machine without Python.
    pub fn without_python(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["project", "bin", "home", "site"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let mut project = Self { folder, variables: BTreeMap::new() };
        project.set("PATH", &project.machine("bin").display().to_string());
        project.set("HOME", &project.machine("home").display().to_string());
        for (name, text) in files {
            project.write(name, text);
        }
        project
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    /// A path beside the project.
    pub fn machine(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn root(&self) -> PathBuf {
        self.machine("project")
    }

    /// Writes a file of the project.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.root().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// Writes a program of the machine.
    pub fn program(&self, name: &str, text: &str) -> PathBuf {
        let path = self.machine(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        write_program(&path, text);
        path
    }

    /// A stub of Python that answers with this version, and with the folder `site`; it notes each time that it is
    /// asked.
    pub fn python(&self, name: &str, version: &str) -> PathBuf {
        self.python_that_says(name, version, "")
    }

    /// As [`Self::python`], with further fields of the answer.
    pub fn python_that_says(&self, name: &str, version: &str, fields: &str) -> PathBuf {
        let (path, site) = (self.machine(name), self.machine("site"));
        let asked = self.machine("asked");
        let defaults = [
            ("executable", format!("{:?}", path.display().to_string())),
            ("prefix", "\"/nowhere\"".to_owned()),
            ("installed", format!("[{:?}]", site.display().to_string())),
            ("outside", "[]".to_owned()),
            ("linked", "{}".to_owned()),
        ];
        let missing = defaults.iter().filter(|(name, _)| !fields.contains(&format!("{name:?}:")));
        let missing: Vec<String> = missing.map(|(name, value)| format!("{name:?}: {value}")).collect();
        let comma = if fields.is_empty() { "" } else { "," };
        let answer = format!("{{\"version\": {version:?}, {}{comma} {fields}}}", missing.join(", "));
        let text = format!(
            "#!/bin/sh\necho asked >> {}\necho noise\nprintf '%s\\n' 'pru-flow-python:{answer}'\n",
            asked.display()
        );
        self.program(name, &text)
    }

    /// How often a stub was asked.
    pub fn asked(&self) -> usize {
        fs::read_to_string(self.machine("asked")).unwrap_or_default().lines().count()
    }

    /// The variables as a command sees them.
    pub fn seen(&self) -> Arc<Variables> {
        Arc::new(Variables::new(self.variables.clone()))
    }

    /// A command in a folder of the project.
    pub fn code_in(&self, look: &Look<'_>, line: Line<'_>, folder: &str) -> Result<Arc<CommandCode>, CodeError> {
        let (root, folder) = (self.root(), plain_path(&self.root().join(folder)));
        let variables = self.seen();
        look.of_command(&Command { line, root: &root, folder: &folder, variables: &variables, not_code: &[] })
    }

    /// The code of a text for the shell.
    pub fn shell(&self, text: &str) -> CommandCode {
        let reader = CodeReader::new(None);
        let code = self.code_in(&reader.look(), Line::Shell(text), ".");
        code.unwrap_or_else(|error| panic!("{text}: {error}")).as_ref().clone()
    }

    /// The code of a list of words.
    pub fn words(&self, words: &[&str]) -> Result<CommandCode, CodeError> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let reader = CodeReader::new(None);
        self.code_in(&reader.look(), Line::Words(&words), ".").map(|code| code.as_ref().clone())
    }

    /// Files as paths from the root, or from the folder of the machine.
    pub fn names(&self, code: &CommandCode) -> Vec<String> {
        code.files.iter().map(|path| self.name(path)).collect()
    }

    /// A path from the root, or from the folder of the machine.
    pub fn name(&self, path: &Path) -> String {
        let name = path.strip_prefix(self.root()).or_else(|_| path.strip_prefix(self.folder.path()));
        name.unwrap_or(path).display().to_string()
    }

    /// Programs by their names.
    pub fn programs(&self, code: &CommandCode) -> Vec<String> {
        code.programs.iter().map(|program| self.name(&program.path)).collect()
    }

    /// Warnings as `file:line: message`.
    pub fn warnings(&self, code: &CommandCode) -> Vec<String> {
        let one = |warning: &Warning| {
            let place = match (&warning.file, warning.line) {
                (Some(file), Some(line)) => format!("{}:{line}: ", self.name(file)),
                _ => String::new(),
            };
            format!("{place}{}", warning.message.replace(&self.root().display().to_string(), "ROOT"))
        };
        code.warnings.iter().map(one).collect()
    }
}

/// Writes a program. Another process does: were it open for writing here while another test starts a child, it could
/// not be run.
fn write_program(path: &Path, text: &str) {
    let source = tempfile::NamedTempFile::new().unwrap();
    fs::write(source.path(), text).unwrap();
    assert!(Process::new("cp").arg(source.path()).arg(path).status().unwrap().success());
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A stub of Python for all tests: it finds the folder `site` and its notes by its own name.
fn stub() -> &'static Path {
    static STUB: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let make = || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("python");
        let answer = [
            r#"pru-flow-python:{\"version\": \"CPython 3.11.2\", \"executable\": \"$0\", \"prefix\": \"/nowhere\", "#,
            r#"\"installed\": [\"${0%/bin/*}/site\"], \"outside\": [], \"linked\": {}}"#,
        ]
        .concat();
        let text = format!("#!/bin/sh\necho asked >> \"${{0%/*}}/../asked\"\necho noise\necho \"{answer}\"\n");
        write_program(&path, &text);
        (folder, path)
    };
    &STUB.get_or_init(make).1
}

/// A path without `.` in it.
fn plain_path(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != std::path::Component::CurDir).collect()
}

/// Asserts which files of a project a text for the shell follows, and that it warns of nothing.
#[track_caller]
pub fn follows(files: &[(&str, &str)], text: &str, expected: &[&str]) {
    let project = Project::new(files);
    let code = project.shell(text);
    assert_eq!(project.names(&code), expected, "{text}");
    assert_eq!(project.warnings(&code), [""; 0], "{text}");
}

/// Asserts which files are followed, and what is warned of.
#[track_caller]
pub fn follows_and_warns(files: &[(&str, &str)], text: &str, expected: &[&str], warnings: &[&str]) {
    let project = Project::new(files);
    let code = project.shell(text);
    assert_eq!(project.names(&code), expected, "{text}");
    assert_eq!(project.warnings(&code), warnings, "{text}");
}
