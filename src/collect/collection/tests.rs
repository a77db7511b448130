//! Thousands of schedules of a simulated hypervisor, held against the rules of isolation: no guest costs
//! another its lines, whatever it hangs in.
//!
//! The simulation has a clock of its own. It answers each call when libvirt would: a call waits for the locks,
//! jobs and monitors of the guests that it names, in libvirt's order, and libvirtd has a limited number of
//! workers. A call goes on waiting when nobody waits for it any more.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::collect::call::{Answer, Ask, Asked, DetailRequest, Detailed, Done, Sampled, Step};
use crate::collect::request::{GuestRequest, always};
use crate::collect::tests::plan;
use crate::libvirt::{Control, Error, Group, Kind, Offer};
use crate::log::{Level, Log};
use crate::sample::{Completeness, Disk, Nic};

/// libvirtd's own limit.
const LIBVIRTD_WORKERS: usize = 20;
const MS: Duration = Duration::from_millis(1);
/// What one guest's share of a bulk call takes.
const OF_GUEST: Duration = Duration::from_millis(5);
/// From one collection's start to the next.
const INTERVAL: Duration = Duration::from_secs(10);

/// A span of time, from its start to its end, since the simulation's start.
type Span = (Duration, Duration);

/// What is wrong with a guest, and when.
#[derive(Clone, Debug)]
enum Fault {
    /// Its QEMU is silent.
    Silent(Span),
    /// libvirt has locked its object.
    Locked(Span),
    /// A job of libvirt goes on in it, such as a hot-unplug.
    Job(Span),
    /// Each bulk call with its network statistics takes so long, with its object locked.
    Slow(Duration),
    /// It ends at this moment.
    Gone(Duration),
    /// It starts at this moment: until then nobody knows of it.
    Starts(Duration),
}

impl Fault {
    fn span(&self) -> Option<Span> {
        match self {
            Self::Silent(span) | Self::Locked(span) | Self::Job(span) => Some(*span),
            _ => None,
        }
    }
}

/// A hypervisor with some guests, some of which have a fault.
#[derive(Clone, Debug)]
struct Host {
    guests: usize,
    faults: BTreeMap<usize, Fault>,
    /// The list takes so long although nothing holds it.
    slow_list: Duration,
    /// The connection breaks in the collection of this number.
    breaks_in: Option<u64>,
}

fn uuid(guest: usize) -> Uuid {
    Uuid::from_u128(guest as u128 + 1)
}

