//! Tests of reading and replacing one file: what is ours works whatever its mode, what is not ours
//! stays as it is, and nothing waits.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::unistd::{geteuid, mkfifo};
use tempfile::TempDir;

use super::*;
use crate::cache::place::{CacheDir, CacheEnv};

const NAME: &str = "devices-x.jsonl";
const LOCK: &str = "devices-x.jsonl.lock";
const NEW: &str = "devices-x.jsonl.new";

fn folder() -> (TempDir, Directory) {
    let folder = tempfile::tempdir().unwrap();
    let place = CacheDir::named(folder.path(), &CacheEnv::of_process()).unwrap();
    let directory = place.directory().unwrap();
    (folder, directory)
}

fn replace(directory: &Directory, bytes: &[u8]) -> Result<(), FileError> {
    let lock = directory.lock(LOCK)?;
    directory.replace(NAME, bytes, &lock)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn names(folder: &TempDir) -> Vec<String> {
    let names = fs::read_dir(folder.path()).unwrap();
    let mut names: Vec<String> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn is_root() -> bool {
    let root = geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: needs root");
    }
    root
}

#[test]
fn what_was_written_is_read_with_a_mode_for_its_owner_only() {
    let (folder, directory) = folder();
    assert_eq!(directory.read(NAME), Ok(None));
    for text in [&b"first"[..], b"", b"another"] {
        replace(&directory, text).unwrap();
        let contents = directory.read(NAME).unwrap().unwrap();
        assert_eq!((&*contents.bytes, contents.readable_by_others), (text, false));
    }
    assert_eq!(names(&folder), [NAME, LOCK]);
    assert_eq!(mode(&folder.path().join(NAME)), 0o600);
    assert_eq!(mode(&folder.path().join(LOCK)), 0o600);
}

#[test]
fn a_file_that_others_may_read_is_read_and_one_they_may_write_is_not_and_both_are_replaced() {
    let (folder, directory) = folder();
    let path = folder.path().join(NAME);
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let contents = directory.read(NAME).unwrap().unwrap();
    assert_eq!((&*contents.bytes, contents.readable_by_others), (&b"old"[..], true));

    for wide in [0o666, 0o620, 0o602] {
        fs::set_permissions(&path, Permissions::from_mode(wide)).unwrap();
        let error = FileError::new(path.clone(), FileFault::WritableByOthers(wide));
        assert_eq!(directory.read(NAME), Err(error.clone()));
        assert!(!error.is_foreign());
    }
    replace(&directory, b"new").unwrap();
    assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"new".to_vec(), 0o600));
}

#[test]
fn files_of_ours_without_any_mode_are_replaced() {
    let (folder, directory) = folder();
    for name in [NAME, LOCK, NEW] {
        fs::write(folder.path().join(name), "old").unwrap();
        fs::set_permissions(folder.path().join(name), Permissions::from_mode(0o000)).unwrap();
    }
    if !geteuid().is_root() {
        let tried = FileFault::System { tried: "open", errno: Errno::EACCES };
        let error = FileError::new(folder.path().join(NAME), tried);
        assert_eq!(directory.read(NAME), Err(error));
    }
    replace(&directory, b"new").unwrap();
    assert_eq!(fs::read(folder.path().join(NAME)).unwrap(), b"new");
    assert_eq!(names(&folder), [NAME, LOCK]);
}

