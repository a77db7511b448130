//! A libvirtd of our own: it speaks libvirt's RPC on a UNIX socket, has the guests that a test gives it, and
//! answers each call as the test wants: honestly, with changed bytes, late, or not at all.
//!
//! <https://libvirt.org/kbase/internals/rpc.html>

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Numbers of remote_protocol.x.
pub mod procedure {
    pub const CLOSE: u32 = 2;
    pub const NODE_INFO: u32 = 6;
    pub const CAPABILITIES: u32 = 7;
    pub const XML: u32 = 14;
    pub const INFO: u32 = 16;
    pub const VCPUS: u32 = 20;
    pub const LOOK_UP: u32 = 24;
    pub const LIST_IDS: u32 = 37;
    pub const HOST_NAME: u32 = 59;
    pub const BLOCK: u32 = 64;
    pub const NIC: u32 = 65;
    pub const MEMORY: u32 = 159;
    pub const STATE: u32 = 212;
    pub const CONTROL: u32 = 229;
    pub const BLOCK_FLAGS: u32 = 243;
    pub const CPU: u32 = 262;
    pub const LIST: u32 = 273;
    pub const JOB: u32 = 298;
    pub const FREE_PAGES: u32 = 340;
    pub const STATISTICS: u32 = 344;

    /// Those that a collection, `check` and `record` call between them, the handshake left out.
    pub const ALL: [u32; 22] = [
        3,
        4,
        NODE_INFO,
        XML,
        15,
        INFO,
        VCPUS,
        LOOK_UP,
        LIST_IDS,
        HOST_NAME,
        60,
        BLOCK,
        NIC,
        151,
        157,
        MEMORY,
        STATE,
        CONTROL,
        BLOCK_FLAGS,
        CPU,
        LIST,
        STATISTICS,
    ];
}

const PROGRAM: u32 = 0x2000_8086;
/// VIR_ERR_NO_SUPPORT, VIR_ERR_NO_DOMAIN
const UNSUPPORTED: i32 = 3;
const NO_DOMAIN: i32 = 42;
/// What libvirt takes in one message.
const MESSAGE_MAX: usize = 32 << 20;

/// XDR: big-endian, in units of four bytes.
#[derive(Default)]
pub struct Xdr(pub Vec<u8>);

impl Xdr {
    #[must_use]
    pub fn int(mut self, number: i32) -> Xdr {
        self.0.extend(number.to_be_bytes());
        self
    }

    #[must_use]
    pub fn uint(mut self, number: u32) -> Xdr {
        self.0.extend(number.to_be_bytes());
        self
    }

    #[must_use]
    pub fn hyper(mut self, number: u64) -> Xdr {
        self.0.extend(number.to_be_bytes());
        self
    }

    #[must_use]
    pub fn text(self, text: impl AsRef<[u8]>) -> Xdr {
        let text = text.as_ref();
        let mut to = self.uint(text.len() as u32);
        to.0.extend(text);
        to.0.resize(to.0.len().next_multiple_of(4), 0);
        to
    }

    #[must_use]
    pub fn guest(self, guest: &FakeGuest) -> Xdr {
        let mut to = self.text(&guest.name);
        to.0.extend(guest.uuid);
        to.int(guest.id)
    }

    #[must_use]
    pub fn parameters(self, parameters: &[(String, Typed)]) -> Xdr {
        let to = self.uint(parameters.len() as u32);
        parameters.iter().fold(to, |to, (name, value)| match value {
            Typed::Int(number) => to.text(name).int(1).int(*number),
            Typed::Uint(number) => to.text(name).int(2).uint(*number),
            Typed::Ullong(number) => to.text(name).int(4).hyper(*number),
            Typed::Text(text) => to.text(name).int(7).text(text),
        })
    }
}

/// A typed parameter's value.
#[derive(Clone, Debug)]
pub enum Typed {
    Int(i32),
    Uint(u32),
    Ullong(u64),
    Text(Vec<u8>),
}

