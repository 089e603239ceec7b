//! What a monitor keeps over a restart: all that it has learnt from traffic, and nothing that its baseline and its settings say.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::unexpected::UnexpectedMemory;
use super::{Monitor, Watched};
use crate::drift::Histogram;
use crate::drift::scan::{RollingMemory, ScanMemory};
use crate::drift::verdict::FeatureVerdict;
use crate::drift::window::WindowRing;

/// All that a monitor has learnt from traffic.
#[derive(Debug, Serialize, Deserialize)]
pub struct Memory<'a> {
    scan: ScanMemory<'a>,
    windows: Vec<WindowMemory<'a>>,
    since_last_look: Cow<'a, [Histogram]>,
    stands_still: Cow<'a, [bool]>,
    unexpected: UnexpectedMemory,
}

#[derive(Debug, Serialize, Deserialize)]
struct WindowMemory<'a> {
    ring: Cow<'a, WindowRing>,
    rolling: Option<RollingMemory<'a>>,
    /// What was said of each column, which is not taken back as easily as it is said.
    verdicts: Vec<FeatureVerdict>,
}

/// A memory of other columns or bins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotLike;

impl<'a> WindowMemory<'a> {
    fn of(window: &'a Watched) -> Self {
        Self {
            ring: Cow::Borrowed(&window.ring),
            rolling: window.rolling.as_ref().map(super::Rolling::memory),
            verdicts: window.columns.iter().map(|judgement| judgement.verdict).collect(),
        }
    }
}

impl Monitor {
    /// What is to be kept over a restart.
    pub fn memory(&self) -> Memory<'_> {
        Memory {
            scan: self.scan.memory(),
            windows: self.windows.iter().map(WindowMemory::of).collect(),
            since_last_look: Cow::Borrowed(&self.since_last_look),
            stands_still: Cow::Borrowed(&self.stands_still),
            unexpected: self.unexpected.memory(),
        }
    }

    /// Goes on where another one was. Windows that are of another length now begin empty.
    ///
    /// # Errors
    /// [`NotLike`] if it was one over other columns or bins; then nothing has changed.
    pub fn restore(&mut self, memory: Memory<'_>) -> Result<(), NotLike> {
        let Memory { scan, windows, since_last_look, stands_still, unexpected } = memory;
        let is_like = since_last_look.len() == self.since_last_look.len()
            && since_last_look.iter().zip(&self.since_last_look).all(|(a, b)| a.n_bins() == b.n_bins())
            && stands_still.len() == self.stands_still.len()
            && self.scan.is_like(&scan);
        if !is_like {
            return Err(NotLike);
        }
        self.scan.restore(scan);
        for memory in windows {
            let own = self.windows.iter_mut().find(|window| window.ring.is_like(&memory.ring));
            let Some(own) = own.filter(|own| own.columns.len() == memory.verdicts.len()) else { continue };
            own.ring = memory.ring.into_owned();
            for (judgement, verdict) in own.columns.iter_mut().zip(memory.verdicts) {
                judgement.verdict = verdict;
            }
            if let (Some(rolling), Some(memory)) = (&mut own.rolling, memory.rolling)
                && rolling.is_like(&memory)
            {
                rolling.restore(memory);
            }
        }
        (self.since_last_look, self.stands_still) = (since_last_look.into_owned(), stands_still.into_owned());
        self.unexpected.restore(unexpected);
        Ok(())
    }
}
