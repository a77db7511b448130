//! What is left of a nasty host.

use std::collections::BTreeMap;

use super::*;
use crate::devices::xml::inventory;
use crate::libvirt::OwnedValue;
use crate::record::{DeviceAnswers, Moment, RecordedHost, RecordedJob, RecordedNode};
use crate::schema::PoolReading;
use uuid::Uuid;

/// Everything that belongs to somebody; none of it may be left.
const SECRETS: &[&str] = &[
    "db-prod,eu=1 \\ö",
    "web",
    "tier1-acme",
    "0042424242",
    "4dea22b3-1d52-d8f3-2516-782e98ab3fa0",
    "4DEA22B3",
    "11111111-2222-3333-4444-555555555555",
    "52:54:00:ab:cd:ef",
    "52:54:00:AB:CD:EF",
    "10.20.30.40",
    "2001:41d0::17",
    "fd00::1",
    "Payroll",
    "acme",
    "s3cr3t",
    "alice",
    "hunter2",
    "br-corp",
    "corp-net",
    "tap-web-7",
    "ua-root",
    "S3R1AL",
    "776655",
    "hyp7",
    "example.com",
    "/srv/vms",
    "/var/lib",
    "/dev/pts/9",
    "rbdpool",
    "vault",
    "d41d8cd9",
    "0x5000c500a1b2c3d4",
    "Fabrikam",
    "cost-center",
    "comment",
];

const XML: &str = "<domain type='qemu' id='7' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <!-- a comment by alice -->
  <?s3cr3t acme?>
  <name>db-prod,eu=1 \\&#xF6;</name>
  <uuid>4dea22b3-1d52-d8f3-2516-782e98ab3fa0</uuid>
  <genid>d41d8cd9-8f00-4204-a980-0998ecf8427e</genid>
  <title>Payroll of acme</title>
  <description>call alice, 10.20.30.40</description>
  <metadata>
    <nova:instance xmlns:nova='http://openstack.org/xmlns/libvirt/nova/1.1'>
      <nova:owner><nova:user uuid='11111111222233334444555555555555'>alice</nova:user></nova:owner>
      <nova:name>0042424242</nova:name>
    </nova:instance>
    <acme:cost-center xmlns:acme='http://acme.example.com/x' acme:alice='s3cr3t'><![CDATA[hunter2]]></acme:cost-center>
  </metadata>
  <memory unit='KiB'>131072</memory>
  <vcpu placement='static' cpuset='0-3,^2'>2</vcpu>
  <resource><partition>/machine/acme</partition></resource>
  <sysinfo type='smbios'><system><entry name='serial'>776655</entry></system></sysinfo>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type><loader readonly='yes'>/srv/vms/fw</loader></os>
  <cpu mode='custom' match='exact'><model fallback='forbid'>qemu64</model></cpu>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none'/>
      <source file='/srv/vms/db-prod,eu=1.img' index='1'/>
      <target dev='vda' bus='virtio'/>
      <serial>776655</serial><wwn>0x5000c500a1b2c3d4</wwn><vendor>Fabrikam</vendor>
      <iotune><read_bytes_sec>1048576</read_bytes_sec></iotune>
      <alias name='ua-root'/>
    </disk>
    <disk type='network' device='cdrom'>
      <source protocol='rbd' name='rbdpool/vault'><host name='hyp7.example.com' port='6789'/>
        <auth username='alice'><secret type='ceph' uuid='11111111-2222-3333-4444-555555555555'/></auth></source>
      <target dev='sda' bus='sata'/><serial>S3R1AL</serial>
    </disk>
    <interface type='bridge'>
      <mac address='52:54:00:ab:cd:ef'/><source network='corp-net' bridge='br-corp'/>
      <target dev='tap-web-7'/><model type='virtio'/><alias name='net0'/>
      <ip address='2001:41d0::17' family='ipv6'/>
    </interface>
    <console type='pty' tty='/dev/pts/9'/>
    <channel type='unix'><source mode='bind' path='/var/lib/libvirt/web.sock'/>
      <target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <graphics type='vnc' port='5900' listen='10.20.30.40' passwd='hunter2'/>
    <unheard of='acme' number='5'>s3cr3t</unheard>
  </devices>
  <seclabel type='dynamic'><label>libvirt-4dea22b3-1d52-d8f3-2516-782e98ab3fa0</label></seclabel>
  <qemu:commandline><qemu:arg value='-fw_cfg'/><qemu:arg value='name=opt/acme,string=hunter2'/></qemu:commandline>
