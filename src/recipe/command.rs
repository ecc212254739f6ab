//! What one cell of a command stage does: its fields as written -> [`CommandWork`], the files that it reads from
//! outside, and where it writes. Reads no file: what is there is found out in `sources`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Recipe;
use crate::command::{Code, CommandLine, CommandWork, Sandbox, names_a_file, path_in_project, plain};
use crate::command_files::files_named_in;
use crate::graph::{Described, ExternalFile, Output, Work};
use crate::pipeline::{OutputSpec, StageSpec};
use crate::problem::{Problem, Problems};
use crate::shell::Quoter;
use crate::template::{Later, Part, Scope, split};
use crate::yaml::{Key, Node, Value};

/// Describes a cell whose command is `node`. `scope` knows no results of other stages, `with_results` does: they may
/// stand in the line and in variables, for nothing else depends on these before the command runs.
pub(super) fn describe(
    recipe: &Recipe,
    node: &Node,
    scope: &Scope<'_>,
    with_results: &Scope<'_>,
    problems: &mut Problems,
) -> Described {
    let spec = &recipe.spec;
    let inputs = spec.inputs.iter().map(|(key, _)| key.text.as_str()).collect();
    let outputs = spec.outputs.iter().map(|output| output.name.text.as_str()).collect();
    let later = Later { inputs, outputs };
    let line = command_line(node, with_results, &with_results.with_later(&later), problems);
    let cwd = cwd(spec, scope, problems);
    let mut given = Given { recipe, scope, sources: Vec::new() };
    let files = given.inputs(problems);
    given.code(problems);
    let locked_environment = given.environment(problems);
    given.reads(problems);
    let mut sources = given.sources;
    let declared: Vec<PathBuf> = sources.iter().flat_map(|source| &source.candidates).cloned().collect();
    let root = &recipe.bases.root;
    let words = files_named_in(&line, root, &root.join(&cwd));
    // What is declared is keyed as it is declared.
    sources.extend(words.into_iter().filter(|word| word.candidates.iter().all(|path| !declared.contains(path))));
    let work = CommandWork {
        line,
        cwd,
        files,
        env: env(spec, with_results, problems),
        pass_env: texts(&spec.command.pass_env, scope, ("pass_env", "pass_env: [API_TOKEN]"), problems),
        code: if spec.code.is_some() { Code::Listed } else { Code::Followed },
        locked_environment,
        sandbox: sandbox(spec, scope, problems),
    };
    Described { sources, ..Described::of(Work::Command(Arc::new(work))) }
}

/// Where a cell of a command writes.
pub(super) fn outputs(spec: &StageSpec, scope: &Scope<'_>, problems: &mut Problems) -> Vec<Output> {
    let outputs: Vec<Output> = spec.outputs.iter().map(|output| output_of(output, scope, problems)).collect();
    check_file_names(spec, &outputs, problems);
    outputs
}

/// Copies of outputs that have no path lie side by side under their file names.
fn check_file_names(spec: &StageSpec, outputs: &[Output], problems: &mut Problems) {
    for (index, output) in outputs.iter().enumerate().filter(|(_, output)| output.path.is_none()) {
        let mut earlier = outputs[..index].iter().filter(|other| other.path.is_none());
        if let Some(first) = earlier.find(|other| other.file_name == output.file_name) {
            let message = format!("the outputs `{}` and `{}` have one file name", first.name, output.name);
            let own = &spec.outputs[index];
            let at = own.file_name.as_ref().map_or(own.name.span, |node| node.span);
            problems.push(Problem::new(message, at).help("give each its own"));
        }
    }
}

