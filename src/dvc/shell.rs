//! Commands of a stage -> one text for the shell. DVC gives each of them a shell of its own, and stops at the first that
//! fails.

use super::resolve::{Part, Text};

/// A command as it is to run.
#[derive(Debug)]
pub(super) struct Command {
    /// The text.
    pub parts: Vec<Part>,
    /// Whether it is written for bash, which `sh` may not be.
    pub bash: bool,
    /// Whether lines end in a backslash, which DVC runs one by one all the same.
    pub continued: bool,
}

/// Puts commands together. `by_lines` says that they are the lines of one text; `last` is run when all of them succeeded.
pub(super) fn compose(commands: &[Text], by_lines: bool, last: Option<Vec<Part>>) -> Command {
    let mut all: Vec<Vec<Part>> = Vec::new();
    let mut continued = false;
    let mut open = false;
    for command in commands {
        let text = command.filled();
        let backslashes = text.chars().rev().take_while(|c| *c == '\\').count();
        if open && let Some(last) = all.last_mut() {
            last.push(Part::Literal("\n".to_owned()));
            last.extend(command.parts.iter().cloned());
        } else if !says_nothing(&text) {
            all.push(without_last_newline(command.parts.clone()));
        }
        open = by_lines && backslashes % 2 == 1 && !all.is_empty();
        continued |= open;
    }
    all.extend(last);
    let text = |parts: &[Part]| parts.iter().map(Part::text).collect::<String>();
    let bash = all.iter().any(|parts| needs_bash(&text(parts)));
    let mut parts = Vec::new();
    let several = all.len() > 1;
    for (index, command) in all.into_iter().enumerate() {
        let alone = several && !is_simple(&text(&command));
        let before = if index == 0 { "" } else { " &&\n" };
        let (open, close) = match (alone, text(&command).contains(['\n', '#'])) {
            (false, _) => ("", ""),
            (true, false) => ("(", ")"),
            // A comment or a here-document must not take the bracket with it.
            (true, true) => ("(\n", "\n)"),
        };
        parts.push(Part::Literal(format!("{before}{open}")));
        parts.extend(command);
        parts.push(Part::Literal(close.to_owned()));
    }
    Command { parts: joined(parts), bash, continued }
}

/// A newline at the end means nothing to a shell.
fn without_last_newline(mut parts: Vec<Part>) -> Vec<Part> {
    if let Some(Part::Literal(last)) = parts.last_mut() {
        last.truncate(last.trim_end_matches('\n').len());
    }
    parts
}

/// The same parts with literals that follow each other as one, and without empty ones.
fn joined(parts: Vec<Part>) -> Vec<Part> {
    let mut out: Vec<Part> = Vec::new();
    for part in parts {
        match (out.last_mut(), part) {
            (_, Part::Literal(text)) if text.is_empty() => {}
            (Some(Part::Literal(before)), Part::Literal(text)) => before.push_str(&text),
            (_, part) => out.push(part),
        }
    }
    out
}

fn says_nothing(text: &str) -> bool {
    text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
}

/// Words that change the shell in which they run, which the next command must not see.
const CHANGES: [&str; 20] = [
    "cd", "export", "source", ".", "set", "unset", "exit", "exec", "eval", "alias", "trap", "umask", "ulimit",
    "return", "readonly", "local", "shift", "break", "continue", "shopt",
];

/// Whether a command may stand in a row of others without a shell of its own: it is one program with its words.
fn is_simple(text: &str) -> bool {
    let first = text.split_whitespace().next().unwrap_or("");
    let quotes = |quote: char| text.matches(quote).count().is_multiple_of(2);
    let syntax = [";", "&", "||", "#", "<<", "`", "(", ")"];
    let lines = text.lines().rev().skip(1).all(|line| line.ends_with('\\'));
    !CHANGES.contains(&first)
        && !first.contains('=')
        && !["if", "for", "while", "until", "case", "!"].contains(&first)
        && syntax.iter().all(|mark| !text.contains(mark))
        && text.split_whitespace().all(|word| word != "{" && word != "}")
        && !text.ends_with('\\')
        && lines
        && quotes('\'')
        && quotes('"')
}

