//! [`Draft`] -> the text of a pipeline. Knows how YAML is written, so that it is read as it was meant.

use super::draft::{AxisValues, Draft, DraftStage};
use crate::problem::Span;
use crate::yaml::{self, Key, Node, Value};

/// Lines are this long where they can be.
const WIDTH: usize = 100;

/// The text of a pipeline; `comments` stand before it.
pub(super) fn pipeline(draft: &Draft, comments: &[String]) -> String {
    let mut out = String::new();
    write_comments(&mut out, comments, "");
    write_entries(&mut out, &[entry("version", Value::Int(1)), entry("name", text(&draft.name))], 0);
    if matches!(&draft.params.value, Value::Map(entries) if !entries.is_empty()) {
        write_entries(&mut out, &[entry("params", draft.params.value.clone())], 0);
    }
    out.push_str("stages:\n");
    for stage in &draft.stages {
        let lines = stage.description.iter().flat_map(|text| text.lines());
        let description: Vec<String> = lines.flat_map(|line| folded(line, WIDTH - 4)).collect();
        write_comments(&mut out, &description, "  ");
        out.push_str(&format!("  {}:\n", scalar(&stage.name, Style::Key)));
        write_entries(&mut out, &fields(stage), 2);
    }
    out
}

fn write_comments(out: &mut String, comments: &[String], indent: &str) {
    for comment in comments {
        let comment: String = comment.chars().filter(|c| !c.is_control()).collect();
        out.push_str(format!("{indent}# {comment}").trim_end());
        out.push('\n');
    }
}

fn fields(stage: &DraftStage) -> Vec<(Key, Node)> {
    let mut fields = Vec::new();
    if !stage.matrix.is_empty() {
        let axes = stage.matrix.iter().map(|(name, values)| entry(name, axis(values)));
        fields.push(entry("matrix", Value::Map(axes.collect())));
    }
    fields
        .push(entry("command", if stage.bash { texts(["bash", "-c", &stage.command]) } else { text(&stage.command) }));
    fields.extend(stage.cwd.iter().map(|cwd| entry("cwd", text(cwd))));
    let mut add = |name: &str, entries: Vec<(Key, Node)>| {
        if !entries.is_empty() {
            fields.push(entry(name, Value::Map(entries)));
        }
    };
    let references = |references: &[String]| match references {
        [one] => text(one),
        several => texts(several.iter().map(String::as_str)),
    };
    add("inputs", stage.inputs.iter().map(|(name, all)| entry(name, references(all))).collect());
    let path = |path: &Option<String>| path.as_deref().map_or(Value::Null, text);
    add("outputs", stage.outputs.iter().map(|(name, to)| entry(name, path(to))).collect());
    let values = |values: &[String]| texts(values.iter().map(String::as_str));
    add("reads", stage.reads.iter().map(|(file, all)| entry(file, values(all))).collect());
    if stage.always {
        fields.push(entry("always", Value::Bool(true)));
    }
    fields
}

fn axis(values: &AxisValues) -> Value {
    match values {
        AxisValues::Reference(reference) => text(reference),
        AxisValues::List(values) => Value::List(values.iter().cloned().map(node).collect()),
        AxisValues::Map(values) => {
            Value::Map(values.iter().map(|(name, node)| entry(name, node.value.clone())).collect())
        }
    }
}

fn node(value: Value) -> Node {
    Node::new(value, Span::file(0, 0))
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn texts<'a>(items: impl IntoIterator<Item = &'a str>) -> Value {
    Value::List(items.into_iter().map(|item| node(text(item))).collect())
}

fn entry(name: &str, value: Value) -> (Key, Node) {
    (Key { text: name.to_owned(), span: Span::file(0, 0) }, node(value))
}

/// Writes the entries of a mapping, each on lines of its own, `depth` times two columns from the left.
fn write_entries(out: &mut String, entries: &[(Key, Node)], depth: usize) {
    for (key, node) in entries {
        let key = scalar(&key.text, Style::Key);
        out.push_str(&format!("{}{key}:", "  ".repeat(depth)));
        write_value(out, &node.value, depth, key.len());
    }
}

