//! The demo's world: who applies for credit, and what the model makes of them. Seeded, so every run sees the same.

use std::fmt::Write;

use fastrand::Rng;
use serde::{Deserialize, Serialize};

/// Values of `region`, and how often each is seen.
const REGIONS: [(&str, f64); 5] =
    [("north", 0.3), ("south", 0.25), ("east", 0.2), ("west", 0.15), ("abroad", 0.1)];
/// Values of `duration_months`.
const DURATIONS: [u32; 6] = [6, 12, 24, 36, 48, 60];

/// The header of [`Applicant::to_csv`].
pub const CSV_HEADER: &str = "age,income_eur,amount_eur,duration_months,region,employed,default_risk\n";

/// One row.
#[derive(Clone, Debug)]
pub struct Applicant {
    /// Years.
    pub age: f64,
    /// A month, before tax.
    pub income_eur: f64,
    /// Asked for.
    pub amount_eur: f64,
    /// To pay it back.
    pub duration_months: u32,
    /// Where from.
    pub region: &'static str,
    /// Has a job.
    pub employed: bool,
}

impl Applicant {
    /// The next applicant, `older` by so many years than people were in training.
    pub fn draw(rng: &mut Rng, older: f64) -> Self {
        let age = normal(rng).mul_add(12.0, 41.0 + older).clamp(18.0, 95.0).floor();
        let income_eur = normal(rng).mul_add(0.45, 8.0).exp();
        Self {
            age,
            income_eur: cents(income_eur),
            amount_eur: cents(normal(rng).mul_add(0.7, 8.7).exp()),
            duration_months: DURATIONS[rng.usize(..DURATIONS.len())],
            region: region(rng.f64()),
            employed: rng.f64() < 0.87,
        }
    }

    /// The row as the training table has it.
    pub fn to_csv(&self, default_risk: f64, out: &mut String) {
        let Self { age, income_eur, amount_eur, duration_months, region, employed } = self;
        writeln!(out, "{age},{income_eur},{amount_eur},{duration_months},{region},{employed},{default_risk}")
            .expect("writing to a String cannot fail");
    }
}

/// What stands in for a trained model: a logistic regression.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Scorecard {
    /// The one of its numbers that the demo's versions differ in.
    pub intercept: f64,
}

impl Scorecard {
    /// Probability of default, 0 to 1.
    pub fn score(self, applicant: &Applicant) -> f64 {
        let income = (applicant.income_eur.max(1.0).ln() - 8.0) / 0.45;
        let amount = (applicant.amount_eur.max(1.0).ln() - 8.7) / 0.7;
        let age = (applicant.age - 41.0) / 12.0;
        let job = if applicant.employed { -0.4 } else { 0.8 };
        let logit = 0.7 * amount - 1.1 * income - 0.3 * age + job + self.intercept;
        1.0 / (1.0 + (-logit).exp())
    }
}

fn region(at: f64) -> &'static str {
    let mut below = 0.0;
    let found = REGIONS.iter().find(|(_, share)| {
        below += share;
        at < below
    });
    found.map_or("abroad", |(name, _)| name)
}

fn cents(amount: f64) -> f64 {
    (amount * 100.0).round() / 100.0
}

/// Standard normal, by Box and Muller (1958).
fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}
