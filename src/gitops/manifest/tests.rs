//! A corpus of manifests as people keep them, with what has to come out, byte for byte.

mod locate;
mod properties;
mod remove;

use super::*;
use crate::gitops::incident::Edit;

pub(super) const V1: &str = "s3://models/credit/1";
pub(super) const V2: &str = "s3://models/credit/2";
pub(super) const URI: &str = "spec.predictor.model.storageUri";

pub(super) fn credit() -> ServiceName {
    "prod/credit".parse().unwrap()
}

pub(super) fn manifest(predictor: &str) -> String {
    format!(
        "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata:\n  name: credit\n  namespace: prod\n\
         spec:\n  predictor:\n{predictor}"
    )
}

fn model(uri: &str) -> String {
    manifest(&format!("    model:\n      modelFormat: {{name: sklearn}}\n      storageUri: {uri}\n"))
}

fn edit(path: &str, from: &str, to: &str) -> Edit {
    Edit { path: path.to_owned(), from: from.to_owned(), to: to.to_owned() }
}

/// Reads the URI, puts the first version back, and expects exactly `after`.
#[track_caller]
fn check(before: &[u8], after: &[u8]) {
    let service = read(before, &Selector::Service(credit())).unwrap().expect("it is there");
    let uri = service.uri.expect("it has a URI");
    assert_eq!(uri.value, V2);
    let new = splice(before, service.document, &[edit(&uri.path, V2, V1)]).unwrap();
    assert_eq!(String::from_utf8_lossy(&new), String::from_utf8_lossy(after));
    let back = splice(&new, service.document, &[edit(&uri.path, V1, V2)]).unwrap();
    assert_eq!(back, before, "and back again");
}

/// The same where only the first version's name in the text differs afterwards.
#[track_caller]
fn check_replaced(before: &str) {
    assert_eq!(before.matches(V2).count(), 1, "the corpus has the value once");
    check(before.as_bytes(), before.replace(V2, V1).as_bytes());
}

#[track_caller]
fn check_refused(text: &str, line: usize, why: Refusal) {
    match read(text.as_bytes(), &Selector::Service(credit())) {
        Err(ManifestError::Refused { line: found, why: said, .. }) => assert_eq!((found, said), (line, why)),
        other => panic!("expected {why:?}, got {other:?}"),
    }
}

#[test]
fn the_value_alone_changes_in_every_notation() {
    check_replaced(&model(V2));
    check_replaced(&model(&format!("'{V2}'")));
    check_replaced(&model(&format!("\"{V2}\"")));
    check_replaced(&model(&format!("   {V2}   # the second one: \"better\"")));
    check_replaced(&manifest(&format!(
        "    model: {{modelFormat: {{name: onnx}}, storageUri: {V2}, runtime: x}}\n"
    )));
    check_replaced(&manifest(&format!("    model: {{\"storageUri\":\"{V2}\"}}\n")));
    check_replaced(&manifest(&format!("    model:\n      'storageUri': {V2}\n")));
    check_replaced(&manifest(&format!("    sklearn:\n      storageUri: {V2}\n      resources: {{}}\n")));
    check_replaced(&manifest(&format!("    model:\n      storageUri:\n        {V2}\n      runtime: x\n")));
}

#[test]
fn the_bytes_around_it_stay() {
    let plain = model(V2);
    check_replaced(plain.trim_end()); // no newline at the end of the file
    check_replaced(&plain.replace('\n', "\r\n"));
    check_replaced(&format!("\u{feff}{plain}"));
    check_replaced(&format!("# Größe, 模型 🦀: not ASCII before the value\n{plain}# and behind\n"));
    check_replaced(&format!("{}{plain}", "# a licence\n".repeat(300)));
    check_replaced(&plain.replace("name: credit\n", "name: credit   \t\n  labels: {a:   b}\n\n\n"));
    check_replaced(&plain.replace("{name: sklearn}", "{name: sklearn}\n      # a note on the URI\n"));
    check_replaced(&plain.replace("spec:", "spec: # \twith tabs\t"));
    check_replaced(&format!("%YAML 1.2\n---\n{plain}...\n"));
}

