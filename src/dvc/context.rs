//! What the names in a `dvc.yaml` mean: values of `params.yaml`, of `vars`, and of the stage of a group.

use super::data::OptionStyle;
use super::document::Vars;
use super::files::{Files, Unread, option_style};
use super::paths::Place;
use super::reader::Told;
use crate::problem::{Problem, Span, suggest};
use crate::yaml::{Key, Node, Value};

/// The file whose values need no naming.
pub(super) const PARAMS: &str = "params.yaml";

/// Values by name.
#[derive(Clone, Debug)]
pub(super) struct Context {
    /// Those of `params.yaml` and of the file's own `vars`: a mapping.
    global: Vec<(Key, Node)>,
    /// The same with the `vars` of one stage, where it has some.
    here: Option<Vec<(Key, Node)>>,
    /// Of a stage of a group.
    cell: Option<Cell>,
    /// Files that are loaded as a whole.
    loaded: Vec<Place>,
    /// How a mapping is put into a command.
    pub style: OptionStyle,
}

/// What `${item}` and `${key}` mean.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    /// What the stage goes over; of a matrix, a mapping of its lists.
    pub item: Option<Node>,
    /// Its name.
    pub key: Option<String>,
    /// The axis that `item` itself is, where it is not of a matrix.
    pub axis: Option<String>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// The values of all stages: the way to it, indexes counted from the start.
    Params(Vec<String>),
    /// The item of a stage of a group: the axis, and the way from its value.
    Item(Vec<String>),
    /// The name of a stage in its group.
    Key,
    /// Values of one stage alone, or something made of several.
    Here,
}

impl Context {
    /// The values for all stages of a file in `folder`.
    pub(super) fn load(vars: &[Vars], folder: &str, files: &mut Files, told: &mut Told) -> Self {
        let style = option_style(&files.root.join(folder));
        let mut context = Self { global: Vec::new(), here: None, cell: None, loaded: Vec::new(), style };
        let params = Place::of(PARAMS, folder, &files.root);
        if files.exists(&params) {
            let at = Span::file(0, 0);
            context.add_file(&params, (PARAMS, &[]), at, files, told);
        }
        context.add(vars, folder, files, told);
        context
    }

    /// The values of all stages, as a mapping.
    pub(super) fn global(&self) -> Node {
        Node::new(Value::Map(self.global.clone()), Span::file(0, 0))
    }

    /// The values for one stage, whose paths start in `folder`.
    pub(super) fn with_vars(&self, vars: &[Vars], folder: &str, files: &mut Files, told: &mut Told) -> Self {
        let mut context = self.clone();
        if !vars.is_empty() {
            context.here = Some(self.global.clone());
            context.add(vars, folder, files, told);
        }
        context
    }

    /// The values for one stage of a group.
    pub(super) fn with_cell(&self, cell: Cell) -> Self {
        Self { cell: Some(cell), ..self.clone() }
    }

    fn add(&mut self, vars: &[Vars], folder: &str, files: &mut Files, told: &mut Told) {
        for one in vars {
            match one {
                Vars::Values(node) => self.merge(node, None, node.span, told),
                Vars::File { path, fields, at } => {
                    self.add_file(&Place::of(path, folder, &files.root), (path, fields), *at, files, told);
                }
            }
        }
    }

    fn add_file(&mut self, place: &Place, named: (&str, &[String]), at: Span, files: &mut Files, told: &mut Told) {
        let (path, fields) = named;
        if fields.is_empty() {
            if self.loaded.contains(place) {
                return;
            }
            self.loaded.push(place.clone());
        }
        let node = match files.values(place, told) {
            Ok(node) => node,
            Err(Unread::Told) => return,
            Err(Unread::Because(why)) => {
                told.wrong(format!("`{path}` {why}"), at, "templates take values from YAML, JSON and TOML files");
                return;
            }
        };
        let Value::Map(entries) = &node.value else { return };
        let chosen: Vec<(Key, Node)> = if fields.is_empty() {
            entries.clone()
        } else {
            for field in fields.iter().filter(|field| node.get(field).is_none()) {
                let help = suggest(field, "fields", entries.iter().map(|(key, _)| key.text.as_str()));
                told.wrong(format!("`{path}` has no `{field}`"), at, &help);
            }
            entries.iter().filter(|(key, _)| fields.contains(&key.text)).cloned().collect()
        };
        let node = Node { value: Value::Map(chosen), ..node };
        self.merge(&node, Some(path), at, told);
    }

