//! Commits that are signed, as whoever checks signatures sees them.

use std::path::Path;

use driftd::gitops::config::{GitConfig, Signing, SigningFormat};
use driftd::gitops::git::PublishError;

use super::outages::said;
use super::world::{World, run};

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_signed_by_an_ssh_key_is_verified() {
    let world = World::start().await;
    let key = world.path("key");
    run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "driftd", "-f", key.to_str().unwrap()], &[]);
    let signing = Signing { format: SigningFormat::Ssh, key: key.display().to_string(), gnupg_home: None };
    let repository = world.repository(&GitConfig { signing: Some(signing), ..world.local() }).await;
    let published = world.roll_back(&repository).await.unwrap();
    world.check_one(&published.commit);

    let signers = world.path("allowed-signers");
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    std::fs::write(&signers, format!("driftd@example.com {public}")).unwrap();
    let allowed = format!("gpg.ssh.allowedSignersFile={}", signers.display());
    world.remote.git(&["-c", &allowed, "verify-commit", &published.commit]);
    let signer = world.remote.git(&["-c", &allowed, "log", "-1", "--format=%G? %GS", &published.commit]);
    assert_eq!(signer, "G driftd@example.com");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_signed_by_gpg_is_verified() {
    let world = World::start().await;
    let home = Gnupg::new(&world.path("gnupg"));
    home.gpg(&["--quick-generate-key", "driftd <driftd@example.com>", "ed25519", "sign", "never"]);
    let listed = home.gpg(&["--list-keys", "--with-colons"]);
    let key = listed.lines().find_map(|line| line.strip_prefix("fpr:")).unwrap().trim_matches(':').to_owned();
    let signing =
        Signing { format: SigningFormat::Openpgp, key: key.clone(), gnupg_home: Some(home.0.clone()) };
    let repository = world.repository(&GitConfig { signing: Some(signing), ..world.local() }).await;
    let published = world.roll_back(&repository).await.unwrap();
    world.check_one(&published.commit);
    let arguments =
        ["-C", world.remote.path().to_str().unwrap(), "log", "-1", "--format=%G? %GF", &published.commit]
            .map(str::to_owned);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    assert_eq!(run("git", &arguments, &[("GNUPGHOME", &home.0)]).trim(), format!("G {key}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_key_nothing_is_committed_unsigned() {
    let world = World::start().await;
    let key = world.path("no-such-key").display().to_string();
    let signing = Signing { format: SigningFormat::Ssh, key, gnupg_home: None };
    let repository = world.repository(&GitConfig { signing: Some(signing), ..world.local() }).await;
    let error = world.roll_back(&repository).await.unwrap_err();
    assert!(matches!(error, PublishError::Failed(_)), "{error:?}");
    assert!(said(&error).contains("no-such-key"), "{error:?}");
    world.check_none();
}

/// A key ring of its own, whose agent ends with it.
struct Gnupg(std::path::PathBuf);

impl Gnupg {
    fn new(home: &Path) -> Self {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().mode(0o700).create(home).unwrap();
        Self(home.to_owned())
    }

    fn gpg(&self, arguments: &[&str]) -> String {
        let arguments = [&["--batch", "--passphrase", ""], arguments].concat();
        run("gpg", &arguments, &[("GNUPGHOME", &self.0)])
    }
}

impl Drop for Gnupg {
    fn drop(&mut self) {
        let mut kill = std::process::Command::new("gpgconf");
        drop(kill.args(["--kill", "all"]).env("GNUPGHOME", &self.0).status());
    }
}
