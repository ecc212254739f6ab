//! Expressions in `${...}`: whatever is more than a dotted path, in Jinja's expression language (by `minijinja`), as
//! `params.epochs * 2`, `params.base ~ '/' ~ matrix.seed` or `params.lr if matrix.big else 0.1`.
//!
//! Names are looked up by the caller; one that is not there is a problem only where its value is needed, so that
//! `matrix.lr is defined` and `matrix.lr | default(0.1)` work. No file, variable, clock or chance can be reached, and what
//! an expression may cost is bounded. Knows nothing of places.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use minijinja::value::{Enumerator, Object, ObjectRepr, Value as Jinja, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Expression, UndefinedBehavior};

use crate::placeholders::{Piece, ROOTS, pieces, refers_to_results};
use crate::problem::{Span, did_you_mean, suggest};
use crate::yaml::{Key, Node, Value};

/// What is wrong, and what to write.
pub type Told = (String, String);

/// Gives values to names.
pub trait Names {
    /// What a dotted path stands for; `params` or `matrix` alone for all of them.
    fn look_up(&self, path: &str) -> Looked;
    /// A param in a list or mapping, with the results of stages put in that a text in it refers to.
    fn settled(&self, param: &Node) -> Node;
}

/// What a name stands for.
pub enum Looked {
    /// A single value, or nothing.
    Value(Node),
    /// A list or mapping: where it is in a tree of values, as the number of the item at every step from its root.
    Tree(Arc<Node>, Vec<usize>),
    /// Nothing: this is told when its value is needed.
    Missing(Told),
    /// It may not stand here, which is told when the expression comes to it.
    Refused(Told),
    /// Known when a stage has run.
    Awaited,
    /// Something wrong that has been told.
    Wrong,
}

/// What an expression gives.
pub enum Outcome {
    /// A value. A text that begins with one from the command line is said to come from there.
    Value(Node),
    /// Known when stages have run: all whose results it names.
    Awaited,
    /// Something wrong that has been told.
    Wrong,
    /// It has no value.
    Problem(Told),
}

/// Steps that an expression may take; one pays for some 64 bytes, too.
const FUEL: u64 = 1_000_000;

/// What is longer is no expression, and may be nested deeper than the crate can follow.
const BYTES_MAX: usize = 2000;

/// A list or mapping may not take more bytes than this, enough for an axis of 100,000 values; and a text than that.
const RESULT_BYTES_MAX: usize = 32 << 20;
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Compiled expressions that a thread keeps; those with nested references may be as many as there are cells.
const KEPT: usize = 1024;

/// An expression whose names are numbered: `params.epochs * 2` is `__0 * 2`.
struct Compiled {
    expression: Expression<'static, 'static>,
    names: Vec<String>,
}

thread_local! {
    static COMPILED: RefCell<HashMap<String, Rc<Compiled>>> = RefCell::default();
}

/// Computes an expression that stands at the place of `at`.
#[must_use]
pub fn evaluate(text: &str, at: &Node, names: &dyn Names) -> Outcome {
    match compiled(text) {
        Ok(compiled) => Evaluation { text, at, compiled: &compiled, names }.run(),
        Err(told) => Outcome::Problem(told),
    }
}

fn compiled(text: &str) -> Result<Rc<Compiled>, Told> {
    COMPILED.with_borrow_mut(|kept| {
        if let Some(known) = kept.get(text) {
            return Ok(Rc::clone(known));
        }
        let compiled = Rc::new(compile(text)?);
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(text.to_owned(), Rc::clone(&compiled));
        Ok(compiled)
    })
}

fn environment() -> &'static Environment<'static> {
    static ENVIRONMENT: OnceLock<Environment<'static>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        // They show or keep a state, which there is none of.
        environment.remove_global("debug");
        environment.remove_global("namespace");
        environment
    })
}

