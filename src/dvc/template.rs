//! `${...}` as DVC reads it: names in a text, and the text around them. Only looks at letters; what names mean is known
//! in `context`.

/// A text with names in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(pub Vec<Piece>);

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Text as it is.
    Literal(String),
    /// The steps of a path, as in `train.layers[0]`, and how it was written between `${` and `}`.
    Name { steps: Vec<String>, written: String },
}

/// A reference that cannot be read: how it was written, what is wrong, and what to write.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub written: String,
    pub message: String,
    pub help: String,
}

impl Template {
    /// Reads a text. As in DVC, a `${` goes as far as the first `}` of its line; without one, and behind a backslash, it
    /// is a plain `${`.
    pub(super) fn parse(text: &str) -> Result<Self, Unreadable> {
        let mut pieces = Vec::new();
        let (mut literal, mut rest) = (String::new(), text);
        while let Some(at) = rest.find("${") {
            let (before, inner) = (&rest[..at], &rest[at + 2..]);
            let end = inner.find(['}', '\n']).filter(|end| inner[*end..].starts_with('}'));
            match (before.strip_suffix('\\'), end) {
                (Some(escaped), _) => {
                    literal.push_str(escaped);
                    literal.push_str("${");
                    rest = inner;
                }
                (None, None) => {
                    literal.push_str(&rest[..at + 2]);
                    rest = inner;
                }
                (None, Some(end)) => {
                    literal.push_str(before);
                    if !literal.is_empty() {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    }
                    let written = inner[..end].to_owned();
                    pieces.push(Piece::Name { steps: steps(&written)?, written });
                    rest = &inner[end + 1..];
                }
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self(pieces))
    }

    /// The path of a text that is one name as a whole.
    pub(super) fn whole(&self) -> Option<(&[String], &str)> {
        match self.0.as_slice() {
            [Piece::Name { steps, written }] => Some((steps, written)),
            _ => None,
        }
    }
}

/// Whether a text has a name in it.
pub(super) fn has_names(text: &str) -> bool {
    Template::parse(text).map_or(true, |template| template.0.iter().any(|piece| matches!(piece, Piece::Name { .. })))
}

const HELP: &str = "DVC reads names with dots and indexes, as `${train.layers[0]}`; `\\${` is the shell's own `${`";

/// `a.b[0]` as its steps `a`, `b` and `0`.
fn steps(written: &str) -> Result<Vec<String>, Unreadable> {
    let wrong = |message: &str, help: &str| Unreadable {
        written: written.to_owned(),
        message: format!("`${{{written}}}` {message}"),
        help: help.to_owned(),
    };
    if written.contains("${") {
        return Err(wrong("has a reference in another, which DVC does not read", HELP));
    }
    let mut steps = Vec::new();
    let mut rest = written;
    // A name comes first, then names after dots and in brackets.
    let mut open = false;
    loop {
        let end = rest.find(['.', '[', ']']).unwrap_or(rest.len());
        let step = rest[..end].trim();
        if step.is_empty() {
            return Err(wrong("is no name", HELP));
        }
        steps.push(step.to_owned());
        rest = &rest[end..];
        if open {
            rest = rest.strip_prefix(']').ok_or_else(|| wrong("has a `[` without its `]`", HELP))?;
        }
        rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(steps);
        }
        open = rest.starts_with('[');
        rest = rest.strip_prefix(['.', '[']).ok_or_else(|| wrong("is no name", HELP))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Literal(text) => text.clone(),
            Piece::Name { steps, .. } => format!("<{}>", steps.join("/")),
        };
        Template::parse(text).map_or_else(|wrong| wrong.message, |template| template.0.iter().map(piece).collect())
    }

    #[test]
    fn names_are_read_with_dots_and_indexes_and_everything_else_stays() {
        for (text, expected) in [
            ("a ${b} c", "a <b> c"),
            ("${a.b[0].c}", "<a/b/0/c>"),
            ("${a[0][1]}${ b }", "<a/0/1><b>"),
            ("${my-list.x y}", "<my-list/x y>"),
            (r"\${HOME} ${x}", "${HOME} <x>"),
            (r"a\b \\${x}", r"a\b \${x}"),
            ("$HOME ${open", "$HOME ${open"),
            ("${a\n}", "${a\n}"),
            ("$${x}", "$<x>"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn references_that_dvc_does_not_read_say_so() {
        for (text, words) in [
            ("${a.${b}}", "a reference in another"),
            ("${}", "is no name"),
            ("${a..b}", "is no name"),
            ("${.a}", "is no name"),
            ("${a[0}", "without its `]`"),
            ("${a]}", "is no name"),
            ("${a[0]b}", "is no name"),
        ] {
            assert!(shown(text).contains(words), "{text}: {}", shown(text));
        }
    }
}
