//! Which files there are, and which of them is which: logs are rotated by renaming or by copying, and compressed later, and no line
//! of them may be lost or counted twice for that.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use tracing::{info, warn};

use super::content::{Content, is_packed};
use super::fetch::{Brought, Earlier, Object};
use super::followed::Followed;
use super::objects::{ObjectId, Objects};
use super::position::{Head, Inode, Position, are_kin};
use crate::config::{LogsConfig, RawLogFormat, RawReadFrom};
use crate::drift::Timestamp;
use crate::pipeline::timed::Marks;

/// A writer may hold on to a file for a while after it was rotated away.
const GONE_WAIT: Duration = Duration::from_secs(10);

/// A file that nobody has written to for so long is whole, or broken.
const WRITTEN: Duration = Duration::from_mins(1);

/// Files that are no longer there are known by their first bytes for as long as these are no more: copies and compressed ones of
/// them turn up later.
const MAX_GONE: usize = 4096;

/// All files of one source.
#[derive(Debug)]
pub(super) struct Files {
    config: LogsConfig,
    pub(super) followed: BTreeMap<u64, Followed>,
    /// Files that are read to their end, or no longer there.
    known: BTreeMap<u64, Known>,
    /// Objects that are not being read.
    objects: Objects,
    next_mark: u64,
    /// Marks of `known` that are other than at the last call of [`Self::moved`].
    changed: Vec<u64>,
    /// Marks of no more use.
    dropped: Vec<u64>,
    /// Read from its beginning or its end: asked only where nothing is known of earlier lives.
    read_from: RawReadFrom,
    warned: Option<String>,
}

/// A file that is not read now.
#[derive(Debug)]
struct Known {
    position: Position,
    /// Its length and time when it was last seen to be this one.
    seen: Option<(u64, Timestamp)>,
}

/// A file that a pattern leads to.
#[derive(Debug)]
struct Listed {
    path: PathBuf,
    inode: Inode,
    len: u64,
    modified: Timestamp,
}

impl Listed {
    fn new(path: PathBuf, metadata: &Metadata) -> Self {
        let modified = metadata.modified().map(Timestamp::from).unwrap_or_default();
        Self { path, inode: inode(metadata), len: metadata.len(), modified }
    }

    /// Whether it is whole, or broken.
    fn is_settled(&self) -> bool {
        Timestamp::from(SystemTime::now()).since(self.modified) > WRITTEN
    }
}

/// What came of looking for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sought {
    /// It is followed.
    Found,
    /// Something may be it, once it is written whole.
    NotYet,
    /// It is gone.
    Nowhere,
}

