//! Tests of the domain XML reader: what real and rare domains give, and what hostile text cannot do.

use proptest::prelude::*;

use super::super::walk::{DEPTH_MAX, TEXT_MAX, VALUE_MAX};
use super::*;

/// As libvirt 9.0 writes a running QEMU guest, with the parts that have no device cut short.
const REAL: &str = r#"<domain type='qemu' id='1'>
  <name>fleet-1</name>
  <uuid>1316cff0-8632-479b-8946-c595833ab625</uuid>
  <metadata>
    <app:guest xmlns:app="http://example.org/app/1">
      <disk type='file'><target dev='sda'/></disk>
      <devices><interface type='bridge'><target dev='evil0'/></interface></devices>
    </app:guest>
  </metadata>
  <memory unit='KiB'>16384</memory>
  <os>
    <type arch='x86_64' machine='pc-i440fx-7.2'>hvm</type>
    <boot dev='hd'/>
  </os>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='/var/lib/libvirt/images/fleet-1.qcow2' index='3'/>
      <backingStore type='file' index='4'>
        <format type='raw'/>
        <source file='/var/lib/libvirt/images/base.raw'/>
        <backingStore/>
      </backingStore>
      <mirror type='file' job='copy'>
        <source file='/mnt/copy.qcow2'/>
        <target dev='vdz'/>
      </mirror>
      <target dev='vda' bus='virtio'/>
      <serial>S3A-0001</serial>
      <alias name='virtio-disk0'/>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x04' function='0x0'/>
    </disk>
    <disk type='file' device='cdrom'>
      <driver name='qemu'/>
      <target dev='hdc' bus='ide'/>
      <readonly/>
      <alias name='ide0-1-0'/>
    </disk>
    <controller type='usb' index='0' model='piix3-uhci'>
      <alias name='usb'/>
    </controller>
    <interface type='user'>
      <mac address='52:54:00:b3:39:a0'/>
      <model type='virtio'/>
      <alias name='net0'/>
    </interface>
    <interface type='ethernet'>
      <mac address='52:54:00:c0:38:67'/>
      <target dev='vnet0'/>
      <model type='virtio'/>
      <alias name='net1'/>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x02' function='0x0'/>
    </interface>
    <memballoon model='virtio'>
      <alias name='balloon0'/>
    </memballoon>
  </devices>
  <seclabel type='dynamic' model='dac' relabel='yes'>
    <label>+0:+0</label>
  </seclabel>
</domain>
"#;

fn domain(devices: &str) -> String {
    format!("<domain type='kvm'><name>x</name><devices>{devices}</devices></domain>")
}

fn nics(devices: &str) -> Vec<NicDevice> {
    inventory(&domain(devices)).unwrap().0
}