/// A guest of the fake.
#[derive(Clone, Debug)]
pub struct FakeGuest {
    pub name: Vec<u8>,
    pub uuid: [u8; 16],
    pub id: i32,
}

impl FakeGuest {
    /// The guest of this number: a name, a UUID and an id of its own.
    pub fn number(number: u32) -> FakeGuest {
        let mut uuid = [0x40; 16];
        uuid[..4].copy_from_slice(&number.to_be_bytes());
        FakeGuest { name: format!("guest-{number:05}").into_bytes(), uuid, id: number as i32 + 1 }
    }
}

/// What the fake has, and whether it answers in bulk.
#[derive(Clone)]
pub struct Host {
    pub guests: Vec<FakeGuest>,
    /// Else the bulk call is not supported, so that the calls for one guest are made.
    pub is_bulk: bool,
    pub parameters: Vec<(String, Typed)>,
    pub xml: String,
}

impl Host {
    /// So many guests, each with one NIC and one disk.
    pub fn with(guests: u32) -> Host {
        Host {
            guests: (0..guests).map(FakeGuest::number).collect(),
            is_bulk: true,
            parameters: parameters(),
            xml: XML.to_owned(),
        }
    }

    /// The same, without the bulk call.
    #[must_use]
    pub fn one_by_one(self) -> Host {
        Host { is_bulk: false, ..self }
    }
}

const XML: &str = "<domain type='kvm' id='1'><name>x</name><devices>\
    <disk type='file' device='disk'><source file='/x'/><target dev='vda' bus='virtio'/></disk>\
    <interface type='network'><target dev='vnet0'/></interface><memballoon model='virtio'/>\
    </devices></domain>";

fn parameters() -> Vec<(String, Typed)> {
    let mut all = vec![
        ("state.state".to_owned(), Typed::Int(1)),
        ("state.reason".to_owned(), Typed::Int(1)),
        ("vcpu.current".to_owned(), Typed::Uint(1)),
        ("vcpu.maximum".to_owned(), Typed::Uint(1)),
        ("vcpu.0.state".to_owned(), Typed::Int(1)),
        ("net.count".to_owned(), Typed::Uint(1)),
        ("net.0.name".to_owned(), Typed::Text(b"vnet0".to_vec())),
        ("block.count".to_owned(), Typed::Uint(1)),
        ("block.0.name".to_owned(), Typed::Text(b"vda".to_vec())),
    ];
    let counters = [
        "cpu.time",
        "cpu.user",
        "cpu.system",
        "balloon.current",
        "balloon.maximum",
        "balloon.rss",
        "vcpu.0.time",
        "net.0.rx.bytes",
        "net.0.rx.pkts",
        "net.0.rx.errs",
        "net.0.rx.drop",
        "net.0.tx.bytes",
        "net.0.tx.pkts",
        "net.0.tx.errs",
        "net.0.tx.drop",
        "block.0.rd.reqs",
        "block.0.rd.bytes",
        "block.0.wr.reqs",
        "block.0.wr.bytes",
    ];
    all.extend(
        (1000..).zip(counters).map(|(number, name)| (name.to_owned(), Typed::Ullong(number))),
    );
    all
}

/// One call, and what an honest libvirtd answers.
pub struct Call<'a> {
    /// How many calls of this procedure came before.
    pub before: usize,
    pub procedure: u32,
    pub arguments: &'a [u8],
    pub honest: Body,
}

/// An answer's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Answer(Vec<u8>),
    Error(i32, String),
}

/// What becomes of a whole message, its length included.
type Change = Box<dyn Fn(&mut Vec<u8>) + Send>;

/// What the fake does with a call.
pub enum Reply {
    Body(Body),
    /// The honest answer, changed.
    Changed(Change),
    Late(Duration),
    Never,
    HangUp,
}

impl Reply {
    /// This answer, whatever an honest one would be.
    pub fn answer(body: Xdr) -> Reply {
        Reply::Body(Body::Answer(body.0))
    }
}

