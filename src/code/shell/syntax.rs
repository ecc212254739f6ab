//! A text of the shell as a flat list of the simple commands in it. Knows the syntax of POSIX and what of bash is common
//! in scripts; runs nothing, looks up nothing, and refuses nothing: what it does not understand is an unknown piece of
//! a word.

use std::borrow::Cow;

/// One word, before anything in it is expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word<'a> {
    /// Text only.
    Plain(Cow<'a, str>),
    /// Several pieces, some of which are not text.
    Made(Vec<Piece<'a>>),
}

/// A part of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Text.
    Text(Cow<'a, str>),
    /// An unquoted `*` or `?`.
    Glob(char),
    /// `$name`, `${name}`, `$1`, `$@`.
    Variable {
        /// Its name.
        name: &'a str,
        /// Whether it stands in double quotes, so that its value stays one word.
        quoted: bool,
    },
    /// `${name:-word}` and the like.
    Default {
        /// The variable.
        name: &'a str,
        /// What stands for it when it is empty or not set.
        word: Box<Word<'a>>,
    },
    /// `${name%/*}`: the folder that a path lies in.
    Folder(&'a str),
    /// `$(...)`, or the same in backquotes.
    Output(Vec<Simple<'a>>),
    /// Anything else, as it is written.
    Unknown(&'a str),
}

/// A simple command: a program with its words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Simple<'a> {
    /// Where it begins in the text.
    pub at: usize,
    /// `NAME=word` before the program or after `export`; for a loop, each value that its variable takes.
    pub assigned: Vec<(&'a str, Word<'a>)>,
    /// The program and its words.
    pub words: Vec<Word<'a>>,
    /// What it reads as its standard input.
    pub input: Option<Input<'a>>,
    /// Commands in words that are no part of `words`: `<(...)`.
    pub beside: Vec<Simple<'a>>,
}

/// The standard input of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// `< file`.
    File(Word<'a>),
    /// A here-document, by its index.
    Here(usize),
}

/// A text that has been read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text<'a> {
    /// Its simple commands in order, those of loops, branches and functions among them.
    pub commands: Vec<Simple<'a>>,
    /// The functions that it defines.
    pub functions: Vec<&'a str>,
    /// Its here-documents.
    pub here: Vec<&'a str>,
}

/// Reads a text.
#[must_use]
pub fn parse(text: &str) -> Text<'_> {
    let mut reader = Reader { text, at: 0, depth: 0, read: Text::default(), pending: Vec::new() };
    let mut commands = Vec::new();
    while reader.at < text.len() {
        let before = reader.at;
        reader.commands(End::Text, &mut commands);
        // A `)` or `;;` that closes nothing.
        if reader.at == before {
            reader.at += reader.peek_char().map_or(1, char::len_utf8);
        }
    }
    reader.read.commands = commands;
    reader.read
}

/// Where the lines of a text end.
pub struct Lines(Vec<usize>);

impl Lines {
    /// Of this text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at).collect())
    }

    /// How many lines end before a place.
    #[must_use]
    pub fn before(&self, at: usize) -> usize {
        self.0.partition_point(|end| *end < at)
    }
}

/// What ends a list of commands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Text,
    Paren,
    /// `;;` or `esac`.
    Case,
}

/// Deeper nesting is no script of anybody's.
pub(super) const DEPTH_MAX: usize = 64;

/// Words that stand before a command and are none.
const OPENERS: [&str; 10] = ["if", "then", "elif", "else", "while", "until", "do", "!", "{", "coproc"];
/// Words that end a compound command; redirections may follow.
const CLOSERS: [&str; 4] = ["fi", "done", "}", "esac"];
/// Commands whose words are assignments.
const DECLARES: [&str; 5] = ["export", "declare", "local", "readonly", "typeset"];

pub(super) struct Reader<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
    pub(super) depth: usize,
    read: Text<'a>,
    /// Here-documents whose bodies begin after this line: their index, delimiter, and whether tabs are dropped.
    pending: Vec<(usize, String, bool)>,
}

