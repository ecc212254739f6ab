//! The stages that need no libtorch, run as the engine runs them: through their row in `BUILTINS`.

mod attempt;
mod glyphs;
mod image_folder;
mod import;
mod mnist;
mod split;
mod tables;
mod tune;
