//! What `check` looks at: all that a collection needs, one file an area, each finding with what is lost
//! and the command that fixes it. It reads only what a collection reads, libvirt's and Telegraf's
//! configuration, and changes nothing but that the cache's folder is made.
//!
//! ```text
//! configuration  which file, why, and which hypervisors
//! hypervisor     every question to libvirt: who answers, how soon, and a trial collection
//!   socket       the socket that a URI means, and why it may not let us in
//! guests         what guests do not offer, those with the same finding in one
//!   memballoon   a guest's balloon, from its XML
//! trial          the trial collection's time, against the deadline and Telegraf's interval
//! cache          the folder and the files
//! limits         what libvirt's configuration and the kernel allow
//! telegraf       Telegraf's files that start this program
//!   files        which files those are
//!   user         the same check as Telegraf's user
//!   handover     how the second process becomes that user
//!   losses       what root makes of its report
//! catalogue      every finding that there is, with its words
//! finding        what was found, in an area
//! report         as a person reads it
//! json           as a machine does
//! ```

mod cache;
mod catalogue;
mod configuration;
mod finding;
mod guests;
mod hypervisor;
mod json;
mod limits;
mod memballoon;
mod report;
mod socket;
mod telegraf;
mod trial;

use std::cell::RefCell;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::{User, geteuid};

pub use catalogue::{CATALOGUE, FindingKind};
pub use finding::{Area, AreaFindings, Fact, Finding, Verdict};
pub use telegraf::FILE_VARIABLE as TELEGRAF_FILE_VARIABLE;
pub use telegraf::handover::{Refused, take_over};

use crate::cli::Cli;
use crate::config::Settings;
use crate::deadline::{Deadline, Ending};
use crate::pool::{Caller, answer_by};

/// What is under way when the end is ordered gets so much time to tell what it has found.
const GRACE: Duration = Duration::from_millis(500);

/// Files answer within this time, or not at all.
const FILES_WITHIN: Duration = Duration::from_secs(10);

/// What is looked at.
#[derive(Clone, Debug)]
pub struct CheckContext {
    /// The command line.
    pub cli: Cli,
    /// The settings that came of it.
    pub settings: Settings,
    /// The configuration file that they are from.
    pub file: Option<PathBuf>,
}

/// Looks at everything, and tells of it on standard output, an area as soon as it is known. Returns what
/// is left to print, the verdict or all of it as JSON, and the exit code.
pub fn run(context: CheckContext, ending: &Ending) -> (String, u8) {
    let style = (!context.cli.json).then(report::Style::of_stdout);
    // A reader that went away, or a full disk, is met again by whoever prints the rest.
    let tell = |text: &str| {
        let mut told = io::stdout().lock();
        let _ = told.write_all(text.as_bytes()).and_then(|()| told.flush());
    };
    style.iter().for_each(|style| tell(&report::heading(&user(), *style)));
    let looker = ending.clone();
    // On a thread that can be left behind: a file on dead storage does not come back, and who ends the
    // program does not wait for it.
    let mut looking = Caller::without_connection("check");
    looking.call(move |(), report| {
        look(&context, &looker, |section| report.hand_over(Some(section)));
        Ok(None)
    });
    let mut sections: Vec<AreaFindings> = Vec::new();
    let mut has_looked = false;
    while let Some(Ok(looked)) = looking.next(&Deadline::at_ending(ending, GRACE)) {
        let Some(section) = looked else {
            has_looked = true;
            break;
        };
        style.iter().for_each(|style| tell(&report::section(&section, *style)));
        sections.push(section);
    }
    let is_whole = has_looked && ending.since().is_none();
    let is_lost = !is_whole || verdict(&sections) == Verdict::Lost;
    let rest = match style {
        Some(style) => report::verdict_line(&sections, is_whole, style),
        None => json::report(&sections, &user(), is_whole),
    };
    (rest, u8::from(is_lost))
}

/// What comes of looking at files, where they answer: those on a mount that is gone never do, and are left behind.
fn within_time<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    // Whoever orders the end waits for none of this.
    let deadline = Deadline::within(FILES_WITHIN, &Ending::default(), Duration::ZERO);
    answer_by("files", &deadline, look)?.ok()
}

/// The gravest of all.
fn verdict(sections: &[AreaFindings]) -> Verdict {
    let findings = sections.iter().flat_map(|section| &section.findings);
    findings.map(|finding| finding.verdict).max().unwrap_or(Verdict::Good)
}

/// Looks at one area after another, until the end is ordered.
fn look(context: &CheckContext, ending: &Ending, hand_over: impl Fn(AreaFindings)) {
    let settings = &context.settings;
    let told = RefCell::new(Vec::new());
    let tell = |area, about: Option<&str>, findings: Vec<Finding>| {
        told.borrow_mut().extend(findings.iter().map(|finding| (area, finding.clone())));
        if !findings.is_empty() && ending.since().is_none() {
            hand_over(AreaFindings { area, about: about.map(str::to_owned), findings });
        }
    };
    tell(Area::Configuration, None, configuration::findings(context));
    let hosts = hypervisor::ask_all(settings, ending);
    for host in &hosts {
        tell(Area::Hypervisor, Some(&host.uri), host.findings());
    }
    // Telegraf's interval decides whether the trial was quick enough, so its files are read before.
    let telegraf = telegraf::read(context, ending);
    let trial = trial::run(&hosts, settings, ending);
    for collected in &trial.hosts {
        if ending.since().is_none() {
            let findings = guests::findings(collected, settings, ending);
            tell(Area::Guests, Some(&collected.uri), findings);
        }
    }
    tell(Area::Collection, None, trial.findings(settings, &telegraf));
    tell(Area::Cache, None, cache::findings(context));
    tell(Area::Limits, None, limits::findings(&hosts, settings));
    tell(Area::Telegraf, None, telegraf.findings.clone());
    let of_user = telegraf::user::findings(context, &telegraf, &told.borrow(), ending);
    tell(Area::TelegrafUser, None, of_user);
}

/// The name of the user that a collection would be made by.
fn user() -> String {
    user_name(geteuid().as_raw())
}

/// A user's name, or the number where it has none.
fn user_name(uid: u32) -> String {
    let user = User::from_uid(uid.into()).ok().flatten();
    user.map_or_else(|| format!("uid {uid}"), |user| user.name)
}

/// A command to run as another user, for root to copy: without root's terminal, into which whoever is that
/// user could write what root's shell then runs.
fn as_user(user: &str, command: &str) -> String {
    format!("sudo -u {} setsid --wait {command}", shell(user))
}

/// A word for a shell: in quotes where it needs them.
fn shell(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_for_a_shell_is_quoted_where_it_must_be() {
        assert_eq!(shell("qemu:///system"), "qemu:///system");
        assert_eq!(shell("it's; rm -r *"), "'it'\\''s; rm -r *'");
        assert_eq!(shell(""), "''");
    }
}
