//! The YAML of a `dvc.yaml` -> [`Document`]: checks its shape and the names of its fields, and tells what has no
//! counterpart here. What is wrong is collected; whatever can be understood is kept beside it.

use std::collections::BTreeMap;

use super::document::{Cells, Definition, Document, ParamsText, StageText, Vars};
use super::template::has_names;
use crate::problem::{Problem, Problems, Span, did_you_mean};
use crate::yaml::{Key, Node, Value};

/// What is told of a file: problems, which end the import, and notes, which do not.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub problems: Problems,
    pub notes: Problems,
    /// What is left out in many places, told once: the first place, and how often.
    often: BTreeMap<&'static str, (Span, usize)>,
}

impl Told {
    pub(super) fn wrong(&mut self, message: impl Into<String>, at: Span, help: &str) {
        self.problems.push(Problem::new(message, at).help(help));
    }

    pub(super) fn note(&mut self, message: impl Into<String>, at: Span) {
        self.notes.push(Problem::new(message, at));
    }

    /// Notes something at the first place where it is found.
    pub(super) fn note_first(&mut self, message: String, at: Span) {
        if !self.notes.iter().any(|note| note.message == message) {
            self.note(message, at);
        }
    }

    /// Notes something that may come often; `what` is said once.
    fn note_once(&mut self, what: &'static str, at: Span) {
        self.often.entry(what).and_modify(|(_, count)| *count += 1).or_insert((at, 0));
    }

    /// Tells what was counted.
    pub(super) fn settle(&mut self) {
        for (what, (at, more)) in std::mem::take(&mut self.often) {
            let places = if more == 1 { "place" } else { "places" };
            let more = if more == 0 { String::new() } else { format!(" (and in {more} more {places})") };
            self.note(format!("{what}{more}"), at);
        }
    }
}

const TOP: [&str; 7] = ["stages", "vars", "params", "metrics", "plots", "artifacts", "datasets"];
const STAGE: [&str; 13] = [
    "cmd",
    "wdir",
    "deps",
    "outs",
    "params",
    "metrics",
    "plots",
    "vars",
    "frozen",
    "always_changed",
    "desc",
    "meta",
    "matrix",
];
/// Fields of the first releases with dvc.yaml: outs by another name.
const OLD_OUTS: [&str; 7] = [
    "outs_persist",
    "outs_no_cache",
    "outs_persist_no_cache",
    "metrics_no_cache",
    "metrics_persist",
    "plots_no_cache",
    "plots_persist",
];

/// Reads a document.
pub(super) fn read(root: &Node, told: &mut Told) -> Document {
    let mut document = Document::default();
    let Value::Map(entries) = &root.value else {
        if root.value != Value::Wrong {
            let message = match root.value {
                Value::Null => "the file is empty".to_owned(),
                _ => format!("a dvc.yaml is a mapping, not {}", root.kind()),
            };
            told.wrong(message, root.span, "it needs `stages:`");
        }
        return document;
    };
    check_fields(root, "the file", &TOP, told);
    document.vars = read_vars(root.get("vars"), told);
    for (key, node) in entries {
        let left_out = match key.text.as_str() {
            "metrics" | "plots" | "params" => "it only says what DVC shows",
            "artifacts" => "pru-flow has no registry of models",
            "datasets" => "pru-flow does not track them",
            _ => continue,
        };
        if node.value != Value::Null {
            told.note(format!("`{}` is left out: {left_out}", key.text), key.span);
        }
    }
    match root.get("stages").map(|node| (&node.value, node)) {
        Some((Value::Map(stages), _)) if !stages.is_empty() => {
            document.definitions = stages.iter().filter_map(|(key, node)| read_definition(key, node, told)).collect();
        }
        Some((Value::Wrong, _)) => {}
        Some((Value::Map(_) | Value::Null, node)) => told.wrong("there are no stages to import", node.span, STAGE_HELP),
        Some((_, node)) => wrong_kind("`stages` is a mapping", node, STAGE_HELP, told),
        None => told.wrong("there are no stages to import", root.span, STAGE_HELP),
    }
    document
}

