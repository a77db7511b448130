//! A simulated hypervisor with a clock of its own. It answers each call when libvirt would: a call waits for the
//! locks, jobs and monitors of the guests that it names, in libvirt's order, and libvirtd has a limited number
//! of workers. A call goes on waiting when nobody waits for it any more.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::collect::call::{
    Answer, Ask, Asked, Call, DetailRequest, Detailed, How, Progress, Sampled, Step,
};
use crate::collect::request::{GuestRequest, always};
use crate::collect::session::Listed;
use crate::devices::{DiskDevice, Inventory, NicDevice};
use crate::libvirt::{Control, Group, Offer};
use crate::pool::{CallId, Done};
use crate::sample::{Disk, Nic};

/// libvirtd's own limit.
pub(super) const LIBVIRTD_WORKERS: usize = 20;
pub(super) const MS: Duration = Duration::from_millis(1);
/// What one guest's share of a bulk call takes.
pub(super) const OF_GUEST: Duration = Duration::from_millis(5);
/// A span of time, from its start to its end, since the simulation's start.
pub(super) type Span = (Duration, Duration);

/// What is wrong with a guest, and when.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// Its QEMU is silent.
    Silent(Span),
    /// libvirt has locked its object.
    Locked(Span),
    /// A job of libvirt goes on in it, such as a hot-unplug.
    Job(Span),
    /// It starts, or comes from another host: its monitor is free, and libvirt does not ask it.
    Starting(Span),
    /// Its XML waits, and nothing else does.
    LateXml(Span),
    /// Each bulk call with its network statistics takes so long, with its object locked.
    Slow(Duration),
    /// libvirt has an error for it alone, such as that access is denied.
    Refused,
    /// It ends at this moment.
    Gone(Duration),
    /// It starts at this moment: until then nobody knows of it.
    Starts(Duration),
}

impl Fault {
    pub(super) fn span(&self) -> Option<Span> {
        match self {
            Self::Silent(span)
            | Self::Locked(span)
            | Self::Job(span)
            | Self::Starting(span)
            | Self::LateXml(span) => Some(*span),
            _ => None,
        }
    }
}

/// A hypervisor with some guests, some of which have a fault.
#[derive(Clone, Debug)]
pub(super) struct SimulatedHost {
    pub(super) guests: usize,
    pub(super) faults: BTreeMap<usize, Fault>,
    /// The list takes so long although nothing holds it.
    pub(super) slow_list: Duration,
    /// The connection breaks in the collection of this number.
    pub(super) breaks_in: Option<u64>,
    /// Guests without a control group.
    pub(super) without_group: BTreeSet<usize>,
    /// Guests of whose NICs it is known that libvirt runs a program to count what they have sent.
    pub(super) with_helper: BTreeSet<usize>,
    /// Where libvirt keeps its files, if it is on this machine.
    pub(super) files: Option<PathBuf>,
}

impl SimulatedHost {
    /// So many guests, some with a fault.
    pub(super) fn of(guests: usize, faults: BTreeMap<usize, Fault>) -> Self {
        let (slow_list, breaks_in) = (Duration::ZERO, None);
        let (without_group, with_helper) = (BTreeSet::new(), BTreeSet::new());
        Self { guests, faults, slow_list, breaks_in, without_group, with_helper, files: None }
    }
}

pub(super) fn uuid(guest: usize) -> Uuid {
    Uuid::from_u128(guest as u128 + 1)
}

pub(super) fn listed(guest: usize) -> Listed {
    let (uuid, id) = (uuid(guest), i32::try_from(guest).unwrap() + 1);
    Listed { uuid, id, name: format!("g{guest:03}").into(), state: None }
}

/// The devices that each guest has.
pub(super) fn inventory(id: i32) -> Inventory {
    let (nic, disk) = ("vnet0".to_owned(), "vda".to_owned());
    Inventory {
        id,
        counted_nics: vec![nic.clone()],
        counted_disks: vec![disk.clone()],
        nics: vec![NicDevice { target: Some(nic), ..NicDevice::default() }],
        disks: vec![DiskDevice { target: disk, ..DiskDevice::default() }],
        ..Inventory::default()
    }
}

/// A call that libvirtd is at.
struct Running {
    call: Call,
    progress: Progress,
    /// What is still to be done, the last first: step, the guest it is about, and the guests it waits for.
    steps: Vec<(Step, Option<usize>, Vec<usize>)>,
    /// When the step that it is at is done, if that is known.
    until: Option<Duration>,
    /// What a guest's monitor was at.
    controls: BTreeMap<usize, Control>,
    /// The guest whose monitor it waits in, as long as that is silent.
    inside: Option<usize>,
    /// Guests that were skipped since their job was taken when the bulk call came to them.
    skipped: Vec<usize>,
    done: Vec<usize>,
}

