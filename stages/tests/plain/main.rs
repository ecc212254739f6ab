//! The stages that need no libtorch, run as the engine runs them: through their row in `BUILTINS`.

mod attempt;
mod cifar;
mod differences;
mod download;
mod figures;
mod glyphs;
mod idx_sets;
mod image_folder;
mod import;
mod measures;
mod mnist;
mod paper_tables;
mod server;
mod split;
mod tables;
mod tune;
mod without;
