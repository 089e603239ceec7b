//! The content of a file in whole lines: as it lies there, unpacked, or as it comes through a pipe.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;

use super::position::HEAD_BYTES;

/// What compressed files are called.
pub(super) const PACKED: [&str; 3] = ["gz", "zst", "zstd"];

/// So much is read at a time.
const BLOCK_BYTES: usize = 256 * 1024;

/// Blocks of standard input that wait to be read.
const PIPED_BLOCKS: usize = 4;

/// Where the bytes of a file come from.
pub(super) enum Content {
    /// A file as it lies there, which may grow.
    Plain(File),
    /// A compressed one, which does not, or an object that was fetched; with what was read beyond the last whole line.
    Packed(Box<dyn Read + Send>, Vec<u8>),
    /// Standard input, likewise.
    Piped(Receiver<io::Result<Vec<u8>>>, Vec<u8>),
    /// A table that is read as a whole.
    Table(File, Table),
    /// One that was fetched, and is whole.
    Fetched(Bytes, Table),
}

/// What kind of table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Csv,
    Parquet,
}

/// What a read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// Whole lines are in the buffer.
    Lines,
    /// No whole line now; there may be one later.
    NoneYet,
    /// No more will come; in the buffer is what stands behind the last line feed, if anything.
    End,
    /// The buffer holds as much as a line may be long, and no line feed.
    TooLong,
}

impl Content {
    /// The content of a file, by its first bytes, and those of the content.
    ///
    /// # Errors
    /// One that `path` says is compressed and that has no first bytes yet is being written.
    pub(super) fn open(path: &Path, is_csv: bool) -> io::Result<(Self, Vec<u8>)> {
        let file = File::open(path)?;
        let mut start = [0; 4];
        let n_read = read_up_to(&mut (&file).take(4), &mut start)?;
        (&file).seek(SeekFrom::Start(0))?;
        if n_read < start.len() && is_packed(path) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let unpacked = unpacked(&start[..n_read], || file.try_clone())?;
        let mut head = vec![0; HEAD_BYTES];
        let Some(mut reader) = unpacked else {
            let n_read = file.read_at(&mut head, 0)?;
            head.truncate(n_read);
            let content = match &start[..n_read.min(4)] {
                b"PAR1" => Self::Table(file, Table::Parquet),
                _ if is_csv => Self::Table(file, Table::Csv),
                _ => Self::Plain(file),
            };
            return Ok((content, head));
        };
        let mut n_read = 0;
        // Where that is all of it, it has to be whole: a part of a beginning tells no file from others.
        loop {
            match read_up_to(&mut reader, &mut head[n_read..])? {
                0 => break,
                n => n_read += n,
            }
        }
        head.truncate(n_read);
        Ok((Self::Packed(reader, head.clone()), head))
    }

    /// The content of an object that was fetched.
    pub(super) fn fetched(bytes: Bytes, is_csv: bool) -> io::Result<Self> {
        let start = &bytes[..bytes.len().min(4)];
        if let Some(unpacked) = unpacked(start, || Ok(io::Cursor::new(bytes.clone())))? {
            return Ok(Self::Packed(unpacked, Vec::new()));
        }
        Ok(match start {
            b"PAR1" => Self::Fetched(bytes, Table::Parquet),
            _ if is_csv => Self::Fetched(bytes, Table::Csv),
            _ => Self::Packed(Box::new(io::Cursor::new(bytes)), Vec::new()),
        })
    }

    /// Standard input, read by a thread of its own: it may be silent for ever, and other files wait for nobody.
    pub(super) fn stdin() -> Self {
        let (blocks, piped) = sync_channel(PIPED_BLOCKS);
        std::thread::spawn(move || {
            let mut stdin = io::stdin().lock();
            loop {
                let mut block = vec![0; BLOCK_BYTES];
                let read = stdin.read(&mut block).map(|n_read| {
                    block.truncate(n_read);
                    block
                });
                let is_end = read.as_ref().is_ok_and(Vec::is_empty) || read.is_err();
                if blocks.send(read).is_err() || is_end {
                    return;
                }
            }
        });
        Self::Piped(piped, Vec::new())
    }

    /// Passes over what was read in an earlier life. Whether there was as much.
    pub(super) fn skip(&mut self, n_bytes: u64) -> io::Result<bool> {
        match self {
            Self::Plain(file) => Ok(file.metadata()?.len() >= n_bytes),
            Self::Packed(reader, rest) => {
                let of_rest = usize::try_from(n_bytes).unwrap_or(usize::MAX).min(rest.len());
                rest.drain(..of_rest);
                let left = n_bytes - of_rest as u64;
                Ok(io::copy(&mut reader.by_ref().take(left), &mut io::sink())? == left)
            }
            Self::Piped(..) => Ok(n_bytes == 0),
            Self::Table(..) | Self::Fetched(..) => Ok(true),
        }
    }