pub(super) struct Simulation {
    pub(super) host: SimulatedHost,
    start: Instant,
    pub(super) now: Duration,
    running: BTreeMap<CallId, Running>,
    /// The fewest workers of libvirtd that were free.
    pub(super) fewest_free: usize,
    /// So often a guest's CPU time came apart from its bulk statistics.
    pub(super) cpu_apart: Cell<usize>,
    /// Calls that asked a guest so that has it in bulk only.
    pub(super) tried_in_vain: usize,
    /// Calls that named a guest while one that waited in the same place was out.
    pub(super) broken_rules: Vec<String>,
}

impl Simulation {
    pub(super) fn new(host: SimulatedHost) -> Self {
        Self {
            host,
            start: Instant::now(),
            now: Duration::ZERO,
            running: BTreeMap::new(),
            fewest_free: LIBVIRTD_WORKERS,
            cpu_apart: Cell::new(0),
            tried_in_vain: 0,
            broken_rules: Vec::new(),
        }
    }

    pub(super) fn instant(&self) -> Instant {
        self.start + self.now
    }

    /// Calls that libvirtd is at.
    pub(super) fn calls_out(&self) -> usize {
        self.running.len()
    }

    fn fault(&self, guest: usize) -> Option<&Fault> {
        self.host.faults.get(&guest)
    }

    fn is_in(&self, span: Span) -> bool {
        (span.0..span.1).contains(&self.now)
    }

    pub(super) fn exists(&self, guest: usize) -> bool {
        match self.fault(guest) {
            Some(Fault::Gone(at)) => self.now < *at,
            Some(Fault::Starts(at)) => self.now >= *at,
            _ => true,
        }
    }

    /// Whether the guest's object is locked now: by its fault, or by a slow bulk call of ours.
    fn is_locked(&self, guest: usize, but: CallId) -> bool {
        match self.fault(guest) {
            Some(Fault::Locked(span)) => self.is_in(*span),
            Some(Fault::Slow(_)) => self.running.iter().any(|(id, running)| {
                *id != but
                    && running.until.is_some()
                    && matches!(running.steps.last(), Some((Step::Bulk, _, of)) if of.contains(&guest))
            }),
            _ => false,
        }
    }

    fn is_silent(&self, guest: usize) -> bool {
        matches!(self.fault(guest), Some(Fault::Silent(span)) if self.is_in(*span))
    }

    fn has_job(&self, guest: usize) -> bool {
        matches!(self.fault(guest), Some(Fault::Job(span)) if self.is_in(*span))
    }

    fn is_starting(&self, guest: usize) -> bool {
        matches!(self.fault(guest), Some(Fault::Starting(span)) if self.is_in(*span))
    }

    fn has_late_xml(&self, guest: usize) -> bool {
        matches!(self.fault(guest), Some(Fault::LateXml(span)) if self.is_in(*span))
    }

    fn lacks_cpu_calls(&self, guest: usize) -> bool {
        self.host.without_group.contains(&guest)
    }

    /// The call that waits in a guest's monitor, with its job.
    fn in_monitor(&self, guest: usize, but: CallId) -> Option<CallId> {
        let waits = |(id, running): (&CallId, &Running)| {
            let is_there = running.inside == Some(guest);
            (*id != but && is_there && self.is_silent(guest)).then_some(*id)
        };
        self.running.iter().find_map(waits)
    }

    pub(super) fn submit(&mut self, id: CallId, call: Call, progress: Progress) {
        let index = |guest: &GuestRequest| usize::try_from(guest.uuid.as_u128() - 1).unwrap();
        let mut steps = match &call {
            Call::List { .. } => vec![(Step::List, None, (0..self.host.guests).collect())],
            Call::ListByFiles(..) => Vec::new(),
            Call::Ask(ask) => {
                let guests: Vec<usize> = ask.guests.iter().map(index).collect();
                let mut steps = Vec::new();
                if ask.how != How::Together {
                    let control = |(place, &guest): (usize, &usize)| {
                        (Step::Control, Some(place), vec![guest])
                    };
                    steps.extend(guests.iter().enumerate().map(control));
                }
                if ask.cpu_apart && ask.how != How::Quietly {
                    let lacking = guests.iter().position(|guest| self.lacks_cpu_calls(*guest));
                    self.tried_in_vain += usize::from(lacking.is_some());
                    let until = lacking.map_or(guests.len(), |place| place + 1);
                    let cpu =
                        |(place, &guest): (usize, &usize)| (Step::Cpu, Some(place), vec![guest]);
                    steps.extend(guests.iter().enumerate().take(until).map(cpu));
                }
                let alone = (guests.len() == 1).then_some(0);
                steps.push((Step::Bulk, alone, guests));
                steps
            }
            Call::Detail(requests, _) => {
                let detail = |(place, request): (usize, &DetailRequest)| {
                    (Step::Detail, Some(place), vec![index(&request.guest)])
                };
                requests.iter().enumerate().map(detail).collect()
            }
        };
        self.check(&call);
        steps.reverse();
        if let Some((step, place, _)) = steps.last() {
            progress.set(*step, *place, self.instant());
        }
        let (controls, skipped, done) = (BTreeMap::new(), Vec::new(), Vec::new());
        let (until, inside) = (None, None);
        let running = Running { call, progress, steps, until, controls, inside, skipped, done };
        self.running.insert(id, running);
        let free = LIBVIRTD_WORKERS.saturating_sub(self.running.len());
        self.fewest_free = self.fewest_free.min(free);
    }

