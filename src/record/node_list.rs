//! Lists of nodes: name, key and producers of each, a line a node, in a file named by its content. A run that changes
//! nothing ends with the list of the run before it and writes none.
//!
//! Knows nothing of how nodes ended.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pru_flow_cache::{ActionKey, Digest};

use super::NODE_LISTS;
use crate::graph::{Graph, NodeId};

/// A node of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedNode {
    /// Its name.
    pub name: String,
    /// Its key, as far as it was known when the run ended.
    pub key: Option<ActionKey>,
    /// Places in the list of the nodes that it reads.
    pub producers: Vec<usize>,
}

/// The `wanted` nodes of a graph, in its order: each after all that it reads.
#[must_use]
pub fn of_graph(graph: &Graph, wanted: &[bool], key: impl Fn(NodeId) -> Option<ActionKey>) -> Vec<ListedNode> {
    let mut places = vec![usize::MAX; graph.nodes.len()];
    let mut list = Vec::new();
    for &id in graph.order.iter().filter(|id| wanted[**id]) {
        places[id] = list.len();
        let producers = graph.producers(id).into_iter().map(|producer| places[producer]).collect();
        list.push(ListedNode { name: graph.nodes[id].name.clone(), key: key(id), producers });
    }
    list
}

/// Writes a list, unless it is there; gives its name.
///
/// # Errors
/// When it cannot be written.
pub fn write(store_folder: &Path, list: &[ListedNode]) -> io::Result<Digest> {
    let text = encode(list);
    let digest = Digest::of(text.as_bytes());
    let path = path(store_folder, &digest);
    if path.exists() {
        return Ok(digest);
    }
    let folder = store_folder.join(NODE_LISTS);
    fs::create_dir_all(&folder)?;
    // Under a name of this process's own first: another run may write the same list.
    let temporary = folder.join(format!(".{digest}.{}", std::process::id()));
    fs::write(&temporary, text)?;
    fs::rename(&temporary, path)?;
    Ok(digest)
}

/// Reads a list; `None` when it is not there or not whole.
#[must_use]
pub fn read(store_folder: &Path, digest: &Digest) -> Option<Vec<ListedNode>> {
    let bytes = fs::read(path(store_folder, digest)).ok()?;
    if Digest::of(&bytes) != *digest {
        tracing::warn!("{} is damaged", path(store_folder, digest).display());
        return None;
    }
    decode(std::str::from_utf8(&bytes).ok()?)
}

fn path(store_folder: &Path, digest: &Digest) -> PathBuf {
    store_folder.join(NODE_LISTS).join(format!("{digest}.jsonl"))
}

fn encode(list: &[ListedNode]) -> String {
    let mut text = String::with_capacity(list.len() * 128);
    for ListedNode { name, key, producers } in list {
        let name = serde_json::Value::from(name.as_str());
        let key = key.map_or_else(|| "null".to_owned(), |key| format!("\"{key}\""));
        text.push_str(&format!("[{name},{key},{producers:?}]\n"));
    }
    text
}

fn decode(text: &str) -> Option<Vec<ListedNode>> {
    let mut list: Vec<ListedNode> = Vec::new();
    for line in text.lines() {
        let (name, key, producers): (String, Option<ActionKey>, Vec<usize>) = serde_json::from_str(line).ok()?;
        if producers.iter().any(|producer| *producer >= list.len()) {
            return None;
        }
        list.push(ListedNode { name, key, producers });
    }
    Some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> Vec<ListedNode> {
        let key = ActionKey::from_digest(Digest::of(b"a"));
        let node = |name: &str, key, producers: &[usize]| ListedNode {
            name: name.to_owned(),
            key,
            producers: producers.to_vec(),
        };
        vec![node("a", Some(key), &[]), node("b[x=\"\\n\\\"\"]", None, &[0]), node("c", Some(key), &[0, 1])]
    }

    #[test]
    fn a_list_is_read_as_it_was_written_and_written_once() {
        let folder = tempfile::tempdir().unwrap();
        let digest = write(folder.path(), &list()).unwrap();
        assert_eq!(read(folder.path(), &digest).unwrap(), list());
        let written = fs::metadata(path(folder.path(), &digest)).unwrap().modified().unwrap();
        assert_eq!(write(folder.path(), &list()).unwrap(), digest);
        assert_eq!(fs::metadata(path(folder.path(), &digest)).unwrap().modified().unwrap(), written);
        assert_eq!(fs::read_dir(folder.path().join(NODE_LISTS)).unwrap().count(), 1, "nothing temporary stays");
    }

    #[test]
    fn a_list_that_is_damaged_or_not_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path(), &Digest::of(b"x")), None);
        let digest = write(folder.path(), &list()).unwrap();
        fs::write(path(folder.path(), &digest), "[\"a\",null,[]]\n").unwrap();
        assert_eq!(read(folder.path(), &digest), None);
        assert_eq!(decode("[\"a\",null,[0]]"), None, "a node that reads itself");
        assert_eq!(decode("[\"a\",null]"), None);
    }
}
