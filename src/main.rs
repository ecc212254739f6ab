//! `pru-flow`: see the library's tour in `lib.rs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    pru_flow::cli::main()
}
