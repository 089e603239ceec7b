//! Standard mode without an agent: the Service leads to a number, so the sidecar takes that port and the server moves to another.

use serde_json::Value;

use super::{Edit, Place, SERVER, Tap, Wiring, probe};
use crate::inject::config::Ports;
use crate::inject::pod::{Container, Pod};
use crate::inject::{Reason, Refusal};

/// Where KServe's Service leads when no container declares a port.
const DEFAULT_PORT: u16 = 8080;

/// How KServe's runtimes tell their servers the port (`config/runtimes` of KServe v0.20): its own servers, Triton, `TensorFlow` Serving,
/// `OpenVINO`, `vLLM`.
const FLAGS: [&str; 5] = ["--http_port", "--http-port", "--rest_api_port", "--rest_port", "--port"];
/// `MLServer`'s variable.
const VARIABLES: [&str; 1] = ["MLSERVER_HTTP_PORT"];

pub(super) fn wire(pod: &Pod, ports: Ports, port_flag: Option<&str>) -> Result<Wiring, Refusal> {
    let Some((0, server)) = pod.container(SERVER) else {
        let text = "the Service leads to the first container, which is not `kserve-container`";
        return Err(Refusal::new(Reason::UnknownWiring, text));
    };
    if pod.container("transformer-container").is_some() {
        let text = "the Service leads to `transformer-container`, whose port we cannot take";
        return Err(Refusal::new(Reason::UnknownWiring, text));
    }
    let declared = server.ports.first();
    let entry = declared.map_or(DEFAULT_PORT, |port| port.container_port);
    let name = declared.and_then(|port| port.name.as_deref());
    check_plain(server)?;
    let mut edits = vec![told_another_port(server, entry, ports.model, port_flag)?];
    for (field, probe) in server.probes() {
        edits.extend(moved(probe, field, entry, name, ports.model));
    }
    for hook in ["preStop", "postStart"] {
        if let Some(handler) = server.lifecycle.as_ref().and_then(|lifecycle| lifecycle.get(hook)) {
            edits.extend(moved(handler, &format!("lifecycle/{hook}"), entry, name, ports.model));
        }
    }
    let takes_port = declared.is_some();
    if takes_port {
        edits.push(Edit::Remove { list: "/spec/containers/0/ports".to_owned(), at: 0 });
    }
    let mut others = pod.all_containers().filter(|container| container.name != SERVER);
    if let Some(other) = others.find(|other| other.ports.iter().any(|port| port.container_port == entry)) {
        let text = format!("`{}` has port {entry} too", other.name);
        return Err(Refusal::new(Reason::PortTaken, text));
    }
    Ok(Wiring {
        place: Place { tap: Tap::MovePort, listen: entry, upstream: ports.model },
        edits,
        takes_port,
    })
}

/// Callers of a server that speaks TLS would find one here that does not.
fn check_plain(server: &Container) -> Result<(), Refusal> {
    let flag = server.args.iter().chain(&server.command).find(|word| {
        ["--ssl", "--tls", "--enable_tls", "--enable-tls"].iter().any(|begin| word.starts_with(begin))
    });
    let hooks = server.lifecycle.iter().flat_map(|lifecycle| lifecycle.as_object().into_iter().flatten());
    let mut handlers = server.probes().map(|(_, probe)| probe).chain(hooks.map(|(_, hook)| hook));
    let asked = handlers.any(probe::is_tls);
    match flag {
        Some(flag) => Err(Refusal::new(Reason::Tls, format!("the server has the argument {flag}"))),
        None if asked => Err(Refusal::new(Reason::Tls, "a probe of the server asks over HTTPS")),
        None => Ok(()),
    }
}

/// Only a value that is the present port is changed: anything else is not the flag we take it for.
fn told_another_port(
    server: &Container,
    entry: u16,
    to: u16,
    port_flag: Option<&str>,
) -> Result<Edit, Refusal> {
    let known: &[&str] = if port_flag.is_some() { &[] } else { &FLAGS };
    let flags = port_flag.iter().chain(known);
    for flag in flags {
        if let Some(found) = server.flag(flag).filter(|found| found.value.parse() == Ok(entry)) {
            let at = format!("/spec/containers/0/{}/{}", found.list, found.at);
            return Ok(Edit::Set { at, value: found.word(flag, to).into() });
        }
    }
    for variable in VARIABLES {
        if let Some((at, _)) = server.env(variable).filter(|(_, value)| value.parse() == Ok(entry)) {
            let at = format!("/spec/containers/0/env/{at}/value");
            return Ok(Edit::Set { at, value: to.to_string().into() });
        }
    }
    let what = port_flag
        .map_or_else(|| "no flag or variable that we know".to_owned(), |flag| format!("no `{flag}`"));
    let text = format!(
        "the server has {what} with port {entry}; name its flag in the annotation driftd.io/port-flag"
    );
    Err(Refusal::new(Reason::UnknownServer, text))
}

/// Who asked the server asks it still.
fn moved<'a>(
    handler: &'a Value,
    field: &'a str,
    entry: u16,
    name: Option<&str>,
    to: u16,
) -> impl Iterator<Item = Edit> + use<'a> {
    probe::ports_of_server(handler, entry, name)
        .into_iter()
        .map(move |port| Edit::Set { at: format!("/spec/containers/0/{field}/{port}"), value: to.into() })
}
