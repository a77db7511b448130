//! Faults of a guest that may affect others: each is made of a real guest, holds until it is ended, and then
//! is gone without a trace.

use super::lab::Lab;
use super::process::run;
use super::wait_until;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

/// What is wrong with a guest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trouble {
    /// The QEMU processes of so many guests are stopped.
    Silent(usize),
    /// A guest is destroyed whose QEMU is stopped: libvirt has it locked for 10 s.
    Destroyed,
    /// A guest is started, and its hook does not come back.
    HeldByHook,
    /// A guest that runs is given a disk whose image is a FIFO that nobody writes to: libvirt has it locked.
    AttachesFifo,
    /// A guest is off, and its image is a FIFO that nobody writes to.
    OffOnFifo,
    /// A paused guest is asked to give back a disk.
    Unplug,
    MigratesOut,
    MigratesIn,
    /// A guest whose only disk is a vhost-user disk.
    VhostDisk,
    /// A guest with a vhost-user disk and one in a file.
    VhostBesideFile,
    /// A guest with a vhost-user NIC, whose statistics come so many milliseconds late.
    SlowNic(u32),
}

impl Trouble {
    pub fn name(self) -> String {
        match self {
            Trouble::Silent(count) => format!("silent QEMU, {count} of them"),
            Trouble::Destroyed => "destroyed while silent".into(),
            Trouble::HeldByHook => "a start that its hook holds".into(),
            Trouble::AttachesFifo => "given a disk on a FIFO".into(),
            Trouble::OffOnFifo => "off, its image on a FIFO".into(),
            Trouble::Unplug => "hot-unplug without an answer".into(),
            Trouble::MigratesOut => "slow migration out".into(),
            Trouble::MigratesIn => "slow migration in".into(),
            Trouble::VhostDisk => "vhost-user disk only".into(),
            Trouble::VhostBesideFile => "vhost-user disk beside a file".into(),
            Trouble::SlowNic(delay) => format!("vhost-user NIC, ovs-vsctl {delay} ms"),
        }
    }

    /// How many lines such a guest has in every collection, where it is none for a guest in trouble to lose any:
    /// metrics, features, devices and totals; of a guest that is off, two.
    pub fn lines(self) -> Option<usize> {
        match self {
            Trouble::VhostDisk => Some(5),
            Trouble::VhostBesideFile => Some(6),
            Trouble::OffOnFifo => Some(2),
            _ => None,
        }
    }

    /// Whether this libvirt knows what it is made of.
    pub fn can_be(self, lab: &Lab) -> bool {
        !matches!(self, Trouble::VhostDisk | Trouble::VhostBesideFile) || lab.has_libvirt(7, 1)
    }

    /// Whether libvirt has the guest locked, so that it lists no guests.
    pub fn locks(self) -> bool {
        matches!(
            self,
            Trouble::Destroyed | Trouble::HeldByHook | Trouble::AttachesFifo | Trouble::SlowNic(_)
        )
    }

    /// Whether it is well, and there is nothing to say of it.
    pub fn is_well(self) -> bool {
        matches!(self, Trouble::VhostDisk | Trouble::VhostBesideFile)
    }
}

/// One trouble, made of guests of a lab.
pub struct Fault<'a> {
    lab: &'a Lab,
    /// Where a guest migrates to or comes from.
    other: Option<&'a Lab>,
    trouble: Trouble,
    /// The guests in trouble.
    pub sick: Vec<String>,
    hold: Duration,
    children: Vec<Child>,
}

/// What holds a start, and what takes the place of ovs-vsctl. Both are there from the beginning. The name has no
/// end of line, as Debian 11's libvirt would take that for a part of it.
pub fn install(lab: &Lab) {
    let script = format!(
        "mkdir -p /etc/libvirt/hooks
         cat >/etc/libvirt/hooks/qemu <<'X'
#!/bin/sh
[ \"$1-$2\" = held-prepare ] || exit 0
touch {0}/is-held
while [ -e {0}/hold ]; do sleep 0.1; done
X
         cat >{1}/bin/ovs-vsctl <<'X'
#!/bin/sh
case \"$*\" in
*statistics*)
    sleep \"$(cat {0}/ovs-delay)\"
    echo '[\"map\",[[\"collisions\",0],[\"rx_bytes\",1000],[\"rx_dropped\",0],[\"rx_errors\",0],[\"rx_packets\",10],[\"tx_bytes\",2000],[\"tx_dropped\",0],[\"tx_errors\",0],[\"tx_packets\",20]]]'
    ;;
*name*) printf vu1 ;;
esac
X
         chmod 755 /etc/libvirt/hooks/qemu {1}/bin/ovs-vsctl",
        lab.scratch().display(),
        lab.folder().display()
    );
    lab.inside(&["sh", "-euc", &script]);
    // It looks for hooks when it starts, and when it is told to look again.
    lab.signal_libvirtd("-HUP");
    thread::sleep(Duration::from_millis(500));
}

