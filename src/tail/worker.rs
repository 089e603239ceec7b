//! The thread that reads one source: the oldest lines first, line by line, and hands on what it counted.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::content::{Block, Content, Table};
use super::count::{Counting, Taken};
use super::fetch::{Brought, Fetching};
use super::files::Files;
use super::followed::{EventAt, Followed};
use super::frame::{Framed, Framer};
use super::line::LineReader;
use super::position::Head;
use super::store;
use crate::config::{LogsConfig, RawLogFormat};
use crate::drift::Timestamp;
use crate::pipeline::Learner;
use crate::pipeline::count::Decoder;
use crate::pipeline::event::Event;
use crate::pipeline::loader::Catalog;
use crate::pipeline::timed::{Counted, Marks, Slots};
use crate::telemetry::{DropReason, LogsMetrics, Outcome, TapMetrics};

/// How often it is looked which files there are.
const DISCOVER: Duration = Duration::from_secs(1);
/// How often, while there is nothing to read, it is looked whether files have grown.
const POLL: Duration = Duration::from_millis(50);
/// Looking at a file costs about so much; no more than a few percent of the time is spent so.
const POLL_PER_FILE: Duration = Duration::from_micros(50);
/// Counts are handed on after so much time at the latest, however their rows' times stand still.
const HAND_ON: Duration = Duration::from_secs(5);
/// A file that nobody has written to for so long is closed; it is opened again when somebody does.
const IDLE: Duration = Duration::from_mins(5);
/// A table is written in one go, and whole when nobody has written to it for so long.
const TABLE_SETTLED: Duration = Duration::from_secs(1);
/// A table that cannot be read after so long is none.
const TABLE_GIVEN_UP: Duration = Duration::from_mins(1);

/// Rows of models that have a baseline wait so long for those that have none yet.
const BASELINES_WAIT: Duration = Duration::from_mins(1);

/// A clock may be wrong by so much. A row of a later time would be the clock of all others, and make them late.
const AHEAD: Duration = Duration::from_hours(1);

/// Stands for the whole of a table, while it is being read.
const WHOLE: EventAt = (0, u32::MAX);

/// Reads one source.
#[derive(Debug)]
pub(super) struct Worker {
    config: LogsConfig,
    catalog: watch::Receiver<Arc<Catalog>>,
    reader: LineReader,
    pub(super) book: Book,
    metrics: LogsMetrics,
    stop: CancellationToken,
    interval: Duration,
    buffer: Vec<u8>,
    fetching: Option<Fetching>,
}

/// What a source begins with.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) source: usize,
    pub(super) config: LogsConfig,
    pub(super) slots: Slots,
    pub(super) models: (watch::Receiver<Arc<Catalog>>, Option<Learner>),
    /// Of an earlier life.
    pub(super) marks: Marks,
    /// Likewise.
    pub(super) watermark: Timestamp,
    pub(super) tap: TapMetrics,
    pub(super) metrics: LogsMetrics,
}

impl Worker {
    pub(super) fn new(start: Start, counted: mpsc::Sender<Counted>, stop: CancellationToken) -> Self {
        let Start { source, config, slots, models: (catalog, learner), marks, watermark, tap, metrics } =
            start;
        let decoder = Decoder::new(config.max_line_bytes, learner);
        let interval = slots.interval();
        let book = Book {
            source,
            catalog: catalog.clone(),
            files: Files::new(&config, &marks),
            counting: Counting::new(&config, slots, decoder, watermark, tap),
            counted,
            handed_on: Instant::now(),
        };
        let reader = LineReader::new(&config.fields);
        let (earlier, read_from) = book.files.objects();
        let fetching =
            Fetching::start(&config, earlier, read_from, metrics.fetch_errors.clone(), stop.clone());
        Self { config, catalog, reader, book, metrics, stop, interval, buffer: Vec::new(), fetching }
    }

    /// Reads until it is stopped, or nobody takes its counts.
    pub(super) fn run(mut self) {
        self.wait_for_baselines();
        let mut discovered: Option<Instant> = None;
        while !self.stop.is_cancelled() {
            let now = Instant::now();
            if discovered.is_none_or(|at| now.duration_since(at) >= DISCOVER) {
                self.discover(now);
                discovered = Some(now);
            }
            self.take_objects(now);
            let went_on = match self.oldest() {
                Some(mark) => self.read(mark, now),
                None => self.wait(),
            };
            if went_on.is_err() {
                return;
            }
        }
        // What was counted since is counted again in the next life, if there is one; without, this is the last word.
        let _ = self.book.hand_on();
    }

