//! Every message of the configuration, word for word, and the sample held against the code.

use super::*;
use crate::deadline::cpu_time;
use crate::schema::{FEATURES, output_fields};

fn read(text: &str) -> Settings {
    parse(text, Path::new("c.toml")).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn message(text: &str) -> String {
    parse(text, Path::new("c.toml")).expect_err(text).to_string()
}

#[track_caller]
fn assert_messages(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(message(text), *expected, "of {text:?}");
    }
}

#[test]
fn every_setting_is_read() {
    let settings = read(
        r#"
        uris = ["qemu:///system", "test:///default"]
        deadline = "1.5s"
        workers = 0x10
        max_stuck = 1
        missing = "omit"
        extra = []
        features = ["net", "disk", "cpu", "latency", "balloon", "net"]
        device_tags = ["mac", "model", "bus", "serial", "alias", "path", "network", "type", "mac"]
        precision = "1ms"
        cache.dir = "/srv/cache"
        cache.ttl = "0s"
        [domains]
        include = ["web*", "db?"]
        exclude = ["*-test"]
        include_uuids = ["550e8400-*"]
        exclude_uuids = ["06bfb061-68db-5c7e-ac62-331b08b515a2"]
        include_states = ["shutoff", "running", "running"]
        exclude_states = ["unknown"]
        include_metadata = ["//nova:flavor/@name=m1.*"]
        exclude_metadata = ["a/b=/c/"]
        inactive = true
        [devices]
        include_nics = ["mac=52:*"]
        exclude_nics = ["vnet*"]
        include_disks = ["vd?"]
        exclude_disks = ["bus=usb"]
        [metadata_tags]
        project = "//nova:project/@uuid"
        "a b" = "x/y"
        [tags]
        rack = "12, left"
        dc = "fra1"
        "room no" = "ü"
        "#,
    );
    let tag = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let (domains, devices) = (settings.domains.clone(), settings.devices.clone());
    let expected = Settings {
        uris: vec!["qemu:///system".to_owned(), "test:///default".to_owned()],
        deadline: Duration::from_millis(1500),
        workers: 16,
        max_stuck: 1,
        missing: Missing::Omit,
        extra: Extras::NONE,
        features: vec![
            Feature::Net,
            Feature::Disk,
            Feature::Cpu,
            Feature::Latency,
            Feature::Balloon,
        ],
        device_tags: DeviceTag::ALL.to_vec(),
        precision: Precision::Millisecond,
        cache: CacheSettings {
            enabled: true,
            dir: Some(PathBuf::from("/srv/cache")),
            ttl: Duration::ZERO,
        },
        domains,
        devices,
        tags: vec![tag("dc", "fra1"), tag("rack", "12, left"), tag("room no", "ü")],
        metadata_tags: [("a b", "x/y"), ("project", "//nova:project/@uuid")]
            .map(|(name, path)| (name.to_owned(), MetadataPath::parse(path).unwrap()))
            .to_vec(),
        metadata_preset: None,
    };
    assert_eq!(settings, expected);
    // What the lists mean is told in `filter`; here, that each arrives as what it is.
    let lists = format!("{:?} {:?}", settings.domains, settings.devices);
    assert_eq!(lists.matches("clude: ").count(), 12, "{lists}");
    let empty = [
        "clude: []",
        "clude: Patterns { names: {}, others: [] }",
        "whole: {}, patterns: Patterns { names: {}, others: [] }",
    ];
    assert!(!empty.iter().any(|it| lists.contains(it)), "one of them is empty: {lists}");
}

#[test]
fn nothing_written_means_the_defaults() {
    for text in ["", "\u{feff}", "\n# only a comment\r\n", "[tags]\n[cache]\n[domains]\n"] {
        assert_eq!(read(text), Settings::default(), "{text:?}");
    }
}

#[test]
fn the_bounds_belong_to_the_range() {
    let least = read("deadline = '100ms'\nworkers = 1\nmax_stuck = 1\ncache.ttl = '0s'");
    assert_eq!(
        (least.deadline, least.workers, least.max_stuck),
        (Duration::from_millis(100), 1, 1)
    );
    let most = read("deadline = '10m'\nworkers = 64\nmax_stuck = 64\ncache.ttl = '720h'");
    assert_eq!((most.deadline, most.workers, most.max_stuck), (Duration::from_secs(600), 64, 64));
    assert_eq!(most.cache.ttl, Duration::from_secs(30 * 86_400));
}

#[test]
fn a_timestamp_is_cut_and_never_in_the_future() {
    let moment = Duration::from_nanos(1_699_999_999_999_999_999);
    let cut = |precision: &str| {
        read(&format!("precision = '{precision}'")).precision.timestamp_ns(moment)
    };
    assert_eq!(cut("1ns"), 1_699_999_999_999_999_999);
    assert_eq!(cut("1us"), 1_699_999_999_999_999_000);
    assert_eq!(cut("1ms"), 1_699_999_999_999_000_000);
    assert_eq!(cut("1s"), 1_699_999_999_000_000_000);
    assert_eq!(read("").precision, Precision::Nanosecond);
}

