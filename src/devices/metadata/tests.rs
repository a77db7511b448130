//! Tests of paths and of what a domain's XML has at them.

use proptest::prelude::*;

use super::super::walk::{DEPTH_MAX, TEXT_MAX, VALUE_MAX};
use super::*;
use crate::deadline::cpu_time;

/// As OpenStack Nova writes it, shortened.
const NOVA: &str = r#"<domain type='kvm' id='7'>
  <name>instance-0000002a</name>
  <metadata>
    <nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1">
      <nova:package version="27.1.0"/>
      <nova:name>web &amp; more</nova:name>
      <nova:flavor name="m1.small">
        <nova:memory>2048</nova:memory>
      </nova:flavor>
      <nova:owner>
        <nova:user uuid="aaaa">admin</nova:user>
        <nova:project uuid="bbbb">demo</nova:project>
      </nova:owner>
    </nova:instance>
  </metadata>
  <devices><nova:project uuid="not this one"/></devices>
</domain>"#;

fn path(text: &str) -> Path {
    Path::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))
}

fn value_in(xml: &str, text: &str) -> Option<String> {
    let path = path(text);
    Metadata::read(xml, std::slice::from_ref(&path)).unwrap().value(&path).map(str::to_owned)
}

/// What the inside of `<metadata>` has at a path.
fn value_of(inside: &str, text: &str) -> Option<String> {
    value_in(&format!("<domain><metadata>{inside}</metadata></domain>"), text)
}

#[test]
fn a_path_leads_to_an_element_or_its_attribute_wherever_it_starts() {
    let cases = [
        ("//nova:project/@uuid", Some("bbbb")),
        ("//nova:project", Some("demo")),
        ("//nova:flavor/@name", Some("m1.small")),
        ("//nova:owner/nova:user", Some("admin")),
        ("//nova:name", Some("web & more")),
        ("nova:instance/nova:owner/nova:user/@uuid", Some("aaaa")),
        ("/domain/metadata/nova:instance/nova:package/@version", Some("27.1.0")),
        ("//nova:instance/@xmlns:nova", Some("http://openstack.org/xmlns/libvirt/nova/1.1")),
        // Nothing but its elements stands in it.
        ("//nova:owner", None),
        // Each step is inside the one before, and without // the first is in <metadata>.
        ("nova:owner/nova:user", None),
        ("//nova:instance/nova:user", None),
        ("//nova:project/@name", None),
        ("//project/@uuid", None),
        ("//name", None),
    ];
    for (text, expected) in cases {
        assert_eq!(value_in(NOVA, text).as_deref(), expected, "{text}");
    }
    let paths: Vec<Path> = cases.iter().map(|(text, _)| path(text)).collect();
    let together = Metadata::read(NOVA, &paths).unwrap();
    for ((text, expected), path) in cases.iter().zip(&paths) {
        assert_eq!(together.value(path), *expected, "{text}, with all others");
    }
}

#[test]
fn of_several_the_first_that_has_a_value_counts() {
    let cases = [
        ("<a/><a>  </a><a>x</a><a>y</a>", "a", Some("x")),
        ("<a/><a k=''/><a k='1'/><a k='2'/>", "a/@k", Some("1")),
        // The one that begins first, although it ends last.
        ("<a><a>inner</a>outer</a>", "//a", Some("outer")),
        ("<a><a>inner</a></a><a>later</a>", "//a", Some("inner")),
        ("<a><b><a>1</a><a>2</a></b><a>3</a></a>", "//a", Some("1")),
        ("<a><a><a/>middle</a></a>", "//a", Some("middle")),
        ("<a><a>inner</a></a>", "a", None),
        ("<a><b><a>1</a></b></a>", "//b/a", Some("1")),
        ("<b><a>1</a></b><a><b>2</b></a>", "//a/b", Some("2")),
    ];
    for (inside, text, expected) in cases {
        assert_eq!(value_of(inside, text).as_deref(), expected, "{text} in {inside}");
    }
}

#[test]
fn a_value_is_the_elements_own_text_without_white_space_around_it() {
    let cases = [
        ("<a>\n\t x y \n</a>", Some("x y")),
        ("<a>one<b>two</b>three</a>", Some("onethree")),
        ("<a><![CDATA[<x> & ]]>y</a>", Some("<x> & y")),
        ("<a>&lt;&#x41;&amp;&#66;</a>", Some("<A&B")),
        ("<a>x<!-- no -->y<?no no?></a>", Some("xy")),
        ("<a>&custom;</a>", None),
        ("<a>x<b>&custom;</b></a>", Some("x")),
        ("<a k='&quot;&#9;x'/>", None),
        ("", None),
    ];
    for (inside, expected) in cases {
        assert_eq!(value_of(inside, "a").as_deref(), expected, "{inside}");
    }
    assert_eq!(value_of("<a k='&quot;&#9;x'/>", "a/@k").as_deref(), Some("\"\tx"));
    assert_eq!(value_of("<a k=' x '/>", "a/@k").as_deref(), Some("x"));
}

