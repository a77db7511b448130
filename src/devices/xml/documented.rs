//! Each type of disk and NIC, as <https://libvirt.org/formatdomain.html> writes it, with its source.

use super::*;

/// The type of a disk, its XML below `<disk>`, and its path.
const DISKS: [(&str, &str, Option<&str>); 21] = [
    (
        "file",
        "<source file='/var/lib/xen/images/fv0' startupPolicy='optional'><seclabel relabel='no'/></source>",
        Some("/var/lib/xen/images/fv0"),
    ),
    ("block", "<source dev='/dev/VolGroup00/LogVol05'/>", Some("/dev/VolGroup00/LogVol05")),
    ("dir", "<source dir='/var/somefiles'/>", Some("/var/somefiles")),
    (
        "volume",
        "<source pool='blk-pool0' volume='blk-pool0-vol0'/>",
        Some("blk-pool0/blk-pool0-vol0"),
    ),
    (
        "nvme",
        "<source type='pci' managed='yes' namespace='1'>\
         <address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></source>",
        Some("nvme://0000:01:00.0/1"),
    ),
    (
        "vhostuser",
        "<source type='unix' path='/tmp/vhost-blk.sock'><reconnect enabled='yes' timeout='10'/></source>",
        Some("/tmp/vhost-blk.sock"),
    ),
    ("vhostvdpa", "<source dev='/dev/vhost-vdpa-0'/>", Some("/dev/vhost-vdpa-0")),
    (
        "network",
        "<source protocol='rbd' name='image_name2'><host name='hostname' port='7000'/>\
         <snapshot name='snapname'/><config file='/path/to/file'/>\
         <auth username='myuser'><secret type='ceph' usage='mypassid'/></auth></source>",
        Some("rbd://hostname:7000/image_name2"),
    ),
    (
        "network",
        "<source protocol='rbd' name='pool/image'><host name='mon1' port='6789'/>\
         <host name='mon2' port='6789'/></source>",
        Some("rbd://mon1:6789/pool/image"),
    ),
    ("network", "<source protocol='rbd' name='pool/image'/>", Some("rbd:///pool/image")),
    (
        "network",
        "<source protocol='sheepdog' name='image_name'><host name='hostname' port='7000'/></source>",
        Some("sheepdog://hostname:7000/image_name"),
    ),
    (
        "network",
        "<source protocol='http' name='url_path' query='foo=bar&amp;baz=flurb'>\
         <host name='hostname' port='80'/><cookies><cookie name='test'>x</cookie></cookies></source>",
        Some("http://hostname:80/url_path?foo=bar&baz=flurb"),
    ),
    (
        "network",
        "<source protocol='https' name='/url_path'><host name='hostname' port='443'/>\
         <ssl verify='no'/></source>",
        Some("https://hostname:443/url_path"),
    ),
    (
        "network",
        "<source protocol='nfs' name='PATH'><host name='example.com'/><identity user='USER' group='GROUP'/></source>",
        Some("nfs://example.com/PATH"),
    ),
    (
        "network",
        "<source protocol='iscsi' name='iqn.2013-07.com.example:iscsi-nopool/2'>\
         <host name='example.com' port='3260'/><initiator><iqn name='iqn.2013-07.com.example:client'/></initiator></source>",
        Some("iscsi://example.com:3260/iqn.2013-07.com.example:iscsi-nopool/2"),
    ),
    (
        "network",
        "<source protocol='gluster' name='volume/image'><host name='example.org' port='24007' transport='tcp'/></source>",
        Some("gluster://example.org:24007/volume/image"),
    ),
    (
        "network",
        "<source protocol='gluster' name='volume/image'><host transport='unix' socket='/path/to/sock'/></source>",
        Some("gluster+unix:///volume/image?socket=/path/to/sock"),
    ),
    (
        "network",
        "<source protocol='nbd'><host transport='unix' socket='/run/nbd.sock'/></source>",
        Some("nbd+unix://?socket=/run/nbd.sock"),
    ),
    (
        "network",
        "<source protocol='nbd' name='export'><host name='fd00::1' port='10809'/></source>",
        Some("nbd://[fd00::1]:10809/export"),
    ),
    (
        "network",
        "<source protocol='ssh' name='/srv/x.img'><host name='example.com' port='22'/><identity username='u'/></source>",
        Some("ssh://example.com:22/srv/x.img"),
    ),
    ("file", "", None),
];

