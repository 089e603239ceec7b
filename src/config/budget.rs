//! How many false alarms are allowed.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};

/// False alarms a model may raise in so much time or in so many rows, over all of its features and windows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    alarms: f64,
    per: Per,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Per {
    Time(Duration),
    Rows(u64),
}

/// Why a text is not a budget.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a budget of false alarms; write it like `1 per 30d` or `1 per 10M rows`")]
pub struct BudgetError {
    text: String,
}

impl Budget {
    /// One in thirty days.
    pub const DEFAULT: Self = Self { alarms: 1.0, per: Per::Time(Duration::from_hours(30 * 24)) };

    /// What one look may spend, if it covers `interval` and some `n_rows` rows.
    pub fn per_look(&self, interval: Duration, n_rows: f64) -> f64 {
        self.alarms
            * match self.per {
                Per::Time(period) => interval.as_secs_f64() / period.as_secs_f64(),
                Per::Rows(rows) => n_rows / rows as f64,
            }
    }

    /// Whether it is given in rows.
    pub fn is_per_rows(&self) -> bool {
        matches!(self.per, Per::Rows(_))
    }
}

impl<'de> Deserialize<'de> for Budget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl FromStr for Budget {
    type Err = BudgetError;

    fn from_str(text: &str) -> Result<Self, BudgetError> {
        let parsed = text.split_once(" per ").and_then(|(alarms, per)| {
            let alarms: f64 = alarms.trim().parse().ok()?;
            let per = match per.trim().strip_suffix("rows") {
                Some(rows) => Per::Rows(rows_of(rows.trim())?),
                None => Per::Time(humantime::parse_duration(per.trim()).ok()?),
            };
            Some(Self { alarms, per })
        });
        let is_sound = |budget: &Self| {
            let some = match budget.per {
                Per::Time(period) => !period.is_zero(),
                Per::Rows(rows) => rows > 0,
            };
            some && budget.alarms.is_finite() && budget.alarms > 0.0
        };
        parsed.filter(is_sound).ok_or_else(|| BudgetError { text: text.to_owned() })
    }
}

/// `10M` and the like.
fn rows_of(text: &str) -> Option<u64> {
    let (digits, scale) = match text.char_indices().last()? {
        (at, 'k' | 'K') => (&text[..at], 1e3),
        (at, 'M') => (&text[..at], 1e6),
        (at, 'G') => (&text[..at], 1e9),
        _ => (text, 1.0),
    };
    let rows = digits.trim().parse::<f64>().ok()? * scale;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked just before")]
    (1.0..1e18).contains(&rows).then_some(rows as u64)
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} per ", self.alarms)?;
        match self.per {
            Per::Time(period) => write!(f, "{}", humantime::format_duration(period)),
            Per::Rows(rows) => write!(f, "{rows} rows"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, per_look: f64) {
        let budget: Budget = text.parse().unwrap();
        let actual = budget.per_look(Duration::from_secs(10), 1_000.0);
        assert!((actual / per_look - 1.0).abs() < 1e-12, "{text}: {actual}");
        let again: Budget = budget.to_string().parse().unwrap();
        assert_eq!(again, budget, "{budget}");
    }

    #[test]
    fn budgets_as_people_write_them() {
        check("1 per 30d", 10.0 / 2_592_000.0);
        check("2 per 1h 30m", 20.0 / 5_400.0);
        check("1 per 10M rows", 1e-4);
        check("0.5 per 2.5k rows", 0.2);
        check("3 per 1000 rows", 3.0);
        assert_eq!(Budget::default(), "1 per 30d".parse().unwrap());
    }

    #[test]
    fn anything_else_says_how_to_write_it() {
        for text in [
            "",
            "1",
            "per 30d",
            "0 per 30d",
            "-1 per 30d",
            "nan per 30d",
            "1 per 0s",
            "1 per 0 rows",
            "1 per x",
            "1 per M rows",
        ] {
            let error = text.parse::<Budget>().unwrap_err().to_string();
            assert!(error.contains("`1 per 30d`"), "{error}");
        }
    }
}
