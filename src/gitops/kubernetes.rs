//! The cluster, as far as it is asked: what a service serves, the `ConfigMap` for the replica that takes over, and the Lease.
//! Objects stay JSON: what KServe's and Knative's have is read where it is needed, and no version of theirs is compiled in.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use url::Url;

use super::config::KubernetesConfig;
use super::incident::Plan;
use super::serving::{self, Mode, Serving, View};
use super::target::ServiceName;

/// An API server that takes longer is as good as none: there is another look in a second.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Another replica may write the `ConfigMap` between our reading and writing it.
const MAX_ATTEMPTS: usize = 5;

/// Why the cluster gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// There is no way to it.
    #[error("cannot find the cluster; give `kubernetes.kubeconfig`, or run as a pod: {0}")]
    Config(String),
    /// Nobody answered, or not in time.
    #[error("the API server does not answer: {0}")]
    Unreachable(String),
    /// It said no.
    #[error("the API server refused {what}: {status} {message}")]
    Refused {
        /// The method and the path.
        what: String,
        /// The status.
        status: StatusCode,
        /// Why.
        message: String,
    },
}

impl KubernetesError {
    /// Whether what was to be read is not there.
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::NOT_FOUND, .. })
    }

    /// Whether somebody else was faster.
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::CONFLICT, .. })
    }
}

/// The cluster. Cheap to clone.
#[derive(Clone)]
pub struct Kubernetes {
    client: Client,
    namespace: String,
    config_map: String,
}

