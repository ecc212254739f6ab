//! `--params FILE`, `--set path=value` and the params that an import gives to its file: change params before a pipeline is
//! expanded, with type checks. `--set` wins over files of params, of which the later wins, these over what an importing file
//! gives, and that over the file's own values.
//!
//! A mapping is merged into one that is declared, name by name, and a name that is not declared is a mistake; a list, or any
//! other value, takes the place of what was there.

use std::path::PathBuf;
use std::sync::Arc;

use crate::pipeline::{Import, Pipeline};
use crate::placeholders::{Piece, pieces};
use crate::problem::{Problem, Problems, Span, TextId, did_you_mean, suggest};
use crate::template::{Part, Scope, refers_to_results, split};
use crate::yaml::{Key, Node, Value, parse};

/// A value from the command line.
struct Set<'a> {
    /// Names before the dot that were imports, with their dots.
    prefix: String,
    /// The path below these.
    path: &'a str,
    path_at: Span,
    value: Node,
}

/// What the command line changes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changes<'a> {
    /// Files of params, the later wins.
    pub params: &'a [PathBuf],
    /// `--set` arguments, as typed.
    pub set: &'a [String],
}

/// Settles the params of `pipeline` and of all that it imports: applies files of params (mappings) and `--set` arguments,
/// given as typed, and what imports give to their files. A path that leads nowhere and a value of another type are told
/// in `problems`. From then on the params of an import are below its name among those of the importing pipeline.
pub fn apply(pipeline: &mut Pipeline, files: &[Node], arguments: &[String], problems: &mut Problems) {
    let mut sets = Vec::new();
    for (index, argument) in arguments.iter().enumerate() {
        match read(index, argument) {
            Ok(set) => sets.push(set),
            Err(problem) => problems.push(problem),
        }
    }
    settle(pipeline, (files.iter().collect(), sets), "", problems);
}

fn read(index: usize, argument: &str) -> Result<Set<'_>, Problem> {
    let at = |start, end| Span::new(TextId::Argument(index), start, end);
    let Some((path, text)) = argument.split_once('=').filter(|(path, _)| !path.trim().is_empty()) else {
        let problem = Problem::new("`--set` takes path=value", at(0, argument.len()));
        return Err(problem.help("for instance `--set relearn.lr=0.002`"));
    };
    let value_at = at(path.len() + 1, argument.len());
    let path_at = at(0, path.len());
    let path = path.trim();
    let mut value = parse(text).map_err(|problems| {
        let first = problems.iter().next().map_or(String::new(), |p| p.message.clone());
        let problem = Problem::new(format!("the value of `{path}` cannot be read: {first}"), value_at);
        problem.help("a value is written as in the file: `3`, `0.1`, `text`, `[1, 2]`")
    })?;
    mark(&mut value, value_at);
    Ok(Set { prefix: String::new(), path, path_at, value })
}

/// What the command line gives to one pipeline: mappings, and arguments.
type Given<'a> = (Vec<&'a Node>, Vec<Set<'a>>);

/// `prefix` are the imports that lead to the pipeline, with their dots.
fn settle(pipeline: &mut Pipeline, (files, sets): Given<'_>, prefix: &str, problems: &mut Problems) {
    let Pipeline { params, stages, imports, .. } = pipeline;
    let stages: Vec<&str> = stages.iter().map(|stage| stage.name.text.as_str()).collect();
    let mut theirs: Vec<Given<'_>> = imports.iter().map(|_| (Vec::new(), Vec::new())).collect();
    for file in files {
        let Value::Map(entries) = &file.value else { continue };
        let mut own = Vec::new();
        for (key, value) in entries {
            let import = imports.iter().position(|import| import.name.text == key.text);
            match (import, &value.value) {
                (None, _) => own.push((key.clone(), value.clone())),
                (Some(at), Value::Map(_)) => theirs[at].0.push(value),
                (Some(_), Value::Wrong) => {}
                (Some(_), _) => {
                    let problem = Problem::new(format!("`{prefix}{}` is an import", key.text), value.span);
                    problems
                        .push(problem.help(format!("give a mapping of its params: `{}: {{PARAM: ...}}`", key.text)));
                }
            }
        }
        let own = Node { value: Value::Map(own), ..*file };
        give(params, &own, &Giver::File { prefix }, "", problems);
    }
    for set in sets {
        let (first, rest) = set.path.split_once('.').unwrap_or((set.path, ""));
        let outcome = match imports.iter().position(|import| import.name.text == first) {
            Some(_) if rest.is_empty() => {
                let problem = Problem::new(format!("`{}{first}` is an import", set.prefix), set.path_at);
                Err(problem.help(format!("name one of its params: `--set {}{first}.PARAM=...`", set.prefix)))
            }
            Some(at) => {
                let prefix = format!("{}{first}.", set.prefix);
                theirs[at].1.push(Set { prefix, path: rest, ..set });
                Ok(())
            }
            None => set_one(params, &set, &stages),
        };
        if let Err(problem) = outcome {
            problems.push(problem);
        }
    }
    for (import, given) in imports.iter_mut().zip(theirs) {
        settle_import(import, given, prefix, params, problems);
    }
}

