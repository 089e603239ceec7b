//! Which file, out of a repository.

use bytes::Bytes;

use super::*;
use crate::gitops::config::{Mode, TargetConfig};

fn target(path: Option<&str>, field: Option<&str>) -> TargetConfig {
    TargetConfig {
        service: credit(),
        path: path.map(str::to_owned),
        field: field.map(str::to_owned),
        application: None,
        mode: Mode::Commit,
    }
}

fn find(files: &[(&str, &str)], target: &TargetConfig) -> Result<Located, LocateError> {
    locate(files.iter().map(|(name, text)| ((*name).to_owned(), Bytes::from((*text).to_owned()))), target)
}

#[track_caller]
fn check_found(files: &[(&str, &str)], target: &TargetConfig, file: &str, found_by: FoundBy, path: &str) {
    let located = find(files, target).unwrap();
    let uri = located.service.uri.clone().unwrap();
    assert_eq!((located.file.as_str(), located.found_by, uri.path.as_str()), (file, found_by, path));
    let (_, text) = files.iter().find(|(name, _)| *name == file).unwrap();
    assert_eq!(
        read(text.as_bytes(), &located.selector),
        Ok(Some(located.service)),
        "the selector finds it again"
    );
}

#[test]
fn the_only_document_of_that_name_is_it() {
    let (credit, debit) = (model(V2), model(V2).replace("name: credit", "name: debit"));
    let files = [("a/debit.yaml", debit.as_str()), ("a/credit.yaml", &credit), ("broken.yaml", "a: [")];
    check_found(&files, &target(None, None), "a/credit.yaml", FoundBy::Index, URI);
    let patch = manifest("    minReplicas: 2\n");
    check_found(
        &[files[0], files[1], ("patch.yaml", &patch)],
        &target(None, None),
        "a/credit.yaml",
        FoundBy::Index,
        URI,
    );
}

#[test]
fn two_documents_are_no_answer_and_both_are_named() {
    let credit = model(V2);
    let files = [("a.yaml", credit.as_str()), ("b.yaml", &credit)];
    let error = find(&files, &target(None, None)).unwrap_err().to_string();
    assert!(error.contains("a.yaml (document 0), b.yaml (document 0)"), "{error}");
    check_found(&files, &target(Some("b.yaml"), None), "b.yaml", FoundBy::Map, URI);
    let template = format!("{{{{- if .Values.on }}}}\n{credit}{{{{- end }}}}\n");
    let error = find(&[files[0], ("t.yaml", &template)], &target(None, None)).unwrap_err();
    assert!(matches!(&error, LocateError::Ambiguous { hits, .. } if hits.len() == 2), "{error:?}");
}

#[test]
fn a_marker_goes_before_the_index() {
    let values = format!("credit:\n  uri: {V2} # {{\"$drift\": \"prod/credit\"}}\n  old: {V1} # not this\n");
    let credit = model(V1);
    let files = [("values.yaml", values.as_str()), ("a.yaml", &credit)];
    check_found(&files, &target(None, None), "values.yaml", FoundBy::Marker, "credit.uri");
    let marked = model(&format!("{V2}  # {{\"$drift\": \"prod/credit\"}}"));
    check_found(&[("m.yaml", &marked), files[1]], &target(None, None), "m.yaml", FoundBy::Marker, URI);
    let patch = format!("- op: replace\n  path: /spec\n  value: '{V2}' #{{\"$drift\":\"prod/credit\"}}\n");
    check_found(&[("p.yaml", &patch)], &target(None, None), "p.yaml", FoundBy::Marker, "[0].value");
    let error = find(&[files[0], ("m.yaml", &marked)], &target(None, None)).unwrap_err();
    assert!(matches!(&error, LocateError::Ambiguous { hits, .. } if hits.len() == 2), "{error:?}");
}

#[test]
fn a_marker_that_marks_nothing_is_said() {
    let text = format!("# {{\"$drift\": \"prod/credit\"}}\nuri: {V2}\n");
    let error = find(&[("v.yaml", &text)], &target(None, None)).unwrap_err().to_string();
    assert!(error.contains("the marker is not behind a value"), "{error}");
    let string = "uri: 'x # {\"$drift\": \"prod/credit\"}'\n";
    assert!(matches!(find(&[("v.yaml", string)], &target(None, None)), Err(LocateError::NotFound { .. })));
}

#[test]
fn the_configured_file_is_the_only_one_looked_at() {
    let values = format!("credit:\n  uri: {V2}\n");
    let credit = model(V2);
    let files = [("values.yaml", values.as_str()), ("a.yaml", &credit)];
    check_found(
        &files,
        &target(Some("values.yaml"), Some("credit.uri")),
        "values.yaml",
        FoundBy::Map,
        "credit.uri",
    );
    let missing = find(&files, &target(Some("c.yaml"), None));
    assert_eq!(missing, Err(LocateError::NoSuchFile("c.yaml".to_owned())));
    assert!(matches!(find(&files, &target(Some("values.yaml"), None)), Err(LocateError::NotInFile { .. })));
    assert!(matches!(find(&[], &target(None, None)), Err(LocateError::NotFound { .. })));
}

#[test]
fn a_refusal_names_the_file() {
    let text = manifest("    model:\n      storageUri: '{{ .Values.credit }}'\n");
    let error = find(&[("t.yaml", &text)], &target(None, None)).unwrap_err().to_string();
    assert!(
        error.starts_with("`t.yaml`: `spec.predictor.model.storageUri` on line 9 is a template"),
        "{error}"
    );
}
