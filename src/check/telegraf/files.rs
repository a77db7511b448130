//! Which files Telegraf loads, and their text. What they say of this program is `mod.rs`' business.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use toml::Table;

use crate::plain_file;

/// Longer files, more files in a folder and deeper folders are passed over.
const FILE_MAX: u64 = 1 << 20;
const FILES_MAX: usize = 1000;
const DEPTH_MAX: usize = 8;

/// A file that Telegraf loads, or would, were its name another.
pub(super) struct Loaded {
    pub(super) path: PathBuf,
    /// Whether it names this program.
    pub(super) names_us: bool,
    /// What it says, or why that cannot be told.
    pub(super) table: Result<Table, Unread>,
}

/// Why a file gave nothing.
pub(super) enum Unread {
    /// It may be right or wrong: it cannot be read here, or holds variables.
    Unknown(String),
    /// It is wrong for Telegraf too.
    NotToml(String),
}

/// Reads a file.
pub(super) fn read(path: &Path) -> Loaded {
    let (bytes, failed) = match plain_file::read(path, FILE_MAX) {
        Ok(bytes) => (bytes, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let text = String::from_utf8_lossy(&bytes);
    let names_us = text.contains(env!("CARGO_PKG_NAME"));
    let table = match failed {
        Some(error) => Err(Unread::Unknown(error.to_string())),
        None if bytes.len() as u64 > FILE_MAX => Err(Unread::Unknown("it is too long".to_owned())),
        None => text.parse().map_err(|error: toml::de::Error| {
            let at = error.span().map_or(0, |span| span.start);
            let line = text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
            let reason = format!("line {line}: {}", error.message());
            // Telegraf puts variables in before it reads the file; what they are is not known here.
            if text.contains('$') { Unread::Unknown(reason) } else { Unread::NotToml(reason) }
        }),
    };
    // Who may not read it cannot know what it names, and so it may be us.
    let names_us = names_us || bytes.is_empty() && table.is_err();
    Loaded { path: path.to_owned(), names_us, table }
}

/// Files beside those that Telegraf loads, whose names do not end in .conf.
pub(super) fn passed_over(places: &[PathBuf]) -> Vec<PathBuf> {
    let folders = places.iter().filter(|place| place.is_dir());
    let entries = folders.filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let paths = entries.take(FILES_MAX).map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.is_file() && path.extension() != Some(OsStr::new("conf")))
        .collect();
    paths.sort_unstable();
    paths
}

/// The files that Telegraf loads: one that is named, and those ending in .conf below a folder.
pub(super) fn find(place: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    let Ok(seen) = fs::metadata(place) else { return };
    if seen.is_file() && (depth == 0 || place.extension() == Some(OsStr::new("conf"))) {
        files.push(place.to_owned());
    }
    if !seen.is_dir() || depth == DEPTH_MAX || (depth > 0 && is_passed_over(place)) {
        return;
    }
    let mut entries: Vec<PathBuf> = fs::read_dir(place)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .take(FILES_MAX)
        .collect();
    entries.sort_unstable();
    for entry in entries {
        if files.len() < FILES_MAX {
            find(&entry, depth + 1, files);
        }
    }
}

/// Whether Telegraf does not go into this folder: not through a link, of which a few that lead back
/// would never end, nor where Kubernetes keeps what its links lead to.
fn is_passed_over(folder: &Path) -> bool {
    let is_hidden =
        folder.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".."));
    is_hidden || folder.is_symlink()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn folders_that_telegraf_does_not_go_into_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["inner", "..2026"] {
            fs::create_dir(path(name)).unwrap();
            fs::write(path(name).join("a.conf"), "").unwrap();
        }
        symlink("..2026", path("..data")).unwrap();
        symlink("..data/a.conf", path("linked.conf")).unwrap();
        // Each leads back to all of them: at 8 folders deep some hundred million times.
        for link in 0..10 {
            symlink(".", path(&format!("link-{link}"))).unwrap();
        }
        let mut files = Vec::new();
        find(folder.path(), 0, &mut files);
        assert_eq!(files, [path("inner/a.conf"), path("linked.conf")]);
    }
}
