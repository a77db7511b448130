//! The same check as Telegraf's user, where root runs this: what root can read, that user may not. The
//! program runs itself as that user, since no look at modes tells what the kernel and libvirt let in.

use std::env;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::{User, geteuid};
use serde::Deserialize;

use super::FILE_VARIABLE;
use crate::check::finding::{Area, Finding};
use crate::check::{Subject, shell};
use crate::config;
use crate::deadline::Ending;

/// The user that Telegraf's packages make, and its service runs as.
const USER: &str = "telegraf";
/// Beside twice the deadline.
const PATIENCE: Duration = Duration::from_secs(10);
const GLANCE: Duration = Duration::from_millis(20);
/// More than that it does not print.
const OUTPUT_MAX: u64 = 16 << 20;

/// What `--json` printed, as far as it is needed here.
#[derive(Deserialize)]
struct Report {
    findings: Vec<Told>,
}

#[derive(Deserialize)]
struct Told {
    area: String,
    id: String,
    verdict: String,
    about: Option<String>,
    text: String,
    lost: Option<String>,
    mend: Option<String>,
    commands: Vec<String>,
}

/// What that user loses; nothing where there is no such user, or this is not root. `told` is what root
/// was told already.
pub(in crate::check) fn findings(
    subject: &Subject,
    told: &[(Area, Finding)],
    ending: &Ending,
) -> Vec<Finding> {
    if !geteuid().is_root() || ending.since().is_some() {
        return Vec::new();
    }
    let Some(user) = User::from_name(USER).ok().flatten().filter(|user| !user.uid.is_root()) else {
        return Vec::new();
    };
    let Ok(program) = env::current_exe() else { return Vec::new() };
    match run(subject, &user, &program, ending) {
        Ok((output, _)) if output.starts_with('{') => match serde_json::from_str::<Report>(&output)
        {
            Ok(report) => of_report(&report, told),
            Err(error) => vec![unknown(&program, &error.to_string())],
        },
        Ok((_, message)) => vec![refused(&message, &program)],
        Err(_) if ending.since().is_some() => Vec::new(),
        Err(reason) => vec![unknown(&program, &reason)],
    }
}

/// Runs the check as this user; its standard output, and the last line of its standard error.
fn run(
    subject: &Subject,
    user: &User,
    program: &Path,
    ending: &Ending,
) -> Result<(String, String), String> {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", &user.uid.to_string(), "--regid", &user.gid.to_string()])
        // setpriv itself still has root's capabilities when it starts a program; env has them no more.
        .args(["--init-groups", "--", "env"])
        .arg(program)
        .args(["check", "--json"])
        .args(["--deadline", &config::duration::shown(subject.settings.deadline)]);
    let cli = &subject.cli;
    // Not --cache-dir: that of whoever runs this is not that of Telegraf.
    for uri in &subject.settings.uris {
        command.args(["--uri", uri]);
    }
    if let Some(file) = cli.config.as_ref().or(subject.file.as_ref()) {
        command.arg("--config").arg(file);
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
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("cannot start setpriv: {error}"))?;
    let output = reader(child.stdout.take());
    let messages = reader(child.stderr.take());
    let until = Instant::now() + subject.settings.deadline * 2 + PATIENCE;
    while matches!(child.try_wait(), Ok(None)) {
        if Instant::now() > until || ending.since().is_some() {
            end(&mut child);
            return Err("it did not end in time".to_owned());
        }
        thread::sleep(GLANCE);
    }
    let text =
        |receiver: mpsc::Receiver<String>| receiver.recv_timeout(PATIENCE).unwrap_or_default();
    let messages = text(messages);
    let message = messages.lines().next_back().unwrap_or("it says nothing").to_owned();
    Ok((text(output), message))
}

fn end(child: &mut Child) {
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

fn of_report(report: &Report, known: &[(Area, Finding)]) -> Vec<Finding> {
    let is_told = |told: &Told| {
        let is_same = |(area, finding): &&(Area, Finding)| {
            area.name() == told.area && finding.id == told.id && finding.about == told.about
        };
        known.iter().any(|it| is_same(&it))
    };
    let worth = |told: &&Told| {
        told.verdict == "lost" || (told.verdict == "advice" && told.area == Area::Limits.name())
    };
    let advice = |told: &Told| {
        let finding = Finding::advice("user-loses", format!("of the user {USER}: {}", told.text));
        Finding {
            about: told.about.clone(),
            lost: told.lost.clone(),
            mend: told.mend.clone(),
            commands: told.commands.clone(),
            ..finding
        }
    };
    let found: Vec<Finding> =
        report.findings.iter().filter(worth).filter(|it| !is_told(it)).map(advice).collect();
    if !found.is_empty() {
        return found;
    }
    let folder = report.findings.iter().find(|told| told.area == "cache" && told.id == "folder");
    let folder = folder.and_then(|told| told.about.as_deref());
    let cache = folder.map_or_else(String::new, |folder| format!("; its cache is {folder}"));
    let text = format!("the user {USER} can read all that root can{cache}");
    vec![Finding::good("user", text)]
}

/// It could not even begin.
fn refused(message: &str, program: &Path) -> Finding {
    let message = message.trim_start_matches("E! ");
    if ["setpriv:", "env:"].iter().any(|program| message.starts_with(program)) {
        return Finding::advice(
            "user-cannot-run",
            format!("the user {USER} cannot start {}: {message}", program.display()),
        )
        .losing("every point, as far as Telegraf is to start this very file")
        .mend("install the program where every user may start it")
        .run(format!(
            "sudo install -m 755 {} /usr/local/bin/",
            shell(&program.display().to_string())
        ));
    }
    Finding::advice(
        "user-refused",
        format!("started by the user {USER} the program says: {message}"),
    )
    .losing("every point, as far as Telegraf is to collect")
    .mend("let that user read the configuration")
    .run(format!("sudo chmod o+r {}", config::SYSTEM_FILE))
}

fn unknown(program: &Path, reason: &str) -> Finding {
    let text = format!("what the user {USER} may read could not be tried: {reason}");
    Finding::advice("user-unknown", text)
        .losing("nothing by itself, but what that user may not read is not told here")
        .mend("try it by hand")
        .run(format!("sudo -u {USER} {} check", shell(&program.display().to_string())))
}
