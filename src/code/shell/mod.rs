//! Texts of the shell: [`syntax`] and [`words`] read them, [`values`] finds what their words may stand for.

pub(super) mod syntax;
pub(super) mod values;
mod words;
