//! One file of the cache, read and replaced safely inside a folder that is held open.
//!
//! Every name is looked up relative to the open folder and never followed; what is not a plain file
//! of our own user, with one name only, is neither read nor replaced, nor even opened where that can
//! be seen before. Nothing here waits: not for a fifo's other end, and for another writer's lock only
//! for a moment. What the bytes mean is `lines`' business.
//!
//! A file is replaced by writing a new one beside it and renaming that, so whoever reads, or whoever
//! comes after a kill, finds the old bytes or the new. There is no fsync: it can take seconds on a
//! busy disk, and after a power cut a damaged cache is found out by its checksum and costs only time.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, openat, renameat};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmodat, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::error::{FileError, FileFault};

/// Most bytes that a file of ours may have.
pub(super) const SIZE_MAX: usize = 128 * 1024 * 1024;
/// How long a save waits for another writer before it is skipped.
const LOCK_WAIT: Duration = Duration::from_millis(200);
/// How often it looks in the meantime.
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// The mode of every file of ours.
const OWNER_ONLY: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);
/// Neither followed, nor waited for, nor left to a child process.
const SAFELY: OFlag =
    OFlag::O_NOFOLLOW.union(OFlag::O_NONBLOCK).union(OFlag::O_CLOEXEC).union(OFlag::O_NOCTTY);

/// The cache's folder, held open: its files stay the same even if a folder above is renamed.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    handle: OwnedFd,
    owner: u32,
}

