//! Probes that ask the model server, and have to ask elsewhere.

use serde_json::{Value, json};

use crate::inject::config::Ports;

/// Makes a probe of the queue-proxy go through the sidecar, if it goes to the server. What asks over HTTP or gRPC finds the server
/// behind it; a connection alone would find the sidecar, which is there long before the server: so that becomes a
/// question whether both are.
pub(super) fn lead_through(probe: &mut Value, upstream: u16, ports: Ports) -> bool {
    for handler in ["httpGet", "grpc"] {
        if let Some(port) = probe.get_mut(handler).and_then(|handler| handler.get_mut("port"))
            && is_port(port, upstream, None)
        {
            *port = ports.proxy.into();
            return true;
        }
    }
    let Some(tcp) = probe.get("tcpSocket") else { return false };
    if !tcp.get("port").is_some_and(|port| is_port(port, upstream, None)) {
        return false;
    }
    let host = tcp.get("host").cloned().unwrap_or_else(|| "127.0.0.1".into());
    let asked = json!({"path": "/readyz", "port": ports.admin, "host": host, "scheme": "HTTP"});
    if let Some(probe) = probe.as_object_mut() {
        probe.remove("tcpSocket");
        probe.insert("httpGet".to_owned(), asked);
    }
    true
}

/// The places, below a probe or a hook, of ports that are the server's.
pub(super) fn ports_of_server(handler: &Value, port: u16, name: Option<&str>) -> Vec<String> {
    let asked = ["httpGet", "tcpSocket", "grpc"].into_iter().filter(|kind| {
        handler.get(kind).and_then(|kind| kind.get("port")).is_some_and(|asked| is_port(asked, port, name))
    });
    asked.map(|kind| format!("{kind}/port")).collect()
}

/// Whether a probe or hook asks over TLS.
pub(super) fn is_tls(handler: &Value) -> bool {
    handler.pointer("/httpGet/scheme").and_then(Value::as_str) == Some("HTTPS")
}

fn is_port(value: &Value, port: u16, name: Option<&str>) -> bool {
    value.as_u64() == Some(port.into())
        || value.as_str().is_some_and(|text| Some(text) == name || text.parse() == Ok(port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: Ports = Ports { proxy: 18080, model: 18081, admin: 9464 };

    #[track_caller]
    fn check(mut probe: Value, expected: Option<Value>) {
        let before = probe.clone();
        let is_changed = lead_through(&mut probe, 8080, PORTS);
        assert_eq!((is_changed, probe), (expected.is_some(), expected.unwrap_or(before)));
    }

    #[test]
    fn a_probe_of_the_server_goes_through_the_sidecar() {
        check(
            json!({"tcpSocket": {"port": 8080, "host": "127.0.0.1"}, "successThreshold": 1}),
            Some(
                json!({"httpGet": {"path": "/readyz", "port": 9464, "host": "127.0.0.1", "scheme": "HTTP"}, "successThreshold": 1}),
            ),
        );
        check(
            json!({"httpGet": {"path": "/v2/health/ready", "port": 8080}, "periodSeconds": 3}),
            Some(json!({"httpGet": {"path": "/v2/health/ready", "port": 18080}, "periodSeconds": 3})),
        );
        check(json!({"grpc": {"port": 8080}}), Some(json!({"grpc": {"port": 18080}})));
    }

    #[test]
    fn a_probe_of_anything_else_stays() {
        check(json!({"tcpSocket": {"port": 9000}}), None);
        check(json!({"httpGet": {"path": "/readyz", "port": 9464}}), None);
        check(json!({"exec": {"command": ["true"]}}), None);
        check(json!([]), None);
    }
}
