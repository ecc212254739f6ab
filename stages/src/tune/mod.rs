//! Choosing hyperparameters among nodes that were run with several. What was chosen is an ordinary output, which the
//! params of other stages can name: `${stages.tune.outputs.settings.lr}`.

pub mod grid;
