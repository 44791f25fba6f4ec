//! Archives that are refused: exactly how, and that nothing of them appears.

use std::fmt::Write as _;

use hermes_tests::Home;
use hermes_tests::archive::{Tar, gz};
use hermes_tests::command::{masked, run};
use tar::EntryType;

/// Everything below the user's and the root home, to see that nothing came.
fn everything(home: &Home) -> Vec<String> {
    let mut all = Vec::new();
    let mut dirs = vec![home.root(), home.user()];
    while let Some(dir) = dirs.pop() {
        for entry in dir.read_dir_utf8().unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                dirs.push(entry.path().to_owned());
            }
            all.push(entry.path().to_string());
        }
    }
    all.sort();
    all
}

/// Imports each and renders what is said; nothing may remain of any.
fn refused(home: &Home, cases: &[(&str, Vec<u8>, &[&str])]) -> String {
    let archive = home.user().join("a.tgz");
    // The directory of profiles and its lock are there from the first attempt on.
    fs_err::write(&archive, Tar::default().file("c/../x", "x").gz()).unwrap();
    run(home, &["profile", "import", archive.as_str()]).fails(1);
    fs_err::write(&archive, Tar::default().file("c/a", "x").link("c/l", "/x").gz()).unwrap();
    run(home, &["profile", "import", archive.as_str()]).fails(1);
    let before = everything(home);
    let mut text = String::new();
    for (what, bytes, more) in cases {
        fs_err::write(&archive, bytes).unwrap();
        let ran = run(home, &[&["profile", "import", archive.as_str()], *more].concat());
        let _ = write!(text, "# {what}\n{}", ran.out);
        for line in ran.err.lines() {
            let _ = writeln!(text, "! {line}");
        }
        let _ = writeln!(text, "=> exit {:?}", ran.code.unwrap());
        assert_eq!(everything(home), before, "{what}");
    }
    masked(home, &text)
}

const NONE: &[&str] = &[];

#[test]
fn names() {
    let home = Home::new();
    let one = |name: &[u8]| {
        Tar::default().file("c/SOUL.md", "x").add(name, EntryType::Regular, b"", 0o644, b"x").gz()
    };
    let pax = |name: &str| {
        let length = (0..200).find(|n| format!("{n} path={name}\n").len() == *n).unwrap();
        let record = format!("{length} path={name}\n");
        Tar::default().add(b"r", EntryType::XHeader, b"", 0o644, record.as_bytes()).file("c/a", "x").gz()
    };
    insta::assert_snapshot!(refused(
        &home,
        &[
            ("dot-dot", one(b"c/../../evil"), NONE),
            ("absolute", one(b"/tmp/evil"), NONE),
            ("a drive", one(b"C:\\evil"), NONE),
            ("backslashes", one(b"c\\..\\..\\evil"), NONE),
            ("a server", one(b"\\\\server\\share"), NONE),
            ("none", one(b""), NONE),
            ("only dots", one(b".."), NONE),
            ("a line end", one(b"c/a\nb"), NONE),
            ("a terminal's command", one(b"c/\x1b]0;evil\x07"), NONE),
            ("not UTF-8", one(b"c/\xff\xfe"), NONE),
            ("a long name that leads out", pax("c/../../evil"), NONE),
            (
                "a name that is too long for any system",
                pax(&format!("c/{}", "n".repeat(100))).len().to_string().into_bytes(),
                NONE
            ),
            ("twice", one(b"c/SOUL.md"), NONE),
            ("below a file", one(b"c/SOUL.md/x"), NONE),
            ("two top directories", one(b"d/x"), NONE),
            ("two top directories, named", one(b"d/x"), &["--name", "new"]),
        ]
    ));
}

#[test]
fn kinds() {
    let home = Home::new();
    let kind = |kind: EntryType, link: &str| {
        Tar::default().file("c/SOUL.md", "x").add(b"c/x", kind, link.as_bytes(), 0o644, b"").gz()
    };
    let through = Tar::default().link("c/d", "skills").file("c/d/x", "x").gz();
    let twice = Tar::default().link("c/a", "b").link("c/b", "../..").gz();
    insta::assert_snapshot!(refused(
        &home,
        &[
            ("a link out of the profile", kind(EntryType::Symlink, "../../x"), NONE),
            ("an absolute link", kind(EntryType::Symlink, "/etc/passwd"), NONE),
            ("a link that comes back too far", kind(EntryType::Symlink, "a/../../x"), NONE),
            ("a hard link", kind(EntryType::Link, "c/SOUL.md"), NONE),
            ("a FIFO", kind(EntryType::Fifo, ""), NONE),
            ("a device", kind(EntryType::Char, ""), NONE),
            ("a disk", kind(EntryType::Block, ""), NONE),
            ("a sparse file", kind(EntryType::GNUSparse, ""), NONE),
            ("something new", kind(EntryType::new(b'Z'), ""), NONE),
            ("a file through a link", through, NONE),
            ("links that lead out together", twice, NONE),
        ]
    ));
}

