//! `pru-flow doctor`: whether everything that a run may need is there, each with what to do when it is not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;

use clap::Args;
use pru_flow_cache::LocalStore;

use super::{DONE, STAGE_FAILED, print, shown};
use crate::execute::workspace::Workspace;
use crate::execute::{Executor, confine, worker};
use crate::sources::Outside;

pub(super) const EXAMPLES: &str = "\
Examples:
  pru-flow doctor
  pru-flow doctor --store /data/pru-flow     a store elsewhere";

#[derive(Args)]
pub(super) struct DoctorArgs {
    /// The store to look at.
    #[arg(long, value_name = "DIR", env = "PRU_FLOW_STORE", default_value = ".pru-flow")]
    store: PathBuf,
}

pub(super) fn doctor(args: &DoctorArgs) -> u8 {
    let mut text =
        format!("pru-flow   {} (build {})\n", env!("CARGO_PKG_VERSION"), pru_flow_stages::protocol::BUILD_ID);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    text.push_str(&format!("cores      {cores}\n"));
    text.push_str(&match confine::available() {
        Ok(version) => format!("sandbox    off, warn, enforce (Landlock {version})\n"),
        // No problem for those who do not ask for it.
        Err(reason) => format!("sandbox    off, warn ({reason})\n"),
    });
    let current = std::env::current_dir().unwrap_or_default();
    let folder = current.join(&args.store);
    let existed = folder.exists();
    let temporary = std::env::temp_dir().join(format!("pru-flow-doctor-{}", std::process::id()));
    // A look must not make a store where there was none.
    let store = LocalStore::open(if existed { &folder } else { &temporary });
    match &store {
        Ok(_) if existed => text.push_str(&format!("store      {} (format is readable)\n", shown(&folder))),
        Ok(_) => text.push_str(&format!("store      {} (not there yet; the first run makes it)\n", shown(&folder))),
        Err(error) => text.push_str(&format!("store      PROBLEM: {error}\n")),
    }
    let mut code = if store.is_ok() { DONE } else { STAGE_FAILED };
    match store.map_err(|e| e.to_string()).and_then(|store| hello(store, &temporary)) {
        Ok((program, hello)) => {
            text.push_str(&format!("worker     {} (same build)\n", program.display()));
            text.push_str(&format!("libtorch   {}\n", hello.libtorch));
            text.push_str(&match hello.cuda_devices {
                0 => "cuda       none: stages run on the CPU\n".to_owned(),
                n => format!("cuda       {n} devices\n"),
            });
        }
        Err(error) => {
            text.push_str(&format!("worker     PROBLEM: {error}\n"));
            code = STAGE_FAILED;
        }
    }
    // Made above; nothing of value is in it.
    let _ = std::fs::remove_dir_all(&temporary);
    print(text.as_bytes());
    code
}

fn hello(store: LocalStore, logs: &std::path::Path) -> Result<(PathBuf, pru_flow_stages::protocol::Hello), String> {
    std::fs::create_dir_all(logs).map_err(|e| e.to_string())?;
    let program = worker::find_program()?;
    let outside = Arc::new(Outside::load(store.root()));
    let workspace = Arc::new(Workspace::open(Path::new("."), store.root()));
    let (sender, _receiver) = channel();
    let executor = Executor::new(Arc::new(store), outside, workspace, logs.to_owned(), sender);
    Ok((program, executor.hello()?))
}
