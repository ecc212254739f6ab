//! A pipeline as written: YAML tree -> [`Pipeline`], every part with its place. Checks the shape of the file and the
//! names of fields and built-in stages; what depends on a cell of a matrix is checked in `expand`.

use pru_flow_stages::{BUILTINS, StageDef};

use crate::problem::{Problem, Problems, Span, suggest};
use crate::yaml::{Key, Node, Value, parse};

/// A pipeline as written.
#[derive(Debug)]
pub struct Pipeline {
    /// Its name: the folder of its results.
    pub name: String,
    /// The params, a mapping.
    pub params: Node,
    /// The stages in the order of the file.
    pub stages: Vec<StageSpec>,
}

/// A stage as written.
#[derive(Debug)]
pub struct StageSpec {
    /// Its name.
    pub name: Key,
    /// What it does.
    pub work: Work,
    /// Params of a built-in, a mapping.
    pub with: Option<Node>,
    /// References by port; several for one port that gathers.
    pub inputs: Vec<(Key, Vec<Node>)>,
    /// Outputs of a command: name and file name.
    pub outputs: Vec<(Key, Node)>,
    /// Files that hold the code of a command.
    pub code: Vec<Node>,
    /// Axes of cells.
    pub matrix: Option<MatrixSpec>,
    /// What it draws on, a mapping.
    pub resources: Option<Node>,
}

/// What a stage does.
pub enum Work {
    /// A built-in stage.
    Uses(&'static StageDef),
    /// Any program: a text for the shell, or a list without one.
    Command(Node),
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Uses(def) => write!(f, "uses {}", def.name),
            Self::Command(node) => write!(f, "command {node:?}"),
        }
    }
}

/// Axes of cells, and cells left out or added.
#[derive(Debug)]
pub struct MatrixSpec {
    /// Name and list of values, in declaration order.
    pub axes: Vec<(Key, Node)>,
    /// Cells to add, each a mapping that names every axis.
    pub include: Vec<Node>,
    /// Cells to leave out, each a mapping of some axes.
    pub exclude: Vec<Node>,
}

impl Pipeline {
    /// Reads a pipeline's text.
    ///
    /// # Errors
    /// Everything that is wrong with the file's shape.
    pub fn from_yaml(text: &str) -> Result<Self, Problems> {
        let root = parse(text)?;
        let mut problems = Problems::default();
        let Value::Map(_) = &root.value else {
            let message = if root.value == Value::Null { "the pipeline is empty" } else { "a pipeline is a mapping" };
            let help = "it needs `version: 1`, `name:` and `stages:`";
            return Err(Problems::one(Problem::of_file(message).help(help)));
        };
        let fields = Fields::of(&root, "the pipeline", &["version", "name", "params", "stages"], &mut problems);
        check_version(&fields, &mut problems);
        let name = fields.text("name", &mut problems).unwrap_or_else(|| {
            fields.missing("name", "name: my-experiment", &mut problems);
            String::new()
        });
        let params = match fields.get("params") {
            Some(node) if matches!(node.value, Value::Map(_)) => node.clone(),
            None => Node { value: Value::Map(Vec::new()), span: root.span, from_command_line: false },
            Some(node) => {
                problems.push(Problem::new(format!("`params` is a mapping, not {}", node.kind()), node.span));
                Node { value: Value::Map(Vec::new()), ..node.clone() }
            }
        };
        let stages = match fields.get("stages").map(|node| (&node.value, node)) {
            Some((Value::Map(entries), _)) if !entries.is_empty() => {
                entries.iter().filter_map(|(key, node)| StageSpec::read(key, node, &mut problems)).collect()
            }
            Some((_, node)) => {
                problems.push(Problem::new("`stages` is a mapping with at least one stage", node.span));
                Vec::new()
            }
            None => {
                fields.missing("stages", "stages: {data: {uses: data/glyphs}}", &mut problems);
                Vec::new()
            }
        };
        problems.into_result(Self { name, params, stages })
    }
}

fn check_version(fields: &Fields<'_>, problems: &mut Problems) {
    match fields.get("version").map(|node| (&node.value, node.span)) {
        Some((Value::Int(1), _)) => {}
        Some((Value::Int(version), span)) => problems
            .push(Problem::new(format!("this release reads version 1, not {version}"), span).help("update pru-flow")),
        Some((_, span)) => problems.push(Problem::new("`version` is the whole number 1", span)),
        None => fields.missing("version", "version: 1", problems),
    }
}

