//! [`Document`] -> stages as DVC knows them: every group taken apart, every name looked up, every path told from the
//! project's root. Keeps beside each text where its values come from, so that they can be named again.

use super::context::{Cell, Context, From, PARAMS};
use super::data::{as_options, text_of};
use super::document::{Cells, Definition, Document, ParamsText};
use super::files::Files;
use super::paths::Place;
use super::reader::Told;
use super::template::{Piece, Template, Unreadable};
use crate::problem::{Problem, Span, TextId};
use crate::yaml::{Key, Node, Value};

/// A stage of the file: one, or several that differ in their coordinates.
#[derive(Debug)]
pub(super) struct Group {
    /// Its name.
    pub name: Key,
    /// What its stages differ in; nothing for a single stage.
    pub axes: Vec<Axis>,
    /// The stages.
    pub stages: Vec<Stage>,
    /// What it is for.
    pub description: Option<String>,
    /// Whether DVC runs it every time.
    pub always: bool,
}

/// What the stages of a group differ in.
#[derive(Debug)]
pub(super) struct Axis {
    /// The name of a list of a matrix; `item` for a `foreach`.
    pub name: String,
    /// The way to the values of all stages that its own are as a whole.
    pub from: Option<Vec<String>>,
}

/// One stage as DVC runs it.
#[derive(Debug)]
pub(super) struct Stage {
    /// `train`, or `train@us`.
    pub name: String,
    /// One for each axis.
    pub coordinates: Vec<Coordinate>,
    /// Commands that run one after another, in the folder `folder`.
    pub commands: Vec<Text>,
    /// Whether these are the lines of one text.
    pub by_lines: bool,
    /// The folder in which it runs, as written; nothing for that of the file.
    pub wdir: Option<Text>,
    /// The same, from the project's root: empty for the root.
    pub folder: String,
    /// What it reads.
    pub deps: Vec<Edge>,
    /// What it writes.
    pub outs: Vec<Edge>,
    /// Values of files that it reads.
    pub params: Vec<Params>,
}

/// The value of a stage on an axis.
#[derive(Clone, Debug)]
pub(super) struct Coordinate {
    /// How it is called in the stage's name.
    pub label: String,
    /// What `${item}` is, or `${item.NAME}` in a matrix.
    pub value: Node,
}

/// A path that a stage reads or writes.
#[derive(Debug)]
pub(super) struct Edge {
    /// As it is written.
    pub text: Text,
    /// Where it leads.
    pub place: Place,
}

/// Values of a file that a stage reads.
#[derive(Debug)]
pub(super) struct Params {
    /// The file.
    pub file: Edge,
    /// Dotted paths in it; none of them means all of it.
    pub values: Vec<Text>,
}

/// Stands for a value where only the text around it matters: a character that paths do not have.
pub(super) const VALUE: &str = "\u{0}";

/// A text whose names are looked up.
#[derive(Clone, Debug)]
pub(super) struct Text {
    /// Its parts, the same for every stage of a group but for their values.
    pub parts: Vec<Part>,
    /// Where it is written.
    pub at: Span,
}

/// A part of a text.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// Text as it is.
    Literal(String),
    /// What a name stands for, where it comes from, and how the name was written.
    Value { text: String, from: From, written: String },
    /// A reference of ours, which DVC knows nothing of.
    Ours(String),
}

impl Part {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Literal(text) | Self::Value { text, .. } | Self::Ours(text) => text,
        }
    }
}

impl Text {
    /// The text as DVC uses it.
    pub(super) fn filled(&self) -> String {
        self.parts.iter().map(Part::text).collect()
    }

    /// The text as it is written, for messages.
    pub(super) fn written(&self) -> String {
        let part = |part: &Part| match part {
            Part::Literal(text) | Part::Ours(text) => text.clone(),
            Part::Value { written, .. } => format!("${{{written}}}"),
        };
        self.parts.iter().map(part).collect()
    }

    /// The text with [`VALUE`] in the place of every value.
    pub(super) fn without_values(&self) -> String {
        let part = |part: &Part| if let Part::Literal(text) = part { text.clone() } else { VALUE.to_owned() };
        self.parts.iter().map(part).collect()
    }
}

