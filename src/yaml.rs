//! YAML text -> a tree of values, each with its place in the text. The only file that knows the YAML crate.
//!
//! Strict YAML 1.2: no implicit booleans (`no` is text), no `.nan`, no duplicate keys, ceilings on size, depth and
//! aliases. Everything wrong that can be told at once is told at once.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_yaml::{Location, Options, Spanned};

use crate::problem::{Problem, Problems, Span};

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Its place in the pipeline's text or in a `--set` argument.
    pub span: Span,
    /// Whether the value, or the beginning of this text, was given on the command line: then a relative path
    /// is relative to the current folder rather than to the project's root.
    pub from_command_line: bool,
}

/// What YAML can say.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a point or an exponent; always finite.
    Float(f64),
    /// Text.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order of the file, keys unique.
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// The key's text.
    pub text: String,
    /// Its place.
    pub span: Span,
}

impl Node {
    /// What kind of value this is, for messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Int(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// The value under `key` of a mapping.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(k, _)| k.text == key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// The value at a dotted path such as `optimizer.lr` or `mean.0`, or the deepest one on the way to it.
    #[must_use]
    pub fn nearest(&self, path: &str) -> &Self {
        let mut node = self;
        for part in path.split(['.', '[', ']']).filter(|part| !part.is_empty()) {
            let next = match &node.value {
                Value::Map(_) => node.get(part),
                Value::List(items) => part.parse::<usize>().ok().and_then(|i| items.get(i)),
                _ => None,
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node
    }

    /// The text that a scalar has in names and templates; `None` for null, lists and mappings.
    #[must_use]
    pub fn scalar_text(&self) -> Option<String> {
        match &self.value {
            Value::Bool(b) => Some(b.to_string()),
            Value::Int(i) => Some(i.to_string()),
            Value::Float(f) => Some(f.to_string()),
            Value::Text(t) => Some(t.clone()),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The same value without its places.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(b) => Json::Bool(*b),
            Value::Int(i) => Json::from(*i),
            Value::Float(f) => Json::from(*f),
            Value::Text(t) => Json::String(t.clone()),
            Value::List(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Value::Map(entries) => Json::Object(entries.iter().map(|(k, v)| (k.text.clone(), v.to_json())).collect()),
        }
    }
}

/// Parses one YAML document.
///
/// # Errors
/// Syntax, more than one document, keys that are not text, duplicate keys, numbers that are not finite, or a
/// document beyond the ceilings.
pub fn parse(text: &str) -> Result<Node, Problems> {
    let mut problems = Problems::default();
    let node = match serde_yaml::from_str_with_options::<Raw>(text, options()) {
        Ok(raw) => convert(raw.0, text, &mut problems),
        Err(error) => return Err(Problems::one(syntax_problem(&error, text))),
    };
    problems.into_result(node)
}

fn options() -> Options {
    serde_yaml::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
        budget: serde_yaml::budget! {
            // About 100,000 written-out stages; the crate's default ends near 25,000.
            max_nodes: 2_000_000,
            max_events: 5_000_000,
            max_total_scalar_bytes: 64 << 20,
            max_depth: 64,
        },
        alias_limits: serde_yaml::alias_limits! {
            max_total_replayed_events: 200_000,
        },
    }
}

fn syntax_problem(error: &serde_yaml::Error, text: &str) -> Problem {
    let mut message = error.without_snippet().to_string();
    // The crate's own "at line 3, column 5" would stand beside ours.
    if let Some(at) = message.find(" at line ") {
        message.truncate(at);
    }
    let span = error.location().map_or(Span::file(0, 0), |location| place(location, text));
    Problem::new(message, span)
}

fn place(location: Location, text: &str) -> Span {
    let span = location.span();
    let start = span.byte_offset().unwrap_or(0).min(text.len() as u64) as usize;
    let end = start + span.byte_len().unwrap_or(0) as usize;
    let end = end.min(text.len());
    // A mapping's span can reach over many lines: its first line says enough.
    let line_end = text[start..end].find('\n').map_or(end, |at| start + at);
    Span::file(start, line_end)
}

struct Raw(Spanned<RawValue>);

enum RawValue {
    Scalar(Value),
    NotFinite(f64),
    TooLarge(String),
    List(Vec<Raw>),
    Map(Vec<(Raw, Raw)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = RawValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<RawValue, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<RawValue, E> {
        Ok(RawValue::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<RawValue, E> {
        Ok(RawValue::Scalar(Value::Int(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<RawValue, E> {
        Ok(i64::try_from(value)
            .map_or_else(|_| RawValue::TooLarge(value.to_string()), |v| RawValue::Scalar(Value::Int(v))))
    }

    fn visit_i128<E>(self, value: i128) -> Result<RawValue, E> {
        Ok(RawValue::TooLarge(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<RawValue, E> {
        Ok(RawValue::TooLarge(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<RawValue, E> {
        Ok(if value.is_finite() { RawValue::Scalar(Value::Float(value)) } else { RawValue::NotFinite(value) })
    }

    fn visit_str<E>(self, value: &str) -> Result<RawValue, E> {
        Ok(RawValue::Scalar(Value::Text(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<RawValue, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(RawValue::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<RawValue, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(RawValue::Map(map))
    }
}

fn convert(raw: Spanned<RawValue>, text: &str, problems: &mut Problems) -> Node {
    let span = place(raw.referenced, text);
    let value = match raw.value {
        RawValue::Scalar(value) => value,
        RawValue::NotFinite(number) => {
            problems.push(Problem::new(format!("{number} is not a finite number"), span));
            Value::Null
        }
        RawValue::TooLarge(number) => {
            let help = format!("whole numbers reach from {} to {}; quote it to keep it as text", i64::MIN, i64::MAX);
            problems.push(Problem::new(format!("{number} is too large"), span).help(help));
            Value::Null
        }
        RawValue::List(items) => Value::List(items.into_iter().map(|item| convert(item.0, text, problems)).collect()),
        RawValue::Map(entries) => convert_map(entries, text, problems),
    };
    Node { value, span, from_command_line: false }
}

fn convert_map(entries: Vec<(Raw, Raw)>, text: &str, problems: &mut Problems) -> Value {
    let mut map: Vec<(Key, Node)> = Vec::with_capacity(entries.len());
    let mut seen = std::collections::HashMap::new();
    for (key, value) in entries {
        let key = convert(key.0, text, problems);
        let value = convert(value.0, text, problems);
        let Some(name) = key.scalar_text() else {
            problems.push(Problem::new(format!("a key must be text, not {}", key.kind()), key.span));
            continue;
        };
        if let Some(first) = seen.insert(name.clone(), key.span) {
            problems.push(
                Problem::new(format!("duplicate key `{name}`"), key.span)
                    .label("second")
                    .also(first, "first")
                    .help("remove one of them, or give it another name"),
            );
            continue;
        }
        map.push((Key { text: name, span: key.span }, value));
    }
    Value::Map(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str) -> Vec<String> {
        parse(text).unwrap_err().iter().map(|p| p.message.clone()).collect()
    }

    #[test]
    fn values_keep_their_types_and_places() {
        let text = "a: 1\nb: [1e-4, no, \"3\"]\nc:\n  d: ~\n";
        let node = parse(text).unwrap();
        assert_eq!(node.get("a").unwrap().value, Value::Int(1));
        let Value::List(items) = &node.get("b").unwrap().value else { panic!("a list") };
        assert_eq!(items[0].value, Value::Float(1e-4));
        assert_eq!(items[1].value, Value::Text("no".into()));
        assert_eq!(items[2].value, Value::Text("3".into()));
        assert_eq!(&text[items[0].span.start..items[0].span.end], "1e-4");
        assert_eq!(node.nearest("c.d").value, Value::Null);
    }

    #[test]
    fn all_duplicate_keys_and_bad_numbers_are_told_at_once() {
        let found = messages("a: 1\nb: .nan\na: 2\nc: {x: 1, x: 2}\nd: 18446744073709551615\n");
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found.iter().any(|m| m.contains("duplicate key `a`")));
        assert!(found.iter().any(|m| m.contains("duplicate key `x`")));
        assert!(found.iter().any(|m| m.contains("not a finite number")));
        assert!(found.iter().any(|m| m.contains("too large")));
    }

    #[test]
    fn bombs_end_quickly_with_a_message() {
        let mut alias = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..12 {
            let refs = vec![format!("*a{}", i - 1); 10].join(", ");
            alias.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
        }
        let quadratic = format!("a: &a [{}]\nb: [{}]\n", "x, ".repeat(20_000), "*a, ".repeat(20_000));
        let depth = "[".repeat(200_000);
        for bomb in [alias, quadratic, depth] {
            let start = std::time::Instant::now();
            assert_eq!(messages(&bomb).len(), 1);
            assert!(start.elapsed().as_secs() < 5, "took {:?}", start.elapsed());
        }
    }
}
