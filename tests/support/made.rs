//! Collections made from the schema's table: every measurement and every field of the output, with values
//! that a query can tell apart from nothing. For tests of databases, which ask what a database does with
//! the lines, and not whether the lines are right.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use telegraf_virt::schema::{FieldKind, OutputField, output_fields};

use super::lines::{self, Line, Value};

/// A guest, or a hypervisor, of the collections.
#[derive(Clone, Copy, Debug)]
pub struct MadeGuest<'a> {
    pub name: &'a str,
    /// More tags of its lines, each with a comma before it: `,host=hv-01,source=kvm1`.
    pub tags: &'a str,
    /// The number of its state: 1 is running.
    pub state: i64,
    /// Whether its QEMU is silent: then it has a state and no disk counters.
    pub is_hung: bool,
}

/// One kind of line: its tags, beside those of every line, and its fields in the schema's order.
struct Kind {
    tags: &'static [&'static str],
    fields: Vec<&'static OutputField>,
}

fn kinds() -> Vec<Kind> {
    let mut kinds: Vec<Vec<&OutputField>> = Vec::new();
    for field in output_fields() {
        // Names that only libvirt knows have an asterisk.
        if field.measurement == "vm_other" || field.row.name.contains('*') {
            continue;
        }
        let key = |it: &OutputField| (it.measurement, it.devtype, it.tags);
        match kinds.iter_mut().find(|kind| key(kind[0]) == key(field)) {
            Some(kind) => kind.push(field),
            None => kinds.push(vec![field]),
        }
    }
    kinds.into_iter().flat_map(of_parts).collect()
}

/// A host's line, those of its NUMA cells and those of its huge pages differ in their tags; others do not.
fn of_parts(fields: Vec<&'static OutputField>) -> Vec<Kind> {
    let tags = fields[0].tags;
    if fields[0].measurement != "vm_host" {
        return vec![Kind { tags, fields }];
    }
    let is_of_pages = |it: &&OutputField| it.row.name.starts_with("pages_");
    let is_of_cell = |it: &&OutputField| {
        ["cpuset", "memory_total_kib", "memory_free_kib"].contains(&it.row.name)
    };
    let of = |choose: &dyn Fn(&&OutputField) -> bool| {
        fields.iter().copied().filter(|it| choose(it)).collect()
    };
    vec![
        Kind { tags: &tags[..1], fields: of(&|it| !is_of_pages(it) && it.row.name != "cpuset") },
        Kind { tags: &tags[..2], fields: of(&is_of_cell) },
        Kind { tags, fields: of(&is_of_pages) },
    ]
}

