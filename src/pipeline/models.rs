//! The models watched at one moment, and which of them an exchange is for.

use std::collections::HashMap;
use std::sync::Arc;

use super::Service;
use super::model::Model;
use crate::config::ModelConfig;

/// The models watched at one moment, in the order in which they are asked. Never changes: when a model comes, goes or gets another
/// baseline, a new one takes its place.
#[derive(Debug, Default)]
pub struct Models {
    slots: Vec<Slot>,
    /// Places by the service they answer to, where services are told apart.
    by_service: HashMap<Box<str>, Vec<usize>>,
    /// Places by the name in a path.
    by_name: HashMap<Box<str>, Vec<usize>>,
    /// A model without a name may be any: then all have to be asked, which are few.
    has_nameless: bool,
}

/// A model, or the place of one whose baseline is not there.
#[derive(Clone, Debug)]
pub struct Slot {
    /// As configured.
    pub config: Arc<ModelConfig>,
    /// Once its baseline is loaded.
    pub model: Option<Arc<Model>>,
}

impl Slot {
    /// The name it answers to.
    fn name(&self) -> Option<&str> {
        let config = &self.config;
        let of_model = self.model.as_ref().map(|model| model.name.as_str());
        let name = config.name.as_deref().or(of_model).or(config.default_name.as_deref());
        name.filter(|name| !name.is_empty())
    }

    fn version(&self) -> Option<&str> {
        self.config.version.as_deref().or_else(|| self.model.as_ref().map(|model| model.version.as_str()))
    }
}

/// What the route of an exchange leads to.
#[derive(Debug)]
pub enum Found<'a> {
    /// This model, by its place.
    Model(usize, &'a Arc<Model>),
    /// A configured model whose baseline is not loaded.
    NoBaseline,
    /// No model has this name.
    Unknown,
}

impl Models {
    /// In this order.
    pub fn new(slots: Vec<Slot>) -> Self {
        let mut models =
            Self { has_nameless: slots.iter().any(|slot| slot.name().is_none()), ..Self::default() };
        for (idx, slot) in slots.iter().enumerate() {
            let Some(name) = slot.name() else { continue };
            let service = slot.config.inferenceservice.as_deref().unwrap_or(name);
            models.by_service.entry(service.into()).or_default().push(idx);
            models.by_name.entry(name.into()).or_default().push(idx);
        }
        models.slots = slots;
        models
    }

