//! Files and what they divide into: units small enough to hold, the same whatever machine reads them.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use arrow_schema::SchemaRef;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use sha2::{Digest, Sha256};

use super::BuildError;
use crate::baseline::schema::hex;

/// A text file is read in blocks of this many bytes, or of one record where that is longer.
const BLOCK_BYTES: usize = 8 << 20;

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

/// One file of the input.
#[derive(Debug)]
pub(super) struct Input {
    /// As the user named it.
    pub(super) uri: String,
    /// Where its bytes are: elsewhere for standard input.
    pub(super) path: PathBuf,
    pub(super) format: InputFormat,
    pub(super) n_bytes: u64,
}

/// The files, and what keeps those alive that we made.
#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) files: Vec<Input>,
    _spool: Option<tempfile::NamedTempFile>,
}

impl Inputs {
    /// Finds the files that `names` stand for: paths, patterns, `-` for standard input, which is put into a temporary
    /// file as it is read twice.
    pub(super) fn find(names: &[String], format: Option<InputFormat>) -> Result<Self, BuildError> {
        let (mut files, mut spool) = (Vec::new(), None);
        for name in names {
            if name == "-" {
                let file = spool_stdin().map_err(|source| BuildError::Read { path: "-".into(), source })?;
                let path = file.path().to_owned();
                files.push(Input::open("-".to_owned(), path, format.or(Some(InputFormat::Csv)))?);
                spool = Some(file);
                continue;
            }
            for path in expand(name)? {
                files.push(Input::open(path.display().to_string(), path, format)?);
            }
        }
        Ok(Self { files, _spool: spool })
    }
}

impl Input {
    fn open(uri: String, path: PathBuf, format: Option<InputFormat>) -> Result<Self, BuildError> {
        let format = format.or_else(|| InputFormat::of(&path));
        let metadata =
            std::fs::metadata(&path).map_err(|source| BuildError::Read { path: path.clone(), source })?;
        if metadata.is_dir() {
            return Err(BuildError::Folder { path });
        }
        let format = format.ok_or_else(|| BuildError::UnknownFormat { path: path.clone() })?;
        Ok(Self { uri, path, format, n_bytes: metadata.len() })
    }

    /// The name for messages.
    pub(super) fn name(&self) -> PathBuf {
        PathBuf::from(&self.uri)
    }

    pub(super) fn read_error(&self, source: io::Error) -> BuildError {
        BuildError::Read { path: self.name(), source }
    }

    pub(super) fn parquet_error(
        &self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> BuildError {
        BuildError::Parquet { path: self.name(), source: source.into() }
    }

    pub(super) fn line_error(&self, line: u64, problem: impl std::fmt::Display) -> BuildError {
        BuildError::Line { path: self.name(), line, problem: problem.to_string() }
    }

    /// SHA-256 of the file, in hex.
    pub(super) fn sha256(&self) -> Result<String, BuildError> {
        let mut digest = Sha256::new();
        let mut file = File::open(&self.path).map_err(|source| self.read_error(source))?;
        let mut block = vec![0; 1 << 20];
        loop {
            match file.read(&mut block).map_err(|source| self.read_error(source))? {
                0 => break,
                n => digest.update(&block[..n]),
            }
        }
        Ok(hex(&digest.finalize()))
    }

    /// Begins to read it.
    pub(super) fn units(&self) -> Result<Units<'_>, BuildError> {
        let file = File::open(&self.path).map_err(|source| self.read_error(source))?;
        let kind = match self.format {
            InputFormat::Parquet => {
                let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::default())
                    .map_err(|source| self.parquet_error(source))?;
                UnitKind::RowGroups { metadata, next: 0 }
            }
            format => {
                UnitKind::Blocks { file, rest: Vec::new(), line: 1, has_quotes: format == InputFormat::Csv }
            }
        };
        Ok(Units { input: self, kind })
    }
}

