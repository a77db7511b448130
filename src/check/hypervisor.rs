//! Every question that `check` itself asks a hypervisor: who answers and how soon, and the XML of some
//! guests. The findings about the answers are here too. The guests themselves are read as in a collection
//! (`trial`).

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::catalogue::hypervisor as kinds;
use super::finding::Finding;
use super::socket::{self, Socket};
use super::{shell, user};
use crate::config::{self, Settings, duration, names};
use crate::deadline::{Deadline, Ending};
use crate::host::{self, Origin};
use crate::libvirt::{Error, Node};
use crate::pool::{CallReport, Caller, Connected};

/// A libvirt that takes longer to connect and list than this is slow; a healthy one takes milliseconds.
const SLOW: Duration = Duration::from_secs(1);
/// A list of the guests that takes longer than this waits for one of them.
const LIST_WITHIN: Duration = Duration::from_secs(1);
/// Where the answer to an error begins: the first that fits counts.
const NOT_THERE: [&str; 2] = ["No such file or directory", "Connection refused"];

/// What the drivers of libvirt are called in a URI. <https://libvirt.org/drivers.html>
const DRIVERS: [&str; 17] = [
    "qemu",
    "xen",
    "lxc",
    "bhyve",
    "ch",
    "test",
    "esx",
    "vpx",
    "gsx",
    "hyperv",
    "vz",
    "openvz",
    "vbox",
    "vmwareplayer",
    "vmwarews",
    "vmwarefusion",
    "parallels",
];

/// A hypervisor, asked who it is.
pub(super) struct CheckedHost {
    pub(super) uri: String,
    pub(super) socket: Option<Socket>,
    /// What it said, or why it said nothing.
    pub(super) answer: Result<HostAnswer, NoAnswer>,
}

/// What a hypervisor says of itself.
#[derive(Clone)]
pub(super) struct HostAnswer {
    /// From the start until it had said who it is.
    took: Duration,
    pub(super) driver: String,
    libvirt: Option<Version>,
    version: Option<Version>,
    node: Option<Node>,
    /// Every guest, and whether it runs; `None` where libvirt does not list them in time.
    pub(super) guests: Option<Vec<ListedGuest>>,
}

/// A guest as it is listed, and whether it runs.
pub(super) type ListedGuest = (Uuid, String, bool);

impl HostAnswer {
    /// Guests that are defined and do not run.
    pub(super) fn inactive(&self) -> usize {
        self.guests.iter().flatten().filter(|(_, _, runs)| !runs).count()
    }
}

/// Why a hypervisor said nothing.
pub(super) enum NoAnswer {
    /// libvirt's words.
    Refused(String),
    /// It did not answer within the deadline.
    Late(Duration),
    /// The end was ordered.
    Ended,
}

/// Asks all of them at the same time.
pub(super) fn ask_all(settings: &Settings, ending: &Ending) -> Vec<CheckedHost> {
    let deadline = Deadline::within(settings.deadline, ending, Duration::ZERO);
    let ask = |uri: &String| {
        let mut caller = caller(uri);
        caller.call(who);
        (uri.clone(), caller)
    };
    let asked: Vec<_> = settings.uris.iter().map(ask).collect();
    let host = |(uri, mut caller): (String, Caller<OpenedHost, HostAnswer>)| CheckedHost {
        socket: socket::soon(&uri),
        uri,
        answer: match caller.next(&deadline) {
            Some(Ok(answer)) => {
                // libvirt answers, so that a list which does not come waits for a guest.
                let soon =
                    Deadline::within(LIST_WITHIN.min(settings.deadline), ending, Duration::ZERO);
                Ok(caller.next(&soon).and_then(Result::ok).unwrap_or(answer))
            }
            Some(Err(error)) => Err(NoAnswer::Refused(error.to_string())),
            None if deadline.is_ending() => Err(NoAnswer::Ended),
            None => Err(NoAnswer::Late(settings.deadline)),
        },
    };
    asked.into_iter().map(host).collect()
}

