use super::*;

const SMALLEST: &str = r#"
state_dir: /var/lib/driftd
alerts: {bearer_token_file: /etc/driftd/alerts.token}
prometheus: {url: http://prometheus:9090}
git: {url: https://git.example/models.git, author: "driftd <driftd@example.com>"}
targets:
  - {namespace: prod, name: credit}
"#;

fn parse(text: &str) -> Result<ControllerConfig, String> {
    let raw: RawControllerConfig = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    ControllerConfig::try_from(raw).map_err(|error| error.to_string())
}

#[track_caller]
fn check_refused(from: &str, to: &str, said: &str) {
    let text = SMALLEST.replacen(from, to, 1);
    assert_ne!(text, SMALLEST, "nothing was changed");
    let error = parse(&text).unwrap_err();
    assert!(error.contains(said), "{error}");
}

#[test]
fn the_smallest_file_has_the_documented_defaults() {
    let config = parse(SMALLEST).unwrap();
    assert_eq!(config.listen.port(), 9465);
    assert_eq!(config.git.branch, "main");
    assert_eq!(config.git.author, Author { name: "driftd".into(), email: "driftd@example.com".into() });
    assert_eq!(config.targets[0].mode, Mode::Commit);
    assert_eq!(config.policy.cool_down.0, Duration::from_hours(6));
    assert!(config.kubernetes.is_none() && config.argocd.is_none() && config.forge.is_none());
}

#[test]
fn what_cannot_be_meant_is_refused_by_name() {
    check_refused("name: credit", "nam: credit", "nam");
    check_refused("name: credit", "name: Credit", "targets");
    check_refused(
        "{namespace: prod, name: credit}",
        "{namespace: prod, name: credit, path: ../x}",
        "targets.path",
    );
    check_refused(
        "{namespace: prod, name: credit}",
        "{namespace: prod, name: credit, field: a.b}",
        "targets.field",
    );
    check_refused(
        "{namespace: prod, name: credit}",
        "{namespace: prod, name: credit, mode: pull_request}",
        "forge",
    );
    check_refused("https://git.example", "https://user:secret@git.example", "credentials");
    check_refused("https://git.example/models.git", "git@git.example:models.git", "git.known_hosts_file");
    check_refused("https://git.example/models.git", "--upload-pack=x", "git.url");
    check_refused("driftd <driftd@example.com>", "driftd", "git.author");
    check_refused("http://prometheus:9090", "prometheus:9090", "prometheus.url");
    check_refused("targets:\n", "policy: {circuit_share: 2}\ntargets:\n", "share");
    check_refused("targets:\n", "policy: {recovery_settle: 20m}\ntargets:\n", "recovery_settle");
}
