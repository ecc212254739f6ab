//! What a file of Python imports, read from its text. Tolerates errors, runs nothing, looks at no disk, and does not
//! know which of the imported modules are local.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tree_sitter::{Node, Parser, Tree};

use super::places::{ComputedPath, Expressions, Names, arguments, named_argument};

/// What a file of Python imports and changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Its imports, each once.
    pub imports: BTreeSet<Import>,
    /// Folders that it adds to `sys.path`.
    pub folders: BTreeSet<ComputedPath>,
    /// Files of Python that it runs by their path.
    pub files: BTreeSet<ComputedPath>,
    /// Commands that it runs, with their lines.
    pub commands: Vec<(usize, Order)>,
    /// What `from it import *` imports.
    pub exports: Exports,
    /// What cannot be told, with its line.
    pub doubts: BTreeSet<(usize, String)>,
}

/// One import.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Import {
    /// How many dots stand before the name.
    pub level: usize,
    /// The module; may be empty behind dots.
    pub module: String,
    /// What is taken from it.
    pub names: Taken,
}

/// What an import takes from a module.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Taken {
    /// The module itself.
    Itself,
    /// A name, which may be a module of a package.
    Name(String),
    /// `*`.
    All,
    /// A module of it whose name is computed and begins so.
    Starting(String),
}

/// What a package exports to `import *`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exports {
    /// It does not say.
    #[default]
    Unsaid,
    /// These names.
    Names(BTreeSet<String>),
    /// Names that it computes.
    Computed,
}

/// A command that Python runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// A text of the shell.
    Shell(String),
    /// Words; `None` for those that only a run can tell.
    Words(Vec<Option<ComputedPath>>),
}

/// Stands for a value that only a run can tell, in a text of the shell: as a placeholder of a pipeline does.
pub const UNKNOWN: &str = "${value.unknown}";

/// Texts in texts (`exec("...")`) that are read.
const DEPTH_MAX: usize = 8;

thread_local! {
    static PARSER: RefCell<Parser> = RefCell::new({
        let mut parser = Parser::new();
        parser.set_language(&tree_sitter_python::LANGUAGE.into()).expect("the grammar fits the parser it is built with");
        parser
    });
}

/// Reads the text of a file.
pub fn read(text: &[u8]) -> Module {
    read_at(text, 0)
}

fn parse(text: &[u8]) -> Option<Tree> {
    PARSER.with_borrow_mut(|parser| parser.parse(text, None))
}

fn read_at(text: &[u8], depth: usize) -> Module {
    let Some(tree) = parse(text) else {
        let doubt = (1, "cannot be read as Python; what it imports is not known".to_owned());
        return Module { doubts: BTreeSet::from([doubt]), ..Module::default() };
    };
    let names = names(&tree, text);
    let mut reader = Reader {
        read: Expressions { text, names: &names },
        importers: BTreeSet::from(["import_module", "__import__"]),
        module: Module::default(),
        depth,
    };
    let mut error = None;
    each(&tree, |at| {
        if at.node.is_error() || at.node.is_missing() {
            error = error.or(Some(at.node.start_position().row + 1));
        }
        reader.node(at.node);
    });
    let mut module = reader.module;
    if let Some(line) = error {
        module.imports.extend(imports_by_line(text));
        let doubt = "cannot be read as Python from here on; an import in it may be missed".to_owned();
        module.doubts.insert((line, doubt));
    }
    module
}

/// A node where it stands in its tree; a node does not know this without a search.
#[derive(Clone, Copy)]
struct At<'t> {
    node: Node<'t>,
    parent: Option<Node<'t>>,
    /// What it is of its parent.
    field: Option<&'t str>,
}

/// Every node of a tree, in the order of the text.
fn each<'t>(tree: &'t Tree, mut look: impl FnMut(At<'t>)) {
    let mut cursor = tree.walk();
    let mut above = Vec::new();
    loop {
        let node = cursor.node();
        look(At { node, parent: above.last().copied(), field: cursor.field_name() });
        if cursor.goto_first_child() {
            above.push(node);
            continue;
        }
        while !cursor.goto_next_sibling() {
            above.pop();
            if !cursor.goto_parent() {
                return;
            }
        }
    }
}

