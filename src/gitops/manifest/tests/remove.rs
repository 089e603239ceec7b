//! Taking an entry out.

use super::*;

const CANARIES: &str = "    model:\n      storageUri: s3://a/1\n  canary:\n    # the first\n    - trafficPercent: 0\n      predictor:\n\
                        \x20       name: v2\n    # the second\n    - predictor:\n        name: v3\n      trafficPercent: 0 # none\n\n\
                        \x20 # behind\n  transformer: {}\n";

#[track_caller]
fn check_removed(before: &str, path: &str, gone: &str) {
    assert_eq!(before.matches(gone).count(), 1, "the corpus has it once");
    for text in [before.to_owned(), before.replace('\n', "\r\n")] {
        let gone = if text == before { gone.to_owned() } else { gone.replace('\n', "\r\n") };
        let new = remove_entry(text.as_bytes(), 0, path).unwrap();
        assert_eq!(String::from_utf8(new).unwrap(), text.replace(&gone, ""));
    }
}

#[track_caller]
fn check_kept(text: &str, path: &str) {
    let error = remove_entry(text.as_bytes(), 0, path).unwrap_err();
    assert!(matches!(error, SpliceError::NotRemovable { .. } | SpliceError::Manifest(_)), "{error:?}");
}

#[test]
fn the_percent_goes_with_its_line() {
    let line = "    canaryTrafficPercent: 0 # soon gone\n";
    let percent = "spec.predictor.canaryTrafficPercent";
    check_removed(&manifest(&format!("{line}    model:\n      storageUri: {V1}\n")), percent, line);
    check_removed(&manifest(&format!("    model:\n      storageUri: {V1}\n{line}")), percent, line);
    check_removed(
        &manifest(&format!("    model:\n      storageUri: {V1}\n{line}---\na: b\n")),
        percent,
        line,
    );
}

#[test]
fn a_canary_goes_with_its_block_and_the_last_one_with_its_key() {
    let text = manifest(CANARIES);
    check_removed(&text, "spec.canary[0]", "    - trafficPercent: 0\n      predictor:\n        name: v2\n");
    let second = "    - predictor:\n        name: v3\n      trafficPercent: 0 # none\n";
    check_removed(&text, "spec.canary[1]", second);
    let one = text.replace(second, "").replace("    # the second\n", "");
    let all = "  canary:\n    # the first\n    - trafficPercent: 0\n      predictor:\n        name: v2\n";
    check_removed(&one, "spec.canary[0]", all);
    let block = "  canary:\n  - predictor:\n      name: v2\n      note: |\n        several\n        lines\n";
    check_removed(
        &manifest(&format!("    model: {{storageUri: a}}\n{block}  x: y\n")),
        "spec.canary[0]",
        block,
    );
}

#[test]
fn what_shares_its_lines_stays() {
    check_kept(
        &manifest("    {canaryTrafficPercent: 0, model: {storageUri: a}}\n"),
        "spec.predictor.canaryTrafficPercent",
    );
    check_kept(&manifest("    canaryTrafficPercent: 0\n"), "spec.predictor.canaryTrafficPercent");
    check_kept(
        &manifest("    model: {storageUri: a}\n  canary: [{trafficPercent: 0}, {}]\n"),
        "spec.canary[0]",
    );
    check_kept("- a: 1\n  b: 2\n", "[0].a");
    check_kept("x: &a 1\ny: 2\nz: *a\n", "x");
    assert!(matches!(remove_entry(b"a: 1\n", 0, "b"), Err(SpliceError::NoSuchPath(_))));
}
