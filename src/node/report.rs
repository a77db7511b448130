//! The messages about a host and pools that do not answer, or cannot be read.

use std::collections::HashSet;

use uuid::Uuid;

use super::NodeReader;
use super::calls::Target;
use crate::libvirt::{Error, Kind};
use crate::log::Level;

impl NodeReader {
    pub(super) fn tell_held(&self, target: Target) {
        let subject = self.subject(target);
        let cause = match target {
            Target::Host => "libvirt itself waits for something; it has no line until it does",
            Target::List => {
                "a pool is being refreshed on dead or slow storage, most likely; until it does those that \
                 are known are asked one by one"
            }
            Target::Pool(_) => {
                "its storage is dead or slow, most likely; it has no line until it does"
            }
        };
        let message = format_args!("{subject} does not answer: {cause}; no guest waits for it");
        self.log.begins(&self.key("held", target), Level::Warn, message);
    }

    /// Tells what a call failed with, once, and when that is over. What a driver does not have is no failure,
    /// nor is a pool that is gone.
    pub(super) fn tell_failure(&self, target: Target, error: Option<&Error>) {
        let (subject, key) = (self.subject(target), self.key("failed", target));
        match error {
            Some(error) if error.kind == Kind::Other => {
                let remedy = match target {
                    Target::List => {
                        "; on a host with modular daemons virtstoraged must run: \
                         `systemctl start virtstoraged.socket`"
                    }
                    _ => "",
                };
                let message = format_args!("{subject} cannot be read: {error}{remedy}");
                self.log.begins(&key, Level::Warn, message);
            }
            Some(_) => {}
            None => self.log.ends(&key, format_args!("{subject} can be read again")),
        }
    }

    /// Nothing is said any more of pools that are no longer listed.
    pub(super) fn forget_gone(&mut self, listed: &[(Uuid, String)]) {
        let listed: HashSet<Uuid> = listed.iter().map(|(uuid, _)| *uuid).collect();
        let is_gone = |target: &Target| match target {
            Target::Pool(uuid) => !listed.contains(uuid),
            _ => false,
        };
        let gone: Vec<Target> =
            self.held.keys().chain(&self.slow).filter(|it| is_gone(it)).copied().collect();
        for target in gone {
            self.held.remove(&target);
            self.slow.remove(&target);
            self.log.forget(&self.key("held", target));
            self.log.forget(&self.key("failed", target));
        }
    }

    pub(super) fn name(&self, target: Target) -> Option<&str> {
        let Target::Pool(uuid) = target else { return None };
        self.known.iter().find(|(known, _)| *known == uuid).map(|(_, name)| name.as_str())
    }

    pub(super) fn subject(&self, target: Target) -> String {
        let uri = &self.uri;
        match target {
            Target::Host => format!("the host of {uri}"),
            Target::List => format!("the list of the storage pools of {uri}"),
            Target::Pool(uuid) => match self.name(target) {
                Some(name) => format!("the storage pool \"{name}\" of {uri}"),
                None => format!("the storage pool {uuid} of {uri}"),
            },
        }
    }

    pub(super) fn key(&self, what: &str, target: Target) -> String {
        format!("node {what} {target:?} {}", self.uri)
    }
}