type Script = dyn Fn(&Call<'_>) -> Reply + Send + Sync;
type Hosts = dyn Fn(usize) -> Arc<Host> + Send + Sync;

/// The fake, serving until it is dropped.
pub struct Libvirtd {
    socket: PathBuf,
    is_over: Arc<AtomicBool>,
}

impl Libvirtd {
    /// Serves on a socket in this folder; `script` says what becomes of each call.
    pub fn start(
        folder: &Path,
        host: Host,
        script: impl Fn(&Call<'_>) -> Reply + Send + Sync + 'static,
    ) -> Libvirtd {
        let host = Arc::new(host);
        Libvirtd::changing(folder, move |_| Arc::clone(&host), script)
    }

    /// The same, with what the host has at each list, by the number of lists before.
    pub fn changing(
        folder: &Path,
        hosts: impl Fn(usize) -> Arc<Host> + Send + Sync + 'static,
        script: impl Fn(&Call<'_>) -> Reply + Send + Sync + 'static,
    ) -> Libvirtd {
        let socket = folder.join("libvirt-sock-ro");
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let service = Arc::new(Service {
            hosts: Box::new(hosts),
            script: Box::new(script),
            lists: AtomicUsize::new(0),
            calls: (0..512).map(|_| AtomicUsize::new(0)).collect(),
        });
        let over = Arc::clone(&is_over);
        thread::spawn(move || {
            for connection in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let service = Arc::clone(&service);
                let Ok(connection) = connection else { continue };
                // A client that goes away is no failure of the fake.
                thread::spawn(move || service.serve(connection));
            }
        });
        Libvirtd { socket, is_over }
    }

    pub fn uri(&self) -> String {
        format!("qemu+unix:///system?socket={}", self.socket.display())
    }
}

impl Drop for Libvirtd {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = UnixStream::connect(&self.socket);
    }
}

struct Service {
    hosts: Box<Hosts>,
    script: Box<Script>,
    lists: AtomicUsize,
    calls: Vec<AtomicUsize>,
}

impl Service {
    fn serve(&self, mut connection: UnixStream) -> io::Result<()> {
        loop {
            let mut length = [0; 4];
            connection.read_exact(&mut length)?;
            let length = u32::from_be_bytes(length) as usize;
            let mut message = vec![0; length.clamp(28, MESSAGE_MAX) - 4];
            connection.read_exact(&mut message)?;
            let (header, arguments) = message.split_at(24);
            let number = |place: usize| {
                u32::from_be_bytes(header[place * 4..place * 4 + 4].try_into().unwrap())
            };
            let (program, procedure) = (number(0), number(2));
            if program != PROGRAM {
                continue;
            }
            let honest = self.honest(procedure, arguments);
            let before = self.calls[procedure as usize % 512].fetch_add(1, Ordering::Relaxed);
            let call = Call { before, procedure, arguments, honest };
            let body = match (self.script)(&call) {
                Reply::Body(body) => message_of(header, &body),
                Reply::Changed(change) => {
                    let mut message = message_of(header, &call.honest);
                    change(&mut message);
                    message
                }
                Reply::Late(time) => {
                    thread::sleep(time);
                    message_of(header, &call.honest)
                }
                Reply::Never => continue,
                Reply::HangUp => return Ok(()),
            };
            connection.write_all(&body)?;
            if procedure == procedure::CLOSE {
                return Ok(());
            }
        }
    }

    fn honest(&self, procedure: u32, arguments: &[u8]) -> Body {
        let empty = Xdr::default;
        let lists = match procedure {
            procedure::LIST => self.lists.fetch_add(1, Ordering::Relaxed),
            _ => self.lists.load(Ordering::Relaxed).saturating_sub(1),
        };
        let host = (self.hosts)(lists);
        let all = |to: Xdr| host.guests.iter().fold(to, Xdr::guest);
        let count = host.guests.len() as u32;
        let answer = match procedure {
            1 | 2 => empty(),
            3 => empty().text("QEMU"),
            4 => empty().hyper(7_002_000),
            procedure::NODE_INFO => {
                let model = (0..32).fold(empty(), |to, _| to.int(0));
                model.hyper(1 << 20).int(4).int(1000).int(1).int(1).int(4).int(1)
            }
            procedure::XML => empty().text(&host.xml),
            15 | 60 => empty().int(0),
            procedure::INFO => empty().uint(1).hyper(2048).hyper(1024).uint(1).hyper(1_000_000_000),
            procedure::VCPUS => empty().uint(1).uint(0).int(1).hyper(5).int(0).uint(0),
            procedure::LOOK_UP => {
                match host.guests.iter().find(|guest| arguments.starts_with(&guest.uuid)) {
                    Some(guest) => empty().guest(guest),
                    None => return Body::Error(NO_DOMAIN, "no such domain".to_owned()),
                }
            }
            procedure::LIST_IDS => {
                host.guests.iter().fold(empty().uint(count), |to, guest| to.int(guest.id))
            }
            procedure::HOST_NAME => empty().text("fake-host"),
            // No authentication.
            66 => empty().uint(1).int(0),
            110 => empty().text("qemu:///system"),
            procedure::BLOCK => (1..=5).fold(empty(), Xdr::hyper),
            procedure::NIC => (1..=8).fold(empty(), Xdr::hyper),
            151 => empty().int(1),
            157 => empty().hyper(9_000_000),
            procedure::MEMORY => empty().uint(2).int(6).hyper(1024).int(7).hyper(512),
            procedure::STATE => empty().int(1).int(1),
            procedure::CONTROL => empty().uint(0).uint(0).hyper(0),
            procedure::BLOCK_FLAGS => {
                let parameters = ["rd_operations", "rd_total_times"]
                    .map(|name| (name.to_owned(), Typed::Ullong(7)));
                empty().parameters(&parameters).int(2)
            }
            procedure::CPU => {
                let parameters = ["cpu_time", "user_time", "system_time"]
                    .map(|name| (name.to_owned(), Typed::Ullong(9)));
                empty().parameters(&parameters).int(3)
            }
            procedure::LIST => all(empty().uint(count)).uint(count),
            procedure::JOB => empty().int(0).parameters(&[]),
            procedure::STATISTICS if host.is_bulk => statistics(&host, arguments),
            _ => return Body::Error(UNSUPPORTED, format!("no procedure {procedure}")),
        };
        Body::Answer(answer.0)
    }
}

/// The records of the guests that the call names, as it names them.
fn statistics(host: &Host, arguments: &[u8]) -> Xdr {
    let number = |place: usize| {
        arguments.get(place..place + 4).map_or(0, |it| u32::from_be_bytes(it.try_into().unwrap()))
    };
    let count = number(0);
    let mut place = 4;
    let mut answer = Xdr::default().uint(count);
    for _ in 0..count {
        let length = 4 + (number(place) as usize).next_multiple_of(4) + 20;
        answer.0.extend(&arguments[place..place + length]);
        answer = answer.parameters(&host.parameters);
        place += length;
    }
    answer
}

fn message_of(header: &[u8], body: &Body) -> Vec<u8> {
    let (status, body) = match body {
        Body::Answer(body) => (0, body.clone()),
        Body::Error(code, text) => (1, error(*code, text).0),
    };
    // The length, program, version and procedure of the call; a reply; its serial; ok or not.
    let mut message = Xdr::default().uint((28 + body.len()) as u32).0;
    message.extend(&header[..12]);
    message = Xdr(message).int(1).0;
    message.extend(&header[16..20]);
    message = Xdr(message).int(status).0;
    message.extend(body);
    message
}

fn error(code: i32, text: &str) -> Xdr {
    let head = Xdr::default().int(code).int(10).uint(1).text(text).int(2).uint(0);
    head.uint(1).text(text).uint(0).uint(0).int(-1).int(-1).uint(0)
}
