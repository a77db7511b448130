//! What a fault of one guest does to the others: collections while it lasts, counted and timed, with what other
//! clients of libvirt see meanwhile.

use super::execd::Execd;
use super::faults::{Fault, Trouble, listed};
use super::lab::Lab;
use super::lines::{self, Line};
use super::others::Others;
use super::process::run;
use super::program::program;
use super::tally::{Shape, shapes};
use super::wait_until;
use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What a busy machine may add to a time.
const NOISE: Duration = Duration::from_millis(300);
/// The default of `max_stuck`.
const MAX_STUCK: usize = 12;

/// How the program runs while the fault lasts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    /// Kept running; it knows all guests from before.
    Fresh,
    /// Kept running, and what it knows of the guests' devices is old.
    Old,
    /// Started when the fault is there already, without a cache.
    Cold,
    /// Kept running, with guests that are off.
    Inactive,
    /// Kept running, and `record` is run beside it.
    Record,
    /// Run again and again.
    Once,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Fresh => "kept running",
            Way::Old => "list older than the ttl",
            Way::Cold => "no list, no cache",
            Way::Inactive => "inactive = true",
            Way::Record => "record beside it",
            Way::Once => "once, again and again",
        }
    }

    fn settings(self) -> &'static str {
        match self {
            Way::Old => "[cache]\nttl = \"1s\"\n",
            Way::Inactive => "[domains]\ninactive = true\n",
            _ => "",
        }
    }
}

/// One row to be measured.
#[derive(Clone, Debug)]
pub struct Case {
    pub troubles: Vec<Trouble>,
    pub way: Way,
    /// How long it goes on, and from the start of one collection to that of the next.
    pub lasts: Duration,
    pub every: Duration,
}

impl Case {
    pub fn name(&self) -> String {
        let names: Vec<String> = self.troubles.iter().map(|trouble| trouble.name()).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(" + ") };
        format!("{names}; {}", self.way.name())
    }
}

/// A row of the table.
#[derive(Default)]
pub struct Row {
    name: String,
    collections: usize,
    expected: usize,
    received: usize,
    sick: usize,
    /// The fewest and the most lines that the guests in trouble had.
    sick_lines: Option<(usize, usize)>,
    /// What a collection takes in peace, with the same guests.
    normal: Duration,
    /// The collection in which trouble begins, the usual later one, and the longest of those.
    first: Duration,
    usual: Duration,
    longest: Duration,
    /// The fewest free workers, of those that were busy for longer than a collection, and at any moment.
    free: usize,
    free_moment: usize,
    dominfo: Duration,
    /// What the program had to say, first.
    pub said: Vec<String>,
    /// What is not as it must be.
    pub wrong: Vec<String>,
}

impl Row {
    pub fn head() -> String {
        let names = [
            "coll.", "expected", "received", "sick", "lines", "N ms", "first", "usual", "longest",
            "free", "moment", "dominfo",
        ];
        let names: String = names.map(|name| format!(" {name:>8}")).concat();
        format!("{:<60}{names}", "fault, and how the program runs")
    }

    pub fn shown(&self) -> String {
        let ms = |time: Duration| time.as_millis().to_string();
        let lines = match self.sick_lines {
            None => "-".to_owned(),
            Some((few, many)) if few == many => few.to_string(),
            Some((few, many)) => format!("{few}-{many}"),
        };
        let columns = [
            self.collections.to_string(),
            self.expected.to_string(),
            self.received.to_string(),
            self.sick.to_string(),
            lines,
            ms(self.normal),
            ms(self.first),
            ms(self.usual),
            ms(self.longest),
            self.free.to_string(),
            self.free_moment.to_string(),
            ms(self.dominfo),
        ];
        let columns: String = columns.map(|column| format!(" {column:>8}")).concat();
        let verdict = if self.wrong.is_empty() { "" } else { "  WRONG" };
        format!("{:<60}{columns}{verdict}", self.name)
    }

    fn must(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(what());
        }
    }
}

/// A lab for all rows.
pub struct Theatre<'a> {
    pub lab: &'a Lab,
    pub other: &'a Lab,
    pub fleet: Vec<String>,
}

