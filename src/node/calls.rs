//! The calls that ask a hypervisor for its host and for its storage pools. Any of them may never come back.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use smol_str::SmolStr;
use uuid::Uuid;

use super::topology::{Topology, pool_type};
use crate::libvirt::{Connection, Error, Kind, StoragePool};
use crate::pool::{CallReport, Connected};
use crate::schema::{HostCell, HostPages, HostReading, PoolFacts, PoolReading};

/// The topology changes when huge pages are added, which is seldom; it is large.
const TOPOLOGY_EVERY: Duration = Duration::from_secs(300);

/// Pools of which the type is remembered.
const MOST_KINDS: usize = 10_000;

/// What a call is about, and may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Target {
    /// The host.
    Host,
    /// The list of the pools: waits for the lock of every pool.
    List,
    /// One pool.
    Pool(Uuid),
}

/// What a worker is to ask.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeOrder {
    pub(super) host: bool,
    pub(super) list: ListOrder,
    /// The pools, as far as they are known.
    pub(super) pools: Vec<Uuid>,
    /// Pools that are not asked, even if they are listed.
    pub(super) skip: HashSet<Uuid>,
    /// Pools that are asked last, since they take long.
    pub(super) last: HashSet<Uuid>,
    /// Nobody wants the rest any more: another worker does it.
    pub(super) is_left: Arc<AtomicBool>,
}

/// When the pools are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ListOrder {
    /// Not at all.
    #[default]
    Never,
    /// Before the pools.
    First,
    /// After them, since it takes long.
    Last,
}

/// What a worker tells.
#[derive(Debug)]
pub(super) enum NodeEvent {
    /// It asks this now.
    At(Target),
    Host(Result<Box<HostReading>, Error>),
    /// The pools with their names.
    Listed(Result<Vec<(Uuid, String)>, Error>),
    /// A pool, and its name where it is known.
    Pool(Uuid, Result<PoolReading, Error>),
    /// All was asked.
    Done,
}

/// What a worker tells, and when it was so.
#[derive(Debug)]
pub(super) struct NodeNews {
    pub(super) at: Instant,
    pub(super) event: NodeEvent,
}

/// A connection, and what lasts as long as it does.
pub(super) struct NodeSession {
    connection: Connection,
    versions: Option<(SmolStr, SmolStr)>,
    topology: Option<(Instant, Topology)>,
    /// The types of pools, which never change.
    kinds: HashMap<Uuid, SmolStr>,
}

impl NodeOrder {
    /// What is asked first.
    pub(super) fn first(&self) -> Target {
        match (self.host, self.pools.first()) {
            (true, _) => Target::Host,
            (false, Some(&pool)) if self.list != ListOrder::First => Target::Pool(pool),
            (false, _) => Target::List,
        }
    }
}

impl NodeNews {
    fn now(event: NodeEvent) -> Self {
        Self { at: Instant::now(), event }
    }
}

impl Connected for NodeSession {
    fn is_alive(&self) -> bool {
        self.connection.is_alive()
    }
}

impl NodeSession {
    pub(super) fn open(uri: &str) -> Result<Self, Error> {
        let connection = Connection::open(uri)?;
        Ok(Self { connection, versions: None, topology: None, kinds: HashMap::new() })
    }

    /// Asks for all that is ordered, and hands over each answer as it comes.
    pub(super) fn perform(
        &mut self,
        order: &NodeOrder,
        report: &CallReport<NodeNews>,
    ) -> Result<NodeNews, Error> {
        let is_left = || order.is_left.load(Ordering::Relaxed);
        let tell = |event| report.hand_over(NodeNews::now(event));
        let over = || Ok(NodeNews::now(NodeEvent::Done));
        if order.host {
            tell(NodeEvent::Host(self.host().map(Box::new)));
        }
        let mut pools = order.pools.clone();
        if order.list == ListOrder::First {
            match self.list(&tell) {
                Some(listed) => pools = listed,
                None => return over(),
            }
        }
        pools.retain(|pool| !order.skip.contains(pool));
        // The order among the others stays.
        pools.sort_by_key(|pool| order.last.contains(pool));
        for uuid in pools {
            if is_left() {
                return over();
            }
            tell(NodeEvent::At(Target::Pool(uuid)));
            tell(NodeEvent::Pool(uuid, self.pool(uuid)));
        }
        if order.list == ListOrder::Last && !is_left() {
            self.list(&tell);
        }
        over()
    }

    /// Tells of the list; the pools that are on it.
    fn list(&self, tell: &impl Fn(NodeEvent)) -> Option<Vec<Uuid>> {
        tell(NodeEvent::At(Target::List));
        let listed = self
            .connection
            .pools()
            .map(|pools| pools.iter().map(|pool| (pool.uuid(), pool.name())).collect::<Vec<_>>());
        let uuids = listed.as_ref().ok().map(|it| it.iter().map(|(uuid, _)| *uuid).collect());
        tell(NodeEvent::Listed(listed));
        uuids
    }

    fn pool(&mut self, uuid: Uuid) -> Result<PoolReading, Error> {
        let pool = self.connection.pool(&uuid)?;
        // Pools come and go, and those that went would stay.
        if self.kinds.len() > MOST_KINDS {
            self.kinds.clear();
        }
        pool_reading(&pool, self.kinds.entry(uuid).or_default())
    }