impl StageSpec {
    fn read(key: &Key, node: &Node, problems: &mut Problems) -> Option<Self> {
        check_name(&key.text, "stage", key.span, problems);
        let Value::Map(_) = &node.value else {
            let message = format!("the stage `{}` is a mapping, not {}", key.text, node.kind());
            problems.push(Problem::new(message, node.span).help("give it `uses:` or `command:`"));
            return None;
        };
        let known = ["uses", "command", "with", "inputs", "outputs", "code", "matrix", "resources"];
        let fields = Fields::of(node, &format!("the stage `{}`", key.text), &known, problems);
        let work = read_work(key, &fields, problems);
        let is_command = matches!(work, Some(Work::Command(_)) | None);
        let with = fields.mapping("with", problems);
        let outputs = read_outputs(fields.get("outputs"), problems);
        for (field, wrong, help) in [
            ("with", is_command && with.is_some(), "put the values into the command: `${params.x}`"),
            ("outputs", !is_command && fields.get("outputs").is_some(), "a built-in stage has its own outputs"),
            ("code", !is_command && fields.get("code").is_some(), "a built-in stage's code is part of pru-flow"),
        ] {
            if let (true, Some(node), Some(_)) = (wrong, fields.get(field), &work) {
                let kind = if is_command { "a command" } else { "a stage with `uses:`" };
                problems.push(Problem::new(format!("{kind} takes no `{field}`"), node.span).help(help));
            }
        }
        let code = match fields.get("code").map(|node| (&node.value, node)) {
            None => Vec::new(),
            Some((Value::List(items), _)) => items.clone(),
            Some((_, node)) => vec![node.clone()],
        };
        if let (Some(Work::Command(_)), true) = (&work, outputs.is_empty()) {
            let message = format!("the command `{}` declares no output", key.text);
            problems.push(Problem::new(message, key.span).help("add `outputs: {result: result.txt}`"));
        }
        Some(Self {
            name: key.clone(),
            work: work?,
            with,
            inputs: read_inputs(fields.get("inputs"), problems),
            outputs,
            code,
            matrix: fields.get("matrix").and_then(|node| MatrixSpec::read(node, problems)),
            resources: fields.mapping("resources", problems),
        })
    }
}

fn read_work(key: &Key, fields: &Fields<'_>, problems: &mut Problems) -> Option<Work> {
    match (fields.get("uses"), fields.get("command")) {
        (Some(uses), None) => {
            let Value::Text(name) = &uses.value else {
                problems.push(Problem::new(format!("`uses` names a stage, not {}", uses.kind()), uses.span));
                return None;
            };
            let def = pru_flow_stages::find(name);
            if def.is_none() {
                let help = suggest(name, "stages", BUILTINS.iter().map(|def| def.name));
                problems.push(Problem::new(format!("unknown stage `{name}`"), uses.span).help(help));
            }
            def.map(Work::Uses)
        }
        (None, Some(command)) => {
            let ok = match &command.value {
                Value::Text(text) => !text.trim().is_empty(),
                Value::List(items) => !items.is_empty() && items.iter().all(|item| item.scalar_text().is_some()),
                _ => false,
            };
            if !ok {
                let problem = Problem::new("`command` is a text for the shell, or a list of words", command.span);
                problems.push(problem.help("command: [python3, train.py, --lr, \"${params.lr}\"]"));
            }
            Some(Work::Command(command.clone()))
        }
        (Some(_), Some(command)) => {
            problems.push(Problem::new("a stage has either `uses` or `command`, not both", command.span));
            None
        }
        (None, None) => {
            let message = format!("the stage `{}` does nothing", key.text);
            problems.push(Problem::new(message, key.span).help("add `uses: train/original` or `command: ...`"));
            None
        }
    }
}

fn read_inputs(node: Option<&Node>, problems: &mut Problems) -> Vec<(Key, Vec<Node>)> {
    let Some(node) = node else { return Vec::new() };
    let Value::Map(entries) = &node.value else {
        let problem = Problem::new(format!("`inputs` is a mapping, not {}", node.kind()), node.span);
        problems.push(problem.help("inputs: {model: original.model}"));
        return Vec::new();
    };
    let mut inputs = Vec::new();
    for (key, value) in entries {
        let references = match &value.value {
            Value::Text(_) => vec![value.clone()],
            Value::List(items) => items.clone(),
            _ => Vec::new(),
        };
        if references.is_empty() || references.iter().any(|r| !matches!(r.value, Value::Text(_))) {
            let problem = Problem::new(format!("the input `{}` names an output of a stage", key.text), value.span);
            problems.push(problem.help(format!("{}: stage.output", key.text)));
            continue;
        }
        inputs.push((key.clone(), references));
    }
    inputs
}

