//! Asking a host for everything that a recording has. Guest after guest is asked over one connection. A call
//! that does not come back is left behind with its thread, as in a collection. Then that guest is asked only
//! for what libvirtd itself knows, over another connection.

use std::collections::HashSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::calls::{Devices, Needs, RecordAnswer, steps};
use super::value::{Statistic, statistic};
use super::{
    CaptureError, RecordedAnswer, RecordedGuest, RecordedHost, RecordedNode, Recording, Snapshot,
};
use crate::collect::{pid_files, uptime};
use crate::config::extra::Extra;
use crate::deadline::{Deadline, Ending};
use crate::devices::xml;
use crate::host::Origin;
use crate::libvirt::{Bulk, Connection, Control, Error, Group, Groups, Guest, Kind, Offer};
use crate::log::Log;
use crate::node::{NodeReader, NodeReading};
use crate::pool::{CallReport, Caller, Connected};
use crate::sample::boottime_ns;

/// CaptureDepth often a guest is asked again that was skipped because another call was in its monitor, and after which
/// pause. Together a second: such a call takes milliseconds, and one that takes longer is stuck.
const AGAIN: usize = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// What to record.
#[derive(Clone, Copy, Debug)]
pub struct CaptureOptions<'a> {
    /// Of which hypervisor.
    pub uri: &'a str,
    /// CaptureDepth many moments.
    pub moments: usize,
    /// From the start of one moment to that of the next.
    pub every: Duration,
    /// CaptureDepth long an answer is waited for; a guest whose answer takes longer counts as hung.
    pub patience: Duration,
    /// Hung guests that a call may be left behind in; of others that hang too only libvirtd is asked
    /// once there are so many.
    pub max_stuck: usize,
}

/// Records a host.
///
/// # Errors
/// Where the host cannot be read, or the end was ordered before all was asked.
pub fn capture(
    options: &CaptureOptions<'_>,
    ending: &Ending,
    log: &Arc<Log>,
) -> Result<Recording, CaptureError> {
    let uri = options.uri.to_owned();
    let caller = Caller::new("record", move || Connection::open(&uri));
    let mut capture = Capture {
        options: *options,
        ending,
        log,
        caller,
        hung: HashSet::new(),
        answered: HashSet::new(),
        node: NodeReader::wanted(
            options.uri,
            &Origin::of(options.uri),
            [Extra::Host, Extra::Pools].into_iter().collect(),
            log,
        ),
    };
    let mut host = capture.host()?;
    let mut moments = Vec::new();
    let mut next = Instant::now();
    let mut known = None;
    for _ in 0..options.moments {
        capture.sleep_until(next)?;
        let listed = capture.list()?;
        let offer = match known {
            Some(offer) => offer,
            None => capture.offer(&listed)?,
        };
        known = Some(offer);
        // Only now are the guests asked: so far apart are their answers at the least.
        next = Instant::now() + options.every;
        let now = crate::sample::Moment::now();
        moments.push(capture.moment(now, listed, offer)?);
    }
    if let Some(offer) = known {
        let bulk = Group::ALL.into_iter().filter(|&group| offer.bulk.has(group));
        host.bulk = bulk.map(|group| group.name().to_owned()).collect();
        host.nowait = offer.nowait;
    }
    Ok(Recording { host, moments })
}

/// What is under way.
struct Capture<'a> {
    options: CaptureOptions<'a>,
    ending: &'a Ending,
    log: &'a Log,
    caller: Caller<Connection, CaptureEvent>,
    /// Guests that a call of ours is stuck in.
    hung: HashSet<Uuid>,
    /// Guests that have answered.
    answered: HashSet<Uuid>,
    /// Who asks for the host beside them.
    node: Option<NodeReader>,
}

/// CaptureDepth a guest is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CaptureDepth {
    /// For everything.
    Wholly,
    /// A call of ours is stuck in it: for what libvirtd answers by itself then.
    Quietly,
    /// Nobody knows whether it hangs, and enough calls are stuck: only for what cannot hang.
    Unasked,
}

