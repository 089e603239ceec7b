//! Which objects of object stores were read: known by their name and their revision, as long as they are there.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use super::fetch::Earlier;
use super::position::{Head, Inode, Position};

/// An object in one revision: it never changes, so its content is either read or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct ObjectId(u64);

impl ObjectId {
    pub(super) fn of(uri: &str, revision: &str) -> Self {
        Self(XxHash3_64::oneshot(format!("{uri}\n{revision}").as_bytes()))
    }

    /// In the place of a file's: no device has this number.
    pub(super) fn inode(self) -> Inode {
        Inode { device: u64::MAX, number: self.0 }
    }

    pub(super) fn of_position(position: &Position) -> Option<Self> {
        (position.inode.device == u64::MAX).then_some(Self(position.inode.number))
    }
}

/// All objects of one source that are not being read now.
#[derive(Debug, Default)]
pub(super) struct Objects {
    /// Their marks. There may be very many, so nothing else is kept of them.
    finished: HashMap<ObjectId, u64>,
    /// Of an earlier life: begun, or read up to events that wait for their other half.
    unfinished: HashMap<ObjectId, (u64, Position)>,
    /// Finished since the last call of [`Self::moved`].
    changed: Vec<ObjectId>,
}

impl Objects {
    /// One of an earlier life.
    pub(super) fn restore(&mut self, id: ObjectId, mark: u64, position: Position) {
        if position.is_finished {
            self.finished.insert(id, mark);
        } else {
            self.unfinished.insert(id, (mark, position));
        }
    }

    /// For the one who fetches them.
    pub(super) fn earlier(&self) -> Earlier {
        Earlier {
            finished: self.finished.keys().copied().collect(),
            unfinished: self.unfinished.keys().copied().collect(),
        }
    }

    /// Where an earlier life has left an object, which is read on now.
    pub(super) fn resume(&mut self, id: ObjectId) -> Option<(u64, Position)> {
        self.unfinished.remove(&id)
    }

    /// An object is read and counted, or not to be.
    pub(super) fn finish(&mut self, id: ObjectId, mark: u64) {
        self.finished.insert(id, mark);
        self.changed.push(id);
    }

    /// An object is no longer there. Its mark, if it is not being read.
    pub(super) fn forget(&mut self, id: ObjectId) -> Option<u64> {
        self.finished.remove(&id).or_else(|| self.unfinished.remove(&id).map(|(mark, _)| mark))
    }

    /// Positions of those that were finished since the last call, without the names that nobody needs any more.
    pub(super) fn moved(&mut self) -> impl Iterator<Item = (u64, Position)> + use<'_> {
        let Self { finished, changed, .. } = self;
        changed.drain(..).filter_map(|id| {
            let position = Position::start("".as_ref(), id.inode(), Head::default());
            Some((*finished.get(&id)?, Position { is_finished: true, ..position }))
        })
    }
}
