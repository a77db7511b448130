//! Limits that bite when guests hang, or when many programs read libvirt: those of libvirt's own
//! configuration, where it can be read, and those of this process.

use std::fs;
use std::path::{Path, PathBuf};

use super::finding::{Finding, counted};
use super::hypervisor::Host;
use super::{as_user, user};
use crate::config::Settings;

/// Where libvirt's daemons have their configuration.
const FOLDER: &str = "/etc/libvirt";
/// Threads of this process beside those that call libvirt.
const OWN_THREADS: usize = 8;
/// Files that a connection to libvirt holds open, and those of this process beside them.
const FILES_EACH: usize = 6;
const OWN_FILES: usize = 32;
/// Workers and clients that others need beside us, such as whoever runs virsh to see what is wrong.
const FOR_OTHERS: usize = 2;
/// libvirt's defaults. <https://gitlab.com/libvirt/libvirt/-/blob/master/src/remote/libvirtd.conf.in>
const MAX_WORKERS: usize = 20;
const MAX_CLIENTS: usize = 5000;
const MAX_ANONYMOUS_CLIENTS: usize = 20;

pub(super) fn findings(hosts: &[Host], settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut files: Vec<PathBuf> = Vec::new();
    for host in hosts {
        // Elsewhere stands another configuration, which is not looked for.
        let is_usual = host.socket.as_ref().is_some_and(|socket| {
            ["/run/libvirt", "/var/run/libvirt"].iter().any(|it| socket.path.starts_with(it))
        });
        let file = Path::new(FOLDER).join(format!("{}.conf", host.daemon()));
        if is_usual && !files.contains(&file) {
            files.push(file);
        }
    }
    for file in files {
        match fs::read_to_string(&file) {
            Ok(text) => findings.extend(of_libvirt(&file, &text, settings)),
            // Where there is none, the defaults count, and they suffice.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                let text = format!("{} cannot be read, which is no harm: {error}", file.display());
                findings.push(Finding::good("not-looked-at", text));
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
    let mut findings = Vec::new();
    let advice = |id, text: String| Finding::advice(id, text).about(&shown);
    let restart = format!("sudo systemctl restart {daemon}");

    let workers = number(text, "max_workers").unwrap_or(MAX_WORKERS);
    if workers < calls + FOR_OTHERS {
        findings.push(
            advice(
                "few-workers",
                format!(
                    "{shown} has max_workers = {workers}, while this program may have {calls} calls in \
                     it when guests hang: max_stuck + workers of its settings"
                ),
            )
            .losing("answers to everyone, virsh too, while that many guests hang")
            .mend(format!(
                "write the line below there and restart {daemon}, or a smaller max_stuck in our \
                 configuration"
            ))
            .run(format!("max_workers = {}", MAX_WORKERS.max(calls + FOR_OTHERS)))
            .run(restart.clone()),
        );
    }
    let clients = number(text, "max_clients").unwrap_or(MAX_CLIENTS);
    if clients < calls + FOR_OTHERS {
        findings.push(
            advice(
                "few-clients",
                format!(
                    "{shown} has max_clients = {clients}, while this program may have {calls} \
                     connections when guests hang"
                ),
            )
            .losing("connections, and with them guests, while others hang")
            .mend(format!("write the line below there and restart {daemon}"))
            .run(format!("max_clients = {MAX_CLIENTS}"))
            .run(restart.clone()),
        );
    }
    let anonymous = number(text, "max_anonymous_clients").unwrap_or(MAX_ANONYMOUS_CLIENTS);
    if anonymous > 0 && anonymous < settings.workers + FOR_OTHERS {
        findings.push(
            advice(
                "few-anonymous-clients",
                format!(
                    "{shown} has max_anonymous_clients = {anonymous}, while this program opens {} at \
                     the same time",
                    counted(settings.workers, "connection")
                ),
            )
            .losing("time at each start: connections wait for each other")
            .mend(format!("write the line below there and restart {daemon}"))
            .run(format!("max_anonymous_clients = {MAX_ANONYMOUS_CLIENTS}"))
            .run(restart.clone()),
        );
    }
    if value(text, "access_drivers").is_some_and(|drivers| drivers.contains("polkit")) {
        findings.push(
            advice(
                "access-drivers",
                format!("{shown} has access_drivers: polkit decides which guests each user sees"),
            )
            .losing("the guests that it hides from this user, without a word")
            .mend(
                "see whether all guests are there, and let polkit show them to this user: allow \
                   org.libvirt.api.domain.getattr and .read",
            )
            .run(as_user(&user(), "virsh -r list --all")),
        );
    }
    if findings.is_empty() {
        let text = format!(
            "libvirt has {workers} workers, of which this program holds {calls} at most, when guests \
             hang; its other limits suffice"
        );
        findings.push(Finding::good("libvirt", text).about(shown).fact("max_workers", workers));
    }
    findings
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
            findings.push(
                Finding::advice(
                    "few-processes",
                    format!(
                        "{} may have {limit} processes and threads and has {used}, while this program \
                         may need {needed} when guests hang",
                        user()
                    ),
                )
                .losing("guests while others hang: no thread can be started to read them")
                .mend("raise the limit: LimitNPROC= of Telegraf's unit, or ulimit of the shell")
                .run(format!("ulimit -u {}", (used + needed).next_power_of_two()))
                .fact("limit", limit)
                .fact("used", used)
                .fact("needed", needed),
            );
        }
    }
    let needed_files = connections * FILES_EACH + OWN_FILES;
    if let Some(limit) = files.filter(|limit| *limit < needed_files) {
        findings.push(
            Finding::advice(
                "few-files",
                format!(
                    "{} may have {limit} files open, while this program may need {needed_files} when \
                     guests hang",
                    user()
                ),
            )
            .losing("guests while others hang: no connection can be opened to read them")
            .mend("raise the limit: LimitNOFILE= of Telegraf's unit, or ulimit of the shell")
            .run(format!("ulimit -n {}", needed_files.next_power_of_two()))
            .fact("limit", limit)
            .fact("needed", needed_files),
        );
    }
    if findings.is_empty() {
        let text = format!("the kernel lets this user start the {needed} threads that it may need");
        findings.push(Finding::good("kernel", text).fact("threads", needed));
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