fn output_of(spec: &OutputSpec, scope: &Scope<'_>, problems: &mut Problems) -> Output {
    let name = spec.name.text.clone();
    let mut output =
        Output { file_name: name.clone(), name, folder: None, path: None, keep: spec.keep, hard_link: spec.hard_link };
    if let Some((node, text)) = filled_text(spec.path.as_ref(), scope, "a path", problems) {
        match path_in_project(&text) {
            Ok(path) => {
                // A slash at the end says that it is a folder; else it is whatever the command makes.
                output.folder = text.ends_with('/').then_some(true);
                output.file_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                output.path = Some(path);
            }
            Err(why) => {
                let message = format!("the output `{}` lies in the project: `{text}` {why}", output.name);
                problems.push(node.problem(message).help(format!("{}: out/result.txt", output.name)));
            }
        }
    }
    if let Some((node, text)) = filled_text(spec.file_name.as_ref(), scope, "a file name", problems) {
        let path = Path::new(&text);
        if path.components().count() == 1 && path.file_name().is_some_and(|name| name.to_str() == Some(&text)) {
            output.file_name = text;
        } else {
            let message = format!("the output `{}` has a plain file name, not `{text}`", output.name);
            problems.push(node.problem(message).help("give a path in the project as `path: ...`"));
        }
    }
    output
}

/// A text with its references put in, and where it stands; `None` when there is none, or it is wrong and told.
fn filled_text(node: Option<&Node>, scope: &Scope<'_>, what: &str, problems: &mut Problems) -> Option<(Node, String)> {
    let node = node.filter(|node| node.value != Value::Wrong)?;
    let filled = scope.fill(node, problems);
    let text = filled.scalar_text();
    if text.is_none() && !filled.holds_wrong() {
        problems.push(filled.problem(format!("{what} is text, not {}", filled.kind())));
    }
    text.map(|text| (filled, text))
}

fn cwd(spec: &StageSpec, scope: &Scope<'_>, problems: &mut Problems) -> PathBuf {
    let Some((node, text)) = filled_text(spec.command.cwd.as_ref(), scope, "`cwd`", problems) else {
        return PathBuf::new();
    };
    if plain(Path::new(&text)).as_os_str().is_empty() {
        return PathBuf::new();
    }
    path_in_project(&text).unwrap_or_else(|why| {
        let problem = node.problem(format!("a command runs in a folder of the project: `{text}` {why}"));
        problems.push(problem.help("cwd: src"));
        PathBuf::new()
    })
}

fn sandbox(spec: &StageSpec, scope: &Scope<'_>, problems: &mut Problems) -> Sandbox {
    let Some(node) = &spec.command.sandbox else { return Sandbox::Off };
    let filled = scope.fill(node, problems);
    match (&filled.value, filled.scalar_text().as_deref()) {
        // YAML's own word for `false`.
        (Value::Bool(false), _) | (_, Some("off")) => Sandbox::Off,
        (_, Some("warn")) => Sandbox::Warn,
        (_, Some("enforce")) => Sandbox::Enforce,
        (Value::Wrong, _) => Sandbox::Off,
        _ => {
            problems.push(filled.problem("`sandbox` is off, warn or enforce").help("sandbox: warn"));
            Sandbox::Off
        }
    }
}

fn env(spec: &StageSpec, scope: &Scope<'_>, problems: &mut Problems) -> BTreeMap<String, String> {
    let Some(Node { value: Value::Map(entries), .. }) = &spec.command.env else { return BTreeMap::new() };
    let mut env = BTreeMap::new();
    for (key, node) in entries {
        check_variable(key, problems);
        let filled = scope.fill(node, problems);
        match (filled.scalar_text(), &filled.value) {
            (Some(text), _) => drop(env.insert(key.text.clone(), text)),
            (None, Value::Wrong | Value::Awaited) => {}
            (None, _) => {
                let message = format!("the variable `{}` has a single value, not {}", key.text, filled.kind());
                problems.push(filled.problem(message).help("env: {OMP_NUM_THREADS: 1}"));
            }
        }
    }
    env
}

fn check_variable(key: &Key, problems: &mut Problems) {
    if key.text.is_empty() || key.text.contains(['=', '\0']) {
        let problem = Problem::new(format!("`{}` is no name for a variable", key.text), key.span);
        problems.push(problem.help("names hold letters, digits and `_`"));
    }
}