fn compile(text: &str) -> Result<Compiled, Told> {
    if text.len() > BYTES_MAX {
        let message = format!("an expression of {} bytes, of which there may be {BYTES_MAX}", text.len());
        return Err((message, "give parts of it as params".to_owned()));
    }
    let (mut numbered, mut names): (String, Vec<String>) = (String::new(), Vec::new());
    for piece in pieces(text) {
        match piece {
            Piece::Other(other) => numbered.push_str(other),
            Piece::Name(name) => {
                let at = names.iter().position(|known| known == name).unwrap_or_else(|| {
                    names.push(name.to_owned());
                    names.len() - 1
                });
                numbered.push_str(&format!("{PLACE}{at}"));
            }
        }
    }
    let expression = environment().compile_expression_owned(numbered).map_err(|error| {
        let words = in_our_names(error.detail().unwrap_or("a mistake in it"), &names);
        (format!("`${{{text}}}` cannot be read: {words}"), reading_help(text).to_owned())
    })?;
    let mut unknown: Vec<String> = expression.undeclared_variables(false).into_iter().collect();
    unknown.retain(|name| !is_place(name, &names) && environment().globals().all(|(known, _)| known != name));
    unknown.sort_unstable();
    match unknown.first() {
        None => Ok(Compiled { expression, names }),
        Some(name) => {
            let near = did_you_mean(name, ROOTS).map(|near| near + " ").unwrap_or_default();
            let help = "names begin with `params.`, `matrix.` or `stages.`, and a text stands in quotes";
            let shell = if name.chars().any(char::is_lowercase) { "" } else { "; `$${` is the shell's own `${`" };
            Err((format!("unknown name `{name}` in `${{{text}}}`"), format!("{near}{help}{shell}")))
        }
    }
}

/// What the name with a number is called in a compiled expression.
const PLACE: &str = "__";

fn place(name: &str) -> Option<usize> {
    name.strip_prefix(PLACE)?.parse().ok()
}

fn is_place(name: &str, names: &[String]) -> bool {
    place(name).is_some_and(|at| at < names.len())
}

/// A message about a compiled expression, in the words of the one that was written.
fn in_our_names(message: &str, names: &[String]) -> String {
    let numbered = names.iter().enumerate().rev();
    numbered.fold(message.to_owned(), |message, (at, name)| message.replace(&format!("{PLACE}{at}"), name))
}

fn reading_help(text: &str) -> &'static str {
    match text {
        _ if text.contains(":-") || text.contains(":=") || text.starts_with('#') => {
            "write `$${` for the shell's own `${`"
        }
        _ => "an expression is written as `${params.epochs * 2}` or `${params.lr if matrix.big else 0.1}`",
    }
}

/// What happens while an expression is computed.
#[derive(Debug, Default)]
struct Record {
    /// Names that it came to, in this order.
    touched: Vec<usize>,
    /// The last field that it looked for in a mapping and did not find.
    missed: Option<Told>,
    /// A text in a list or mapping that refers to results, and is to be settled before it goes on.
    unsettled: Option<Node>,
    /// Such texts that are settled, by where they stand.
    settled: BTreeMap<Span, Node>,
    /// Whether it came to something wrong that has been told, or to something that is not known yet.
    wrong: bool,
    awaited: bool,
}

type Shared = Arc<Mutex<Record>>;

fn lock(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    // Whatever happened meanwhile, it only holds notes.
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Evaluation<'e> {
    text: &'e str,
    at: &'e Node,
    compiled: &'e Compiled,
    names: &'e dyn Names,
}

