//! One file that is being read.

use std::collections::BTreeSet;
use std::io;
use std::time::Instant;

use super::content::{Block, Content};
use super::frame::Framer;
use super::objects::ObjectId;
use super::position::{Head, MAX_DONE, Position};
use crate::config::RawLines;
use crate::drift::Timestamp;

/// One event of a line: where the line begins, and which of its events it is.
pub(super) type EventAt = (u64, u32);

/// A file that is being read, and how far.
#[derive(Debug)]
pub(super) struct Followed {
    /// As of the last time it was told.
    pub(super) position: Position,
    /// `None` once all of it has been read.
    pub(super) content: Option<Content>,
    pub(super) framer: Framer,
    /// Where the next line begins.
    pub(super) next: u64,
    /// Whether the line that begins there is too long, and how much of it was passed over.
    pub(super) skipped: u64,
    /// When the next line was, as far as is known: the oldest are read first.
    pub(super) next_at: Option<Timestamp>,
    pub(super) modified: Timestamp,
    /// How long it is.
    pub(super) len: u64,
    /// How long it was when it held no further whole line.
    quiet_len: Option<u64>,
    /// Whether it is an object of a store, which is whole.
    pub(super) is_object: bool,
    /// Since when its path leads elsewhere.
    pub(super) gone: Option<Instant>,
    /// Events that wait for their other half.
    held: BTreeSet<EventAt>,
    /// Events that are counted, as long as an earlier one is held.
    done: BTreeSet<EventAt>,
    is_dirty: bool,
}

impl Followed {
    /// At a position, whose content is passed over already.
    pub(super) fn new(position: Position, content: Content, lines: RawLines, max_line: usize) -> Self {
        // Of a compressed one, that of the file as it lies there.
        let metadata = content.metadata().ok().flatten().or_else(|| std::fs::metadata(&position.path).ok());
        let modified = metadata.as_ref().and_then(|metadata| metadata.modified().ok());
        Self {
            framer: Framer::new(lines, max_line, position.streams),
            next: position.offset,
            skipped: 0,
            next_at: None,
            modified: modified.map(Timestamp::from).unwrap_or_default(),
            len: metadata.map_or(0, |metadata| metadata.len()),
            quiet_len: None,
            is_object: ObjectId::of_position(&position).is_some(),
            gone: None,
            held: BTreeSet::new(),
            done: position.done.clone(),
            is_dirty: true,
            content: Some(content),
            position,
        }
    }

    /// Whether there may be lines to read.
    pub(super) fn has_unread(&self) -> bool {
        match &self.content {
            None => false,
            Some(Content::Plain(_)) => {
                self.len > self.next + self.skipped && self.quiet_len != Some(self.len)
            }
            Some(Content::Table(..)) => self.quiet_len != Some(self.len),
            Some(Content::Piped(..)) => self.quiet_len.is_none(),
            Some(Content::Packed(..) | Content::Fetched(..)) => true,
        }
    }

    /// Bytes that are not read yet, where that can be known.
    pub(super) fn n_unread(&self) -> u64 {
        if matches!(self.content, Some(Content::Plain(_))) { self.len.saturating_sub(self.next) } else { 0 }
    }

    /// Looks how long it is now. Whether it is shorter than what was read of it, or begins otherwise: then it is another one.
    pub(super) fn is_another(&mut self) -> io::Result<bool> {
        let Some(content) = &self.content else { return Ok(false) };
        if matches!(content, Content::Piped(..)) {
            self.quiet_len = None; // a pipe does not say how much is in it
        }
        let Some(metadata) = content.metadata()? else { return Ok(false) };
        let (len, modified) = (metadata.len(), metadata.modified().map(Timestamp::from).unwrap_or_default());
        (self.len, self.modified) = (len, modified);
        let Some(head) = content.head()? else { return Ok(false) };
        let known = self.position.head;
        if len < self.next || (known != Head::default() && !known.begins(&head)) {
            return Ok(true);
        }
        let head = Head::of(&head);
        if head.is_longer_than(&known) {
            (self.position.head, self.is_dirty) = (head, true);
        }
        Ok(false)
    }

