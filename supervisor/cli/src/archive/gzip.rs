//! gzip on every core, with the same bytes whatever their number.
//!
//! The input is cut into blocks of a fixed length. Each is compressed on its own and ends at a byte boundary, so that the
//! results, put one behind the other, are one deflate stream: an ordinary gzip file of one member, which every reader takes.
//! Blocks go round robin, each worker has a queue in and a queue out of its own, so order needs no sorting and memory is bounded.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

/// Bytes that are compressed as one; a window of 32 KiB is lost at each boundary, which costs less than 1 %.
const BLOCK: usize = 512 << 10;
/// Blocks that wait for each worker, and results that wait behind it.
const QUEUE: usize = 2;
/// gzip's default.
const LEVEL: u32 = 6;
/// Deflate, no name, no time, system unknown.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// An empty last block.
const LAST: [u8; 2] = [3, 0];

struct Block {
    bytes: Vec<u8>,
    crc: Crc,
    length: usize,
}

/// Has `body` write, and writes what it wrote, compressed, to `output`. The error of `body` comes first, unless it came from here.
pub fn compress<W, T, E>(
    output: W,
    threads: usize,
    body: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<(W, T), E>
where
    W: Write + Send,
    E: From<io::Error>,
{
    let threads = threads.clamp(1, 16);
    std::thread::scope(|scope| {
        let mut inputs = Vec::with_capacity(threads);
        let mut outputs = Vec::with_capacity(threads);
        for _ in 0..threads {
            let (to_worker, from_caller) = sync_channel::<Vec<u8>>(QUEUE);
            let (to_writer, from_worker) = sync_channel::<Block>(QUEUE);
            let thread = std::thread::Builder::new();
            match thread.spawn_scoped(scope, move || work(&from_caller, &to_writer)) {
                Ok(_) => {}
                // Fewer are slower.
                Err(_) if !inputs.is_empty() => break,
                Err(e) => return Err(e.into()),
            }
            inputs.push(to_worker);
            outputs.push(from_worker);
        }
        let writer = std::thread::Builder::new().spawn_scoped(scope, move || collect(output, &outputs))?;
        let mut cutter = Cutter { buffer: Vec::with_capacity(BLOCK), inputs, next: 0 };
        let done = body(&mut cutter);
        let cut = done.is_ok().then(|| cutter.send());
        drop(cutter);
        let written = writer.join().unwrap_or_else(|_| Err(io::Error::other("compressing failed")));
        match (done, written, cut) {
            (Ok(done), Ok(output), Some(Ok(()))) => Ok((output, done)),
            // Where the file could not be written, the body only saw that nobody took its bytes.
            (_, Err(e), _) | (Ok(_), _, Some(Err(e))) => Err(e.into()),
            (Err(e), ..) => Err(e),
            (Ok(_), _, None) => Err(io::Error::other("compressing failed").into()),
        }
    })
}

/// Cuts what is written into blocks.
struct Cutter {
    buffer: Vec<u8>,
    inputs: Vec<SyncSender<Vec<u8>>>,
    next: usize,
}

impl Cutter {
    fn send(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let block = std::mem::replace(&mut self.buffer, Vec::with_capacity(BLOCK));
        let worker = &self.inputs[self.next % self.inputs.len()];
        self.next += 1;
        worker.send(block).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Cutter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BLOCK - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == BLOCK {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Compresses until there is nothing more, or nobody takes it.
fn work(blocks: &Receiver<Vec<u8>>, results: &SyncSender<Block>) {
    let mut deflate = Compress::new(Compression::new(LEVEL), false);
    for block in blocks {
        let mut crc = Crc::new();
        crc.update(&block);
        deflate.reset();
        let Some(bytes) = deflate_block(&mut deflate, &block) else { return };
        if results.send(Block { bytes, crc, length: block.len() }).is_err() {
            return;
        }
    }
}

fn deflate_block(deflate: &mut Compress, block: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(block.len() / 2 + 4096);
    loop {
        let taken = usize::try_from(deflate.total_in()).ok()?;
        let status = deflate.compress_vec(&block[taken..], &mut out, FlushCompress::Sync).ok()?;
        // Flushed is what leaves room behind it.
        if deflate.total_in() == block.len() as u64 && out.len() < out.capacity() {
            return (status != Status::StreamEnd).then_some(out);
        }
        out.reserve(block.len() / 4 + 4096);
    }
}

/// Writes the results in the order of the blocks.
fn collect<W: Write>(mut output: W, results: &[Receiver<Block>]) -> io::Result<W> {
    output.write_all(&HEADER)?;
    let mut crc = Crc::new();
    let mut length = 0_u64;
    for from in results.iter().cycle() {
        let Ok(block) = from.recv() else { break };
        output.write_all(&block.bytes)?;
        crc.combine(&block.crc);
        length += block.length as u64;
    }
    output.write_all(&LAST)?;
    output.write_all(&crc.sum().to_le_bytes())?;
    let short = u32::try_from(length & u64::from(u32::MAX)).unwrap_or_default();
    output.write_all(&short.to_le_bytes())?;
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn gzip(data: &[u8], threads: usize) -> Vec<u8> {
        let write = |to: &mut dyn Write| data.chunks(70_001).try_for_each(|chunk| to.write_all(chunk));
        compress(Vec::new(), threads, write).unwrap().0
    }

    #[test]
    fn the_bytes_do_not_depend_on_the_threads_and_every_reader_takes_them() {
        // Compressible, not compressible, and none at all.
        let mut noise = 12_345_u32;
        let noise: Vec<u8> = (0..3_000_000)
            .map(|_| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                noise.to_le_bytes()[3]
            })
            .collect();
        let text = "all work and no play ".repeat(150_000).into_bytes();
        for data in [&noise[..], &text, &[], &text[..BLOCK], &noise[..=BLOCK]] {
            let one = gzip(data, 1);
            for threads in [2, 3, 8] {
                assert_eq!(gzip(data, threads), one);
            }
            let mut back = Vec::new();
            flate2::read::GzDecoder::new(&one[..]).read_to_end(&mut back).unwrap();
            assert!(back == data);
        }
    }

    #[test]
    fn a_full_disk_is_an_error_and_no_hang() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let body = |to: &mut dyn Write| {
            (0..200_000_u32).try_for_each(|n| to.write_all(&n.to_string().repeat(20).into_bytes()))
        };
        let failed = compress::<_, _, io::Error>(Full(10_000), 2, body).map(|_| ()).unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::StorageFull);
        let failed = compress::<_, (), io::Error>(Full(1 << 30), 2, |_| Err(io::ErrorKind::NotFound.into()));
        assert_eq!(failed.map(|_| ()).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
