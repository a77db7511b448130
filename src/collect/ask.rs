//! The bulk statistics of some guests over one connection. Runs on a worker's thread, and may block there
//! for ever; its mark says where.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::call::{Ask, Asked, How, Progress, QUICK, Sampled, Step};
use super::cpu::{CpuAnswer, CpuFigures};
use super::fallback;
use super::guest_state::LOCKED_AFTER;
use super::permit::ListPermit;
use super::request::{GuestRequest, ReadRequest, always, cpu, of_inactive, without_monitor};
use super::session::Session;
use crate::host::{HostGuest, HostRecord};
use crate::libvirt::{self, Bulk, Control, Group, Groups, Kind, Offer};
use crate::sample::{Completeness, Domain, boottime_ns};

/// libvirt cannot stop a QEMU and start it again faster than this.
const SOONEST_RESTART: Duration = Duration::from_millis(250);

/// What came: of each guest by its place, what the hypervisor offers where that was learned, and how long
/// the bulk call took.
type Answers = (Vec<(usize, Asked)>, Option<Offer>, Duration);

/// Asks these guests, each on its own account: an error of one leaves the others alone.
///
/// # Errors
/// Only where the connection broke; nothing is known of any guest then.
pub(super) fn ask(
    session: &mut Session,
    ask: Ask,
    progress: &Progress,
    permit: &ListPermit,
) -> Result<Answers, libvirt::Error> {
    let Ask { guests, groups, read, how, cpu_apart, may_list, mut spares } = ask;
    let mut answers = find_handles(session, &guests, &read, may_list, progress, permit)?;
    let mut asked = Vec::with_capacity(guests.len());
    for (place, guest) in guests.iter().enumerate() {
        let Some(handle) = session.handle(&guest.uuid) else { continue };
        if answers.iter().any(|(failed, _)| *failed == place) {
            continue;
        }
        let mut sample = guest.sample(spares.pop());
        sample.more = crate::schema::More::wanted(read.extra);
        let sampled = Sampled {
            sample,
            unknown: 0,
            failures: Vec::new(),
            control: None,
            is_quiet: false,
            lacks_cpu_calls: false,
        };
        asked.push(OneAsked { place, guest, handle, cpu: None, has_record: false, sampled });
    }
    if how != How::Together {
        asked.retain_mut(|one| {
            let began = Instant::now();
            progress.set(Step::Control, Some(one.place), began);
            // A driver without this call has no monitor to wait for.
            one.sampled.control = one.handle.control().ok();
            let is_in_time = began.elapsed() < QUICK;
            if !is_in_time {
                answers.push((one.place, Asked::WasLocked));
            }
            is_in_time
        });
    }
    let is_cpu_apart =
        cpu_apart && how != How::Quietly && ask_cpu(&mut asked, &mut answers, progress);
    let mut asker = Asker {
        session,
        read,
        wanted: groups,
        groups: if is_cpu_apart { groups.without(cpu()) } else { groups },
        offer: read.offer.or(read.offer_of_inactive.filter(|_| groups == of_inactive())),
        learned: None,
        progress,
    };
    let began = Instant::now();
    let is_done = asked.len() > 1 && how != How::Quietly && asker.ask_all(&mut asked).is_ok();
    if is_done {
        answers.extend(asked.into_iter().map(|one| asker.answer(one)));
    } else if session.is_alive() {
        // One guest's error fails the call for all: then each is asked alone.
        answers.extend(asked.into_iter().map(|one| asker.ask_one(one, how)));
    }
    let (took, learned) = (began.elapsed(), asker.learned);
    if !session.is_alive() {
        return Err(libvirt::Error::connection_lost());
    }
    Ok((answers, learned, took))
}

/// Asks each guest for its CPU time and its virtual CPUs, as long as all have them; whether that is so. One
/// that was locked is taken out: others have been asked meanwhile, and it will be again.
fn ask_cpu(
    asked: &mut Vec<OneAsked<'_>>,
    answers: &mut Vec<(usize, Asked)>,
    progress: &Progress,
) -> bool {
    let mut has_all = true;
    asked.retain_mut(|one| {
        if !has_all {
            return true;
        }
        let began = Instant::now();
        progress.set(Step::Cpu, Some(one.place), began);
        match CpuAnswer::of(one.handle, one.guest.fixed_vcpus()) {
            CpuAnswer::Figures(figures) => one.cpu = Some(figures),
            CpuAnswer::Lacking => (has_all, one.sampled.lacks_cpu_calls) = (false, true),
            CpuAnswer::Gone => has_all = false,
        }
        let is_in_time = began.elapsed() < LOCKED_AFTER;
        if !is_in_time {
            answers.push((one.place, Asked::WasLocked));
        }
        is_in_time
    });
    if !has_all {
        asked.iter_mut().for_each(|one| one.cpu = None);
    }
    has_all
}

