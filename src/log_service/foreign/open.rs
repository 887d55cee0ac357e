//! Opening a log: a file or stdin, as it is or compressed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

const BUFFER: usize = 256 << 10;

/// Opens a file, or stdin for `-`. What is compressed with gzip or zstd (told by its first bytes, whatever the name
/// says) is decompressed while it is read. `progress` is given the bytes of the file that were read, as they are.
pub fn open(path: &Path, progress: impl FnMut(u64) + 'static) -> io::Result<Box<dyn BufRead>> {
    let raw: Box<dyn Read> =
        if path == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(path)?) };
    let mut input = BufReader::with_capacity(BUFFER, Counted { input: raw, progress });
    // A pipe may give less than asked for, but never nothing before its end.
    let magic = input.fill_buf()?;
    Ok(if magic.starts_with(&[0x1f, 0x8b]) {
        Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(input)))
    } else if magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Box::new(BufReader::with_capacity(BUFFER, zstd::Decoder::with_buffer(input)?))
    } else {
        Box::new(input)
    })
}

struct Counted<F> {
    input: Box<dyn Read>,
    progress: F,
}

impl<F: FnMut(u64)> Read for Counted<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        (self.progress)(read as u64);
        Ok(read)
    }
}