#[test]
fn an_unknown_key_names_the_nearest_one_and_where_it_stands() {
    assert_messages(&[
        ("worker = 4", "c.toml, line 1: unknown key worker; did you mean workers?"),
        ("\n\nDeadline = '4s'", "c.toml, line 3: unknown key Deadline; did you mean deadline?"),
        ("device-tags = []", "c.toml, line 1: unknown key device-tags; did you mean device_tags?"),
        (
            "interval = '10s'",
            "c.toml, line 1: unknown key interval; known here are uris, deadline, workers, \
             max_stuck, missing, extra, features, device_tags, precision, metadata_preset, cache, domains, devices, tags, \
             metadata_tags",
        ),
        ("[cache]\ntl = '5m'", "c.toml, line 2: unknown key cache.tl; did you mean ttl?"),
        (
            "[domains]\nfoo = 1",
            "c.toml, line 2: unknown key domains.foo; known here are include, exclude, \
             include_uuids, exclude_uuids, include_states, exclude_states, include_metadata, \
             exclude_metadata, inactive",
        ),
        ("ttl = '5m'", "c.toml, line 1: unknown key ttl; did you mean ttl below [cache]?"),
        (
            "cache_dir = '/x'",
            "c.toml, line 1: unknown key cache_dir; did you mean dir below [cache]?",
        ),
        (
            "[domains]\nttl = '5m'",
            "c.toml, line 2: unknown key domains.ttl; did you mean ttl below [cache]?",
        ),
        (
            "[cache]\n\nworkers = 8",
            "c.toml, line 3: unknown key cache.workers; did you mean workers? It must be above the \
             first [table] line",
        ),
        (
            "[domain]\ninactive = true",
            "c.toml, line 1: unknown table [domain]; did you mean domains?",
        ),
        ("\"a.b\" = 1", UNKNOWN_AT_THE_TOP),
        (
            "\"\" = 1",
            "c.toml, line 1: unknown key \"\"; known here are uris, deadline, workers, max_stuck, \
             missing, extra, features, device_tags, precision, metadata_preset, cache, domains, devices, tags, \
             metadata_tags",
        ),
    ]);
}

const UNKNOWN_AT_THE_TOP: &str = "c.toml, line 1: unknown key \"a.b\"; known here are uris, \
     deadline, workers, max_stuck, missing, extra, features, device_tags, precision, metadata_preset, cache, domains, devices, tags, \
     metadata_tags";

#[test]
fn a_wrong_type_says_what_to_write() {
    assert_messages(&[
        (
            "uris = \"qemu:///system\"",
            "c.toml, line 1: uris is \"qemu:///system\", but must be a list: write \
             [\"qemu:///system\"]",
        ),
        (
            "uris = 4",
            "c.toml, line 1: uris is 4, but must be a list of strings, such as [\"a\", \"b\"]",
        ),
        (
            "uris = [\n  \"a:///\",\n  4,\n]",
            "c.toml, line 3: uris contains 4, but each entry must be a string in quotes",
        ),
        (
            "deadline = 10",
            "c.toml, line 1: deadline is 10, but must be a time with its unit in quotes, such as \
             \"10s\"",
        ),
        (
            "deadline = 4.5",
            "c.toml, line 1: deadline is 4.5, but must be a time with its unit in quotes, such as \
             \"4s\"",
        ),
        (
            "workers = \"4\"",
            "c.toml, line 1: workers is \"4\", but must be a whole number from 1 to 64, without \
             quotes",
        ),
        (
            "workers = 4.0",
            "c.toml, line 1: workers is 4.0, but must be a whole number from 1 to 64",
        ),
        (
            "[workers]",
            "c.toml, line 1: workers is a table, but must be a whole number from 1 to 64",
        ),
        ("missing = 0", "c.toml, line 1: missing is 0, but must be a string: write \"0\""),
        ("missing = []", "c.toml, line 1: missing is [], but must be a string"),
        (
            "cache = \"/tmp\"",
            "c.toml, line 1: cache is \"/tmp\", but must be a table: write [cache] on a line of \
             its own, and its keys below",
        ),
        (
            "[[tags]]\ndc = \"x\"",
            "c.toml, line 1: tags is [[tags]], but must be a table: write [tags] on a line of its \
             own, and its keys below",
        ),
        (
            "[domains]\ninactive = \"true\"",
            "c.toml, line 2: domains.inactive is \"true\", but must be true or false, without \
             quotes",
        ),
        (
            "[domains]\ninactive = 1",
            "c.toml, line 2: domains.inactive is 1, but must be true or false",
        ),
        (
            "[tags]\nrack = 12",
            "c.toml, line 2: tags.rack is 12, but must be a string: write \"12\"",
        ),
        (
            "[tags]\nup_since = 2024-01-01",
            "c.toml, line 2: tags.up_since is 2024-01-01, but must be a string: write \
             \"2024-01-01\"",
        ),
    ]);
}

