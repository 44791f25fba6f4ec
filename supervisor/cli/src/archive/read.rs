//! A tar stream as members that are safe to handle, or the reason why it is not.

use std::collections::HashMap;
use std::io::{self, Read};

use camino::{Utf8Path, Utf8PathBuf};
use tar::EntryType;

use super::path::{MAX_PATH, link_stays_inside, member_path, printable};
use super::sparse::{Expanded, Map, Pax};
use super::{ArchiveError, Limits};

/// Largest record about the next member (long names, PAX), in bytes.
const MAX_RECORD: u64 = 64 << 10;
/// Bytes of zeros that may stand behind the end mark; `tar -b` pads to at most this.
const MAX_PADDING: u64 = 4 << 20;

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A file; its content comes with it.
    File,
    /// A directory.
    Directory,
    /// A link that stays inside, with what it names.
    Link(Utf8PathBuf),
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Plain names joined by `/`; the first is the top directory.
    pub path: Utf8PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Permissions, at most 0777.
    pub mode: u32,
    /// Seconds since the epoch.
    pub mtime: u64,
    /// Bytes of its content.
    pub size: u64,
}

/// What was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Members.
    pub members: u64,
    /// The comment of the archive as a whole (a global PAX record).
    pub comment: Option<String>,
}

/// Records that precede a member and speak about it.
#[derive(Default)]
struct Announced {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    mtime: Option<u64>,
    size: Option<u64>,
    sparse: Pax,
}

/// Gets a member, what is known of the archive so far, and the member's content.
pub type Visit<'a, E> = dyn FnMut(&Member, &Summary, &mut dyn Read) -> Result<(), E> + 'a;

/// Reads the stream to its end. `visit` gets each member with its content, of which it need not read anything, and the summary so
/// far. An error of `visit` ends the reading.
pub fn read<E: From<ArchiveError>>(
    input: impl Read,
    limits: Limits,
    visit: &mut Visit<'_, E>,
) -> Result<Summary, E> {
    let mut input = input;
    let mut summary = Summary::default();
    let mut declared = 0_u64;
    let mut records = 0_u64;
    let mut announced = Announced::default();
    let mut seen = Seen::default();
    let damaged = |e: io::Error, members: u64| E::from(damaged(e, members));
    while let Some(header) = header(&mut input).map_err(|e| damaged(e, summary.members))? {
        records += 1;
        if records > limits.members {
            return Err(
                ArchiveError::TooLarge(format!("archive has more than {} members", limits.members)).into()
            );
        }
        let size = header.entry_size().map_err(|e| damaged(e, summary.members))?;
        let mut claim = |bytes: u64| {
            declared = declared.saturating_add(bytes);
            if declared <= limits.total {
                return Ok(());
            }
            Err(ArchiveError::TooLarge(format!("archive holds more than {} MB", limits.total >> 20)))
        };
        claim(size)?;
        let kind = header.entry_type();
        let mut rest = input.by_ref().take(size);
        if is_record(kind) {
            let bytes = record(&mut rest, size).map_err(|e| damaged(e, summary.members))?;
            announced.take(kind, &bytes, &mut summary).map_err(E::from)?;
            fill(&mut input, size).map_err(|e| damaged(e, summary.members))?;
            continue;
        }
        let Announced { sparse, .. } = &mut announced;
        let sparse = std::mem::take(sparse);
        if let Some(name) = &sparse.name {
            announced.name = Some(name.clone());
        }
        let member = announced.member(&header, size)?;
        announced = Announced::default();
        summary.members += 1;
        let inner = |e: ArchiveError, members: u64| E::from(at_member(e, members));
        // Of a file with holes: where what is stored belongs.
        let (map, stored) = if kind.is_gnu_sparse() {
            // More of the map stands between the header and what is stored.
            let map = Map::old(&header, size, rest.into_inner()).map_err(|e| inner(e, summary.members))?;
            rest = input.by_ref().take(size);
            (Some(map), size)
        } else {
            match sparse.map(size, &mut rest).map_err(|e| inner(e, summary.members))? {
                Some((map, left)) => (Some(map), left),
                None => (None, size),
            }
        };
        if let Some(mut member) = member {
            seen.admit(&member)?;
            let mut content = Whole { left: stored, input: &mut rest };
            match map {
                Some(map) if member.kind == Kind::File => {
                    claim(map.size.saturating_sub(size))?;
                    member.size = map.size;
                    visit(&member, &summary, &mut Expanded::new(map, &mut content))?;
                }
                Some(_) => return Err(inner(not_a_file(&member), summary.members)),
                None => visit(&member, &summary, &mut content)?,
            }
            io::copy(&mut content, &mut io::sink()).map_err(|e| damaged(e, summary.members))?;
        }
        fill(&mut input, size).map_err(|e| damaged(e, summary.members))?;
    }
    padding(&mut input).map_err(|e| damaged(e, summary.members))?;
    Ok(summary)
}

