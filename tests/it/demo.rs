//! `driftd demo` as a process: what it finds, what it rolls back, and what it leaves behind.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::process::{check_refused, driftd};

fn demo(change: impl FnOnce(&mut Command) -> &mut Command) -> (String, Output) {
    let mut command = driftd();
    let output = change(command.args(["demo", "--exit-when-done"])).output().expect("the program starts");
    (String::from_utf8(output.stdout.clone()).unwrap(), output)
}

#[track_caller]
fn check_found(line: &str, what: &[&str]) {
    for what in what {
        assert!(line.contains(what), "{what} is not in {line}");
    }
}

fn lines<'a>(text: &'a str, kind: &str) -> Vec<&'a str> {
    let kind = format!(" s  {kind:<10} ");
    text.lines().filter(|line| line.contains(&kind)).collect()
}

fn git(repository: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(repository)
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .expect("git runs");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_demo_rolls_the_broken_version_back_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let files = folder.path().join("look");
    let (text, output) = demo(|command| command.arg("--files").arg(&files));
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));

    let found = lines(&text, "FOUND");
    assert_eq!(found.len(), 3, "{text}");
    // Whether the inputs have changed too is known later; that the cause is right at last the exit code says.
    check_found(found[0], &["prediction default_risk"]);
    check_found(found[1], &["income_eur", "cause schema"]);
    check_found(found[2], &["age", "cause input"]);
    assert_eq!(lines(&text, "RECOVERED").len(), 1, "{text}");
    assert_eq!(lines(&text, "stand-ins").len(), 1, "what is not real is said: {text}");
    check_found(lines(&text, "callers")[0], &[" 0 failed"]);

    // Three people's commits, and one of driftd's between the second and the third.
    let repository = files.join("models.git");
    git(&repository, &["fsck", "--strict"]);
    let subjects = git(&repository, &["log", "--reverse", "--format=%an: %s", "main"]);
    let subjects: Vec<&str> = subjects.lines().collect();
    assert_eq!(subjects.len(), 4, "{subjects:?}");
    assert_eq!(subjects[..2], ["A person: credit: version 1", "A person: credit: version 2"]);
    assert!(subjects[2].starts_with("driftd: rollback(model): prod/credit 2-"), "{subjects:?}");
    assert_eq!(subjects[3], "A person: credit: version 3");

    let rollback = git(&repository, &["rev-parse", "main~1"]);
    assert!(text.contains(&format!("commit {}", rollback.trim())), "the commit is shown: {text}");
    let diff = git(&repository, &["diff", "--unified=0", "main~2", "main~1"]);
    let changed: Vec<&str> = diff.lines().filter(|line| line.starts_with(['+', '-'])).skip(2).collect();
    assert_eq!(changed.len(), 2, "{diff}");
    assert!(changed[0].ends_with("/models/credit/2") && changed[1].ends_with("/models/credit/1"), "{diff}");
    let trailers = git(&repository, &["log", "-1", "--format=%(trailers:only)", "main~1"]);
    check_found(
        &trailers,
        &[
            "Drift-Action: rollback",
            "Drift-Target: main/prod/credit/predictor",
            "Drift-Reason: DriftdModelDrift\n",
        ],
    );

    // What it says of looking further works on what it leaves.
    let command =
        text.lines().find(|line| line.starts_with("driftd audit list ")).expect("how to look further");
    let listed = driftd().args(command.split(' ').skip(1)).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(listed.lines().count(), 2, "{listed}");
    check_found(&listed, &["prod/credit", "recovered"]);
}

#[test]
fn without_git_the_demo_says_so_and_shows_the_rest_and_leaves_no_file() {
    let temporary = TempDir::new().unwrap();
    let (text, output) =
        demo(|command| command.env("PATH", temporary.path()).env("TMPDIR", temporary.path()));
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(lines(&text, "no git").len(), 1, "{text}");
    assert_eq!(lines(&text, "FOUND").len(), 3, "{text}");
    assert_eq!(lines(&text, "RECOVERED").len(), 0, "{text}");
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}

#[test]
fn stopped_in_the_middle_the_demo_leaves_no_file() {
    let temporary = TempDir::new().unwrap();
    let mut child = driftd()
        .arg("demo")
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut story = BufReader::new(child.stdout.take().expect("piped")).lines().map(Result::unwrap);
    assert!(story.any(|line| line.contains(" s  steady ")), "it begins");
    let killed = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(killed.success());
    let told: Vec<String> = story.collect();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{told:?}");
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}

#[test]
fn the_demo_does_not_write_among_other_files() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("mine"), "").unwrap();
    let path = folder.path().to_str().unwrap();
    check_refused(&["demo", "--files", path], 2, "is not empty; give `--files`");
    let missing = folder.path().join("not/there");
    check_refused(&["demo", "--files", missing.to_str().unwrap()], 2, "creating");
    check_refused(
        &["demo", "--files", folder.path().join("a b").to_str().unwrap()],
        2,
        "becomes part of URIs",
    );
}
