//! The engine and the command line of pru-flow.
//!
//! ```text
//!  pipeline.yaml                                                            .pru-flow/ (store)
//!      |                                                                        ^      |
//!    yaml -> pipeline -> import, overrides -> expand (recipe) -> graph          |      v
//!                                                                |        publish    look up
//!                                       sources -> keying -> plan|run           |      |
//!                                                                v              |      |
//!                                      schedule (events in, commands out) <-> run <----+
//!                                                                              |  ^
//!                                                            start a node      v  |  outcome
//!                                                                           execute: in-process, worker, command
//! ```
//!
//! One direction: a file knows only what stands before it. Nothing calls back; executors speak through a channel.
//!
//! - [`yaml`]: text to values with their places; the only file that knows the YAML crate.
//! - [`problem`]: what is wrong and where; collected, never thrown one by one.
//! - [`pipeline`]: the file as written. [`import`]: other files that it names.
//! - [`template`]: `${...}`, as [`placeholders`] finds it in a text and [`expression`] computes it.
//!   [`overrides`]: `--set`, [`params_file`]s, and params given to imports. [`matrix`]: cells. [`selector`]: names of nodes and results,
//!   as printed and as typed.
//! - [`params`]: params of a built-in stage against the types that it declares. [`resources`]: what a stage draws on. [`policy`]: how often and how long it
//!   may run.
//! - [`recipe`]: what one cell does. [`expand`]: pipeline to [`graph`]: one node a cell, inputs and results resolved,
//!   params checked by the stage's own types. [`order`]: who goes first, or which stages form a circle.
//! - [`selection`]: the nodes that a name on the command line means. [`broken`]: nodes whose references fit no cell.
//!   [`diverged`]: results without outputs. [`dvc`]: a DVC project as the text of a pipeline.
//! - [`values`]: results of finished nodes in the params of others, which are described only then.
//! - [`command`]: what a command node does. [`shell`]: values quoted wherever they stand in its text. [`written`]: who
//!   writes which path of the project, and who reads it.
//! - [`code`]: what of a command's code enters its key: programs, local imports, installed distributions.
//!   [`command_code`]: that, for a node. [`places`]: paths in a command's line. [`environments`]:
//!   what was installed, in words.
//! - [`command_files`], [`sources`] and [`keying`]: the description that decides reuse. Names, paths and placement stay
//!   out of it. [`keep`]: outputs that go when nothing needs them any more.
//! - [`plan`]: what a run would do. [`history`]: the nearest earlier result, for `explain`. [`estimate`]: how long
//!   nodes took.
//! - [`adopt`]: files in the project as results of nodes that were not run.
//! - [`schedule`]: a pure state machine; simulated in its tests over every graph of four nodes.
//! - [`execute`]: runs one node: checks its inputs, runs it, checks its sources, publishes. For `sandbox:`, `confine` with
//!   `installed` prevents what is not declared, `stray` finds it afterwards.
//! - [`run`]: the coordinator, which owns all state. [`results`]: copies of last outputs under readable names.
//! - [`schema`]: a JSON Schema of pipelines, for editors.
//! - [`report`] and [`cli`]: the only rooms that print. [`project`]: where things lie.

pub mod adopt;
pub mod broken;
pub mod cli;
pub mod code;
pub mod command;
pub mod command_code;
pub mod command_files;
pub mod diverged;
pub mod dvc;
pub mod environments;
pub mod estimate;
pub mod execute;
pub mod expand;
pub mod expression;
pub mod graph;
pub mod history;
pub mod import;
pub mod keep;
pub mod keying;
pub mod matrix;
pub mod order;
pub mod overrides;
pub mod params;
pub mod params_file;
pub mod pipeline;
pub mod placeholders;
pub mod places;
pub mod plan;
pub mod policy;
pub mod problem;
pub mod project;
pub mod recipe;
pub mod record;
pub mod report;
pub mod resources;
pub mod results;
pub mod run;
pub mod schedule;
pub mod schema;
pub mod selection;
pub mod selector;
pub mod shell;
pub mod sources;
pub mod template;
pub mod values;
pub mod written;
pub mod yaml;