/// Takes apart all of a document that lies in `folder`. Beside the stages: the values that all of them may name.
pub(super) fn resolve(document: &Document, folder: &str, files: &mut Files, told: &mut Told) -> (Vec<Group>, Node) {
    let context = Context::load(&document.vars, folder, files, told);
    let mut resolver = Resolver { folder, files, told };
    let groups = document.definitions.iter().map(|definition| resolver.group(definition, &context)).collect();
    (groups, context.global())
}

struct Resolver<'a> {
    /// The folder of the file.
    folder: &'a str,
    files: &'a mut Files,
    told: &'a mut Told,
}

impl Resolver<'_> {
    fn group(&mut self, definition: &Definition, context: &Context) -> Group {
        let (axes, cells) = match &definition.cells {
            Cells::One => (Vec::new(), vec![(Vec::new(), Cell::default())]),
            Cells::Foreach(data) => self.foreach(data, context),
            Cells::Matrix(lists) => self.matrix(lists, context),
        };
        if cells.is_empty() {
            let message = format!("the stage `{}` is left out: its list is empty", definition.name.text);
            self.told.note(message, definition.name.span);
        }
        let one = |(coordinates, cell): (Vec<Coordinate>, Cell)| {
            let name = match cell.key.clone().or_else(|| coordinates.first().map(|first| first.label.clone())) {
                Some(key) => format!("{}@{key}", definition.name.text),
                None => definition.name.text.clone(),
            };
            let context = context.with_cell(cell);
            self.stage(definition, name, coordinates, &context)
        };
        let stages: Vec<Stage> = cells.into_iter().filter_map(one).collect();
        let text = &definition.stage;
        // For DVC a stage without inputs and outputs is one that asks to be run.
        let unasked = text.deps.is_empty() && text.params.is_empty() && text.outs.is_empty();
        let (name, description) = (definition.name.clone(), text.description.clone());
        Group { name, axes, stages, description, always: text.always || unasked }
    }

    fn foreach(&mut self, data: &Node, context: &Context) -> (Vec<Axis>, Vec<(Vec<Coordinate>, Cell)>) {
        let mut axis = Axis { name: "item".to_owned(), from: None };
        let looked_up = LookedUp::of(data);
        let Some((data, from)) = self.data(data, context) else { return (vec![axis], Vec::new()) };
        axis.from = from;
        let mut items: Vec<(String, Node)> = Vec::new();
        let is_mapping = match data.value {
            Value::Map(entries) => {
                items.extend(entries.into_iter().map(|(key, node)| (key.text, node)));
                true
            }
            Value::List(list) => {
                // With one item that is no single value, DVC calls all of them by their numbers.
                let numbered = list.iter().any(|item| matches!(item.value, Value::List(_) | Value::Map(_)));
                for (index, item) in list.into_iter().enumerate() {
                    let name = if numbered { None } else { label(&item, &looked_up) };
                    let name = name.unwrap_or_else(|| index.to_string());
                    // What comes again replaces the first, in its place.
                    match items.iter_mut().find(|(known, _)| *known == name) {
                        Some((_, known)) => *known = item,
                        None => items.push((name, item)),
                    }
                }
                false
            }
            _ => {
                if data.value != Value::Wrong {
                    let message = format!("a `foreach` goes over a list or a mapping, not {}", data.kind());
                    self.told.wrong(message, data.span, "foreach: [a, b]");
                }
                false
            }
        };
        let cell = |(label, value): (String, Node)| {
            let key = is_mapping.then(|| label.clone());
            let cell = Cell { item: Some(value.clone()), key, axis: Some("item".to_owned()) };
            (vec![Coordinate { label, value }], cell)
        };
        (vec![axis], items.into_iter().map(cell).collect())
    }

    fn matrix(&mut self, lists: &[(Key, Node)], context: &Context) -> (Vec<Axis>, Vec<(Vec<Coordinate>, Cell)>) {
        let mut axes = Vec::new();
        let mut cells: Vec<Vec<(Key, Coordinate)>> = vec![Vec::new()];
        for (name, node) in lists {
            let mut axis = Axis { name: name.text.clone(), from: None };
            let looked_up = LookedUp::of(node);
            let values = self.data(node, context).map_or_else(Vec::new, |(data, from)| match data.value {
                Value::List(items) => {
                    axis.from = from;
                    items
                }
                // DVC goes over the names of a mapping.
                Value::Map(entries) => {
                    entries.into_iter().map(|(key, _)| Node::new(Value::Text(key.text), key.span)).collect()
                }
                Value::Wrong => Vec::new(),
                _ => {
                    let message = format!("the values of `{}` are a list, not {}", name.text, data.kind());
                    self.told.wrong(message, node.span, "matrix: {model: [cnn, mlp]}");
                    Vec::new()
                }
            });
            let coordinate = |(index, value): (usize, Node)| {
                let label = label(&value, &looked_up).unwrap_or_else(|| format!("{}{index}", name.text));
                (name.clone(), Coordinate { label, value })
            };
            let values: Vec<(Key, Coordinate)> = values.into_iter().enumerate().map(coordinate).collect();
            let grown = |cell: Vec<(Key, Coordinate)>| {
                values.iter().map(move |value| cell.iter().cloned().chain([value.clone()]).collect())
            };
            cells = cells.into_iter().flat_map(grown).collect();
            axes.push(axis);
        }
        (axes, unique(cells.into_iter().map(matrix_cell).collect()))
    }

    /// Values that a group goes over, and the way to them when they are values of all stages.
    fn data(&mut self, node: &Node, context: &Context) -> Option<(Node, Option<Vec<String>>)> {
        if let Value::Text(text) = &node.value {
            let template = self.template(text, node.span)?;
            if let Some((steps, written)) = template.whole() {
                let (found, from) = self.look_up(context, steps, written, node.span)?;
                let from = if let From::Params(way) = from { Some(way) } else { None };
                return Some((Node { span: node.span, ..found }, from));
            }
        }
        self.filled(node, context).map(|node| (node, None))
    }

    /// A value with every name in it replaced; one that is a name as a whole becomes what it stands for.
    fn filled(&mut self, node: &Node, context: &Context) -> Option<Node> {
        let value = match &node.value {
            Value::Text(text) => {
                let template = self.template(text, node.span)?;
                if let Some((steps, written)) = template.whole() {
                    let (found, _) = self.look_up(context, steps, written, node.span)?;
                    return Some(Node { span: node.span, ..found });
                }
                Value::Text(self.text(node, context, false)?.filled())
            }
            Value::List(items) => {
                Value::List(items.iter().map(|item| self.filled(item, context)).collect::<Option<_>>()?)
            }
            Value::Map(entries) => {
                let mut filled = Vec::new();
                for (key, value) in entries {
                    let name = Node::new(Value::Text(key.text.clone()), key.span);
                    let text = self.text(&name, context, false)?.filled();
                    filled.push((Key { text, span: key.span }, self.filled(value, context)?));
                }
                Value::Map(filled)
            }
            value => value.clone(),
        };
        Some(Node { value, ..*node })
    }

    fn stage(
        &mut self,
        definition: &Definition,
        name: String,
        coordinates: Vec<Coordinate>,
        context: &Context,
    ) -> Option<Stage> {
        let text = &definition.stage;
        let wdir = match &text.folder {
            Some(node) => Some(self.text(node, context, false)?),
            None => None,
        };
        let place = Place::of(&wdir.as_ref().map_or_else(String::new, Text::filled), self.folder, &self.files.root);
        let folder = match (place, &wdir) {
            (Place::Inside(folder), _) => folder,
            (Place::Root, _) => String::new(),
            (Place::Outside(_) | Place::Remote(_), wdir) => {
                let at = wdir.as_ref().map_or(definition.name.span, |wdir| wdir.at);
                self.told.wrong("a stage runs in a folder of the project", at, ROOT_HELP);
                return None;
            }
        };
        let context = context.with_vars(&text.vars, &folder, self.files, self.told);
        let commands = text.commands.iter().filter_map(|node| self.text(node, &context, true)).collect();
        let commands = if text.by_lines { by_lines(commands) } else { commands };
        let deps = text.deps.iter().filter_map(|node| self.edge(node, &folder, &context)).collect();
        let outs = text.outs.iter().filter_map(|node| self.edge(node, &folder, &context)).collect();
        let params = self.params(&text.params, &folder, &context);
        let by_lines = text.by_lines;
        Some(Stage { name, coordinates, commands, by_lines, wdir, folder, deps, outs, params })
    }

    fn edge(&mut self, node: &Node, folder: &str, context: &Context) -> Option<Edge> {
        let text = self.text(node, context, false)?;
        let place = Place::of(&text.filled(), folder, &self.files.root);
        Some(Edge { text, place })
    }

    /// The values of each file, together: a file that is named without values is read as a whole.
    fn params(&mut self, written: &[ParamsText], folder: &str, context: &Context) -> Vec<Params> {
        let mut all: Vec<(Params, bool)> = Vec::new();
        for one in written {
            let default = Node::new(Value::Text(PARAMS.to_owned()), one.at);
            let Some(file) = self.edge(one.file.as_ref().unwrap_or(&default), folder, context) else { continue };
            let values: Vec<Text> = one.values.iter().filter_map(|node| self.text(node, context, false)).collect();
            let whole = one.values.is_empty();
            match all.iter_mut().find(|(known, _)| known.file.place == file.place) {
                None => all.push((Params { file, values }, whole)),
                Some((known, all_of_it)) => {
                    *all_of_it |= whole;
                    let new = |value: &Text| known.values.iter().all(|old| old.filled() != value.filled());
                    let values: Vec<Text> = values.into_iter().filter(new).collect();
                    known.values.extend(values);
                }
            }
        }
        for (params, whole) in &mut all {
            if *whole {
                params.values.clear();
            }
        }
        all.into_iter().map(|(params, _)| params).collect()
    }

    fn template(&mut self, text: &str, at: Span) -> Option<Template> {
        Template::parse(text)
            .map_err(|Unreadable { written, message, help }| {
                let at = self.narrowed(&written, text, at);
                self.told.wrong(message, at, &help);
            })
            .ok()
    }

    /// The place of a name in the text at `at`.
    fn narrowed(&self, written: &str, text: &str, at: Span) -> Span {
        let TextId::File(id) = at.text else { return at };
        let source = self.files.source.files.get(id).map_or("", |file| file.text.as_str());
        let name = format!("${{{written}}}");
        // A text may be folded or have escapes, and so be longer in the file.
        let found = source.get(at.start..).and_then(|rest| rest.find(&name)).filter(|by| *by <= 2 * text.len() + 64);
        found.map_or(at, |by| Span::new(at.text, at.start + by, at.start + by + name.len()))
    }

    fn look_up(&mut self, context: &Context, steps: &[String], written: &str, at: Span) -> Option<(Node, From)> {
        match context.look_up(steps, written) {
            Ok((node, _)) if node.holds_wrong() => {
                let problem = Problem::new(format!("the value of `${{{written}}}` cannot be used"), at);
                self.told
                    .problems
                    .push(problem.also(node.span, "it is in here").help("write a finite number, or quote it"));
                None
            }
            Ok(found) => Some(found),
            Err((message, help)) => {
                self.told.wrong(message, at, &help);
                None
            }
        }
    }

    /// A text with its names looked up. Only a command takes a mapping, as options.
    fn text(&mut self, node: &Node, context: &Context, is_command: bool) -> Option<Text> {
        let text = node.scalar_text()?;
        let template = self.template(&text, node.span)?;
        let mut parts = Vec::new();
        let mut ok = true;
        let is_whole = template.whole().is_some();
        for piece in template.0 {
            let (steps, written) = match piece {
                Piece::Literal(literal) => {
                    parts.push(Part::Literal(literal));
                    continue;
                }
                Piece::Name { steps, written } => (steps, written),
            };
            let at = self.narrowed(&written, &text, node.span);
            let Some((value, from)) = self.look_up(context, &steps, &written, at) else {
                ok = false;
                continue;
            };
            let single = text_of(&value.value).map(|text| (text, from));
            let found = match &value.value {
                Value::Map(entries) if is_command && !is_whole => {
                    as_options(entries, context.style).map(|text| Some((text, From::Here)))
                }
                _ => Ok(single),
            };
            match found {
                Ok(Some((text, from))) => parts.push(Part::Value { text, from, written }),
                Ok(None) => {
                    ok = false;
                    let message = format!("`${{{written}}}` is {}, which cannot stand here", value.kind());
                    self.told.wrong(message, at, "name a single value in it");
                }
                Err(list) => {
                    ok = false;
                    let message =
                        format!("`${{{written}}}` cannot be written as options: `{list}` holds lists or mappings");
                    self.told.wrong(message, at, "name single values in it");
                }
            }
        }
        ok.then_some(Text { parts, at: node.span })
    }
}

