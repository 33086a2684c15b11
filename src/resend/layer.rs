//! The layer.

use std::sync::Arc;

use tower::Layer;

use super::service::Resend;
use super::streams::ReplayStreamsLayer;
use crate::body::ReplayCaps;
use crate::classify::Policy;

/// Resends failed requests where that is safe, and says why not where it is
/// not.
///
/// See the [module documentation](super) for what it does, and
/// [`Resend`] for what the service needs.
#[derive(Clone, Debug, Default)]
#[doc(alias = "retry")]
#[must_use]
pub struct ResendLayer {
    policy: Arc<Policy>,
}

impl ResendLayer {
    /// Returns a layer with this policy.
    pub fn new(policy: Policy) -> Self {
        Self { policy: Arc::new(policy) }
    }

    /// Records streams while they are sent, so that they can be sent again.
    ///
    /// The inner service then gets requests with a
    /// [`Replay`](crate::body::Replay) body. Streams longer than the
    /// [caps](ReplayCaps) (64 KiB by default) are sent all the same but cannot
    /// be sent again.
    pub fn replay_streams(self) -> ReplayStreamsLayer {
        ReplayStreamsLayer::new(self, ReplayCaps::default())
    }
}

impl<S> Layer<S> for ResendLayer {
    type Service = Resend<S>;

    fn layer(&self, inner: S) -> Resend<S> {
        Resend::new(inner, Arc::clone(&self.policy))
    }
}
