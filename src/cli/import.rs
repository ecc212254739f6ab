//! `pru-flow import`.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{DONE, Exit, WRONG_USAGE, complain, print, shown};
use crate::dvc;
use crate::problem::{Problem, SourceText};
use crate::project::{Unloadable, root_of};
use crate::report::problems;

pub(super) const EXAMPLES: &str = "\
Examples:
  pru-flow import dvc.yaml                          print the pipeline
  pru-flow import dvc.yaml -o pipeline.yaml         write it; notes say what is left out
  pru-flow import sub/dvc.yaml -o sub/pipeline.yaml --force";

#[derive(Args)]
pub(super) struct ImportArgs {
    /// The `dvc.yaml` of a DVC project.
    file: PathBuf,
    /// Where to write the pipeline [default: stdout].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file that is there.
    #[arg(long, requires = "output")]
    force: bool,
}

pub(super) fn import(args: &ImportArgs) -> Result<u8, Exit> {
    if let Some(output) = args.output.as_ref().filter(|output| output.exists() && !args.force) {
        return Err(Exit::usage(format!("`{}` is there already; `--force` replaces it", output.display())));
    }
    // Paths of a pipeline start in its project's root: that of the file which is written.
    let root = root_of(args.output.as_deref().unwrap_or(&args.file));
    let file = std::fs::canonicalize(&args.file).unwrap_or_else(|_| args.file.clone());
    let imported = match dvc::import(&file, &args.file.display().to_string(), &root) {
        Ok(imported) => imported,
        Err(refused) => {
            let dvc::Refused { problems, source } = *refused;
            return Err(Exit::Problems(Box::new(Unloadable { source, problems })));
        }
    };
    let notes = imported.notes.sorted();
    complain(&notes.iter().map(|note| note_text(&imported.source, note)).collect::<String>());
    match &args.output {
        None => print(imported.text.as_bytes()),
        Some(output) => {
            write(output, &imported.text, args.force)
                .map_err(|error| Exit::Message(format!("{}: {error}", output.display()), WRONG_USAGE))?;
            let stages = if imported.stages == 1 { "stage" } else { "stages" };
            complain(&format!("{} ({} {stages})\n", shown(output), imported.stages));
        }
    }
    Ok(DONE)
}

fn note_text(source: &SourceText, note: &Problem) -> String {
    let help = note.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
    format!("note: {}{help}\n", problems::in_one_line(source, note))
}

/// Writes a file that is not there, unless it is to be replaced.
fn write(path: &Path, text: &str, replace: bool) -> std::io::Result<()> {
    let mut options = std::fs::File::options();
    options.write(true).truncate(replace).create(replace).create_new(!replace);
    options.open(path)?.write_all(text.as_bytes())
}
