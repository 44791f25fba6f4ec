//! Archives as somebody hostile, or another program, makes them.

use std::io::Write as _;

use tar::{EntryType, Header};

/// A tar stream, member by member, with nothing checked.
#[derive(Debug, Default, Clone)]
pub struct Tar(Vec<u8>);

impl Tar {
    /// Adds a member; names and links of at most 100 bytes.
    #[must_use]
    pub fn add(mut self, name: &[u8], kind: EntryType, link: &[u8], mode: u32, content: &[u8]) -> Self {
        self.header(name, kind, link, mode, content.len() as u64);
        self.0.extend_from_slice(content);
        let full = self.0.len().div_ceil(512) * 512;
        self.0.resize(full, 0);
        self
    }

    fn header(&mut self, name: &[u8], kind: EntryType, link: &[u8], mode: u32, size: u64) {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(1_700_000_000);
        header.set_size(size);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
    }

    /// Adds a plain file.
    #[must_use]
    pub fn file(self, name: &str, content: &str) -> Self {
        self.add(name.as_bytes(), EntryType::Regular, b"", 0o644, content.as_bytes())
    }

    /// Adds a link.
    #[must_use]
    pub fn link(self, name: &str, target: &str) -> Self {
        self.add(name.as_bytes(), EntryType::Symlink, target.as_bytes(), 0o777, b"")
    }

    /// Adds the header of a file that is said to have this size.
    #[must_use]
    pub fn claim(mut self, name: &str, size: u64) -> Self {
        self.header(name.as_bytes(), EntryType::Regular, b"", 0o644, size);
        self
    }

    /// The stream with its end mark.
    pub fn end(&self) -> Vec<u8> {
        [&self.0[..], &[0; 1024]].concat()
    }

    /// The same as gzip.
    pub fn gz(&self) -> Vec<u8> {
        gz(&self.end())
    }
}

/// Bytes as gzip.
pub fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    to.write_all(bytes).unwrap();
    to.finish().unwrap()
}

/// Every byte that is in a gzip file.
pub fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(bytes), &mut all).unwrap();
    all
}

/// Names of the members, in order, with a `/` behind directories and `-> target` behind links.
pub fn names(bytes: &[u8]) -> Vec<String> {
    let bytes = gunzip(bytes);
    let mut archive = tar::Archive::new(&bytes[..]);
    let entries = archive.entries().unwrap();
    entries
        .map(Result::unwrap)
        .filter(|entry| !entry.header().entry_type().is_pax_global_extensions())
        .map(|entry| {
            let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            match entry.link_name_bytes() {
                Some(to) => format!("{name} -> {}", String::from_utf8_lossy(&to)),
                None => name,
            }
        })
        .collect()
}
