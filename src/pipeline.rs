//! A pipeline as written: YAML tree -> [`Pipeline`], every part with its place. Checks the shape of the file and the
//! names of fields and built-in stages; what depends on a cell of a matrix is checked in `expand`.
//!
//! Whatever can be understood is kept beside what is wrong, so that later checks add to the same list of problems.

mod command;

use pru_flow_stages::{BUILTINS, StageDef};

use command::{COMMAND_ONLY, POLICY, read_list, read_outputs};
pub use command::{CommandFields, OutputSpec, PolicyFields};

use crate::problem::{Problem, Problems, Span, TextId, did_you_mean, suggest};
use crate::yaml::{self, Key, Node, Value};

/// A pipeline as written.
#[derive(Debug)]
pub struct Pipeline {
    /// Its name: the folder of its results.
    pub name: String,
    /// The params, a mapping.
    pub params: Node,
    /// The stages in the order of the file.
    pub stages: Vec<StageSpec>,
    /// Other pipelines whose stages this one uses.
    pub imports: Vec<Import>,
    /// How much of a resource of the user's own there is.
    pub limits: Vec<(Key, Node)>,
    /// Files outside the store that are copies of outputs: path and reference.
    pub publish: Vec<(Key, Node)>,
}

/// Another pipeline under a name: its stages and params are `name.stage` and `params.name.param`.
#[derive(Debug)]
pub struct Import {
    /// The name.
    pub name: Key,
    /// The file, relative to the folder of the importing one; a text unless something is wrong with it.
    pub file: Node,
    /// Values for some of its params, a mapping.
    pub params: Option<Node>,
    /// What the file holds, once it was read; `None` when it could not be, which is a problem already.
    pub pipeline: Option<Pipeline>,
}

/// A stage as written.
#[derive(Clone, Debug)]
pub struct StageSpec {
    /// Its name.
    pub name: Key,
    /// What it does.
    pub work: Work,
    /// Params of a built-in, a mapping.
    pub with: Option<Node>,
    /// References by port; several for one port that gathers.
    pub inputs: Vec<(Key, Vec<Node>)>,
    /// What it writes: all outputs of a command, and those of a built-in of which something is said.
    pub outputs: Vec<OutputSpec>,
    /// Files that hold the code of a command; `None` where it is followed.
    pub code: Option<Vec<Node>>,
    /// Where and how a command runs.
    pub command: CommandFields,
    /// How often and how long it may run.
    pub policy: PolicyFields,
    /// Axes of cells.
    pub matrix: Option<MatrixSpec>,
    /// What it draws on, a mapping.
    pub resources: Option<Node>,
    /// Whether a cell is there at all: `true`, `false`, or a text that gives one of them.
    pub when: Option<Node>,
}