impl Evaluation<'_> {
    fn run(&self) -> Outcome {
        let looked: Vec<Looked> = self.compiled.names.iter().map(|name| self.names.look_up(name)).collect();
        let record = Shared::default();
        let given = looked.iter().zip(&self.compiled.names);
        let values = given.map(|(looked, name)| match looked {
            Looked::Value(node) => Some(single(node)),
            Looked::Tree(root, at) => Some(Tree::value(root, at.clone(), name, &record)),
            Looked::Missing(_) | Looked::Refused(_) | Looked::Awaited | Looked::Wrong => None,
        });
        let given = Jinja::from_object(Given { values: values.collect(), record: Arc::clone(&record) });
        loop {
            let result = self.compiled.expression.eval(given.clone());
            let unsettled = lock(&record).unsettled.take();
            let Some(param) = unsettled else { return self.outcome(result, &looked, &record) };
            let settled = self.names.settled(&param);
            let mut record = lock(&record);
            record.wrong |= settled.holds_wrong();
            record.awaited |= settled.holds_awaited();
            record.settled.insert(param.span, settled);
        }
    }

    fn outcome(&self, result: Result<Jinja, Error>, looked: &[Looked], record: &Shared) -> Outcome {
        let (touched, missed) = {
            let record = lock(record);
            if record.wrong {
                return Outcome::Wrong;
            }
            if record.awaited {
                return Outcome::Awaited;
            }
            (record.touched.clone(), record.missed.clone())
        };
        let all = || touched.iter().map(|at| &looked[*at]);
        if let Some(told) = all().find_map(|one| if let Looked::Refused(told) = one { Some(told) } else { None }) {
            return Outcome::Problem(told.clone());
        }
        if all().any(|one| matches!(one, Looked::Wrong)) {
            return Outcome::Wrong;
        }
        if all().any(|one| matches!(one, Looked::Awaited)) {
            return Outcome::Awaited;
        }
        let last = all().rev().find_map(|one| if let Looked::Missing(told) = one { Some(told.clone()) } else { None });
        let missing = missed.or(last);
        match result {
            Ok(value) => self.converted(&value, looked, missing),
            Err(error) => {
                let missing = missing.filter(|_| is_about_nothing(&error));
                Outcome::Problem(missing.unwrap_or_else(|| self.words(&error)))
            }
        }
    }

    fn converted(&self, value: &Jinja, looked: &[Looked], missing: Option<Told>) -> Outcome {
        let mut budget = RESULT_BYTES_MAX;
        match self.node(value, &mut budget) {
            Err(reason) => {
                let missing = missing.filter(|_| reason == NOTHING);
                Outcome::Problem(missing.unwrap_or_else(|| self.failed(&reason)))
            }
            Ok(node) if node.holds_wrong() => Outcome::Wrong,
            Ok(node) if node.holds_awaited() => Outcome::Awaited,
            Ok(mut node) => {
                if let Value::Text(text) = &node.value {
                    node.origin = origin(text, looked).unwrap_or(node.origin);
                }
                Outcome::Value(node)
            }
        }
    }

    /// A value that was computed, as a pipeline would have it; else what it is.
    fn node(&self, value: &Jinja, budget: &mut usize) -> Result<Node, String> {
        let here = |value: Value| Ok(Node { value, ..*self.at });
        let text = value.as_str().map_or(0, str::len);
        *budget =
            budget.checked_sub(text + size_of::<Node>()).filter(|_| text <= TEXT_BYTES_MAX).ok_or("it is too large")?;
        if let Some(tree) = value.downcast_object_ref::<Tree>() {
            return Ok(self.names.settled(tree.node()));
        }
        match value.kind() {
            ValueKind::None => here(Value::Null),
            ValueKind::Bool => here(Value::Bool(value.is_true())),
            ValueKind::Number if value.is_integer() => {
                let number = value.as_i64().ok_or_else(|| format!("{value} is too large a number"))?;
                here(Value::Int(number))
            }
            ValueKind::Number => {
                let number = f64::try_from(value.clone()).ok().filter(|number| number.is_finite());
                here(Value::Float(number.ok_or_else(|| format!("{value} is not a finite number"))?))
            }
            ValueKind::String => here(Value::Text(value.as_str().unwrap_or_default().to_owned())),
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter().map_err(|error| error.to_string())?;
                here(Value::List(items.map(|item| self.node(&item, budget)).collect::<Result<_, _>>()?))
            }
            ValueKind::Map => {
                let keys = value.try_iter().map_err(|error| error.to_string())?;
                let entry = |key: Jinja| {
                    let item = value.get_item(&key).map_err(|error| error.to_string())?;
                    let key =
                        Key { text: self.node(&key, budget)?.scalar_text().unwrap_or_default(), span: self.at.span };
                    Ok((key, self.node(&item, budget)?))
                };
                here(Value::Map(keys.map(entry).collect::<Result<_, String>>()?))
            }
            ValueKind::Undefined => Err(NOTHING.to_owned()),
            other => Err(format!("it is {other}")),
        }
    }

    fn failed(&self, reason: &str) -> Told {
        let help = "an expression is written as `${params.epochs * 2}` or `${params.base ~ '/' ~ matrix.seed}`";
        (format!("`${{{}}}` has no value: {reason}", self.text), help.to_owned())
    }

    /// What the crate says, made short.
    fn words(&self, error: &Error) -> Told {
        let detail = in_our_names(error.detail().unwrap_or(""), &self.compiled.names);
        let quoted = || detail.split_whitespace().nth(1).unwrap_or("").to_owned();
        let (reason, help) = match error.kind() {
            ErrorKind::OutOfFuel => ("it takes too long to compute".to_owned(), None),
            ErrorKind::UnknownFilter => {
                (format!("there is no filter `{}`", quoted()), Some(suggest(&quoted(), "filters", FILTERS)))
            }
            ErrorKind::UnknownTest => (format!("there is no test `{}`", quoted()), None),
            _ if detail.starts_with("unable to calculate") && detail.ends_with(" 0") => {
                ("division by zero".to_owned(), None)
            }
            _ if detail.contains("unsupported types") && detail.contains("string") => (
                detail,
                Some(
                    "`~` joins texts (`${params.base ~ '/' ~ matrix.seed}`), and `| int` or `| float` reads a number"
                        .to_owned(),
                ),
            ),
            _ if detail.is_empty() => (error.kind().to_string(), None),
            _ => (detail, None),
        };
        let (message, example) = self.failed(&reason);
        (message, help.unwrap_or(example))
    }
}