impl<'a> Fault<'a> {
    /// Brings what is needed, and takes from the healthy guests those that will be in trouble. `hold` is how
    /// long it has to last.
    pub fn prepare(
        trouble: Trouble,
        lab: &'a Lab,
        other: Option<&'a Lab>,
        healthy: &mut Vec<String>,
        hold: Duration,
    ) -> Fault<'a> {
        let mut fault = Fault { lab, other, trouble, sick: Vec::new(), hold, children: Vec::new() };
        match trouble {
            Trouble::Silent(count) => fault.sick = healthy.drain(..count).collect(),
            Trouble::Destroyed => {
                let doomed = |n| lab.paused(&format!("doomed-{n}"), 1, 1);
                fault.sick = (0..fault.times(10)).map(doomed).collect();
            }
            Trouble::HeldByHook => {
                let xml = fault.xml("held", "", "", "");
                lab.virsh(&["define", xml.to_str().unwrap()]);
                fault.sick = vec![lab.virsh(&["domuuid", "held"]).trim().to_owned()];
            }
            Trouble::OffOnFifo => {}
            Trouble::Unplug => {
                let disks = ('a'..='z').take(fault.unplugs() + 1);
                let disks = disks.map(|it| {
                    let file = lab.scratch().join(format!("plugged-{it}.raw"));
                    fs::write(&file, [0; 1 << 16]).unwrap();
                    file_disk(&file.display().to_string(), &format!("vd{it}"))
                });
                fault.sick = vec![fault.create("plugged", &disks.collect::<String>(), "", "")];
            }
            Trouble::MigratesOut => fault.sick = vec![fault.mover(lab)],
            Trouble::MigratesIn => fault.sick = vec![fault.mover(other.unwrap())],
            Trouble::VhostDisk => fault.sick = vec![fault.vhost_disk("")],
            Trouble::VhostBesideFile => {
                let file = lab.scratch().join("beside.raw");
                fs::write(&file, [0; 1 << 20]).unwrap();
                fault.sick = vec![fault.vhost_disk(&file_disk(&file.display().to_string(), "vdb"))];
            }
            Trouble::AttachesFifo => fault.sick = vec![lab.paused("given", 1, 1)],
            Trouble::SlowNic(_) => {
                let nic = vhost_nic(lab);
                fault.sick = vec![fault.create("slow", &nic, SHARED, "")];
            }
        }
        fault
    }

    /// How often something that lasts so many seconds fits into the time.
    fn times(&self, seconds: u64) -> u64 {
        self.hold.as_secs().div_ceil(seconds).max(1)
    }

    /// So many disks are unplugged, one after another. Each is waited for by libvirt for 5 s; the last one begins
    /// before the row ends, whatever the first was late by.
    fn unplugs(&self) -> usize {
        self.times(5) as usize + 1
    }

    /// A definition in a file.
    fn xml(&self, name: &str, devices: &str, memory: &str, more: &str) -> PathBuf {
        let file = self.lab.scratch().join(format!("{name}.xml"));
        let size = if more.is_empty() { 16 } else { 240 };
        let text = format!(
            "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>\
             <name>{name}</name><memory unit='MiB'>{size}</memory>{memory}<vcpu>1</vcpu>\
             <os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features>\
             <devices>{devices}<memballoon model='virtio'/></devices>{more}</domain>"
        );
        fs::write(&file, text).unwrap();
        file
    }

    /// A paused guest.
    fn create(&self, name: &str, devices: &str, memory: &str, more: &str) -> String {
        let file = self.xml(name, devices, memory, more);
        self.lab.virsh(&["create", "--paused", file.to_str().unwrap()]);
        self.lab.virsh(&["domuuid", name]).trim().to_owned()
    }

    /// A guest whose memory is no zeros: 1 MiB of it is sent in a second.
    fn mover(&self, lab: &Lab) -> String {
        let memory = self.lab.scratch().join("memory");
        // QEMU sends a little more than the MiB a second that it is allowed.
        let size = (self.hold.as_secs() * 3 / 2 + 20).min(220) << 20;
        let mut noise = Vec::new();
        let mut random = fs::File::open("/dev/urandom").unwrap().take(size);
        random.read_to_end(&mut noise).unwrap();
        fs::write(&memory, noise).unwrap();
        let more = format!(
            "<qemu:commandline><qemu:arg value='-device'/><qemu:arg \
             value='loader,file={},addr=0x1000000,force-raw=on'/></qemu:commandline>",
            memory.display()
        );
        let file = self.xml("mover", "<interface type='ethernet'/>", "", &more);
        lab.virsh(&["create", "--paused", file.to_str().unwrap()]);
        lab.virsh(&["domuuid", "mover"]).trim().to_owned()
    }

    fn vhost_disk(&mut self, beside: &str) -> String {
        let (daemon, disk) = vhost_disk(self.lab);
        self.children.push(daemon);
        let nic = "<interface type='ethernet'><model type='virtio'/></interface>";
        self.create("spdk", &format!("{disk}{beside}{nic}"), SHARED, "")
    }

    /// Makes it; returns when it holds.
    pub fn begin(&mut self) {
        let scratch = self.lab.scratch();
        let socket = "virsh -q -c 'qemu+unix:///system?socket=/run/libvirt/libvirt-sock'";
        match self.trouble {
            Trouble::Silent(_) => self.signal("-STOP"),
            Trouble::Destroyed => {
                let each = "kill -STOP $(cat /run/libvirt/qemu/doomed-$n.pid)";
                let last = self.sick.len() - 1;
                self.spawn(&format!(
                    "for n in $(seq 0 {last}); do {each}; {socket} destroy doomed-$n; done"
                ));
                thread::sleep(Duration::from_millis(500));
            }
            Trouble::HeldByHook => {
                fs::write(scratch.join("hold"), "").unwrap();
                self.spawn(&format!("{socket} start --paused held"));
                wait_until("the hook runs", Duration::from_secs(10), || {
                    scratch.join("is-held").exists().then_some(())
                });
            }
            Trouble::AttachesFifo => {
                let fifo = scratch.join("fifo");
                mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
                // Only of an image that may have another one behind it is the header read.
                let disk = file_disk(&fifo.display().to_string(), "vdz").replace("raw", "qcow2");
                let xml = scratch.join("disk.xml");
                fs::write(&xml, disk).unwrap();
                self.spawn(&format!("{socket} attach-device given {} --live", xml.display()));
                thread::sleep(Duration::from_millis(500));
            }
            Trouble::OffOnFifo => {
                let fifo = scratch.join("fifo");
                mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
                let disk = file_disk(&fifo.display().to_string(), "vda");
                let xml = self.xml("off", &disk, "", "");
                self.lab.virsh(&["define", xml.to_str().unwrap()]);
                self.sick = vec![self.lab.virsh(&["domuuid", "off"]).trim().to_owned()];
            }
            Trouble::Unplug => {
                let disks: String = ('b'..='z').take(self.unplugs()).collect();
                let disks = disks.chars().map(|it| format!("vd{it} ")).collect::<String>();
                self.spawn(&format!(
                    "for disk in {disks}; do {socket} detach-disk plugged $disk --live; done"
                ));
                thread::sleep(Duration::from_millis(500));
            }
            Trouble::MigratesOut => self.migrate(self.lab, self.other.unwrap()),
            Trouble::MigratesIn => self.migrate(self.other.unwrap(), self.lab),
            Trouble::VhostDisk | Trouble::VhostBesideFile => {}
            Trouble::SlowNic(delay) => {
                let seconds = f64::from(delay) / 1000.0;
                fs::write(scratch.join("ovs-delay"), format!("{seconds}\n")).unwrap();
            }
        }
    }

    /// Whether its guests do not answer.
    pub fn is_hung(&self) -> bool {
        matches!(self.trouble, Trouble::Silent(_) | Trouble::Destroyed)
    }

    /// Whether what makes it still runs; true of those that need nothing to run.
    pub fn holds(&mut self) -> bool {
        self.children.iter_mut().all(|child| child.try_wait().unwrap().is_none())
    }

    fn signal(&self, signal: &str) {
        for uuid in &self.sick {
            self.lab.signal_qemu(signal, uuid);
        }
    }

    /// A shell's script in the lab, whatever becomes of it.
    fn spawn(&mut self, script: &str) {
        let mut command = self.lab.inside_command(&["sh", "-c", script]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.children.push(command.spawn().unwrap());
    }

    fn migrate(&mut self, from: &Lab, to: &Lab) {
        let data = self.lab.scratch().join("migration");
        let _ = fs::remove_file(&data);
        let child = Command::new("virsh")
            .args(["-q", "-c", &from.write_uri(), "migrate", "--live", "--unsafe"])
            .args(["--bandwidth", "1", "mover", &to.write_uri()])
            .arg(format!("unix://{}", data.display()))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        self.children.push(child);
        wait_until("the guest is there as well", Duration::from_secs(10), || {
            listed(to).contains("mover").then_some(())
        });
    }

    /// Ends it, and leaves no guest behind that it had brought.
    pub fn end(&mut self) {
        let scratch = self.lab.scratch();
        match self.trouble {
            Trouble::Silent(_) => self.signal("-CONT"),
            Trouble::Destroyed => self.wait(),
            Trouble::HeldByHook => {
                self.release();
                self.lab.virsh(&["undefine", "held"]);
            }
            Trouble::AttachesFifo => {
                let fifo = scratch.join("fifo");
                wait_until("the disk is refused", Duration::from_secs(60), || {
                    let mut open = OpenOptions::new();
                    let _ = open.write(true).custom_flags(nix::libc::O_NONBLOCK).open(&fifo);
                    (!self.holds()).then_some(())
                });
                self.wait();
                self.lab.virsh(&["destroy", "given"]);
                fs::remove_file(fifo).unwrap();
            }
            Trouble::OffOnFifo => {
                let fifo = scratch.join("fifo");
                // Each that waits to open it is let in.
                wait_until("libvirt answers again", Duration::from_secs(60), || {
                    let mut open = OpenOptions::new();
                    let _ = open.write(true).custom_flags(nix::libc::O_NONBLOCK).open(&fifo);
                    listed(self.lab).contains("fleet-").then_some(())
                });
                self.lab.virsh(&["undefine", "off"]);
                fs::remove_file(fifo).unwrap();
            }
            Trouble::Unplug => {
                self.wait();
                self.lab.virsh(&["destroy", "plugged"]);
            }
            Trouble::MigratesOut | Trouble::MigratesIn => {
                let (lab, other) = (self.lab, self.other.unwrap());
                let from = if self.trouble == Trouble::MigratesOut { lab } else { other };
                let fast = ["-q", "-c", &from.write_uri(), "migrate-setspeed", "mover", "1000"];
                run(Command::new("virsh").args(fast));
                self.wait();
                for lab in [lab, other] {
                    let destroy = ["-q", "-c", &lab.write_uri(), "destroy", "mover"];
                    run(Command::new("virsh").args(destroy));
                }
            }
            Trouble::VhostDisk | Trouble::VhostBesideFile => {
                self.lab.virsh(&["destroy", "spdk"]);
                for child in &mut self.children {
                    child.kill().unwrap();
                }
                self.wait();
            }
            Trouble::SlowNic(_) => {
                fs::write(scratch.join("ovs-delay"), "0\n").unwrap();
            }
        }
    }

    /// Lets a start go on that its hook holds, and ends the guest; it can be held again.
    pub fn release(&mut self) {
        let scratch = self.lab.scratch();
        let _ = fs::remove_file(scratch.join("hold"));
        self.wait();
        if fs::remove_file(scratch.join("is-held")).is_ok() {
            self.lab.virsh(&["destroy", "held"]);
        }
    }

    /// Takes away what lasts longer than the trouble.
    pub fn forget(&mut self) {
        if let Trouble::SlowNic(_) = self.trouble {
            self.lab.virsh(&["destroy", "slow"]);
        }
    }

    fn wait(&mut self) {
        for mut child in self.children.drain(..) {
            child.wait().unwrap();
        }
    }
}

