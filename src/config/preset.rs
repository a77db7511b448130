//! The tags that the users of a platform expect, from what that platform writes into each guest's metadata. Each
//! namespace is named by its URI, so the prefix does not matter.

use crate::devices::metadata::Path;

/// A platform and its tags.
#[derive(Debug, PartialEq)]
pub struct Preset {
    /// The word in the configuration.
    pub name: &'static str,
    /// Each tag, and where its value is.
    pub tags: &'static [(&'static str, &'static str)],
}

impl Preset {
    /// Its tags, with their paths.
    pub fn paths(&self) -> impl Iterator<Item = (String, Path)> {
        let read = |(tag, path): &(&str, &str)| Some(((*tag).to_owned(), Path::parse(path).ok()?));
        self.tags.iter().filter_map(read)
    }
}

/// A path into what Nova writes: in the namespace that it has had since Wallaby, or in the one before.
macro_rules! nova {
    ($element:literal $attribute:literal) => {
        concat!(
            "//{http://openstack.org/xmlns/libvirt/nova/1.1}",
            $element,
            $attribute,
            " | //{http://openstack.org/xmlns/libvirt/nova/1.0}",
            $element,
            $attribute
        )
    };
}

macro_rules! opennebula {
    ($element:literal) => {
        concat!("//{http://opennebula.org/xmlns/libvirt/1.0}", $element)
    };
}

/// Every preset.
pub static PRESETS: [Preset; 5] = [
    Preset {
        name: "nova",
        tags: &[
            ("instance_name", nova!("name" "")),
            ("flavor", nova!("flavor" "/@name")),
            ("project_name", nova!("project" "")),
            ("project_id", nova!("project" "/@uuid")),
            ("user_name", nova!("user" "")),
            ("user_id", nova!("user" "/@uuid")),
        ],
    },
    Preset {
        name: "opennebula",
        tags: &[
            ("instance_name", opennebula!("name")),
            ("user_name", opennebula!("uname")),
            ("user_id", opennebula!("uid")),
            ("group_name", opennebula!("gname")),
            ("group_id", opennebula!("gid")),
        ],
    },
    Preset {
        name: "ovirt",
        tags: &[
            (
                "cluster_version",
                "//{http://ovirt.org/vm/1.0}clusterVersion | //{http://ovirt.org/vm/1.0}vm/clusterVersion",
            ),
            ("pool_id", "//{http://ovirt.org/vm/1.0}device/{http://ovirt.org/vm/1.0}poolID"),
        ],
    },
    Preset {
        name: "libosinfo",
        tags: &[("os_id", "//{http://libosinfo.org/xmlns/libvirt/domain/1.0}os/@id")],
    },
    Preset {
        name: "kubevirt",
        tags: &[("vmi_uid", "{http://kubevirt.io}kubevirt/{http://kubevirt.io}uid")],
    },
];

#[cfg(test)]
mod tests {
    use super::super::names::reserved;
    use super::*;
    use crate::devices::metadata::Metadata;

    /// What each platform writes, from its own code or documents.
    type Document = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

