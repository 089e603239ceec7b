//! Several small count tables in turn: equal neighbours, as in a constant column, would otherwise each wait for the
//! store of the one before.

/// Counts of a byte's range, each spread over four tables.
pub(super) struct Tables {
    tables: [[u32; 256]; Self::N],
    n_added: usize,
}

impl Tables {
    const N: usize = 4;

    /// Below this, clearing and adding up the tables costs more than they save.
    pub(super) const MIN_VALUES: usize = 256;

    /// A table holds this many without overflow, and the calls that add them are no larger.
    const MAX_ADDED: usize = 1 << 31;

    pub(super) fn new() -> Self {
        Self { tables: [[0; 256]; Self::N], n_added: 0 }
    }

    /// Counts every item at its index; `counts` takes what the tables cannot hold longer.
    pub(super) fn add<T: Copy>(&mut self, items: &[T], counts: &mut [u64], index: impl Fn(T) -> u8) {
        for part in items.chunks(Self::MAX_ADDED) {
            self.make_room(part.len(), counts);
            let (quads, rest) = part.as_chunks::<{ Self::N }>();
            for quad in quads {
                for (table, &item) in self.tables.iter_mut().zip(quad) {
                    table[usize::from(index(item))] += 1;
                }
            }
            for &item in rest {
                self.tables[0][usize::from(index(item))] += 1;
            }
        }
    }

    /// Counts every pair at its index, as [`Self::add`] does.
    #[inline]
    pub(super) fn add_pairs(
        &mut self,
        values: &[f64],
        cells: &[u32],
        counts: &mut [u64],
        index: impl Fn(f64, u32) -> u8,
    ) {
        self.make_room(values.len(), counts);
        let ((values, last_values), (cells, last_cells)) =
            (values.as_chunks::<{ Self::N }>(), cells.as_chunks::<{ Self::N }>());
        for (values, cells) in values.iter().zip(cells) {
            for (table, (&value, &cell)) in self.tables.iter_mut().zip(values.iter().zip(cells)) {
                table[usize::from(index(value, cell))] += 1;
            }
        }
        for (&value, &cell) in last_values.iter().zip(last_cells) {
            self.tables[0][usize::from(index(value, cell))] += 1;
        }
    }

    fn make_room(&mut self, n_more: usize, counts: &mut [u64]) {
        if self.n_added + n_more > Self::MAX_ADDED {
            self.flush(counts);
        }
        self.n_added += n_more;
    }

    /// Moves everything to `counts`, which must be long enough for every index used.
    pub(super) fn flush(&mut self, counts: &mut [u64]) {
        let [a, b, c, d] = &self.tables;
        for ((((count, a), b), c), d) in counts.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *count += u64::from(*a) + u64::from(*b) + u64::from(*c) + u64::from(*d);
        }
        *self = Self::new();
    }
}
