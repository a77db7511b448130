//! Thousands of schedules of a simulated hypervisor, held against the rules of isolation: no guest costs
//! another its lines, whatever it hangs in.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;

use super::simulation::{
    Fault, LIBVIRTD_WORKERS, MS, OF_GUEST, SimulatedHost, Simulation, inventory, listed, uuid,
};
use super::*;
use crate::collect::KnownDevices;
use crate::collect::tests::plan;
use crate::libvirt::{Error, Kind};
use crate::log::{Level, Log};
use crate::pool::Done;
use crate::sample::Completeness;

/// From one collection's start to the next.
const INTERVAL: Duration = Duration::from_secs(10);

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
    core.files.clone_from(&simulation.host.files);
    if warm {
        let all = (0..simulation.host.guests).filter(|&guest| simulation.exists(guest));
        core.roster = all.map(listed).collect();
    }
    let mut outcomes = Vec::new();
    for number in 0..collections {
        let started = INTERVAL * u32::try_from(number).unwrap();
        // Between two collections answers come in that nobody waits for.
        while simulation.now < started {
            for done in simulation.advance(started) {
                if !once {
                    core.take_late(done, simulation.instant());
                }
            }
        }
        if once && number > 0 {
            let (now, ns) = (
                simulation.instant(),
                1_000_000_000_000 + u64::try_from(simulation.now.as_nanos()).unwrap(),
            );
            let saved = core.health.saved(now, ns);
            let roster = Arc::clone(&core.roster);
            let next = core.gate_number();
            core = new();
            core.files.clone_from(&simulation.host.files);
            core.roster = roster;
            core.start_numbers_at(next);
            core.health.restore(saved, now, ns);
        }
        let with_helper = simulation.host.with_helper.clone();
        let known = |guest: &Listed| {
            let mut inventory = inventory(guest.id);
            if with_helper.iter().any(|&it| uuid(it) == guest.uuid) {
                inventory.nics[0].kind = "vhostuser".to_owned();
            }
            let inventory = Arc::new(inventory);
            Known { devices: Some(KnownDevices { inventory, is_fresh: true }), before: None }
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
                collection.take(
                    Done { id, result, is_last: true, is_urgent: true },
                    simulation.instant(),
                );
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
fn healthy(host: &SimulatedHost, outcome: &Outcome) -> Vec<usize> {
    let end = outcome.started + outcome.took;
    let is_healthy = |guest: &usize| match host.faults.get(guest) {
        None => true,
        Some(Fault::Starts(_) | Fault::Gone(_) | Fault::Slow(_) | Fault::Refused) => false,
        Some(fault) => fault.span().is_some_and(|(from, to)| end < from || to < outcome.started),
    };
    (0..host.guests).filter(is_healthy).collect()
}

fn is_faulty_at(host: &SimulatedHost, from: Duration, to: Duration) -> bool {
    host.faults.values().any(|fault| match fault {
        Fault::Starts(at) | Fault::Gone(at) => (from..=to).contains(at),
        Fault::Slow(_) => true,
        _ => fault.span().is_some_and(|(begins, ends)| begins <= to && from <= ends),
    })
}

fn sick(host: &SimulatedHost) -> usize {
    let counts =
        |fault: &&Fault| !matches!(fault, Fault::Starts(_) | Fault::Gone(_) | Fault::Refused);
    host.faults.values().filter(counts).count()
}

#[test]
fn a_host_that_is_well_is_read_in_few_calls() {
    let mut simulation = Simulation::new(SimulatedHost::of(60, BTreeMap::new()));
    let (outcomes, messages) = run(&mut simulation, 3, false, false);
    for outcome in &outcomes {
        assert_eq!(outcome.complete.len(), 60);
        assert_eq!(outcome.took, MS + (OF_GUEST + MS / 10) * 15);
    }
    assert_eq!(messages, Vec::<String>::new());
    assert_eq!(simulation.fewest_free, 16, "four calls, one a worker");
    assert_eq!(simulation.cpu_apart.get(), 3 * 60);
}

#[test]
fn guests_without_a_control_group_are_tried_once() {
    let mut host = SimulatedHost::of(60, BTreeMap::new());
    // Those of three calls, of one of them two.
    host.without_group = [0, 15, 30, 31].into();
    let mut simulation = Simulation::new(host);
    let (outcomes, messages) = run(&mut simulation, 4, false, false);
    for outcome in &outcomes {
        assert_eq!(outcome.complete.len(), 60);
        assert!(outcome.took <= MS + (OF_GUEST + MS / 10) * 16, "{outcome:?}");
    }
    assert_eq!(messages, Vec::<String>::new());
    assert_eq!(simulation.cpu_apart.get(), 4 * 15, "the fourth call's");
    assert_eq!(simulation.tried_in_vain, 3);
}

fn one(guests: usize, guest: usize, fault: Fault) -> Simulation {
    Simulation::new(SimulatedHost::of(guests, [(guest, fault)].into()))
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
fn a_guest_that_libvirt_refuses_is_missing_alone_and_reported_once() {
    let mut simulation = one(20, 7, Fault::Refused);
    let (outcomes, messages) = run(&mut simulation, 3, false, false);
    for outcome in &outcomes {
        assert_eq!(outcome.complete.len(), 19, "{messages:#?}");
        assert!(!outcome.complete.contains(&7) && outcome.took <= MS * 100, "{outcome:?}");
    }
    let [message] = messages.as_slice() else { panic!("{messages:#?}") };
    assert!(message.contains("\"g007\"") && message.contains("access denied"), "{message}");
}

#[test]
fn a_list_that_was_held_once_is_not_waited_for_longer() {
    let held = [(3, (SECOND * 15, SECOND * 28)), (5, (SECOND * 29, SECOND * 95))];
    let faults = held.into_iter().map(|(guest, span)| (guest, Fault::Locked(span))).collect();
    let mut simulation = Simulation::new(SimulatedHost::of(8, faults));
    let (outcomes, messages) = run(&mut simulation, 6, false, false);
    for outcome in &outcomes {
        assert!(outcome.complete.len() >= 7, "{messages:#?}");
        assert!(outcome.took <= MS * 1200, "{outcome:?}");
    }
}

#[test]
fn guests_that_are_locked_one_after_another_are_each_found_in_time() {
    for between in [0, 1, 200] {
        let lock = |it: u32| {
            let from = SECOND * 15 + SECOND * 10 * it + MS * between * it;
            (4 + it as usize, Fault::Locked((from, from + SECOND * 10)))
        };
        let faults = (0..6).map(lock).collect();
        let mut simulation = Simulation::new(SimulatedHost::of(20, faults));
        let (outcomes, messages) = run(&mut simulation, 9, false, false);
        for outcome in &outcomes {
            assert!(outcome.complete.len() >= 19, "{between}: {outcomes:#?} {messages:#?}");
            assert!(outcome.took <= MS * 1200, "{between}: {outcomes:#?} {messages:#?}");
        }
    }
}

#[test]
fn a_guest_that_is_locked_just_after_the_list_came_is_whole_afterwards() {
    let mut simulation = one(2, 1, Fault::Locked((SECOND * 10 + MS, SECOND * 21)));
    let (outcomes, messages) = run(&mut simulation, 5, false, false);
    let complete: Vec<usize> = outcomes.iter().map(|outcome| outcome.complete.len()).collect();
    assert_eq!(complete, [2, 1, 1, 2, 2], "{messages:#?}");
}

#[test]
fn slow_network_statistics_hold_no_later_collection() {
    let mut simulation = one(8, 3, Fault::Slow(SECOND * 13));
    let (outcomes, messages) = run(&mut simulation, 12, false, false);
    for (number, outcome) in outcomes.iter().enumerate() {
        let most = if number < 3 { 1250 } else { 150 };
        assert!(outcome.complete.len() >= 7, "{messages:#?}");
        assert!(outcome.took <= MS * most, "{number} {outcomes:#?} {messages:#?}");
    }
}

#[test]
fn slow_network_statistics_are_found_while_another_guest_holds_the_list() {
    let faults = [(3, Fault::Slow(SECOND * 5)), (5, Fault::Locked((Duration::ZERO, SECOND * 95)))];
    let mut simulation = Simulation::new(SimulatedHost::of(8, faults.into()));
    let (outcomes, messages) = run(&mut simulation, 9, false, true);
    for (number, outcome) in outcomes.iter().enumerate() {
        // The list is waited for first, and then the network statistics, once more to see whether they are slow.
        let most = [1360, 270].get(number).copied().unwrap_or(150);
        assert_eq!(outcome.complete, [0, 1, 2, 4, 6, 7], "{messages:#?}");
        assert!(outcome.took <= MS * most, "{number} {outcomes:#?} {messages:#?}");
    }
}

#[test]
fn network_statistics_that_become_slow_while_another_guest_holds_the_list_hold_one_call() {
    for guests in [8, 16, 24] {
        let (locked, slow) = (0, guests - 1);
        let faults = [
            (locked, Fault::Locked((Duration::ZERO, SECOND * 9))),
            (slow, Fault::Slow(SECOND * 5)),
        ];
        let mut host = SimulatedHost::of(guests, faults.into());
        // One of them is well.
        host.with_helper = [slow - 1, slow].into();
        let mut simulation = Simulation::new(host);
        let (outcomes, messages) = run(&mut simulation, 1, false, true);
        let whole: Vec<usize> = (0..guests).filter(|it| ![locked, slow].contains(it)).collect();
        assert_eq!(outcomes[0].complete, whole, "{messages:#?}");
        // As long as the list is waited for.
        assert!(outcomes[0].took <= MS * 1010, "{outcomes:#?}");
        // The list, and a call for each of the two.
        assert_eq!(simulation.calls_out(), 3, "{guests}: {messages:#?}");
    }
}

#[test]
fn who_is_locked_for_a_moment_beside_slow_network_statistics_is_whole_afterwards() {
    let faults = [
        (3, Fault::Slow(SECOND * 5)),
        (4, Fault::Locked((MS * 500, MS * 1800))),
        (7, Fault::Locked((Duration::ZERO, SECOND * 95))),
    ];
    let mut simulation = Simulation::new(SimulatedHost::of(16, faults.into()));
    let (outcomes, messages) = run(&mut simulation, 9, false, true);
    let whole: Vec<usize> = (0..16).filter(|guest| ![3, 7].contains(guest)).collect();
    for outcome in &outcomes[1..] {
        assert_eq!(outcome.complete, whole, "{outcomes:#?} {messages:#?}");
        assert!(outcome.took <= MS * 1250, "{outcomes:#?} {messages:#?}");
    }
    assert!(outcomes[3..].iter().all(|it| it.took <= MS * 150), "{outcomes:#?} {messages:#?}");
}

#[test]
fn guests_that_fall_silent_together_are_found_together() {
    for silent in [1, 3, 5, 8, 12] {
        for step in [1, 3] {
            let fault = |it: usize| (it * step % 16, Fault::Silent((SECOND * 15, SECOND * 95)));
            let faults = (0..silent).map(fault).collect();
            let mut simulation = Simulation::new(SimulatedHost::of(16, faults));
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

#[test]
fn a_change_of_devices_is_found_with_the_guests_that_fall_silent() {
    for changing in [3, 4, 15] {
        let span = (SECOND * 15, SECOND * 95);
        let silent = (0..3).map(|guest| (guest, Fault::Silent(span)));
        let faults = silent.chain([(changing, Fault::Job(span))]).collect();
        let mut simulation = Simulation::new(SimulatedHost::of(16, faults));
        let (outcomes, messages) = run(&mut simulation, 5, false, false);
        for (number, outcome) in outcomes.iter().enumerate() {
            let (sick, most) = [(0, 5), (4, 1150), (4, 5)][number.saturating_sub(1).min(2)];
            assert_eq!(outcome.complete.len(), 16 - sick, "{number}: {messages:#?}");
            let normal = MS + OF_GUEST * 4;
            assert!(outcome.took <= normal + MS * most, "{changing} {number}: {outcome:?}");
        }
    }
}

#[test]
fn a_guest_that_starts_is_waited_for_once() {
    for once in [false, true] {
        let mut simulation = one(16, 3, Fault::Starting((SECOND * 15, SECOND * 55)));
        let (outcomes, messages) = run(&mut simulation, 8, once, false);
        for (number, outcome) in outcomes.iter().enumerate() {
            let starting = usize::from((2..6).contains(&number));
            assert_eq!(outcome.complete.len(), 16 - starting, "{number}: {messages:#?}");
            let most = MS * if number == 2 { 600 } else { 100 };
            assert!(outcome.took <= most, "{once} {number}: {:?}", outcome.took);
        }
        assert_eq!(messages, Vec::<String>::new());
    }
}

#[test]
fn network_statistics_that_become_slow_are_found_in_time_on_a_slow_machine() {
    let mut simulation = one(8, 3, Fault::Slow(SECOND * 13));
    let log = Arc::new(Log::kept(Level::Info));
    let mut core = Coordinator::new(&"qemu:///nowhere".into(), plan(), &log);
    core.files = None;
    // So long that bulk calls are waited for as long as ever.
    core.typical = Some(MS * 50);
    let known = |guest: &Listed| {
        let inventory = Arc::new(inventory(guest.id));
        Known { devices: Some(KnownDevices { inventory, is_fresh: true }), before: None }
    };
    let outcome = collect(&mut simulation, &mut core, &known, Duration::ZERO);
    assert_eq!(outcome.complete.len(), 7, "{outcome:?}");
    assert!((MS * 1200..=MS * 1350).contains(&outcome.took), "{outcome:?}");
}

/// Collections in which each guest's XML is read again; what is known of their devices, if anything, is old.
fn with_late_xml(span: (Duration, Duration), knows: bool) -> (Vec<Outcome>, Vec<String>) {
    let mut simulation = one(8, 3, Fault::LateXml(span));
    let log = Arc::new(Log::kept(Level::Info));
    let mut core = Coordinator::new(&"qemu:///nowhere".into(), plan(), &log);
    core.files = None;
    let known = |guest: &Listed| {
        let inventory = Arc::new(inventory(guest.id));
        let devices = knows.then_some(KnownDevices { inventory, is_fresh: false });
        Known { devices, before: None }
    };
    let mut outcomes = Vec::new();
    for number in 0..4 {
        let started = INTERVAL * number;
        while simulation.now < started {
            for done in simulation.advance(started) {
                core.take_late(done, simulation.instant());
            }
        }
        outcomes.push(collect(&mut simulation, &mut core, &known, started));
    }
    (outcomes, log.take().into_iter().map(|(_, message)| message).collect())
}

fn complete(outcomes: &[Outcome]) -> Vec<usize> {
    outcomes.iter().map(|outcome| outcome.complete.len()).collect()
}

#[test]
fn the_xml_of_a_guest_without_any_list_is_waited_for_on_a_slow_machine() {
    let (outcomes, messages) = with_late_xml((Duration::ZERO, MS * 1500), false);
    assert_eq!(complete(&outcomes), [8, 8, 8, 8], "{messages:#?}");
    assert!(outcomes[0].took <= MS * 1520, "{outcomes:#?}");
    assert_eq!(messages, Vec::<String>::new());
}

#[test]
fn an_xml_that_does_not_come_is_reported_once_and_no_later_collection_waits_for_it() {
    let (outcomes, messages) = with_late_xml((Duration::ZERO, SECOND * 25), false);
    assert_eq!(complete(&outcomes), [7, 7, 7, 8], "{messages:#?}");
    // 0.6 of the deadline, the others' lines meanwhile.
    assert!(outcomes[0].took <= MS * 2410, "{outcomes:#?}");
    assert!(outcomes[1..].iter().all(|outcome| outcome.took <= MS * 100), "{outcomes:#?}");
    let begins = "guest \"g003\": libvirt takes too long for its XML";
    let ends = "guest \"g003\": no longer: libvirt takes too long for its XML";
    assert_eq!(messages.len(), 2, "{messages:#?}");
    assert!(messages[0].starts_with(begins) && messages[1].starts_with(ends), "{messages:#?}");
}

#[test]
fn an_old_list_serves_a_guest_whose_xml_does_not_come() {
    let (outcomes, messages) = with_late_xml((Duration::ZERO, SECOND * 25), true);
    assert_eq!(complete(&outcomes), [8, 8, 8, 8], "{messages:#?}");
    assert!(outcomes[0].took <= MS * 1100, "{outcomes:#?}");
    assert_eq!(messages, Vec::<String>::new());
}

/// Where libvirt of this machine would keep its files; there are none.
fn no_files() -> PathBuf {
    PathBuf::from("/nonexistent/libvirt/qemu")
}

#[test]
fn one_list_is_out_where_no_guest_of_this_machine_answers() {
    for is_here in [true, false] {
        let faults =
            [(0, Fault::Locked((MS * 2, SECOND * 30))), (1, Fault::Starts(SECOND * 10 + MS * 2))];
        let mut host = SimulatedHost::of(2, faults.into());
        host.files = is_here.then(no_files);
        let mut simulation = Simulation::new(host);
        let (outcomes, messages) = run(&mut simulation, 5, false, true);
        assert_eq!(complete(&outcomes), [1, 0, 0, 2, 2], "{messages:#?}");
        // The connection to another machine may be dead.
        assert_eq!(simulation.broken_rules.is_empty(), is_here, "{messages:#?}");
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
        kinds in prop::collection::btree_map(0_usize..40, (0_u8..8, 0_u64..60_000, 1_u64..90_000), 0..6),
        slow_list in prop::sample::select(vec![0_u64, 0, 0, 40, 400]),
        breaks_in in prop::option::of(2_u64..6),
        without_group in prop::sample::select(vec![0_usize, 0, 0, 1, 3, 40]),
        every_helper in prop::sample::select(vec![1_usize, 2, 99]),
        is_here in any::<bool>(),
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
                5 => Fault::Refused,
                6 => Fault::Starting(span),
                _ => Fault::Starts(from),
            }
        };
        let faults: BTreeMap<usize, Fault> =
            kinds.into_iter().filter(|(guest, _)| *guest < guests).map(|(guest, it)| (guest, fault(it))).collect();
        let host = SimulatedHost {
            slow_list: Duration::from_millis(slow_list),
            breaks_in,
            without_group: (0..without_group.min(guests)).collect(),
            with_helper: (0..guests).step_by(every_helper).collect(),
            files: is_here.then(no_files),
            ..SimulatedHost::of(guests, faults)
        };
        let mut simulation = Simulation::new(host.clone());
        let (outcomes, messages) = run(&mut simulation, 9, once, true);
        for (number, outcome) in outcomes.iter().enumerate() {
            let healthy = healthy(&host, outcome);
            // A run that does not know that a guest is well again asks it in its time.
            let healthy: Vec<usize> = healthy
                .into_iter()
                .filter(|guest| !once || !host.faults.contains_key(guest))
                .collect();
            prop_assert!(!outcome.is_down || healthy.is_empty(), "{number}: {messages:#?}");
            let lost: Vec<usize> =
                healthy.iter().copied().filter(|guest| !outcome.complete.contains(guest)).collect();
            prop_assert_eq!(lost, Vec::<usize>::new(), "collection {}: {:?} {:#?}", number, outcome, messages);
            let is_well = !is_faulty_at(&host, Duration::ZERO, outcome.started + outcome.took);
            if is_well && host.breaks_in.is_none() {
                prop_assert!(outcome.took < OF_GUEST * 12 + MS * 10 + host.slow_list, "{:?}", outcome);
            }
            prop_assert!(outcome.took <= SECOND * 4);
        }
        // A new run may ask for the list again in its time, while an earlier one's call is still out; so may execd
        // where nothing answers at all, since a connection to another machine may be dead.
        let may_list_again = once || !is_here && outcomes.iter().any(|outcome| outcome.is_down);
        prop_assert!(may_list_again || simulation.broken_rules.is_empty(), "{:?}", simulation.broken_rules);
        let workers = 4;
        let most = sick(&host) * 2 + 2 + 2 * workers;
        prop_assert!(
            simulation.fewest_free + most >= LIBVIRTD_WORKERS,
            "{} free, {} sick: {:#?}", simulation.fewest_free, sick(&host), messages
        );
    }
}