/// The XML of these guests, as much of it as comes in time.
pub(super) fn xml_of(uri: &str, guests: &[Uuid], deadline: &Deadline) -> HashMap<Uuid, String> {
    let uuids = guests.to_vec();
    let mut caller = caller(uri);
    caller.call(move |asked: &mut OpenedHost, report| {
        for uuid in uuids {
            if let Ok(xml) = asked.connection.guest(&uuid).and_then(|guest| guest.xml()) {
                report.hand_over(Some((uuid, xml)));
            }
        }
        Ok(None)
    });
    std::iter::from_fn(|| caller.next(deadline)).filter_map(Result::ok).flatten().collect()
}

/// A connection, and when it was opened.
struct OpenedHost {
    started: Instant,
    connection: host::Host,
}

impl Connected for OpenedHost {
    fn is_alive(&self) -> bool {
        self.connection.is_alive()
    }
}

fn caller<T: Send + 'static>(uri: &str) -> Caller<OpenedHost, T> {
    let uri = uri.to_owned();
    Caller::new("question", move || {
        let started = Instant::now();
        Ok(OpenedHost { started, connection: open(&uri)? })
    })
}

/// Connects; of a recording, turns to its last moment.
fn open(uri: &str) -> Result<host::Host, Error> {
    let origin = Origin::of(uri);
    // Only what is open has a last moment.
    let host = origin.open()?;
    if let Some(replay) = origin.replay() {
        replay.skip_to_last();
        replay.advance();
    }
    Ok(host)
}

/// A version as libvirt tells it, in one number.
#[derive(Clone, Copy)]
struct Version(u64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number) = self;
        write!(f, "{}.{}.{}", number / 1_000_000, number / 1000 % 1000, number % 1000)
    }
}

/// What a hypervisor says: at first who it is, then the same with its guests.
fn who(asked: &mut OpenedHost, report: &CallReport<HostAnswer>) -> Result<HostAnswer, Error> {
    let OpenedHost { started, connection } = asked;
    let versions = connection.versions();
    let version = |of| versions.get(of).copied().map(Version);
    let driver = connection.driver()?;
    let answer = HostAnswer {
        took: started.elapsed(),
        driver,
        // Not every driver has these.
        libvirt: version("daemon"),
        version: version("hypervisor"),
        node: connection.node(),
        guests: None,
    };
    report.hand_over(answer.clone());
    // For its list libvirt waits for each guest's lock.
    let listed =
        |guest: &host::HostGuest| (guest.uuid(), guest.name().into_owned(), guest.id() >= 0);
    let guests = connection.guests(true)?.iter().map(listed).collect();
    Ok(HostAnswer { guests: Some(guests), ..answer })
}

impl CheckedHost {
    /// Whether it answers.
    pub(super) fn is_up(&self) -> bool {
        self.answer.is_ok()
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        match &self.answer {
            Ok(answer) => self.up(answer),
            Err(NoAnswer::Refused(error)) => vec![self.refused(error).about(&self.uri)],
            Err(NoAnswer::Late(deadline)) => vec![self.late(*deadline).about(&self.uri)],
            Err(NoAnswer::Ended) => Vec::new(),
        }
    }

