//! Values as DVC reads and prints them: YAML by its own rules where they differ from ours, JSON, TOML, and the text that
//! Python makes of a value.

use crate::problem::Span;
use crate::yaml::{Key, Node, Value};

/// `node`, which stands in `text`, with every scalar as DVC reads it: `007` is the number 7, and so is `0_7`.
pub(super) fn as_dvc_reads(node: Node, text: &str) -> Node {
    let written = text.get(node.span.start..node.span.end).unwrap_or("");
    let value = match node.value {
        Value::List(items) => Value::List(items.into_iter().map(|item| as_dvc_reads(item, text)).collect()),
        Value::Map(entries) => {
            Value::Map(entries.into_iter().map(|(key, node)| (key, as_dvc_reads(node, text))).collect())
        }
        Value::Float(_) | Value::Text(_) if is_decimal(written) => decimal(written),
        value => value,
    };
    Node { value, ..node }
}

/// Digits with `_` between them: what YAML 1.2 reads as a number with a point, or as text, and DVC as a whole one.
fn is_decimal(written: &str) -> bool {
    let digits = written.strip_prefix(['+', '-']).unwrap_or(written);
    digits.starts_with(|c: char| c.is_ascii_digit()) && digits.bytes().all(|b| b.is_ascii_digit() || b == b'_')
}

fn decimal(written: &str) -> Value {
    let plain: String = written.chars().filter(|c| *c != '_').collect();
    let digits = plain.trim_start_matches(['+', '-', '0']);
    let sign = if plain.starts_with('-') && !digits.is_empty() { "-" } else { "" };
    let text = format!("{sign}{}", if digits.is_empty() { "0" } else { digits });
    text.parse().map_or(Value::Text(text), Value::Int)
}

/// The text that DVC puts in for a single value; `None` for a list or a mapping.
pub(super) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some("None".to_owned()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Int(value) => Some(value.to_string()),
        Value::Float(value) => Some(python_float(*value)),
        Value::Text(text) => Some(text.clone()),
        Value::List(_) | Value::Map(_) | Value::Wrong | Value::Awaited => None,
    }
}

/// The value whose text is, for us, what [`text_of`] is for DVC: `1.0` is text here, for we print that number as `1`.
pub(super) fn expressed(value: &Value) -> Option<Value> {
    let text = text_of(value)?;
    let ours = Node::new(value.clone(), Span::file(0, 0)).scalar_text();
    Some(if ours.as_ref() == Some(&text) { value.clone() } else { Value::Text(text) })
}

/// A number as Python prints it.
fn python_float(value: f64) -> String {
    if !value.is_finite() {
        return value.to_string().to_lowercase();
    }
    // The shortest digits that are this number, as `d.ddde±x`.
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value == 0.0 || (-4..16).contains(&exponent) {
        let text = value.to_string();
        return if text.contains('.') { text } else { text + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// How a mapping is put into a command: as options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct OptionStyle {
    /// `parsing.bool`: whether `false` is `--no-name` rather than nothing.
    pub bool_optional: bool,
    /// `parsing.list`: whether the name stands before every item.
    pub list_append: bool,
}

/// A mapping as the options of a command.
///
/// # Errors
/// The name of a list that holds other lists or mappings.
pub(super) fn as_options(entries: &[(Key, Node)], style: OptionStyle) -> Result<String, String> {
    let mut words = Vec::new();
    add_options("", entries, style, &mut words)?;
    Ok(words.join(" "))
}

fn add_options(
    prefix: &str,
    entries: &[(Key, Node)],
    style: OptionStyle,
    words: &mut Vec<String>,
) -> Result<(), String> {
    for (key, node) in entries {
        let name = format!("{prefix}{}", key.text);
        match &node.value {
            Value::Map(inner) => add_options(&format!("{name}."), inner, style, words)?,
            Value::Bool(true) => words.push(format!("--{name}")),
            Value::Bool(false) if style.bool_optional => words.push(format!("--no-{name}")),
            Value::Bool(false) => {}
            Value::Text(text) => words.push(format!("--{name} {}", python_quote(text))),
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    let text = match &item.value {
                        Value::Text(text) => python_quote(text),
                        Value::Bool(value) => if *value { "True" } else { "False" }.to_owned(),
                        value => text_of(value).ok_or_else(|| name.clone())?,
                    };
                    words.push(if index == 0 || style.list_append { format!("--{name} {text}") } else { text });
                }
            }
            value => words.push(format!("--{name} {}", text_of(value).unwrap_or_default())),
        }
    }
    Ok(())
}

