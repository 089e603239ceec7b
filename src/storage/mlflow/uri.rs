//! MLflow's URIs, as its users write them.

use crate::storage::location::joined;

/// `models:/…`, `runs:/…` or `mlflow-artifacts:/…`, with or without `mlflow:` before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::storage) struct MlflowUri {
    pub(super) root: Root,
    pub(super) path: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Root {
    Version {
        name: String,
        version: String,
    },
    Alias {
        name: String,
        alias: String,
    },
    /// What is `latest`, or a stage of MLflow before aliases.
    Stage {
        name: String,
        stage: String,
    },
    /// A model of MLflow 3, by its id.
    Logged {
        id: String,
    },
    Run {
        id: String,
    },
    Artifacts {
        host: Option<String>,
    },
}

impl MlflowUri {
    pub(in crate::storage) fn parse(text: &str) -> Result<Self, String> {
        let inner = text.strip_prefix("mlflow:").unwrap_or(text);
        let wrong = || {
            "write it like mlflow:models:/name/3, mlflow:models:/name@alias, mlflow:models:/m-…, mlflow:runs:/id/path or \
             mlflow-artifacts:/path"
                .to_owned()
        };
        let (scheme, rest) = inner.split_once(":/").ok_or_else(wrong)?;
        if scheme == "mlflow-artifacts" {
            let (host, path) = match rest.strip_prefix('/') {
                Some(rest) => {
                    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
                    (Some(host.to_owned()).filter(|host| !host.is_empty()), path)
                }
                None => (None, rest),
            };
            return Ok(Self { root: Root::Artifacts { host }, path: path.to_owned() });
        }
        if rest.starts_with('/') {
            return Err(
                "a server in the URI is not read; set MLFLOW_TRACKING_URI and write one slash".to_owned()
            );
        }
        let (first, rest) = rest.split_once('/').unwrap_or((rest, ""));
        if first.is_empty() {
            return Err(wrong());
        }
        let owned = str::to_owned;
        match scheme {
            "runs" => Ok(Self { root: Root::Run { id: first.to_owned() }, path: rest.to_owned() }),
            "models" => {
                let is_logged = first
                    .strip_prefix("m-")
                    .is_some_and(|id| id.len() == 32 && id.chars().all(|digit| digit.is_ascii_hexdigit()));
                if is_logged {
                    return Ok(Self { root: Root::Logged { id: first.to_owned() }, path: owned(rest) });
                }
                if let Some((name, alias)) = first.rsplit_once('@') {
                    let root = Root::Alias { name: name.to_owned(), alias: alias.to_owned() };
                    return Ok(Self { root, path: rest.to_owned() });
                }
                let (version, path) = rest.split_once('/').unwrap_or((rest, ""));
                let (name, version) = (first.to_owned(), version.to_owned());
                let root = if version.is_empty() {
                    return Err(wrong());
                } else if version.chars().all(|digit| digit.is_ascii_digit()) {
                    Root::Version { name, version }
                } else {
                    Root::Stage { name, stage: version }
                };
                Ok(Self { root, path: path.to_owned() })
            }
            _ => Err(wrong()),
        }
    }

    pub(in crate::storage) fn join(&self, name: &str) -> Self {
        Self { root: self.root.clone(), path: joined(&self.path, name) }
    }

    pub(in crate::storage) fn parent(&self) -> Option<Self> {
        if self.path.is_empty() {
            return None;
        }
        let folder = self.path.trim_end_matches('/').rsplit_once('/').map_or("", |(folder, _)| folder);
        Some(Self { root: self.root.clone(), path: folder.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, root: Root, path: &str) {
        assert_eq!(MlflowUri::parse(text), Ok(MlflowUri { root, path: path.to_owned() }), "{text}");
    }

    #[test]
    fn every_spelling_of_mlflow_is_read() {
        let text = str::to_owned;
        let id = format!("m-{}", "0af1".repeat(8));
        check("mlflow:models:/credit/3", Root::Version { name: text("credit"), version: text("3") }, "");
        check("models:/my model/3/a/b", Root::Version { name: text("my model"), version: text("3") }, "a/b");
        check("models:/credit@best", Root::Alias { name: text("credit"), alias: text("best") }, "");
        check(
            "models:/credit@best/x.json",
            Root::Alias { name: text("credit"), alias: text("best") },
            "x.json",
        );
        check("models:/credit/latest", Root::Stage { name: text("credit"), stage: text("latest") }, "");
        check(
            "models:/credit/Production",
            Root::Stage { name: text("credit"), stage: text("Production") },
            "",
        );
        check(&format!("models:/{id}"), Root::Logged { id }, "");
        check("mlflow:runs:/abc/train.csv", Root::Run { id: text("abc") }, "train.csv");
        check("mlflow-artifacts:/1/x", Root::Artifacts { host: None }, "1/x");
        check("mlflow-artifacts://h:5000/1/x", Root::Artifacts { host: Some(text("h:5000")) }, "1/x");
        for wrong in
            ["models:/credit", "mlflow:credit/3", "runs:/", "models://host/credit/3", "mlflow:s3://b/k"]
        {
            assert!(MlflowUri::parse(wrong).is_err(), "{wrong}");
        }
    }
}
