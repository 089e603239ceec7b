//! A source against a small model of what happens to logs: whatever happens, every line is counted once.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use prometheus::Registry;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::baseline::{Baseline, Role};
use crate::config::{ModelConfig, RawLogs};
use crate::drift::Histogram;
use crate::pipeline::models::Slot;
use crate::pipeline::{Model, Models, Origin};
use crate::telemetry::TapFamilies;

/// What may happen to a log, and to us.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// So many lines are written, and then a part of one.
    Write(usize, bool),
    Rename,
    CopyAndTruncate,
    /// The oldest rotated file is compressed, in two steps: a part of this many 256ths is there before the whole is.
    Compress(u8),
    Read,
    /// So many lines are written after it was looked what there is, and before that is read.
    ReadWhileWritten(usize),
    HandOn,
    Crash,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0usize..12, any::<bool>()).prop_map(|(n_lines, and_part)| Event::Write(n_lines, and_part)),
        1 => Just(Event::Rename),
        1 => Just(Event::CopyAndTruncate),
        2 => any::<u8>().prop_map(Event::Compress),
        3 => Just(Event::Read),
        1 => (0usize..12).prop_map(Event::ReadWhileWritten),
        2 => Just(Event::HandOn),
        1 => Just(Event::Crash),
    ]
}

/// Bins, and lines at most: each line has its own.
const N_LINES: usize = 400;

fn catalog() -> watch::Receiver<Arc<Catalog>> {
    let mut counts = vec![1; N_LINES];
    counts[0] = 2;
    let edges: Vec<_> = (1..N_LINES).map(|line| line as f64 - 0.5).collect();
    let n_rows = counts.iter().sum::<u64>();
    let groups: Vec<_> = (0..10).map(|group| group * N_LINES / 10).collect();
    let file = json!({"format": "driftd.baseline/v1", "rows": n_rows, "features": [
        {"name": "line", "role": Role::Feature, "kind": "numeric", "rows": n_rows, "missing": 0, "other": 0, "edges": edges,
         "group_starts": groups, "counts": counts, "min": 0.0, "max": N_LINES as f64, "mean": 200.0, "std": 100.0}]});
    let baseline = Baseline::from_json(file.to_string().as_bytes()).unwrap();
    let config = Arc::new(ModelConfig::new("baseline.json"));
    let model = Some(Arc::new(Model::new(&config, baseline, Origin::Own)));
    let models = Arc::new(Models::new(vec![Slot { config, model }]));
    watch::channel(Arc::new(Catalog { models, ..Catalog::default() })).1
}