    /// The rules that a call can break by being made.
    fn check(&mut self, call: &Call) {
        let is_list = |call: &Call| matches!(call, Call::List { .. });
        if is_list(call) && self.running.values().any(|running| is_list(&running.call)) {
            self.broken_rules.push("two lists are out".to_owned());
        }
    }

    /// Whether the step that a call is at can go on, and how long it takes then; `None` while it waits.
    fn takes(&mut self, id: CallId) -> Option<Duration> {
        let running = self.running.get(&id)?;
        let Some((step, _, of)) = running.steps.last() else { return Some(Duration::ZERO) };
        let (step, of) = (*step, of.clone());
        let quiet = matches!(&running.call, Call::Ask(ask) if ask.how == How::Quietly);
        let with_nics = matches!(&running.call, Call::Ask(ask) if ask.groups.has(Group::Interface));
        // A list waits for guests that start, too, before anybody knows of them.
        if step != Step::Detail && of.iter().any(|&guest| self.is_locked(guest, id)) {
            return None;
        }
        match step {
            Step::List => Some(MS + self.host.slow_list),
            Step::Bulk => {
                let mut time = Duration::ZERO;
                let mut skipped = Vec::new();
                for &guest in &of {
                    let has_job = self.has_job(guest) || self.is_starting(guest);
                    if has_job || self.in_monitor(guest, id).is_some() {
                        skipped.push(guest);
                    } else if self.is_silent(guest) && !quiet {
                        // It waits in here, which the mark does not tell, and goes on when it is answered.
                        self.running.get_mut(&id)?.inside = Some(guest);
                        return None;
                    }
                    time += match self.fault(guest) {
                        Some(Fault::Slow(slow)) if with_nics => *slow,
                        _ => OF_GUEST,
                    };
                }
                self.running.get_mut(&id)?.skipped = skipped;
                Some(time)
            }
            Step::Detail => {
                let waits = |guest: usize| {
                    let is_held = self.has_job(guest) || self.has_late_xml(guest);
                    self.is_locked(guest, id) || is_held || self.is_silent(guest)
                };
                let is_waiting = of.iter().any(|&guest| waits(guest));
                (!is_waiting).then_some(MS)
            }
            Step::Cpu => Some(MS / 10),
            Step::Connect | Step::Find | Step::Control => {
                for &guest in &of {
                    let since = self.in_monitor(guest, id).and_then(|it| self.running.get(&it));
                    let since = since.map(|it| it.progress.mark().since);
                    let waits = since.map(|it| self.instant().saturating_duration_since(it));
                    let waits = waits.and_then(|it| u64::try_from(it.as_millis()).ok());
                    let control = match waits {
                        Some(for_ms) => Control::Busy { for_ms, command: true },
                        None if self.has_job(guest) => Control::Busy { for_ms: 0, command: false },
                        None => Control::Free,
                    };
                    self.running.get_mut(&id)?.controls.insert(guest, control);
                }
                Some(MS / 10)
            }
        }
    }

    /// Lets time pass until a call has something to say, or until this moment. Returns what it says.
    pub(super) fn advance(&mut self, until: Duration) -> Vec<Done<Answer>> {
        loop {
            let ids: Vec<CallId> = self.running.keys().copied().collect();
            for &id in ids.iter().take(LIBVIRTD_WORKERS) {
                if self.running.get(&id).is_some_and(|it| it.until.is_none())
                    && let Some(time) = self.takes(id)
                {
                    let done_at = self.now + time;
                    self.running.get_mut(&id).unwrap().until = Some(done_at);
                }
            }
            let (mut done, mut has_moved) = (Vec::new(), false);
            for id in ids {
                let is_done = self
                    .running
                    .get(&id)
                    .is_some_and(|it| it.until.is_some_and(|at| at <= self.now));
                if is_done {
                    has_moved = true;
                    done.extend(self.step_done(id));
                }
            }
            if has_moved && done.is_empty() {
                continue;
            }
            if !done.is_empty() || self.now >= until {
                return done;
            }
            let next_done = self.running.values().filter_map(|it| it.until).min();
            let changes = self.host.faults.values().filter_map(|fault| match fault {
                Fault::Gone(at) | Fault::Starts(at) => Some(*at),
                _ => fault.span().map(|span| if span.0 > self.now { span.0 } else { span.1 }),
            });
            let next = changes.chain(next_done).filter(|at| *at > self.now).min();
            self.now = next.map_or(until, |next| next.min(until));
        }
    }