#[test]
fn an_impossible_value_says_what_is_possible() {
    assert_messages(&[
        ("workers = 0", "c.toml, line 1: workers is 0, but must be a whole number from 1 to 64"),
        ("workers = -4", "c.toml, line 1: workers is -4, but must be a whole number from 1 to 64"),
        (
            "workers = 99999999999999999999999",
            "c.toml, line 1: workers is 99999999999999999999999, but must be a whole number from \
             1 to 64",
        ),
        (
            "max_stuck = 65",
            "c.toml, line 1: max_stuck is 65, but must be a whole number from 1 to 64",
        ),
        (
            "precision = '2s'",
            "c.toml, line 1: precision is \"2s\", but must be \"1ns\", \"1us\", \"1ms\" or \"1s\"; did you mean \"1s\"?",
        ),
        ("precision = 1", "c.toml, line 1: precision is 1, but must be a string: write \"1\""),
        ("deadline = '4'", "c.toml, line 1: deadline is \"4\", but must have a unit, such as 4s"),
        ("deadline = '-4s'", "c.toml, line 1: deadline is \"-4s\", but must not be negative"),
        ("deadline = '20m'", "c.toml, line 1: deadline is \"20m\", but must be from 100ms to 10m"),
        (
            "deadline = 'soon'",
            "c.toml, line 1: deadline is \"soon\", but must be a time such as 500ms, 4s, 5m or \
             1h30m",
        ),
        ("cache.ttl = '31d'", "c.toml, line 1: cache.ttl is \"31d\", but must be from 0s to 30d"),
        (
            "missing = 'zeros'",
            "c.toml, line 1: missing is \"zeros\", but must be \"zero\" or \"omit\"; did you mean \
             \"zero\"?",
        ),
        ("missing = ''", "c.toml, line 1: missing is \"\", but must be \"zero\" or \"omit\""),
        (
            "features = ['net',\n 'disks']",
            "c.toml, line 2: features contains \"disks\", but each entry must be \"net\", \"disk\", \
             \"cpu\", \"latency\" or \"balloon\"; did you mean \"disk\"?",
        ),
        (
            "device_tags = ['target']",
            "c.toml, line 1: device_tags contains \"target\", but each entry must be \"type\", \"mac\", \
             \"model\", \"bus\", \"serial\", \"alias\", \"path\" or \"network\"",
        ),
        (
            "extra = ['vcpus', '']",
            "c.toml, line 1: extra contains \"\", but each entry must be one of the 30 names that \
             `telegraf-virt config` lists",
        ),
        (
            "extra = ['vcpu']",
            "c.toml, line 1: extra contains \"vcpu\", but each entry must be one of the 30 names that \
             `telegraf-virt config` lists; did you mean \"vcpus\"?",
        ),
        (
            "uris = ['']",
            "c.toml, line 1: uris contains \"\", but each entry must be a libvirt URI without \
             spaces, such as qemu:///system",
        ),
        (
            "uris = [\"qemu:///system\\u0000\"]",
            "c.toml, line 1: uris contains \"qemu:///system\\0\", but each entry must be a libvirt \
             URI without spaces, such as qemu:///system",
        ),
        (
            "uris = ['a:///', 'b:///', 'a:///']",
            "c.toml, line 1: uris contains \"a:///\", which is already in the list: omit one",
        ),
        (
            "[cache]\ndir = '~/.cache'",
            "c.toml, line 2: cache.dir is \"~/.cache\", but must be a full path that starts with /: \
             ~ is not expanded here",
        ),
        (
            "[cache]\ndir = \"/a\\u0000b\"",
            "c.toml, line 2: cache.dir is \"/a\\0b\", but must be a full path that starts with /, \
             or \"\" for the default",
        ),
        (
            "[domains]\ninclude = ['web*', 'db[1']",
            "c.toml, line 2: domains.include contains \"db[1\", but that pattern has a [ without its ]",
        ),
        (
            "[domains]\nexclude = ['{a,b']",
            "c.toml, line 2: domains.exclude contains \"{a,b\", but that pattern has a { without its }",
        ),
        (
            "[domains]\ninclude = ['/web(/']",
            "c.toml, line 2: domains.include contains \"/web(/\", but that pattern is no regular \
             expression: found open group without closing ')'",
        ),
        (
            "[domains]\ninclude = ['']",
            "c.toml, line 2: domains.include contains \"\", but that pattern is empty: write * for \
             anything",
        ),
        (
            "[domains]\ninclude_uuids = ['web-01']",
            "c.toml, line 2: domains.include_uuids contains \"web-01\", but each entry must be a whole \
             UUID, as virsh domuuid prints it, or a pattern, such as \"550e8400-*\"",
        ),
        (
            "[domains]\nexclude_states = ['pause']",
            "c.toml, line 2: domains.exclude_states contains \"pause\", but each entry must be \"no \
             state\", \"running\", \"blocked\", \"paused\", \"shutdown\", \"shutoff\", \"crashed\", \
             \"suspended\" or \"unknown\"; did you mean \"paused\"?",
        ),
        (
            "[domains]\ninclude_states = ['shutoff']",
            "c.toml, line 2: domains.include_states contains only \"shutoff\", but guests that are off are \
             read with inactive = true: write that too",
        ),
        (
            "[domains]\ninclude_metadata = ['m1.small']",
            "c.toml, line 2: domains.include_metadata contains \"m1.small\", but each entry must be \
             PATH=PATTERN, such as \"//nova:flavor/@name=m1.*\", or a path alone",
        ),
        (
            "[domains]\ninclude_metadata = ['//*=x']",
            "c.toml, line 2: domains.include_metadata contains \"//*=x\", but its path has the step *, which \
             is none: a step is an element's name, with {URI} before it or [@name='value'] after it where \
             that is wanted, and the last one may be an @attribute",
        ),
        (
            "[domains]\ninclude_metadata = ['//a[@b=\"\\\"]x']",
            "c.toml, line 2: domains.include_metadata contains '//a[@b=\"\\\"]x', but its path has the step \
             a[@b=\"\\\"]x, which is none: a step is an element's name, with {URI} before it or \
             [@name='value'] after it where that is wanted, and the last one may be an @attribute",
        ),
        (
            "[domains]\nexclude_metadata = ['//a=[']",
            "c.toml, line 2: domains.exclude_metadata contains \"//a=[\", but that pattern has a [ without \
             its ]",
        ),
        (
            "[devices]\nexclude_nics = ['macs=52:*']",
            "c.toml, line 2: devices.exclude_nics contains \"macs=52:*\", but the part before the = \
             must be device, type, mac, model, alias or network; did you mean mac?",
        ),
        (
            "[devices]\nexclude_disks = ['mac=52:*']",
            "c.toml, line 2: devices.exclude_disks contains \"mac=52:*\", but the part before the = \
             must be device, type, model, bus, serial, alias or path",
        ),
        (
            "[devices]\nexclude_disk = ['vda']",
            "c.toml, line 2: unknown key devices.exclude_disk; did you mean exclude_disks?",
        ),
        (
            "[metadata_tags]\nproject = '/nova:project'",
            "c.toml, line 2: metadata_tags.project is \"/nova:project\", but that path starts with \
             one /, which only /domain/metadata/ may, /domain/title, /domain/description and \
             /domain/sysinfo/: write // for any depth, or nothing before the \
             first name",
        ),
        (
            "[metadata_tags]\nproject = 4",
            "c.toml, line 2: metadata_tags.project is 4, but must be a string: write \"4\"",
        ),
        (
            "[tags]\ndc = 'x'\n[metadata_tags]\ndc = '//a'",
            "c.toml, line 4: metadata_tags.dc is in [tags] too: remove it there, or choose another \
             name",
        ),
        (
            "[metadata_tags]\ndc = '//a'\n[tags]\ndc = 'x'",
            "c.toml, line 2: metadata_tags.dc is in [tags] too: remove it there, or choose another \
             name",
        ),
        (
            "[tags]\ndc = 'x'\nDC = 'y'",
            "c.toml, line 3: tags.DC differs from tags.dc in case only, and is the same column in some \
             databases: choose another name",
        ),
    ]);
    let many = |count| (0..count).map(|it| format!("t{it} = '//a{it}'\n")).collect::<String>();
    assert_eq!(read(&format!("[metadata_tags]\n{}", many(64))).metadata_tags.len(), 64);
    assert_eq!(
        message(&format!("[domains]\nexclude_metadata = ['b=c']\n[metadata_tags]\n{}", many(64))),
        "c.toml, line 67: metadata_tags.t63 is more than can be looked for in the metadata, which is \
         64 paths in all"
    );
}

