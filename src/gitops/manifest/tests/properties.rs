//! For all manifests of a shape.

use proptest::prelude::*;
use yaml_serde::Value;

use super::*;

/// A file: other documents around it, comments, a notation, line ends. The comments are without U+2028 and U+2029, which end a
/// line in YAML 1.1 and do not in 1.2, and beside the value without `{{`: such files are refused.
fn file() -> impl Strategy<Value = (String, String)> {
    let uri = "[a-z0-9]{1,6}://[a-zA-Z0-9/._~%@+=?&#:' \"-]{0,30}[a-z0-9]";
    let comment =
        prop_oneof![Just(String::new()), "  # [^\\p{C}\u{2028}\u{2029}{]{0,12}".prop_map(|text| text)];
    (uri, 0..3u8, comment, any::<[bool; 5]>(), "(# [^\\p{C}\u{2028}\u{2029}]{0,20}\n){0,3}").prop_map(
        |(uri, notation, comment, [before, after, crlf, bom, no_end], top)| {
            let written = match notation {
                0 if yaml_serde::from_str::<Value>(&format!("a: {uri} # c"))
                    .is_ok_and(|value| value["a"] == uri.as_str()) =>
                {
                    uri.clone()
                }
                1 => format!("\"{}\"", uri.replace('"', "\\\"")),
                _ => format!("'{}'", uri.replace('\'', "''")),
            };
            let other = "a: {b: [1, 2]}\nc: |\n  text\n";
            let mut text = format!(
                "{}{top}{}{}",
                if before { format!("{other}---\n") } else { String::new() },
                model(&format!("{written}{comment}")),
                if after { format!("---\n{other}") } else { String::new() }
            );
            if no_end {
                text.truncate(text.trim_end().len());
            }
            if crlf {
                text = text.replace('\n', "\r\n");
            }
            (if bom { format!("\u{feff}{text}") } else { text }, uri)
        },
    )
}

proptest! {
    /// The value read is the one that was written; another one put there and taken back leaves every byte as it was; all
    /// that comes before and behind the scalar is the same in both.
    #[test]
    fn a_splice_is_undone_by_its_inverse((text, uri) in file(), to in "[a-z]{2,5}://[!-~]{1,20}( [!-~]{1,5})?") {
        let service = read(text.as_bytes(), &Selector::Service(credit()));
        prop_assume!(!uri.contains("{{") && !uri.contains("${") && !to.contains("{{") && !to.contains("${") && !to.contains("$("));
        let service = service.unwrap().unwrap();
        let found = service.uri.unwrap();
        prop_assert_eq!(&found.value, &uri);
        let new = splice(text.as_bytes(), service.document, &[edit(&found.path, &uri, &to)]).unwrap();
        let again = read(&new, &Selector::Service(credit())).unwrap().unwrap().uri.unwrap();
        prop_assert_eq!((&again.value, again.line), (&to, found.line));
        prop_assert_eq!(other_changes(text.as_bytes(), &new, service.document, &[URI]), Vec::<String>::new());
        let back = splice(&new, service.document, &[edit(&found.path, &to, &uri)]).unwrap();
        let quotes = |text: &[u8]| text.iter().filter(|byte| matches!(byte, b'\'' | b'"')).count();
        if quotes(&back) == quotes(text.as_bytes()) {
            prop_assert_eq!(String::from_utf8(back).unwrap(), text);
        }
    }

    /// No text makes any of it panic, and what is changed at all is changed as proven.
    #[test]
    fn no_text_panics(text in "[a-z:\\-&*|>{}\\[\\]'\"#!% \n\t\r\u{feff}é]{0,80}", path in "[a-z]{1,2}(\\.[a-z]|\\[[01]\\]){0,2}") {
        let _ = read(text.as_bytes(), &Selector::Service(credit()));
        let selector = Selector::Field { document: None, path: path.clone() };
        if let Ok(Some(service)) = read(text.as_bytes(), &selector) {
            let uri = service.uri.unwrap();
            let _ = splice(text.as_bytes(), service.document, &[edit(&path, &uri.value, "s3://x")]);
        }
        let _ = remove_entry(text.as_bytes(), 0, &path);
    }
}
