"""Real CRDs from their Go modules, and rendered manifests held against them by the API server itself."""

from pathlib import Path

from .api import Api, Object, Refused, objects_in
from .processes import wait_for


def install(api: Api, *paths: Path) -> list[str]:
    """All CRDs under `paths`, each once; returns their names when their kinds can be used."""
    found = {thing["metadata"]["name"]: thing for thing in objects_in(*paths) if thing["kind"] == "CustomResourceDefinition"}
    if not found:
        raise LookupError(f"no CRD under {', '.join(str(path) for path in paths)}")
    for thing in found.values():
        # Conversion needs a webhook that does not run here; without it each version is stored as it came.
        thing["spec"].pop("conversion", None)
        api.apply(thing)
    for name in found:
        wait_for(f"CRD {name}", lambda name=name: established(api, name))
    api.resources.clear()
    return sorted(found)


def established(api: Api, name: str) -> bool:
    thing = api.get("CustomResourceDefinition", name, version="apiextensions.k8s.io/v1")
    return any(each["type"] == "Established" and each["status"] == "True" for each in thing.get("status", {}).get("conditions", []))


def dry_run(api: Api, things: list[Object]) -> list[str]:
    """What the API server has against `things`, a line each: schema, admission and webhooks, nothing is kept.

    Namespaces among them are made, as whatever is in them could not be looked at otherwise.
    """
    complaints = []
    for thing in sorted(things, key=lambda thing: thing["kind"] != "Namespace"):
        try:
            api.apply(thing, dry_run=thing["kind"] != "Namespace")
        except (Refused, LookupError, KeyError) as error:
            metadata = thing.get("metadata", {})
            complaints.append(f"{thing.get('kind')} {metadata.get('namespace', '')}/{metadata.get('name')}: {error}")
    return complaints