#[test]
fn a_tag_that_would_break_queries_is_refused() {
    let fields = output_fields().iter().map(|it| it.row.name).filter(|name| !name.contains('*'));
    for name in fields.chain(["VMID", "source", "mac", "time", "_field", "vmid", "Time", "STATE"]) {
        let why = names::reserved(name).unwrap();
        let expected = format!(
            "c.toml, line 2: tags.{name} cannot be a tag, because {why}: choose another name"
        );
        assert_eq!(message(&format!("[tags]\n{name} = 'x'")), expected);
        let expected = expected.replace("tags.", "metadata_tags.");
        assert_eq!(message(&format!("[metadata_tags]\n{name} = '//x'")), expected);
    }
    assert_messages(&[
        ("[tags]\n\"\" = 'x'", "c.toml, line 2: tags.\"\" has no name: write one before the ="),
        (
            "[tags]\n\"a\\nb\" = 'x'",
            "c.toml, line 2: tags.\"a\\nb\" cannot be a tag: its name must not contain control \
             characters",
        ),
        (
            "[tags]\n'a\\' = 'x'",
            "c.toml, line 2: tags.\"a\\\" cannot be a tag: its name must not contain a backslash",
        ),
        (
            "[tags]\ndc = ''",
            "c.toml, line 2: tags.dc is \"\", but a tag must have a value: write one, or omit the tag",
        ),
    ]);
}

