//! A JSON Schema of pipelines, for editors: fields of a stage, and for each built-in stage its params and ports. Made
//! from the same table as `pru-flow stages`.
//!
//! Looser than `pru-flow check` where it must be: a value may be a `${...}`, whose type is known only when it is filled.

use std::collections::BTreeMap;

use pru_flow_stages::{Arity, BUILTINS, StageDef};
use serde_json::{Map, Value as Json, json};

/// The fields of a pipeline and what they hold.
const TOP: [(&str, &str); 8] = [
    ("version", "The format of this file: 1."),
    ("name", "The pipeline's name, which is also that of the folder of its results."),
    ("import", "Other pipeline files whose stages this one uses, by name."),
    ("params", "Values for `${params.x}`, which `--set` and `--params` change."),
    ("defaults", "Fields that stages have unless they say otherwise."),
    ("limits", "How much there is of resources of your own."),
    ("stages", "What is done: built-in stages (`uses:`) and any programs (`command:`)."),
    ("publish", "Copies of outputs in the project: path and `stage.output`. Written only when they change."),
];

/// The schema's text: one line, for programs to read.
#[must_use]
pub fn text() -> String {
    format!("{}\n", pipeline())
}

fn pipeline() -> Json {
    let uses: Vec<Json> = BUILTINS.iter().map(|def| json!({"const": def.name, "description": def.summary})).collect();
    let of_builtins: Vec<Json> = BUILTINS.iter().map(of_builtin).collect();
    let mut properties: Map<String, Json> =
        TOP.iter().map(|(name, doc)| ((*name).to_owned(), described(top(name), doc))).collect();
    if let Some(stages) = properties.get_mut("stages") {
        stages["additionalProperties"] = json!({"$ref": "#/$defs/stage"});
    }
    let stage = json!({
        "type": "object",
        "properties": stage_properties(&uses),
        "additionalProperties": false,
        "oneOf": [{"required": ["uses"]}, {"required": ["command"]}],
        "allOf": of_builtins,
    });
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "pru-flow pipeline",
        "type": "object",
        "required": ["version", "name", "stages"],
        "additionalProperties": false,
        "properties": properties,
        "$defs": {"stage": stage, "reference": reference()},
    });
    share(&mut schema);
    schema
}

/// Parts that are longer than this, in bytes, are written once.
const SHARED_BYTES: usize = 160;

/// Moves parts that are there several times (an optimizer's params, for instance) to the definitions.
fn share(schema: &mut Json) {
    let mut counts = BTreeMap::new();
    count(schema, &mut counts);
    counts.retain(|_, n| *n > 1);
    let mut shared = Vec::new();
    replace(schema, &counts, &mut shared);
    if let Some(defs) = schema.get_mut("$defs").and_then(Json::as_object_mut) {
        // A definition may hold others, which are found while it is gone through.
        let mut at = 0;
        while at < shared.len() {
            let mut part: Json = serde_json::from_str(&shared[at]).unwrap_or_default();
            for below in children(&mut part) {
                replace(below, &counts, &mut shared);
            }
            defs.insert(format!("part-{}", at + 1), part);
            at += 1;
        }
    }
}

fn children(schema: &mut Json) -> Vec<&mut Json> {
    match schema {
        Json::Object(map) => map.values_mut().collect(),
        Json::Array(list) => list.iter_mut().collect(),
        _ => Vec::new(),
    }
}

/// Whether a part can stand behind a reference: it is a schema, and no list of them by name.
fn is_schema(part: &Json) -> bool {
    ["type", "anyOf", "oneOf"]
        .iter()
        .any(|key| part.get(key).is_some_and(|value| value.is_string() || value.is_array()))
}

fn count(schema: &mut Json, counts: &mut BTreeMap<String, usize>) {
    let text = schema.to_string();
    if text.len() > SHARED_BYTES && is_schema(schema) {
        *counts.entry(text).or_default() += 1;
    }
    for child in children(schema) {
        count(child, counts);
    }
}

fn replace(schema: &mut Json, counts: &BTreeMap<String, usize>, shared: &mut Vec<String>) {
    let text = schema.to_string();
    if counts.contains_key(&text) {
        let at = shared.iter().position(|known| *known == text).unwrap_or_else(|| {
            shared.push(text);
            shared.len() - 1
        });
        *schema = json!({"$ref": format!("#/$defs/part-{}", at + 1)});
        return;
    }
    for child in children(schema) {
        replace(child, counts, shared);
    }
}

fn top(name: &str) -> Json {
    match name {
        "version" => json!({"const": 1}),
        "name" => json!({"type": "string", "pattern": NAME}),
        "stages" => json!({"type": "object", "minProperties": 1, "propertyNames": {"pattern": NAME}}),
        "publish" => json!({"type": "object", "additionalProperties": {"type": "string"}}),
        "import" => {
            let full = json!({"type": "object", "properties": {"file": {"type": "string"}, "params": {"type": "object"}},
                "required": ["file"], "additionalProperties": false});
            json!({"type": "object", "additionalProperties": {"anyOf": [{"type": "string"}, full]}})
        }
        _ => json!({"type": "object"}),
    }
}

/// Names of stages, outputs and the like.
const NAME: &str = "^[A-Za-z_][A-Za-z0-9_-]*$";

fn described(mut schema: Json, doc: &str) -> Json {
    schema["description"] = Json::from(doc);
    schema
}

/// A text that stands for a value.
fn reference() -> Json {
    json!({"type": "string", "pattern": "\\$\\{"})
}

