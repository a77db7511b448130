//! Tests of the file's form: what a complete file looks like, and that nothing else passes for one.

use proptest::prelude::*;

use super::*;

const URI: &str = "qemu:///system";
const BOOT: Uuid = Uuid::from_u128(7);
const LINES: [&str; 2] = [r#"{"sample":{"name":"db"}}"#, r#"{"sample":{"name":"web"}}"#];

fn file(lines: &[&str]) -> Vec<u8> {
    sealed(&FileHeader::new(FileKind::State, URI, Some(BOOT)), lines.iter(), 0)
}

fn opened(bytes: &[u8]) -> Result<Vec<(usize, &str)>, Flaw> {
    open(bytes, FileKind::State, URI).map(|file| file.lines().collect())
}

#[test]
fn a_file_has_a_header_its_lines_and_a_closing_line() {
    assert_eq!(
        String::from_utf8(file(&LINES)).unwrap(),
        r#"{"telegraf-virt":"state","version":2,"uri":"qemu:///system","boot":"00000000-0000-0000-0000-000000000007"}
{"sample":{"name":"db"}}
{"sample":{"name":"web"}}
{"lines":2,"checksum":"cd72194518a2a395"}
"#
    );
}

#[test]
fn what_was_written_is_read_back() {
    let bytes = file(&LINES);
    let numbered: Vec<(usize, &str)> = (2..).zip(LINES).collect();
    assert_eq!(opened(&bytes), Ok(numbered));
    assert_eq!(open(&bytes, FileKind::State, URI).unwrap().boot, Some(BOOT));
    assert_eq!(opened(&file(&[])), Ok(vec![]));
    let no_lines = std::iter::empty::<&str>();
    let without_boot = sealed(&FileHeader::new(FileKind::State, URI, None), no_lines, 0);
    assert_eq!(open(&without_boot, FileKind::State, URI).unwrap().boot, None);
}

#[test]
fn a_file_cut_at_any_byte_is_damaged() {
    let bytes = file(&LINES);
    for end in 0..bytes.len() {
        let flaw = open(&bytes[..end], FileKind::State, URI);
        assert!(matches!(flaw, Err(Flaw::Corrupt(..))), "cut at {end}: {flaw:?}");
    }
}

#[test]
fn a_file_with_any_flipped_bit_is_no_file_of_ours() {
    let bytes = file(&LINES);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let flaw = open(&flipped, FileKind::State, URI);
        assert!(flaw.is_err(), "bit {bit}: {flaw:?}");
    }
}

#[test]
fn each_flaw_says_what_it_is() {
    let complete = String::from_utf8(file(&LINES[..1])).unwrap();
    let lines: Vec<&str> = complete.lines().collect();
    let corrupt = |line, cause: &str| Err(Flaw::Corrupt(line, cause.to_owned()));
    for (text, flaw) in [
        (complete.replace(":2,\"uri\"", ":3,\"uri\""), Err(Flaw::OtherVersion(3))),
        (
            complete.replace("\"version\"", "\"more\":{},\"version\""),
            corrupt(3, "the checksum is wrong"),
        ),
        (complete.replace("qemu", "test"), corrupt(1, "made for something else")),
        (complete.replace("\"state\"", "\"samples\""), corrupt(1, "made for something else")),
        (complete.replace("db", "bd"), corrupt(3, "the checksum is wrong")),
        (
            complete.replace("\"lines\":1", "\"lines\":2"),
            corrupt(3, "the number of lines is wrong"),
        ),
        (format!("{}\n{}\n", lines[0], lines[2]), corrupt(2, "the checksum is wrong")),
        (complete.trim_end().to_owned(), corrupt(3, "it ends within a line")),
        (format!("{}\n", lines[0]), corrupt(1, "no closing line")),
        (String::new(), corrupt(1, "it ends within a line")),
    ] {
        assert_eq!(opened(text.as_bytes()).map(|lines| lines.len()), flaw, "{text}");
    }
    let no_text = [lines[0].as_bytes(), b"\n\xff\n", lines[2].as_bytes(), b"\n"].concat();
    assert_eq!(opened(&no_text).map(|lines| lines.len()), corrupt(2, "it is no text"));
}

#[test]
fn a_file_with_too_many_lines_is_damaged() {
    let lines = vec!["{}"; LINES_MAX + 1];
    let last = LINES_MAX + 3;
    assert_eq!(
        open(&file(&lines), FileKind::State, URI),
        Err(Flaw::of_line(last, "the number of lines is wrong"))
    );
    assert!(open(&file(&lines[1..]), FileKind::State, URI).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_panic_or_believe_them(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(open(&bytes, FileKind::State, URI).is_err());
        let mut after_header = file(&[]);
        after_header.truncate(after_header.iter().position(|byte| *byte == b'\n').unwrap() + 1);
        after_header.extend(&bytes);
        prop_assert!(open(&after_header, FileKind::State, URI).is_err());
    }
}