</domain>";

fn text(text: &str) -> OwnedValue {
    OwnedValue::Text(text.to_owned())
}

fn error<T>(message: &str) -> Answer<T> {
    Answer::Error { kind: Kind::Other, message: message.to_owned() }
}

fn named(name: &str, uuid: &str, xml: &str) -> RecordedGuest {
    let statistics = [
        ("net.0.name", text("tap-web-7")),
        ("net.1.name", text("vnet3")),
        ("block.0.name", text("vda")),
        ("block.0.path", text("/srv/vms/db-prod,eu=1.img")),
        ("cpu.cache.monitor.0.name", text("vcpus_0-1")),
        ("cpu.cache.monitor.0.vcpus", text("0-1")),
        ("memory.bandwidth.monitor.0.name", text("acme_group")),
        ("dirtyrate.calc_mode", text("page-sampling")),
        ("later.libvirt.owner", text("alice")),
        ("cpu.time", OwnedValue::Uint(5)),
    ];
    let statistics: Vec<_> =
        statistics.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let mut guest = RecordedGuest {
        id: 7,
        name: name.to_owned(),
        uuid: Uuid::parse_str(uuid).unwrap(),
        statistics: Answer::Ok(statistics.clone()),
        job: Answer::Ok(RecordedJob { kind: 0, parameters: statistics }),
        vcpus: error("Domain not found: 'web' (4DEA22B3-1D52-D8F3-2516-782E98AB3FA0) for alice"),
        ..RecordedGuest::default()
    };
    guest.calls.xml = Answer::Ok(xml.to_owned());
    guest.calls.info = error(
        "cannot reach hyp7 (qemu+ssh://alice@hyp7.example.com/system?keyfile=/var/lib/k): \
         10.20.30.40:16509, [2001:41d0::17]:22, fd00::1, MAC 52:54:00:AB:CD:EF; \
         open('/srv/vms/other.img') failed in I/O, socket=/var/lib/x",
    );
    guest.groups.insert("block".to_owned(), error("no disk of db-prod,eu=1 \\ö at tap-web-7"));
    let answers = DeviceAnswers {
        nic_counters: error("invalid path, 'tap-web-7' is not a known interface"),
        ..DeviceAnswers::default()
    };
    guest.devices =
        BTreeMap::from([("tap-web-7".to_owned(), answers.clone()), ("vda".into(), answers)]);
    guest
}

fn nasty() -> Recording {
    let guests = || {
        let small = "<domain type='test'><name>web</name></domain>";
        vec![
            named("web", "11111111-2222-3333-4444-555555555555", small),
            named("db-prod,eu=1 \\ö", "4dea22b3-1d52-d8f3-2516-782e98ab3fa0", XML),
            named("0042424242", "d41d8cd9-8f00-4204-a980-0998ecf8427e", "<domain><name>acme"),
        ]
    };
    let pool = PoolReading { name: "tier1-acme".to_owned(), ..PoolReading::default() };
    let node = RecordedNode { host: None, pools: vec![pool] };
    let moment = |unix_ns| Moment { unix_ns, boot_ns: 5, guests: guests(), node: node.clone() };
    let mut host = RecordedHost {
        uri: "qemu+ssh://alice@hyp7.example.com:22/system?keyfile=/var/lib/k".to_owned(),
        name: Answer::Ok("hyp7.example.com".to_owned()),
        ..RecordedHost::default()
    };
    host.versions.insert("daemon".to_owned(), error("hyp7 said no"));
    Recording { host, moments: vec![moment(1), moment(2)] }
}

fn anonymous() -> Recording {
    let mut recording = nasty();
    anonymize(&mut recording);
    recording
}

#[test]
fn nothing_that_is_somebodys_is_left_anywhere_in_the_file() {
    let before = nasty().to_text().unwrap();
    let after = anonymous().to_text().unwrap();
    let (before_words, after_words) = (before.to_lowercase(), after.to_lowercase());
    for secret in SECRETS {
        // As it stands in JSON, and in XML within it.
        let forms = [secret.to_lowercase(), secret.to_lowercase().replace('\\', "\\\\")];
        assert!(
            forms.iter().any(|form| before_words.contains(form)) || secret.contains('ö'),
            "{secret} is not there"
        );
        for form in forms {
            let at = after_words.find(&form);
            let near = at.map(|at| after_words[..at + form.len()].chars().rev().take(80));
            let near: Option<String> = near.map(|it| it.collect::<Vec<_>>().iter().rev().collect());
            assert_eq!(near, None, "{secret} is left");
        }
    }
}

