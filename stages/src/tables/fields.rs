//! Numbers anywhere in a JSON artifact, by their path: `linear.forget`, `blocks.*.cka`, `epochs[epoch=10].forget`.
//!
//! Knows nothing of what the numbers mean and of tables.

use std::collections::BTreeMap;

use serde_json::Value;

use super::raw;

/// What names an element of a list that `*` went through, in this order; else its place does.
const NAMES: [&str; 2] = ["name", "epoch"];

/// A path to one number of a file, or to many.
///
/// Steps stand between dots: the name in an object, or a place from 0 in a list. In brackets stands a name with dots,
/// `[conv1.0.weight]`, or a condition, `[epoch=10]`: of a list the elements, and of an object itself, where its field has
/// that value. `*` goes through everything in an object or list.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Path {
    text: String,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Name(String),
    Where(String, String),
    All,
}

/// A number that a path leads to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    /// What `*` went through, joined by dots; empty without.
    pub name: String,
    /// None of a `null`.
    pub value: Option<f64>,
}

/// What some paths lead to in one file.
pub(super) struct Fields {
    forget_class: Option<u32>,
    found: BTreeMap<String, Vec<Found>>,
    /// Of paths that lead nowhere: where they end.
    lost: BTreeMap<String, String>,
}

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// When a step is empty or a bracket has no end.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("`{text}`: {why}"));
        let (mut steps, mut rest) = (Vec::new(), text);
        loop {
            if let Some(inside) = rest.strip_prefix('[') {
                let Some((inside, after)) = inside.split_once(']') else { return wrong("a bracket has no end") };
                steps.push(match inside.split_once('=') {
                    Some((field, value)) => Step::Where(field.to_owned(), value.to_owned()),
                    None => Step::Name(inside.to_owned()),
                });
                rest = after;
            } else {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                let name = &rest[..end];
                steps.push(if name == "*" { Step::All } else { Step::Name(name.to_owned()) });
                rest = &rest[end..];
            }
            if matches!(steps.last(), Some(Step::Name(name) | Step::Where(name, _)) if name.is_empty()) {
                return wrong("a step is empty");
            }
            match rest.strip_prefix('.') {
                Some(after) => rest = after,
                None if rest.is_empty() => return Ok(Self { text: text.to_owned(), steps }),
                None if rest.starts_with('[') => {}
                None => return wrong("a dot is expected after a bracket"),
            }
        }
    }

    /// As it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it leads to as many numbers as there are.
    pub(super) fn has_names(&self) -> bool {
        self.steps.contains(&Step::All)
    }

    /// The numbers that it leads to; none, with where it ends, when a step is not there.
    ///
    /// # Errors
    /// When it leads to something that is no number.
    fn follow(&self, json: &Value) -> Result<(Vec<Found>, Option<String>), String> {
        let mut here: Vec<(Vec<String>, &Value)> = vec![(Vec::new(), json)];
        let (mut so_far, mut lost) = (String::new(), None);
        for step in &self.steps {
            let next: Vec<(Vec<String>, &Value)> = here.iter().flat_map(|(names, at)| taken(step, names, at)).collect();
            if let Some((_, at)) = here.first().filter(|_| next.is_empty() && lost.is_none()) {
                let place = if so_far.is_empty() { "the file".to_owned() } else { format!("`{so_far}`") };
                lost = Some(format!("{place} is {}", content(at)));
            }
            so_far = match step {
                Step::Name(name) if so_far.is_empty() => name.clone(),
                Step::Name(name) => format!("{so_far}.{name}"),
                Step::All => format!("{so_far}.*"),
                Step::Where(field, value) => format!("{so_far}[{field}={value}]"),
            };
            here = next;
        }
        let found = here.into_iter().map(|(names, at)| Ok(Found { name: names.join("."), value: self.number(at)? }));
        Ok((found.collect::<Result<_, String>>()?, lost))
    }

    /// A truth is 1 or 0: the mean of many is a share.
    fn number(&self, at: &Value) -> Result<Option<f64>, String> {
        match at {
            Value::Null => Ok(None),
            Value::Bool(truth) => Ok(Some(f64::from(u8::from(*truth)))),
            Value::Number(number) => Ok(number.as_f64()),
            _ => Err(format!("`{}` is {}; a number was expected", self.text, content(at))),
        }
    }
}

