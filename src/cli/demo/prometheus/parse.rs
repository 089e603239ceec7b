//! The part of PromQL that driftd's own alert and the controller's questions are written in. Whatever else is asked is an error:
//! a stand-in that guesses would prove nothing.

mod tokens;

use super::series::Labels;
use tokens::{Token, tokens};

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A number.
    Number(f64),
    /// A text, as argument of a function.
    Text(String),
    /// The last value of each series.
    Selector(Selector),
    /// Values over a time, milliseconds; with a step those of an expression at multiples of it.
    Range { of: Box<Expr>, length: i64, step: Option<i64> },
    /// A function.
    Call { function: String, arguments: Vec<Expr> },
    /// `sum by (…) (…)` and its like.
    Aggregate { how: String, by: Vec<String>, arguments: Vec<Expr> },
    /// Two sides.
    Binary { operator: &'static str, matching: Matching, left: Box<Expr>, right: Box<Expr> },
}

/// Which series.
#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    /// Of this name.
    pub name: String,
    /// With labels like these.
    pub matchers: Vec<Matcher>,
    /// At this time instead of the query's, milliseconds.
    pub at: Option<i64>,
}

/// A condition on one label: it has one of these values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matcher {
    label: String,
    values: Vec<String>,
}

impl Matcher {
    /// Whether it holds; a label that is not there is empty.
    pub fn holds(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.label).map_or("", String::as_str);
        self.values.iter().any(|wanted| wanted == value)
    }
}

/// Which series of two sides belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matching {
    /// Whether by `labels` alone, or by all but them.
    pub is_on: bool,
    /// These.
    pub labels: Vec<String>,
    /// Whether several of the left belong to one of the right, and which of its labels they get.
    pub group_left: Option<Vec<String>>,
}

/// Reads an expression.
///
/// # Errors
/// What is not of the part that is known here.
pub fn parse(text: &str) -> Result<Expr, String> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0 };
    let expr = parser.binary(0)?;
    match parser.next() {
        Token::End => Ok(expr),
        other => Err(format!("{other:?} is not expected behind an expression")),
    }
}

/// From those that bind least.
const OPERATORS: [&[&str]; 5] = [&["or"], &["and"], &[">=", "<=", ">", "<", "=="], &["+", "-"], &["*", "/"]];
const AGGREGATIONS: [&str; 7] = ["sum", "count", "avg", "max", "min", "group", "topk"];

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).unwrap_or(&Token::End)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn takes(&mut self, text: &str) -> bool {
        let found = matches!(self.peek(), Token::Word(word) if word == text)
            || matches!(self.peek(), Token::Sign(sign) if *sign == text);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, text: &str) -> Result<(), String> {
        if self.takes(text) {
            Ok(())
        } else {
            Err(format!("{:?} stands where `{text}` is expected", self.peek()))
        }
    }

    fn binary(&mut self, level: usize) -> Result<Expr, String> {
        let Some(operators) = OPERATORS.get(level) else { return self.with_range() };
        let mut left = self.binary(level + 1)?;
        while let Some(operator) = operators.iter().copied().find(|operator| self.takes(operator)) {
            let matching = self.matching()?;
            let right = self.binary(level + 1)?;
            left = Expr::Binary { operator, matching, left: Box::new(left), right: Box::new(right) };
        }
        Ok(left)
    }

    fn matching(&mut self) -> Result<Matching, String> {
        let is_on = self.takes("on");
        let mut matching = Matching { is_on, ..Matching::default() };
        if is_on || self.takes("ignoring") {
            matching.labels = self.names()?;
        }
        if self.takes("group_left") {
            let has_names = matches!(self.peek(), Token::Sign("("));
            matching.group_left = Some(if has_names { self.names()? } else { Vec::new() });
        }
        Ok(matching)
    }

    fn with_range(&mut self) -> Result<Expr, String> {
        let mut expr = self.single()?;
        if self.takes("@") {
            let (Expr::Selector(selector), Token::Number(seconds)) = (&mut expr, self.next()) else {
                return Err("`@` goes with a selector and a number here".to_owned());
            };
            selector.at = Some(milliseconds(seconds));
        }
        if self.takes("[") {
            let length = self.duration()?;
            let step = if self.takes(":") { Some(self.duration()?) } else { None };
            self.expect("]")?;
            expr = Expr::Range { of: Box::new(expr), length, step };
        }
        Ok(expr)
    }

    fn single(&mut self) -> Result<Expr, String> {
        match self.next() {
            Token::Number(number) => Ok(Expr::Number(number)),
            Token::Text(text) => Ok(Expr::Text(text)),
            Token::Sign("(") => {
                let inner = self.binary(0)?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Word(how) if AGGREGATIONS.contains(&how.as_str()) => {
                let by = if self.takes("by") { self.names()? } else { Vec::new() };
                Ok(Expr::Aggregate { how, by, arguments: self.arguments()? })
            }
            Token::Word(function) if matches!(self.peek(), Token::Sign("(")) => {
                Ok(Expr::Call { function, arguments: self.arguments()? })
            }
            Token::Word(name) => Ok(Expr::Selector(Selector { name, matchers: self.matchers()?, at: None })),
            other => Err(format!("{other:?} begins no expression")),
        }
    }

    fn arguments(&mut self) -> Result<Vec<Expr>, String> {
        self.list("(", ")", |parser| parser.binary(0))
    }

    fn names(&mut self) -> Result<Vec<String>, String> {
        self.list("(", ")", |parser| match parser.next() {
            Token::Word(name) => Ok(name),
            other => Err(format!("{other:?} is no label")),
        })
    }

    fn matchers(&mut self) -> Result<Vec<Matcher>, String> {
        if !matches!(self.peek(), Token::Sign("{")) {
            return Ok(Vec::new());
        }
        self.list("{", "}", |parser| {
            let Token::Word(label) = parser.next() else {
                return Err("a matcher begins with a label".to_owned());
            };
            match (parser.next(), parser.next()) {
                (Token::Sign("="), Token::Text(value)) => Ok(Matcher { label, values: vec![value] }),
                (Token::Sign("=~"), Token::Text(pattern)) => {
                    Ok(Matcher { label, values: alternatives(&pattern)? })
                }
                (sign, _) => Err(format!("{sign:?} is no way to match a label here")),
            }
        })
    }

    fn list<T>(
        &mut self,
        open: &str,
        close: &str,
        one: impl Fn(&mut Self) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        self.expect(open)?;
        let mut all = Vec::new();
        while !self.takes(close) {
            if !all.is_empty() {
                self.expect(",")?;
            }
            all.push(one(self)?);
        }
        Ok(all)
    }

    fn duration(&mut self) -> Result<i64, String> {
        match self.next() {
            Token::Duration(length) => Ok(length),
            other => Err(format!("{other:?} is no duration")),
        }
    }
}

/// Of a pattern that is nothing but texts, with `|` between them.
fn alternatives(pattern: &str) -> Result<Vec<String>, String> {
    let (mut all, mut chars) = (vec![String::new()], pattern.chars());
    while let Some(char) = chars.next() {
        let last = all.last_mut().expect("begins with one, and only grows");
        match char {
            '|' => all.push(String::new()),
            '\\' => last.extend(chars.next()),
            char if ".+*?()[]{}^$".contains(char) => {
                return Err(format!("the pattern `{pattern}` is more than texts with `|` between them"));
            }
            char => last.push(char),
        }
    }
    Ok(all)
}

#[allow(clippy::cast_possible_truncation, reason = "seconds of Unix time")]
fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}