    fn merge(&mut self, node: &Node, file: Option<&str>, at: Span, told: &mut Told) {
        let Value::Map(entries) = &node.value else { return };
        if let Some(cell) = &self.cell {
            let taken = |name: &str| name == "item" && cell.item.is_some() || name == "key" && cell.key.is_some();
            for (key, _) in entries.iter().filter(|(key, _)| taken(&key.text)) {
                let message = format!("`{}` means the item of a group here, and cannot be given by `vars`", key.text);
                told.wrong(message, key.span, "give it another name");
            }
        }
        let into = self.here.as_mut().unwrap_or(&mut self.global);
        merge(into, entries, &mut Vec::new(), &mut |path, old, new| {
            let name = path.join(".");
            let from = file.map(|file| format!(" in `{file}`")).unwrap_or_default();
            let new = if file.is_some() { at } else { new };
            let problem = Problem::new(format!("`{name}`{from} has a value already"), new);
            told.problems.push(problem.also(old, "the first").help("DVC reads each name once: remove one of them"));
        });
    }

    /// What a path leads to.
    ///
    /// # Errors
    /// What is wrong, and what to write.
    pub(super) fn look_up(&self, steps: &[String], written: &str) -> Result<(Node, From), (String, String)> {
        let [first, rest @ ..] = steps else { return Err(("`${}` names nothing".to_owned(), String::new())) };
        if let Some(cell) = &self.cell {
            match (first.as_str(), &cell.item, &cell.key) {
                ("item", Some(item), _) => {
                    let (node, way) = walk(item, rest, written)?;
                    return Ok((node.clone(), From::Item(cell.axis.iter().cloned().chain(way).collect())));
                }
                ("key", _, Some(key)) if rest.is_empty() => {
                    let node = Node::new(Value::Text(key.clone()), Span::file(0, 0));
                    return Ok((node, From::Key));
                }
                _ => {}
            }
        }
        let all = self.here.as_ref().unwrap_or(&self.global);
        let Some((_, root)) = all.iter().find(|(key, _)| key.text == *first) else {
            return Err((format!("`${{{written}}}` has no value"), self.suggest(first)));
        };
        let (node, way) = walk(root, rest, written)?;
        let way: Vec<String> = std::iter::once(first.clone()).chain(way).collect();
        let single = !matches!(node.value, Value::Map(_));
        let global = self.global.iter().find(|(key, _)| key.text == *first);
        let is_global = global.is_some_and(|(_, root)| walk(root, &way[1..], written).is_ok());
        // A stage may add to a mapping of all stages.
        let from = if is_global && (single || self.here.is_none()) { From::Params(way) } else { From::Here };
        Ok((node.clone(), from))
    }

    fn suggest(&self, name: &str) -> String {
        let all = self.here.as_ref().unwrap_or(&self.global);
        let cell = self.cell.as_ref();
        let item = cell.and_then(|cell| cell.item.as_ref()).map(|_| "item");
        let key = cell.and_then(|cell| cell.key.as_ref()).map(|_| "key");
        let known: Vec<&str> = all.iter().map(|(key, _)| key.text.as_str()).chain(item).chain(key).collect();
        let help = "a `${` for the shell is written `\\${`";
        if known.is_empty() {
            return format!("DVC takes values from `params.yaml` and `vars:`; {help}");
        }
        if known.len() > 12 {
            let near = crate::problem::did_you_mean(name, known.iter().copied());
            return near.unwrap_or_else(|| format!("DVC takes values from `params.yaml` and `vars:`; {help}"));
        }
        let near = suggest(name, "names", known);
        if near.starts_with("did you") { near } else { format!("{near}; {help}") }
    }
}

/// Adds values to others; what would replace one is told, with both places.
fn merge(
    into: &mut Vec<(Key, Node)>,
    update: &[(Key, Node)],
    path: &mut Vec<String>,
    twice: &mut dyn FnMut(&[String], Span, Span),
) {
    for (key, new) in update {
        path.push(key.text.clone());
        match into.iter_mut().find(|(known, _)| known.text == key.text) {
            None => into.push((key.clone(), new.clone())),
            Some((_, Node { value: Value::Map(old), .. })) if matches!(new.value, Value::Map(_)) => {
                if let Value::Map(new) = &new.value {
                    merge(old, new, path, twice);
                }
            }
            Some((known, _)) => twice(path, known.span, key.span),
        }
        path.pop();
    }
}