/// A part of a file, to be read on any thread.
#[derive(Debug)]
pub(super) enum Unit {
    /// Whole records of a text file.
    Block { bytes: Bytes, first_line: u64 },
    /// One row group of a Parquet file.
    RowGroup { metadata: ArrowReaderMetadata, at: usize },
}

impl Unit {
    /// Share of the file, for progress.
    pub(super) fn n_bytes(&self) -> u64 {
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
pub(super) struct Units<'a> {
    pub(super) input: &'a Input,
    kind: UnitKind,
}

#[derive(Debug)]
enum UnitKind {
    Blocks { file: File, rest: Vec<u8>, line: u64, has_quotes: bool },
    RowGroups { metadata: ArrowReaderMetadata, next: usize },
}

impl Units<'_> {
    /// The columns of a Parquet file.
    pub(super) fn schema(&self) -> Option<SchemaRef> {
        match &self.kind {
            UnitKind::RowGroups { metadata, .. } => Some(metadata.schema().clone()),
            UnitKind::Blocks { .. } => None,
        }
    }

    /// The next unit; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Unit>, BuildError> {
        match &mut self.kind {
            UnitKind::RowGroups { metadata, next } => {
                let at = *next;
                *next += 1;
                let exists = at < metadata.metadata().num_row_groups();
                Ok(exists.then(|| Unit::RowGroup { metadata: metadata.clone(), at }))
            }
            UnitKind::Blocks { file, rest, line, has_quotes } => {
                let block =
                    next_block(file, rest, *has_quotes).map_err(|source| self.input.read_error(source))?;
                let first_line = *line;
                *line += memchr::memchr_iter(b'\n', &block).count() as u64;
                Ok((!block.is_empty()).then(|| Unit::Block { bytes: block.into(), first_line }))
            }
        }
    }
}

/// Reads up to the last end of a record within [`BLOCK_BYTES`]; what follows stays in `rest`.
fn next_block(file: &mut File, rest: &mut Vec<u8>, has_quotes: bool) -> io::Result<Vec<u8>> {
    let mut block = std::mem::take(rest);
    loop {
        let n_before = block.len();
        let n_read = file.take(BLOCK_BYTES as u64).read_to_end(&mut block)?;
        if n_read == 0 {
            return Ok(block);
        }
        if let Some(end) = last_record_end(&block, has_quotes) {
            *rest = block.split_off(end);
            return Ok(block);
        }
        debug_assert!(block.len() > n_before, "a record longer than what was read so far");
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
fn expand(name: &str) -> Result<Vec<PathBuf>, BuildError> {
    let path = Path::new(name);
    if path.exists() {
        return Ok(vec![path.to_owned()]);
    }
    let pattern = |source| BuildError::Pattern { pattern: name.to_owned(), source };
    let found: Result<Vec<_>, _> = glob::glob(name).map_err(pattern)?.collect();
    let found =
        found.map_err(|error| BuildError::Read { path: error.path().to_owned(), source: error.into() })?;
    if found.is_empty() { Err(BuildError::NoFile { pattern: name.to_owned() }) } else { Ok(found) }
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
    fn blocks_add_up_to_the_file() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let record = format!("{}\n", "x".repeat(BLOCK_BYTES / 3));
        for _ in 0..7 {
            file.write_all(record.as_bytes()).unwrap();
        }
        file.write_all(b"no end").unwrap();
        let (mut reader, mut rest, mut blocks) = (File::open(file.path()).unwrap(), Vec::new(), Vec::new());
        loop {
            let block = next_block(&mut reader, &mut rest, true).unwrap();
            if block.is_empty() {
                break;
            }
            blocks.push(block);
        }
        assert_eq!(blocks.concat(), std::fs::read(file.path()).unwrap());
        assert!(blocks.len() > 2 && blocks[..blocks.len() - 1].iter().all(|block| block.ends_with(b"\n")));
    }
}
