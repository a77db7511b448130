//! The same check as Telegraf's user, where root runs this: what root can read, that user may not. The
//! program runs itself as that user, since no look at modes tells what the kernel and libvirt let in.
//!
//! That user, and everything its settings start, is a stranger to root: `handover` takes root's terminal and
//! rights away from the second process, and `losses` reads its report as that of a stranger.

use std::collections::HashSet;
use std::env;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, User, geteuid};

use super::{FILE_VARIABLE, Telegraf, handover, losses};
use crate::check::catalogue::telegraf_user as kinds;
use crate::check::finding::{Area, Finding, Verdict};
use crate::check::{CheckContext, as_user, shell};
use crate::config;
use crate::deadline::Ending;
use crate::host::REPLAY;

/// The user that Telegraf's packages make, and its service runs as.
const USER: &str = "telegraf";
/// Beside twice the deadline.
const PATIENCE: Duration = Duration::from_secs(10);
const GLANCE: Duration = Duration::from_millis(20);
/// More than that it does not print.
const OUTPUT_MAX: u64 = 16 << 20;

/// What that user loses; nothing where there is no such user, or this is not root. `told` is what root
/// was told already.
pub(in crate::check) fn findings(
    context: &CheckContext,
    telegraf: &Telegraf,
    told: &[(Area, Finding)],
    ending: &Ending,
) -> Vec<Finding> {
    let mut findings = found(context, told, ending);
    // What Telegraf does not start with these settings, it cannot lose.
    let is_lost = |finding: &Finding| match finding.id {
        "user-cannot-run" => env::current_exe().is_ok_and(|program| telegraf.starts(&program)),
        _ => telegraf.uses_these_settings,
    };
    for finding in &mut findings {
        if finding.verdict == Verdict::Lost && !is_lost(finding) {
            finding.verdict = Verdict::Advice;
        }
    }
    findings
}

fn found(context: &CheckContext, told: &[(Area, Finding)], ending: &Ending) -> Vec<Finding> {
    if !geteuid().is_root() || ending.since().is_some() {
        return Vec::new();
    }
    let Some(user) = User::from_name(USER).ok().flatten().filter(|user| !user.uid.is_root()) else {
        return Vec::new();
    };
    let Ok(program) = env::current_exe() else { return Vec::new() };
    match run(context, &user, &program, ending) {
        Ok((status, output)) => match status.code().map(u8::try_from) {
            Some(Ok(0 | 1)) => {
                let known: HashSet<losses::Key> = told
                    .iter()
                    .map(|(area, finding)| {
                        losses::Key::new(area.name(), finding.id, finding.about.as_deref())
                    })
                    .collect();
                losses::findings(&output, &known, &user, &context.settings)
                    .unwrap_or_else(|reason| vec![unknown(&program, reason)])
            }
            Some(Ok(handover::CANNOT_RUN)) => vec![cannot_run(&program)],
            Some(Ok(2)) => vec![kinds::user_refused(USER, config::SYSTEM_FILE)],
            _ => vec![unknown(&program, "it ended as it never should")],
        },
        Err(_) if ending.since().is_some() => Vec::new(),
        Err(reason) => vec![unknown(&program, reason)],
    }
}

/// Runs the check as this user: its exit status and its standard output. What it says on standard error is
/// nobody's business: it may be that user's words.
fn run(
    context: &CheckContext,
    user: &User,
    program: &Path,
    ending: &Ending,
) -> Result<(ExitStatus, String), &'static str> {
    let mut command = Command::new(program);
    command.arg0("telegraf-virt").args([handover::WORD, &user.name]).args(["check", "--json"]);
    command.args(["--deadline", &config::duration::format_duration(context.settings.deadline)]);
    let cli = &context.cli;
    // Not --cache-dir: that of whoever runs this is not that of Telegraf.
    for uri in &context.settings.uris {
        command.arg("--uri").arg(whole_uri(uri));
    }
    if let Some(file) = cli.config.as_ref().or(context.file.as_ref()) {
        command.arg("--config").arg(whole_path(file));
    }
    for (option, _, items) in cli.replaced() {
        let option = format!("--{option}");
        items.iter().for_each(|item| _ = command.arg(&option).arg(item));
    }
    if cli.no_cache {
        command.arg("--no-cache");
    }
    command
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .env("HOME", &user.dir)
        // Telegraf's files are looked at by root already.
        .env(FILE_VARIABLE, "/dev/null")
        // root's folder may be one that this user cannot look into.
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().map_err(|_| "it cannot be started")?;
    let output = reader(child.stdout.take());
    let until = Instant::now() + context.settings.deadline * 2 + PATIENCE;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < until && ending.since().is_none() => {
                thread::sleep(GLANCE);
            }
            _ => {
                end(&mut child);
                return Err("it did not end in time");
            }
        }
    };
    Ok((status, output.recv_timeout(PATIENCE).unwrap_or_default()))
}

/// A path that means the same in another folder.
fn whole_path(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn whole_uri(uri: &str) -> String {
    match uri.strip_prefix(REPLAY) {
        Some(path) => format!("{REPLAY}{}", whole_path(Path::new(path)).display()),
        None => uri.to_owned(),
    }
}

/// Ends it with all that it has started.
fn end(child: &mut Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        // It leads a session of its own as soon as it is that user's.
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Reads a pipe on a thread of its own, so that a full one does not stop its writer.
fn reader(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    if let Some(pipe) = pipe {
        // Without the thread there is no answer, which is told.
        let _ = thread::Builder::new().spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.take(OUTPUT_MAX).read_to_end(&mut bytes);
            let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
        });
    }
    receiver
}

/// That user cannot even start it.
fn cannot_run(program: &Path) -> Finding {
    let shown = program.display().to_string();
    kinds::user_cannot_run(USER, &shown, shell(&shown))
}

fn unknown(program: &Path, reason: &str) -> Finding {
    let command = format!("{} check", shell(&program.display().to_string()));
    kinds::user_unknown(USER, reason, as_user(USER, &command))
}
