//! `spec.canary[0].predictor.name`: keys and indices from the root of a document.

use std::fmt;
use std::fmt::Write as _;

use super::ManifestError;

/// One step down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Into a mapping.
    Key(String),
    /// Into a sequence.
    Index(usize),
}

/// All the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Path(pub(super) Vec<Step>);

impl Path {
    /// Reads `a.b[0]["c.d"]`: what is not letters, digits, `_`, `-` and `/` is quoted as in JSON.
    pub(super) fn parse(text: &str) -> Result<Self, ManifestError> {
        let wrong = || ManifestError::Path(text.chars().take(200).collect());
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let step = if let Some(inner) = rest.strip_prefix('[') {
                let (step, behind) = bracket(inner).ok_or_else(wrong)?;
                rest = behind;
                step
            } else {
                let inner = match (steps.is_empty(), rest.strip_prefix('.')) {
                    (true, None) => rest,
                    (false, Some(inner)) => inner,
                    _ => return Err(wrong()),
                };
                let end = inner.find(|c| !is_plain(c)).unwrap_or(inner.len());
                let (key, behind) = inner.split_at(end);
                rest = behind;
                Step::Key(key.to_owned())
            };
            if step == Step::Key(String::new()) {
                return Err(wrong());
            }
            steps.push(step);
        }
        if steps.is_empty() { Err(wrong()) } else { Ok(Self(steps)) }
    }

    /// One key further.
    pub(super) fn key(&self, key: &str) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Key(key.to_owned()));
        Self(steps)
    }

    /// One index further.
    pub(super) fn index(&self, index: usize) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Index(index));
        Self(steps)
    }
}

/// What stands in brackets, and what stands behind them.
fn bracket(inner: &str) -> Option<(Step, &str)> {
    if inner.starts_with('"') {
        let mut values = serde_json::Deserializer::from_str(inner).into_iter::<String>();
        let key = values.next()?.ok()?;
        let behind = inner.get(values.byte_offset()..)?.strip_prefix(']')?;
        return Some((Step::Key(key), behind));
    }
    let (number, behind) = inner.split_once(']')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| number.parse().ok().map(|index| (Step::Index(index), behind)))?
}

fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '/' | '$')
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) if !key.is_empty() && key.chars().all(is_plain) => {
                    if at > 0 {
                        f.write_char('.')?;
                    }
                    f.write_str(key)?;
                }
                Step::Key(key) => write!(f, "[{}]", serde_json::Value::from(key.as_str()))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_is_keys_and_indices() {
        let path = Path::parse(r#"spec.canary[0].predictor["a.b"].serving/x"#).unwrap();
        assert_eq!(path.0.len(), 6);
        assert_eq!(path.0[1], Step::Key("canary".to_owned()));
        assert_eq!(path.0[2], Step::Index(0));
        assert_eq!(path.0[4], Step::Key("a.b".to_owned()));
        for wrong in
            ["", ".a", "a.", "a..b", "a[", "a[x]", "a[-1]", "a[]", "a b", "a[\"x]", "[\"\"]", "a[0]b"]
        {
            assert!(Path::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn a_path_is_read_as_it_is_written(keys in proptest::collection::vec(("\\PC{1,8}", 0..3usize), 1..5)) {
            let step = |(key, index): (String, usize)| if index == 2 { Step::Index(7) } else { Step::Key(key) };
            let path = Path(keys.into_iter().map(step).collect());
            prop_assert_eq!(&Path::parse(&path.to_string()).unwrap(), &path);
        }
    }
}
