//! The full description that decides whether a result can be reused, and its digest, the key.
//!
//! Knows nothing of pipelines, node names, devices or paths: none of these can enter a key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::canon::{self, CanonError, Value};
use crate::digest::{Digest, NotADigest};
use crate::fields::{self, FieldError, Fields, wrong};
use crate::names::{self, BadName};

/// The context string of BLAKE3's derive-key mode: no other digest of ours can equal a key.
pub const KEY_CONTEXT: &str = "pru-flow action key, format 1";

/// All that decides the bytes of a stage's outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// The stage's name, for instance `unlearn/pru`; `command` for a program of the user's.
    pub stage: String,
    /// The stage's version.
    pub version: u32,
    /// Libraries that decide the bytes, with their versions.
    pub toolchain: BTreeMap<String, String>,
    /// Normalised params, usually a map.
    pub params: Value,
    /// Files from outside, by the name under which the stage opens them.
    pub sources: BTreeMap<String, Digest>,
    /// Artifacts by port.
    pub inputs: BTreeMap<String, ActionInput>,
}

/// What a port is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionInput {
    /// The files of one artifact.
    One(Vec<Member>),
    /// Artifacts of many nodes, in the order in which a table prints them.
    Gather(Vec<Gathered>),
}

/// One of many artifacts on a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gathered {
    /// (axis, value) of the node that made it, in declaration order.
    pub coordinates: Vec<(String, String)>,
    /// Its files.
    pub members: Vec<Member>,
}

/// A file of an artifact.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Path inside the artifact's folder, empty for a single file.
    pub name: String,
    /// Digest of its bytes.
    pub digest: Digest,
}

/// A description that has no key, or a stored one that is not well-formed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    /// A value without an encoding.
    #[error("{part}: {problem}")]
    Value {
        /// Which part of the action.
        part: String,
        /// Why.
        problem: CanonError,
    },
    /// A file's name in an input.
    #[error("{part}: {problem}")]
    Name {
        /// The port.
        part: String,
        /// Why.
        problem: BadName,
    },
    /// A stored action with a wrong field.
    #[error(transparent)]
    Field(#[from] FieldError),
}

/// The digest of an [`Action`]: the name of its result.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActionKey(Digest);

impl ActionKey {
    /// A key read from a record or a file name.
    #[must_use]
    pub const fn from_digest(digest: Digest) -> Self {
        Self(digest)
    }

    /// Its 32 bytes as a digest.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.0
    }

    /// The first 12 hexadecimal digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        self.0.short()
    }
}

impl fmt::Display for ActionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ActionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActionKey({self})")
    }
}

impl FromStr for ActionKey {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl Action {
    /// The bytes that the key is the digest of; `FORMAT.md` states them.
    ///
    /// # Errors
    /// When a param is not finite or too deep, or two files of an input share a name.
    pub fn preimage(&self) -> Result<Vec<u8>, ActionError> {
        canon::encode(&self.to_value()?).map_err(|problem| {
            let part = if canon::encode(&self.params).is_err() { "params" } else { "the action" };
            ActionError::Value { part: part.to_owned(), problem }
        })
    }

    /// The key.
    ///
    /// # Errors
    /// As [`Action::preimage`].
    pub fn key(&self) -> Result<ActionKey, ActionError> {
        let mut hasher = blake3::Hasher::new_derive_key(KEY_CONTEXT);
        hasher.update(&self.preimage()?);
        Ok(ActionKey(Digest::from_bytes(*hasher.finalize().as_bytes())))
    }

