//! Both passes over the units of all files.

use std::collections::HashMap;
use std::sync::Arc;

use super::decide::Plan;
use super::profile::Profile;
use super::{BuildError, BuildOptions};
use crate::baseline::count::Counter;
use crate::drift::Histogram;
use crate::table::{Prepared, Progress, Reader};

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

    pub(super) fn column(&mut self, name: &Arc<str>) -> &mut Profile {
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
    reader: Reader<'a>,
}

impl<'a> Passes<'a> {
    pub(super) fn new(files: &'a Prepared, options: &'a BuildOptions, progress: Progress<'a>) -> Self {
        Self { files, options, reader: Reader::new(files, options.n_threads, 2, progress) }
    }

    /// The first pass.
    pub(super) fn profile(&self) -> Result<Profiled, BuildError> {
        let mut profiled = Profiled::default();
        let wanted = |name: &str| !self.options.ignore.iter().any(|ignored| ignored == name);
        for file in self.files.iter() {
            // Names in their order even where a file has no rows.
            for name in file.names().unwrap_or_default().into_iter().filter(|name| wanted(name)) {
                profiled.column(&name.into());
            }
            let mut n_rows = 0;
            self.reader.each_unit(
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
                    Ok::<_, BuildError>(())
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
            self.reader.each_unit(
                &file,
                &|name| by_name.contains_key(name),
                |part: &mut (Vec<Histogram>, u64), table| {
                    part.1 += table.n_rows;
                    if part.0.is_empty() {
                        part.0 = zero();
                    }
                    for (name, cells) in &table.columns {
                        if let Some(&at) = by_name.get(&**name) {
                            counters[at].count(cells, 0..cells.len(), &mut part.0[at]);
                        }
                    }
                },
                |(part, n_rows_of_part)| {
                    n_rows += n_rows_of_part;
                    counts.iter_mut().zip(&part).for_each(|(count, more)| count.add(more));
                    Ok::<_, BuildError>(())
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
}
