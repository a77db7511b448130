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

/// The fields of one kind of line, in the schema's order.
fn kinds() -> Vec<Vec<&'static OutputField>> {
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
    kinds
}

fn value(guest: &MadeGuest<'_>, field: &OutputField, second: i64) -> String {
    match (field.row.kind, field.row.name) {
        (FieldKind::Text, _) => "\"a word\"".to_owned(),
        (FieldKind::Flag, _) => "true".to_owned(),
        (FieldKind::Float, _) => "12.5".to_owned(),
        (FieldKind::Gauge, "state") => format!("{}i", guest.state),
        (FieldKind::Gauge, "memusable") => "500i".to_owned(),
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
            for kind in &kinds {
                let OutputField { measurement, devtype, tags, .. } = kind[0];
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
                let is_told = |it: &&&OutputField| {
                    !guest.is_hung || !(it.row.name.starts_with("disk_") || it.devtype == "disk")
                };
                let fields: Vec<String> = kind
                    .iter()
                    .filter(is_told)
                    .map(|it| format!("{}={}", it.row.name, value(guest, it, now)))
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