    /// The action as a value, as it lies in a record. Members are put into order of their names.
    ///
    /// # Errors
    /// When two files of an input share a name or a name leads outside its folder.
    pub fn to_value(&self) -> Result<Value, ActionError> {
        let mut inputs = BTreeMap::new();
        for (port, input) in &self.inputs {
            inputs.insert(port.clone(), input_to_value(port, input)?);
        }
        Ok(Value::map([
            ("stage", Value::text(&self.stage)),
            ("version", Value::Int(i64::from(self.version))),
            ("toolchain", Value::map(self.toolchain.iter().map(|(name, v)| (name, Value::text(v))))),
            ("params", self.params.clone()),
            ("sources", Value::map(self.sources.iter().map(|(name, digest)| (name, fields::of_digest(digest))))),
            ("inputs", Value::Map(inputs)),
        ]))
    }

    /// The action that [`Action::to_value`] wrote.
    ///
    /// # Errors
    /// When a field is missing, unknown or of another type, or a file's name is refused.
    pub fn from_value(value: Value) -> Result<Self, ActionError> {
        let mut all = Fields::of(value, "action")?;
        let action = Self {
            stage: fields::text(all.take("stage")?, "stage")?,
            version: u32::try_from(fields::unsigned(&all.take("version")?, "version")?)
                .map_err(|_| wrong("version", "is too large"))?,
            toolchain: fields::map(all.take("toolchain")?, "toolchain")?
                .into_iter()
                .map(|(name, value)| Ok((name, fields::text(value, "toolchain")?)))
                .collect::<Result<_, FieldError>>()?,
            params: all.take("params")?,
            sources: fields::map(all.take("sources")?, "sources")?
                .into_iter()
                .map(|(name, value)| Ok((name, fields::digest(&value, "sources")?)))
                .collect::<Result<_, FieldError>>()?,
            inputs: fields::map(all.take("inputs")?, "inputs")?
                .into_iter()
                .map(|(port, value)| {
                    let input = input_from_value(&port, value)?;
                    Ok((port, input))
                })
                .collect::<Result<_, ActionError>>()?,
        };
        all.finish()?;
        Ok(action)
    }
}

fn input_to_value(port: &str, input: &ActionInput) -> Result<Value, ActionError> {
    Ok(match input {
        ActionInput::One(members) => Value::map([("one", members_to_value(port, members)?)]),
        ActionInput::Gather(all) => {
            let mut list = Vec::with_capacity(all.len());
            for gathered in all {
                let coordinates =
                    gathered.coordinates.iter().map(|(axis, v)| Value::List(vec![Value::text(axis), Value::text(v)]));
                list.push(Value::map([
                    ("coordinates", Value::List(coordinates.collect())),
                    ("members", members_to_value(port, &gathered.members)?),
                ]));
            }
            Value::map([("gather", Value::List(list))])
        }
    })
}

fn members_to_value(port: &str, members: &[Member]) -> Result<Value, ActionError> {
    let mut sorted: Vec<&Member> = members.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    check_members(port, sorted.iter().map(|m| m.name.as_str()))?;
    let list = sorted.iter().map(|m| Value::List(vec![Value::text(&m.name), fields::of_digest(&m.digest)]));
    Ok(Value::List(list.collect()))
}

fn check_members<'a>(port: &str, names: impl Iterator<Item = &'a str> + Clone) -> Result<(), ActionError> {
    let folder = names.clone().ne([""]);
    names::check_files(folder, names).map_err(|problem| ActionError::Name { part: format!("inputs.{port}"), problem })
}

fn input_from_value(port: &str, value: Value) -> Result<ActionInput, ActionError> {
    let mut all = Fields::of(value, port)?;
    let input = if let Some(members) = all.take_optional("one") {
        ActionInput::One(members_from_value(port, members)?)
    } else {
        let mut gathered = Vec::new();
        for value in fields::list(all.take("gather")?, "gather")? {
            let mut one = Fields::of(value, "gather")?;
            let mut coordinates = Vec::new();
            for pair in fields::list(one.take("coordinates")?, "coordinates")? {
                let [axis, value] = <[Value; 2]>::try_from(fields::list(pair, "coordinates")?)
                    .map_err(|_| wrong("coordinates", "is not a list of pairs"))?;
                coordinates.push((fields::text(axis, "coordinates")?, fields::text(value, "coordinates")?));
            }
            gathered.push(Gathered { coordinates, members: members_from_value(port, one.take("members")?)? });
            one.finish()?;
        }
        ActionInput::Gather(gathered)
    };
    all.finish()?;
    Ok(input)
}

