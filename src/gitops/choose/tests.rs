use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use proptest::prelude::*;

use super::*;
use crate::config::HumanDuration;

fn at(minute: i64) -> Timestamp {
    DateTime::UNIX_EPOCH + TimeDelta::minutes(minute)
}

/// One commit a minute; the newest first, as `git log` has it.
fn runs(values: &[&str]) -> Vec<Run> {
    let last = i64::try_from(values.len()).unwrap();
    let run = |(idx, value): (i64, &&str)| Run {
        value: (*value).to_owned(),
        introduced_by: format!("c{}", last - idx),
        introduced_at: at(last - idx),
        is_ours: false,
    };
    (0..).zip(values).map(run).collect()
}

fn ledger(good: &[&str], denied: &[&str]) -> Ledger {
    let verdict = Verdict { served_since: at(0), at: at(1), n_rows: 5000, digest: None };
    let denial = Denial { action: "rb-1".to_owned(), at: at(1) };
    Ledger {
        good: good.iter().map(|uri| ((*uri).to_owned(), verdict.clone())).collect(),
        denied: denied.iter().map(|uri| ((*uri).to_owned(), denial.clone())).collect(),
    }
}

#[track_caller]
fn check(values: &[&str], good: &[&str], denied: &[&str], policy: &Policy, expected: &[&str]) {
    let choice = choose(&runs(values), &ledger(good, denied), policy, at(100));
    let uris: Vec<&str> = choice.candidates.iter().map(|candidate| &*candidate.uri).collect();
    assert_eq!(uris, expected, "refused: {:?}", choice.refused);
}

#[test]
fn the_newest_earlier_version_with_a_verdict_is_chosen() {
    let policy = Policy::default();
    check(
        &["s3://m/3", "s3://m/2", "s3://m/1"],
        &["s3://m/2", "s3://m/1"],
        &[],
        &policy,
        &["s3://m/2", "s3://m/1"],
    );
    // 2 was never seen to be well: it comes after one that was.
    check(&["s3://m/3", "s3://m/2", "s3://m/1"], &["s3://m/1"], &[], &policy, &["s3://m/1", "s3://m/2"]);
    check(
        &["s3://m/3", "s3://m/2", "s3://m/1"],
        &["s3://m/2", "s3://m/1"],
        &["s3://m/2"],
        &policy,
        &["s3://m/1"],
    );
    check(&["s3://m/3"], &["s3://m/1"], &[], &policy, &[]);
}

#[test]
fn what_has_no_verdict_is_offered_only_if_it_was_just_before() {
    check(&["s3://m/3", "s3://m/2", "s3://m/1"], &[], &[], &Policy::default(), &["s3://m/2"]);
    let refuse = Policy { unverified: Unverified::Refuse, ..Policy::default() };
    check(&["s3://m/3", "s3://m/2", "s3://m/1"], &[], &[], &refuse, &[]);
    check(&["s3://m/3", "s3://m/2", "s3://m/1"], &[], &["s3://m/2"], &Policy::default(), &[]);
}

#[test]
fn what_is_too_far_back_or_moves_is_refused() {
    let policy = Policy { max_depth: 1, ..Policy::default() };
    check(&["s3://m/3", "s3://m/2", "s3://m/1"], &["s3://m/1"], &[], &policy, &["s3://m/2"]);
    let policy = Policy { max_age: HumanDuration(Duration::from_mins(1)), ..Policy::default() };
    check(&["s3://m/3", "s3://m/2"], &["s3://m/2"], &[], &policy, &[]);
    check(&["s3://m/3", "s3://m/latest"], &["s3://m/latest"], &[], &Policy::default(), &[]);
}

#[test]
fn names_that_move_are_told_from_those_that_do_not() {
    for uri in [
        "models:/credit/Production",
        "models:/credit@champion",
        "mlflow:models:/credit/latest",
        "oci://r/m",
        "oci://r/m:latest",
        "s3://b/latest/",
    ] {
        assert!(is_mutable(uri), "{uri}");
    }
    for uri in [
        "models:/credit/3",
        "mlflow:models:/credit/3",
        "oci://r/m:v3",
        "oci://r/m@sha256:00",
        "s3://b/3",
        "pvc://models/latest-2",
    ] {
        assert!(!is_mutable(uri), "{uri}");
    }
}

proptest! {
    /// Whatever the history: never the accused value, never a denied one, and every candidate was in the line.
    #[test]
    fn nothing_bad_is_ever_chosen(
        values in prop::collection::vec(0_usize..6, 0..20),
        good in prop::collection::btree_set(0_usize..6, 0..6),
        denied in prop::collection::btree_set(0_usize..6, 0..6),
    ) {
        const URIS: [&str; 6] = ["s3://m/0", "s3://m/1", "s3://m/2", "s3://m/3", "s3://m/latest", ""];
        let of = |indices: &mut dyn Iterator<Item = usize>| indices.map(|idx| URIS[idx]).collect::<Vec<_>>();
        let (values, good, denied) =
            (of(&mut values.into_iter()), of(&mut good.into_iter()), of(&mut denied.into_iter()));
        let choice = choose(&runs(&values), &ledger(&good, &denied), &Policy::default(), at(1000));
        for (idx, candidate) in choice.candidates.iter().enumerate() {
            let uri = &*candidate.uri;
            prop_assert!(uri != values[0] && !denied.contains(&uri) && uri != "s3://m/latest" && !uri.is_empty());
            prop_assert!(values.contains(&uri));
            prop_assert_eq!(candidate.verdict.is_some(), good.contains(&uri));
            prop_assert!(candidate.verdict.is_some() || idx + 1 == choice.candidates.len());
        }
    }
}
