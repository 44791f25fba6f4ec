//! The last look: the finished archive is read as whoever gets it reads it, and searched for values that must not leave.
//!
//! Each value is searched for as it is, within JSON, percent-encoded, and in base64 wherever it may begin in it; in names of
//! members, in their content, and in what gzip or zstd holds of it. Memory is bounded by the values, not by the archive.

use std::collections::BTreeSet;
use std::io::{self, BufRead as _, BufReader, Read, Seek as _};

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use camino::Utf8Path;
use hermes_config::MAX_FILE_LEN;
use hermes_config::redact::values::{self, Kept};
use hermes_host::disk;
use hermes_worker::REGISTRY;

use super::super::error::ProfileError;
use super::collect::credential_files;
use crate::archive::{self, Format, Limits, Pipelined, printable};

/// Most values that are searched for; a `.env` has tens.
const VALUES: usize = 20_000;
/// Most values that are searched for in every form.
const ENCODED: usize = 1_000;
/// Shortest value that is searched for in base64, in bytes.
const IN_BASE64: usize = 9;
/// Most members that are named.
const MEMBERS: usize = 200;
/// The archive is our own: it may be as large as it is.
const OURS: Limits = Limits { members: u64::MAX, total: u64::MAX, ratio: u64::MAX, free: u64::MAX };
/// Bytes that are looked for in one compressed file within a member.
const INNER: u64 = 8 << 30;

/// What files with credentials at the top of a home hold.
pub(super) fn kept(home: &Utf8Path) -> Result<Kept, ProfileError> {
    let mut kept = Kept::new();
    for path in credential_files(home)? {
        let name = path.file_name().unwrap_or_default();
        let bytes = match disk::read_bounded(&path, MAX_FILE_LEN) {
            Ok(bytes) => bytes,
            // A key in a file of its own is found by its looks; a backup that is no text has no values.
            Err(e) if e.kind() == io::ErrorKind::InvalidData => continue,
            Err(e) => return Err(ProfileError::io("read", path)(e)),
        };
        let values = if name.contains(".env") {
            values::of_env(&REGISTRY, &bytes)
        } else if name.contains(".json") {
            values::of_json(&bytes, name.contains("auth.json"))
        } else {
            continue;
        };
        for (value, key) in values {
            kept.entry(value).or_insert(if name == ".env" { key } else { format!("{name}:{key}") });
        }
    }
    Ok(kept)
}

/// Names of members and of the values that are in them. `progress` answers whether to go on.
pub(super) fn search(
    file: &std::fs::File,
    kept: &Kept,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<Vec<(String, BTreeSet<String>)>, ProfileError> {
    let needles = Needles::new(kept)?;
    let mut found: Vec<(String, BTreeSet<String>)> = Vec::new();
    let mut input = file;
    input.rewind().map_err(ProfileError::io("read", "the archive"))?;
    let decoded = archive::decode(input, OURS)?;
    let mut bytes = 0;
    std::thread::scope(|scope| {
        let stream = Pipelined::new(scope, decoded).map_err(ProfileError::io("read", "the archive"))?;
        archive::read(stream, OURS, &mut |member, _, content| {
            bytes += member.size;
            if !progress(bytes) {
                return Err(ProfileError::Interrupted);
            }
            let mut hits = BTreeSet::new();
            needles
                .within(member.path.as_str().as_bytes(), &mut hits)
                .map_err(archive::ArchiveError::from)?;
            needles.within_content(content, &mut hits).map_err(archive::ArchiveError::from)?;
            if !hits.is_empty() && found.len() < MEMBERS {
                found.push((printable(member.path.as_str().as_bytes()), hits));
            }
            Ok(())
        })
    })?;
    Ok(found)
}

/// Everything that is searched for, in one pass.
struct Needles<'a> {
    all: AhoCorasick,
    /// Whose each pattern is.
    names: Vec<&'a str>,
}

