//! Limits that bite when guests hang, or when many programs read libvirt: those of libvirt's own
//! configuration, where it can be read, and those of this process.

use std::fs;
use std::path::{Path, PathBuf};

use super::catalogue::limits as kinds;
use super::finding::{Finding, counted};
use super::hypervisor::CheckedHost;
use super::{as_user, user, within_time};
use crate::config::Settings;
use crate::plain_file;
use crate::pool::NO_ANSWER;

/// Where libvirt's daemons have their configuration.
const FOLDER: &str = "/etc/libvirt";
/// What is longer is no configuration of libvirt's.
const FILE_MAX: u64 = 1 << 20;
/// Threads of this process beside those that call libvirt: the main one, signals, standard input, events, and a
/// few that are left behind.
const OWN_THREADS: usize = 8;
/// Files that a connection to libvirt holds open (its socket, and pipes to wake its threads), and those of this
/// process beside them.
const FILES_EACH: usize = 6;
const OWN_FILES: usize = 32;
/// Workers and clients that others need beside us, such as whoever runs virsh to see what is wrong.
const FOR_OTHERS: usize = 2;
/// libvirt's defaults. <https://gitlab.com/libvirt/libvirt/-/blob/master/src/remote/libvirtd.conf.in>
const MAX_WORKERS: usize = 20;
const MAX_CLIENTS: usize = 5000;
const MAX_ANONYMOUS_CLIENTS: usize = 20;

pub(super) fn findings(hosts: &[CheckedHost], settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut files: Vec<PathBuf> = Vec::new();
    for host in hosts {
        // Other hosts have another configuration, which is not looked for.
        let is_usual = host.socket.as_ref().is_some_and(|socket| {
            ["/run/libvirt", "/var/run/libvirt"].iter().any(|it| socket.path.starts_with(it))
        });
        let file = Path::new(FOLDER).join(format!("{}.conf", host.daemon()));
        if is_usual && !files.contains(&file) {
            files.push(file);
        }
    }
    for file in files {
        let path = file.clone();
        let read = within_time(move || plain_file::read(&path, FILE_MAX));
        match read.unwrap_or_else(|| Err(std::io::Error::other(NO_ANSWER))) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                findings.extend(of_libvirt(&file, &text, settings));
            }
            // Where there is none, the defaults count, and they suffice.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                findings.push(kinds::not_looked_at(file.display(), error));
            }
        }
    }
    findings.extend(of_process(settings, hosts.len()));
    findings
}

/// A number of libvirt's configuration; the last line of that name counts.
fn number(text: &str, key: &str) -> Option<usize> {
    value(text, key)?.parse().ok()
}

fn value<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let of_line = |line: &'t str| {
        let (name, value) = line.split_once('=')?;
        let value = value.split('#').next().unwrap_or(value);
        (name.trim() == key).then(|| value.trim())
    };
    text.lines().filter_map(of_line).next_back()
}

fn of_libvirt(file: &Path, text: &str, settings: &Settings) -> Vec<Finding> {
    let daemon = file.file_stem().map(|name| name.to_string_lossy().into_owned());
    let daemon = daemon.unwrap_or_default();
    let shown = file.display().to_string();
    let calls = settings.max_stuck + settings.workers;
    let limit = |key: &str, usual: usize| number(text, key).unwrap_or(usual);
    let mut findings = Vec::new();
    let workers = limit("max_workers", MAX_WORKERS);
    if workers < calls + FOR_OTHERS {
        let enough = MAX_WORKERS.max(calls + FOR_OTHERS);
        findings.push(kinds::few_workers(&shown, workers, calls, enough, &daemon));
    }
    let clients = limit("max_clients", MAX_CLIENTS);
    if clients < calls + FOR_OTHERS {
        findings.push(kinds::few_clients(&shown, clients, calls, MAX_CLIENTS, &daemon));
    }
    let anonymous = limit("max_anonymous_clients", MAX_ANONYMOUS_CLIENTS);
    if anonymous > 0 && anonymous < settings.workers + FOR_OTHERS {
        let (connections, enough) =
            (counted(settings.workers, "connection"), MAX_ANONYMOUS_CLIENTS);
        let finding = kinds::few_anonymous_clients(&shown, anonymous, connections, enough, &daemon);
        findings.push(finding);
    }
    if value(text, "access_drivers").is_some_and(|drivers| drivers.contains("polkit")) {
        let command = as_user(&user(), "virsh -r list --all");
        findings.push(kinds::access_drivers(&shown, command));
    }
    if findings.is_empty() {
        findings.push(kinds::libvirt(workers, calls).fact("max_workers", workers));
    }
    findings.into_iter().map(|finding| finding.about(&shown)).collect()
}

