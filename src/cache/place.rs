//! Where the cache is: which folder, made by whom, and whether it can be trusted. This looks at folders only;
//! what is in them is `file`'s business.
//!
//! A folder is ours when the effective user owns it and nobody else can write it; its own name is
//! never followed through a symbolic link. A shared folder such as /tmp is never chosen: whatever
//! we make by ourselves is made only in folders that belong to us or to root and that not everyone
//! can write.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open};
use nix::sys::stat::{FileStat, Mode, fstat, lstat, stat};
use nix::unistd::{AccessFlags, faccessat, geteuid, mkdir};

use super::error::{FileError, FileFault};
use super::file::{Directory, FOLDER, Lock, kind};

/// Our folder's name, in whichever folder it lies.
const NAME: &str = "telegraf-virt";

/// What decides about the place, from outside the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheEnv {
    /// $CACHE_DIRECTORY, which systemd sets for a unit with CacheDirectory=.
    pub cache_directory: Option<OsString>,
    /// $XDG_CACHE_HOME
    pub xdg_cache_home: Option<OsString>,
    /// The user's home: $HOME, else what the system's users say.
    pub home: Option<PathBuf>,
    /// The effective user's id.
    pub euid: u32,
    /// Used instead of `/` in front of /var; another folder in tests.
    pub root: PathBuf,
}

impl CacheEnv {
    /// Those of this process.
    pub fn of_process() -> Self {
        Self {
            cache_directory: env::var_os("CACHE_DIRECTORY"),
            xdg_cache_home: env::var_os("XDG_CACHE_HOME"),
            home: env::home_dir(),
            euid: geteuid().as_raw(),
            root: PathBuf::from("/"),
        }
    }
}

/// A folder that the cache may use. It is opened and checked again for each load and save, so a
/// program that runs for months survives its removal and sees a mode that became unsafe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheDir {
    path: PathBuf,
    /// The effective user's id.
    owner: u32,
    /// How many of the path's last folders may be made.
    makes: usize,
    /// Whether what lies above must be safe from others: not where the user chose it.
    chosen_by_us: bool,
}

impl CacheDir {
    /// The folder that the user named; its last part is made where it is missing.
    pub fn named(path: &Path, surroundings: &CacheEnv) -> Result<Self, NoCacheDir> {
        // Without the slash at the end that would follow a symbolic link.
        let path = path.components().collect();
        let place = Self { path, owner: surroundings.euid, makes: 1, chosen_by_us: false };
        match place.directory() {
            Ok(_) => Ok(place),
            Err(error) => Err(NoCacheDir { tried: vec![error], euid: surroundings.euid }),
        }
    }

    /// The folder that the user named, else the first that can be used.
    pub fn of(named: Option<&Path>, surroundings: &CacheEnv) -> Result<Self, NoCacheDir> {
        match named {
            Some(path) => Self::named(path, surroundings),
            None => Self::find(surroundings),
        }
    }

