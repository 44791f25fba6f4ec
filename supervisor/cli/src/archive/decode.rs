//! From bytes of a file to bytes of a tar stream: the format is seen from its first bytes, and what comes out is held against
//! what went in.

use std::io::{self, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, sync_channel};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::{ArchiveError, Limits};

/// Largest window of a zstd frame: what `zstd --long=27` and `--ultra -22` write.
const WINDOW: u64 = 128 << 20;
/// Bytes that are read, and handed between threads, at a time.
const CHUNK: usize = 256 << 10;
/// Chunks that wait between the threads.
const QUEUE: usize = 8;

/// What a file is, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// gzip, of one member or several.
    Gzip,
    /// zstd, of one frame or several.
    Zstd,
    /// tar as it is.
    Tar,
}

impl Format {
    /// By the first 512 bytes, or all there are.
    pub fn detect(start: &[u8]) -> Option<Self> {
        match start {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            block if block.len() == 512 && is_header(block) => Some(Self::Tar),
            _ => None,
        }
    }
}

/// A header whose checksum is right, or the end mark of an empty archive.
fn is_header(block: &[u8]) -> bool {
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
        .sum();
    let mut header = tar::Header::new_old();
    header.as_mut_bytes().copy_from_slice(block);
    block.iter().all(|byte| *byte == 0) || header.cksum().is_ok_and(|stored| stored == sum)
}

/// Opens a stream. What is read from the result is the tar stream; an error of kind `Other` holds an [`ArchiveError`].
pub fn decode<R: Read>(mut input: R, limits: Limits) -> Result<Decoded<impl Read + use<R>>, ArchiveError> {
    let mut start = Vec::with_capacity(512);
    input.by_ref().take(512).read_to_end(&mut start)?;
    let format = Format::detect(&start).ok_or_else(|| {
        ArchiveError::NotAnArchive(
            if start.is_empty() { "it is empty" } else { "it is neither gzip, zstd nor tar" }.to_owned(),
        )
    })?;
    let taken = Arc::new(AtomicU64::new(0));
    let counted = Counted { input: io::Cursor::new(start).chain(input), taken: Arc::clone(&taken) };
    let buffered = BufReader::with_capacity(CHUNK, counted);
    let stream = match format {
        Format::Gzip => Stream::Gzip(Box::new(MultiGzDecoder::new(buffered))),
        Format::Zstd => Stream::Zstd(Box::new(Zstd::new(buffered))),
        Format::Tar => Stream::Tar(buffered),
    };
    Ok(Decoded { stream, format, taken, given: 0, limits })
}

/// Counts what was taken from the file.
struct Counted<R> {
    input: R,
    taken: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buffer)?;
        self.taken.fetch_add(n as u64, Relaxed);
        Ok(n)
    }
}

enum Stream<R: Read> {
    Gzip(Box<MultiGzDecoder<BufReader<R>>>),
    Zstd(Box<Zstd<BufReader<R>>>),
    Tar(BufReader<R>),
}

impl<R: Read> Read for Stream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(stream) => stream.read(buffer),
            Self::Zstd(stream) => stream.read(buffer),
            Self::Tar(stream) => stream.read(buffer),
        }
    }
}

/// A tar stream, within its limits.
pub struct Decoded<R> {
    stream: R,
    /// What the file is.
    pub format: Format,
    /// Bytes of the file that were read; what a progress shows.
    pub taken: Arc<AtomicU64>,
    given: u64,
    limits: Limits,
}

impl<R: Read> Read for Decoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.stream.read(buffer)?;
        self.given += n as u64;
        let refused = |why: String| Err(io::Error::other(ArchiveError::TooLarge(why)));
        if self.given > self.limits.total {
            return refused(format!("archive holds more than {} MB", self.limits.total >> 20));
        }
        let allowed =
            self.taken.load(Relaxed).saturating_mul(self.limits.ratio).saturating_add(self.limits.free);
        if self.format != Format::Tar && self.given > allowed {
            return refused(format!(
                "archive unpacks to more than {} times its size; this looks like a decompression bomb",
                self.limits.ratio
            ));
        }
        Ok(n)
    }
}

/// zstd frames one behind the other, skippable ones skipped, checksums compared.
struct Zstd<R> {
    source: R,
    frame: FrameDecoder,
    open: bool,
}

impl<R: io::BufRead> Zstd<R> {
    fn new(source: R) -> Self {
        let mut frame = FrameDecoder::new();
        frame.set_max_window_size(WINDOW);
        Self { source, frame, open: false }
    }

    /// Opens the next frame. `false`: there is none.
    fn next(&mut self) -> io::Result<bool> {
        loop {
            if self.source.fill_buf()?.is_empty() {
                return Ok(false);
            }
            match self.frame.reset(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let skipped = io::copy(&mut self.source.by_ref().take(length.into()), &mut io::sink())?;
                    if skipped < u64::from(length) {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(_) => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "a zstd frame in it is damaged"));
                }
            }
        }
    }
}

impl<R: io::BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.open {
                self.open = self.next()?;
                if !self.open {
                    return Ok(0);
                }
            }
            if self.frame.can_collect() > 0 {
                return self.frame.read(buffer);
            }
            if self.frame.is_finished() {
                let stored = self.frame.get_checksum_from_data();
                if stored.is_some() && stored != self.frame.get_calculated_checksum() {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "the checksum is wrong"));
                }
                self.open = false;
                continue;
            }
            self.frame
                .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a zstd frame in it is damaged"))?;
        }
    }
}

/// Reads ahead in a thread of its own, so that decompressing and writing files go on at the same time.
pub struct Pipelined {
    chunks: Receiver<io::Result<Vec<u8>>>,
    chunk: io::Cursor<Vec<u8>>,
    ended: bool,
}

impl Pipelined {
    /// The thread ends with the stream, with an error, or soon after this value is dropped; `scope` waits for it.
    pub fn new<'scope, 'env, R: Read + Send + 'scope>(
        scope: &'scope std::thread::Scope<'scope, 'env>,
        mut input: R,
    ) -> io::Result<Self> {
        let (sender, chunks) = sync_channel(QUEUE);
        std::thread::Builder::new().spawn_scoped(scope, move || {
            loop {
                let mut chunk = Vec::with_capacity(CHUNK);
                let read = input.by_ref().take(CHUNK as u64).read_to_end(&mut chunk);
                // What came before an error is passed on before it.
                let ended = read.is_err() || chunk.is_empty();
                if !chunk.is_empty() && sender.send(Ok(chunk)).is_err() {
                    return;
                }
                if ended {
                    if let Err(e) = read {
                        let _ = sender.send(Err(e));
                    }
                    return;
                }
            }
        })?;
        Ok(Self { chunks, chunk: io::Cursor::default(), ended: false })
    }
}

impl Read for Pipelined {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let n = self.chunk.read(buffer)?;
            if n > 0 || self.ended || buffer.is_empty() {
                return Ok(n);
            }
            match self.chunks.recv() {
                Ok(chunk) => self.chunk = io::Cursor::new(chunk?),
                Err(_) => self.ended = true,
            }
        }
    }
}
