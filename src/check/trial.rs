//! A collection as `once` and `execd` make it, by the same machinery, of which nothing is printed and
//! nothing is kept: what it took, and what came.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::catalogue::collection as kinds;
use super::finding::{Finding, counted};
use super::guests;
use super::hypervisor::CheckedHost;
use super::telegraf::Telegraf;
use crate::collect::{Collected, Hypervisor, Known, Listed, Plan};
use crate::config::{Feature, Settings, duration};
use crate::deadline::{Deadline, Ending, time_to_collect};
use crate::log::{Level, Log};

/// What came of the trial.
pub(super) struct Trial {
    /// From the first question to the last answer; `None` where no hypervisor answers.
    took: Option<Duration>,
    pub(super) hosts: Vec<CollectedHost>,
}

/// What came from one hypervisor.
pub(super) struct CollectedHost {
    pub(super) uri: String,
    pub(super) driver: String,
    /// Guests that are defined and do not run.
    pub(super) inactive: usize,
    /// The guests that were asked.
    pub(super) taken: HashMap<Uuid, String>,
    /// The names of excluded guests.
    pub(super) filtered: Vec<String>,
    /// What came, or why the hypervisor could not be read after all.
    pub(super) collected: Result<Collected, String>,
    /// What the collection would say on standard error.
    pub(super) messages: Vec<String>,
}

/// Collects from every hypervisor that answers, all at the same time.
pub(super) fn run(hosts: &[CheckedHost], settings: &Settings, ending: &Ending) -> Trial {
    let up: Vec<&CheckedHost> = hosts.iter().filter(|host| host.is_up()).collect();
    let started = Instant::now();
    let deadline = Deadline::within(settings.deadline, ending, Duration::ZERO);
    let hosts: Vec<CollectedHost> = thread::scope(|scope| {
        let deadline = &deadline;
        let threads: Vec<_> =
            up.iter().map(|host| scope.spawn(move || collect(host, settings, deadline))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let took = (!up.is_empty() && ending.since().is_none()).then(|| started.elapsed());
    Trial { took, hosts }
}

fn collect(host: &CheckedHost, settings: &Settings, deadline: &Deadline) -> CollectedHost {
    let log = Arc::new(Log::kept(Level::Warn));
    let plan = Plan {
        workers: settings.workers,
        max_stuck: settings.max_stuck,
        selection: Arc::new(settings.selection()),
        deadline: settings.deadline,
        host_name: false,
        extra: settings.extra,
        steal: settings.features.contains(&Feature::Cpu),
    };
    let taken = RefCell::new(HashMap::new());
    // Without what the cache knows: as the first collection after a boot of the host.
    let known = |guest: &Listed| {
        taken.borrow_mut().insert(guest.uuid, guest.name.to_string());
        Known::default()
    };
    let mut hypervisor = Hypervisor::new(&host.uri, plan, &log);
    if let Some(replay) = hypervisor.replay() {
        replay.prepare(deadline, deadline);
        replay.skip_to_last();
        replay.advance();
    }
    let listed = host.answer.as_ref().ok().and_then(|answer| answer.guests.as_deref());
    if listed.is_none() {
        hypervisor.hold_list();
    }
    let collected = hypervisor.collect(known, deadline).map_err(|down| down.0);
    hypervisor.close();
    let mut taken = taken.into_inner();
    for guest in collected.iter().flat_map(|collected| &collected.excluded) {
        taken.remove(&guest.uuid);
    }
    let (driver, inactive) = match &host.answer {
        Ok(answer) => (answer.driver.clone(), answer.inactive()),
        Err(_) => (String::new(), 0),
    };
    let is_left_out = |(uuid, _, runs): &&(Uuid, String, bool)| {
        (*runs || settings.domains.inactive) && !taken.contains_key(uuid)
    };
    let filtered = listed
        .unwrap_or_default()
        .iter()
        .filter(is_left_out)
        .map(|(_, name, _)| name.clone())
        .collect();
    CollectedHost {
        uri: host.uri.clone(),
        driver,
        inactive,
        // Without the list nothing was excluded.
        filtered: if collected.is_ok() { filtered } else { Vec::new() },
        taken,
        collected,
        messages: log.take().into_iter().map(|(_, message)| message).collect(),
    }
}

impl Trial {
    pub(super) fn findings(&self, settings: &Settings, telegraf: &Telegraf) -> Vec<Finding> {
        let Some(took) = self.took else { return Vec::new() };
        let (deadline, interval) = (settings.deadline, telegraf.interval);
        let guests = |host: &CollectedHost| {
            host.collected.as_ref().map_or(0, |collected| collected.readings.len())
        };
        let guests: usize = self.hosts.iter().map(guests).sum();
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let of_interval = match interval {
            Some(interval) => {
                format!(", and of Telegraf's interval of {}", duration::format_duration(interval))
            }
            None => String::new(),
        };
        let text = format!(
            "{} took {took_ms} ms of the deadline of {}{of_interval}; nothing of it was printed or \
             stored, and the cache was not used, so later ones are faster",
            counted(guests, "guest"),
            duration::format_duration(deadline)
        );
        let facts = |finding: Finding| {
            let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            let finding = finding
                .fact("took_ms", took_ms)
                .fact("deadline_ms", ms(deadline))
                .fact("guests", guests);
            match interval {
                Some(interval) => finding.fact("interval_ms", ms(interval)),
                None => finding,
            }
        };
        // Where a guest hangs, that is said of the guest.
        let mut findings = vec![facts(if took < time_to_collect(deadline) {
            kinds::in_time(text)
        } else {
            let late = self.hosts.iter().filter_map(|host| host.collected.as_ref().ok());
            let late = late.filter(|collected| !collected.late.is_empty());
            let longer = late.map(|collected| guests::enough_for_all(collected, deadline)).max();
            let longer = longer.unwrap_or(deadline * 2);
            kinds::deadline_reached(text, duration::format_duration(longer))
        })];
        if let Some(interval) = interval {
            if took > interval {
                findings.push(kinds::longer_than_interval(duration::format_duration(interval)));
            } else if deadline >= interval {
                let shorter = interval.mul_f32(0.8).max(Duration::from_millis(100));
                let shorter = Duration::from_millis(
                    u64::try_from(shorter.as_millis()).unwrap_or(u64::MAX) / 100 * 100,
                );
                let [deadline, interval, shorter] =
                    [deadline, interval, shorter].map(duration::format_duration);
                findings.push(kinds::deadline_above_interval(deadline, interval, shorter));
            }
        }
        findings
    }
}