fn inode(metadata: &Metadata) -> Inode {
    Inode { device: metadata.dev(), number: metadata.ino() }
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

impl Files {
    /// Those of an earlier life are where it left them.
    pub(super) fn new(config: &LogsConfig, marks: &Marks) -> Self {
        let (mut known, mut objects) = (BTreeMap::new(), Objects::default());
        for (&mark, bytes) in marks {
            let Some(position) = Position::from_bytes(bytes) else { continue };
            match ObjectId::of_position(&position) {
                Some(id) => objects.restore(id, mark, position),
                None => drop(known.insert(mark, Known { position, seen: None })),
            }
        }
        let read_from = if marks.is_empty() { config.read_from } else { RawReadFrom::Beginning };
        let mut files = Self {
            config: config.clone(),
            followed: BTreeMap::new(),
            next_mark: marks.last_key_value().map_or(0, |(mark, _)| mark + 1),
            known,
            objects,
            changed: Vec::new(),
            dropped: Vec::new(),
            read_from,
            warned: None,
        };
        if config.include.iter().any(|pattern| pattern == "-") {
            let position = Position::start(Path::new("-"), Inode::NONE, Head::default());
            files.follow(position, Content::stdin(), Timestamp::default());
        }
        files
    }

    /// Looks which files there are. Says how many were cut off before all of them was read.
    pub(super) fn discover(&mut self, now: Instant) -> u64 {
        let listed = self.listed();
        let of_known = self.known.iter().map(|(&mark, known)| (known.position.inode, mark));
        let of_followed = self.followed.iter().map(|(&mark, file)| (file.position.inode, mark));
        let by_inode: HashMap<_, _> = of_known.chain(of_followed).collect();
        let inodes: HashSet<_> = listed.iter().map(|file| file.inode).collect();
        let mut is_there = Vec::with_capacity(listed.len());
        let mut unknown = Vec::new();
        for file in listed {
            match by_inode.get(&file.inode) {
                Some(&mark) if self.is_still(mark, &file) => is_there.push(mark),
                _ => unknown.push(file),
            }
        }
        is_there.sort_unstable();
        for (mark, file) in &mut self.followed {
            if file.is_object {
                continue; // it is all here
            }
            let is_gone = file.position.path != Path::new("-") && is_there.binary_search(mark).is_err();
            file.gone = if is_gone { file.gone.or(Some(now)) } else { None };
        }
        let n_truncated = self.poll();
        for file in unknown {
            self.meet(file);
        }
        self.seek_lost();
        self.read_from = RawReadFrom::Beginning;
        self.forget(&inodes);
        n_truncated
    }

    /// Whether a listed file is the one of this mark; then it is told what is new of it.
    fn is_still(&mut self, mark: u64, listed: &Listed) -> bool {
        if let Some(file) = self.followed.get_mut(&mark) {
            if file.position.path != listed.path {
                file.position.path.clone_from(&listed.path);
                file.advance(file.next);
            }
            return true;
        }
        // Read to its end, and not written to since; else it is met anew, and known by its first bytes or not.
        let seen = Some((listed.len, listed.modified));
        self.known.get(&mark).is_some_and(|known| known.position.is_finished && known.seen == seen)
    }

    /// Looks how long the files are that are followed. Those whose content is another one than it was begin anew, and what was read
    /// of the old one stays known. Says how many were cut off before all of them was read.
    pub(super) fn poll(&mut self) -> u64 {
        let mut others = Vec::new();
        for (&mark, file) in &mut self.followed {
            let n_unread = file.n_unread();
            match file.is_another() {
                Ok(true) => others.push((mark, n_unread)),
                Ok(false) => (),
                Err(error) => warn!(%error, path = %file.position.path.display(), "cannot look at a log"),
            }
        }
        let mut n_truncated = 0;
        for (mark, n_unread) in others {
            let Some(mut file) = self.followed.remove(&mark) else { continue };
            info!(path = %file.position.path.display(), n_unread, "a log was cut off and begins anew");
            file.moved();
            let old = file.position.clone();
            let head =
                file.content.as_ref().and_then(|content| content.head().ok().flatten()).unwrap_or_default();
            if let Some(content) = file.content.take() {
                let position = Position::start(&old.path, old.inode, Head::of(&head));
                self.follow(position, content, file.modified);
            }
            // Its inode is another file's now.
            let old = Position { inode: Inode::NONE, ..old };
            self.know(mark, old.clone(), None);
            let is_lost = self.seek(mark, &old) == Sought::Nowhere;
            n_truncated += u64::from(n_unread > 0 && is_lost);
        }
        n_truncated
    }

    /// Follows a file that was not there before, unless it is one that was, under another name or compressed.
    fn meet(&mut self, listed: Listed) {
        let path = listed.path.clone();
        if let Err(error) = self.try_meet(listed) {
            // It may be gone again, or not be written whole yet: the next look tells.
            let problem = format!("{}: {error}", path.display());
            if self.warned.as_ref() != Some(&problem) && error.kind() != io::ErrorKind::NotFound {
                warn!(%error, path = %path.display(), "cannot read a log yet, trying again");
                self.warned = Some(problem);
            }
        }
    }

    fn try_meet(&mut self, listed: Listed) -> io::Result<()> {
        let Listed { path, inode, len, modified } = listed;
        let (content, head) = self.open(&path)?;
        let is_alike = |position: &Position| position.head.begins(&head) && are_kin(&position.path, &path);
        if let Some((&mark, file)) = self.followed.iter().find(|(_, file)| is_alike(&file.position)) {
            let is_copy_packed = matches!(content, Content::Packed(..));
            let is_there = file.gone.is_none() || !file.content.as_ref().is_none_or(Content::is_unlinked);
            let is_longer = matches!(file.content, Some(Content::Plain(_))) && len > file.len;
            if is_there && (is_copy_packed || file.gone.is_none() && !is_longer) {
                return Ok(()); // a copy of what is read from where it was written
            }
            if is_there {
                // Longer than what it would be a copy of: another one that begins alike.
                return self.begin(Position::start(&path, inode, Head::of(&head)), content, modified);
            }
            let position = file.position.found_at(path, inode, &head);
            let offset = file.next;
            return self.resume(mark, position, offset, content, modified);
        }
        let begins = Position::start(&path, inode, Head::of(&head));
        let of_inode = self.known.iter().find(|(_, known)| known.position.inode == inode);
        let is_it = |known: &Position| is_alike(known) || known.head == Head::default() && known.path == path;
        let is_copy = |known: &Position| {
            !known.is_finished || len == known.offset || !matches!(content, Content::Plain(_))
        };
        let alike = || {
            let mut all = self.known.iter();
            all.find(|(_, known)| is_alike(&known.position) && is_copy(&known.position))
        };
        let Some((&mark, known)) = of_inode.filter(|(_, known)| is_it(&known.position)).or_else(alike) else {
            if let Some((&mark, _)) = of_inode
                && let Some(stale) = self.known.get_mut(&mark)
            {
                stale.position.inode = Inode::NONE;
            }
            return self.begin(begins, content, modified);
        };
        let is_same = known.position.inode == inode;
        let position = known.position.found_at(path, inode, &head);
        let is_read = position.is_finished
            && content.metadata()?.is_some_and(|metadata| metadata.len() <= position.offset);
        if is_same && is_read || position.is_finished && matches!(content, Content::Table(..)) {
            self.know(mark, position, Some((len, modified)));
            return Ok(());
        }
        let offset = position.offset;
        self.resume(mark, position, offset, content, modified)
    }

    fn open(&self, path: &Path) -> io::Result<(Content, Vec<u8>)> {
        Content::open(path, self.config.format == RawLogFormat::KServe && has_extension(path, "csv"))
    }

    fn know(&mut self, mark: u64, position: Position, seen: Option<(u64, Timestamp)>) {
        self.known.insert(mark, Known { position, seen });
        self.changed.push(mark);
    }

    /// Goes on with a file that was known before.
    fn resume(
        &mut self,
        mark: u64,
        position: Position,
        offset: u64,
        mut content: Content,
        modified: Timestamp,
    ) -> io::Result<()> {
        if !content.skip(offset)? {
            // It begins alike and is shorter than what was read: another one.
            let (content, head) = self.open(&position.path)?;
            return self.begin(
                Position::start(&position.path, position.inode, Head::of(&head)),
                content,
                modified,
            );
        }
        self.known.remove(&mark);
        let mut file = Followed::new(position, content, self.config.lines, self.config.max_line_bytes);
        (file.modified, file.next) = (modified, offset);
        if let Some(before) = self.followed.remove(&mark) {
            file.take_over(before);
        }
        self.followed.insert(mark, file);
        Ok(())
    }

    /// Begins with a file of which nothing was known.
    fn begin(&mut self, mut position: Position, mut content: Content, modified: Timestamp) -> io::Result<()> {
        if self.read_from == RawReadFrom::End {
            let Some(metadata) = content.metadata()? else {
                let mark = self.mark();
                position.is_finished = true;
                self.know(mark, position, None);
                return Ok(());
            };
            position.offset = metadata.len();
            content.skip(position.offset)?;
        }
        info!(path = %position.path.display(), offset = position.offset, "reading a log");
        self.follow(position, content, modified);
        Ok(())
    }

    fn follow(&mut self, position: Position, content: Content, modified: Timestamp) {
        let mark = self.mark();
        let mut file = Followed::new(position, content, self.config.lines, self.config.max_line_bytes);
        file.modified = modified;
        self.followed.insert(mark, file);
    }

    fn mark(&mut self) -> u64 {
        let mark = self.next_mark;
        self.next_mark += 1;
        mark
    }

    /// What no pattern leads to any more but was not read to its end: it may lie beside under another name.
    fn seek_lost(&mut self) {
        let lost = self.known.iter().filter(|(_, known)| !known.position.is_finished);
        let lost: Vec<_> = lost.map(|(&mark, known)| (mark, known.position.clone())).collect();
        for (mark, position) in lost {
            if self.seek(mark, &position) == Sought::Nowhere {
                // Looked for once; copies of it are known by their first bytes still.
                self.know(mark, Position { is_finished: true, ..position }, None);
            }
        }
    }

    /// Looks for a file beside that is the content of a position, which is then followed from there.
    fn seek(&mut self, mark: u64, position: &Position) -> Sought {
        let folder = position.path.parent().unwrap_or(Path::new("."));
        let Ok(entries) = std::fs::read_dir(folder) else { return Sought::Nowhere };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let mut kin: Vec<_> = paths.filter(|path| are_kin(path, &position.path)).collect();
        // While a file is being compressed, both are there, and the compressed one may not be whole.
        kin.sort_by_key(|path| (is_packed(path), path.clone()));
        let mut sought = Sought::Nowhere;
        for path in kin {
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            let inode = inode(&metadata);
            let is_followed = self.followed.values().any(|file| file.position.inode == inode);
            if !metadata.is_file() || is_followed {
                continue;
            }
            let listed = Listed::new(path, &metadata);
            let may_be_written = !listed.is_settled();
            let (content, head) = match self.open(&listed.path) {
                Ok(opened) => opened,
                Err(_) if may_be_written => {
                    sought = Sought::NotYet;
                    continue;
                }
                Err(_) => continue,
            };
            if !position.head.begins(&head) {
                if may_be_written && is_packed(&listed.path) {
                    sought = Sought::NotYet;
                }
                continue;
            }
            let found = position.found_at(listed.path, inode, &head);
            let offset = position.offset;
            match self.resume(mark, found, offset, content, listed.modified) {
                Ok(()) => return Sought::Found,
                Err(_) if may_be_written => sought = Sought::NotYet,
                Err(_) => (),
            }
        }
        sought
    }

    /// Files that are read to their end need not be held open.
    pub(super) fn close_finished(&mut self, mark: u64) {
        if let Some(file) = self.followed.get(&mark)
            && file.is_finished()
            && let Some(mut file) = self.followed.remove(&mark)
        {
            file.moved();
            let Some(id) = ObjectId::of_position(&file.position) else {
                let seen = (file.len, file.modified);
                return self.know(mark, file.position, Some(seen));
            };
            match file.gone {
                None => self.objects.finish(id, mark),
                Some(_) => self.dropped.push(mark),
            }
        }
    }

    /// A compressed file that cannot be read on may not be written whole yet: it goes on once it is another. Whether nobody writes to it
    /// any more.
    pub(super) fn give_up(&mut self, mark: u64) -> bool {
        let Some(mut file) = self.followed.remove(&mark) else { return true };
        file.end();
        file.moved();
        let metadata = std::fs::metadata(&file.position.path).ok();
        let listed = metadata.map(|metadata| Listed::new(file.position.path.clone(), &metadata));
        let is_settled = listed.as_ref().is_none_or(Listed::is_settled);
        let seen = listed.map(|listed| (listed.len, listed.modified));
        self.know(mark, Position { is_finished: is_settled, ..file.position }, seen);
        is_settled
    }

    /// What is known of objects, and where to begin with them.
    pub(super) fn objects(&self) -> (Earlier, RawReadFrom) {
        (self.objects.earlier(), self.read_from)
    }

    /// Whether an object is being read: another one can wait.
    pub(super) fn has_object(&self) -> bool {
        self.followed.values().any(|file| file.is_object && file.content.is_some())
    }

    /// Takes in what the thread of the objects has brought. Whether it is a loss.
    pub(super) fn take(&mut self, brought: Brought, now: Instant) -> io::Result<bool> {
        match brought {
            Brought::Object(object) => self.read_object(object)?,
            Brought::TooLarge(id) => {
                self.pass(id);
                return Ok(true);
            }
            Brought::Passed(ids) => ids.into_iter().for_each(|id| self.pass(id)),
            Brought::Gone(ids) => {
                let ids: HashSet<_> = ids.into_iter().collect();
                self.dropped.extend(ids.iter().filter_map(|&id| self.objects.forget(id)));
                // Events of it may wait for their other halves yet.
                let is_gone = |file: &Followed| {
                    ObjectId::of_position(&file.position).is_some_and(|id| ids.contains(&id))
                };
                self.followed
                    .values_mut()
                    .filter(|file| is_gone(file))
                    .for_each(|file| file.gone = Some(now));
            }
        }
        Ok(false)
    }

    fn pass(&mut self, id: ObjectId) {
        let mark = self.mark();
        self.objects.finish(id, mark);
    }

    fn read_object(&mut self, object: Object) -> io::Result<()> {
        let Object { id, uri, bytes, modified } = object;
        let path = PathBuf::from(uri);
        let is_csv = self.config.format == RawLogFormat::KServe && has_extension(&path, "csv");
        let len = bytes.len() as u64;
        let (mark, position) = self.objects.resume(id).unwrap_or_else(|| {
            let mark = self.mark();
            (mark, Position::start(&path, id.inode(), Head::default()))
        });
        let skipped = Content::fetched(bytes, is_csv)
            .and_then(|mut content| content.skip(position.offset).map(|_| content));
        let content = match skipped {
            Ok(content) => content,
            Err(error) => {
                self.objects.finish(id, mark);
                return Err(error);
            }
        };
        let mut file = Followed::new(position, content, self.config.lines, self.config.max_line_bytes);
        (file.modified, file.len) = (modified, len);
        self.followed.insert(mark, file);
        Ok(())
    }

    /// Whether a file was rotated away so long ago that nobody writes to it any more.
    pub(super) fn is_abandoned(file: &Followed, now: Instant) -> bool {
        file.gone.is_some_and(|since| now.saturating_duration_since(since) >= GONE_WAIT)
    }

    /// Too many that are gone are forgotten, those of the lowest marks first.
    fn forget(&mut self, listed: &HashSet<Inode>) {
        let is_gone = |known: &&Known| !listed.contains(&known.position.inode);
        let n_over = self.known.values().filter(is_gone).count().saturating_sub(MAX_GONE);
        let gone = self.known.iter().filter(|(_, known)| is_gone(known)).map(|(&mark, _)| mark);
        for mark in gone.take(n_over).collect::<Vec<_>>() {
            self.known.remove(&mark);
            self.dropped.push(mark);
        }
    }

    /// Positions that are other than at the last call; `None` where one is of no more use.
    pub(super) fn moved(&mut self) -> Vec<(u64, Option<Box<[u8]>>)> {
        let mut moved: Vec<_> = self.dropped.drain(..).map(|mark| (mark, None)).collect();
        moved.extend(self.objects.moved().map(|(mark, position)| (mark, Some(position.to_bytes()))));
        for mark in self.changed.drain(..) {
            moved.extend(self.known.get(&mark).map(|known| (mark, Some(known.position.to_bytes()))));
        }
        for (&mark, file) in &mut self.followed {
            if file.position.path != Path::new("-")
                && let Some(position) = file.moved()
            {
                moved.push((mark, Some(position.to_bytes())));
            }
        }
        moved
    }

    fn listed(&mut self) -> Vec<Listed> {
        let mut listed = Vec::new();
        for pattern in self.config.files() {
            let Ok(paths) = glob::glob(pattern) else { continue };
            for path in paths.flatten() {
                let is_excluded = self.config.exclude.iter().any(|pattern| pattern.matches_path(&path));
                // Follows links: what lies in `/var/log/containers` leads to `/var/log/pods`.
                if let (false, Ok(metadata)) = (is_excluded, std::fs::metadata(&path))
                    && metadata.is_file()
                {
                    listed.push(Listed::new(path, &metadata));
                }
            }
        }
        // Several paths may lead to one file.
        listed.sort_by(|a, b| (a.inode, &a.path).cmp(&(b.inode, &b.path)));
        listed.dedup_by_key(|file| file.inode);
        let n_over = listed.len().saturating_sub(self.config.max_files);
        if n_over > 0 {
            listed.sort_by_key(|file| file.modified);
            listed.drain(..n_over);
            let problem = "more files than `logs.max_files`".to_owned();
            if self.warned.as_ref() != Some(&problem) {
                warn!(n_over, max_files = self.config.max_files, "{problem}: the oldest are not read");
                self.warned = Some(problem);
            }
        }
        // What a file is compressed from is met before it.
        listed.sort_by_key(|file| (is_packed(&file.path), file.modified));
        listed
    }
}