    /// The first folder that can be used, in the order of the documentation: a folder that was made for this
    /// program (systemd's, the package's), then Telegraf's, then the user's own.
    pub fn find(surroundings: &CacheEnv) -> Result<Self, NoCacheDir> {
        let mut tried = Vec::new();
        for place in candidates(surroundings) {
            match place.directory() {
                Ok(_) => return Ok(place),
                Err(error) => tried.push(error),
            }
        }
        Err(NoCacheDir { tried, euid: surroundings.euid })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the lock of this name, which nobody else can hold or even open; it waits for a moment only.
    ///
    /// # Errors
    /// Where another run of ours has it, or the folder cannot be used.
    pub fn lock(&self, name: &str) -> Result<Lock, FileError> {
        self.directory()?.lock(name)
    }

    /// Opens it, after making it where that is allowed.
    pub(super) fn directory(&self) -> Result<Directory, FileError> {
        self.make()?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let handle = match open(&self.path, flags, Mode::empty()) {
            Ok(handle) => handle,
            Err(errno) => return Err(self.unopened(errno)),
        };
        let seen = fstat(&handle).map_err(|errno| refused(&self.path, "look at", errno))?;
        if seen.st_uid != self.owner {
            return Err(FileError::new(self.path.clone(), FileFault::Owner(seen.st_uid)));
        }
        if seen.st_mode & 0o022 != 0 {
            let mode = seen.st_mode & 0o7777;
            return Err(FileError::new(self.path.clone(), FileFault::WritableByOthers(mode)));
        }
        faccessat(&handle, ".", AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::AT_EACCESS)
            .map_err(|errno| refused(&self.path, "write to", errno))?;
        Ok(Directory::new(self.path.clone(), handle, self.owner))
    }

    /// Makes the folder, and above it as many as are ours to make, for our user alone.
    fn make(&self) -> Result<(), FileError> {
        let mut missing = Vec::new();
        let mut standing = self.path.as_path();
        while missing.len() < self.makes && !stands(standing) {
            missing.push(standing);
            standing =
                standing.parent().filter(|above| *above != Path::new("")).unwrap_or(".".as_ref());
        }
        if self.chosen_by_us {
            self.check_above(if missing.is_empty() { parent(standing) } else { standing })?;
        }
        for path in missing.into_iter().rev() {
            match mkdir(path, Mode::S_IRWXU) {
                // Another process of ours may have been quicker; whose it is, is checked later.
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(refused(path, "make", errno)),
            }
        }
        Ok(())
    }

    /// Whether only we and root decide what is in this folder.
    fn check_above(&self, path: &Path) -> Result<(), FileError> {
        let seen = stat(path).map_err(|errno| refused(path, "look at", errno))?;
        if (seen.st_uid != self.owner && seen.st_uid != 0) || seen.st_mode & 0o002 != 0 {
            return Err(FileError::new(path.to_owned(), FileFault::OpenToOthers));
        }
        Ok(())
    }

    /// Why it could not be opened: the errors of a symbolic link say nothing to a user.
    fn unopened(&self, errno: Errno) -> FileError {
        match lstat(&self.path) {
            Ok(seen) if kind(&seen) != FOLDER => {
                let cause = FileFault::Kind { is: kind(&seen), wanted: FOLDER };
                FileError::new(self.path.clone(), cause)
            }
            _ => refused(&self.path, "open", errno),
        }
    }
}

/// Every folder that may serve, the first choice first.
fn candidates(surroundings: &CacheEnv) -> Vec<CacheDir> {
    let owner = surroundings.euid;
    let place = |path, makes| CacheDir { path, owner, makes, chosen_by_us: true };
    let mut candidates = Vec::new();
    if let Some(entry) = surroundings.cache_directory.as_deref().and_then(first_entry) {
        // systemd itself puts a link there for a unit with a dynamic user.
        let resolved = fs::canonicalize(&entry).unwrap_or_else(|_| entry.clone());
        let ours = entry.file_name().is_some_and(|name| name == NAME);
        let path = if ours { resolved } else { resolved.join(NAME) };
        candidates.push(place(path, 1));
    }
    let packaged = surroundings.root.join("var/cache").join(NAME);
    if lstat(&packaged).is_ok_and(|seen: FileStat| seen.st_uid == owner) {
        candidates.push(place(packaged, 0));
    }
    let telegraf = surroundings.root.join("var/lib/telegraf");
    if owner != 0 && writable(&telegraf) {
        candidates.push(place(telegraf.join(NAME), 1));
    }
    if let Some(home) = surroundings.xdg_cache_home.as_ref().map(PathBuf::from)
        && home.is_absolute()
    {
        candidates.push(place(home.join(NAME), 2));
    }
    if let Some(home) = surroundings.home.as_ref()
        && home.is_absolute()
    {
        candidates.push(place(home.join(".cache").join(NAME), 2));
    }
    candidates
}

/// The first of several paths, if it is absolute.
fn first_entry(paths: &std::ffi::OsStr) -> Option<PathBuf> {
    env::split_paths(paths).next().filter(|path| path.is_absolute())
}

fn writable(path: &Path) -> bool {
    let flags = AccessFlags::W_OK | AccessFlags::X_OK;
    faccessat(AT_FDCWD, path, flags, AtFlags::AT_EACCESS).is_ok()
}

/// Whether anything is there, even a dangling link.
fn stands(path: &Path) -> bool {
    lstat(path).is_ok()
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn refused(path: &Path, tried: &'static str, errno: Errno) -> FileError {
    FileError::new(path.to_owned(), FileFault::System { tried, errno })
}

/// That there is no folder for the cache: what is lost, the remedy, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoCacheDir {
    /// What was wrong with each folder that came into question.
    pub tried: Vec<FileError>,
    /// The effective user's id.
    pub euid: u32,
}

impl fmt::Display for NoCacheDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no folder for the cache: every guest's XML is read at each start, and once never prints \
             vm_features; set dir in [cache] or --cache-dir to a folder of uid {} with mode 0700, or \
             use --no-cache",
            self.euid
        )?;
        for (index, error) in self.tried.iter().enumerate() {
            write!(f, "{} {error}", if index == 0 { " (tried:" } else { ";" })?;
        }
        if !self.tried.is_empty() {
            write!(f, ")")?;
        }
        Ok(())
    }
}

impl std::error::Error for NoCacheDir {}

#[cfg(test)]
mod tests;