/// A schema whose value may be a `${...}` as well.
fn or_reference(schema: Json) -> Json {
    if schema.get("type").and_then(Json::as_str) == Some("string") && schema.get("enum").is_none() {
        return schema;
    }
    let mut either = json!({});
    for key in ["description", "default"] {
        if let Some(value) = schema.get(key) {
            either[key] = value.clone();
        }
    }
    either["anyOf"] = json!([schema, {"$ref": "#/$defs/reference"}]);
    either
}

/// The fields of a stage, those of commands included.
fn stage_properties(uses: &[Json]) -> Json {
    let texts = || json!({"type": "array", "items": {"type": ["string", "number", "boolean"]}});
    let text_or_list = || json!({"anyOf": [{"type": "string"}, texts()]});
    let input = json!({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]});
    let output = json!({"anyOf": [
        {"type": ["string", "null"]},
        {"type": "object", "additionalProperties": false, "properties": {
            "path": described(json!({"type": ["string", "null"]}), "Where in the project it is written."),
            "name": described(json!({"type": "string"}), "Its file name, where it has no path."),
            "keep": described(json!({"type": "boolean"}), "false: it goes when its last reader has run."),
            "link": described(json!({"enum": ["copy", "hard"]}), "Whether its file shares its bytes with the store."),
        }},
    ]});
    let names = json!({"type": "array", "items": {"type": "string", "pattern": NAME}, "minItems": 1});
    let outputs = json!({"anyOf": [{"type": "object", "additionalProperties": output, "minProperties": 1}, names]});
    let values = json!({"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}});
    let fields = [
        ("uses", json!({"oneOf": uses}), "A built-in stage."),
        ("command", text_or_list(), "Any program: a text for the shell, or a list of words without one."),
        ("with", json!({"type": "object"}), "Params of the built-in stage."),
        (
            "inputs",
            json!({"type": "object", "additionalProperties": input}),
            "What it reads: `stage.output`, or `./a/file`.",
        ),
        ("outputs", outputs, "What it writes: a path in the project, or nothing for a place of its own."),
        ("matrix", json!({"type": "object", "minProperties": 1}), "Axes: one node for each combination of values."),
        ("resources", resources(), "What its nodes draw on."),
        ("when", or_reference(json!({"type": "boolean"})), "false: the cell is not there."),
        ("always", or_reference(json!({"type": "boolean"})), "true: it runs in every run."),
        (
            "retries",
            or_reference(json!({"type": "integer", "minimum": 0})),
            "How often it is tried again when it fails.",
        ),
        ("timeout", json!({"type": ["string", "number"]}), "When it is stopped and has failed: 90, `30min`, `2h`."),
        ("priority", or_reference(json!({"type": "integer"})), "Of nodes that could run the highest goes first."),
        ("code", text_or_list(), "Files that hold its code, in place of what would be followed."),
        ("cwd", json!({"type": "string"}), "The folder of the project in which it runs."),
        (
            "environment",
            json!({"type": "object", "properties": {"lock": {"type": "string"}}, "additionalProperties": false}),
            "A lock file that stands for the installed distributions of its Python.",
        ),
        ("env", values, "Variables that it is given; keyed by digest only."),
        ("pass_env", text_or_list(), "Variables that it inherits; never keyed, never stored."),
        ("reads", json!({"type": "object"}), "Files of which only these dotted values are read and keyed."),
        (
            "sandbox",
            json!({"enum": ["off", "warn", "enforce", false]}),
            "What is done about undeclared reads and writes.",
        ),
    ];
    fields
        .into_iter()
        .map(|(name, schema, doc)| (name.to_owned(), described(schema, doc)))
        .collect::<Map<_, _>>()
        .into()
}

fn resources() -> Json {
    let count = || or_reference(json!({"type": "integer", "minimum": 0}));
    let memory = || json!({"type": ["string", "integer"]});
    json!({"type": "object", "additionalProperties": count(), "properties": {
        "cpus": count(), "gpus": count(), "memory": memory(), "gpu_memory": memory(),
        "exclusive": or_reference(json!({"type": "boolean"})), "device": {"type": "string"},
    }})
}

/// What holds for stages that use `def`.
fn of_builtin(def: &'static StageDef) -> Json {
    let mut with = Json::from((def.schema)());
    loosen(&mut with);
    for meta in ["$schema", "title"] {
        if let Some(map) = with.as_object_mut() {
            map.shift_remove(meta);
        }
    }
    let ports: Map<String, Json> =
        def.inputs.iter().map(|port| (port.name.to_owned(), json!({"description": port.doc}))).collect();
    let needed: Vec<&str> =
        def.inputs.iter().filter(|port| port.arity != Arity::Optional).map(|port| port.name).collect();
    let mut inputs = json!({"properties": ports, "additionalProperties": false});
    let mut then = json!({"properties": {"with": with, "inputs": Json::Null}});
    if !needed.is_empty() {
        inputs["required"] = json!(needed);
        then["required"] = json!(["inputs"]);
    }
    then["properties"]["inputs"] = inputs;
    json!({"if": {"properties": {"uses": {"const": def.name}}, "required": ["uses"]}, "then": then})
}

/// Lets every value below be a `${...}`, too.
fn loosen(schema: &mut Json) {
    let Some(map) = schema.as_object_mut() else { return };
    // Any value that a stage refuses is told by `check`; what an editor needs are names, types and choices.
    for number in ["format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"] {
        map.shift_remove(number);
    }
    for key in ["properties", "$defs"] {
        if let Some(fields) = map.get_mut(key).and_then(Json::as_object_mut) {
            for field in fields.values_mut() {
                loosen(field);
                if key == "properties" {
                    *field = or_reference(std::mem::take(field));
                }
            }
        }
    }
    if let Some(items) = map.get_mut("items") {
        loosen(items);
        *items = or_reference(std::mem::take(items));
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        map.get_mut(key).and_then(Json::as_array_mut).into_iter().flatten().for_each(loosen);
    }
}
