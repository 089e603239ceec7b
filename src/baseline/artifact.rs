//! The file: JSON, small enough for Git, a line a feature, and no row of the training data in it.

use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::feature::RawFeature;
use super::schema::hex;
use super::{BaselineError, ColumnSpec, FeatureBaseline, Role, Schema};
use crate::drift::Reference;
use crate::storage::{Fetched, Location, StorageError};

/// What `format` says. Fields may be added under the same major version; readers pass over those they do not know.
pub const FORMAT: &str = "driftd.baseline/v1";

/// What a model's features and predictions looked like in training.
#[derive(Clone, Debug)]
pub struct Baseline {
    header: Header,
    /// In the order of [`Self::schema`]: features, then predictions.
    features: Vec<FeatureBaseline>,
    sha256: String,
}

/// A file that the baseline was built from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Where it was.
    pub uri: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Rows it had.
    pub rows: u64,
}

/// Everything but the features.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Model name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Model version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What it was built from.
    #[serde(default)]
    pub source: Vec<Source>,
    /// Rows it was built from.
    pub rows: u64,
    /// When, where the builder was told: otherwise the same input gives the same bytes on any day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
}

#[derive(Deserialize)]
struct RawBaseline {
    #[serde(flatten)]
    header: Header,
    features: Vec<RawFeature>,
}

#[derive(Deserialize)]
struct RawFormat {
    format: String,
}

impl Baseline {
    /// Puts features before predictions, keeping the order within each role.
    ///
    /// # Errors
    /// If a name is there twice in one role, or a feature has not as many rows as the whole.
    pub fn new(header: Header, mut features: Vec<FeatureBaseline>) -> Result<Self, BaselineError> {
        features.sort_by_key(|feature| feature.role); // stable
        let mut seen = std::collections::HashSet::new();
        for feature in &features {
            let inconsistent =
                |problem| BaselineError::Inconsistent { feature: feature.name.clone(), problem };
            if !seen.insert((feature.role, feature.name.as_str())) {
                return Err(inconsistent("its name is there twice"));
            }
            if feature.counts().total() != header.rows {
                return Err(inconsistent("its `rows` are not those of the whole"));
            }
        }
        let mut baseline = Self { header, features, sha256: String::new() };
        baseline.sha256 = hex_sha256(baseline.to_json().as_bytes());
        Ok(baseline)
    }