/// What a stage does.
#[derive(Clone)]
pub enum Work {
    /// A built-in stage.
    Uses(&'static StageDef),
    /// Any program: a text for the shell, or a list without one.
    Command(Node),
    /// What it does cannot be told, which is a problem already; other stages may still name it.
    Unknown,
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Uses(def) => write!(f, "uses {}", def.name),
            Self::Command(node) => write!(f, "command {node:?}"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// Axes of cells, and cells left out or added.
#[derive(Clone, Debug)]
pub struct MatrixSpec {
    /// Name and values, in declaration order; `zip` and `sweep` stand for several axes each (see `matrix`).
    pub axes: Vec<(Key, Node)>,
    /// Cells to add, each a mapping that names every axis.
    pub include: Vec<Node>,
    /// Cells to leave out, each a mapping of some axes.
    pub exclude: Vec<Node>,
}

impl Pipeline {
    /// Reads a pipeline's text. What is wrong with its shape is told in `problems`, and what can be understood is
    /// given all the same; `None` when there is nothing to go on with. Its places are places of `id`; the files that
    /// it imports are not read yet.
    #[must_use]
    pub fn read(text: &str, id: TextId, problems: &mut Problems) -> Option<Self> {
        let root = yaml::read(text, id, problems)?;
        let Value::Map(_) = &root.value else {
            let message = match root.value {
                Value::Wrong => return None,
                Value::Null => "the pipeline is empty".to_owned(),
                _ => format!("a pipeline is a mapping, not {}", root.kind()),
            };
            let help = "it needs `version: 1`, `name:` and `stages:`";
            problems.push(Problem::new(message, root.span).help(help));
            return None;
        };
        let known = ["version", "name", "import", "params", "defaults", "limits", "stages", "publish"];
        let fields = Fields::of(&root, "the pipeline", &known, problems);
        check_version(&fields, problems);
        let name = fields.text("name", problems).unwrap_or_else(|| {
            fields.missing("name", "name: my-experiment", problems);
            String::new()
        });
        let params = match fields.get("params") {
            Some(node) if matches!(node.value, Value::Map(_)) => node.clone(),
            None => Node::new(Value::Map(Vec::new()), root.span),
            Some(node) => {
                wrong_kind("`params` is a mapping", node, "params: {epochs: 10}", problems);
                Node { value: Value::Wrong, ..*node }
            }
        };
        let stages = match fields.get("stages").map(|node| (&node.value, node)) {
            Some((Value::Map(entries), _)) if !entries.is_empty() => {
                let defaults = Defaults::read(fields.get("defaults"), problems);
                entries.iter().map(|(key, node)| StageSpec::read(key, &defaults.apply(node), problems)).collect()
            }
            Some((_, node)) => {
                let message = "`stages` is a mapping with at least one stage";
                wrong_kind(message, node, "stages: {data: {uses: data/glyphs}}", problems);
                Vec::new()
            }
            None => {
                fields.missing("stages", "stages: {data: {uses: data/glyphs}}", problems);
                Vec::new()
            }
        };
        let imports = read_imports(fields.get("import"), problems);
        let publish = match fields.mapping("publish", PUBLISH_EXAMPLE, problems).map(|node| node.value) {
            Some(Value::Map(entries)) => entries,
            _ => Vec::new(),
        };
        for (_, node) in publish.iter().filter(|(_, node)| !matches!(node.value, Value::Text(_) | Value::Wrong)) {
            wrong_kind("`publish` names an output for each path", node, PUBLISH_EXAMPLE, problems);
        }
        let limits = match fields.mapping("limits", LIMITS_EXAMPLE, problems).map(|node| node.value) {
            Some(Value::Map(entries)) => entries,
            _ => Vec::new(),
        };
        let pipeline = Self { name, params, stages, imports, limits, publish };
        pipeline.check_names(problems);
        Some(pipeline)
    }

    /// A name before a dot is an import's or a param's, and never both.
    fn check_names(&self, problems: &mut Problems) {
        let params = if let Value::Map(entries) = &self.params.value { entries.as_slice() } else { &[] };
        for import in &self.imports {
            let name = &import.name.text;
            let stage = self.stages.iter().map(|stage| &stage.name).find(|key| key.text == *name);
            let param = params.iter().map(|(key, _)| key).find(|key| key.text == *name);
            for (what, key) in [("stage", stage), ("param", param)] {
                if let Some(key) = key {
                    let problem = Problem::new(format!("`{name}` is an import and a {what}"), import.name.span);
                    problems.push(problem.also(key.span, format!("the {what}")).help("give one of them another name"));
                }
            }
        }
    }
}

const PUBLISH_EXAMPLE: &str = "publish: {results/table1.tex: tables.latex}";
const LIMITS_EXAMPLE: &str = "limits: {database: 2}";
const IMPORT_EXAMPLE: &str = "import: {paper: paper.yaml}";

fn read_imports(node: Option<&Node>, problems: &mut Problems) -> Vec<Import> {
    let Some(node) = node else { return Vec::new() };
    let Value::Map(entries) = &node.value else {
        wrong_kind("`import` is a mapping from names to files", node, IMPORT_EXAMPLE, problems);
        return Vec::new();
    };
    entries.iter().map(|(key, node)| Import::read(key, node, problems)).collect()
}

impl Import {
    fn read(key: &Key, node: &Node, problems: &mut Problems) -> Self {
        check_name(&key.text, "import", key.span, problems);
        let mut import = Self { name: key.clone(), file: node.clone(), params: None, pipeline: None };
        if matches!(node.value, Value::Map(_)) {
            let fields = Fields::of(node, &format!("the import `{}`", key.text), &["file", "params"], problems);
            import.params = fields.mapping("params", "params: {seeds: [7]}", problems);
            import.file = fields.get("file").cloned().unwrap_or_else(|| {
                fields.missing("file", "file: paper.yaml", problems);
                Node { value: Value::Wrong, ..*node }
            });
        }
        match &import.file.value {
            Value::Text(text) if !text.contains("${") => {}
            Value::Text(_) => {
                let problem = Problem::new("the file of an import is named as it is", import.file.span);
                problems.push(problem.help(IMPORT_EXAMPLE));
                import.file.value = Value::Wrong;
            }
            _ => {
                wrong_kind("an import names a file", &import.file, IMPORT_EXAMPLE, problems);
                import.file.value = Value::Wrong;
            }
        }
        import
    }
}

/// Tells that a value is of another kind than it must be, unless it is wrong already.
fn wrong_kind(message: &str, node: &Node, help: &str, problems: &mut Problems) {
    if node.value != Value::Wrong {
        let of_kind = matches!(node.value, Value::Map(_) | Value::List(_));
        let message = if of_kind { message.to_owned() } else { format!("{message}, not {}", node.kind()) };
        problems.push(Problem::new(message, node.span).help(help));
    }
}

fn check_version(fields: &Fields<'_>, problems: &mut Problems) {
    match fields.get("version").map(|node| (&node.value, node.span)) {
        Some((Value::Int(1) | Value::Wrong, _)) => {}
        Some((Value::Int(version), span)) => problems
            .push(Problem::new(format!("this release reads version 1, not {version}"), span).help("update pru-flow")),
        Some((_, span)) => problems.push(Problem::new("`version` is the whole number 1", span).help("version: 1")),
        None => fields.missing("version", "version: 1", problems),
    }
}

impl StageSpec {
    fn read(key: &Key, node: &Node, problems: &mut Problems) -> Self {
        check_name(&key.text, "stage", key.span, problems);
        let mut spec = Self {
            name: key.clone(),
            work: Work::Unknown,
            with: None,
            inputs: Vec::new(),
            outputs: Vec::new(),
            code: None,
            command: CommandFields::default(),
            policy: PolicyFields::default(),
            matrix: None,
            resources: None,
            when: None,
        };
        let Value::Map(_) = &node.value else {
            let message = format!("the stage `{}` is a mapping", key.text);
            wrong_kind(&message, node, "give it `uses:` or `command:`", problems);
            return spec;
        };
        let of_all = ["uses", "command", "with", "inputs", "outputs", "matrix", "resources", "when"];
        let known = [&of_all[..], POLICY, COMMAND_ONLY].concat();
        let fields = Fields::of(node, &format!("the stage `{}`", key.text), &known, problems);
        spec.work = read_work(key, &fields, problems);
        spec.with = fields.mapping("with", "with: {epochs: 10}", problems);
        spec.inputs = read_inputs(fields.get("inputs"), problems);
        spec.outputs = read_outputs(fields.get("outputs"), problems);
        spec.resources = fields.mapping("resources", "resources: {cpus: 2}", problems);
        spec.code = fields.get("code").map(|node| read_list(Some(node)));
        spec.command = CommandFields::read(&fields, problems);
        spec.policy = PolicyFields::read(&fields);
        spec.when = fields.get("when").cloned();
        if let Some(node) = fields.get("matrix") {
            spec.matrix = MatrixSpec::read(node, problems);
            if spec.matrix.is_none() {
                // Its cells are not known, so nothing else about it can be.
                spec.work = Work::Unknown;
            }
        }
        spec.check_fields(&fields, problems);
        spec
    }

    /// Fields that the kind of stage does not take, or cannot do without.
    fn check_fields(&self, fields: &Fields<'_>, problems: &mut Problems) {
        match &self.work {
            Work::Unknown => return,
            Work::Command(_) => {
                if let Some(key) = fields.key("with") {
                    let problem = Problem::new("a command takes no `with`", key.span);
                    problems.push(problem.help("put the values into the command: `${params.x}`"));
                }
            }
            Work::Uses(def) => {
                for key in COMMAND_ONLY.iter().filter_map(|field| fields.key(field)) {
                    let problem = Problem::new(format!("a stage with `uses:` takes no `{}`", key.text), key.span);
                    problems.push(problem.help("only a command does"));
                }
                self.check_builtin_outputs(def, problems);
            }
        }
        if matches!(self.work, Work::Command(_)) && self.outputs.is_empty() && fields.get("outputs").is_none() {
            let message = format!("the command `{}` declares no output", self.name.text);
            problems.push(Problem::new(message, self.name.span).help("add `outputs: {result: out/result.txt}`"));
        }
    }

    /// The outputs of a built-in are its own: all that can be said of them is whether they are kept.
    fn check_builtin_outputs(&self, def: &StageDef, problems: &mut Problems) {
        for output in &self.outputs {
            let name = &output.name;
            let known = def.outputs.iter().map(|output| output.name);
            if !known.clone().any(|known| known == name.text) {
                let problem = Problem::new(format!("`{}` has no output `{}`", def.name, name.text), name.span);
                problems.push(problem.help(suggest(&name.text, "outputs", known)));
            }
            if let Some(node) = output.path.as_ref().or(output.file_name.as_ref()) {
                let problem = Problem::new("a stage with `uses:` chooses where it writes", node.span);
                problems
                    .push(problem.help(format!("copy it out: `publish: {{PATH: {}.{}}}`", self.name.text, name.text)));
            }
        }
    }
}

fn read_work(key: &Key, fields: &Fields<'_>, problems: &mut Problems) -> Work {
    match (fields.get("uses"), fields.get("command")) {
        (Some(uses), None) => {
            let Value::Text(name) = &uses.value else {
                wrong_kind("`uses` names a stage", uses, "uses: train/original", problems);
                return Work::Unknown;
            };
            let def = pru_flow_stages::find(name);
            if def.is_none() {
                let help = suggest(name, "stages", BUILTINS.iter().map(|def| def.name));
                problems.push(Problem::new(format!("unknown stage `{name}`"), uses.span).help(help));
            }
            def.map_or(Work::Unknown, Work::Uses)
        }
        (None, Some(command)) => {
            let ok = match &command.value {
                Value::Text(text) => !text.trim().is_empty(),
                Value::List(items) => !items.is_empty() && items.iter().all(|item| item.scalar_text().is_some()),
                _ => command.value == Value::Wrong,
            };
            if !ok {
                let problem = Problem::new("`command` is a text for the shell, or a list of words", command.span);
                problems.push(problem.help("command: [python3, train.py, --lr, \"${params.lr}\"]"));
            }
            Work::Command(command.clone())
        }
        (Some(uses), Some(command)) => {
            let problem = Problem::new("a stage has either `uses` or `command`, not both", command.span);
            problems.push(problem.also(uses.span, "the other").help("remove one of them, or make two stages"));
            Work::Unknown
        }
        (None, None) => {
            // A field that is nearly one of the two has been told.
            let near = |(key, _): &(Key, Node)| did_you_mean(&key.text, ["uses", "command"]).is_some();
            if !matches!(&fields.node.value, Value::Map(entries) if entries.iter().any(near)) {
                let message = format!("the stage `{}` does nothing", key.text);
                problems.push(Problem::new(message, key.span).help("add `uses: train/original` or `command: ...`"));
            }
            Work::Unknown
        }
    }
}

fn read_inputs(node: Option<&Node>, problems: &mut Problems) -> Vec<(Key, Vec<Node>)> {
    let Some(node) = node else { return Vec::new() };
    let Value::Map(entries) = &node.value else {
        wrong_kind("`inputs` is a mapping", node, "inputs: {model: original.model}", problems);
        return Vec::new();
    };
    let mut inputs = Vec::new();
    for (key, value) in entries {
        let references = match &value.value {
            Value::Text(_) => vec![value.clone()],
            Value::List(items) => items.clone(),
            _ => Vec::new(),
        };
        if !value.holds_wrong()
            && (references.is_empty() || references.iter().any(|r| !matches!(r.value, Value::Text(_))))
        {
            let problem = Problem::new(format!("the input `{}` names an output of a stage", key.text), value.span);
            problems.push(problem.help(format!("{}: stage.output", key.text)));
        }
        // A port is given even when what is given is wrong: it is not missing.
        let references = references.into_iter().filter(|r| matches!(r.value, Value::Text(_))).collect();
        inputs.push((key.clone(), references));
    }
    inputs
}

/// Fields that stages have unless they say otherwise.
struct Defaults {
    entries: Vec<(Key, Node)>,
}

/// Fields that may have a default, and whether a built-in takes them too.
const WITH_DEFAULT: [(&str, bool); 10] = [
    ("cwd", false),
    ("env", false),
    ("environment", false),
    ("pass_env", false),
    ("sandbox", false),
    ("always", true),
    ("retries", true),
    ("timeout", true),
    ("priority", true),
    ("resources", true),
];

impl Defaults {
    fn read(node: Option<&Node>, problems: &mut Problems) -> Self {
        let Some(node) = node else { return Self { entries: Vec::new() } };
        let known = WITH_DEFAULT.map(|(field, _)| field);
        Fields::of(node, "`defaults`", &known, problems);
        match &node.value {
            Value::Map(entries) => Self { entries: entries.clone() },
            _ => {
                wrong_kind("`defaults` is a mapping of fields of stages", node, "defaults: {sandbox: warn}", problems);
                Self { entries: Vec::new() }
            }
        }
    }

    /// The stage with what it does not say itself; in `env` and `resources` each entry has its own default.
    fn apply(&self, stage: &Node) -> Node {
        let Value::Map(own) = &stage.value else { return stage.clone() };
        let mut entries = own.clone();
        let builtin = stage.get("uses").is_some();
        let fits = |name: &str| WITH_DEFAULT.iter().any(|(field, both)| *field == name && (*both || !builtin));
        for (key, default) in self.entries.iter().filter(|(key, _)| fits(&key.text)) {
            match entries.iter_mut().find(|(known, _)| known.text == key.text) {
                None => entries.push((key.clone(), default.clone())),
                Some((_, Node { value: Value::Map(own), .. })) => {
                    if let Value::Map(more) = &default.value {
                        let missing = more.iter().filter(|(key, _)| !stage_has(own, &key.text)).cloned();
                        let missing: Vec<(Key, Node)> = missing.collect();
                        own.extend(missing);
                    }
                }
                Some(_) => {}
            }
        }
        Node { value: Value::Map(entries), ..*stage }
    }
}

fn stage_has(entries: &[(Key, Node)], name: &str) -> bool {
    entries.iter().any(|(key, _)| key.text == name)
}

impl MatrixSpec {
    /// Reads a `matrix:`, of a stage or of one value of an axis.
    pub(crate) fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            wrong_kind("`matrix` is a mapping", node, "matrix: {class: [0, 3, 8], seed: [7, 8, 9]}", problems);
            return None;
        };
        let mut spec = Self { axes: Vec::new(), include: Vec::new(), exclude: Vec::new() };
        for (key, value) in entries {
            match key.text.as_str() {
                "include" | "exclude" => {
                    let cells = read_cells(key, value, problems);
                    if key.text == "include" { spec.include = cells } else { spec.exclude = cells }
                }
                axis if is_list_of_cells(value) && did_you_mean(axis, ["include", "exclude"]).is_some() => {
                    let help = did_you_mean(axis, ["include", "exclude"]);
                    let problem = Problem::new(format!("unknown field `{axis}` in a matrix"), key.span);
                    problems.push(problem.maybe_help(help));
                }
                axis if looks_like_sweep(value) && axis != "sweep" => {
                    let problem = Problem::new(format!("unknown field `{axis}` in a matrix"), key.span);
                    problems.push(problem.help(suggest(axis, "fields", ["sweep", "zip", "include", "exclude"])));
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

/// `samples` is a number, where an axis would have attributes.
fn looks_like_sweep(node: &Node) -> bool {
    node.get("samples").is_some_and(|samples| matches!(samples.value, Value::Int(_)))
}

fn is_list_of_cells(node: &Node) -> bool {
    matches!(&node.value, Value::List(items) if items.iter().all(|item| matches!(item.value, Value::Map(_))))
}

fn read_cells(key: &Key, value: &Node, problems: &mut Problems) -> Vec<Node> {
    match &value.value {
        Value::List(items) if is_list_of_cells(value) => items.clone(),
        Value::Wrong => Vec::new(),
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
        wrong_kind(&format!("`{key}` is text"), node, &format!("{key}: my-experiment"), problems);
        Some(String::new())
    }

    fn mapping(&self, key: &str, example: &str, problems: &mut Problems) -> Option<Node> {
        let node = self.get(key)?;
        if matches!(node.value, Value::Map(_)) {
            return Some(node.clone());
        }
        wrong_kind(&format!("`{key}` is a mapping"), node, example, problems);
        Some(Node { value: Value::Wrong, ..*node })
    }

    fn key(&self, name: &str) -> Option<&'a Key> {
        match &self.node.value {
            Value::Map(entries) => entries.iter().find(|(key, _)| key.text == name).map(|(key, _)| key),
            _ => None,
        }
    }

    fn missing(&self, key: &str, example: &str, problems: &mut Problems) {
        let problem = Problem::new(format!("{} has no `{key}`", self.what), self.node.span);
        problems.push(problem.help(format!("add `{example}`")));
    }
}
