//! One request and its response, as copied by a tap, and the budget that all copies share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::decode::{BodyHeaders, Route};

/// What a tap hands to the pipeline: both bodies of one exchange, whole and unchanged.
#[derive(Debug)]
pub struct Exchange {
    /// The model asked, and in which wire format, where there was a path that tells.
    pub route: Option<Route>,
    /// Whose traffic it is, where the tap hears that of several.
    pub service: Option<Service>,
    /// The request body.
    pub request: MirroredBody,
    /// The response body.
    pub response: MirroredBody,
}

impl Exchange {
    /// As decoders see it.
    pub fn as_message(&self) -> Message<'_> {
        Message {
            route: self.route.as_ref(),
            service: self.service.as_ref(),
            model: None,
            version: None,
            request: Some(self.request.as_part()),
            response: Some(self.response.as_part()),
        }
    }
}

/// One request and its response, wherever their bytes are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Message<'a> {
    /// The model asked, and in which wire format, where there was a path that tells.
    pub route: Option<&'a Route>,
    /// Whose traffic it is, where the tap hears that of several.
    pub service: Option<&'a Service>,
    /// The model's name, where the tap knows better than the bodies.
    pub model: Option<&'a str>,
    /// Its version, likewise.
    pub version: Option<&'a str>,
    /// The request, if it is known.
    pub request: Option<Part<'a>>,
    /// The response, if it is known.
    pub response: Option<Part<'a>>,
}

/// One body and how it is to be read.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// As it was on the wire.
    pub bytes: &'a [u8],
    /// What its headers said.
    pub headers: &'a BodyHeaders,
}

/// An `InferenceService`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Service {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
}

/// The memory that all copies of a tap may hold together, in flight and queued.
#[derive(Clone, Debug)]
pub struct MirrorBudget(Arc<BudgetState>);

#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "units end the names")]
struct BudgetState {
    max_bytes: usize,
    max_body_bytes: usize,
    held_bytes: AtomicUsize,
}

/// Why a copy was given up. The traffic it was taken from goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorError {
    /// The body is longer than one copy may be.
    TooLarge,
    /// All copies together would hold more than the budget.
    OverBudget,
}

impl MirrorBudget {
    /// At most `max_bytes` over all copies, at most `max_body_bytes` in one.
    pub fn new(max_bytes: usize, max_body_bytes: usize) -> Self {
        Self(Arc::new(BudgetState { max_bytes, max_body_bytes, held_bytes: AtomicUsize::new(0) }))
    }

    /// Bytes held by copies at this moment.
    pub fn held_bytes(&self) -> usize {
        self.0.held_bytes.load(Ordering::Relaxed)
    }

    fn reserve(&self, n_bytes: usize) -> Result<(), MirrorError> {
        // Relaxed: the counter guards an amount, it publishes no other memory.
        let take = |held: usize| held.checked_add(n_bytes).filter(|&held| held <= self.0.max_bytes);
        match self.0.held_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => Ok(()),
            Err(_) => Err(MirrorError::OverBudget),
        }
    }
}

/// A body of this length or less that says so is copied in one allocation, however it is cut up.
const FIRST_OF_KNOWN_LEN: usize = 64 * 1024;

/// A body that does not say so may be anything; most answers of models are short.
const FIRST_OF_UNKNOWN_LEN: usize = 4 * 1024;

/// A copy of one body. Owns its bytes, in one piece as decoders want them: slices shared with the connection's read
/// buffer would pin that buffer whole, and the budget would count less than is held.
#[derive(Debug)]
pub struct MirroredBody {
    bytes: Vec<u8>,
    reserved: usize,
    expected: Option<usize>,
    budget: MirrorBudget,
    /// How it is to be read.
    pub headers: Box<BodyHeaders>,
}

impl MirroredBody {
    /// An empty copy.
    pub fn new(budget: MirrorBudget, headers: BodyHeaders) -> Self {
        Self { bytes: Vec::new(), reserved: 0, expected: None, budget, headers: Box::new(headers) }
    }

    /// Announces a body of known length: a copy which cannot fit is given up before its first byte, and one that can
    /// takes no more than that length. Nothing is reserved yet, or callers who announce much and send nothing would
    /// use up the budget.
    ///
    /// # Errors
    /// [`MirrorError`], and the copy is of no more use.
    pub fn expect_len(&mut self, n_bytes: u64) -> Result<(), MirrorError> {
        let n_bytes = usize::try_from(n_bytes).map_err(|_| MirrorError::TooLarge)?;
        if n_bytes > self.budget.0.max_body_bytes {
            return Err(MirrorError::TooLarge);
        }
        self.expected = Some(n_bytes);
        Ok(())
    }

    /// Appends a chunk.
    ///
    /// # Errors
    /// [`MirrorError`], and the copy is of no more use: drop it.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), MirrorError> {
        let len = self.bytes.len() + chunk.len();
        if len > self.budget.0.max_body_bytes {
            return Err(MirrorError::TooLarge);
        }
        if len > self.reserved {
            // Doubling as `Vec` does, but counted, and never past what one copy may hold or is to become.
            let first = if self.expected.is_some() { FIRST_OF_KNOWN_LEN } else { FIRST_OF_UNKNOWN_LEN };
            let most = self.expected.map_or(self.budget.0.max_body_bytes, |expected| expected.max(len));
            let target = len.max(self.reserved * 2).max(first).min(most);
            self.budget.reserve(target - self.reserved)?;
            self.reserved = target;
            self.bytes.reserve_exact(target - self.bytes.len());
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    /// As decoders see it.
    pub fn as_part(&self) -> Part<'_> {
        Part { bytes: &self.bytes, headers: &self.headers }
    }

    /// What was copied so far.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for MirroredBody {
    fn drop(&mut self) {
        self.budget.0.held_bytes.fetch_sub(self.reserved, Ordering::Relaxed);
    }
}
