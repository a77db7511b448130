//! Reading some guests over one connection: the bulk call, and where it fails for one guest, that
//! guest alone, and group by group. Runs on a worker's thread, and may block there for ever.

use std::sync::Arc;
use std::time::Duration;

use super::reading::{Answered, Outcome, Question, Reading, Skipped, Target};
use super::session::Session;
use super::{extra, fallback, settle};
use crate::config::Selection;
use crate::devices::Inventory;
use crate::host::{Guest, Record};
use crate::libvirt::{self, Control, Group, Groups};
use crate::log::Log;
use crate::sample::{Answer, Domain, boottime_ns};

/// Times to ask a guest again that was skipped although nobody is in its monitor (any more).
const AGAIN: usize = 3;
/// No QEMU ends and is started again by libvirt sooner.
const SOONEST_RESTART: Duration = Duration::from_millis(250);

/// Reads these guests, each on its own account: an error of one costs no other.
///
/// `spares` are samples that nobody needs any more.
///
/// # Errors
/// Only where the connection broke; nothing is known of any guest then.
pub fn read(
    session: &mut Session,
    targets: &[Target],
    question: &Question,
    selection: &Selection,
    spares: &mut Vec<Domain>,
    log: &Log,
) -> Result<Vec<(usize, Outcome)>, libvirt::Error> {
    session.find_handles(targets, question.listed)?;
    let reader = Reader { session, question, selection, log };
    let mut answers: Vec<Answered<'_>> = Vec::with_capacity(targets.len());
    let mut outcomes = Vec::with_capacity(targets.len());
    for mut answer in targets.iter().filter_map(|target| reader.answered(target, spares.pop())) {
        match reader.stopped(&mut answer) {
            None => answers.push(answer),
            Some(outcome) => outcomes.push((answer.target.place, outcome)),
        }
    }
    let together = answers.len() > 1 && !question.careful;
    // One guest's error fails the call for all: then each is asked alone.
    if together && reader.ask(&mut answers, question.in_bulk()).is_ok() {
        outcomes.extend(answers.drain(..).map(|it| (it.target.place, reader.finish(it))));
    } else if reader.session.is_alive() {
        for answer in answers.drain(..) {
            let again = reader.answered(answer.target, Some(answer.sample));
            let again = again.map(|again| Answered { shown: answer.shown, ..again });
            let outcome = again.map_or(Outcome::Gone, |answer| reader.read_alone(answer));
            outcomes.push((answer.target.place, outcome));
        }
    }
    if !session.is_alive() {
        return Err(libvirt::Error::connection_lost());
    }
    let gone = targets.iter().filter(|target| session.handle(&target.uuid).is_none());
    outcomes.extend(gone.map(|target| (target.place, Outcome::Gone)));
    Ok(outcomes)
}

struct Reader<'a> {
    session: &'a Session,
    question: &'a Question,
    selection: &'a Selection,
    log: &'a Log,
}