/// The value at the end of a way, and the way with its indexes counted from the start.
fn walk<'n>(root: &'n Node, steps: &[String], written: &str) -> Result<(&'n Node, Vec<String>), (String, String)> {
    let mut node = root;
    let mut way = Vec::new();
    for step in steps {
        let missing = |help: String| (format!("`${{{written}}}` has no value: there is no `{step}`"), help);
        let (next, name) = match &node.value {
            Value::Map(entries) => {
                let found = entries.iter().find(|(key, _)| key.text == *step).map(|(_, node)| node);
                let help = || suggest(step, "names", entries.iter().map(|(key, _)| key.text.as_str()));
                (found.ok_or_else(|| missing(help()))?, step.clone())
            }
            Value::List(items) => {
                let index = step.parse::<i64>().ok();
                let index = index.map(|index| if index < 0 { index + items.len() as i64 } else { index });
                let found = index.and_then(|index| usize::try_from(index).ok()).filter(|index| *index < items.len());
                let help = || format!("the list has {} items, counted from 0", items.len());
                let index = found.ok_or_else(|| missing(help()))?;
                (&items[index], index.to_string())
            }
            Value::Wrong => break,
            _ => return Err(missing(format!("what stands before it is {}", node.kind()))),
        };
        way.push(name);
        node = next;
    }
    Ok((node, way))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::parse;

    fn entries(text: &str) -> Vec<(Key, Node)> {
        match parse(text).unwrap().value {
            Value::Map(entries) => entries,
            _ => panic!("a mapping"),
        }
    }

    fn context(global: &str) -> Context {
        let style = OptionStyle::default();
        Context { global: entries(global), here: None, cell: None, loaded: Vec::new(), style }
    }

    fn steps(path: &str) -> Vec<String> {
        path.split('.').map(str::to_owned).collect()
    }

    fn found(context: &Context, path: &str) -> (String, From) {
        let (node, from) = context.look_up(&steps(path), path).unwrap();
        (node.to_json().to_string(), from)
    }

    #[test]
    fn a_stage_s_own_values_are_told_from_those_of_all() {
        let mut context = context("{a: {b: 1}, list: [x, y]}");
        assert_eq!(found(&context, "a.b"), ("1".into(), From::Params(steps("a.b"))));
        assert_eq!(found(&context, "a"), ("{\"b\":1}".into(), From::Params(steps("a"))));
        assert_eq!(found(&context, "list.-1"), ("\"y\"".into(), From::Params(steps("list.1"))));
        context.here = Some(entries("{a: {b: 1, c: 2}, d: 3}"));
        assert_eq!(found(&context, "a.b"), ("1".into(), From::Params(steps("a.b"))));
        assert_eq!(found(&context, "a.c"), ("2".into(), From::Here));
        assert_eq!(found(&context, "a"), ("{\"b\":1,\"c\":2}".into(), From::Here));
        assert_eq!(found(&context, "d"), ("3".into(), From::Here));
    }

    #[test]
    fn an_item_hides_a_value_of_that_name() {
        let context = context("{item: 1, key: 2}");
        assert_eq!(found(&context, "item"), ("1".into(), From::Params(steps("item"))));
        let item = parse("{lr: [5]}").unwrap();
        let context = context.with_cell(Cell { item: Some(item), key: None, axis: Some("item".to_owned()) });
        assert_eq!(found(&context, "item.lr.0"), ("5".into(), From::Item(steps("item.lr.0"))));
        assert_eq!(found(&context, "key"), ("2".into(), From::Params(steps("key"))));
    }

    #[test]
    fn what_is_not_there_is_told_with_what_is_near() {
        let context = context("{train: {epochs: 1}, list: [1]}");
        for (path, message, help) in [
            ("trian.epochs", "`${trian.epochs}` has no value", "did you mean `train`?"),
            ("train.epoch", "there is no `epoch`", "did you mean `epochs`?"),
            ("list.1", "there is no `1`", "the list has 1 items"),
            ("list.a", "there is no `a`", "the list has 1 items"),
            ("train.epochs.x", "there is no `x`", "what stands before it is a whole number"),
            ("zzzzzz", "has no value", "names: `train`, `list`; a `${` for the shell is written `\\${`"),
        ] {
            let (told, helped) = context.look_up(&steps(path), path).unwrap_err();
            assert!(told.contains(message) && helped.contains(help), "{path}: {told} {helped}");
        }
    }

    #[test]
    fn mappings_are_merged_and_values_are_never_replaced() {
        let mut into = entries("{a: {b: 1}, c: 2}");
        let mut twice = Vec::new();
        merge(&mut into, &entries("{a: {x: 1, b: 3}, c: {y: 1}, d: 4}"), &mut Vec::new(), &mut |path, _, _| {
            twice.push(path.join("."));
        });
        assert_eq!(twice, ["a.b", "c"]);
        let names: Vec<&str> = into.iter().map(|(key, _)| key.text.as_str()).collect();
        assert_eq!(names, ["a", "c", "d"]);
    }
}