const STAGE_HELP: &str = "stages: {train: {cmd: python train.py, deps: [train.py], outs: [model.pt]}}";

/// Tells fields that DVC does not know: one that is nearly another is a mistake, others are left out.
fn check_fields(node: &Node, what: &str, known: &[&str], told: &mut Told) {
    let Value::Map(entries) = &node.value else { return };
    for (key, _) in entries.iter().filter(|(key, _)| !known.contains(&key.text.as_str())) {
        let name = &key.text;
        if let Some(help) = did_you_mean(name, known.iter().copied()) {
            told.wrong(format!("unknown field `{name}` in {what}"), key.span, &help);
        } else {
            told.note(format!("`{name}` is left out: DVC 3 knows no such field in {what}"), key.span);
        }
    }
}

fn wrong_kind(message: &str, node: &Node, help: &str, told: &mut Told) {
    if !node.holds_wrong() {
        told.wrong(format!("{message}, not {}", node.kind()), node.span, help);
    }
}

fn read_vars(node: Option<&Node>, told: &mut Told) -> Vec<Vars> {
    const HELP: &str = "vars: [config.yaml, {epochs: 10}]";
    let mut vars = Vec::new();
    for item in list(node, "vars", HELP, told) {
        if names_in(item) {
            told.wrong("`vars` hold plain values, without `${...}`", item.span, "write the value itself");
            continue;
        }
        match &item.value {
            Value::Text(text) => {
                let (path, fields) = text.split_once(':').unwrap_or((text, ""));
                let fields = fields.split(',').filter(|field| !field.is_empty()).map(str::to_owned).collect();
                vars.push(Vars::File { path: path.to_owned(), fields, at: item.span });
            }
            Value::Map(_) => vars.push(Vars::Values(item.clone())),
            _ => wrong_kind("`vars` names files, or holds mappings", item, HELP, told),
        }
    }
    vars
}

/// Whether a text in it, or a name, has a `${...}`.
fn names_in(node: &Node) -> bool {
    match &node.value {
        Value::Text(text) => has_names(text),
        Value::List(items) => items.iter().any(names_in),
        Value::Map(entries) => entries.iter().any(|(key, node)| has_names(&key.text) || names_in(node)),
        _ => false,
    }
}

/// The items of a list; nothing when it is not there.
fn list<'a>(node: Option<&'a Node>, field: &str, help: &str, told: &mut Told) -> &'a [Node] {
    match node.map(|node| (&node.value, node)) {
        None | Some((Value::Null | Value::Wrong, _)) => &[],
        Some((Value::List(items), _)) => items,
        Some((_, node)) => {
            wrong_kind(&format!("`{field}` is a list"), node, help, told);
            &[]
        }
    }
}

fn read_definition(key: &Key, node: &Node, told: &mut Told) -> Option<Definition> {
    let what = format!("the stage `{}`", key.text);
    if !matches!(node.value, Value::Map(_)) {
        wrong_kind(&format!("{what} is a mapping"), node, STAGE_HELP, told);
        return None;
    }
    let grouped = ["foreach", "do"].map(|field| node.get(field));
    let (cells, body) = match grouped {
        [None, None] => {
            let cells = match node.get("matrix") {
                None => Cells::One,
                Some(matrix) => Cells::Matrix(read_matrix(matrix, told)?),
            };
            (cells, node)
        }
        [Some(data), Some(body)] => {
            check_fields(node, &what, &["foreach", "do"], told);
            (Cells::Foreach(data.clone()), body)
        }
        [None, Some(body)] => {
            told.wrong("`do` belongs to a `foreach`", body.span, "write its fields beside `matrix:`");
            return None;
        }
        [Some(_), None] => {
            told.wrong(format!("{what} has a `foreach` without its `do`"), key.span, "foreach: [a, b], do: {cmd: ...}");
            return None;
        }
    };
    if !matches!(body.value, Value::Map(_)) {
        wrong_kind("`do` is a mapping", body, "do: {cmd: python train.py ${item}}", told);
        return None;
    }
    let stage = read_stage(key, body, &what, told)?;
    Some(Definition { name: key.clone(), cells, stage })
}

