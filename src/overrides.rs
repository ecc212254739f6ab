//! `--set path=value`: changes params of a pipeline before it is expanded, with type checks.

use crate::pipeline::Pipeline;
use crate::problem::{Problem, Problems, Span, suggest};
use crate::yaml::{Node, Value, parse};

/// Applies `--set` arguments, given as typed, to the params of `pipeline`.
///
/// # Errors
/// A path that leads nowhere, or a value of another type; all of them at once.
pub fn apply(pipeline: &mut Pipeline, arguments: &[String]) -> Result<(), Problems> {
    let mut problems = Problems::default();
    for (index, argument) in arguments.iter().enumerate() {
        if let Err(problem) = apply_one(pipeline, index, argument) {
            problems.push(problem);
        }
    }
    problems.into_result(())
}

fn apply_one(pipeline: &mut Pipeline, index: usize, argument: &str) -> Result<(), Problem> {
    let at = |start, end| Span { argument: Some(index), start, end };
    let Some((path, text)) = argument.split_once('=') else {
        let problem = Problem::new("`--set` takes path=value", at(0, argument.len()));
        return Err(problem.help("for instance `--set relearn.lr=0.002`"));
    };
    let value_at = at(path.len() + 1, argument.len());
    let path = path.trim();
    let mut value = parse(text).map_err(|problems| {
        let first = problems.iter().next().map_or(String::new(), |p| p.message.clone());
        Problem::new(format!("the value of `{path}` cannot be read: {first}"), value_at)
    })?;
    mark(&mut value, value_at);
    let path_at = at(0, path.len());
    let stages: Vec<String> = pipeline.stages.iter().map(|stage| stage.name.text.clone()).collect();
    let target = find(&mut pipeline.params, path, path_at, &stages)?;
    if let Some(fitting) = fit(&target.value, value.value.clone()) {
        *target = Node { value: fitting, ..value };
        return Ok(());
    }
    let message = format!("`params.{path}` is {}, and {} was given", target.kind(), value.kind());
    Err(Problem::new(message, value_at).help(format!("its value in the file is `{}`", target.to_json())))
}

fn mark(node: &mut Node, span: Span) {
    node.span = span;
    node.from_command_line = true;
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| mark(item, span)),
        Value::Map(entries) => entries.iter_mut().for_each(|(_, item)| mark(item, span)),
        _ => {}
    }
}

fn find<'a>(params: &'a mut Node, path: &str, span: Span, stages: &[String]) -> Result<&'a mut Node, Problem> {
    let mut node = params;
    for (depth, part) in path.split('.').enumerate() {
        let Value::Map(entries) = &mut node.value else {
            return Err(Problem::new(format!("`params.{path}`: there is nothing below a single value"), span));
        };
        let known: Vec<String> = entries.iter().map(|(key, _)| key.text.clone()).collect();
        let Some((_, next)) = entries.iter_mut().find(|(key, _)| key.text == part) else {
            let problem = Problem::new(format!("unknown param `{path}`"), span);
            let rest = path.split_once('.').map_or("lr", |(_, rest)| rest);
            if depth == 0 && stages.iter().any(|stage| stage == part) {
                let (field, group) = (rest.rsplit('.').next().unwrap_or(rest), rest.replace('.', ": {"));
                let close = "}".repeat(rest.matches('.').count());
                return Err(problem.label(format!("`{part}` is a stage")).help(format!(
                    "`--set` leads into `params`: declare `params: {{{part}: {{{group}: ...{close}}}}}` and write \
                     `{field}: ${{params.{part}.{rest}}}` in the stage"
                )));
            }
            return Err(problem.help(suggest(part, "params", known.iter().map(String::as_str))));
        };
        node = next;
    }
    Ok(node)
}

/// `given` in the type of `declared`, or `None`. A param that is `null` in the file takes anything.
fn fit(declared: &Value, given: Value) -> Option<Value> {
    match (declared, given) {
        (Value::Float(_), Value::Int(i)) => Some(Value::Float(i as f64)),
        (Value::Null, given) | (Value::Int(_), given @ (Value::Int(_) | Value::Float(_))) => Some(given),
        // A path or a name may look like a number.
        (Value::Text(_), Value::Int(i)) => Some(Value::Text(i.to_string())),
        (Value::Text(_), Value::Float(f)) => Some(Value::Text(f.to_string())),
        (declared, given) if std::mem::discriminant(declared) == std::mem::discriminant(&given) => Some(given),
        _ => None,
    }
}