    /// Number of models, loaded or not.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// How many of them have their baseline.
    pub fn n_loaded(&self) -> usize {
        self.slots.iter().filter(|slot| slot.model.is_some()).count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The model in a place, if its baseline is loaded.
    pub fn get(&self, idx: usize) -> Option<&Arc<Model>> {
        self.slots.get(idx)?.model.as_ref()
    }

    /// The model that an exchange is counted for: of those that it may be for, the one with its version, else the first. A server's
    /// own version numbers need not be ours.
    pub fn find(&self, asked: Asked<'_>) -> Found<'_> {
        let (index, key) = match (asked.service, asked.model) {
            (Some(service), _) => (&self.by_service, Some(&*service.name)),
            (None, model) => (&self.by_name, model),
        };
        match key {
            Some(key) if !self.has_nameless => {
                let places = index.get(key).map(Vec::as_slice).unwrap_or_default();
                self.first(asked, places.iter().copied())
            }
            _ => self.first(asked, 0..self.slots.len()),
        }
    }

    fn first(&self, asked: Asked<'_>, places: impl Iterator<Item = usize>) -> Found<'_> {
        let (mut first, mut first_name) = (None, None);
        for idx in places {
            let slot = &self.slots[idx];
            let name = slot.name();
            if !asked.may_be(&slot.config, name) {
                continue;
            }
            // Who names nothing asks for the only model there is.
            if asked.service.is_none() && asked.model.is_none() && *first_name.get_or_insert(name) != name {
                return Found::Unknown;
            }
            let candidate = slot.model.as_ref().map_or(Found::NoBaseline, |model| Found::Model(idx, model));
            if asked.version.is_some() && asked.version == slot.version() {
                return candidate;
            }
            first.get_or_insert(candidate);
        }
        first.unwrap_or(Found::Unknown)
    }
}

/// Which model an exchange is for, as far as it says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// Its `InferenceService`.
    pub service: Option<&'a Service>,
    /// Its name, by path or body.
    pub model: Option<&'a str>,
    /// Its version, likewise.
    pub version: Option<&'a str>,
}

impl Asked<'_> {
    /// Where services are told apart, a model without one configured is that of the service of its name; a model without any name
    /// answers to all.
    fn may_be(&self, config: &ModelConfig, name: Option<&str>) -> bool {
        let by_name = self.model.is_none() || name.is_none() || name == self.model;
        let Some(service) = self.service else { return by_name };
        if config.namespace.as_deref().is_some_and(|namespace| *namespace != *service.namespace) {
            return false;
        }
        match &config.inferenceservice {
            Some(configured) => *configured == *service.name && by_name,
            None => name.is_none_or(|name| *name == *service.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(namespace: &str, name: &str) -> Service {
        Service { namespace: namespace.into(), name: name.into() }
    }

    #[test]
    fn services_and_paths_lead_to_models() {
        let config = |name: &str, namespace: Option<&str>, service: Option<&str>| ModelConfig {
            name: Some(name.to_owned()),
            namespace: namespace.map(str::to_owned),
            inferenceservice: service.map(str::to_owned),
            ..ModelConfig::new("/nowhere/baseline.json")
        };
        let credit = config("credit", None, None);
        let iris = config("iris", Some("prod"), Some("flowers"));
        let may_be = |config: &ModelConfig, service: Option<&Service>, model| {
            Asked { service, model, version: None }.may_be(config, config.name.as_deref())
        };
        assert!(may_be(&credit, None, Some("credit")) && !may_be(&credit, None, Some("iris")));
        assert!(may_be(&credit, Some(&of("any", "credit")), Some("whatever the server calls it")));
        assert!(!may_be(&credit, Some(&of("any", "iris")), None));
        let flowers = of("prod", "flowers");
        assert!(may_be(&iris, Some(&flowers), None) && may_be(&iris, Some(&flowers), Some("iris")));
        assert!(!may_be(&iris, Some(&flowers), Some("tulips")), "a service of several models");
        assert!(!may_be(&iris, Some(&of("test", "flowers")), None));
        assert!(!may_be(&iris, Some(&of("prod", "iris")), None));
        let slot = |config| Slot { config: Arc::new(config), model: None };
        let models = Models::new(vec![slot(credit.clone()), slot(iris.clone())]);
        assert!(matches!(models.find(Asked::default()), Found::Unknown), "which of the two?");
        let finds = |models: &Models, service: Option<&Service>, model| {
            matches!(models.find(Asked { service, model, version: None }), Found::NoBaseline)
        };
        for nameless in [false, true] {
            // Whether looked up or asked one after another, the answer is the same.
            let mut slots = vec![slot(credit.clone()), slot(iris.clone())];
            if nameless {
                let elsewhere =
                    ModelConfig { namespace: Some("x".to_owned()), ..ModelConfig::new("/nowhere") };
                slots.push(slot(ModelConfig { inferenceservice: Some("y".to_owned()), ..elsewhere }));
            }
            let models = Models::new(slots);
            assert!(finds(&models, None, Some("credit")) && finds(&models, Some(&flowers), None));
            assert!(finds(&models, Some(&of("any", "credit")), Some("other")));
            assert!(!finds(&models, Some(&of("test", "flowers")), None));
            assert!(!finds(&models, Some(&of("prod", "iris")), None));
        }
        assert!(!finds(&models, None, Some("tulips")));
    }
}
