//! All runs of a store, and the one that a name means: `last`, `last~1`, an id or its beginning.

use std::cmp::Reverse;
use std::fs;
use std::path::Path;

use rayon::prelude::*;

use super::RUNS;
use super::read::Summary;

/// Names of runs that a message shows.
const SHOWN: usize = 5;

/// All runs of a store in short, the newest first. One that cannot be read is left out, which is told.
#[must_use]
pub fn list(store_folder: &Path) -> Vec<Summary> {
    let read = |id: String| match Summary::read(store_folder, &id) {
        Ok(summary) => Some(summary),
        Err(why) => {
            tracing::debug!("{why}");
            None
        }
    };
    let mut runs: Vec<Summary> = names(store_folder).into_par_iter().filter_map(read).collect();
    runs.sort_by(|a, b| (Reverse(a.start.time), b.id()).cmp(&(Reverse(b.start.time), a.id())));
    runs
}

/// Names of all runs, the newest last as far as names tell.
#[must_use]
pub fn names(store_folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(store_folder.join(RUNS)).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The run that `name` means.
///
/// # Errors
/// A sentence on what there is instead.
pub fn find(store_folder: &Path, name: &str) -> Result<Summary, String> {
    if let Some(back) = steps_back(name) {
        let runs = list(store_folder);
        let count = runs.len();
        return runs.into_iter().nth(back).ok_or_else(|| match count {
            0 => nothing(store_folder),
            1 => format!("there is no run `{name}`: only one is recorded"),
            _ => format!("there is no run `{name}`: {count} are recorded, `last` to `last~{}`", count - 1),
        });
    }
    let names = names(store_folder);
    let matching: Vec<&String> = names.iter().filter(|id| id.starts_with(name) && !name.is_empty()).collect();
    match matching.as_slice() {
        _ if names.iter().any(|id| id == name) => Summary::read(store_folder, name),
        [one] => Summary::read(store_folder, one),
        [] if names.is_empty() => Err(nothing(store_folder)),
        [] => Err(format!("no run is called `{name}`; the latest are {} (or `last`, `last~1`)", latest(&names))),
        several => {
            let several: Vec<String> = several.iter().map(|id| (*id).clone()).collect();
            Err(format!("`{name}` begins the names of {} runs: {}", several.len(), latest(&several)))
        }
    }
}

fn nothing(store_folder: &Path) -> String {
    format!("no run is recorded in {}; `pru-flow run` records each", store_folder.join(RUNS).display())
}

fn latest(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().rev().take(SHOWN).map(|id| format!("`{id}`")).collect();
    let more = if names.len() > SHOWN { " ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// How many runs before the last one is meant: 0 for `last`, 2 for `last~2`.
fn steps_back(name: &str) -> Option<usize> {
    match name.strip_prefix("last")? {
        "" => Some(0),
        rest => rest.strip_prefix('~')?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A run that began at this second and ended at once.
    fn record(store: &Path, id: &str, second: u32) {
        let folder: PathBuf = store.join(RUNS).join(id);
        fs::create_dir_all(&folder).unwrap();
        let time = format!("2026-01-01T00:00:{second:02}Z");
        let start =
            format!(r#"{{"schema":1,"event":"run_started","time":"{time}","run_id":"{id}","pipeline":"p","nodes":1}}"#);
        let end = format!(
            r#"{{"schema":1,"event":"run_finished","time":"{time}","executed":1,"cached":0,"failed":0,"skipped":0,"wall_ms":5}}"#
        );
        fs::write(folder.join("events.jsonl"), format!("{start}\n{end}\n")).unwrap();
    }

    #[test]
    fn a_run_is_found_by_its_name_its_beginning_and_how_long_ago_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path();
        assert!(find(store, "last").unwrap_err().contains("no run is recorded"));
        // Names do not tell the order of runs that began in one second; their times do.
        record(store, "20260101T000001Z-9", 1);
        record(store, "20260101T000001Z-10", 2);
        record(store, "20260102T000001Z-1", 3);
        let found = |name: &str| find(store, name).map(|run| run.id().to_owned());
        assert_eq!(found("last").unwrap(), "20260102T000001Z-1");
        assert_eq!(found("last~1").unwrap(), "20260101T000001Z-10");
        assert_eq!(found("last~2").unwrap(), "20260101T000001Z-9");
        assert_eq!(found("last~3").unwrap_err(), "there is no run `last~3`: 3 are recorded, `last` to `last~2`");
        assert_eq!(found("20260102").unwrap(), "20260102T000001Z-1");
        assert_eq!(found("20260101T000001Z-9").unwrap(), "20260101T000001Z-9");
        let several = found("20260101").unwrap_err();
        assert!(several.contains("2 runs: `20260101T000001Z-9`, `20260101T000001Z-10`"), "{several}");
        for none in ["", "last~", "last~x", "lastly", "2027", "../runs"] {
            assert!(found(none).unwrap_err().starts_with("no run is called"), "{none}");
        }
    }

    #[test]
    fn a_name_that_others_begin_with_means_its_own_run() {
        let folder = tempfile::tempdir().unwrap();
        record(folder.path(), "20260101T000001Z-1", 1);
        record(folder.path(), "20260101T000001Z-12", 2);
        assert_eq!(find(folder.path(), "20260101T000001Z-1").unwrap().id(), "20260101T000001Z-1");
    }
}
