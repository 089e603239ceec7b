//! When nothing may be done: by a file in Git, which everybody sees, and by the API. Any of them is enough, and what cannot be read counts
//! as a pause.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::incident::Timestamp;
use super::target::ServiceName;

/// What a pause holds for: `fleet`, a namespace, or `NAMESPACE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    /// Everything.
    Fleet,
    /// A namespace.
    Namespace(String),
    /// A service.
    Service(ServiceName),
}

/// Why a text is no scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no scope; give `fleet`, NAMESPACE or NAMESPACE/NAME, with names as Kubernetes takes them")]
pub struct ScopeError(String);

/// A pause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// What it holds for.
    pub scope: Scope,
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when; absent: until it is ended.
    pub until: Option<Timestamp>,
}

/// `.drift/pause.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PauseFile {
    /// Whether it holds; a file that says no may stay.
    paused: bool,
    /// Why.
    #[serde(default)]
    reason: String,
    /// Until when, as `2026-11-27T08:00:00Z`.
    #[serde(default)]
    until: Option<Timestamp>,
    /// What for. Absent: everything.
    #[serde(default)]
    scopes: Vec<Scope>,
}

/// All that holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pauses {
    pauses: Vec<Pause>,
    unreadable: Option<String>,
}

impl Pauses {
    /// Those of the API.
    pub fn add_api(&mut self, pauses: &[Pause]) {
        self.pauses.extend_from_slice(pauses);
    }

    /// The file in Git; absent: there is none.
    pub fn add_file(&mut self, bytes: Option<&[u8]>) {
        let Some(bytes) = bytes else { return };
        let parsed = std::str::from_utf8(bytes)
            .map_err(|error| error.to_string())
            .and_then(|text| serde_saphyr::from_str::<PauseFile>(text).map_err(|error| error.to_string()));
        match parsed {
            Ok(PauseFile { paused: false, .. }) => (),
            Ok(PauseFile { reason, until, mut scopes, .. }) => {
                if scopes.is_empty() {
                    scopes.push(Scope::Fleet);
                }
                let pause = |scope| Pause {
                    scope,
                    reason: reason.clone(),
                    by: "the pause file in Git".to_owned(),
                    since: Timestamp::default(),
                    until,
                };
                self.pauses.extend(scopes.into_iter().map(pause));
            }
            Err(error) => {
                let first = error.lines().next().unwrap_or_default();
                self.unreadable(&format!("the pause file in Git cannot be understood: {first}"));
            }
        }
    }

    /// One of the places could not be read.
    pub fn unreadable(&mut self, why: &str) {
        self.unreadable.get_or_insert_with(|| why.to_owned());
    }

    /// For what a pause holds now; for everything where nobody can say.
    pub fn holding(&self, now: Timestamp) -> BTreeSet<Scope> {
        let hold = self.pauses.iter().filter(|pause| pause.holds(now)).map(|pause| pause.scope.clone());
        hold.chain(self.unreadable.as_ref().map(|_| Scope::Fleet)).collect()
    }

    /// Why nothing may be done to a service now, if it may not.
    pub fn stops(&self, service: &ServiceName, now: Timestamp) -> Option<String> {
        if let Some(why) = &self.unreadable {
            return Some(why.clone());
        }
        let pause = self.pauses.iter().find(|pause| pause.scope.holds_for(service) && pause.holds(now))?;
        let reason = if pause.reason.is_empty() { "no reason given" } else { &pause.reason };
        Some(format!("{} is paused by {}: {reason}", pause.scope, pause.by))
    }
}

impl Pause {
    fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl Scope {
    /// Whether a service is in it.
    pub fn holds_for(&self, service: &ServiceName) -> bool {
        match self {
            Self::Fleet => true,
            Self::Namespace(namespace) => namespace == service.namespace(),
            Self::Service(name) => name == service,
        }
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let scope = match text.split_once('/') {
            _ if text == "fleet" => Ok(Self::Fleet),
            Some(_) => text.parse().map(Self::Service),
            // A namespace is a name like any other.
            None => ServiceName::new(text, "x").map(|_| Self::Namespace(text.to_owned())),
        };
        scope.map_err(|_| ScopeError(text.chars().take(160).collect()))
    }
}

impl TryFrom<String> for Scope {
    type Error = ScopeError;

    fn try_from(text: String) -> Result<Self, ScopeError> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fleet => f.write_str("fleet"),
            Self::Namespace(namespace) => f.write_str(namespace),
            Self::Service(name) => name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::*;

    fn at(minute: i64) -> Timestamp {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minute)
    }

    #[track_caller]
    fn check_file(text: &str, service: &str, expected: Option<&str>) {
        let mut pauses = Pauses::default();
        pauses.add_file(Some(text.as_bytes()));
        let why = pauses.stops(&service.parse().unwrap(), at(10));
        match (&why, expected) {
            (None, None) => (),
            (Some(why), Some(expected)) if why.contains(expected) => (),
            _ => panic!("{why:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn the_file_holds_for_what_it_names() {
        check_file("paused: true\nreason: release week\n", "prod/credit", Some("release week"));
        check_file("paused: false\n", "prod/credit", None);
        check_file("paused: true\nscopes: [dev, prod/fraud]\n", "prod/credit", None);
        check_file("paused: true\nscopes: [dev, prod/fraud]\n", "dev/credit", Some("dev is paused"));
        check_file("paused: true\nuntil: 1970-01-01T00:09:00Z\n", "prod/credit", None);
        check_file("paused: true\nuntil: 1970-01-01T00:11:00Z\n", "prod/credit", Some("no reason given"));
    }

    #[test]
    fn a_scope_that_is_none_is_told_what_one_is() {
        for text in ["", "prod/", "/credit", "Prod", "prod/a/b"] {
            let said = text.parse::<Scope>().unwrap_err().to_string();
            assert!(said.contains("`fleet`, NAMESPACE or NAMESPACE/NAME"), "{text:?}: {said}");
        }
    }

    #[test]
    fn what_cannot_be_understood_is_a_pause() {
        check_file("pausd: false\n", "prod/credit", Some("cannot be understood"));
        check_file("", "prod/credit", Some("cannot be understood"));
        check_file("paused: true\nscopes: [Dev]\n", "prod/credit", Some("cannot be understood"));
        check_file("<<<<<<< HEAD\npaused: true\n", "prod/credit", Some("cannot be understood"));
        let mut pauses = Pauses::default();
        pauses.add_file(None);
        assert_eq!(pauses.stops(&"a/b".parse().unwrap(), at(0)), None, "no file is no pause");
        pauses.unreadable("the clone is broken");
        assert_eq!(pauses.stops(&"a/b".parse().unwrap(), at(0)).as_deref(), Some("the clone is broken"));
        assert_eq!(pauses.holding(at(0)), [Scope::Fleet].into());
    }

    #[test]
    fn pauses_of_the_api_end_by_themselves() {
        let pause = Pause {
            scope: "prod".parse().unwrap(),
            reason: "x".into(),
            by: "ann".into(),
            since: at(0),
            until: Some(at(20)),
        };
        let mut pauses = Pauses::default();
        pauses.add_api(&[pause]);
        let service = "prod/credit".parse().unwrap();
        assert_eq!(pauses.stops(&service, at(10)).as_deref(), Some("prod is paused by ann: x"));
        assert_eq!(pauses.holding(at(10)), [Scope::Namespace("prod".to_owned())].into());
        assert_eq!(pauses.stops(&service, at(20)), None);
        assert!(pauses.holding(at(20)).is_empty());
    }
}
