//! What a recording costs whoever reads it: memory in proportion to a part of the file, and time in proportion
//! to its statistics, whatever order they stand in.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::support::execd::Execd;
use crate::support::program::program;
use crate::support::{repository, say};

/// A recording of one moment with so many guests, each as the fixture has one.
fn of_guests(guests: usize, file: &Path) -> usize {
    let text = fs::read_to_string(repository().join("fixtures/hosts/recorded.jsonl")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let guest = *lines.iter().find(|line| line.starts_with("{\"id\":1,")).unwrap();
    let (name, uuid) = ("\"guest-1\"", "00000000-0000-4000-8000-000000000004");
    assert!(guest.contains(name) && guest.contains(uuid), "{}", &guest[..100]);
    let all = (0..guests).map(|number| {
        let uuid_of = format!("00000000-0000-4000-8000-{number:012}");
        guest.replace(name, &format!("\"guest-{number}\"")).replace(uuid, &uuid_of)
    });
    write(file, lines[0], lines[1], all)
}

/// Returns how many bytes the file has.
fn write(file: &Path, header: &str, moment: &str, guests: impl Iterator<Item = String>) -> usize {
    let guests: Vec<String> = guests.collect();
    let header = header.replace("\"moments\":2", "\"moments\":1");
    let moment = moment.replace("\"guests\":4", &format!("\"guests\":{}", guests.len()));
    let text = format!("{header}\n{moment}\n{}\n", guests.join("\n"));
    fs::write(file, &text).unwrap();
    text.len()
}

/// What two collections of a recording took: the peak of the memory in bytes, the CPU time in milliseconds,
/// and how many lines were printed.
fn read(file: &Path) -> (usize, u64, usize) {
    let scratch = tempfile::tempdir().unwrap();
    let mut command = program(scratch.path());
    command.args(["--uri", &format!("replay:{}", file.display()), "--deadline", "60s"]);
    let mut execd = Execd::of(&mut command);
    let (first, second) = (execd.collect(), execd.collect());
    assert!(second.lines.len() >= first.lines.len());
    let of = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", execd.id())).unwrap();
    let status = of("status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak_kib: usize = peak.trim().trim_end_matches(" kB").parse().unwrap();
    let stat = of("stat");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    (peak_kib * 1024, ticks * 10, first.lines.len())
}

#[test]
#[ignore = "measures memory and CPU time"]
fn a_recording_takes_less_memory_than_twice_its_size() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("host.jsonl");
    of_guests(1, &file);
    let (least, ..) = read(&file);
    let size = of_guests(2000, &file);
    let (peak, _, lines) = read(&file);
    assert!(lines >= 6000, "{lines}");
    let more = peak - least;
    say(&format!("recordings: {more} bytes of memory for a file of {size}"));
    assert!(size > 10 << 20, "{size}");
    // The file itself is not kept, only what is known of its guests: 1.5 times.
    assert!(more < size * 2, "{more} bytes more for a file of {size}");
}

/// A guest with so many disks, of which each statistic stands for all disks before the next one does.
fn interleaved(disks: usize, file: &Path) {
    let text = fs::read_to_string(repository().join("fixtures/hosts/recorded.jsonl")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let mut statistics =
        format!("[\"state.state\",{{\"int\":1}}],[\"block.count\",{{\"uint\":{disks}}}]");
    for number in 0..disks {
        write!(statistics, ",[\"block.{number}.name\",{{\"text\":\"vd{number}\"}}]").unwrap();
    }
    for name in ["rd.reqs", "rd.bytes", "wr.reqs", "wr.bytes", "rd.times", "wr.times"] {
        for number in 0..disks {
            write!(statistics, ",[\"block.{number}.{name}\",{{\"uint\":{number}}}]").unwrap();
        }
    }
    let real = lines.iter().find(|line| line.starts_with("{\"id\":1,")).unwrap();
    let (start, rest) = real.split_once("\"ok\":[").unwrap();
    let (_, calls) = rest.split_once(",\"calls\":").unwrap();
    let guest = format!("{start}\"ok\":[{statistics}]}},\"calls\":{calls}");
    write(file, lines[0], lines[1], std::iter::once(guest));
}

#[test]
#[ignore = "measures memory and CPU time"]
fn statistics_that_stand_in_another_order_cost_time_in_proportion_to_their_number() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("host.jsonl");
    let cpu_ms = |disks: usize| {
        interleaved(disks, &file);
        let (_, cpu_ms, lines) = read(&file);
        assert!(lines > 0, "{disks}");
        cpu_ms
    };
    let (few, many) = (cpu_ms(2_500), cpu_ms(20_000));
    say(&format!("recordings: {few} ms of CPU for 2,500 interleaved disks, {many} ms for 20,000"));
    // 8 times as many: 64 times as long, were it the square.
    assert!(many < (few + 10) * 20, "{few} ms, then {many} ms");
}
