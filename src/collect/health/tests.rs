//! What is remembered of guests and of the list, from one run to the next.

use super::*;
use crate::log::Level;

fn new() -> Health {
    Health::new(&"test:///x".into(), &Arc::new(Log::kept(Level::Info)), 12)
}

fn second(count: u64) -> u64 {
    count * 1_000_000_000
}

#[test]
fn the_next_run_knows_which_boot_of_a_guest_is_starting() {
    let (uuid, name, now) = (Uuid::from_u128(1), Arc::from("comes"), Instant::now());
    let noted = |completeness| Noted { completeness, id: 7, left_behind: None };
    let mut health = new();
    health.note(uuid, &name, noted(Completeness::Starting), 1);
    let mut next = new();
    next.restore(health.saved(now, second(1000)), now, second(1000));
    assert!(next.is_starting(&uuid, 7));
    assert!(!next.is_starting(&uuid, 8), "another boot");
    next.note(uuid, &name, noted(Completeness::Complete), 1);
    let mut last = new();
    last.restore(next.saved(now, second(1000)), now, second(1000));
    assert!(!last.is_starting(&uuid, 7));
}

#[test]
fn runs_leave_two_lists_behind_beside_the_call_that_holds_them() {
    const RUNNING: u64 = 7;
    let start = Instant::now();
    let at = |seconds: u64| start + Duration::from_secs(seconds);
    let mut health = new();
    let mut asked = Vec::new();
    for seconds in (0..=400).step_by(5) {
        let mut next = new();
        next.restore(
            health.saved(at(seconds), second(1000 + seconds)),
            at(seconds),
            second(1000 + seconds),
        );
        health = next;
        if health.may_list(false, at(seconds), RUNNING) {
            asked.push(seconds);
            health.note_list(false, at(seconds), RUNNING);
        }
    }
    // The longest pause is over then.
    assert_eq!(asked, [0, 10, 310]);
    assert!(!health.may_list(false, at(405), RUNNING));
    assert!(health.may_list(false, at(405), RUNNING + 1), "a guest has started or stopped");
}

#[test]
fn runs_leave_one_call_behind_in_a_guest_beside_the_list_and_the_call_that_holds_both() {
    const STATE: u64 = 7;
    let (uuid, name, start) = (Uuid::from_u128(1), Arc::from("held"), Instant::now());
    let at = |seconds: u64| start + Duration::from_secs(seconds);
    let asked_twice = &[0, 10, 310][..];
    for (state, is_brief, expected) in
        [(STATE, false, &[0, 300][..]), (STATE, true, asked_twice), (0, false, asked_twice)]
    {
        let mut health = new();
        let mut asked = Vec::new();
        for seconds in (0..=400).step_by(5) {
            let (now, ns) = (at(seconds), second(1000 + seconds));
            let mut next = new();
            next.restore(health.saved(now, ns), now, ns);
            health = next;
            if health.may_list(false, now, STATE) {
                health.note_list(false, now, STATE);
            }
            if health.may_ask(&uuid, now, || is_brief, || state) {
                asked.push(seconds);
                let left_behind = Some((now, state));
                let noted = Noted { completeness: Completeness::Locked, id: 1, left_behind };
                health.note(uuid, &name, noted, 1);
            }
        }
        assert_eq!(asked, expected);
        let mut next = new();
        next.restore(health.saved(at(400), second(1400)), at(400), second(1400));
        assert!(!next.may_ask(&uuid, at(405), || false, || state));
        assert!(
            next.may_ask(&uuid, at(405), || false, || STATE + 1),
            "libvirt has written down its state"
        );
    }
}

#[test]
fn runs_of_a_day_leave_no_more_calls_behind_than_may_be_stuck() {
    const STATE: u64 = 7;
    let (name, start) = (Arc::from("held"), Instant::now());
    // Every minute another guest starts or stops.
    for (guests, is_brief, state) in [0, 1, 2, 5, 12]
        .into_iter()
        .flat_map(|it| [(it, false, STATE), (it, true, STATE), (it, false, 0)])
    {
        let mut health = new();
        let mut calls = 0;
        for minute in 0..24 * 60 - 1 {
            let (now, ns) = (start + Duration::from_secs(60 * minute), second(1000 + 60 * minute));
            let mut next = new();
            next.restore(health.saved(now, ns), now, ns);
            health = next;
            let running = if state == 0 { 0 } else { state + minute };
            if health.may_list(false, now, running) {
                health.note_list(false, now, running);
                calls += 1;
            }
            for uuid in (1..=guests).map(Uuid::from_u128) {
                if health.may_ask(&uuid, now, || is_brief, || state) {
                    let left_behind = Some((now, state));
                    let noted = Noted { completeness: Completeness::Locked, id: 1, left_behind };
                    health.note(uuid, &name, noted, 1);
                    calls += 1;
                }
            }
        }
        // At first each of them and the list, whatever may be stuck.
        let most = 12.max(guests + 1);
        assert!(calls <= most, "{guests} guests, {is_brief} {state}: {calls} calls");
    }
}

#[test]
fn the_next_run_knows_when_slow_network_statistics_were_asked_last() {
    let (uuid, name, now) = (Uuid::from_u128(1), Arc::from("slow"), Instant::now());
    let mut health = new();
    health.note_interface(uuid, &name, Some(Duration::from_secs(5)));
    health.tries_interface(uuid, now);
    let saved = health.saved(now + TRY_AGAIN / 2, second(1000));
    let [SavedHealth { is_slow: true, interface_ns: Some(at), .. }] = saved[..] else {
        panic!("{saved:?}");
    };
    assert_eq!(at, second(1000) - u64::try_from(TRY_AGAIN.as_nanos() / 2).unwrap());
    let mut next = new();
    next.restore(saved, now + TRY_AGAIN, second(1000));
    assert!(!next.may_try_interface(&uuid, now + TRY_AGAIN));
    assert!(next.may_try_interface(&uuid, now + TRY_AGAIN * 3 / 2));
}