    const DOCUMENTS: [Document; 6] = [
        // <https://docs.openstack.org/nova/latest/>, nova/virt/libvirt/config.py
        (
            "nova",
            r#"<nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1">
                 <nova:package version="27.1.0"/><nova:name>web-1</nova:name>
                 <nova:creationTime>2024-05-02 09:14:57</nova:creationTime>
                 <nova:flavor name="m1.small"><nova:memory>2048</nova:memory><nova:disk>20</nova:disk>
                   <nova:swap>0</nova:swap><nova:ephemeral>0</nova:ephemeral><nova:vcpus>1</nova:vcpus></nova:flavor>
                 <nova:owner><nova:user uuid="df5f6ed37d7d4f7a9b1b1a9ee8a8bd6b">admin</nova:user>
                   <nova:project uuid="1ce1b0d6d7c24d8d9d6ae4b6ef04bc8f">demo</nova:project></nova:owner>
                 <nova:root type="image" uuid="155d900f-4e14-4e4c-a73d-069cbf4541e6"/>
                 <nova:ports><nova:port uuid="567a4527-b0e4-4d0a-bcc2-71fda37897f7">
                   <nova:ip type="fixed" address="192.168.1.1" ipVersion="4"/></nova:port></nova:ports>
               </nova:instance>"#,
            &[
                ("instance_name", "web-1"),
                ("flavor", "m1.small"),
                ("project_name", "demo"),
                ("project_id", "1ce1b0d6d7c24d8d9d6ae4b6ef04bc8f"),
                ("user_name", "admin"),
                ("user_id", "df5f6ed37d7d4f7a9b1b1a9ee8a8bd6b"),
            ],
        ),
        // The same before Wallaby.
        (
            "nova",
            r#"<nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.0">
                 <nova:package version="15.0.4-1.el7"/><nova:name>old</nova:name>
                 <nova:flavor name="c1.micro"><nova:memory>1024</nova:memory></nova:flavor>
                 <nova:owner><nova:user uuid="f06c4cf1c4e14fda958c73f750049e7b">tenant</nova:user>
                   <nova:project uuid="93ac887ce5794c778320a88c3024b1ad">p</nova:project></nova:owner>
               </nova:instance>"#,
            &[
                ("instance_name", "old"),
                ("flavor", "c1.micro"),
                ("project_name", "p"),
                ("project_id", "93ac887ce5794c778320a88c3024b1ad"),
                ("user_name", "tenant"),
                ("user_id", "f06c4cf1c4e14fda958c73f750049e7b"),
            ],
        ),
        // <https://github.com/OpenNebula/one>, src/vmm/LibVirtDriverKVM.cc
        (
            "opennebula",
            r#"<one:vm xmlns:one="http://opennebula.org/xmlns/libvirt/1.0">
                 <one:system_datastore>/var/lib/one//datastores/0/10</one:system_datastore>
                 <one:name>web</one:name><one:uname>oneadmin</one:uname><one:uid>0</one:uid>
                 <one:gname>users</one:gname><one:gid>1</one:gid>
                 <one:opennebula_version>6.8.0</one:opennebula_version><one:stime>1700000000</one:stime>
                 <one:deployment_time>1700000010</one:deployment_time></one:vm>"#,
            &[
                ("instance_name", "web"),
                ("user_name", "oneadmin"),
                ("user_id", "0"),
                ("group_name", "users"),
                ("group_id", "1"),
            ],
        ),
        // <https://github.com/oVirt/vdsm>, lib/vdsm/virt/metadata.py
        (
            "ovirt",
            r#"<ovirt-tune:qos xmlns:ovirt-tune="http://ovirt.org/vm/tune/1.0"/>
               <ovirt-vm:vm xmlns:ovirt-vm="http://ovirt.org/vm/1.0">
                 <ovirt-vm:clusterVersion>4.4</ovirt-vm:clusterVersion>
                 <ovirt-vm:destroy_on_reboot type="bool">False</ovirt-vm:destroy_on_reboot>
                 <ovirt-vm:device devtype="disk" name="sda">
                   <ovirt-vm:domainID>88252cf6-381e-48f0-8795-a294a32c7149</ovirt-vm:domainID>
                   <ovirt-vm:poolID>13345997-b94f-42dd-b8ef-a1392f65cebf</ovirt-vm:poolID>
                 </ovirt-vm:device><ovirt-vm:custom/></ovirt-vm:vm>"#,
            &[("cluster_version", "4.4"), ("pool_id", "13345997-b94f-42dd-b8ef-a1392f65cebf")],
        ),
        // As virt-manager and virt-install write it.
        (
            "libosinfo",
            r#"<libosinfo:libosinfo xmlns:libosinfo="http://libosinfo.org/xmlns/libvirt/domain/1.0">
                 <libosinfo:os id="http://debian.org/debian/12"/></libosinfo:libosinfo>"#,
            &[("os_id", "http://debian.org/debian/12")],
        ),
        // <https://github.com/kubevirt/kubevirt>, pkg/virt-launcher/virtwrap/api/schema.go
        (
            "kubevirt",
            r#"<kubevirt xmlns="http://kubevirt.io">
                 <migration><uid>no</uid></migration>
                 <uid>f4686d2c-6e8d-4335-b8fd-81bee22f4814</uid>
                 <graceperiod><deletionGracePeriodSeconds>5</deletionGracePeriodSeconds></graceperiod></kubevirt>"#,
            &[("vmi_uid", "f4686d2c-6e8d-4335-b8fd-81bee22f4814")],
        ),
    ];

    #[test]
    fn each_preset_finds_its_tags_in_what_its_platform_writes() {
        for (name, metadata, expected) in DOCUMENTS {
            let preset = PRESETS.iter().find(|preset| preset.name == name).unwrap();
            let (tags, paths): (Vec<String>, Vec<Path>) = preset.paths().unzip();
            let xml = format!("<domain><metadata>{metadata}</metadata></domain>");
            let found = Metadata::read(&xml, &paths).unwrap();
            let values =
                tags.iter().zip(&paths).map(|(tag, path)| (tag.as_str(), found.value(path)));
            let expected = expected.iter().map(|(tag, value)| (*tag, Some(*value)));
            assert!(values.clone().eq(expected), "{name}: {:?}", values.collect::<Vec<_>>());
        }
        assert!(PRESETS.iter().all(|it| DOCUMENTS.iter().any(|(name, ..)| *name == it.name)));
    }

    #[test]
    fn each_preset_can_be_read_and_has_tags_that_a_user_may_have() {
        for preset in &PRESETS {
            assert_eq!(preset.paths().count(), preset.tags.len(), "{}", preset.name);
            for (tag, _) in preset.tags {
                assert_eq!(reserved(tag), None, "{tag}");
            }
        }
    }
}
