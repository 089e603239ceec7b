//! Running `git`: nothing of the user's or the machine's configuration, no prompt, no hook, no credential on a command line, and an end
//! in time, with all that it has started.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::super::config::{GitConfig, Signing, SigningFormat};
use super::GitError;
use crate::baseline::schema::hex;

/// Read by git as a shell function; file and user come by the environment.
const CREDENTIALS: &str = r#"!f() { test "$1" = get && printf 'username=%s\npassword=%s\n' "$DRIFTD_GIT_USER" "$(cat "$DRIFTD_GIT_TOKEN_FILE")"; }; f"#;

/// The most of Git's words that is repeated.
const MAX_SAID_CHARS: usize = 500;

/// How the network is reached here.
const OF_THE_MACHINE: [&str; 8] = [
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// The program, and how it is called for one repository.
#[derive(Debug)]
pub(super) struct Git {
    folder: PathBuf,
    home: PathBuf,
    options: Vec<String>,
    environment: Vec<(&'static str, String)>,
    timeout: Duration,
}

impl Git {
    pub(super) fn new(config: &GitConfig, state_dir: &Path) -> Result<Self, GitError> {
        // Another repository is another clone.
        let name = hex(&Sha256::digest(config.url.as_bytes())[..6]);
        let (folder, home) = (state_dir.join(format!("git-{name}")), state_dir.join("git-home"));
        for path in [&folder, &home] {
            std::fs::create_dir_all(path)
                .map_err(|source| GitError::Folder { path: path.clone(), source })?;
        }
        Ok(Self {
            folder,
            home,
            options: options(config),
            environment: environment(config),
            timeout: config.timeout,
        })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it prints, for a call that has to succeed.
    pub(super) async fn run(&self, what: &'static str, arguments: &[&str]) -> Result<Vec<u8>, GitError> {
        self.run_with(what, arguments, &[], b"").await
    }

    /// The same as text on one line.
    pub(super) async fn text(&self, what: &'static str, arguments: &[&str]) -> Result<String, GitError> {
        let answer = self.run(what, arguments).await?;
        Ok(String::from_utf8_lossy(&answer).trim().to_owned())
    }

    /// The same with more in its environment, and something to read.
    pub(super) async fn run_with(
        &self,
        what: &'static str,
        arguments: &[&str],
        environment: &[(&str, &str)],
        input: &[u8],
    ) -> Result<Vec<u8>, GitError> {
        let output = self.output(what, arguments, environment, input).await?;
        match output.status.code() {
            Some(0) => Ok(output.stdout),
            _ => Err(GitError::Failed { what, text: advised(said(&output.stderr)) }),
        }
    }

    /// Its exit code, and what it says on both outputs: for a call whose failure is an answer.
    pub(super) async fn exit(
        &self,
        what: &'static str,
        arguments: &[&str],
    ) -> Result<(i32, String), GitError> {
        let output = self.output(what, arguments, &[], b"").await?;
        let text = said(&[output.stdout, output.stderr].concat());
        Ok((output.status.code().unwrap_or(-1), text))
    }

    async fn output(
        &self,
        what: &'static str,
        arguments: &[&str],
        environment: &[(&str, &str)],
        input: &[u8],
    ) -> Result<std::process::Output, GitError> {
        let mut command = Command::new("git");
        command
            .args(&self.options)
            .arg(what)
            .args(arguments)
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into()))
            .env("HOME", &self.home)
            .envs(OF_THE_MACHINE.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn().map_err(GitError::Run)?;
        let group = Group::of(&child);
        let stdin = child.stdin.take();
        let work = async {
            let write = async {
                if let Some(mut stdin) = stdin {
                    // One that ends before it has read all has an exit code to say why.
                    let _ = stdin.write_all(input).await;
                }
            };
            tokio::join!(write, child.wait_with_output()).1
        };
        let output = timeout(self.timeout, work).await;
        if matches!(output, Ok(Ok(_))) {
            group.forget();
        }
        output.map_err(|_| GitError::Timeout { what })?.map_err(GitError::Run)
    }
}

/// A process and all that it has started, killed when this is dropped: also where whoever waited has been told to stop.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }

    fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL); // gone already is as good
        }
    }
}