    fn step_done(&mut self, id: CallId) -> Option<Done<Answer>> {
        let now = self.instant();
        let running = self.running.get_mut(&id)?;
        running.until = None;
        let (step, place, of) = running.steps.pop()?;
        running.done.extend(&of);
        if let Some((step, place, _)) = running.steps.last() {
            running.progress.set(*step, *place, now);
        }
        if step == Step::Detail {
            let detailed = self.detailed(id, place.unwrap_or(0));
            return Some(Done {
                id,
                result: Ok(Answer::Detailed(place.unwrap_or(0), detailed)),
                is_last: false,
                is_urgent: false,
            })
            .inspect(|_| self.end_if_over(id));
        }
        if !self.running.get(&id)?.steps.is_empty() {
            return None;
        }
        let running = self.running.remove(&id)?;
        let answer = match &running.call {
            Call::List { .. } => {
                let there = (0..self.host.guests).filter(|&guest| self.exists(guest));
                Answer::Listed(there.map(listed).collect())
            }
            Call::Ask(ask) => Answer::Asked(
                ask.guests
                    .iter()
                    .enumerate()
                    .map(|(place, guest)| (place, self.asked(guest, ask, &running)))
                    .collect(),
                Some(Offer { bulk: always(), nowait: true }),
                OF_GUEST * u32::try_from(ask.guests.len()).unwrap(),
            ),
            _ => Answer::Listed(Arc::default()),
        };
        Some(Done { id, result: Ok(answer), is_last: true, is_urgent: true })
    }

    /// A call for details ends with an answer of its own.
    fn end_if_over(&mut self, id: CallId) {
        if let Some(running) = self.running.get_mut(&id)
            && running.steps.is_empty()
        {
            running.until = Some(self.now);
            running.steps.push((Step::Connect, None, Vec::new()));
            running.call = Call::ListByFiles(std::path::PathBuf::new(), 0);
        }
    }

    fn detailed(&self, id: CallId, place: usize) -> Detailed {
        let Some(Running { call: Call::Detail(requests, _), .. }) = self.running.get(&id) else {
            return Detailed::Gone;
        };
        let sample = requests[place].sample.clone();
        let inventory = inventory(sample.id);
        let (inventory, failures) = (Some(inventory), Vec::new());
        Detailed::Filled(Box::new(crate::collect::call::Filled { sample, inventory, failures }))
    }

    fn asked(&self, guest: &GuestRequest, ask: &Ask, running: &Running) -> Asked {
        let index = usize::try_from(guest.uuid.as_u128() - 1).unwrap();
        if !self.exists(index) {
            return Asked::Gone;
        }
        if matches!(self.fault(index), Some(Fault::Refused)) {
            return Asked::Failed("access denied".to_owned());
        }
        let mut sample = guest.sample(None);
        sample.state = Some(1);
        let lacks_cpu_calls = ask.cpu_apart && self.lacks_cpu_calls(index);
        let has_all = |guest: &GuestRequest| {
            !self.lacks_cpu_calls(usize::try_from(guest.uuid.as_u128() - 1).unwrap())
        };
        let is_apart = ask.cpu_apart && ask.how != How::Quietly && ask.guests.iter().all(has_all);
        sample.cpu.time_ns = (is_apart || ask.groups.has(Group::Cpu)).then_some(1);
        self.cpu_apart.set(self.cpu_apart.get() + usize::from(is_apart));
        if ask.groups.has(Group::Interface) {
            sample.nics.push(Nic { name: "vnet0".into(), rx_bytes: Some(1), ..Nic::default() });
        }
        let is_quiet = ask.how == How::Quietly;
        if !running.skipped.contains(&index) && !is_quiet {
            sample.memory.rss_kib = Some(1);
            sample.disks.push(Disk { name: "vda".into(), rd_reqs: Some(1), ..Disk::default() });
        }
        let control = running.controls.get(&index).copied();
        let failures = Vec::new();
        Asked::Sampled(Sampled { sample, unknown: 0, failures, control, is_quiet, lacks_cpu_calls })
    }
}