impl<'a> Reader<'a> {
    /// A guest of which nothing has been answered yet. The memory of a spare sample is used again.
    fn answered(&self, target: &'a Target, spare: Option<Domain>) -> Option<Answered<'a>> {
        let handle = self.session.handle(&target.uuid)?;
        let mut sample = spare.unwrap_or_default();
        sample.clear();
        sample.id = target.id;
        sample.name.push_str(&target.name);
        sample.uuid = target.uuid;
        sample.more = extra::room(self.question.extra);
        // Where nothing is to be had in bulk, no record says whether the guest is there.
        let present = self.question.in_bulk().is_empty();
        let (shown, failures) = (None, Vec::new());
        Some(Answered { target, handle, sample, present, shown, unknown: 0, failures })
    }

    /// What becomes of a guest that is not asked for anything else, since its metadata is filtered by and
    /// does not pass. What the XML of another one says serves on.
    fn stopped(&self, answer: &mut Answered<'a>) -> Option<Outcome> {
        let (target, selection) = (answer.target, self.selection);
        if !target.must_show_metadata(selection) {
            return None;
        }
        let takes = |inventory: &Inventory| settle::is_taken(inventory, selection);
        match settle::shown(answer, self.question, selection, self.log) {
            Ok(inventory) if takes(&inventory) => {
                answer.shown = Some(inventory);
                None
            }
            Ok(inventory) => Some(Outcome::TurnedAway(Some(Arc::new(inventory)))),
            Err(failure) if failure.is_of_gone_guest() => Some(Outcome::Gone),
            // What was known of it goes on serving.
            Err(failure) => {
                match target.inventory.as_ref().filter(|it| it.has_metadata(&selection.paths)) {
                    Some(known) if takes(known) => None,
                    Some(_) => Some(Outcome::TurnedAway(None)),
                    None => {
                        Some(Outcome::Failed(format!("its metadata cannot be read: {failure}")))
                    }
                }
            }
        }
    }

    /// The bulk call for these guests, its answers added to what they have.
    fn ask(&self, answers: &mut [Answered<'a>], groups: Groups) -> Result<(), libvirt::Error> {
        let handles = answers.iter().map(|answer| answer.handle);
        let nowait = self.question.offer.nowait;
        let records = self.session.connection.statistics(handles, groups, nowait)?;
        let answered_at_ns = boottime_ns();
        let since_list = self.question.listed_at.elapsed();
        for answer in answers.iter_mut() {
            answer.sample.answered_at_ns = answered_at_ns;
        }
        for record in records.iter() {
            let Some(answer) = answer_of(&record, answers) else { continue };
            answer.present = true;
            if let Some(moment) = record.answered_at_ns() {
                answer.sample.answered_at_ns = moment;
            }
            answer.unknown += answer.sample.fill(record.parameters());
            if !is_of_same_boot(&answer.sample, answer.target, since_list) {
                answer.sample.id = record.id();
            }
        }
        Ok(())
    }

    /// Reads one guest in a call of its own.
    fn read_alone(&self, mut answer: Answered<'a>) -> Outcome {
        let groups = self.question.in_bulk();
        if self.question.careful && !is_stuck(answer.handle) {
            return self.read_without_monitor(answer);
        }
        let Err(error) = self.ask(std::slice::from_mut(&mut answer), groups) else {
            return self.finish(answer);
        };
        // Group by group, so that only the one that fails is lost.
        for group in Group::ALL.into_iter().filter(|&group| groups.has(group)) {
            if let Err(error) = self.ask(std::slice::from_mut(&mut answer), group.into()) {
                answer
                    .failures
                    .push(format!("its {} statistics cannot be read: {error}", group.name()));
            }
        }
        if answer.present {
            answer.sample.answer = Answer::Partial;
            self.finish(answer)
        } else if self.is_running(answer.target) {
            Outcome::Failed(error.to_string())
        } else {
            Outcome::Gone
        }
    }

    /// What libvirtd knows of a guest without its monitor: state, NICs, memory and CPU time.
    fn read_without_monitor(&self, mut answer: Answered<'a>) -> Outcome {
        let quiet: Groups = [Group::State, Group::Interface].into_iter().collect();
        let groups = self.question.in_bulk().and(quiet);
        if let Err(error) = self.ask(std::slice::from_mut(&mut answer), groups) {
            return Outcome::Failed(error.to_string());
        }
        if let Ok(info) = answer.handle.info() {
            fallback::fill_info(&mut answer.sample, &info, self.question.wanted);
        }
        answer.sample.answer = Answer::Partial;
        self.reading(answer, Some(Skipped::Unasked))
    }

    /// Turns what was answered into a reading.
    fn finish(&self, answer: Answered<'a>) -> Outcome {
        let nowait = self.question.offer.nowait;
        if !nowait || !answer.present || !lacks_monitor(&answer.sample, self.question) {
            return self.reading(answer, None);
        }
        let (mut answer, skipped) = self.ask_again(answer);
        if skipped.is_some() {
            answer.sample.answer = Answer::Partial;
        }
        self.reading(answer, skipped)
    }

    /// A guest was skipped: why? If nobody is in its monitor any more it is asked again at once.
    fn ask_again(&self, mut answer: Answered<'a>) -> (Answered<'a>, Option<Skipped>) {
        for _ in 0..AGAIN {
            match answer.handle.control() {
                Ok(Control::Free) => {}
                Ok(control) if control.is_stuck() => return (answer, Some(Skipped::Stuck)),
                // A broken monitor is that of a guest that ends, nearly always.
                Ok(Control::Busy { .. } | Control::Broken) | Err(_) => {
                    return (answer, Some(Skipped::Busy));
                }
            }
            let Some(mut again) = self.answered(answer.target, None) else { break };
            if self.ask(std::slice::from_mut(&mut again), self.question.in_bulk()).is_err() {
                return (answer, Some(Skipped::Busy));
            }
            answer = again;
            if !answer.present || !lacks_monitor(&answer.sample, self.question) {
                return (answer, None);
            }
        }
        (answer, Some(Skipped::Quiet))
    }

    /// The reading, with what is not in bulk and the devices; `Gone` where the guest has stopped.
    fn reading(&self, mut answer: Answered<'a>, skipped: Option<Skipped>) -> Outcome {
        if !answer.present || (answer.target.id >= 0 && answer.sample.id < 0) {
            return Outcome::Gone;
        }
        let missing = super::always().without(self.question.offer.bulk);
        let settled = settle::settle(&mut answer, self.question, self.selection, missing, self.log);
        let Some(settled) = settled else { return Outcome::Gone };
        if answer.sample.answered_at_ns == 0 {
            answer.sample.answered_at_ns = answer.handle.answered_at_ns();
        }
        // A guest that ends loses its counters before it is gone.
        let was_running = answer.sample.id >= 0;
        if was_running && !settled.failures.is_empty() && !self.is_running(answer.target) {
            return Outcome::Gone;
        }
        answer.failures.extend(settled.failures);
        let failures = extra::fill(&mut answer, self.question);
        answer.failures.extend(failures);
        Outcome::Read(Reading {
            sample: answer.sample,
            inventory: settled.inventory,
            inventory_is_new: settled.is_new,
            skipped,
            failures: answer.failures,
            unknown: answer.unknown,
        })
    }

    fn is_running(&self, target: &Target) -> bool {
        matches!(self.session.connection.guest(&target.uuid), Ok(guest) if guest.id() >= 0)
    }
}

/// The answer that a record belongs to. libvirt has looked the guest up by its UUID; its name is
/// cheaper to compare.
fn answer_of<'a, 'b>(
    record: &Record<'_>,
    answers: &'b mut [Answered<'a>],
) -> Option<&'b mut Answered<'a>> {
    let name = record.name();
    let place = answers.iter().position(|answer| answer.target.name.as_bytes() == name);
    let place = place.or_else(|| {
        let uuid = record.uuid();
        answers.iter().position(|answer| answer.target.uuid == uuid)
    });
    answers.get_mut(place?)
}

/// Whether the guest cannot have stopped or started since it was listed: that is not long ago, and it
/// has used no less CPU time than at its last sample. Else its id is asked for, which costs more than
/// all else done with it.
///
/// Less CPU time alone does not tell: a guest that restarts while others are waited for may soon have
/// used more than it had at its last sample, and of a guest that is off libvirt tells libvirtd's own.
fn is_of_same_boot(sample: &Domain, target: &Target, since_list: Duration) -> bool {
    let (now, before) = (sample.cpu.time_ns, target.cpu_before_ns);
    let is_running = target.id >= 0 && sample.is_active();
    is_running
        && since_list < SOONEST_RESTART
        && before.is_some_and(|before| now.is_some_and(|now| now >= before))
}

/// Whether a call of somebody's is stuck in the guest, so that ours would be answered at once.
fn is_stuck(handle: &Guest) -> bool {
    handle.control().is_ok_and(Control::is_stuck)
}

/// Whether the answer lacks all that only the guest's monitor, or the job that guards it, gives: the
/// counters of its disks, or where it has none its process's memory.
fn lacks_monitor(sample: &Domain, question: &Question) -> bool {
    let asked = question.in_bulk();
    let is_silent = if asked.has(Group::Block) && !sample.disks.is_empty() {
        !sample.disks.iter().any(|disk| disk.is_counted())
    } else {
        asked.has(Group::Balloon) && sample.memory.rss_kib.is_none()
    };
    sample.id >= 0 && is_silent
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

    fn target(id: i32, cpu_before_ns: Option<u64>) -> Target {
        Target {
            place: 0,
            uuid: uuid::Uuid::nil(),
            id,
            name: "a".into(),
            cpu_before_ns,
            inventory: None,
            fresh: false,
        }
    }

    #[test]
    fn a_guest_that_goes_on_is_not_asked_for_its_id() {
        assert!(is_of_same_boot(&sample(1, 70), &target(3, Some(70)), AT_ONCE));
        assert!(is_of_same_boot(&sample(3, 90), &target(3, Some(70)), AT_ONCE));
    }

    #[test]
    fn a_guest_that_may_have_restarted_is_asked_for_its_id() {
        let may_be_another = |sample, target, since| !is_of_same_boot(&sample, &target, since);
        assert!(may_be_another(sample(1, 69), target(3, Some(70)), AT_ONCE));
        assert!(may_be_another(sample(1, 70), target(3, None), AT_ONCE));
        assert!(may_be_another(sample(5, 90), target(3, Some(70)), AT_ONCE));
        // Restarted while it was waited for, it has soon used more CPU time than before.
        assert!(may_be_another(sample(1, 90), target(3, Some(70)), SOONEST_RESTART));
    }

    #[test]
    fn a_guest_that_was_off_and_has_started_is_asked_for_its_id() {
        assert!(!is_of_same_boot(&sample(1, 90), &target(-1, Some(70)), AT_ONCE));
    }
}
