//! Files and what they divide into: units small enough to hold, the same whatever machine reads them.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use arrow_schema::SchemaRef;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use sha2::{Digest, Sha256};

use super::{Progress, TableError};
use crate::storage::{Downloaded, Location, Settings};

/// A text file is read in blocks of this many bytes, or of one record where that is longer.
const BLOCK_BYTES: usize = 8 << 20;

/// A stream is read in pieces of up to this many bytes.
const STREAM_BYTES: usize = 1 << 20;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum InputFormat {
    /// Comma-separated, a header on top, quotes as in RFC 4180.
    Csv,
    /// Apache Parquet.
    Parquet,
    /// A JSON object a line.
    Jsonl,
}

impl InputFormat {
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" => Some(Self::Csv),
            "parquet" | "pq" => Some(Self::Parquet),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            _ => None,
        }
    }
}

/// What to do with standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stdin {
    /// Put it into a temporary file, to be read more than once.
    Spool,
    /// Read it as it comes.
    Stream,
}

/// One file of the input.
#[derive(Debug)]
pub(crate) struct Input {
    /// As the user named it.
    pub(crate) uri: String,
    /// Where its bytes are: elsewhere for standard input that is spooled, nowhere for one that is not.
    pub(crate) path: PathBuf,
    is_stream: bool,
    pub(crate) format: InputFormat,
    pub(crate) n_bytes: u64,
}

/// The files, and what keeps those alive that we made.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) files: Vec<Input>,
    _spool: Option<tempfile::NamedTempFile>,
    _downloads: Vec<Downloaded>,
}

impl Inputs {
    /// Finds the files that `names` stand for: paths and URIs, patterns of either, `-` for standard input, which holds
    /// `stdin_format` unless `format` says otherwise. What is on the network is fetched first, as it is read more than once
    /// and in more than one place; `progress` hears of it.
    pub(crate) fn find(
        names: &[String],
        format: Option<InputFormat>,
        (stdin, stdin_format): (Stdin, InputFormat),
        progress: Progress<'_>,
    ) -> Result<Self, TableError> {
        let (mut files, mut spool, mut downloads) = (Vec::new(), None, Vec::new());
        for name in names {
            if name == "-" {
                let format = format.unwrap_or(stdin_format);
                // The columns of a CSV file are on top, those of a Parquet file at the end: both are read before the rows.
                if stdin == Stdin::Stream && format == InputFormat::Jsonl {
                    files.push(Input {
                        uri: name.clone(),
                        path: PathBuf::new(),
                        is_stream: true,
                        format,
                        n_bytes: 0,
                    });
                    continue;
                }
                let file = spool_stdin().map_err(|source| TableError::Read { path: "-".into(), source })?;
                let path = file.path().to_owned();
                files.push(Input::open("-".to_owned(), path, Some(format))?);
                spool = Some(file);
                continue;
            }
            let location = Location::parse(name)?;
            if let Some(path) = location.local_path() {
                for path in expand(path)? {
                    files.push(Input::open(path.display().to_string(), path, format)?);
                }
                continue;
            }
            let settings = Settings::from_env();
            for location in location.list(&settings)? {
                let uri = location.to_string();
                // Better now than after an hour of downloading.
                let format = format.or_else(|| InputFormat::of(Path::new(location.file_name())));
                let format = format.ok_or_else(|| TableError::UnknownFormat { path: PathBuf::from(&uri) })?;
                let downloaded = location.download(&settings, progress)?;
                files.push(Input::open(uri, downloaded.path().to_owned(), Some(format))?);
                downloads.push(downloaded);
            }
        }
        Ok(Self { files, _spool: spool, _downloads: downloads })
    }
}

impl Input {
    fn open(uri: String, path: PathBuf, format: Option<InputFormat>) -> Result<Self, TableError> {
        let format = format.or_else(|| InputFormat::of(&path));
        let metadata =
            std::fs::metadata(&path).map_err(|source| TableError::Read { path: path.clone(), source })?;
        if metadata.is_dir() {
            return Err(TableError::Folder { path });
        }
        let format = format.ok_or_else(|| TableError::UnknownFormat { path: path.clone() })?;
        Ok(Self { uri, path, is_stream: false, format, n_bytes: metadata.len() })
    }

    /// Whether it is read as it comes.
    pub(crate) fn is_stream(&self) -> bool {
        self.is_stream
    }

