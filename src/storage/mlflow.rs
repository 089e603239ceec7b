//! What MLflow's tracking server says that its URIs stand for.

mod uri;

use serde_json::Value;
use url::Url;

use super::StorageError;
use super::location::{Kind, Location, Place, joined};
use super::settings::Settings;
use super::web::{Asked, Web};
pub(super) use uri::MlflowUri;
use uri::Root;

/// A model version whose source is a run, whose artifacts are elsewhere: nothing real has more steps.
const MAX_STEPS: u32 = 4;

const ADVICE: &str = "check MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD";

/// A tracking server, as the environment names it.
pub(super) struct Tracking<'a> {
    web: Web,
    settings: &'a Settings,
    base: Url,
    shown: &'a str,
}

impl<'a> Tracking<'a> {
    pub(super) fn new(settings: &'a Settings, shown: &'a str) -> Result<Self, StorageError> {
        let problem = |problem: String| StorageError::Setting {
            uri: shown.to_owned(),
            name: "MLFLOW_TRACKING_URI",
            problem,
        };
        let uri = settings.variable("MLFLOW_TRACKING_URI").ok_or_else(|| {
            problem("is not set; set it to the tracking server, like http://mlflow:5000".to_owned())
        })?;
        let base = Url::parse(uri).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
        let base = base.ok_or_else(|| {
            problem("is not the address of a server; write it like http://mlflow:5000".to_owned())
        })?;
        let web = Web::new(settings, settings.is_on("MLFLOW_TRACKING_INSECURE_TLS") == Some(true))?;
        Ok(Self { web, settings, base, shown })
    }

    /// What a URI stands for at this moment.
    pub(super) async fn resolve(&self, uri: &MlflowUri) -> Result<Place, StorageError> {
        let mut uri = uri.clone();
        for _ in 0..MAX_STEPS {
            let root = match &uri.root {
                Root::Artifacts { host } => {
                    return Ok(Place::Artifact {
                        server: self.artifact_server(host.as_deref())?,
                        path: uri.path,
                    });
                }
                root => self.artifact_uri(root).await?,
            };
            let at = Location::parse(&root)?.join_if_any(&uri.path);
            match at.kind {
                Kind::Place(place) => return Ok(place),
                Kind::Mlflow(next) => uri = next,
            }
        }
        Err(StorageError::Refused {
            uri: self.shown.to_owned(),
            source: super::error::Reason::new("its source names a source that names a source, and so on"),
        })
    }

    /// The same of a run's URI that names a model which the run has logged: MLflow 3 keeps it elsewhere, and reads it by
    /// such a URI all the same.
    pub(super) async fn resolve_logged(&self, uri: &MlflowUri) -> Result<Option<Place>, StorageError> {
        let Root::Run { id } = &uri.root else { return Ok(None) };
        let (name, path) = uri.path.split_once('/').unwrap_or((&uri.path, ""));
        if name.is_empty() || name.contains('\'') {
            return Ok(None);
        }
        let run = self.ask("mlflow/runs/get", &[("run_id", id)]).await?;
        let experiment = self.text(&run, "/run/info/experiment_id")?;
        let url = below(&self.base, "api/2.0/mlflow/logged-models/search");
        let filter =
            serde_json::json!({"experiment_ids": [experiment], "filter": format!("name = '{name}'")});
        let found = self
            .web
            .json(self.asked(), |client| self.signed(client.post(url.clone()), &url).json(&filter))
            .await?;
        let mut models = found["models"].as_array().into_iter().flatten();
        let Some(model) = models.find(|model| model["info"]["source_run_id"] == id.as_str()) else {
            return Ok(None);
        };
        let at = Location::parse(&self.text(model, "/info/artifact_uri")?)?.join_if_any(path);
        match at.kind {
            Kind::Place(place) => Ok(Some(place)),
            Kind::Mlflow(uri) => self.resolve(&uri).await.map(Some),
        }
    }

