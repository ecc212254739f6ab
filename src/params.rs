//! Params of a built-in stage, as written, against the types that the stage declares: every field that is unknown,
//! missing or of another type is told at its place, with what the stage's documentation says of it.
//!
//! Works on the JSON Schema of the stage's params; the stage's own type has the last word. Knows nothing of cells.

use pru_flow_stages::StageDef;
use serde_json::Value as Json;

use crate::problem::{Problem, Problems, Span, did_you_mean, suggest};
use crate::yaml::{Node, Value};

/// The declared params of a stage.
pub struct ParamTypes {
    def: &'static StageDef,
    schema: Json,
    paths: Vec<String>,
    elsewhere: Vec<String>,
}

impl ParamTypes {
    /// What `def` declares.
    #[must_use]
    pub fn of(def: &'static StageDef) -> Self {
        let schema = Json::from((def.schema)());
        let fields = schema.get("properties").and_then(Json::as_object);
        let named = |which: fn(&Json) -> bool| -> Vec<String> {
            fields.into_iter().flatten().filter(|(_, field)| which(field)).map(|(name, _)| name.clone()).collect()
        };
        let (paths, elsewhere) = (named(is_path), named(is_unkeyed));
        Self { def, schema, paths, elsewhere }
    }

    /// Names of the params that hold paths, by the mark that `SourcePath` leaves in the schema.
    #[must_use]
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// Names of the params that are left out of the key.
    #[must_use]
    pub fn unkeyed(&self) -> Vec<String> {
        [&self.paths[..], &self.elsewhere].concat()
    }

    /// Reads the params of the stage `stage`: `with` as written, and `json`, the same with its paths resolved. Gives
    /// them with their defaults filled in, or tells in `problems` all that is wrong with them. While some are awaited,
    /// the others are held against their types, and there is nothing to give yet.
    pub fn read(&self, stage: &str, with: &Node, mut json: Json, problems: &mut Problems) -> Option<Json> {
        let mut check = Check { types: self, stage, problems: Problems::default() };
        let Value::Map(entries) = &with.value else { return None };
        check.object(with, &self.schema, "");
        if with.holds_awaited() {
            problems.extend(check.problems);
            return None;
        }
        let mut ok = check.problems.is_empty() && !with.holds_wrong();
        // What the stage itself checks is told in the same pass, for the fields that are right.
        if !ok && let Some(map) = json.as_object_mut() {
            let fields = self.schema.get("properties");
            for (key, node) in entries {
                let schema = fields.and_then(|fields| fields.get(&key.text));
                let mut one = Check { types: self, stage, problems: Problems::default() };
                let right = schema.is_some_and(|schema| one.value(node, schema, &key.text)) && !node.holds_wrong();
                if !right {
                    map.shift_remove(&key.text);
                }
            }
        }
        problems.extend(check.problems);
        let params = match (self.def.normalise)(&json) {
            Ok(params) => params,
            Err(error) => {
                if ok {
                    let at = with.nearest(&error.path);
                    let message = format!("`{}` of `{stage}`: {}", error.path, error.message);
                    problems.push(at.problem(message).help(format!("see `pru-flow stages {}`", self.def.name)));
                }
                return None;
            }
        };
        let all_right = ok;
        for (field, message) in (self.def.check)(&params) {
            ok = false;
            // That a field is missing may be because it, or one in its place, is wrong and was taken out above.
            let written = json.get(field.split(['.', '[']).next().unwrap_or(field)).is_some();
            if !all_right && !written {
                continue;
            }
            let (message, help) = self.wrong(field, &message);
            problems.push(with.nearest(field).problem(message).maybe_help(help));
        }
        ok.then_some(params)
    }

    /// What a stage's own check says of `field`, with what the documentation says of it.
    #[must_use]
    pub fn wrong(&self, field: &str, message: &str) -> (String, Option<String>) {
        // Some stages say `is 0; ...`, others `0 is not ...`.
        let verb = ["is ", "needs ", "must ", "makes "].iter().any(|verb| message.starts_with(verb));
        let message = if verb { format!("`{field}` {message}") } else { format!("`{field}`: {message}") };
        (message, self.describe(field))
    }

