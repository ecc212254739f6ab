//! The command line: arguments, exit codes, and one file per command. The outermost room: prints and exits.

mod check;
mod commit;
mod diff;
mod doctor;
mod explain;
mod get;
mod graph;
mod import;
mod init;
mod log;
mod plan;
mod report;
mod run;
mod runs;
mod schema;
mod show;
mod stages;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::execute::{command, watcher};
use crate::overrides::Changes;
use crate::project::{Project, Unloadable, store_folder};
use crate::record::{Run, Summary, find};
use crate::report::problems;

/// All is done.
pub const DONE: u8 = 0;
/// A stage failed.
pub const STAGE_FAILED: u8 = 1;
/// The pipeline or the arguments are wrong.
pub const WRONG_USAGE: u8 = 2;
/// Something would run (`plan --exit-code`).
pub const WOULD_RUN: u8 = 5;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  a stage failed
  2  the pipeline or the arguments are wrong; nothing was run
  5  something would run (plan --exit-code)
  101  a bug in pru-flow
  130, 143  stopped by Ctrl-C or SIGTERM";

const EXAMPLES: &str = "\
Examples:
  pru-flow run quickstart                      the built-in example, no data needed
  pru-flow run pipelines/mnist.yaml --set data.root=DIR
  pru-flow run pipelines/mnist.yaml --params laptop.yaml --set seeds='[7]'
  pru-flow plan pipelines/paper.yaml           what would run, and why
  pru-flow explain pipelines/mnist.yaml 'relearn[method=pru,class=3,seed=7]'
  pru-flow get pipelines/mnist.yaml 'original[seed=7]:model' --to model.safetensors
  pru-flow report pipelines/mnist.yaml         everything so far as one HTML page
  pru-flow init                                a first pipeline of your own, with comments
  pru-flow runs                                what was run; then: show last, diff last~1 last
  pru-flow stages unlearn/pru                  params, defaults and ports of a stage";

const COMPLETIONS: &str = "\
Examples:
  pru-flow completions bash > ~/.local/share/bash-completion/completions/pru-flow
  pru-flow completions zsh > ~/.zfunc/_pru-flow
  pru-flow completions fish > ~/.config/fish/completions/pru-flow.fish";

const MAN: &str = "\
Examples:
  pru-flow man | man -l -
  pru-flow man > ~/.local/share/man/man1/pru-flow.1";

