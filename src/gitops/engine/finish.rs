//! What has begun for a caller is done to its end, also where the caller has hung up: half of it would be in the journal, and nobody act
//! on it.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::Refused;

/// Calls at the same time. One that waits for a full disk is held here after its caller has gone.
const MAX_CALLS: usize = 64;

/// Runs calls in tasks of their own, so many at a time.
#[derive(Clone)]
pub struct ToTheEnd(Arc<Semaphore>);

impl Default for ToTheEnd {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_CALLS)))
    }
}

impl ToTheEnd {
    /// What `call` answers; whoever drops this drops the answer alone.
    pub async fn run<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T, Refused>> + Send + 'static,
    ) -> Result<T, Refused> {
        let Ok(room) = Arc::clone(&self.0).try_acquire_owned() else {
            return Err(Refused::Unavailable("too much waits for the journal; come again".to_owned()));
        };
        let task = tokio::spawn(async move {
            let _room = room;
            call.await
        });
        task.await.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Refused::Unavailable("the controller ends; come again".to_owned())),
        })
    }
}
