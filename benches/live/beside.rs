//! The table of tools: what a collection costs in each, and what still comes while one guest hangs.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::contenders::{Contender, Floor};
use super::figures::short;
use super::host::Host;
use super::peers::{self, Peer};
use super::rounds::Rounds;

/// For a stream to have its first collections behind it.
const WARM_UP: Duration = Duration::from_secs(4);
/// For which a stream is measured, at one collection a second.
const WINDOW: Duration = Duration::from_secs(8);
/// Bare calls before and after it, since a machine is not equally fast at all times.
const BARE: usize = 4;
/// A guest hangs for so long.
const HANG: Duration = Duration::from_secs(10);
/// What came so soon after a guest began to hang may be from before.
const BEFORE: Duration = Duration::from_secs(2);

/// One tool's row.
pub struct Row {
    peer: Peer,
    wall_ms: Option<f64>,
    /// What the one-call floor took at the same time.
    bare_ms: f64,
    /// Of one that collects on its own, each collection's.
    walls_ms: Vec<f64>,
    cpu_ms: f64,
    peak_mib: f64,
    hung: Option<Hung>,
}

/// What came of the healthy guests while one hung.
struct Hung {
    healthy: usize,
    /// Those of which anything new came.
    came: usize,
    /// Lines that came in that time, whatever they tell.
    lines: usize,
    /// How old the newest figures of the guest that fared worst were at the end; none where it had none.
    oldest: Option<Duration>,
}

impl Row {
    pub fn cells(&self) -> Vec<String> {
        let hung = self.hung.as_ref();
        vec![
            self.peer.name().to_owned(),
            self.wall_ms.map_or_else(|| "-".to_owned(), short),
            self.wall_ms.map_or_else(|| "-".to_owned(), |wall_ms| short(wall_ms / self.bare_ms)),
            short(self.cpu_ms),
            format!("{:.1}", self.peak_mib),
            hung.map_or_else(
                || "-".to_owned(),
                |hung| format!("{} of {}", hung.came, hung.healthy),
            ),
            match hung.map(|hung| hung.oldest) {
                None => "-".to_owned(),
                Some(None) => "over 10".to_owned(),
                Some(Some(age)) => format!("{:.1}", age.as_secs_f64()),
            },
        ]
    }

    pub fn to_json(&self, machine: &Value) -> Value {
        let hung = self.hung.as_ref().map(|hung| {
            json!({
                "healthy_guests": hung.healthy,
                "came_within_10_s": hung.came,
                "lines_of_any_kind": hung.lines,
                "oldest_age_s": hung.oldest.map(|age| age.as_secs_f64()),
            })
        });
        json!({
            "tool": self.peer.name(),
            "version": self.peer.version(machine),
            "wall_ms": self.wall_ms,
            "bare_call_ms": self.bare_ms,
            "walls_ms": self.walls_ms,
            "cpu_ms": self.cpu_ms,
            "peak_mib": self.peak_mib,
            "one_guest_hung": hung,
        })
    }
}

pub const HEAD: [&str; 7] = [
    "tool",
    "wall, ms",
    "wall, in bare calls",
    "CPU, ms",
    "peak memory, MiB",
    "one guest hung: guests with figures within 10 s",
    "oldest figures then, s",
];

/// The tools that are asked in the rounds, as they make a collection when they are asked.
pub fn asked(host: &Host) -> Vec<(String, Box<dyn Contender>)> {
    let mut contenders: Vec<(String, Box<dyn Contender>)> = Vec::new();
    for (peer, options) in [(Peer::Virsh, &[][..]), (Peer::VirshNowait, &["--nowait"])] {
        let once = host.once(&peers::virsh(host, options));
        contenders.push((peer.name().to_owned(), Box::new(once)));
    }
    if Peer::Exporter.is_here() {
        contenders.push((Peer::Exporter.name().to_owned(), Box::new(peers::Scraped::start(host))));
    }
    contenders
}

/// All rows; a tool that is not here has none.
pub fn rows(host: &Host, rounds: &Rounds) -> Vec<Row> {
    let mut idle: BTreeMap<&str, f64> = BTreeMap::new();
    let mut rows = Vec::new();
    for peer in peers::ALL {
        if !peer.is_here() {
            eprintln!("SKIP {}: not found", peer.name());
            continue;
        }
        let asked = match peer {
            Peer::Execd => "execd",
            _ => peer.name(),
        };
        let row = if rounds.has(asked) {
            Row {
                peer,
                wall_ms: Some(rounds.wall_ms(asked)),
                cpu_ms: rounds.cpu_ms(asked),
                peak_mib: rounds.peak_mib(asked),
                bare_ms: rounds.wall_ms("floor"),
                walls_ms: Vec::new(),
                hung: None,
            }
        } else {
            let kind = if peer == Peer::Collectd { "collectd" } else { "telegraf" };
            let at_rest = *idle.entry(kind).or_insert_with(|| at_rest(host, peer));
            match streamed(host, peer, at_rest) {
                Ok(row) => row,
                Err(guests) => {
                    // collectd's plugin reads no paused guest, for one.
                    eprintln!("SKIP {}: it tells of {guests} of the guests", peer.name());
                    continue;
                }
            }
        };
        rows.push(row);
    }
    // Only then, so that nothing of it is in anybody's figures.
    if host.lab.is_some() {
        for row in &mut rows {
            row.hung = Some(with_one_hung(host, row.peer));
        }
    }
    rows
}

