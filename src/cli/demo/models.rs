//! Three versions of one model, each a folder as a registry would have it: the model, and beside it the baseline that driftd finds
//! by the model's URI.

use std::fs;
use std::path::Path;

use anyhow::Context;
use fastrand::Rng;

use super::world::{Applicant, CSV_HEADER, Scorecard};
use crate::baseline::build::{self, BuildOptions};
use crate::storage::BASELINE_NAME;

/// Rows of each training table.
pub const N_TRAINING_ROWS: usize = 20_000;
/// The file of a model.
const MODEL_FILE: &str = "model.json";

/// One version.
#[derive(Clone, Copy, Debug)]
pub struct Version {
    /// The last segment of its URI.
    pub name: &'static str,
    /// What it was trained to say, and what its baseline is made of.
    trained: Scorecard,
    /// What its file says.
    exported: Scorecard,
}

/// The first.
pub const FIRST: Version =
    Version { name: "1", trained: Scorecard { intercept: -1.2 }, exported: Scorecard { intercept: -1.2 } };
/// Trained as the first; its export lost the intercept, so what it serves contradicts its own baseline.
pub const BROKEN: Version = Version { name: "2", exported: Scorecard { intercept: 0.0 }, ..FIRST };
/// Trained anew: answers as the broken one does, and its own baseline says so.
pub const RETRAINED: Version =
    Version { name: "3", trained: Scorecard { intercept: 0.0 }, exported: Scorecard { intercept: 0.0 } };

/// Writes model and baseline into a folder of `models`. Returns its URI, and the size of the baseline in bytes.
///
/// # Errors
/// If a file cannot be written.
pub fn publish(version: Version, models: &Path, seed: u64) -> anyhow::Result<(String, u64)> {
    let folder = models.join("credit").join(version.name);
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display())).map(|()| path)
    };
    write(MODEL_FILE, &serde_json::to_string(&version.exported)?)?;
    let table = write("training.csv", &training_table(version.trained, seed))?;
    let options = BuildOptions {
        model: Some("credit".to_owned()),
        predictions: vec!["default_risk".to_owned()],
        ..BuildOptions::default()
    };
    let baseline = build::build(&[table.display().to_string()], &options)?.baseline;
    let path = folder.join(BASELINE_NAME);
    baseline.write(&path)?;
    Ok((format!("file://{}", folder.display()), fs::metadata(&path)?.len()))
}

/// The model that lies at a URI, as KServe's storage initializer would bring it.
///
/// # Errors
/// If none lies there.
pub fn load(uri: &str) -> anyhow::Result<Scorecard> {
    let folder =
        uri.strip_prefix("file://").with_context(|| format!("{uri} is no folder of this machine"))?;
    let path = Path::new(folder).join(MODEL_FILE);
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))
}

fn training_table(trained: Scorecard, seed: u64) -> String {
    let (mut rng, mut csv) = (Rng::with_seed(seed), CSV_HEADER.to_owned());
    for _ in 0..N_TRAINING_ROWS {
        let applicant = Applicant::draw(&mut rng, 0.0);
        applicant.to_csv(trained.score(&applicant), &mut csv);
    }
    csv
}