fn taken<'a>(step: &Step, names: &[String], at: &'a Value) -> Vec<(Vec<String>, &'a Value)> {
    let named = |name: String| [names, &[name]].concat();
    match (step, at) {
        (Step::Name(name), Value::Object(map)) => {
            map.get(name).map(|value| (names.to_vec(), value)).into_iter().collect()
        }
        (Step::Name(place), Value::Array(list)) => {
            let found = place.parse::<usize>().ok().and_then(|place| list.get(place));
            found.map(|value| (names.to_vec(), value)).into_iter().collect()
        }
        (Step::All, Value::Object(map)) => map.iter().map(|(name, value)| (named(name.clone()), value)).collect(),
        (Step::All, Value::Array(list)) => {
            let own = |value: &Value| NAMES.into_iter().find_map(|name| printed(value.get(name)?));
            let name = |place: usize, value: &Value| own(value).unwrap_or_else(|| place.to_string());
            list.iter().enumerate().map(|(place, value)| (named(name(place, value)), value)).collect()
        }
        (Step::Where(field, expected), Value::Array(list)) => {
            let fitting = list.iter().filter(|value| has(value, field, expected));
            fitting.map(|value| (names.to_vec(), value)).collect()
        }
        (Step::Where(field, expected), Value::Object(_)) if has(at, field, expected) => vec![(names.to_vec(), at)],
        _ => Vec::new(),
    }
}