#[test]
fn a_setting_below_a_table_by_mistake_is_no_tag() {
    assert_messages(&[
        (
            "[tags]\ndc = 'x'\nmissing = 'omit'",
            "c.toml, line 3: tags.missing is in a table: move missing above the first [table] \
             line",
        ),
        (
            "[tags]\nworkers = 8",
            "c.toml, line 2: tags.workers is in a table: move workers above the first [table] \
             line",
        ),
        (
            "[metadata_tags]\nuris = ['a:///']",
            "c.toml, line 2: metadata_tags.uris is in a table: move uris above the first \
             [table] line",
        ),
    ]);
    // What the setting could not be is a tag like any other.
    let settings = read("[tags]\nmissing = 'nothing'\nworkers = 'many'\n'cache.dir' = '/x'");
    let keys: Vec<&str> = settings.tags.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["cache.dir", "missing", "workers"]);
}

#[test]
fn what_is_no_toml_is_told_in_one_line() {
    assert_messages(&[
        (
            "workers = 4\ndeadline = 4s\n",
            "c.toml, line 2: not valid TOML (string values must be quoted, expected literal string): \
             deadline = 4s; did you mean \"4s\", with these quotes?",
        ),
        (
            "deadline = ”4s”",
            "c.toml, line 1: not valid TOML (string values must be quoted, expected literal string): \
             deadline = ”4s”; did you mean \"4s\", with these quotes?",
        ),
        (
            "uris = [qemu:///system]",
            "c.toml, line 1: not valid TOML (string values must be quoted, expected literal string): \
             uris = [qemu:///system]; did you mean \"qemu:///system\", with these quotes?",
        ),
        (
            "workers =\n",
            "c.toml, line 1: not valid TOML (string values must be quoted, expected literal string): \
             workers =",
        ),
        (
            "workers: 4",
            "c.toml, line 1: not valid TOML (key with no value, expected `=`): workers: 4",
        ),
        ("{", "c.toml, line 1: not valid TOML (invalid key-value pair, expected key): {"),
        (
            "workers = 4\n\nworkers = 5",
            "c.toml, line 3: not valid TOML (duplicate key): workers = 5",
        ),
        ("[cache]\n[domains]\n[cache]", "c.toml, line 3: not valid TOML (duplicate key): [cache]"),
        (
            "domains.inactive = True",
            "c.toml, line 1: not valid TOML (invalid boolean, expected `true`): domains.inactive = True; \
             write true",
        ),
        (
            "[domains]\ninclude = [web*]",
            "c.toml, line 2: not valid TOML (string values must be quoted, expected literal string): \
             include = [web*]; did you mean \"web*\", with these quotes?",
        ),
        (
            "uris = [\"a\" \"b\"]",
            "c.toml, line 1: not valid TOML (missing comma between array elements, expected `,`): \
             uris = [\"a\" \"b\"]",
        ),
        (
            "# x\nuris = [\"a\"\n\n",
            "c.toml, line 2: not valid TOML (unclosed array, expected `]`): uris = [\"a\"; write ] \
             after its last entry",
        ),
        (
            "missing = \"zero",
            "c.toml, line 1: not valid TOML (invalid basic string, expected `\"`): missing = \"zero",
        ),
        ("workers = 04", "c.toml, line 1: not valid TOML (unexpected leading zero): workers = 04"),
        ("workers = = 4", "c.toml, line 1: not valid TOML (extra `=`): workers = = 4"),
    ]);
    let deep = message(&format!("uris = {}", "[".repeat(200_000)));
    assert!(deep.contains("(cannot recurse further; max recursion depth met)"), "{deep}");
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once_in_its_order_and_ten_at_most() {
    assert_messages(&[
        (
            "workers = 0\ndeadline = 4s\nuris = [\"a:///\"\n[cache]\nfoo = 1\n[tags]\nzone = 1",
            "c.toml, line 1: workers is 0, but must be a whole number from 1 to 64\n\
             c.toml, line 2: not valid TOML (string values must be quoted, expected literal string): \
             deadline = 4s; did you mean \"4s\", with these quotes?\n\
             c.toml, line 3: not valid TOML (unclosed array, expected `]`): uris = [\"a:///\"; write ] \
             after its last entry\n\
             c.toml, line 5: unknown key cache.foo; known here are dir, ttl\n\
             c.toml, line 7: tags.zone is 1, but must be a string: write \"1\"",
        ),
        // Each string of a list.
        (
            "features = [\n 'nett',\n 'disk',\n 'cpus',\n 7]",
            "c.toml, line 2: features contains \"nett\", but each entry must be \"net\", \"disk\", \"cpu\", \
             \"latency\" or \"balloon\"; did you mean \"net\"?\n\
             c.toml, line 4: features contains \"cpus\", but each entry must be \"net\", \"disk\", \"cpu\", \
             \"latency\" or \"balloon\"; did you mean \"cpu\"?\n\
             c.toml, line 5: features contains 7, but each entry must be a string in quotes",
        ),
        // Behind a wrong heading nothing is known of the tables.
        (
            "wrokers = 1\n[domains\nexclude = 1\n",
            "c.toml, line 1: unknown key wrokers; did you mean workers?\n\
             c.toml, line 2: not valid TOML (unclosed table, expected `]`): [domains",
        ),
    ]);
    let many = message(&(0..14).map(|n| format!("a{n} = 1\n")).collect::<String>());
    assert_eq!(many.lines().count(), 10, "{many}");
    assert!(many.ends_with(" (and there are more)"), "{many}");
    let syntax = message(&(0..14).map(|n| format!("a{n} = x\n")).collect::<String>());
    assert_eq!(syntax.lines().count(), 10, "{syntax}");
}

#[test]
fn what_was_meant_for_another_program_is_named() {
    assert_messages(&[
        (
            "[agent]\n  interval = '10s'\n[[inputs.execd]]\n  command = []\n",
            "c.toml, line 1: [agent] is a table of Telegraf's own configuration, but this file \
             configures telegraf-virt: `telegraf-virt config` prints its settings",
        ),
        (
            "workers = 'x'\n[[inputs.execd]]\n  command = []\n",
            "c.toml, line 2: [inputs] is a table of Telegraf's own configuration, but this file \
             configures telegraf-virt: `telegraf-virt config` prints its settings",
        ),
        (
            "uris = ['kvm1', 'ssh://kvm2']",
            "c.toml, line 1: uris contains \"kvm1\", but each entry must be a libvirt URI, such as \
             qemu:///system: for another host write qemu+ssh://kvm1/system\n\
             c.toml, line 1: uris contains \"ssh://kvm2\", but each entry must name the driver, too: write \
             qemu+ssh://kvm2/system",
        ),
        (
            "cache.dir = '$HOME/x'",
            "c.toml, line 1: cache.dir is \"$HOME/x\", but must be a full path that starts with /: \
             $HOME is not expanded here",
        ),
        (
            "cache.dir = '~/x'",
            "c.toml, line 1: cache.dir is \"~/x\", but must be a full path that starts with /: ~ is \
             not expanded here",
        ),
        (
            "tags.dc = '${DC}'\ndomains.include = ['a', '${X}*']",
            "c.toml, line 1: tags.dc is \"${DC}\", but variables such as ${DC} are not expanded here: write the value itself\n\
             c.toml, line 2: domains.include contains \"${X}*\", but variables such as ${X} are not expanded here: write the value itself",
        ),
        (
            "tags.dc = ${DC}",
            "c.toml, line 1: not valid TOML (unexpected key or value, expected newline, `#`): \
             tags.dc = ${DC}; variables are not expanded here: write the value itself, in quotes",
        ),
    ]);
}

#[test]
fn a_hint_names_a_key_of_the_same_table_where_there_is_one() {
    assert_messages(&[
        (
            "[devices]\nexclude = ['vnet*']",
            "c.toml, line 2: unknown key devices.exclude; did you mean exclude_nics or exclude_disks?",
        ),
        (
            "[devices]\ninclude = []",
            "c.toml, line 2: unknown key devices.include; did you mean include_nics or include_disks?",
        ),
        (
            "[domains]\nexclude_nics = []",
            "c.toml, line 2: unknown key domains.exclude_nics; did you mean exclude_nics below \
             [devices]?",
        ),
    ]);
}

#[test]
fn a_message_is_one_line_below_five_hundred_bytes_whatever_the_file_holds() {
    let long = "x".repeat(100_000);
    let wide = "\\u202e".repeat(10_000);
    let texts = [
        format!("{long} = 1"),
        format!("\"{wide}\" = 1"),
        format!("[tags.{long}]"),
        format!("[tags]\n\"{wide}\\n\" = 'x'"),
        format!("missing = '{long}'"),
        format!("missing = \"\"\"a\n{wide}\n\"\"\""),
        format!("deadline = '{long}'"),
        format!("features = ['{long}']"),
        format!("features = [[{}]]", "\n1,".repeat(1000)),
        format!("workers = [{}]", "\n1,".repeat(1000)),
        format!("workers = {}", "9".repeat(1000)),
        format!("deadline = {}", "9".repeat(1000)),
        format!("deadline = {long}"),
        format!("[domains]\ninclude = ['[{long}']"),
        format!("[domains]\ninclude = ['/[{long}/']"),
        format!("[domains]\ninclude = ['/\\p{{{long}}}/']"),
        format!("[domains]\ninclude = [\"/({wide}/\"]"),
        format!("[domains]\ninclude_uuids = ['{long}']"),
        format!("[domains]\nexclude_states = ['{long}']"),
        format!("[domains]\nexclude_metadata = ['{long}']"),
        format!("[domains]\nexclude_metadata = [\"//a{wide}=x\"]"),
        format!("[devices]\nexclude_disks = ['{long}=x']"),
        format!("[metadata_tags]\na = '//{long}'"),
        format!("[metadata_tags]\na = \"//x{wide}\""),
        format!("[metadata_tags]\n\"{wide}\" = '//x*'"),
        long.clone(),
        format!("uris = [\"{wide}\", \"{wide} \"]"),
    ];
    let far = format!("/{}/c.toml", "very/far\n".repeat(400));
    for text in texts {
        let messages = parse(&text, Path::new(&far)).expect_err(&text[..40]).to_string();
        assert!(messages.lines().count() <= 10, "{messages}");
        for message in messages.lines() {
            assert!(message.len() < 490, "{} bytes: {message}", message.len());
            assert!(!message.contains(char::is_control), "{message:?}");
            assert!(message.starts_with('…') && message.contains("/c.toml, line "), "{message}");
        }
    }
}

proptest::proptest! {
    #[test]
    fn whatever_a_file_says_it_is_settings_or_lines_of_messages(
        start in 0..SAMPLE.len(),
        length in 0..200_usize,
        inserted in "\\PC{0,20}|[\\[\\]{}=\"'#.,\n0-9a-z\u{1b}\u{202e}]{0,20}",
    ) {
        let sample = uncommented_sample();
        let bytes = sample.as_bytes();
        let start = start.min(bytes.len());
        let end = (start + length).min(bytes.len());
        let text = [&bytes[..start], inserted.as_bytes(), &bytes[end..]].concat();
        if let Err(error) = parse(&String::from_utf8_lossy(&text), Path::new("c.toml")) {
            let messages = error.to_string();
            assert!((1..=10).contains(&messages.lines().count()), "{messages}");
            for message in messages.lines() {
                assert!(message.starts_with("c.toml, line "), "{message}");
                assert!(message.len() < 490 && !message.contains(char::is_control), "{message:?}");
            }
        }
    }
}

#[test]
fn a_large_file_is_read_or_refused_at_once() {
    let keys = (0..40_000).map(|n| format!("k{n} = 'some value of it'\n")).collect::<String>();
    let started = cpu_time();
    assert_eq!(read(&format!("[tags]\n{keys}")).tags.len(), 40_000);
    assert!(message(&keys).starts_with("c.toml, line 1: unknown key k0;"));
    let took = cpu_time() - started;
    assert!(took < Duration::from_secs(10), "{took:?}");
}

/// The environment of a test.
fn environment(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<OsString> + use<> {
    let pairs: Vec<(String, OsString)> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), value.into())).collect();
    move |name| pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
}