/// Settles the params of an import's file, and puts them among those of the importing one.
fn settle_import(import: &mut Import, theirs: Given<'_>, prefix: &str, params: &mut Node, problems: &mut Problems) {
    let name = &import.name;
    let given = import.params.as_ref().map(|given| {
        let params = Arc::new(params.clone());
        Scope::new(&params, None).fill(given, problems)
    });
    let settled = match &mut import.pipeline {
        Some(pipeline) => {
            if let Some(given) = &given {
                give(&mut pipeline.params, given, &Giver::Import(&name.text), "", problems);
            }
            settle(pipeline, theirs, &format!("{prefix}{}.", name.text), problems);
            qualified(&pipeline.params, &name.text)
        }
        // Whatever is asked of it, that it could not be read is told.
        None => Node::new(Value::Wrong, name.span),
    };
    if let Value::Map(entries) = &mut params.value {
        entries.push((Key { text: name.text.clone(), span: name.span }, settled));
    }
}

/// Who gives values to the params of a file.
enum Giver<'a> {
    /// The import of this name, in the file that imports.
    Import(&'a str),
    /// A file of params; the imports that lead to the pipeline.
    File { prefix: &'a str },
}

impl Giver<'_> {
    fn unknown(&self, path: &str) -> String {
        match self {
            Self::Import(import) => format!("`{import}` has no param `{path}`"),
            Self::File { prefix } => format!("unknown param `{prefix}{path}`"),
        }
    }

    fn unfit(&self, path: &str, kind: &str, given: &str) -> String {
        match self {
            Self::Import(import) => format!("`{path}` of `{import}` is {kind}, and {given} is given"),
            Self::File { prefix } => format!("`params.{prefix}{path}` is {kind}, and {given} is given"),
        }
    }
}

/// Puts given values in place of a file's own.
fn give(params: &mut Node, given: &Node, giver: &Giver<'_>, path: &str, problems: &mut Problems) {
    let (Value::Map(params), Value::Map(given)) = (&mut params.value, &given.value) else { return };
    for (key, value) in given {
        let path = if path.is_empty() { key.text.clone() } else { format!("{path}.{}", key.text) };
        let Some(at) = params.iter().position(|(known, _)| known.text == key.text) else {
            let known: Vec<&str> = params.iter().map(|(known, _)| known.text.as_str()).collect();
            let problem = Problem::new(giver.unknown(&path), key.span);
            problems.push(problem.help(suggest(&key.text, "params there", known)));
            continue;
        };
        let target = &mut params[at].1;
        if value.value == Value::Wrong {
            *target = value.clone();
        } else if matches!((&target.value, &value.value), (Value::Map(own), Value::Map(_)) if !own.is_empty()) {
            give(target, value, giver, &path, problems);
        } else if let Some(fitting) = fit(&target.value, value.value.clone()) {
            *target = Node { value: fitting, ..*value };
        } else {
            let message = giver.unfit(&path, target.kind(), value.kind());
            problems.push(value.problem(message).help(format!("its own value is `{}`", target.to_json())));
        }
    }
}

/// Params of the import `name`, as its importer sees them: what they say of results and params of their own file is
/// said from outside.
fn qualified(node: &Node, name: &str) -> Node {
    let value = match &node.value {
        Value::Text(text) if refers_to_results(text) => Value::Text(qualified_text(text, name)),
        Value::List(items) => Value::List(items.iter().map(|item| qualified(item, name)).collect()),
        Value::Map(entries) => {
            Value::Map(entries.iter().map(|(key, node)| (key.clone(), qualified(node, name))).collect())
        }
        value => value.clone(),
    };
    Node { value, ..*node }
}

fn qualified_text(text: &str, name: &str) -> String {
    // It was split before: nothing is wrong with it.
    let parts = split(text).unwrap_or_default();
    let part = |part: &Part<'_>| match part {
        Part::Literal(literal) => literal.replace("${", "$${"),
        Part::Reference(inner) => format!("${{{}}}", qualified_names(inner, name)),
    };
    parts.iter().map(part).collect()
}

/// The inside of a reference, which may hold others.
fn qualified_names(inner: &str, name: &str) -> String {
    let piece = |piece: &Piece<'_>| match piece {
        Piece::Other(own) => (*own).to_owned(),
        Piece::Name(own) if own.starts_with("matrix") => (*own).to_owned(),
        Piece::Name(path) => match path.split_once('.') {
            Some((first, rest)) => format!("{first}.{name}.{rest}"),
            None => format!("{path}.{name}"),
        },
    };
    let part = |part: &Part<'_>| match part {
        Part::Literal(literal) => pieces(literal).iter().map(piece).collect(),
        Part::Reference(nested) => format!("${{{}}}", qualified_names(nested, name)),
    };
    split(inner).unwrap_or_default().iter().map(part).collect()
}