impl<'a> Reader<'a> {
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(super) fn peek_char(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(super) fn take(&mut self, token: &str) -> bool {
        let there = self.rest().starts_with(token);
        if there {
            self.at += token.len();
        }
        there
    }

    /// Blanks, continued lines and comments.
    fn skip_blanks(&mut self) {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\r') => self.at += 1,
                Some(b'\\') if self.rest().starts_with("\\\n") => self.at += 2,
                Some(b'#') => self.at += self.rest().find('\n').unwrap_or(self.rest().len()),
                _ => return,
            }
        }
    }

    fn newline(&mut self) {
        self.at += 1;
        for (index, delimiter, tabs) in std::mem::take(&mut self.pending) {
            let start = self.at;
            let mut end = self.text.len();
            for line in self.text[start..].split_inclusive('\n') {
                let bare = line.trim_end_matches(['\n', '\r']);
                let bare = if tabs { bare.trim_start_matches('\t') } else { bare };
                let line_at = self.at;
                self.at += line.len();
                if bare == delimiter {
                    end = line_at;
                    break;
                }
            }
            self.read.here[index] = &self.text[start..end];
        }
    }

    /// Reads commands up to the end of this list, and past what ends it.
    pub(super) fn commands(&mut self, end: End, out: &mut Vec<Simple<'a>>) {
        if self.depth == DEPTH_MAX {
            self.at = self.text.len();
            return;
        }
        self.depth += 1;
        loop {
            self.skip_blanks();
            match self.peek() {
                None => break,
                Some(b'\n') => self.newline(),
                Some(b')') => {
                    if end == End::Paren {
                        self.at += 1;
                    }
                    break;
                }
                Some(b';') if self.rest().starts_with(";;") || self.rest().starts_with(";&") => {
                    if end == End::Case {
                        let _ = self.take(";;&") || self.take(";;") || self.take(";&");
                        break;
                    }
                    self.at += 2;
                }
                Some(b';' | b'&' | b'|') => self.at += 1,
                Some(b'(') if self.rest().starts_with("((") => self.skip_past("))"),
                Some(b'(') => {
                    self.at += 1;
                    self.commands(End::Paren, out);
                }
                Some(_) => {
                    if end == End::Case && self.next_word_is("esac") {
                        break;
                    }
                    let before = self.at;
                    self.simple(out);
                    if self.at == before {
                        self.at += self.peek_char().map_or(1, char::len_utf8);
                    }
                }
            }
        }
        self.depth -= 1;
    }

    pub(super) fn skip_past(&mut self, token: &str) {
        self.at += self.rest().find(token).map_or(self.rest().len(), |found| found + token.len());
    }

    fn next_word_is(&self, word: &str) -> bool {
        let after = self.rest().strip_prefix(word);
        after.is_some_and(|rest| rest.bytes().next().is_none_or(|b| is_blank(b) || is_operator(b)))
    }

    /// One command, or the opening words of a compound one.
    fn simple(&mut self, out: &mut Vec<Simple<'a>>) {
        if let Some(opener) = OPENERS.iter().find(|word| self.next_word_is(word)) {
            self.at += opener.len();
            return;
        }
        if self.next_word_is("case") {
            return self.case(out);
        }
        if self.next_word_is("for") || self.next_word_is("select") {
            return self.values_of_loop(out);
        }
        if self.next_word_is("function") {
            self.at += "function".len();
            self.skip_blanks();
            let name = self.name();
            self.read.functions.push(name);
            self.skip_blanks();
            let _ = self.take("()");
            return;
        }
        if self.next_word_is("[[") {
            return self.skip_past("]]");
        }
        let mut command = Simple { at: self.at, ..Simple::default() };
        self.words_of(&mut command);
        let first = command.words.first().map(|word| if let Word::Plain(text) = word { text.as_ref() } else { "$" });
        if first.is_some_and(|first| CLOSERS.contains(&first)) {
            command.words.clear();
        }
        if !command.words.is_empty() || !command.assigned.is_empty() || !command.beside.is_empty() {
            out.push(command);
        }
    }

    /// Assignments, words and redirections up to the end of a simple command.
    fn words_of(&mut self, command: &mut Simple<'a>) {
        loop {
            self.skip_blanks();
            let Some(byte) = self.peek() else { return };
            match byte {
                b'<' | b'>' => self.redirection(command),
                b'&' if self.rest().starts_with("&>") => self.redirection(command),
                b'(' => {
                    // `name() {`: no command, but a name for those that follow.
                    if let [Word::Plain(Cow::Borrowed(name))] = command.words.as_slice() {
                        self.read.functions.push(name);
                    }
                    command.words.clear();
                    self.skip_past(")");
                    return;
                }
                b'\n' | b';' | b'&' | b'|' | b')' => return,
                _ if self.is_descriptor() => {
                    self.at += self.rest().bytes().take_while(u8::is_ascii_digit).count();
                    self.redirection(command);
                }
                _ => {
                    let declares =
                        matches!(command.words.first(), Some(Word::Plain(first)) if DECLARES.contains(&first.as_ref()));
                    let may_assign = declares || command.words.is_empty();
                    match may_assign.then(|| self.assigned_name()).flatten() {
                        Some(name) => self.assignment(name, command),
                        None => command.words.push(self.word(false)),
                    }
                }
            }
        }
    }

    /// Whether digits stand here that belong to a redirection: `2>`.
    fn is_descriptor(&self) -> bool {
        let rest = self.rest().trim_start_matches(|c: char| c.is_ascii_digit());
        rest.len() < self.rest().len() && rest.starts_with(['<', '>'])
    }

    /// The name in `name=` or `name+=`, if one stands here; moves past the sign.
    fn assigned_name(&mut self) -> Option<&'a str> {
        let rest = self.rest();
        let length = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
        let name = &rest[..length];
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let sign = ["=", "+="].into_iter().find(|sign| rest[length..].starts_with(sign))?;
        self.at += length + sign.len();
        Some(name)
    }

    fn assignment(&mut self, name: &'a str, command: &mut Simple<'a>) {
        if self.peek() != Some(b'(') {
            let word = self.word(false);
            command.assigned.push((name, word));
            return;
        }
        // An array: any of its values.
        self.at += 1;
        loop {
            self.skip_blanks();
            match self.peek() {
                None => return,
                Some(b')') => {
                    self.at += 1;
                    return;
                }
                Some(b'\n') => self.newline(),
                Some(byte) if is_operator(byte) => self.at += 1,
                Some(_) => {
                    let word = self.word(false);
                    command.assigned.push((name, word));
                }
            }
        }
    }

    fn redirection(&mut self, command: &mut Simple<'a>) {
        if self.take("<<<") {
            self.skip_blanks();
            let _ = self.word(false);
        } else if self.take("<<") {
            let tabs = self.take("-");
            self.skip_blanks();
            let delimiter = match self.word(false) {
                Word::Plain(text) => text.into_owned(),
                Word::Made(_) => return,
            };
            command.input = Some(Input::Here(self.read.here.len()));
            self.pending.push((self.read.here.len(), delimiter, tabs));
            self.read.here.push("");
        } else if self.take("<(") || self.take(">(") {
            self.commands(End::Paren, &mut command.beside);
        } else {
            let reads = self.peek() == Some(b'<') && !self.rest().starts_with("<&");
            while matches!(self.peek(), Some(b'<' | b'>' | b'&' | b'|')) {
                self.at += 1;
            }
            self.skip_blanks();
            if self.take("(") {
                return self.commands(End::Paren, &mut command.beside);
            }
            let word = self.word(false);
            if reads {
                command.input = Some(Input::File(word));
            }
        }
    }

    fn case(&mut self, out: &mut Vec<Simple<'a>>) {
        self.at += "case".len();
        self.skip_blanks();
        let _ = self.word(false);
        self.skip_blanks_and_lines();
        let _ = self.take("in");
        loop {
            self.skip_blanks_and_lines();
            if self.at >= self.text.len() || self.next_word_is("esac") {
                let _ = self.take("esac");
                return;
            }
            let _ = self.take("(");
            self.skip_pattern();
            let before = self.at;
            self.commands(End::Case, out);
            if self.at == before && !self.next_word_is("esac") {
                return;
            }
        }
    }

    /// The patterns of one branch of a `case`, and their `)`.
    fn skip_pattern(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b')' => {
                    self.at += 1;
                    return;
                }
                b'\n' => self.newline(),
                _ if is_blank(byte) || is_operator(byte) => self.at += 1,
                _ => {
                    let _ = self.word(false);
                }
            }
        }
    }

    fn skip_blanks_and_lines(&mut self) {
        self.skip_blanks();
        while self.peek() == Some(b'\n') {
            self.newline();
            self.skip_blanks();
        }
    }

    /// `for name in words`: each of the words is a value of the name.
    fn values_of_loop(&mut self, out: &mut Vec<Simple<'a>>) {
        let mut command = Simple { at: self.at, ..Simple::default() };
        self.at += if self.next_word_is("for") { 3 } else { 6 };
        self.skip_blanks();
        if self.rest().starts_with("((") {
            return self.skip_past("))");
        }
        let name = self.name();
        self.skip_blanks_and_lines();
        if !self.next_word_is("in") {
            return;
        }
        self.at += 2;
        self.words_of(&mut command);
        command.assigned = std::mem::take(&mut command.words).into_iter().map(|word| (name, word)).collect();
        out.push(command);
    }

    fn name(&mut self) -> &'a str {
        let length = self.rest().bytes().take_while(|b| !is_blank(*b) && !is_operator(*b)).count();
        let name = &self.rest()[..length];
        self.at += length;
        name
    }
}

