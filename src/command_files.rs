//! Files that a command names: what of the project enters its key beside its text. Reads no file: whether a word names
//! one is found out in `sources`.

use std::path::Path;

use crate::command::{CommandLine, plain};
use crate::graph::ExternalFile;

/// Every word of a command that may be a file or folder: an edited script is another key. Words
/// that name nothing cost nothing, so the text is cut wherever the shell, or an option, might cut it. Paths start in
/// `folder`, where the command runs.
#[must_use]
pub fn files_named_in(command: &CommandLine, root: &Path, folder: &Path) -> Vec<ExternalFile> {
    let text = match command {
        CommandLine::Shell(text) => text.clone(),
        CommandLine::Words(words) => words.join("\n"),
    };
    let whole = text.split('\n').flat_map(|line| line.split(['\'', '"']));
    let pieces = text.split(|c: char| c.is_whitespace() || "\'\"`;|&<>()=,".contains(c));
    let mut named: Vec<&str> = whole.chain(pieces).filter(|word| may_be_a_file(word)).collect();
    named.sort_unstable();
    named.dedup();
    if matches!(command, CommandLine::Shell(_)) {
        let written = only_written(&text);
        named.retain(|word| !written.contains(word));
    }
    let file = |word: &str| {
        let path = plain(&folder.join(word));
        ExternalFile {
            name: format!("file:{word}"),
            // `--tmp /tmp` does not mean all that lies there, nor the root all of the project.
            folders: path.starts_with(root) && path != root,
            candidates: vec![path],
            hint: None,
            value: None,
        }
    };
    named.into_iter().map(file).collect()
}

/// Words of a text for the shell that stand behind `>` or `>>` wherever they stand: what is written is not read.
fn only_written(text: &str) -> Vec<&str> {
    let cut = |c: char| c.is_whitespace() || "\'\"`;|&<>()".contains(c);
    let mut targets: Vec<(&str, usize)> = Vec::new();
    for (at, _) in text.match_indices('>').filter(|(at, _)| !text[at + 1..].starts_with(['>', '(', '&'])) {
        let rest = text[at + 1..].trim_start_matches([' ', '\t', '"', '\'']);
        let word = &rest[..rest.find(cut).unwrap_or(rest.len())];
        match targets.iter_mut().find(|(known, _)| *known == word) {
            Some((_, count)) => *count += 1,
            None => targets.push((word, 1)),
        }
    }
    let everywhere = |word: &str| text.split(|c| cut(c) || "=,".contains(c)).filter(|piece| *piece == word).count();
    targets.into_iter().filter(|(word, count)| everywhere(word) == *count).map(|(word, _)| word).collect()
}

/// A word that could name a file or folder, though not the project itself.
fn may_be_a_file(word: &str) -> bool {
    let names_something = Path::new(word).components().any(|part| matches!(part, std::path::Component::Normal(_)));
    names_something && !word.contains("${") && !word.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_text_only_writes_to_is_no_source() {
        for (text, written) in [
            ("a >> log.txt", vec!["log.txt"]),
            ("a > 'x y' 2>err.txt", vec!["x", "err.txt"]),
            ("a > b; cat b", vec![]),
            ("a >b --in=b", vec![]),
            ("sort <a 2>&1 >c", vec!["c"]),
            ("a > o; b > o", vec!["o"]),
        ] {
            assert_eq!(only_written(text), written, "{text}");
        }
    }
}