    /// The first bytes of a file that may be another one by now.
    pub(super) fn head(&self) -> io::Result<Option<Vec<u8>>> {
        let Self::Plain(file) = self else { return Ok(None) };
        let mut head = vec![0; HEAD_BYTES];
        let n_read = file.read_at(&mut head, 0)?;
        head.truncate(n_read);
        Ok(Some(head))
    }

    /// What is known of the file, where it may change.
    pub(super) fn metadata(&self) -> io::Result<Option<Metadata>> {
        match self {
            Self::Plain(file) | Self::Table(file, _) => file.metadata().map(Some),
            Self::Packed(..) | Self::Piped(..) | Self::Fetched(..) => Ok(None),
        }
    }

    /// Whether no path leads to it any more.
    pub(super) fn is_unlinked(&self) -> bool {
        !matches!(self.metadata(), Ok(Some(metadata)) if metadata.nlink() > 0)
    }

    /// Reads whole lines from `offset` on, at least one, until `buffer` holds `max_line` bytes without a line feed.
    pub(super) fn read(&mut self, offset: u64, max_line: usize, buffer: &mut Vec<u8>) -> io::Result<Block> {
        buffer.clear();
        if let Self::Packed(_, rest) | Self::Piped(_, rest) = self {
            std::mem::swap(rest, buffer);
        }
        let mut searched = 0;
        loop {
            if let Some(end) = memchr::memrchr(b'\n', &buffer[searched..]) {
                let end = searched + end + 1;
                if let Self::Packed(_, rest) | Self::Piped(_, rest) = self {
                    rest.extend_from_slice(&buffer[end..]);
                }
                buffer.truncate(end);
                return Ok(Block::Lines);
            }
            if buffer.len() > max_line {
                return Ok(Block::TooLong);
            }
            searched = buffer.len();
            match self.more(offset, buffer)? {
                More::Some => (),
                More::NoneYet => {
                    if let Self::Packed(_, rest) | Self::Piped(_, rest) = self {
                        std::mem::swap(rest, buffer);
                    }
                    return Ok(Block::NoneYet);
                }
                More::End => return Ok(Block::End),
            }
        }
    }

    fn more(&mut self, offset: u64, buffer: &mut Vec<u8>) -> io::Result<More> {
        let before = buffer.len();
        match self {
            Self::Plain(file) => {
                buffer.resize(before + BLOCK_BYTES, 0);
                let n_read = file.read_at(&mut buffer[before..], offset + before as u64)?;
                buffer.truncate(before + n_read);
                Ok(if n_read == 0 { More::NoneYet } else { More::Some })
            }
            Self::Packed(reader, _) => {
                buffer.resize(before + BLOCK_BYTES, 0);
                let n_read = read_up_to(reader, &mut buffer[before..])?;
                buffer.truncate(before + n_read);
                Ok(if n_read == 0 { More::End } else { More::Some })
            }
            Self::Table(..) | Self::Fetched(..) => Ok(More::End),
            Self::Piped(piped, _) => match piped.try_recv() {
                Err(TryRecvError::Empty) => Ok(More::NoneYet),
                Err(TryRecvError::Disconnected) => Ok(More::End),
                Ok(block) => {
                    buffer.extend_from_slice(&block?);
                    Ok(if buffer.len() == before { More::End } else { More::Some })
                }
            },
        }
    }
}

/// What is compressed, by the first bytes of it, unpacked.
fn unpacked<R: Read + Send + 'static>(
    start: &[u8],
    packed: impl FnOnce() -> io::Result<R>,
) -> io::Result<Option<Box<dyn Read + Send>>> {
    Ok(match start {
        [0x1f, 0x8b, ..] => Some(Box::new(MultiGzDecoder::new(io::BufReader::new(packed()?)))),
        [0x28, 0xb5, 0x2f, 0xfd] => Some(Box::new(zstd::Decoder::new(packed()?)?)),
        _ => None,
    })
}

enum More {
    Some,
    NoneYet,
    End,
}

/// Whether a file is compressed by its name.
pub(super) fn is_packed(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| PACKED.iter().any(|packed| extension.eq_ignore_ascii_case(packed)))
}

/// Fills `into` unless the end comes first, or an error, which comes again at the next call if there is something before it.
fn read_up_to(reader: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut n_read = 0;
    while n_read < into.len() {
        match reader.read(&mut into[n_read..]) {
            Ok(0) => break,
            Ok(n) => n_read += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) if n_read == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(n_read)
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain",
            Self::Packed(..) => "Packed",
            Self::Piped(..) => "Piped",
            Self::Table(..) => "Table",
            Self::Fetched(..) => "Fetched",
        })
    }
}
