//! The API server finds the webhook, and a webhook that is down keeps no pod from starting.

use driftd::inject::WebhookConfig;
use serde_json::Value;
use tempfile::TempDir;

use super::pods::{Pods, pods};
use super::rendered::{Rendering, every_rendering, list_at, text_at, yaml};

/// Renderings with the webhook, and its pods.
fn with_webhook() -> Vec<(&'static Rendering, Pods<'static>)> {
    let is_webhook = |pods: &Pods<'_>| text_at(pods.object, "/metadata/name") == "driftd-webhook";
    let of_one = |rendering| Some((rendering, pods(rendering).into_iter().find(is_webhook)?));
    let found: Vec<_> = every_rendering().iter().filter_map(of_one).collect();
    assert!(found.len() >= 6);
    found
}

#[test]
fn the_api_server_is_led_to_the_port_that_the_webhook_listens_on() {
    for (rendering, pods) in with_webhook() {
        let service = rendering
            .of_kind("Service")
            .find(|service| text_at(service, "/metadata/name") == "driftd-webhook")
            .unwrap();
        for webhook in list_at(rendering.one("MutatingWebhookConfiguration"), "/webhooks") {
            let asked = &webhook["clientConfig"]["service"];
            assert_eq!(asked["name"], service["metadata"]["name"]);
            assert_eq!(asked["namespace"], service["metadata"]["namespace"]);
            let port = list_at(service, "/spec/ports").iter().find(|port| port["port"] == asked["port"]);
            assert_eq!(pods.port(&port.unwrap()["targetPort"]), Some(9443), "{}", rendering.name);
        }
    }
}

#[test]
fn its_configuration_is_valid_where_it_is_mounted() {
    let directory = TempDir::new().unwrap();
    for (rendering, pods) in with_webhook() {
        let map = rendering.of_kind("ConfigMap").find(|map| map.pointer("/data/webhook.yaml").is_some());
        let text = text_at(map.unwrap(), "/data/webhook.yaml");
        let file = directory.path().join("webhook.yaml");
        std::fs::write(&file, text).unwrap();
        let config = WebhookConfig::read(&file).unwrap_or_else(|error| panic!("{}: {error}", rendering.name));
        assert_eq!(Some(u64::from(config.listen.port())), pods.port(&serde_json::json!("https")));
    }
}

#[test]
fn a_webhook_that_is_down_or_wrong_keeps_no_pod_from_starting() {
    for (rendering, _) in with_webhook() {
        let webhooks = list_at(rendering.one("MutatingWebhookConfiguration"), "/webhooks");
        let names: Vec<_> = webhooks.iter().map(|webhook| text_at(webhook, "/name")).collect();
        assert_eq!(names, ["pods.driftd.io", "namespaces.driftd.io"]);
        for webhook in webhooks {
            assert_eq!(webhook["failurePolicy"], "Ignore", "{}", rendering.name);
            assert_eq!(webhook["sideEffects"], "None");
            assert!(webhook["timeoutSeconds"].as_u64().unwrap() <= 5);
        }
    }
}

#[test]
fn only_new_pods_of_inference_services_that_ask_for_it_are_reviewed() {
    let kserve = serde_json::json!([{"key": "serving.kserve.io/inferenceservice", "operator": "Exists"}]);
    let rules = serde_json::json!([{
        "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "scope": "Namespaced",
    }]);
    for (rendering, _) in with_webhook() {
        let webhooks = list_at(rendering.one("MutatingWebhookConfiguration"), "/webhooks");
        for webhook in webhooks {
            assert_eq!(webhook["rules"], rules);
            assert_eq!(webhook["objectSelector"]["matchExpressions"], kserve);
            assert!(text_at(webhook, "/matchConditions/0/expression").contains("'driftd.io/inject'"));
        }
        // A pod is the matter of one of the two.
        let of_namespaces = |webhook: &Value| webhook["namespaceSelector"].to_string();
        assert!(of_namespaces(&webhooks[0]).contains(r#""operator":"NotIn","values":["enabled"]"#));
        assert_eq!(webhooks[1]["namespaceSelector"]["matchLabels"]["driftd.io/inject"], "enabled");
    }
}

#[test]
fn the_webhook_comes_after_kserves_and_before_istios() {
    for (rendering, _) in with_webhook() {
        let configuration = rendering.one("MutatingWebhookConfiguration");
        let name = text_at(configuration, "/metadata/name");
        assert!("inferenceservice.serving.kserve.io" < name && name < "istio-sidecar-injector", "{name}");
        for webhook in list_at(configuration, "/webhooks") {
            assert_eq!(webhook["reinvocationPolicy"], "IfNeeded");
        }
    }
}

#[test]
fn sidecars_are_of_the_webhooks_own_image() {
    for (rendering, pods) in with_webhook() {
        let mut maps = rendering.of_kind("ConfigMap");
        let text = maps.find_map(|map| map.pointer("/data/webhook.yaml")?.as_str()).unwrap();
        let configuration = &yaml(text)[0];
        assert_eq!(configuration["sidecar"]["image"], pods.containers()[0]["image"], "{}", rendering.name);
        let mounts = list_at(&pods.containers()[0], "/volumeMounts");
        let tls = mounts.iter().find(|mount| mount["name"] == "tls").unwrap();
        for (key, file) in [("certificate", "tls.crt"), ("key", "tls.key")] {
            let expected = format!("{}/{file}", text_at(tls, "/mountPath"));
            assert_eq!(configuration["tls"][key], expected, "{}", rendering.name);
        }
    }
}

#[test]
fn certificates_are_for_the_name_that_the_api_server_calls() {
    let mut n_certificates = 0;
    for (rendering, pods) in with_webhook() {
        let service = &list_at(rendering.one("MutatingWebhookConfiguration"), "/webhooks")[0]["clientConfig"]
            ["service"];
        let host = format!("{}.{}.svc", text_at(service, "/name"), text_at(service, "/namespace"));
        let volumes = list_at(pods.spec, "/volumes");
        let mounted = volumes.iter().find_map(|volume| volume.pointer("/secret/secretName")).unwrap();
        let script = std::fs::read_to_string(super::rendered::deploy().join("certificate")).unwrap();
        assert!(script.contains(mounted.as_str().unwrap()));
        for certificate in rendering.of_kind("Certificate").filter(|one| one["spec"]["isCA"] != true) {
            assert_eq!(certificate["spec"]["dnsNames"], serde_json::json!([host]));
            assert_eq!(certificate["spec"]["secretName"], *mounted);
            let injected = rendering.one("MutatingWebhookConfiguration")["metadata"]["annotations"]
                ["cert-manager.io/inject-ca-from"]
                .as_str();
            let expected = format!(
                "{}/{}",
                text_at(certificate, "/metadata/namespace"),
                text_at(certificate, "/metadata/name")
            );
            assert_eq!(injected, Some(&*expected));
            n_certificates += 1;
        }
    }
    assert!(n_certificates >= 4);
}
