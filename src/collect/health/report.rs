//! The messages about guests that do not answer, and about what could not be read of those that do.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use uuid::Uuid;

use super::{Changes, Health};
use crate::collect::cause::{Cause, HeldGuest};
use crate::log::Level;
use crate::sample::Completeness;

impl Health {
    /// Reports what could not be read of guests that answer: one message for all with the same failure, when
    /// it begins and when it ends.
    pub(in crate::collect) fn report_failures(&mut self) {
        let Changes { begun, ended } = std::mem::take(&mut self.changes);
        for (failure, guests) in begun {
            self.log.warn(format_args!("{}: {failure}", named_in_short(&guests)));
        }
        for (failure, guests) in ended {
            self.log.info(format_args!("{}: no longer: {failure}", named_in_short(&guests)));
        }
    }

    /// Reports which guests have come into trouble, and which are out of it: one message for each cause.
    pub(in crate::collect) fn report(
        &mut self,
        held: &[HeldGuest],
        answering: impl Fn(&Uuid) -> bool,
    ) {
        let mut begun: HashMap<Cause, Vec<(Arc<str>, Uuid)>> = HashMap::new();
        for HeldGuest { uuid, name, cause } in held {
            let health = self.of_mut(*uuid, name);
            if health.reported != Some(*cause) {
                health.reported = Some(*cause);
                begun.entry(*cause).or_default().push((Arc::clone(name), *uuid));
            }
        }
        let mut begun: Vec<_> = begun.into_iter().collect();
        begun.sort_by_key(|(cause, _)| *cause);
        for (cause, guests) in begun {
            let text = cause.text(guests.len() > 1);
            self.log.warn(format_args!("{} {text}", named(&guests)));
        }
        let is_held = |uuid: &Uuid| held.iter().any(|guest| guest.uuid == *uuid);
        let mut ended: Vec<(Arc<str>, Uuid)> = Vec::new();
        for (uuid, health) in self.guests.iter_mut().filter(|(_, health)| health.reported.is_some())
        {
            if !is_held(uuid) && answering(uuid) {
                health.reported = None;
                ended.push((Arc::clone(&health.name), *uuid));
            }
        }
        if !ended.is_empty() {
            let verb = if ended.len() > 1 { "are" } else { "is" };
            self.log.info(format_args!("{} {verb} responding again", named(&ended)));
        }
    }

    /// So many guests were not asked, since enough calls are stuck.
    pub(in crate::collect) fn not_asked(&mut self, guests: usize, stuck: usize) {
        let key = format!("stuck {}", self.uri);
        if guests == 0 {
            self.log.ends(&key, format_args!("every guest of {} is asked again", self.uri));
            return;
        }
        let message = format_args!(
            "{stuck} calls to guests of {} that do not respond are stuck: {guests} guests that may hang \
             too are not asked for what only their QEMUs know; `max_stuck` limits these calls",
            self.uri
        );
        self.log.begins(&key, Level::Warn, message);
    }

    /// Guests that could not be read in time, although nothing seems to hold them.
    pub(in crate::collect) fn late(&mut self, late: usize, of: usize, deadline: &str) {
        let key = format!("late {}", self.uri);
        if late == 0 {
            self.log.ends(&key, format_args!("the guests of {} are read in time again", self.uri));
            return;
        }
        let message = format_args!(
            "{late} of {of} guests of {} could not be read within the deadline of {deadline}: libvirt or \
             this host is too slow for it; set a longer `deadline`",
            self.uri
        );
        self.log.begins(&key, Level::Warn, message);
    }