/// One word of the shell, as Python quotes it.
fn python_quote(text: &str) -> String {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&b));
    if plain { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\"'\"'")) }
}

/// A JSON value, all of it at one place.
pub(super) fn from_json(json: serde_json::Value, at: Span) -> Node {
    use serde_json::Value as Json;
    let key = |text: String| Key { text, span: at };
    let value = match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(value),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::Int(whole),
            (None, Some(float)) if !number.is_u64() => Value::Float(float),
            _ => Value::Text(number.to_string()),
        },
        Json::String(text) => Value::Text(text),
        Json::Array(items) => Value::List(items.into_iter().map(|item| from_json(item, at)).collect()),
        Json::Object(map) => Value::Map(map.into_iter().map(|(name, json)| (key(name), from_json(json, at))).collect()),
    };
    Node::new(value, at)
}

/// A TOML value, all of it at one place.
pub(super) fn from_toml(toml: toml::Value, at: Span) -> Node {
    let key = |text: String| Key { text, span: at };
    let value = match toml {
        toml::Value::String(text) => Value::Text(text),
        toml::Value::Integer(whole) => Value::Int(whole),
        toml::Value::Float(float) => Value::Float(float),
        toml::Value::Boolean(value) => Value::Bool(value),
        toml::Value::Datetime(when) => Value::Text(when.to_string()),
        toml::Value::Array(items) => Value::List(items.into_iter().map(|item| from_toml(item, at)).collect()),
        toml::Value::Table(map) => {
            Value::Map(map.into_iter().map(|(name, toml)| (key(name), from_toml(toml, at))).collect())
        }
    };
    Node::new(value, at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::parse;

    fn read(text: &str) -> Value {
        as_dvc_reads(parse(text).unwrap(), text).value
    }

    #[test]
    fn numbers_are_printed_as_python_prints_them() {
        for (number, text) in [
            (1.0, "1.0"),
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (0.1, "0.1"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.25e300, "1.25e+300"),
            (123_456.789, "123456.789"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(python_float(number), text);
        }
    }

    #[test]
    fn digits_are_whole_numbers_whatever_stands_between_or_before_them() {
        for (written, value) in [
            ("010", Value::Int(10)),
            ("0_1", Value::Int(1)),
            ("1_000", Value::Int(1000)),
            ("-007", Value::Int(-7)),
            ("000", Value::Int(0)),
            ("'010'", Value::Text("010".into())),
            ("123456789012345678901234", Value::Text("123456789012345678901234".into())),
            ("1.5", Value::Float(1.5)),
            ("0o17", Value::Int(15)),
            ("yes", Value::Text("yes".into())),
            ("True", Value::Bool(true)),
        ] {
            assert_eq!(read(written), value, "{written}");
        }
        let Value::Map(entries) = read("a: [01, {b: 02}]") else { panic!("a mapping") };
        assert_eq!(entries[0].1.nearest("1.b").value, Value::Int(2));
    }

    #[test]
    fn a_value_is_expressed_so_that_our_text_of_it_is_dvc_s() {
        for (value, ours) in [
            (Value::Float(1.0), Value::Text("1.0".into())),
            (Value::Float(1e-5), Value::Text("1e-05".into())),
            (Value::Float(0.1), Value::Float(0.1)),
            (Value::Null, Value::Text("None".into())),
            (Value::Bool(true), Value::Bool(true)),
            (Value::Int(3), Value::Int(3)),
        ] {
            assert_eq!(expressed(&value), Some(ours));
        }
        assert_eq!(expressed(&Value::List(Vec::new())), None);
    }

    #[test]
    fn a_mapping_becomes_options() {
        let text = "{lr: 0.1, name: a b, deep: {x: 1, y: [1, c d, true]}, on: true, off: false, none: ~, empty: {}}";
        let Value::Map(entries) = read(text) else { panic!("a mapping") };
        let options = as_options(&entries, OptionStyle::default()).unwrap();
        assert_eq!(options, "--lr 0.1 --name 'a b' --deep.x 1 --deep.y 1 'c d' True --on --none None");
        let style = OptionStyle { bool_optional: true, list_append: true };
        let options = as_options(&entries, style).unwrap();
        let expected =
            "--lr 0.1 --name 'a b' --deep.x 1 --deep.y 1 --deep.y 'c d' --deep.y True --on --no-off --none None";
        assert_eq!(options, expected);
        let Value::Map(entries) = read("{a: {b: [[1]]}}") else { panic!("a mapping") };
        assert_eq!(as_options(&entries, style), Err("a.b".to_owned()));
    }
}
