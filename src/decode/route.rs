//! From a request line to the model and the wire format, before any byte of a body is looked at.

use http::Method;

/// A wire format, as in the label `format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// KServe V1: `POST /v1/models/{model}:predict`.
    V1,
    /// Open Inference Protocol V2 as JSON: `POST /v2/models/{model}[/versions/{version}]/infer`.
    V2,
}

impl Format {
    /// The label value of this format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// An inference request that we can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its wire format.
    pub format: Format,
    /// The model's name in the path, percent-decoded.
    pub model: Box<str>,
    /// The version in the path, where there is one.
    pub version: Option<Box<str>>,
}

impl Route {
    /// What an inference request asks for, or `None` for everything that we only pass on.
    pub fn of(_method: &Method, _path: &str) -> Option<Self> {
        None
    }
}
