//! What may hold a guest, and the words for it.

use std::sync::Arc;

use uuid::Uuid;

/// Why a guest's answer is not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Its QEMU does not answer its monitor.
    SilentQemu,
    /// libvirt has locked it.
    Locked,
    /// Its network statistics are slow: libvirt starts a program for them.
    SlowHelper,
    /// A migration, a save, a backup or a dump goes on.
    Job,
    /// Another call of libvirt holds it, such as a hot-unplug that the guest does not answer.
    DeviceChange,
    /// Other programs' calls follow each other in its monitor.
    OtherCalls,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 6] = [
        Self::SilentQemu,
        Self::Locked,
        Self::SlowHelper,
        Self::Job,
        Self::DeviceChange,
        Self::OtherCalls,
    ];

    /// The cause in the message about one guest, or several.
    pub fn text(self, several: bool) -> &'static str {
        match (self, several) {
            (Self::SilentQemu, false) => {
                "is not responding: its storage may be hung or its QEMU stopped; what only its QEMU \
                 knows, such as its disk counters, is missing until it responds"
            }
            (Self::SilentQemu, true) => {
                "are not responding: their storage may be hung or their QEMUs stopped; what only their \
                 QEMUs know, such as their disk counters, is missing until they respond"
            }
            (Self::Locked, false) => {
                "is locked inside libvirt: it is being started or stopped, or a hook script or its \
                 storage does not finish; it has no lines until that ends"
            }
            (Self::Locked, true) => {
                "are locked inside libvirt: they are being started or stopped, or a hook script or \
                 their storage does not finish; they have no lines until that ends"
            }
            (Self::SlowHelper, false) => {
                "has slow network statistics: libvirt runs a program for them, most likely ovs-vsctl, \
                 which takes over half a second; its NICs are missing while that lasts"
            }
            (Self::SlowHelper, true) => {
                "have slow network statistics: libvirt runs a program for them, most likely ovs-vsctl, \
                 which takes over half a second; their NICs are missing while that lasts"
            }
            (Self::Job, false) => {
                "is busy with a job, such as a migration, a save or a backup; what only its QEMU knows, \
                 such as its disk counters, is missing until it ends"
            }
            (Self::Job, true) => {
                "are busy with a job, such as a migration, a save or a backup; what only their QEMUs \
                 know, such as their disk counters, is missing until it ends"
            }
            (Self::DeviceChange, false) => {
                "is busy: a change has not finished, such as a hot-unplug that the guest does not \
                 answer; what only its QEMU knows, such as its disk counters, is missing until it ends"
            }
            (Self::DeviceChange, true) => {
                "are busy: a change has not finished, such as a hot-unplug that the guest does not \
                 answer; what only their QEMUs know, such as their disk counters, is missing until it \
                 ends"
            }
            (Self::OtherCalls, false) => {
                "is busy with the calls of other programs, one after another; what only its QEMU knows, \
                 such as its disk counters, is missing while that lasts"
            }
            (Self::OtherCalls, true) => {
                "are busy with the calls of other programs, one after another; what only their QEMUs \
                 know, such as their disk counters, is missing while that lasts"
            }
        }
    }
}

/// A guest whose answer is not complete, and what holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldGuest {
    /// Its lasting identity.
    pub uuid: Uuid,
    /// Its name.
    pub name: Arc<str>,
    /// What holds it.
    pub cause: Cause,
}