#[test]
fn the_right_document_of_a_stream_changes() {
    let other = model(V1).replace("name: credit", "name: debit");
    let others = format!(
        "{other}---\napiVersion: v1\nkind: ConfigMap\ndata:\n  text: |\n    storageUri: {V1}\n    ---\n"
    );
    check_replaced(&format!("{others}---\n{}---\n# nothing\n", model(V2)));
    check_replaced(&format!("---\n---\n{}", model(V2)));
    check_replaced(&format!("{}---\n{others}", model(V2)));
}

#[test]
fn a_namespace_given_elsewhere_is_taken_and_another_one_is_not() {
    check_replaced(&model(V2).replace("  namespace: prod\n", ""));
    let other = model(V2).replace("namespace: prod", "namespace: test");
    assert_eq!(read(other.as_bytes(), &Selector::Service(credit())), Ok(None));
    let knative = model(V2).replace("serving.kserve.io/v1beta1", "other.example/v1");
    assert_eq!(read(knative.as_bytes(), &Selector::Service(credit())), Ok(None));
    let twice = format!("{}---\n{}", model(V2), model(V2));
    let ambiguous = ManifestError::Ambiguous { documents: vec![0, 1] };
    assert_eq!(read(twice.as_bytes(), &Selector::Service(credit())), Err(ambiguous));
}

#[test]
fn all_of_a_service_is_read() {
    let text = manifest(
        "    name: stable\n    canaryTrafficPercent: 10\n    model:\n      storageUri: s3://a/1\n  canary:\n\
         \x20   - trafficPercent: 25\n      predictor:\n        name: v2\n        model:\n          storageUri: s3://a/2\n\
         \x20   - predictor: {name: v3}\n",
    )
    .replace("  namespace", "  annotations:\n    serving.kserve.io/deploymentMode: Standard\n  namespace");
    let service = read(text.as_bytes(), &Selector::Service(credit())).unwrap().unwrap();
    let field =
        |path: &str, value: &str, line| Field { path: path.to_owned(), value: value.to_owned(), line };
    let expected = Service {
        document: 0,
        uri: Some(field(URI, "s3://a/1", 13)),
        canary_percent: Some(field("spec.predictor.canaryTrafficPercent", "10", 11)),
        canaries: vec![
            CanaryEntry {
                index: 0,
                name: "v2".to_owned(),
                percent: Some(field("spec.canary[0].trafficPercent", "25", 15)),
                uri: Some(field("spec.canary[0].predictor.model.storageUri", "s3://a/2", 19)),
            },
            CanaryEntry { index: 1, name: "v3".to_owned(), percent: None, uri: None },
        ],
        predictor_name: Some("stable".to_owned()),
        mode_annotation: Some("Standard".to_owned()),
    };
    assert_eq!(service, expected);
}

#[test]
fn a_knative_canary_is_two_lines() {
    let text =
        manifest(&format!("    canaryTrafficPercent: 10 # careful\n    model:\n      storageUri: {V2}\n"));
    let edits = [edit("spec.predictor.canaryTrafficPercent", "10", "0"), edit(URI, V2, V1)];
    let new = splice(text.as_bytes(), 0, &edits).unwrap();
    assert_eq!(String::from_utf8(new).unwrap(), text.replace("10 #", "0 #").replace(V2, V1));
}

