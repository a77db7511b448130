//! The findings about the guests of a hypervisor.

use super::findings;

findings! {
    gone_down(error) = Lost "gone-down":
        "it answered a moment ago, and then its guests could not be read: {error}"
        lost "every guest of this hypervisor, for as long as that lasts"
        fix "run this again; if it comes again, see libvirt's log"
        run "journalctl -u libvirtd -u virtqemud -n 50";

    read(whole, guests, inactive) = Good "read": "{whole} of {guests} guests read{inactive}";

    no_guest(inactive, uri) = Advice "no-guest": "no guest runs{inactive}"
        lost "nothing, but a collection prints no line"
        fix "start one; or name the hypervisor where yours run with --uri or `uris`: those that virt-manager \
             or GNOME Boxes start for one user are at qemu:///session of that user"
        run "virsh -r -c {uri} list --all";

    filtered(count) = Good "filtered": "{count} left out, as [domains] of the configuration says";

    all_filtered(that_run) = Advice "all-filtered":
        "[domains] of the configuration leaves out all guests{that_run}"
        lost "every guest: no line is printed"
        fix "see the lists of names, UUIDs, states and metadata in [domains]; empty ones take all";

    hung(guests, uri, first) = Lost "hung": "{guests} not answer"
        lost "disk counters, memory figures and whatever else only QEMU can tell, for as long as that lasts; \
              other guests lose nothing"
        fix "see for how long, and why: most often the storage below the disks hangs (state D in ps), or the \
             QEMU process is stopped (state T)"
        run "virsh -r -c {uri} domcontrol {first}"
        run "virsh -r -c {uri} domblklist {first}"
        run "ps -o pid,stat,wchan:24 -p \"$(pgrep -of 'uuid {first}')\"";

    partly_unread(failure, guests, uri, first) = Lost "partly-unread": "{failure}, of {guests}"
        lost "these figures, which are 0 instead, or left out with missing = \"omit\""
        fix "see what libvirt itself has of it, and what its log says"
        run "virsh -r -c {uri} domstats {first}";

    collection_says(message, uri) = Lost "collection-says": "{message}"
        lost "what the collection says here"
        fix "see whether virsh can read that guest, and what libvirt's log says"
        run "virsh -r -c {uri} domstats";

    collection_says_more(count) = Lost "collection-says": "{count} more messages of that kind"
        lost "what they say"
        fix "see all of them"
        run "telegraf-virt once >/dev/null";

    quiet() = Advice "quiet":
        "these say no more than libvirt knows by itself: they start, end or migrate"
        lost "nothing, if that is so: the rest comes when they have started"
        fix "run this again in a minute";

    no_balloon_period(count, whose, command) = Advice "no-balloon-period":
        "libvirt never asks {count} for {whose} own memory figures"
        lost "memavailable, memusable, memdisk_cache, memswap_in, memswap_out and the faults of vm_totals, \
              which are 0 instead"
        fix "set a period with the first line, which works at once and needs no guest agent; the second is \
             what stands in the guest's XML then. Where libvirt says that a guest is transient, leave out \
             --config"
        run "{command}"
        run "<memballoon model='virtio'><stats period='10'/></memballoon>";

    no_balloon(guests, uri, first) = Advice "no-balloon": "{guests} no balloon device"
        lost "memavailable, memusable, memdisk_cache, memswap_in, memswap_out and the faults of vm_totals, \
              which are 0 instead"
        fix "write the second line into the <devices> of the guest's XML, and shut it down and start it; no \
             guest agent is needed"
        run "sudo virsh -c {uri} edit {first}"
        run "<memballoon model='virtio'><stats period='10'/></memballoon>";

    balloon_silent(guests) = Advice "balloon-silent":
        "{guests} never reported memory figures, though asked for them"
        lost "memavailable, memusable, memdisk_cache, memswap_in, memswap_out and the faults of vm_totals, \
              which are 0 instead"
        fix "if they have not just started, load the balloon's driver in them; Windows has it in virtio-win, \
             with its service BalloonService"
        run "modprobe virtio_balloon";

    balloon_late(count, report) = Advice "balloon-late": "{count} no longer {report} memory figures"
        lost "fresh memory figures: what is printed is as old as their last report"
        fix "see whether the guest is well, and load the balloon's driver in it again"
        run "modprobe -r virtio_balloon && modprobe virtio_balloon";

    user_nic() = Advice "user-nic": "NICs of user-mode networking have no counters"
        lost "vm_devices lines of these NICs, and their part of net_* in vm_totals: QEMU moves their packets \
              by itself, where libvirt cannot count"
        fix "where the counters are wanted, connect the NIC to a network or a bridge of the host, in the \
             guest's XML"
        run "<interface type='network'><source network='default'/></interface>";

    hostdev_nic() = Advice "hostdev-nic": "NICs that are passed through have no counters"
        lost "vm_devices lines of these NICs, and their part of net_* in vm_totals: the host does not see \
              their packets"
        fix "count inside the guest, with a Telegraf there and its inputs.net"
        run "[[inputs.net]]";

    no_steal() = Advice "no-steal": "libvirt does not tell how long vCPUs wait for a host CPU"
        lost "steal_percent of vm_features"
        fix "it needs QEMU, and libvirt 7.2 or later; virsh shows whether it is there"
        run "virsh domstats --vcpu | grep delay";
}
