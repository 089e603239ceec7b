//! `driftd controller` as a child, and what is around it.

pub mod home;
pub mod stand_ins;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::process::driftd;
use crate::support::PATIENCE;

pub const ALERTS_TOKEN: &str = "alerts-not-a-secret";
pub const OPERATOR_TOKEN: &str = "operator-not-a-secret";

/// Killed when dropped.
pub struct Controller {
    child: Child,
    pub addr: SocketAddr,
    log: mpsc::Receiver<Value>,
}

impl Controller {
    /// Once it listens.
    pub async fn start(config: &Path) -> Self {
        let mut child = driftd()
            .args(["controller", "--log-format", "json", "--config"])
            .arg(config)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, mut log) = mpsc::channel(10_000);
        // All of it is read, or a full pipe would stop the child; what nobody waits for any more is dropped.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                eprintln!("controller: {line}"); // shown where the test fails
                drop(sender.try_send(serde_json::from_str(&line).unwrap_or(Value::String(line))));
            }
        });
        let said = line_with(&mut log, |line| line["fields"]["listen"].is_string()).await;
        let addr = said["fields"]["listen"].as_str().unwrap().parse().unwrap();
        Self { child, addr, log }
    }

    /// Waits until it has logged this, once more than was waited for before. Returns the line's fields.
    pub async fn says(&mut self, message: &str) -> Value {
        line_with(&mut self.log, |line| line["fields"]["message"] == message).await["fields"].take()
    }

    /// With SIGKILL: nothing of its own runs any more.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// As Alertmanager does, again and again while it fires.
    pub async fn deliver(&self, alert: &Value) {
        let payload = json!({ "version": "4", "status": "firing", "alerts": [alert] });
        let request = self.client("/api/v1/alerts", reqwest::Method::POST).bearer_auth(ALERTS_TOKEN);
        let answer = request.json(&payload).send().await.unwrap();
        assert_eq!(answer.status(), 202, "{}", answer.text().await.unwrap());
    }

    pub async fn approve(&self, incident: &Value) {
        let path = format!("/api/v1/incidents/{}/approve", incident["id"]);
        let request = self.client(&path, reqwest::Method::POST).bearer_auth(OPERATOR_TOKEN);
        assert_eq!(request.send().await.unwrap().status(), 202);
    }

    /// As an operator does who wants the last good version back.
    pub async fn roll_back(&self) {
        let ask = json!({"service": "prod/credit", "reason": "a person wants it"});
        let request = self.client("/api/v1/rollback", reqwest::Method::POST).bearer_auth(OPERATOR_TOKEN);
        let answer = request.json(&ask).send().await.unwrap();
        assert_eq!(answer.status(), 202, "{}", answer.text().await.unwrap());
    }

    /// The newest first.
    pub async fn incidents(&self) -> Vec<Value> {
        serde_json::from_value(self.get("/api/v1/incidents").await).unwrap()
    }

    pub async fn get(&self, path: &str) -> Value {
        let request = self.client(path, reqwest::Method::GET).bearer_auth(OPERATOR_TOKEN);
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
        answer.json().await.unwrap()
    }

    fn client(&self, path: &str, method: reqwest::Method) -> reqwest::RequestBuilder {
        reqwest::Client::new()
            .request(method, format!("http://{}{path}", self.addr))
            .timeout(Duration::from_secs(10))
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

async fn line_with(log: &mut mpsc::Receiver<Value>, is_it: impl Fn(&Value) -> bool) -> Value {
    let mut said = Vec::new();
    let wait = async {
        while let Some(line) = log.recv().await {
            if is_it(&line) {
                return Some(line);
            }
            said.push(line.to_string());
        }
        None
    };
    let found = timeout(PATIENCE, wait).await;
    found.ok().flatten().unwrap_or_else(|| panic!("it did not say so; it said:\n{}", said.join("\n")))
}
