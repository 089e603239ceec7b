//! Requests and responses that wait for each other: they come as events of their own, in any order.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::event::Side;

/// What waits, within a bound of number and of time.
#[derive(Debug)]
pub(crate) struct Pairs<K, T> {
    max: usize,
    timeout: Duration,
    waiting: HashMap<Arc<K>, Waiting<T>>,
    /// By arrival.
    order: BTreeMap<u64, (Instant, Arc<K>)>,
    n_arrived: u64,
}

#[derive(Debug)]
struct Waiting<T> {
    side: Side,
    arrival: u64,
    half: T,
}

/// What became of one half.
#[derive(Debug, PartialEq)]
pub(crate) enum Met<T> {
    /// The other one was there.
    Both { request: T, response: T },
    /// It waits.
    Neither,
    /// It waits in the place of this one of its kind: an identifier was used twice before it was answered.
    Displaced(T),
    /// It waits in the place of the oldest one, which was this.
    Crowded(T),
}

impl<K: Hash + Eq, T> Pairs<K, T> {
    pub(crate) fn new(max: usize, timeout: Duration) -> Self {
        Self { max, timeout, waiting: HashMap::new(), order: BTreeMap::new(), n_arrived: 0 }
    }

    /// Takes in one half.
    pub(crate) fn meet(&mut self, key: K, side: Side, half: T, now: Instant) -> Met<T> {
        let found = self.waiting.remove(&key);
        if let Some(other) = &found {
            self.order.remove(&other.arrival);
        }
        let displaced = match found {
            Some(other) if other.side != side => {
                return match side {
                    Side::Request => Met::Both { request: half, response: other.half },
                    Side::Response => Met::Both { request: other.half, response: half },
                };
            }
            found => found.map(|other| other.half),
        };
        let is_crowded = self.waiting.len() >= self.max;
        let oldest = if is_crowded { self.order.pop_first() } else { None };
        let crowded = oldest.and_then(|(_, (_, oldest))| self.waiting.remove(&oldest));
        let (key, arrival) = (Arc::new(key), self.n_arrived);
        self.n_arrived += 1;
        self.order.insert(arrival, (now, Arc::clone(&key)));
        self.waiting.insert(key, Waiting { side, arrival, half });
        match (displaced, crowded) {
            (Some(lost), _) => Met::Displaced(lost),
            (_, Some(lost)) => Met::Crowded(lost.half),
            _ => Met::Neither,
        }
    }

    /// Gives up those that have waited too long.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<T> {
        let mut expired = Vec::new();
        while let Some(first) = self.order.first_entry()
            && now.saturating_duration_since(first.get().0) >= self.timeout
        {
            let (_, key) = first.remove();
            expired.extend(self.waiting.remove(&key).map(|waiting| waiting.half));
        }
        expired
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const TIMEOUT: Duration = Duration::from_mins(1);

    #[test]
    fn halves_meet_in_any_order() {
        let (mut pairs, now) = (Pairs::new(10, TIMEOUT), Instant::now());
        assert_eq!(pairs.meet("a", Side::Request, 1, now), Met::Neither);
        assert_eq!(pairs.meet("b", Side::Response, 2, now), Met::Neither);
        assert_eq!(pairs.meet("b", Side::Request, 3, now), Met::Both { request: 3, response: 2 });
        assert_eq!(pairs.meet("a", Side::Response, 4, now), Met::Both { request: 1, response: 4 });
        assert_eq!(pairs.len(), 0);
        assert_eq!(pairs.meet("a", Side::Response, 5, now), Met::Neither, "an identifier may come again");
        assert_eq!(pairs.meet("a", Side::Response, 6, now), Met::Displaced(5));
        assert_eq!(pairs.meet("a", Side::Request, 7, now), Met::Both { request: 7, response: 6 });
    }

    #[test]
    fn what_is_not_answered_goes() {
        let (mut pairs, now) = (Pairs::new(2, TIMEOUT), Instant::now());
        let later = now + TIMEOUT;
        pairs.meet("a", Side::Request, 1, now);
        pairs.meet("b", Side::Request, 2, later);
        assert_eq!(pairs.expire(later), [1]);
        pairs.meet("c", Side::Request, 3, later);
        assert_eq!(pairs.meet("d", Side::Request, 4, later), Met::Crowded(2));
        assert_eq!(
            pairs.meet("b", Side::Response, 5, later),
            Met::Crowded(3),
            "b was the oldest and went, and now c"
        );
        assert_eq!(pairs.meet("d", Side::Response, 6, later), Met::Both { request: 4, response: 6 });
        assert_eq!(pairs.expire(later + TIMEOUT), [5]);
        assert_eq!((pairs.len(), pairs.order.len()), (0, 0));
    }

    proptest! {
        /// Every half is met, waits, or is counted as lost, and there are never more than may be.
        #[test]
        fn nothing_gets_lost_uncounted(events in vec((0u8..20, any::<bool>(), 0u64..100), 0..300), max in 1usize..8) {
            let (mut pairs, start) = (Pairs::new(max, Duration::from_secs(5)), Instant::now());
            let (mut n_met, mut n_lost, mut at) = (0, 0, start);
            for &(key, is_request, millis) in &events {
                at += Duration::from_millis(millis * 10);
                n_lost += pairs.expire(at).len();
                let side = if is_request { Side::Request } else { Side::Response };
                match pairs.meet(key, side, (key, side), at) {
                    Met::Both { request, response } => {
                        prop_assert_eq!((request, response), ((key, Side::Request), (key, Side::Response)));
                        n_met += 2;
                    }
                    Met::Neither => (),
                    Met::Displaced(_) | Met::Crowded(_) => n_lost += 1,
                }
                prop_assert!(pairs.len() <= max && pairs.order.len() == pairs.len());
            }
            prop_assert_eq!(n_met + n_lost + pairs.len(), events.len());
        }
    }
}