#[test]
fn the_option_comes_before_the_variable_and_that_before_the_system() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("# {name}")).unwrap();
        path
    };
    let [option, variable, system] = ["option", "variable", "system"].map(file);
    let absent = folder.path().join("absent");
    let under_a_file = system.join("config.toml");
    let none = environment(&[]);
    let empty = environment(&[(FILE_VARIABLE, "")]);
    let set = environment(&[(FILE_VARIABLE, variable.to_str().unwrap())]);
    let found = |named: Option<&Path>, environment: &dyn Fn(&str) -> Option<OsString>, system| {
        file::find(named, environment, system).unwrap().map(|(path, _)| path)
    };
    assert_eq!(found(Some(&option), &set, &system), Some(option.clone()));
    assert_eq!(found(None, &set, &system), Some(variable.clone()));
    assert_eq!(found(None, &none, &system), Some(system.clone()));
    assert_eq!(found(None, &empty, &system), Some(system.clone()));
    assert_eq!(found(None, &none, &absent), None);
    assert_eq!(found(None, &none, &under_a_file), None);
}

#[test]
fn a_file_that_cannot_be_read_is_told_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    let told = |named: Option<&Path>, variable: &str, system: &Path| {
        let variable = environment(&[(FILE_VARIABLE, variable)]);
        let error = file::find(named, &variable, system).unwrap_err().to_string();
        error.replace(folder.path().to_str().unwrap(), "DIR")
    };
    assert_eq!(
        told(Some(&path), "", &path),
        "cannot read the configuration DIR/c.toml (from --config): no such file; telegraf-virt \
         config > FILE writes a sample"
    );
    assert_eq!(
        told(None, path.to_str().unwrap(), &path),
        "cannot read the configuration DIR/c.toml (from $TELEGRAF_VIRT_CONFIG): no such file; \
         telegraf-virt config > FILE writes a sample"
    );
    assert_eq!(
        told(None, "", folder.path()),
        "cannot read the configuration DIR: it is a folder; write the path of the file in it"
    );
    std::fs::write(&path, b"# fine\n# \xff\n").unwrap();
    assert_eq!(
        told(Some(&path), "", &path),
        "cannot read the configuration DIR/c.toml (from --config): line 2 is not UTF-8; save it as \
         UTF-8 text"
    );
    std::fs::write(&path, vec![b'#'; 1024 * 1024]).unwrap();
    assert_eq!(file::find(Some(&path), &|_| None, &path).unwrap().unwrap().1.len(), 1024 * 1024);
    std::fs::write(&path, vec![b'#'; 1024 * 1024 + 1]).unwrap();
    let large = "cannot read the configuration DIR/c.toml (from --config): it is larger than 1 \
                 MiB, which no configuration is";
    assert_eq!(told(Some(&path), "", &path), large);
    assert_eq!(
        told(Some(Path::new("/dev/zero")), "", &path),
        "cannot read the configuration /dev/zero (from --config): it is not a plain file"
    );
}

