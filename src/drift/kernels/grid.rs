//! Counting by a lookup table: for many edges.
//!
//! A monotone function sends a value to one of [`CELLS`] cells. An edge in a lower cell lies below the value and one in a
//! higher cell above it, whatever rounding did, because both went through the same function; only edges in the value's
//! own cell are compared with it. So the counts are exact for any edges, and the choice of the function is a matter of
//! speed: it is good when no cell holds more than [`MAX_STEPS`] edges.

use super::Kernel;
use super::tables::Tables;
use crate::drift::{BinEdges, Histogram};

/// Cells of the grid, the last of them for `NaN`.
pub(super) const CELLS: u32 = 2_048;

/// The cell of `NaN`.
pub(super) const MISSING_CELL: u32 = CELLS - 1;

/// Edges that a cell may hold: two let every value with a bin of its own have both its edges in one cell.
const MAX_STEPS: usize = 3;

/// Edges at most, so that a bin's index and that of missing values fit a byte.
const MAX_EDGES: usize = 253;

/// Values whose cells are computed at a time.
const BLOCK: usize = 256;

/// Where values lie and how many edges are below.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    map: Map,
    /// How many edges lie in cells below; for the missing cell the index where missing values are counted.
    below: [u8; CELLS as usize],
    /// The edges, then `NaN`, which no value reaches.
    edges: [f64; 256],
    /// Edges in the fullest cell.
    n_steps: usize,
}

/// A monotone function from numbers to cells `0..CELLS - 1`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Map {
    Linear(Linear),
    Symlog(Symlog),
}

/// Cells of equal width: `(value - low) * scale`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Linear {
    pub(super) low: f64,
    pub(super) scale: f64,
}

/// Cells that widen with the distance from a centre: equal steps of the bits of `|value - centre| + softening`, which
/// are linear up to about `softening` and logarithmic beyond.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symlog {
    pub(super) centre: f64,
    pub(super) softening: f64,
    /// Distances above it are taken as it, so that the last cell ends nowhere.
    pub(super) far: f64,
    pub(super) shift: u32,
}

/// Cells on either side of the centre of [`Symlog`]; the upper side has one less, as the last cell is taken.
pub(super) const HALF: u32 = CELLS / 2;

impl Grid {
    /// `None` if there are too many edges, or if they crowd under every function that is tried.
    pub(super) fn new(edges: &BinEdges) -> Option<Self> {
        let edges = edges.as_slice();
        if edges.is_empty() || edges.len() > MAX_EDGES {
            return None;
        }
        let fullest = |map: &Map| fullest_cell(edges, map);
        // Equal cells are the cheapest to find, so another function must save a comparison.
        let map = Linear::over(edges)
            .map(Map::Linear)
            .filter(|map| fullest(map) <= 2)
            .or_else(|| Symlog::candidates(edges).map(Map::Symlog).min_by_key(fullest))?;
        let n_steps = fullest(&map);
        (n_steps <= MAX_STEPS).then(|| Self::with_map(edges, map, n_steps))
    }

    fn with_map(edges: &[f64], map: Map, n_steps: usize) -> Self {
        let mut below = [0; CELLS as usize];
        for &edge in edges {
            let cell = map.cell_of(edge) as usize;
            for count in &mut below[cell + 1..] {
                *count += 1;
            }
        }
        below[MISSING_CELL as usize] =
            u8::try_from(Histogram::missing_code(edges.len() + 1)).expect("MAX_EDGES leaves room for it");
        let mut padded = [f64::NAN; 256];
        padded[..edges.len()].copy_from_slice(edges);
        Self { map, below, edges: padded, n_steps }
    }

    /// Adds every value to the count of its bin, `NaN` to that of missing values.
    pub(super) fn record(&self, kernel: Kernel, values: &[f64], counts: &mut [u64]) {
        match self.n_steps {
            0 | 1 => self.record_steps::<1>(kernel, values, counts),
            2 => self.record_steps::<2>(kernel, values, counts),
            _ => self.record_steps::<MAX_STEPS>(kernel, values, counts),
        }
    }

    fn record_steps<const STEPS: usize>(&self, kernel: Kernel, values: &[f64], counts: &mut [u64]) {
        if values.len() < Tables::MIN_VALUES {
            for &value in values {
                counts[usize::from(self.bin_of::<STEPS>(value, self.map.cell_of(value)))] += 1;
            }
            return;
        }
        let mut tables = Tables::new();
        let mut cells = [0u32; BLOCK];
        for block in values.chunks(BLOCK) {
            let cells = &mut cells[..block.len()];
            self.map.cells_of(kernel, block, cells);
            tables.add_pairs(block, cells, counts, |value, cell| self.bin_of::<STEPS>(value, cell));
        }
        tables.flush(counts);
    }