/// Writes what stands behind a `:` or `-`, to the end of its lines.
fn write_value(out: &mut String, value: &Value, depth: usize, used: usize) {
    let left = WIDTH.saturating_sub(2 * depth + used);
    match value {
        Value::Map(entries) if !entries.is_empty() => {
            let flow = flow(value).filter(|flow| flow.len() <= left.min(60) && depth > 2);
            if let Some(flow) = flow {
                out.push_str(&format!(" {flow}\n"));
            } else {
                out.push('\n');
                write_entries(out, entries, depth + 1);
            }
        }
        Value::List(items) => match flow(value).filter(|flow| flow.len() <= left) {
            Some(flow) => out.push_str(&format!(" {flow}\n")),
            None => {
                out.push('\n');
                for item in items {
                    out.push_str(&format!("{}-", "  ".repeat(depth + 1)));
                    write_value(out, &item.value, depth + 1, 2);
                }
            }
        },
        Value::Text(text) => match block(text, depth, left) {
            Some(block) => out.push_str(&block),
            None => out.push_str(&format!(" {}\n", scalar(text, Style::Block))),
        },
        Value::Null => out.push('\n'),
        value => out.push_str(&format!(" {}\n", flow(value).unwrap_or_default())),
    }
}

/// A value on one line; `None` for texts of several.
fn flow(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null | Value::Wrong | Value::Awaited => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        // As it is printed a whole one would be read as no number with a point.
        Value::Float(value) => format!("{value:?}"),
        Value::Text(text) if text.contains('\n') => return None,
        Value::Text(text) => scalar(text, Style::Flow),
        Value::List(items) => {
            let items: Option<Vec<String>> = items.iter().map(|item| flow(&item.value)).collect();
            format!("[{}]", items?.join(", "))
        }
        Value::Map(entries) => {
            let one = |(key, node): &(Key, Node)| {
                Some(format!("{}: {}", scalar(&key.text, Style::FlowKey), flow(&node.value)?))
            };
            let entries: Option<Vec<String>> = entries.iter().map(one).collect();
            format!("{{{}}}", entries?.join(", "))
        }
    })
}

/// Where a text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Block,
    Flow,
    Key,
    FlowKey,
}

/// A text on one line: plain where it is read as that text, else in quotes.
fn scalar(text: &str, style: Style) -> String {
    if is_plain(text, style) { text.to_owned() } else { quoted(text) }
}

/// Whether `text` without quotes is read as itself, whoever reads it.
fn is_plain(text: &str, style: Style) -> bool {
    // Truth values and nothing for readers of YAML 1.1.
    const OLD: [&str; 8] = ["y", "n", "yes", "no", "on", "off", "null", "~"];
    let first = text.starts_with(|c: char| c.is_alphanumeric() || "_./$-".contains(c));
    if !first || text.contains(['\n', '\t']) || OLD.contains(&text.to_lowercase().as_str()) {
        return false;
    }
    let flow = matches!(style, Style::Flow | Style::FlowKey);
    if flow && text.contains(['[', ']', '{', '}', ',']) || text.chars().any(|c| c.is_control() || c == '\u{feff}') {
        return false;
    }
    let is_text = |whole: &str, way: &str| {
        yaml::parse(whole).is_ok_and(|node| node.nearest(way).value == Value::Text(text.to_owned()))
    };
    let is_key = |whole: &str| {
        let node = yaml::parse(whole).map(|node| node.value);
        matches!(node, Ok(Value::Map(entries)) if matches!(entries.as_slice(), [(key, node)] if key.text == text
            && node.value == Value::Int(1)))
    };
    match style {
        Style::Block => is_text(&format!("a: {text}"), "a"),
        Style::Flow => is_text(&format!("[{text}]"), "0"),
        Style::Key => is_key(&format!("{text}: 1")) && is_text(&format!("a: {text}"), "a"),
        Style::FlowKey => is_key(&format!("{{{text}: 1}}")) && is_text(&format!("[{text}]"), "0"),
    }
}

fn quoted(text: &str) -> String {
    let mut out = serde_json::Value::from(text).to_string();
    // What JSON leaves as it is and YAML does not.
    for c in
        text.chars().filter(|c| c.is_control() && *c >= '\u{7f}' || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}'))
    {
        out = out.replace(c, &format!("\\u{:04x}", u32::from(c)));
    }
    out
}