impl Capture<'_> {
    fn host(&mut self) -> Result<RecordedHost, CaptureError> {
        let uri = self.options.uri.to_owned();
        self.caller
            .call(move |connection, _| Ok(CaptureEvent::Host(Box::new(host(connection, uri)))));
        match self.next()? {
            Some(Ok(CaptureEvent::Host(host))) => Ok(*host),
            other => Err(self.failed(other)),
        }
    }

    /// The guests. Where libvirt lists none, since it waits for a guest, those of this machine that run are
    /// found by libvirt's files.
    fn list(&mut self) -> Result<Vec<RecordedGuest>, CaptureError> {
        self.caller.call(|connection, _| {
            Ok(CaptureEvent::Listed(connection.guests(true)?.iter().map(listed).collect()))
        });
        match self.next()? {
            Some(Ok(CaptureEvent::Listed(listed))) => return Ok(listed),
            None => {}
            other => return Err(self.failed(other)),
        }
        let Some(directory) = pid_files::directory(self.options.uri) else {
            return Err(self.failed(None));
        };
        let names = pid_files::names(&directory);
        self.log.warn(format_args!(
            "{} does not list its guests: a guest that is being started or stopped holds it, most likely; \
             the {} guests that have a file in {} are recorded, and none that is off",
            self.options.uri,
            names.len(),
            directory.display()
        ));
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            let asked = name.clone();
            self.caller.call(move |connection, _| {
                Ok(CaptureEvent::Listed(vec![listed(&connection.guest_named(&asked)?)]))
            });
            match self.next()? {
                Some(Ok(CaptureEvent::Listed(listed))) => found.extend(listed),
                Some(_) => {}
                None => self.report_late(&name),
            }
        }
        Ok(found)
    }

    /// The call that is out does not come back, and the next one is made over another connection.
    fn report_late(&self, name: &str) {
        self.log.warn(format_args!(
            "guest \"{name}\" did not answer within {:?}: what only it knows is not in the recording",
            self.options.patience
        ));
    }

    /// What the hypervisor has in bulk, as tried on a guest: one that runs, where there is any.
    fn offer(&mut self, listed: &[RecordedGuest]) -> Result<Offer, CaptureError> {
        let mut candidates: Vec<&RecordedGuest> = listed.iter().collect();
        candidates.sort_by_key(|guest| guest.id < 0);
        for guest in candidates {
            let uuid = guest.uuid;
            self.caller
                .call(move |connection, _| try_offer(connection, &uuid).map(CaptureEvent::Offer));
            match self.next()? {
                Some(Ok(CaptureEvent::Offer(Some(offer)))) => return Ok(offer),
                Some(_) => {}
                None => {
                    self.hung.insert(uuid);
                    self.report_late(&guest.name);
                }
            }
        }
        Ok(Offer { bulk: Groups::default(), nowait: false })
    }

    fn moment(
        &mut self,
        now: crate::sample::Moment,
        listed: Vec<RecordedGuest>,
        offer: Offer,
    ) -> Result<Snapshot, CaptureError> {
        let mut guests = Vec::with_capacity(listed.len());
        let files = pid_files::directory(self.options.uri);
        let asked_by = Deadline::within(self.options.patience, self.ending, Duration::ZERO);
        let mut node = RecordedNode::default();
        if let Some(reader) = &mut self.node {
            reader.begin();
            let NodeReading { host, pools } = reader.take(&asked_by);
            node = RecordedNode { host, pools };
        }
        for guest in listed {
            let mut recorded = self.guest(guest, offer)?;
            if let (Some(recorded), Some(files)) = (&mut recorded, &files) {
                recorded.started_ns = uptime::started_at_ns(files, &recorded.name);
            }
            guests.extend(recorded);
        }
        let unix_ns = u64::try_from(now.unix.as_nanos()).unwrap_or(u64::MAX);
        Ok(Snapshot { unix_ns, boot_ns: now.boot_ns, guests, node })
    }

    /// One guest; `None` where it is gone.
    fn guest(
        &mut self,
        listed: RecordedGuest,
        offer: Offer,
    ) -> Result<Option<RecordedGuest>, CaptureError> {
        let uuid = listed.uuid;
        let is_new = !self.answered.contains(&uuid);
        let mut how = if self.hung.contains(&uuid) {
            CaptureDepth::Quietly
        } else if is_new && self.hung.len() >= self.options.max_stuck {
            CaptureDepth::Unasked
        } else {
            CaptureDepth::Wholly
        };
        let mut recorded = listed;
        loop {
            self.caller.call(move |connection, report| {
                ask(connection, &uuid, offer, how, report).map(|()| CaptureEvent::Done)
            });
            loop {
                match self.next()? {
                    Some(Ok(CaptureEvent::RecordAnswer(keep))) => keep(&mut recorded),
                    Some(Ok(CaptureEvent::Done)) => {
                        self.answered.insert(uuid);
                        return Ok(Some(recorded));
                    }
                    Some(Err(error)) if error.kind == Kind::GuestGone => return Ok(None),
                    Some(other) => return Err(self.failed(Some(other))),
                    None => break,
                }
            }
            self.report_late(&recorded.name);
            if how != CaptureDepth::Wholly {
                return Ok(Some(recorded));
            }
            self.hung.insert(uuid);
            how = CaptureDepth::Quietly;
        }
    }

    /// The call's next answer; `None` where it takes too long.
    fn next(&mut self) -> Result<Option<Result<CaptureEvent, Error>>, CaptureError> {
        let deadline = Deadline::within(self.options.patience, self.ending, Duration::ZERO);
        let told = self.caller.next(&deadline);
        self.check_ending()?;
        Ok(told)
    }

    fn sleep_until(&self, moment: Instant) -> Result<(), CaptureError> {
        let left = moment.saturating_duration_since(Instant::now());
        Deadline::within(left, self.ending, Duration::ZERO).sleep();
        self.check_ending()
    }

    fn check_ending(&self) -> Result<(), CaptureError> {
        match self.ending.since() {
            Some(_) => Err(CaptureError("ended before everything was read".to_owned())),
            None => Ok(()),
        }
    }

    fn failed(&self, told: Option<Result<CaptureEvent, Error>>) -> CaptureError {
        CaptureError(match told {
            Some(Err(error)) => error.to_string(),
            Some(Ok(_)) => "its answers came out of order".to_owned(),
            None => format!("it does not answer within {:?}", self.options.patience),
        })
    }
}

