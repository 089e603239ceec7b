"""One bridge in the rig's own network, and a network namespace a pod with an address on it.

There is no kube-proxy and no DNS: cluster IPs and names of Services lead nowhere. The host is GATEWAY for every pod.
"""

import itertools
import subprocess

BRIDGE = "pods"
GATEWAY = "10.200.0.1"
MASK = 16

_numbers = itertools.count(2)


def ip(*arguments: object, inside: int | None = None) -> None:
    """`ip`, in the network namespace of the process `inside` where one is named."""
    enter = ["nsenter", f"--target={inside}", "--net"] if inside else []
    run([*enter, "ip", *map(str, arguments)])


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")


def start_bridge() -> None:
    ip("link", "set", "lo", "up")
    ip("link", "add", BRIDGE, "type", "bridge")
    ip("addr", "add", f"{GATEWAY}/{MASK}", "dev", BRIDGE)
    ip("link", "set", BRIDGE, "up")


class Sandbox:
    """The namespaces that a pod's containers share (network, host name, IPC), held by a process that sleeps."""

    def __init__(self, host_name: str):
        number = next(_numbers)
        self.address = f"10.200.{number // 250}.{number % 250 + 2}"
        command = ["unshare", "--net", "--uts", "--ipc", "sh", "-c", 'hostname "$0" && echo ready && exec sleep infinity', host_name[:63]]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.process.stdout.readline()  # from here on it is in its namespaces
        pid, link = self.process.pid, f"pod{number}"
        ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", pid)
        ip("link", "set", link, "master", BRIDGE, "up")
        ip("link", "set", "lo", "up", inside=pid)
        ip("addr", "add", f"{self.address}/{MASK}", "dev", "eth0", inside=pid)
        ip("link", "set", "eth0", "up", inside=pid)
        ip("route", "add", "default", "via", GATEWAY, inside=pid)

    def close(self) -> None:
        """The namespaces end with their last process, and the links with the namespace."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