/// A list of single values, each with its references put in.
fn texts(nodes: &[Node], scope: &Scope<'_>, (what, help): (&str, &str), problems: &mut Problems) -> Vec<String> {
    let mut all = Vec::new();
    for node in nodes {
        let filled = scope.fill(node, problems);
        match filled.scalar_text() {
            Some(text) => all.push(text),
            None if filled.holds_wrong() => {}
            None => problems.push(filled.problem(format!("`{what}` holds text, not {}", filled.kind())).help(help)),
        }
    }
    all
}

/// The files that a cell says that it reads.
struct Given<'a> {
    recipe: &'a Recipe,
    scope: &'a Scope<'a>,
    sources: Vec<ExternalFile>,
}

impl Given<'_> {
    fn add(&mut self, name: String, node: &Node, text: &str, hint: &str) {
        let path = plain(&self.recipe.bases.resolve(text, node.from_command_line()));
        let hint = Some(hint.to_owned());
        self.sources.push(ExternalFile { name, candidates: vec![path], folders: true, hint, value: None });
    }

    /// Inputs that are files; others are connected in `expand`.
    fn inputs(&mut self, problems: &mut Problems) -> BTreeMap<String, Vec<String>> {
        let mut files = BTreeMap::new();
        for (key, references) in &self.recipe.spec.inputs {
            // What is wrong with one is told where it is connected.
            let texts = references.iter().filter_map(|node| {
                let filled = self.scope.fill(node, &mut Problems::default());
                let text = filled.scalar_text()?;
                Some((filled, text))
            });
            let (named, others): (Vec<_>, Vec<_>) = texts.partition(|(_, text)| names_a_file(text));
            let (Some(_), None) = (named.first(), others.first()) else {
                if let Some((node, text)) = named.first() {
                    let message =
                        format!("`{text}` is a file, and other parts of `{}` are outputs of stages", key.text);
                    problems.push(node.problem(message).help("give the files an input of their own"));
                }
                continue;
            };
            let mut names = Vec::new();
            for (index, (node, text)) in named.iter().enumerate() {
                let index = if named.len() == 1 { String::new() } else { format!(".{index}") };
                let name = format!("input:{}{index}", key.text);
                self.add(name.clone(), node, text, "it is named under `inputs:`");
                names.push(name);
            }
            files.insert(key.text.clone(), names);
        }
        files
    }

    fn code(&mut self, problems: &mut Problems) {
        let recipe = self.recipe;
        for node in recipe.spec.code.iter().flatten() {
            let filled = self.scope.fill(node, problems);
            match filled.scalar_text() {
                Some(text) => self.add(format!("code:{text}"), &filled, &text, "it is named under `code:`"),
                None if filled.value == Value::Wrong => {}
                None => {
                    let message = format!("`code` names files, not {}", filled.kind());
                    problems.push(filled.problem(message).help("code: [train.py, model.py]"));
                }
            }
        }
    }

    fn environment(&mut self, problems: &mut Problems) -> bool {
        const EXAMPLE: &str = "environment: {lock: uv.lock}";
        let Some(Node { value: Value::Map(entries), span, .. }) = &self.recipe.spec.command.environment else {
            return false;
        };
        for (key, _) in entries.iter().filter(|(key, _)| key.text != "lock") {
            problems
                .push(Problem::new(format!("unknown field `{}` in `environment`", key.text), key.span).help(EXAMPLE));
        }
        let Some((_, lock)) = entries.iter().find(|(key, _)| key.text == "lock") else {
            if entries.is_empty() {
                problems.push(Problem::new("`environment` names a lock file", *span).help(EXAMPLE));
            }
            return false;
        };
        let Some((node, text)) = filled_text(Some(lock), self.scope, "a lock file", problems) else { return false };
        self.add(format!("lock:{text}"), &node, &text, "it is named under `environment:`");
        true
    }

    fn reads(&mut self, problems: &mut Problems) {
        const EXAMPLE: &str = "reads: {params.yaml: [train.lr]}";
        let Some(Node { value: Value::Map(entries), .. }) = &self.recipe.spec.command.reads else { return };
        for (file, values) in entries {
            let items = match &values.value {
                Value::Null => &[],
                Value::List(items) => items.as_slice(),
                Value::Text(_) => std::slice::from_ref(values),
                _ => {
                    let message = format!("the values that are read of `{}` are a list", file.text);
                    problems.push(Problem::new(message, values.span).help(EXAMPLE));
                    continue;
                }
            };
            let place = Node::new(Value::Null, file.span);
            let paths = texts(items, self.scope, ("reads", EXAMPLE), problems);
            if items.is_empty() {
                self.add(format!("reads:{}", file.text), &place, &file.text, "it is named under `reads:`");
            }
            for path in paths {
                self.add(format!("{}:{path}", file.text), &place, &file.text, "it is named under `reads:`");
                if let Some(added) = self.sources.last_mut() {
                    added.value = Some(path);
                }
            }
        }
    }
}

