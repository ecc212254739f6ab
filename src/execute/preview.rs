//! Runs a stage on those of its inputs that are there, and keeps nothing: what an unfinished pipeline has to show.
//!
//! Only stages that compute in this process, read no file from outside, and take inputs that may lack files: a table
//! says itself what is missing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pru_flow_cache::LocalStore;
use pru_flow_stages::Arity;
use pru_flow_stages::io::{Attempt, Input};

use super::{AttemptFolder, input, run_here};
use crate::graph::{Described, Work};
use crate::keying::Awaited;

/// The bytes of `output` as the stage writes them now.
///
/// # Errors
/// When the stage is none of those, or fails.
pub fn run_uncached(
    store: &Arc<LocalStore>,
    described: &Described,
    inputs: &BTreeMap<String, Vec<Awaited>>,
    output: &str,
) -> Result<Vec<u8>, String> {
    let Work::Builtin { def, params, .. } = &described.work else {
        return Err("only tables of built-in stages can be shown before all of their runs are there".to_owned());
    };
    if def.needs_worker() || !described.sources.is_empty() {
        return Err(format!("`{}` cannot be shown before all of its runs are there", def.name));
    }
    let folder = store.attempt_folder().map_err(|e| e.to_string())?;
    let folder = AttemptFolder { path: folder, store: Arc::clone(store) };
    let mut given = BTreeMap::new();
    for port in def.inputs {
        let Some(artifacts) = inputs.get(port.name) else { continue };
        let gathers = port.arity == Arity::Gather;
        let mut all = Vec::with_capacity(artifacts.len());
        for artifact in artifacts {
            match &artifact.given {
                Some(given) => all.push(input(store, given, gathers).map_err(|failure| failure.message)?),
                // Such an input stands for a run that is not there.
                None if port.arity == Arity::Gather => {
                    all.push(Input { coordinates: artifact.coordinates.clone(), files: Vec::new() });
                }
                None if port.arity == Arity::One => return Err(format!("its input `{}` is not there yet", port.name)),
                None => {}
            }
        }
        given.insert(port.name.to_owned(), all);
    }
    let attempt = Attempt {
        stage: def.name.to_owned(),
        params: params.clone(),
        inputs: given,
        sources: BTreeMap::new(),
        kept: folder.path.join("kept"),
        device: "cpu".to_owned(),
        threads: 1,
        log: folder.path.join("log"),
        folder: folder.path.clone(),
    };
    run_here(def, &attempt, &Arc::new(AtomicBool::new(false)), &mut |_| {}).map_err(|failure| failure.message)?;
    let path = folder.path.join("out").join(output);
    std::fs::read(&path).map_err(|error| format!("the stage wrote no output `{output}`: {error}"))
}
