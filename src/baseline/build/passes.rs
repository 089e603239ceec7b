//! Both passes over the units of all files: read side by side, merged in order.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::count::Counter;
use super::decide::Plan;
use super::profile::Profile;
use super::source::{Input, Inputs, Unit};
use super::table::{self, Header, Table};
use super::{BuildError, BuildOptions, Progress};
use crate::drift::Histogram;

/// A file and what its columns are.
#[derive(Debug)]
pub(super) struct PreparedFile<'a> {
    pub(super) input: &'a Input,
    header: Header,
}

/// All files, opened once to see that they are of one table.
#[derive(Debug)]
pub(super) struct Prepared {
    inputs: Inputs,
    headers: Vec<Header>,
}

impl Inputs {
    /// Reads what the files have on top.
    pub(super) fn prepared(self) -> Result<Prepared, BuildError> {
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
                return Err(BuildError::Columns { path: file.name(), column });
            }
        }
        Ok(Prepared { inputs: self, headers })
    }
}

impl Prepared {
    pub(super) fn len(&self) -> usize {
        self.headers.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = PreparedFile<'_>> {
        let with_header = |(input, header): (_, &Header)| PreparedFile { input, header: header.clone() };
        self.inputs.files.iter().zip(&self.headers).map(with_header)
    }
}

/// What the first pass found.
#[derive(Debug, Default)]
pub(super) struct Profiled {
    pub(super) rows_by_file: Vec<u64>,
    /// In the order in which they were first seen.
    pub(super) columns: Vec<(Arc<str>, Profile)>,
    index: HashMap<Arc<str>, usize>,
}

impl Profiled {
    pub(super) fn n_rows(&self) -> u64 {
        self.rows_by_file.iter().sum()
    }

    fn column(&mut self, name: &Arc<str>) -> &mut Profile {
        let next = self.columns.len();
        let at = *self.index.entry(Arc::clone(name)).or_insert(next);
        if at == next {
            self.columns.push((Arc::clone(name), Profile::default()));
        }
        &mut self.columns[at].1
    }
}

/// Reads the files, twice.
pub(super) struct Passes<'a> {
    files: &'a Prepared,
    options: &'a BuildOptions,
    n_threads: usize,
    progress: Progress<'a>,
    n_done: AtomicU64,
    n_bytes: u64,
}

impl<'a> Passes<'a> {
    pub(super) fn new(files: &'a Prepared, options: &'a BuildOptions, progress: Progress<'a>) -> Self {
        let n_threads = options.n_threads.or_else(|| thread::available_parallelism().ok().map(usize::from));
        let n_bytes = 2 * files.inputs.files.iter().map(|file| file.n_bytes).sum::<u64>();
        Self {
            files,
            options,
            n_threads: n_threads.unwrap_or(1).max(1),
            progress,
            n_done: AtomicU64::new(0),
            n_bytes,
        }
    }

    /// The first pass.
    pub(super) fn profile(&self) -> Result<Profiled, BuildError> {
        let mut profiled = Profiled::default();
        let wanted = |name: &str| !self.options.ignore.iter().any(|ignored| ignored == name);
        for file in self.files.iter() {
            // Names in their order even where a file has no rows.
            for name in file.header.names().unwrap_or_default().into_iter().filter(|name| wanted(name)) {
                profiled.column(&name.into());
            }
            let mut n_rows = 0;
            self.each_unit(
                &file,
                &wanted,
                |part: &mut (Profiled, u64), table| {
                    part.1 += table.n_rows;
                    for (name, cells) in &table.columns {
                        part.0.column(name).add(cells);
                    }
                },
                |(part, n_rows_of_part)| {
                    n_rows += n_rows_of_part;
                    for (name, profile) in part.columns {
                        profiled.column(&name).merge(profile);
                    }
                },
            )?;
            profiled.rows_by_file.push(n_rows);
        }
        Ok(profiled)
    }

    /// The second pass: a histogram a plan.
    pub(super) fn count(&self, plans: &[Plan], profiled: &Profiled) -> Result<Vec<Histogram>, BuildError> {
        let counters: Vec<_> = plans.iter().map(Plan::counter).collect();
        let by_name: HashMap<&str, usize> =
            plans.iter().enumerate().map(|(at, plan)| (plan.name(), at)).collect();
        let zero = || counters.iter().map(Counter::zero).collect::<Vec<_>>();
        let mut counts = zero();
        for (file, &n_expected) in self.files.iter().zip(&profiled.rows_by_file) {
            let mut n_rows = 0;
            self.each_unit(
                &file,
                &|name| by_name.contains_key(name),
                |part: &mut (Vec<Histogram>, u64), table| {
                    part.1 += table.n_rows;
                    if part.0.is_empty() {
                        part.0 = zero();
                    }
                    for (name, cells) in &table.columns {
                        if let Some(&at) = by_name.get(&**name) {
                            counters[at].count(cells, &mut part.0[at]);
                        }
                    }
                },
                |(part, n_rows_of_part)| {
                    n_rows += n_rows_of_part;
                    counts.iter_mut().zip(&part).for_each(|(count, more)| count.add(more));
                },
            )?;
            if n_rows != n_expected {
                return Err(BuildError::Changed { path: file.input.name() });
            }
        }
        // Rows of a JSON Lines file that leave a column out have no value in it.
        for histogram in &mut counts {
            let n_absent = profiled.n_rows().saturating_sub(histogram.total());
            histogram.add(&Histogram::from_parts(&vec![0; histogram.n_bins()], n_absent, 0));
        }
        Ok(counts)
    }

    /// Reads the units of a file, as many at a time as there are threads; `add` puts a table into a part, `merge` takes
    /// the parts in the order of their units.
    fn each_unit<Part: Default + Send>(
        &self,
        file: &PreparedFile<'_>,
        wanted: &(dyn Fn(&str) -> bool + Sync),
        add: impl Fn(&mut Part, &Table) + Sync,
        mut merge: impl FnMut(Part),
    ) -> Result<(), BuildError> {
        let mut units = file.input.units()?;
        loop {
            let mut round = Vec::with_capacity(self.n_threads);
            while round.len() < self.n_threads
                && let Some(unit) = units.next()?
            {
                round.push(unit);
            }
            if round.is_empty() {
                return Ok(());
            }
            let read_unit = |unit: Unit| {
                let (mut part, n_bytes) = (Part::default(), unit.n_bytes());
                table::read(file.input, &file.header, unit, wanted, &mut |table| {
                    add(&mut part, &table);
                    Ok(())
                })?;
                let n_done = self.n_done.fetch_add(n_bytes, Ordering::Relaxed) + n_bytes;
                (self.progress)(n_done, self.n_bytes);
                Ok(part)
            };
            let parts: Vec<Result<Part, BuildError>> = thread::scope(|scope| {
                let read_unit = &read_unit;
                let threads: Vec<_> =
                    round.into_iter().map(|unit| scope.spawn(move || read_unit(unit))).collect();
                let join = |thread: thread::ScopedJoinHandle<'_, _>| {
                    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                };
                threads.into_iter().map(join).collect()
            });
            for part in parts {
                merge(part?);
            }
        }
    }
}
