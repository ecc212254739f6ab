//! `sandbox: warn`: files of the project that were written while commands ran and that nobody declares. One look at the
//! project at the end of a run, however many nodes ran, and nothing before it.
//!
//! A write is known by the time of a file's last change of content, attributes or name, which no program can set. So what
//! is not seen: a file that was deleted; one in a folder that belongs to a tool (hidden, `node_modules`, one marked with
//! `CACHEDIR.TAG`, an environment of Python's); one outside the project. That a declared input changed is checked where
//! inputs are. A user who saves a file during a run looks like a command that does: the warning says who may have written,
//! not who has.
//!
//! Knows nothing of the graph. Nodes that were confined (`confine.rs`) need no look and are not given.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::fs::{DirEntry, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rayon::prelude::*;
use rustix::fs::{Mode, OFlags};

/// The coarsest tick of the kernel's clock for files: times that are less than this apart may be of one moment.
const TICK_NS: i64 = 10_000_000;

/// Strays that a warning names.
const NAMED_MAX: usize = 10;
/// Nodes that a warning names for one of them.
const WRITERS_MAX: usize = 3;

/// Folders of tools, beside hidden ones.
const OF_TOOLS: [&str; 2] = ["__pycache__", "node_modules"];
/// Files that mark their folder as a tool's: a cache that can be deleted, an environment of Python's.
const MARKS: [&str; 2] = ["CACHEDIR.TAG", "pyvenv.cfg"];

/// The clock by which the project's files are stamped: another machine's, when they lie there.
#[derive(Clone, Copy, Debug)]
pub struct FileClock {
    begin_ns: i64,
    begun: Instant,
}

impl FileClock {
    /// Reads the clock: by a file without a name in `root`, or, where a file system has no such files, by one in `store`
    /// that is removed at once.
    ///
    /// # Errors
    /// When no file can be made there.
    pub fn start(root: &Path, store: &Path) -> io::Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let stat = match rustix::fs::open(root, flags, Mode::RUSR | Mode::WUSR).map(File::from) {
            Ok(file) => file.metadata()?,
            Err(_) => {
                let path = store.join(format!("clock-{}", std::process::id()));
                let stat = File::create(&path)?.metadata();
                std::fs::remove_file(&path)?;
                stat?
            }
        };
        Ok(Self { begin_ns: change_ns(&stat), begun: Instant::now() })
    }

    /// Unix time in ns, by this clock.
    #[must_use]
    pub fn now_ns(&self) -> i64 {
        self.begin_ns.saturating_add(i64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(i64::MAX))
    }
}

/// When a command ran, by [`FileClock::now_ns`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Its node.
    pub node: String,
    /// When it started.
    pub start_ns: i64,
    /// When it had ended.
    pub end_ns: i64,
}

/// A file that was written though nobody declares it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stray {
    /// Where it lies, from the project's root on.
    pub path: PathBuf,
    /// The nodes that ran when it was last written, in order of their start: its writer is one of them.
    pub writers: Vec<String>,
}

/// Where to look.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// The project's root.
    pub root: &'a Path,
    /// Folders that are none of the project's: the store.
    pub skipped: &'a [PathBuf],
    /// All that any node declares as an output, and what the engine itself writes (`publish:`), by its path below `root`.
    pub declared: &'a HashSet<PathBuf>,
}

impl Search<'_> {
    /// The files that were written since `clock` was started, while at least one of `ran` ran, in order of path. Reads no
    /// file; what cannot be listed is passed over.
    #[must_use]
    pub fn strays(&self, clock: &FileClock, ran: &[Ran]) -> Vec<Stray> {
        if ran.is_empty() {
            return Vec::new();
        }
        let mut changed = self.changed_below(Path::new(""), clock.begin_ns);
        changed.sort_unstable_by_key(|(_, time)| *time);
        let mut strays = attribute(changed, ran);
        strays.sort_unstable();
        strays
    }

    /// Undeclared files below `folder`, a path from the root on, that changed after `since_ns`, and when.
    fn changed_below(&self, folder: &Path, since_ns: i64) -> Vec<(PathBuf, i64)> {
        let listed = std::fs::read_dir(self.root.join(folder));
        let entries: Vec<DirEntry> = listed.into_iter().flatten().flatten().collect();
        let is_marked = entries.iter().any(|entry| MARKS.iter().any(|mark| entry.file_name() == *mark));
        if is_marked && !folder.as_os_str().is_empty() {
            return Vec::new();
        }
        let mut folders = Vec::new();
        let mut changed = Vec::new();
        for entry in entries {
            let name = entry.file_name();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if !is_of_tool(&name) {
                    folders.push(folder.join(name));
                }
            } else if let Ok(stat) = entry.metadata()
                && change_ns(&stat) > since_ns
            {
                changed.push((folder.join(name), change_ns(&stat)));
            }
        }
        changed.retain(|(path, _)| !self.declared.contains(path));
        folders.retain(|path| !self.declared.contains(path) && !self.skipped.contains(&self.root.join(path)));
        changed.par_extend(folders.into_par_iter().flat_map_iter(|path| self.changed_below(&path, since_ns)));
        changed
    }
}