/// Which file it was, and of which moment: one that took its place, or that was written to, is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileMoment {
    inode: (u64, u64),
    size: i64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileMoment {
    fn of(stat: &FileStat) -> Self {
        Self {
            inode: (stat.st_dev, stat.st_ino),
            size: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

/// What a file of ours held.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FileContents {
    /// All its bytes.
    pub(super) bytes: Vec<u8>,
    /// Whether other users may read it, so that it should be written again.
    pub(super) readable_by_others: bool,
    /// Which file it was.
    pub(super) moment: FileMoment,
}

/// The right to replace one file, until it is dropped or the process ends.
#[derive(Debug)]
pub struct Lock(Option<Flock<File>>);

impl Drop for Lock {
    fn drop(&mut self) {
        // The wrapper panics where unlocking fails in its own drop; closing the file unlocks too.
        if let Some(lock) = self.0.take()
            && let Err((lock, _)) = lock.unlock()
        {
            std::mem::forget(lock);
        }
    }
}

impl Directory {
    /// A folder that has been checked, and the user whose files in it are ours.
    pub(super) fn new(path: PathBuf, handle: OwnedFd, owner: u32) -> Self {
        Self { path, handle, owner }
    }

    /// Where one of its files is, for messages.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// What the file of this name holds; `None` where there is none.
    pub(super) fn read(&self, name: &str) -> Result<Option<FileContents>, FileError> {
        // Opening a device can do things by itself, so look first, and again at what was opened.
        let Some(seen) = self.standing(name)? else { return Ok(None) };
        self.check_size(name, &seen)?;
        let file = match openat(&self.handle, name, OFlag::O_RDONLY | SAFELY, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(self.refused(name, "open", errno)),
        };
        let stat = fstat(&file).map_err(|errno| self.refused(name, "look at", errno))?;
        self.check_ours(name, &stat)?;
        self.check_size(name, &stat)?;
        let mode = stat.st_mode & 0o7777;
        if mode & 0o022 != 0 {
            return Err(self.error(name, FileFault::WritableByOthers(mode)));
        }
        // It may grow while it is read.
        let mut bytes = Vec::with_capacity(usize::try_from(stat.st_size).unwrap_or(0) + 1);
        file.take(SIZE_MAX as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| self.refused(name, "read", errno_of(&error)))?;
        if bytes.len() > SIZE_MAX {
            return Err(self.error(name, FileFault::TooLarge(bytes.len() as u64)));
        }
        let moment = FileMoment::of(&stat);
        Ok(Some(FileContents { bytes, readable_by_others: mode & 0o077 != 0, moment }))
    }

    /// Which file of this name there is; `None` where there is none.
    pub(super) fn moment(&self, name: &str) -> Result<Option<FileMoment>, FileError> {
        Ok(self.standing(name)?.as_ref().map(FileMoment::of))
    }

    /// Takes the lock file of this name, which is made where there is none and never removed.
    pub(super) fn lock(&self, name: &str) -> Result<Lock, FileError> {
        let seen = self.standing(name)?;
        if seen.is_some_and(|stat| stat.st_mode & 0o777 != OWNER_ONLY.bits()) {
            // Of ours, so fix it: others could hold it for ever, or we could not open it.
            let _ = fchmodat(&self.handle, name, OWNER_ONLY, FchmodatFlags::FollowSymlink);
        }
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | SAFELY;
        let file = openat(&self.handle, name, flags, OWNER_ONLY)
            .map_err(|errno| self.refused(name, "open", errno))?;
        let mut file = File::from(file);
        let give_up = Instant::now() + LOCK_WAIT;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => {
                    let stat = fstat(&*lock).map_err(|errno| self.refused(name, "look at", errno));
                    let (lock, stat) = (Lock(Some(lock)), stat?);
                    self.check_ours(name, &stat)?;
                    if stat.st_nlink == 0 {
                        // Removed before it was ours: the next writer makes and holds another.
                        return Err(self.error(name, FileFault::Locked));
                    }
                    return Ok(lock);
                }
                Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) if Instant::now() < give_up => {
                    file = back;
                    thread::sleep(LOCK_RETRY);
                }
                Err((_, Errno::EWOULDBLOCK | Errno::EINTR)) => {
                    return Err(self.error(name, FileFault::Locked));
                }
                Err((_, errno)) => return Err(self.refused(name, "lock", errno)),
            }
        }
    }

    /// Puts these bytes in the place of the file of this name, or leaves it as it is.
    pub(super) fn replace(&self, name: &str, bytes: &[u8], _: &Lock) -> Result<(), FileError> {
        self.standing(name)?;
        let new = format!("{name}.new");
        if self.standing(&new)?.is_some() {
            // Left behind by a writer that was killed: the lock says that it does not write now.
            self.remove(&new)?;
        }
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | SAFELY;
        let file = openat(&self.handle, new.as_str(), flags, OWNER_ONLY)
            .map_err(|errno| self.refused(&new, "make", errno))?;
        let written = write_whole(file, bytes)
            .map_err(|errno| self.refused(&new, "write", errno))
            .and_then(|()| {
                renameat(&self.handle, new.as_str(), &self.handle, name)
                    .map_err(|errno| self.refused(name, "replace", errno))
            });
        if written.is_err() {
            // The first error is the one to tell.
            let _ = self.remove(&new);
        }
        written
    }

    /// The file of this name, if it is a plain file of ours; `None` if there is none.
    fn standing(&self, name: &str) -> Result<Option<FileStat>, FileError> {
        match fstatat(&self.handle, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => self.check_ours(name, &stat).map(|()| Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(self.refused(name, "look at", errno)),
        }
    }

    fn check_ours(&self, name: &str, stat: &FileStat) -> Result<(), FileError> {
        let is = kind(stat);
        let cause = if is != PLAIN_FILE {
            FileFault::Kind { is, wanted: PLAIN_FILE }
        } else if stat.st_uid != self.owner {
            FileFault::Owner(stat.st_uid)
        } else if stat.st_nlink > 1 {
            FileFault::HardLink
        } else {
            return Ok(());
        };
        Err(self.error(name, cause))
    }

    fn check_size(&self, name: &str, stat: &FileStat) -> Result<(), FileError> {
        match u64::try_from(stat.st_size) {
            Ok(bytes) if bytes > SIZE_MAX as u64 => {
                Err(self.error(name, FileFault::TooLarge(bytes)))
            }
            _ => Ok(()),
        }
    }

    /// Whether there is a plain file of ours with this name.
    pub(super) fn has(&self, name: &str) -> bool {
        matches!(self.standing(name), Ok(Some(_)))
    }

    /// Removes the file of this name, which was found to be ours.
    pub(super) fn remove(&self, name: &str) -> Result<(), FileError> {
        unlinkat(&self.handle, name, UnlinkatFlags::NoRemoveDir)
            .map_err(|errno| self.refused(name, "remove", errno))
    }

    fn refused(&self, name: &str, tried: &'static str, errno: Errno) -> FileError {
        self.error(name, FileFault::System { tried, errno })
    }

    fn error(&self, name: &str, cause: FileFault) -> FileError {
        FileError::new(self.path(name), cause)
    }
}

fn write_whole(file: OwnedFd, bytes: &[u8]) -> Result<(), Errno> {
    let mut file = File::from(file);
    file.write_all(bytes).map_err(|error| errno_of(&error))?;
    // Over a network, what did not fit is only told here.
    nix::unistd::close(file)
}

fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

pub(super) const PLAIN_FILE: &str = "a plain file";
pub(super) const FOLDER: &str = "a folder";

/// What a name is, in the user's words.
pub(super) fn kind(stat: &FileStat) -> &'static str {
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => PLAIN_FILE,
        SFlag::S_IFDIR => FOLDER,
        SFlag::S_IFLNK => "a symbolic link",
        SFlag::S_IFIFO => "a fifo",
        SFlag::S_IFSOCK => "a socket",
        SFlag::S_IFBLK | SFlag::S_IFCHR => "a device",
        _ => "something unknown",
    }
}

#[cfg(test)]
mod tests;
