//! A commit that changes one file, made without a work tree: the tree of the tip with one blob in another's place.

use super::{GitError, Message, Repository, object_id};

impl Repository {
    /// A commit on `tip` in which `file` is `content`. Nothing is pushed.
    ///
    /// # Errors
    /// [`GitError`] if it cannot be made, or would change anything but `n_lines` lines of this file.
    pub(super) async fn commit(
        &self,
        tip: &str,
        file: &str,
        content: &[u8],
        message: &Message,
        n_lines: usize,
    ) -> Result<String, GitError> {
        let git = &self.0.git;
        let gone = || GitError::Answer { what: "ls-tree", text: format!("{file} is not there any more") };
        let entry = self.entry(tip, file).await?.ok_or_else(gone)?;
        let blob = git.run_with("hash-object", &["-w", "--no-filters", "--stdin"], &[], content).await?;
        let blob = object_id("hash-object", &String::from_utf8_lossy(&blob))?;
        let folder = tempfile::tempdir_in(git.folder())
            .map_err(|source| GitError::Folder { path: git.folder().to_owned(), source })?;
        let index = folder.path().join("index");
        let index = [("GIT_INDEX_FILE", index.to_str().unwrap_or("index"))];
        git.run_with("read-tree", &[tip], &index, b"").await?;
        let info = format!("{},{blob},{file}", entry.mode);
        git.run_with("update-index", &["--cacheinfo", &info], &index, b"").await?;
        let tree = git.run_with("write-tree", &[], &index, b"").await?;
        let tree = object_id("write-tree", &String::from_utf8_lossy(&tree))?;
        let mut arguments = vec![&*tree, "-p", tip, "-F", "-"];
        if self.0.config.signing.is_some() {
            arguments.push("-S");
        }
        let commit = git.run_with("commit-tree", &arguments, &[], message.text().as_bytes()).await?;
        let commit = object_id("commit-tree", &String::from_utf8_lossy(&commit))?;
        self.check(tip, &commit, file, n_lines).await?;
        Ok(commit)
    }

    /// Whatever went wrong above: what leaves the house changes these lines of this file, and follows this tip.
    async fn check(&self, tip: &str, commit: &str, file: &str, n_lines: usize) -> Result<(), GitError> {
        let git = &self.0.git;
        let parent = git.text("rev-parse", &["--verify", &format!("{commit}^1")]).await?;
        let changed =
            git.text("diff-tree", &["-r", "--no-commit-id", "--numstat", "-z", tip, commit]).await?;
        let changed = changed.trim_end_matches('\0');
        let expected = [format!("{n_lines}\t{n_lines}\t{file}"), format!("0\t{n_lines}\t{file}")];
        if parent == tip && expected.iter().any(|expected| expected == changed) {
            return Ok(());
        }
        let text = format!("{changed:?} instead of {n_lines} lines of {file}");
        Err(GitError::Answer { what: "diff-tree", text })
    }

    /// The lines that a commit changes, without context.
    pub(super) async fn diff(&self, commit: &str) -> Result<String, GitError> {
        let diff = self
            .0
            .git
            .text("diff-tree", &["-p", "--no-commit-id", "--unified=0", "--no-color", commit])
            .await?;
        let is_line = |line: &&str| {
            (line.starts_with('+') || line.starts_with('-'))
                && !line.starts_with("+++ ")
                && !line.starts_with("--- ")
        };
        Ok(diff.lines().filter(is_line).flat_map(|line| [line, "\n"]).collect())
    }
}
