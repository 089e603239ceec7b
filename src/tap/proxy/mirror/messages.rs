//! A gRPC stream, cut into its messages as its bytes pass.

use super::reason;
use crate::decode::BodyHeaders;
use crate::pipeline::{MirrorBudget, MirrorError, MirroredBody};
use crate::telemetry::DropReason;

/// What stands in front of every message: a flag and the length.
const HEAD: usize = 5;

/// One message, its head included, or why there is no copy of it.
#[derive(Debug)]
pub(super) enum Slot {
    Message(MirroredBody),
    Lost(DropReason),
}

/// The stream is not of gRPC's messages, so nobody knows where the next one begins.
#[derive(Debug)]
pub(super) struct NotGrpc;

/// Cuts one side of a stream. Holds at most the message at hand.
#[derive(Debug)]
pub(in crate::tap::proxy) struct Cutter {
    budget: MirrorBudget,
    headers: BodyHeaders,
    head: [u8; HEAD],
    n_head: usize,
    message: Option<Open>,
}

/// A message of which more is to come.
#[derive(Debug)]
struct Open {
    n_left: usize,
    copy: Result<MirroredBody, MirrorError>,
}

impl Cutter {
    pub(super) fn new(budget: MirrorBudget, headers: BodyHeaders) -> Self {
        Self { budget, headers, head: [0; HEAD], n_head: 0, message: None }
    }

    /// Takes the next bytes and calls `each` with every message that they complete.
    pub(super) fn push(&mut self, mut chunk: &[u8], mut each: impl FnMut(Slot)) -> Result<(), NotGrpc> {
        while !chunk.is_empty() {
            let taken =
                if let Some(open) = &mut self.message { open.take(chunk) } else { self.take_head(chunk)? };
            chunk = &chunk[taken..];
            if let Some(whole) = self.message.take_if(|open| open.n_left == 0) {
                each(whole.copy.map_or_else(|error| Slot::Lost(reason(error)), Slot::Message));
            }
        }
        Ok(())
    }

    fn take_head(&mut self, chunk: &[u8]) -> Result<usize, NotGrpc> {
        let n_bytes = chunk.len().min(HEAD - self.n_head);
        self.head[self.n_head..][..n_bytes].copy_from_slice(&chunk[..n_bytes]);
        self.n_head += n_bytes;
        if self.n_head == HEAD {
            self.message = Some(self.begin()?);
            self.n_head = 0;
        }
        Ok(n_bytes)
    }

    fn begin(&self) -> Result<Open, NotGrpc> {
        let [flag, len @ ..] = self.head;
        if flag > 1 {
            return Err(NotGrpc);
        }
        let n_left = usize::try_from(u32::from_be_bytes(len)).map_err(|_| NotGrpc)?;
        let mut copy = MirroredBody::new(self.budget.clone(), self.headers.clone());
        let begun = copy.expect_len((HEAD + n_left) as u64).and_then(|()| copy.push(&self.head));
        Ok(Open { n_left, copy: begun.map(|()| copy) })
    }
}

impl Open {
    fn take(&mut self, chunk: &[u8]) -> usize {
        let n_bytes = chunk.len().min(self.n_left);
        self.n_left -= n_bytes;
        if let Ok(copy) = &mut self.copy
            && let Err(error) = copy.push(&chunk[..n_bytes])
        {
            self.copy = Err(error);
        }
        n_bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(len: usize) -> Vec<u8> {
        let head = [&[0][..], &u32::try_from(len).unwrap().to_be_bytes()].concat();
        [head, (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect()].concat()
    }

    proptest! {
        /// For all messages and all ways to cut their bytes, every message comes whole and in order, or is known to be
        /// lost, and the budget is given back.
        #[test]
        fn messages_come_as_they_were_sent(
            lens in proptest::collection::vec(0_usize..300, 0..20),
            chunks in proptest::collection::vec(1_usize..200, 1..20),
        ) {
            const MAX: usize = 200;
            let budget = MirrorBudget::new(1 << 20, MAX);
            let mut cutter = Cutter::new(budget.clone(), BodyHeaders::default());
            let stream: Vec<u8> = lens.iter().flat_map(|&len| framed(len)).collect();
            let mut seen = Vec::new();
            let (mut rest, mut sizes) = (&*stream, chunks.iter().cycle());
            while !rest.is_empty() {
                let (chunk, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                cutter.push(chunk, |slot| seen.push(slot)).unwrap();
                rest = after;
            }
            prop_assert_eq!(seen.len(), lens.len());
            for (slot, &len) in seen.iter().zip(&lens) {
                match slot {
                    Slot::Message(copy) => prop_assert_eq!(copy.as_slice(), framed(len)),
                    Slot::Lost(reason) => {
                        prop_assert_eq!(*reason, DropReason::TooLarge);
                        prop_assert!(len + HEAD > MAX);
                    }
                }
            }
            drop(seen);
            prop_assert_eq!(budget.held_bytes(), 0);
        }
    }

    #[test]
    fn what_is_not_framed_is_told() {
        let mut cutter = Cutter::new(MirrorBudget::new(1 << 20, 1 << 10), BodyHeaders::default());
        assert!(cutter.push(&framed(3), |_| ()).is_ok());
        assert!(cutter.push(b"data: {}\n\n", |_| ()).is_err());
    }

    #[test]
    fn a_message_that_finds_no_room_is_lost_and_the_next_is_not() {
        let budget = MirrorBudget::new(100, 100);
        let held = {
            let mut held = MirroredBody::new(budget.clone(), BodyHeaders::default());
            held.expect_len(60).unwrap();
            held.push(&[0; 60]).unwrap();
            held
        };
        let mut cutter = Cutter::new(budget, BodyHeaders::default());
        let mut seen = Vec::new();
        cutter.push(&framed(50), |slot| seen.push(slot)).unwrap();
        drop(held);
        cutter.push(&framed(50), |slot| seen.push(slot)).unwrap();
        assert!(matches!(seen[..], [Slot::Lost(DropReason::OverBudget), Slot::Message(_)]), "{seen:?}");
    }
}
