//! Members as they should be, and every way in which they should not.

use proptest::prelude::*;
use tar::Header;

use super::*;
use crate::archive::{Writer, compress, decode};

const SMALL: Limits = Limits { members: 20, total: 1 << 20, ratio: 100, free: 64 << 10 };

/// A stream of members, each with a raw name of at most 100 bytes, and what a header says.
#[derive(Default)]
struct Raw(Vec<u8>);

impl Raw {
    fn add(mut self, name: &[u8], kind: u8, link: &[u8], content: &[u8]) -> Self {
        self.header(name, kind, link, content.len() as u64);
        self.0.extend_from_slice(content);
        let full = self.0.len().div_ceil(512) * 512;
        self.0.resize(full, 0);
        self
    }

    fn header(&mut self, name: &[u8], kind: u8, link: &[u8], size: u64) {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
        header.set_entry_type(EntryType::new(kind));
        header.set_mode(0o4755);
        header.set_mtime(7);
        header.set_size(size);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
    }

    fn file(self, name: &str) -> Self {
        self.add(name.as_bytes(), b'0', b"", b"x")
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

fn all(bytes: &[u8]) -> Result<Vec<(Member, Vec<u8>)>, ArchiveError> {
    let mut members = Vec::new();
    let decoded = decode(bytes, SMALL)?;
    read::<ArchiveError>(decoded, SMALL, &mut |member, _, content| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        members.push((member.clone(), bytes));
        Ok(())
    })?;
    Ok(members)
}

fn names(bytes: &[u8]) -> Vec<String> {
    all(bytes).unwrap().into_iter().map(|(m, _)| m.path.into_string()).collect()
}

fn refused(bytes: &[u8]) -> String {
    let e = all(bytes).unwrap_err();
    match &e {
        ArchiveError::UnsupportedType { what, .. } => format!("{e} ({what})"),
        _ => e.to_string(),
    }
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    compress::<_, (), io::Error>(Vec::new(), 2, |to| to.write_all(bytes)).unwrap().0
}

#[test]
fn what_is_written_is_read() {
    let long = format!("c/{}/{}", "d".repeat(200), "ä".repeat(100));
    let mut writer = Writer::new(Vec::new(), None).unwrap();
    assert!(writer.file("c/short".into(), 0o600, 0, 3, &b"ab"[..]).is_err());
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, Some("hello")).unwrap();
    writer.directory("c".into(), 0o700, 5).unwrap();
    writer.file(Utf8Path::new(&long), 0o4644, 6, 3, &b"abcdef"[..]).unwrap();
    writer.link("c/x".into(), Utf8Path::new(&"y".repeat(150)), 7).unwrap();
    writer.finish().unwrap();
    for bytes in [out.clone(), gz(&out)] {
        let members = all(&bytes).unwrap();
        let kinds: Vec<_> = members.iter().map(|(m, _)| (m.kind.clone(), m.mode, m.mtime)).collect();
        assert_eq!(
            kinds,
            [
                (Kind::Directory, 0o700, 5),
                (Kind::File, 0o644, 6),
                (Kind::Link("y".repeat(150).into()), 0o777, 7)
            ]
        );
        assert_eq!((members[1].0.path.as_str(), &members[1].1[..]), (long.as_str(), &b"abc"[..]));
    }
    let summary = read::<ArchiveError>(&out[..], SMALL, &mut |_, _, _| Ok(())).unwrap();
    assert_eq!(summary, Summary { members: 3, comment: Some("hello".to_owned()) });
}

#[test]
fn gzip_of_several_members_zstd_and_plain_tar() {
    let tar = Raw::default().add(b"c/", b'5', b"", b"").file("c/a").end();
    let (first, second) = tar.split_at(700);
    for bytes in [tar.clone(), gz(&tar), [gz(first), gz(second)].concat()] {
        assert_eq!(names(&bytes), ["c", "c/a"]);
    }
    let zstd =
        |data: &[u8]| ruzstd::encoding::compress_to_vec(data, ruzstd::encoding::CompressionLevel::Fastest);
    let skippable =
        [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &zstd(first), &zstd(second)].concat();
    for bytes in [zstd(&tar), skippable] {
        assert_eq!(names(&bytes), ["c", "c/a"]);
    }
}

#[test]
fn names_and_kinds_that_are_refused() {
    for (name, said) in
        [("/etc/x", "/etc/x"), ("c/../x", "c/../x"), ("C:\\x", "C:\\x"), ("c/\n", "c/\\n"), ("..", "..")]
    {
        assert_eq!(refused(&Raw::default().file(name).end()), format!("Unsafe archive member path: {said}"));
    }
    for (kind, link, said) in [
        (b'1', "c/a", "a hard link"),
        (b'2', "/etc/passwd", "a link that leads out of the profile (to `/etc/passwd`)"),
        (b'2', "../x", "a link that leads out of the profile (to `../x`)"),
        (b'2', "", "a link that leads out of the profile (to ``)"),
        (b'3', "", "a device"),
        (b'4', "", "a device"),
        (b'6', "", "a FIFO"),
        (b'V', "", "an entry of type `V`"),
    ] {
        let bytes = Raw::default().add(b"c/x", kind, link.as_bytes(), b"").end();
        assert_eq!(refused(&bytes), format!("Unsupported archive member type: c/x ({said})"));
    }
    let not_text = Raw::default().add(b"c/\xff", b'0', b"", b"").end();
    assert_eq!(refused(&not_text), "Unsafe archive member path: c/\u{fffd}");
}