/// Content-cached pipelines for machine-learning experiments.
#[derive(Parser)]
#[command(name = "pru-flow", version, about, after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
struct Cli {
    /// Say more (-v: cached nodes and notes; -vv: what the engine does).
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a pipeline: whatever is not in the store yet.
    #[command(after_help = run::EXAMPLES)]
    Run(run::RunArgs),
    /// Show what a run would do, and why; changes nothing.
    #[command(after_help = plan::EXAMPLES)]
    Plan(plan::PlanArgs),
    /// Write a first pipeline, with comments, ready to run.
    #[command(after_help = init::EXAMPLES)]
    Init(init::InitArgs),
    /// Say whether pipelines are right, all that is wrong with them at once; runs nothing.
    #[command(after_help = check::EXAMPLES)]
    Check(check::CheckArgs),
    /// Print the JSON Schema of pipelines, for completion in editors.
    #[command(after_help = schema::EXAMPLES)]
    Schema,
    /// Show field by field what distinguishes a node from the nearest earlier result.
    #[command(after_help = explain::EXAMPLES)]
    Explain(explain::ExplainArgs),
    /// Draw the graph of stages or of nodes: SVG, DOT, Mermaid.
    #[command(after_help = graph::EXAMPLES)]
    Graph(graph::GraphArgs),
    /// Write one HTML page of all tables, figures and where their numbers come from.
    #[command(after_help = report::EXAMPLES)]
    Report(report::ReportArgs),
    /// Copy an output of a finished node to a path.
    #[command(after_help = get::EXAMPLES)]
    Get(get::GetArgs),
    /// Take outputs that lie at their paths for results, without running anything.
    #[command(after_help = commit::EXAMPLES)]
    Commit(commit::CommitArgs),
    /// Turn the stages of a DVC project (`dvc.yaml`) into a pipeline.
    #[command(after_help = import::EXAMPLES)]
    Import(import::ImportArgs),
    /// Print what a node wrote while it ran.
    #[command(after_help = log::EXAMPLES, allow_missing_positional = true)]
    Log(log::LogArgs),
    /// List the recorded runs, the newest first.
    #[command(after_help = runs::EXAMPLES)]
    Runs(runs::RunsArgs),
    /// Show a recorded run: what was run, with what, and how each node went.
    #[command(after_help = show::EXAMPLES)]
    Show(show::ShowArgs),
    /// Compare two recorded runs: params and metrics side by side, and why nodes differ.
    #[command(after_help = diff::EXAMPLES)]
    Diff(diff::DiffArgs),
    /// List the built-in stages, or one with its params and ports.
    #[command(after_help = stages::EXAMPLES)]
    Stages(stages::StagesArgs),
    /// Check the installation: worker, libtorch, devices, store.
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(doctor::DoctorArgs),
    /// Print completions for a shell.
    #[command(after_help = COMPLETIONS)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the man page.
    #[command(after_help = MAN)]
    Man,
    #[command(name = watcher::SUBCOMMAND, hide = true)]
    Watch,
    #[command(name = command::SUBCOMMAND, hide = true)]
    Exec {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
}

/// A pipeline and what changes it: the same for every command.
#[derive(Args)]
struct PipelineArgs {
    /// The pipeline's file, or `quickstart` for the built-in one.
    pipeline: PathBuf,
    #[command(flatten)]
    settings: PipelineSettings,
}

/// What changes a pipeline.
#[derive(Args)]
struct PipelineSettings {
    /// Change a param: a path into `params:` and a value, as in `relearn.lr=0.002`.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Change params by a file of some (YAML, JSON or TOML); a later one wins, and `--set` over all.
    #[arg(long = "params", value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    params: Vec<PathBuf>,
    /// Where results are kept [default: .pru-flow in the project's root].
    #[arg(long, value_name = "DIR", env = "PRU_FLOW_STORE")]
    store: Option<PathBuf>,
}

impl PipelineArgs {
    fn load(&self) -> Result<Project, Exit> {
        self.settings.load(&self.pipeline)
    }
}

impl PipelineSettings {
    fn load(&self, pipeline: &Path) -> Result<Project, Exit> {
        let changes = Changes { params: &self.params, set: &self.set };
        Ok(Project::load(pipeline, changes, self.store.as_deref())?)
    }
}

/// Where recorded runs are: the same for every command that names no pipeline.
#[derive(Args)]
struct StoreArgs {
    /// Where results are kept [default: .pru-flow of the project around the current folder].
    #[arg(long, value_name = "DIR", env = "PRU_FLOW_STORE")]
    store: Option<PathBuf>,
}

impl StoreArgs {
    fn folder(&self) -> PathBuf {
        store_folder(self.store.as_deref())
    }

    /// The run that `name` means.
    fn run(&self, name: &str) -> Result<Summary, Exit> {
        find(&self.folder(), name).map_err(Exit::usage)
    }