fn read_matrix(node: &Node, told: &mut Told) -> Option<Vec<(Key, Node)>> {
    const HELP: &str = "matrix: {model: [cnn, mlp], seed: [1, 2]}";
    let Value::Map(axes) = &node.value else {
        wrong_kind("`matrix` is a mapping", node, HELP, told);
        return None;
    };
    for (key, values) in axes {
        if !matches!(values.value, Value::List(_) | Value::Text(_)) {
            wrong_kind(&format!("the values of `{}` are a list", key.text), values, HELP, told);
        }
    }
    if axes.is_empty() {
        told.wrong("`matrix` has no list of values", node.span, HELP);
    }
    Some(axes.clone())
}

fn read_stage(key: &Key, node: &Node, what: &str, told: &mut Told) -> Option<StageText> {
    let known: Vec<&str> = STAGE.iter().chain(&OLD_OUTS).copied().chain(["live"]).collect();
    check_fields(node, what, &known, told);
    let mut stage = StageText { folder: text(node.get("wdir"), "wdir", "wdir: src", told), ..StageText::default() };
    match node.get("cmd").map(|cmd| (&cmd.value, cmd)) {
        Some((Value::Text(_), cmd)) => {
            stage.by_lines = true;
            stage.commands.push(cmd.clone());
        }
        Some((Value::List(items), _)) if !items.is_empty() => {
            stage.commands = items.iter().filter_map(|item| text(Some(item), "cmd", CMD_HELP, told)).collect();
        }
        Some((Value::Wrong, _)) => {}
        Some((Value::List(_), cmd)) => told.wrong(format!("{what} has no command"), cmd.span, CMD_HELP),
        Some((_, cmd)) => wrong_kind("`cmd` is a text, or a list of texts", cmd, CMD_HELP, told),
        None => told.wrong(format!("{what} has no `cmd`"), key.span, CMD_HELP),
    }
    if stage.commands.iter().all(|command| command.scalar_text().is_some_and(|text| text.trim().is_empty())) {
        if let Some(first) = stage.commands.first() {
            told.wrong(format!("{what} has no command"), first.span, CMD_HELP);
        }
        return None;
    }
    let deps = list(node.get("deps"), "deps", "deps: [train.py, data]", told);
    stage.deps = deps.iter().filter_map(|dep| text(Some(dep), "deps", "deps: [train.py, data]", told)).collect();
    for field in ["outs", "metrics", "plots"].iter().chain(&OLD_OUTS) {
        let mut outs: Vec<Node> = Vec::new();
        for item in list(node.get(field), field, "outs: [model.pt]", told) {
            read_out(item, field, &mut outs, told);
        }
        // What is said twice in one list is one output for DVC.
        for (at, out) in outs.iter().enumerate() {
            if !outs[..at].iter().any(|earlier| earlier.value == out.value) {
                stage.outs.push(out.clone());
            }
        }
    }
    stage.params =
        list(node.get("params"), "params", PARAMS_HELP, told).iter().flat_map(|item| read_params(item, told)).collect();
    stage.vars = read_vars(node.get("vars"), told);
    stage.description = node.get("desc").and_then(Node::scalar_text);
    stage.always = flag(node, "always_changed", told);
    tell_left_out(node, what, told);
    Some(stage)
}

const CMD_HELP: &str = "cmd: python train.py";
const PARAMS_HELP: &str = "params: [train.lr, {config.json: [seed]}]";

/// Fields without a counterpart here.
fn tell_left_out(node: &Node, what: &str, told: &mut Told) {
    let Value::Map(entries) = &node.value else { return };
    for (key, value) in entries {
        match key.text.as_str() {
            "frozen" if flag(node, "frozen", told) => told.note(
                format!(
                    "`frozen` is left out: {what} runs when its inputs change; `--until` and `--from` leave stages out"
                ),
                key.span,
            ),
            "meta" => told.note_once("`meta` is left out", key.span),
            "live" if value.value != Value::Null => {
                told.note("`live` is left out, as in DVC 3: name the files that dvclive writes under `outs`", key.span);
            }
            _ => {}
        }
    }
}