/// What the memory of a guest with a vhost-user device must be.
pub const SHARED: &str =
    "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>";

/// A vhost-user NIC whose name and statistics the lab's ovs-vsctl knows.
pub fn vhost_nic(lab: &Lab) -> String {
    let socket = lab.scratch().join("vu-1");
    fs::write(lab.scratch().join("ovs-delay"), "0\n").unwrap();
    let _ = fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).unwrap();
    thread::spawn(move || serve(&listener));
    format!(
        "<interface type='vhostuser'><source type='unix' path='{}' mode='client'/>\
         <model type='virtio'/></interface>",
        socket.display()
    )
}

/// A vhost-user disk, vda, and the process that serves it.
pub fn vhost_disk(lab: &Lab) -> (Child, String) {
    let socket = lab.scratch().join("disk.sock");
    let export = format!(
        "type=vhost-user-blk,id=e,node-name=n,addr.type=unix,addr.path={},writable=on",
        socket.display()
    );
    let disk = format!(
        "<disk type='vhostuser' device='disk'><driver name='qemu' type='raw'/>\
         <source type='unix' path='{}'/><target dev='vda' bus='virtio'/></disk>",
        socket.display()
    );
    (storage_daemon(&socket, &["--export", &export]), disk)
}

/// A process that serves a disk of zeros, its node called n, at this socket as the options say.
pub fn storage_daemon(socket: &Path, options: &[&str]) -> Child {
    let _ = fs::remove_file(socket);
    let blockdev = "driver=null-co,node-name=n,size=67108864,read-zeroes=on";
    let mut daemon = Command::new("qemu-storage-daemon");
    daemon.args(["--blockdev", blockdev]).args(options);
    let daemon = daemon.stdin(Stdio::null()).spawn().unwrap();
    wait_until("the disk is served", Duration::from_secs(10), || socket.exists().then_some(()));
    daemon
}

