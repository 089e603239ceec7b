//! Reading the bodies of reviews within a bound of memory, however many come and however slowly.

use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Up to here a body is read at once; a review of a pod takes some 10 KiB.
const SMALL: usize = 64 << 10;
/// Longer ones at the same time; others wait with their first 64 KiB.
const N_LARGE: usize = 8;
/// The API server waits for no more than 30 seconds.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Of a body that is too long, what is read and thrown away, so that its sender hears the answer.
const MAX_THROWN_AWAY: usize = 64 << 20;

/// How many bodies may be in memory: `max_in_flight` of 64 KiB, and eight of `max_body_bytes`.
#[derive(Debug)]
pub(super) struct Bodies {
    all: Semaphore,
    large: Semaphore,
    max_bytes: usize,
}

/// A body.
#[derive(Debug)]
pub(super) enum ReadBody {
    /// All of it.
    Whole(Vec<u8>),
    /// The beginning of one that is longer than we read.
    TooLarge(Vec<u8>),
    /// Its sender has gone.
    BrokeOff,
    /// Its sender takes too long.
    TooSlow,
}

impl Bodies {
    pub(super) fn new(max_in_flight: usize, max_bytes: usize) -> Self {
        Self { all: Semaphore::new(max_in_flight), large: Semaphore::new(N_LARGE), max_bytes }
    }

    /// Reads a body, once there is room.
    pub(super) async fn read(&self, body: Body) -> ReadBody {
        let Ok(_room) = self.all.acquire().await else { return ReadBody::BrokeOff };
        timeout(READ_TIMEOUT, self.read_in_time(body)).await.unwrap_or(ReadBody::TooSlow)
    }

    async fn read_in_time(&self, mut body: Body) -> ReadBody {
        let mut bytes = Vec::new();
        let (mut is_large, mut n_thrown_away) = (None, 0);
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return ReadBody::BrokeOff };
            let Some(chunk) = frame.data_ref() else { continue };
            if n_thrown_away > 0 || bytes.len() + chunk.len() > self.max_bytes {
                n_thrown_away += chunk.len();
                bytes.truncate(SMALL);
                is_large = None;
                if n_thrown_away > MAX_THROWN_AWAY {
                    break;
                }
                continue;
            }
            if is_large.is_none() && bytes.len() + chunk.len() > SMALL {
                is_large = self.large.acquire().await.ok();
            }
            bytes.extend_from_slice(chunk);
        }
        if n_thrown_away > 0 { ReadBody::TooLarge(bytes) } else { ReadBody::Whole(bytes) }
    }
}
