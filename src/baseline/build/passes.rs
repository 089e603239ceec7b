//! Both passes over the units of all files.

use std::collections::HashMap;
use std::sync::Arc;

use super::decide::Plan;
use super::profile::Profile;
use super::vectors::Measured;
use super::{BuildError, BuildOptions};
use crate::baseline::count::Counter;
use crate::drift::Histogram;
use crate::table::{Cell, Cells, Prepared, Progress, Reader, list_of_numbers};

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

    /// A pass over the columns of vectors, where there are some: norms and distances.
    pub(super) fn measure(&mut self, mut columns: Vec<Measured>) -> Result<Vec<Measured>, BuildError> {
        if columns.is_empty() {
            return Ok(columns);
        }
        self.reader.expect_pass(self.files);
        let zero: Vec<_> = columns.iter().map(Measured::zero).collect();
        for file in self.files.iter() {
            self.reader.each_unit(
                &file,
                &|name| zero.iter().any(|column| *column.column == *name),
                |part: &mut Vec<Measured>, table| {
                    if part.is_empty() {
                        *part = zero.iter().map(Measured::zero).collect();
                    }
                    for (name, cells) in &table.columns {
                        if let Some(column) = part.iter_mut().find(|column| column.column == *name) {
                            measure(column, cells);
                        }
                    }
                },
                |part| {
                    columns.iter_mut().zip(part).for_each(|(column, more)| column.merge(more));
                    Ok::<_, BuildError>(())
                },
            )?;
        }
        Ok(columns)
    }

    /// The last pass: a histogram a plan.
    pub(super) fn count(&self, plans: &[Plan], profiled: &Profiled) -> Result<Vec<Histogram>, BuildError> {
        let counters: Vec<_> = plans.iter().map(Plan::counter).collect();
        let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
        for (at, plan) in plans.iter().enumerate() {
            by_name.entry(plan.source()).or_default().push(at);
        }
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
                        for &at in by_name.get(&**name).into_iter().flatten() {
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

fn measure(column: &mut Measured, cells: &Cells) {
    match cells {
        Cells::Vectors(vectors) => column.add(&mut (0..vectors.len()).filter_map(|at| vectors.get(at))),
        Cells::Mixed(cells) => column.add(&mut cells.iter().filter_map(|cell| match cell {
            Cell::Vector(list) => Some(&**list),
            _ => None,
        })),
        Cells::Untyped(texts) => {
            let lists: Vec<_> = texts.iter().flatten().filter_map(list_of_numbers).collect();
            column.add(&mut lists.iter().map(|list| &**list));
        }
        Cells::Numbers(_) | Cells::Booleans(_) | Cells::Texts(_) => (),
    }
}