    /// The index at which `value` of `cell` is counted.
    #[inline]
    fn bin_of<const STEPS: usize>(&self, value: f64, cell: u32) -> u8 {
        let mut bin = self.below[(cell % CELLS) as usize];
        for _ in 0..STEPS {
            bin = bin.wrapping_add(u8::from(value >= self.edges[usize::from(bin)]));
        }
        bin
    }
}

/// The largest number of edges in one cell.
fn fullest_cell(edges: &[f64], map: &Map) -> usize {
    edges.chunk_by(|&a, &b| map.cell_of(a) == map.cell_of(b)).map(<[f64]>::len).max().unwrap_or(0)
}

impl Map {
    /// The cell of one value.
    fn cell_of(&self, value: f64) -> u32 {
        match self {
            Self::Linear(map) => map.cell_of(value),
            Self::Symlog(map) => map.cell_of(value),
        }
    }

    /// The cells of as many values.
    fn cells_of(&self, kernel: Kernel, values: &[f64], cells: &mut [u32]) {
        match (self, kernel) {
            #[cfg(target_arch = "x86_64")]
            (Self::Linear(map), Kernel::Avx2 | Kernel::Avx512) => {
                super::avx2::linear_cells(map, values, cells);
            }
            #[cfg(target_arch = "x86_64")]
            (Self::Symlog(map), Kernel::Avx2 | Kernel::Avx512) => {
                super::avx2::symlog_cells(map, values, cells);
            }
            _ => {
                for (cell, &value) in cells.iter_mut().zip(values) {
                    *cell = self.cell_of(value);
                }
            }
        }
    }
}

impl Linear {
    /// `None` where the range of the edges is not a finite number above zero.
    fn over(edges: &[f64]) -> Option<Self> {
        let (&low, &high) = (edges.first()?, edges.last()?);
        let scale = f64::from(MISSING_CELL - 1) / (high - low);
        (scale.is_finite() && scale > 0.0).then_some(Self { low, scale })
    }

    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "what lies outside of the cells belongs to the outer ones"
    )]
    pub(super) fn cell_of(&self, value: f64) -> u32 {
        if value.is_nan() {
            return MISSING_CELL;
        }
        // The cast takes what is below 0, as 0; infinities end in the outer cells.
        (((value - self.low) * self.scale) as u32).min(MISSING_CELL - 1)
    }
}

impl Symlog {
    /// Functions that may spread the edges, by where they are centred and how soon they turn logarithmic.
    fn candidates(edges: &[f64]) -> impl Iterator<Item = Self> {
        let (first, last) = (edges[0], edges[edges.len() - 1]);
        let centres = [0.0, edges[edges.len() / 2], first, last, densest(edges)];
        centres.into_iter().flat_map(move |centre| {
            let reach = (first - centre).abs().max((last - centre).abs());
            (0..40).filter_map(move |octaves| Self::new(centre, reach, reach * 0.5f64.powi(octaves)))
        })
    }

    fn new(centre: f64, reach: f64, softening: f64) -> Option<Self> {
        let far = reach + softening;
        if !far.is_finite() || !softening.is_normal() {
            return None;
        }
        let span = far.to_bits() - softening.to_bits();
        // The smallest shift that leaves the farthest edge a cell; below 32 the cells would not fit the kernels' lanes.
        let shift = (32..64).find(|&shift| span >> shift < u64::from(HALF) - 1)?;
        Some(Self { centre, softening, far, shift })
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "`shift` leaves less than `HALF`")]
    pub(super) fn cell_of(&self, value: f64) -> u32 {
        if value.is_nan() {
            return MISSING_CELL;
        }
        let offset = value - self.centre;
        let distance = (offset.abs() + self.softening).min(self.far);
        let cell = ((distance.to_bits() - self.softening.to_bits()) >> self.shift) as u32;
        if offset < 0.0 { HALF - 1 - cell } else { HALF + cell }
    }
}

/// The middle of the closest pair of edges.
fn densest(edges: &[f64]) -> f64 {
    let gaps = edges.windows(2).map(|pair| (pair[1] - pair[0], pair[0]));
    gaps.min_by(|a, b| a.0.total_cmp(&b.0)).map_or(edges[0], |(_, edge)| edge)
}

#[cfg(test)]
impl Grid {
    /// Grids over every function there is, good or not: exactness must not depend on the choice.
    pub(super) fn every_map(edges: &BinEdges) -> Vec<Self> {
        let edges = edges.as_slice();
        if edges.is_empty() {
            return Vec::new();
        }
        let linear = Linear::over(edges).map(Map::Linear);
        let maps = linear.into_iter().chain(Symlog::candidates(edges).map(Map::Symlog).step_by(7));
        maps.map(|map| (map, fullest_cell(edges, &map)))
            .filter(|&(_, n_steps)| n_steps <= MAX_STEPS && edges.len() <= MAX_EDGES)
            .map(|(map, n_steps)| Self::with_map(edges, map, n_steps))
            .collect()
    }

    pub(super) fn n_steps(&self) -> usize {
        self.n_steps
    }
}