    /// A file can wait: rows that are read before their model's baseline is there would be lost. Where some are there, the others
    /// are not waited for without an end.
    fn wait_for_baselines(&mut self) {
        let began = Instant::now();
        loop {
            let models = Arc::clone(&self.catalog.borrow().models);
            let (n_models, n_loaded) = (models.len(), models.n_loaded());
            let is_ready = n_loaded == n_models || n_loaded > 0 && began.elapsed() >= BASELINES_WAIT;
            if is_ready || self.stop.is_cancelled() {
                return self.book.counting.count_for(models);
            }
            std::thread::sleep(POLL);
        }
    }

    fn discover(&mut self, now: Instant) {
        let n_truncated = self.book.files.discover(now);
        (0..n_truncated).for_each(|_| self.book.counting.drop_lines(DropReason::Truncated));
        self.book.counting.expire(now);
        self.book.release();
        self.close_idle(now);
        let files = self.book.files.followed.values();
        let n_unread: u64 = files.map(Followed::n_unread).sum();
        let n_unread = n_unread + self.fetching.as_ref().map_or(0, Fetching::unread_bytes);
        self.metrics.unread_bytes.set(i64::try_from(n_unread).unwrap_or(i64::MAX));
        self.metrics.files.set(i64::try_from(self.book.files.followed.len()).unwrap_or(i64::MAX));
        self.metrics.watermark.set(self.book.counting.watermark().as_millis() as f64 / 1e3);
    }

    /// Objects are taken one at a time, so that no more than one is here.
    fn take_objects(&mut self, now: Instant) {
        while !self.book.files.has_object()
            && let Some(brought) = self.fetching.as_ref().and_then(Fetching::now)
        {
            self.bring(brought, now);
        }
    }

    fn bring(&mut self, brought: Brought, now: Instant) {
        match self.book.files.take(brought, now) {
            Ok(false) => (),
            Ok(true) => self.book.counting.drop_lines(DropReason::TooLarge),
            Err(error) => {
                warn!(%error, "an object cannot be unpacked, it is left out");
                self.book.counting.pass_over(Outcome::Unrecognised);
            }
        }
    }

    /// Looks what there is; then, after `meanwhile`, reads what there is by then.
    #[cfg(test)]
    pub(super) fn read_all(&mut self, meanwhile: impl FnOnce()) -> Result<(), Gone> {
        self.wait_for_baselines();
        let now = Instant::now();
        self.discover(now);
        meanwhile();
        while let Some(mark) = self.oldest() {
            self.read(mark, now)?;
        }
        Ok(())
    }

    /// Files that nobody writes to any more.
    fn close_idle(&mut self, now: Instant) {
        let wall = Timestamp::from(SystemTime::now());
        let is_idle = |file: &Followed| match &file.content {
            Some(Content::Plain(_)) => {
                !file.has_unread() && wall.since(file.modified) >= IDLE && file.gone.is_none()
            }
            Some(_) => false,
            None => file.is_finished(),
        };
        let followed = self.book.files.followed.iter();
        let idle: Vec<_> = followed.filter(|(_, file)| is_idle(file)).map(|(&mark, _)| mark).collect();
        let abandoned = self.book.files.followed.iter().filter(|(_, file)| Files::is_abandoned(file, now));
        let abandoned: Vec<_> =
            abandoned.filter(|(_, file)| !file.has_unread()).map(|(&mark, _)| mark).collect();
        for mark in abandoned {
            self.last_line(mark);
            self.end(mark);
        }
        for mark in idle {
            self.end(mark);
        }
    }

    /// The file whose next line is the oldest.
    fn oldest(&mut self) -> Option<u64> {
        let unread = self.book.files.followed.iter().filter(|(_, file)| file.has_unread());
        let unknown: Vec<_> =
            unread.filter(|(_, file)| file.next_at.is_none()).map(|(&mark, _)| mark).collect();
        for mark in unknown {
            self.look_ahead(mark);
        }
        let unread = self.book.files.followed.iter().filter(|(_, file)| file.has_unread());
        unread.min_by_key(|(_, file)| file.next_at.unwrap_or(file.modified)).map(|(&mark, _)| mark)
    }