fn members_from_value(port: &str, value: Value) -> Result<Vec<Member>, ActionError> {
    let mut members = Vec::new();
    for pair in fields::list(value, "members")? {
        let [name, digest] = <[Value; 2]>::try_from(fields::list(pair, "members")?)
            .map_err(|_| wrong("members", "is not a list of pairs"))?;
        members.push(Member { name: fields::text(name, "members")?, digest: fields::digest(&digest, "members")? });
    }
    check_members(port, members.iter().map(|m| m.name.as_str()))?;
    Ok(members)
}

/// One field in which two actions differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Dotted path: `params.optimizer.lr`, `sources.images`, `inputs.model`, `inputs.train/class-3.safetensors`,
    /// `inputs.models[method=pru,class=3]`, `toolchain.libtorch`, `version`, `stage`.
    pub field: String,
    /// The value in `self`, as it would be written in a pipeline; `absent` when there is none.
    pub before: String,
    /// The value in the other.
    pub after: String,
}

/// What stands for a field that an action does not have.
const ABSENT: &str = "absent";
/// Ends the name of the field that holds the order of a gathering port.
const ORDER: &str = " (order)";

impl Action {
    /// The fields in which `other` differs from `self`, in order of their names.
    #[must_use]
    pub fn diff(&self, other: &Self) -> Vec<Difference> {
        let (before, after) = (self.leaves(), other.leaves());
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let mut differences = Vec::new();
        for name in names {
            let (old, new) = (before.get(name), after.get(name));
            if old != new {
                let show = |leaf: Option<&String>| leaf.map_or(ABSENT, String::as_str).to_owned();
                differences.push(Difference { field: name.clone(), before: show(old), after: show(new) });
            }
        }
        // The order of gathered artifacts is worth a line only where it is all that differs on that port.
        let fields: Vec<String> = differences.iter().map(|d| d.field.clone()).collect();
        differences.retain(|d| match d.field.strip_suffix(ORDER) {
            Some(port) => !fields.iter().any(|f| f.strip_prefix(port).is_some_and(|rest| rest.starts_with('['))),
            None => true,
        });
        differences
    }

    /// Every leaf by its dotted path, as text for people.
    fn leaves(&self) -> BTreeMap<String, String> {
        let mut leaves = BTreeMap::new();
        leaves.insert("stage".to_owned(), self.stage.clone());
        leaves.insert("version".to_owned(), self.version.to_string());
        for (tool, version) in &self.toolchain {
            leaves.insert(format!("toolchain.{tool}"), version.clone());
        }
        value_leaves("params", &self.params, &mut leaves);
        for (source, digest) in &self.sources {
            leaves.insert(format!("sources.{source}"), digest.short());
        }
        for (port, input) in &self.inputs {
            input_leaves(&format!("inputs.{port}"), input, &mut leaves);
        }
        leaves
    }
}

fn value_leaves(path: &str, value: &Value, leaves: &mut BTreeMap<String, String>) {
    match value {
        Value::Map(map) if !map.is_empty() => {
            for (name, value) in map {
                value_leaves(&format!("{path}.{name}"), value, leaves);
            }
        }
        _ => {
            leaves.insert(path.to_owned(), shown(value));
        }
    }
}

