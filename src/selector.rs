//! Names of nodes, as printed and as typed: `relearn[method=pru,class=3,seed=7]`.
//!
//! Axes are printed in declaration order and read in any order. A bare stage name selects all its cells, a partial
//! list those that match, `[*]` all of them whatever the context says. Odd values are written in double quotes. On the
//! command line a `+` adds what a node needs, or what needs it.

use std::fmt;

/// Which cells of which stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// The stage.
    pub stage: String,
    /// Axis values that are asked for; `None` for `axis=*`.
    pub axes: Vec<(String, Option<String>)>,
    /// `[*]`: every cell, without matching axes of the context.
    pub all: bool,
    /// The output after `.` (in a pipeline) or `:` (on the command line).
    pub output: Option<String>,
}

impl Selector {
    /// Reads `stage`, `stage[axis=value,...]`, `stage[*]`, each with an optional output after `separator`.
    ///
    /// # Errors
    /// A sentence on what is wrong with the text.
    pub fn parse(text: &str, separator: char) -> Result<Self, String> {
        let mut rest = text.trim();
        let end = rest.find(['[', separator]).unwrap_or(rest.len());
        let stage = rest[..end].trim().to_owned();
        if stage.is_empty() {
            return Err(format!("`{text}` names no stage"));
        }
        rest = &rest[end..];
        let (mut axes, mut all) = (Vec::new(), false);
        if let Some(inner) = rest.strip_prefix('[') {
            let (found, found_all, after) = parse_axes(inner).map_err(|e| format!("`{text}`: {e}"))?;
            (axes, all, rest) = (found, found_all, after);
        }
        let output = match rest.strip_prefix(separator) {
            Some(output) if !output.trim().is_empty() => Some(output.trim().to_owned()),
            Some(_) => return Err(format!("`{text}` names no output after `{separator}`")),
            None if rest.trim().is_empty() => None,
            None => return Err(format!("`{text}`: `{rest}` was not expected")),
        };
        Ok(Self { stage, axes, all, output })
    }

    /// Whether a cell with these coordinates is meant (axes that are not named match anything).
    #[must_use]
    pub fn matches(&self, coordinates: &[(String, String)]) -> bool {
        self.axes.iter().all(|(axis, wanted)| {
            let value = coordinates.iter().find(|(name, _)| name == axis).map(|(_, value)| value);
            wanted.is_none() || value == wanted.as_ref()
        })
    }
}

/// What a name on the command line means: cells, and with a `+` before or after it what these need, or what needs them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The cells.
    pub selector: Selector,
    /// `+train`: and all that they need.
    pub upstream: bool,
    /// `train+`: and all that needs them.
    pub downstream: bool,
}

impl Selection {
    /// Reads a selector with its pluses.
    ///
    /// # Errors
    /// A sentence on what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let own = text.trim();
        let (upstream, own) = own.strip_prefix('+').map_or((false, own), |rest| (true, rest));
        let (downstream, own) = own.strip_suffix('+').map_or((false, own), |rest| (true, rest));
        Ok(Self { selector: Selector::parse(own, ':')?, upstream, downstream })
    }
}

/// A value in a JSON output of a stage, as `${...}` names it: `stages.tune[setting=mnist].outputs.settings.lr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResultName<'a> {
    /// The stage, perhaps with axes.
    pub stage: &'a str,
    /// The output.
    pub output: &'a str,
    /// The dotted path in it; empty for an output that is a single value.
    pub path: &'a str,
}

impl<'a> ResultName<'a> {
    /// Reads a reference, with or without a path.
    ///
    /// # Errors
    /// What is wrong, and what to write.
    pub fn parse(reference: &'a str) -> Result<Self, (String, String)> {
        const OUTPUTS: &str = ".outputs.";
        let rest = reference.strip_prefix("stages.").unwrap_or(reference);
        // A value in the brackets may hold dots.
        let from = rest.find('[').and_then(|open| rest[open..].rfind(']').map(|close| open + close)).unwrap_or(0);
        let Some(at) = rest[from..].find(OUTPUTS).map(|at| from + at) else {
            let message = format!("`${{{reference}}}` names no output of a stage");
            return Err((message, "write `${stages.STAGE.outputs.OUTPUT.FIELD}`".to_owned()));
        };
        let (stage, after) = (&rest[..at], &rest[at + OUTPUTS.len()..]);
        let (output, path) = after.split_once('.').unwrap_or((after, ""));
        if stage.is_empty() || output.is_empty() || after.ends_with('.') {
            let message = format!("`${{{reference}}}`: a name is missing between two dots");
            return Err((message, "write `${stages.STAGE.outputs.OUTPUT.FIELD}`".to_owned()));
        }
        Ok(Self { stage, output, path })
    }
}

