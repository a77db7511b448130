//! What can be wrong with the cache's folder and files, in the words that the user reads. Each text
//! names the path first and what is wrong with it second; what is lost by it is the caller's to say.

use std::fmt;
use std::path::PathBuf;

use nix::errno::Errno;

/// A file or folder of the cache that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// Which one.
    pub path: PathBuf,
    /// What is wrong with it.
    pub cause: FileFault,
}

/// What is wrong with a file or folder of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileFault {
    /// Something else is in its place.
    Kind {
        /// What is there, such as "a symbolic link".
        is: &'static str,
        /// What should, such as "a plain file".
        wanted: &'static str,
    },
    /// It belongs to the user with this id, not to ours.
    Owner(u32),
    /// It has a second name, so it is somebody's file elsewhere too.
    HardLink,
    /// It is ours, but its mode (these permission bits) lets others write it.
    WritableByOthers(u32),
    /// It is ours, but holds this many bytes, more than a cache of ours ever has.
    TooLarge(u64),
    /// Another process of ours is writing it, and did not end in time.
    Locked,
    /// Folders are made in here for us only where its owner and mode say that nobody else can
    /// put others in their place.
    OpenToOthers,
    /// The system refused.
    System {
        /// What was tried, such as "open".
        tried: &'static str,
        /// The system's answer.
        errno: Errno,
    },
}

impl FileError {
    pub(super) fn new(path: PathBuf, cause: FileFault) -> Self {
        Self { path, cause }
    }

    /// Whether it is not ours, and so must never be read or replaced.
    pub fn is_foreign(&self) -> bool {
        matches!(self.cause, FileFault::Kind { .. } | FileFault::Owner(_) | FileFault::HardLink)
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.cause {
            FileFault::Kind { is, wanted } => {
                write!(f, "{path} is {is}, not {wanted} of this user")
            }
            FileFault::Owner(uid) => write!(f, "{path} belongs to uid {uid}, not to this user"),
            FileFault::HardLink => write!(f, "{path} is a hard link to a file elsewhere"),
            FileFault::WritableByOthers(mode) => {
                write!(f, "{path} can be written by other users (mode {mode:04o})")
            }
            FileFault::TooLarge(bytes) => write!(f, "{path} is too large ({bytes} bytes)"),
            FileFault::Locked => write!(f, "{path} is locked by another process"),
            FileFault::OpenToOthers => {
                write!(f, "{path} belongs to another user or can be written by everyone")
            }
            FileFault::System { tried, errno } => {
                write!(f, "cannot {tried} {path}: {}", errno.desc())
            }
        }
    }
}

impl std::error::Error for FileError {}

/// Why a cache file gave nothing, or not what it should. All but a file that is not ours are
/// replaced at the next save.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheWarning {
    /// It could not be read at all.
    File(FileError),
    /// It was read, and is not what any version of this program writes.
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// At which line, from 1.
        line: usize,
        /// What is wrong there.
        cause: String,
    },
    /// Another version of this program wrote it.
    OtherVersion {
        /// Which file.
        path: PathBuf,
        /// The version of its form.
        version: u64,
    },
}

impl fmt::Display for CacheWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) if error.is_foreign() => {
                write!(f, "{error}: it is neither read nor replaced; remove it")
            }
            Self::File(error) => {
                write!(f, "{error}: it is ignored, and replaced if possible")
            }
            Self::Corrupt { path, line, cause } => {
                let path = path.display();
                write!(
                    f,
                    "{path} is damaged at line {line} ({cause}): it is ignored, and the next collection \
                     replaces it"
                )
            }
            Self::OtherVersion { path, version } => {
                let path = path.display();
                write!(
                    f,
                    "{path} is from another version of this program (format {version}): it is ignored, and \
                     the next collection replaces it"
                )
            }
        }
    }
}

impl std::error::Error for CacheWarning {}

impl From<FileError> for CacheWarning {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}
