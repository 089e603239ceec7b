//! `deploy/certificate`, with the real openssl.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tempfile::TempDir;

const HOST: &str = "driftd-webhook.driftd-system.svc";

fn certificate() -> Command {
    Command::new(super::rendered::deploy().join("certificate"))
}

#[track_caller]
fn succeeded(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What openssl says of a server's certificate under this name.
fn verified(authority: &Path, certificate: &Path, host: &str) -> Output {
    Command::new("openssl")
        .args(["verify", "-purpose", "sslserver", "-verify_hostname", host, "-CAfile"])
        .args([authority, certificate])
        .output()
        .unwrap()
}

#[test]
fn a_certificate_is_for_the_webhooks_name_and_no_other() {
    let folder = TempDir::new().unwrap();
    succeeded(certificate().arg("--out").arg(folder.path()).output().unwrap());
    let (authority, leaf) = (folder.path().join("ca.crt"), folder.path().join("tls.crt"));
    succeeded(verified(&authority, &leaf, HOST));
    assert!(!verified(&authority, &leaf, "driftd-webhook.elsewhere.svc").status.success());
    let mode = std::fs::metadata(folder.path().join("tls.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "others may read the key: {mode:o}");
}

/// Stands in for kubectl: keeps the patch and the certificate, and answers with the authorities that were patched in last.
const MOCK_KUBECTL: &str = r#"#!/usr/bin/env bash
set -euo pipefail
case "$1 $*" in
  get*caBundle*) cat "$MOCK/bundle" 2> /dev/null || true ;;
  get*) echo "pods.driftd.io namespaces.driftd.io" ;;
  patch*)
    printf '%s' "${@: -1}" > "$MOCK/patch"
    sed 's/.*"value":"\([^"]*\)".*/\1/' "$MOCK/patch" > "$MOCK/bundle"
    ;;
  create*) for argument; do [[ $argument != --cert=* ]] || cp "${argument#--cert=}" "$MOCK/tls.crt"; done ;;
  apply*) cat > /dev/null ;;
esac
"#;

#[test]
fn the_last_authority_is_trusted_until_its_certificate_is_replaced() {
    let folder = TempDir::new().unwrap();
    let kubectl = folder.path().join("kubectl");
    std::fs::write(&kubectl, MOCK_KUBECTL).unwrap();
    std::fs::set_permissions(&kubectl, PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let bundle = folder.path().join("bundle.crt");
    let mut certificates = Vec::new();
    for n_before in 0..3 {
        succeeded(certificate().env("PATH", &path).env("MOCK", folder.path()).output().unwrap());
        let patch: Value =
            serde_json::from_str(&std::fs::read_to_string(folder.path().join("patch")).unwrap()).unwrap();
        let places: Vec<_> = patch.as_array().unwrap().iter().map(|operation| &operation["path"]).collect();
        assert_eq!(places, ["/webhooks/0/clientConfig/caBundle", "/webhooks/1/clientConfig/caBundle"]);
        std::fs::write(&bundle, STANDARD.decode(patch[0]["value"].as_str().unwrap()).unwrap()).unwrap();
        let leaf = folder.path().join(format!("{n_before}.crt"));
        std::fs::rename(folder.path().join("tls.crt"), &leaf).unwrap();
        certificates.push(leaf);
        for (n, leaf) in certificates.iter().enumerate() {
            let is_trusted = verified(&bundle, leaf, HOST).status.success();
            assert_eq!(is_trusted, n + 1 >= n_before, "certificate {n} after renewal {n_before}");
        }
    }
}