    fn up(&self, answer: &HostAnswer) -> Vec<Finding> {
        let took_ms = u64::try_from(answer.took.as_millis()).unwrap_or(u64::MAX);
        let took = format!("{took_ms} ms");
        let version = |version: Option<Version>| {
            version.map_or_else(|| "of an unknown version".to_owned(), |it| it.to_string())
        };
        let node = answer.node.map(|node| {
            let gib = node.memory_kib as f64 / f64::from(1 << 20);
            format!(", on {} CPUs and {gib:.1} GiB", node.cpus)
        });
        let (libvirt, driver) = (version(answer.libvirt), &answer.driver);
        let hypervisor = version(answer.version);
        let text = if self.uri.starts_with(host::REPLAY) {
            match answer.libvirt {
                Some(_) => format!("a recording of libvirt {libvirt} with {driver} {hypervisor}"),
                None => "a recording without a version of libvirt".to_owned(),
            }
        } else {
            format!(
                "libvirt {libvirt} answers, read-only, in {took}; the hypervisor is {driver} \
                 {hypervisor}{}",
                node.unwrap_or_default(),
            )
        };
        let word = |version: Option<Version>| version.map_or_else(String::new, |it| it.to_string());
        let fill = |finding: Finding| {
            let finding = finding
                .about(&self.uri)
                .fact("answer_ms", took_ms)
                .fact("driver", answer.driver.clone())
                .fact("libvirt_version", word(answer.libvirt))
                .fact("hypervisor_version", word(answer.version))
                .fact("running", answer.guests.as_ref().map_or(0, Vec::len) - answer.inactive())
                .fact("inactive", answer.inactive());
            match answer.node {
                Some(node) => finding.fact("cpus", node.cpus).fact("memory_kib", node.memory_kib),
                None => finding,
            }
        };
        let mut findings = vec![if answer.took < SLOW {
            fill(kinds::answers(text))
        } else {
            fill(kinds::slow(text, self.admin(), self.daemon()))
        }];
        if let Some(Socket { path, rights: Some(rights), .. }) = &self.socket {
            findings.push(
                kinds::socket(path.display(), rights)
                    .about(&self.uri)
                    .fact("socket", path.display().to_string())
                    .fact("rights", rights.clone()),
            );
        }
        findings
    }

