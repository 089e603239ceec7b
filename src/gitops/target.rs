//! What is rolled back, by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An `InferenceService`: `namespace/name`, both names as Kubernetes allows them, so that neither can carry anything into a
/// query, a path or a trailer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName {
    namespace: String,
    name: String,
}

/// Why a text names no `InferenceService`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not two parts.
    #[error("`{0}` is not NAMESPACE/NAME")]
    Shape(String),
    /// A part that Kubernetes would refuse.
    #[error("`{0}` is not a name that Kubernetes takes: lower-case letters, digits and `-`, at most 63")]
    Part(String),
}

impl ServiceName {
    /// Of these two.
    ///
    /// # Errors
    /// [`NameError::Part`] if one is not a DNS label (RFC 1123).
    pub fn new(namespace: &str, name: &str) -> Result<Self, NameError> {
        for part in [namespace, name] {
            if !is_dns_label(part) {
                return Err(NameError::Part(part.chars().take(80).collect()));
            }
        }
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name in it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn is_dns_label(text: &str) -> bool {
    let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=63).contains(&text.len())
        && text.bytes().all(|byte| is_alphanumeric(byte) || byte == b'-')
        && text.bytes().next().is_some_and(is_alphanumeric)
        && text.bytes().next_back().is_some_and(is_alphanumeric)
}

impl FromStr for ServiceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once('/') {
            Some((namespace, name)) => Self::new(namespace, name),
            None => Err(NameError::Shape(text.chars().take(160).collect())),
        }
    }
}

impl TryFrom<String> for ServiceName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ServiceName> for String {
    fn from(name: ServiceName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_kubernetes_takes() {
        assert_eq!("prod/credit-2".parse::<ServiceName>().unwrap().to_string(), "prod/credit-2");
        for refused in
            ["prod", "/x", "prod/", "Prod/x", "prod/x/y", "prod/-x", "prod/x-", "prod/a\nb", "prod/a\"}"]
        {
            assert!(refused.parse::<ServiceName>().is_err(), "{refused:?}");
        }
        assert!(ServiceName::new("a", &"b".repeat(64)).is_err());
    }
}