fn listed(guest: usize) -> Listed {
    let (uuid, id) = (uuid(guest), i32::try_from(guest).unwrap() + 1);
    Listed { uuid, id, name: format!("g{guest:03}").into(), state: None }
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

struct Simulation {
    host: Host,
    start: Instant,
    now: Duration,
    running: BTreeMap<CallId, Running>,
    /// The fewest workers of libvirtd that were free.
    fewest_free: usize,
    /// Calls that named a guest while one that waited in the same place was out.
    broken_rules: Vec<String>,
}

impl Simulation {
    fn new(host: Host) -> Self {
        Self {
            host,
            start: Instant::now(),
            now: Duration::ZERO,
            running: BTreeMap::new(),
            fewest_free: LIBVIRTD_WORKERS,
            broken_rules: Vec::new(),
        }
    }

    fn instant(&self) -> Instant {
        self.start + self.now
    }

    fn fault(&self, guest: usize) -> Option<&Fault> {
        self.host.faults.get(&guest)
    }

    fn is_in(&self, span: Span) -> bool {
        (span.0..span.1).contains(&self.now)
    }

    fn exists(&self, guest: usize) -> bool {
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

    /// The call that waits in a guest's monitor, with its job.
    fn in_monitor(&self, guest: usize, but: CallId) -> Option<CallId> {
        let waits = |(id, running): (&CallId, &Running)| {
            let is_there = running.inside == Some(guest);
            (*id != but && is_there && self.is_silent(guest)).then_some(*id)
        };
        self.running.iter().find_map(waits)
    }

    fn submit(&mut self, id: CallId, call: Call, progress: Progress) {
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
                    if self.has_job(guest) || self.in_monitor(guest, id).is_some() {
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
                    self.is_locked(guest, id) || self.has_job(guest) || self.is_silent(guest)
                };
                let is_waiting = of.iter().any(|&guest| waits(guest));
                (!is_waiting).then_some(MS)
            }
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
    fn advance(&mut self, until: Duration) -> Vec<Done> {
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

    fn step_done(&mut self, id: CallId) -> Option<Done> {
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
        Some(Done { id, result: Ok(answer), is_last: true })
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
        let (nics, disks) = Default::default();
        let inventory =
            crate::devices::Inventory { id: sample.id, nics, disks, ..Default::default() };
        let (inventory, failures) = (Some(inventory), Vec::new());
        Detailed::Filled(Box::new(crate::collect::call::Filled { sample, inventory, failures }))
    }

    fn asked(&self, guest: &GuestRequest, ask: &Ask, running: &Running) -> Asked {
        let index = usize::try_from(guest.uuid.as_u128() - 1).unwrap();
        if !self.exists(index) {
            return Asked::Gone;
        }
        let mut sample = guest.sample(None);
        sample.state = Some(1);
        if ask.groups.has(Group::Interface) {
            sample.nics.push(Nic { name: "vnet0".into(), rx_bytes: Some(1), ..Nic::default() });
        }
        let is_quiet = ask.how == How::Quietly;
        if !running.skipped.contains(&index) && !is_quiet {
            sample.memory.rss_kib = Some(1);
            sample.disks.push(Disk { name: "vda".into(), rd_reqs: Some(1), ..Disk::default() });
        }
        let control = running.controls.get(&index).copied();
        Asked::Sampled(Sampled { sample, unknown: 0, failures: Vec::new(), control, is_quiet })
    }
}

/// What one collection brought.
#[derive(Debug)]
struct Outcome {
    started: Duration,
    took: Duration,
    complete: Vec<usize>,
    is_down: bool,
}

/// Runs collections one after another: by one process, or, with `once`, each by a new one that knows what the
/// one before has saved.
fn run(
    simulation: &mut Simulation,
    collections: u64,
    once: bool,
    warm: bool,
) -> (Vec<Outcome>, Vec<String>) {
    let log = Arc::new(Log::kept(Level::Info));
    let new = || Coordinator::new(&"qemu:///nowhere".into(), plan(), &log);
    let mut core = new();
    core.files = None;
    if warm {
        let all = (0..simulation.host.guests).filter(|&guest| simulation.exists(guest));
        core.roster = all.map(listed).collect();
    }
    let known_devices: Arc<crate::devices::Inventory> = Arc::default();
    let mut outcomes = Vec::new();
    for number in 0..collections {
        let started = INTERVAL * u32::try_from(number).unwrap();
        // Between two collections answers come in that nobody waits for.
        while simulation.now < started {
            for done in simulation.advance(started) {
                if !once {
                    core.take_late(done);
                }
            }
        }
        if once && number > 0 {
            let (now, ns) = (
                simulation.instant(),
                1_000_000_000_000 + u64::try_from(simulation.now.as_nanos()).unwrap(),
            );
            let saved = core.health.saved(now, ns).unwrap_or_default();
            let roster = Arc::clone(&core.roster);
            let next = core.gate_number();
            core = new();
            core.files = None;
            core.roster = roster;
            core.start_numbers_at(next);
            core.health.restore(saved, now, ns);
        }
        let known = |guest: &Listed| {
            let inventory = crate::devices::Inventory {
                id: guest.id,
                counted_nics: vec!["vnet0".to_owned()],
                counted_disks: vec!["vda".to_owned()],
                disks: vec![crate::devices::DiskDevice {
                    target: "vda".to_owned(),
                    ..Default::default()
                }],
                ..(*known_devices).clone()
            };
            let devices = Some(crate::collect::KnownDevices {
                inventory: Arc::new(inventory),
                is_fresh: true,
            });
            Known { devices, before: None }
        };
        outcomes.push(collect(simulation, &mut core, &known, started));
    }
    let messages = log.take().into_iter().map(|(_, message)| message).collect();
    (outcomes, messages)
}

fn collect(
    simulation: &mut Simulation,
    core: &mut Coordinator,
    known: &KnownOf<'_>,
    started: Duration,
) -> Outcome {
    let deadline = started + Duration::from_secs(4);
    let breaks = simulation.host.breaks_in == Some(core.collection + 1);
    let mut collection = Collection::begin(core, known, simulation.instant());
    let mut has_broken = false;
    loop {
        for (id, call, progress) in collection.calls(99, simulation.instant()) {
            if breaks && !has_broken && matches!(call, Call::Ask(_)) {
                has_broken = true;
                let result = Err(Error::of(Kind::Other, "the connection broke"));
                collection.take(Done { id, result, is_last: true }, simulation.instant());
                continue;
            }
            simulation.submit(id, call, progress);
        }
        if collection.is_over() || simulation.now >= deadline {
            break;
        }
        let most = collection.wake_in(simulation.instant()).unwrap_or(INTERVAL).max(MS);
        let until = (simulation.now + most).min(deadline);
        for done in simulation.advance(until) {
            collection.take(done, simulation.instant());
        }
    }
    let took = simulation.now - started;
    let collected = collection.close(false, simulation.instant());
    let is_down = collected.is_err();
    let complete = collected.into_iter().flat_map(|it| it.readings).filter_map(|reading| {
        let is_complete = reading.sample.completeness == Completeness::Complete;
        is_complete.then(|| usize::try_from(reading.sample.uuid.as_u128() - 1).unwrap())
    });
    Outcome { started, took, complete: complete.collect(), is_down }
}

/// Guests without a fault, and those that are there before and after theirs.
fn healthy(host: &Host, outcome: &Outcome) -> Vec<usize> {
    let end = outcome.started + outcome.took;
    let is_healthy = |guest: &usize| match host.faults.get(guest) {
        None => true,
        Some(Fault::Starts(_) | Fault::Gone(_) | Fault::Slow(_)) => false,
        Some(fault) => fault.span().is_some_and(|(from, to)| end < from || to < outcome.started),
    };
    (0..host.guests).filter(is_healthy).collect()
}

fn is_faulty_at(host: &Host, from: Duration, to: Duration) -> bool {
    host.faults.values().any(|fault| match fault {
        Fault::Starts(at) | Fault::Gone(at) => (from..=to).contains(at),
        Fault::Slow(_) => true,
        _ => fault.span().is_some_and(|(begins, ends)| begins <= to && from <= ends),
    })
}

fn sick(host: &Host) -> usize {
    let counts = |fault: &&Fault| !matches!(fault, Fault::Starts(_) | Fault::Gone(_));
    host.faults.values().filter(counts).count()
}

#[test]
fn a_host_that_is_well_is_read_in_few_calls() {
    let host =
        Host { guests: 60, faults: BTreeMap::new(), slow_list: Duration::ZERO, breaks_in: None };
    let mut simulation = Simulation::new(host);
    let (outcomes, messages) = run(&mut simulation, 3, false, false);
    for outcome in &outcomes {
        assert_eq!(outcome.complete.len(), 60);
        assert_eq!(outcome.took, MS + OF_GUEST * 15);
    }
    assert_eq!(messages, Vec::<String>::new());
    assert_eq!(simulation.fewest_free, 16, "four calls, one a worker");
}

fn one(guests: usize, guest: usize, fault: Fault) -> Simulation {
    let faults = [(guest, fault)].into();
    Simulation::new(Host { guests, faults, slow_list: Duration::ZERO, breaks_in: None })
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_guest_that_libvirt_has_locked_holds_the_list_and_nothing_else() {
    for once in [false, true] {
        let mut simulation = one(20, 7, Fault::Locked((SECOND * 15, SECOND * 95)));
        let (outcomes, messages) = run(&mut simulation, 12, once, false);
        for (number, outcome) in outcomes.iter().enumerate() {
            let expected = if (2..10).contains(&number) { 19 } else { 20 };
            // A run that does not know that the lock is over asks the guest in its time.
            if !once || number < 10 {
                assert_eq!(outcome.complete.len(), expected, "{number} {once}: {outcomes:#?}");
            }
            let most = if number == 2 { MS * 1200 } else { MS * 100 };
            let most = if once { MS * 1200 } else { most };
            assert!(outcome.took <= OF_GUEST * 5 + most, "{number} {once}: {:?}", outcome.took);
        }
        assert!(
            simulation.fewest_free >= LIBVIRTD_WORKERS - 3 - 4,
            "{once} {}",
            simulation.fewest_free
        );
        assert!(
            messages.iter().any(|it| it.contains("\"g007\"") && it.contains("locked")),
            "{messages:#?}"
        );
    }
}

#[test]
fn guests_that_fall_silent_together_are_found_together() {
    for silent in [1, 3, 5, 8, 12] {
        for step in [1, 3] {
            let fault = |it: usize| (it * step % 16, Fault::Silent((SECOND * 15, SECOND * 95)));
            let faults = (0..silent).map(fault).collect();
            let slow_list = Duration::ZERO;
            let host = Host { guests: 16, faults, slow_list, breaks_in: None };
            let mut simulation = Simulation::new(host);
            let (outcomes, messages) = run(&mut simulation, 5, false, false);
            for (number, outcome) in outcomes.iter().enumerate() {
                let silent = if number < 2 { 0 } else { silent };
                let normal = MS + OF_GUEST * 4;
                let most = if number == 2 { 1150 } else { 5 };
                assert_eq!(outcome.complete.len(), 16 - silent, "{number}: {messages:#?}");
                assert!(
                    outcome.took <= normal + MS * most,
                    "{number}: {silent} {:?}",
                    outcome.took
                );
            }
        }
    }
}

/// How many schedules are tried: PROPTEST_CASES of them, where that is set.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|it| it.parse().ok()).unwrap_or(500)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_guest_affects_another(
        guests in 2_usize..40,
        kinds in prop::collection::btree_map(0_usize..40, (0_u8..6, 0_u64..60_000, 1_u64..90_000), 0..6),
        slow_list in prop::sample::select(vec![0_u64, 0, 0, 40, 400]),
        breaks_in in prop::option::of(2_u64..6),
        once in any::<bool>(),
    ) {
        let fault = |(kind, from, long): (u8, u64, u64)| {
            let from = Duration::from_millis(from);
            let span = (from, from + Duration::from_millis(long));
            match kind {
                0 => Fault::Silent(span),
                1 => Fault::Locked(span),
                2 => Fault::Job(span),
                3 => Fault::Slow(Duration::from_millis(long % 3000)),
                4 => Fault::Gone(from),
                _ => Fault::Starts(from),
            }
        };
        let faults: BTreeMap<usize, Fault> =
            kinds.into_iter().filter(|(guest, _)| *guest < guests).map(|(guest, it)| (guest, fault(it))).collect();
        let host = Host { guests, faults, slow_list: Duration::from_millis(slow_list), breaks_in };
        let mut simulation = Simulation::new(host.clone());
        let (outcomes, messages) = run(&mut simulation, 9, once, true);
        for (number, outcome) in outcomes.iter().enumerate() {
            prop_assert!(!outcome.is_down, "{number}: {messages:#?}");
            let healthy = healthy(&host, outcome);
            let lost: Vec<usize> =
                healthy.iter().copied().filter(|guest| !outcome.complete.contains(guest)).collect();
            // A run that does not know that a guest is well again asks it in its time.
            let lost: Vec<usize> = lost
                .into_iter()
                .filter(|guest| !once || !host.faults.contains_key(guest))
                .collect();
            prop_assert_eq!(lost, Vec::<usize>::new(), "collection {}: {:?} {:#?}", number, outcome, messages);
            let is_well = !is_faulty_at(&host, Duration::ZERO, outcome.started + outcome.took);
            if is_well && host.breaks_in.is_none() {
                prop_assert!(outcome.took < OF_GUEST * 12 + MS * 10 + host.slow_list, "{:?}", outcome);
            }
            prop_assert!(outcome.took <= SECOND * 4);
        }
        prop_assert_eq!(&simulation.broken_rules, &Vec::<String>::new());
        let workers = 4;
        let most = sick(&host) * 2 + 2 + 2 * workers;
        prop_assert!(
            simulation.fewest_free + most >= LIBVIRTD_WORKERS,
            "{} free, {} sick: {:#?}", simulation.fewest_free, sick(&host), messages
        );
    }
}