#[test]
fn without_any_uri_libvirts_own_variable_names_it() {
    let completed = |given: &[&str], pairs: &[(&str, &str)]| {
        let uris = given.iter().map(ToString::to_string).collect();
        let mut settings = Settings { uris, ..Settings::default() };
        settings.complete(&environment(pairs)).map(|()| settings.uris)
    };
    let uris = |all: &[&str]| Ok(all.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(completed(&[], &[]), uris(&["qemu:///system"]));
    assert_eq!(completed(&[], &[(URI_VARIABLE, "")]), uris(&["qemu:///system"]));
    assert_eq!(completed(&[], &[(URI_VARIABLE, "xen:///")]), uris(&["xen:///"]));
    assert_eq!(completed(&["a", "b"], &[(URI_VARIABLE, "bad uri")]), uris(&["a", "b"]));
    assert_eq!(
        completed(&[], &[(URI_VARIABLE, "bad uri")]).unwrap_err().to_string(),
        "$LIBVIRT_DEFAULT_URI is \"bad uri\", but must be a libvirt URI without spaces, such as \
         qemu:///system"
    );
}

/// The sample with every setting taken out of its comment.
fn uncommented_sample() -> String {
    let line = |line: &str| line.strip_prefix("# ").unwrap_or(line).to_owned() + "\n";
    SAMPLE.lines().map(line).collect()
}

#[test]
fn the_sample_is_the_defaults() {
    assert_eq!(read(SAMPLE), Settings::default());
    let defaults = Settings {
        uris: vec![DEFAULT_URI.to_owned()],
        tags: vec![("dc".to_owned(), "fra1".to_owned())],
        metadata_tags: [
            ("flavor", "//nova:flavor/@name"),
            ("project", "//nova:project/@uuid"),
            ("user", "//nova:user"),
        ]
        .map(|(name, path)| (name.to_owned(), MetadataPath::parse(path).unwrap()))
        .to_vec(),
        ..Settings::default()
    };
    assert_eq!(read(&uncommented_sample()), defaults);
}

#[test]
fn the_sample_has_every_setting_and_every_name() {
    let text = uncommented_sample();
    let document: toml::Table = text.parse().unwrap();
    for path in setting::paths() {
        let stands = match path.split_once('.') {
            None => document.contains_key(path),
            Some((table, key)) => document[table].get(key).is_some(),
        };
        assert!(stands, "{path} is missing in the sample");
    }
    let device_tags = DeviceTag::ALL.map(DeviceTag::name);
    for name in FEATURES.iter().map(|row| row.name).chain(device_tags) {
        assert!(SAMPLE.contains(&format!("\"{name}\"")), "{name} is missing in the sample");
    }
}

#[test]
fn the_sample_says_what_each_setting_is_for() {
    let (mut before, mut table) = ("", "");
    for line in SAMPLE.lines() {
        assert!(line.len() <= 100, "too wide: {line}");
        if line.starts_with('[') {
            table = line;
        }
        if line.starts_with("# ") {
            // Tags are examples, told above their table.
            let explained = before.starts_with("## ") || table.ends_with("tags]");
            assert!(explained, "{line} stands without a word");
        }
        before = line;
    }
}
