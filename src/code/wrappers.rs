//! Programs that run the program that stands behind them: which of their words are their own. A table and a reader of
//! options; knows nothing of what is run.

use super::shell::values::Arg;

/// What chooses the programs that are run, in place of the PATH alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Via {
    /// `uv run`: the environment of the project in this folder, or of the one that the command runs in.
    Uv(Option<String>),
    /// `poetry run` and the like: the folder `.venv` of the project.
    Venv(&'static str),
    /// `pixi run`: the environment of this name.
    Pixi(String),
    /// `conda run`, `source .../activate`: the environment of this name, or in this folder.
    Environment(String),
}

/// A wrapper's own words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Unwrapped<'a> {
    /// How many words are its own.
    pub own: usize,
    /// `NAME=value` words of `env`.
    pub assigned: Vec<(&'a str, &'a str)>,
    /// A command that is one word: of `env -S`.
    pub text: Option<&'a str>,
    /// What chooses the programs.
    pub via: Option<Via>,
    /// Whether the word behind its own is a module: `uv run -m`.
    pub module: bool,
    /// Whether nothing is run: `command -v`.
    pub nothing: bool,
}

/// A wrapper: its name, the letters of its options that take a value, its long options that take one as the next word,
/// and how many operands stand before the program.
type Wrapper = (&'static str, &'static str, &'static [&'static str], usize);

const WRAPPERS: &[Wrapper] = &[
    ("env", "uCS", &["--unset", "--chdir", "--split-string"], 0),
    ("nice", "n", &["--adjustment"], 0),
    ("ionice", "cn", &["--class", "--classdata"], 0),
    ("time", "fo", &["--format", "--output"], 0),
    ("gtime", "fo", &["--format", "--output"], 0),
    ("timeout", "ks", &["--kill-after", "--signal"], 1),
    ("gtimeout", "ks", &["--kill-after", "--signal"], 1),
    ("nohup", "", &[], 0),
    ("setsid", "", &[], 0),
    ("exec", "a", &[], 0),
    ("command", "", &[], 0),
    ("builtin", "", &[], 0),
    ("stdbuf", "ioe", &["--input", "--output", "--error"], 0),
    ("chrt", "TPD", &[], 1),
    ("taskset", "", &[], 1),
    ("numactl", "CNmipl", &["--cpunodebind", "--physcpubind", "--membind", "--interleave", "--preferred"], 0),
    ("sudo", "ugCDhpRrTt", &["--user", "--group"], 0),
    ("doas", "uC", &[], 0),
    ("unbuffer", "", &[], 0),
    ("caffeinate", "tw", &[], 0),
    ("xvfb-run", "efnsw", &["--server-args", "--server-num", "--error-file"], 0),
    ("flock", "wE", &["--timeout", "--conflict-exit-code"], 1),
    ("watch", "n", &["--interval"], 0),
    ("xargs", "IEdaLnPs", &["--max-args", "--max-procs", "--delimiter", "--arg-file", "--replace"], 0),
    ("catchsegv", "", &[], 0),
    ("strace", "eoEpPsu", &[], 0),
];

/// Programs whose `run` runs a program in an environment of theirs.
const RUNNERS: &[Wrapper] = &[
    (
        "uv",
        "pw",
        &[
            "--with",
            "--with-editable",
            "--with-requirements",
            "--extra",
            "--no-extra",
            "--group",
            "--only-group",
            "--no-group",
            "--package",
            "--python",
            "--env-file",
            "--directory",
            "--project",
            "--index-url",
            "--index",
            "--extra-index-url",
            "--find-links",
            "--config-file",
            "--cache-dir",
            "--refresh-package",
            "--python-platform",
        ],
        0,
    ),
    ("poetry", "CP", &["--directory", "--project"], 0),
    ("pipenv", "", &["--python"], 0),
    ("pdm", "pL", &["--project", "--venv"], 0),
    ("rye", "", &["--pyproject"], 0),
    ("hatch", "e", &["--env"], 0),
    ("pixi", "e", &["--environment", "--manifest-path"], 0),
    ("conda", "np", &["--name", "--prefix", "--cwd"], 0),
    ("mamba", "np", &["--name", "--prefix", "--cwd"], 0),
    ("micromamba", "npr", &["--name", "--prefix", "--root-prefix", "--cwd"], 0),
];

/// The own words of the wrapper `name`, whose words are `rest`; `None` when it is no wrapper.
pub(super) fn unwrap<'a>(name: &str, rest: &'a [Arg]) -> Option<Unwrapped<'a>> {
    if let Some(wrapper) = WRAPPERS.iter().find(|wrapper| wrapper.0 == name) {
        return Some(plain(wrapper, rest));
    }
    let runner = RUNNERS.iter().find(|runner| runner.0 == name)?;
    let mut reader = Options { rest, at: 0, wrapper: runner, found: Vec::new() };
    reader.read();
    let run = rest.get(reader.at)?.one()?;
    if run != "run" {
        return None;
    }
    reader.at += 1;
    reader.read();
    let mut own = Unwrapped { own: reader.at, ..Unwrapped::default() };
    let value =
        |names: &[&str]| reader.found.iter().rev().find(|(name, _)| names.contains(name)).map(|(_, value)| *value);
    own.via = Some(match name {
        "uv" => {
            own.module = value(&["m", "--module"]).is_some();
            Via::Uv(value(&["--project", "--directory"]).map(str::to_owned))
        }
        "pixi" => Via::Pixi(value(&["e", "--environment"]).unwrap_or("default").to_owned()),
        "conda" | "mamba" | "micromamba" => {
            Via::Environment(value(&["n", "--name", "p", "--prefix"]).unwrap_or("base").to_owned())
        }
        _ => Via::Venv(runner.0),
    });
    Some(own)
}