/// Whether a text has syntax that bash knows and `sh` need not.
fn needs_bash(text: &str) -> bool {
    const MARKS: [&str; 12] =
        ["[[ ", "<(", ">(", "<<<", "&>", "|&", "$'", "pipefail", "shopt ", "declare ", "mapfile ", "readarray "];
    if MARKS.iter().any(|mark| text.contains(mark)) {
        return true;
    }
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || ";&|(){}".contains(c)).collect();
    let range = |word: &str| word.contains("..") && text.contains(&format!("{{{word}}}"));
    let first_of_a_command = |word: &str| {
        let starts = text.match_indices(word).map(|(at, _)| text[..at].trim_end());
        starts.into_iter().any(|before| before.is_empty() || before.ends_with([';', '&', '|', '(', '{', '\n']))
    };
    words.contains(&"source") && first_of_a_command("source ")
        || words.contains(&"function") && first_of_a_command("function ")
        || words.iter().any(|word| range(word))
        || text.match_indices("((").any(|(at, _)| !text[..at].ends_with('$'))
        || text.match_indices("=(").any(|(at, _)| !text[..at].ends_with(['=', '!', '$', ' ']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Span;

    fn texts(commands: &[&str]) -> Vec<Text> {
        let text = |text: &&str| Text { parts: vec![Part::Literal((*text).to_owned())], at: Span::file(0, 0) };
        commands.iter().map(text).collect()
    }

    fn composed(commands: &[&str], by_lines: bool) -> String {
        compose(&texts(commands), by_lines, None).parts.iter().map(Part::text).collect()
    }

    #[test]
    fn simple_commands_stand_in_a_row_and_others_keep_to_themselves() {
        for (commands, text) in [
            (vec!["a b"], "a b"),
            (vec!["cd x && a; b"], "cd x && a; b"),
            (vec!["a", "b > c | d"], "a &&\nb > c | d"),
            (vec!["cd x", "a"], "(cd x) &&\na"),
            (vec!["X=1", "a $X"], "(X=1) &&\na $X"),
            (vec!["a; b", "c"], "(a; b) &&\nc"),
            (vec!["a ${B}", "{ c", "}"], "a ${B} &&\n({ c) &&\n(})"),
            (vec!["a # why", "b"], "(\na # why\n) &&\nb"),
            (vec!["", "# nothing", "a", "  "], "a"),
            (vec!["a 'it", "b"], "(a 'it) &&\nb"),
            (vec!["for x in 1 2", "b"], "(for x in 1 2) &&\nb"),
        ] {
            assert_eq!(composed(&commands, false), text, "{commands:?}");
        }
    }

    #[test]
    fn lines_that_go_on_are_one_command_only_where_dvc_cuts_lines() {
        assert_eq!(composed(&["a \\", "  --b", "c"], true), "a \\\n  --b &&\nc");
        assert!(compose(&texts(&["a \\", "b"]), true, None).continued);
        assert!(!compose(&texts(&["a \\\\", "b"]), true, None).continued);
        assert_eq!(composed(&["a \\", "b"], false), "(a \\) &&\nb");
    }

    #[test]
    fn what_comes_last_runs_when_all_else_succeeded() {
        for (commands, text) in [
            (vec!["a"], "a &&\ntouch ${x}"),
            (vec!["a; b"], "(a; b) &&\ntouch ${x}"),
            (vec!["a", "b"], "a &&\nb &&\ntouch ${x}"),
        ] {
            let last = vec![Part::Literal("touch ".to_owned()), Part::Ours("${x}".to_owned())];
            let command = compose(&texts(&commands), false, Some(last));
            assert_eq!(command.parts.iter().map(Part::text).collect::<String>(), text);
        }
    }

    #[test]
    fn bash_is_asked_for_where_its_syntax_is_used() {
        for text in [
            "[[ -f x ]] && a",
            "source venv/bin/activate",
            "cd x && source a",
            "diff <(a) <(b)",
            "set -o pipefail; a",
            "a &> log",
            "echo {1..3}",
            "for ((i=0; i<3; i++)); do a; done",
            "x=(1 2)",
        ] {
            assert!(needs_bash(text), "{text}");
        }
        for text in [
            "a --source x",
            "[ -f x ] && a",
            "echo $((1 + 2))",
            "cd .. && a",
            "python -c 'print(\"a\")'",
            "cat data-source > x",
            "a --filter 'x==(1)'",
            "awk '{print $1}' ../x",
        ] {
            assert!(!needs_bash(text), "{text}");
        }
    }
}