#[test]
fn bombs_and_lies() {
    let home = Home::new();
    let zeros = Tar::default().add(b"c/zeros", EntryType::Regular, b"", 0o644, &vec![0; 60 << 20]).gz();
    let nested = gz(&zeros);
    let many = (0..250_001).fold(Vec::new(), |mut all, n: u32| {
        if n == 0 {
            all = Tar::default().file("c/a", "").end();
            all.truncate(512);
        } else {
            let header = Tar::default().claim(&format!("c/{n}"), 0).end();
            all.extend_from_slice(&header[..512]);
        }
        all
    });
    let header =
        Tar::default().add(b"r", EntryType::XHeader, b"", 0o644, &vec![b'9'; 1 << 20]).file("c/a", "x").gz();
    let long = Tar::default()
        .add(b"r", EntryType::GNULongName, b"", 0o644, &vec![b'a'; 5 << 20])
        .file("c/a", "x")
        .gz();
    insta::assert_snapshot!(refused(
        &home,
        &[
            ("sixty megabytes of nothing", zeros, NONE),
            ("an archive in an archive", nested, NONE),
            ("a quarter of a million members", many, NONE),
            ("a file larger than everything may be", Tar::default().claim("c/huge", 9 << 30).end(), NONE),
            ("a file of every byte there is", Tar::default().claim("c/huge", u64::MAX >> 1).end(), NONE),
            ("a megabyte of header", header, NONE),
            ("a name of five megabytes", long, NONE),
        ]
    ));
}

#[test]
fn what_is_no_archive() {
    let home = Home::new();
    let tar = Tar::default().file("c/SOUL.md", "x").file("c/b", &"text ".repeat(2000));
    let packed = tar.gz();
    let mut wrong = packed.clone();
    let at = wrong.len() - 5;
    wrong[at] ^= 0x55;
    let mut flipped = tar.end();
    flipped[3] ^= 1;
    insta::assert_snapshot!(refused(
        &home,
        &[
            ("nothing", Vec::new(), NONE),
            ("text", b"hello\n".to_vec(), NONE),
            ("zip", b"PK\x03\x04aaaaaaaaaaaaaaaaaaaaaaaa".to_vec(), NONE),
            ("gzip of text", gz(b"hello\n"), NONE),
            ("gzip of nothing", gz(b""), NONE),
            ("cut off", packed[..packed.len() / 2].to_vec(), NONE),
            ("cut off in the checksum", packed[..packed.len() - 3].to_vec(), NONE),
            ("a wrong checksum", wrong, NONE),
            ("followed by something", [&packed[..], b"trailing"].concat(), NONE),
            ("tar cut off in a file", tar.end()[..3000].to_vec(), NONE),
            ("tar without its end", tar.end()[..tar.end().len() - 1024].to_vec(), NONE),
            ("tar followed by something", [&tar.end()[..], b"trailing"].concat(), NONE),
            ("a damaged header", flipped, NONE),
            ("zstd of nothing", vec![0x28, 0xb5, 0x2f, 0xfd, 0], NONE),
            ("an empty archive", gz(&[0; 1024]), NONE),
            ("an empty archive, named", gz(&[0; 1024]), &["--name", "new"]),
            ("files without a directory", Tar::default().file("SOUL.md", "x").gz(), NONE),
            ("files without a directory, named", Tar::default().file("SOUL.md", "x").gz(), &["new"]),
        ]
    ));
}

#[test]
fn which_name_it_gets() {
    let home = Home::new();
    home.profile("taken");
    let of = |name: &str| Tar::default().file(&format!("{name}/SOUL.md"), "x").gz();
    let mut text = refused(
        &home,
        &[
            ("default", of("default"), NONE),
            ("by name", of("c"), &["--name", "Default"]),
            ("taken", of("taken"), NONE),
            ("taken by name", of("c"), &["TAKEN"]),
            ("reserved", of("hermes"), NONE),
            ("no name", of("Bad Name"), NONE),
            ("no name, named badly", of("c"), &["--name", "bad.name"]),
            ("both", of("c"), &["one", "--name", "two"]),
            ("three", of("c"), &["one", "two"]),
        ],
    );
    let missing = run(&home, &["profile", "import", "nope.tar.gz"]);
    let none = run(&home, &["profile", "import"]);
    let dir = run(&home, &["profile", "import", home.user().as_str()]);
    for ran in [missing, none, dir] {
        let _ = writeln!(text, "{}=> exit {}", masked(&home, &ran.err), ran.code.unwrap());
    }
    insta::assert_snapshot!(text);
    let archive = home.user().join("a.tgz");
    fs_err::write(&archive, of("Bad Name")).unwrap();
    run(&home, &["profile", "import", archive.as_str(), "--name", " Good "]).ok();
    assert_eq!(home.read("good", "SOUL.md").unwrap(), "x");
}