/// What a call hands over.
enum CaptureEvent {
    Host(Box<RecordedHost>),
    Offer(Option<Offer>),
    Listed(Vec<RecordedGuest>),
    /// An answer, to be put into the guest's recording.
    RecordAnswer(RecordAnswer),
    /// All of the guest was asked.
    Done,
}

impl Connected for Connection {
    fn is_alive(&self) -> bool {
        Connection::is_alive(self)
    }
}

fn host(connection: &Connection, uri: String) -> RecordedHost {
    let versions = connection.versions().map(|(what, version)| (what.to_owned(), version.into()));
    RecordedHost {
        program: env!("CARGO_PKG_VERSION").to_owned(),
        uri,
        versions: versions.into(),
        name: connection.host_name().into(),
        bulk: Vec::new(),
        nowait: false,
    }
}

/// What is asked of a guest that is off: its disks would be opened.
fn of_inactive() -> Groups {
    [Group::State, Group::Vcpu, Group::Balloon].into_iter().collect()
}

/// What the hypervisor offers, tried on this guest; `None` where a call is stuck in it.
fn try_offer(connection: &Connection, uuid: &Uuid) -> Result<Option<Offer>, Error> {
    let guest = connection.guest(uuid)?;
    if guest.control().is_ok_and(Control::is_stuck) {
        return Ok(None);
    }
    let all = if guest.id() < 0 { of_inactive() } else { Group::ALL.into_iter().collect() };
    connection.offer(&guest, all).map(Some)
}

fn listed(guest: &Guest) -> RecordedGuest {
    RecordedGuest {
        id: guest.id(),
        name: guest.name().into_owned(),
        uuid: guest.uuid(),
        ..RecordedGuest::default()
    }
}

