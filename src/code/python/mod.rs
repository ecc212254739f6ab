//! Python: what a file imports ([`syntax`], [`places`]), which file a module is ([`modules`]), and what is installed
//! where an interpreter looks ([`environment`], [`interpreter`]).

pub(super) mod environment;
pub(super) mod interpreter;
pub(super) mod modules;
pub(super) mod places;
pub(super) mod syntax;
