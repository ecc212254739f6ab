//! Files of params, for `--params FILE`: YAML, JSON or TOML by its ending -> a mapping with places. Knows nothing of which
//! params there are.

use std::io::ErrorKind;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::import::read_file;
use crate::problem::{Problem, Problems, SourceText, Span, TextId};
use crate::yaml::{self, Key, Node, Value};

/// Reads a file into `source`. `None` when it gives no params, which is told unless the file is empty.
#[must_use]
pub fn read(path: &Path, source: &mut SourceText, problems: &mut Problems) -> Option<Node> {
    let shown = path.display().to_string();
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    if !["yaml", "yml", "json", "toml"].contains(&ending.as_str()) {
        let problem = Problem::of_file(format!("`--params {shown}`: what kind of file it is its name does not tell"));
        problems.push(problem.help("name it `.yaml`, `.json` or `.toml`"));
        return None;
    }
    let read = read_file(path, shown.clone(), source, problems).unwrap_or_else(|error| {
        let reason = match error.kind() {
            ErrorKind::NotFound => "there is no such file".to_owned(),
            _ => error.to_string(),
        };
        let problem = Problem::of_file(format!("cannot read the params in `{shown}`: {reason}"));
        problems.push(problem.help("its path starts in the current folder"));
        None
    });
    let id = read?;
    let text = source.files.last().map_or("", |file| file.text.as_str());
    let root = if ending == "toml" { toml(text, id, problems)? } else { yaml::read(text, id, problems)? };
    match root.value {
        Value::Map(_) => Some(root),
        Value::Null | Value::Wrong => None,
        _ => {
            let problem = root.problem(format!("a mapping of params was expected, not {}", root.kind()));
            problems.push(problem.help("epochs: 10"));
            None
        }
    }
}

fn toml(text: &str, id: TextId, problems: &mut Problems) -> Option<Node> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let place = error.span().unwrap_or(0..0);
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        let problem = Problem::new(message, Span::new(id, place.start, place.end));
        problems.push(problem.help("a param is written as `epochs = 10`, and those in it below `[train]`"));
    }
    let span = Span::new(id, 0, 0);
    errors.is_empty().then(|| Node::new(of_table(table.get_ref(), id, problems), span))
}

fn of_table(table: &DeTable<'_>, id: TextId, problems: &mut Problems) -> Value {
    let entry = |(key, value): (&Spanned<std::borrow::Cow<'_, str>>, &Spanned<DeValue<'_>>)| {
        let at = key.span();
        let key = Key { text: key.get_ref().to_string(), span: Span::new(id, at.start, at.end) };
        (key, of_value(value, id, problems))
    };
    Value::Map(table.iter().map(entry).collect())
}

fn of_value(value: &Spanned<DeValue<'_>>, id: TextId, problems: &mut Problems) -> Node {
    let at = value.span();
    let span = Span::new(id, at.start, at.end);
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(time) => Value::Text(time.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Int(number),
            Err(_) => {
                let problem = Problem::new(format!("{} is too large", number.as_str()), span);
                problems.push(problem.help(format!("whole numbers reach from {} to {}", i64::MIN, i64::MAX)));
                Value::Wrong
            }
        },
        DeValue::Float(number) => match number.as_str().parse::<f64>() {
            Ok(number) if number.is_finite() => Value::Float(number),
            _ => {
                let problem = Problem::new(format!("{} is not a finite number", number.as_str()), span);
                problems.push(problem.help("write a finite number"));
                Value::Wrong
            }
        },
        DeValue::Array(items) => Value::List(items.iter().map(|item| of_value(item, id, problems)).collect()),
        DeValue::Table(table) => of_table(table, id, problems),
    };
    Node::new(value, span)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::SourceFile;

    fn read_toml(text: &str) -> Result<Node, Problems> {
        let mut problems = Problems::default();
        let node = toml(text, TextId::File(1), &mut problems);
        problems.into_result(node.unwrap_or(Node::new(Value::Wrong, Span::file(0, 0))))
    }

    #[test]
    fn toml_gives_the_values_that_yaml_gives_with_their_places() {
        let text = "a = 1\nb.c = 0x10\n[t]\nx = [1.5, true, 'y']\nwhen = 2026-01-02\n[[t.rows]]\nz = -3\n";
        let node = read_toml(text).unwrap();
        let expected = serde_json::json!({"a": 1, "b": {"c": 16}, "t": {"x": [1.5, true, "y"], "when": "2026-01-02", "rows": [{"z": -3}]}});
        assert_eq!(node.to_json(), expected);
        let at = node.nearest("t.x.0").span;
        assert_eq!((at.text, &text[at.start..at.end]), (TextId::File(1), "1.5"));
    }

    #[test]
    fn all_that_is_wrong_with_toml_is_told() {
        let told = read_toml("a = nan\nb = 99999999999999999999\nc = inf\n").unwrap_err();
        let said: Vec<&str> = told.iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(
            said,
            ["nan is not a finite number", "99999999999999999999 is too large", "inf is not a finite number"]
        );
        assert!(read_toml("a = \nb = ]\n").unwrap_err().iter().count() >= 2);
        assert!(read_toml("a = 1\na = 2\n").unwrap_err().iter().next().unwrap().message.contains("duplicate key"));
    }

    #[test]
    fn the_ending_tells_the_kind_of_file() {
        let mut source =
            SourceText { files: vec![SourceFile { name: "p".into(), text: String::new() }], arguments: vec![] };
        let mut problems = Problems::default();
        assert!(read(Path::new("params.txt"), &mut source, &mut problems).is_none());
        assert!(read(Path::new("no such folder/params.yaml"), &mut source, &mut problems).is_none());
        let said: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
        assert!(said[0].contains("what kind of file") && said[1].contains("there is no such file"), "{said:?}");
    }
}
