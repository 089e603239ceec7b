//! Where in a pod the sidecar comes to stand, and what has to change for that. Pure: it reads a pod and says what to do.

mod move_port;
mod probe;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde::Deserialize;
use serde_json::Value;

use super::config::{Modes, Ports};
use super::pod::{Container, Flag, Pod};
use super::{Reason, Refusal};

/// Kubernetes' name of the model server in every pod of KServe's.
pub(super) const SERVER: &str = "kserve-container";
const QUEUE_PROXY: &str = "queue-proxy";
const AGENT: &str = "agent";
/// Where KServe's agent listens unless it says otherwise.
const AGENT_PORT: u16 = 9081;
const USER_PORT: &str = "USER_PORT";
const COMPONENT_PORT: &str = "--component-port";

/// Ports that Knative, KServe's agent and Istio listen on without declaring all of them.
const QUEUE_PROXY_PORTS: [u16; 7] = [8008, 8012, 8013, 8022, 8112, 9090, 9091];
const AGENT_PORTS: [u16; 2] = [9081, 9083];

/// How a pod is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Behind Knative's queue-proxy.
    Knative,
    /// The same, with KServe's agent between.
    KnativeWithAgent,
    /// A Service leads to the server.
    Standard,
    /// A Service leads to KServe's agent.
    StandardWithAgent,
}

/// How the sidecar gets into the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tap {
    /// The queue-proxy is told another port of the server.
    UserPort,
    /// KServe's agent is.
    ComponentPort,
    /// The server moves, and the sidecar takes its place.
    MovePort,
    /// Not at all.
    None,
}

impl Tap {
    /// As it is configured, and noted on the pod.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UserPort => "user_port",
            Self::ComponentPort => "component_port",
            Self::MovePort => "move_port",
            Self::None => "none",
        }
    }
}

impl Mode {
    pub(super) fn of(pod: &Pod) -> Self {
        match (pod.container(QUEUE_PROXY).is_some(), pod.container(AGENT).is_some()) {
            (true, false) => Self::Knative,
            (true, true) => Self::KnativeWithAgent,
            (false, false) => Self::Standard,
            (false, true) => Self::StandardWithAgent,
        }
    }

    /// The key in `modes`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Knative => "knative",
            Self::KnativeWithAgent => "knative_with_agent",
            Self::Standard => "standard",
            Self::StandardWithAgent => "standard_with_agent",
        }
    }

    /// Whether Knative's queue-proxy is there to be waited for at the end.
    pub const fn is_knative(self) -> bool {
        matches!(self, Self::Knative | Self::KnativeWithAgent)
    }
}

/// One change of a place that is there.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Edit {
    /// Another value.
    Set { at: String, value: Value },
    /// An entry of a list is taken away.
    Remove { list: String, at: usize },
}

/// Where the sidecar stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wiring {
    pub place: Place,
    /// What leads traffic there.
    pub edits: Vec<Edit>,
    /// Whether the server's first declared port is the sidecar's now, with its name: others may ask for it by that.
    pub takes_port: bool,
}

/// Where the sidecar stands, as it is noted on the pod: a later review needs no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// How it got there.
    pub tap: Tap,
    /// Its port.
    pub listen: u16,
    /// The server's.
    pub upstream: u16,
}

