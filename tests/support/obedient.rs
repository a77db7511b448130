//! A guest whose whole system is a boot sector: it runs within two seconds, uses all of its one CPU, and
//! does at once what it is told over its serial line.

use super::lab::Lab;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

/// What it can be told to do.
#[derive(Clone, Copy)]
pub enum Order {
    /// Panics, as a kernel tells its pvpanic device.
    Panic = b'p' as isize,
    /// Suspends to memory: ACPI's S3.
    Suspend = b's' as isize,
    /// Powers itself off: ACPI's S5.
    PowerOff = b'o' as isize,
}

/// The ports are QEMU's: 0x3f8 serial line, 0x505 pvpanic, 0x604 the control register of ACPI's power
/// management where SeaBIOS puts it (bit 13 acts, bits 10 to 12 say how deep).
const CODE: [u8; 50] = [
    0xba, 0xfd, 0x03, //  0 next: mov dx, 0x3fd
    0xec, //              3       in al, dx
    0xa8, 0x01, //        4       test al, 1
    0x74, 0xf8, //        6       jz next
    0xba, 0xf8, 0x03, //  8       mov dx, 0x3f8
    0xec, //             11       in al, dx
    0x3c, b'p', //       12       cmp al, 'p'
    0x74, 0x11, //       14       je panic
    0x3c, b's', //       16       cmp al, 's'
    0x74, 0x15, //       18       je suspend
    0x3c, b'o', //       20       cmp al, 'o'
    0x75, 0xe8, //       22       jne next
    0xba, 0x04, 0x06, // 24       mov dx, 0x604
    0xb8, 0x00, 0x20, // 27       mov ax, 0x2000
    0xef, //             30       out dx, ax
    0xeb, 0xdf, //       31       jmp next
    0xba, 0x05, 0x05, // 33 panic: mov dx, 0x505
    0xb0, 0x01, //       36       mov al, 1
    0xee, //             38       out dx, al
    0xeb, 0xd7, //       39       jmp next
    0xba, 0x04, 0x06, // 41 suspend: mov dx, 0x604
    0xb8, 0x00, 0x24, // 44       mov ax, 0x2400
    0xef, //             47       out dx, ax
    0xeb, 0xce, //       48       jmp next
];

pub struct Obedient {
    pub name: String,
    pub uuid: String,
    /// Its definition.
    pub xml: PathBuf,
    serial: PathBuf,
}

impl Obedient {
    /// One that is neither started nor defined yet; its name is plain.
    pub fn new(lab: &Lab, name: &str) -> Obedient {
        let path = |end: &str| lab.scratch().join(format!("{name}{end}"));
        let mut disk = vec![0; 1 << 20];
        disk[..CODE.len()].copy_from_slice(&CODE);
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        fs::write(path(".raw"), disk).unwrap();
        for end in [".in", ".out"] {
            mkfifo(&path(end), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        }
        let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap().trim().to_owned();
        let text = format!(
            "<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid>\
             <memory unit='MiB'>16</memory><vcpu>1</vcpu>\
             <os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features>\
             <pm><suspend-to-mem enabled='yes'/></pm><on_crash>preserve</on_crash><devices>\
             <disk type='file' device='disk'><driver name='qemu' type='raw'/>\
             <source file='{}'/><target dev='hda' bus='ide'/></disk>\
             <interface type='ethernet'><model type='virtio'/></interface>\
             <serial type='pipe'><source path='{}'/></serial>\
             <panic model='isa'/><memballoon model='virtio'/></devices></domain>",
            path(".raw").display(),
            path("").display()
        );
        fs::write(path(".xml"), text).unwrap();
        Obedient { name: name.to_owned(), uuid, xml: path(".xml"), serial: path(".in") }
    }

    /// A running one.
    pub fn start(lab: &Lab, name: &str) -> Obedient {
        let guest = Obedient::new(lab, name);
        lab.virsh(&["create", guest.xml.to_str().unwrap()]);
        guest
    }

    /// A line that is told before the guest listens waits for it.
    pub fn tell(&self, order: Order) {
        let mut serial = OpenOptions::new().write(true).open(&self.serial).unwrap();
        serial.write_all(&[order as u8]).unwrap();
    }
}