fn options(config: &GitConfig) -> Vec<String> {
    let scheme = match config.url.split_once("://") {
        Some((scheme, _)) => scheme,
        None => "ssh",
    };
    let mut settings = vec![
        "core.hooksPath=/dev/null".to_owned(),
        "gc.auto=0".to_owned(),
        "protocol.allow=never".to_owned(),
        format!("protocol.{scheme}.allow=always"),
        "http.followRedirects=false".to_owned(),
        "credential.helper=".to_owned(), // forgets those of the machine
        "fetch.fsckObjects=true".to_owned(),
    ];
    if config.token_file.is_some() {
        settings.push(format!("credential.helper={CREDENTIALS}"));
    }
    if let Some(path) = &config.ca_file {
        settings.push(format!("http.sslCAInfo={}", path.display()));
    }
    if let Some(Signing { format, key, .. }) = &config.signing {
        let format = match format {
            SigningFormat::Ssh => "ssh",
            SigningFormat::Openpgp => "openpgp",
        };
        settings.extend([format!("gpg.format={format}"), format!("user.signingKey={key}")]);
    }
    let settings = settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]);
    // A file's name is a name, whatever stands in it.
    std::iter::once("--literal-pathspecs".to_owned()).chain(settings).collect()
}

fn environment(config: &GitConfig) -> Vec<(&'static str, String)> {
    let mut environment = vec![
        ("LC_ALL", "C".to_owned()),
        ("GIT_CONFIG_NOSYSTEM", "1".to_owned()),
        ("GIT_CONFIG_GLOBAL", "/dev/null".to_owned()),
        ("GIT_TERMINAL_PROMPT", "0".to_owned()),
        ("GIT_ASKPASS", "true".to_owned()),
        ("GIT_NO_REPLACE_OBJECTS", "1".to_owned()),
        ("GIT_AUTHOR_NAME", config.author.name.clone()),
        ("GIT_AUTHOR_EMAIL", config.author.email.clone()),
        ("GIT_COMMITTER_NAME", config.author.name.clone()),
        ("GIT_COMMITTER_EMAIL", config.author.email.clone()),
    ];
    if let Some(path) = &config.token_file {
        environment.push(("DRIFTD_GIT_TOKEN_FILE", path.display().to_string()));
        environment.push(("DRIFTD_GIT_USER", config.username.clone()));
    }
    // It looks for its files in the home that the machine knows, not in HOME.
    let mut ssh = "ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=10".to_owned();
    if let Some(path) = &config.known_hosts_file {
        // In the quotes of ssh within those of the shell, or a space would end the name.
        let path = PathBuf::from(format!("\"{}\"", path.display()));
        ssh = format!("{ssh} -o GlobalKnownHostsFile=none -o UserKnownHostsFile={}", quoted(&path));
    }
    if let Some(path) = &config.ssh_key_file {
        ssh = format!("{ssh} -o IdentitiesOnly=yes -i {}", quoted(path));
    }
    environment.push(("GIT_SSH_COMMAND", ssh));
    if let Some(Signing { gnupg_home: Some(path), .. }) = &config.signing {
        environment.push(("GNUPGHOME", path.display().to_string()));
    }
    environment
}

/// As a shell reads it as one word.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// With what to look at, where Git's words name no key of ours.
pub(super) fn advised(text: String) -> String {
    let advice = [
        ("Authentication failed", "`git.username` and `git.token_file`"),
        ("returned error: 403", "what `git.token_file` may do"),
        ("Permission denied (publickey", "`git.ssh_key_file`"),
        ("Host key verification failed", "`git.known_hosts_file`"),
    ];
    match advice.iter().find(|(words, _)| text.contains(words)) {
        Some((_, what)) => format!("{text}; check {what}"),
        None => text,
    }
}

/// On one line, without frames, and not longer than a person reads: what is said last is why it ended.
fn said(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().map(|line| line.trim_matches(|char: char| char.is_whitespace() || char == '@'));
    let line = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    let chars: Vec<char> = line.chars().filter(|char| !char.is_control()).collect();
    match chars.len().checked_sub(MAX_SAID_CHARS) {
        Some(n_over @ 1..) => {
            let (begin, end) = (&chars[..MAX_SAID_CHARS / 2], &chars[MAX_SAID_CHARS / 2 + n_over..]);
            begin.iter().chain(" … ".chars().collect::<Vec<_>>().iter()).chain(end).collect()
        }
        _ => chars.into_iter().collect(),
    }
}
