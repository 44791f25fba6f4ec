//! A tar stream that says of its members only what belongs to their content: no owner, no group, no time of its own.

use std::io::{self, Read, Write};

use camino::Utf8Path;
use tar::{EntryType, Header};

/// Writes members in the order in which they are given.
pub struct Writer<W: Write>(tar::Builder<W>);

impl<W: Write> Writer<W> {
    /// A stream to `output`, with a comment that speaks about all of it.
    pub fn new(output: W, comment: Option<&str>) -> io::Result<Self> {
        let mut builder = tar::Builder::new(output);
        if let Some(comment) = comment {
            let record = pax_record("comment", comment);
            let mut header = header(EntryType::XGlobalHeader, 0o644, 0, record.len() as u64);
            header.set_path("pax_global_header")?;
            header.set_cksum();
            builder.append(&header, record.as_bytes())?;
        }
        Ok(Self(builder))
    }

    /// A directory.
    pub fn directory(&mut self, path: &Utf8Path, mode: u32, mtime: u64) -> io::Result<()> {
        let mut header = header(EntryType::Directory, mode, mtime, 0);
        self.0.append_data(&mut header, format!("{path}/"), io::empty())
    }

    /// A link.
    pub fn link(&mut self, path: &Utf8Path, target: &Utf8Path, mtime: u64) -> io::Result<()> {
        let mut header = header(EntryType::Symlink, 0o777, mtime, 0);
        self.0.append_link(&mut header, path, target)
    }

    /// A file of exactly `size` bytes; fewer in `content` are an error.
    pub fn file(
        &mut self,
        path: &Utf8Path,
        mode: u32,
        mtime: u64,
        size: u64,
        content: impl Read,
    ) -> io::Result<()> {
        let mut header = header(EntryType::Regular, mode, mtime, size);
        let mut content = Exactly { left: size, content };
        self.0.append_data(&mut header, path, &mut content)?;
        if content.left > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter while it was read"));
        }
        Ok(())
    }

    /// Writes the end mark.
    pub fn finish(self) -> io::Result<()> {
        self.0.into_inner().map(|_| ())
    }
}

fn header(kind: EntryType, mode: u32, mtime: u64, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode & 0o777);
    header.set_mtime(mtime);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header
}

/// `LENGTH KEY=VALUE\n`, the length of its own digits included.
fn pax_record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len() + 1;
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    format!("{length}{rest}")
}

/// The first `left` bytes of something that may be growing.
struct Exactly<R> {
    left: u64,
    content: R,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(buffer.len()).min(buffer.len());
        let n = self.content.read(&mut buffer[..room])?;
        self.left -= n as u64;
        Ok(n)
    }
}
