//! Kubernetes' numbers of resources. The API server refuses a pod with a wrong one, or with a request above its limit: so we look first.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de::Error};

/// An amount of CPU or memory, as written.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantity {
    text: String,
    amount: f64,
}

impl FromStr for Quantity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not an amount; write it like `50m`, `0.5`, `64Mi` or `1Gi`");
        let end = text
            .find(|character: char| !character.is_ascii_digit() && character != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let factor = match unit {
            "m" => 1e-3,
            "" => 1.0,
            "k" => 1e3,
            "M" => 1e6,
            "G" => 1e9,
            "T" => 1e12,
            "Ki" => 1024.0,
            "Mi" => 1024.0 * 1024.0,
            "Gi" => 1024.0 * 1024.0 * 1024.0,
            "Ti" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
            _ => return Err(wrong()),
        };
        let is_number = number.starts_with(|first: char| first.is_ascii_digit()) && number.len() <= 15;
        let amount =
            number.parse::<f64>().ok().filter(|amount| is_number && *amount > 0.0).ok_or_else(wrong)?;
        Ok(Self { text: text.to_owned(), amount: amount * factor })
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What the sidecar asks for, and may have.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Resources {
    /// CPU that is set aside. Default `50m`.
    pub cpu_request: Option<Quantity>,
    /// Memory that is set aside. Default `32Mi`.
    pub memory_request: Option<Quantity>,
    /// CPU at most. Default none: a proxy that is throttled makes every request wait.
    pub cpu_limit: Option<Quantity>,
    /// Memory at most. Default `128Mi`.
    pub memory_limit: Option<Quantity>,
}

impl Default for Resources {
    fn default() -> Self {
        let written = |text: &str, amount| Some(Quantity { text: text.to_owned(), amount });
        Self {
            cpu_request: written("50m", 0.05),
            memory_request: written("32Mi", 33_554_432.0),
            cpu_limit: None,
            memory_limit: written("128Mi", 134_217_728.0),
        }
    }
}

impl Resources {
    /// A request above its limit is refused by the API server.
    ///
    /// # Errors
    /// Which of them, and what to do.
    pub fn check(&self) -> Result<(), String> {
        let pairs = [
            ("cpu", &self.cpu_request, &self.cpu_limit),
            ("memory", &self.memory_request, &self.memory_limit),
        ];
        for (name, request, limit) in pairs {
            if let (Some(request), Some(limit)) = (request, limit)
                && request.amount > limit.amount
            {
                return Err(format!(
                    "the {name} request {request} is above the limit {limit}; raise the limit"
                ));
            }
        }
        Ok(())
    }

    /// As a container has it.
    pub fn to_json(&self) -> serde_json::Value {
        let side = |cpu: &Option<Quantity>, memory: &Option<Quantity>| {
            let named = [("cpu", cpu), ("memory", memory)];
            let given = named.into_iter().filter_map(|(name, amount)| {
                Some((name.to_owned(), serde_json::Value::from(amount.as_ref()?.text.clone())))
            });
            given.collect::<serde_json::Map<_, _>>()
        };
        let sides = [
            ("requests", side(&self.cpu_request, &self.memory_request)),
            ("limits", side(&self.cpu_limit, &self.memory_limit)),
        ];
        let given = sides.into_iter().filter(|(_, side)| !side.is_empty());
        given.map(|(name, side)| (name.to_owned(), side.into())).collect::<serde_json::Map<_, _>>().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_kubernetes_reads_them() {
        let amount = |text: &str| text.parse::<Quantity>().unwrap().amount;
        assert!((amount("50m") - 0.05).abs() < 1e-12);
        assert!((amount("64Mi") - 67_108_864.0).abs() < 1e-6);
        assert!((amount("0.5") - 0.5).abs() < 1e-12);
        for wrong in ["", "m", "-1", "1e3Mi", "64MiB", "1 Gi", "0", ".5", "NaN", "inf", "1.2.3"] {
            assert!(wrong.parse::<Quantity>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_request_above_its_limit_is_an_error() {
        let memory_request = "1Gi".parse().ok();
        let resources = Resources { memory_request, ..Resources::default() };
        assert!(resources.check().unwrap_err().contains("memory request 1Gi is above the limit 128Mi"));
        Resources::default().check().unwrap();
        for quantity in [Resources::default().cpu_request, Resources::default().memory_limit] {
            let quantity = quantity.unwrap();
            assert_eq!(quantity.to_string().parse(), Ok(quantity));
        }
    }
}
