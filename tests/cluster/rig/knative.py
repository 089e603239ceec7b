"""Knative Serving, for KServe's Serverless mode: its own controller, webhook, autoscaler and activator in pods, from its module's manifests.

What is not its own: the ingress (`ingress.py`), and, as there is no DNS, a line in the activator's hosts file that says where the autoscaler
is. Started by the first test that asks for it with `cluster.knative()`.
"""

from typing import TYPE_CHECKING

from .api import Object, objects_in
from .crds import install
from .ingress import CLASS, Ingress
from .pod import Pod
from .processes import wait_for

if TYPE_CHECKING:
    from .cluster import Cluster

NAMESPACE = "knative-serving"
DOMAIN = "example.com"
SETTINGS = {
    "config-network": {"ingress-class": CLASS},
    "config-domain": {DOMAIN: ""},
    # There is no registry to ask for the digest of an image.
    "config-deployment": {"registries-skipping-tag-resolving": "index.docker.io"},
}
AUTOSCALER = "autoscaler.knative-serving.svc.cluster.local"


class Knative:
    def __init__(self, cluster: "Cluster"):
        self.cluster, self.api = cluster, cluster.api
        core, networking = cluster.programs / "knative/core", cluster.programs / "knative-networking/config"
        install(self.api, core / "300-resources", networking, cluster.programs / "knative-caching/config")
        for thing in objects_in(core / "100-namespace.yaml", core / "200-serviceaccount.yaml", core / "200-roles"):
            self.api.apply(thing)
        # The webhook fills the Secret, and without it does not listen.
        for thing in objects_in(core / "configmaps", networking / "config-network.yaml", core / "webhooks/secret.yaml"):
            self.api.apply(with_settings(thing) if thing["kind"] == "ConfigMap" else thing)
        self._run("controller", "webhook", "autoscaler")
        [autoscaler] = self._ready("autoscaler")
        self._run("activator", host_aliases=[{"ip": autoscaler.address, "hostnames": [AUTOSCALER]}])
        for name in ("controller", "webhook", "activator"):
            self._ready(name)
        # They are called from now on, and refuse all that they cannot be asked about.
        for thing in objects_in(core / "webhooks"):
            if thing["kind"] != "Secret":
                self.api.apply(thing)
        self.ingress = Ingress(cluster.plane, cluster.state)
        wait_for("Knative's webhooks", self._takes_services, cluster.running)

    def _run(self, *names: str, host_aliases: list[Object] | None = None) -> None:
        for name in names:
            for thing in objects_in(self.cluster.programs / f"knative/core/deployments/{name}.yaml"):
                if thing["kind"] == "Deployment" and host_aliases:
                    thing["spec"]["template"]["spec"]["hostAliases"] = host_aliases
                self.api.apply(thing)

    def _ready(self, name: str) -> list[Pod]:
        try:
            return wait_for(f"Knative's {name}", lambda: self.cluster.pods(NAMESPACE, f"app={name}") or None, self.cluster.running)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.cluster.what_pods_say(NAMESPACE)}") from error

    def _takes_services(self) -> bool:
        """Whether the webhook fills in what a Service leaves open, as it does once the API server trusts it."""
        spec = {"template": {"spec": {"containers": [{"image": "shell"}]}}}
        thing = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "probe", "namespace": NAMESPACE}, "spec": spec}
        return "serving.knative.dev/creator" in self.api.apply(thing, dry_run=True)["metadata"].get("annotations", {})


def with_settings(thing: Object) -> Object:
    thing["data"] = {**thing.get("data", {}), **SETTINGS.get(thing["metadata"]["name"], {})}
    return thing


def host_of(name: str, namespace: str) -> str:
    """Where the ingress takes requests for the predictor of an InferenceService."""
    return f"{name}-predictor.{namespace}.{DOMAIN}"
