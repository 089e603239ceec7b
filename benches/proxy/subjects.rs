//! The proxies that are measured, each a process of its own, and what the kernel says of it.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use driftd::baseline::build::{self, BuildOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const N_FEATURES: usize = 16;

/// A way from the callers to the model server.
pub struct Subject {
    pub name: &'static str,
    pub addr: SocketAddr,
    pub process: Option<Process>,
    /// Where it says what became of its copies.
    pub admin: Option<SocketAddr>,
}

pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub const HAPROXY: &str = "HAProxy, passthrough";

/// What `./test.sh --bench-tap` has got, else what is on the `PATH`.
fn program(variable: &str, name: &str) -> Command {
    Command::new(std::env::var_os(variable).unwrap_or_else(|| name.into()))
}

pub fn subjects(upstream: SocketAddr, scratch: &Path) -> Vec<Subject> {
    let mut subjects = vec![
        Subject { name: "direct", addr: upstream, process: None, admin: None },
        driftd("driftd, everything on", upstream, 1.0, scratch),
        driftd("driftd, sample_rate 0", upstream, 0.0, scratch),
    ];
    subjects.extend(haproxy(upstream, scratch));
    subjects.extend(nginx(upstream, scratch));
    subjects.extend(envoy(upstream, scratch));
    subjects
}

fn driftd(name: &'static str, upstream: SocketAddr, sample_rate: f64, scratch: &Path) -> Subject {
    let (addr, admin) = (free_addr(), free_addr());
    let config = format!(
        "admin: {admin}\nmodels: [{{baseline: {}}}]\n\
         taps: [{{proxy: {{listen: {addr}, upstream: 'http://{upstream}', sample_rate: {sample_rate}}}}}]\n",
        baseline(scratch).display()
    );
    let path = scratch.join(format!("driftd-{sample_rate}.yaml"));
    std::fs::write(&path, config).unwrap();
    let run =
        other(name, addr, Command::new(env!("CARGO_BIN_EXE_driftd")).args(["run", "--config"]).arg(path));
    Subject { admin: Some(admin), ..run.unwrap() }
}

/// The share of exchanges whose copies were counted: under full load the rest is dropped, which costs less.
pub async fn share_counted(admin: SocketAddr) -> f64 {
    let mut stream = TcpStream::connect(admin).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let sum = |prefix: &str| -> f64 {
        let lines = text.lines().filter(|line| line.starts_with(prefix));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    };
    sum("driftd_tap_exchanges_total{outcome=\"mirrored\"") / sum("driftd_tap_exchanges_total{")
}

/// Of the numbers that requests and responses are made of.
fn baseline(scratch: &Path) -> PathBuf {
    let (table, file) = (scratch.join("train.csv"), scratch.join("iris.json"));
    let mut numbers = numbers();
    let names: Vec<_> = (0..N_FEATURES).map(|at| format!("x{at}")).collect();
    let rows = (0..10_000).map(|_| (&mut numbers).take(N_FEATURES + 1).collect::<Vec<_>>().join(","));
    let header = names.join(",") + ",y";
    std::fs::write(&table, std::iter::once(header).chain(rows).collect::<Vec<_>>().join("\n")).unwrap();
    let options = BuildOptions { predictions: vec!["y".to_owned()], ..BuildOptions::default() };
    build::build(&[table.display().to_string()], &options).unwrap().baseline.write(&file).unwrap();
    file
}

/// Numbers in full precision, the same ones every time.
fn numbers() -> impl Iterator<Item = String> {
    let mut rng = fastrand::Rng::with_seed(16);
    std::iter::repeat_with(move || rng.f64().to_string())
}

/// A V1 request of `size` bytes: as many rows as fit, then spaces.
pub fn request_body(size: usize) -> String {
    let mut numbers = numbers();
    let row = || format!("[{}]", (&mut numbers).take(N_FEATURES).collect::<Vec<_>>().join(","));
    filled("instances", std::iter::repeat_with(row), size)
}

/// A V1 response of `size` bytes.
pub fn response_body(size: usize) -> String {
    filled("predictions", numbers(), size)
}

fn filled(key: &str, items: impl Iterator<Item = String>, size: usize) -> String {
    let mut body = format!("{{\"{key}\":[");
    for (at, item) in items.enumerate() {
        if body.len() + item.len() + 3 > size {
            break;
        }
        if at > 0 {
            body.push(',');
        }
        body.push_str(&item);
    }
    body.push_str("]}");
    let n_left = size.saturating_sub(body.len());
    body + &" ".repeat(n_left)
}

