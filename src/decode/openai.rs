//! OpenAI-style chat, completions and embeddings: what is said is not counted, how much and how it ended is.
//!
//! A row is an exchange, or an input of embeddings. Its columns have names of ours ([`FEATURES`], [`PREDICTIONS`]); a baseline watches
//! those that it has. Streams (server-sent events) come to the same row as the answer in one piece would.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::columns::Columns;
use super::json::{Kind, MAX_DEPTH, Scanner};
use super::{Body, DecodeError, ViolationReason, stream};
use crate::drift::vector::element;

/// What a request can say: characters of all its text, messages, and its parameters where it has them.
const FEATURES: [&str; 4] = ["prompt_characters", "n_messages", "max_tokens", "temperature"];

/// What a response can say: characters of all choices, why the last of them ended, tokens as the server counts them, and the
/// Euclidean norm of an embedding.
const PREDICTIONS: [&str; 5] =
    ["completion_characters", "finish_reason", "prompt_tokens", "completion_tokens", "embedding_norm"];

/// The name of the vector that an embedding is, where the baseline has one.
const EMBEDDING: &str = "embedding";

/// Reads a request.
pub(super) fn request(body: &Body<'_>, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    let mut scanner = Scanner::new(body.bytes);
    let mut row = Row::default();
    // One for each input of embeddings; `NaN` for one that is given in tokens.
    let mut inputs: Option<Vec<f64>> = None;
    let mut is_known = false;
    scanner.object(|scanner, key| {
        match (&*key, scanner.kind()?) {
            ("messages", Kind::Array) => {
                is_known = true;
                row.set("prompt_characters", 0.0);
                row.set("n_messages", 0.0);
                return scanner.array(|scanner| {
                    row.add("n_messages", 1.0);
                    row.add("prompt_characters", characters(scanner, &["content"], 0)?);
                    Ok(())
                });
            }
            ("prompt", _) => {
                is_known = true;
                row.set("prompt_characters", characters(scanner, &[], 0)?);
            }
            ("input", _) => inputs = Some(each_input(scanner)?),
            ("max_tokens" | "max_completion_tokens", Kind::Number) => {
                row.set("max_tokens", scanner.number()?);
            }
            ("temperature", Kind::Number) => row.set("temperature", scanner.number()?),
            _ => return scanner.skip().map(drop),
        }
        Ok(())
    })?;
    match inputs {
        Some(inputs) => inputs.into_iter().try_for_each(|n_characters| {
            row.set("prompt_characters", n_characters);
            row.write(&FEATURES, columns, &scanner)
        }),
        None if is_known => row.write(&FEATURES, columns, &scanner),
        None => Err(scanner.error("no_rows")),
    }
}

/// Reads a response.
pub(super) fn response(body: &Body<'_>, columns: &mut Columns<'_>) -> Result<(), DecodeError> {
    let mut row = Row::default();
    let vector = columns.find(EMBEDDING).and_then(|column| columns.vector_at(column));
    let mut embeddings = Embeddings { are_kept: vector.is_some(), ..Embeddings::default() };
    let scanner = Scanner::new(body.bytes);
    if stream::is_stream(body) {
        stream::events(body)
            .try_for_each(|data| answer(&mut scanner.within(&data), &mut row, &mut embeddings))?;
    } else {
        let mut whole = scanner;
        answer(&mut whole, &mut row, &mut embeddings)?;
    }
    if embeddings.norms.is_empty() {
        return if row.is_begun {
            row.write(&PREDICTIONS, columns, &scanner)
        } else {
            Err(scanner.error("no_rows"))
        };
    }
    let mut start = 0;
    for (norm, end) in embeddings.norms {
        row.set("embedding_norm", norm);
        if let Some(place) = vector {
            columns.vector(place, &embeddings.numbers[start..end]);
        }
        start = end;
        row.write(&PREDICTIONS, columns, &scanner)?;
    }
    Ok(())
}

/// The model that a request names.
pub(super) fn model(body: &Body<'_>) -> Option<Box<str>> {
    let mut model = None;
    // What stands before the name may be cut off or not, it is the name that is looked for.
    let _ = Scanner::new(body.bytes).object(|scanner, key| {
        if key == "model" && scanner.kind()? == Kind::Text {
            model = Some(scanner.text()?.into());
            return Ok(());
        }
        scanner.skip().map(drop)
    });
    model
}

/// The embeddings of one answer.
#[derive(Default)]
struct Embeddings {
    /// Of each, and where its numbers end.
    norms: Vec<(f64, usize)>,
    /// All numbers, where they are wanted.
    numbers: Vec<f32>,
    are_kept: bool,
}

/// What is known of one row.
#[derive(Default)]
struct Row<'a> {
    numbers: Vec<(&'static str, f64)>,
    finish_reason: Option<std::borrow::Cow<'a, str>>,
    is_begun: bool,
}

impl Row<'_> {
    fn set(&mut self, name: &'static str, value: f64) {
        self.is_begun = true;
        match self.numbers.iter_mut().find(|(known, _)| *known == name) {
            Some((_, number)) => *number = value,
            None => self.numbers.push((name, value)),
        }
    }

    fn add(&mut self, name: &'static str, more: f64) {
        let before = self.get(name).unwrap_or(0.0);
        self.set(name, before + more);
    }

    fn get(&self, name: &str) -> Option<f64> {
        self.numbers.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
    }

    /// Whatever of it the model watches; what the exchange does not say is missing.
    fn write(
        &self,
        names: &[&str],
        columns: &mut Columns<'_>,
        scanner: &Scanner<'_>,
    ) -> Result<(), DecodeError> {
        for name in names {
            let Some(column) = columns.find(name) else {
                if self.get(name).is_some() || (self.finish_reason.is_some() && *name == "finish_reason") {
                    columns.found_name(name);
                }
                continue;
            };
            match (&self.finish_reason, *name) {
                (Some(reason), "finish_reason") => columns.text(column, reason),
                _ => columns.numbers(column, std::iter::once(self.get(name).unwrap_or(f64::NAN))),
            }
        }
        columns.end_rows(1, ViolationReason::MissingFeature, scanner)
    }
}

