"""A client of the API server: objects are plain dictionaries, as in YAML. Knows kinds by discovery, as kubectl does."""

import json
import threading
from pathlib import Path
from typing import Any, Iterator

import requests
import yaml

Object = dict[str, Any]


# The one in C is ten times as fast, which CRDs of a megabyte each need; wheels of PyYAML have it.
class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Without two types that JSON, and so Kubernetes, does not have: dates, and a lone `=`."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in ("timestamp", "value")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class Refused(Exception):
    """The API server's own message, with its status code."""

    def __init__(self, what: str, answer: requests.Response):
        self.code = answer.status_code
        try:
            self.message = answer.json()["message"]
        except (ValueError, KeyError, TypeError):
            self.message = answer.text
        super().__init__(f"{what}: {self.code} {self.message}")


class Api:
    def __init__(self, server: str, authority: Path, certificate: tuple[Path, Path]):
        self.server = server
        self.authority = str(authority)
        self.certificate = tuple(str(path) for path in certificate)
        self.resources: dict[str, dict[str, Object]] = {}
        self.local = threading.local()  # a session is not safe to share between threads

    def call(self, method: str, path: str, body: Any = None, content_type: str = "application/json", **options) -> Any:
        answer = self._send(method, path, data=None if body is None else json.dumps(body), content_type=content_type, **options)
        if answer.status_code >= 400:
            raise Refused(f"{method} {path}", answer)
        return answer.json() if "json" in answer.headers.get("Content-Type", "") else answer.text

    def get(self, kind: str, name: str, namespace: str | None = None, version: str = "v1") -> Object:
        return self.call("GET", self.path(version, kind, namespace, name))

    def list(self, kind: str, namespace: str | None = None, version: str = "v1", **query) -> list[Object]:
        return self.call("GET", self.path(version, kind, namespace), params=query)["items"]

    def apply(self, thing: Object, dry_run: bool = False, manager: str = "rig") -> Object:
        """Server-side apply, which makes the object or changes it; with `dry_run` all of admission, strictly, and nothing kept."""
        query = {"fieldManager": manager, "force": "true"}
        if dry_run:
            query |= {"dryRun": "All", "fieldValidation": "Strict"}
        return self.call("PATCH", self.path_of(thing), thing, "application/apply-patch+yaml", params=query)

    def merge(self, thing: Object, patch: Object, part: str = "") -> Object:
        return self.call("PATCH", self.path_of(thing) + part, patch, "application/merge-patch+json")

    def delete(self, thing: Object, **options) -> None:
        self.call("DELETE", self.path_of(thing), {"kind": "DeleteOptions", "apiVersion": "v1", **options})

    def watch(self, path: str, **query) -> Iterator[Object]:
        """Events until the server ends the watch, which it does every few minutes."""
        answer = self._send("GET", path, params={"watch": "1", **query}, stream=True, timeout=(5, 300))
        if answer.status_code >= 400:
            raise Refused(f"watch {path}", answer)
        for line in answer.iter_lines(chunk_size=None):
            yield json.loads(line)

    def path_of(self, thing: Object) -> str:
        metadata = thing["metadata"]
        return self.path(thing["apiVersion"], thing["kind"], metadata.get("namespace"), metadata["name"])

    def path(self, version: str, kind: str, namespace: str | None = None, name: str | None = None) -> str:
        resource = self._resource(version, kind)
        base = f"/api/{version}" if "/" not in version else f"/apis/{version}"
        if resource["namespaced"] and (namespace or name):
            base += f"/namespaces/{namespace or 'default'}"
        return f"{base}/{resource['name']}" + (f"/{name}" if name else "")

    def _resource(self, version: str, kind: str) -> Object:
        known = self.resources.get(version, {})
        if kind not in known:
            base = f"/api/{version}" if "/" not in version else f"/apis/{version}"
            listed = self.call("GET", base)["resources"]
            known = self.resources[version] = {each["kind"]: each for each in listed if "/" not in each["name"]}
        if kind not in known:
            raise LookupError(f"{version} has no kind {kind} here; install its CRD first")
        return known[kind]

    def _send(self, method: str, path: str, content_type: str = "application/json", **options) -> requests.Response:
        if not hasattr(self.local, "session"):
            self.local.session = requests.Session()
            self.local.session.trust_env = False  # no proxy of the machine's
        options = {"timeout": 30, "headers": {"Content-Type": content_type}, **options}
        return self.local.session.request(
            method, self.server + path, verify=self.authority, cert=self.certificate, **options
        )


def objects_in(*paths: Path) -> list[Object]:
    """All objects in files and folders of YAML, lists taken apart, what is not an object (kustomizations) left out."""
    found = []
    for path in paths:
        files = sorted(path.rglob("*.y*ml")) if path.is_dir() else [path]
        for file in files:
            found += objects_of(file.read_text())
    return found


def objects_of(text: str) -> list[Object]:
    found = []
    for document in yaml.load_all(text, Loader=Loader):
        if not isinstance(document, dict) or "kind" not in document:
            continue
        things = document["items"] if document["kind"] == "List" else [document]
        found += [thing for thing in things if thing["kind"] not in ("Kustomization", "Component")]
    return found