fn set_one(params: &mut Node, set: &Set<'_>, stages: &[&str]) -> Result<(), Problem> {
    check_path(params, set, stages)?;
    let Some(target) = find(params, set.path) else { return Ok(()) };
    if let Some(fitting) = fit(&target.value, set.value.value.clone()) {
        *target = Node { value: fitting, ..set.value };
        return Ok(());
    }
    let (kind, given) = (target.kind(), set.value.kind());
    let message = format!("`params.{}{}` is {kind}, and {given} was given", set.prefix, set.path);
    Err(Problem::new(message, set.value.span).help(format!("its value in the file is `{}`", target.to_json())))
}

fn mark(node: &mut Node, span: Span) {
    node.span = span;
    node.origin = span;
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| mark(item, span)),
        Value::Map(entries) => entries.iter_mut().for_each(|(key, item)| {
            key.span = span;
            mark(item, span);
        }),
        _ => {}
    }
}

/// The declared param at `path`, which leads somewhere.
fn find<'a>(node: &'a mut Node, path: &str) -> Option<&'a mut Node> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let Value::Map(entries) = &mut node.value else { return None };
    let (_, next) = entries.iter_mut().find(|(key, _)| key.text == first)?;
    match rest {
        Some(rest) => find(next, rest),
        None => Some(next),
    }
}

fn check_path(params: &Node, set: &Set<'_>, stages: &[&str]) -> Result<(), Problem> {
    let Set { prefix, path, path_at: span, .. } = set;
    let mut node = params;
    let mut walked: Vec<&str> = Vec::new();
    for part in path.split('.') {
        let Value::Map(entries) = &node.value else {
            let walked = format!("{prefix}{}", walked.join("."));
            let problem = Problem::new(format!("`params.{walked}` is {}: nothing is below it", node.kind()), *span);
            return Err(problem.help(format!("write `--set {walked}=...`")));
        };
        if let Some((_, next)) = entries.iter().find(|(key, _)| key.text == part) {
            node = next;
            walked.push(part);
            continue;
        }
        let problem = Problem::new(format!("unknown param `{prefix}{path}`"), *span);
        if walked.is_empty() && stages.contains(&part) {
            return Err(problem.label(format!("`{part}` is a stage")).help(declare(part, path)));
        }
        return Err(problem.help(nearest_path(params, path, prefix)));
    }
    Ok(())
}

/// Which param to declare, so that `--set` can change a stage.
fn declare(stage: &str, path: &str) -> String {
    let rest = path.split_once('.').map_or("lr", |(_, rest)| rest);
    let (field, group) = (rest.rsplit('.').next().unwrap_or(rest), rest.replace('.', ": {"));
    let close = "}".repeat(rest.matches('.').count());
    format!(
        "`--set` leads into `params`: declare `params: {{{stage}: {{{group}: ...{close}}}}}` and write \
         `{field}: ${{params.{stage}.{rest}}}` in the stage"
    )
}

/// The declared path that was meant: one that ends in the same words, or is spelt almost the same.
fn nearest_path(params: &Node, path: &str, prefix: &str) -> String {
    let mut known = Vec::new();
    collect_paths(params, "", &mut known);
    let ending = format!(".{path}");
    let ends: Vec<&String> = known.iter().filter(|candidate| candidate.ends_with(&ending)).collect();
    match ends.as_slice() {
        [] => match did_you_mean(path, known.iter().map(String::as_str)) {
            Some(near) => near.replacen('`', &format!("`{prefix}"), 1),
            None => suggest(path, "params", known.iter().map(String::as_str)),
        },
        several => {
            let several: Vec<String> = several.iter().take(4).map(|one| format!("`{prefix}{one}`")).collect();
            format!("did you mean {}?", several.join(" or "))
        }
    }
}

fn collect_paths(node: &Node, prefix: &str, known: &mut Vec<String>) {
    let Value::Map(entries) = &node.value else { return };
    for (key, node) in entries {
        let path = if prefix.is_empty() { key.text.clone() } else { format!("{prefix}.{}", key.text) };
        collect_paths(node, &path, known);
        known.push(path);
    }
}

/// `given` in the type of `declared`, or `None`. A param that is `null` in the file takes anything, as does one that
/// is the result of a stage; and such a result may be given for anything.
fn fit(declared: &Value, given: Value) -> Option<Value> {
    let is_result = |value: &Value| matches!(value, Value::Text(text) if refers_to_results(text));
    if is_result(declared) || is_result(&given) {
        return Some(given);
    }
    match (declared, given) {
        (Value::Float(_), Value::Int(i)) => Some(Value::Float(i as f64)),
        (Value::Null | Value::Wrong, given) | (Value::Int(_), given @ (Value::Int(_) | Value::Float(_))) => Some(given),
        // A path or a name may look like a number.
        (Value::Text(_), Value::Int(i)) => Some(Value::Text(i.to_string())),
        (Value::Text(_), Value::Float(f)) => Some(Value::Text(f.to_string())),
        (declared, given) if std::mem::discriminant(declared) == std::mem::discriminant(&given) => Some(given),
        _ => None,
    }
}