/// The filters that are most used.
const FILTERS: [&str; 26] = [
    "abs", "bool", "default", "dictsort", "first", "float", "format", "int", "items", "join", "last", "length", "list",
    "lower", "map", "max", "min", "replace", "reverse", "round", "select", "sort", "split", "string", "sum", "unique",
];

/// Why a value that is not there cannot be put in.
const NOTHING: &str = "it stands for nothing";

/// Whether an operation failed as one of its values is not there.
fn is_about_nothing(error: &Error) -> bool {
    error.kind() == ErrorKind::UndefinedError || error.detail().is_some_and(|detail| detail.contains("undefined"))
}

/// Where a text begins that was given on the command line: a path there is relative to the current folder.
fn origin(text: &str, looked: &[Looked]) -> Option<Span> {
    let given = looked.iter().filter_map(|one| if let Looked::Value(node) = one { Some(node) } else { None });
    let begins = given.filter_map(|node| match &node.value {
        Value::Text(own) if node.from_command_line() && !own.is_empty() && text.starts_with(own) => {
            Some((own.len(), node))
        }
        _ => None,
    });
    begins.max_by_key(|(length, _)| *length).map(|(_, node)| node.origin)
}

/// The names of an expression, by their numbers.
#[derive(Debug)]
struct Given {
    values: Vec<Option<Jinja>>,
    record: Shared,
}

impl Object for Given {
    fn get_value(self: &Arc<Self>, name: &Jinja) -> Option<Jinja> {
        let at = place(name.as_str()?)?;
        let value = self.values.get(at)?;
        lock(&self.record).touched.push(at);
        value.clone()
    }
}

/// A list or mapping among params, or the attributes of a matrix value.
#[derive(Debug)]
struct Tree {
    root: Arc<Node>,
    /// The number of the item at every step from the root.
    at: Vec<usize>,
    /// How the expression names it.
    name: String,
    record: Shared,
}

impl Tree {
    fn value(root: &Arc<Node>, at: Vec<usize>, name: &str, record: &Shared) -> Jinja {
        Jinja::from_object(Self { root: Arc::clone(root), at, name: name.to_owned(), record: Arc::clone(record) })
    }

    fn node(&self) -> &Node {
        self.at.iter().fold(&self.root, |node, at| match &node.value {
            Value::List(items) => &items[*at],
            Value::Map(entries) => &entries[*at].1,
            _ => node,
        })
    }

    /// The item with this number.
    fn item(&self, at: usize, node: &Node, name: &dyn Fn() -> String) -> Option<Jinja> {
        match &node.value {
            Value::List(_) | Value::Map(_) => {
                let deeper = self.at.iter().copied().chain([at]).collect();
                Some(Self::value(&self.root, deeper, &name(), &self.record))
            }
            Value::Text(text) if refers_to_results(text) => {
                let mut record = lock(&self.record);
                match record.settled.get(&node.span) {
                    Some(settled) => return Some(single(settled)),
                    None => record.unsettled = Some(node.clone()),
                }
                None
            }
            Value::Wrong => {
                lock(&self.record).wrong = true;
                None
            }
            _ => Some(single(node)),
        }
    }
}

impl Object for Tree {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        if matches!(self.node().value, Value::List(_)) { ObjectRepr::Seq } else { ObjectRepr::Map }
    }

    fn get_value(self: &Arc<Self>, key: &Jinja) -> Option<Jinja> {
        match &self.node().value {
            Value::List(items) => {
                let at = key.as_usize()?;
                self.item(at, items.get(at)?, &|| format!("{}.{at}", self.name))
            }
            Value::Map(entries) => {
                let name = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
                if let Some(at) = entries.iter().position(|(key, _)| key.text == name) {
                    return self.item(at, &entries[at].1, &|| format!("{}.{name}", self.name));
                }
                let known: Vec<&str> = entries.iter().map(|(key, _)| key.text.as_str()).collect();
                let told = (format!("`{}` has no `{name}`", self.name), suggest(&name, "there", known));
                lock(&self.record).missed = Some(told);
                None
            }
            _ => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match &self.node().value {
            Value::List(items) => Enumerator::Seq(items.len()),
            Value::Map(entries) => Enumerator::Values(entries.iter().map(|(key, _)| Jinja::from(&key.text)).collect()),
            _ => Enumerator::Empty,
        }
    }
}

/// A single value, or nothing, as the crate has it.
fn single(node: &Node) -> Jinja {
    match &node.value {
        Value::Bool(value) => Jinja::from(*value),
        Value::Int(value) => Jinja::from(*value),
        Value::Float(value) => Jinja::from(*value),
        Value::Text(text) => Jinja::from(text),
        Value::Null | Value::List(_) | Value::Map(_) | Value::Wrong | Value::Awaited => Jinja::from(()),
    }
}

#[cfg(test)]
mod tests;
