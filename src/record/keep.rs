//! Writing a recording: whole or not at all, for its owner alone, and never over a file that is there.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

/// Why a recording could not be written, in words for whoever named the file.
#[derive(Debug, PartialEq, Eq)]
pub struct KeepError(String);

impl fmt::Display for KeepError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for KeepError {}

/// A file that a recording will be: until then it is in the same folder under another name.
pub struct NewFile {
    path: PathBuf,
    beside: PathBuf,
    file: File,
    is_done: bool,
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_done {
            let _ = fs::remove_file(&self.beside);
        }
    }
}

impl NewFile {
    /// Makes sure that the file can be written, before a host is asked for its contents.
    ///
    /// # Errors
    /// Where something has that name already, or nothing can be written beside it.
    pub fn beside(path: &Path) -> Result<Self, KeepError> {
        match fs::symlink_metadata(path) {
            Ok(_) => return Err(exists(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(path, &error)),
        }
        if path.file_name().is_none() {
            return Err(failed(path, &"it names no file"));
        }
        let beside = path.with_file_name(format!(".telegraf-virt-record.{}", std::process::id()));
        let mut options = File::options();
        // A name that nobody uses: a link there, or a file of somebody's, is not followed or written.
        options.write(true).create_new(true).mode(0o600);
        let file = options.open(&beside).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => failed(path, &"there is no such folder"),
            _ => failed(path, &error),
        })?;
        Ok(Self { path: path.to_owned(), beside, file, is_done: false })
    }

    /// Writes all of it, and gives it its name.
    ///
    /// # Errors
    /// Where that fails; then nothing is left behind.
    pub fn finish(mut self, text: &str) -> Result<(), KeepError> {
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_all());
        written.map_err(|error| failed(&self.path, &error))?;
        let flags = RenameFlags::RENAME_NOREPLACE;
        match renameat2(AT_FDCWD, &self.beside, AT_FDCWD, &self.path, flags) {
            Ok(()) => {
                self.is_done = true;
                Ok(())
            }
            Err(Errno::EEXIST) => Err(exists(&self.path)),
            // Not every file system knows it (NFS does not); a link never replaces anything either, and
            // the other name goes when this is dropped.
            Err(Errno::EINVAL | Errno::ENOSYS) => {
                fs::hard_link(&self.beside, &self.path).map_err(|error| match error.kind() {
                    io::ErrorKind::AlreadyExists => exists(&self.path),
                    _ => failed(&self.path, &error),
                })
            }
            Err(errno) => Err(failed(&self.path, &errno.desc())),
        }
    }
}

fn exists(path: &Path) -> KeepError {
    KeepError(format!(
        "{} exists, and record never overwrites a file: choose another name, or remove it",
        path.display()
    ))
}

fn failed(path: &Path, error: &dyn fmt::Display) -> KeepError {
    KeepError(format!("cannot write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_is_there_whole_and_for_its_owner_alone_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        drop(NewFile::beside(&path).unwrap());
        assert_eq!(names(folder.path()), [""; 0]);
        NewFile::beside(&path).unwrap().finish("text").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "text");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn what_is_there_is_never_replaced_even_if_it_came_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let new = NewFile::beside(&path).unwrap();
        fs::write(&path, "theirs").unwrap();
        let told = KeepError(format!(
            "{} exists, and record never overwrites a file: choose another name, or remove it",
            path.display()
        ));
        assert_eq!(new.finish("ours"), Err(told));
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
        assert_eq!(names(folder.path()), ["a"]);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/nonexistent", &link).unwrap();
        assert!(NewFile::beside(&link).is_err_and(|error| error.0.contains("exists")));
        let nowhere = NewFile::beside(&folder.path().join("no/file")).err().unwrap().0;
        assert!(nowhere.ends_with("no/file: there is no such folder"), "{nowhere}");
    }
}