    /// When the next line of a file was; when the file was written, where that cannot be known.
    fn look_ahead(&mut self, mark: u64) {
        let Some(file) = self.book.files.followed.get_mut(&mark) else { return };
        file.next_at = Some(file.modified);
        if !matches!(file.content, Some(Content::Plain(_) | Content::Packed(..))) {
            return;
        }
        let block = match file.read(self.config.max_line_bytes, &mut self.buffer) {
            Ok(block) => block,
            Err(error) => return self.fail(mark, &error),
        };
        if block == Block::NoneYet {
            file.look_again(); // of KServe's records, one without a line feed may be whole
        } else {
            file.unread(&self.buffer);
        }
        let mut framer = Framer::new(self.config.lines, self.config.max_line_bytes, [0; 2]);
        let times = self.buffer.split(|&byte| byte == b'\n').find_map(|line| match framer.frame(line, 0) {
            Framed::Whole { content, at, .. } => self.reader.time_of(&content).or(at),
            _ => None,
        });
        file.next_at = times.or(file.next_at);
    }

    /// Reads a block of lines.
    fn read(&mut self, mark: u64, now: Instant) -> Result<(), Gone> {
        let Some(file) = self.book.files.followed.get_mut(&mark) else { return Ok(()) };
        if let Some(Content::Table(..) | Content::Fetched(..)) = file.content {
            return self.read_table(mark);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let block = file.read(self.config.max_line_bytes, &mut buffer);
        let outcome = match block {
            Ok(block) => self.take(mark, block, &buffer),
            Err(error) => {
                self.fail(mark, &error);
                Ok(())
            }
        };
        self.buffer = buffer;
        if now.duration_since(self.book.handed_on) >= HAND_ON.max(self.interval) {
            self.book.hand_on()?;
        }
        outcome
    }

    fn take(&mut self, mark: u64, block: Block, buffer: &[u8]) -> Result<(), Gone> {
        let Some(file) = self.book.files.followed.get_mut(&mark) else { return Ok(()) };
        match block {
            Block::Lines | Block::End => {
                file.learn_head(buffer);
                self.lines(mark, buffer, block == Block::End)?;
                if block == Block::End {
                    self.end(mark);
                }
            }
            Block::TooLong => {
                if file.skipped == 0 {
                    self.book.counting.drop_lines(DropReason::TooLarge);
                }
                file.skipped += buffer.len() as u64;
            }
            // KServe's records have no line feed behind them, and one that can be read is whole.
            Block::NoneYet
                if self.config.format == RawLogFormat::KServe && !buffer.trim_ascii().is_empty() =>
            {
                if store::of_json(buffer).is_ok() {
                    if file.next == 0 {
                        file.position.head = Head::of_all(buffer);
                    }
                    self.lines(mark, buffer, true)?;
                }
            }
            Block::NoneYet => (),
        }
        Ok(())
    }

    /// Counts the lines of a block, the last of which may end without a line feed.
    fn lines(&mut self, mark: u64, mut buffer: &[u8], has_last: bool) -> Result<(), Gone> {
        let Some(file) = self.book.files.followed.get_mut(&mark) else { return Ok(()) };
        let (mut start, modified) = (file.next, file.modified);
        self.metrics.read_bytes.inc_by(buffer.len() as u64);
        if file.skipped > 0 {
            // The rest of a line that is too long.
            let Some(end) =
                memchr::memchr(b'\n', buffer).map(|at| at + 1).or(has_last.then_some(buffer.len()))
            else {
                file.skipped += buffer.len() as u64;
                return Ok(());
            };
            start += file.skipped + end as u64;
            file.advance(start);
            buffer = &buffer[end..];
        }
        while !buffer.is_empty() {
            let (line, len) = match memchr::memchr(b'\n', buffer) {
                Some(at) => (&buffer[..at], at + 1),
                None => (buffer, buffer.len()),
            };
            if !line.trim_ascii().is_empty() {
                self.line(mark, line, start, modified)?;
            }
            start += len as u64;
            buffer = &buffer[len..];
            if let Some(file) = self.book.files.followed.get_mut(&mark) {
                file.advance(start);
            }
        }
        Ok(())
    }

    fn line(&mut self, mark: u64, line: &[u8], start: u64, modified: Timestamp) -> Result<(), Gone> {
        let Some(file) = self.book.files.followed.get_mut(&mark) else { return Ok(()) };
        if line.len() > self.config.max_line_bytes {
            self.book.counting.drop_lines(DropReason::TooLarge);
            return Ok(());
        }
        let (content, from, written) = match file.framer.frame(line, start) {
            Framed::Whole { content, from, at } => (content, from, at),
            Framed::Part | Framed::Known => return Ok(()),
            Framed::Junk => {
                self.book.counting.pass_over(Outcome::Unrecognised);
                return Ok(());
            }
            Framed::TooLong => {
                self.book.counting.drop_lines(DropReason::TooLarge);
                return Ok(());
            }
        };
        if self.config.format == RawLogFormat::KServe {
            return self.records(mark, &content, from, written.unwrap_or(modified));
        }
        if file.is_done((from, 0)) {
            return Ok(());
        }
        // By itself, a line knows no better than that it is there now, or that its object was written then.
        let written = written.or(file.is_object.then_some(modified));
        let fallback = || written.unwrap_or_else(|| Timestamp::from(SystemTime::now()));
        match self.reader.read(&content) {
            Err(outcome) => self.book.counting.pass_over(outcome),
            Ok(line) => {
                let at = line.at.unwrap_or_else(fallback);
                if is_future(at) {
                    self.book.counting.drop_lines(DropReason::Future);
                    return Ok(());
                }
                self.book.before((mark, (from, 0)), at)?;
                let taken = self.book.counting.line(line, at, (mark, (from, 0)));
                self.book.settle(mark, (from, 0), (taken, false));
            }
        }
        Ok(())
    }

    /// KServe's records of one line.
    fn records(&mut self, mark: u64, text: &[u8], start: u64, written: Timestamp) -> Result<(), Gone> {
        let Ok(records) = store::of_json(text) else {
            self.book.counting.pass_over(Outcome::Unrecognised);
            return Ok(());
        };
        let in_batch = records.len() > 1;
        for (idx, (event, at)) in (0u32..).zip(records) {
            self.book.event((mark, (start, idx)), (event, at.unwrap_or(written)), in_batch)?;
        }
        Ok(())
    }

    /// A table is read as a whole, once it is one.
    fn read_table(&mut self, mark: u64) -> Result<(), Gone> {
        let Some(file) = self.book.files.followed.get_mut(&mark) else { return Ok(()) };
        file.next_at = Some(file.modified);
        let age = Timestamp::from(SystemTime::now()).since(file.modified);
        let is_settled = file.is_object || age >= TABLE_SETTLED;
        let is_given_up = file.is_object || age >= TABLE_GIVEN_UP;
        if !is_settled {
            self.pause();
            return Ok(());
        }
        let (modified, path) = (file.modified, file.position.path.clone());
        let (kind, bytes, lying) = match &file.content {
            Some(Content::Fetched(bytes, kind)) => (*kind, bytes.clone(), None),
            Some(Content::Table(table, kind)) => match rewound(table) {
                Ok(table) => (*kind, Bytes::new(), Some(table)),
                Err(error) => {
                    self.fail(mark, &error);
                    return Ok(());
                }
            },
            _ => return Ok(()),
        };
        file.hold(WHOLE);
        let (mut idx, mut outcome) = (0, Ok(()));
        let mut each = |(event, at): store::Stored<'static>| {
            if outcome.is_ok() {
                outcome = self.book.event((mark, (0, idx)), (event, at.unwrap_or(modified)), true);
                idx += 1;
            }
        };
        let read = || match (kind, lying) {
            (Table::Csv, Some(table)) => store::of_csv(table, &mut each),
            (Table::Csv, None) => store::of_csv(&bytes[..], &mut each),
            (Table::Parquet, Some(table)) => store::of_parquet(table, &mut each),
            (Table::Parquet, None) => store::of_parquet(bytes, &mut each),
        };
        // A broken table that finds a bug in a library must not end the reading of all others.
        let read = catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(store::NotStored::of_bug()));
        outcome?;
        match read {
            Err(error) if !is_given_up => {
                info!(%error, path = %path.display(), "not a whole table yet, trying again");
                if let Some(file) = self.book.files.followed.get_mut(&mark) {
                    file.wait_for_more();
                }
                return Ok(());
            }
            Err(error) => {
                warn!(%error, path = %path.display(), "a table cannot be read, it is left out");
                self.book.counting.pass_over(Outcome::Unrecognised);
            }
            Ok(()) => (),
        }
        if let Some(file) = self.book.files.followed.get_mut(&mark) {
            self.metrics.read_bytes.inc_by(file.len);
            file.advance(1);
            file.release(WHOLE);
        }
        self.end(mark);
        Ok(())
    }

    /// The rest of a file behind its last line feed, when no more can come.
    fn last_line(&mut self, mark: u64) {
        let Some(file) = self.book.files.followed.get_mut(&mark) else { return };
        let mut buffer = std::mem::take(&mut self.buffer);
        if matches!(file.read(self.config.max_line_bytes, &mut buffer), Ok(Block::NoneYet | Block::Lines)) {
            // Whoever takes no more counts ends us at the next call.
            let _ = self.lines(mark, &buffer, true);
        }
        self.buffer = buffer;
    }

    fn end(&mut self, mark: u64) {
        if let Some(file) = self.book.files.followed.get_mut(&mark) {
            file.end();
        }
        self.book.files.close_finished(mark);
    }

    fn fail(&mut self, mark: u64, error: &io::Error) {
        let Some(file) = self.book.files.followed.get(&mark) else { return };
        let (path, offset) = (file.position.path.display().to_string(), file.next);
        // An object is whole where it lies.
        if file.is_object || self.book.files.give_up(mark) {
            warn!(%error, path, offset, "cannot read on in a log; what follows in it is lost");
            self.book.counting.drop_lines(DropReason::Truncated);
            self.end(mark);
        } else {
            info!(%error, path, offset, "a log is not written whole yet");
        }
    }

    /// Nothing to read: what was counted is handed on once a look would be due, and files are looked at again.
    fn wait(&mut self) -> Result<(), Gone> {
        if self.book.handed_on.elapsed() >= self.interval {
            self.book.hand_on()?;
        }
        self.pause();
        Ok(())
    }

    fn pause(&mut self) {
        let n_files = u32::try_from(self.book.files.followed.len()).unwrap_or(u32::MAX);
        let pause = POLL.max(POLL_PER_FILE.saturating_mul(n_files)).min(DISCOVER);
        match &self.fetching {
            Some(fetching) if !self.book.files.has_object() => {
                if let Some(brought) = fetching.within(pause) {
                    self.bring(brought, Instant::now());
                }
            }
            _ => std::thread::sleep(pause),
        }
        let n_truncated = self.book.files.poll();
        (0..n_truncated).for_each(|_| self.book.counting.drop_lines(DropReason::Truncated));
    }
}