fn read_outputs(node: Option<&Node>, problems: &mut Problems) -> Vec<(Key, Node)> {
    let Some(node) = node else { return Vec::new() };
    let Value::Map(entries) = &node.value else {
        let problem = Problem::new(format!("`outputs` is a mapping, not {}", node.kind()), node.span);
        problems.push(problem.help("outputs: {result: result.txt}"));
        return Vec::new();
    };
    for (key, value) in entries {
        check_name(&key.text, "output", key.span, problems);
        if !matches!(value.value, Value::Text(_)) {
            problems.push(Problem::new(format!("the output `{}` is a file's name", key.text), value.span));
        }
    }
    entries.clone()
}

impl MatrixSpec {
    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            let problem = Problem::new(format!("`matrix` is a mapping, not {}", node.kind()), node.span);
            problems.push(problem.help("matrix: {class: [0, 3, 8], seed: [7, 8, 9]}"));
            return None;
        };
        let mut spec = Self { axes: Vec::new(), include: Vec::new(), exclude: Vec::new() };
        for (key, value) in entries {
            match key.text.as_str() {
                "include" | "exclude" => {
                    let cells = read_cells(key, value, problems);
                    if key.text == "include" { spec.include = cells } else { spec.exclude = cells }
                }
                axis => {
                    check_name(axis, "matrix axis", key.span, problems);
                    spec.axes.push((key.clone(), value.clone()));
                }
            }
        }
        if spec.axes.is_empty() {
            problems.push(Problem::new("`matrix` has no axis", node.span).help("add one: `seed: [7, 8, 9]`"));
            return None;
        }
        Some(spec)
    }
}

fn read_cells(key: &Key, value: &Node, problems: &mut Problems) -> Vec<Node> {
    match &value.value {
        Value::List(items) if items.iter().all(|item| matches!(item.value, Value::Map(_))) => items.clone(),
        _ => {
            let message = format!("`{}` is a list of cells, each a mapping", key.text);
            problems.push(Problem::new(message, value.span).help(format!("{}: [{{class: 3, seed: 7}}]", key.text)));
            Vec::new()
        }
    }
}

fn check_name(name: &str, what: &str, span: Span, problems: &mut Problems) {
    let mut chars = name.chars();
    let first = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if !first || !chars.all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)) {
        let problem = Problem::new(format!("`{name}` is no name for a {what}"), span);
        problems.push(problem.help("names begin with a letter and hold letters, digits, `_` and `-`"));
    }
}

/// The fields of a mapping, with those that are not known reported.
struct Fields<'a> {
    node: &'a Node,
    what: String,
}

impl<'a> Fields<'a> {
    fn of(node: &'a Node, what: &str, known: &[&str], problems: &mut Problems) -> Self {
        if let Value::Map(entries) = &node.value {
            for (key, _) in entries.iter().filter(|(key, _)| !known.contains(&key.text.as_str())) {
                let help = suggest(&key.text, "fields", known.iter().copied());
                problems.push(Problem::new(format!("unknown field `{}` in {what}", key.text), key.span).help(help));
            }
        }
        Self { node, what: what.to_owned() }
    }

    fn get(&self, key: &str) -> Option<&'a Node> {
        self.node.get(key)
    }

    fn text(&self, key: &str, problems: &mut Problems) -> Option<String> {
        let node = self.get(key)?;
        if let Value::Text(text) = &node.value {
            check_name(text, "pipeline", node.span, problems);
            return Some(text.clone());
        }
        problems.push(Problem::new(format!("`{key}` is text, not {}", node.kind()), node.span));
        Some(String::new())
    }

    fn mapping(&self, key: &str, problems: &mut Problems) -> Option<Node> {
        let node = self.get(key)?;
        if matches!(node.value, Value::Map(_)) {
            return Some(node.clone());
        }
        problems.push(Problem::new(format!("`{key}` is a mapping, not {}", node.kind()), node.span));
        None
    }

    fn missing(&self, key: &str, example: &str, problems: &mut Problems) {
        problems.push(Problem::of_file(format!("{} has no `{key}`", self.what)).help(format!("add `{example}`")));
    }
}
