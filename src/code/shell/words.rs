//! One word of a text of the shell: quotes, variables, commands in it. The part of the reader in [`super::syntax`] that
//! is below commands.

use std::borrow::Cow;

use super::syntax::{DEPTH_MAX, End, Piece, Reader, Word, is_blank, is_operator, parse};

impl<'a> Reader<'a> {
    /// A word; `inside` is of `${x:-word}`, which ends with a brace only.
    pub(super) fn word(&mut self, inside: bool) -> Word<'a> {
        let start = self.at;
        while self.peek().is_some_and(is_plain) {
            self.at += 1;
        }
        let ends = |byte: u8| if inside { byte == b'}' } else { is_blank(byte) || is_operator(byte) };
        if self.peek().is_none_or(ends) {
            return Word::Plain(Cow::Borrowed(&self.text[start..self.at]));
        }
        let mut word = Making::default();
        word.push_str(&self.text[start..self.at]);
        if start == self.at && self.peek() == Some(b'~') {
            self.at += 1;
            match self.peek() {
                None | Some(b'/' | b' ' | b'\n' | b';' | b')') => {
                    word.push(Piece::Variable { name: "HOME", quoted: true });
                }
                Some(_) => word.push_str("~"),
            }
        }
        while let Some(byte) = self.peek() {
            match byte {
                _ if ends(byte) => break,
                b'\\' => {
                    self.at += 1;
                    match self.peek_char() {
                        Some('\n') | None => self.at = (self.at + 1).min(self.text.len()),
                        Some(c) => {
                            word.push_char(c);
                            self.at += c.len_utf8();
                        }
                    }
                }
                b'\'' => {
                    let end = self.rest()[1..].find('\'').map_or(self.rest().len(), |found| found + 1);
                    word.push_str(&self.rest()[1..end]);
                    self.at = (self.at + end + 1).min(self.text.len());
                }
                b'"' => self.quoted(&mut word),
                b'$' | b'`' => self.expansion(&mut word, false),
                b'*' | b'?' => {
                    word.push(Piece::Glob(char::from(byte)));
                    self.at += 1;
                }
                b'{' => self.brace(&mut word),
                _ => {
                    let Some(c) = self.peek_char() else { break };
                    word.push_char(c);
                    self.at += c.len_utf8();
                }
            }
        }
        word.into_word()
    }

    /// `{a,b}` and `{1..3}` are several words; any other brace is text.
    fn brace(&mut self, word: &mut Making<'a>) {
        let body = self.rest().find('}').map(|end| &self.rest()[..=end]);
        let several =
            |body: &&str| (body.contains(',') || body.contains("..")) && !body.contains([' ', '\n', '\'', '"']);
        match body.filter(several) {
            Some(body) => {
                word.push(Piece::Unknown(body));
                self.at += body.len();
            }
            None => {
                word.push_char('{');
                self.at += 1;
            }
        }
    }

    /// A text in double quotes.
    fn quoted(&mut self, word: &mut Making<'a>) {
        self.at += 1;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    self.at += 1;
                    return;
                }
                b'\\' => {
                    self.at += 1;
                    let Some(c) = self.peek_char() else { return };
                    if !"$`\"\\\n".contains(c) {
                        word.push_char('\\');
                    }
                    if c != '\n' {
                        word.push_char(c);
                    }
                    self.at += c.len_utf8();
                }
                b'$' | b'`' => self.expansion(word, true),
                _ => {
                    let length = self.rest().bytes().take_while(|b| !b"\"\\$`".contains(b)).count();
                    word.push_str(&self.rest()[..length]);
                    self.at += length;
                }
            }
        }
    }

    /// What a `$` or a backquote begins.
    fn expansion(&mut self, word: &mut Making<'a>, quoted: bool) {
        let start = self.at;
        if self.take("$((") {
            self.skip_past("))");
            word.push(Piece::Unknown(&self.text[start..self.at]));
        } else if self.take("$(") {
            let mut commands = Vec::new();
            self.commands(End::Paren, &mut commands);
            word.push(Piece::Output(commands));
        } else if self.take("`") {
            let end = self.rest().find('`').unwrap_or(self.rest().len());
            let inner = &self.rest()[..end];
            self.at = (self.at + end + 1).min(self.text.len());
            let nested = if inner.contains('\\') || self.depth == DEPTH_MAX { None } else { Some(parse(inner)) };
            word.push(match nested {
                Some(nested) => Piece::Output(nested.commands),
                None => Piece::Unknown(&self.text[start..self.at]),
            });
        } else if self.rest().starts_with("${") {
            self.braced(word, quoted);
        } else if !quoted && (self.rest().starts_with("$'") || self.rest().starts_with("$\"")) {
            self.at += 1;
            if self.peek() == Some(b'"') {
                return self.quoted(word);
            }
            let end = self.rest()[1..].find('\'').map_or(self.rest().len(), |found| found + 2);
            self.at += end;
            let inner = self.text[start..self.at].trim_start_matches("$'").trim_end_matches('\'');
            if inner.contains('\\') { word.push(Piece::Unknown(inner)) } else { word.push_str(inner) }
        } else {
            let rest = &self.rest()[1..];
            let named = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
            let first = rest.bytes().next();
            let length = match first {
                Some(b'0'..=b'9' | b'@' | b'*' | b'#' | b'?' | b'!' | b'$' | b'-') => 1,
                _ => named,
            };
            self.at += 1 + length;
            if length == 0 { word.push_str("$") } else { word.push(Piece::Variable { name: &rest[..length], quoted }) }
        }
    }

    /// `${...}`.
    fn braced(&mut self, word: &mut Making<'a>, quoted: bool) {
        let start = self.at;
        self.at += 2;
        let is_name = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_' || b"@*.-".contains(b);
        // A name of the shell has no dot or dash; a placeholder of the pipeline that is not filled in yet may.
        let wide = self.rest().bytes().take_while(is_name).count();
        if self.rest()[wide..].starts_with('}') && self.rest()[..wide].contains('.') {
            self.at += wide + 1;
            return word.push(Piece::Variable { name: &self.text[start + 2..self.at - 1], quoted });
        }
        let named = self.rest().bytes().take_while(|b| b.is_ascii_alphanumeric() || b"_@*".contains(b)).count();
        let name = &self.rest()[..named];
        self.at += named;
        let _ = self.take("[0]") || self.take("[@]") || self.take("[*]");
        if !name.is_empty() && self.take("}") {
            return word.push(Piece::Variable { name, quoted });
        }
        if !name.is_empty() && self.take("%/*}") {
            return word.push(Piece::Folder(name));
        }
        let default = [":-", ":=", "-", "="].into_iter().any(|sign| self.take(sign));
        if default && !name.is_empty() && self.depth < DEPTH_MAX {
            self.depth += 1;
            let inner = self.word(true);
            self.depth -= 1;
            let _ = self.take("}");
            return word.push(Piece::Default { name, word: Box::new(inner) });
        }
        let mut open = 1;
        while open > 0 {
            match self.peek_char() {
                None => break,
                Some('{') => open += 1,
                Some('}') => open -= 1,
                Some(_) => {}
            }
            self.at += self.peek_char().map_or(0, char::len_utf8);
        }
        word.push(Piece::Unknown(&self.text[start..self.at]));
    }
}