/// What a text must hold for the values of names to matter.
const COMPUTES: [&str; 14] = [
    "sys.path",
    "import_module",
    "__import__",
    "exec",
    "eval(",
    "run_path",
    "run_module",
    "spec_from_file_location",
    "SourceFileLoader",
    "load_source",
    "addsitedir",
    "subprocess",
    "os.system",
    "os.popen",
];

/// The names that get a value exactly once, by an assignment.
fn names<'t>(tree: &'t Tree, text: &'t [u8]) -> Names<'t> {
    let mut names = Names::new();
    let written = String::from_utf8_lossy(text);
    if !COMPUTES.iter().any(|word| written.contains(word)) && !written.contains("__all__") {
        return names;
    }
    each(tree, |at| {
        let (Some(parent), "identifier") = (at.parent, at.node.kind()) else { return };
        let (binds, value) = match parent.kind() {
            "assignment" => (at.field == Some("left"), parent.child_by_field_name("right")),
            "augmented_assignment" | "for_statement" | "for_in_clause" => (at.field == Some("left"), None),
            "named_expression" | "default_parameter" | "typed_default_parameter" => (at.field == Some("name"), None),
            "parameters"
            | "lambda_parameters"
            | "typed_parameter"
            | "as_pattern_target"
            | "pattern_list"
            | "tuple_pattern"
            | "list_pattern"
            | "list_splat_pattern"
            | "dictionary_splat_pattern"
            | "global_statement"
            | "nonlocal_statement" => (true, None),
            "aliased_import" => (at.field == Some("alias"), None),
            _ => (false, None),
        };
        if binds {
            let name = at.node.utf8_text(text).unwrap_or_default();
            names.entry(name).and_modify(|known| *known = None).or_insert(value);
        }
    });
    names
}

/// Imports of a text that cannot be read as a whole: lines that can be read as imports by themselves.
fn imports_by_line(text: &[u8]) -> BTreeSet<Import> {
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let imports = lines.filter(|line| line.starts_with(b"import ") || line.starts_with(b"from "));
    let read = imports.filter_map(|line| {
        // The names that follow in further lines are lost; the module is not.
        let line = line.strip_suffix(b"(").map_or(line.to_vec(), |start| [start, b"*"].concat());
        let tree = parse(&line)?;
        let names = Names::new();
        let mut reader = Reader {
            read: Expressions { text: &line, names: &names },
            importers: BTreeSet::new(),
            module: Module::default(),
            depth: 0,
        };
        if tree.root_node().has_error() {
            return None;
        }
        each(&tree, |at| reader.node(at.node));
        Some(reader.module.imports)
    });
    read.flatten().collect()
}

struct Reader<'t, 'n> {
    read: Expressions<'t, 'n>,
    /// Functions that import the module whose name they are given.
    importers: BTreeSet<&'t str>,
    module: Module,
    depth: usize,
}