    /// Where MLflow says the artifacts of a model or a run are.
    async fn artifact_uri(&self, root: &Root) -> Result<String, StorageError> {
        match root {
            Root::Version { name, version } => self.version_uri(name, version).await,
            Root::Alias { name, alias } => {
                let path = "mlflow/registered-models/alias";
                let answer =
                    self.ask(path, &[("name", name), ("alias", alias)]).await.map_err(
                        |error| match error {
                            // It says 400 where there is no such alias.
                            StorageError::Refused { uri, source } => {
                                StorageError::NotFound { uri, detail: source.to_string() }
                            }
                            error => error,
                        },
                    )?;
                let version = self.text(&answer, "/model_version/version")?;
                self.version_uri(name, &version).await
            }
            Root::Stage { name, stage } => {
                let mut query = vec![("name", name.as_str())];
                if !stage.eq_ignore_ascii_case("latest") {
                    query.push(("stages", stage));
                }
                let answer = self.ask("mlflow/registered-models/get-latest-versions", &query).await?;
                let versions = answer["model_versions"].as_array().into_iter().flatten();
                let newest =
                    versions.filter_map(|version| version["version"].as_str()?.parse::<u64>().ok()).max();
                let newest = newest.ok_or_else(|| StorageError::NotFound {
                    uri: self.shown.to_owned(),
                    detail: format!("model `{name}` has no version `{stage}`"),
                })?;
                self.version_uri(name, &newest.to_string()).await
            }
            Root::Logged { id } => {
                let answer = self.ask(&format!("mlflow/logged-models/{id}"), &[]).await?;
                self.text(&answer, "/model/info/artifact_uri")
            }
            Root::Run { id } => {
                let answer = self.ask("mlflow/runs/get", &[("run_id", id)]).await?;
                self.text(&answer, "/run/info/artifact_uri")
            }
            Root::Artifacts { .. } => Ok(self.shown.to_owned()),
        }
    }

    async fn version_uri(&self, name: &str, version: &str) -> Result<String, StorageError> {
        let query = [("name", name), ("version", version)];
        let answer = self.ask("mlflow/model-versions/get-download-uri", &query).await?;
        self.text(&answer, "/artifact_uri")
    }

    fn text(&self, answer: &Value, pointer: &str) -> Result<String, StorageError> {
        answer.pointer(pointer).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| {
            StorageError::Refused {
                uri: self.shown.to_owned(),
                source: super::error::Reason::new(format!("the tracking server's answer has no `{pointer}`")),
            }
        })
    }

    async fn ask(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, StorageError> {
        let url = below(&self.base, &format!("api/2.0/{path}"));
        self.web.json(self.asked(), |client| self.signed(client.get(url.clone()), &url).query(query)).await
    }

    /// Reads a file, or lists a folder with `path` in the query, through the server.
    pub(super) async fn artifact(
        &self,
        server: &Url,
        path: &str,
        headers: &http::HeaderMap,
    ) -> Result<reqwest::Response, StorageError> {
        let url = below(server, &format!("api/2.0/mlflow-artifacts/artifacts/{path}"));
        self.web
            .get(self.asked(), |client| self.signed(client.get(url.clone()), &url).headers(headers.clone()))
            .await
    }

    /// Names of the files in a folder.
    pub(super) async fn list(&self, server: &Url, folder: &str) -> Result<Vec<String>, StorageError> {
        let url = below(server, "api/2.0/mlflow-artifacts/artifacts");
        let query = [("path", folder)];
        let answer = self
            .web
            .json(self.asked(), |client| self.signed(client.get(url.clone()), &url).query(&query))
            .await?;
        let files = answer["files"].as_array().into_iter().flatten();
        let name = |file: &Value| Some(file["path"].as_str()?.rsplit('/').next()?.to_owned());
        Ok(files.filter(|file| file["is_dir"] != true).filter_map(name).collect())
    }

    pub(super) fn asked(&self) -> Asked<'a> {
        Asked { uri: self.shown, advice: ADVICE }
    }

    /// With the credentials, if it is the server that they are for.
    fn signed(&self, request: reqwest::RequestBuilder, url: &Url) -> reqwest::RequestBuilder {
        if url.origin() != self.base.origin() {
            return request;
        }
        let variable = |name: &str| self.settings.variable(name);
        let request = match variable("MLFLOW_WORKSPACE") {
            Some(workspace) => request.header("X-MLFLOW-WORKSPACE", workspace),
            None => request,
        };
        if let Some(user) = variable("MLFLOW_TRACKING_USERNAME") {
            return request.basic_auth(user, variable("MLFLOW_TRACKING_PASSWORD"));
        }
        match variable("MLFLOW_TRACKING_TOKEN") {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    fn artifact_server(&self, host: Option<&str>) -> Result<Url, StorageError> {
        let Some(host) = host else { return Ok(self.base.clone()) };
        Url::parse(&format!("{}://{host}", self.base.scheme()))
            .map_err(|error| StorageError::Uri { uri: self.shown.to_owned(), problem: error.to_string() })
    }
}

/// The server may itself be below a path.
fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    let whole = joined(base.path(), path);
    url.set_path(&whole);
    url
}
