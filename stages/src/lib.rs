//! The science of pru-flow: the [`Stage`] trait and every built-in stage.
//!
//! A stage is one file: its params with their docs, its ports, and `run`. To add one, copy the file that is
//! nearest to it and add a line to [`BUILTINS`]. Bodies that touch tensors are compiled with the feature `torch`
//! only, into the worker `pru-flow-torch`; everything else (params, ports, versions) is known to the engine without it.

pub mod data;
pub mod dataset;
pub mod evaluate;
pub mod io;
pub mod model;
pub mod protocol;
pub mod relearn;
pub mod rng;
pub mod stage;
pub mod tables;
pub mod train;
pub mod tune;
pub mod unlearn;

pub use stage::{
    Arity, OutputKind, OutputPort, ParamError, Port, Resources, Sees, Source, SourcePath, Stage, StageDef, StageError,
    Tool, class_member,
};

/// Every built-in stage. The same table feeds `pru-flow stages`, the checks of a pipeline, and the worker.
pub const BUILTINS: &[StageDef] = &[
    StageDef::of::<data::glyphs::Glyphs>(),
    StageDef::of::<data::mnist::Mnist>(),
    StageDef::of::<data::image_folder::ImageFolder>(),
    StageDef::of::<data::import::Import>(),
    StageDef::of::<data::split::Split>(),
    StageDef::of::<model::import::Import>(),
    StageDef::of::<train::original::Original>(),
    StageDef::of::<unlearn::retrain::Retrain>(),
    StageDef::of::<unlearn::pru::Pru>(),
    StageDef::of::<unlearn::boundary_shrink::BoundaryShrink>(),
    StageDef::of::<unlearn::random_label::RandomLabel>(),
    StageDef::of::<unlearn::bn_only::BnOnly>(),
    StageDef::of::<relearn::Relearn>(),
    StageDef::of::<evaluate::Evaluate>(),
    StageDef::of::<tables::accuracy::Accuracy>(),
    StageDef::of::<tables::relearn::Relearn>(),
    StageDef::of::<tune::grid::Grid>(),
];

/// Looks a stage up by the name that `uses:` takes.
#[must_use]
pub fn find(name: &str) -> Option<&'static StageDef> {
    BUILTINS.iter().find(|def| def.name == name)
}