fn is_of_tool(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".") || OF_TOOLS.iter().any(|tool| name == *tool)
}

fn change_ns(stat: &std::fs::Metadata) -> i64 {
    stat.ctime().saturating_mul(1_000_000_000).saturating_add(stat.ctime_nsec())
}

/// Gives each file, in order of time, the nodes that ran then; a file that changed while none did is not theirs.
fn attribute(changed: Vec<(PathBuf, i64)>, ran: &[Ran]) -> Vec<Stray> {
    let mut by_start: Vec<&Ran> = ran.iter().collect();
    by_start.sort_by_key(|ran| (ran.start_ns, &ran.node));
    let mut coming = by_start.iter().enumerate().peekable();
    // By their ends, so that those that are over go first.
    let mut running: BTreeSet<(i64, usize)> = BTreeSet::new();
    let mut strays = Vec::new();
    for (path, time) in changed {
        while let Some((index, ran)) = coming.next_if(|(_, ran)| ran.start_ns <= time.saturating_add(TICK_NS)) {
            running.insert((ran.end_ns, index));
        }
        while running.first().is_some_and(|(end, _)| *end < time.saturating_sub(TICK_NS)) {
            running.pop_first();
        }
        let mut writers: Vec<usize> = running.iter().map(|(_, index)| *index).collect();
        writers.sort_unstable();
        if !writers.is_empty() {
            strays
                .push(Stray { path, writers: writers.into_iter().map(|index| by_start[index].node.clone()).collect() });
        }
    }
    strays
}

/// The warning of a run with `strays`: what was written, by whom, and what to do; nothing when there is none.
#[must_use]
pub fn warning(strays: &[Stray]) -> Option<String> {
    let count = match strays {
        [] => return None,
        [_] => "1 file that no stage declares was".to_owned(),
        many => format!("{} files that no stage declares were", many.len()),
    };
    let mut text = format!("{count} written while commands ran:\n");
    let shown: Vec<String> = strays.iter().take(NAMED_MAX).map(|stray| shown(&stray.path)).collect();
    let width = shown.iter().map(|path| unicode_width::UnicodeWidthStr::width(path.as_str())).max().unwrap_or(0);
    for (path, stray) in shown.iter().zip(strays) {
        let gap = " ".repeat(width - unicode_width::UnicodeWidthStr::width(path.as_str()));
        text.push_str(&format!("  {path}{gap}  by {}\n", who(&stray.writers)));
    }
    if strays.len() > NAMED_MAX {
        text.push_str(&format!("  and {} more\n", strays.len() - NAMED_MAX));
    }
    text.push_str("declare it under `outputs:`, or write it to ${outputs.NAME}");
    Some(text)
}

/// One writer is named for sure, several as candidates.
fn who(writers: &[String]) -> String {
    let (named, more) = writers.split_at(writers.len().min(WRITERS_MAX));
    let mut text = named.join(" or ");
    if !more.is_empty() {
        text.push_str(&format!(" or one of {} more", more.len()));
    }
    text
}

