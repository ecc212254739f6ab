//! In which language a script is written, by its name and by its first line.

use std::path::Path;

/// A language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Language {
    /// Python, whose imports are followed.
    Python,
    /// A shell: the programs that it runs and the files that it sources are followed.
    Shell,
    /// A language whose imports are not followed; its name.
    Other(&'static str),
    /// Something that a program reads as its orders, and that names no other files.
    Alone,
}

/// Extensions of scripts; case counts.
const EXTENSIONS: [(&str, Language); 43] = [
    ("py", Language::Python),
    ("pyw", Language::Python),
    ("sh", Language::Shell),
    ("bash", Language::Shell),
    ("dash", Language::Shell),
    ("ksh", Language::Shell),
    ("zsh", Language::Shell),
    ("R", Language::Other("R")),
    ("r", Language::Other("R")),
    ("Rmd", Language::Other("R Markdown")),
    ("rmd", Language::Other("R Markdown")),
    ("qmd", Language::Other("Quarto")),
    ("jl", Language::Other("Julia")),
    ("pl", Language::Other("Perl")),
    ("rb", Language::Other("Ruby")),
    ("lua", Language::Other("Lua")),
    ("js", Language::Other("JavaScript")),
    ("mjs", Language::Other("JavaScript")),
    ("cjs", Language::Other("JavaScript")),
    ("ts", Language::Other("TypeScript")),
    ("m", Language::Other("MATLAB or Octave")),
    ("do", Language::Other("Stata")),
    ("sas", Language::Other("SAS")),
    ("ipynb", Language::Other("a notebook")),
    ("php", Language::Other("PHP")),
    ("tcl", Language::Other("Tcl")),
    ("fish", Language::Other("fish")),
    ("scala", Language::Other("Scala")),
    ("kts", Language::Other("Kotlin")),
    ("go", Language::Other("Go")),
    ("groovy", Language::Other("Groovy")),
    ("nf", Language::Other("Nextflow")),
    ("smk", Language::Other("Snakemake")),
    ("mk", Language::Other("Make")),
    ("awk", Language::Alone),
    ("sed", Language::Alone),
    ("jq", Language::Alone),
    ("sql", Language::Alone),
    ("gp", Language::Alone),
    ("plt", Language::Alone),
    ("jar", Language::Alone),
    ("sif", Language::Alone),
    ("pyz", Language::Alone),
];

/// Programs that run scripts; versions behind the name do not count.
const INTERPRETERS: [(&str, Language); 18] = [
    ("sh", Language::Shell),
    ("bash", Language::Shell),
    ("dash", Language::Shell),
    ("ash", Language::Shell),
    ("ksh", Language::Shell),
    ("zsh", Language::Shell),
    ("Rscript", Language::Other("R")),
    ("R", Language::Other("R")),
    ("julia", Language::Other("Julia")),
    ("perl", Language::Other("Perl")),
    ("ruby", Language::Other("Ruby")),
    ("lua", Language::Other("Lua")),
    ("node", Language::Other("JavaScript")),
    ("octave", Language::Other("MATLAB or Octave")),
    ("php", Language::Other("PHP")),
    ("fish", Language::Other("fish")),
    ("tclsh", Language::Other("Tcl")),
    ("make", Language::Other("Make")),
];

/// The language that a file's name tells.
#[must_use]
pub fn by_name(path: &Path) -> Option<Language> {
    let extension = path.extension()?.to_str()?;
    EXTENSIONS.iter().find(|(known, _)| *known == extension).map(|(_, language)| *language)
}

/// The language of the scripts that a program runs, by the program's name or path.
#[must_use]
pub fn of_interpreter(program: &str) -> Option<Language> {
    let name = program.rsplit('/').next().unwrap_or(program);
    if is_python(name) {
        return Some(Language::Python);
    }
    let bare = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    INTERPRETERS.iter().find(|(known, _)| *known == bare).map(|(_, language)| *language)
}

/// Whether a program of this name is Python: `python`, `python3`, `python3.12`, `python3.13t`, `pypy3`.
#[must_use]
pub fn is_python(name: &str) -> bool {
    let version = name.strip_prefix("python").or_else(|| name.strip_prefix("pypy"));
    version.is_some_and(|version| version.trim_end_matches('t').bytes().all(|b| b.is_ascii_digit() || b == b'.'))
}

/// The interpreter that a script's first lines name, and the words that stand before the script: of
/// `#!/usr/bin/env -S python3 -u`, `python3` and `-u`.
#[must_use]
pub fn shebang(first_lines: &str) -> Option<Vec<&str>> {
    let (first, second) = first_lines.split_once('\n').unwrap_or((first_lines, ""));
    // Where a path is too long for a first line, installers write it into the second one, in a text that is a comment
    // to Python and a command to the shell.
    if let Some(rest) = second.strip_prefix("'''exec' ") {
        let quoted = rest.strip_prefix('"').and_then(|rest| rest.split_once('"'));
        return Some(vec![quoted.map_or_else(|| rest.split(' ').next().unwrap_or_default(), |(path, _)| path)]);
    }
    let mut words: Vec<&str> = first.strip_prefix("#!")?.split_whitespace().collect();
    if words.first()?.rsplit('/').next() == Some("env") {
        let options = words[1..].iter().take_while(|word| word.starts_with('-') || word.contains('=')).count();
        words.drain(..=options);
    }
    (!words.is_empty()).then_some(words)
}

/// The language that a script's first lines tell.
#[must_use]
pub fn by_shebang(first_lines: &str) -> Option<Language> {
    of_interpreter(shebang(first_lines)?.first()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_or_a_first_line_tells_the_language() {
        let other = |name| Some(Language::Other(name));
        for (name, language) in [
            ("a/train.py", Some(Language::Python)),
            ("run.sh", Some(Language::Shell)),
            ("fit.R", other("R")),
            ("fit.jl", other("Julia")),
            ("look.ipynb", other("a notebook")),
            ("sum.awk", Some(Language::Alone)),
            ("table.csv", None),
            ("py", None),
            ("0.01", None),
        ] {
            assert_eq!(by_name(Path::new(name)), language, "{name}");
        }
        for (line, language) in [
            ("#!/usr/bin/env python3", Some(Language::Python)),
            ("#!/usr/bin/env -S python3.12 -u", Some(Language::Python)),
            ("#! /opt/venv/bin/python", Some(Language::Python)),
            ("#!/usr/bin/env -S A=b pypy3", Some(Language::Python)),
            ("#!/bin/bash -e", Some(Language::Shell)),
            ("#!/usr/bin/perl5.36 -w", other("Perl")),
            ("#!/bin/sh\n'''exec' \"/a long/bin/python3\" \"$0\" \"$@\"", Some(Language::Python)),
            ("#!/bin/sh\n'''exec' /long/bin/python3 \"$0\" \"$@\"", Some(Language::Python)),
            ("#!/bin/sh\nexec python x.py", Some(Language::Shell)),
            ("#!/usr/bin/pythonic", None),
            ("#!", None),
            ("#!/usr/bin/env", None),
            ("# no shebang", None),
            ("", None),
        ] {
            assert_eq!(by_shebang(line), language, "{line}");
        }
    }

    #[test]
    fn python_is_known_by_any_of_its_names_and_nothing_else_is() {
        for name in ["python", "python3", "python3.12", "python3.13t", "pypy3", "pypy"] {
            assert!(is_python(name), "{name}");
        }
        for name in ["python-config", "python3-config", "pythonx", "ipython", "py.test", "pytho"] {
            assert!(!is_python(name), "{name}");
        }
    }
}