/// Gives a Linux guest the disk vdb, so small that it soon fills it, and QEMU pauses it.
pub fn attach_small_disk(lab: &Lab, guest: &str) {
    attach_small_disk_with(lab, guest, "stop");
}

/// The same, with this policy for errors.
pub fn attach_small_disk_with(lab: &Lab, guest: &str, policy: &str) {
    let script = "mkdir -p /var/lib/libvirt/images/full
        mount -t tmpfs -o size=448k tmpfs /var/lib/libvirt/images/full
        qemu-img create -q -f qcow2 /var/lib/libvirt/images/full/disk.qcow2 64M";
    lab.inside(&["sh", "-euc", script]);
    let xml = file_disk("/var/lib/libvirt/images/full/disk.qcow2", "vdb")
        .replace("type='raw'", &format!("type='qcow2' error_policy='{policy}'"));
    lab.virsh_device("attach-device", guest, &xml);
}

pub fn file_disk(path: &str, target: &str) -> String {
    format!(
        "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{path}'/>\
         <target dev='{target}' bus='virtio'/></disk>"
    )
}

/// The names of all guests; empty where libvirt does not answer within two seconds.
pub fn listed(lab: &Lab) -> String {
    let mut command = Command::new("timeout");
    command.args(["2", "virsh", "-q", "-r", "-c", &lab.uri(), "list", "--all", "--name"]);
    run(&mut command).stdout
}

