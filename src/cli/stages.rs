//! `pru-flow stages`: what `uses:` can name, from the same table that runs it.

use clap::Args;
use pru_flow_stages::{Arity, BUILTINS, OutputKind, Sees, StageDef};
use serde_json::Value;

use super::{DONE, Exit, print};
use crate::params::{fields_of, is_required, type_name};
use crate::problem::suggest;

pub(super) const EXAMPLES: &str = "\
Examples:
  pru-flow stages                     all of them
  pru-flow stages unlearn/pru         one, with its params and ports";

#[derive(Args)]
pub(super) struct StagesArgs {
    /// One stage, for all about it.
    name: Option<String>,
}

pub(super) fn stages(args: &StagesArgs) -> Result<u8, Exit> {
    let Some(name) = &args.name else {
        let width = BUILTINS.iter().map(|def| def.name.len()).max().unwrap_or(0);
        let lines = BUILTINS.iter().map(|def| format!("{:<width$}  {}\n", def.name, def.summary));
        print(lines.collect::<String>().as_bytes());
        return Ok(DONE);
    };
    let def = pru_flow_stages::find(name).ok_or_else(|| {
        Exit::usage(format!("no stage `{name}`; {}", suggest(name, "stages", BUILTINS.iter().map(|def| def.name))))
    })?;
    print(describe(def).as_bytes());
    Ok(DONE)
}

fn describe(def: &StageDef) -> String {
    let place = if def.needs_worker() { "runs in a worker with libtorch" } else { "runs in the engine" };
    let mut text = format!("{} (version {}, {place})\n{}\n", def.name, def.version, def.summary);
    text.push_str("\nParams (with:)\n");
    let schema = Value::from((def.schema)());
    for (name, field) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        describe_field(name, field, is_required(&schema, name), 1, &mut text);
    }
    text.push_str("\nInputs\n");
    for port in def.inputs {
        let arity = match port.arity {
            Arity::One => "",
            Arity::Optional => " (optional)",
            Arity::Gather => " (gathers any number)",
        };
        let sees = match port.sees {
            Sees::Forget => " (sees only the class to be forgotten)",
            Sees::Retain => " (sees only the classes to be retained)",
            Sees::Both => "",
        };
        text.push_str(&format!("  {}{arity}\n      {}{sees}\n", port.name, port.doc));
    }
    if def.inputs.is_empty() {
        text.push_str("  none\n");
    }
    text.push_str("\nOutputs\n");
    for output in def.outputs {
        let kind = match output.kind {
            OutputKind::File { file_name } => file_name,
            OutputKind::Folder => "a folder",
        };
        text.push_str(&format!("  {} ({kind})\n      {}\n", output.name, output.doc));
    }
    text
}

fn describe_field(name: &str, field: &Value, required: bool, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    let default = match field.get("default") {
        Some(default) if !required => format!(" [default: {default}]"),
        _ if required => " (required)".to_owned(),
        _ => String::new(),
    };
    text.push_str(&format!("{indent}{name}: {}{default}\n", type_name(field)));
    if let Some(doc) = field.get("description").and_then(Value::as_str) {
        text.push_str(&format!("{indent}    {}\n", doc.replace('\n', &format!("\n{indent}    "))));
    }
    for (name, nested) in fields_of(field).into_iter().flatten() {
        describe_field(name, nested, is_required(field, name), depth + 2, text);
    }
}
