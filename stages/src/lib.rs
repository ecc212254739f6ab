//! The science of pru-flow: the [`Stage`] trait and every built-in stage.
//!
//! A stage is one file: its params with their docs, its ports, and `run`. To add one, copy the file that is
//! nearest to it and add a line to [`BUILTINS`]. Bodies that touch tensors are compiled with the feature `torch`
//! only, into the worker `pru-flow-torch`; everything else (params, ports, versions) is known to the engine without it.

pub mod data;
pub mod dataset;
pub mod diverged;
pub mod evaluate;
pub mod figures;
pub mod io;
pub mod measure;
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
    StageDef::of::<data::fashion_mnist::FashionMnist>(),
    StageDef::of::<data::kuzushiji_mnist::KuzushijiMnist>(),
    StageDef::of::<data::cifar10::Cifar10>(),
    StageDef::of::<data::cifar100::Cifar100>(),
    StageDef::of::<data::download::Download>(),
    StageDef::of::<data::image_folder::ImageFolder>(),
    StageDef::of::<data::import::Import>(),
    StageDef::of::<data::split::Split>(),
    StageDef::of::<model::import::Import>(),
    StageDef::of::<train::original::Original>(),
    StageDef::of::<unlearn::retrain::Retrain>(),
    StageDef::of::<unlearn::unroll::Unroll>(),
    StageDef::of::<unlearn::unroll_of::UnrollOf>(),
    StageDef::of::<unlearn::boundary_shrink::BoundaryShrink>(),
    StageDef::of::<unlearn::boundary_expand::BoundaryExpand>(),
    StageDef::of::<unlearn::pru::Pru>(),
    StageDef::of::<unlearn::bn_only::BnOnly>(),
    StageDef::of::<unlearn::fine_tune::FineTune>(),
    StageDef::of::<unlearn::neg_grad_plus::NegGradPlus>(),
    StageDef::of::<unlearn::salun::Salun>(),
    StageDef::of::<unlearn::scrub::Scrub>(),
    StageDef::of::<unlearn::bad_teacher::BadTeacher>(),
    StageDef::of::<unlearn::unsir::Unsir>(),
    StageDef::of::<unlearn::ssd::Ssd>(),
    StageDef::of::<unlearn::l1_sparse::L1Sparse>(),
    StageDef::of::<unlearn::amnesiac::Amnesiac>(),
    StageDef::of::<unlearn::bias_mask::BiasMask>(),
    StageDef::of::<unlearn::classifier_only::ClassifierOnly>(),
    StageDef::of::<unlearn::gradient_ascent::GradientAscent>(),
    StageDef::of::<unlearn::random_label::RandomLabel>(),
    StageDef::of::<unlearn::salun_f::SalunF>(),
    StageDef::of::<unlearn::delete::Delete>(),
    StageDef::of::<unlearn::jit::Jit>(),
    StageDef::of::<unlearn::l2ul::L2ul>(),
    StageDef::of::<relearn::Relearn>(),
    StageDef::of::<evaluate::Evaluate>(),
    StageDef::of::<model::combine::Combine>(),
    StageDef::of::<measure::change::Change>(),
    StageDef::of::<measure::divergence::Divergence>(),
    StageDef::of::<measure::membership::Membership>(),
    StageDef::of::<measure::perception::Perception>(),
    StageDef::of::<measure::probe::Probe>(),
    StageDef::of::<measure::relearn_time::RelearnTime>(),
    StageDef::of::<measure::similarity::Similarity>(),
    StageDef::of::<tables::accuracy::Accuracy>(),
    StageDef::of::<tables::relearn::Relearn>(),
    StageDef::of::<tune::grid::Grid>(),
    StageDef::of::<tables::differences::Differences>(),
    StageDef::of::<tables::measures::Measures>(),
    StageDef::of::<figures::parameter_change::ParameterChange>(),
    StageDef::of::<figures::perception::Perception>(),
    StageDef::of::<figures::predictions::Predictions>(),
    StageDef::of::<figures::relearning::Relearning>(),
    StageDef::of::<figures::trade_off::TradeOff>(),
];

/// Looks a stage up by the name that `uses:` takes.
#[must_use]
pub fn find(name: &str) -> Option<&'static StageDef> {
    BUILTINS.iter().find(|def| def.name == name)
}