    /// What the documentation says of a field, in one line.
    fn describe(&self, path: &str) -> Option<String> {
        let mut found = None;
        let mut schema = &self.schema;
        for part in path.split('.') {
            // An item of a list is described by its list.
            let Some(field) = fields_of(schema).and_then(|fields| fields.get(part)) else { break };
            found = Some(describe(part, field));
            schema = field;
        }
        found
    }
}

fn is_path(field: &Json) -> bool {
    let format = |value: &Json| value.get("format").and_then(Json::as_str) == Some("path");
    format(field) || variants(field).into_iter().any(format)
}

/// Whether the stage says that a param decides no byte of any output.
fn is_unkeyed(field: &Json) -> bool {
    field.get("x-unkeyed") == Some(&Json::Bool(true))
}

/// The alternatives of a schema that has several.
#[must_use]
pub fn variants(field: &Json) -> Vec<&Json> {
    let list = ["anyOf", "oneOf", "allOf"].iter().find_map(|key| field.get(*key)).and_then(Json::as_array);
    list.map_or_else(Vec::new, |all| all.iter().collect())
}

/// The fields of a mapping, or of the one alternative that is a mapping.
#[must_use]
pub fn fields_of(schema: &Json) -> Option<&serde_json::Map<String, Json>> {
    let with_fields = std::iter::once(schema).chain(variants(schema));
    with_fields.into_iter().find_map(|schema| schema.get("properties")?.as_object())
}

/// Whether a mapping cannot do without the field `name`.
#[must_use]
pub fn is_required(schema: &Json, name: &str) -> bool {
    let lists = std::iter::once(schema).chain(variants(schema)).filter_map(|schema| schema.get("required")?.as_array());
    lists.flatten().any(|one| one == name)
}

/// A type in words: `whole number`, `train | frozen`, `number | nothing`.
#[must_use]
pub fn type_name(field: &Json) -> String {
    if field.get("format").and_then(Json::as_str) == Some("path") {
        return "path".to_owned();
    }
    if let Some(values) = choices(field) {
        return values.iter().map(|value| shown(value)).collect::<Vec<_>>().join(" | ");
    }
    let variants = variants(field);
    if !variants.is_empty() {
        let mut names: Vec<String> = variants.into_iter().map(type_name).collect();
        names.dedup();
        return names.join(" | ");
    }
    match field.get("type") {
        Some(Json::String(one)) => word(one).to_owned(),
        Some(Json::Array(many)) => many.iter().filter_map(Json::as_str).map(word).collect::<Vec<_>>().join(" | "),
        _ => "any value".to_owned(),
    }
}

fn word(json_type: &str) -> &str {
    match json_type {
        "integer" => "whole number",
        "object" => "mapping",
        "array" => "list",
        "string" => "text",
        "null" => "nothing",
        other => other,
    }
}

fn shown(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The values of a field that takes one of a few.
fn choices(field: &Json) -> Option<Vec<&Json>> {
    if let Some(values) = field.get("enum").and_then(Json::as_array) {
        return Some(values.iter().collect());
    }
    if let Some(value) = field.get("const") {
        return Some(vec![value]);
    }
    let variants = variants(field);
    let all: Option<Vec<Vec<&Json>>> = variants.into_iter().map(choices).collect();
    all.map(|all| all.concat()).filter(|all| !all.is_empty())
}

fn describe(name: &str, field: &Json) -> String {
    let default = field.get("default").map_or_else(String::new, |default| format!(" [default: {default}]"));
    let doc = field.get("description").and_then(Json::as_str).map(|doc| doc.replace('\n', " "));
    let doc = doc.map_or_else(String::new, |doc| format!(": {doc}"));
    format!("`{name}` ({}){default}{doc}", type_name(field))
}

struct Check<'a> {
    types: &'a ParamTypes,
    stage: &'a str,
    problems: Problems,
}

