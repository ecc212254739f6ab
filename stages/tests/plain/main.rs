//! The stages that need no libtorch, run as the engine runs them: through their row in `BUILTINS`.

mod attempt;
mod differences;
mod figures;
mod glyphs;
mod image_folder;
mod import;
mod mnist;
mod paper_tables;
mod split;
mod tables;