fn append(path: &Path, text: &str) {
    OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

struct World {
    folder: TempDir,
    config: LogsConfig,
    catalog: watch::Receiver<Arc<Catalog>>,
    worker: Option<Worker>,
    handed_on: mpsc::Receiver<Counted>,
    marks: Marks,
    watermark: Timestamp,
    counts: Histogram,
    n_written: usize,
    part: Option<String>,
    n_rotated: usize,
    plain: Vec<PathBuf>,
    /// A compressed file that is written in part, what is missing of it, and the file it is made of.
    packing: Option<(PathBuf, Vec<u8>, PathBuf)>,
}

impl World {
    fn new(pattern: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let include = folder.path().join(pattern).display().to_string();
        let raw: RawLogs =
            serde_saphyr::from_str(&format!("{{include: ['{include}'], features: /x, timestamp: /t}}"))
                .unwrap();
        let mut world = Self {
            config: raw.try_into().unwrap(),
            catalog: catalog(),
            folder,
            worker: None,
            handed_on: mpsc::channel(1).1,
            marks: Marks::new(),
            watermark: Timestamp::default(),
            counts: Histogram::new(N_LINES),
            n_written: 0,
            part: None,
            n_rotated: 0,
            plain: Vec::new(),
            packing: None,
        };
        world.start();
        world
    }

    /// A new life, from what was handed on in earlier ones.
    fn start(&mut self) {
        self.take();
        let registry = Registry::new();
        let (sender, receiver) = mpsc::channel(10_000);
        let start = Start {
            source: 0,
            config: self.config.clone(),
            slots: Slots::new(&EvaluationConfig::default()),
            models: (self.catalog.clone(), None),
            marks: self.marks.clone(),
            watermark: self.watermark,
            tap: TapFamilies::register(&registry).unwrap().of("logs"),
            metrics: LogsFamilies::register(&registry).unwrap().of("test"),
        };
        self.worker = Some(Worker::new(start, sender, CancellationToken::new()));
        self.handed_on = receiver;
    }

    /// What the evaluator does: counts and marks together.
    fn take(&mut self) {
        while let Ok(counted) = self.handed_on.try_recv() {
            self.watermark = self.watermark.max(counted.watermark);
            for counts in counted.slots.values() {
                self.counts.add(&counts.models[0].as_ref().unwrap().histograms[0]);
            }
            for (mark, position) in counted.moved {
                match position {
                    Some(position) => drop(self.marks.insert(mark, position)),
                    None => drop(self.marks.remove(&mark)),
                }
            }
        }
    }

    fn path(&self, suffix: &str) -> PathBuf {
        self.folder.path().join(format!("app.log{suffix}"))
    }

    fn append(&self, text: &str) {
        append(&self.path(""), text);
    }

    fn line(&mut self) -> String {
        let line = self.n_written;
        self.n_written += 1;
        format!("{{\"t\": {}, \"x\": [{line}]}}\n", 1_777_636_800 + line)
    }

    fn end_part(&mut self) {
        if let Some(rest) = self.part.take() {
            self.append(&rest);
        }
    }

    fn end_packing(&mut self) {
        if let Some((packed, rest, plain)) = self.packing.take() {
            OpenOptions::new().append(true).open(packed).unwrap().write_all(&rest).unwrap();
            fs::remove_file(plain).unwrap();
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Write(n_lines, and_part) => {
                self.end_part();
                let n_lines = n_lines.min(N_LINES - 1 - self.n_written.min(N_LINES - 1));
                let text: String = (0..n_lines).map(|_| self.line()).collect();
                self.append(&text);
                if and_part && self.n_written < N_LINES {
                    let mut line = self.line();
                    self.part = Some(line.split_off(7));
                    self.append(&line);
                }
            }
            // Both are done between lines, and by the same tool, which sees to names of its own.
            Event::Rename | Event::CopyAndTruncate => {
                self.end_part();
                if !self.path("").exists() {
                    return;
                }
                self.n_rotated += 1;
                let rotated = self.path(&format!(".{}", self.n_rotated));
                if matches!(event, Event::Rename) {
                    fs::rename(self.path(""), &rotated).unwrap();
                } else {
                    fs::copy(self.path(""), &rotated).unwrap();
                    OpenOptions::new().write(true).truncate(true).open(self.path("")).unwrap();
                }
                self.plain.push(rotated);
            }
            Event::Compress(_) if self.packing.is_some() => self.end_packing(),
            Event::Compress(share) => {
                if self.plain.is_empty() {
                    return;
                }
                let path = self.plain.remove(0);
                let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
                packed.write_all(&fs::read(&path).unwrap()).unwrap();
                let mut packed = packed.finish().unwrap();
                let rest = packed.split_off(packed.len() * usize::from(share) / 256);
                let to = PathBuf::from(format!("{}.gz", path.display()));
                fs::write(&to, packed).unwrap();
                self.packing = Some((to, rest, path));
            }
            Event::Read => self.worker.as_mut().unwrap().read_all(|| ()).unwrap(),
            Event::ReadWhileWritten(n_lines) => {
                let n_lines = n_lines.min(N_LINES - 1 - self.n_written.min(N_LINES - 1));
                let text: String = self.part.take().unwrap_or_default()
                    + &(0..n_lines).map(|_| self.line()).collect::<String>();
                let path = self.path("");
                let write = || append(&path, &text);
                self.worker.as_mut().unwrap().read_all(write).unwrap();
            }
            Event::HandOn => self.worker.as_mut().unwrap().book.hand_on().unwrap(),
            Event::Crash => {
                drop(self.worker.take());
                self.start();
            }
        }
    }
}

#[test]
fn what_is_read_is_known_again_though_it_was_a_part_of_a_line_at_the_last_look() {
    let mut world = World::new("app.log*");
    let events = [
        Event::Write(0, true),
        Event::ReadWhileWritten(3),
        Event::CopyAndTruncate,
        Event::Write(2, false),
        Event::Read,
        Event::HandOn,
    ];
    for event in events {
        world.happen(event);
    }
    world.take();
    assert_eq!(&world.counts.bins()[..7], [1, 1, 1, 1, 1, 1, 0]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// However logs are written, rotated, copied and compressed, whenever we die and begin again.
    #[test]
    fn every_line_is_counted_once(events in vec(event(), 0..60), all in any::<bool>()) {
        let mut world = World::new(if all { "app.log*" } else { "app.log" });
        // What no pattern leads to must have been seen before it was rotated, with a line that tells it from others, or nobody
        // has told us of it.
        let (mut is_read, mut is_seen) = (false, false);
        for &event in &events {
            match event {
                Event::Rename | Event::CopyAndTruncate if !all && !is_seen => continue,
                Event::Rename | Event::CopyAndTruncate | Event::Crash => (is_read, is_seen) = (false, false),
                Event::ReadWhileWritten(_) | Event::Read => is_read = fs::read(world.path("")).is_ok_and(|text| text.contains(&b'\n')),
                Event::HandOn => is_seen |= is_read,
                Event::Write(..) | Event::Compress(_) => (),
            }
            world.happen(event);
        }
        world.end_part();
        world.end_packing();
        world.happen(Event::Read);
        world.happen(Event::HandOn);
        world.take();
        let wrong: Vec<_> = (0..N_LINES)
            .map(|line| (line, world.counts.bins()[line]))
            .filter(|&(line, n)| n != u64::from(line < world.n_written))
            .collect();
        prop_assert!(wrong.is_empty(), "lines and how often they were counted: {:?}", wrong);
    }
}