#[test]
fn a_field_of_a_values_file_is_read_and_changed() {
    let text = format!("models:\n  credit:\n    uri: {V2}\n  \"old.one\": [{{uri: {V1}}}]\n");
    let selector = |path: &str| Selector::Field { document: None, path: path.to_owned() };
    let service = read(text.as_bytes(), &selector("models.credit.uri")).unwrap().unwrap();
    assert_eq!(service.uri.unwrap().line, 3);
    let old = read(text.as_bytes(), &selector("models[\"old.one\"][0].uri")).unwrap().unwrap();
    assert_eq!(old.uri.unwrap().value, V1);
    assert_eq!(read(text.as_bytes(), &selector("models.debit.uri")), Ok(None));
    assert!(matches!(read(text.as_bytes(), &selector("models..uri")), Err(ManifestError::Path(_))));
    let twice = format!("{text}---\n{text}");
    let second = Selector::Field { document: Some(1), path: "models.credit.uri".to_owned() };
    assert_eq!(read(twice.as_bytes(), &second).unwrap().unwrap().document, 1);
    assert!(matches!(
        read(twice.as_bytes(), &selector("models.credit.uri")),
        Err(ManifestError::Ambiguous { .. })
    ));
}

#[test]
fn what_cannot_be_changed_by_bytes_is_refused_with_the_reason() {
    let uri = |text: &str| manifest(&format!("    model:\n      storageUri: {text}\n"));
    check_refused(&format!("x: &u {V2}\n{}", uri("*u")), 10, Refusal::Alias);
    check_refused(&uri(&format!("&u {V2}")), 9, Refusal::Anchor);
    check_refused(&uri(&format!("!!str {V2}")), 9, Refusal::Tag);
    check_refused(&uri(&format!("|\n        {V2}")), 10, Refusal::BlockScalar);
    check_refused(&uri(&format!(">-\n        {V2}")), 10, Refusal::BlockScalar);
    check_refused(&uri("s3://models\n        /credit/2"), 9, Refusal::SeveralLines);
    check_refused(&uri("\"s3://models/\\\n        credit/2\""), 9, Refusal::SeveralLines);
    check_refused(&uri("'{{ .Values.uri }}'"), 9, Refusal::Template);
    check_refused(&uri("{{ .Values.uri }}"), 9, Refusal::Template);
    check_refused(&uri("s3://models/credit/${VERSION}"), 9, Refusal::Template);
    check_refused(&uri("\"\""), 9, Refusal::Empty);
    check_refused(&uri("~"), 9, Refusal::Empty);
    check_refused(&uri("[a]"), 9, Refusal::NotScalar);
    check_refused(&format!("{}      storageUri: x\n", uri(V2)), 9, Refusal::DuplicateKey);
    check_refused(&manifest("    model:\n      <<: {a: b}\n      storageUri: x\n"), 9, Refusal::MergeKey);
    check_refused(&manifest("    <<: {}\n    model:\n      storageUri: x\n"), 8, Refusal::MergeKey);
    check_refused(&manifest("    model: &m\n      storageUri: x\n"), 9, Refusal::Anchor);
    check_refused(&manifest("    model:\n      storageUris: [{uri: a}]\n"), 9, Refusal::StorageUris);
    check_refused(&manifest("    model:\n      storage: {key: a, path: b}\n"), 9, Refusal::StorageSpec);
    check_refused(
        &manifest("    model:\n      storageUri: a\n    sklearn:\n      storageUri: b\n"),
        11,
        Refusal::SeveralModels,
    );
}

#[test]
fn what_is_no_manifest_says_so() {
    let read = |bytes: &[u8]| read(bytes, &Selector::Service(credit()));
    assert_eq!(read(b"\xff\xfe"), Err(ManifestError::NotText));
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    assert_eq!(read(pointer), Err(ManifestError::LfsPointer));
    let template = format!("{{{{- if .Values.on }}}}\n{}{{{{- end }}}}\n", model(V2));
    assert!(matches!(read(template.as_bytes()), Err(ManifestError::Syntax { .. })));
    let tab = read(b"a:\n  b: 1\n\tc: d\n").unwrap_err();
    assert!(matches!(tab, ManifestError::Syntax { line: 2, .. }), "{tab:?}");
    let generated = format!("# Code generated by helm. DO NOT EDIT.\n{}", model(V2));
    assert_eq!(read(generated.as_bytes()), Err(ManifestError::Generated { line: 1 }));
    assert_eq!(read(b""), Ok(None));
    assert_eq!(read(b"# nothing\n"), Ok(None));
}