/// The value as text in which `1`, `1.0` and `"1"` still differ.
fn shown(value: &Value) -> String {
    match value {
        Value::Float(number) => format!("{number:?}"),
        Value::List(values) => format!("[{}]", values.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Value::Map(map) => {
            let entries = map.iter().map(|(name, value)| format!("{name}: {}", shown(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        other => other.to_json().to_string(),
    }
}

fn input_leaves(path: &str, input: &ActionInput, leaves: &mut BTreeMap<String, String>) {
    match input {
        ActionInput::One(members) => member_leaves(path, members, leaves),
        ActionInput::Gather(all) => {
            let mut order = Vec::new();
            for gathered in all {
                let pairs = gathered.coordinates.iter().map(|(axis, value)| format!("{axis}={value}"));
                order.push(format!("[{}]", pairs.collect::<Vec<_>>().join(",")));
            }
            for (index, (place, gathered)) in order.iter().zip(all).enumerate() {
                let twin = order[..index].iter().filter(|earlier| *earlier == place).count();
                let twin = if twin == 0 { String::new() } else { format!("#{}", twin + 1) };
                member_leaves(&format!("{path}{place}{twin}"), &gathered.members, leaves);
            }
            leaves.insert(format!("{path}{ORDER}"), order.join(" "));
        }
    }
}

fn member_leaves(path: &str, members: &[Member], leaves: &mut BTreeMap<String, String>) {
    if members.is_empty() {
        leaves.insert(path.to_owned(), "an empty folder".to_owned());
    }
    for member in members {
        let slash = if member.name.is_empty() { "" } else { "/" };
        leaves.insert(format!("{path}{slash}{}", member.name), member.digest.short());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, content: &str) -> Member {
        Member { name: name.to_owned(), digest: Digest::of(content.as_bytes()) }
    }

    fn cell(method: &str, content: &str) -> Gathered {
        Gathered { coordinates: vec![("method".into(), method.into())], members: vec![member("", content)] }
    }

    fn action() -> Action {
        Action {
            stage: "relearn".into(),
            version: 3,
            toolchain: BTreeMap::from([("libtorch".into(), "2.11".into())]),
            params: Value::from_json(&serde_json::json!({"lr": 0.001, "epochs": 10, "optimizer": {"name": "sgd"}}))
                .unwrap(),
            sources: BTreeMap::from([("images".into(), Digest::of(b"images"))]),
            inputs: BTreeMap::from([
                ("model".into(), ActionInput::One(vec![member("", "weights")])),
                ("retain".into(), ActionInput::One(vec![member("class-0", "a"), member("class-1", "b")])),
                ("all".into(), ActionInput::Gather(vec![cell("pru", "x"), cell("retrain", "y")])),
            ]),
        }
    }

    fn changed(change: impl FnOnce(&mut Action)) -> Action {
        let mut other = action();
        change(&mut other);
        other
    }

    fn gather(action: &mut Action) -> &mut Vec<Gathered> {
        match action.inputs.get_mut("all") {
            Some(ActionInput::Gather(all)) => all,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_single_change_gives_another_key_and_one_line_of_explanation() {
        let set = |json: serde_json::Value| move |a: &mut Action| a.params = Value::from_json(&json).unwrap();
        let table: Vec<(Action, &str, &str, &str)> = vec![
            (changed(|a| a.stage = "train".into()), "stage", "relearn", "train"),
            (changed(|a| a.version = 4), "version", "3", "4"),
            (changed(|a| a.toolchain = BTreeMap::new()), "toolchain.libtorch", "2.11", "absent"),
            (
                changed(set(serde_json::json!({"lr": 0.002, "epochs": 10, "optimizer": {"name": "sgd"}}))),
                "params.lr",
                "0.001",
                "0.002",
            ),
            (
                changed(set(serde_json::json!({"lr": 0.001, "epochs": 10.0, "optimizer": {"name": "sgd"}}))),
                "params.epochs",
                "10",
                "10.0",
            ),
            (
                changed(set(serde_json::json!({"lr": 0.001, "epochs": 10, "optimizer": {"name": "adam"}}))),
                "params.optimizer.name",
                "\"sgd\"",
                "\"adam\"",
            ),
            (
                changed(|a| _ = a.sources.insert("images".into(), Digest::of(b"other"))),
                "sources.images",
                &Digest::of(b"images").short(),
                &Digest::of(b"other").short(),
            ),
            (
                changed(|a| _ = a.inputs.insert("model".into(), ActionInput::One(vec![member("", "w")]))),
                "inputs.model",
                &Digest::of(b"weights").short(),
                &Digest::of(b"w").short(),
            ),
            (
                changed(|a| {
                    let files = vec![member("class-0", "a"), member("class-1", "c")];
                    a.inputs.insert("retain".into(), ActionInput::One(files));
                }),
                "inputs.retain/class-1",
                &Digest::of(b"b").short(),
                &Digest::of(b"c").short(),
            ),
            (
                changed(|a| gather(a)[1].members = vec![member("", "z")]),
                "inputs.all[method=retrain]",
                &Digest::of(b"y").short(),
                &Digest::of(b"z").short(),
            ),
            (
                changed(|a| gather(a).reverse()),
                "inputs.all (order)",
                "[method=pru] [method=retrain]",
                "[method=retrain] [method=pru]",
            ),
            (changed(|a| _ = gather(a).pop()), "inputs.all[method=retrain]", &Digest::of(b"y").short(), "absent"),
        ]
        .into_iter()
        .map(|(action, field, before, after)| {
            (action, &*field.to_owned().leak(), &*before.to_owned().leak(), &*after.to_owned().leak())
        })
        .collect();
        let key = action().key().unwrap();
        for (other, field, before, after) in table {
            assert_ne!(other.key().unwrap(), key, "{field}");
            let difference = Difference { field: field.to_owned(), before: before.to_owned(), after: after.to_owned() };
            assert_eq!(action().diff(&other), [difference]);
        }
        assert_eq!(action().diff(&action()), []);
    }

    #[test]
    fn the_order_of_files_in_a_folder_does_not_enter_the_key() {
        let other = changed(|a| {
            let files = vec![member("class-1", "b"), member("class-0", "a")];
            a.inputs.insert("retain".into(), ActionInput::One(files));
        });
        assert_eq!(other.key().unwrap(), action().key().unwrap());
    }

    #[test]
    fn a_stored_action_comes_back_equal() {
        let value = action().to_value().unwrap();
        assert_eq!(Action::from_value(value).unwrap(), action());
    }

    #[test]
    fn a_stored_action_with_an_extra_or_missing_field_is_refused() {
        for field in ["stage", "version", "toolchain", "params", "sources", "inputs"] {
            let Value::Map(mut map) = action().to_value().unwrap() else { panic!("an action is a map") };
            map.remove(field);
            assert!(Action::from_value(Value::Map(map)).is_err(), "{field}");
        }
        let Value::Map(mut map) = action().to_value().unwrap() else { panic!("an action is a map") };
        map.insert("device".into(), Value::text("cuda"));
        let error = Action::from_value(Value::Map(map)).unwrap_err();
        assert_eq!(error.to_string(), "the field `device` is not known");
    }

    #[test]
    fn numbers_that_are_not_finite_and_names_that_escape_have_no_key() {
        let nan = changed(|a| a.params = Value::map([("lr", Value::Float(f64::NAN))]));
        assert_eq!(nan.key().unwrap_err().to_string(), "params: a number is not finite (NaN or infinity)");
        for files in [vec![member("../x", "a")], vec![member("a", "a"), member("a", "b")]] {
            let other = changed(|a| _ = a.inputs.insert("model".into(), ActionInput::One(files)));
            let error = other.key().unwrap_err().to_string();
            assert!(error.starts_with("inputs.model: the name"), "{error}");
        }
    }

    #[test]
    fn a_key_is_written_and_read_as_64_digits() {
        let key = action().key().unwrap();
        assert_eq!(key.to_string().parse::<ActionKey>().unwrap(), key);
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(json, format!("\"{key}\""));
        assert_eq!(serde_json::from_str::<ActionKey>(&json).unwrap(), key);
    }
}
