//! Reading commits.

use bytes::Bytes;

use super::super::incident::Timestamp;
use super::{GitError, Repository, object_id, seconds};

/// Files that are larger hold no manifest.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// One commit that changed a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its hash.
    pub commit: String,
    /// When it was committed.
    pub committed_at: Timestamp,
    /// By whom it was written.
    pub author: String,
    /// The first line of its message.
    pub subject: String,
    /// The file in it; absent where it was removed, or became something else.
    pub content: Option<Bytes>,
}

/// What stands for a path in a tree.
pub(super) struct Entry {
    pub(super) mode: String,
    object: String,
    size: Option<u64>,
    path: String,
}

impl Repository {
    /// A file at a commit; absent: it is not there.
    ///
    /// # Errors
    /// [`GitError::NoFile`] if it is a link or the like.
    pub async fn read(&self, at: &str, path: &str) -> Result<Option<Bytes>, GitError> {
        let Some(entry) = self.entry(at, path).await? else { return Ok(None) };
        Ok(Some(self.0.git.run("cat-file", &["blob", &entry.object]).await?.into()))
    }

    pub(super) async fn entry(&self, at: &str, path: &str) -> Result<Option<Entry>, GitError> {
        let listed =
            self.list(&["-z", "--long", "--full-tree", &object_id("ls-tree", at)?, "--", path]).await?;
        let Some(entry) = listed.into_iter().find(|entry| entry.path == path) else { return Ok(None) };
        let kind = match &*entry.mode {
            "100644" | "100755" => return Ok(Some(entry)),
            "120000" => "symbolic link",
            "160000" => "submodule",
            _ => "folder",
        };
        Err(GitError::NoFile { path: path.to_owned(), kind })
    }

    /// All manifests at a commit: regular files that end in `.yaml` or `.yml`, by path.
    ///
    /// # Errors
    /// [`GitError`] if they cannot be read, all of them: a part would read as "there is no other".
    pub async fn yaml_files(&self, at: &str) -> Result<Vec<(String, Bytes)>, GitError> {
        let listed = self.list(&["-r", "-z", "--long", "--full-tree", &object_id("ls-tree", at)?]).await?;
        let is_manifest = |entry: &Entry| {
            let path = std::path::Path::new(&entry.path);
            let is_yaml = path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
            is_yaml && entry.mode.starts_with("100") && entry.size.is_some_and(|size| size <= MAX_FILE_BYTES)
        };
        let manifests: Vec<Entry> = listed.into_iter().filter(is_manifest).collect();
        let objects = manifests.iter().map(|entry| entry.object.clone()).collect::<Vec<_>>();
        let contents = self.contents(&objects).await?;
        manifests
            .into_iter()
            .zip(contents)
            .map(|(entry, content)| {
                let missing =
                    || GitError::Answer { what: "cat-file", text: format!("{} is missing", entry.path) };
                Ok((entry.path.clone(), content.ok_or_else(missing)?))
            })
            .collect()
    }

    /// The commits of the first-parent line that changed a file, newest first: a merge stands for what it brought, as it is what Argo CD
    /// has applied.
    ///
    /// # Errors
    /// [`GitError`] if they cannot be read.
    pub async fn history(&self, at: &str, path: &str, limit: usize) -> Result<Vec<Version>, GitError> {
        let (at, count) = (object_id("log", at)?, format!("--max-count={limit}"));
        let format = "--format=%H%x1f%ct%x1f%an%x1f%s%x1e";
        let log = self.0.git.text("log", &["--first-parent", &count, format, &at, "--", path]).await?;
        let lines: Vec<Vec<&str>> = log
            .split('\x1e')
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(|line| line.split('\x1f').collect())
            .collect();
        let objects: Vec<String> = lines.iter().map(|line| format!("{}:{path}", line[0])).collect();
        let contents = self.contents(&objects).await?;
        let read = |(line, content): (&Vec<&str>, Option<Bytes>)| match line[..] {
            [commit, at, author, subject] => Ok(Version {
                commit: object_id("log", commit)?,
                committed_at: seconds(at)
                    .ok_or_else(|| GitError::Answer { what: "log", text: at.to_owned() })?,
                author: author.to_owned(),
                subject: subject.to_owned(),
                content,
            }),
            _ => Err(GitError::Answer { what: "log", text: line.join(" ").chars().take(100).collect() }),
        };
        lines.iter().zip(contents).map(read).collect()
    }

    async fn list(&self, arguments: &[&str]) -> Result<Vec<Entry>, GitError> {
        let listed = self.0.git.run("ls-tree", arguments).await?;
        let unexpected = |line: &[u8]| GitError::Answer {
            what: "ls-tree",
            text: String::from_utf8_lossy(line).chars().take(100).collect(),
        };
        let lines = listed.split(|byte| *byte == 0).filter(|line| !line.is_empty());
        let mut entries = Vec::new();
        for line in lines {
            // A path that is no UTF-8 is none of ours.
            let Ok(text) = std::str::from_utf8(line) else { continue };
            let (head, path) = text.split_once('\t').ok_or_else(|| unexpected(line))?;
            let [mode, _, object, size] = head.split_whitespace().collect::<Vec<_>>()[..] else {
                return Err(unexpected(line));
            };
            entries.push(Entry {
                mode: mode.to_owned(),
                object: object_id("ls-tree", object)?,
                size: size.parse().ok(),
                path: path.to_owned(),
            });
        }
        Ok(entries)
    }

    /// The blobs of these names, in their order; absent: it is not there, or no blob.
    async fn contents(&self, objects: &[String]) -> Result<Vec<Option<Bytes>>, GitError> {
        let names: String = objects.iter().flat_map(|object| [object.as_str(), "\n"]).collect();
        let answer: Bytes =
            self.0.git.run_with("cat-file", &["--batch"], &[], names.as_bytes()).await?.into();
        let mut rest = answer;
        let mut contents = Vec::with_capacity(objects.len());
        for object in objects {
            let unexpected = || GitError::Answer { what: "cat-file", text: object.clone() };
            let end = memchr::memchr(b'\n', &rest).ok_or_else(unexpected)?;
            let head = String::from_utf8_lossy(&rest.split_to(end + 1)).trim().to_owned();
            let words: Vec<&str> = head.rsplitn(3, ' ').collect();
            match words[..] {
                [size, kind, _] if size.parse::<usize>().is_ok() => {
                    let size: usize = size.parse().map_err(|_| unexpected())?;
                    if rest.len() < size + 1 {
                        return Err(unexpected());
                    }
                    let content = rest.split_to(size);
                    let _newline = rest.split_to(1);
                    contents.push((kind == "blob").then_some(content));
                }
                _ if head.ends_with(" missing") => contents.push(None),
                _ => return Err(unexpected()),
            }
        }
        Ok(contents)
    }
}
