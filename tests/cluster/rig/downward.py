"""What a container is told about its pod: fields, and environment variables with references to each other."""

import base64
import re

from .api import Api, Object, Refused
from .network import GATEWAY


class EnvError(Exception):
    pass


def field_of(pod: Object, path: str, address: str | None) -> str:
    if path in ("status.podIP", "status.podIPs"):
        return address or ""
    if path in ("status.hostIP", "status.hostIPs"):
        return GATEWAY
    if keyed := re.fullmatch(r"metadata\.(labels|annotations)\['(.*)'\]", path):
        return pod["metadata"].get(keyed[1], {}).get(keyed[2], "")
    if path in ("metadata.labels", "metadata.annotations"):
        return "\n".join(f'{key}="{value}"' for key, value in sorted(pod["metadata"].get(path.split(".")[1], {}).items()))
    value = pod
    for part in path.split("."):
        value = value.get(part, "")
    return str(value)


def env_of(api: Api, pod: Object, container: Object, image_env: dict[str, str], address: str | None) -> dict[str, str]:
    namespace = pod["metadata"]["namespace"]
    env = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/",
        "HOSTNAME": pod["metadata"]["name"],
        # Stands in for the cluster IP of `kubernetes.default`, which nothing would forward.
        "KUBERNETES_SERVICE_HOST": GATEWAY,
        "KUBERNETES_SERVICE_PORT": "6443",
        **image_env,
    }
    for source in container.get("envFrom", []):
        kind, reference = ("ConfigMap", source["configMapRef"]) if "configMapRef" in source else ("Secret", source["secretRef"])
        for key, value in keyed_values(api, kind, reference, namespace).items():
            env[source.get("prefix", "") + key] = value
    for variable in container.get("env", []):
        value = value_of(api, pod, container, variable, env, address)
        if value is not None:
            env[variable["name"]] = value
    return env


def value_of(api: Api, pod: Object, container: Object, variable: Object, env: dict[str, str], address: str | None) -> str | None:
    source = variable.get("valueFrom")
    if source is None:
        return expand(variable.get("value", ""), env)
    if field := source.get("fieldRef"):
        return field_of(pod, field["fieldPath"], address)
    if resource := source.get("resourceFieldRef"):
        amount = container.get("resources", {})
        for part in resource["resource"].split("."):
            amount = amount.get(part, {}) if isinstance(amount, dict) else {}
        return str(amount or "0")
    kind, reference = ("ConfigMap", source["configMapKeyRef"]) if "configMapKeyRef" in source else ("Secret", source["secretKeyRef"])
    values = keyed_values(api, kind, reference, pod["metadata"]["namespace"])
    if reference["key"] not in values and not reference.get("optional"):
        raise EnvError(f"{variable['name']}: {kind} {reference['name']} has no key {reference['key']}")
    return values.get(reference["key"])


def keyed_values(api: Api, kind: str, reference: Object, namespace: str) -> dict[str, str]:
    try:
        data = api.get(kind, reference["name"], namespace).get("data", {})
    except Refused as error:
        if error.code == 404 and reference.get("optional"):
            return {}
        raise EnvError(f"{kind} {namespace}/{reference['name']}: {error.message}") from error
    return data if kind == "ConfigMap" else {key: base64.b64decode(value).decode() for key, value in data.items()}


def expand(text: str, env: dict[str, str]) -> str:
    """`$(NAME)` becomes its value, `$$(NAME)` stays as `$(NAME)`, and so does a name that nobody knows."""

    def replace(match: re.Match) -> str:
        if match[0].startswith("$$"):
            return match[0][1:]
        return env.get(match[1], match[0])

    return re.sub(r"\$?\$\(([^)]*)\)", replace, text)
