//! A Linux guest with something of everything that QEMU has without KVM: what the pages show, and what the
//! other tools' names are read from.

use super::lab::Lab;
use super::process::run;
use super::wait_until;
use std::fs;
use std::process::Command;
use std::time::Duration;

pub const NAME: &str = "app-01";
pub const UUID: &str = "8d4c3f52-6a5e-4b0e-9d0e-3f1c5b7a9e11";

/// Its domain, but for the lines that say where its kernel is.
const DOMAIN: &str = "<domain type='qemu'><name>app-01</name><title>Shop, second server</title>
<uuid>8d4c3f52-6a5e-4b0e-9d0e-3f1c5b7a9e11</uuid>
<memory unit='MiB'>128</memory><vcpu cpuset='0-1' current='2'>4</vcpu><iothreads>1</iothreads>
<cputune><vcpupin vcpu='1' cpuset='0'/></cputune>
<numatune><memory mode='strict' nodeset='0'/></numatune>
<os><type arch='x86_64' machine='pc'>hvm</type>KERNEL
<cmdline>console=ttyS0 quiet panic=-1</cmdline></os><features><acpi/></features>
<cpu><numa><cell id='0' cpus='0-1' memory='64' unit='MiB'/><cell id='1' cpus='2-3' memory='64' unit='MiB'/></numa></cpu>
<devices>
<disk type='file' device='disk'><driver name='qemu' type='raw' iothread='1'/>
<source file='/var/lib/libvirt/images/app-01.raw'/><target dev='vda' bus='virtio'/><serial>S-4711</serial>
<iotune><total_bytes_sec>100000000</total_bytes_sec><total_iops_sec>5000</total_iops_sec></iotune></disk>
<disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>
<interface type='user'><model type='virtio'/></interface>
<interface type='ethernet'><mac address='52:54:00:a1:b2:c3'/><model type='virtio'/></interface>
<memballoon model='virtio'><stats period='2'/></memballoon></devices></domain>";

/// Starts it, beside a guest of [`Lab::linux`] whose kernel it uses, and waits until all of its figures
/// are there: its disk and NIC move, its memory is told, its dirty rate is measured.
pub fn start(lab: &Lab, beside: &str) {
    fs::File::create(lab.image("app-01.raw")).unwrap().set_len(64 << 20).unwrap();
    let xml = lab.virsh(&["dumpxml", beside]);
    let is_kernel = |line: &&str| line.starts_with("<kernel>") || line.starts_with("<initrd>");
    let kernel: String = xml.lines().map(str::trim).filter(is_kernel).collect();
    let file = lab.scratch().join("app-01.xml");
    fs::write(&file, DOMAIN.replace("KERNEL", &kernel)).unwrap();
    lab.virsh(&["define", file.to_str().unwrap()]);
    lab.virsh(&["start", NAME]);
    wait_until("the guest works", Duration::from_secs(240), || {
        let stats = lab.all_stats(UUID);
        let moving = ["balloon.usable", "net.1.rx.pkts", "block.0.rd.reqs", "block.0.fl.reqs"];
        moving.iter().all(|key| stats.number(key) > 0).then_some(())
    });
    // The highest written offset is what QEMU tells as allocation; a threshold is told once it is set.
    lab.virsh(&["domblkthreshold", NAME, "vda", "67108864"]);
    lab.virsh(&["domdirtyrate-calc", NAME, "--seconds", "1"]);
    wait_until("its dirty rate is measured", Duration::from_secs(60), || {
        (lab.all_stats(UUID).number("dirtyrate.calc_status") == 2).then_some(())
    });
}

/// Begins to save it into a pipe that nobody empties, so that the job lasts. The guest is of no use then.
pub fn begin_save(lab: &Lab) -> Save {
    let pipe = lab.image("save.fifo");
    run(Command::new("mkfifo").arg(&pipe)).success();
    let reader = fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    let uri = lab.uri().replace("libvirt-sock-ro", "libvirt-sock");
    let save = Command::new("virsh")
        .args(["-q", "-c", &uri, "save", NAME, "/var/lib/libvirt/images/save.fifo"])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    Save { save, _reader: reader }
}

/// A save that goes on until this is dropped.
pub struct Save {
    save: std::process::Child,
    _reader: fs::File,
}

impl Drop for Save {
    fn drop(&mut self) {
        let _ = self.save.kill();
        let _ = self.save.wait();
    }
}
