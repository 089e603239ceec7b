//! The first pass over a column: what its cells are, and what a baseline needs to know of them.

use std::collections::HashMap;

use arrow_array::Array;

use super::quantiles::{Quantiles, Sums};
use super::vectors::VectorSums;
use crate::table::{Cell, Cells, Untyped, list_of_numbers, meaning};

/// Distinct texts that are counted one by one.
pub(super) const MAX_DISTINCT_TEXTS: usize = 100_000;

/// A list in a CSV file that is longer than that is no category.
const MAX_LISTED_TEXT: usize = 256;

/// Lengths of texts that are told apart, in characters.
const MAX_LENGTH: usize = 4096;

/// What the cells of a column are.
#[derive(Debug, Default)]
pub(super) struct Profile {
    /// Cells with a value.
    pub(super) n_numbers: u64,
    pub(super) n_booleans: u64,
    pub(super) n_texts: u64,
    /// Cells of a CSV file that could be either: the words `true` and `false`.
    pub(super) n_boolean_words: u64,
    /// Numbers that are not finite, which lie in the outer bins.
    pub(super) n_infinite: u64,
    /// Whether every number is whole.
    pub(super) has_fractions: bool,
    pub(super) sums: Sums,
    pub(super) quantiles: Quantiles,
    /// Counts by text; `None` once there were too many.
    pub(super) texts: Texts,
    /// Counts by length; the last is for all that are longer.
    pub(super) lengths: Vec<u64>,
    /// Lists of numbers.
    pub(super) vectors: VectorSums,
    /// Texts of a CSV file among them, which are counted as texts too.
    pub(super) n_list_texts: u64,
    scratch: Vec<f64>,
}

/// Counts by text.
#[derive(Debug)]
pub(super) struct Texts(pub(super) Option<HashMap<Box<str>, u64>>);

impl Default for Texts {
    fn default() -> Self {
        Self(Some(HashMap::new()))
    }
}

impl Texts {
    fn add(&mut self, text: &str, n: u64) {
        let Some(counts) = &mut self.0 else { return };
        if let Some(count) = counts.get_mut(text) {
            *count += n;
        } else if counts.len() < MAX_DISTINCT_TEXTS {
            counts.insert(text.into(), n);
        } else {
            self.0 = None;
        }
    }

    fn merge(&mut self, other: Self) {
        match other.0 {
            Some(theirs) => theirs.iter().for_each(|(text, n)| self.add(text, *n)),
            None => self.0 = None,
        }
    }
}

impl Profile {
    /// Adds the cells of one table.
    pub(super) fn add(&mut self, cells: &Cells) {
        match cells {
            Cells::Numbers(numbers) => self.add_numbers(numbers),
            Cells::Booleans(booleans) => self.n_booleans += (booleans.len() - booleans.null_count()) as u64,
            Cells::Texts(texts) => texts.iter().flatten().for_each(|text| self.add_text(text)),
            Cells::Untyped(texts) => {
                let mut numbers = std::mem::take(&mut self.scratch);
                numbers.clear();
                for text in texts.iter().flatten() {
                    match meaning(text) {
                        Untyped::Missing => continue,
                        Untyped::Number(number) => numbers.push(number),
                        Untyped::Boolean(_) => self.n_boolean_words += 1,
                        Untyped::Text => {
                            self.n_texts += 1;
                            if let Some(list) = list_of_numbers(text) {
                                self.n_list_texts += 1;
                                self.vectors.add(&list);
                                if text.len() > MAX_LISTED_TEXT {
                                    self.texts.0 = None; // thousands of long lists would be held for nothing
                                }
                            }
                        }
                    }
                    self.texts.add(text, 1);
                    self.add_length(text);
                }
                self.add_numbers(&numbers);
                self.scratch = numbers;
            }
            Cells::Vectors(vectors) => {
                (0..vectors.len()).filter_map(|at| vectors.get(at)).for_each(|list| self.vectors.add(list));
            }
            Cells::Mixed(cells) => {
                let mut numbers = std::mem::take(&mut self.scratch);
                numbers.clear();
                for cell in cells {
                    match cell {
                        Cell::Missing | Cell::Nested => (),
                        Cell::Number(number) => numbers.push(*number),
                        Cell::Boolean(_) => self.n_booleans += 1,
                        Cell::Text(text) => self.add_text(text),
                        Cell::Vector(list) => self.vectors.add(list),
                    }
                }
                self.add_numbers(&numbers);
                self.scratch = numbers;
            }
        }
    }

    /// Adds what was seen in a later part of the table.
    pub(super) fn merge(&mut self, later: Self) {
        self.n_numbers += later.n_numbers;
        self.n_booleans += later.n_booleans;
        self.n_texts += later.n_texts;
        self.n_boolean_words += later.n_boolean_words;
        self.n_infinite += later.n_infinite;
        self.has_fractions |= later.has_fractions;
        self.sums.merge(later.sums);
        self.quantiles.merge(later.quantiles);
        self.texts.merge(later.texts);
        self.vectors.merge(&later.vectors);
        self.n_list_texts += later.n_list_texts;
        self.lengths.resize(self.lengths.len().max(later.lengths.len()), 0);
        self.lengths.iter_mut().zip(&later.lengths).for_each(|(n, more)| *n += more);
    }

    /// Cells with a value.
    pub(super) fn n_values(&self) -> u64 {
        let n_lists = self.vectors.n_lists - self.n_list_texts;
        self.n_numbers + self.n_booleans + self.n_texts + self.n_boolean_words + n_lists
    }

    pub(super) fn add_numbers(&mut self, numbers: &[f64]) {
        let n_missing = numbers.iter().filter(|number| number.is_nan()).count();
        let n_finite = numbers.iter().filter(|number| number.is_finite()).count();
        self.n_numbers += (numbers.len() - n_missing) as u64;
        self.n_infinite += (numbers.len() - n_missing - n_finite) as u64;
        if n_finite == numbers.len() {
            self.add_finite(numbers);
        } else {
            let finite: Vec<_> = numbers.iter().copied().filter(|number| number.is_finite()).collect();
            self.add_finite(&finite);
        }
    }

    fn add_finite(&mut self, numbers: &[f64]) {
        self.has_fractions = self.has_fractions || numbers.iter().any(|number| number.fract() != 0.0);
        self.sums.merge(Sums::of(numbers));
        self.quantiles.add(numbers);
    }

    fn add_text(&mut self, text: &str) {
        self.n_texts += 1;
        self.texts.add(text, 1);
        self.add_length(text);
    }

    fn add_length(&mut self, text: &str) {
        let length = text.chars().count().min(MAX_LENGTH);
        if self.lengths.len() <= length {
            self.lengths.resize(length + 1, 0);
        }
        self.lengths[length] += 1;
    }
}
