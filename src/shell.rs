//! Putting values into a text for the shell so that they are never read as syntax, wherever in the text they stand.
//!
//! Follows quotes, substitutions, comments and here-documents as far as that is needed to know how a value is to be
//! quoted. Where that cannot be told, a value that needs quotes is refused, never pasted.

/// Where in a text for the shell the next character stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Context {
    /// Between words, or in one without quotes; the same in `$(...)`.
    Plain,
    /// In double quotes.
    Double,
    /// In single quotes.
    Single,
    /// In `$'...'`, in backquotes, in `${...}` of the shell, in `$((...))` or where a `case` may have closed a bracket.
    Unclear,
    /// In a comment.
    Comment,
}

/// Reads a text for the shell piece by piece.
#[derive(Debug)]
pub struct Quoter {
    /// What is open, the innermost last: never empty.
    open: Vec<Context>,
    /// The end of the word that is being read, to see `case` and `<<`.
    word: String,
    /// Whether a here-document was begun: its text is not told from what follows.
    heredoc: bool,
    escaped: bool,
}

impl Default for Quoter {
    fn default() -> Self {
        Self { open: vec![Context::Plain], word: String::new(), heredoc: false, escaped: false }
    }
}

impl Quoter {
    fn context(&self) -> Context {
        self.open.last().copied().unwrap_or(Context::Plain)
    }

    /// Reads text that stands in the command as it is.
    pub fn literal(&mut self, text: &str) {
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            if std::mem::take(&mut self.escaped) {
                self.word.push(c);
                continue;
            }
            match self.context() {
                Context::Single => self.close_at(c, '\''),
                Context::Comment => self.close_at(c, '\n'),
                Context::Unclear => {}
                Context::Double => self.in_double(c, chars.peek().copied()),
                Context::Plain => self.in_plain(c, chars.peek().copied()),
            }
        }
    }

    fn close_at(&mut self, c: char, end: char) {
        if c == end {
            self.open.pop();
        }
    }

    fn in_double(&mut self, c: char, next: Option<char>) {
        match (c, next) {
            ('\\', _) => self.escaped = true,
            ('"', _) => drop(self.open.pop()),
            ('$', Some('(')) => "$".clone_into(&mut self.word),
            ('(', _) if self.word == "$" => self.open_bracket(next),
            ('$', Some('{')) | ('`', _) => self.open.push(Context::Unclear),
            _ => self.word.clear(),
        }
    }

    fn in_plain(&mut self, c: char, next: Option<char>) {
        match c {
            '\\' => self.escaped = true,
            '"' => self.open.push(Context::Double),
            '`' => self.open.push(Context::Unclear),
            '\'' | '{' if self.word.ends_with('$') => self.open.push(Context::Unclear),
            '\'' => self.open.push(Context::Single),
            '#' if self.word.is_empty() => self.open.push(Context::Comment),
            '(' if self.word.ends_with('$') => self.open_bracket(next),
            '(' => self.open.push(Context::Plain),
            ')' if self.open.len() > 1 => {
                self.open.pop();
                ")".clone_into(&mut self.word);
                return;
            }
            '<' if self.word.ends_with('<') && next != Some('<') && !self.word.ends_with("<<") => self.heredoc = true,
            _ => {}
        }
        if c.is_whitespace() || ";&|()".contains(c) {
            // In a `case` a bracket closes that was never opened.
            if self.word == "case" && self.open.len() > 1 {
                self.open.push(Context::Unclear);
            }
            self.word.clear();
        } else {
            self.word.push(c);
        }
    }

    fn open_bracket(&mut self, next: Option<char>) {
        self.word.clear();
        self.open.push(if next == Some('(') { Context::Unclear } else { Context::Plain });
    }

    /// `value` as it is to stand here.
    ///
    /// # Errors
    /// Where it cannot be put.
    pub fn value(&mut self, value: &str) -> Result<String, &'static str> {
        self.word.push('v');
        if is_plain(value) {
            return Ok(value.to_owned());
        }
        if self.heredoc {
            return Err("a here-document");
        }
        match self.context() {
            Context::Plain if !self.escaped => Ok(quote(value)),
            Context::Double if !self.escaped => Ok(in_double_quotes(value)),
            Context::Single => Ok(value.replace('\'', "'\\''")),
            // Nothing reads it.
            Context::Comment => Ok(value.replace('\n', " ")),
            _ => Err("backquotes, arithmetic or another expansion of the shell"),
        }
    }

    /// Several words. One word is as good as its value.
    ///
    /// # Errors
    /// Where they cannot be put.
    pub fn values(&mut self, values: &[String]) -> Result<String, &'static str> {
        match (values, self.context()) {
            ([one], _) => self.value(one),
            (several, Context::Plain) => {
                let quoted = several.iter().map(|value| self.value(value)).collect::<Result<Vec<_>, _>>();
                Ok(quoted?.join(" "))
            }
            _ => Err("quotes, as it is several paths: take these quotes away"),
        }
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-./=:,+@%".contains(&b))
}

