//! From text to tokens.

/// One word of a query.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    Number(f64),
    /// Milliseconds.
    Duration(i64),
    Text(String),
    /// A name, or an operator that is written as one.
    Word(String),
    Sign(&'static str),
    End,
}

/// Longer ones first: `>=` is not `>`.
const SIGNS: [&str; 20] =
    ["=~", ">=", "<=", "==", "(", ")", "{", "}", "[", "]", ",", ":", "@", "=", ">", "<", "+", "-", "*", "/"];

/// All of a query.
pub fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let (mut tokens, mut rest) = (Vec::new(), text.trim_start());
    while let Some(first) = rest.chars().next() {
        let (token, behind) = if first == '"' {
            quoted(&rest[1..])?
        } else if first.is_ascii_digit() {
            number(rest)?
        } else if first.is_ascii_alphabetic() || first == '_' {
            let (word, behind) = split(rest, |char| char.is_ascii_alphanumeric() || "_:".contains(char));
            (Token::Word(word.to_owned()), behind)
        } else {
            let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
            let sign = sign.ok_or_else(|| format!("`{first}` is not known here"))?;
            (Token::Sign(sign), &rest[sign.len()..])
        };
        tokens.push(token);
        rest = behind.trim_start();
    }
    Ok(tokens)
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|char| !belongs(char)).unwrap_or(text.len()))
}

/// A number, or a duration where a unit follows at once.
fn number(text: &str) -> Result<(Token, &str), String> {
    let (digits, behind) = split(text, |char| char.is_ascii_digit() || char == '.');
    let number: f64 = digits.parse().map_err(|_| format!("`{digits}` is no number"))?;
    let (unit, rest) = split(behind, |char| char.is_ascii_alphabetic());
    let unit_ms: i64 = match unit {
        "" => return Ok((Token::Number(number), rest)),
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("`{unit}` is no unit of time")),
    };
    let whole: i64 = digits.parse().map_err(|_| format!("`{digits}{unit}` is no duration"))?;
    Ok((Token::Duration(whole * unit_ms), rest))
}

/// What stands between quotes, as Go reads it.
fn quoted(text: &str) -> Result<(Token, &str), String> {
    let (mut value, mut chars) = (String::new(), text.chars());
    loop {
        match chars.next() {
            Some('"') => return Ok((Token::Text(value), chars.as_str())),
            Some('\\') => match chars.next() {
                Some('n') => value.push('\n'),
                Some(char @ ('"' | '\\')) => value.push(char),
                other => return Err(format!("`\\{}` in a text is not known here", other.unwrap_or(' '))),
            },
            Some(char) => value.push(char),
            None => return Err("a text without its end".to_owned()),
        }
    }
}
