//! Units of files: read side by side, merged in order.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::read::{self, Header};
use super::source::{Input, Inputs, Unit};
use super::{Table, TableError};

/// Told how far the reading is: bytes done, of all.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// A file and what its columns are.
#[derive(Debug)]
pub(crate) struct PreparedFile<'a> {
    pub(crate) input: &'a Input,
    header: Header,
}

/// All files, opened once to see that they are of one table.
#[derive(Debug)]
pub(crate) struct Prepared {
    inputs: Inputs,
    headers: Vec<Header>,
}

impl Inputs {
    /// Reads what the files have on top.
    pub(crate) fn prepared(self) -> Result<Prepared, TableError> {
        let headers = self.files.iter().map(Header::read).collect::<Result<Vec<_>, _>>()?;
        let mut first: Option<Vec<&str>> = None;
        for (file, header) in self.files.iter().zip(&headers) {
            let Some(names) = header.names() else { continue };
            let Some(first) = &first else {
                first = Some(names);
                continue;
            };
            let lacks = |these: &[&str], those: &[&str]| {
                those.iter().find(|name| !these.contains(name)).map(ToString::to_string)
            };
            if let Some(column) = lacks(&names, first).or_else(|| lacks(first, &names)) {
                return Err(TableError::Columns { path: file.name(), column });
            }
        }
        Ok(Prepared { inputs: self, headers })
    }
}

impl PreparedFile<'_> {
    /// Names of its columns; `None` where each line says for itself.
    pub(crate) fn names(&self) -> Option<Vec<&str>> {
        self.header.names()
    }
}

impl Prepared {
    pub(crate) fn len(&self) -> usize {
        self.headers.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = PreparedFile<'_>> {
        let with_header = |(input, header): (_, &Header)| PreparedFile { input, header: header.clone() };
        self.inputs.files.iter().zip(&self.headers).map(with_header)
    }
}

/// Reads files on several threads.
pub(crate) struct Reader<'a> {
    n_threads: usize,
    progress: Progress<'a>,
    n_done: AtomicU64,
    n_bytes: u64,
}

impl<'a> Reader<'a> {
    /// On all cores if `n_threads` does not say otherwise; the files are to be read `n_passes` times.
    pub(crate) fn new(
        files: &Prepared,
        n_threads: Option<usize>,
        n_passes: u64,
        progress: Progress<'a>,
    ) -> Self {
        let n_threads = n_threads.or_else(|| thread::available_parallelism().ok().map(usize::from));
        Self {
            n_threads: n_threads.unwrap_or(1).max(1),
            progress,
            n_done: AtomicU64::new(0),
            n_bytes: n_passes * files.inputs.files.iter().map(|file| file.n_bytes).sum::<u64>(),
        }
    }

    /// One pass more than was thought.
    pub(crate) fn expect_pass(&mut self, files: &Prepared) {
        self.n_bytes += files.inputs.files.iter().map(|file| file.n_bytes).sum::<u64>();
    }

    /// Reads the units of a file, as many at a time as there are threads; `add` puts a table into a part, `merge` takes
    /// the parts in the order of their units, and may end it all.
    pub(crate) fn each_unit<Part, E>(
        &self,
        file: &PreparedFile<'_>,
        wanted: &(dyn Fn(&str) -> bool + Sync),
        add: impl Fn(&mut Part, Table) + Sync,
        mut merge: impl FnMut(Part) -> Result<(), E>,
    ) -> Result<(), E>
    where
        Part: Default + Send,
        E: From<TableError>,
    {
        let mut units = file.input.units()?;
        loop {
            let n_side_by_side = if file.input.is_stream() { 1 } else { self.n_threads };
            let mut round = Vec::with_capacity(n_side_by_side);
            while round.len() < n_side_by_side
                && let Some(unit) = units.next()?
            {
                round.push(unit);
            }
            if round.is_empty() {
                return Ok(());
            }
            let read_unit = |unit: Unit| {
                let (mut part, n_bytes) = (Part::default(), unit.n_bytes());
                read::read(file.input, &file.header, unit, wanted, &mut |table| {
                    add(&mut part, table);
                    Ok(())
                })?;
                let n_done = self.n_done.fetch_add(n_bytes, Ordering::Relaxed) + n_bytes;
                (self.progress)(n_done, self.n_bytes);
                Ok(part)
            };
            let parts: Vec<Result<Part, TableError>> = thread::scope(|scope| {
                let read_unit = &read_unit;
                let threads: Vec<_> =
                    round.into_iter().map(|unit| scope.spawn(move || read_unit(unit))).collect();
                let join = |thread: thread::ScopedJoinHandle<'_, _>| {
                    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                };
                threads.into_iter().map(join).collect()
            });
            for part in parts {
                merge(part?)?;
            }
        }
    }
}