impl Theatre<'_> {
    /// Makes the faults, looks what they do, and ends them; whatever happens, the next row can follow.
    pub fn measure(&self, case: &Case) -> Row {
        let mut row = Row { name: case.name(), ..Row::default() };
        let mut healthy = self.fleet.clone();
        let prepare = |&trouble| {
            Fault::prepare(trouble, self.lab, Some(self.other), &mut healthy, case.lasts)
        };
        let mut faults: Vec<Fault> = case.troubles.iter().map(prepare).collect();
        let mut began = false;
        let looked = catch_unwind(AssertUnwindSafe(|| {
            self.look(case, &mut faults, &healthy, &mut row, &mut began);
        }));
        if let Err(panic) = looked {
            row.wrong.push(format!("it went wrong: {}", words(&*panic)));
            for fault in faults.iter_mut().filter(|_| began) {
                // Of a fault that was only half made, part of the end may fail.
                let _ = catch_unwind(AssertUnwindSafe(|| fault.end()));
            }
        }
        faults.iter_mut().for_each(Fault::forget);
        self.wait_until_well();
        row
    }

    fn look(
        &self,
        case: &Case,
        faults: &mut [Fault],
        healthy: &[String],
        row: &mut Row,
        began: &mut bool,
    ) {
        let mut seat = Seat::take(self.lab, case.way);
        // What it is like in peace: the first is one without a past.
        let first = seat.collect();
        row.normal = if case.way == Way::Cold { first.took } else { Duration::ZERO };
        let mut times: Vec<Duration> = (0..3).map(|_| seat.collect().took).collect();
        times.sort();
        row.normal = row.normal.max(times[1]);
        let whole = keep(shapes(&seat.collect().lines), healthy);
        assert_eq!(whole.len(), healthy.len(), "in peace already: {:#?}", seat.told());
        // Whom a message has to name: a guest that was seen before.
        let names: Vec<String> = faults
            .iter()
            .filter(|fault| fault.is_hung() && case.way != Way::Cold)
            .flat_map(|fault| &fault.sick)
            .map(|uuid| self.lab.virsh(&["domname", uuid]).trim().to_owned())
            .collect();
        if case.way == Way::Cold {
            drop(seat);
            *began = true;
            faults.iter_mut().for_each(Fault::begin);
            seat = Seat::take(self.lab, case.way);
        } else {
            if case.way == Way::Old {
                thread::sleep(Duration::from_millis(2500));
            }
            seat.told();
            *began = true;
            faults.iter_mut().for_each(Fault::begin);
        }
        for fault in faults.iter_mut() {
            assert!(fault.holds(), "the fault could not be made");
        }
        let mut record = (case.way == Way::Record).then(|| recording(self.lab));
        let sick: Vec<String> = faults.iter().flat_map(|fault| fault.sick.clone()).collect();
        row.sick = case.troubles.iter().filter(|it| !it.is_well()).map(|it| count(*it)).sum();
        let bystander = healthy.last().unwrap().clone();
        let others = Others::watch(self.lab, bystander);

        let started = Instant::now();
        let (mut gaps, mut later) = (Vec::new(), Vec::new());
        while started.elapsed() < case.lasts {
            let next = Instant::now() + case.every;
            let collection = seat.collect();
            let is_first = row.collections == 0;
            row.collections += 1;
            let number = row.collections;
            if is_first {
                row.first = collection.took;
            } else {
                later.push(collection.took);
            }
            let got = shapes(&collection.lines);
            for (uuid, shape) in &whole {
                for (title, fields) in shape {
                    // There are no rates without a past.
                    if is_first && case.way == Way::Cold && title.starts_with("vm_features") {
                        continue;
                    }
                    row.expected += 1;
                    if got.get(uuid).and_then(|shape| shape.get(title)) == Some(fields) {
                        row.received += 1;
                    } else {
                        gaps.push((number, title.clone()));
                    }
                }
            }
            let is_sick = |line: &&Line| sick.iter().any(|uuid| line.tag("uuid") == uuid);
            let lines = collection.lines.iter().filter(is_sick).count();
            // There are no rates without a past.
            if !sick.is_empty() && (!is_first || case.way != Way::Cold) {
                let (few, many) = row.sick_lines.unwrap_or((lines, lines));
                row.sick_lines = Some((few.min(lines), many.max(lines)));
            }
            if case.troubles.iter().all(|it| it.is_well()) {
                let totals = |line: &&Line| line.measurement == "vm_totals";
                let mut totals = collection.lines.iter().filter(totals).map(Line::field_names);
                let first = totals.next();
                row.must(totals.all(|names| Some(names) == first), || {
                    format!("{number}: the lines vm_totals differ in their fields")
                });
            }
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        if let Some(record) = &mut record {
            let is_over = record.try_wait().unwrap().is_some();
            row.must(is_over, || "record has not come to an end".into());
        }
        // A collection that takes its whole deadline may outlast it.
        let held =
            started.elapsed() > case.lasts + case.every || faults.iter_mut().all(Fault::holds);
        row.must(held, || "the fault was over before the last collection".into());
        later.sort();
        row.usual = later.get(later.len() / 2).copied().unwrap_or_default();
        row.longest = later.last().copied().unwrap_or_default();
        let seen = others.end();
        (row.free, row.free_moment, row.dominfo) = (seen.free, seen.free_moment, seen.dominfo);
        *began = false;
        faults.iter_mut().for_each(Fault::end);
        if let Some(mut record) = record {
            let _ = record.kill();
            record.wait().unwrap();
        }
        row.said = seat.told();
        self.judge(case, row, &gaps, &names);
        self.afterwards(case, &mut seat, &whole, row);
    }

    /// What isolation.md demands of the time in which the fault lasts.
    fn judge(&self, case: &Case, row: &mut Row, gaps: &[(usize, String)], names: &[String]) {
        let (expected, received) = (row.expected, row.received);
        let says = |level: &str| row.said.iter().any(|said| said.starts_with(level));
        // Who has never seen a list may be unable to name the guests, and then says so.
        let never = case.way == Way::Cold && received == 0 && says("E! ");
        let never = never && case.troubles.iter().any(|it| it.locks());
        row.must(received == expected || never, || {
            let mut kinds: BTreeMap<(usize, &str), usize> = BTreeMap::new();
            for (number, title) in gaps {
                let kind = title.split(' ').next().unwrap_or_default();
                *kinds.entry((*number, kind)).or_default() += 1;
            }
            let kinds: Vec<String> = kinds
                .iter()
                .map(|((number, kind), count)| format!("{count} {kind} in collection {number}"))
                .collect();
            format!("lines of healthy guests are missing: {}", kinds.join(", "))
        });
        let (free, moment, sick) = (row.free, row.free_moment, row.sick);
        row.must(free + sick + 2 >= 20, || {
            format!("{free} free workers, {sick} guests in trouble")
        });
        // The program's own connections put a call each, for a moment.
        row.must(moment + sick + 2 + 4 >= 20, || format!("{moment} free workers at one moment"));
        let waited = row.dominfo;
        row.must(waited < Duration::from_secs(1), || {
            format!("virsh dominfo of a healthy guest took {waited:?}")
        });
        let slow = case.troubles.iter().map(|it| match it {
            // So little is waited for, each time.
            Trouble::SlowNic(delay @ ..500) => Duration::from_millis(u64::from(*delay)),
            _ => Duration::ZERO,
        });
        let normal = row.normal + slow.sum::<Duration>();
        let (first, usual, longest) = (row.first, row.usual, row.longest);
        // With as many calls stuck as may be, the rule has no limit but the deadline. One more wave of questions is
        // what was seen.
        let wave = Duration::from_millis(if sick >= MAX_STUCK { 500 } else { 0 });
        let in_trouble = normal + Duration::from_millis(1200) + wave + NOISE;
        row.must(first <= in_trouble, || {
            format!("the first collection took {first:?}, in peace {normal:?}")
        });
        // One of many may be slow on a busy machine.
        // Every 10 s another guest is destroyed, so that half of them are first ones.
        let begins_anew = case.troubles.contains(&Trouble::Destroyed);
        let later = if begins_anew { in_trouble } else { normal.mul_f64(1.3) + NOISE };
        row.must(usual <= later && longest <= in_trouble, || {
            format!("later collections took {usual:?} to {longest:?}, in peace {normal:?}")
        });
        let named = names.is_empty()
            || row.said.iter().any(|said| names.iter().any(|name| said.contains(name.as_str())));
        row.must(named, || format!("none of {names:?} is named in any message"));
        if case.troubles.iter().all(|it| it.is_well()) {
            let said: Vec<String> =
                row.said.iter().filter(|it| !it.starts_with("I! ")).cloned().collect();
            row.must(said.is_empty(), || format!("nothing is wrong, and it says {said:?}"));
        }
        // A guest that is off is in the output only where it is asked for.
        let all: Option<usize> = case.troubles.iter().map(|it| it.lines()).sum();
        let hidden = case.troubles.contains(&Trouble::OffOnFifo) && case.way != Way::Inactive;
        let (all, lines) = (all.filter(|all| *all > 0 && !hidden), row.sick_lines);
        row.must(all.is_none_or(|all| lines == Some((all, all))), || {
            format!("{all:?} lines of the guest in trouble are expected, not {lines:?}")
        });
    }

    /// After it is over, the next collection has every line of the healthy guests, and no more warnings come.
    fn afterwards(
        &self,
        case: &Case,
        seat: &mut Seat,
        whole: &BTreeMap<String, Shape>,
        row: &mut Row,
    ) {
        self.wait_until_well();
        let got = shapes(&seat.collect().lines);
        for (uuid, shape) in whole {
            // Rates need a past, which there may be none of yet.
            let needs = |title: &str| case.way != Way::Cold || !title.starts_with("vm_features");
            let its = got.get(uuid);
            let has = |title: &str, fields| its.and_then(|its| its.get(title)) == Some(fields);
            let whole = shape.iter().all(|(title, fields)| !needs(title) || has(title, fields));
            row.must(whole, || format!("after it, {:?} is not complete", shape.keys().next()));
        }
        // That a guest answers again, or is gone, is said once.
        seat.told();
        if case.way != Way::Once {
            seat.collect();
            let said = seat.told();
            let warns = said.iter().any(|it| it.starts_with("W! ") || it.starts_with("E! "));
            row.must(!warns, || format!("after it, it says {said:?}"));
        }
    }

    /// Until libvirt lists its guests and each of them answers.
    pub fn wait_until_well(&self) {
        wait_until("libvirt is well", Duration::from_secs(90), || {
            let lists = listed(self.lab).contains("fleet-");
            let socket = self.lab.uri();
            let mut stats = Command::new("timeout");
            stats.args(["5", "virsh", "-q", "-r", "-c", &socket]);
            stats.args(["domstats", "--balloon", "--block"]);
            (lists && run(&mut stats).status.success()).then_some(())
        });
    }
}

