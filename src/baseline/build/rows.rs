//! A baseline of rows that are in memory, as those of a table would give it.

use std::sync::Arc;

use super::decide::{self, Plan};
use super::passes::Profiled;
use super::{BuildError, BuildOptions, Built};
use crate::baseline::artifact::Header;
use crate::baseline::{Baseline, Role};
use crate::drift::Histogram;
use crate::table::{Cell, Cells};

/// A column of rows that are in memory.
#[derive(Debug)]
pub struct RowsColumn {
    /// Its name.
    pub name: Arc<str>,
    /// Whether it goes into the model or comes out of it.
    pub role: Role,
    /// A cell a row.
    pub cells: Vec<Cell>,
}

/// Builds the baseline of `columns`, each of `n_rows` cells: one of a feature and one of a prediction may share a name.
///
/// # Errors
/// [`BuildError`] if there is no column or no row.
pub fn build_from_rows(
    columns: Vec<RowsColumn>,
    n_rows: u64,
    options: &BuildOptions,
) -> Result<Built, BuildError> {
    if n_rows == 0 {
        return Err(BuildError::NoRows { inputs: "memory".to_owned() });
    }
    let (mut features, mut decisions) = (Vec::new(), Vec::new());
    let (of_features, of_predictions): (Vec<_>, Vec<_>) =
        columns.into_iter().partition(|column| column.role == Role::Feature);
    for of_role in [of_features, of_predictions].into_iter().filter(|columns| !columns.is_empty()) {
        let mut options = options.clone();
        if of_role[0].role == Role::Prediction {
            options.predictions = of_role.iter().map(|column| column.name.to_string()).collect();
        }
        let mut profiled = Profiled::default();
        profiled.rows_by_file.push(n_rows);
        let mut all_cells = Vec::with_capacity(of_role.len());
        for RowsColumn { name, cells, .. } in of_role {
            let n_nested = cells.iter().filter(|cell| **cell == Cell::Nested).count() as u64;
            let cells = Cells::Mixed(cells);
            profiled.column(&name).add(&cells);
            all_cells.push((cells, n_nested));
        }
        let plans = decide::plans(&profiled, &[], &options, None)?;
        for (plan, (cells, n_nested)) in plans.into_iter().zip(all_cells) {
            let counts = count(&plan, &cells, n_nested, n_rows);
            let (feature, decision) = plan.finish(counts, &options)?;
            features.push(feature);
            decisions.push(decision);
        }
    }
    if features.is_empty() {
        return Err(BuildError::NoColumns);
    }
    let (model, version) = (options.model.clone(), options.version.clone());
    let created_at = options.created_at.clone();
    let header = Header { model, version, source: Vec::new(), rows: n_rows, created_at };
    Ok(Built { baseline: Baseline::new(header, features)?, decisions })
}

/// Lists and objects are counted as traffic counts them: as values of the wrong type, not as missing ones.
fn count(plan: &Plan, cells: &Cells, n_nested: u64, n_rows: u64) -> Histogram {
    let counter = plan.counter();
    let mut counts = counter.zero();
    counter.count(cells, 0..cells.len(), &mut counts);
    let n_absent = n_rows.saturating_sub(counts.total());
    counts.add(&Histogram::from_parts(&vec![0; counts.n_bins()], n_absent, 0));
    counts.missing_to_other(n_nested);
    counts
}
