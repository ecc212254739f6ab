//! Which names a file inside an artifact may have: a relative path that leads nowhere but down.
//!
//! Checked when a record is written and again when one is read, for a record may come from anyone.

/// Bytes that a whole name may have.
pub const NAME_BYTES_MAX: usize = 1024;
/// Bytes that one component may have (what common file systems hold).
pub const COMPONENT_BYTES_MAX: usize = 255;

/// A name that could lead outside its folder, or that file systems or terminals would not all take as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name {name:?} {problem}")]
pub struct BadName {
    /// The name, cut to 200 characters.
    pub name: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// Accepts a normal relative path: components between single slashes, none empty, `.` or `..`.
///
/// # Errors
/// [`BadName`] with the reason.
pub fn check_path(name: &str) -> Result<(), BadName> {
    let problem = if name.is_empty() {
        "is empty"
    } else if name.len() > NAME_BYTES_MAX {
        "is longer than 1024 bytes"
    } else if name.contains('\0') {
        "holds a NUL"
    } else if name.contains('\\') {
        "holds a backslash"
    } else if name.chars().any(char::is_control) {
        "holds a control character"
    } else if name.starts_with('/') {
        "is an absolute path"
    } else if let Some(problem) = name.split('/').find_map(component_problem) {
        problem
    } else {
        return Ok(());
    };
    Err(BadName { name: name.chars().take(200).collect(), problem })
}

/// Accepts a name of one component: what outputs, ports and sources are called.
///
/// # Errors
/// [`BadName`] with the reason.
pub fn check_word(name: &str) -> Result<(), BadName> {
    check_path(name)?;
    if name.contains('/') {
        return Err(BadName { name: name.chars().take(200).collect(), problem: "holds a slash" });
    }
    Ok(())
}

fn component_problem(component: &str) -> Option<&'static str> {
    match component {
        "" => Some("has an empty component"),
        "." => Some("has the component `.`"),
        ".." => Some("has the component `..`, which escapes its folder"),
        _ if component.len() > COMPONENT_BYTES_MAX => Some("has a component longer than 255 bytes"),
        _ => None,
    }
}

/// Accepts the names of an artifact's files: one empty name for a single file, else paths in strictly
/// ascending order, none of which is the folder of another.
///
/// # Errors
/// [`BadName`] with the first offender.
pub fn check_files<'a>(folder: bool, names: impl IntoIterator<Item = &'a str>) -> Result<(), BadName> {
    let names: Vec<&str> = names.into_iter().collect();
    let bad = |name: &str, problem| Err(BadName { name: name.chars().take(200).collect(), problem });
    if !folder {
        return match names.as_slice() {
            [""] => Ok(()),
            [] => bad("", "is missing: a single file was expected"),
            [name, ..] => bad(name, "is not that of a single file"),
        };
    }
    for name in &names {
        check_path(name)?;
    }
    for pair in names.windows(2) {
        if pair[0] >= pair[1] {
            return bad(pair[1], "is not in ascending order, or comes twice");
        }
    }
    let all: std::collections::BTreeSet<&str> = names.iter().copied().collect();
    for name in &names {
        for (at, _) in name.match_indices('/') {
            if all.contains(&name[..at]) {
                return bad(name, "lies inside another file");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_refused_with_a_reason() {
        let long = "a".repeat(256);
        let deep = "a/".repeat(600) + "a";
        let table: &[(&str, &str)] = &[
            ("", "empty"),
            (".", "`.`"),
            ("..", "`..`"),
            ("../x", "`..`"),
            ("a/../b", "`..`"),
            ("a/../../b", "`..`"),
            ("a/..", "`..`"),
            ("./a", "`.`"),
            ("a/.", "`.`"),
            ("a/./b", "`.`"),
            ("/", "absolute"),
            ("/etc/passwd", "absolute"),
            ("//a", "absolute"),
            ("a//b", "empty component"),
            ("a/", "empty component"),
            ("a\0b", "NUL"),
            ("..\\a", "backslash"),
            ("C:\\a", "backslash"),
            ("a\nb", "control"),
            ("a\u{1b}[31m", "control"),
            ("a\u{7f}", "control"),
            ("a\u{85}b", "control"),
            (&long, "255"),
            (&deep, "1024"),
        ];
        for (name, reason) in table {
            let error = check_path(name).expect_err(name);
            assert!(error.problem.contains(reason), "{name:?}: {error}");
        }
        for good in ["a", "a/b/c.txt", "...", "..a", "a..", "class-3.safetensors", "ä/日本", "a b", "-rf", "~", "$HOME"]
        {
            check_path(good).expect(good);
        }
        assert!(check_word("a/b").is_err());
    }

    #[test]
    fn the_files_of_an_artifact_are_ordered_unique_and_apart() {
        assert!(check_files(false, [""]).is_ok());
        assert!(check_files(true, []).is_ok());
        assert!(check_files(true, ["a", "a.b", "a0/c", "b"]).is_ok());
        for (folder, names) in [
            (false, vec![]),
            (false, vec!["a"]),
            (false, vec!["", ""]),
            (true, vec![""]),
            (true, vec!["b", "a"]),
            (true, vec!["a", "a"]),
            (true, vec!["a", "a/b"]),
            // Between `a` and `a/b` in byte order lies `a.b`: neighbours alone do not show it.
            (true, vec!["a", "a.b", "a/b"]),
            (true, vec!["a", "../b"]),
        ] {
            assert!(check_files(folder, names.iter().copied()).is_err(), "{names:?}");
        }
    }
}
