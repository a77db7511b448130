//! Opening files that others name: the configuration, Telegraf's, libvirt's, a recording. A FIFO would make
//! us wait for a writer who may never come, and a device does what devices do, so only plain files are
//! opened. A file on a mount that is gone holds its reader for ever: who must not wait reads on a thread
//! that can be left behind.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens a plain file, or a link to one, for reading.
///
/// # Errors
/// The system's; [`ErrorKind::IsADirectory`] for a folder and [`ErrorKind::InvalidInput`] for all else
/// that is not a plain file.
pub fn open(path: &Path) -> io::Result<File> {
    // Opening a device can do things by itself, so look first, and again at what was opened.
    check(&fs::metadata(path)?)?;
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    check(&file.metadata()?)?;
    Ok(file)
}

/// Reads a plain file of at most `most` bytes; one byte more where it is longer.
///
/// # Errors
/// As for [`open`].
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn check(seen: &fs::Metadata) -> io::Result<()> {
    if seen.is_file() {
        Ok(())
    } else if seen.is_dir() {
        Err(ErrorKind::IsADirectory.into())
    } else {
        Err(io::Error::new(ErrorKind::InvalidInput, "it is not a plain file"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;
    use std::os::unix::net::UnixListener;

    #[test]
    fn plain_files_alone_are_opened_and_nothing_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("plain"), "text").unwrap();
        std::os::unix::fs::symlink("plain", path("link")).unwrap();
        nix::unistd::mkfifo(&path("fifo"), Mode::S_IRWXU).unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        for name in ["plain", "link"] {
            assert_eq!(read(&path(name), 10).unwrap(), b"text");
            assert_eq!(read(&path(name), 2).unwrap(), b"tex");
        }
        let refused = |path: &Path| read(path, 10).unwrap_err().kind();
        assert_eq!(refused(folder.path()), ErrorKind::IsADirectory);
        for other in [path("fifo"), path("socket"), "/dev/zero".into(), "/dev/tty".into()] {
            assert!(read(&other, 10).is_err(), "{}", other.display());
        }
        assert_eq!(refused(&path("fifo")), ErrorKind::InvalidInput);
        assert_eq!(refused(&path("none")), ErrorKind::NotFound);
    }
}
