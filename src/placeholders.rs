//! `${...}` as it is written: where references stand in a text, and which names an expression in one holds. Only looks
//! at letters; what names mean is known in `template`.

/// A piece of a text with references.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Text as it is.
    Literal(&'a str),
    /// The path or expression between `${` and `}`.
    Reference(&'a str),
}

/// Splits a text at its references.
///
/// # Errors
/// A `${` without its `}`, or with nothing between them.
pub fn split(text: &str) -> Result<Vec<Part<'_>>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            // `$${` is a literal: keep the first `$` out and the rest in.
            if at > 1 {
                parts.push(Part::Literal(&rest[..at - 1]));
            }
            parts.push(Part::Literal(&rest[at..at + 2]));
            rest = &rest[at + 2..];
            continue;
        }
        if at > 0 {
            parts.push(Part::Literal(&rest[..at]));
        }
        let inner = &rest[at + 2..];
        let end = closing(inner).ok_or_else(|| "`${` without its `}`".to_owned())?;
        let path = inner[..end].trim();
        if path.is_empty() {
            return Err("`${}` names nothing".to_owned());
        }
        parts.push(Part::Reference(path));
        rest = &inner[end + 1..];
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest));
    }
    Ok(parts)
}

/// Where the `}` stands that closes a reference, which may hold others (`params.${matrix.setting}.lr`), and quoted
/// text with braces of its own.
fn closing(inner: &str) -> Option<usize> {
    let bytes = inner.as_bytes();
    let (mut at, mut depth) = (0, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\'' | b'"' => at += quoted(&inner[at..]) - 1,
            b'{' => depth += 1,
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}

/// The length of the quoted text with which `text` begins; all of it, when it does not end.
fn quoted(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            byte if *byte == bytes[0] => return at + 1,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

/// What names begin with.
pub const ROOTS: [&str; 3] = ["params", "matrix", "stages"];

/// A piece of an expression.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A name that is to be looked up, as far as its dots lead: `params.optimizer.lr`, or `params` alone.
    Name(&'a str),
    /// Whatever stands between names.
    Other(&'a str),
}

/// Splits an expression at its names. A name goes as far as letters, digits, `_` and `-` do, so that `params.my-rate`
/// is one: a minus has spaces around it.
#[must_use]
pub fn pieces(expression: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut at, mut from) = (0, 0);
    let mut after_dot = false;
    while let Some(c) = expression[at..].chars().next() {
        let rest = &expression[at..];
        let mut length = match c {
            '\'' | '"' => quoted(rest),
            c if is_of_name(c) && c != '-' => word(rest),
            c => c.len_utf8(),
        };
        if !after_dot && ROOTS.contains(&&rest[..length]) {
            length = path(rest);
            if from < at {
                pieces.push(Piece::Other(&expression[from..at]));
            }
            pieces.push(Piece::Name(&rest[..length]));
            from = at + length;
        }
        after_dot = c == '.' || after_dot && c.is_whitespace();
        at += length;
    }
    if from < at {
        pieces.push(Piece::Other(&expression[from..at]));
    }
    pieces
}

/// Whether what stands in a reference is a dotted path and no more.
#[must_use]
pub fn is_path(text: &str) -> bool {
    let begins = text.starts_with(|c: char| c.is_alphabetic() || c == '_');
    let plain = begins && text.chars().all(|c| is_of_name(c) || c == '.');
    let constant = ["true", "false", "none"].iter().any(|word| text.eq_ignore_ascii_case(word));
    plain && !constant || text.starts_with("stages.") && path(text) == text.len()
}

/// Whether a text may be a part of a path.
#[must_use]
pub fn is_part_of_name(text: &str) -> bool {
    text.chars().all(|c| is_of_name(c) || c == '.')
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}

/// The length of the letters, digits and `_` with which `text` begins.
fn word(text: &str) -> usize {
    text.find(|c: char| !is_of_name(c) || c == '-').unwrap_or(text.len())
}

/// The length of the dotted path with which `text` begins. That of a result has axes in brackets before its output.
fn path(text: &str) -> usize {
    let mut at = word(text);
    let is_result = &text[..at] == "stages";
    loop {
        let rest = &text[at..];
        let length = match rest.strip_prefix('.') {
            Some(name) => {
                let all = name.find(|c: char| !is_of_name(c)).unwrap_or(name.len());
                // A dash at the end is a minus, and a name before `(` is a method's.
                let own = name[..all].trim_end_matches('-').len();
                if own == 0 || name[own..].starts_with('(') {
                    return at;
                }
                1 + own
            }
            None if is_result
                && rest.starts_with('[')
                && text[..at].contains('.')
                && !text[..at].contains(".outputs.") =>
            {
                brackets(rest)
            }
            None => 0,
        };
        if length == 0 {
            return at;
        }
        at += length;
    }
}

/// The length of the brackets with which `text` begins; 0, when they do not end.
fn brackets(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at += quoted(&text[at..]) - 1,
            b']' => return at + 1,
            _ => {}
        }
        at += 1;
    }
    0
}

