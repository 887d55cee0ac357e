//! hyper's executor for a core: tasks stay on the thread.

use std::future::Future;

/// Spawns on the current core's `LocalRuntime`.
#[derive(Clone, Copy, Debug)]
pub struct Local;

impl<F> hyper::rt::Executor<F> for Local
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
