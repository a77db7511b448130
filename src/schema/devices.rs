//! The rows of NICs and disks: what libvirt counts, what the domain's XML sets for them, and their tags.

use serde::{Deserialize, Serialize};

use crate::devices::DiskKind;
use crate::libvirt::Parameter;

use super::Sent;
use super::row::statistics;

statistics! {
    /// The group interface, for one NIC: counters as the guest sees them.
    Nic "net.N." [
        /// Its number N in net.N.
        index: u32,
        /// What tells it from another NIC of its name, where libvirt sends that: 0 where it does not.
        #[serde(skip)]
        source: u64,
    ] sums "net_" {
        always serde(skip_serializing_if = "Option::is_none") {
            rx_bytes b"rx.bytes" => "rxbytes" counter "bytes" "received, as libvirt reports it: of tap NICs as the guest sees it";
            rx_packets b"rx.pkts" => "rxpackets" counter "packets" "received";
            rx_errors b"rx.errs" => "rxerrors" counter "errors" "received with an error";
            rx_drops b"rx.drop" => "rxdrops" counter "packets" "received and dropped";
            tx_bytes b"tx.bytes" => "txbytes" counter "bytes" "sent, as libvirt reports it: of tap NICs as the guest sees it";
            tx_packets b"tx.pkts" => "txpackets" counter "packets" "sent";
            tx_errors b"tx.errs" => "txerrors" counter "errors" "sent with an error";
            tx_drops b"tx.drop" => "txdrops" counter "packets" "dropped instead of being sent";
        }
        always serde(default) {
            name b"name" text "" "its target on the host, such as vnet0";
        }
    }
    else note_address
}

/// A NIC's MAC address, which new libvirts send. `other` of `extra` prints it, so it counts as not known.
fn note_address(nic: &mut Nic, field: &[u8], value: impl Sent) -> bool {
    if field == b"hwaddr" {
        nic.source = value.mark();
    }
    false
}

statistics! {
    /// The group block, for one device.
    Disk "block.N." [
        /// Its number N in block.N.
        index: u32,
        /// The path of its source, as a number; 0 where libvirt sends none.
        #[serde(skip)]
        path: u64,
        /// The number that libvirt gave its source, a new one each time that it gets another; 0 for none.
        #[serde(skip)]
        node: u64,
    ] sums "disk_" {
        always serde(skip_serializing_if = "Option::is_none") {
            rd_reqs b"rd.reqs" => "rd_req" counter "requests" "reads";
            rd_bytes b"rd.bytes" => "rd_bytes" counter "bytes" "read";
            wr_reqs b"wr.reqs" => "wr_reqs" counter "requests" "writes";
            wr_bytes b"wr.bytes" => "wr_bytes" counter "bytes" "written";
            errors b"errors" => "errors" counter "errors" "only Xen counts them: 0 on QEMU";
        }
        DiskTimes serde(skip_serializing_if = "Option::is_none") {
            rd_time_ns b"rd.times" => "rd_time_ns" counter "ns" "time that reads took";
            wr_time_ns b"wr.times" => "wr_time_ns" counter "ns" "time that writes took";
            fl_reqs b"fl.reqs" => "fl_reqs" counter "requests" "flushes";
            fl_time_ns b"fl.times" => "fl_time_ns" counter "ns" "time that flushes took";
        }
        DiskSpace serde(skip) {
            allocation_bytes b"allocation" => "allocation_bytes" gauge "bytes" "highest offset that was written";
            capacity_bytes b"capacity" => "capacity_bytes" gauge "bytes" "size that the guest sees";
            physical_bytes b"physical" => "physical_bytes" gauge "bytes" "size of the file or device that contains it";
            threshold_bytes b"threshold" => "threshold_bytes" gauge "bytes" "offset at which libvirt raises an event, if set";
        }
        DiskErrors serde(skip) {
            io_error b"virDomainGetDiskErrors" => "io_error" text "" "why its storage fails: none, unspecified, no_space";
            io_error_code b"virDomainGetDiskErrors: error" => "io_error_code" gauge "" "the number";
        }
        always serde(default) {
            name b"name" text "" "its target, such as vda";
        }
    }
    else note_source
}

/// What tells a disk from another one of its name.
fn note_source(disk: &mut Disk, field: &[u8], value: impl Sent) -> bool {
    match field {
        b"path" => disk.path = value.mark(),
        b"backingIndex" => disk.node = value.unsigned().unwrap_or(0),
        _ => return false,
    }
    true
}

impl Disk {
    /// What tells it from another disk of its name: 0 where libvirt sends nothing of that kind.
    pub fn source(&self) -> u64 {
        self.path ^ self.node.rotate_left(32)
    }

    /// Takes in a statistic of virDomainBlockStatsFlags, which has other names than the bulk call: those
    /// that virDomainBlockStats does not have.
    pub fn fill_times(&mut self, Parameter { name, value }: Parameter<'_>) {
        let field: &[u8] = match name {
            b"rd_total_times" => b"rd.times",
            b"wr_total_times" => b"wr.times",
            b"flush_operations" => b"fl.reqs",
            b"flush_total_times" => b"fl.times",
            _ => return,
        };
        self.fill(field, value);
    }
}

