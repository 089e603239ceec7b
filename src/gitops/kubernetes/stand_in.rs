//! Stands in for an API server: objects by path, with versions and conflicts, over real HTTP.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::super::config::KubernetesConfig;
use super::Kubernetes;

#[derive(Clone, Default)]
pub struct ApiServer {
    objects: Arc<Mutex<BTreeMap<String, Value>>>,
    last_version: Arc<Mutex<u64>>,
    is_down: Arc<Mutex<bool>>,
    kubeconfig: Arc<Mutex<Option<tempfile::NamedTempFile>>>,
}

impl ApiServer {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{"name": "it", "cluster": {"server": server}}],
            "users": [{"name": "it", "user": {"token": "secret"}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        });
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), kubeconfig.to_string()).unwrap();
        let api = Self::default();
        *api.kubeconfig.lock().unwrap() = Some(file);
        let own = api.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                own.serve(stream.unwrap());
            }
        });
        api
    }

    pub fn config(&self, identity: &str) -> KubernetesConfig {
        KubernetesConfig {
            kubeconfig: self.kubeconfig.lock().unwrap().as_ref().map(|file| file.path().to_owned()),
            namespace: Some("driftd".to_owned()),
            lease: "controller".to_owned(),
            config_map: "state".to_owned(),
            identity: Some(identity.to_owned()),
            lease_duration: std::time::Duration::from_secs(3),
        }
    }

    pub async fn client(&self, identity: &str) -> Kubernetes {
        Kubernetes::connect(&self.config(identity)).await.unwrap()
    }

    pub fn put(&self, path: &str, mut object: Value) {
        object["metadata"]["resourceVersion"] = json!(self.next_version());
        self.objects.lock().unwrap().insert(path.to_owned(), object);
    }

    pub fn object(&self, path: &str) -> Option<Value> {
        self.objects.lock().unwrap().get(path).cloned()
    }

    pub fn set_down(&self, is_down: bool) {
        *self.is_down.lock().unwrap() = is_down;
    }

    fn next_version(&self) -> String {
        let mut version = self.last_version.lock().unwrap();
        *version += 1;
        version.to_string()
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut line, mut n_body) = (String::new(), 0);
        if reader.read_line(&mut line).is_err() || *self.is_down.lock().unwrap() {
            return;
        }
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).unwrap();
            if let Some(length) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                n_body = length.trim().parse().unwrap();
            }
            if header.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; n_body];
        reader.read_exact(&mut body).unwrap();
        let mut words = line.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let (status, answer) = self.answer(method, target, serde_json::from_slice(&body).unwrap_or_default());
        let answer = answer.to_string();
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        let _ = stream.write_all(format!("{head}{answer}").as_bytes());
    }

    fn answer(&self, method: &str, target: &str, mut object: Value) -> (u16, Value) {
        let refused = |code: u16, reason: &str| {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                "reason": reason, "message": format!("{reason}: {target}")});
            (code, status)
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut objects = self.objects.lock().unwrap();
        if let Some(label) = query.strip_prefix("labelSelector=") {
            let below = format!("{path}/");
            let (name, value) = label.split_once("%3D").unwrap();
            let name = name.replace("%2F", "/");
            let is_meant = |object: &Value| object["metadata"]["labels"][&name] == value;
            let of = objects.iter().filter(|(path, object)| path.starts_with(&below) && is_meant(object));
            let items: Vec<&Value> = of.map(|(_, object)| object).collect();
            return (200, json!({"kind": "List", "items": items}));
        }
        let key = match method {
            "POST" => format!("{path}/{}", object["metadata"]["name"].as_str().unwrap()),
            _ => path.to_owned(),
        };
        let found = objects.get(&key).cloned();
        match (method, found) {
            ("GET", Some(found)) => (200, found),
            ("POST", Some(_)) => refused(409, "AlreadyExists"),
            ("PUT", Some(found))
                if found["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] =>
            {
                refused(409, "Conflict")
            }
            ("PUT", Some(_)) | ("POST", None) => {
                object["metadata"]["resourceVersion"] = json!(self.next_version());
                objects.insert(key, object.clone());
                (200, object)
            }
            _ => refused(404, "NotFound"),
        }
    }
}
