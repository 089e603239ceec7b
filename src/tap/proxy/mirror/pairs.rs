//! Requests and responses of one stream, paired in the order in which they come.

use std::collections::VecDeque;

use super::Side;
use super::messages::Slot;
use crate::pipeline::MirroredBody;
use crate::telemetry::DropReason;

/// Messages of one stream that wait for the other side. A caller may send as far ahead as the server lets it; copies
/// are charged to the budget, what is around them is bounded here.
const MAX_WAITING: usize = 256;

/// The messages of the side that is ahead. The other side has none: its next one meets the oldest of these.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    ahead: Option<Side>,
    waiting: VecDeque<Waiting>,
    any_met: bool,
}

#[derive(Debug)]
enum Waiting {
    Message(MirroredBody),
    /// So many in a row have no copy; each still takes its place, or all after it would meet the wrong one.
    Lost(DropReason, u64),
}

/// A request and its response, or why at least one of them has no copy.
pub(super) type Met = Result<(MirroredBody, MirroredBody), DropReason>;

impl Pairs {
    /// Takes the next message of `side`; `None` if it has to wait.
    pub(super) fn meet(&mut self, side: Side, slot: Slot) -> Option<Met> {
        if self.waiting.is_empty() {
            self.ahead = Some(side);
        }
        if self.ahead == Some(side) {
            self.wait(slot);
            return None;
        }
        self.any_met = true;
        Some(match (slot, self.next()?) {
            (Slot::Message(one), Slot::Message(other)) => match side {
                Side::Request => Ok((one, other)),
                Side::Response => Ok((other, one)),
            },
            (Slot::Lost(reason), _) | (_, Slot::Lost(reason)) => Err(reason),
        })
    }

    fn next(&mut self) -> Option<Slot> {
        if let Some(Waiting::Lost(reason, n_lost @ 2..)) = self.waiting.front_mut() {
            *n_lost -= 1;
            return Some(Slot::Lost(*reason));
        }
        Some(match self.waiting.pop_front()? {
            Waiting::Message(copy) => Slot::Message(copy),
            Waiting::Lost(reason, _) => Slot::Lost(reason),
        })
    }

    fn wait(&mut self, slot: Slot) {
        let is_full = self.waiting.len() >= MAX_WAITING;
        let reason = match slot {
            Slot::Message(copy) if !is_full => return self.waiting.push_back(Waiting::Message(copy)),
            Slot::Message(_) => DropReason::PairsFull,
            Slot::Lost(reason) => reason,
        };
        match self.waiting.back_mut() {
            // Once it is full the first reason stands for all, so that the list grows no more.
            Some(Waiting::Lost(last, n_lost)) if is_full || *last == reason => *n_lost += 1,
            _ => self.waiting.push_back(Waiting::Lost(reason, 1)),
        }
    }

    /// What of a stream that has ended well was never answered, or answers nothing; `None` if nothing ever came.
    pub(super) fn left_over(self) -> Option<impl Iterator<Item = (DropReason, u64)>> {
        let is_silent = !self.any_met && self.waiting.is_empty();
        (!is_silent).then(|| {
            self.waiting.into_iter().map(|waiting| match waiting {
                Waiting::Message(_) => (DropReason::Unpaired, 1),
                Waiting::Lost(reason, n_lost) => (reason, n_lost),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decode::BodyHeaders;
    use crate::pipeline::MirrorBudget;

    fn message(budget: &MirrorBudget, number: usize) -> Slot {
        let mut copy = MirroredBody::new(budget.clone(), BodyHeaders::default());
        copy.push(&number.to_le_bytes()).unwrap();
        Slot::Message(copy)
    }

    proptest! {
        /// For all orders in which messages come and go missing, the n-th request meets the n-th response, and what is
        /// held is bounded.
        #[test]
        fn messages_meet_in_order(
            steps in proptest::collection::vec((any::<bool>(), 0_usize..600, proptest::option::of(0_usize..2)), 0..30),
        ) {
            let budget = MirrorBudget::new(1 << 30, 1 << 10);
            let mut pairs = Pairs::default();
            let (mut n_sent, mut n_met) = ([0_usize; 2], 0_usize);
            for (is_request, n, lost) in steps {
                let side = if is_request { Side::Request } else { Side::Response };
                for _ in 0..n {
                    let slot = match lost {
                        None => message(&budget, n_sent[usize::from(is_request)]),
                        Some(reason) => Slot::Lost([DropReason::TooLarge, DropReason::OverBudget][reason]),
                    };
                    n_sent[usize::from(is_request)] += 1;
                    if let Some(met) = pairs.meet(side, slot) {
                        if let Ok((request, response)) = met {
                            prop_assert_eq!(request.as_slice(), n_met.to_le_bytes());
                            prop_assert_eq!(response.as_slice(), n_met.to_le_bytes());
                        }
                        n_met += 1;
                    }
                    prop_assert!(pairs.waiting.len() <= MAX_WAITING + 1);
                }
            }
            prop_assert_eq!(n_met, n_sent[0].min(n_sent[1]));
            let is_silent = n_sent == [0, 0];
            match pairs.left_over() {
                None => prop_assert!(is_silent),
                Some(left) => prop_assert_eq!(
                    left.map(|(_, n)| n).sum::<u64>(),
                    n_sent[0].abs_diff(n_sent[1]) as u64
                ),
            }
        }
    }
}