impl Place {
    /// Only who is reached from outside of the pod listens there: Envoy and Services come by the pod's address.
    pub fn listen_addr(self) -> SocketAddr {
        let ip = if self.tap == Tap::MovePort { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
        SocketAddr::new(IpAddr::V4(ip), self.listen)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tap={},listen={},upstream={}", self.tap.as_str(), self.listen, self.upstream)
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split(',');
        let mut next = |key: &str| parts.next()?.strip_prefix(key)?.strip_prefix('=');
        let taps = [Tap::UserPort, Tap::ComponentPort, Tap::MovePort];
        let tap =
            next("tap").and_then(|tap| taps.into_iter().find(|known| known.as_str() == tap)).ok_or(())?;
        let mut port = |key| next(key).and_then(|port| port.parse().ok()).ok_or(());
        Ok(Self { tap, listen: port("listen")?, upstream: port("upstream")? })
    }
}

/// How a pod without a sidecar gets one.
pub(super) fn wire(
    pod: &Pod,
    modes: Modes,
    ports: Ports,
    port_flag: Option<&str>,
) -> Result<Wiring, Refusal> {
    let mode = Mode::of(pod);
    let wiring = match modes.of(mode).tap {
        Tap::None => {
            let text = format!("`modes.{}` of webhook.yaml is none", mode.as_str());
            return Err(Refusal::new(Reason::ModeOff, text));
        }
        Tap::UserPort => behind_queue_proxy(pod, ports)?,
        Tap::ComponentPort => behind_agent(pod, mode, ports)?,
        Tap::MovePort => move_port::wire(pod, ports, port_flag)?,
    };
    let mut needed = vec![ports.admin];
    needed.push(if wiring.place.tap == Tap::MovePort { ports.model } else { ports.proxy });
    check_free(pod, &needed)?;
    Ok(wiring)
}

/// What has to change in a pod that has its sidecar: an agent that came later leads past it.
pub(super) fn rewire(pod: &Pod, place: Place) -> Result<Vec<Edit>, Refusal> {
    let mut edits = Vec::new();
    if pod.container(AGENT).is_some() {
        let (at, port) = component_port(pod)?;
        if port != place.listen {
            edits.push(Edit::Set { at, value: word(pod, place.listen)? });
        }
    } else if pod.container(QUEUE_PROXY).is_some() {
        let (at, port) = user_port(pod)?;
        if port == place.upstream {
            edits.push(Edit::Set { at, value: place.listen.to_string().into() });
        }
    }
    Ok(edits)
}

fn behind_queue_proxy(pod: &Pod, ports: Ports) -> Result<Wiring, Refusal> {
    let (at, upstream) = user_port(pod)?;
    let mut edits = vec![Edit::Set { at, value: ports.proxy.to_string().into() }];
    edits.extend(probe_of_queue_proxy(pod, upstream, ports)?);
    Ok(Wiring {
        place: Place { tap: Tap::UserPort, listen: ports.proxy, upstream },
        edits,
        takes_port: false,
    })
}

fn behind_agent(pod: &Pod, mode: Mode, ports: Ports) -> Result<Wiring, Refusal> {
    let (at, upstream) = component_port(pod)?;
    let mut edits = vec![Edit::Set { at, value: word(pod, ports.proxy)? }];
    if mode.is_knative() {
        let (_, agent) = agent(pod)?;
        let listens = agent.ports.first().map_or(AGENT_PORT, |port| port.container_port);
        let (_, leads_to) = user_port(pod)?;
        if leads_to != listens {
            let text = format!("queue-proxy leads to port {leads_to} and not to the agent on {listens}");
            return Err(Refusal::new(Reason::UnknownWiring, text));
        }
        edits.extend(probe_of_queue_proxy(pod, upstream, ports)?);
    }
    Ok(Wiring {
        place: Place { tap: Tap::ComponentPort, listen: ports.proxy, upstream },
        edits,
        takes_port: false,
    })
}

fn agent(pod: &Pod) -> Result<(usize, &Container), Refusal> {
    pod.container(AGENT).ok_or_else(|| Refusal::new(Reason::UnknownWiring, "there is no container `agent`"))
}

fn flag_of_agent(pod: &Pod) -> Result<(usize, Flag<'_>), Refusal> {
    let (at, agent) = agent(pod)?;
    let unknown = || Refusal::new(Reason::UnknownWiring, format!("`agent` has no argument {COMPONENT_PORT}"));
    Ok((at, agent.flag(COMPONENT_PORT).ok_or_else(unknown)?))
}

/// Where the agent is told the server's port, and the port.
fn component_port(pod: &Pod) -> Result<(String, u16), Refusal> {
    let (container, flag) = flag_of_agent(pod)?;
    let unknown = |_| {
        Refusal::new(
            Reason::UnknownWiring,
            format!("`agent` has {COMPONENT_PORT} {}, not a port", flag.value),
        )
    };
    let port = flag.value.parse().map_err(unknown)?;
    Ok((format!("/spec/containers/{container}/{}/{}", flag.list, flag.at), port))
}

/// The agent's argument for another port, written as the present one is.
fn word(pod: &Pod, port: u16) -> Result<Value, Refusal> {
    let (_, flag) = flag_of_agent(pod)?;
    Ok(flag.word(COMPONENT_PORT, port).into())
}

impl Flag<'_> {
    /// The word of the arguments that says another port.
    fn word(&self, flag: &str, port: u16) -> String {
        if self.is_joined { format!("{flag}={port}") } else { port.to_string() }
    }
}

