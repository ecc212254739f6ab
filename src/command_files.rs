//! Files that a command names: what of the project enters its key beside its text. Reads no file: whether a word names
//! one is found out in `sources`.

use std::path::Path;

use crate::graph::{CommandLine, ExternalFile};

/// The program and every word of a command that may be a file or folder: an edited script is another key. Words
/// that name nothing cost nothing, so the text is cut wherever the shell, or an option, might cut it.
#[must_use]
pub fn files_named_in(command: &CommandLine, root: &Path) -> Vec<ExternalFile> {
    let (text, program) = match command {
        CommandLine::Shell(text) => (text.clone(), text.split_whitespace().next()),
        CommandLine::Words(words) => (words.join("\n"), words.first().map(String::as_str)),
    };
    let mut files = Vec::new();
    if let Some(program) = program.filter(|program| !program.contains(['/', '$'])) {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let candidates = std::env::split_paths(&path).map(|folder| folder.join(program)).collect();
        // The first word of a text may be the shell's own (`cd`, `for`, `(`).
        let direct = matches!(command, CommandLine::Words(_));
        let hint = direct.then(|| format!("the program `{program}` is not on the PATH"));
        files.push(ExternalFile { name: "program".to_owned(), candidates, folders: false, hint });
    }
    let whole = text.split('\n').flat_map(|line| line.split(['\'', '"']));
    let pieces = text.split(|c: char| c.is_whitespace() || "\'\"`;|&<>()=,".contains(c));
    let mut named: Vec<&str> = whole.chain(pieces).filter(|word| may_be_a_file(word)).collect();
    named.sort_unstable();
    named.dedup();
    files.extend(named.into_iter().map(|word| ExternalFile {
        name: format!("file:{word}"),
        candidates: vec![root.join(word)],
        // `--tmp /tmp` does not mean all that lies there, nor the root all of the project.
        folders: root.join(word).starts_with(root) && root.join(word) != root,
        hint: None,
    }));
    files
}

/// A word that could name a file or folder, though not the project itself.
fn may_be_a_file(word: &str) -> bool {
    let names_something = Path::new(word).components().any(|part| matches!(part, std::path::Component::Normal(_)));
    names_something && !word.contains("${") && !word.contains('\0')
}