/// The scalar as params write it.
fn printed(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn has(value: &Value, field: &str, expected: &str) -> bool {
    let Some(found) = value.get(field) else { return false };
    let same_number = || Some(found.as_f64()?.total_cmp(&expected.parse().ok()?).is_eq());
    printed(found).is_some_and(|found| found == expected) || same_number().unwrap_or(false)
}

/// What there is, for a message: at most a few names of it.
fn content(at: &Value) -> String {
    const SHOWN: usize = 8;
    match at {
        Value::Object(map) => {
            let names: Vec<&str> = map.keys().take(SHOWN).map(String::as_str).collect();
            format!("an object with {}{}", names.join(", "), if map.len() > SHOWN { ", ..." } else { "" })
        }
        Value::Array(list) => format!("a list of {}", list.len()),
        Value::String(_) => "a text".to_owned(),
        _ => "no object or list".to_owned(),
    }
}

impl Fields {
    /// Reads what `paths` lead to.
    ///
    /// # Errors
    /// When the file is no JSON, or a path leads to something that is no number.
    pub(super) fn read(bytes: &[u8], paths: &[Path]) -> Result<Self, String> {
        let json: Value = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        let forget_class = json.get("forget_class").and_then(Value::as_u64).and_then(|class| u32::try_from(class).ok());
        let (mut found, mut lost) = (BTreeMap::new(), BTreeMap::new());
        for path in paths {
            let (numbers, end) = path.follow(&json)?;
            found.insert(path.text.clone(), numbers);
            lost.extend(end.map(|end| (path.text.clone(), end)));
        }
        Ok(Self { forget_class, found, lost })
    }

    /// All that a path that was read leads to.
    pub(super) fn at(&self, path: &Path) -> &[Found] {
        self.found.get(&path.text).map_or(&[], Vec::as_slice)
    }

    /// Where the path ends that leads nowhere.
    pub(super) fn lost(&self, path: &Path) -> Option<&str> {
        self.lost.get(&path.text).map(String::as_str)
    }
}

impl raw::Values for Fields {
    fn values(&self) -> Vec<raw::Entry> {
        let of = |(path, found): (&String, &Vec<Found>)| {
            let one = |found: &Found| raw::Entry {
                forget_class: self.forget_class,
                epoch: None,
                metric: if found.name.is_empty() { path.clone() } else { path.replacen('*', &found.name, 1) },
                value: found.value,
            };
            found.iter().map(one).collect::<Vec<_>>()
        };
        self.found.iter().flat_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(path: &str, json: &Value) -> Vec<(String, Option<f64>)> {
        let (found, _) = Path::parse(path).unwrap().follow(json).unwrap();
        found.into_iter().map(|found| (found.name, found.value)).collect()
    }

    fn one(value: f64) -> Vec<(String, Option<f64>)> {
        vec![(String::new(), Some(value))]
    }

    #[test]
    fn a_path_leads_through_objects_lists_and_names_with_dots() {
        let json = json!({"linear": {"forget": 0.5}, "fitted_on": [10, 30], "blocks": {"conv1.0": {"cka": 0.25}}});
        assert_eq!(found("linear.forget", &json), one(0.5));
        assert_eq!(found("fitted_on.1", &json), one(30.0));
        assert_eq!(found("blocks[conv1.0].cka", &json), one(0.25));
        assert_eq!(found("blocks.*.cka", &json), [("conv1.0".to_owned(), Some(0.25))]);
        assert_eq!((found("linear.retain", &json), found("fitted_on.2", &json)), (vec![], vec![]));
    }

    #[test]
    fn a_condition_chooses_elements_and_a_star_names_them() {
        let tensors = json!({"tensors": [
            {"name": "conv1.0.weight", "kind": "extractor", "relative": 0.5, "unchanged": false},
            {"name": "classifier.0.weight", "kind": "classifier", "relative": null, "unchanged": true}]});
        assert_eq!(found("tensors[name=classifier.0.weight].unchanged", &tensors), one(1.0));
        assert_eq!(found("tensors.*[kind=extractor].relative", &tensors), [("conv1.0.weight".to_owned(), Some(0.5))]);
        assert_eq!(found("tensors.*.relative", &tensors)[1], ("classifier.0.weight".to_owned(), None));
        let curve = json!({"epochs": [{"epoch": 0, "forget": 0.1}, {"epoch": 10, "forget": 0.2}]});
        assert_eq!(found("epochs[epoch=10].forget", &curve), one(0.2));
        assert_eq!(found("epochs[epoch=10.0].forget", &curve), one(0.2));
        assert_eq!(found("epochs[epoch=1].forget", &curve), []);
        assert_eq!(found("epochs.*.forget", &curve)[1].0, "10");
    }

    #[test]
    fn a_path_that_leads_nowhere_says_where_it_ends_and_what_is_there() {
        let json = json!({"linear": {"forget": 0.5, "retain": 1}, "list": [1], "text": "x"});
        let lost = |path: &str| Path::parse(path).unwrap().follow(&json).unwrap().1.unwrap();
        assert_eq!(lost("linear.forgt"), "`linear` is an object with forget, retain");
        assert_eq!(lost("liner.forget"), "the file is an object with linear, list, text");
        assert_eq!(lost("list[epoch=1].x"), "`list` is a list of 1");
        let error = |path: &str| Path::parse(path).unwrap().follow(&json).unwrap_err();
        assert_eq!(error("linear"), "`linear` is an object with forget, retain; a number was expected");
        assert_eq!(error("text"), "`text` is a text; a number was expected");
    }

    #[test]
    fn broken_paths_are_refused() {
        for (path, why) in [
            ("", "a step is empty"),
            ("a..b", "a step is empty"),
            ("a.", "a step is empty"),
            ("a[]", "a step is empty"),
            ("a[=1]", "a step is empty"),
            ("a[b", "a bracket has no end"),
            ("a[b]c", "a dot is expected after a bracket"),
        ] {
            assert_eq!(Path::parse(path).unwrap_err(), format!("`{path}`: {why}"));
        }
        assert_eq!(Path::parse("a[b].c").unwrap(), Path { text: "a[b].c".to_owned(), ..Path::parse("a.b.c").unwrap() });
    }
}
