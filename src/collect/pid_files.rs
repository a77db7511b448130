//! The guests of this machine by the files that libvirt keeps of them: the names of those that run, for when
//! libvirt lists nothing.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// More guests than a host runs.
const NAMES_MAX: usize = 10_000;

/// Where the QEMU driver of this machine keeps a file for each guest that runs; `None` where the URI means
/// another driver or another machine.
pub(crate) fn directory(uri: &str) -> Option<PathBuf> {
    let (scheme, rest) = uri.split_once("://")?;
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !matches!(scheme, "qemu" | "qemu+unix") || place != "/system" {
        return None;
    }
    let socket = query.split('&').find_map(|part| part.strip_prefix("socket="));
    let run = match socket {
        // A daemon with folders of its own has its sockets and its guests' files in one.
        Some(socket) => Path::new(socket).parent()?,
        None => Path::new("/run/libvirt"),
    };
    Some(run.join("qemu"))
}

/// The names of the guests that run, in order.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let name =
        |entry: fs::DirEntry| Some(entry.file_name().to_str()?.strip_suffix(".pid")?.to_owned());
    let mut names: Vec<String> = entries.filter_map(name).take(NAMES_MAX).collect();
    names.sort_unstable();
    names
}

/// A number that changes when a guest starts or stops, and mostly only then: libvirt writes other files in
/// there too, but none of these again.
pub(super) fn fingerprint(directory: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    for name in names(directory) {
        (written(directory, &name, "pid"), name).hash(&mut hasher);
    }
    hasher.finish()
}

/// A number that changes when this guest starts or stops, and when libvirt writes down its state, as it does after a
/// change to it, such as another disk.
pub(super) fn fingerprint_of(directory: &Path, name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    ["pid", "xml"].map(|extension| written(directory, name, extension)).hash(&mut hasher);
    hasher.finish()
}

/// When a file of a guest was written last; `None` where there is none.
fn written(directory: &Path, name: &str, extension: &str) -> Option<SystemTime> {
    fs::metadata(directory.join(format!("{name}.{extension}"))).and_then(|it| it.modified()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_of_this_machines_qemu_means_a_directory() {
        let of = |uri| directory(uri).map(|it| it.display().to_string());
        assert_eq!(of("qemu:///system").as_deref(), Some("/run/libvirt/qemu"));
        let socket = "qemu+unix:///system?no_verify=1&socket=/lab/run/libvirt-sock-ro";
        assert_eq!(of(socket).as_deref(), Some("/lab/run/qemu"));
        for none in ["qemu+ssh://host/system", "qemu:///session", "lxc:///system", "word"] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn each_pid_file_is_a_guest() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["b.pid", "a b.pid", "a b.xml", "master-key"] {
            fs::write(folder.path().join(file), "").unwrap();
        }
        assert_eq!(names(folder.path()), ["a b", "b"]);
        assert_eq!(names(&folder.path().join("absent")), [""; 0]);
    }

    #[test]
    fn a_guests_state_is_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let state = |name| fingerprint_of(folder.path(), name);
        fs::write(folder.path().join("a.xml"), "").unwrap();
        let before = [state("a"), state("b")];
        fs::write(folder.path().join("b.xml"), "").unwrap();
        assert_eq!(state("a"), before[0]);
        assert_ne!(state("b"), before[1]);
    }
}