/// Which items of a group's data are names as a whole: DVC calls those by Python's text of them.
enum LookedUp {
    All,
    At(Vec<Span>),
}

impl LookedUp {
    fn of(data: &Node) -> Self {
        let is_name = |node: &&Node| {
            let text = if let Value::Text(text) = &node.value { text.as_str() } else { "" };
            Template::parse(text).is_ok_and(|template| template.whole().is_some())
        };
        match &data.value {
            Value::List(items) => Self::At(items.iter().filter(is_name).map(|item| item.span).collect()),
            _ => Self::All,
        }
    }
}

/// What a stage of a group is called by its item, where that is a single value.
fn label(item: &Node, looked_up: &LookedUp) -> Option<String> {
    let by_name = match looked_up {
        LookedUp::All => true,
        LookedUp::At(places) => places.contains(&item.span),
    };
    match item.value {
        Value::Bool(value) if by_name => Some(if value { "True" } else { "False" }.to_owned()),
        _ => text_of(&item.value),
    }
}

/// What is said where a path leaves the project.
pub(super) const ROOT_HELP: &str =
    "the project's root is the nearest folder above with `.git` or `pru-flow.toml`: put an empty `pru-flow.toml` there";

fn matrix_cell(cell: Vec<(Key, Coordinate)>) -> (Vec<Coordinate>, Cell) {
    let labels: Vec<&str> = cell.iter().map(|(_, coordinate)| coordinate.label.as_str()).collect();
    let key = labels.join("-");
    let at = cell.first().map_or(Span::file(0, 0), |(name, _)| name.span);
    let item = cell.iter().map(|(name, coordinate)| (name.clone(), coordinate.value.clone())).collect();
    let item = Node::new(Value::Map(item), at);
    let coordinates = cell.into_iter().map(|(_, coordinate)| coordinate).collect();
    (coordinates, Cell { item: Some(item), key: Some(key), axis: None })
}

/// Cells of one name are one stage for DVC: the last of them, in the place of the first.
fn unique(cells: Vec<(Vec<Coordinate>, Cell)>) -> Vec<(Vec<Coordinate>, Cell)> {
    let mut all: Vec<(Vec<Coordinate>, Cell)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for (coordinates, cell) in cells {
        let place = *places.entry(cell.key.clone()).or_insert(all.len());
        match all.get_mut(place) {
            Some(known) => *known = (coordinates, cell),
            None => all.push((coordinates, cell)),
        }
    }
    all
}

/// Cuts a text into its lines. A value with several of them is cut, too, and is no value any more.
fn by_lines(texts: Vec<Text>) -> Vec<Text> {
    let mut lines = Vec::new();
    for Text { parts, at } in texts {
        let mut line: Vec<Part> = Vec::new();
        for part in parts {
            if !part.text().contains('\n') {
                line.push(part);
                continue;
            }
            let mut pieces = part.text().split('\n');
            line.extend(pieces.next().map(|first| Part::Literal(first.to_owned())));
            for piece in pieces {
                lines.push(Text { parts: std::mem::take(&mut line), at });
                line.push(Part::Literal(piece.to_owned()));
            }
        }
        lines.push(Text { parts: line, at });
    }
    lines
}