fn haproxy(upstream: SocketAddr, scratch: &Path) -> Option<Subject> {
    let addr = free_addr();
    let config = format!(
        "global\n nbthread 2\n maxconn 4096\ndefaults\n mode http\n http-reuse always\n timeout connect 5s\n \
         timeout client 60s\n timeout server 60s\nfrontend callers\n bind {addr}\n default_backend model\n\
         backend model\n server model {upstream}\n"
    );
    let path = scratch.join("haproxy.cfg");
    std::fs::write(&path, config).unwrap();
    other(HAPROXY, addr, program("DRIFTD_TEST_HAPROXY", "haproxy").args(["-db", "-f"]).arg(path))
}

/// Its usual filter chain without logs, and no limit on requests a connection.
fn envoy(upstream: SocketAddr, scratch: &Path) -> Option<Subject> {
    let addr = free_addr();
    let socket = |addr: SocketAddr| {
        format!("{{socket_address: {{address: {}, port_value: {}}}}}", addr.ip(), addr.port())
    };
    let config = format!(
        "static_resources:\n  listeners:\n  - address: {listen}\n    filter_chains:\n    - filters:\n\
         \x20     - name: envoy.filters.network.http_connection_manager\n        typed_config:\n\
         \x20         '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\n\
         \x20         stat_prefix: callers\n          route_config: {{virtual_hosts: [{{name: model, domains: ['*'], routes: [{{match: {{prefix: /}}, route: {{cluster: model}}}}]}}]}}\n\
         \x20         http_filters:\n          - name: envoy.filters.http.router\n\
         \x20           typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}\n\
         \x20 clusters:\n  - name: model\n    load_assignment: {{cluster_name: model, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {model}}}}}]}}]}}\n",
        listen = socket(addr),
        model = socket(upstream),
    );
    let path = scratch.join("envoy.yaml");
    std::fs::write(&path, config).unwrap();
    // A base id of its own, or two Envoys on one machine end each other.
    let options = ["--concurrency", "2", "--use-dynamic-base-id", "--log-level", "off", "-c"];
    other("Envoy, passthrough", addr, program("DRIFTD_TEST_ENVOY", "envoy").args(options).arg(path))
}

fn nginx(upstream: SocketAddr, scratch: &Path) -> Option<Subject> {
    let addr = free_addr();
    let config = format!(
        "worker_processes 2; pid {dir}/nginx.pid; error_log /dev/null; events {{ worker_connections 1024; }}\n\
         http {{ access_log off; keepalive_requests 10000000; client_body_buffer_size 128k;\n\
         client_body_temp_path {dir}; proxy_temp_path {dir}; fastcgi_temp_path {dir}; uwsgi_temp_path {dir}; scgi_temp_path {dir};\n\
         upstream model {{ server {upstream}; keepalive 64; keepalive_requests 10000000; }}\n\
         server {{ listen {addr}; location / {{ proxy_pass http://model; proxy_http_version 1.1;\n\
         proxy_set_header Connection ''; proxy_request_buffering off; proxy_buffers 16 8k; }} }} }}\n",
        dir = scratch.display(),
    );
    let path = scratch.join("nginx.conf");
    std::fs::write(&path, config).unwrap();
    other(
        "nginx, passthrough",
        addr,
        program("DRIFTD_TEST_NGINX", "nginx").args(["-g", "daemon off;", "-c"]).arg(path),
    )
}

fn other(name: &'static str, addr: SocketAddr, command: &mut Command) -> Option<Subject> {
    let Ok(child) = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
        println!("(no {name}: not installed)");
        return None;
    };
    let process = Process(child);
    for _ in 0..500 {
        if std::net::TcpStream::connect(addr).is_ok() {
            return Some(Subject { name, addr, process: Some(process), admin: None });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("(no {name}: it does not come up)");
    None
}

/// A port that was free a moment ago.
fn free_addr() -> SocketAddr {
    StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The process and its children.
fn pids(process: &Process) -> Vec<u32> {
    let pid = process.0.id();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().map(|child| child.parse().unwrap()).chain([pid]).collect()
}

/// What they have run, to the nanosecond. Only threads that live are counted, and all that matter here live until the
/// end.
pub fn cpu_seconds(process: &Process) -> f64 {
    let of_thread = |thread: std::io::Result<std::fs::DirEntry>| {
        let schedstat = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
        schedstat.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
    };
    let threads = |pid: u32| std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    pids(process).into_iter().map(|pid| threads(pid).map(of_thread).sum::<f64>()).sum()
}

/// What they hold of memory, that which they share (nginx's workers and master) once each.
pub fn resident_bytes(process: &Process) -> u64 {
    let of_process = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    };
    pids(process).into_iter().map(of_process).sum()
}
