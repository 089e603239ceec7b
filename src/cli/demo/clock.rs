//! When the story began; prints its lines.

use std::time::Instant;

/// When the story began.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// It begins now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// A line of the story: what kind of thing happened, and what.
    pub fn say(self, what: &str, text: &str) {
        super::super::print(&format!("{:>5.1} s  {what:<10} {text}", self.0.elapsed().as_secs_f64()));
    }
}

/// Lines that belong to the one before.
pub fn quote(text: &str) {
    for line in text.lines() {
        super::super::print(format!("{:9}{line}", "").trim_end());
    }
}
