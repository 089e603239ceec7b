"""The accounts of `deploy/` may do what `deploy/rbac.md` says, as the API server itself sees it, and nothing else."""

import re
import unittest
from dataclasses import dataclass

import support
from rig.api import Api, Object, objects_of
from rig.cluster import ROOT, shared
from rig.control_plane import SERVER

OVERLAYS = ("sidecar-injection", "logger-sink", "log-daemonset", "prometheus", "controller")
OF_ACCOUNTS = ("Namespace", "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
Right = tuple[str, str]  # verb, resource


@dataclass
class Row:
    account: str
    may: set[Right]
    where: str


def written() -> list[Row]:
    """The rows of the list."""
    rows = []
    for line in (ROOT / "deploy/rbac.md").read_text().splitlines():
        if line.startswith("| `"):
            account, may, where, _ = [cell.strip() for cell in line.strip("|").split("|")]
            *verbs, resource = re.findall(r"`([^`]+)`", may) or [""]
            rows.append(Row(account.strip("`"), {(verb, resource) for verb in verbs}, where.strip("`")))
    return rows


def written_for(namespace: str) -> dict[str, set[Right]]:
    """What each account may do there."""
    found: dict[str, set[Right]] = {row.account: set() for row in written()}
    for row in written():
        if row.where in ("every namespace", namespace):
            found[row.account] |= row.may
    return found


class Rbac(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = cluster = shared()
        cluster.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "monitoring"}})
        cls.accounts = set()
        for overlay in OVERLAYS:
            for thing in objects_of(cluster.kubectl("kustomize", "--load-restrictor=LoadRestrictionsNone", ROOT / "deploy/overlays" / overlay)):
                if thing["kind"] in OF_ACCOUNTS:
                    cluster.api.apply(thing)
                if thing["kind"] == "ServiceAccount":
                    cls.accounts.add(f"{thing['metadata']['namespace']}/{thing['metadata']['name']}")
        cls.elsewhere = cluster.namespace()

    def rights(self, account: str, namespace: str) -> set[Right]:
        """All lines of `kubectl auth can-i --list`, taken apart."""
        user = "system:serviceaccount:" + account.replace("/", ":")
        lines = self.cluster.kubectl("auth", "can-i", "--list", f"--as={user}", f"--namespace={namespace}").splitlines()
        self.assertRegex(lines[0], r"^Resources +Non-Resource URLs +Resource Names +Verbs$")
        found = set()
        for line in lines[1:]:
            resource, url, names, verbs = re.fullmatch(r"(\S*) +\[(.*?)\] +\[(.*?)\] +\[(.*?)\]", line).groups()
            what = (resource or url) + (f" {names}" if names else "")
            found |= {(verb, what) for verb in verbs.split()}
        return found

    def test_the_list_has_every_account(self):
        self.assertEqual({row.account for row in written()}, self.accounts)

    def test_every_account_may_do_what_is_written_and_nothing_else(self):
        namespaces = ("driftd-system", "driftd-logs", "monitoring", "kube-system", "kserve", self.elsewhere)
        nobody = f"{self.elsewhere}/default"
        for namespace in namespaces:
            # What the cluster gives to every account, and ours on top of it.
            common = self.rights(nobody, namespace)
            for account, may in written_for(namespace).items():
                with self.subTest(account, namespace=namespace):
                    self.assertEqual(self.rights(account, namespace), common | may)
                    self.assertEqual(common & may, set())
        self.assertLessEqual({row.where for row in written()}, {"", "every namespace", *namespaces})

    def test_what_is_not_written_is_refused(self):
        refused = (
            *(("get", "secrets"), ("list", "secrets"), ("get", "configmaps"), ("create", "pods"), ("delete", "pods"), ("patch", "pods")),
            *(("get", "pods/log"), ("create", "pods/exec"), ("get", "nodes"), ("create", "serviceaccounts/token"), ("impersonate", "users")),
            *(("patch", "inferenceservices.serving.kserve.io"), ("update", "deployments.apps"), ("update", "leases.coordination.k8s.io"), ("patch", "mutatingwebhookconfigurations.admissionregistration.k8s.io"), ("escalate", "clusterroles.rbac.authorization.k8s.io")),
        )
        for row in written():
            user = "system:serviceaccount:" + row.account.replace("/", ":")
            for verb, resource in refused:
                with self.subTest(row.account, verb=verb, resource=resource):
                    body = {
                        "apiVersion": "authorization.k8s.io/v1",
                        "kind": "SubjectAccessReview",
                        "spec": {"user": user, "groups": groups_of(row.account), "resourceAttributes": attributes(verb, resource, self.elsewhere)},
                    }
                    answer = self.cluster.api.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
                    self.assertFalse(answer["status"]["allowed"], answer["status"])

    def test_who_makes_the_certificate_needs_what_is_written_for_people(self):
        """The one Secret and the one configuration: `deploy/certificate` runs through with no right more."""
        cluster = self.cluster
        support.install_webhook(cluster)
        secrets = [
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "patch"], "resourceNames": ["driftd-webhook-tls"]},
            # Server-side apply of what is not there yet; creating cannot be limited to a name.
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
        ]
        webhooks = {
            "apiGroups": ["admissionregistration.k8s.io"],
            "resources": ["mutatingwebhookconfigurations"],
            "verbs": ["get", "patch"],
            "resourceNames": ["inferencetap.driftd.io"],
        }
        name, group = "certifier", "rbac.authorization.k8s.io"
        subject = {"kind": "User", "name": name, "apiGroup": group}
        for scope, rules in (("Role", secrets), ("ClusterRole", [webhooks])):
            metadata = {"name": name, **({"namespace": "driftd-system"} if scope == "Role" else {})}
            cluster.api.apply({"apiVersion": f"{group}/v1", "kind": scope, "metadata": metadata, "rules": rules})
            role = {"kind": scope, "name": name, "apiGroup": group}
            cluster.api.apply({"apiVersion": f"{group}/v1", "kind": f"{scope}Binding", "metadata": metadata, "roleRef": role, "subjects": [subject]})
        certificate = cluster.plane.authority.issue(name, name)
        secret = lambda: cluster.api.get("Secret", "driftd-webhook-tls", "driftd-system")["data"]["tls.crt"]  # noqa: E731
        before = secret()
        support.certify(cluster, cluster.plane.kubeconfig_for(name, certificate))
        self.assertNotEqual(secret(), before)
        other = Api(SERVER, cluster.plane.authority.certificate, certificate)
        with self.assertRaisesRegex(Exception, "403"):
            other.list("Secret", "driftd-system")


def groups_of(account: str) -> list[str]:
    return ["system:serviceaccounts", f"system:serviceaccounts:{account.split('/')[0]}", "system:authenticated"]


def attributes(verb: str, resource: str, namespace: str) -> Object:
    resource, _, subresource = resource.partition("/")
    resource, _, group = resource.partition(".")
    return {"verb": verb, "resource": resource, "group": group, "subresource": subresource, "namespace": namespace}


if __name__ == "__main__":
    unittest.main()
