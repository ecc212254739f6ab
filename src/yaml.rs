//! YAML text -> a tree of values, each with its place in the text. The only file that knows the YAML crate.
//!
//! Strict YAML 1.2: no implicit booleans (`no` is text), no `.nan`, no duplicate keys, ceilings on size, depth and
//! aliases. Everything wrong that can be told at once is told at once.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_yaml::{Location, Options, Spanned};

use crate::problem::{Problem, Problems, Span, TextId};

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Its place in the pipeline's text or in a `--set` argument.
    pub span: Span,
    /// Where the value, or the beginning of this text, was written before a `${...}` brought it to `span`.
    pub origin: Span,
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
    /// Something wrong that has been told. It fits everywhere, so that one mistake is told once.
    Wrong,
    /// What an output of another stage gives once that stage has run. It fits everywhere until then.
    Awaited,
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
    /// A value that stands where it was written.
    #[must_use]
    pub const fn new(value: Value, span: Span) -> Self {
        Self { value, span, origin: span }
    }

    /// Whether the value, or the beginning of this text, was given on the command line: then a relative path is
    /// relative to the current folder rather than to the project's root.
    #[must_use]
    pub const fn from_command_line(&self) -> bool {
        self.origin.is_argument()
    }

    /// A problem with this value: where it is used, and where it was written if that is elsewhere. A value from the
    /// command line is shown there: that is where it can be changed.
    pub fn problem(&self, message: impl Into<String>) -> Problem {
        match self.origin {
            origin if origin == self.span => Problem::new(message, origin),
            origin if origin.is_argument() => Problem::new(message, origin).also(self.span, "used here"),
            origin => Problem::new(message, self.span).also(origin, "its value"),
        }
    }

    /// Whether something wrong that has been told is in it.
    #[must_use]
    pub fn holds_wrong(&self) -> bool {
        self.holds(&Value::Wrong)
    }

    /// Whether something in it is not known yet.
    #[must_use]
    pub fn holds_awaited(&self) -> bool {
        self.holds(&Value::Awaited)
    }

    fn holds(&self, single: &Value) -> bool {
        match &self.value {
            Value::List(items) => items.iter().any(|item| item.holds(single)),
            Value::Map(entries) => entries.iter().any(|(_, node)| node.holds(single)),
            value => value == single,
        }
    }

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
            Value::Wrong => "wrong",
            Value::Awaited => "not known yet",
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

    /// The text that a scalar has in names and templates; `None` for all that is no single value.
    #[must_use]
    pub fn scalar_text(&self) -> Option<String> {
        match &self.value {
            Value::Bool(b) => Some(b.to_string()),
            Value::Int(i) => Some(i.to_string()),
            Value::Float(f) => Some(f.to_string()),
            Value::Text(t) => Some(t.clone()),
            Value::Null | Value::List(_) | Value::Map(_) | Value::Wrong | Value::Awaited => None,
        }
    }

    /// The same value without its places.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null | Value::Wrong | Value::Awaited => Json::Null,
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
    let node = read(text, TextId::File(0), &mut problems).unwrap_or(Node::new(Value::Wrong, Span::file(0, 0)));
    problems.into_result(node)
}

/// As [`parse`], for a caller who goes on with what can be understood: a second value of a key is left out, and
/// other bad values are [`Value::Wrong`]. `None` when the text is no YAML at all. Its places are places of `id`.
pub fn read(text: &str, id: TextId, problems: &mut Problems) -> Option<Node> {
    let document = Document { text, id };
    match serde_yaml::from_str_with_options::<Raw>(text, options()) {
        Ok(raw) => Some(document.convert(raw.0, problems)),
        Err(error) => {
            problems.push(document.syntax_problem(&error));
            None
        }
    }
}

