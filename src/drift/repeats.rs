//! Requests that repeat others: a retry storm or a stuck client says less than its number of rows.

use super::scan::Repeats;

/// Requests remembered; one that falls into another's place takes it.
const N_PLACES: usize = 1024;

/// Requests after which all numbers are halved, so that what was popular long ago is not held against today.
const HALF_LIFE: u32 = 8192;

/// How often each of the last requests was seen.
#[derive(Clone, Debug)]
pub struct RepeatCounter {
    places: Box<[(u64, u32)]>,
    n_until_halved: u32,
    excess: f64,
}

impl Default for RepeatCounter {
    fn default() -> Self {
        Self { places: vec![(0, 0); N_PLACES].into(), n_until_halved: HALF_LIFE, excess: 0.0 }
    }
}

impl RepeatCounter {
    /// Takes in a request by a hash of its body.
    #[expect(clippy::cast_possible_truncation, reason = "the remainder is below the number of places")]
    pub fn see(&mut self, hash: u64, n_rows: u64) {
        self.n_until_halved -= 1;
        if self.n_until_halved == 0 {
            self.places.iter_mut().for_each(|(_, n_seen)| *n_seen /= 2);
            self.n_until_halved = HALF_LIFE;
        }
        let place = &mut self.places[(hash % N_PLACES as u64) as usize];
        if place.0 != hash {
            *place = (hash, 0);
        }
        // (m + 1)² − m² is one row more than the row itself for each time it was seen, twice.
        self.excess += 2.0 * f64::from(place.1) * n_rows as f64;
        place.1 += 1;
    }

    /// What has come together since the last call.
    pub fn take(&mut self) -> Repeats {
        Repeats(std::mem::take(&mut self.excess))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_excess_is_that_of_squared_multiplicities() {
        let mut counter = RepeatCounter::default();
        for hash in [7, 7, 7, 7, 9, 9, 11] {
            counter.see(hash, 1);
        }
        let expected = f64::from(4 * 4 - 4 + 2 * 2 - 2);
        assert_eq!(counter.take(), Repeats(expected));
        assert_eq!(counter.take(), Repeats(0.0));
        counter.see(7, 10);
        assert_eq!(counter.take(), Repeats(80.0), "what was seen before is still known");
    }

    #[test]
    fn what_was_popular_fades() {
        let mut counter = RepeatCounter::default();
        (0..100).for_each(|_| counter.see(1, 1));
        (0..2 * u64::from(HALF_LIFE)).for_each(|hash| counter.see(2 + N_PLACES as u64 * hash, 1));
        counter.take();
        counter.see(1, 1);
        assert_eq!(counter.take(), Repeats(50.0));
    }
}