#[test]
fn only_the_metadata_of_the_domain_itself_counts() {
    let xml = "<domain><a>1</a><devices><metadata><a>2</a></metadata></devices>\
               <metadata><b/></metadata></domain>";
    assert_eq!(value_in(xml, "//a"), None);
    assert_eq!(value_in("<domain><name>x</name></domain>", "//a"), None);
    assert_eq!(value_in("<domain><metadata/></domain>", "//a"), None);
}

#[test]
fn what_is_too_long_too_deep_or_no_domain_is_no_value() {
    let fits = "x".repeat(VALUE_MAX);
    assert_eq!(value_of(&format!("<a>{fits}</a>"), "a"), Some(fits.clone()));
    assert_eq!(value_of(&format!("<a>{fits}y</a><a>z</a>"), "a").as_deref(), Some("z"));
    assert_eq!(value_of(&format!("<a k='{fits}y'/><a k='z'/>"), "a/@k").as_deref(), Some("z"));
    let read = |xml: &str| Metadata::read(xml, &[path("//a")]);
    let deep = format!("<domain><metadata>{}", "<a>".repeat(DEPTH_MAX));
    assert_eq!(read(&deep), Err(XmlError::TooDeep));
    let long = " ".repeat(TEXT_MAX + 1);
    assert_eq!(read(&long), Err(XmlError::TooLong(TEXT_MAX + 1)));
    assert_eq!(read("<network/>"), Err(XmlError::NotADomain));
    assert_eq!(read("<domain><metadata><a>1</a>"), Err(XmlError::Unfinished));
    assert!(matches!(read("<domain></metadata>"), Err(XmlError::Malformed { .. })));
}

#[test]
fn a_wrong_path_says_what_is_wrong_with_it() {
    let long = "a".repeat(PATH_MAX + 1);
    let no_step = |step: &str| {
        format!(
            "has the step {step}, which is none: a step is an element's name, with {{URI}} before it or \
             [@name='value'] after it where that is wanted, and the last one may be an @attribute"
        )
    };
    let one_slash = "starts with one /, which only /domain/metadata/ may, /domain/title, \
                     /domain/description and /domain/sysinfo/: write // for any depth, or nothing before \
                     the first name";
    let cases = [
        ("", "is empty: write one such as //nova:project/@uuid".to_owned()),
        ("/nova:instance", one_slash.to_owned()),
        ("/domain/name", one_slash.to_owned()),
        ("//", "has a step without a name".to_owned()),
        ("a//b", "has a step without a name".to_owned()),
        ("a/", "has a step without a name".to_owned()),
        ("///a", "has a step without a name".to_owned()),
        ("//a/@", "has a step without a name".to_owned()),
        ("@uuid", "names no element before its @attribute".to_owned()),
        ("//@uuid", "names no element before its @attribute".to_owned()),
        ("//a[1]", no_step("a[1]")),
        ("//*", no_step("*")),
        ("//a/text()", no_step("text()")),
        ("../a", no_step("..")),
        ("//a/@b/c", no_step("@b")),
        ("//a b", no_step("a b")),
        ("//nova:", no_step("nova:")),
        ("//a[@b='c]", no_step("a[@b='c]")),
        ("//a[@b=c]", no_step("a[@b=c]")),
        ("//a[b='c']", no_step("a[b='c']")),
        ("//a[@b='c'", no_step("a[@b='c'")),
        ("//a[@b='c']d", no_step("a[@b='c']d")),
        ("//a[@b=\"\\\"]x", no_step("a[@b=\"\\\"]x")),
        ("//{}a", no_step("{}a")),
        ("//{urn:x", no_step("{urn:x")),
        ("//{urn:x}p:a", no_step("{urn:x}p:a")),
        ("//a | ", "has a step without a name".to_owned()),
        ("|", "has a step without a name".to_owned()),
        ("/domain/devices/disk", one_slash.to_owned()),
        ("/domain/titles", one_slash.to_owned()),
        (&long, format!("is longer than {PATH_MAX} bytes")),
    ];
    for (text, message) in cases {
        assert_eq!(Path::parse(text), Err(message), "{text}");
    }
}

