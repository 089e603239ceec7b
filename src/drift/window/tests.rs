use proptest::{collection::vec, prelude::*};

use super::*;

/// One column of two bins, `length` and slots of one second.
fn ring(length_s: u64, n_slots: usize) -> WindowRing {
    WindowRing::new(Duration::from_secs(length_s), n_slots, [2])
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn rows(n: u64) -> [Histogram; 1] {
    [Histogram::from_parts(&[n, 0], 0, 0)]
}

#[track_caller]
fn check_total(ring: &WindowRing, expected: u64) {
    assert_eq!(ring.totals()[0].total(), expected);
}

#[test]
fn a_row_leaves_when_it_is_older_than_the_window_and_a_slot() {
    let mut ring = ring(10, 10);
    assert_eq!(ring.add(at(50_999), &rows(1)), Added::Counted);
    ring.advance(at(60_999)); // exactly the length later
    check_total(&ring, 1);
    ring.advance(at(61_000)); // its slot began 11 s ago
    check_total(&ring, 0);
}

#[test]
fn an_older_slot_can_still_be_added_to_until_it_has_left() {
    let mut ring = ring(10, 10);
    assert_eq!(ring.add(at(60_500), &rows(1)), Added::Counted);
    assert_eq!(ring.add(at(50_000), &rows(2)), Added::Counted);
    assert_eq!(ring.add(at(49_999), &rows(4)), Added::Late);
    check_total(&ring, 3);
    ring.advance(at(61_000));
    check_total(&ring, 1);
}

#[test]
fn a_clock_that_steps_back_is_harmless() {
    let mut ring = ring(10, 10);
    assert_eq!(ring.add(at(100_000), &rows(1)), Added::Counted);
    ring.advance(at(5));
    assert_eq!(ring.add(at(7), &rows(1)), Added::Late);
    check_total(&ring, 1);
    assert_eq!(ring.add(at(101_000), &rows(1)), Added::Counted);
    check_total(&ring, 2);
}

#[test]
fn a_gap_of_any_length_empties_the_window() {
    let mut ring = ring(10, 10);
    assert_eq!(ring.add(at(0), &rows(1)), Added::Counted);
    ring.advance(at(u64::MAX));
    check_total(&ring, 0);
    assert_eq!(ring.add(at(u64::MAX), &rows(5)), Added::Counted);
    check_total(&ring, 5);
}

#[test]
fn states_follow_the_rows() {
    let mut ring = ring(10, 10);
    assert_eq!(ring.state(0, 3), WindowState::Filling { n_seen: 0, n_needed: 3 });
    assert_eq!(ring.idle(), None);
    assert_eq!(ring.add(at(1_000), &rows(2)), Added::Counted);
    assert_eq!(ring.state(0, 3), WindowState::Filling { n_seen: 2, n_needed: 3 });
    assert_eq!(ring.add(at(2_000), &rows(1)), Added::Counted);
    assert_eq!(ring.state(0, 3), WindowState::Ready);
    assert_eq!(ring.add(at(9_000), &rows(0)), Added::Counted, "no rows are no news");
    assert_eq!(ring.idle(), Some(Duration::from_secs(7)));
    ring.advance(at(11_999));
    assert_eq!(ring.state(0, 3), WindowState::Ready);
    ring.advance(at(12_000));
    assert_eq!(ring.state(0, 3), WindowState::Stale);
    assert_eq!(ring.add(at(12_001), &rows(1)), Added::Counted);
    assert_eq!(ring.state(0, 0), WindowState::Ready);
}

#[test]
fn an_empty_window_is_never_ready() {
    assert_eq!(ring(10, 10).state(0, 0), WindowState::Filling { n_seen: 0, n_needed: 1 });
}

#[test]
fn a_full_slot_keeps_the_totals_right() {
    let mut ring = ring(10, 10);
    let most = u64::from(u32::MAX);
    assert_eq!(ring.add(at(0), &rows(most - 1)), Added::Counted);
    assert_eq!(ring.add(at(0), &rows(5)), Added::Counted);
    assert_eq!(ring.add(at(1_000), &rows(u64::MAX)), Added::Counted);
    check_total(&ring, 2 * most);
    assert_eq!(ring.n_unheld(), 4 + (u64::MAX - most));
    ring.advance(at(11_000));
    check_total(&ring, most);
    ring.advance(at(12_000));
    check_total(&ring, 0);
}

#[test]
fn a_sidecar_with_three_windows_fits_its_budget() {
    let ring = WindowRing::new(Duration::from_mins(5), DEFAULT_SLOTS, [130; 100]);
    let bytes = size_of_val(&*ring.slots)
        + ring.totals.iter().map(|total| size_of_val(total.as_slice())).sum::<usize>();
    assert!(3 * bytes < 6 << 20, "three windows take {} bytes", 3 * bytes);
}

#[test]
#[should_panic(expected = "histograms of another model")]
fn counts_of_another_model_are_refused() {
    let _ = ring(10, 10).add(at(0), &[]);
}

#[derive(Clone, Debug)]
enum Action {
    /// Rows at a time relative to the latest.
    Add {
        offset_ms: i64,
        counts: [u8; 6],
    },
    Advance {
        offset_ms: i64,
    },
}

fn action() -> impl Strategy<Value = Action> {
    let offset_ms = prop_oneof![8 => -400i64..400, 3 => -4_000i64..4_000, 1 => -100_000i64..100_000];
    prop_oneof![
        (offset_ms.clone(), any::<[u8; 6]>())
            .prop_map(|(offset_ms, counts)| Action::Add { offset_ms, counts }),
        offset_ms.prop_map(|offset_ms| Action::Advance { offset_ms }),
    ]
}

proptest! {
    /// Against a list of everything that was ever added.
    #[test]
    fn the_ring_is_a_recount_of_the_rows(
        length_ms in 1u64..3_000, n_slots in 1usize..12, actions in vec(action(), 1..60),
    ) {
        let mut ring = WindowRing::new(Duration::from_millis(length_ms), n_slots, [1, 0]);
        let slot_ms = length_ms.div_ceil(n_slots as u64);
        let (mut now, mut rows) = (None::<u64>, Vec::<(u64, [u8; 6])>::new());
        for action in actions {
            let (Action::Add { offset_ms, .. } | Action::Advance { offset_ms }) = action;
            let time = now.unwrap_or(50_000).saturating_add_signed(offset_ms);
            now = Some(now.map_or(time, |now| now.max(time)));
            let oldest = (now.unwrap() / slot_ms).saturating_sub(n_slots as u64);
            match action {
                Action::Advance { .. } => ring.advance(at(time)),
                Action::Add { counts, .. } => {
                    let [a, b, c, d, e, f] = counts.map(u64::from);
                    let counted =
                        [Histogram::from_parts(&[a], b, c), Histogram::from_parts(&[], d, e + f)];
                    let expected = if time / slot_ms < oldest { Added::Late } else { Added::Counted };
                    prop_assert_eq!(ring.add(at(time), &counted), expected);
                    if expected == Added::Counted {
                        rows.push((time, counts));
                    }
                }
            }
            let mut expected = [0u64; 5];
            for (_, counts) in rows.iter().filter(|(time, _)| time / slot_ms >= oldest) {
                for (bin, &count) in [0, 1, 2, 3, 4, 4].into_iter().zip(counts) {
                    expected[bin] += u64::from(count);
                }
            }
            prop_assert_eq!(ring.totals()[0].as_slice(), &expected[..3]);
            prop_assert_eq!(ring.totals()[1].as_slice(), &expected[3..]);
            let last = rows.iter().filter(|(_, counts)| *counts != [0; 6]).map(|(time, _)| *time).max();
            prop_assert_eq!(ring.idle(), last.map(|last| Duration::from_millis(now.unwrap() - last)));
        }
    }
}
