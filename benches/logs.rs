//! A backlog of logs: `cargo bench --bench logs`, half a GiB unless `LOG_GIB` says otherwise. How fast it is read and counted by the time of its rows,
//! beside only decoding and counting the same rows, and beside a JSON library that only reads the lines; and in how much memory.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use driftd::baseline::Baseline;
use driftd::baseline::build::{BuildOptions, build};
use driftd::config::ModelConfig;
use driftd::decode::{BodyHeaders, Format, Route};
use driftd::pipeline::count::{Decoder, ShardCounts};
use driftd::pipeline::models::Slot;
use driftd::pipeline::{Message, Model, Models, Origin, Part};

const N_FEATURES: usize = 16;
const ROWS_PER_SECOND: u64 = 500;
const MIB: f64 = 1024.0 * 1024.0;

/// Killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

fn main() {
    let gib: f64 = std::env::var("LOG_GIB").map_or(0.5, |gib| gib.parse().expect("a number of GiB"));
    let scratch = tempfile::tempdir().unwrap();
    let log = scratch.path().join("credit.jsonl");
    let (n_rows, n_bytes, sample) = write_log(&log, gib);
    let baseline = baseline(scratch.path());
    println!("{n_rows} rows of {N_FEATURES} features, {:.2} GiB", n_bytes as f64 / MIB / 1024.0);

    let sonic = mib_per_second(&sample, |line| {
        let row: sonic_rs::Value = sonic_rs::from_slice(line).unwrap();
        assert!(sonic_rs::JsonContainerTrait::as_object(&row).is_some());
    });
    println!("  sonic-rs, lines into values                {sonic:7.0} MiB/s");
    let decoded = decode_only(&baseline, &sample);
    println!("  decode and count the rows alone            {decoded:7.0} MiB/s");

    for (name, state) in
        [("driftd, windows in memory", None), ("driftd, windows kept in state_dir", Some("state"))]
    {
        let admin = free_addr();
        let config = scratch.path().join("driftd.yaml");
        let state = state
            .map_or(String::new(), |name| format!("state_dir: {}\n", scratch.path().join(name).display()));
        let text = format!(
            "admin: {admin}\n{state}models: [{{baseline: {}}}]\ntaps: [{{logs: {{include: ['{}'], features: /features, prediction: /score, timestamp: /time}}}}]\n",
            baseline.display(),
            log.display(),
        );
        std::fs::write(&config, text).unwrap();
        let started = Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_driftd"));
        let process =
            Process(command.args(["run", "--config"]).arg(&config).stderr(Stdio::null()).spawn().unwrap());
        wait_for(admin, "driftd_logs_read_bytes_total", n_bytes as f64);
        let (seconds, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds(process.0.id()));
        // The last of them are handed on when a look would be due.
        wait_for(admin, "driftd_rows_total", n_rows as f64);
        println!(
            "  {name:42} {:7.0} MiB/s, {:.0} MiB/s of a core, {:.0} rows/s, {:.1} MiB resident at most",
            n_bytes as f64 / MIB / seconds,
            n_bytes as f64 / MIB / cpu,
            n_rows as f64 / seconds,
            peak_resident_bytes(process.0.id()) / MIB,
        );
    }
}

/// Rows of a log, its length, and some MiB of it.
fn write_log(path: &Path, gib: f64) -> (u64, u64, Vec<u8>) {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut block = String::new();
    let (mut n_rows, mut n_bytes, mut sample) = (0u64, 0u64, Vec::new());
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    while (n_bytes as f64) < gib * 1024.0 * MIB {
        block.clear();
        for _ in 0..1000 {
            let millis = 1_777_636_800_000 + n_rows * 1000 / ROWS_PER_SECOND;
            write!(block, "{{\"time\": {millis}, \"features\": {{").unwrap();
            for feature in 0..N_FEATURES {
                let comma = if feature == 0 { "" } else { ", " };
                write!(block, "{comma}\"feature_{feature}\": {:.17}", rng.f64()).unwrap();
            }
            writeln!(block, "}}, \"score\": {:.6}}}", rng.f64()).unwrap();
            n_rows += 1;
        }
        file.write_all(block.as_bytes()).unwrap();
        n_bytes += block.len() as u64;
        if sample.len() < 32 << 20 {
            sample.extend_from_slice(block.as_bytes());
        }
    }
    file.flush().unwrap();
    (n_rows, n_bytes, sample)
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty())
}

fn mib_per_second(text: &[u8], mut each: impl FnMut(&[u8])) -> f64 {
    let started = Instant::now();
    lines(text).for_each(&mut each);
    text.len() as f64 / MIB / started.elapsed().as_secs_f64()
}

/// The rows alone, cut out beforehand; the speed is told in bytes of the log.
fn decode_only(baseline: &Path, text: &[u8]) -> f64 {
    let config = Arc::new(ModelConfig::new(baseline));
    let model = Model::new(&config, Baseline::read(baseline).unwrap(), Origin::Own);
    let models = Arc::new(Models::new(vec![Slot { config, model: Some(Arc::new(model)) }]));
    let mut decoder = Decoder::new(1 << 20, None);
    decoder.change_to(Arc::clone(&models));
    let (headers, mut counts) = (BodyHeaders::default(), ShardCounts::of(&models));
    let route = Route { format: Format::Row, model: None, version: None };
    let find = |line: &[u8], what: &str| memchr::memmem::find(line, what.as_bytes()).unwrap() + what.len();
    let rows: Vec<_> = lines(text)
        .map(|line| {
            let (features, score) = (find(line, "\"features\": "), find(line, "\"score\": "));
            (&line[features..score - ", \"score\": ".len()], &line[score..line.len() - 1])
        })
        .collect();
    let started = Instant::now();
    for (features, score) in rows {
        let part = |bytes| Some(Part { bytes, headers: &headers });
        let message = Message {
            route: Some(&route),
            request: part(features),
            response: part(score),
            ..Message::default()
        };
        let decoded = decoder.decode(&message);
        decoder.record(&message, decoded, &mut counts);
    }
    text.len() as f64 / MIB / started.elapsed().as_secs_f64()
}

fn baseline(scratch: &Path) -> std::path::PathBuf {
    let mut rng = fastrand::Rng::with_seed(8);
    let names: Vec<_> = (0..N_FEATURES).map(|feature| format!("feature_{feature}")).collect();
    let mut table = names.join(",") + ",score\n";
    for _ in 0..5000 {
        let row: Vec<_> = (0..=N_FEATURES).map(|_| rng.f64().to_string()).collect();
        table.push_str(&(row.join(",") + "\n"));
    }
    let (csv, file) = (scratch.join("training.csv"), scratch.join("baseline.json"));
    std::fs::write(&csv, table).unwrap();
    let options = BuildOptions { predictions: vec!["score".to_owned()], ..BuildOptions::default() };
    build(&[csv.display().to_string()], &options).unwrap().baseline.write(&file).unwrap();
    file
}

fn free_addr() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn get(addr: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(addr).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: driftd\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn wait_for(admin: SocketAddr, series: &str, value: f64) {
    loop {
        let metrics = get(admin, "/metrics").unwrap_or_default();
        let line =
            metrics.lines().find(|line| line.starts_with(series) && !line.contains("role=\"prediction\""));
        let now: f64 = line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0);
        if now >= value {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

fn peak_resident_bytes(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    kib.trim_end_matches("kB").trim().parse::<f64>().unwrap() * 1024.0
}