/// Whether a text refers to results of stages.
#[must_use]
pub fn refers_to_results(text: &str) -> bool {
    let is_result = |piece: &Piece<'_>| matches!(piece, Piece::Name(name) if name.starts_with("stages"));
    let to_result = |part: &Part<'_>| matches!(part, Part::Reference(inner) if pieces(inner).iter().any(is_result));
    text.contains("${") && text.contains("stages") && split(text).is_ok_and(|parts| parts.iter().any(to_result))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(expression: &str) -> Vec<&str> {
        let names = pieces(expression).into_iter().filter(|piece| matches!(piece, Piece::Name(_)));
        names.map(|(Piece::Name(text) | Piece::Other(text))| text).collect()
    }

    #[test]
    fn names_in_an_expression_go_as_far_as_their_dots_lead() {
        for (expression, expected) in [
            ("params.epochs * 2", vec!["params.epochs"]),
            ("params.my-rate - params.b -1", vec!["params.my-rate", "params.b"]),
            ("params[matrix.setting].lr", vec!["params", "matrix.setting"]),
            ("params.a- 1", vec!["params.a"]),
            ("params.items() | length", vec!["params"]),
            ("x.params.a + 'params.b' ~ \"matrix.c\"", vec![]),
            ("my_params.a + paramsx", vec![]),
            ("stages.t[v=\"]. x\",s=1].outputs.s.lr*2", vec!["stages.t[v=\"]. x\",s=1].outputs.s.lr"]),
            ("stages.t.outputs.s.lr[0]", vec!["stages.t.outputs.s.lr"]),
            ("[params.größe,matrix.k]", vec!["params.größe", "matrix.k"]),
        ] {
            assert_eq!(names(expression), expected, "{expression}");
        }
    }

    #[test]
    fn the_pieces_of_an_expression_are_all_of_it() {
        for expression in ["", "params", "'it\\'s' ~ params.a ~ 'x", "1 . params", "((params.a))", "stages.t[v=1"] {
            let texts = pieces(expression).into_iter().map(|(Piece::Name(text) | Piece::Other(text))| text);
            assert_eq!(texts.collect::<String>(), expression);
        }
    }

    #[test]
    fn a_reference_ends_at_its_own_brace() {
        for (text, inner) in [
            ("${params.${matrix.a}.lr}!", "params.${matrix.a}.lr"),
            ("${ {'a': 1}['a'] }!", "{'a': 1}['a']"),
            ("${'}' ~ params.a}!", "'}' ~ params.a"),
            ("${'\\'}'}!", "'\\'}'"),
            ("${stages.t[v=\"}\"].outputs.x}!", "stages.t[v=\"}\"].outputs.x"),
        ] {
            assert_eq!(split(text), Ok(vec![Part::Reference(inner), Part::Literal("!")]), "{text}");
        }
        for bad in ["${", "${'}", "${a{}", "${ }"] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_text_refers_to_results_when_a_name_in_a_reference_does() {
        for (text, refers) in [
            ("${stages.t.outputs.s.lr}", true),
            ("x ${params.a * stages.t.outputs.s.lr}", true),
            ("${params.stages.x}", false),
            ("${'stages.t'}", false),
            ("stages.t", false),
            ("$${stages.t}", false),
        ] {
            assert_eq!(refers_to_results(text), refers, "{text}");
        }
    }
}