fn options() -> Options {
    serde_yaml::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        // A `!tag` would else be passed over as if it were not there.
        reject_unsupported_tags: true,
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

/// What the YAML crate says, for a reader who knows pipelines: (message, what to do).
fn in_our_words(message: &str, line: &str) -> (String, &'static str) {
    const WORDS: &[(&str, &str, &str)] = &[
        ("multiple YAML documents", "a pipeline is one YAML document, and another begins here", "remove the `---`"),
        ("tabs disallowed", "a tab stands where YAML wants spaces", "indent with spaces"),
        ("budget breached: Depth", "lists and mappings are nested more than 64 deep", "write it flatter"),
        ("budget breached", "the file is larger than a pipeline may be", "let a matrix make the stages"),
        ("alias replay limit", "aliases (`*name`) repeat more than a pipeline may hold", "use `params:` instead"),
        ("unsupported tag", "a tag (`!name`) means nothing here", "remove it, or quote a text that begins with `!`"),
        ("recursive references", "an alias stands inside what it names", "use `params:` instead"),
        (
            "mapping values are not allowed",
            "a second `:` stands where a value goes on, or a line is indented too far",
            "quote a text that holds `: `, and indent all keys of a mapping alike",
        ),
        ("after single-quoted", "a quoted text goes on after its end", "write `''` for a quote inside single quotes"),
    ];
    if let Some((_, message, help)) = WORDS.iter().find(|(theirs, ..)| message.contains(theirs)) {
        return ((*message).to_owned(), help);
    }
    let help = match message {
        _ if message.contains("flow") && line.contains("${") => {
            "inside `{}` and `[]` a reference is quoted: `{epochs: \"${params.epochs}\"}`"
        }
        _ if message.contains("unexpected character") => "put the text in quotes",
        _ => "reading stopped here: look at brackets, quotes and indentation up to this place",
    };
    (message.to_owned(), help)
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

/// A text that is being read.
struct Document<'a> {
    text: &'a str,
    id: TextId,
}

impl Document<'_> {
    const fn span(&self, start: usize, end: usize) -> Span {
        Span::new(self.id, start, end)
    }

    fn syntax_problem(&self, error: &serde_yaml::Error) -> Problem {
        let mut message = error.without_snippet().to_string();
        // The crate's own "at line 3, column 5" would stand beside ours.
        if let Some(at) = message.find(" at line ") {
            message.truncate(at);
        }
        let span = error.location().map_or(self.span(0, 0), |location| self.point(location));
        let span = if message.starts_with("unsupported tag") { self.tag_before(span) } else { span };
        let line_start = self.text[..span.start].rfind('\n').map_or(0, |at| at + 1);
        let line = self.text[line_start..].split('\n').next().unwrap_or("");
        let (message, help) = in_our_words(&message, line);
        Problem::new(message, span).help(help)
    }

    /// The place of a syntax error, of which the parser knows only line and column.
    fn point(&self, location: Location) -> Span {
        let text = self.text;
        let line = (location.line() as usize).saturating_sub(1);
        let start = text.split_inclusive('\n').take(line).map(str::len).sum::<usize>();
        let rest = text[start..].split('\n').next().unwrap_or("");
        let column = (location.column() as usize).saturating_sub(1);
        let at = rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at);
        let width = rest[at..].chars().next().map_or(0, char::len_utf8);
        self.span(start + at, start + at + width)
    }

    /// The tag of a value, of which the parser knows only where the value begins; between the two an anchor may stand.
    fn tag_before(&self, value: Span) -> Span {
        let ends = |c: char| c.is_whitespace() || "{}[],".contains(c);
        let mut end = self.text[value.start..].find(ends).map_or(self.text.len(), |at| value.start + at);
        for _ in 0..4 {
            let before = &self.text[..end];
            let start = before.trim_end_matches(|c| !ends(c)).len();
            if before[start..].starts_with('!') {
                return self.span(start, end);
            }
            end = before[..start].trim_end().len();
        }
        value
    }

    fn place(&self, location: Location) -> Span {
        let text = self.text;
        let span = location.span();
        let start = span.byte_offset().unwrap_or(0).min(text.len() as u64) as usize;
        let end = start + span.byte_len().unwrap_or(0) as usize;
        let end = end.min(text.len());
        // A mapping's span can reach over many lines: its first line says enough.
        let line_end = text[start..end].find('\n').map_or(end, |at| start + at);
        self.span(start, line_end)
    }

    fn convert(&self, raw: Spanned<RawValue>, problems: &mut Problems) -> Node {
        let span = self.place(raw.referenced);
        let value = match raw.value {
            RawValue::Scalar(value) => value,
            RawValue::NotFinite(number) => {
                problems
                    .push(Problem::new(format!("{number} is not a finite number"), span).help("write a finite number"));
                Value::Wrong
            }
            RawValue::TooLarge(number) => {
                let help =
                    format!("whole numbers reach from {} to {}; quote it to keep it as text", i64::MIN, i64::MAX);
                problems.push(Problem::new(format!("{number} is too large"), span).help(help));
                Value::Wrong
            }
            RawValue::List(items) => {
                Value::List(items.into_iter().map(|item| self.convert(item.0, problems)).collect())
            }
            RawValue::Map(entries) => self.convert_map(entries, problems),
        };
        let span = self.whole(&value, span);
        Node::new(value, span)
    }

    /// The span of a list or mapping, which the parser gives as its first character: up to its closing bracket, or to
    /// the end of its last value, at most to the end of the line.
    fn whole(&self, value: &Value, span: Span) -> Span {
        let text = self.text;
        let last = match value {
            Value::List(items) => items.last().map(|item| item.span.end),
            Value::Map(entries) => entries.last().map(|(_, node)| node.span.end),
            _ => return span,
        };
        let mut end = span.end.max(last.unwrap_or(0));
        if matches!(text.as_bytes().get(span.start), Some(b'{' | b'[')) {
            // A quoted or empty last value may end before its own text does: up to the bracket nothing else can follow.
            let rest = text.get(end..).unwrap_or("");
            let closing = rest.find(['}', ']', '\n']).filter(|at| !rest[*at..].starts_with('\n'));
            end = closing.map_or(end, |at| end + at + 1);
        }
        let line_end = text[span.start..].find('\n').map_or(text.len(), |at| span.start + at);
        let end = end.clamp(span.start, line_end);
        self.span(span.start, span.start + text[span.start..end].trim_end().len())
    }

    fn convert_map(&self, entries: Vec<(Raw, Raw)>, problems: &mut Problems) -> Value {
        let mut map: Vec<(Key, Node)> = Vec::with_capacity(entries.len());
        let mut seen = std::collections::HashMap::new();
        for (key, value) in entries {
            let key = self.convert(key.0, problems);
            let value = self.convert(value.0, problems);
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
    fn a_tag_is_refused_unless_it_is_one_of_yaml_itself() {
        for (text, place) in [
            ("a: !foo x", 3),
            ("a: !foo", 3),
            ("a: !foo &b 'x y'", 3),
            ("a: !foo &b {c: d}", 3),
            ("ä: !foo\n  b: 1", 4),
            ("- 1\n- !include b.yaml", 6),
            ("a: !m {b: 1}", 3),
            ("!x {a: 1}", 0),
            ("{a: [1, !!x 2]}", 8),
        ] {
            let told = parse(text).unwrap_err();
            let problem = told.iter().next().unwrap();
            assert!(problem.message.contains("means nothing here"), "{text}: {}", problem.message);
            assert_eq!(problem.span.unwrap().start, place, "{text}");
        }
        assert_eq!(parse("a: !!str 3").unwrap().get("a").unwrap().value, Value::Text("3".into()));
        assert_eq!(parse("a: ! 3").unwrap().get("a").unwrap().value, Value::Text("3".into()));
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