/// A path that cannot disturb a terminal.
fn shown(path: &Path) -> String {
    path.to_string_lossy().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MS: i64 = 1_000_000;

    fn ran(node: &str, start_ms: i64, end_ms: i64) -> Ran {
        Ran { node: node.to_owned(), start_ns: start_ms * MS, end_ns: end_ms * MS }
    }

    fn writers(times_ms: &[i64], ran: &[Ran]) -> Vec<(String, Vec<String>)> {
        let changed = times_ms.iter().map(|time| (PathBuf::from(format!("at-{time}")), time * MS)).collect();
        attribute(changed, ran).into_iter().map(|s| (s.path.display().to_string(), s.writers)).collect()
    }

    #[test]
    fn a_write_is_laid_to_those_that_ran_at_its_time_and_to_nobody_when_none_did() {
        let ran = [ran("c", 700, 800), ran("a", 100, 200), ran("long", 150, 600), ran("b", 400, 500)];
        let found = writers(&[50, 120, 180, 300, 450, 550, 650, 750, 900], &ran);
        let expected: [(&str, &[&str]); 6] = [
            ("at-120", &["a"]),
            ("at-180", &["a", "long"]),
            ("at-300", &["long"]),
            ("at-450", &["long", "b"]),
            ("at-550", &["long"]),
            ("at-750", &["c"]),
        ];
        let found: Vec<(&str, Vec<&str>)> =
            found.iter().map(|(p, w)| (p.as_str(), w.iter().map(String::as_str).collect())).collect();
        assert_eq!(found, expected.map(|(path, writers)| (path, writers.to_vec())));
    }

    #[test]
    fn a_stamp_may_be_a_tick_early_and_an_end_a_tick_late() {
        let ran = [ran("a", 100, 200)];
        for (time, theirs) in [(89, false), (91, true), (209, true), (211, false)] {
            assert_eq!(!writers(&[time], &ran).is_empty(), theirs, "{time}");
        }
    }

    fn declared(names: &[&str]) -> HashSet<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    struct Project {
        folder: tempfile::TempDir,
        clock: FileClock,
    }

    impl Project {
        /// A project of one file, and a run that begins after it was written.
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("before.txt"), "x").unwrap();
            std::fs::create_dir(folder.path().join("store")).unwrap();
            std::thread::sleep(Duration::from_millis(30));
            let clock = FileClock::start(folder.path(), &folder.path().join("store")).unwrap();
            std::thread::sleep(Duration::from_millis(30));
            Self { folder, clock }
        }

        fn write(&self, name: &str) {
            let path = self.folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }

        fn strays(&self, outputs: &[&str]) -> Vec<String> {
            let ran = [Ran { node: "n".into(), start_ns: self.clock.begin_ns, end_ns: self.clock.now_ns() }];
            let (root, skipped) = (self.folder.path(), [self.folder.path().join("store")]);
            let strays = Search { root, skipped: &skipped, declared: &declared(outputs) }.strays(&self.clock, &ran);
            strays.into_iter().map(|stray| stray.path.display().to_string()).collect()
        }
    }

    #[test]
    fn what_is_written_during_a_run_and_declared_nowhere_is_found() {
        let project = Project::new();
        assert!(project.strays(&[]).is_empty());
        for name in ["a.txt", "deep/er/b.txt", ".hidden-file", "out/model.pt", "plots/1/a.svg", "table.csv", "outer/x"]
        {
            project.write(name);
        }
        let found = project.strays(&["out/model.pt", "plots", "table.csv", "out"]);
        assert_eq!(found, [".hidden-file", "a.txt", "deep/er/b.txt", "outer/x"]);
        assert_eq!(std::fs::read_dir(project.folder.path().join("store")).unwrap().count(), 0);
    }

    #[test]
    fn a_write_shows_whatever_the_program_does_to_the_file_s_time() {
        let project = Project::new();
        std::fs::File::options()
            .write(true)
            .open(project.folder.path().join("before.txt"))
            .unwrap()
            .set_modified(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
        let outside = tempfile::tempdir_in(project.folder.path()).unwrap();
        std::os::unix::fs::symlink("nowhere", project.folder.path().join("link")).unwrap();
        drop(outside);
        assert_eq!(project.strays(&[]), ["before.txt", "link"]);
    }

    #[test]
    fn folders_of_tools_and_the_store_are_not_looked_at() {
        let project = Project::new();
        for folder in [".git", ".venv/lib", "node_modules/x", "src/__pycache__", "store/blobs", ".hidden"] {
            project.write(&format!("{folder}/file"));
        }
        for marked in ["target/CACHEDIR.TAG", "target/debug/x", "env/pyvenv.cfg", "env/lib/x"] {
            project.write(marked);
        }
        assert!(project.strays(&[]).is_empty());
        // The project itself may have a mark, and its files still count.
        project.write("CACHEDIR.TAG");
        assert_eq!(project.strays(&[]), ["CACHEDIR.TAG"]);
    }

    #[test]
    fn a_run_without_commands_looks_at_nothing() {
        let project = Project::new();
        project.write("a.txt");
        let search = Search { root: project.folder.path(), skipped: &[], declared: &declared(&[]) };
        assert!(search.strays(&project.clock, &[]).is_empty());
    }

    #[test]
    fn a_warning_names_ten_counts_the_rest_and_says_what_to_do() {
        assert_eq!(warning(&[]), None);
        let stray = |path: &str, writers: &[&str]| Stray {
            path: path.into(),
            writers: writers.iter().map(|name| (*name).to_owned()).collect(),
        };
        let few = [stray("a", &["train"]), stray("b/\u{e4}\u{1b}[31m", &["p", "q", "r", "s", "t"])];
        let expected = [
            "2 files that no stage declares were written while commands ran:",
            "  a         by train",
            "  b/\u{e4}\u{fffd}[31m  by p or q or r or one of 2 more",
            "declare it under `outputs:`, or write it to ${outputs.NAME}",
        ];
        assert_eq!(warning(&few).unwrap(), expected.join("\n"));
        let many: Vec<Stray> = (0..25).map(|n| stray(&format!("f{n}"), &["train"])).collect();
        let text = warning(&many).unwrap();
        assert!(text.starts_with("25 files") && text.contains("f9") && !text.contains("f10"), "{text}");
        assert!(text.contains("  and 15 more\n"), "{text}");
        assert!(warning(&many[..1]).unwrap().starts_with("1 file that no stage declares was written"));
    }
}