/// One answer, or one part of a streamed one.
fn answer<'a>(
    scanner: &mut Scanner<'a>,
    row: &mut Row<'a>,
    embeddings: &mut Embeddings,
) -> Result<(), DecodeError> {
    if scanner.kind()? != Kind::Object {
        return Err(scanner.error("no_rows"));
    }
    scanner.object(|scanner, key| match (&*key, scanner.kind()?) {
        ("choices", Kind::Array) => {
            row.add("completion_characters", 0.0);
            scanner.array(|scanner| choice(scanner, row))
        }
        ("usage", Kind::Object) => scanner.object(|scanner, key| match (&*key, scanner.kind()?) {
            ("prompt_tokens", Kind::Number) => {
                row.set("prompt_tokens", scanner.number()?);
                Ok(())
            }
            ("completion_tokens", Kind::Number) => {
                row.set("completion_tokens", scanner.number()?);
                Ok(())
            }
            _ => scanner.skip().map(drop),
        }),
        ("data", Kind::Array) => scanner.array(|scanner| {
            if scanner.kind()? != Kind::Object {
                return scanner.skip().map(drop);
            }
            scanner.object(|scanner, key| {
                if key == "embedding" {
                    return embeddings.read(scanner);
                }
                scanner.skip().map(drop)
            })
        }),
        _ => scanner.skip().map(drop),
    })
}

fn choice<'a>(scanner: &mut Scanner<'a>, row: &mut Row<'a>) -> Result<(), DecodeError> {
    if scanner.kind()? != Kind::Object {
        return scanner.skip().map(drop);
    }
    scanner.object(|scanner, key| match (&*key, scanner.kind()?) {
        ("message" | "delta", Kind::Object) => {
            row.add("completion_characters", characters(scanner, &["content"], 0)?);
            Ok(())
        }
        ("text", Kind::Text) => {
            row.add("completion_characters", scanner.text()?.chars().count() as f64);
            Ok(())
        }
        ("finish_reason", Kind::Text) => {
            row.finish_reason = Some(scanner.text()?);
            Ok(())
        }
        _ => scanner.skip().map(drop),
    })
}

/// Characters of a text, or of all texts in a list; of an object, those of its `keys`, or of its `text`.
fn characters(scanner: &mut Scanner<'_>, keys: &[&str], depth: u32) -> Result<f64, DecodeError> {
    if depth > MAX_DEPTH {
        return Err(scanner.error("too_deep"));
    }
    let mut n_characters = 0.0;
    match scanner.kind()? {
        Kind::Text => n_characters = scanner.text()?.chars().count() as f64,
        Kind::Array => scanner.array(|scanner| {
            n_characters += characters(scanner, &[], depth + 1)?;
            Ok(())
        })?,
        Kind::Object => scanner.object(|scanner, key| {
            if key == "text" || keys.contains(&&*key) {
                n_characters += characters(scanner, &[], depth + 1)?;
                return Ok(());
            }
            scanner.skip().map(drop)
        })?,
        Kind::Number | Kind::Bool | Kind::Null => scanner.skip().map(drop)?,
    }
    Ok(n_characters)
}

/// Characters of each input of embeddings: a text, a list of them, tokens, or lists of tokens.
fn each_input(scanner: &mut Scanner<'_>) -> Result<Vec<f64>, DecodeError> {
    if scanner.kind()? != Kind::Array {
        return Ok(vec![characters(scanner, &[], 0)?]);
    }
    let (mut inputs, mut has_tokens) = (Vec::new(), false);
    scanner.array(|scanner| {
        match scanner.kind()? {
            Kind::Text => inputs.push(characters(scanner, &[], 0)?),
            Kind::Array => {
                scanner.skip()?;
                inputs.push(f64::NAN);
            }
            _ => {
                has_tokens = true;
                scanner.skip()?;
            }
        }
        Ok(())
    })?;
    Ok(if has_tokens { vec![f64::NAN] } else { inputs })
}

impl Embeddings {
    /// A vector of numbers, or of 32-bit floats in base64, which their own client asks for.
    fn read(&mut self, scanner: &mut Scanner<'_>) -> Result<(), DecodeError> {
        let mut squares = 0.0;
        let mut add = |number: f64| {
            squares += number.powi(2);
            if self.are_kept {
                self.numbers.push(element(number));
            }
        };
        match scanner.kind()? {
            Kind::Array => scanner.array(|scanner| scanner.number().map(&mut add))?,
            Kind::Text => {
                let offset = scanner.offset();
                let bytes = BASE64_STANDARD.decode(&*scanner.text()?);
                let bytes = bytes.map_err(|_| DecodeError::at("binary_size", offset))?;
                let (cells, rest) = bytes.as_chunks::<4>();
                if !rest.is_empty() {
                    return Err(DecodeError::at("binary_size", offset));
                }
                for cell in cells {
                    add(f32::from_le_bytes(*cell).into());
                }
            }
            _ => return Err(scanner.error("no_data")),
        }
        self.norms.push((squares.sqrt(), self.numbers.len()));
        Ok(())
    }
}
