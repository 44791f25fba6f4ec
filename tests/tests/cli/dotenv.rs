//! Wires 11: `.env` against python-dotenv, which 0.19.0 reads it with: files as users have them (`tests/fixtures/dotenv`) and many that
//! are put together from what means something to either reader.
//!
//! Of python-dotenv the newest version and 0.19.0's (1.2.2) are asked. Where the two agree, so do we; where 1.2.2 has two faults that
//! the newest has not, we are with the newest, and the files that show it are listed.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_config::dotenv_edit;
use hermes_config::{Env, Secret};
use hermes_tests::tools::Clients;

/// Reads each file of the list in its first argument as `load_dotenv(override=True)` in 0.19.0 would, and prints what is set.
const READER: &str = r"
import codecs, io, json, sys
from dotenv.main import DotEnv
out = []
for path in open(sys.argv[1], encoding='utf-8').read().splitlines():
    raw = open(path, 'rb').read()
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = raw.decode('utf-16')
    else:
        raw = raw.replace(b'\0', b'')
        try:
            text = raw.decode('utf-8-sig')
        except UnicodeDecodeError:
            text = raw.decode('latin-1')
    text = io.TextIOWrapper(io.BytesIO(text.encode('utf-8')), encoding='utf-8').read()
    values = DotEnv(None, stream=io.StringIO(text), interpolate=True, override=True).dict()
    out.append({k: v for k, v in values.items() if v is not None})
print(json.dumps(out))
";

type Read = BTreeMap<String, String>;

fn theirs(python: &Utf8Path, packages: Option<&Utf8Path>, files: &[Utf8PathBuf]) -> Vec<Read> {
    let dir = tempfile::tempdir().unwrap();
    let dir = Utf8Path::from_path(dir.path()).unwrap();
    let (script, list) = (dir.join("reader.py"), dir.join("files"));
    fs_err::write(&script, READER).unwrap();
    fs_err::write(&list, files.iter().map(|file| format!("{file}\n")).collect::<String>()).unwrap();
    let mut command = hermes_tests::command::outside(python);
    command.args([&script, &list]).env_clear().env("HOME", "/home/u").env("PYTHONUTF8", "1");
    if let Some(packages) = packages {
        command.env("PYTHONPATH", packages);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn ours(file: &Utf8Path) -> Read {
    // All that the interpreter's environment has, too.
    let around: Env = [("HOME", "/home/u"), ("PYTHONUTF8", "1"), ("LC_CTYPE", "C.UTF-8")]
        .map(|(name, value)| (name.to_owned(), Secret::new(value)))
        .into_iter()
        .collect();
    let env = dotenv_edit::read_in(&fs_err::read(file).unwrap(), &around);
    env.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn corpus() -> Vec<Utf8PathBuf> {
    let dir = Utf8Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/dotenv"));
    let mut files: Vec<_> = dir.read_dir_utf8().unwrap().map(|entry| entry.unwrap().into_path()).collect();
    files.sort();
    assert!(files.len() >= 45);
    files
}

/// The newest, and 0.19.0's own.
fn readers() -> Option<(Utf8PathBuf, Utf8PathBuf)> {
    let utf8 = |path| Utf8PathBuf::from_path_buf(path).unwrap();
    let python = utf8(Clients::Python.interpreter()?);
    Some((python, utf8(Clients::directory().join("python-dotenv-1.2.2"))))
}

#[test]
fn files_of_users_are_read_as_python_dotenv_reads_them() {
    let Some((python, old)) = readers() else { return };
    let files = corpus();
    let (newest, old) = (theirs(&python, None, &files), theirs(&python, Some(&old), &files));
    let mut differ = Vec::new();
    for ((file, newest), old) in files.iter().zip(&newest).zip(&old) {
        let name = file.file_stem().unwrap();
        // UTF-16 without a mark: 0.19.0 takes the zero bytes out first.
        assert_eq!(ours(file), *newest, "{name}");
        if newest != old {
            differ.push(name);
        }
    }
    assert_eq!(differ, ["backslash-at-end", "template-comments"]);
}

/// Pieces that mean something, put together at random, always the same way.
#[test]
fn files_at_random_are_read_as_python_dotenv_reads_them() {
    const PIECES: [&str; 46] = [
        "A",
        "B",
        "C_KEY",
        "export ",
        "export",
        "=",
        "=",
        "=",
        " = ",
        "\"",
        "\"",
        "'",
        "'",
        "\\",
        "\\\\",
        "\\n",
        "\\\"",
        "\\'",
        "#",
        " #",
        "# ",
        " ",
        "  ",
        "\t",
        "\n",
        "\n",
        "\n",
        "\r\n",
        "\r",
        "${A}",
        "${B:-d}",
        "${",
        "}",
        ":-",
        "$",
        "x",
        "1",
        "ü",
        "\u{a0}",
        "\u{2028}",
        "\u{b}",
        "\u{85}",
        "A=1\n",
        "B=\"x\"\n",
        "C_KEY='y'\n",
        "HOME",
    ];
    let Some((python, _)) = readers() else { return };
    let dir = tempfile::tempdir().unwrap();
    let dir = Utf8Path::from_path(dir.path()).unwrap();
    let mut seed: u64 = 0x2545_f491_4f6c_dd1d;
    let mut next = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed >> 33).unwrap() % below
    };
    let files: Vec<_> = (0..3000)
        .map(|n| {
            let len = 1 + next(24);
            let text: String = (0..len).map(|_| PIECES[next(PIECES.len())]).collect();
            let file = dir.join(format!("{n}.env"));
            fs_err::write(&file, text).unwrap();
            file
        })
        .collect();
    for (file, read) in files.iter().zip(theirs(&python, None, &files)) {
        assert_eq!(ours(file), read, "{:?}", fs_err::read_to_string(file).unwrap());
    }
}

/// What an edit writes is read back as exactly that, by both versions, in every file of the corpus; everything else says what it said.
#[test]
fn what_is_written_is_read_by_python_dotenv() {
    let Some((python, old)) = readers() else { return };
    let dir = tempfile::tempdir().unwrap();
    let dir = Utf8Path::from_path(dir.path()).unwrap();
    let values = [
        "plain",
        "two words",
        "a # b",
        "it's",
        "say \"hi\"",
        "C:\\dir\\",
        "p${A}x$",
        "#x",
        " edge ",
        "",
        "ü\u{a0}",
        "\\n \\\\",
    ];
    let (mut files, mut wanted) = (Vec::new(), Vec::new());
    for (n, file) in corpus().iter().enumerate() {
        let Ok((text, _)) = dotenv_edit::text(&fs_err::read(file).unwrap()) else { continue };
        for (m, value) in values.iter().enumerate() {
            for name in ["Z_NEW", "A", "OPENAI_API_KEY"] {
                let Ok(edited) = dotenv_edit::set(&text, name, value) else {
                    panic!("{file} {name} {value:?}");
                };
                let path = dir.join(format!("{n}-{m}-{name}.env"));
                fs_err::write(&path, edited).unwrap();
                files.push(path);
                wanted.push((name, *value, file.file_stem().unwrap().to_owned()));
            }
        }
    }
    for packages in [None, Some(old.as_path())] {
        for (read, (name, value, file)) in theirs(&python, packages, &files).iter().zip(&wanted) {
            // What 1.2.2 misreads above the new line takes it along.
            if packages.is_some() && file == "backslash-at-end" {
                continue;
            }
            assert_eq!(read.get(*name).map(String::as_str), Some(*value), "{file} {name}");
        }
    }
}