#[test]
fn what_a_collection_needs_stays_and_the_same_stays_the_same() {
    let recording = anonymous();
    let [first, second] = &recording.moments[..] else { panic!("two moments") };
    assert_eq!(first.guests, second.guests);
    // In the order of their names before: 0042424242, db-prod, web.
    let names: Vec<&str> = first.guests.iter().map(|guest| guest.name.as_str()).collect();
    assert_eq!(names, ["guest-3", "guest-2", "guest-1"]);
    assert_eq!(recording.host.uri, "qemu+ssh://host-2/system");
    let guest = &first.guests[1];
    let xml = guest.xml();
    let (nics, disks) = inventory(xml).unwrap();
    assert_eq!(nics[0].target.as_deref(), Some("device-1"));
    let disks: Vec<&str> = disks.iter().map(|disk| disk.target.as_str()).collect();
    assert_eq!(disks, ["vda", "sda"]);
    let value = |name: &str| {
        let statistics = guest.statistics.result().unwrap();
        let found = statistics.iter().find(|(it, _)| it == name);
        found.map(|(_, value)| value.clone())
    };
    assert_eq!(value("net.0.name"), Some(text("device-1")));
    assert_eq!(value("net.1.name"), Some(text("vnet3")));
    assert_eq!(value("cpu.cache.monitor.0.name"), Some(text("vcpus_0-1")));
    assert_eq!(value("cpu.cache.monitor.0.vcpus"), Some(text("0-1")));
    assert_eq!(value("dirtyrate.calc_mode"), Some(text("page-sampling")));
    let Some(OwnedValue::Text(path)) = value("block.0.path") else { panic!("a path") };
    assert!(xml.contains(&format!("<source file='{path}' index='1'/>")), "{xml}");
    assert_eq!(guest.devices.keys().collect::<Vec<_>>(), ["device-1", "vda"]);
    for kept in [
        "<name>guest-2</name>",
        "<memory unit='KiB'>131072</memory>",
        "<vcpu placement='static' cpuset='0-3,^2'>2</vcpu>",
        "<type arch='x86_64' machine='pc-q35-7.2'>hvm</type>",
        "<model fallback='forbid'>qemu64</model>",
        "<driver name='qemu' type='qcow2' cache='none'/>",
        "<read_bytes_sec>1048576</read_bytes_sec>",
        "<alias name='net0'/>",
        "name='org.qemu.guest_agent.0'",
        "xmlns:nova='http://openstack.org/xmlns/libvirt/nova/1.1'",
        "<mac address='52:54:00:00:00:01'/>",
        "number='5'",
    ] {
        assert!(xml.contains(kept), "{kept} is missing in {xml}");
    }
    let Answer::Error { message, .. } = &guest.calls.info else { panic!("an error") };
    assert!(message.contains("failed in I/O"), "{message}");
    assert!(matches!(first.guests[2].calls.xml, Answer::Error { .. }));
}

#[test]
fn what_is_replaced_once_is_replaced_again_without_end() {
    let mut again = anonymous();
    anonymize(&mut again);
    let names = |recording: &Recording| -> Vec<String> {
        recording.moments[0].guests.iter().map(|guest| guest.name.clone()).collect()
    };
    assert_eq!(names(&again), names(&anonymous()));
}

#[test]
fn a_guest_that_is_named_like_a_uuid_or_a_replacement_keeps_an_identity_of_its_own() {
    let uuids = [1, 2].map(Uuid::from_u128);
    let guest = |name: String, uuid| RecordedGuest { name, uuid, ..RecordedGuest::default() };
    let names = [uuids[1].to_string(), "guest-1".to_owned()];
    let guests: Vec<_> =
        names.into_iter().zip(uuids).map(|(name, uuid)| guest(name, uuid)).collect();
    let moment = Moment { guests, ..Moment::default() };
    let mut recording = Recording { moments: vec![moment], ..Recording::default() };
    anonymize(&mut recording);
    let text = recording.to_text().unwrap();
    let read = Recording::parse(text.as_bytes()).unwrap();
    let told = |guest: &RecordedGuest| (guest.name.clone(), guest.uuid.to_string());
    assert_eq!(
        read.moments[0].guests.iter().map(told).collect::<Vec<_>>(),
        [
            ("guest-1".to_owned(), "00000000-0000-4000-8000-000000000001".to_owned()),
            ("guest-2".to_owned(), "00000000-0000-4000-8000-000000000002".to_owned()),
        ]
    );
}
