//! `deploy/` as a cluster would get it: rendered once for all tests, by the real kustomize.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

/// What a rendering was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `overlays/` or `environments/`: complete in itself.
    Kustomization,
    /// `examples/` or `kubernetes/`: to be changed and applied by hand.
    Plain,
}

/// One thing that can be applied.
#[derive(Debug)]
pub struct Rendering {
    /// Its folder or file, with `-` for `/`.
    pub name: String,
    pub source: Source,
    pub objects: Vec<Value>,
}

impl Rendering {
    pub fn of_kind<'a>(&'a self, kind: &str) -> impl Iterator<Item = &'a Value> {
        self.objects.iter().filter(move |object| text_at(object, "/kind") == kind)
    }

    /// The only object of a kind.
    #[track_caller]
    pub fn one(&self, kind: &str) -> &Value {
        let found: Vec<_> = self.of_kind(kind).collect();
        assert_eq!(found.len(), 1, "{}: objects of kind {kind}", self.name);
        found[0]
    }
}

pub fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

/// The text at a JSON pointer, empty if there is none.
pub fn text_at<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// The list at a JSON pointer, empty if there is none.
pub fn list_at<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub fn id(object: &Value) -> String {
    format!(
        "{} {}/{}",
        text_at(object, "/kind"),
        text_at(object, "/metadata/namespace"),
        text_at(object, "/metadata/name")
    )
}

pub fn yaml(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

pub fn every_rendering() -> &'static [Rendering] {
    static RENDERINGS: OnceLock<Vec<Rendering>> = OnceLock::new();
    RENDERINGS.get_or_init(render)
}

#[track_caller]
pub fn rendering(name: &str) -> &'static Rendering {
    let found = every_rendering().iter().find(|rendering| rendering.name == name);
    found.unwrap_or_else(|| panic!("deploy/render made no {name}.yaml"))
}

fn render() -> Vec<Rendering> {
    let folder = TempDir::new().unwrap();
    let output = Command::new(deploy().join("render"))
        .arg(folder.path())
        .env("KUSTOMIZE", crate::support::from_env("DRIFTD_TEST_KUSTOMIZE"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut files: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let rendering = |path: &PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let is_plain = name.starts_with("examples-") || name.starts_with("kubernetes-");
        let source = if is_plain { Source::Plain } else { Source::Kustomization };
        Rendering { name, source, objects: yaml(&std::fs::read_to_string(path).unwrap()) }
    };
    files.iter().map(rendering).collect()
}