/// The type of a NIC, its XML below `<interface>`, and its source.
const NICS: [(&str, &str, Option<&str>); 15] = [
    ("network", "<source network='default' portgroup='engineering'/>", Some("default")),
    ("bridge", "<source bridge='br0'/>", Some("br0")),
    ("direct", "<source dev='eth0' mode='vepa'/>", Some("eth0")),
    ("ethernet", "<script path='/etc/qemu-ifup-mynet'/>", None),
    (
        "hostdev",
        "<driver name='vfio'/><source><address type='pci' domain='0x0000' bus='0x00' slot='0x07' function='0x0'/></source>",
        Some("0000:00:07.0"),
    ),
    (
        "vhostuser",
        "<source type='unix' path='/tmp/vhost1.sock' mode='server'/>",
        Some("/tmp/vhost1.sock"),
    ),
    ("vdpa", "<source dev='/dev/vhost-vdpa-0'/>", Some("/dev/vhost-vdpa-0")),
    ("mcast", "<source address='230.0.0.1' port='5558'/>", Some("230.0.0.1:5558")),
    ("server", "<source address='192.168.0.1' port='5558'/>", Some("192.168.0.1:5558")),
    ("client", "<source address='192.168.0.1' port='5558'/>", Some("192.168.0.1:5558")),
    (
        "udp",
        "<source address='127.0.0.1' port='5558'><local address='127.0.0.1' port='5559'/></source>",
        Some("127.0.0.1:5558"),
    ),
    ("server", "<source port='5558'/>", Some(":5558")),
    (
        "user",
        "<backend type='passt' logFile='/var/log/passt.log'/><source dev='eth0'/>",
        Some("eth0"),
    ),
    ("vds", "<source switchid='12345678' portid='1' portgroupid='x' connectionid='2'/>", None),
    ("null", "", None),
];

#[test]
fn each_type_of_disk_that_libvirt_documents_has_its_type_and_its_source() {
    for (kind, source, path) in DISKS {
        let xml = format!(
            "<domain><devices><disk type='{kind}' device='disk' snapshot='external' model='virtio'>\
             <driver name='qemu' type='raw'/>{source}<backingStore type='file'><source file='/no'/></backingStore>\
             <mirror type='network'><source protocol='nbd' name='no'><host name='no'/></source></mirror>\
             <target dev='vda' bus='virtio'/><serial>WD-WMAP9A966149</serial><alias name='ua-x'/></disk></devices></domain>"
        );
        let (_, disks) = inventory(&xml).unwrap();
        let text = |text: &str| Some(text.to_owned());
        let expected = DiskDevice {
            target: "vda".into(),
            kind: DiskKind::Disk,
            source_type: text(kind),
            model: text("virtio"),
            bus: text("virtio"),
            serial: text("WD-WMAP9A966149"),
            alias: text("ua-x"),
            path: path.map(str::to_owned),
        };
        assert_eq!(disks, [expected], "{xml}");
    }
}

#[test]
fn each_type_of_nic_that_libvirt_documents_has_its_type_and_its_source() {
    for (kind, source, network) in NICS {
        let xml = format!(
            "<domain><devices><interface type='{kind}'>{source}<mac address='52:54:00:5d:c7:9e'/>\
             <target dev='vnet7'/><model type='virtio'/><alias name='ua-n'/>\
             <address type='pci' domain='0' bus='0' slot='3' function='0'/></interface></devices></domain>"
        );
        let (nics, _) = inventory(&xml).unwrap();
        let text = |text: &str| Some(text.to_owned());
        let expected = NicDevice {
            target: text("vnet7"),
            kind: kind.to_owned(),
            mac: text("52:54:00:5d:c7:9e"),
            model: text("virtio"),
            alias: text("ua-n"),
            network: network.map(str::to_owned),
        };
        assert_eq!(nics, [expected], "{xml}");
    }
}

#[test]
fn a_source_that_is_too_long_is_none() {
    let name = "x".repeat(super::super::walk::VALUE_MAX);
    let xml = format!(
        "<domain><devices><disk type='network'><source protocol='rbd' name='{name}'/><target dev='vda'/></disk>\
         </devices></domain>"
    );
    assert_eq!(inventory(&xml).unwrap().1[0].path, None);
}
