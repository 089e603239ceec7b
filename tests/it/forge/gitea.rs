//! Gitea as `./test.sh` has built it: one for all tests, each of which has a repository of its own in it.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio::time::sleep;

use crate::support::{PATIENCE, from_env};

/// Who administers it, owns all repositories, and merges.
pub const PEOPLE: &str = "people";
/// Whose tokens the controller has.
pub const ROBOT: &str = "robot";
pub const PASSWORD: &str = "not-a-secret-at-all";

/// Ends the program, and removes what it has left, once its own standard input ends: with the tests, however these end.
const KEEPER: &str =
    r#"folder=$1; shift; "$@" > "$folder/log" 2>&1 & cat > /dev/null; kill $!; wait $!; rm -r "$folder""#;

pub struct Gitea {
    folder: PathBuf,
    http: SocketAddr,
    pub ssh: SocketAddr,
    /// With the other end of its standard input.
    keeper: Option<Child>,
}

impl Gitea {
    /// The one that runs. The first who asks starts it.
    pub async fn get() -> &'static Self {
        static RUNNING: OnceCell<Gitea> = OnceCell::const_new();
        RUNNING.get_or_init(Self::start).await
    }

    async fn start() -> Self {
        let program = from_env("DRIFTD_TEST_GITEA");
        let folder = TempDir::new().unwrap().keep();
        // It takes no port 0: another process may take these first, which fails the start loudly.
        let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [http, ssh] = ports.map(|listener| listener.local_addr().unwrap());
        let mut gitea = Self { folder, http, ssh, keeper: None };
        key(&gitea.host_key());
        gitea.configure(program.parent().unwrap());
        gitea.run(&["migrate"]);
        for (name, more) in [(PEOPLE, "--admin"), (ROBOT, "--must-change-password=false")] {
            let email = format!("--email={name}@example.com");
            let name = format!("--username={name}");
            let password = format!("--password={PASSWORD}");
            gitea.run(&[
                "admin",
                "user",
                "create",
                &name,
                &email,
                &password,
                "--must-change-password=false",
                more,
            ]);
        }
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "keeper"]).arg(&gitea.folder).arg(&program).arg("web");
        gitea.keeper =
            Some(keeper.arg("--config").arg(gitea.config()).stdin(Stdio::piped()).spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        while reqwest::get(format!("{}/api/v1/version", gitea.url())).await.is_err() {
            let log = || std::fs::read_to_string(gitea.folder.join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "Gitea does not answer; it said: {}", log());
            sleep(Duration::from_millis(50)).await;
        }
        gitea
    }

    fn config(&self) -> PathBuf {
        self.folder.join("app.ini")
    }

    fn configure(&self, static_files: &Path) {
        let (folder, http, ssh) = (self.folder.display(), self.http, self.ssh);
        let text = format!(
            "RUN_MODE = prod\nWORK_PATH = {folder}\nI_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true\n\
             [server]\nHTTP_ADDR = {}\nHTTP_PORT = {}\nROOT_URL = {}/\nSTATIC_ROOT_PATH = {}\nLFS_START_SERVER = false\n\
             START_SSH_SERVER = true\nBUILTIN_SSH_SERVER_USER = git\nSSH_LISTEN_HOST = {}\nSSH_LISTEN_PORT = {}\nSSH_PORT = {}\n\
             SSH_SERVER_HOST_KEYS = {}\n\
             [repository]\nROOT = {folder}/repositories\n[database]\nDB_TYPE = sqlite3\nPATH = {folder}/gitea.db\n\
             [security]\nINSTALL_LOCK = true\nPASSWORD_HASH_ALGO = pbkdf2$1000$50\n\
             [service]\nDISABLE_REGISTRATION = true\n\
             [indexer]\nISSUE_INDEXER_TYPE = db\n\
             [actions]\nENABLED = false\n[packages]\nENABLED = false\n[mailer]\nENABLED = false\n\
             [log]\nLEVEL = Warn\n",
            http.ip(),
            http.port(),
            self.url(),
            static_files.display(),
            ssh.ip(),
            ssh.port(),
            ssh.port(),
            self.host_key().display(),
        );
        std::fs::write(self.config(), text).unwrap();
    }

    fn run(&self, arguments: &[&str]) {
        let mut command = Command::new(from_env("DRIFTD_TEST_GITEA"));
        let output = command.arg("--config").arg(self.config()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.http)
    }

    fn host_key(&self) -> PathBuf {
        self.folder.join("host-key")
    }

    /// What stands in a `known_hosts` for this server, if it has this key.
    pub fn known_host(&self, public: &str) -> String {
        format!("[{}]:{} {public}", self.ssh.ip(), self.ssh.port())
    }

    pub fn host_public_key(&self) -> String {
        std::fs::read_to_string(self.host_key().with_extension("pub")).unwrap()
    }

    /// Where it keeps a repository of people's.
    pub fn path(&self, repository: &str) -> PathBuf {
        self.folder.join("repositories").join(PEOPLE).join(format!("{repository}.git"))
    }

    /// As a person who may do all.
    pub async fn ask(&self, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
        self.ask_as(PEOPLE, method, path, body).await
    }

    async fn ask_as(&self, user: &str, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
        let request = reqwest::Client::new().request(method, format!("{}/api/v1{path}", self.url()));
        let answer = request.basic_auth(user, Some(PASSWORD)).json(body).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap_or_default())
    }

    /// The same, for what has to succeed.
    pub async fn must(&self, method: Method, path: &str, body: &Value) -> Value {
        let (status, answer) = self.ask(method, path, body).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    /// A token of the robot's that may do this much.
    pub async fn token(&self, scopes: &[&str]) -> String {
        let body = json!({"name": format!("{:016x}", fastrand::u64(..)), "scopes": scopes});
        let path = format!("/users/{ROBOT}/tokens");
        let (status, answer) = self.ask_as(ROBOT, Method::POST, &path, &body).await;
        assert!(status.is_success(), "{status} {answer}");
        answer["sha1"].as_str().unwrap().to_owned()
    }
}

/// Makes a pair of keys without a password. Returns the public one.
pub fn key(path: &Path) -> String {
    let arguments = ["-q", "-t", "ed25519", "-N", "", "-C", "a test", "-f"];
    let made = Command::new("ssh-keygen").args(arguments).arg(path).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    std::fs::read_to_string(path.with_extension("pub")).unwrap()
}
