//! The paths that `${inputs.x}` and `${outputs.y}` of a command stand for, put into its line: quoted in a text for the
//! shell, whole words in a list. Knows nothing of where they come from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::command::CommandLine;
use crate::shell::Quoter;
use crate::template::{Part, split};

/// Paths by name.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Of inputs; several for one that gathers.
    pub inputs: BTreeMap<String, Vec<PathBuf>>,
    /// Of outputs.
    pub outputs: BTreeMap<String, PathBuf>,
}

impl Places {
    /// The line with all paths in it.
    ///
    /// # Errors
    /// In words: a path that cannot stand where it does.
    pub fn fill(&self, line: &CommandLine) -> Result<CommandLine, String> {
        Ok(match line {
            CommandLine::Shell(text) => CommandLine::Shell(self.fill_shell(text)?),
            CommandLine::Words(words) => {
                let filled = words.iter().map(|word| self.fill_word(word)).collect::<Result<Vec<_>, _>>();
                CommandLine::Words(filled?.concat())
            }
        })
    }

    /// One word of a list; a word that is one placeholder becomes as many words as it has paths.
    fn fill_word(&self, word: &str) -> Result<Vec<String>, String> {
        let parts = split(word)?;
        if let [Part::Reference(path)] = parts.as_slice() {
            return self.look_up(path);
        }
        let mut out = String::new();
        for part in parts {
            match part {
                Part::Literal(literal) => out.push_str(literal),
                Part::Reference(path) => out.push_str(&self.look_up(path)?.join(" ")),
            }
        }
        Ok(vec![out])
    }

    fn fill_shell(&self, text: &str) -> Result<String, String> {
        let (mut out, mut quoter) = (String::new(), Quoter::default());
        for part in split(text)? {
            match part {
                Part::Literal(literal) => {
                    quoter.literal(literal);
                    out.push_str(literal);
                }
                Part::Reference(path) => {
                    let quoted = quoter.values(&self.look_up(path)?);
                    out.push_str(&quoted.map_err(|place| format!("`${{{path}}}` cannot stand in {place}"))?);
                }
            }
        }
        Ok(out)
    }

    fn look_up(&self, path: &str) -> Result<Vec<String>, String> {
        let found = match path.split_once('.') {
            Some(("inputs", name)) => self.inputs.get(name).cloned(),
            Some(("outputs", name)) => self.outputs.get(name).map(|path| vec![path.clone()]),
            _ => None,
        };
        let found = found.ok_or_else(|| format!("`${{{path}}}` names no input or output of this stage"))?;
        Ok(found.iter().map(|path| path.display().to_string()).collect())
    }
}
