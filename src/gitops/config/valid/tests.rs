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

/// The page has one file with every key, at its default where there is one.
#[test]
fn the_file_of_the_documentation_has_every_key_and_says_the_defaults() {
    let page = include_str!("../../../../docs/controller.md");
    let yaml = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let written = parse(yaml).unwrap();
    let smallest = parse(SMALLEST).unwrap();
    assert_eq!(written.policy, smallest.policy);
    assert_eq!(written.listen, smallest.listen);
    assert_eq!(written.cluster, smallest.cluster);
    assert_eq!(written.git.fetch_interval, smallest.git.fetch_interval);
    assert_eq!(written.git.timeout, smallest.git.timeout);
    assert_eq!(written.git.pause_file, smallest.git.pause_file);
    assert_eq!(written.git.username, smallest.git.username);
    assert_eq!(written.prometheus.timeout, smallest.prometheus.timeout);
    assert_eq!(written.prometheus.max_age, smallest.prometheus.max_age);
    let kubernetes = KubernetesConfig::from(RawKubernetes::default());
    assert_eq!(format!("{:?}", written.kubernetes.unwrap()), format!("{kubernetes:?}"));
    // Every field that the file may have is a field of a `Raw…`, of `Policy` or of `Signing`.
    let keys = include_str!("../../config.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("    pub ")?.split_once(':'));
    let keys: Vec<&str> = keys
        .map(|(key, _)| key)
        .filter(|key| key.chars().all(|char| char.is_lowercase() || char == '_'))
        .collect();
    assert!(keys.len() > 50, "{keys:?}");
    for key in keys.into_iter().filter(|key| *key != "permille") {
        assert!(yaml.contains(&format!("{key}:")), "docs/controller.md does not have `{key}`");
    }
}
