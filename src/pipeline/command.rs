//! What stages say beside what they run: outputs, where and how a command runs, and how often. As written: cells fill
//! it in later (`recipe`).

use super::{Fields, check_name, wrong_kind};
use crate::problem::{Problem, Problems};
use crate::yaml::{Key, Node, Value};

/// An output as written.
#[derive(Clone, Debug)]
pub struct OutputSpec {
    /// Its name.
    pub name: Key,
    /// The path in the project to which a command writes it.
    pub path: Option<Node>,
    /// Its file name, where it has no path.
    pub file_name: Option<Node>,
    /// Whether it stays in the store when nothing needs it any more.
    pub keep: bool,
    /// Whether the file at `path` is to share its bytes with the store.
    pub hard_link: bool,
}

/// Where and how a command runs.
#[derive(Clone, Debug, Default)]
pub struct CommandFields {
    /// The folder.
    pub cwd: Option<Node>,
    /// What stands for the installed distributions of its Python: a mapping.
    pub environment: Option<Node>,
    /// Variables that it is given: a mapping.
    pub env: Option<Node>,
    /// Names of variables that it inherits.
    pub pass_env: Vec<Node>,
    /// Files of which only some values are read: a mapping of lists.
    pub reads: Option<Node>,
    /// Whether it is watched or confined.
    pub sandbox: Option<Node>,
}

/// Fields that only a command takes.
pub(super) const COMMAND_ONLY: &[&str] = &["code", "cwd", "environment", "env", "pass_env", "reads", "sandbox"];

impl CommandFields {
    pub(super) fn read(fields: &Fields<'_>, problems: &mut Problems) -> Self {
        Self {
            cwd: fields.get("cwd").cloned(),
            environment: fields.mapping("environment", "environment: {lock: uv.lock}", problems),
            env: fields.mapping("env", "env: {OMP_NUM_THREADS: 1}", problems),
            pass_env: read_list(fields.get("pass_env")),
            reads: fields.mapping("reads", "reads: {params.yaml: [train.lr]}", problems),
            sandbox: fields.get("sandbox").cloned(),
        }
    }
}

/// A list, or one value in its place.
pub(super) fn read_list(node: Option<&Node>) -> Vec<Node> {
    match node.map(|node| (&node.value, node)) {
        None => Vec::new(),
        Some((Value::List(items), _)) => items.clone(),
        Some((_, node)) => vec![node.clone()],
    }
}

const OUTPUT_FIELDS: &[&str] = &["path", "name", "keep", "link"];

/// Reads `outputs:`: a mapping of names to paths, to nothing, or to more about them; or a list of names.
pub(super) fn read_outputs(node: Option<&Node>, problems: &mut Problems) -> Vec<OutputSpec> {
    let Some(node) = node else { return Vec::new() };
    let mut outputs: Vec<OutputSpec> = Vec::new();
    match &node.value {
        Value::Map(entries) => {
            outputs.extend(entries.iter().map(|(key, value)| OutputSpec::read(key, value, problems)));
        }
        Value::List(names) => {
            for name in names {
                let Value::Text(text) = &name.value else {
                    wrong_kind("a list of outputs holds names", name, "outputs: [model, log]", problems);
                    continue;
                };
                let key = Key { text: text.clone(), span: name.span };
                if outputs.iter().any(|known| known.name.text == *text) {
                    let problem = Problem::new(format!("the output `{text}` is there twice"), name.span);
                    problems.push(problem.help("name each output once"));
                    continue;
                }
                outputs.push(OutputSpec::read(&key, &Node::new(Value::Null, name.span), problems));
            }
        }
        _ => {
            wrong_kind("`outputs` is a mapping of names to paths", node, "outputs: {result: out/result.txt}", problems);
        }
    }
    if outputs.is_empty() && matches!(node.value, Value::Map(_) | Value::List(_)) && !node.holds_wrong() {
        let problem = Problem::new("`outputs` names at least one output", node.span);
        problems.push(problem.help("outputs: {result: out/result.txt}"));
    }
    outputs
}

impl OutputSpec {
    fn read(key: &Key, value: &Node, problems: &mut Problems) -> Self {
        check_name(&key.text, "output", key.span, problems);
        let mut spec = Self { name: key.clone(), path: None, file_name: None, keep: true, hard_link: false };
        match &value.value {
            Value::Null | Value::Wrong => {}
            Value::Text(_) => spec.path = Some(value.clone()),
            Value::Map(_) => spec.read_fields(value, problems),
            _ => {
                let message = format!("the output `{}` is a path in the project, or nothing", key.text);
                let problem = Problem::new(format!("{message}, not {}", value.kind()), value.span);
                problems.push(problem.help(format!("{}: out/result.txt", key.text)));
            }
        }
        spec
    }

    fn read_fields(&mut self, node: &Node, problems: &mut Problems) {
        let name = &self.name.text;
        let fields = Fields::of(node, &format!("the output `{name}`"), OUTPUT_FIELDS, problems);
        self.path = fields.get("path").filter(|path| path.value != Value::Null).cloned();
        self.file_name = fields.get("name").cloned();
        for (field, given) in [("path", &self.path), ("name", &self.file_name)] {
            if let Some(node) = given.as_ref().filter(|node| !matches!(node.value, Value::Text(_) | Value::Wrong)) {
                wrong_kind(&format!("`{field}` is text"), node, &format!("{field}: result.txt"), problems);
            }
        }
        if let (Some(_), Some(key)) = (&self.path, fields.key("name")) {
            let problem = Problem::new(format!("the output `{name}` has a path, and so a file name"), key.span);
            problems.push(problem.help("remove `name`, or `path` to keep the file out of the project"));
        }
        match fields.get("keep").map(|node| (&node.value, node)) {
            None | Some((Value::Wrong, _)) => {}
            Some((Value::Bool(keep), _)) => self.keep = *keep,
            Some((_, node)) => wrong_kind("`keep` is true or false", node, "keep: false", problems),
        }
        match fields.get("link").map(|node| (node.scalar_text(), node)) {
            None => {}
            Some((Some(link), _)) if link == "hard" => self.hard_link = true,
            Some((Some(link), _)) if link == "copy" => {}
            Some((_, node)) => wrong_kind("`link` is `copy` or `hard`", node, "link: hard", problems),
        }
        if let (None, true, Some(key)) = (&self.path, self.hard_link, fields.key("link")) {
            let problem = Problem::new(format!("the output `{name}` has no path, and so nothing to link"), key.span);
            problems.push(problem.help("add `path: out/result.txt`"));
        }
    }
}

/// How often and how long a stage may run, as written.
#[derive(Clone, Debug, Default)]
pub struct PolicyFields {
    /// Whether it runs in every run.
    pub always: Option<Node>,
    /// How often it is tried again.
    pub retries: Option<Node>,
    /// When it is stopped.
    pub timeout: Option<Node>,
    /// Whether it goes before others.
    pub priority: Option<Node>,
}

/// Its fields.
pub(super) const POLICY: &[&str] = &["always", "retries", "timeout", "priority"];

impl PolicyFields {
    pub(super) fn read(fields: &Fields<'_>) -> Self {
        let get = |name| fields.get(name).cloned();
        Self { always: get("always"), retries: get("retries"), timeout: get("timeout"), priority: get("priority") }
    }
}