#[test]
fn a_value_that_somebody_has_changed_is_left_alone() {
    let error = splice(model(V1).as_bytes(), 0, &[edit(URI, V2, V1)]).unwrap_err();
    let found = SpliceError::Found { path: URI.to_owned(), expected: V2.to_owned(), found: V1.to_owned() };
    assert_eq!(error, found);
    let gone = splice(model(V2).as_bytes(), 0, &[edit("spec.predictor.sklearn.storageUri", V2, V1)]);
    assert!(matches!(gone, Err(SpliceError::NoSuchPath(_))));
    assert_eq!(splice(model(V2).as_bytes(), 1, &[]), Err(SpliceError::NoDocument(1)));
}

#[test]
fn a_value_is_quoted_if_it_would_be_read_as_something_else() {
    let check = |to: &str, written: &str| {
        let new = splice(model(V2).as_bytes(), 0, &[edit(URI, V2, to)]).unwrap();
        assert_eq!(String::from_utf8(new).unwrap(), model(written));
    };
    check("s3://a/b?versionId=1&x=y", "s3://a/b?versionId=1&x=y");
    check("s3://a/b #c", "'s3://a/b #c'");
    check("12", "'12'");
    check("yes: it's", "'yes: it''s'");
    check("true", "'true'");
    for wrong in ["", "a\nb", "a\u{0}", "a\u{2028}b", "a\u{85}b"] {
        let error = splice(model(V2).as_bytes(), 0, &[edit(URI, V2, wrong)]).unwrap_err();
        assert!(matches!(error, SpliceError::Value(_)), "{wrong:?}: {error:?}");
    }
}

#[test]
fn a_text_that_the_second_parser_does_not_take_is_not_changed() {
    let text = format!("{}---\na: 1\na: 2\n", model(V2));
    let error = splice(text.as_bytes(), 0, &[edit(URI, V2, V1)]).unwrap_err();
    assert!(matches!(&error, SpliceError::Unproven(why) if why.contains("duplicate")), "{error:?}");
    // The end of a line to the one (YAML 1.1), a character to the other (YAML 1.2): what follows is a comment, or is not.
    let separated = format!("# a\u{2028}b\n{}", model(V2));
    let error = splice(separated.as_bytes(), 0, &[edit(URI, V2, V1)]).unwrap_err();
    assert!(matches!(error, SpliceError::Unproven(_)), "{error:?}");
    let line = manifest(&format!("    {{canaryTrafficPercent: 10, model: {{storageUri: {V2}}}}}\n"));
    let edits = [edit("spec.predictor.canaryTrafficPercent", "10", "0"), edit(URI, V2, V1)];
    assert_eq!(splice(line.as_bytes(), 0, &edits), Err(SpliceError::SameLine(URI.to_owned())));
}

#[test]
fn what_else_changed_is_named_by_its_path() {
    let old = model(V1);
    let check = |new: &str, paths: &[&str]| {
        assert_eq!(other_changes(old.as_bytes(), new.as_bytes(), 0, &[URI]), paths);
    };
    check(&model(V2), &[]);
    check(&format!("# a comment\n{}", model(V2)), &[]);
    check(
        &model(V2).replace("sklearn", "onnx").replace("  namespace", "  labels: {a: b}\n  namespace"),
        &["metadata.labels", "spec.predictor.model.modelFormat.name"],
    );
    assert_eq!(other_changes(b"a: b", b"a: [", 0, &[]).len(), 1);
    let moved = format!("a: 1\n---\n{}", model(V2));
    assert_eq!(other_changes(old.as_bytes(), moved.as_bytes(), 1, &[URI]), Vec::<String>::new());
}