/// `text` as one word of the shell, whatever is in it.
#[must_use]
pub fn quote(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

fn in_double_quotes(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if "\\\"$`".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const NASTY: [&str; 14] = [
        "a b",
        "$(touch x)",
        "`id`",
        "a'b",
        "\"",
        ";rm",
        "",
        "\n",
        "-n",
        "*",
        "\\",
        "'; echo no; '",
        "\"; echo no; \"",
        "!$#",
    ];

    /// What `sh` makes of the pieces before and after a value.
    fn shown(before: &str, value: &str, after: &str) -> Result<String, &'static str> {
        let mut quoter = Quoter::default();
        quoter.literal(before);
        let script = format!("{before}{}{after}", quoter.value(value)?);
        let output = Command::new("sh").arg("-c").arg(&script).output().expect("there is a shell");
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    #[test]
    fn a_value_reaches_a_program_as_it_is_wherever_it_stands() {
        let places = [
            ("printf %s ", ""),
            ("printf '%s' ", ""),
            ("printf %s \"", "\""),
            ("printf %s '", "'"),
            ("# it's a \"comment\"\nprintf %s ", ""),
            ("printf %s \"$(printf '%s.' ", ")\" | sed '$s/\\.$//' #"),
            ("(printf %s ", ")"),
            ("x=\"it's\"; printf %s ", ""),
            ("x='\"'; printf %s \"", "\""),
            ("x=\\'; printf %s ", ""),
            ("case a in a) printf %s ", ";; esac"),
            ("printf %s a#b >&2; printf %s ", ""),
        ];
        for (before, after) in places {
            for value in NASTY.iter().filter(|value| !after.contains("sed") || !value.contains('\n')) {
                assert_eq!(shown(before, value, after).as_deref(), Ok(*value), "{before}");
            }
        }
    }

    #[test]
    fn where_no_quotes_help_a_value_that_needs_them_is_refused_and_a_plain_one_is_not() {
        let places = [
            "cat <<END\n",
            "echo `echo ",
            "echo $((1 + ",
            "echo ${x:-",
            "echo \"${x:-",
            "echo $'",
            "echo $(case a in a) echo ",
            "echo \"`echo ",
            "cat <<-'END'\nx\nEND\necho ",
        ];
        for before in places {
            let mut quoter = Quoter::default();
            quoter.literal(before);
            assert!(quoter.value("$(id)").is_err(), "{before}");
            assert_eq!(quoter.value("3.5"), Ok("3.5".to_owned()), "{before}");
        }
        let mut quoter = Quoter::default();
        quoter.literal("cat <<< ");
        assert!(quoter.value("a b").is_ok(), "a here-string is no here-document");
    }

    #[test]
    fn several_paths_are_several_words_and_fit_into_no_quotes() {
        let paths = ["a b".to_owned(), "c".to_owned()];
        let mut quoter = Quoter::default();
        quoter.literal("cat ");
        assert_eq!(quoter.values(&paths), Ok("'a b' c".to_owned()));
        quoter.literal(" \"");
        assert!(quoter.values(&paths).is_err());
        assert_eq!(quoter.values(&paths[..1]), Ok("a b".to_owned()));
    }
}
