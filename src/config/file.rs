//! The file that a configuration is read from: which one, and its text.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::{ConfigError, FILE_VARIABLE, foreign};
use crate::plain_file;
use crate::printable::sanitize;

/// A configuration is a page of text: what is larger is some other file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The path and the text of the file that is named, by option or else by variable, or of the
/// system's; `None` where none is named and the system has none.
pub(super) fn find(
    named: Option<&Path>,
    environment: &dyn Fn(&str) -> Option<OsString>,
    system: &Path,
) -> Result<Option<(PathBuf, String)>, ConfigError> {
    let variable = environment(FILE_VARIABLE).filter(|value| !value.is_empty());
    let (path, namer) = match (named, variable) {
        (Some(path), _) => (path.to_owned(), " (from --config)".to_owned()),
        (None, Some(path)) => (path.into(), format!(" (from ${FILE_VARIABLE})")),
        (None, None) => (system.to_owned(), String::new()),
    };
    match read(&path) {
        Ok(text) => Ok(Some((path, text))),
        Err(Unreadable::Failed(error)) if namer.is_empty() && is_absent(&error) => Ok(None),
        Err(why) => {
            let text = path.to_string_lossy();
            let hint = match foreign::unexpanded(&text) {
                _ if text.contains("://") => "; that is a URI: --uri names a hypervisor".to_owned(),
                Some(what) => format!("; {what} is not expanded here: write the full path"),
                None => String::new(),
            };
            let path = display_path(&path);
            Err(ConfigError(format!("cannot read the configuration {path}{namer}: {why}{hint}")))
        }
    }
}

/// The folder beside a configuration whose files are read after it.
const FOLDER: &str = "config.d";
/// More files than anybody writes.
const FILES_MAX: usize = 1000;

/// The files of config.d beside a configuration, in the order of their names.
pub(super) fn beside(file: &Path) -> Result<Vec<(PathBuf, String)>, ConfigError> {
    let folder = file.with_file_name(FOLDER);
    let refused = |path: &Path, why: &dyn fmt::Display| {
        ConfigError(format!("cannot read the configuration {}: {why}", display_path(path)))
    };
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(refused(&folder, &Unreadable::Failed(error))),
    };
    let paths = entries.take(FILES_MAX).filter_map(|entry| Some(entry.ok()?.path()));
    let is_toml = |path: &PathBuf| {
        let is_hidden = path.file_name().is_some_and(|it| it.as_encoded_bytes().starts_with(b"."));
        path.extension().is_some_and(|ending| ending == "toml") && !is_hidden
    };
    let mut paths: Vec<PathBuf> = paths.filter(is_toml).collect();
    paths.sort_unstable();
    let read = |path: PathBuf| match read(&path) {
        Ok(text) => Ok((path, text)),
        Err(why) => Err(refused(&path, &why)),
    };
    paths.into_iter().map(read).collect()
}

fn is_absent(error: &io::Error) -> bool {
    // A part of the path that is a plain file leaves no room for ours.
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Why a file gave no text.
enum Unreadable {
    Failed(io::Error),
    TooLarge,
    /// In which line it is not UTF-8.
    NotUtf8(usize),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Failed(error) => match error.kind() {
                io::ErrorKind::NotFound => {
                    f.write_str("no such file; telegraf-virt config > FILE writes a sample")
                }
                io::ErrorKind::PermissionDenied => {
                    f.write_str("permission denied; the user who runs this must be able to read it")
                }
                io::ErrorKind::IsADirectory => {
                    f.write_str("it is a folder; write the path of the file in it")
                }
                _ => write!(f, "{error}"),
            },
            Self::TooLarge => f.write_str("it is larger than 1 MiB, which no configuration is"),
            Self::NotUtf8(line) => write!(f, "line {line} is not UTF-8; save it as UTF-8 text"),
        }
    }
}

fn read(path: &Path) -> Result<String, Unreadable> {
    let bytes = plain_file::read(path, FILE_BYTES_MAX).map_err(Unreadable::Failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Unreadable::TooLarge);
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Unreadable::NotUtf8(line_of(error.as_bytes(), at))
    })
}

/// The line of a byte, from 1.
pub(super) fn line_of(text: &[u8], at: usize) -> usize {
    text.iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

/// A path for a message: on one line, and its end where it is long, which names the file.
pub(super) fn display_path(path: &Path) -> String {
    const MOST: usize = 160;
    let path = sanitize(&path.to_string_lossy());
    if path.len() <= MOST {
        return path;
    }
    let start = (path.len() - MOST..).find(|start| path.is_char_boundary(*start));
    format!("…{}", &path[start.unwrap_or(path.len())..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_another_user_keeps_is_told_with_the_remedy() {
        // Root, who runs the tests, may read every file.
        let denied = Unreadable::Failed(io::ErrorKind::PermissionDenied.into());
        assert_eq!(
            denied.to_string(),
            "permission denied; the user who runs this must be able to read it"
        );
    }

    #[test]
    fn a_line_is_counted_up_to_its_newline() {
        let lines: Vec<usize> = (0..=4).map(|at| line_of(b"a\n\nb", at)).collect();
        assert_eq!(lines, [1, 1, 2, 3, 3]);
    }

    #[test]
    fn a_long_path_keeps_its_end() {
        let path = format!("/{}/c.toml", "ä".repeat(200));
        let shown = display_path(Path::new(&path));
        assert_eq!(shown, format!("…{}/c.toml", "ä".repeat(76)));
    }
}