fn of_process(settings: &Settings, hosts: usize) -> Vec<Finding> {
    let Ok(limits) = fs::read_to_string("/proc/self/limits") else { return Vec::new() };
    let connections = (settings.max_stuck + settings.workers + 2) * hosts;
    let mut findings = Vec::new();
    let (processes, files) = (soft(&limits, "Max processes"), soft(&limits, "Max open files"));
    let needed = connections + OWN_THREADS;
    // The kernel does not hold root to it.
    if let Some(limit) = processes.filter(|_| !nix::unistd::geteuid().is_root()) {
        let used = tasks_of(nix::unistd::geteuid().as_raw());
        if limit < used + needed {
            let enough = (used + needed).next_power_of_two();
            findings.push(
                kinds::few_processes(user(), limit, used, needed, enough)
                    .fact("limit", limit)
                    .fact("used", used)
                    .fact("needed", needed),
            );
        }
    }
    let needed_files = connections * FILES_EACH + OWN_FILES;
    if let Some(limit) = files.filter(|limit| *limit < needed_files) {
        let enough = needed_files.next_power_of_two();
        findings.push(
            kinds::few_files(user(), limit, needed_files, enough)
                .fact("limit", limit)
                .fact("needed", needed_files),
        );
    }
    if findings.is_empty() {
        findings.push(kinds::kernel(needed).fact("threads", needed));
    }
    findings
}

/// The soft limit of this name; `None` where there is none.
fn soft(limits: &str, name: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Processes and threads that this user has.
fn tasks_of(uid: u32) -> usize {
    let Ok(entries) = fs::read_dir("/proc") else { return 0 };
    let tasks = |path: PathBuf| {
        let status = fs::read_to_string(path.join("status")).ok()?;
        let field = |name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next())
        };
        let is_ours = field("Uid:")?.parse() == Ok(uid);
        if is_ours { field("Threads:")?.parse::<usize>().ok() } else { None }
    };
    entries.flatten().filter_map(|entry| tasks(entry.path())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&'static str> {
        let file = Path::new("/etc/libvirt/virtqemud.conf");
        let findings = of_libvirt(file, text, &Settings::default());
        assert!(findings.iter().all(|it| it.about.as_deref() == file.to_str()));
        findings.iter().map(|finding| finding.id).collect()
    }

    #[test]
    fn libvirts_defaults_suffice_and_small_numbers_do_not() {
        assert_eq!(found(""), ["libvirt"]);
        assert_eq!(found("#max_workers = 5\n max_clients=5000 # enough"), ["libvirt"]);
        assert_eq!(found("max_workers = 20\nmax_workers = 5"), ["few-workers"]);
        assert_eq!(found("max_workers = 17"), ["few-workers"]);
        assert_eq!(found("max_clients = 4"), ["few-clients"]);
        assert_eq!(found("max_anonymous_clients = 0"), ["libvirt"]);
        assert_eq!(found("max_anonymous_clients = 3"), ["few-anonymous-clients"]);
        assert_eq!(found("access_drivers = [ \"polkit\" ]"), ["access-drivers"]);
        assert_eq!(found("access_drivers = [ ]"), ["libvirt"]);
    }

    #[test]
    fn this_process_has_tasks_and_a_limit_may_be_none() {
        assert!(tasks_of(nix::unistd::geteuid().as_raw()) > 0);
        let limits =
            "Max processes             31000   31000   processes\nMax open files  unlimited";
        assert_eq!(soft(limits, "Max processes"), Some(31000));
        assert_eq!(soft(limits, "Max open files"), None);
    }
}