/// A vhost-user NIC that moves no packet: it answers what QEMU asks before the guest runs.
fn serve(listener: &UnixListener) {
    for stream in listener.incoming() {
        thread::spawn(move || talk(stream.unwrap()));
    }
}

fn talk(mut stream: UnixStream) {
    // File descriptors that come along are closed by the kernel, as nobody asks for them.
    let mut head = [0; 12];
    while stream.read_exact(&mut head).is_ok() {
        let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap());
        let (request, flags) = (word(0), word(4));
        let mut body = vec![0; word(8) as usize];
        if stream.read_exact(&mut body).is_err() {
            return;
        }
        let answer: Option<Vec<u8>> = match request {
            // Features: the protocol's own, and virtio 1.
            1 => Some(((1_u64 << 30) | (1 << 32)).to_le_bytes().to_vec()),
            // Of the protocol none; one queue.
            15 => Some(0_u64.to_le_bytes().to_vec()),
            17 => Some(1_u64.to_le_bytes().to_vec()),
            // Where a ring stands: at its beginning.
            11 => Some([&body[..4], &[0; 4]].concat()),
            _ => (flags & 8 != 0).then(|| 0_u64.to_le_bytes().to_vec()),
        };
        if let Some(answer) = answer {
            let size = u32::try_from(answer.len()).unwrap();
            let head = [request, 5, size].map(u32::to_le_bytes).concat();
            if stream.write_all(&[head, answer].concat()).is_err() {
                return;
            }
        }
    }
}
