//! The way of the statistics through the program without libvirt in it: what each stage costs a line, on
//! 10 to 10,000 guests; the same lines written by InfluxDB's own crate; the cache of as many guests.
//!
//! `cargo bench --bench replay` prints the tables, `-- --record` also keeps them in benches/records.
//!
//! It has no harness: those time one function after another, while a busy machine is slow for a while,
//! so what is compared here takes turns within one run; and allocations are counted in the same run.
#![allow(clippy::expect_used)]

#[path = "replay/builder.rs"]
mod builder;
#[path = "replay/cache.rs"]
mod cache;
#[path = "replay/host.rs"]
mod host;
#[path = "machine.rs"]
mod machine;
#[path = "replay/record.rs"]
mod record;

use std::hint::black_box;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use clap::Parser;
use host::{Host, LINES};
use influxdb_line_protocol::parse_lines;
use record::{Row, Table};
use telegraf_virt::line_protocol::{Lines, Tags};

const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];
/// As many guests are measured at each size, in as many collections as that takes.
const GUESTS_IN_ALL: usize = 100_000;

#[derive(Parser)]
struct Arguments {
    /// Keep the tables in benches/records
    #[arg(long)]
    record: bool,
    /// Only make so many collections of so many guests, for callgrind to count instructions
    #[arg(long, num_args = 2, value_names = ["COLLECTIONS", "GUESTS"])]
    collect: Option<Vec<usize>>,
    /// Cargo's word to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let arguments = Arguments::parse();
    if let Some([collections, guests]) = arguments.collect.as_deref() {
        collect(*collections, *guests);
        return;
    }
    let stages = stages();
    stages.print();
    let line = one_line();
    line.print();
    let cache = cache::table();
    cache.print();
    if arguments.record {
        record::keep("replay", &[stages, line, cache]);
    }
}

fn collect(collections: usize, guests: usize) {
    let mut host = Host::new(guests);
    let lines: usize = (0..collections).map(|_| black_box(host.collect()).count()).sum();
    println!("{lines} lines");
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_nanos() as f64
}

fn timed<T>(times: &mut Vec<Duration>, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    times.push(start.elapsed());
    result
}

/// What a line costs, stage by stage, and beside it what InfluxDB's builder takes for the same line.
fn stages() -> Table {
    let rows = SIZES.map(|guests| {
        let mut host = Host::new(guests);
        let (mut fill, mut rate, mut write) = (Vec::new(), Vec::new(), Vec::new());
        let mut build = Vec::new();
        let mut buffer = Vec::new();
        host.collect();
        host.collect();
        let (mut allocations, mut bytes, mut fields) = (0, 0, 0);
        for _ in 0..GUESTS_IN_ALL / guests {
            host.live();
            let counted = measure(|| {
                timed(&mut fill, || host.fill());
                timed(&mut rate, || host.rate());
                timed(&mut write, || host.write().count());
            });
            let lines = host.write();
            assert_eq!(lines.count(), guests * LINES);
            // The vectors that keep the times grow now and then.
            allocations = counted.count_total;
            bytes = lines.as_bytes().len();
            let text = std::str::from_utf8(lines.as_bytes()).expect("text");
            let parsed: Vec<_> = parse_lines(text).map(|line| line.expect("a line")).collect();
            fields = parsed.iter().map(|line| line.field_set.len()).sum();
            timed(&mut build, || builder::write(&mut buffer, &parsed));
            assert!(buffer == lines.as_bytes(), "the builder wrote other lines");
        }
        let lines = (guests * LINES) as f64;
        let [fill, rate, write] = [fill, rate, write].map(|times| median(times) / lines);
        let build = median(build) / lines;
        Row::from([
            ("guests", guests as f64, 0),
            ("fields a line", fields as f64 / lines, 2),
            ("bytes a line", bytes as f64 / lines, 1),
            ("fill ns", fill, 1),
            ("rates ns", rate, 1),
            ("write ns", write, 1),
            ("all ns", fill + rate + write, 1),
            ("builder ns", build, 1),
            ("allocations", allocations as f64 / lines, 3),
        ])
    });
    let guests = Host::new(1);
    Table {
        title: format!(
            "a line of output, from {} statistics a guest and {LINES} lines a guest",
            guests.statistics()
        ),
        rows: rows.to_vec(),
    }
}

/// A line of nine integers alone, by line_protocol and by the builder.
fn one_line() -> Table {
    const LINES: usize = 1_000;
    let mut tags = Tags::default();
    tags.add("VMID", "12");
    tags.add("name", "instance-0000002a");
    tags.add("uuid", "550e8400-e29b-41d4-a716-446655440000");
    tags.add("devtype", "nic");
    tags.add("device", "vnet12");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let (mut lines, mut buffer) = (Lines::default(), Vec::new());
    let mut values = [179_551_675_382, 17_955_167, 0, 0, 89_775_837_691, 16_322_879, 0, 12, 1];
    for round in 0..1_000 {
        timed(&mut ours, || {
            lines.start(1_700_000_000_000_000_000 + round);
            for _ in 0..LINES {
                lines.line("vm_devices", &[black_box(&tags)], |fields| {
                    let values = black_box(&values);
                    fields.unsigned("rxbytes", values[0]);
                    fields.unsigned("rxpackets", values[1]);
                    fields.unsigned("rxerrors", values[2]);
                    fields.unsigned("rxdrops", values[3]);
                    fields.unsigned("txbytes", values[4]);
                    fields.unsigned("txpackets", values[5]);
                    fields.unsigned("txerrors", values[6]);
                    fields.unsigned("txdrops", values[7]);
                    fields.unsigned("errors", values[8]);
                });
            }
        });
        let text = std::str::from_utf8(lines.as_bytes()).expect("text");
        let parsed: Vec<_> = parse_lines(text).map(|line| line.expect("a line")).collect();
        timed(&mut theirs, || builder::write(&mut buffer, &parsed));
        assert!(buffer == lines.as_bytes(), "the builder wrote other lines");
        values[0] += 1_000;
    }
    let row = Row::from([
        ("fields", values.len() as f64, 0),
        ("bytes a line", lines.as_bytes().len() as f64 / LINES as f64, 1),
        ("line_protocol ns", median(ours) / LINES as f64, 1),
        ("builder ns", median(theirs) / LINES as f64, 1),
    ]);
    Table { title: "one line of nine integers, line protocol only".to_owned(), rows: vec![row] }
}
