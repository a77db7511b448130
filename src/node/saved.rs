//! What the next run must know: the pools, and what did not answer.

use std::collections::HashSet;
use std::time::Instant;

use uuid::Uuid;

use super::calls::Target;
use super::{MOST_POOLS, NodeReader};
use crate::collect::{Backoff, SavedHealth};
use crate::sample::boottime_ns;

/// Under these UUIDs the cache keeps what held the host's own calls, and the list of the pools.
const OF_HOST: Uuid = Uuid::max();
const OF_LIST: Uuid = Uuid::from_u128(u128::MAX - 1);

impl NodeReader {
    /// Takes over what an earlier run left behind.
    pub fn restore(&mut self, saved: Vec<SavedHealth>) {
        let (now, now_ns) = (Instant::now(), boottime_ns());
        self.saved.extend(saved.iter().map(|saved| saved.uuid));
        for SavedHealth { name, uuid, locked, .. } in saved {
            let target = match uuid {
                OF_HOST => Target::Host,
                OF_LIST => Target::List,
                _ => Target::Pool(uuid),
            };
            if target == Target::Pool(uuid) && !name.is_empty() && self.known.len() < MOST_POOLS {
                self.known.push((uuid, name));
            }
            if let Some(locked) = locked {
                self.held.insert(target, Backoff::restored(&locked, now, now_ns));
                self.slow.insert(target);
                self.restored.insert(target);
            }
        }
    }

    /// What the next run must know: the pools, which it asks one by one where the list does not come, and
    /// what did not answer.
    pub fn saved(&mut self) -> Vec<SavedHealth> {
        let (now, at) = (Instant::now(), boottime_ns());
        let saved = self.held.iter().map(|(target, backoff)| {
            let uuid = match *target {
                Target::Host => OF_HOST,
                Target::List => OF_LIST,
                Target::Pool(uuid) => uuid,
            };
            let name = self.name(*target).unwrap_or_default().to_owned();
            let locked = Some(backoff.saved(now, at));
            SavedHealth { name, uuid, at, locked, ..SavedHealth::default() }
        });
        let mut saved: Vec<SavedHealth> = saved.collect();
        let pools =
            self.known.iter().filter(|(uuid, _)| !self.held.contains_key(&Target::Pool(*uuid)));
        saved.extend(pools.map(|(uuid, name)| SavedHealth {
            name: name.clone(),
            uuid: *uuid,
            at,
            ..SavedHealth::default()
        }));
        let held: HashSet<Uuid> = saved.iter().map(|saved| saved.uuid).collect();
        // What is well again takes the place of what was said of it.
        let well = self.saved.difference(&held);
        saved.extend(well.map(|&uuid| SavedHealth { uuid, at, ..SavedHealth::default() }));
        self.saved = held;
        saved.iter_mut().for_each(|saved| saved.is_beside_guests = true);
        saved
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::collect::SavedBackoff;
    use crate::config::extra::{Extra, Extras};
    use crate::host::Origin;
    use crate::log::{Level, Log};

    #[test]
    fn runs_leave_few_calls_behind_in_pools_that_never_answer() {
        const MINUTE: u64 = 60_000_000_000;
        let (log, now) = (Arc::new(Log::kept(Level::Info)), Instant::now());
        let asked_ns = boottime_ns().saturating_sub(10 * MINUTE);
        for (pools, calls, may_ask) in [(1, 1, true), (1, 11, true), (3, 4, false), (12, 1, false)]
        {
            let of_pool = |pool: u128| SavedHealth {
                uuid: Uuid::from_u128(pool),
                locked: Some(SavedBackoff { since_ns: asked_ns, asked_ns, calls, running: 0 }),
                ..SavedHealth::default()
            };
            let (uri, extra) = ("test:///x", Extras::from_iter([Extra::Pools]));
            let mut reader = NodeReader::wanted(uri, &Origin::of(uri), extra, &log).unwrap();
            reader.restore((1..=pools).map(of_pool).collect());
            let target = Target::Pool(Uuid::from_u128(1));
            assert_eq!(reader.may_ask(target, now), may_ask, "{pools} pools, {calls} calls each");
        }
    }
}