    /// Reads a file, or what is at a URI: there, or beside the model that is there (see [`Location::baselines`]). Waits for
    /// the network, so not on a thread that others wait for.
    ///
    /// # Errors
    /// [`BaselineError`] if it cannot be read or is no baseline of this format.
    pub fn read(path: &Path) -> Result<Self, BaselineError> {
        // A name that is no text is no URI either.
        let location = path.to_str().map(Location::parse).transpose()?;
        let local = location.as_ref().map_or(Some(path), Location::local_path);
        match (location.as_ref(), local) {
            (Some(location), None) => match location.fetch_baseline(None)? {
                Fetched::New { bytes, .. } => Self::from_json(&bytes),
                Fetched::NotModified => Err(StorageError::unasked(location.to_string()).into()),
            },
            (_, local) => {
                let path = local.unwrap_or(path);
                let bytes = std::fs::read(path)
                    .map_err(|source| BaselineError::Read { path: path.to_owned(), source })?;
                Self::from_json(&bytes)
            }
        }
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// [`BaselineError`] if they are no baseline of this format.
    pub fn from_json(bytes: &[u8]) -> Result<Self, BaselineError> {
        let RawFormat { format } = serde_json::from_slice(bytes).map_err(BaselineError::Json)?;
        if format != FORMAT {
            return Err(BaselineError::Format { found: format });
        }
        let raw: RawBaseline = serde_json::from_slice(bytes).map_err(BaselineError::Json)?;
        let features = raw.features.into_iter().map(FeatureBaseline::try_from).collect::<Result<_, _>>()?;
        let baseline = Self::new(raw.header, features)?;
        Ok(Self { sha256: hex_sha256(bytes), ..baseline })
    }

    /// The text of the file: a line for every field and every feature, so that Git shows which of them changed.
    pub fn to_json(&self) -> String {
        let Header { model, version, source, rows, created_at } = &self.header;
        let mut fields = vec![field("format", FORMAT)];
        fields.extend(model.as_ref().map(|model| field("model", model)));
        fields.extend(version.as_ref().map(|version| field("version", version)));
        fields.push(format!("\"source\": [{}]", lines(source.iter().map(json))));
        fields.push(field("rows", rows));
        fields.extend(created_at.as_ref().map(|created_at| field("created_at", created_at)));
        let features = self.features.iter().map(|feature| json(&RawFeature::from(feature)));
        fields.push(format!("\"features\": [{}]", lines(features)));
        format!("{{\n  {}\n}}\n", fields.join(",\n  "))
    }

    /// Writes a file whole or not at all: readers never see half of one.
    ///
    /// # Errors
    /// [`BaselineError::Write`].
    pub fn write(&self, path: &Path) -> Result<(), BaselineError> {
        // The kind alone: the text would name a temporary file that nobody asked for.
        let error =
            |source: io::Error| BaselineError::Write { path: path.to_owned(), source: source.kind().into() };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::Builder::new().permissions(readable()).tempfile_in(folder).map_err(error)?;
        file.write_all(self.to_json().as_bytes()).map_err(error)?;
        file.as_file().sync_all().map_err(error)?;
        file.persist(path).map_err(|failed| error(failed.error))?;
        Ok(())
    }

    /// The columns, as decoders see them.
    pub fn schema(&self) -> Schema {
        Schema::new(self.features.iter().map(|feature| ColumnSpec {
            name: feature.name.as_str().into(),
            role: feature.role,
            kind: feature.kind(),
        }))
    }

    /// What each column is scored against, in the order of [`Self::schema`].
    pub fn references(&self) -> Vec<Reference> {
        self.features.iter().map(|feature| feature.reference().clone()).collect()
    }

    /// Features, then predictions.
    pub fn features(&self) -> &[FeatureBaseline] {
        &self.features
    }

    /// A feature or prediction by name.
    pub fn find(&self, role: Role, name: &str) -> Option<&FeatureBaseline> {
        self.features.iter().find(|feature| feature.role == role && feature.name == name)
    }

    /// Everything but the features.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Model name.
    pub fn model(&self) -> Option<&str> {
        self.header.model.as_deref()
    }

    /// Model version.
    pub fn version(&self) -> Option<&str> {
        self.header.version.as_deref()
    }

    /// Rows it was built from.
    pub fn rows(&self) -> u64 {
        self.header.rows
    }

    /// What [`Self::sha256`] is of a file with these bytes.
    pub fn sha256_of(bytes: &[u8]) -> String {
        hex_sha256(bytes)
    }

    /// SHA-256 of the file, in hex.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The counts of all parts together: exact, as their bins are the same.
    ///
    /// # Errors
    /// [`BaselineError::NotMergeable`] if they are not.
    pub fn merge(&self, other: &Self) -> Result<Self, BaselineError> {
        let missing = |feature: &FeatureBaseline| BaselineError::NotMergeable {
            feature: feature.name.clone(),
            problem: "it is not in every file",
        };
        if let Some(alone) =
            other.features.iter().find(|theirs| self.find(theirs.role, &theirs.name).is_none())
        {
            return Err(missing(alone));
        }
        let features = self
            .features
            .iter()
            .map(|ours| ours.merge(other.find(ours.role, &ours.name).ok_or_else(|| missing(ours))?))
            .collect::<Result<_, _>>()?;
        let same = |ours: &Option<String>, theirs: &Option<String>| ours.clone().filter(|_| ours == theirs);
        let header = Header {
            model: same(&self.header.model, &other.header.model),
            version: same(&self.header.version, &other.header.version),
            source: [&*self.header.source, &*other.header.source].concat(),
            rows: self.header.rows + other.header.rows,
            created_at: same(&self.header.created_at, &other.header.created_at),
        };
        Self::new(header, features)
    }
}

/// As other files are: the umask says the rest. Temporary files are for their owner alone, a mounted baseline is not.
fn readable() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o666)
}

fn field(name: &str, value: impl Serialize) -> String {
    format!("\"{name}\": {}", json(&value))
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings, numbers and lists of them have a JSON form")
}

fn lines(items: impl Iterator<Item = String>) -> String {
    let items: Vec<_> = items.map(|item| format!("\n    {item}")).collect();
    if items.is_empty() { String::new() } else { items.join(",") + "\n  " }
}

fn hex_sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests;