    /// The name for messages.
    pub(crate) fn name(&self) -> PathBuf {
        PathBuf::from(&self.uri)
    }

    pub(crate) fn read_error(&self, source: io::Error) -> TableError {
        TableError::Read { path: self.name(), source }
    }

    pub(crate) fn parquet_error(
        &self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> TableError {
        TableError::Parquet { path: self.name(), source: source.into() }
    }

    pub(crate) fn line_error(&self, line: u64, problem: impl std::fmt::Display) -> TableError {
        TableError::Line { path: self.name(), line, problem: problem.to_string() }
    }

    /// SHA-256 of the file.
    pub(crate) fn sha256(&self) -> Result<[u8; 32], TableError> {
        let mut digest = Sha256::new();
        let mut file = File::open(&self.path).map_err(|source| self.read_error(source))?;
        let mut block = vec![0; 1 << 20];
        loop {
            match file.read(&mut block).map_err(|source| self.read_error(source))? {
                0 => break,
                n => digest.update(&block[..n]),
            }
        }
        Ok(digest.finalize().into())
    }

    /// Begins to read it.
    pub(crate) fn units(&self) -> Result<Units<'_>, TableError> {
        if self.is_stream {
            let text = Text::new(Box::new(io::stdin()), true);
            return Ok(Units { input: self, kind: UnitKind::Blocks { text, line: 1, has_quotes: false } });
        }
        let file = File::open(&self.path).map_err(|source| self.read_error(source))?;
        let kind = match self.format {
            InputFormat::Parquet => {
                let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::default())
                    .map_err(|source| self.parquet_error(source))?;
                UnitKind::RowGroups { metadata, next: 0 }
            }
            format => UnitKind::Blocks {
                text: Text::new(Box::new(file), false),
                line: 1,
                has_quotes: format == InputFormat::Csv,
            },
        };
        Ok(Units { input: self, kind })
    }
}

/// A part of a file, to be read on any thread.
#[derive(Debug)]
pub(crate) enum Unit {
    /// Whole records of a text file.
    Block { bytes: Bytes, first_line: u64 },
    /// One row group of a Parquet file.
    RowGroup { metadata: ArrowReaderMetadata, at: usize },
}

impl Unit {
    /// Share of the file, for progress.
    pub(crate) fn n_bytes(&self) -> u64 {
        match self {
            Self::Block { bytes, .. } => bytes.len() as u64,
            Self::RowGroup { metadata, at } => {
                u64::try_from(metadata.metadata().row_group(*at).compressed_size()).unwrap_or(0)
            }
        }
    }
}

/// The units of one file, in order.
#[derive(Debug)]
pub(crate) struct Units<'a> {
    pub(crate) input: &'a Input,
    kind: UnitKind,
}

#[derive(Debug)]
enum UnitKind {
    Blocks { text: Text, line: u64, has_quotes: bool },
    RowGroups { metadata: ArrowReaderMetadata, next: usize },
}

impl Units<'_> {
    /// The columns of a Parquet file.
    pub(crate) fn schema(&self) -> Option<SchemaRef> {
        match &self.kind {
            UnitKind::RowGroups { metadata, .. } => Some(metadata.schema().clone()),
            UnitKind::Blocks { .. } => None,
        }
    }

    /// The next unit; `None` at the end of the file.
    pub(crate) fn next(&mut self) -> Result<Option<Unit>, TableError> {
        match &mut self.kind {
            UnitKind::RowGroups { metadata, next } => {
                let at = *next;
                *next += 1;
                let exists = at < metadata.metadata().num_row_groups();
                Ok(exists.then(|| Unit::RowGroup { metadata: metadata.clone(), at }))
            }
            UnitKind::Blocks { text, line, has_quotes } => {
                let block = text.next_block(*has_quotes).map_err(|source| self.input.read_error(source))?;
                let first_line = *line;
                *line += memchr::memchr_iter(b'\n', &block).count() as u64;
                Ok((!block.is_empty()).then(|| Unit::Block { bytes: block.into(), first_line }))
            }
        }
    }
}

/// A text on its way in.
struct Text {
    from: Box<dyn Read + Send>,
    /// Whether to hand on what there is rather than wait for a whole block.
    is_stream: bool,
    rest: Vec<u8>,
}

impl Text {
    fn new(from: Box<dyn Read + Send>, is_stream: bool) -> Self {
        Self { from, is_stream, rest: Vec::new() }
    }

