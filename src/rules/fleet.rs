//! Recording rules: PSI and KS over all pods of a model, and between its versions.

use std::fmt::Write;
use std::time::Duration;

use super::{Settings, joined};
use crate::config::HumanDuration;
use crate::drift::scan::Against;

const FLEET: &str = include_str!("fleet.yaml");
const LONGER: &str = include_str!("longer.yaml");
const DAY: Duration = Duration::from_hours(24);
/// Groups that a feature has at most: `drift::binning` makes no more.
const N_GROUPS: usize = 23;

/// The group of the shortest window, and that of the longer ones if there are any.
pub fn groups(settings: &Settings) -> String {
    let windows = &settings.evaluation.windows;
    let shortest = &windows[0].label;
    let current = format!("driftd:bin_observations:increase{shortest}");
    let scores = psi("", &current, &reference(settings, windows[0].length), shortest)
        + &ks("", &current, &reference(settings, windows[0].length), shortest);
    let versions =
        ["", "reference_"].map(|of| format!("driftd:versions_{of}bin_observations:increase{shortest}"));
    let versions_scores = psi("versions_", &versions[0], &versions[1], shortest)
        + &ks("versions_", &versions[0], &versions[1], shortest);
    let heading = match settings.evaluation.against {
        Against::Baseline => "      # PSI and KS against the training baseline.\n",
        Against::PreviousWindow => "      # PSI and KS against the window before (`evaluation.reference`).\n",
        Against::SameHourYesterday => {
            "      # PSI and KS against the same hour yesterday (`evaluation.reference`).\n"
        }
    };
    let shortest_group = FLEET
        .replace("@reference@", heading)
        .replace("@scores@", &scores)
        .replace("@versions_scores@", &versions_scores);
    if windows.len() == 1 {
        return format!("{shortest_group}\n");
    }
    let longer: String = windows
        .windows(2)
        .map(|pair| {
            let label = &pair[1].label;
            let current = format!("driftd:bin_observations:increase{label}");
            increase(&pair[0].length, &pair[1].length)
                + &psi("", &current, &reference(settings, pair[1].length), label)
        })
        .collect();
    format!("{shortest_group}\n{LONGER}{longer}\n")
}

/// From the increases of the next shorter window where it fits into this one, else from the counters.
fn increase(shorter: &Duration, window: &Duration) -> String {
    let (label, of_shorter) = (HumanDuration(*window), HumanDuration(*shorter));
    let record = format!("      - record: driftd:bin_observations:increase{label}\n");
    if shorter.as_secs() > 0 && window.as_millis().is_multiple_of(shorter.as_millis()) {
        let almost = window.as_secs() - 1;
        return record
            + &format!(
                "        expr: sum_over_time(driftd:bin_observations:increase{of_shorter}[{almost}s:{of_shorter}])\n"
            );
    }
    record
        + &format!(
            "        expr: >-
          sum by (namespace, inferenceservice, model, version, feature, role, edges, bin)
          (increase(driftd_bin_observations_total[{label}]))\n"
        )
}

/// The counts that a window is held against.
fn reference(settings: &Settings, window: Duration) -> String {
    let label = HumanDuration(window);
    match settings.evaluation.against {
        Against::Baseline => "driftd:baseline_bin_observations".to_owned(),
        Against::SameHourYesterday if window <= DAY => {
            format!("driftd:bin_observations:increase{label}@offset 1d@")
        }
        // As the daemon does for windows longer than a day.
        Against::PreviousWindow | Against::SameHourYesterday => {
            format!("driftd:bin_observations:increase{label}@offset {label}@")
        }
    }
}

/// A series with a selector: an `offset` goes behind it.
fn with(series: &str, selector: &str) -> String {
    match series.split_once('@') {
        Some((name, offset)) => format!("{name}{selector} {}", offset.trim_end_matches('@')),
        None => format!("{series}{selector}"),
    }
}

/// PSI of `current` against `reference`, and what it is expected to be without drift.
fn psi(prefix: &str, current: &str, reference: &str, window: &str) -> String {
    let [p, w, r] = [prefix, window, &with(reference, "")];
    let c = current;
    format!(
        "      - record: driftd:{p}bins:{w}
        expr: count without (bin) ({c} + {r} > 0)
      - record: driftd:{p}smoothed_bin_share:{w}
        expr: >-
          (({c} + 0.5) and ({c} + {r} > 0))
          / ignoring (bin) group_left () (sum without (bin) ({c}) + 0.5 * driftd:{p}bins:{w})
      - record: driftd:{p}smoothed_reference_share:{w}
        expr: >-
          (({r} + 0.5) and ({c} + {r} > 0))
          / ignoring (bin) group_left () (sum without (bin) ({r}) + 0.5 * driftd:{p}bins:{w})
      - record: driftd:{p}psi:{w}
        expr: >-
          sum without (bin) (
            (driftd:{p}smoothed_bin_share:{w} - driftd:{p}smoothed_reference_share:{w})
            * ln(driftd:{p}smoothed_bin_share:{w} / driftd:{p}smoothed_reference_share:{w})
          )
          and sum without (bin) ({c}) >= @min_samples@ and sum without (bin) ({r}) >= @min_samples@
      - record: driftd:{p}psi_expected:{w}
        expr: >-
          (driftd:{p}bins:{w} - 1) * (1 / sum without (bin) ({c}) + 1 / sum without (bin) ({r}))
"
    )
}

/// KS of the same.
fn ks(prefix: &str, current: &str, reference: &str, window: &str) -> String {
    let [p, w, r] = [prefix, window, &with(reference, "{bin=~\"[0-9]+\"}")];
    let c = &with(current, "{bin=~\"[0-9]+\"}");
    let mut text = format!(
        "      # Shares of the ordered groups alone: what is missing has no place in an order.
      - record: driftd:{p}bin_share_difference:{w}
        expr: >-
          (
            {c}
            / ignoring (bin) group_left () sum without (bin) ({c})
            - {r}
            / ignoring (bin) group_left () sum without (bin) ({r})
          )
          and on (namespace, inferenceservice, model, version, feature, role, edges)
          driftd:baseline_rows{{kind=~\"numeric|text\"}}
          and ignoring (bin) driftd:{p}psi:{w}
      # The mean of Kolmogorov's distribution: sqrt(pi / 2) * ln(2) = 0.8687.
      - record: driftd:{p}ks_expected:{w}
        expr: >-
          0.8687 * sqrt(
            1 / sum without (bin) ({c})
            + 1 / sum without (bin) ({r})
          )
      - record: driftd:{p}ks:{w}
        expr: >-
          max without (below) (abs(
"
    );
    for group in 0..N_GROUPS {
        let or = if group == 0 { "" } else { "            or\n" };
        let tens = joined((0..group / 10).map(|ten| format!("{ten}.|")));
        let bins =
            if group == 0 { "00".to_owned() } else { format!("{tens}{}[0-{}]", group / 10, group % 10) };
        let _infallible = writeln!(
            text,
            "{or}            label_replace(sum without (bin) (driftd:{p}bin_share_difference:{w}{{bin=~\"{bins}\"}}), \"below\", \"{group:02}\", \"\", \"\")"
        );
    }
    text + "          ))\n"
}
