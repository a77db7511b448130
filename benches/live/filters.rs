//! What long lists of names and UUIDs cost. The guests are those of libvirt's test driver: no hypervisor answers
//! faster, so nowhere is a filter's part of a collection larger.

use std::fs;
use std::path::Path;

use uuid::Uuid;

use super::variants::Compared;

const GUESTS: u128 = 200;
/// How many names and UUIDs are excluded.
const LISTS: [(u128, u128); 3] = [(100, 0), (20_000, 0), (20_000, 2_000)];

/// Writes the hypervisor's file, and returns its URI.
pub fn host(folder: &Path) -> String {
    let nic = "<interface type='bridge'><source bridge='br0'/></interface>";
    let disk = |target: &str| {
        format!(
            "<disk type='file'><source file='/{target}'/><target dev='{target}' bus='virtio'/></disk>"
        )
    };
    let disks: String = ["vda", "vdb", "vdc"].map(disk).concat();
    let guest = |number: u128| {
        format!(
            "<domain type='test'><name>{}</name><uuid>{}</uuid><memory>1024</memory><vcpu>2</vcpu>\
             <os><type>hvm</type></os><devices>{disks}{nic}{nic}</devices></domain>",
            name(number),
            uuid(number)
        )
    };
    let guests: String = (0..GUESTS).map(guest).collect();
    let file = folder.join("node.xml");
    fs::write(&file, format!("<node>{guests}</node>")).unwrap();
    format!("test://{}", file.display())
}

/// The settings that are compared. They exclude none of the guests, so that each collection has the same lines.
pub fn settings() -> Vec<Compared> {
    let of = |(names, uuids): (u128, u128)| {
        let names_text: String = others(names).map(|it| format!("{:?},\n", name(it))).collect();
        let uuids_text: String = others(uuids).map(|it| format!("\"{}\",\n", uuid(it))).collect();
        Compared {
            name: format!("{names} names, {uuids} UUIDs"),
            text: format!("[domains]\nexclude = [{names_text}]\nexclude_uuids = [{uuids_text}]\n"),
        }
    };
    LISTS.map(of).into()
}

/// So many guests that the hypervisor does not have.
fn others(count: u128) -> impl Iterator<Item = u128> {
    GUESTS..GUESTS + count
}

fn name(number: u128) -> String {
    format!("instance-{number:08x}")
}

fn uuid(number: u128) -> Uuid {
    Uuid::from_u128((number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
}
