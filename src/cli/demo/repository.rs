//! The repository of the demo, a real one: bare, in the demo's folder, with a clone beside it in which a person works. By the `git` program,
//! without anything of the user's or the machine's configuration.

use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::process::Command;

use super::pods::{NAMESPACE, SERVICE};

/// The manifest in it.
pub const FILE: &str = "prod/credit.yaml";
/// The branch that is deployed.
pub const BRANCH: &str = "main";

/// The repository, and the person's clone.
#[derive(Clone, Debug)]
pub struct Repository {
    bare: PathBuf,
    clone: PathBuf,
}

/// Whether there is a `git` on the PATH.
pub async fn is_possible() -> bool {
    Command::new("git").arg("--version").output().await.is_ok_and(|output| output.status.success())
}

impl Repository {
    /// An empty one in `folder`.
    ///
    /// # Errors
    /// What `git` says.
    pub async fn create(folder: &Path) -> anyhow::Result<Self> {
        let repository = Self { bare: folder.join("models.git"), clone: folder.join("person") };
        git(folder, &["init", "--quiet", "--bare", "models.git"]).await?;
        git(&repository.bare, &["symbolic-ref", "HEAD", &format!("refs/heads/{BRANCH}")]).await?;
        git(folder, &["clone", "--quiet", "models.git", "person"]).await?;
        Ok(repository)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.bare
    }

    /// Deploys what lies at `uri`, as a person does: on what is there, edit, commit, push. Returns the commit.
    ///
    /// # Errors
    /// What `git` says.
    pub async fn promote(&self, uri: &str, subject: &str) -> anyhow::Result<String> {
        let person = async |arguments: &[&str]| git(&self.clone, arguments).await;
        let is_empty = self.git(&["branch", "--list", BRANCH]).await?.is_empty();
        if is_empty {
            person(&["symbolic-ref", "HEAD", &format!("refs/heads/{BRANCH}")]).await?;
        } else {
            person(&["pull", "--quiet", "--ff-only", "origin", BRANCH]).await?;
        }
        let file = self.clone.join(FILE);
        std::fs::create_dir_all(file.parent().unwrap_or(&self.clone))?;
        std::fs::write(&file, manifest(uri)).with_context(|| format!("writing {}", file.display()))?;
        person(&["add", FILE]).await?;
        person(&["commit", "--quiet", "--message", subject]).await?;
        person(&["push", "--quiet", "origin", BRANCH]).await?;
        self.tip().await
    }

    /// The newest commit.
    ///
    /// # Errors
    /// What `git` says.
    pub async fn tip(&self) -> anyhow::Result<String> {
        self.git(&["rev-parse", &format!("refs/heads/{BRANCH}")]).await
    }

    /// What `git` answers in the bare repository.
    ///
    /// # Errors
    /// What it says.
    pub async fn git(&self, arguments: &[&str]) -> anyhow::Result<String> {
        git(&self.bare, arguments).await
    }
}

async fn git(folder: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("git")
        .current_dir(folder)
        .args(["-c", "core.hooksPath=/dev/null", "-c", "commit.gpgSign=false"])
        .args(["-c", "user.name=A person", "-c", "user.email=person@example.com"])
        .args(arguments)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C")
        // A demo that is started inside of a repository, or by a hook of one, has nothing to do with that one.
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .output()
        .await
        .context("cannot run `git`")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::bail!("git {} in {}: {}", arguments.join(" "), folder.display(), said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

fn manifest(uri: &str) -> String {
    format!(
        "apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: {SERVICE}
  namespace: {NAMESPACE}
spec:
  predictor:
    model:
      modelFormat:
        name: sklearn
      # Whoever deploys changes this line; so does driftd.
      storageUri: {uri}
"
    )
}
