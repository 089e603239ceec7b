"""A pod's volumes as folders. Those made from objects change with them, all files of one at once, as on a real node."""

import base64
import os
import shutil
from pathlib import Path

from .api import Api, Object, Refused
from .downward import field_of

TOKEN_SECONDS = 3600


class VolumeError(Exception):
    """What is missing may still come: the pod waits, as it does on a real node."""


def prepare(api: Api, pod: Object, folder: Path, address: str | None) -> None:
    """Makes or renews all volumes of `pod` under `folder`, each in a folder of its own name."""
    for volume in pod["spec"].get("volumes", []):
        target = folder / volume["name"]
        target.mkdir(parents=True, exist_ok=True)
        if "emptyDir" in volume:
            target.chmod(0o777)
        elif (files := files_of(api, pod, volume, address)) is not None:
            # As a kubelet does it, whose volumes are of root and of the pod's group.
            publish(target, files, pod["spec"].get("securityContext", {}).get("fsGroup", -1))
        else:
            kinds = ", ".join(key for key in volume if key != "name")
            raise VolumeError(f"volume {volume['name']}: the rig has no volumes of kind {kinds}")


def files_of(api: Api, pod: Object, source: Object, address: str | None) -> dict[str, tuple[bytes, int]] | None:
    """Path → content and mode, for all kinds of volumes that are made from objects."""
    namespace = pod["metadata"]["namespace"]
    if config_map := source.get("configMap"):
        thing = fetch(api, "ConfigMap", config_map["name"], namespace, config_map)
        data = {key: text.encode() for key, text in thing.get("data", {}).items()}
        data |= {key: base64.b64decode(text) for key, text in thing.get("binaryData", {}).items()}
        return picked(data, config_map)
    if secret := source.get("secret"):
        thing = fetch(api, "Secret", secret.get("secretName") or secret.get("name"), namespace, secret)
        return picked({key: base64.b64decode(text) for key, text in thing.get("data", {}).items()}, secret)
    if downward := source.get("downwardAPI"):
        mode = downward.get("defaultMode", 0o644)
        values = {item["path"]: field_of(pod, item["fieldRef"]["fieldPath"], address) for item in downward.get("items", [])}
        return {path: (value.encode(), mode) for path, value in values.items()}
    if token := source.get("serviceAccountToken"):
        return {token["path"]: (request_token(api, pod, token).encode(), 0o644)}
    if projected := source.get("projected"):
        found: dict[str, tuple[bytes, int]] = {}
        for part in projected.get("sources", []):
            if (files := files_of(api, pod, part, address)) is None:
                return None
            found |= files
        return found
    return None


def fetch(api: Api, kind: str, name: str, namespace: str, source: Object) -> Object:
    try:
        return api.get(kind, name, namespace)
    except Refused as error:
        if error.code == 404 and source.get("optional"):
            return {}
        raise VolumeError(f"{kind} {namespace}/{name}: {error.message}") from error


def picked(data: dict[str, bytes], source: Object) -> dict[str, tuple[bytes, int]]:
    mode = source.get("defaultMode", 0o644)
    if not (items := source.get("items")):
        return {key: (content, mode) for key, content in data.items()}
    if missing := [item["key"] for item in items if item["key"] not in data and not source.get("optional")]:
        raise VolumeError(f"no key {', '.join(missing)}; there are {', '.join(data) or 'none'}")
    return {item["path"]: (data[item["key"]], item.get("mode", mode)) for item in items if item["key"] in data}


def request_token(api: Api, pod: Object, source: Object) -> str:
    metadata = pod["metadata"]
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": metadata["namespace"], "name": pod["spec"]["serviceAccountName"]}}
    spec = {
        "expirationSeconds": source.get("expirationSeconds", TOKEN_SECONDS),
        "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]},
        **({"audiences": [source["audience"]]} if source.get("audience") else {}),
    }
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    return api.call("POST", api.path_of(account) + "/token", body)["status"]["token"]


def publish(target: Path, files: dict[str, tuple[bytes, int]], group: int) -> None:
    """Files are links into `..data`, itself a link that is swapped: readers see all of the old or all of the new."""
    current = target / "..data"
    if current.is_symlink() and holds(current, files):
        return
    number = int(os.readlink(current).removeprefix("..version-")) + 1 if current.is_symlink() else 1
    version = target / f"..version-{number}"
    for path, (content, mode) in files.items():
        (version / path).parent.mkdir(parents=True, exist_ok=True)
        (version / path).write_bytes(content)
        os.chown(version / path, -1, group)
        (version / path).chmod(mode)
    version.mkdir(exist_ok=True)
    link = target / "..data-next"
    link.symlink_to(version.name)
    link.rename(current)
    tops = {Path(path).parts[0] for path in files}
    for top in tops:
        if not (target / top).is_symlink():
            (target / top).symlink_to(Path("..data", top))
    for former in target.iterdir():
        if former.is_symlink() and former.name != "..data" and former.name not in tops:
            former.unlink()
        elif former.is_dir() and not former.is_symlink() and former.name not in (version.name,):
            shutil.rmtree(former)


def holds(folder: Path, files: dict[str, tuple[bytes, int]]) -> bool:
    resolved = folder.resolve()
    there = {str(path.relative_to(resolved)): path.read_bytes() for path in resolved.rglob("*") if path.is_file()}
    return there == {path: content for path, (content, _) in files.items()}


def renewed(volume: Object) -> bool:
    """Whether it follows its object. A token would be another one each time; one outlives any test."""
    return bool(volume.keys() & {"configMap", "secret", "downwardAPI"})
