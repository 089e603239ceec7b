//! What cannot work as it is configured, though the file says nothing wrong: said at start and no reason not to, since files of tokens may
//! come later, and are read again when they do.

use std::path::Path;

use super::config::ControllerConfig;
use super::server::MIN_TOKEN_BYTES;

/// One of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The key, as written in the file.
    pub key: String,
    /// What is wrong, and what follows.
    pub problem: String,
}

/// All of them. Reads the files of tokens.
pub fn doubts(config: &ControllerConfig) -> Vec<Doubt> {
    let mut doubts = of_callers(config);
    doubts.extend(ours(config).into_iter().filter_map(|(key, path)| {
        let problem = token(path, 1).err()?;
        Some(Doubt { key: key.to_owned(), problem })
    }));
    if config.targets.is_empty() {
        let problem = "is empty; every alert is written down and left".to_owned();
        doubts.push(Doubt { key: "targets".to_owned(), problem });
    }
    doubts
}

/// Tokens that are shown to us: whoever has one is who it says.
fn of_callers(config: &ControllerConfig) -> Vec<Doubt> {
    let operators = config.api.operators.iter();
    let operators =
        operators.map(|each| (format!("api.operators[{}].token_file", each.name), &*each.token_file));
    let alerts = ("alerts.bearer_token_file".to_owned(), &*config.alerts_token_file);
    let (mut doubts, mut known) = (Vec::new(), Vec::<(String, Vec<u8>)>::new());
    for (key, path) in std::iter::once(alerts).chain(operators) {
        let problem = match token(path, MIN_TOKEN_BYTES) {
            Err(problem) => format!("{problem}; until it does, nobody is let in by it"),
            Ok(token) => {
                let Some((other, _)) = known.iter().find(|(_, other)| *other == token) else {
                    known.push((key, token));
                    continue;
                };
                format!("has the token of `{other}`; who has the one is taken for the other")
            }
        };
        doubts.push(Doubt { key, problem });
    }
    doubts
}

/// Tokens that we show.
fn ours(config: &ControllerConfig) -> Vec<(&'static str, &Path)> {
    let files = [
        ("prometheus.bearer_token_file", config.prometheus.bearer_token_file.as_deref()),
        ("git.token_file", config.git.token_file.as_deref()),
        ("argocd.token_file", config.argocd.as_ref().map(|argocd| &*argocd.token_file)),
        ("forge.token_file", config.forge.as_ref().map(|forge| &*forge.token_file)),
    ];
    files.into_iter().filter_map(|(key, path)| Some((key, path?))).collect()
}

fn token(path: &Path, min_bytes: usize) -> Result<Vec<u8>, String> {
    let bytes = std::fs::read(path)
        .map_err(|error| format!("has to name a file that can be read: {}: {error}", path.display()))?;
    match bytes.trim_ascii() {
        [] => Err(format!("has to hold a token, and {} is empty", path.display())),
        token if token.len() < min_bytes => Err(format!(
            "has to hold {min_bytes} characters at least, and {} has {}",
            path.display(),
            token.len()
        )),
        token => Ok(token.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::super::config::RawControllerConfig;
    use super::*;

    /// Of a file with these tokens of `alerts`, `ann` and `bob`; none for a file that is not there.
    fn found(tokens: [Option<&str>; 3], more: &str) -> Vec<(String, String)> {
        let folder = TempDir::new().unwrap();
        let paths = [0, 1, 2].map(|idx: usize| {
            let path = folder.path().join(idx.to_string());
            if let Some(token) = tokens[idx] {
                std::fs::write(&path, token).unwrap();
            }
            path.display().to_string()
        });
        let text = format!(
            "state_dir: x\nalerts: {{bearer_token_file: '{}'}}\n\
             api: {{operators: [{{name: ann, token_file: '{}'}}, {{name: bob, token_file: '{}'}}]}}\n\
             git: {{url: 'https://git.example/models.git', author: 'd <d@example.com>', token_file: '{}'}}\n{more}",
            paths[0], paths[1], paths[2], paths[0],
        );
        let raw: RawControllerConfig = serde_saphyr::from_str(&text).unwrap();
        let found = doubts(&ControllerConfig::try_from(raw).unwrap()).into_iter();
        found.map(|doubt| (doubt.key, doubt.problem)).collect()
    }

    const PLAIN: &str =
        "prometheus: {url: 'http://127.0.0.1:1'}\ntargets: [{namespace: prod, name: credit}]\n";

    #[track_caller]
    fn check(found: &[(String, String)], expected: &[(&str, &str)]) {
        let keys: Vec<&str> = found.iter().map(|(key, _)| &**key).collect();
        let expected_keys: Vec<&str> = expected.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, expected_keys, "{found:?}");
        for ((key, problem), (_, said)) in found.iter().zip(expected) {
            assert!(problem.contains(said), "{key}: {problem}, expected {said}");
        }
    }

    #[test]
    fn tokens_that_nobody_can_show_are_named() {
        check(&found([Some("of-alerts\n"), Some("token-of-ann"), Some("token-of-bob")], PLAIN), &[]);
        let tokens = [None, Some(" \n"), Some("short")];
        let expected = [
            ("alerts.bearer_token_file", "No such file"),
            ("api.operators[ann].token_file", "is empty"),
            ("api.operators[bob].token_file", "8 characters at least"),
            ("git.token_file", "No such file"),
        ];
        check(&found(tokens, PLAIN), &expected);
    }

    #[test]
    fn one_token_under_two_keys_is_named() {
        let tokens = [Some("one-token"), Some("one-token\n"), Some("one-token")];
        let expected = [
            ("api.operators[ann].token_file", "`alerts.bearer_token_file`"),
            ("api.operators[bob].token_file", "`alerts.bearer_token_file`"),
        ];
        check(&found(tokens, PLAIN), &expected);
    }

    #[test]
    fn tokens_of_ours_and_no_targets_are_named() {
        let more = "prometheus: {url: 'http://127.0.0.1:1', bearer_token_file: /nowhere}\n\
            argocd: {url: 'https://argocd.example', token_file: /nowhere}\n\
            forge: {kind: github, url: 'https://api.github.com', project: a/b, token_file: /nowhere}\ntargets: []\n";
        let expected = [
            ("prometheus.bearer_token_file", "/nowhere"),
            ("argocd.token_file", "/nowhere"),
            ("forge.token_file", "/nowhere"),
            ("targets", "is empty"),
        ];
        check(&found([Some("of-alerts"), Some("token-of-ann"), Some("token-of-bob")], more), &expected);
    }
}