    /// Reads whole lines into `buffer`. Of a file that became another one meanwhile, nothing: what was read may be of the other, from the
    /// middle of a line on, and the next look tells.
    pub(super) fn read(&mut self, max_line: usize, buffer: &mut Vec<u8>) -> io::Result<Block> {
        let offset = self.next + self.skipped;
        let Some(content) = &mut self.content else { return Ok(Block::End) };
        let block = content.read(offset, max_line, buffer)?;
        let known = self.position.head;
        let is_another = known != Head::default() && content.head()?.is_some_and(|head| !known.begins(&head));
        if block == Block::NoneYet || is_another {
            self.wait_for_more();
        }
        if is_another {
            buffer.clear();
            return Ok(Block::NoneYet);
        }
        Ok(block)
    }

    /// There is nothing in it to read until it is longer.
    pub(super) fn wait_for_more(&mut self) {
        self.quiet_len = Some(self.len);
    }

    /// Goes on where another one of the same content was left.
    pub(super) fn take_over(&mut self, before: Self) {
        (self.framer, self.held, self.done) = (before.framer, before.held, before.done);
        (self.skipped, self.next_at) = (before.skipped, before.next_at);
    }

    /// What is read of a file may be more than was there when it was last looked at, and be gone at the next look: what it is known by must
    /// not be less than what is counted of it.
    pub(super) fn learn_head(&mut self, read: &[u8]) {
        let head = Head::of(read);
        if self.next == 0 && self.skipped == 0 && head.is_longer_than(&self.position.head) {
            (self.position.head, self.is_dirty) = (head, true);
        }
    }

    /// It may hold something to read after all.
    pub(super) fn look_again(&mut self) {
        self.quiet_len = None;
    }

    /// Gives back what was read for a look ahead.
    pub(super) fn unread(&mut self, buffer: &[u8]) {
        if let Some(Content::Packed(_, rest) | Content::Piped(_, rest)) = &mut self.content {
            rest.splice(0..0, buffer.iter().copied());
        }
    }

    /// Lines up to `next` are read.
    pub(super) fn advance(&mut self, next: u64) {
        (self.next, self.skipped, self.is_dirty) = (next, 0, true);
        if self.held.is_empty() && !self.framer.has_open() {
            // Not those behind it, where a life before this one was further.
            self.done = self.done.split_off(&(next, 0));
        }
    }

    /// No more will come of it.
    pub(super) fn end(&mut self) {
        (self.content, self.is_dirty) = (None, true);
    }

    /// Whether an event was counted in an earlier life.
    pub(super) fn is_done(&self, event: EventAt) -> bool {
        self.done.contains(&event)
    }

    /// An event waits for its other half: all behind it has to be read again if we die before that comes.
    pub(super) fn hold(&mut self, event: EventAt) {
        self.held.insert(event);
    }

    /// An event is counted that nothing held; `in_batch` if its line has others.
    pub(super) fn counted(&mut self, event: EventAt, in_batch: bool) {
        if in_batch || !self.held.is_empty() || self.framer.has_open() {
            self.done.insert(event);
            while self.done.len() > MAX_DONE && self.held.pop_first().is_some() {
                self.forget_done();
            }
        }
    }

    /// An event no longer waits: it is counted, or given up.
    pub(super) fn release(&mut self, event: EventAt) {
        self.held.remove(&event);
        self.is_dirty = true;
        self.counted(event, true);
    }

    /// The same for one that is about to be counted.
    pub(super) fn unhold(&mut self, event: EventAt) {
        self.held.remove(&event);
    }

    /// Whether all of it is read and counted.
    pub(super) fn is_finished(&self) -> bool {
        self.content.is_none() && self.held.is_empty()
    }

    /// How far it has been read and counted, if that is other than at the last call.
    pub(super) fn moved(&mut self) -> Option<&Position> {
        if !std::mem::take(&mut self.is_dirty) {
            return None;
        }
        let (offset, streams) = self.forget_done();
        (self.position.offset, self.position.streams) = (offset, streams);
        self.position.done.clone_from(&self.done);
        self.position.is_finished = self.is_finished();
        Some(&self.position)
    }

    fn forget_done(&mut self) -> (u64, [u64; 2]) {
        let (counted, streams) = self.framer.counted(self.next);
        let held = self.held.first().map(|&(start, _)| start).filter(|&start| start < counted);
        let from = held.unwrap_or(counted);
        self.done = self.done.split_off(&(from, 0));
        // Where an event is held, it is by `done` that the lines behind it are known.
        (from, if held.is_some() { [0; 2] } else { streams })
    }
}