    fn host(&mut self) -> Result<HostReading, Error> {
        if self.topology.as_ref().is_none_or(|(read, _)| read.elapsed() > TOPOLOGY_EVERY) {
            let topology = match self.connection.capabilities() {
                Ok(capabilities) => Topology::of(&capabilities),
                Err(error) if error.kind == Kind::Unsupported => Topology::default(),
                Err(error) => return Err(error),
            };
            self.topology = Some((Instant::now(), topology));
        }
        if self.versions.is_none() {
            self.versions = Some(versions(&self.connection));
        }
        let (Some((_, topology)), Some(versions)) = (&self.topology, &self.versions) else {
            return Ok(HostReading::default());
        };
        host_reading(&self.connection, topology, versions)
    }
}

/// libvirt's version and the hypervisor's, in words.
fn versions(connection: &Connection) -> (SmolStr, SmolStr) {
    let text =
        |number: u64| format!("{}.{}.{}", number / 1_000_000, number / 1000 % 1000, number % 1000);
    let [_, (_, daemon), (_, hypervisor)] = connection.versions();
    let driver = connection.driver().unwrap_or_default();
    let hypervisor = hypervisor.map(|number| format!("{driver} {}", text(number)));
    (daemon.map(text).unwrap_or_default().into(), hypervisor.unwrap_or(driver).trim().into())
}

fn host_reading(
    connection: &Connection,
    topology: &Topology,
    (libvirt, hypervisor): &(SmolStr, SmolStr),
) -> Result<HostReading, Error> {
    // What a driver does not have is absent.
    let offered = |result: Result<(), Error>| match result {
        Err(error) if error.kind != Kind::Unsupported => Err(error),
        _ => Ok(()),
    };
    let mut host = HostReading::default();
    let facts = &mut host.facts;
    (facts.libvirt, facts.hypervisor) = (libvirt.clone(), hypervisor.clone());
    facts.cpu_model = topology.cpu_model.as_str().into();
    offered(connection.node_info().map(|node| {
        (facts.cpus, facts.cpu_mhz) = (Some(node.cpus), Some(node.mhz));
        facts.memory_total_kib = Some(node.memory_kib);
        if facts.cpu_model.is_empty() {
            facts.cpu_model = node.model.into();
        }
    }))?;
    offered(connection.node_cpu_times(|name, ns| match name {
        b"user" => facts.cpu_user_ns = Some(ns),
        b"kernel" => facts.cpu_system_ns = Some(ns),
        b"idle" => facts.cpu_idle_ns = Some(ns),
        b"iowait" => facts.cpu_iowait_ns = Some(ns),
        _ => {}
    }))?;
    // The test driver says that it has none in words that are not those of something unsupported; neither
    // these nor KSM are in every kernel.
    let _ = connection.node_memory(None, |name, kib| match name {
        b"total" => facts.memory_total_kib = Some(kib),
        b"free" => facts.memory_free_kib = Some(kib),
        b"buffers" => facts.memory_buffers_kib = Some(kib),
        b"cached" => facts.memory_cached_kib = Some(kib),
        b"available" => facts.memory_available_kib = Some(kib),
        _ => {}
    });
    let _ = connection.node_memory_parameters(|name, count| match name {
        b"shm_pages_shared" => facts.ksm_pages_shared = Some(count),
        b"shm_pages_sharing" => facts.ksm_pages_sharing = Some(count),
        _ => {}
    });
    for cell in &topology.cells {
        let mut of_cell = HostCell { cell: cell.id, ..HostCell::default() };
        let _ = connection.node_memory(Some(cell.id), |name, kib| match name {
            b"total" => of_cell.memory_total_kib = Some(kib),
            b"free" => of_cell.memory_free_kib = Some(kib),
            _ => {}
        });
        of_cell.cpuset = cell.cpuset().into();
        host.cells.push(of_cell);
        let pages: Vec<(u32, u64)> = cell.huge_pages().collect();
        let sizes: Vec<u32> = pages.iter().map(|&(size, _)| size).collect();
        let free = connection.node_free_pages(cell.id, 1, &sizes).unwrap_or_default();
        host.pages.extend(pages.iter().enumerate().map(|(place, &(page_kib, total))| HostPages {
            cell: cell.id,
            page_kib,
            total: Some(total),
            free: free.get(place).copied(),
        }));
    }
    Ok(host)
}

fn pool_reading(pool: &StoragePool, kind: &mut SmolStr) -> Result<PoolReading, Error> {
    const RUNNING: i64 = 2;
    const DEGRADED: i64 = 3;
    if kind.is_empty() {
        *kind = pool_type(&pool.xml()?).unwrap_or_default().into();
    }
    let info = pool.info()?;
    // What libvirt says of the size of a pool that is off is not true, or not any more.
    let has_size = [RUNNING, DEGRADED].contains(&info.state);
    let size = |bytes| has_size.then_some(bytes);
    Ok(PoolReading {
        name: pool.name(),
        kind: kind.clone(),
        state: info.state,
        facts: PoolFacts {
            capacity_bytes: size(info.capacity),
            allocation_bytes: size(info.allocation),
            available_bytes: size(info.available),
            persistent: pool.is_persistent().ok(),
            autostart: pool.autostart().ok(),
        },
    })
}