    /// The same, whole.
    fn whole_run(&self, name: &str) -> Result<Run, Exit> {
        self.run(name)?.whole().map_err(|why| Exit::Message(why, STAGE_FAILED))
    }
}

/// Why a command ends without having done its work.
enum Exit {
    /// A message for stderr, and a code.
    Message(String, u8),
    /// Problems of a pipeline: rendered with carets, code 2.
    Problems(Box<Unloadable>),
}

impl Exit {
    fn usage(message: impl Into<String>) -> Self {
        Self::Message(message.into(), WRONG_USAGE)
    }
}

impl From<Box<Unloadable>> for Exit {
    fn from(unloadable: Box<Unloadable>) -> Self {
        Self::Problems(unloadable)
    }
}

impl From<pru_flow_cache::StoreError> for Exit {
    fn from(error: pru_flow_cache::StoreError) -> Self {
        Self::Message(error.to_string(), STAGE_FAILED)
    }
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // Before anything else: these two are small processes that the engine itself starts.
    if let Some(hidden) = hidden(&arguments) {
        return hidden;
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // The reader of help may have closed the pipe.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { WRONG_USAGE } else { DONE });
        }
    };
    start_tracing(cli.verbose);
    let result = match cli.command {
        Command::Run(args) => run::run(&args, cli.verbose > 0),
        Command::Plan(args) => plan::plan(&args),
        Command::Init(args) => init::init(&args),
        Command::Check(args) => check::check(&args),
        Command::Schema => Ok(schema::schema()),
        Command::Explain(args) => explain::explain(&args),
        Command::Graph(args) => graph::graph(&args),
        Command::Report(args) => report::report(&args),
        Command::Get(args) => get::get(&args),
        Command::Commit(args) => commit::commit(&args),
        Command::Import(args) => import::import(&args),
        Command::Log(args) => log::log(&args),
        Command::Runs(args) => Ok(runs::runs(&args)),
        Command::Show(args) => show::show(&args),
        Command::Diff(args) => diff::diff(&args),
        Command::Stages(args) => stages::stages(&args),
        Command::Doctor(args) => Ok(doctor::doctor(&args)),
        Command::Completions { shell } => {
            // Written to memory first: the generator panics when the reader has gone away.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "pru-flow", &mut script);
            print(&script);
            Ok(DONE)
        }
        Command::Man => man(),
        Command::Watch | Command::Exec { .. } => Ok(DONE),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(Exit::Message(message, code)) => {
            complain(&format!("error: {message}\n"));
            ExitCode::from(code)
        }
        Err(Exit::Problems(unloadable)) => {
            complain(&problems::render(*unloadable));
            ExitCode::from(WRONG_USAGE)
        }
    }
}

fn hidden(arguments: &[OsString]) -> Option<ExitCode> {
    match arguments.get(1)?.to_str()? {
        watcher::SUBCOMMAND => {
            watcher::watch();
            Some(ExitCode::SUCCESS)
        }
        command::SUBCOMMAND => Some(ExitCode::from(command::exec(&arguments[2..]))),
        _ => None,
    }
}

fn start_tracing(verbose: u8) {
    use tracing_subscriber::EnvFilter;
    // What is wrong with a certificate is told with the download that fails; the library would say it once more.
    let default = match verbose {
        0 | 1 => "warn,rustls_platform_verifier=off",
        _ => "pru_flow=debug,pru_flow_cache=debug,pru_flow_stages=debug",
    };
    let filter = EnvFilter::try_from_env("PRU_FLOW_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
}

fn man() -> Result<u8, Exit> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command())
        .render(&mut page)
        .map_err(|e| Exit::usage(format!("the man page cannot be made: {e}")))?;
    print(&page);
    Ok(DONE)
}

/// Writes to stdout; a reader that has gone away (`| head`) is no error.
fn print(bytes: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
}

/// As [`print`], in colours where they are wanted.
fn print_in_colour(text: &str) {
    let mut stdout = anstream::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Writes a file, which is told on stderr; `-` is stdout.
fn write_or_print(path: &Path, bytes: &[u8]) -> Result<u8, Exit> {
    if path.as_os_str() == "-" {
        print(bytes);
        return Ok(DONE);
    }
    let failed = |error: std::io::Error| Exit::Message(format!("{}: {error}", path.display()), STAGE_FAILED);
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    std::fs::write(path, bytes).map_err(failed)?;
    complain(&format!("{}\n", shown(path)));
    Ok(DONE)
}

/// How wide the terminal is, or else what fits most.
fn columns_of_stdout() -> usize {
    const ELSEWHERE: usize = 100;
    let asked = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let own = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok().map(|size| usize::from(size.ws_col));
    own.filter(|columns| *columns > 0).or(asked).unwrap_or(ELSEWHERE)
}

/// Writes to stderr, in colours where they are wanted; that nobody reads it is no error either.
fn complain(text: &str) {
    let _ = anstream::stderr().lock().write_all(text.as_bytes());
}

/// `path` as it is shortest for a reader in the current folder.
fn shown(path: &Path) -> String {
    let current = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&current).unwrap_or(path).display().to_string()
}