fn rewound(table: &File) -> io::Result<File> {
    let mut table = table.try_clone()?;
    io::Seek::rewind(&mut table)?;
    Ok(table)
}

/// What was counted, and how far everything is read: handed on together.
#[derive(Debug)]
pub(super) struct Book {
    source: usize,
    catalog: watch::Receiver<Arc<Catalog>>,
    files: Files,
    counting: Counting,
    counted: mpsc::Sender<Counted>,
    handed_on: Instant,
}

/// Nobody takes counts any more.
#[derive(Debug)]
pub(super) struct Gone;

fn is_future(at: Timestamp) -> bool {
    at.since(Timestamp::from(SystemTime::now())) > AHEAD
}

impl Book {
    /// One of KServe's records.
    fn event(
        &mut self,
        (mark, place): (u64, EventAt),
        (event, at): (Event<'_>, Timestamp),
        in_batch: bool,
    ) -> Result<(), Gone> {
        if self.files.followed.get(&mark).is_none_or(|file| file.is_done(place)) {
            return Ok(());
        }
        if is_future(at) {
            self.counting.drop_lines(DropReason::Future);
            return Ok(());
        }
        self.before((mark, place), at)?;
        let taken = self.counting.event(event, at, (mark, place));
        self.settle(mark, place, (taken, in_batch));
        Ok(())
    }

    /// Where a look is due before a row of this time is counted, hands on what was counted so far.
    fn before(&mut self, (mark, place): (u64, EventAt), at: Timestamp) -> Result<(), Gone> {
        let is_due = self.counting.is_look_due(at);
        let Some(file) = self.files.followed.get_mut(&mark) else { return Ok(()) };
        file.next_at = Some(at);
        if is_due {
            file.hold(place);
            self.hand_on()?;
            if let Some(file) = self.files.followed.get_mut(&mark) {
                file.unhold(place);
            }
        }
        Ok(())
    }

    fn settle(&mut self, mark: u64, place: EventAt, (taken, in_batch): (Taken, bool)) {
        if let Some(file) = self.files.followed.get_mut(&mark) {
            match taken {
                Taken::Held => file.hold(place),
                Taken::Done => file.counted(place, in_batch),
            }
        }
        self.release();
    }

    fn release(&mut self) {
        for (mark, place) in self.counting.take_released() {
            if let Some(file) = self.files.followed.get_mut(&mark) {
                file.release(place);
            }
            self.files.close_finished(mark);
        }
    }

    /// Hands on everything. Waits where the evaluator is behind: a file can wait.
    pub(super) fn hand_on(&mut self) -> Result<(), Gone> {
        self.handed_on = Instant::now();
        let counted = Counted {
            source: self.source,
            watermark: self.counting.watermark(),
            slots: self.counting.take(),
            moved: self.files.moved(),
        };
        // Between two stretches, so that each is of one set of models.
        self.counting.count_for(Arc::clone(&self.catalog.borrow().models));
        if counted.slots.is_empty() && counted.moved.is_empty() {
            return Ok(());
        }
        self.counted.blocking_send(counted).map_err(|_| Gone)
    }
}
