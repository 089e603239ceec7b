//! The sink under all the events that five senders can send, as KServe's logger has five workers:
//! `cargo bench --bench cloudevents`. What it costs and what it loses, of events of 1 KiB.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use driftd::baseline::build::{BuildOptions, build};

const N_SENDERS: usize = 5;
const N_PAIRS: usize = 10_000;
const N_FEATURES: usize = 16;

/// Killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

fn main() {
    let scratch = tempfile::tempdir().unwrap();
    let (sink, admin) = (free_addr(), free_addr());
    let config = scratch.path().join("driftd.yaml");
    let text = format!(
        "admin: {admin}\nmodels: [{{baseline: {}}}]\nevaluation: {{interval: 1s}}\ntaps: [{{cloudevents: {{listen: {sink}}}}}]\n",
        baseline(scratch.path())
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_driftd"));
    let process =
        Process(command.args(["run", "--config"]).arg(&config).stderr(Stdio::null()).spawn().unwrap());
    wait_for(sink);

    println!("all that five senders can send, each waiting for its answers");
    report(&process, admin, 0, || send(sink, None));
    println!("2,000 events a second");
    report(&process, admin, 2 * N_PAIRS, || send(sink, Some(2_000.0)));
}

fn report(process: &Process, admin: SocketAddr, already: usize, load: impl FnOnce()) {
    let (cpu, started) = (cpu_seconds(process.0.id()), Instant::now());
    load();
    let seconds = started.elapsed().as_secs_f64();
    std::thread::sleep(Duration::from_millis(1500)); // a tick
    let cpu = cpu_seconds(process.0.id()) - cpu;
    let n_events = 2 * N_PAIRS;
    let rows = series(admin, r#"role="feature""#) - already as f64 / 2.0;
    println!(
        "  {:.0} events/s, {:.3} CPU-seconds per 1,000 events, {} of {N_PAIRS} pairs counted, {:.1} MiB resident",
        n_events as f64 / seconds,
        cpu / n_events as f64 * 1000.0,
        rows,
        series(admin, "process_resident_memory_bytes") / f64::from(1 << 20),
    );
}

/// Every pair once; `per_second` over all senders.
fn send(sink: SocketAddr, per_second: Option<f64>) {
    std::thread::scope(|scope| {
        for sender in 0..N_SENDERS {
            scope.spawn(move || {
                let mut stream = TcpStream::connect(sink).unwrap();
                stream.set_nodelay(true).unwrap();
                let mut answers = BufReader::new(stream.try_clone().unwrap());
                let started = Instant::now();
                for (n_sent, idx) in (sender..2 * N_PAIRS).step_by(N_SENDERS).enumerate() {
                    if let Some(per_second) = per_second {
                        let due = Duration::from_secs_f64((n_sent * N_SENDERS) as f64 / per_second);
                        std::thread::sleep(due.saturating_sub(started.elapsed()));
                    }
                    stream.write_all(event(idx).as_bytes()).unwrap();
                    read_answer(&mut answers);
                }
            });
        }
    });
}

/// Pairs one after another, each request before its response.
fn event(idx: usize) -> String {
    let (side, body) = if idx.is_multiple_of(2) {
        let mut rng = fastrand::Rng::with_seed(idx as u64);
        let row: Vec<_> = (0..N_FEATURES).map(|_| format!("{:.17}", rng.f64())).collect();
        ("request", format!("{{\"instances\": [[{}]], \"comment\": \"{:x<600}\"}}", row.join(", "), ""))
    } else {
        ("response", format!("{{\"predictions\": [0.5], \"comment\": \"{:x<980}\"}}", ""))
    };
    format!(
        "POST / HTTP/1.1\r\nHost: sink\r\nCe-Specversion: 1.0\r\nCe-Id: event-{}\r\nCe-Type: org.kubeflow.serving.inference.{side}\r\n\
         Ce-Source: http://localhost:9081/\r\nCe-Inferenceservicename: credit\r\nCe-Namespace: prod\r\nCe-Component: predictor\r\n\
         Ce-Metadata: {{}}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        idx / 2,
        body.len(),
    )
}

fn read_answer(answers: &mut BufReader<TcpStream>) {
    let (mut line, mut len, mut is_first) = (String::new(), 0, true);
    loop {
        line.clear();
        answers.read_line(&mut line).unwrap();
        assert!(!is_first || line.contains(" 200 "), "{line}");
        is_first = false;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            len = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    answers.read_exact(&mut vec![0; len]).unwrap();
}

fn baseline(scratch: &Path) -> String {
    let names: Vec<_> = (0..N_FEATURES).map(|at| format!("x{at}")).collect();
    let mut rng = fastrand::Rng::with_seed(1);
    let row = |rng: &mut fastrand::Rng| {
        (0..=N_FEATURES).map(|_| rng.f64().to_string()).collect::<Vec<_>>().join(",")
    };
    let rows: Vec<_> = (0..2_000).map(|_| row(&mut rng)).collect();
    let (table, file) = (scratch.join("training.csv"), scratch.join("baseline.json"));
    std::fs::write(&table, format!("{},y\n{}\n", names.join(","), rows.join("\n"))).unwrap();
    let options = BuildOptions {
        model: Some("credit".to_owned()),
        predictions: vec!["y".to_owned()],
        ..BuildOptions::default()
    };
    build(&[table.display().to_string()], &options).unwrap().baseline.write(&file).unwrap();
    file.display().to_string()
}

fn free_addr() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn wait_for(addr: SocketAddr) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(addr).is_err() {
        assert!(Instant::now() < deadline, "driftd does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The last series of `/metrics` with this in its name or labels.
fn series(admin: SocketAddr, part: &str) -> f64 {
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let named = |line: &&str| {
        (line.starts_with("driftd_rows_total") || line.starts_with("process_")) && line.contains(part)
    };
    text.lines().rfind(named).and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
}

/// User and system time of a process.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}