fn plain<'a>(wrapper: &'static Wrapper, rest: &'a [Arg]) -> Unwrapped<'a> {
    let mut reader = Options { rest, at: 0, wrapper, found: Vec::new() };
    reader.read();
    let mut own = Unwrapped::default();
    match wrapper.0 {
        "env" => {
            own.text =
                reader.found.iter().find(|(name, _)| ["S", "--split-string"].contains(name)).map(|(_, text)| *text);
            while let Some((name, value)) = rest.get(reader.at).and_then(Arg::one).and_then(assignment) {
                own.assigned.push((name, value));
                reader.at += 1;
            }
        }
        "command" => {
            own.nothing = reader.found.iter().any(|(name, _)| ["v", "V"].contains(name));
        }
        _ => {}
    }
    own.own = (reader.at + wrapper.3).min(rest.len());
    own
}

/// `NAME=value`.
fn assignment(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    is_name.then_some((name, value))
}

/// Reads the options that stand before the first operand.
struct Options<'a> {
    rest: &'a [Arg<'a>],
    at: usize,
    wrapper: &'static Wrapper,
    found: Vec<(&'a str, &'a str)>,
}

impl<'a> Options<'a> {
    fn read(&mut self) {
        while let Some(word) =
            self.rest.get(self.at).and_then(Arg::one).filter(|word| word.len() > 1 && word.starts_with('-'))
        {
            self.at += 1;
            if word == "--" {
                return;
            }
            if word.starts_with("--") {
                match word.split_once('=') {
                    Some((name, value)) => self.found.push((name, value)),
                    None if self.wrapper.2.contains(&word) => self.value(word),
                    None => self.found.push((word, "")),
                }
            } else {
                self.letters(&word[1..]);
            }
        }
    }

    /// `-xyVALUE`, or `-xy VALUE`.
    fn letters(&mut self, letters: &'a str) {
        for (index, letter) in letters.char_indices() {
            let name = &letters[index..index + letter.len_utf8()];
            if self.wrapper.1.contains(letter) {
                let value = &letters[index + letter.len_utf8()..];
                return if value.is_empty() { self.value(name) } else { self.found.push((name, value)) };
            }
            self.found.push((name, ""));
        }
    }

    fn value(&mut self, name: &'a str) {
        if let Some(value) = self.rest.get(self.at) {
            self.found.push((name, value.one().unwrap_or_default()));
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inner(words: &str) -> Option<(String, Option<Via>)> {
        let words: Vec<Arg> = words.split(' ').map(|word| Arg::One(word.into())).collect();
        let own = unwrap(words[0].one().unwrap(), &words[1..])?;
        let inner: Vec<&str> = words[1 + own.own..].iter().filter_map(Arg::one).collect();
        Some((inner.join(" "), own.via))
    }

    #[test]
    fn the_words_of_a_wrapper_are_told_from_those_of_the_program_behind_it() {
        for (words, expected) in [
            ("env -i -u HOME A=b C=d python x.py", "python x.py"),
            ("env python -u x.py", "python -u x.py"),
            ("nice -n 5 python x.py", "python x.py"),
            ("nice -5 python x.py", "python x.py"),
            ("nice --adjustment 5 x", "x"),
            ("nice --adjustment=5 x", "x"),
            ("timeout -k 5 10m python x.py -k 3", "python x.py -k 3"),
            ("timeout -s9 10m x", "x"),
            ("time -p x -y", "x -y"),
            ("stdbuf -oL x", "x"),
            ("taskset -c 0-3 x", "x"),
            ("xargs -n 1 -P4 python x.py", "python x.py"),
            ("nohup -- x", "x"),
            ("exec -a name x", "x"),
        ] {
            assert_eq!(inner(words), Some((expected.to_owned(), None)), "{words}");
        }
        assert_eq!(inner("python x.py"), None);
    }

    #[test]
    fn a_runner_tells_which_environment_it_runs_in() {
        let conda = |name: &str| Some(Via::Environment(name.to_owned()));
        for (words, expected, via) in [
            ("uv run python x.py", "python x.py", Some(Via::Uv(None))),
            ("uv --quiet run --with numpy --frozen -p 3.12 x.py --p", "x.py --p", Some(Via::Uv(None))),
            ("uv run --project ../lib x.py", "x.py", Some(Via::Uv(Some("../lib".to_owned())))),
            ("uv run -m pkg.train --x", "pkg.train --x", Some(Via::Uv(None))),
            ("poetry run python x.py", "python x.py", Some(Via::Venv("poetry"))),
            ("conda run -n ml --no-capture-output python x.py", "python x.py", conda("ml")),
            ("conda run --prefix=./env x", "x", conda("./env")),
            ("micromamba run -n ml x", "x", conda("ml")),
            ("mamba run x", "x", conda("base")),
            ("pixi run -e gpu x", "x", Some(Via::Pixi("gpu".to_owned()))),
        ] {
            assert_eq!(inner(words), Some((expected.to_owned(), via)), "{words}");
        }
        for other in ["uv sync", "uv pip install x", "conda activate ml", "poetry", "uv"] {
            assert_eq!(inner(other), None, "{other}");
        }
        let words = ["run", "-m", "pkg.train"].map(|word| Arg::One(word.into()));
        assert!(unwrap("uv", &words).is_some_and(|own| own.module && own.own == 2));
    }
}