macro_rules! device_tags {
    ($($tag:ident $name:literal $field:ident $text:literal $(nic $nic:expr)?, $(disk $disk:expr)?;)+) => {
        /// A tag on the lines of a device that is there only when asked for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum DeviceTag {
            /// What the XML calls its type: bridge or network, file or block.
            Type,
            $(#[doc = $text] $tag,)+
        }

        impl DeviceTag {
            /// Every one, in the order of a line.
            pub const ALL: [Self; 1 + [$($text),+].len()] = [Self::Type, $(Self::$tag),+];

            /// The tag's name, in the configuration and in the output.
            pub const fn name(self) -> &'static str {
                match self {
                    Self::Type => "type",
                    $(Self::$tag => $name,)+
                }
            }

            /// What it says.
            pub const fn text(self) -> &'static str {
                match self {
                    Self::Type => "its type in the XML: bridge or network, file or block",
                    $(Self::$tag => $text,)+
                }
            }
        }

        /// A NIC of the domain XML. What the XML omits is `None`.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct NicDevice {
            /// `<target dev>`: its name on the host; none for user-mode networking.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub target: Option<String>,
            /// `<interface type>`: network, bridge, ethernet, user, …
            pub kind: String,
            $($(
                #[doc = concat!($text, ": `", stringify!($nic), "`")]
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $field: Option<String>,
            )?)+
        }

        /// A `<disk>` of the domain XML. What the XML omits is `None`.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct DiskDevice {
            /// `<target dev>`: its name in the guest's definition, such as vda.
            pub target: String,
            /// Disk, lun, cdrom or floppy.
            pub kind: DiskKind,
            /// `<disk type>`: file, block, network, volume, …
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub source_type: Option<String>,
            $($(
                #[doc = concat!($text, ": `", stringify!($disk), "`")]
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $field: Option<String>,
            )?)+
        }

        /// The tags of NICs.
        pub static NIC_TAGS: &[TagRow<NicDevice>] = &[TagRow {
            tag: DeviceTag::Type,
            paths: &[],
            value: |nic| Some(&nic.kind).filter(|kind| !kind.is_empty()),
            slot: None,
        }, $($(TagRow {
            tag: DeviceTag::$tag,
            paths: &$nic,
            value: |nic| nic.$field.as_ref(),
            slot: Some(|nic| &mut nic.$field),
        },)?)+];

        /// The tags of disks.
        pub static DISK_TAGS: &[TagRow<DiskDevice>] = &[TagRow {
            tag: DeviceTag::Type,
            paths: &[],
            value: |disk| disk.source_type.as_ref(),
            slot: None,
        }, $($(TagRow {
            tag: DeviceTag::$tag,
            paths: &$disk,
            value: |disk| disk.$field.as_ref(),
            slot: Some(|disk| &mut disk.$field),
        },)?)+];
    };
}

/// Where the value of a tag is in the XML of a device.
pub struct TagRow<T: 'static> {
    /// The tag.
    pub tag: DeviceTag,
    /// Paths below the device's element: the first that has a value counts.
    pub paths: &'static [&'static str],
    value: fn(&T) -> Option<&String>,
    /// Where the value is kept; `None` where it is taken with the device's own element.
    pub slot: Option<fn(&mut T) -> &mut Option<String>>,
}

impl<T> TagRow<T> {
    /// The value of a tag for this device.
    pub fn value<'d>(rows: &[Self], tag: DeviceTag, device: &'d T) -> Option<&'d String> {
        rows.iter().find(|row| row.tag == tag).and_then(|row| (row.value)(device))
    }
}

impl DiskDevice {
    /// Whether its source is on this machine, so that libvirt has its path among the statistics.
    pub fn has_local_source(&self) -> bool {
        self.source_type.as_deref().is_some_and(|it| ["file", "block", "dir"].contains(&it))
    }
}

device_tags! {
    Mac "mac" mac "a NIC's MAC address, which outlasts a boot" nic ["mac/@address"],;
    Model "model" model "its model, such as virtio" nic ["model/@type"], disk ["@model"];
    Bus "bus" bus "a disk's bus, such as virtio or sata", disk ["target/@bus"];
    Serial "serial" serial "a disk's serial number, as the guest sees it", disk ["serial"];
    Alias "alias" alias "libvirt's name for it" nic ["alias/@name"], disk ["alias/@name"];
    Path "path" path "a disk's source: a file, a block device, a volume, a socket, protocol://host:port/name",
        disk ["source/@file", "source/@dev", "source/@path", "source/@dir"];
    Network "network" network "a NIC's source: a network or a bridge"
        nic ["source/@network", "source/@bridge", "source/@dev", "source/@path"],;
}
