//! The findings about the guests of a hypervisor.

use super::findings;

findings! {
    gone_down(error) = Lost "gone-down":
        "it answered a moment ago, and then its guests could not be read: {error}"
        lost "every guest of this hypervisor, for as long as that lasts"
        fix "run this again; if it happens again, check libvirt's log"
        run "journalctl -u libvirtd -u virtqemud -n 50";

    read(whole, guests, inactive) = Good "read": "{whole} of {guests} guests read{inactive}";

    no_guest(inactive, uri) = Advice "no-guest": "no guest is running{inactive}"
        lost "nothing, but a collection prints no lines"
        fix "start one, or set --uri or `uris` to the hypervisor of your guests: guests that virt-manager or GNOME \
             Boxes start for one user are at qemu:///session of that user"
        run "virsh -r -c {uri} list --all";

    filtered(count) = Good "filtered": "{count} excluded by [domains] in the configuration";

    all_filtered(guests) = Advice "all-filtered":
        "0 of {guests} read: the filters in the configuration exclude all of them"
        lost "every guest: no lines are printed"
        fix "check the lists of names, UUIDs, states and metadata in [domains]; an empty list excludes none";

    hung(guests, does, uri, uuid, others, disks) = Lost "hung":
        "{guests} {does} not respond: the QEMU process is silent"
        lost "disk counters, memory figures and everything else that only QEMU knows, while that lasts{others}"
        fix "find out for how long, and why: most often the storage of the disks hangs (state D in ps), or the \
             QEMU process is stopped (state T){disks}"
        run "virsh -r -c {uri} domcontrol {uuid}"
        run "ps -o pid,stat,wchan:24 -p \"$(pgrep -of -- '-uuid {uuid}')\"";

    locked(guests, is, others) = Lost "locked": "{guests} {is} locked inside libvirt"
        lost "every line of these guests, while that lasts{others}"
        fix "find out what does not finish: a start or a stop, a hook script, ovs-vsctl, or the storage that \
             it opens; virsh hangs for these guests too, and so does virsh list"
        run "ps -e -o pid,etimes,stat,args | grep -E 'libvirt/hooks|ovs-vsctl|virsh'"
        run "journalctl -u libvirtd -u virtqemud -n 50";

    busy_job(guests, is, others) = Lost "busy":
        "{guests} {is} busy with a job, such as a migration, a save or a backup"
        lost "disk counters, memory figures and everything else that only QEMU knows, until it ends{others}"
        fix "wait for it; libvirt's log shows what started"
        run "journalctl -u libvirtd -u virtqemud -n 50";

    busy_change(guests, is, others) = Lost "busy":
        "{guests} {is} busy: a change has not finished, such as a hot-unplug that the guest does \
         not answer"
        lost "disk counters, memory figures and everything else that only QEMU knows, until it ends{others}"
        fix "find out which change it is: libvirt's log shows what started"
        run "journalctl -u libvirtd -u virtqemud -n 50";

    busy_calls(guests, is, others) = Lost "busy":
        "{guests} {is} busy with the calls of other programs, one after another"
        lost "disk counters, memory figures and everything else that only QEMU knows, while that lasts{others}"
        fix "find out which programs poll libvirt all the time"
        run "sudo virt-admin client-list libvirtd";

    slow_helper(guests, have) = Lost "slow-helper":
        "{guests} {have} slow network statistics: libvirt runs a program for them, most likely \
         ovs-vsctl"
        lost "the NICs of these guests, if that takes longer than the deadline allows"
        fix "find out why ovs-vsctl is slow, or give a collection more time in the configuration"
        run "time ovs-vsctl show"
        run "deadline = \"10s\"";

    list_held(holder) = Lost "list-held": "libvirt does not list its guests: {holder}"
        lost "guests that have started since then: they are missing until the list arrives; each program that asks \
              for the list occupies one of libvirtd's workers until then"
        fix "check what holds it, and how many workers are free: freeWorkers in the output of the first command \
             (use virtqemud instead of libvirtd if that daemon runs)"
        run "sudo virt-admin srv-threadpool-info libvirtd"
        run "ps -e -o pid,etimes,stat,args | grep -E 'libvirt/hooks|ovs-vsctl|virsh'";

    not_asked(guests, stuck) = Lost "not-asked":
        "{guests} not asked for what only QEMU knows, because {stuck} calls are stuck in others"
        lost "disk counters and memory figures of these guests, until fewer calls are stuck"
        fix "free the guests that do not respond, or allow more calls to be stuck"
        run "max_stuck = 24";

    late(guests, longer) = Lost "late": "{guests} could not be read within the deadline"
        lost "every line of these guests"
        fix "libvirt or this host is too slow: give a collection more time in the configuration"
        run "deadline = \"{longer}\"";

    partly_unread(failure, guests, uri, first) = Lost "partly-unread": "{failure}, of {guests}"
        lost "these figures: they are omitted if they existed before; otherwise they do not exist"
        fix "check what libvirt itself has, and what its log says"
        run "virsh -r -c {uri} domstats {first}";

    collection_says(message, uri) = Lost "collection-says": "{message}"
        lost "what the message says"
        fix "check whether virsh can read that guest, and what libvirt's log says"
        run "virsh -r -c {uri} domstats";

    collection_says_more(count) = Lost "collection-says": "{count} more messages of that kind"
        lost "what the messages say"
        fix "print all of them"
        run "telegraf-virt once >/dev/null";

    quiet() = Advice "quiet":
        "these have only what libvirt itself knows: they are starting, stopping or migrating"
        lost "nothing, if that is so: the rest arrives when they have started"
        fix "run this again in a minute";

    no_balloon_period(count, whose, command) = Advice "no-balloon-period":
        "libvirt never asks {count} for {whose} own memory figures"
        lost "memavailable, memusable, memdisk_cache, memswap_in, memswap_out and the faults of vm_totals, \
              which are 0, or omitted with missing = \"omit\""
        fix "set a period with the first line, which works at once and needs no guest agent; the second line is \
             then in the guest's XML. If libvirt reports that a guest is transient, omit --config"
        run "{command}"
        run "<memballoon model='virtio'><stats period='10'/></memballoon>";

    no_balloon(guests, virsh, first) = Advice "no-balloon": "{guests} no balloon device"
        lost "memavailable, memusable, memdisk_cache, memswap_in, memswap_out and the faults of vm_totals, \
              which are 0, or omitted with missing = \"omit\""
        fix "write the second line into <devices> of the guest's XML, shut the guest down and start it; no \
             guest agent is needed"
        run "{virsh} edit {first}"
        run "<memballoon model='virtio'><stats period='10'/></memballoon>";

    balloon_silent(guests) = Advice "balloon-silent":
        "{guests} never reported memory figures, although they are asked for"
        lost "memavailable, memusable, memdisk_cache, memswap_in, memswap_out and the faults of vm_totals, \
              which are 0, or omitted with missing = \"omit\""
        fix "if they have not just started, load the balloon driver in them; for Windows it is in virtio-win, \
             with its service BalloonService"
        run "modprobe virtio_balloon";

    balloon_late(count, report) = Advice "balloon-late": "{count} no longer {report} memory figures"
        lost "fresh memory figures: what is printed is as old as their last report"
        fix "check whether the guest works, and load the balloon driver in it again"
        run "modprobe -r virtio_balloon && modprobe virtio_balloon";

    user_nic() = Advice "user-nic": "NICs of user-mode networking have no counters"
        lost "vm_devices lines of these NICs, and their part of net_* in vm_totals: QEMU itself forwards their \
              packets, and libvirt cannot count them"
        fix "if you need the counters, connect the NIC to a network or a bridge of the host, in the guest's XML"
        run "<interface type='network'><source network='default'/></interface>";

    hostdev_nic() = Advice "hostdev-nic": "NICs that are passed through have no counters"
        lost "vm_devices lines of these NICs, and their part of net_* in vm_totals: the host does not see \
              their packets"
        fix "count inside the guest, with a Telegraf there and its inputs.net"
        run "[[inputs.net]]";

    uncounted(devices, kind) = Advice "uncounted": "libvirt has no counters of {devices} of type {kind}"
        lost "nothing that exists: their figures are 0, or omitted with missing = \"omit\", and sums are over \
              the other devices"
        fix "count inside the guest, or in the program that handles its packets and requests: a DPDK switch, an \
             SPDK target";

    no_usable(guests) = Advice "no-usable": "{guests} reported memavailable, but not memusable"
        lost "how much of their memory is in use: queries exclude these guests"
        fix "update the balloon driver in them; for Windows it is in virtio-win"
        run "modinfo virtio_balloon";

    stopped_by_disk(guests, is, uri, first) = Advice "stopped-by-disk":
        "{guests} {is} paused because a disk cannot be written: most likely its storage is full"
        lost "nothing, but the guest does not run"
        fix "check which disk it is, make room for it, and resume the guest"
        run "virsh -r -c {uri} domblkerror {first}"
        run "virsh resume {first}";

    no_steal() = Advice "no-steal": "libvirt does not report how long vCPUs wait for a host CPU"
        lost "steal_percent of vm_features"
        fix "it needs QEMU, and libvirt 7.2 or later; virsh shows whether it exists"
        run "virsh domstats --vcpu | grep delay";
}