pub(super) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

pub(super) const fn is_operator(byte: u8) -> bool {
    matches!(byte, b';' | b'&' | b'|' | b'<' | b'>' | b'(' | b')')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A word as it is written here: `$x` for variables, `$(...)` for commands.
    fn shown(word: &Word) -> String {
        let Word::Made(pieces) = word else {
            let Word::Plain(text) = word else { return String::new() };
            return text.to_string();
        };
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.to_string(),
            Piece::Glob(c) => format!("<{c}>"),
            Piece::Variable { name, quoted } => format!("<{}{name}>", if *quoted { "" } else { "$" }),
            Piece::Default { name, word } => format!("<{name} or {}>", shown(word)),
            Piece::Folder(name) => format!("<folder of {name}>"),
            Piece::Output(commands) => format!("<{}>", all(commands).join("; ")),
            Piece::Unknown(text) => format!("<? {text}>"),
        };
        pieces.iter().map(piece).collect()
    }

    fn all(commands: &[Simple]) -> Vec<String> {
        let one = |command: &Simple| {
            let assigned = command.assigned.iter().map(|(name, word)| format!("{name}={}", shown(word)));
            let words = command.words.iter().map(shown);
            assigned.chain(words).collect::<Vec<_>>().join("|")
        };
        commands.iter().flat_map(|command| [vec![one(command)], all(&command.beside)].concat()).collect()
    }

    #[track_caller]
    fn reads(text: &str, expected: &[&str]) {
        assert_eq!(all(&parse(text).commands), expected, "{text}");
    }

    #[test]
    fn words_are_cut_and_quotes_taken_away_as_the_shell_does() {
        reads("a b  c\td", &["a|b|c|d"]);
        reads("a 'b c' \"d e\" f\\ g 'h'\"i\"j \"\" ''", &["a|b c|d e|f g|hij||"]);
        reads("a x=1 --y=2 z=", &["a|x=1|--y=2|z="]);
        reads("x=1 y='a b' a z=3", &["x=1|y=a b|a|z=3"]);
        reads("export x=1 y; local z=$x", &["x=1|export|y", "z=<$x>|local"]);
        reads("a \"b\\\"c\\$d\\e\" 'f\\g'", &["a|b\"c$d\\e|f\\g"]);
        reads("a \\\n  b", &["a|b"]);
        reads("a # b\nc#d", &["a", "c#d"]);
        reads("x+=(a b) y", &["x=a|x=b|y"]);
        reads("a $'b' $\"c\" {d,e} f{g", &["a|b|c|<? {d,e}>|f{g"]);
        reads("é ü'ö'ß", &["é|üöß"]);
    }

    #[test]
    fn commands_are_found_wherever_they_stand() {
        reads("a; b && c || d | e & f", &["a", "b", "c", "d", "e", "f"]);
        reads("a\n\nb;;c", &["a", "b", "c"]);
        reads("(a; (b)); { c; }", &["a", "b", "c"]);
        reads("if a; then b; elif c; then d; else e; fi", &["a", "b", "c", "d", "e"]);
        reads("while ! a; do b; done > x; until c; do d; done", &["a", "b", "c", "d"]);
        reads("for x in 1 \"2 3\" $y; do a; done", &["x=1|x=2 3|x=<$y>", "a"]);
        reads("for x; do a; done; for ((i=0; i<3; i++)); do b; done", &["a", "b"]);
        reads("case $x in\n a | 'b)') a;;\n (c) b ;&\n *) d\nesac\ne", &["a", "b", "d", "e"]);
        reads("f() { a; }\nfunction g() { b; }\nfunction h { c; }; f", &["a", "b", "c", "f"]);
        assert_eq!(parse("f() { a; }; function g { b; }").functions, ["f", "g"]);
        reads("[[ $a == (b|c) && -f d ]] && e; ((a < b)); f", &["e", "f"]);
        reads("a < b > c 2>&1 2> d &> e >> f >| g <&3 h", &["a|h"]);
        reads("a <(b c) >(d)", &["a", "b|c", "d"]);
        reads("ifx; dox; donex; fi2", &["ifx", "dox", "donex", "fi2"]);
    }

    #[test]
    fn what_is_expanded_is_told_from_text() {
        reads("$a \"$b\" ${c} '$d' \\$e $1 \"$@\"", &["<$a>|<b>|<$c>|$d|$e|<$1>|<@>"]);
        reads("x${a}y \"x $a y\"", &["x<$a>y|x <a> y"]);
        reads(
            "${a:-b} ${a-\"c d\"} ${a:=${e}} ${a%/*} ${a##*/} ${#a} ${a[0]} ${a[@]}",
            &["<a or b>|<a or c d>|<a or <$e>>|<folder of a>|<? ${a##*/}>|<? ${#a}>|<$a>|<$a>"],
        );
        reads("$(a b) `c d` \"$(e \"f g\")\" $((1 + 2))", &["<a|b>|<c|d>|<e|f g>|<? $((1 + 2))>"]);
        reads("*.py a?b ~/x ~y '*'", &["<*>.py|a<?>b|<HOME>/x|~y|*"]);
        reads("${inputs.a-b} ${outputs.c}", &["<$inputs.a-b>|<$outputs.c>"]);
    }

    #[test]
    fn texts_for_standard_input_are_told_from_commands() {
        let text = "a <<E b\n$c\nE\nd <<-'F' | e <<G\n\tf\n\tF\ng\nG\nh < i";
        let read = parse(text);
        assert_eq!(all(&read.commands), ["a|b", "d", "e", "h"]);
        assert_eq!(read.here, ["$c\n", "\tf\n", "g\n"]);
        let inputs: Vec<&Option<Input>> = read.commands.iter().map(|command| &command.input).collect();
        assert_eq!(inputs[..3], [&Some(Input::Here(0)), &Some(Input::Here(1)), &Some(Input::Here(2))]);
        assert_eq!(inputs[3], &Some(Input::File(Word::Plain("i".into()))));
        reads("a <<< \"b c\" d", &["a|d"]);
    }

    #[test]
    fn the_lines_before_a_command_are_counted() {
        let text = "a\nb 'x\ny'\nc";
        let lines: Vec<usize> = parse(text).commands.iter().map(|command| Lines::of(text).before(command.at)).collect();
        assert_eq!(lines, [0, 1, 3]);
    }
}