/// Makes sure that there are handles of these guests. Returns those that have none, and why.
fn find_handles(
    session: &mut Session,
    guests: &[GuestRequest],
    read: &ReadRequest,
    may_list: bool,
    progress: &Progress,
    permit: &ListPermit,
) -> Result<Vec<(usize, Asked)>, libvirt::Error> {
    let mut missing = session.without_handle(guests, read.listed);
    if may_list && Session::is_worth_a_list(missing.len()) {
        progress.set(Step::Find, None, Instant::now());
        if let Some(_permit) = permit.take() {
            progress.set(Step::List, None, Instant::now());
            session.list_handles(guests.iter().any(|guest| guest.id < 0))?;
            missing = session.without_handle(guests, read.listed);
        }
    }
    look_up_each(&missing, guests, progress, |uuid| {
        session.look_up(uuid).map_err(|error| (error, session.is_alive()))
    })
}

/// Looks these guests up. An error of one leaves the others alone, unless the connection broke. `look_up`
/// returns whether that is still alive.
fn look_up_each(
    missing: &[usize],
    guests: &[GuestRequest],
    progress: &Progress,
    mut look_up: impl FnMut(Uuid) -> Result<(), (libvirt::Error, bool)>,
) -> Result<Vec<(usize, Asked)>, libvirt::Error> {
    let mut failed = Vec::new();
    for &place in missing {
        let Some(guest) = guests.get(place) else { continue };
        progress.set(Step::Find, Some(place), Instant::now());
        match look_up(guest.uuid) {
            Ok(()) => {}
            Err((error, _)) if error.kind == Kind::GuestGone => failed.push((place, Asked::Gone)),
            Err((_, false)) => return Err(libvirt::Error::connection_lost()),
            Err((error, true)) => failed.push((place, Asked::Failed(error.to_string()))),
        }
    }
    Ok(failed)
}

/// A guest that is being asked.
struct OneAsked<'a> {
    place: usize,
    guest: &'a GuestRequest,
    handle: &'a HostGuest,
    /// Its CPU time, where that was asked apart from the bulk statistics.
    cpu: Option<CpuFigures>,
    /// Whether libvirt said anything of it.
    has_record: bool,
    sampled: Sampled,
}

impl OneAsked<'_> {
    /// Whether it has started again since it was listed: its CPU time may be of the boot before.
    fn is_of_other_boot(&self) -> bool {
        self.cpu.is_some() && self.has_record && self.sampled.sample.id != self.guest.id
    }

    fn into_answer(self) -> (usize, Asked) {
        let has_stopped = self.guest.id >= 0 && self.sampled.sample.id < 0;
        if self.has_record && !has_stopped {
            (self.place, Asked::Sampled(self.sampled))
        } else {
            (self.place, Asked::Gone)
        }
    }

    /// Forgets what was answered, before it is asked once more.
    fn start_again(&mut self, read: &ReadRequest) {
        let spare = std::mem::take(&mut self.sampled.sample);
        self.sampled.sample = self.guest.sample(Some(spare));
        self.sampled.sample.more = crate::schema::More::wanted(read.extra);
        self.sampled.unknown = 0;
        self.has_record = false;
    }
}

struct Asker<'a> {
    session: &'a Session,
    read: ReadRequest,
    /// What is wanted of these guests.
    wanted: Groups,
    /// What of it is asked in bulk, as far as that is offered.
    groups: Groups,
    offer: Option<Offer>,
    /// The offer, where this call has learned it.
    learned: Option<Offer>,
    progress: &'a Progress,
}