#[test]
fn a_file_of_gigabytes_is_not_read_but_replaced() {
    let (folder, directory) = folder();
    let path = folder.path().join(NAME);
    fs::File::create(&path).unwrap().set_len(5 << 30).unwrap();
    let error = directory.read(NAME).unwrap_err();
    assert_eq!(error, FileError::new(path.clone(), FileFault::TooLarge(5 << 30)));
    replace(&directory, b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    fs::File::create(&path).unwrap().set_len(SIZE_MAX as u64).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(directory.read(NAME).unwrap().unwrap().bytes.len(), SIZE_MAX);
}

/// Each kind of thing that is not ours, and what the error calls it.
fn foreign() -> Vec<(&'static str, FileFault)> {
    let not_plain = |is| FileFault::Kind { is, wanted: PLAIN_FILE };
    vec![
        ("link", not_plain("a symbolic link")),
        ("dangling link", not_plain("a symbolic link")),
        ("folder", not_plain("a folder")),
        ("fifo", not_plain("a fifo")),
        ("socket", not_plain("a socket")),
        ("hard link", FileFault::HardLink),
        ("device", not_plain("a device")),
        ("other owner", FileFault::Owner(65534)),
    ]
}

/// Puts one of them there; false where this user or machine cannot.
fn put(what: &str, path: &Path, victim: &Path) -> bool {
    let _ = fs::remove_dir(path);
    let _ = fs::remove_file(path);
    match what {
        "link" => symlink(victim, path).unwrap(),
        "dangling link" => symlink("nowhere", path).unwrap(),
        "folder" => fs::create_dir(path).unwrap(),
        "fifo" => mkfifo(path, Mode::S_IRWXU).unwrap(),
        "socket" => drop(UnixListener::bind(path).unwrap()),
        "hard link" => fs::hard_link(victim, path).unwrap(),
        "device" => {
            let (kind, mode) = (SFlag::S_IFCHR, Mode::S_IRWXU);
            // /dev/zero: reading it would never end.
            let zero = nix::sys::stat::makedev(1, 5);
            if !is_root() || nix::sys::stat::mknod(path, kind, mode, zero).is_err() {
                eprintln!("SKIPPED: no device can be made here");
                return false;
            }
        }
        _ => {
            if !is_root() {
                return false;
            }
            fs::write(path, "theirs").unwrap();
            std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
        }
    }
    true
}

#[test]
fn what_is_not_ours_is_neither_read_nor_followed_nor_replaced() {
    for name in [NAME, LOCK, NEW] {
        let (folder, directory) = folder();
        let (path, victim) = (folder.path().join(name), folder.path().join("victim"));
        fs::write(&victim, "precious").unwrap();
        fs::set_permissions(&victim, Permissions::from_mode(0o600)).unwrap();
        for (what, cause) in foreign() {
            if !put(what, &path, &victim) {
                continue;
            }
            let before = fs::symlink_metadata(&path).unwrap();
            let started = Instant::now();
            let error = FileError::new(path.clone(), cause);
            assert!(error.is_foreign());
            assert_eq!(directory.read(name), Err(error.clone()), "{what} as {name}");
            assert_eq!(replace(&directory, b"new"), Err(error), "{what} as {name}");
            assert!(started.elapsed() < Duration::from_secs(1), "{what} as {name}");

            let after = fs::symlink_metadata(&path).unwrap();
            assert_eq!(after.ino(), before.ino(), "{what} as {name}");
            assert_eq!(after.mtime_nsec(), before.mtime_nsec(), "{what} as {name}");
            assert_eq!(after.file_type().is_fifo(), before.file_type().is_fifo());
            assert_eq!(fs::read(&victim).unwrap(), b"precious", "{what} as {name}");
            assert_eq!(mode(&victim), 0o600, "{what} as {name}");
        }
    }
}

#[test]
fn what_a_killed_writer_left_behind_is_no_obstacle() {
    let (folder, directory) = folder();
    replace(&directory, b"old").unwrap();
    for left in ["", "half of the ne"] {
        fs::write(folder.path().join(NEW), left).unwrap();
        assert_eq!(directory.read(NAME).unwrap().unwrap().bytes, b"old");
    }
    replace(&directory, b"new").unwrap();
    assert_eq!(directory.read(NAME).unwrap().unwrap().bytes, b"new");
    assert_eq!(names(&folder), [NAME, LOCK]);
}

#[test]
fn a_save_waits_a_moment_for_another_writer_and_is_skipped_then() {
    let (folder, directory) = folder();
    let held = directory.lock(LOCK).unwrap();
    let started = Instant::now();
    let error = FileError::new(folder.path().join(LOCK), FileFault::Locked);
    assert_eq!(directory.lock(LOCK).unwrap_err(), error);
    let waited = started.elapsed();
    assert!(waited >= LOCK_WAIT && waited < LOCK_WAIT * 5, "{waited:?}");
    assert_eq!(directory.read(NAME), Ok(None), "reading needs no lock");

    std::thread::scope(|scope| {
        let later = scope.spawn(|| directory.lock(LOCK).map(drop));
        std::thread::sleep(LOCK_WAIT / 4);
        drop(held);
        assert_eq!(later.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_folder_that_is_gone_is_an_error_and_leaves_nothing() {
    let (folder, directory) = folder();
    let path = folder.path().to_owned();
    drop(folder);
    assert_eq!(directory.read(NAME), Ok(None));
    let tried = FileFault::System { tried: "open", errno: Errno::ENOENT };
    assert_eq!(replace(&directory, b"new"), Err(FileError::new(path.join(LOCK), tried)));
}

#[test]
fn each_error_says_where_and_what() {
    let said = |cause| FileError::new("/c/f".into(), cause).to_string();
    for (cause, text) in [
        (
            FileFault::Kind { is: "a fifo", wanted: PLAIN_FILE },
            "/c/f is a fifo, not a plain file of this user",
        ),
        (FileFault::Owner(0), "/c/f belongs to uid 0, not to this user"),
        (FileFault::HardLink, "/c/f is a hard link to a file elsewhere"),
        (FileFault::WritableByOthers(0o666), "/c/f can be written by other users (mode 0666)"),
        (FileFault::TooLarge(99), "/c/f is too large (99 bytes)"),
        (FileFault::Locked, "/c/f is locked by another process"),
        (
            FileFault::System { tried: "write", errno: Errno::ENOSPC },
            "cannot write /c/f: No space left on device",
        ),
    ] {
        assert_eq!(said(cause), text);
    }
}