type Axes = Vec<(String, Option<String>)>;

fn parse_axes(mut rest: &str) -> Result<(Axes, bool, &str), String> {
    let mut axes: Axes = Vec::new();
    if let Some(after) = rest.trim_start().strip_prefix('*').and_then(|r| r.trim_start().strip_prefix(']')) {
        return Ok((axes, true, after));
    }
    loop {
        let equals = rest.find('=').ok_or_else(|| "`axis=value` was expected inside the brackets".to_owned())?;
        let axis = rest[..equals].trim().to_owned();
        if axis.is_empty() || axis.contains([',', ']']) {
            return Err("`axis=value` was expected inside the brackets".to_owned());
        }
        if axes.iter().any(|(name, _)| *name == axis) {
            return Err(format!("the axis `{axis}` is given twice"));
        }
        rest = rest[equals + 1..].trim_start();
        let value;
        if rest.starts_with('"') {
            let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<String>();
            let text = stream.next().and_then(Result::ok).ok_or_else(|| "a quoted value does not end".to_owned())?;
            let used = stream.byte_offset();
            value = Some(text);
            rest = rest[used..].trim_start();
        } else {
            let end = rest.find([',', ']']).ok_or_else(|| "`]` is missing".to_owned())?;
            let text = rest[..end].trim();
            value = (text != "*").then(|| text.to_owned());
            rest = &rest[end..];
        }
        axes.push((axis, value));
        if let Some(after) = rest.strip_prefix(']') {
            return Ok((axes, false, after));
        }
        rest = rest.strip_prefix(',').ok_or_else(|| "`,` or `]` was expected after a value".to_owned())?;
    }
}

/// The name of a node.
#[must_use]
pub fn node_name(stage: &str, coordinates: &[(String, String)]) -> String {
    if coordinates.is_empty() {
        return stage.to_owned();
    }
    let axes: Vec<String> = coordinates.iter().map(|(axis, value)| format!("{axis}={}", Quoted(value))).collect();
    format!("{stage}[{}]", axes.join(","))
}

/// A coordinate's value as it is written in a name.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = !self.0.is_empty() && self.0.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.+-/".contains(&b));
        if plain { f.write_str(self.0) } else { write!(f, "{}", serde_json::Value::from(self.0)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(axes: &[(&str, &str)]) -> Vec<(String, String)> {
        axes.iter().map(|(a, v)| ((*a).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn names_are_read_as_they_are_printed_whatever_the_value() {
        for value in ["pru", "3", "1e-4", "", "a b", "x,y]", "quo\"te", "*", "ä"] {
            let coordinates = pairs(&[("method", value), ("class", "3")]);
            let name = node_name("relearn", &coordinates);
            let read = Selector::parse(&name, ':').unwrap();
            assert!(read.matches(&coordinates), "{name}");
            assert!(value == "*" || !read.matches(&pairs(&[("method", "other"), ("class", "3")])), "{name}");
        }
    }

    #[test]
    fn axes_are_read_in_any_order_and_outputs_after_the_separator() {
        let read = Selector::parse("relearn[class=3, method=pru].curve", '.').unwrap();
        assert!(read.matches(&pairs(&[("method", "pru"), ("class", "3"), ("seed", "7")])));
        assert_eq!(read.output.as_deref(), Some("curve"));
        assert!(Selector::parse("split[*].train", '.').unwrap().all);
    }

    #[test]
    fn a_result_s_name_is_a_stage_an_output_and_a_path() {
        let read = |text| ResultName::parse(text).map(|name| (name.stage, name.output, name.path));
        assert_eq!(read("stages.tune.outputs.settings.lr"), Ok(("tune", "settings", "lr")));
        assert_eq!(read("stages.tune.outputs.settings.a.0.b"), Ok(("tune", "settings", "a.0.b")));
        assert_eq!(read("stages.tune.outputs.value"), Ok(("tune", "value", "")));
        let quoted = "stages.paper.tune[v=\".outputs.]\",s=1.5].outputs.settings.lr";
        assert_eq!(read(quoted), Ok(("paper.tune[v=\".outputs.]\",s=1.5]", "settings", "lr")));
        for bad in ["stages", "stages.tune", "stages.tune.settings.lr", "stages..outputs.x", "stages.a.outputs.x."] {
            assert!(ResultName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn broken_names_say_what_was_expected() {
        for bad in ["", "[a=1]", "x[", "x[a]", "x[a=1", "x[a=1]y", "x.", "x[a=\"1]", "x[a=1,a=2]"] {
            assert!(Selector::parse(bad, '.').is_err(), "{bad}");
        }
    }
}
