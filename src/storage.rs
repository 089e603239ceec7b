//! Where data and baselines come from: files, object stores, web servers and MLflow, behind one [`Location`].
//!
//! Everything here waits until it is done. What goes over the network does so on a thread of its own, so a call is right
//! on any thread that may wait, also on one that belongs to an asynchronous runtime.

mod bucket;
mod cache;
mod error;
mod list;
mod location;
mod mlflow;
mod objects;
mod open;
mod read;
mod revision;
mod settings;
mod web;

use bytes::Bytes;

pub use bucket::{Bucket, Stored};
pub use cache::Downloaded;
pub use error::{Reason, StorageError};
pub use location::{BASELINE_NAME, Location, without_credentials};
pub use revision::Revision;
pub use settings::{Limits, Settings};
pub use web::install_tls;

/// What [`Location::fetch`] brings.
#[derive(Clone, Debug)]
pub enum Fetched {
    /// What is there is what is known.
    NotModified,
    /// What is there now.
    New {
        /// All of it, within [`Limits::max_fetched_bytes`].
        bytes: Bytes,
        /// To be given to the next call.
        revision: Revision,
    },
}

/// Told how far a download is: bytes done, of all, where the server says how many.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

impl Location {
    /// Reads all of it, unless it is still what is `known`, as the environment of this process says.
    ///
    /// # Errors
    /// [`StorageError`]: after some further attempts, where that may help.
    pub fn fetch(&self, known: Option<&Revision>) -> Result<Fetched, StorageError> {
        self.fetch_with(known, &Settings::from_env())
    }

    /// The same of the baseline that this stands for ([`Location::baselines`]).
    ///
    /// # Errors
    /// As [`Location::fetch`].
    pub fn fetch_baseline(&self, known: Option<&Revision>) -> Result<Fetched, StorageError> {
        self.fetch_baseline_with(known, &Settings::from_env())
    }

    /// The same with settings of one's own.
    ///
    /// # Errors
    /// As [`Location::fetch`].
    pub fn fetch_baseline_with(
        &self,
        known: Option<&Revision>,
        settings: &Settings,
    ) -> Result<Fetched, StorageError> {
        let mut not_found = None;
        for candidate in self.baselines() {
            match candidate.fetch_with(known, settings) {
                // The first one is where it should be.
                Err(error @ StorageError::NotFound { .. }) => not_found = not_found.or(Some(error)),
                answered => return answered,
            }
        }
        Err(not_found
            .unwrap_or_else(|| StorageError::NotFound { uri: self.to_string(), detail: String::new() }))
    }
}
