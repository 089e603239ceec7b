//! Others push while we do.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use driftd::gitops::git::{PublishError, Published, Repository};
use tempfile::TempDir;

use super::world::{FILE, N_NOTES, World, manifest, uri};
use crate::rollback::remote::run;

const N_WRITERS: usize = 50;
/// So many push in the same moment; more only wait for the two cores.
const N_LANES: usize = 8;

/// One commit of one of many: on a note in the model's own manifest, or on a file of its own.
fn edit(clone: &Path, writer: usize) {
    if writer < N_NOTES {
        let path = clone.join(FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        let edited =
            text.replace(&format!("# note {writer}: none\n"), &format!("# note {writer}: written\n"));
        std::fs::write(&path, edited).unwrap();
    } else {
        std::fs::write(clone.join(format!("team-{writer}.yaml")), format!("of: {writer}\n")).unwrap();
    }
}

fn has_pushed(clone: &Path) -> bool {
    let arguments = ["push", "--quiet", "origin", "HEAD:main"];
    let pushed = std::process::Command::new("git").current_dir(clone).args(arguments).output().unwrap();
    pushed.status.success()
}

/// Writers of one lane, each of which tries until it has pushed.
fn write(remote: &Path, lane: usize, n_pushed: &AtomicUsize) {
    let folder = TempDir::new().unwrap();
    let clone = folder.path().join("clone");
    run(folder.path(), &["clone", "--quiet", &remote.display().to_string(), "clone"]);
    for writer in (lane..N_WRITERS).step_by(N_LANES) {
        loop {
            run(&clone, &["fetch", "--quiet", "origin"]);
            run(&clone, &["reset", "--quiet", "--hard", "origin/main"]);
            edit(&clone, writer);
            run(&clone, &["add", "-A"]);
            run(&clone, &["commit", "--quiet", "-m", &format!("writer {writer}.")]);
            if has_pushed(&clone) {
                break;
            }
            std::thread::sleep(Duration::from_millis(fastrand::u64(0..300)));
        }
        n_pushed.fetch_add(1, Ordering::Relaxed);
    }
}

/// As the engine does it: what others were faster with is tried again. The first attempt is overtaken for certain.
async fn publish(world: &World, repository: &Repository, n_pushed: &AtomicUsize) -> Published {
    let overtaken = |_: usize| {
        while n_pushed.load(Ordering::Relaxed) == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    loop {
        match world.roll_back_when(repository, overtaken).await {
            Ok(published) => return published,
            Err(PublishError::Failed(error)) => {
                assert!(error.to_string().contains("others were faster"), "{error}");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn among_fifty_writers_our_commit_lands_once_and_nobodys_is_lost() {
    let world = World::start().await;
    let repository = world.repository(&world.local()).await;
    repository.fetch().await.unwrap();
    let before = world.remote.tip();
    let n_pushed = Arc::new(AtomicUsize::new(0));
    let lanes: Vec<JoinHandle<()>> = (0..N_LANES)
        .map(|lane| {
            let (remote, n_pushed) = (world.remote.path(), Arc::clone(&n_pushed));
            std::thread::spawn(move || write(&remote, lane, &n_pushed))
        })
        .collect();
    let published = publish(&world, &repository, &n_pushed).await;
    assert_ne!(published.parent, before, "somebody else's commit came first");
    tokio::task::spawn_blocking(move || lanes.into_iter().for_each(|lane| lane.join().unwrap()))
        .await
        .unwrap();

    world.check_one(&published.commit);
    assert_eq!(world.remote.git(&["rev-list", "--count", "main"]), (N_WRITERS + 3).to_string());
    let subjects = world.remote.git(&["log", "--format=%s", "main"]);
    for writer in 0..N_WRITERS {
        let subject = format!("writer {writer}.");
        assert_eq!(subjects.lines().filter(|line| *line == subject).count(), 1, "{subject}");
    }
    assert_eq!(world.file(), manifest(1, "written"));
    // And whoever asks again finds it, on top of all that came since.
    let again = world.roll_back(&repository).await.unwrap();
    assert!(again.was_there);
    assert_eq!(again.commit, published.commit);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_somebody_changes_under_our_hands_is_theirs() {
    let world = World::start().await;
    let repository = world.repository(&world.local()).await;
    let theirs = |n_read: usize| {
        if n_read == 0 {
            world.write(FILE, &manifest(3, "none"));
        }
    };
    match world.roll_back_when(&repository, theirs).await {
        Err(PublishError::Superseded(found)) => assert!(found.contains(&uri(3)), "{found}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.file(), manifest(3, "none"));
    world.check_none();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_somebody_removes_under_our_hands_stays_away() {
    let world = World::start().await;
    let repository = world.repository(&world.local()).await;
    let theirs = |n_read: usize| {
        if n_read == 0 {
            world.remote.remove(FILE);
        }
    };
    match world.roll_back_when(&repository, theirs).await {
        Err(PublishError::Superseded(found)) => assert_eq!(found, "credit.yaml is not there any more"),
        other => panic!("{other:?}"),
    }
    world.check_none();
}

/// Lines are put before it, so that a patch made for the old tip would not fit, or would fit elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn other_lines_that_somebody_changes_under_our_hands_are_kept() {
    let world = World::start().await;
    let repository = world.repository(&world.local()).await;
    let more = |version| format!("# twenty more lines\n{}{}", "#\n".repeat(20), manifest(version, "theirs"));
    let theirs = |n_read: usize| {
        if n_read < 2 {
            world.write(FILE, &if n_read == 0 { manifest(2, "theirs") } else { more(2) });
        }
    };
    let published = world.roll_back_when(&repository, theirs).await.unwrap();
    assert!(!published.was_there);
    assert_eq!(world.file(), more(1));
    world.check_one(&published.commit);
}
