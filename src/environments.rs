//! What was installed when a command ran, as texts in the store's folder: so that `explain` can say which distribution
//! changed. They are no part of any result, and can be deleted.

use std::path::{Path, PathBuf};

use pru_flow_cache::Digest;

fn path(store: &Path, digest: &str) -> PathBuf {
    store.join("environments").join(format!("{digest}.txt"))
}

/// Keeps a text. Never fails: without it less can be explained.
pub fn write(store: &Path, digest: &Digest, text: &str) {
    let path = path(store, &digest.to_string());
    let write = || -> std::io::Result<()> {
        std::fs::create_dir_all(path.parent().unwrap_or(store))?;
        let temporary = path.with_extension(format!("{}", std::process::id()));
        std::fs::write(&temporary, text)?;
        std::fs::rename(&temporary, &path)
    };
    if !path.exists()
        && let Err(error) = write()
    {
        tracing::debug!("{}: {error}", path.display());
    }
}

/// The text with this digest, or one whose digest begins so.
#[must_use]
pub fn read(store: &Path, digest: &str) -> Option<String> {
    let names = std::fs::read_dir(store.join("environments")).ok()?.flatten();
    let found = names.map(|entry| entry.path()).find(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(digest) && path.extension().is_some_and(|extension| extension == "txt")
    });
    std::fs::read_to_string(found?).ok()
}