/// A text of several lines, or of one that is too long, as a block behind `|` or `>`; `None` where no block holds it.
fn block(text: &str, depth: usize, left: usize) -> Option<String> {
    let several = text.trim_end_matches('\n').contains('\n');
    if !several && (text.len() <= left || text.contains(['\n', '\t']) || text.contains("  ") || text.trim() != text) {
        return None;
    }
    let indent = "  ".repeat(depth + 1);
    let chomp = if text.ends_with('\n') { "" } else { "-" };
    let lines: Vec<String> =
        if several { text.trim_end_matches('\n').split('\n').map(str::to_owned).collect() } else { folded(text, left) };
    let mark = if several { '|' } else { '>' };
    let mut out = format!(" {mark}{chomp}\n");
    for line in lines {
        out.push_str(format!("{indent}{line}").trim_end_matches(if line.is_empty() { ' ' } else { '\n' }));
        out.push('\n');
    }
    // Spaces at odd places and characters that YAML does not print are for quotes.
    let is_read = yaml::parse(&format!("{}a:{out}", "  ".repeat(depth)))
        .is_ok_and(|node| node.get("a").is_some_and(|node| node.value == Value::Text(text.to_owned())));
    is_read.then_some(out)
}

/// A line cut between words.
fn folded(text: &str, left: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= left => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(value: Value) -> String {
        let mut out = String::new();
        write_entries(&mut out, &[entry("a", value)], 0);
        out
    }

    #[test]
    fn texts_are_plain_where_they_may_be() {
        for (value, yaml) in [
            ("train.py", "a: train.py\n"),
            ("${params.x}", "a: ${params.x}\n"),
            ("1.0", "a: \"1.0\"\n"),
            ("true", "a: \"true\"\n"),
            ("no", "a: \"no\"\n"),
            ("", "a: \"\"\n"),
            ("a: b", "a: \"a: b\"\n"),
            ("a #b", "a: \"a #b\"\n"),
            ("a\nb", "a: |-\n  a\n  b\n"),
            ("a\n\nb\n", "a: |\n  a\n\n  b\n"),
            (" a\nb", "a: \" a\\nb\"\n"),
        ] {
            assert_eq!(written(text(value)), yaml);
        }
        let list = Value::List(vec![node(text("a[x=1].b")), node(Value::Int(1)), node(Value::Float(2.0))]);
        assert_eq!(written(list), "a: [\"a[x=1].b\", 1, 2.0]\n");
    }

    #[test]
    fn long_lines_are_folded_between_words() {
        let long = "python train.py --epochs 10 ".repeat(8);
        let out = written(text(long.trim_end()));
        assert!(out.starts_with("a: >-\n  python") && out.lines().all(|line| line.len() <= WIDTH + 2), "{out}");
        assert_eq!(yaml::parse(&out).unwrap().get("a").unwrap().value, text(long.trim_end()));
        // Two spaces are not one line break.
        let out = written(text(&long.replace("train.py ", "train.py  ")));
        assert!(out.starts_with("a: \""), "{out}");
    }

    fn value() -> impl Strategy<Value = Value> {
        let odd = prop::sample::select(vec![
            "a", " ", "\n", ":", "#", "-", "[", "]", "{", "}", ",", "'", "\"", "\\", "$", "1", ".", "é", "\t", "&",
            "*", "!", "|", ">", "%", "@", "`", "?", "~", "\u{85}", "\u{feff}", "\u{1}", "yes", "\r",
        ]);
        let texts = prop::collection::vec(odd, 0..8).prop_map(|parts| parts.concat());
        let leaf = prop_oneof![
            texts.clone().prop_map(Value::Text),
            any::<i64>().prop_map(Value::Int),
            any::<bool>().prop_map(Value::Bool),
            (-1e20..1e20f64).prop_map(Value::Float),
            Just(Value::Null),
        ];
        leaf.prop_recursive(3, 24, 4, move |inner| {
            let keys = texts.clone();
            prop_oneof![
                prop::collection::vec(inner.clone().prop_map(node), 0..4).prop_map(Value::List),
                prop::collection::btree_map(keys, inner, 0..4)
                    .prop_map(|map| Value::Map(map.iter().map(|(key, value)| entry(key, value.clone())).collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_as_it_was(value in value()) {
            let out = written(value.clone());
            let read = yaml::parse(&out).unwrap_or_else(|problems| panic!("{problems:?}\n{out}"));
            prop_assert_eq!(read.get("a").unwrap().to_json(), node(value).to_json(), "{}", out);
        }
    }
}