fn not_a_file(member: &Member) -> ArchiveError {
    ArchiveError::NotAnArchive(format!(
        "member {} has holes and is no file",
        printable(member.path.as_str().as_bytes())
    ))
}

/// The next header; `None` at the end mark, which every archive has.
fn header(input: &mut impl Read) -> io::Result<Option<tar::Header>> {
    let mut header = tar::Header::new_old();
    let block = header.as_mut_bytes();
    let mut length = 0;
    while length < block.len() {
        match input.read(&mut block[length..]) {
            Ok(0) if length == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(0) => return Err(io::Error::other("a part of a block")),
            Ok(n) => length += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    if block.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let byte = |(at, byte): (usize, &u8)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) };
    let sum: u32 = block.iter().enumerate().map(byte).sum();
    if header.cksum()? != sum {
        return Err(io::Error::other("the checksum is wrong"));
    }
    Ok(Some(header))
}

/// What fills a member up to whole blocks.
fn fill(input: &mut impl Read, size: u64) -> io::Result<()> {
    let filling = (512 - size % 512) % 512;
    if io::copy(&mut input.take(filling), &mut io::sink())? < filling {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

fn is_record(kind: EntryType) -> bool {
    kind.is_gnu_longname()
        || kind.is_gnu_longlink()
        || kind.is_pax_local_extensions()
        || kind.is_pax_global_extensions()
}

/// The error of a stream, with the place where it was found.
fn damaged(e: io::Error, members: u64) -> ArchiveError {
    at_member(ArchiveError::from(e), members)
}

fn at_member(e: ArchiveError, members: u64) -> ArchiveError {
    match e {
        ArchiveError::NotAnArchive(what) if members > 0 => {
            ArchiveError::NotAnArchive(format!("{what} (damaged behind member {members})"))
        }
        other => other,
    }
}

/// A record's content, whole and bounded.
fn record(entry: &mut impl Read, size: u64) -> io::Result<Vec<u8>> {
    if size > MAX_RECORD {
        let why = format!("archive has a header of {size} bytes; at most {MAX_RECORD} are read");
        return Err(io::Error::other(ArchiveError::TooLarge(why)));
    }
    let mut bytes = Vec::new();
    Whole { left: size, input: entry }.read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Announced {
    fn take(&mut self, kind: EntryType, bytes: &[u8], summary: &mut Summary) -> Result<(), ArchiveError> {
        let until_nul = || bytes.split(|b| *b == 0).next().unwrap_or_default().to_vec();
        if kind.is_gnu_longname() {
            self.name = Some(until_nul());
            return Ok(());
        }
        if kind.is_gnu_longlink() {
            self.link = Some(until_nul());
            return Ok(());
        }
        let global = kind.is_pax_global_extensions();
        for extension in tar::PaxExtensions::new(bytes) {
            let broken = |_| ArchiveError::NotAnArchive("a PAX header is malformed".to_owned());
            let extension = extension.map_err(broken)?;
            let (key, value) = (extension.key_bytes(), extension.value_bytes());
            let number = || {
                let text = std::str::from_utf8(value).unwrap_or_default();
                let whole = text.split('.').next().unwrap_or_default();
                let negative = whole.starts_with('-');
                if negative { Some(0) } else { whole.parse::<u64>().ok() }
            };
            match key {
                b"comment" if global => summary.comment = Some(printable(value)),
                // What changes the shape of every member that follows belongs in no profile.
                b"path" | b"linkpath" | b"size" if global => {
                    return Err(ArchiveError::NotAnArchive(
                        "a global header renames or resizes members".to_owned(),
                    ));
                }
                b"path" => self.name = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"mtime" => self.mtime = number(),
                b"size" => self.size = Some(number().unwrap_or(u64::MAX)),
                sparse if !global && let Some(key) = sparse.strip_prefix(b"GNU.sparse.") => {
                    self.sparse.record(key, value)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The member that a header and what was announced describe. `None`: it is the place of the archive itself (`./`).
    fn member(&self, header: &tar::Header, size: u64) -> Result<Option<Member>, ArchiveError> {
        let raw = self.name.clone().unwrap_or_else(|| header.path_bytes().into_owned());
        let name = || printable(&raw);
        if self.size.is_some_and(|announced| announced != size) {
            return Err(ArchiveError::NotAnArchive(format!("member {} has two sizes", name())));
        }
        let unsafe_path = || ArchiveError::UnsafePath(name());
        let path = member_path(&raw).ok_or_else(unsafe_path)?;
        let unsupported = |what: &str| ArchiveError::UnsupportedType { name: name(), what: what.to_owned() };
        // Old archives mark a directory by its name alone.
        let by_name = raw.ends_with(b"/");
        let kind = match header.entry_type() {
            EntryType::Regular | EntryType::Continuous if by_name => Kind::Directory,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => {
                let target =
                    self.link.clone().or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
                let target = target.unwrap_or_default();
                let inside = link_stays_inside(&path, &target);
                let why = || format!("a link that leads out of the profile (to `{}`)", printable(&target));
                Kind::Link(inside.ok_or_else(|| unsupported(&why()))?)
            }
            EntryType::Link => return Err(unsupported("a hard link")),
            EntryType::Char | EntryType::Block => return Err(unsupported("a device")),
            EntryType::Fifo => return Err(unsupported("a FIFO")),
            other => {
                return Err(unsupported(&format!("an entry of type `{}`", printable(&[other.as_byte()]))));
            }
        };
        if kind != Kind::File && size != 0 {
            return Err(ArchiveError::NotAnArchive(format!("member {} has content and is no file", name())));
        }
        if path.as_str().is_empty() {
            return if kind == Kind::Directory { Ok(None) } else { Err(unsafe_path()) };
        }
        if path.as_str().len() > MAX_PATH {
            return Err(unsafe_path());
        }
        Ok(Some(Member {
            path,
            kind,
            mode: header.mode().unwrap_or(0o600) & 0o777,
            mtime: self.mtime.or_else(|| header.mtime().ok()).unwrap_or(0),
            size,
        }))
    }
}

/// What stands at each path so far.
#[derive(Default)]
struct Seen(HashMap<Utf8PathBuf, bool>);

impl Seen {
    /// Refuses a second member of one name, and one whose parent is not a directory.
    fn admit(&mut self, member: &Member) -> Result<(), ArchiveError> {
        let directory = member.kind == Kind::Directory;
        for parent in member.path.ancestors().skip(1).filter(|parent| !parent.as_str().is_empty()) {
            match self.0.get(parent) {
                Some(true) => break,
                Some(false) => {
                    return Err(ArchiveError::UnsafePath(printable(member.path.as_str().as_bytes())));
                }
                None => self.0.insert(parent.to_owned(), true),
            };
        }
        match self.0.insert(member.path.clone(), directory) {
            Some(before) if !(before && directory) => {
                Err(ArchiveError::Duplicate(printable(Utf8Path::as_str(&member.path).as_bytes())))
            }
            _ => Ok(()),
        }
    }
}

/// Content that has exactly the length it was said to have.
struct Whole<'a, R> {
    left: u64,
    input: &'a mut R,
}

impl<R: Read> Read for Whole<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buffer)?;
        if n == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left = self.left.saturating_sub(n as u64);
        Ok(n)
    }
}

/// Behind the end mark there are zeros, and then the end, with a checksum where the format has one.
fn padding(rest: &mut impl Read) -> io::Result<()> {
    let mut buffer = [0; 8192];
    let mut length = 0;
    loop {
        let n = rest.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        length += n as u64;
        if length > MAX_PADDING || buffer[..n].iter().any(|byte| *byte != 0) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "there is data behind its end"));
        }
    }
}

#[cfg(test)]
#[path = "read/tests.rs"]
mod tests;
