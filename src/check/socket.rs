//! The socket that a URI means on this machine: whether it is there, and who may use it. Only looks at
//! the file; who answers at it is `hypervisor`'s business.

use std::env;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::{user_name, within_time};

/// A socket of libvirt's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) path: PathBuf,
    /// Owner, group and mode, as in `root:root 0777`; `None` where nothing is there.
    pub(super) rights: Option<String>,
    pub(super) is_socket: bool,
}

/// The read-only socket that this URI means; `None` where it is no socket of this machine, or where the place
/// does not answer.
pub(super) fn soon(uri: &str) -> Option<Socket> {
    let uri = uri.to_owned();
    within_time(move || of(&uri)).flatten()
}

fn of(uri: &str) -> Option<Socket> {
    let paths = paths(uri, env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).as_deref())?;
    let there = paths.iter().find(|path| fs::symlink_metadata(path).is_ok());
    let path = there.or(paths.last())?.clone();
    let seen = fs::metadata(&path).ok();
    let rights = seen.as_ref().map(|seen| {
        let (owner, group) = (user_name(seen.uid()), group_name(seen.gid()));
        format!("{owner}:{group} {:04o}", seen.mode() & 0o7777)
    });
    let is_socket = seen.is_some_and(|seen| seen.file_type().is_socket());
    Some(Socket { path, rights, is_socket })
}

fn group_name(gid: u32) -> String {
    let group = nix::unistd::Group::from_gid(gid.into()).ok().flatten();
    group.map_or_else(|| format!("gid {gid}"), |group| group.name)
}

/// Where libvirt looks for it, the daemon of the driver alone before libvirtd.
fn paths(uri: &str, runtime: Option<&Path>) -> Option<Vec<PathBuf>> {
    let (scheme, rest) = uri.split_once("://")?;
    let (driver, transport) = scheme.split_once('+').unwrap_or((scheme, "unix"));
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let named = query.split('&').find_map(|part| part.strip_prefix("socket="));
    if transport != "unix" {
        return None;
    }
    if let Some(path) = named {
        return Some(vec![PathBuf::from(path)]);
    }
    let mode = query.split('&').find_map(|part| part.strip_prefix("mode="));
    let daemon = match driver {
        "qemu" => "virtqemud",
        "xen" => "virtxend",
        "lxc" => "virtlxcd",
        "bhyve" => "virtbhyved",
        "ch" => "virtchd",
        _ => return None,
    };
    let names: &[&str] = match mode {
        Some("legacy") => &["libvirt"],
        Some("direct") => &[daemon],
        _ => &[daemon, "libvirt"],
    };
    match place {
        "/system" | "/" => {
            let path = |name| PathBuf::from(format!("/run/libvirt/{name}-sock-ro"));
            Some(names.iter().map(path).collect())
        }
        // A user's own daemon has one socket only.
        "/session" => {
            let folder = runtime?.join("libvirt");
            Some(names.iter().map(|name| folder.join(format!("{name}-sock"))).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_of_this_machine_means_a_socket() {
        let found = |uri| paths(uri, Some(Path::new("/run/user/7")));
        let of = |names: &[&str]| Some(names.iter().map(PathBuf::from).collect::<Vec<_>>());
        let system = of(&["/run/libvirt/virtqemud-sock-ro", "/run/libvirt/libvirt-sock-ro"]);
        assert_eq!(found("qemu:///system"), system);
        assert_eq!(found("qemu+unix:///system"), system);
        let one = |name: &str| of(&[&format!("/run/libvirt/{name}-sock-ro")]);
        assert_eq!(found("qemu:///system?mode=legacy"), one("libvirt"));
        assert_eq!(found("qemu:///system?no_verify=1&mode=direct"), one("virtqemud"));
        let session =
            of(&["/run/user/7/libvirt/virtqemud-sock", "/run/user/7/libvirt/libvirt-sock"]);
        assert_eq!(found("qemu:///session"), session);
        assert_eq!(found("qemu+unix:///system?no_verify=1&socket=/x"), of(&["/x"]));
        for none in ["test:///default", "qemu+ssh://host/system", "esx://host/", "word"] {
            assert_eq!(found(none), None, "{none}");
        }
    }
}
