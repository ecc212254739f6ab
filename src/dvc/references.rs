//! References to outputs of other stages: the shortest text that means, in every cell of the reader, the very stages that
//! DVC connects.

use std::collections::BTreeSet;

use super::axes::Matrix;
use super::render::escaped;
use super::resolve::Stage;

/// The stages that read: all of a group as cells, or a single one.
pub(super) struct Reader<'a> {
    pub stages: Vec<&'a Stage>,
    pub matrix: Option<&'a Matrix>,
}

/// A stage with a matrix whose output is read.
pub(super) struct Producer<'a> {
    pub name: &'a str,
    pub matrix: &'a Matrix,
    pub stages: &'a [Stage],
}

/// How the value of the producer on one axis is found.
#[derive(Clone, Debug, PartialEq)]
enum Choice {
    /// Both have the axis: the same value.
    Shared(usize),
    /// The value of the reader on another axis.
    Of(usize),
    /// This one.
    Fixed(String),
    /// Any.
    All,
}

impl Producer<'_> {
    /// References, without the output, to the stages `wanted[cell]` for every cell of `reader`. `None` when no reference
    /// says that.
    pub(super) fn references(&self, reader: &Reader<'_>, wanted: &[&BTreeSet<usize>]) -> Option<Vec<String>> {
        let choices: Vec<Choice> = (0..self.matrix.axes.len()).map(|axis| self.choose(axis, reader, wanted)).collect();
        let exact = reader.stages.iter().zip(wanted).all(|(cell, wanted)| {
            let fits = |stage: &Stage| choices.iter().enumerate().all(|(axis, choice)| fits(choice, axis, stage, cell));
            let found = (0..self.stages.len()).filter(|index| fits(&self.stages[*index]));
            found.eq(wanted.iter().copied())
        });
        if exact {
            return Some(vec![self.written(&choices, reader)]);
        }
        // The same for all cells can be told one by one.
        let (first, others) = wanted.split_first()?;
        let fixed = |stage: &usize| {
            let labels = self.stages[*stage].coordinates.iter().map(|one| Choice::Fixed(one.label.clone()));
            self.written(&labels.collect::<Vec<_>>(), reader)
        };
        others.iter().all(|other| other == first).then(|| first.iter().map(fixed).collect())
    }

    fn choose(&self, axis: usize, reader: &Reader<'_>, wanted: &[&BTreeSet<usize>]) -> Choice {
        let label = |stage: usize| self.stages[stage].coordinates[axis].label.as_str();
        let always = |matches: &dyn Fn(&Stage, &str) -> bool| {
            let mut pairs = reader.stages.iter().zip(wanted);
            pairs.all(|(cell, wanted)| wanted.iter().all(|stage| matches(cell, label(*stage))))
        };
        let axes = reader.matrix.map_or(&[][..], |matrix| matrix.axes.as_slice());
        let own = |index: usize| move |cell: &Stage, label: &str| cell.coordinates[index].label == label;
        let shared = axes.iter().position(|own| own.name == self.matrix.axes[axis].name);
        if let Some(index) = shared.filter(|index| always(&own(*index))) {
            return Choice::Shared(index);
        }
        let mut all = wanted.iter().flat_map(|stages| stages.iter());
        if let Some(first) = all.next().map(|stage| label(*stage))
            && all.all(|stage| label(*stage) == first)
        {
            return Choice::Fixed(first.to_owned());
        }
        let can_be_named = |index: &usize| axes[*index].labels.iter().all(|label| is_plain(label));
        let of = (0..axes.len()).filter(can_be_named).find(|index| always(&own(*index)));
        of.map_or(Choice::All, Choice::Of)
    }

    fn written(&self, choices: &[Choice], reader: &Reader<'_>) -> String {
        if !choices.is_empty() && choices.iter().all(|choice| *choice == Choice::All) {
            return format!("{}[*]", self.name);
        }
        let axes = self.matrix.axes.iter().zip(choices).filter_map(|(axis, choice)| {
            let value = match choice {
                Choice::Shared(_) => return None,
                Choice::Of(index) => {
                    let name = reader.matrix.and_then(|matrix| Some(&matrix.axes.get(*index)?.name))?;
                    format!("${{matrix.{name}}}")
                }
                Choice::Fixed(label) => quoted(label),
                Choice::All => "*".to_owned(),
            };
            Some(format!("{}={value}", axis.name))
        });
        let axes: Vec<String> = axes.collect();
        if axes.is_empty() { self.name.to_owned() } else { format!("{}[{}]", self.name, axes.join(",")) }
    }
}

fn fits(choice: &Choice, axis: usize, stage: &Stage, cell: &Stage) -> bool {
    let label = &stage.coordinates[axis].label;
    match choice {
        Choice::Shared(index) | Choice::Of(index) => cell.coordinates[*index].label == *label,
        Choice::Fixed(fixed) => fixed == label,
        Choice::All => true,
    }
}

/// Whether a value may stand in the brackets of a reference as it is.
fn is_plain(label: &str) -> bool {
    !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.+-/".contains(&b))
}

fn quoted(label: &str) -> String {
    if is_plain(label) { label.to_owned() } else { escaped(&serde_json::Value::from(label).to_string()) }
}