/// A word while it is read.
#[derive(Default)]
struct Making<'a> {
    pieces: Vec<Piece<'a>>,
}

impl<'a> Making<'a> {
    fn push(&mut self, piece: Piece<'a>) {
        self.pieces.push(piece);
    }

    fn push_str(&mut self, text: &'a str) {
        match self.pieces.last_mut() {
            _ if text.is_empty() => {}
            Some(Piece::Text(before)) => before.to_mut().push_str(text),
            _ => self.pieces.push(Piece::Text(Cow::Borrowed(text))),
        }
    }

    fn push_char(&mut self, c: char) {
        match self.pieces.last_mut() {
            Some(Piece::Text(before)) => before.to_mut().push(c),
            _ => self.pieces.push(Piece::Text(Cow::Owned(c.to_string()))),
        }
    }

    fn into_word(mut self) -> Word<'a> {
        match self.pieces.as_mut_slice() {
            [] => Word::Plain(Cow::Borrowed("")),
            [Piece::Text(text)] => Word::Plain(std::mem::take(text)),
            _ => Word::Made(self.pieces),
        }
    }
}

/// Bytes that mean themselves wherever they stand in a word.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'_' | b'-' | b'.' | b'/' | b'=' | b':' | b',' | b'+' | b'%' | b'@' | b'[' | b']' | b'^' | b'!'
        )
}