impl<'a> Asker<'a> {
    /// One bulk call for all of them.
    fn ask_all(&mut self, asked: &mut [OneAsked<'a>]) -> Result<(), libvirt::Error> {
        self.progress.set(Step::Bulk, None, Instant::now());
        self.ask_groups(asked, self.groups)
    }

    /// The bulk call for these guests, its answers added to what they have. Where it is not known yet what
    /// the hypervisor offers, this call learns it.
    fn ask_groups(
        &mut self,
        asked: &mut [OneAsked<'a>],
        groups: Groups,
    ) -> Result<(), libvirt::Error> {
        if self.offer.is_none() {
            let all = Group::ALL.into_iter().collect();
            self.offer = self.session.connection.known_offer(all);
            self.learned = self.offer;
        }
        // Every libvirt that has some of these has all of them.
        if self.offer.is_none() && (groups == always() || groups == always().without(cpu())) {
            let offer = Offer { bulk: always(), nowait: true };
            let how = Bulk { nowait: true, enforce: true };
            match self.call(asked, groups, how) {
                Ok(()) => {
                    (self.offer, self.learned) = (Some(offer), Some(offer));
                    return Ok(());
                }
                Err(error) if error.kind != Kind::Unsupported => return Err(error),
                Err(_) => {}
            }
        }
        let offer = match self.offer {
            Some(offer) => offer,
            None => {
                let Some(first) = asked.first() else { return Ok(()) };
                let offer = self.learn(first)?;
                self.offer = Some(offer);
                offer
            }
        };
        let bulk = groups.and(offer.bulk);
        if bulk.is_empty() {
            // Nothing is to be had in bulk, so that no record says whether the guest is there.
            asked.iter_mut().for_each(|one| one.has_record = true);
            return Ok(());
        }
        self.call(asked, bulk, Bulk { nowait: offer.nowait, enforce: false })
    }

    /// What the hypervisor offers, tried on one guest. Groups that only `extra` prints are asked for
    /// untried: without ENFORCE libvirt passes over what it does not have.
    fn learn(&mut self, one: &OneAsked<'a>) -> Result<Offer, libvirt::Error> {
        let tried = self.wanted.and(always());
        let offer = self.session.connection.offer(one.handle, tried)?;
        let offer = match offer.bulk.is_empty() {
            true => offer,
            false => {
                let untried = Group::ALL.into_iter().collect::<Groups>().without(always());
                Offer { bulk: offer.bulk.or(untried), ..offer }
            }
        };
        self.learned = Some(offer);
        Ok(offer)
    }

    fn call(
        &self,
        asked: &mut [OneAsked<'a>],
        groups: Groups,
        how: Bulk,
    ) -> Result<(), libvirt::Error> {
        let handles = asked.iter().map(|one| one.handle);
        let records = self.session.connection.statistics(handles, groups, how)?;
        let answered_at_ns = boottime_ns();
        let since_list = self.read.listed_at.elapsed();
        for one in asked.iter_mut() {
            one.sampled.sample.answered_at_ns = answered_at_ns;
        }
        for record in records.iter() {
            let Some(one) = matching(&record, asked) else { continue };
            one.has_record = true;
            let sample = &mut one.sampled.sample;
            if let Some(moment) = record.answered_at_ns() {
                sample.answered_at_ns = moment;
            }
            one.sampled.unknown += sample.fill(record.parameters());
            if let Some(figures) = &one.cpu {
                figures.fill(sample);
            }
            if !is_of_same_boot(sample, one.guest, since_list) {
                sample.id = record.id();
            }
        }
        Ok(())
    }

    /// Asks one guest in a call of its own.
    fn ask_one(&mut self, mut one: OneAsked<'a>, how: How) -> (usize, Asked) {
        one.start_again(&self.read);
        self.progress.set(Step::Bulk, Some(one.place), Instant::now());
        let is_stuck = one.sampled.control.is_some_and(Control::is_stuck);
        if how == How::Quietly && !is_stuck {
            return self.ask_quietly(one);
        }
        let Err(error) = self.ask_groups(std::slice::from_mut(&mut one), self.groups) else {
            return self.answer(one);
        };
        // Group by group, so that only the one that fails is lost.
        let groups = self.groups;
        for group in Group::ALL.into_iter().filter(|&group| groups.has(group)) {
            if let Err(error) = self.ask_groups(std::slice::from_mut(&mut one), group.into()) {
                let failure = format!("its {} statistics cannot be read: {error}", group.name());
                one.sampled.failures.push(failure);
            }
        }
        if one.has_record {
            one.sampled.sample.completeness = Completeness::Partial;
            self.answer(one)
        } else if self.is_running(one.guest) {
            (one.place, Asked::Failed(error.to_string()))
        } else {
            (one.place, Asked::Gone)
        }
    }

    /// What came of it. One of another boot is asked for all of it in bulk.
    fn answer(&mut self, mut one: OneAsked<'a>) -> (usize, Asked) {
        if one.is_of_other_boot() && one.sampled.sample.id >= 0 {
            (one.cpu, self.groups) = (None, self.wanted);
            return self.ask_one(one, How::Probed);
        }
        one.into_answer()
    }

    /// What libvirtd knows of a guest without its monitor: state, NICs, memory and CPU time.
    fn ask_quietly(&mut self, mut one: OneAsked<'a>) -> (usize, Asked) {
        let groups = self.groups.and(without_monitor());
        if let Err(error) = self.ask_groups(std::slice::from_mut(&mut one), groups) {
            return (one.place, Asked::Failed(error.to_string()));
        }
        if let Ok(info) = one.handle.info() {
            fallback::fill_info(&mut one.sampled.sample, &info, self.groups);
        }
        one.sampled.is_quiet = true;
        one.into_answer()
    }

    fn is_running(&self, guest: &GuestRequest) -> bool {
        matches!(self.session.connection.guest(&guest.uuid), Ok(guest) if guest.id() >= 0)
    }
}

/// The guest that a record is of. libvirt has looked the guest up by its UUID; its name is cheaper to
/// compare.
fn matching<'a, 'b>(
    record: &HostRecord<'_>,
    asked: &'b mut [OneAsked<'a>],
) -> Option<&'b mut OneAsked<'a>> {
    let name = record.name();
    let place = asked.iter().position(|one| one.guest.name.as_bytes() == name);
    let place = place.or_else(|| {
        let uuid = record.uuid();
        asked.iter().position(|one| one.guest.uuid == uuid)
    });
    asked.get_mut(place?)
}

/// True if the guest cannot have restarted since the list: the list is recent and its CPU time has not
/// dropped. Otherwise we ask for the id, the most expensive accessor (libvirt formats the UUID for its log).
///
/// Less CPU time alone is no proof: a guest that restarts while others are waited for may soon have used
/// more than it had at its last sample, and for a guest that is off libvirt reports libvirtd's own.
fn is_of_same_boot(sample: &Domain, guest: &GuestRequest, since_list: Duration) -> bool {
    let (now, before) = (sample.cpu.time_ns, guest.cpu_before_ns);
    let is_running = guest.id >= 0 && sample.is_active();
    is_running
        && since_list < SOONEST_RESTART
        && before.is_some_and(|before| now.is_some_and(|now| now >= before))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Cpu;

    const AT_ONCE: Duration = Duration::from_millis(5);

    fn sample(state: i64, cpu_ns: u64) -> Domain {
        let cpu = Cpu { time_ns: Some(cpu_ns), ..Cpu::default() };
        Domain { id: 3, state: Some(state), cpu, ..Domain::default() }
    }

    fn guest(id: i32, cpu_before_ns: Option<u64>) -> GuestRequest {
        let (uuid, name) = (uuid::Uuid::nil(), "a".into());
        GuestRequest { uuid, id, name, cpu_before_ns, inventory: None, fresh: false }
    }

    fn look_up(
        answers: [Result<(), (libvirt::Error, bool)>; 3],
    ) -> Result<Vec<(usize, Asked)>, libvirt::Error> {
        let guests: Vec<GuestRequest> = (1..=3).map(|id| guest(id, None)).collect();
        let mut answers = answers.into_iter();
        let progress = Progress::new(Instant::now());
        look_up_each(&[0, 1, 2], &guests, &progress, |_| answers.next().unwrap())
    }

    #[test]
    fn a_look_up_that_fails_for_one_guest_leaves_the_others_alone() {
        let denied = libvirt::Error::of(Kind::Other, "access denied");
        let gone = libvirt::Error::of(Kind::GuestGone, "no domain with matching uuid");
        let failed = look_up([Err((denied, true)), Ok(()), Err((gone, true))]).unwrap();
        let [(0, Asked::Failed(words)), (2, Asked::Gone)] = failed.as_slice() else {
            panic!("{failed:?}");
        };
        assert_eq!(words, "access denied");
    }

    #[test]
    fn a_look_up_over_a_broken_connection_says_nothing_of_any_guest() {
        let broken = libvirt::Error::of(Kind::Other, "Cannot write data: Broken pipe");
        assert!(look_up([Ok(()), Err((broken, false)), Ok(())]).is_err());
    }

    #[test]
    fn a_guest_that_goes_on_is_not_asked_for_its_id() {
        assert!(is_of_same_boot(&sample(1, 70), &guest(3, Some(70)), AT_ONCE));
        assert!(is_of_same_boot(&sample(3, 90), &guest(3, Some(70)), AT_ONCE));
    }

    #[test]
    fn a_guest_that_may_have_restarted_is_asked_for_its_id() {
        let may_be_another = |sample, guest, since| !is_of_same_boot(&sample, &guest, since);
        assert!(may_be_another(sample(1, 69), guest(3, Some(70)), AT_ONCE));
        assert!(may_be_another(sample(1, 70), guest(3, None), AT_ONCE));
        assert!(may_be_another(sample(5, 90), guest(3, Some(70)), AT_ONCE));
        // Restarted while it was waited for, it has soon used more CPU time than before.
        assert!(may_be_another(sample(1, 90), guest(3, Some(70)), SOONEST_RESTART));
    }

    #[test]
    fn a_guest_that_was_off_and_has_started_is_asked_for_its_id() {
        assert!(!is_of_same_boot(&sample(1, 90), &guest(-1, Some(70)), AT_ONCE));
    }
}