/// Where the queue-proxy is told the server's port, and the port.
fn user_port(pod: &Pod) -> Result<(String, u16), Refusal> {
    let unknown = || Refusal::new(Reason::UnknownWiring, format!("`queue-proxy` has no port in {USER_PORT}"));
    let (container, proxy) = pod.container(QUEUE_PROXY).ok_or_else(unknown)?;
    let (at, port) = proxy.env(USER_PORT).ok_or_else(unknown)?;
    Ok((format!("/spec/containers/{container}/env/{at}/value"), port.parse().map_err(|_| unknown())?))
}

/// The activator sends requests as soon as the queue-proxy's own probe succeeds, however ready Kubernetes finds the pod: so that
/// probe has to go through the sidecar.
fn probe_of_queue_proxy(pod: &Pod, upstream: u16, ports: Ports) -> Result<Option<Edit>, Refusal> {
    const NAME: &str = "SERVING_READINESS_PROBE";
    let Some((container, proxy)) = pod.container(QUEUE_PROXY) else { return Ok(None) };
    let Some((at, text)) = proxy.env(NAME).filter(|(_, text)| !text.is_empty()) else { return Ok(None) };
    let unknown = |_| Refusal::new(Reason::UnknownWiring, format!("{NAME} of `queue-proxy` is not JSON"));
    let mut probe: Value = serde_json::from_str(text).map_err(unknown)?;
    if !probe::lead_through(&mut probe, upstream, ports) {
        return Ok(None);
    }
    let at = format!("/spec/containers/{container}/env/{at}/value");
    Ok(Some(Edit::Set { at, value: probe.to_string().into() }))
}

/// Containers of a pod share its ports.
fn check_free(pod: &Pod, needed: &[u16]) -> Result<(), Refusal> {
    for &port in needed {
        let by_number = pod.all_containers().find(|container| container.mentions(port));
        let reserved: [(&str, &[u16]); 2] = [(QUEUE_PROXY, &QUEUE_PROXY_PORTS), (AGENT, &AGENT_PORTS)];
        let by_name =
            reserved.iter().find(|(name, ports)| pod.container(name).is_some() && ports.contains(&port));
        let who = by_number.map(|container| &*container.name).or(by_name.map(|(name, _)| *name));
        if let Some(who) = who {
            let text = format!("`{who}` uses port {port}; choose others in `sidecar.ports` of webhook.yaml");
            return Err(Refusal::new(Reason::PortTaken, text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_noted() {
        for tap in [Tap::UserPort, Tap::ComponentPort, Tap::MovePort] {
            let place = Place { tap, listen: 18080, upstream: 8080 };
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        for wrong in ["", "tap=none,listen=1,upstream=2", "tap=move_port,listen=8080", "listen=1,upstream=2"]
        {
            assert_eq!(wrong.parse::<Place>(), Err(()), "{wrong}");
        }
    }
}