/// Asks one guest, and hands over each answer as soon as it is there.
fn ask(
    connection: &Connection,
    uuid: &Uuid,
    offer: Offer,
    how: CaptureDepth,
    report: &CallReport<CaptureEvent>,
) -> Result<(), Error> {
    let guest = connection.guest(uuid)?;
    let keep = |keep: RecordAnswer| report.hand_over(CaptureEvent::RecordAnswer(keep));
    // A call that somebody else has left behind in it is answered no sooner than ours.
    let mut is_stuck = how != CaptureDepth::Wholly || guest.control().is_ok_and(Control::is_stuck);
    let is_off = guest.id() < 0;
    let groups = match how {
        _ if is_off => offer.bulk.and(of_inactive()),
        CaptureDepth::Wholly => offer.bulk,
        CaptureDepth::Quietly if offer.nowait => offer.bulk,
        CaptureDepth::Quietly | CaptureDepth::Unasked => {
            offer.bulk.and([Group::State, Group::Interface].into_iter().collect())
        }
    };
    let id = guest.id();
    keep(Box::new(move |recorded| recorded.id = id));
    // What has no group that needs the monitor is not skipped, nor is a guest that is off.
    let has_group = [Group::Block, Group::Balloon].iter().any(|&group| groups.has(group));
    let may_skip = offer.nowait && has_group && id >= 0;
    for _ in 0..AGAIN {
        let (all, each) = statistics(connection, &guest, groups, offer.nowait);
        let answered_ns = boottime_ns();
        let is_whole = !may_skip || has_monitor(&all);
        keep(Box::new(move |recorded| {
            recorded.answered_ns = answered_ns;
            recorded.statistics = all;
            recorded.groups = each;
        }));
        if is_whole || is_stuck {
            break;
        }
        // It was skipped, since another call was in its monitor; one that is stuck stays there.
        match guest.control() {
            Ok(control) if control.is_stuck() => is_stuck = true,
            Ok(Control::Free | Control::Busy { .. }) => thread::sleep(PAUSE),
            Ok(Control::Broken) | Err(_) => break,
        }
    }
    let most = match () {
        () if is_stuck => Needs::Object,
        () if is_off => Needs::Job,
        () => Needs::Monitor,
    };
    let devices = if most == Needs::Monitor { devices(&guest) } else { Devices::default() };
    for step in steps().filter(|step| step.needs <= most) {
        keep((step.ask)(&guest, &devices));
    }
    Ok(())
}

type Answered = (
    RecordedAnswer<Vec<Statistic>>,
    std::collections::BTreeMap<String, RecordedAnswer<Vec<Statistic>>>,
);

/// The bulk call for this guest, and where it fails group by group.
fn statistics(connection: &Connection, guest: &Guest, groups: Groups, nowait: bool) -> Answered {
    let ask = |groups: Groups| -> RecordedAnswer<Vec<Statistic>> {
        let records =
            connection.statistics(std::iter::once(guest), groups, Bulk { nowait, enforce: false });
        let all = records.map(|records| {
            records.iter().flat_map(|record| record.parameters()).map(statistic).collect()
        });
        all.into()
    };
    let all = ask(groups);
    let each = match &all {
        RecordedAnswer::Ok(_) => Default::default(),
        _ => {
            let asked = Group::ALL.into_iter().filter(|&group| groups.has(group));
            asked.map(|group| (group.name().to_owned(), ask(group.into()))).collect()
        }
    };
    (all, each)
}

/// Whether a running guest's statistics hold what only its monitor, or the job that guards it, gives.
fn has_monitor(statistics: &RecordedAnswer<Vec<Statistic>>) -> bool {
    let Ok(statistics) = statistics.result() else { return true };
    statistics.iter().any(|(name, _)| {
        name == "balloon.rss" || (name.starts_with("block.") && name.ends_with(".rd.reqs"))
    })
}

/// The targets of its NICs and disks, by its XML.
fn devices(guest: &Guest) -> Devices {
    let Ok(text) = guest.xml() else { return Devices::default() };
    let Ok((nics, disks)) = xml::inventory(&text) else { return Devices::default() };
    Devices {
        nics: nics.into_iter().filter_map(|nic| nic.target).map(|it| it.to_string()).collect(),
        disks: disks.into_iter().map(|disk| disk.target.to_string()).collect(),
    }
}