#[test]
fn a_member_below_a_link_or_a_file_and_a_second_one_are_refused() {
    let linked = Raw::default().add(b"c/d", b'2', b"e", b"").file("c/d/x");
    assert_eq!(refused(&linked.end()), "Unsafe archive member path: c/d/x");
    assert_eq!(refused(&Raw::default().file("c/d").file("c/d/x").end()), "Unsafe archive member path: c/d/x");
    assert_eq!(refused(&Raw::default().file("c/a").file("c/./a").end()), "Duplicate archive member: c/a");
    assert_eq!(refused(&Raw::default().file("c/a/b").file("c/a").end()), "Duplicate archive member: c/a");
    let twice = Raw::default().add(b"c/", b'5', b"", b"").file("c/a").add(b"c/", b'5', b"", b"");
    assert_eq!(names(&twice.end()), ["c", "c/a", "c"]);
}

#[test]
fn limits() {
    let many = (0..21).fold(Raw::default(), |raw, n| raw.file(&format!("c/{n}")));
    assert_eq!(refused(&many.end()), "archive has more than 20 members");
    let mut large = Raw::default();
    large.header(b"c/a", b'0', b"", 2 << 20);
    assert_eq!(refused(&large.0), "archive holds more than 1 MB");
    large = Raw::default();
    large.header(b"c/a", b'0', b"", u64::MAX);
    assert_eq!(refused(&large.0), "archive holds more than 1 MB");
    let bomb = gz(&Raw::default().add(b"c/a", b'0', b"", &vec![0; 900 << 10]).end());
    assert_eq!(
        refused(&bomb),
        "archive unpacks to more than 100 times its size; this looks like a decompression bomb"
    );
    for kind in [b'L', b'K', b'x', b'g'] {
        let huge = Raw::default().add(b"r", kind, b"", &vec![b'a'; 70 << 10]).file("c/a").end();
        assert_eq!(refused(&huge), "archive has a header of 71680 bytes; at most 65536 are read");
    }
}

#[test]
fn records_that_readers_disagree_about_are_refused() {
    let pax = |record: &str| Raw::default().add(b"r", b'x', b"", record.as_bytes()).file("c/a").end();
    assert_eq!(names(&pax("12 path=c/b\n")), ["c/b"]);
    assert_eq!(refused(&pax("13 path=../b\n")), "Unsafe archive member path: ../b");
    assert_eq!(refused(&pax("12 size=512\n")), "member c/a has two sizes");
    assert_eq!(names(&pax("10 size=1\n")), ["c/a"]);
    assert!(refused(&pax("22 GNU.sparse.major=1\n")).contains("a sparse file"));
    assert!(refused(&pax("999 path=x\n")).contains("PAX"));
    let global = Raw::default().add(b"r", b'g', b"", b"12 path=c/b\n").file("c/a").end();
    assert_eq!(refused(&global), "a global header renames or resizes members");
    let content = Raw::default().add(b"c/d/", b'5', b"", b"hidden").end();
    assert_eq!(refused(&content), "member c/d/ has content and is no file");
}

#[test]
fn what_is_cut_off_garbled_or_followed_by_something_is_refused() {
    let tar = Raw::default().file("c/a").file("c/b").end();
    let packed = gz(&tar);
    for (bytes, step) in [(&tar, 100), (&packed, 1)] {
        for length in (0..bytes.len() - if step == 1 { 0 } else { 1024 }).step_by(step) {
            assert!(matches!(all(&bytes[..length]), Err(ArchiveError::NotAnArchive(_))), "{length}");
        }
    }
    let mut wrong = packed.clone();
    let checksum = wrong.len() - 6;
    wrong[checksum] ^= 1;
    assert!(matches!(all(&wrong), Err(ArchiveError::NotAnArchive(_))));
    assert_eq!(
        refused(&[&tar[..], b"more"].concat()),
        "there is data behind its end (damaged behind member 2)"
    );
    assert!(matches!(all(&[&packed[..], b"more"].concat()), Err(ArchiveError::NotAnArchive(_))));
    assert_eq!(names(&[&tar[..], &[0; 9216]].concat()), ["c/a", "c/b"]);
    assert_eq!(refused(b""), "it is empty");
    assert_eq!(refused(b"PK\x03\x04 and so on"), "it is neither gzip, zstd nor tar");
    assert_eq!(names(&[0; 1024]), Vec::<String>::new());
}

proptest! {
    /// Any bytes in place of any part of an archive: members or an error, each member safe, each name once.
    #[test]
    fn any_bytes_give_safe_members_or_an_error(noise in prop::collection::vec((0..3072_usize, any::<u8>()), 0..12)) {
        let mut tar = Raw::default().add(b"r", b'x', b"", b"12 path=c/b\n").file("c/a").add(b"c/l", b'2', b"a", b"").end();
        for (at, byte) in noise {
            let at = at % tar.len();
            tar[at] = byte;
        }
        if let Ok(members) = all(&tar) {
            for (member, content) in members {
                prop_assert!(member_path(member.path.as_str().as_bytes()) == Some(member.path.clone()));
                prop_assert_eq!(content.len() as u64, member.size);
                prop_assert!(member.mode <= 0o777);
            }
        }
    }
}