impl std::fmt::Debug for Kubernetes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kubernetes").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl Kubernetes {
    /// By the kubeconfig, else as a pod's account. Asks nothing yet.
    ///
    /// # Errors
    /// [`KubernetesError::Config`].
    pub async fn connect(config: &KubernetesConfig) -> Result<Self, KubernetesError> {
        crate::storage::install_tls();
        let problem = |error: &dyn std::error::Error| KubernetesError::Config(chain(error));
        let mut access = match &config.kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path).map_err(|error| problem(&error))?;
                let options = KubeConfigOptions::default();
                Config::from_custom_kubeconfig(file, &options).await.map_err(|error| problem(&error))?
            }
            None => Config::incluster().map_err(|error| problem(&error))?,
        };
        access.connect_timeout = Some(TIMEOUT);
        access.read_timeout = Some(TIMEOUT);
        let own = config.kubeconfig.is_none().then(|| access.default_namespace.clone());
        let namespace = config.namespace.clone().or(own).unwrap_or_else(|| "driftd-system".to_owned());
        let client = Client::try_from(access).map_err(|error| problem(&error))?;
        Ok(Self { client, namespace, config_map: config.config_map.clone() })
    }

    /// Where the Lease and the `ConfigMap` are.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Whether what the plan puts back serves. What cannot be seen is waited for.
    pub async fn serving(&self, service: &ServiceName, plan: &Plan) -> Serving {
        match self.view(service).await {
            Ok(view) => serving::judge(&view, plan),
            Err(error) => Serving::Waiting(error.to_string()),
        }
    }

    /// The URI that percent 0 would lead all traffic to; `None` outside Knative.
    ///
    /// # Errors
    /// [`KubernetesError`].
    pub async fn rolled_out_uri(&self, service: &ServiceName) -> Result<Option<String>, KubernetesError> {
        let view = self.view(service).await?;
        Ok(serving::rolled_out_uri(&view).map(ToOwned::to_owned))
    }

    /// Whether dropping the percent of a stopped canary moves no traffic to another version than this.
    ///
    /// # Errors
    /// Why not yet, or why nobody can say.
    pub async fn may_drop_percent(&self, service: &ServiceName, good_uri: &str) -> Result<(), String> {
        let view = self.view(service).await.map_err(|error| error.to_string())?;
        serving::may_drop_percent(&view, good_uri)
    }

    /// The objects of a service.
    ///
    /// # Errors
    /// [`KubernetesError`].
    pub async fn view(&self, service: &ServiceName) -> Result<View, KubernetesError> {
        let (namespace, name) = (service.namespace(), service.name());
        let kserve = ["apis", "serving.kserve.io", "v1beta1", "namespaces", namespace, "inferenceservices"];
        let found = self.get(&[&kserve[..], &[name]].concat(), &[]).await?;
        let label = format!("serving.kserve.io/inferenceservice={name}");
        let of_service = [("labelSelector", label.as_str())];
        let pods = self.items(&["api", "v1", "namespaces", namespace, "pods"], &of_service).await?;
        let mut view = View { service: found, pods, ..View::default() };
        match view.mode() {
            Mode::Standard => {
                let path = ["apis", "apps", "v1", "namespaces", namespace, "deployments"];
                view.deployments = self.items(&path, &of_service).await?;
                view.routes = self.routes(namespace, name).await?;
            }
            Mode::Knative => {
                let path = ["apis", "serving.knative.dev", "v1", "namespaces", namespace, "revisions"];
                view.revisions = self.items(&path, &of_service).await?;
            }
        }
        Ok(view)
    }

    /// The service's route and its predictor's; none where there is no Gateway API.
    async fn routes(&self, namespace: &str, name: &str) -> Result<Vec<Value>, KubernetesError> {
        let path = ["apis", "gateway.networking.k8s.io", "v1", "namespaces", namespace, "httproutes"];
        let mut routes = Vec::new();
        for name in [name.to_owned(), format!("{name}-predictor")] {
            match self.get(&[&path[..], &[&name]].concat(), &[]).await {
                Ok(route) => routes.push(route),
                Err(error) if error.is_not_found() => (),
                Err(error) => return Err(error),
            }
        }
        Ok(routes)
    }

    /// What the active replica has left for the next one; nothing if it has left nothing.
    ///
    /// # Errors
    /// [`KubernetesError`].
    pub async fn state(&self) -> Result<BTreeMap<String, String>, KubernetesError> {
        match self.get(&self.config_map_path(), &[]).await {
            Ok(found) => Ok(data(&found)),
            Err(error) if error.is_not_found() => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        }
    }

    /// Leaves this for the next one, beside what is under other keys.
    ///
    /// # Errors
    /// [`KubernetesError`], a conflict too if others write all the time.
    pub async fn set_state(&self, state: BTreeMap<String, String>) -> Result<(), KubernetesError> {
        let mut attempt = 1;
        loop {
            match self.try_set_state(&state).await {
                Err(error) if error.is_conflict() && attempt < MAX_ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    async fn try_set_state(&self, state: &BTreeMap<String, String>) -> Result<(), KubernetesError> {
        let path = self.config_map_path();
        let found = match self.get(&path, &[]).await {
            Err(error) if error.is_not_found() => {
                let object = json!({"apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": {"name": self.config_map, "namespace": self.namespace}, "data": state});
                return self.send(Method::POST, &path[..path.len() - 1], &object).await.map(drop);
            }
            found => found?,
        };
        let mut object = found;
        let mut all = data(&object);
        all.extend(state.clone());
        object["data"] = json!(all);
        // With the version that was read, so that what others have written meanwhile is not lost.
        self.send(Method::PUT, &path, &object).await.map(drop)
    }

    fn config_map_path(&self) -> [&str; 6] {
        ["api", "v1", "namespaces", &self.namespace, "configmaps", &self.config_map]
    }

    async fn items(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Vec<Value>, KubernetesError> {
        let mut listed = self.get(path, query).await?;
        match listed["items"].take() {
            Value::Array(items) => Ok(items),
            _ => Ok(Vec::new()),
        }
    }

    /// One object or list.
    pub(super) async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, KubernetesError> {
        self.exchange(Method::GET, path, query, Vec::new()).await
    }

    /// An object to be created or replaced.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &[&str],
        object: &Value,
    ) -> Result<Value, KubernetesError> {
        self.exchange(method, path, &[], object.to_string().into_bytes()).await
    }

    async fn exchange(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Value, KubernetesError> {
        let target = target(path, query);
        let what = format!("{method} {target}");
        let request =
            Request::builder().method(method).uri(&target).header("content-type", "application/json");
        let request = request.body(body).map_err(|error| KubernetesError::Unreachable(error.to_string()))?;
        let answered = tokio::time::timeout(TIMEOUT, self.client.request::<Value>(request)).await;
        let answered = answered.map_err(|_| KubernetesError::Unreachable(format!("{what}: not in time")))?;
        answered.map_err(|error| match error {
            kube::Error::Api(status) => KubernetesError::Refused {
                what,
                status: StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                message: status.message.chars().filter(|char| !char.is_control()).take(300).collect(),
            },
            error => KubernetesError::Unreachable(chain(&error)),
        })
    }
}

fn data(config_map: &Value) -> BTreeMap<String, String> {
    serde_json::from_value(config_map["data"].clone()).unwrap_or_default()
}

/// Path and query, each part encoded.
fn target(path: &[&str], query: &[(&str, &str)]) -> String {
    // Of no host: only what follows is used.
    let Ok(mut url) = Url::parse("http://cluster") else { return String::new() };
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.clear().extend(path);
    }
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    url[url::Position::BeforePath..].to_owned()
}

/// An error with what is behind it, said once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = error.source();
    }
    text.chars().filter(|char| !char.is_control()).take(400).collect()
}

#[cfg(test)]
pub(super) mod stand_in;
#[cfg(test)]
mod tests;
