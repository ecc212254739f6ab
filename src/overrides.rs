//! `--set path=value`: changes params of a pipeline before it is expanded, with type checks.

use crate::pipeline::Pipeline;
use crate::problem::{Problem, Problems, Span, suggest};
use crate::yaml::{Node, Value, parse};

/// Applies `--set` arguments, given as typed, to the params of `pipeline`. A path that leads nowhere and a value of
/// another type are told in `problems`.
pub fn apply(pipeline: &mut Pipeline, arguments: &[String], problems: &mut Problems) {
    for (index, argument) in arguments.iter().enumerate() {
        if let Err(problem) = apply_one(pipeline, index, argument) {
            problems.push(problem);
        }
    }
}

fn apply_one(pipeline: &mut Pipeline, index: usize, argument: &str) -> Result<(), Problem> {
    let at = |start, end| Span { argument: Some(index), start, end };
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
    let stages: Vec<String> = pipeline.stages.iter().map(|stage| stage.name.text.clone()).collect();
    check_path(&pipeline.params, path, path_at, &stages)?;
    let Some(target) = find(&mut pipeline.params, path) else { return Ok(()) };
    if let Some(fitting) = fit(&target.value, value.value.clone()) {
        *target = Node { value: fitting, ..value };
        return Ok(());
    }
    let message = format!("`params.{path}` is {}, and {} was given", target.kind(), value.kind());
    Err(Problem::new(message, value_at).help(format!("its value in the file is `{}`", target.to_json())))
}

fn mark(node: &mut Node, span: Span) {
    node.span = span;
    node.origin = span;
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| mark(item, span)),
        Value::Map(entries) => entries.iter_mut().for_each(|(_, item)| mark(item, span)),
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

fn check_path(params: &Node, path: &str, span: Span, stages: &[String]) -> Result<(), Problem> {
    let mut node = params;
    let mut walked: Vec<&str> = Vec::new();
    for part in path.split('.') {
        let Value::Map(entries) = &node.value else {
            let walked = walked.join(".");
            let problem = Problem::new(format!("`params.{walked}` is {}: nothing is below it", node.kind()), span);
            return Err(problem.help(format!("write `--set {walked}=...`")));
        };
        if let Some((_, next)) = entries.iter().find(|(key, _)| key.text == part) {
            node = next;
            walked.push(part);
            continue;
        }
        let problem = Problem::new(format!("unknown param `{path}`"), span);
        if walked.is_empty() && stages.iter().any(|stage| stage == part) {
            return Err(problem.label(format!("`{part}` is a stage")).help(declare(part, path)));
        }
        return Err(problem.help(nearest_path(params, path)));
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
fn nearest_path(params: &Node, path: &str) -> String {
    let mut known = Vec::new();
    collect_paths(params, "", &mut known);
    let ending = format!(".{path}");
    let ends: Vec<&String> = known.iter().filter(|candidate| candidate.ends_with(&ending)).collect();
    match ends.as_slice() {
        [] => suggest(path, "params", known.iter().map(String::as_str)),
        several => {
            let several: Vec<String> = several.iter().take(4).map(|one| format!("`{one}`")).collect();
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

/// `given` in the type of `declared`, or `None`. A param that is `null` in the file takes anything.
fn fit(declared: &Value, given: Value) -> Option<Value> {
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