/// As Nova writes a guest of today, with the properties of its image, its ports and the host's SMBIOS.
const RICH: &str = r#"<domain type='kvm' id='7'>
  <name>instance-0000002a</name>
  <title>Shop, front</title>
  <description> Answers the web </description>
  <metadata>
    <nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1">
      <nova:flavor name="m1.small" id="42">
        <nova:extraSpecs><nova:extraSpec name="hw:cpu_policy">dedicated</nova:extraSpec></nova:extraSpecs>
      </nova:flavor>
      <nova:image uuid="155d900f-4e14-4e4c-a73d-069cbf4541e6">
        <nova:imageProperties>
          <nova:property name="os_distro">debian</nova:property>
          <nova:property name="os_version">12</nova:property>
        </nova:imageProperties>
      </nova:image>
      <nova:ports>
        <nova:port uuid="567a4527-b0e4-4d0a-bcc2-71fda37897f7">
          <nova:ip type="fixed" address="192.168.1.1" ipVersion="4"/>
          <nova:ip type="floating" address="11.22.33.44" ipVersion="4"/>
        </nova:port>
      </nova:ports>
    </nova:instance>
    <kubevirt xmlns="http://kubevirt.io"><uid>8f2c</uid></kubevirt>
    <other xmlns:nova="urn:another"><nova:name>not Nova's</nova:name></other>
  </metadata>
  <sysinfo type='smbios'>
    <system>
      <entry name='manufacturer'>OpenStack Foundation</entry>
      <entry name='serial'>f1c3</entry>
    </system>
  </sysinfo>
  <devices><title>no</title></devices>
</domain>"#;

#[test]
fn conditions_namespaces_and_what_is_beside_the_metadata_lead_to_their_values() {
    let cases = [
        ("//nova:property[@name='os_distro']", Some("debian")),
        ("//nova:property[@name=\"os_version\"]", Some("12")),
        ("//nova:property[@name='os_type']", None),
        ("//nova:property[@name]", Some("debian")),
        ("//nova:property[@value]", None),
        ("//nova:ip[@type='floating']/@address", Some("11.22.33.44")),
        ("//nova:ip[@type='floating'][@ipVersion='4']/@address", Some("11.22.33.44")),
        ("//nova:ip[@type='floating'][@ipVersion='6']/@address", None),
        (
            "//nova:port[@uuid='567a4527-b0e4-4d0a-bcc2-71fda37897f7']/nova:ip/@address",
            Some("192.168.1.1"),
        ),
        ("//nova:port[@uuid='x']/nova:ip/@address", None),
        ("//nova:extraSpec[@name='hw:cpu_policy']", Some("dedicated")),
        ("//{http://openstack.org/xmlns/libvirt/nova/1.1}flavor/@name", Some("m1.small")),
        ("//{http://openstack.org/xmlns/libvirt/nova/1.1}property[@name='os_version']", Some("12")),
        ("{http://openstack.org/xmlns/libvirt/nova/1.1}instance/nova:flavor/@id", Some("42")),
        ("//{http://openstack.org/xmlns/libvirt/nova/1.0}flavor/@name", None),
        ("//{http://kubevirt.io}uid", Some("8f2c")),
        ("//{urn:another}name", Some("not Nova's")),
        ("//{http://openstack.org/xmlns/libvirt/nova/1.1}name", None),
        ("//nova:missing | //nova:flavor/@name", Some("m1.small")),
        ("//nova:flavor/@id|//nova:flavor/@name", Some("42")),
        ("//nova:missing | //nova:gone", None),
        ("/domain/title", Some("Shop, front")),
        ("/domain/description", Some("Answers the web")),
        ("/domain/sysinfo/system/entry[@name='serial']", Some("f1c3")),
        ("/domain/sysinfo/@type", Some("smbios")),
        ("/domain/sysinfo[@type='fwcfg']/system/entry", None),
        ("//nova:missing | /domain/title", Some("Shop, front")),
        ("//title", None),
    ];
    for (text, expected) in cases {
        assert_eq!(value_in(RICH, text).as_deref(), expected, "{text}");
    }
    let paths: Vec<Path> = cases.iter().map(|(text, _)| path(text)).collect();
    let together = Metadata::read(RICH, &paths).unwrap();
    for ((text, expected), path) in cases.iter().zip(&paths) {
        assert_eq!(together.value(path), *expected, "{text}, with all others");
    }
}