fn disks(devices: &str) -> Vec<DiskDevice> {
    inventory(&domain(devices)).unwrap().1
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn a_real_domain_gives_its_own_devices_and_nothing_of_its_metadata() {
    let (nics, disks) = inventory(REAL).unwrap();
    assert_eq!(
        nics,
        [
            NicDevice {
                target: None,
                kind: "user".into(),
                mac: some("52:54:00:b3:39:a0"),
                model: some("virtio"),
                alias: some("net0"),
                network: None,
            },
            NicDevice {
                target: some("vnet0"),
                kind: "ethernet".into(),
                mac: some("52:54:00:c0:38:67"),
                model: some("virtio"),
                alias: some("net1"),
                network: None,
            },
        ]
    );
    assert_eq!(
        disks,
        [
            DiskDevice {
                source_type: some("file"),
                target: "vda".into(),
                kind: DiskKind::Disk,
                bus: some("virtio"),
                model: None,
                alias: some("virtio-disk0"),
                path: some("/var/lib/libvirt/images/fleet-1.qcow2"),
                serial: some("S3A-0001"),
            },
            DiskDevice {
                source_type: some("file"),
                target: "hdc".into(),
                kind: DiskKind::Cdrom,
                bus: some("ide"),
                alias: some("ide0-1-0"),
                ..DiskDevice::default()
            },
        ]
    );
}

#[test]
fn each_kind_of_disk_source_gives_a_path() {
    let found = disks(
        r#"
        <disk type='network' device='disk'>
          <auth username='libvirt'><secret type='ceph' uuid='2ec115d7-3a88-3ceb-bc12-0ac909a6fd87'/></auth>
          <source protocol='rbd' name='pool/image'><host name='mon1.example.org' port='6321'/></source>
          <target dev='vda' bus='virtio'/>
        </disk>
        <disk type='network' device='lun'>
          <source protocol='iscsi' name='iqn.2013-07.com.example:iscsi-nopool/2'><host name='example.com'/></source>
          <target dev='sda' bus='scsi'/>
        </disk>
        <disk type='volume' device='disk'>
          <source pool='blk-pool0' volume='blk-pool0-vol0'/>
          <target dev='hda' bus='ide'/>
        </disk>
        <disk type='block' device='lun' sgio='filtered'>
          <source dev='/dev/disk/by-id/scsi-0QEMU'/>
          <target dev='sdb' bus='scsi'/>
        </disk>
        <disk type='dir' device='floppy' model='virtio-transitional'>
          <source dir='/srv/fat'/>
          <target dev='fda' bus='fdc'/>
        </disk>
        <disk type='nvme' device='disk'>
          <source type='pci' managed='yes' namespace='1'><address domain='0x0000' bus='0x01'/></source>
          <target dev='vdb' bus='virtio'/>
        </disk>"#,
    );
    let seen: Vec<_> = found
        .iter()
        .map(|disk| (disk.target.as_str(), disk.kind, disk.path.as_deref(), disk.model.as_deref()))
        .collect();
    assert_eq!(
        seen,
        [
            ("vda", DiskKind::Disk, Some("rbd://mon1.example.org:6321/pool/image"), None),
            (
                "sda",
                DiskKind::Lun,
                Some("iscsi://example.com/iqn.2013-07.com.example:iscsi-nopool/2"),
                None
            ),
            ("hda", DiskKind::Disk, Some("blk-pool0/blk-pool0-vol0"), None),
            ("sdb", DiskKind::Lun, Some("/dev/disk/by-id/scsi-0QEMU"), None),
            ("fda", DiskKind::Floppy, Some("/srv/fat"), Some("virtio-transitional")),
            ("vdb", DiskKind::Disk, None, None),
        ]
    );
}

#[test]
fn each_kind_of_interface_gives_its_source_and_target() {
    let found = nics(
        r#"
        <interface type='network'>
          <source network='default' portid='94d8a5e1' bridge='virbr0'/><target dev='vnet7'/>
        </interface>
        <interface type='bridge'><source bridge='br0'/><target dev='tap,=0'/></interface>
        <interface type='direct'><source dev='eth0' mode='vepa'/><target dev='macvtap0'/></interface>
        <interface type='hostdev' managed='yes'>
          <driver name='vfio'/>
          <source><address type='pci' domain='0x0000' bus='0x00' slot='0x07' function='0x0'/></source>
          <mac address='52:54:00:6d:90:02'/>
        </interface>
        <interface type='vhostuser'>
          <source type='unix' path='/tmp/vhost1.sock' mode='server'/><target dev='vhu1'/>
        </interface>"#,
    );
    let seen: Vec<_> = found
        .iter()
        .map(|nic| (nic.kind.as_str(), nic.target.as_deref(), nic.network.as_deref()))
        .collect();
    assert_eq!(
        seen,
        [
            ("network", Some("vnet7"), Some("default")),
            ("bridge", Some("tap,=0"), Some("br0")),
            ("direct", Some("macvtap0"), Some("eth0")),
            ("hostdev", None, Some("0000:00:07.0")),
            ("vhostuser", Some("vhu1"), Some("/tmp/vhost1.sock")),
        ]
    );
}

#[test]
fn a_disk_without_a_target_or_of_an_unknown_kind_is_passed_over() {
    let found = disks(
        "<disk><source file='/a'/></disk><disk><target bus='ide'/></disk><disk><target dev=''/></disk>
         <disk device='tape'><target dev='st0'/></disk><disk/><disk><target dev='vda'/></disk>",
    );
    assert_eq!(found, [DiskDevice { target: "vda".into(), ..DiskDevice::default() }]);
}

#[test]
fn only_devices_of_the_domain_itself_count() {
    let xml = "<domain><disk><target dev='a'/></disk><x><devices><disk><target dev='b'/></disk>
        </devices></x><devices/><devices><hub><disk><target dev='c'/></disk></hub>
        <x:disk><target dev='d'/></x:disk></devices><y><disk><target dev='e'/></disk></y></domain>";
    assert_eq!(inventory(xml), Ok((vec![], vec![])));
}

#[test]
fn predefined_entities_and_character_references_are_read_in_values_and_in_serials() {
    let found = disks(
        "<disk><source file='/a &quot;b&apos; &lt;&gt;&amp;amp;&#10;&#x43;'/>
         <target dev='v&#100;a' bus=\"a\tb\"/>
         <serial> a&amp;b&#x2c;<!-- no -->c<![CDATA[&lt;]]><x>no</x> </serial></disk>",
    );
    assert_eq!(
        found,
        [DiskDevice {
            target: "vda".into(),
            bus: some("a\tb"),
            path: some("/a \"b' <>&amp;\nC"),
            serial: some(" a&b,c&lt; "),
            ..DiskDevice::default()
        }]
    );
}

#[test]
fn a_declared_entity_is_never_expanded_and_its_value_counts_as_absent() {
    let xml = format!(
        "<?xml version='1.0'?><!DOCTYPE domain [<!ENTITY a 'AAAAAAAAAA'>
         <!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;'> <!ENTITY x SYSTEM 'file:///etc/passwd'>]>{}",
        domain(
            "<disk><target dev='vda' bus='&b;'/><source file='&x;'/><serial>1&x;2</serial></disk>
             <disk><target dev='&a;'/></disk><interface type='&a;'><target dev='v&a;'/></interface>
             <disk><target dev='vdb'/><serial>&#0;</serial><alias name='&#xFFFFFFFF;'/></disk>"
        )
    );
    let disk = |target: &str| DiskDevice { target: target.into(), ..DiskDevice::default() };
    assert_eq!(inventory(&xml), Ok((vec![NicDevice::default()], vec![disk("vda"), disk("vdb")])));
}

#[test]
fn a_value_that_is_too_long_counts_as_absent() {
    let (fits, long) = ("x".repeat(VALUE_MAX), "x".repeat(VALUE_MAX + 1));
    let found = disks(&format!(
        "<disk><target dev='vda' bus='{long}'/><source file='{fits}'/><serial>{long}</serial></disk>
         <disk><target dev='{long}'/></disk>
         <disk><target dev='vdb'/><source pool='{fits}' volume='v'/><serial>{fits}</serial></disk>"
    ));
    assert_eq!(
        found,
        [
            DiskDevice { target: "vda".into(), path: Some(fits.clone()), ..DiskDevice::default() },
            DiskDevice { target: "vdb".into(), serial: Some(fits), ..DiskDevice::default() },
        ]
    );
}

#[test]
fn size_depth_and_number_of_devices_are_bounded() {
    let long = " ".repeat(TEXT_MAX + 1);
    assert_eq!(inventory(&long), Err(XmlError::TooLong(TEXT_MAX + 1)));

    let nested = |layers: usize| {
        let chain = "<backingStore>".repeat(layers) + &"</backingStore>".repeat(layers);
        domain(&format!("<disk>{chain}<target dev='vda'/></disk>"))
    };
    assert_eq!(inventory(&nested(200)).map(|(_, disks)| disks.len()), Ok(1));
    assert_eq!(inventory(&nested(DEPTH_MAX - 3)).map(|(_, disks)| disks.len()), Ok(1));
    assert_eq!(inventory(&nested(DEPTH_MAX - 2)), Err(XmlError::TooDeep));

    let many = |count: usize| domain(&"<interface/>".repeat(count));
    assert_eq!(inventory(&many(DEVICES_MAX)).map(|(nics, _)| nics.len()), Ok(DEVICES_MAX));
    assert_eq!(inventory(&many(DEVICES_MAX + 1)), Err(XmlError::TooManyDevices));
}

#[test]
fn what_is_no_whole_domain_is_an_error() {
    for (xml, error) in [
        ("", XmlError::Unfinished),
        ("plain text", XmlError::Unfinished),
        ("<domainsnapshot/>", XmlError::NotADomain),
        ("<domain><devices><disk>", XmlError::Unfinished),
    ] {
        assert_eq!(inventory(xml), Err(error), "{xml}");
    }
    for xml in ["<domain></devices>", "</domain>", "<domain", "<domain><!-- "] {
        let error = inventory(xml);
        assert!(matches!(error, Err(XmlError::Malformed { .. })), "{xml}: {error:?}");
    }
    let bare = inventory(&domain("<disk><target dev=vda/></disk>"));
    assert!(matches!(bare, Err(XmlError::Malformed { .. })), "{bare:?}");
    assert_eq!(inventory("<domain/>"), Ok((vec![], vec![])));
}

#[test]
fn a_domain_cut_anywhere_is_an_error() {
    let whole = REAL.trim_end();
    for end in 0..whole.len() {
        assert!(inventory(&whole[..end]).is_err(), "cut at byte {end}");
    }
}

#[test]
fn an_element_with_half_a_million_attributes_is_read() {
    // A parser that holds each attribute against all others would take minutes.
    let attributes: String = (0..500_000).map(|n| format!(" a{n}=''")).collect();
    let found = nics(&format!("<interface><source{attributes}/></interface>"));
    assert_eq!(found, [NicDevice::default()]);
}

fn within_bounds(xml: &str) -> Result<(), TestCaseError> {
    if let Ok((nics, disks)) = inventory(xml) {
        prop_assert!(nics.len() + disks.len() <= DEVICES_MAX);
        for disk in &disks {
            prop_assert!(!disk.target.is_empty() && disk.target.len() <= VALUE_MAX);
        }
    }
    Ok(())
}

/// A piece of text that means something to an XML reader.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("<".to_owned()),
        Just("</disk>".to_owned()),
        Just("<disk device='lun'>".to_owned()),
        Just("<interface type='bridge'/>".to_owned()),
        Just("<target dev='vdq'/>".to_owned()),
        Just("<serial>&#x41;".to_owned()),
        Just("<![CDATA[".to_owned()),
        Just("]]>".to_owned()),
        Just("<!--".to_owned()),
        Just("-->".to_owned()),
        Just("<!DOCTYPE a [<!ENTITY b '&b;'>]>".to_owned()),
        Just("&b;".to_owned()),
        Just("&".to_owned()),
        Just("'".to_owned()),
        Just("\"".to_owned()),
        Just("/>".to_owned()),
        Just("</domain>".to_owned()),
        Just("<?xml version='1.0' encoding='UTF-16'?>".to_owned()),
        Just("\0\u{feff}".to_owned()),
        ".{0,20}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(xml in "\\PC{0,200}") {
        within_bounds(&xml)?;
        within_bounds(&domain(&xml))?;
    }

    #[test]
    fn no_pieces_of_xml_make_it_panic(pieces in prop::collection::vec(piece(), 0..40)) {
        let xml = pieces.concat();
        within_bounds(&xml)?;
        within_bounds(&domain(&xml))?;
    }

    #[test]
    fn no_mutation_of_a_real_domain_makes_it_panic(
        edits in prop::collection::vec((0..REAL.len(), 0..60_usize, piece()), 1..6)
    ) {
        let mut xml = REAL.to_owned();
        for (at, cut, put) in edits {
            let mut start = at.min(xml.len());
            while !xml.is_char_boundary(start) {
                start -= 1;
            }
            let mut end = (start + cut).min(xml.len());
            while !xml.is_char_boundary(end) {
                end -= 1;
            }
            xml.replace_range(start..end.max(start), &put);
        }
        within_bounds(&xml)?;
    }

    #[test]
    fn whatever_libvirt_can_escape_is_read_back(
        target in "\\PC{1,40}", path in "[\\PC\t\n]{1,60}", serial in "\\PC{1,40}"
    ) {
        let escape = |text: &str| quick_xml::escape::escape(text).into_owned();
        let xml = domain(&format!(
            "<disk><source file='{}'/><target dev='{}'/><serial>{}</serial></disk>",
            escape(&path), escape(&target), escape(&serial)
        ));
        let disk = DiskDevice {
            target, path: Some(path), serial: Some(serial), ..DiskDevice::default()
        };
        prop_assert_eq!(inventory(&xml), Ok((vec![], vec![disk])));
    }
}

#[test]
fn the_number_of_vcpus_is_fixed_where_all_are_there_and_none_has_an_element() {
    let fixed = |inner: &str| {
        let xml = format!("<domain>{inner}<metadata><vcpu>9</vcpu></metadata></domain>");
        read(&xml, false, &[]).unwrap().fixed_vcpus
    };
    assert_eq!(fixed("<vcpu placement='static' cpuset='0-3'>4</vcpu>"), Some(4));
    assert_eq!(fixed("<vcpu>\n 4\n</vcpu>"), Some(4));
    assert_eq!(fixed("<vcpu current='2'>4</vcpu>"), None);
    assert_eq!(fixed("<vcpu>4</vcpu><vcpus><vcpu id='0' enabled='yes'/></vcpus>"), None);
    assert_eq!(fixed("<vcpu>many</vcpu>"), None);
    assert_eq!(fixed(""), None);
}