/// The command's own paths stay as they are named: `later` knows them, and escapes what is like them.
fn command_line(node: &Node, scope: &Scope<'_>, later: &Scope<'_>, problems: &mut Problems) -> CommandLine {
    match &node.value {
        Value::List(items) => {
            let words = items.iter().flat_map(|item| match later.fill(item, problems) {
                Node { value: Value::Wrong | Value::Awaited, .. } => Vec::new(),
                // A whole `${params.list}` is as many words as it has values.
                Node { value: Value::List(values), .. } => values,
                one => vec![one],
            });
            let words = words.collect::<Vec<Node>>();
            let told = |word: &Node| matches!(word.value, Value::Wrong | Value::Awaited);
            for word in words.iter().filter(|word| word.scalar_text().is_none() && !told(word)) {
                let message = format!("a word of a command is a single value, not {}", word.kind());
                problems.push(word.problem(message).help("command: [python3, train.py, --lr, \"${params.lr}\"]"));
            }
            CommandLine::Words(words.iter().filter_map(Node::scalar_text).collect())
        }
        _ => CommandLine::Shell(shell_text(node, scope, later, problems)),
    }
}

/// The text for the shell, with every value put in quoted: a value is never read as syntax.
fn shell_text(node: &Node, scope: &Scope<'_>, later: &Scope<'_>, problems: &mut Problems) -> String {
    let text = node.scalar_text().unwrap_or_default();
    let Ok(parts) = split(&text) else {
        // Tells what is wrong.
        let _ = scope.fill(node, problems);
        return text;
    };
    let (mut out, mut quoter) = (String::new(), Quoter::default());
    for part in parts {
        match part {
            Part::Literal(literal) => {
                quoter.literal(literal);
                out.push_str(&literal.replace("${", "$${"));
            }
            Part::Reference(path) => {
                let reference = Node { value: Value::Text(format!("${{{path}}}")), ..*node };
                if matches!(path.split('.').next(), Some("inputs" | "outputs")) {
                    out.push_str(&later.fill(&reference, problems).scalar_text().unwrap_or_default());
                    continue;
                }
                let filled = scope.fill(&reference, problems);
                match filled.scalar_text() {
                    Some(value) => match quoter.value(&value) {
                        // The value is text of the command now, and so escaped like all of it.
                        Ok(quoted) => out.push_str(&quoted.replace("${", "$${")),
                        Err(place) => {
                            let message = format!("`${{{path}}}` cannot stand in {place}: its value needs quotes");
                            let help = "give it as a variable: `env: {NAME: ...}`, and write `\"$NAME\"`";
                            problems.push(filled.problem(message).help(help));
                        }
                    },
                    None if matches!(filled.value, Value::Wrong | Value::Awaited) => {}
                    None => {
                        let message = format!("`${{{path}}}` is {}, not a single value", filled.kind());
                        problems.push(filled.problem(message).help("a list of words takes a list: `command: [...]`"));
                    }
                }
            }
        }
    }
    out
}