    /// The daemon that should answer.
    pub(super) fn daemon(&self) -> &'static str {
        let name = self.socket.as_ref().and_then(|socket| socket.path.file_name());
        match name.and_then(|name| name.to_str()).map(|name| name.split('-').next()) {
            Some(Some("virtqemud")) => "virtqemud",
            Some(Some("virtxend")) => "virtxend",
            Some(Some("virtlxcd")) => "virtlxcd",
            Some(Some("virtbhyved")) => "virtbhyved",
            Some(Some("virtchd")) => "virtchd",
            _ => "libvirtd",
        }
    }

    fn admin(&self) -> String {
        format!("{}:///system", self.daemon())
    }

    /// Why it is not read, from libvirt's words.
    fn refused(&self, error: &str) -> Finding {
        let has = |part: &str| error.contains(part);
        if let Some(path) = self.uri.strip_prefix(host::REPLAY) {
            return kinds::no_recording(error, shell(path));
        }
        let daemon = self.daemon();
        let socket = self.socket.as_ref();
        if let Some(socket) = socket.filter(|socket| {
            socket.rights.is_some() && !socket.is_socket && has("Failed to connect socket")
        }) {
            let path = socket.path.display();
            return kinds::no_socket(&path, error, shell(&path.to_string()), daemon);
        }
        if has("no connection driver available")
            && let Some(driver) = self.driver().filter(|driver| DRIVERS.contains(driver))
        {
            return kinds::no_driver(driver, error);
        }
        if has("no connection driver available") || has("unable to parse URI") || self.is_unknown()
        {
            return kinds::bad_uri(error, shell(&self.meant()));
        }
        if NOT_THERE.iter().any(|part| has(part)) && has("socket") {
            let what = match socket {
                Some(Socket { path, rights: Some(_), .. }) => {
                    format!("nothing listens at {}", path.display())
                }
                Some(socket) => format!("there is no socket {}", socket.path.display()),
                None => "there is no socket".to_owned(),
            };
            return kinds::not_running(what, error, daemon);
        }
        if has("Permission denied") && has("socket") {
            let socket = match socket {
                Some(Socket { path, rights: Some(rights), .. }) => {
                    format!("{} ({rights})", path.display())
                }
                _ => "its socket".to_owned(),
            };
            return kinds::no_right_to_socket(user(), socket, error, daemon);
        }
        if has("system bus") {
            return kinds::no_bus(user(), error, daemon);
        }
        if has("authentication") || has("access denied") {
            return kinds::not_authenticated(user(), error, daemon);
        }
        if has("Failed to find user record") || has("Failed to find group record") {
            return kinds::unknown_user(error);
        }
        if has("Cannot find 'ssh' in path") {
            return kinds::no_ssh(error);
        }
        match socket {
            Some(_) => kinds::refuses(error, shell(&self.uri), daemon),
            None => kinds::refuses_elsewhere(error, shell(&self.uri)),
        }
    }

    /// The driver that the URI names; `None` for an alias of libvirt's configuration.
    fn driver(&self) -> Option<&str> {
        let (scheme, _) = self.uri.split_once(':')?;
        scheme.split('+').next()
    }

    /// Whether no libvirt has a driver of that name. Unknown ones are asked of libvirtd, whose socket
    /// may not be there, and that would be a word about the wrong thing.
    fn is_unknown(&self) -> bool {
        self.driver().is_some_and(|driver| !DRIVERS.contains(&driver))
    }

    /// The URI that was meant, where it is one that libvirt does not know.
    fn meant(&self) -> String {
        let nearest = self.driver().and_then(|driver| names::nearest(driver, DRIVERS));
        match nearest {
            Some(driver) if self.is_unknown() => {
                self.uri.replacen(self.driver().unwrap_or_default(), driver, 1)
            }
            _ => config::DEFAULT_URI.to_owned(),
        }
    }

    fn late(&self, deadline: Duration) -> Finding {
        let deadline = duration::format_duration(deadline);
        match self.socket {
            Some(_) => kinds::no_answer(deadline, self.admin(), self.daemon()),
            None => kinds::no_answer_elsewhere(deadline, shell(&self.uri)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Verdict;

    fn hosts(uri: &str) -> Vec<CheckedHost> {
        let settings = Settings {
            uris: vec![uri.to_owned()],
            deadline: Duration::from_secs(10),
            ..Settings::default()
        };
        ask_all(&settings, &Ending::default())
    }

    #[test]
    fn the_test_driver_says_who_it_is() {
        let hosts = hosts("test:///default");
        let findings = hosts[0].findings();
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].id, "answers");
        assert!(findings[0].text.contains("the hypervisor is TEST"), "{findings:?}");
        assert!(
            hosts[0]
                .answer
                .as_ref()
                .is_ok_and(|answer| answer.guests.as_ref().is_some_and(|it| it.len() == 1))
        );
    }

    #[test]
    fn a_host_without_d_bus_is_told_what_is_asked_over_it() {
        let host = &hosts("qemu+unix:///system?socket=/nonexistent/libvirt-sock-ro")[0];
        // The words of libvirt 9.0 to a user who is not root, on a host without D-Bus.
        let words =
            "Unable to get system bus connection: Could not connect: No such file or directory";
        let finding = host.refused(words);
        assert_eq!((finding.verdict, finding.id), (Verdict::Lost, "no-bus"));
        assert!(finding.text.contains("polkit"), "{}", finding.text);
        assert_eq!(finding.commands[0], "auth_unix_ro = \"none\"");
    }

    #[test]
    fn a_driver_that_is_not_installed_is_told_from_one_that_there_is_not() {
        let refused = |uri: &str| {
            let (uri, socket) = (uri.to_owned(), None);
            let host = CheckedHost { uri, socket, answer: Err(NoAnswer::Late(Duration::ZERO)) };
            host.refused("no connection driver available for this URI")
        };
        for uri in ["lxc:///system", "xen:///system", "vbox:///session"] {
            let finding = refused(uri);
            assert_eq!((finding.verdict, finding.id), (Verdict::Lost, "no-driver"), "{uri}");
            assert!(finding.text.contains(&uri[..3]), "{}", finding.text);
        }
        assert_eq!(refused("qemo:///system").id, "bad-uri");
    }

    #[test]
    fn a_socket_that_is_not_there_is_lost_with_its_remedy() {
        let uri = "qemu+unix:///system?socket=/nonexistent/libvirt-sock-ro";
        let findings = hosts(uri)[0].findings();
        assert_eq!(findings.len(), 1);
        assert_eq!((findings[0].verdict, findings[0].id), (Verdict::Lost, "not-running"));
        let text = &findings[0].text;
        assert!(text.starts_with("there is no socket /nonexistent/libvirt-sock-ro; libvirt says"));
        let start = "sudo systemctl start libvirtd.socket libvirtd-ro.socket";
        assert_eq!(findings[0].commands, [start]);
    }
}
