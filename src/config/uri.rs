//! Whether a text can be a libvirt URI, and which one was meant where it cannot.

use std::env;
use std::path::{Path, PathBuf};

use super::{DEFAULT_URI, foreign, names};
use crate::plain_file;
use crate::record::REPLAY;

/// Ways to a host, which a URI names behind the driver and a plus sign.
const TRANSPORTS: [&str; 7] = ["ssh", "tcp", "tls", "unix", "ext", "libssh", "libssh2"];
/// A name without a colon that libvirt itself knows.
const OLD_NAME: &str = "xen";
/// libvirt's own configuration is shorter.
const ALIASES_MAX: u64 = 1 << 20;

/// What must be written instead of this URI, if it can be none.
///
/// # Errors
/// What it must be, to be put after "is X, but".
pub fn check_uri(uri: &str) -> Result<(), String> {
    if let Some(path) = uri.strip_prefix(REPLAY) {
        // A recording's path may hold spaces.
        return match foreign::unexpanded(path) {
            _ if uri.contains(char::is_control) => Err(must_be_uri()),
            Some(what) => {
                let what = names::plain(what);
                let why = format!("{what} is not expanded here: write the full path");
                Err(format!("names no file, since {why}"))
            }
            None => Ok(()),
        };
    }
    if uri.is_empty() || uri.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err(must_be_uri());
    }
    if let Some(variable) = foreign::variable(uri).or_else(|| foreign::bare_variable(uri)) {
        let variable = names::plain(variable);
        return Err(format!(
            "contains {variable}, which is not expanded here: write the value itself"
        ));
    }
    let parts: Vec<&str> = uri.split(',').collect();
    let is_list = |has: &str| parts.iter().all(|part| part.contains(has));
    if parts.len() > 1 && (is_list("://") || !uri.contains(':')) {
        return Err(
            "must be one URI: give each its own --uri, or its own string in uris".to_owned()
        );
    }
    if let Some((scheme, rest)) = uri.split_once("://") {
        if TRANSPORTS.contains(&scheme) {
            let path = if rest.trim_end_matches('/').contains('/') { "" } else { "/system" };
            let rest = names::plain(rest.trim_end_matches('/'));
            return Err(format!("must name the driver, too: write qemu+{scheme}://{rest}{path}"));
        }
        return Ok(());
    }
    let is_host = uri.contains('@') || !uri.contains(':');
    if is_host && uri != OLD_NAME && !alias_files().iter().any(|file| may_name(file, uri)) {
        let host = uri.split('/').find(|part| !part.is_empty()).unwrap_or("HOST");
        let host = names::plain(host);
        return Err(format!(
            "must be a libvirt URI, such as {DEFAULT_URI}: for another host write \
             qemu+ssh://{host}/system"
        ));
    }
    Ok(())
}

fn must_be_uri() -> String {
    format!("must be a libvirt URI without spaces, such as {DEFAULT_URI}")
}

/// The files in which users of libvirt give URIs other names.
fn alias_files() -> Vec<PathBuf> {
    let folder = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let own = folder("XDG_CONFIG_HOME").or_else(|| Some(folder("HOME")?.join(".config")));
    let system = Path::new("/etc").to_owned();
    own.into_iter().chain([system]).map(|folder| folder.join("libvirt/libvirt.conf")).collect()
}

/// Whether this file gives a URI this name, as in `"kvm1=qemu+ssh://root@kvm1/system",`.
fn may_name(file: &Path, name: &str) -> bool {
    match plain_file::read(file, ALIASES_MAX) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).contains(&format!("\"{name}=")),
        Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libvirt_may_know_is_a_uri() {
        for uri in [
            "qemu:///system",
            "qemu+ssh://root@kvm1/system?keyfile=/a,b",
            "test:///default",
            "esx://esx1/?no_verify=1",
            "xen",
            "xen:",
            "replay:/tmp/a b.jsonl",
            "replay:host-$1.jsonl",
        ] {
            assert_eq!(check_uri(uri), Ok(()), "{uri}");
        }
    }

    #[test]
    fn what_was_meant_is_named() {
        let of_host = |host: &str| {
            format!(
                "must be a libvirt URI, such as qemu:///system: for another host write \
                 qemu+ssh://{host}/system"
            )
        };
        let several = "must be one URI: give each its own --uri, or its own string in uris";
        for (uri, message) in [
            ("kvm1.example.com", of_host("kvm1.example.com")),
            ("root@kvm1", of_host("root@kvm1")),
            ("/system", of_host("system")),
            ("ssh://kvm1", "must name the driver, too: write qemu+ssh://kvm1/system".to_owned()),
            ("tls://kvm1/", "must name the driver, too: write qemu+tls://kvm1/system".to_owned()),
            (
                "ssh://a@b/system",
                "must name the driver, too: write qemu+ssh://a@b/system".to_owned(),
            ),
            ("qemu:///system,qemu+ssh://kvm1/system", several.to_owned()),
            ("kvm1,kvm2", several.to_owned()),
            ("", must_be_uri()),
            ("qemu:///system ", must_be_uri()),
            (
                "qemu+ssh://${HOST}/system",
                "contains ${HOST}, which is not expanded here: write the value itself".to_owned(),
            ),
            (
                "$LIBVIRT_DEFAULT_URI",
                "contains $LIBVIRT_DEFAULT_URI, which is not expanded here: write the value itself"
                    .to_owned(),
            ),
            (
                "replay:~/host.jsonl",
                "names no file, since ~ is not expanded here: write the full path".to_owned(),
            ),
        ] {
            assert_eq!(check_uri(uri), Err(message), "{uri}");
        }
    }

    #[test]
    fn a_name_that_libvirts_configuration_gives_a_uri_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("libvirt.conf");
        std::fs::write(&file, "uri_aliases = [\n  \"kvm1=qemu+ssh://root@kvm1/system\",\n]\n")
            .unwrap();
        assert!(may_name(&file, "kvm1") && !may_name(&file, "kvm"));
        assert!(!may_name(&folder.path().join("absent"), "kvm1"));
    }
}
