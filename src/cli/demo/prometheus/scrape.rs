//! Reading a page of metrics, in Prometheus's text format.

use std::net::SocketAddr;

use super::series::{Labels, Reading};

/// Series that no question here is about, and that are most of a page.
const LEFT_OUT: [&str; 3] = ["_bucket", "driftd_bin_", "driftd_baseline_bin_"];

/// What a pod shows, as Prometheus labels it; nothing if it does not answer.
pub async fn scrape(client: &reqwest::Client, pod: SocketAddr) -> Vec<Reading> {
    let page =
        async { client.get(format!("http://{pod}/metrics")).send().await?.error_for_status()?.text().await };
    let Ok(page) = page.await else { return Vec::new() };
    let mut readings: Vec<Reading> = page.lines().filter_map(reading).collect();
    for (_, labels, _) in &mut readings {
        labels.insert("job".to_owned(), "pods".to_owned());
        labels.insert("instance".to_owned(), pod.to_string());
    }
    readings
}

/// One line; a comment is none, and a NaN says nothing.
pub(super) fn reading(line: &str) -> Option<Reading> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    if line.starts_with('#') || LEFT_OUT.iter().any(|part| name.contains(part)) {
        return None;
    }
    let (labels, value) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (Labels::new(), rest),
    };
    let value: f64 = value.trim().parse().ok()?;
    (!value.is_nan()).then(|| (name.to_owned(), labels, value))
}

/// Up to the closing brace, and what is behind it.
fn labels(text: &str) -> Option<(Labels, &str)> {
    let (mut labels, mut rest) = (Labels::new(), text);
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((labels, behind));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (value, behind) = value(quoted)?;
        labels.insert(name.to_owned(), value);
        rest = behind;
    }
}

/// Up to the closing quote.
fn value(text: &str) -> Option<(String, &str)> {
    let (mut value, mut chars) = (String::new(), text.chars());
    loop {
        match chars.next()? {
            '"' => return Some((value, chars.as_str())),
            '\\' => match chars.next()? {
                'n' => value.push('\n'),
                char => value.push(char),
            },
            char => value.push(char),
        }
    }
}