impl Check<'_> {
    /// Whether a value fits `schema`; what does not is told.
    fn value(&mut self, node: &Node, schema: &Json, path: &str) -> bool {
        if matches!(node.value, Value::Wrong | Value::Awaited) {
            return true;
        }
        let before = self.problems.iter().count();
        if let Some(choices) = choices(schema) {
            self.choice(node, &choices, path, schema);
        } else if let Some(list) = ["anyOf", "oneOf", "allOf"].iter().find_map(|key| schema.get(*key)?.as_array()) {
            let not_null: Vec<&Json> = list.iter().filter(|one| one.get("type") != Some(&Json::from("null"))).collect();
            let may_be_null = not_null.len() < list.len();
            match not_null.as_slice() {
                _ if may_be_null && node.value == Value::Null => {}
                [only] => return self.value(node, only, path),
                // Several shapes: the stage's own type tells which.
                _ => {}
            }
        } else {
            self.typed(node, schema, path);
        }
        self.problems.iter().count() == before
    }

    fn choice(&mut self, node: &Node, choices: &[&Json], path: &str, schema: &Json) {
        let json = node.to_json();
        if choices.contains(&&json) {
            return;
        }
        let known: Vec<String> = choices.iter().map(|value| shown(value)).collect();
        let listed: Vec<String> = known.iter().map(|one| format!("`{one}`")).collect();
        let text = node.scalar_text();
        let found = text.as_ref().map_or_else(|| node.kind().to_owned(), |text| format!("`{text}`"));
        let message = format!("`{path}` takes {}, not {found}", listed.join(" or "));
        let near = text.and_then(|text| did_you_mean(&text, known.iter().map(String::as_str)));
        let help = near.or_else(|| self.types.describe(path)).unwrap_or_else(|| type_name(schema));
        self.problems.push(node.problem(message).help(help));
    }

    fn typed(&mut self, node: &Node, schema: &Json, path: &str) {
        let names: Vec<&str> = match schema.get("type") {
            Some(Json::String(one)) => vec![one.as_str()],
            Some(Json::Array(many)) => many.iter().filter_map(Json::as_str).collect(),
            _ => return,
        };
        let fits = |name: &&&str| match (**name, &node.value) {
            ("null", Value::Null)
            | ("boolean", Value::Bool(_))
            | ("integer", Value::Int(_))
            | ("number", Value::Int(_) | Value::Float(_))
            | ("string", Value::Text(_))
            | ("array", Value::List(_))
            | ("object", Value::Map(_)) => true,
            // A path may look like a number.
            ("string", _) => is_path(schema) && node.scalar_text().is_some(),
            _ => false,
        };
        match names.iter().find(fits) {
            Some(&"integer") => self.range(node, schema, path),
            Some(&"array") => self.list(node, schema, path),
            Some(&"object") => self.object(node, schema, path),
            Some(_) => {}
            None => self.mismatch(node, schema, path),
        }
    }

    fn mismatch(&mut self, node: &Node, schema: &Json, path: &str) {
        let article = |name: &str| match name {
            "text" | "nothing" | "any value" => name.to_owned(),
            name => format!("a {name}"),
        };
        let expected: Vec<String> = type_name(schema).split(" | ").map(article).collect();
        let found = match &node.value {
            Value::Text(text) if text.chars().count() <= 30 => format!("the text `{text}`"),
            Value::Int(_) | Value::Float(_) | Value::Bool(_) => {
                format!("{} (`{}`)", node.kind(), node.scalar_text().unwrap_or_default())
            }
            _ => node.kind().to_owned(),
        };
        let message = format!("`{path}` takes {}, not {found}", expected.join(" or "));
        let quote = node.scalar_text().filter(|_| expected == ["text"]).map(|text| format!("quote it: `\"{text}\"`"));
        let help = quote.or_else(|| self.types.describe(path));
        self.problems.push(node.problem(message).maybe_help(help));
    }

    fn range(&mut self, node: &Node, schema: &Json, path: &str) {
        let Value::Int(value) = node.value else { return };
        let (low, high) = match schema.get("format").and_then(Json::as_str) {
            Some("uint8") => (0, i64::from(u8::MAX)),
            Some("uint16") => (0, i64::from(u16::MAX)),
            Some("uint32") => (0, i64::from(u32::MAX)),
            Some("int32") => (i64::from(i32::MIN), i64::from(i32::MAX)),
            Some("uint64" | "uint") => (0, i64::MAX),
            _ => (i64::MIN, i64::MAX),
        };
        let low = schema.get("minimum").and_then(Json::as_i64).unwrap_or(low);
        let high = schema.get("maximum").and_then(Json::as_i64).unwrap_or(high);
        if !(low..=high).contains(&value) {
            let range = if value < low { format!("from {low}") } else { format!("up to {high}") };
            let message = format!("`{path}` takes a whole number {range}, not {value}");
            let help = self.types.describe(path);
            self.problems.push(node.problem(message).maybe_help(help));
        }
    }

    fn list(&mut self, node: &Node, schema: &Json, path: &str) {
        let Value::List(items) = &node.value else { return };
        let bound = |key: &str| schema.get(key).and_then(Json::as_u64).map(|n| n as usize);
        let (least, most) = (bound("minItems").unwrap_or(0), bound("maxItems").unwrap_or(usize::MAX));
        if !(least..=most).contains(&items.len()) {
            let wanted = if least == most { least.to_string() } else { format!("{least} to {most}") };
            let message = format!("`{path}` takes {wanted} values, not {}", items.len());
            let help = self.types.describe(path);
            self.problems.push(node.problem(message).maybe_help(help));
        }
        for (index, item) in items.iter().enumerate() {
            let item_schema = match schema.get("items") {
                Some(Json::Array(each)) => each.get(index),
                Some(one) => Some(one),
                None => None,
            };
            if let Some(item_schema) = item_schema {
                self.value(item, item_schema, &format!("{path}.{index}"));
            }
        }
    }

    fn object(&mut self, node: &Node, schema: &Json, path: &str) {
        let Value::Map(entries) = &node.value else { return };
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let fields = schema.get("properties").and_then(Json::as_object);
        let known: Vec<&str> = fields.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        // Whether a missing field was meant by one that is unknown: then it is told there.
        let mut meant: Vec<&str> = Vec::new();
        for (key, value) in entries {
            if let Some(field) = fields.and_then(|fields| fields.get(&key.text)) {
                self.value(value, field, &below(&key.text));
            } else if let Some(others) = schema.get("additionalProperties").filter(|others| others.is_object()) {
                self.value(value, others, &below(&key.text));
            } else if fields.is_some() || schema.get("additionalProperties") == Some(&Json::Bool(false)) {
                let name = self.types.def.name;
                let near = |field: &&&str| did_you_mean(&key.text, [**field]).is_some();
                meant.extend(known.iter().filter(near));
                let help = suggest(&key.text, "params", known.iter().copied());
                let message = format!("unknown param `{}` of `{name}`", below(&key.text));
                self.problems.push(Problem::new(message, key.span).help(help));
            }
        }
        for (name, field) in fields.into_iter().flatten().filter(|(name, _)| is_required(schema, name)) {
            if node.get(name).is_none() && !meant.contains(&name.as_str()) {
                self.missing(node.span, path, name, field);
            }
        }
    }

    fn missing(&mut self, span: Span, path: &str, name: &str, field: &Json) {
        let message = match path {
            "" => format!("`{}` has no param `{name}`, which `{}` needs", self.stage, self.types.def.name),
            path => format!("`{path}` has no `{name}`, which `{}` needs", self.types.def.name),
        };
        let place = if path.is_empty() { "`with:`".to_owned() } else { format!("`{path}:`") };
        let help = format!("add `{name}: ...` under {place}: {}", describe(name, field));
        self.problems.push(Problem::new(message, span).help(help));
    }
}