    /// Whether libvirt lists its guests, and which guest most likely keeps it from that.
    pub(in crate::collect) fn report_list(
        &mut self,
        is_late: bool,
        read: usize,
        nameless: &[String],
    ) {
        let key = format!("list {}", self.uri);
        if !is_late {
            self.log.ends(&key, format_args!("{} lists its guests again", self.uri));
            return;
        }
        let locked: Vec<(Arc<str>, Uuid)> = self
            .guests
            .iter()
            .filter(|(_, health)| health.last == Completeness::Locked)
            .map(|(uuid, health)| (Arc::clone(&health.name), *uuid))
            .collect();
        let holder = match locked.as_slice() {
            [] if !nameless.is_empty() => {
                let names: Vec<String> =
                    nameless.iter().map(|name| format!("\"{name}\"")).collect();
                format!("guest {} holds it, locked inside libvirt", names.join(" and "))
            }
            [] => "most likely a guest that is being started or stopped holds it".to_owned(),
            some => format!("{} {} it", named(some), if some.len() > 1 { "hold" } else { "holds" }),
        };
        let message = format_args!(
            "{} does not list its guests: {holder}; the {read} guests known from before are read one by \
             one, and guests that have started since are missing",
            self.uri
        );
        self.log.begins(&key, Level::Warn, message);
    }
}

/// How many names a message has at the most, and how long they are together: what is said of the guests comes
/// after their names, and the first message of a run is short.
const NAMES_MAX: usize = 20;
const NAMES_LENGTH_MAX: usize = 240;

/// The guest in a message that is long already, or the guests.
fn named_in_short(guests: &[(Arc<str>, Uuid)]) -> String {
    match guests {
        [(name, _)] => format!("guest \"{name}\""),
        several => named(several),
    }
}

/// The guests in a message.
fn named(guests: &[(Arc<str>, Uuid)]) -> String {
    if let [(name, uuid)] = guests {
        return format!("guest \"{name}\" ({uuid})");
    }
    let mut names: Vec<&str> = guests.iter().map(|(name, _)| &**name).collect();
    names.sort_unstable();
    let mut text = format!("{} guests (", guests.len());
    for (place, name) in names.iter().enumerate() {
        if place == NAMES_MAX || (place > 0 && text.len() + name.len() > NAMES_LENGTH_MAX) {
            let _ = write!(text, " and {} more", names.len() - place);
            break;
        }
        let comma = if place > 0 { ", " } else { "" };
        let _ = write!(text, "{comma}\"{name}\"");
    }
    text.push(')');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Log;

    fn guests(count: u128) -> Vec<(Arc<str>, Uuid)> {
        (0..count).map(|n| (format!("guest-{n:03}").into(), Uuid::from_u128(n))).collect()
    }

    #[test]
    fn guests_with_one_failure_have_one_message_when_it_begins_and_when_it_ends() {
        let log = Arc::new(Log::kept(Level::Info));
        let mut health = Health::new(&"test:///x".into(), &log, 12);
        let mut collection = |failures: &[&str], count: u128| {
            let failures: Vec<String> = failures.iter().map(|it| (*it).to_owned()).collect();
            for (name, uuid) in guests(count) {
                health.failures(uuid, &name, &failures);
            }
            health.report_failures();
            log.take().into_iter().map(|(_, message)| message).collect::<Vec<_>>()
        };
        let begun = collection(&["disks: refused", "NICs: refused"], 3);
        let three = "3 guests (\"guest-000\", \"guest-001\", \"guest-002\")";
        assert_eq!(begun, [format!("{three}: NICs: refused"), format!("{three}: disks: refused")]);
        assert_eq!(collection(&["disks: refused", "NICs: refused"], 3), [""; 0]);
        assert_eq!(
            collection(&["disks: refused"], 1),
            ["guest \"guest-000\": no longer: NICs: refused"]
        );
        assert_eq!(collection(&[], 3).len(), 2);
    }

    #[test]
    fn of_many_guests_so_many_are_named_that_the_cause_is_in_the_message_too() {
        let text = named(&guests(500));
        assert!(text.starts_with("500 guests (\"guest-000\", \"guest-001\", "), "{text}");
        assert!(text.ends_with(" more)") && text.len() < 300, "{text}");
        assert_eq!(named(&guests(1)), format!("guest \"guest-000\" ({})", Uuid::nil()));
        assert_eq!(named(&guests(2)), "2 guests (\"guest-000\", \"guest-001\")");
    }
}
