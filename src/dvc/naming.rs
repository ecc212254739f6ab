//! Names for stages, inputs and outputs that are made from DVC's names and from paths: valid for us, and each once.

use std::collections::{BTreeMap, BTreeSet};

/// `text` as a name: a letter or `_`, then letters, digits, `_` and `-`. Empty when nothing of it can stand in one.
pub(super) fn cleaned(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars() {
        match c {
            c if c.is_ascii_alphanumeric() || c == '-' => name.push(c),
            _ if name.ends_with('_') => {}
            _ => name.push('_'),
        }
    }
    let name = name.trim_matches(['_', '-']);
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if starts_well || name.is_empty() { name.to_owned() } else { format!("_{name}") }
}

/// `text` itself where it is a name, or what is [`cleaned`] of it, or `otherwise`.
pub(super) fn valid(text: &str, otherwise: &str) -> String {
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if first && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
        return text.to_owned();
    }
    let name = cleaned(text);
    if name.is_empty() { otherwise.to_owned() } else { name }
}

/// `name`, or it with the first number behind it that makes it new; it is taken then.
pub(super) fn fresh(name: &str, taken: &mut BTreeSet<String>) -> String {
    let mut free = name.to_owned();
    let mut number = 1;
    while !taken.insert(free.clone()) {
        number += 1;
        free = format!("{name}_{number}");
    }
    free
}

/// A name for each path: its file's without the ending where that is the only one, else with more of the path. What
/// cannot stand in a name is left out, as are values that differ between the stages of a group.
pub(super) fn for_paths(paths: &[String]) -> Vec<String> {
    let candidates: Vec<Vec<String>> = paths.iter().map(|path| candidates(path)).collect();
    let levels = candidates.iter().map(Vec::len).max().unwrap_or(0);
    let mut names: Vec<Option<String>> = vec![None; paths.len()];
    let mut taken = BTreeSet::new();
    for level in 0..levels {
        let at_level = |own: &Vec<String>| own[level.min(own.len() - 1)].clone();
        let open: Vec<(usize, String)> = (0..paths.len())
            .filter(|index| names[*index].is_none())
            .map(|index| (index, at_level(&candidates[index])))
            .collect();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, name) in &open {
            *counts.entry(name).or_default() += 1;
        }
        for (index, name) in &open {
            if counts[name.as_str()] == 1 && !taken.contains(name) {
                names[*index] = Some(name.clone());
            }
        }
        taken.extend(names.iter().flatten().cloned());
    }
    let named = names.into_iter().zip(candidates);
    named.map(|(name, own)| name.unwrap_or_else(|| fresh(&own[own.len() - 1], &mut taken))).collect()
}

/// Names for a path, the shortest first; at least one.
fn candidates(path: &str) -> Vec<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !cleaned(part).is_empty()).collect();
    let Some((last, folders)) = parts.split_last() else { return vec!["data".to_owned()] };
    let stem = last.rsplit_once('.').map_or(*last, |(stem, _)| stem);
    let mut all = Vec::new();
    match (cleaned(stem).is_empty(), folders.last()) {
        // All but the ending is different in each stage of a group: it says what its folder says.
        (true, Some(folder)) if !last.starts_with('.') => {
            all.extend([cleaned(folder), cleaned(&format!("{folder}_{last}"))]);
        }
        (true, _) => all.push(cleaned(last)),
        (false, None) => all.extend([cleaned(stem), cleaned(last)]),
        (false, Some(folder)) => {
            let in_folder = [stem, last].map(|name| cleaned(&format!("{folder}_{name}")));
            all.extend([cleaned(stem), cleaned(last)].into_iter().chain(in_folder));
        }
    }
    all.push(cleaned(&parts.join("_")));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_what_names_may_hold() {
        for (text, name) in [
            ("train.py", "train_py"),
            ("1_prepare", "_1_prepare"),
            ("create features", "create_features"),
            ("_per", "per"),
            ("a--b", "a--b"),
            ("...", ""),
            ("größe", "gr_e"),
        ] {
            assert_eq!(cleaned(text), name, "{text}");
        }
        assert_eq!(valid("_x-1", "stage"), "_x-1");
        assert_eq!(valid("é", "stage"), "stage");
    }

    #[test]
    fn paths_get_the_shortest_names_that_tell_them_apart() {
        let names = |paths: &[&str]| for_paths(&paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>());
        assert_eq!(names(&["src/train.py", "data/raw.csv"]), ["train", "raw"]);
        assert_eq!(names(&["src/train.py", "data/train.csv"]), ["train_py", "train_csv"]);
        assert_eq!(names(&["a/x.csv", "b/x.csv", "c/y"]), ["a_x", "b_x", "y"]);
        assert_eq!(names(&["p/a/x.csv", "q/a/x.csv"]), ["p_a_x_csv", "q_a_x_csv"]);
        assert_eq!(names(&["a-b/x", "a_b/x", "a.b/x"]), ["a-b_x", "a_b_x", "a_b_x_2"]);
        assert_eq!(names(&[".gitignore", "/.csv", "//"]), ["gitignore", "csv", "data"]);
        assert_eq!(names(&["models/\0.pt"]), ["models"]);
        assert_eq!(names(&["models/\0.pt", "models/\0.json", "data/\0/x_\0.csv"]), ["models_pt", "models_json", "x"]);
        // A name that one path has by its folder is another's own.
        assert_eq!(names(&["b_x", "b/x", "x"]), ["b_x", "b_x_2", "x"]);
    }
}