/// The CPU time that one uses for each second in which it reads no guest.
fn at_rest(host: &Host, peer: Peer) -> f64 {
    let stream = peers::idle(host, peer).unwrap();
    sleep(WARM_UP);
    let cpu_ns = stream.cpu_ns();
    sleep(WINDOW);
    (stream.cpu_ns() - cpu_ns) as f64 / 1e6 / WINDOW.as_secs_f64()
}

/// One that collects on its own, over some seconds; the number of guests where it does not tell of all.
fn streamed(host: &Host, peer: Peer, at_rest_ms: f64) -> Result<Row, usize> {
    let mut floor = Floor::start(&mut host.floor("floor", &[]));
    let mut bare: Vec<u64> = (0..BARE).map(|_| floor.collect().wall_ns).collect();
    let stream = peers::stream(host, peer);
    sleep(WARM_UP);
    let seen = stream.lines.lock().unwrap().len();
    let (start, cpu_ns) = (Instant::now(), stream.cpu_ns());
    sleep(WINDOW);
    let cpu_ms =
        (stream.cpu_ns() - cpu_ns) as f64 / 1e6 - at_rest_ms * start.elapsed().as_secs_f64();
    let peak_mib = stream.peak_kib() as f64 / 1024.0;
    let lines = stream.lines.lock().unwrap().split_off(seen);
    drop(stream);
    bare.extend((0..BARE).map(|_| floor.collect().wall_ns));
    bare.sort_unstable();
    let mut domain = String::new();
    let guests: BTreeSet<String> =
        lines.iter().filter_map(|(_, line)| peer.guest(line, &mut domain)).collect();
    if guests.len() != host.guests {
        return Err(guests.len());
    }
    let collections = lines.iter().filter(|(_, line)| peer.is_once_a_guest(line)).count() as f64
        / host.guests as f64;
    let walls_ms = walls_ms(peer, &lines);
    let mut sorted = walls_ms.clone();
    sorted.sort_unstable_by(f64::total_cmp);
    Ok(Row {
        peer,
        wall_ms: sorted.get(sorted.len() / 2).copied(),
        bare_ms: (bare[BARE - 1] + bare[BARE]) as f64 / 2e6,
        walls_ms,
        cpu_ms: cpu_ms / collections,
        peak_mib,
        hung: None,
    })
}

/// How long collections took, as far as what is printed tells.
fn walls_ms(peer: Peer, lines: &[(Instant, String)]) -> Vec<f64> {
    match peer {
        Peer::TelegrafLibvirt => lines
            .iter()
            .filter(|(_, line)| line.starts_with("internal_gather,input=libvirt"))
            .filter_map(|(_, line)| {
                let (_, rest) = line.split_once("gather_time_ns=")?;
                rest.split('i').next()?.parse::<f64>().ok()
            })
            .map(|wall_ns| wall_ns / 1e6)
            .collect(),
        Peer::Collectd => collectd_walls_ms(lines),
        _ => Vec::new(),
    }
}

/// collectd's values have the moment at which each was read, to the millisecond; it reads the CPU and the
/// memory of all guests, then their disks, then their NICs.
fn collectd_walls_ms(lines: &[(Instant, String)]) -> Vec<f64> {
    let mut values: Vec<(f64, bool)> = lines
        .iter()
        .filter_map(|(_, line)| {
            let stamp = line.rsplit(' ').next()?.split(':').next()?.parse::<f64>().ok()?;
            Some((stamp, line.contains("/virt_cpu_total ") || line.contains("/memory-")))
        })
        .collect();
    values.sort_by(|one, other| one.0.total_cmp(&other.0));
    let starts: Vec<usize> =
        (1..values.len()).filter(|at| values[*at].1 && !values[at - 1].1).collect();
    starts.windows(2).map(|pair| (values[pair[1] - 1].0 - values[pair[0]].0) * 1e3).collect()
}

/// What a tool still tells of the healthy guests while the QEMU of another does not answer.
fn with_one_hung(host: &Host, peer: Peer) -> Hung {
    let stream = peers::stream(host, peer);
    sleep(WARM_UP);
    let (qemu, healthy) = host.hang_one();
    let stopped = Instant::now();
    sleep(HANG);
    let end = Instant::now();
    let lines = std::mem::take(&mut *stream.lines.lock().unwrap());
    drop(stream);
    host.release(&qemu);

    let mut domain = String::new();
    let is_new = |moment: &Instant| *moment > stopped + BEFORE && *moment <= end;
    let mut newest: BTreeMap<String, Instant> = BTreeMap::new();
    for (moment, line) in &lines {
        if let Some(guest) = peer.guest(line, &mut domain)
            && is_new(moment)
        {
            newest.insert(guest, *moment);
        }
    }
    let came: Vec<Option<&Instant>> = healthy.iter().map(|name| newest.get(name)).collect();
    Hung {
        healthy: healthy.len(),
        came: came.iter().flatten().count(),
        lines: lines.iter().filter(|(moment, _)| is_new(moment)).count(),
        oldest: came
            .into_iter()
            .map(|moment| moment.map(|moment| end - *moment))
            .collect::<Option<Vec<_>>>()
            .and_then(|ages| ages.into_iter().max()),
    }
}
