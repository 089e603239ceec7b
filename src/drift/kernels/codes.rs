//! Counting categories, whose codes are indices already.

use super::tables::Tables;
use crate::drift::Histogram;

/// Adds every code to its count. A code past those of the histogram is counted as `other`, like a category that the
/// baseline has not seen.
pub fn record_codes(codes: &[u32], histogram: &mut Histogram) {
    let counts = histogram.as_mut_slice();
    let other = counts.len() - 1;
    if let Ok(other) = u8::try_from(other)
        && codes.len() >= Tables::MIN_VALUES
    {
        let mut tables = Tables::new();
        tables.add(codes, counts, |code| u8::try_from(code).unwrap_or(other).min(other));
        tables.flush(counts);
    } else {
        for &code in codes {
            counts[(code as usize).min(other)] += 1;
        }
    }
}