fn count(trouble: Trouble) -> usize {
    match trouble {
        Trouble::Silent(count) => count,
        _ => 1,
    }
}

fn keep(mut shapes: BTreeMap<String, Shape>, guests: &[String]) -> BTreeMap<String, Shape> {
    shapes.retain(|uuid, _| guests.contains(uuid));
    shapes
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

fn recording(lab: &Lab) -> Child {
    let file = lab.scratch().join("recording.jsonl");
    let _ = std::fs::remove_file(&file);
    let mut command = program(lab.scratch());
    command.args(["record", "--interval", "1s", "--uri", &lab.uri()]).arg(file);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// One collection, however the program was run for it.
struct Taken {
    lines: Vec<Line>,
    took: Duration,
}

/// The program on the lab.
enum Seat {
    Kept(Box<Execd>),
    Once { lab_uri: String, scratch: PathBuf, told: Vec<String>, cache: tempfile::TempDir },
}

impl Seat {
    fn take(lab: &Lab, way: Way) -> Seat {
        let settings = lab.scratch().join("row.toml");
        std::fs::write(&settings, way.settings()).unwrap();
        if way == Way::Once {
            let cache = tempfile::TempDir::new().unwrap();
            return Seat::Once {
                lab_uri: lab.uri(),
                scratch: lab.scratch().to_owned(),
                told: Vec::new(),
                cache,
            };
        }
        let mut command = program(lab.scratch());
        command.args(["--no-cache", "--uri", &lab.uri(), "--config"]).arg(settings);
        Seat::Kept(Box::new(Execd::of(&mut command)))
    }

    fn collect(&mut self) -> Taken {
        match self {
            Seat::Kept(execd) => {
                let collection = execd.collect();
                Taken { lines: collection.lines, took: collection.took }
            }
            Seat::Once { lab_uri, scratch, told, cache } => {
                let started = Instant::now();
                let mut command = program(scratch);
                command.args(["once", "--uri", lab_uri, "--cache-dir"]).arg(cache.path());
                let finished = run(&mut command);
                let took = started.elapsed();
                told.extend(finished.stderr.lines().map(str::to_owned));
                Taken { lines: lines::read(&finished.stdout), took }
            }
        }
    }

    /// What it said since the last time this was asked.
    fn told(&mut self) -> Vec<String> {
        match self {
            Seat::Kept(execd) => execd.news(),
            Seat::Once { told, .. } => std::mem::take(told),
        }
    }
}