/// Lines without the tag that is new at each boot, as where `tagexclude` drops it.
pub fn without_vmid(lines: &str) -> String {
    let without = |line: &str| {
        let Some((before, rest)) = line.split_once(",VMID=") else { return line.to_owned() };
        format!("{before}{}", rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-'))
    };
    lines.lines().map(|line| without(line) + "\n").collect()
}

/// Lines of which a guest was started again at this second, on another host: it has another id since.
pub fn restarted(lines: &str, name: &str, second: i64) -> String {
    let is_before = |line: &str| {
        let (_, stamp) = line.rsplit_once(' ').unwrap();
        stamp.parse::<i64>().unwrap() < second * 1_000_000_000
    };
    let of_guest = format!(",name={name},");
    let line = |line: &str| match line.split_once(&of_guest) {
        Some((head, rest)) if is_before(line) => {
            let (measurement, _) = head.split_once(',').unwrap();
            let rest = rest.replace(",host=hv-01", ",host=hv-09");
            format!("{measurement},VMID=99{of_guest}{rest}\n")
        }
        _ => format!("{line}\n"),
    };
    lines.lines().map(line).collect()
}

fn value(guest: &MadeGuest<'_>, is_of_cell: bool, field: &OutputField, second: i64) -> String {
    match (field.row.kind, field.row.name) {
        (FieldKind::Text, "operation") if guest.is_hung => "\"backup\"".to_owned(),
        (FieldKind::Text, _) => "\"a word\"".to_owned(),
        (FieldKind::Flag, _) => "true".to_owned(),
        (FieldKind::Float, _) => "12.5".to_owned(),
        (FieldKind::Gauge, "state") => format!("{}i", guest.state),
        // One hangs by its counters and its answer, one while it is paused.
        (FieldKind::Gauge, "answer_code") if guest.is_hung || guest.state == 3 => "4i".to_owned(),
        (FieldKind::Gauge, "answer_code") => "0i".to_owned(),
        (FieldKind::Gauge, "memusable") => "500i".to_owned(),
        // So that a query that takes the one for the other is found.
        (FieldKind::Gauge, "memory_total_kib" | "memory_free_kib") if is_of_cell => {
            "10i".to_owned()
        }
        (FieldKind::Gauge, _) => "1000i".to_owned(),
        (FieldKind::Counter | FieldKind::AsSent, _) => format!("{}i", second * 10),
    }
}

/// Collections of these guests, one each `step` seconds.
pub fn collections(guests: &[MadeGuest<'_>], time: Range<i64>, step: usize) -> String {
    let kinds = kinds();
    let mut lines = String::new();
    for now in time.step_by(step) {
        for (number, guest) in guests.iter().enumerate() {
            for Kind { tags, fields } in &kinds {
                let OutputField { measurement, devtype, .. } = fields[0];
                let is_of_cell = tags.contains(&"cell");
                // An event is a guest's, but for that of a lost connection.
                let is_event = *measurement == "vm_events";
                let is_of_guest = is_event || !tags.contains(&"uri");
                let more = guest.tags;
                let mut head = match is_of_guest {
                    true => {
                        let name = guest.name;
                        format!("{measurement},VMID={},name={name},uuid=uuid-of-{name}", number + 1)
                    }
                    false => (*measurement).to_owned(),
                };
                for tag in tags.iter().filter(|tag| !is_event || **tag != "uri") {
                    let value = match (*tag, *devtype) {
                        ("devtype", "nic") => "nic".to_owned(),
                        ("devtype", _) => "disk".to_owned(),
                        ("device", "nic") => format!("vnet{number}"),
                        ("device", _) => "vda".to_owned(),
                        ("event", _) => "io_error".to_owned(),
                        ("uri", _) => "qemu:///system".to_owned(),
                        _ => "0".to_owned(),
                    };
                    write!(head, ",{tag}={value}").unwrap();
                }
                let name = |it: &OutputField| it.row.name;
                let is_of_disk = |it: &OutputField| {
                    name(it).starts_with("disk_") || name(it) == "memrss" || it.devtype == "disk"
                };
                // Its job is a backup, which has disks only.
                let is_of_memory = |it: &OutputField| {
                    name(it).starts_with("data_") || name(it).starts_with("mem_")
                };
                let is_told = |it: &&&OutputField| {
                    !guest.is_hung
                        || match it.measurement {
                            "vm_jobs" => !is_of_memory(it),
                            "vm_block_jobs" => true,
                            _ => !is_of_disk(it),
                        }
                };
                let fields: Vec<String> = fields
                    .iter()
                    .filter(is_told)
                    .map(|it| format!("{}={}", name(it), value(guest, is_of_cell, it, now)))
                    .collect();
                // The hypervisor's lines come once, with the first guest that has these tags.
                let is_first = guests[..number].iter().all(|before| before.tags != more);
                if !fields.is_empty() && (is_of_guest || is_first) {
                    let fields = fields.join(",");
                    writeln!(lines, "{head}{more} {fields} {}", now * 1_000_000_000).unwrap();
                }
            }
        }
    }
    lines
}

/// The numbers of lines as Prometheus' tool reads them to make a database of them: OpenMetrics.
pub fn open_metrics(lines: &[Line]) -> String {
    exposition(lines, |line| format!(" {}", line.timestamp / 1_000_000_000)) + "# EOF\n"
}

/// The numbers of lines as Prometheus scrapes them, with something behind each.
fn exposition(lines: &[Line], end: impl Fn(&Line) -> String) -> String {
    let mut metrics: BTreeMap<String, String> = BTreeMap::new();
    for line in lines {
        let labels: Vec<String> =
            line.tags.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        for (field, value) in &line.fields {
            let value = match value {
                Value::Int(value) => value.to_string(),
                Value::Float(value) => format!("{value:?}"),
                Value::Bool(value) => u8::from(*value).to_string(),
                Value::Text(_) => continue,
            };
            let name = format!("{}_{field}", line.measurement);
            let text = metrics.entry(name.clone()).or_default();
            writeln!(text, "{name}{{{}}} {value}{}", labels.join(","), end(line)).unwrap();
        }
    }
    metrics.into_values().collect()
}

/// A server on loopback that Prometheus scrapes: it answers each request with a collection of this second.
pub struct Exposed {
    pub port: u16,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Exposed {
    pub fn start(guests: Vec<MadeGuest<'static>>) -> Exposed {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_over = Arc::new(AtomicBool::new(false));
        let is_ended = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if is_ended.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
                let now = i64::try_from(now).unwrap();
                let lines = lines::read(&collections(&guests, now..now + 1, 1));
                let text = exposition(&lines, |_| String::new());
                let mut request = BufReader::new(stream.try_clone().unwrap());
                let mut line = String::new();
                while request.read_line(&mut line).is_ok_and(|length| length > 2) {
                    line.clear();
                }
                // Who has gone away meanwhile asks again.
                let _ = write!(stream, "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n{text}");
            }
        });
        Exposed { port, is_over, thread: Some(thread) }
    }
}

impl Drop for Exposed {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // It waits for a request.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