fn text(node: Option<&Node>, field: &str, help: &str, told: &mut Told) -> Option<Node> {
    let node = node?;
    match &node.value {
        Value::Text(_) => Some(node.clone()),
        Value::Wrong | Value::Null => None,
        // A file may be called `2024`.
        Value::Int(_) | Value::Float(_) | Value::Bool(_) => {
            node.scalar_text().map(|text| Node { value: Value::Text(text), ..*node })
        }
        _ => {
            wrong_kind(&format!("`{field}` holds text"), node, help, told);
            None
        }
    }
}

fn flag(node: &Node, field: &str, told: &mut Told) -> bool {
    match node.get(field).map(|node| (&node.value, node)) {
        None | Some((Value::Wrong | Value::Null, _)) => false,
        Some((Value::Bool(value), _)) => *value,
        Some((_, node)) => {
            wrong_kind(&format!("`{field}` is true or false"), node, &format!("{field}: true"), told);
            false
        }
    }
}

/// An output: a path, or a mapping from a path to what is said about it.
fn read_out(item: &Node, field: &str, outs: &mut Vec<Node>, told: &mut Told) {
    if field.contains("no_cache") {
        told.note_once(NO_CACHE, item.span);
    }
    if field.contains("persist") {
        told.note_once(PERSIST, item.span);
    }
    match &item.value {
        Value::Map(entries) => {
            for (key, about) in entries {
                outs.push(Node::new(Value::Text(key.text.clone()), key.span));
                tell_about_out(about, told);
            }
        }
        _ => outs.extend(text(Some(item), field, "outs: [model.pt, {metrics.json: {cache: false}}]", told)),
    }
}

const NO_CACHE: &str = "`cache: false` is left out: pru-flow keeps every output in its store, and Git may keep it too";
const PERSIST: &str = "`persist` is left out: every attempt of a stage starts without its earlier outputs";

fn tell_about_out(about: &Node, told: &mut Told) {
    let entries = match &about.value {
        Value::Map(entries) => entries,
        // A plot may be shown in several ways.
        Value::List(items) => return items.iter().for_each(|item| tell_about_out(item, told)),
        _ => return,
    };
    for (key, value) in entries {
        let off = value.value == Value::Bool(false);
        match key.text.as_str() {
            "cache" if off => told.note_once(NO_CACHE, key.span),
            "persist" if !off => told.note_once(PERSIST, key.span),
            "push" | "remote" => told.note_once("`push` and `remote` of outputs are left out", key.span),
            "checkpoint" if !off => told.note_once("`checkpoint` is left out, as in DVC 3", key.span),
            "cache" | "persist" | "checkpoint" => {}
            "desc" | "type" | "labels" | "meta" => told.note_once("descriptions of outputs are left out", key.span),
            _ => told.note_once("how plots and metrics are shown is left out", key.span),
        }
    }
}

/// `lr`, or `{config.json: [lr]}`, or `{config.json: }` for all of a file.
fn read_params(item: &Node, told: &mut Told) -> Vec<ParamsText> {
    let Value::Map(entries) = &item.value else {
        let values: Vec<Node> = text(Some(item), "params", PARAMS_HELP, told).into_iter().collect();
        return if values.is_empty() { Vec::new() } else { vec![ParamsText { file: None, values, at: item.span }] };
    };
    let mut params = Vec::new();
    for (key, values) in entries {
        let items = match &values.value {
            Value::Text(_) => std::slice::from_ref(values),
            _ => list(Some(values), &key.text, PARAMS_HELP, told),
        };
        let values = items.iter().filter_map(|item| text(Some(item), "params", PARAMS_HELP, told)).collect();
        let file = Node::new(Value::Text(key.text.clone()), key.span);
        params.push(ParamsText { file: Some(file), values, at: key.span });
    }
    params
}