#[test]
fn signs_in_conditions_and_uris_part_nothing() {
    let xml = "<a k='x|y/z=]'>1</a><b xmlns='urn:a|b=c/d'>2</b>";
    assert_eq!(value_of(xml, "//a[@k='x|y/z=]']").as_deref(), Some("1"));
    assert_eq!(value_of(xml, "//{urn:a|b=c/d}b").as_deref(), Some("2"));
    let cases = [
        ("//a[@k='x=y']/@b=pat=tern", ("//a[@k='x=y']/@b", Some("pat=tern"))),
        ("//{u=v}a | b=x", ("//{u=v}a | b", Some("x"))),
        ("//a", ("//a", None)),
        ("//a=", ("//a", Some(""))),
    ];
    for (text, parts) in cases {
        assert_eq!(Path::split_pattern(text), parts, "{text}");
    }
}

#[test]
fn it_is_known_for_which_paths_the_metadata_was_looked_through() {
    let (a, b, c) = (path("//a"), path("//b"), path("//c"));
    let metadata = Metadata::read("<domain><metadata/></domain>", &[a.clone(), b.clone()]).unwrap();
    assert!(metadata.has(&[a.clone(), b.clone()]) && metadata.has(std::slice::from_ref(&b)));
    assert!(metadata.has(&[]) && metadata.has(&[b, a.clone()]));
    assert!(!metadata.has(&[a, c.clone()]) && !metadata.has(&[c]));
}

#[test]
fn it_is_kept_as_a_list_of_paths_and_values() {
    let metadata = Metadata::read(NOVA, &[path("//nova:user"), path("//none")]).unwrap();
    let text = serde_json::to_string(&metadata).unwrap();
    assert_eq!(text, r#"[["//nova:user","admin"],["//none",null]]"#);
    assert_eq!(serde_json::from_str::<Metadata>(&text).unwrap(), metadata);
}

#[test]
fn no_text_and_paths_take_more_than_a_moment() {
    let mut paths: Vec<Path> = (2..PATHS_MAX).map(|it| path(&format!("//a/a/a/b{it}"))).collect();
    paths.extend(["//a/a/a/@k", "b/a"].map(path));
    let nest = "<a>".repeat(100) + &"</a>".repeat(100);
    let inside = nest.repeat(TEXT_MAX / 4 / nest.len());
    let xml = format!("<domain><metadata>{inside}</metadata></domain>");
    let started = cpu_time();
    let metadata = Metadata::read(&xml, &paths).unwrap();
    assert!(paths.iter().all(|path| metadata.value(path).is_none()));
    let took = cpu_time() - started;
    assert!(took.as_secs() < 30, "{took:?}");
}

/// A value as XML can hold it, and how it is written in an attribute or a text.
fn escaped(value: &str) -> String {
    let mut text = String::new();
    for c in value.chars() {
        match c {
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '&' => text.push_str("&amp;"),
            '\'' => text.push_str("&apos;"),
            '\r' | '\n' | '\t' => text.push_str(&format!("&#{};", u32::from(c))),
            other => text.push(other),
        }
    }
    text
}

proptest! {
    #[test]
    fn a_value_of_any_characters_comes_back_as_it_was(
        value in "[\\PC\t\n\r,=\\\\ \"'<>&]{1,40}",
    ) {
        let trimmed = value.trim();
        prop_assume!(!trimmed.is_empty());
        let inside = format!("<p:a k='{0}'>{0}</p:a>", escaped(&value));
        let expected = Some(trimmed.to_owned());
        prop_assert_eq!(value_of(&inside, "//p:a"), expected.clone());
        prop_assert_eq!(value_of(&inside, "//p:a/@k"), expected);
    }

    #[test]
    fn whatever_a_path_says_it_is_one_or_is_refused(text in "\\PC{0,20}|[/@a-z:.*\\[\\]() ]{0,20}") {
        match Path::parse(&text) {
            Ok(path) => {
                prop_assert_eq!(path.as_str(), &text);
                // Written as a document, it is found.
                let path = &path.alternatives[0];
                // The document has no namespaces.
                if path.steps.iter().any(|step| step.namespace.is_some()) {
                    return Ok(());
                }
                let steps = || path.steps.iter().map(|step| &step.name);
                let inside: String = steps().map(|step| format!("<{step} ")).fold(
                    String::new(),
                    |all, tag| if all.is_empty() { tag } else { all + ">" + &tag },
                );
                let attribute = path.attribute.as_ref().map(|name| format!("{name}='v'"));
                let ends: String =
                    steps().rev().map(|step| format!("</{step}>")).collect();
                let inside = format!("{inside}{}>v{ends}", attribute.unwrap_or_default());
                prop_assert_eq!(value_of(&inside, &text), Some("v".to_owned()), "{}", inside);
            }
            Err(why) => prop_assert!(!why.contains(char::is_control) && why.len() < 400),
        }
    }
}