    /// Reads up to the last end of a record within [`BLOCK_BYTES`]; what follows is for the next block.
    fn next_block(&mut self, has_quotes: bool) -> io::Result<Vec<u8>> {
        let mut block = std::mem::take(&mut self.rest);
        loop {
            if self.read_more(&mut block)? == 0 {
                return Ok(block);
            }
            if let Some(end) = last_record_end(&block, has_quotes) {
                self.rest = block.split_off(end);
                return Ok(block);
            }
        }
    }

    fn read_more(&mut self, block: &mut Vec<u8>) -> io::Result<usize> {
        if !self.is_stream {
            return (&mut self.from).take(BLOCK_BYTES as u64).read_to_end(block);
        }
        let n_before = block.len();
        block.resize(n_before + STREAM_BYTES, 0);
        let n_read = loop {
            match self.from.read(&mut block[n_before..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                read => break read?,
            }
        };
        block.truncate(n_before + n_read);
        Ok(n_read)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Text").field("is_stream", &self.is_stream).finish_non_exhaustive()
    }
}

/// Just past the last line feed that ends a record. A block begins with a record, so within it a line feed behind an
/// odd number of quotes is part of a quoted field.
fn last_record_end(block: &[u8], has_quotes: bool) -> Option<usize> {
    if !has_quotes || memchr::memchr(b'"', block).is_none() {
        return memchr::memrchr(b'\n', block).map(|at| at + 1);
    }
    let (mut in_quotes, mut end) = (false, None);
    for at in memchr::memchr2_iter(b'"', b'\n', block) {
        if block[at] == b'"' {
            in_quotes = !in_quotes;
        } else if !in_quotes {
            end = Some(at + 1);
        }
    }
    end
}

/// Files that a pattern matches, sorted; a path is itself.
fn expand(path: &Path) -> Result<Vec<PathBuf>, TableError> {
    if path.exists() {
        return Ok(vec![path.to_owned()]);
    }
    let name = path.to_string_lossy().into_owned();
    let pattern = |source| TableError::Pattern { pattern: name.clone(), source };
    let found: Result<Vec<_>, _> = glob::glob(&name).map_err(pattern)?.collect();
    let found =
        found.map_err(|error| TableError::Read { path: error.path().to_owned(), source: error.into() })?;
    if found.is_empty() { Err(TableError::NoFile { pattern: name }) } else { Ok(found) }
}

fn spool_stdin() -> io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new()?;
    io::copy(&mut io::stdin().lock(), &mut file)?;
    file.flush()?;
    file.rewind()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_ends_where_a_record_does() {
        assert_eq!(last_record_end(b"a,b\n1,2\n3", true), Some(8));
        assert_eq!(last_record_end(b"a,\"b\nc\n\",2\n3", true), Some(11));
        assert_eq!(last_record_end(b"a,\"b\nc\n", true), None);
        assert_eq!(last_record_end(b"a,\"\"\"\n\",1\n\"", true), Some(10));
        assert_eq!(last_record_end(b"{\"a\": \"b\n", false), Some(9));
        assert_eq!(last_record_end(b"", true), None);
    }

    #[test]
    fn a_stream_hands_on_what_there_is() {
        let stream =
            io::Cursor::new(b"{}\n{\"a").chain(io::Cursor::new(b"\": 1}\n")).chain(io::Cursor::new(b"{}"));
        let mut text = Text::new(Box::new(stream), true);
        for expected in ["{}\n", "{\"a\": 1}\n", "{}", ""] {
            assert_eq!(text.next_block(false).unwrap(), expected.as_bytes());
        }
    }

    #[test]
    fn blocks_add_up_to_the_file() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let record = format!("{}\n", "x".repeat(BLOCK_BYTES / 3));
        for _ in 0..7 {
            file.write_all(record.as_bytes()).unwrap();
        }
        file.write_all(b"no end").unwrap();
        let (mut text, mut blocks) =
            (Text::new(Box::new(File::open(file.path()).unwrap()), false), Vec::new());
        loop {
            let block = text.next_block(true).unwrap();
            if block.is_empty() {
                break;
            }
            blocks.push(block);
        }
        assert_eq!(blocks.concat(), std::fs::read(file.path()).unwrap());
        assert!(blocks.len() > 2 && blocks[..blocks.len() - 1].iter().all(|block| block.ends_with(b"\n")));
    }
}