impl<'a> Needles<'a> {
    fn new(kept: &'a Kept) -> Result<Self, ProfileError> {
        let (mut patterns, mut names) = (Vec::new(), Vec::new());
        if kept.len() > VALUES {
            return Err(ProfileError::TooManyValues(kept.len()));
        }
        for (value, name) in kept {
            let forms =
                if kept.len() > ENCODED { vec![value.expose().into()] } else { forms(value.expose()) };
            names.extend(forms.iter().map(|_| name.as_str()));
            patterns.extend(forms);
        }
        let all = AhoCorasick::new(patterns).map_err(|_| ProfileError::TooManyValues(kept.len()))?;
        Ok(Self { all, names })
    }

    fn within(&self, input: impl Read, hits: &mut BTreeSet<String>) -> io::Result<()> {
        for found in self.all.stream_find_iter(input) {
            hits.insert(self.names[found?.pattern().as_usize()].to_owned());
        }
        Ok(())
    }

    fn within_content(&self, content: &mut dyn Read, hits: &mut BTreeSet<String>) -> io::Result<()> {
        let mut content = BufReader::with_capacity(64 << 10, content);
        let start = content.fill_buf()?;
        let packed =
            matches!(Format::detect(&start[..start.len().min(512)]), Some(Format::Gzip | Format::Zstd));
        if !packed {
            return self.within(content, hits);
        }
        // What it holds, as far as it can be read; a file that only begins like one holds nothing more.
        if let Ok(inner) = archive::decode(&mut content, OURS) {
            let _ = self.within(inner.take(INNER), hits);
        }
        Ok(())
    }
}

/// The forms in which a value may stand.
fn forms(value: &str) -> Vec<Vec<u8>> {
    let mut forms = BTreeSet::from([value.as_bytes().to_vec()]);
    // A key of several lines, wherever its lines are put.
    if let Some(line) =
        value.lines().map(str::trim).max_by_key(|line| line.len()).filter(|line| line.len() >= 32)
    {
        forms.insert(line.as_bytes().to_vec());
    }
    let json = serde_json::Value::from(value).to_string();
    let json = json[1..json.len() - 1].to_owned();
    forms.insert(json.replace('/', "\\/").into_bytes());
    forms.insert(json.into_bytes());
    let percent = |keep: &str| {
        let coded = value.bytes().map(|b| {
            let plain = b.is_ascii_alphanumeric() || keep.as_bytes().contains(&b);
            if plain { char::from(b).to_string() } else { format!("%{b:02X}") }
        });
        coded.collect::<String>().into_bytes()
    };
    forms.extend([percent("-_.~"), percent("-_.!~*'()")]);
    if value.len() >= IN_BASE64 {
        for shift in 0..3_usize {
            let mut bytes = vec![0; shift];
            bytes.extend_from_slice(value.as_bytes());
            // Characters that depend on nothing but the value.
            let (from, to) = ((shift * 8).div_ceil(6), bytes.len() * 8 / 6);
            for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
                forms.insert(engine.encode(&bytes).as_bytes()[from..to].to_vec());
            }
        }
    }
    forms.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use hermes_config::Secret;

    use super::*;

    fn hits(text: &[u8]) -> bool {
        let kept = Kept::from([(Secret::new("p/ss\"wörd-12345"), "KEY".to_owned())]);
        let mut hits = BTreeSet::new();
        Needles::new(&kept).unwrap().within_content(&mut &text[..], &mut hits).unwrap();
        hits.contains("KEY")
    }

    /// Wires 12: a value is found in whatever form it stands.
    #[test]
    fn a_value_is_found_in_every_form() {
        let value = "p/ss\"wörd-12345";
        for user in ["", "a", "ab", "abc"] {
            assert!(hits(STANDARD.encode(format!("{user}:{value} and more")).as_bytes()), "{user}");
        }
        assert!(hits(value.as_bytes()) && hits(format!("x{value}y").as_bytes()));
        assert!(hits(serde_json::json!({ "a": value }).to_string().as_bytes()));
        assert!(hits(br#"{"a": "p\/ss\"w\u00f6rd-12345"}"#) || hits("p\\/ss\\\"wörd-12345".as_bytes()));
        assert!(hits(b"https://h/?k=p%2Fss%22w%C3%B6rd-12345"));
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        io::Write::write_all(&mut gzip, format!("in here: {value}").as_bytes()).unwrap();
        assert!(hits(&gzip.finish().unwrap()));
        assert!(!hits(b"p/ss") && !hits(b"") && !hits(b"\x1f\x8b and nothing"));
    }
}