impl<'t> Reader<'t, '_> {
    fn text(&self, node: Node<'t>) -> &'t str {
        self.read.text_of(node)
    }

    fn node(&mut self, node: Node<'t>) {
        match node.kind() {
            "import_statement" => {
                let mut cursor = node.walk();
                for name in node.children_by_field_name("name", &mut cursor) {
                    let module = self.dotted(name);
                    self.module.imports.insert(Import { level: 0, module, names: Taken::Itself });
                }
            }
            "import_from_statement" => self.from(node),
            "call" => self.call(node),
            "assignment" | "augmented_assignment" => self.assignment(node),
            "exec_statement" => self.doubt(node, "is run as code, which is not followed"),
            _ => {}
        }
    }

    /// The dotted name in `a.b` or `a . b as c`.
    fn dotted(&self, node: Node<'t>) -> String {
        let name = if node.kind() == "aliased_import" { node.child_by_field_name("name") } else { None };
        self.text(name.unwrap_or(node)).chars().filter(|c| !c.is_whitespace() && *c != '\\').collect()
    }

    fn from(&mut self, node: Node<'t>) {
        let Some(from) = node.child_by_field_name("module_name") else { return };
        let written = self.dotted(from);
        let module = written.trim_start_matches('.').to_owned();
        let level = written.len() - module.len();
        let import = |names| Import { level, module: module.clone(), names };
        let mut cursor = node.walk();
        for name in node.children_by_field_name("name", &mut cursor) {
            let taken = self.dotted(name);
            if module == "importlib" && taken == "import_module" {
                let alias = name.child_by_field_name("alias").map(|alias| self.text(alias));
                self.importers.extend(alias);
            }
            self.module.imports.insert(import(Taken::Name(taken)));
        }
        let mut cursor = node.walk();
        if node.named_children(&mut cursor).any(|child| child.kind() == "wildcard_import") {
            self.module.imports.insert(import(Taken::All));
        }
    }

    fn doubt(&mut self, node: Node<'t>, what: &str) {
        let line = self.text(node).lines().next().unwrap_or_default().trim();
        let short: String = line.chars().take(60).collect();
        let dots = if short.len() < line.len() || self.text(node).lines().count() > 1 { "..." } else { "" };
        self.module.doubts.insert((node.start_position().row + 1, format!("`{short}{dots}` {what}")));
    }

    fn assignment(&mut self, node: Node<'t>) {
        let Some(left) = node.child_by_field_name("left").map(|left| self.text(left)) else { return };
        let right = node.child_by_field_name("right");
        match left {
            "__all__" => self.exports(right),
            "__path__" => self.doubt(node, "changes where a package's modules are looked for"),
            _ if left == "sys.path" || left.starts_with("sys.path[") => match right.map(|right| self.elements(right)) {
                Some(Some(folders)) => folders.into_iter().for_each(|folder| self.add_folder(node, folder)),
                _ => self.doubt(node, "changes where modules are looked for"),
            },
            _ => {}
        }
    }

    /// The elements of a list; `sys.path` in it is what is there before.
    fn elements(&self, node: Node<'t>) -> Option<Vec<Node<'t>>> {
        self.elements_at(node, 0)
    }

    fn elements_at(&self, node: Node<'t>, depth: usize) -> Option<Vec<Node<'t>>> {
        let node = self.read.behind(node);
        match node.kind() {
            "list" | "tuple" | "expression_list" => {
                let mut cursor = node.walk();
                let elements: Vec<Node> =
                    node.named_children(&mut cursor).filter(|child| child.kind() != "comment").collect();
                let before = |node: &Node<'t>| node.kind() == "list_splat" && self.text(*node) == "*sys.path";
                Some(elements.into_iter().filter(|element| !before(element)).collect())
            }
            "binary_operator" if depth < DEPTH_MAX => {
                let mut left = self.elements_at(node.child_by_field_name("left")?, depth + 1)?;
                left.extend(self.elements_at(node.child_by_field_name("right")?, depth + 1)?);
                Some(left)
            }
            _ if self.text(node) == "sys.path" => Some(Vec::new()),
            _ => None,
        }
    }

    fn add_folder(&mut self, statement: Node<'t>, folder: Node<'t>) {
        match self.read.place(folder) {
            Some(place) => {
                self.module.folders.insert(place);
            }
            None => self.doubt(statement, "adds a folder that only a run can tell to where modules are looked for"),
        }
    }

    fn exports(&mut self, right: Option<Node<'t>>) {
        let elements = right.and_then(|right| self.elements(right));
        let names = elements.and_then(|all| all.into_iter().map(|name| self.read.literal(name)).collect());
        let names: Option<BTreeSet<String>> = names;
        self.module.exports = match (std::mem::take(&mut self.module.exports), names) {
            (Exports::Names(mut before), Some(names)) => {
                before.extend(names);
                Exports::Names(before)
            }
            (Exports::Unsaid, Some(names)) => Exports::Names(names),
            _ => Exports::Computed,
        };
    }

    fn call(&mut self, node: Node<'t>) {
        let Some(function) = node.child_by_field_name("function") else { return };
        let (object, name) = match function.kind() {
            "identifier" => ("", self.text(function)),
            "attribute" => {
                let part = |field| function.child_by_field_name(field).map_or("", |part| self.text(part));
                (part("object"), part("attribute"))
            }
            _ => return,
        };
        let args = arguments(node);
        let arg = |at: usize, name: &str| args.get(at).copied().or_else(|| named_argument(node, name, self.read.text));
        match (object, name) {
            (_, "import_module") => self.computed_import(node, arg(0, "name"), arg(1, "package")),
            ("", name) if self.importers.contains(name) => {
                self.computed_import(node, arg(0, "name"), arg(1, "package"));
            }
            ("" | "builtins", "exec" | "eval") => self.run_text(node, args.first().copied()),
            ("" | "runpy", "run_path" | "execfile") => self.run_file(node, arg(0, "path_name")),
            ("" | "runpy", "run_module") => self.computed_import(node, arg(0, "mod_name"), None),
            (_, "spec_from_file_location") => self.run_file(node, arg(1, "location")),
            (_, "SourceFileLoader" | "load_source") => self.run_file(node, arg(1, "path")),
            ("sys.path", "append") => self.folder_argument(node, arg(0, "")),
            ("sys.path", "insert") => self.folder_argument(node, arg(1, "")),
            ("site", "addsitedir") => self.folder_argument(node, arg(0, "sitedir")),
            ("sys.path", "extend") => match arg(0, "").and_then(|list| self.elements(list)) {
                Some(folders) => folders.into_iter().for_each(|folder| self.add_folder(node, folder)),
                None => self.doubt(node, "changes where modules are looked for"),
            },
            ("sys.path", "remove" | "pop" | "clear" | "sort" | "reverse") => {
                self.doubt(node, "changes where modules are looked for");
            }
            (
                "subprocess",
                "run" | "call" | "check_call" | "check_output" | "Popen" | "getoutput" | "getstatusoutput",
            )
            | ("os", "system" | "popen") => self.command(node, arg(0, "args")),
            _ => {}
        }
    }

    fn folder_argument(&mut self, call: Node<'t>, folder: Option<Node<'t>>) {
        if let Some(folder) = folder {
            self.add_folder(call, folder);
        }
    }

    /// `import_module(name, package)` and the like.
    fn computed_import(&mut self, call: Node<'t>, name: Option<Node<'t>>, package: Option<Node<'t>>) {
        let Some((written, whole)) = name.and_then(|name| self.read.beginning(name)) else {
            return self.doubt(call, "imports a module that only a run can name");
        };
        let mut module = written.trim_start_matches('.').to_owned();
        let mut level = written.len() - module.len();
        // With a package that is named, the dots count from there; else from the file's own.
        if let Some(package) = package.filter(|_| level > 0).and_then(|package| self.read.literal(package)) {
            let parts: Vec<&str> = package.split('.').collect();
            let above = &parts[..parts.len().saturating_sub(level - 1)];
            module = if module.is_empty() { above.join(".") } else { format!("{}.{module}", above.join(".")) };
            level = 0;
        }
        let names = if whole {
            Taken::Itself
        } else {
            let (package, start) = match module.rsplit_once('.') {
                Some((package, start)) => (package.to_owned(), start.to_owned()),
                None => (String::new(), module),
            };
            if package.is_empty() && start.is_empty() && level == 0 {
                return self.doubt(call, "imports a module that only a run can name");
            }
            self.doubt(call, "imports a module that only a run can name: every local one that it may name counts");
            module = package;
            Taken::Starting(start)
        };
        self.module.imports.insert(Import { level, module, names });
    }

    /// `exec(text)`: a literal is read, and so is a file whose content it is.
    fn run_text(&mut self, call: Node<'t>, code: Option<Node<'t>>) {
        let Some(code) = code else { return };
        if let Some(text) = self.read.literal(code).filter(|_| self.depth < DEPTH_MAX) {
            let inner = read_at(text.as_bytes(), self.depth + 1);
            self.module.imports.extend(inner.imports);
            self.module.folders.extend(inner.folders);
            self.module.files.extend(inner.files);
            let line = call.start_position().row + 1;
            self.module.doubts.extend(inner.doubts.into_iter().map(|(_, doubt)| (line, doubt)));
            return;
        }
        match self.opened(self.read.behind(code), 0) {
            Some(place) => {
                self.module.files.insert(place);
            }
            None => self.doubt(call, "runs code that only a run can tell"),
        }
    }

    /// The file in `open(path).read()`, `Path(path).read_text()` or `compile(...)` of these.
    fn opened(&self, node: Node<'t>, depth: usize) -> Option<ComputedPath> {
        if node.kind() != "call" || depth == DEPTH_MAX {
            return None;
        }
        let function = node.child_by_field_name("function")?;
        let first = || arguments(node).first().copied();
        match function.kind() {
            "identifier" => match self.text(function) {
                "open" => self.read.place(first()?),
                "compile" => self.opened(self.read.behind(first()?), depth + 1),
                _ => None,
            },
            _ => {
                let object = self.read.behind(function.child_by_field_name("object")?);
                match self.text(function.child_by_field_name("attribute")?) {
                    "read" => self.opened(object, depth + 1),
                    "read_text" | "read_bytes" => self.read.place(object),
                    "open" => self.read.place(first()?),
                    _ => None,
                }
            }
        }
    }

    fn run_file(&mut self, call: Node<'t>, path: Option<Node<'t>>) {
        match path.map(|path| self.read.place(path)) {
            Some(Some(place)) => {
                self.module.files.insert(place);
            }
            Some(None) => self.doubt(call, "runs a file that only a run can name"),
            None => {}
        }
    }

    /// A command that is run. Programs that nobody can tell are no reason for doubt: most are no code of the project.
    fn command(&mut self, call: Node<'t>, command: Option<Node<'t>>) {
        let Some(command) = command.map(|command| self.read.behind(command)) else { return };
        let line = call.start_position().row + 1;
        match command.kind() {
            "list" | "tuple" => {
                let mut cursor = command.walk();
                let words: Vec<Node> =
                    command.named_children(&mut cursor).filter(|word| word.kind() != "comment").collect();
                let words = words.into_iter().map(|word| self.word(word)).collect();
                self.module.commands.push((line, Order::Words(words)));
            }
            "string" | "concatenated_string" | "binary_operator" => {
                if let Some((text, whole)) = self.read.beginning(command) {
                    let text = if whole { text } else { self.with_unknown(command).unwrap_or(text + UNKNOWN) };
                    self.module.commands.push((line, Order::Shell(text)));
                }
            }
            "call" if command.child_by_field_name("function").is_some_and(|f| self.text(f) == "shlex.split") => {
                let text = arguments(command).first().and_then(|text| self.read.literal(*text));
                self.module.commands.extend(text.map(|text| (line, Order::Shell(text))));
            }
            _ => {}
        }
    }

    fn word(&self, word: Node<'t>) -> Option<ComputedPath> {
        if self.text(word) == "sys.executable" {
            return Some(ComputedPath::python());
        }
        self.read.place(word)
    }

    /// A text with values in it: each value is one that only a run can tell.
    fn with_unknown(&self, node: Node<'t>) -> Option<String> {
        let mut text = String::new();
        let mut cursor = (node.kind() == "string").then(|| node.walk())?;
        for part in node.named_children(&mut cursor) {
            match part.kind() {
                "string_content" if self.text(part).contains('\\') => return None,
                "string_content" => text.push_str(self.text(part)),
                "interpolation" => text.push_str(UNKNOWN),
                _ => {}
            }
        }
        Some(text)
    }
}
