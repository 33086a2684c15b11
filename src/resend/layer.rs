//! The layers.

use std::sync::Arc;

use tower::Layer;

use super::policy::Policy;
use super::replay_streams::ReplayStreams;
use super::service::Resend;
use crate::body::ReplayCaps;

/// Resends failed requests where that is safe, and says why not where it is not.
///
/// See the [module documentation](super) for what it does, and
/// [`Resend`] for what the service needs;
/// [`for_body`](Resend::for_body) makes the compiler say what is missing.
///
/// # Among other layers
///
/// | layer | below this one | above this one |
/// |---|---|---|
/// | concurrency limit | counts attempts; no permit is held between them | counts calls |
/// | load shedding | an attempt that is shed leaves no evidence: *unknown* | sheds whole calls |
/// | timeout that fails | the attempt is dropped: *unknown* once a byte of it was written | ends the call; its caller does not learn the fate |
/// | timeout that makes a response | that response passes for the answer; [`attempts`](crate::attempts) shows it | the same, and nothing shows it |
/// | redirects | each hop counts: keep the token ([below](#redirects-and-refreshes)) | each hop is a call |
/// | buffer, tracing, decompression | works as without this layer | works as without this layer |
///
/// Instead of a timeout, use the limits in the [`Policy`]: they keep the fate.
///
/// # Redirects and refreshes
///
/// Every hop of a call is recorded where the layer between keeps the
/// [`AttemptToken`](crate::AttemptToken), and the call's fate is that of the
/// weakest. tower-http drops all extensions when a redirect leaves the origin:
/// allow this one by `FilterCredentials::allow_extension::<AttemptToken>()`.
///
/// A request of a layer's own, such as for a new access token, should not carry the token of
/// the call. Once it is answered, the call counts as answered, and a proof about the
/// caller's request no longer helps.
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
        ReplayStreamsLayer { resend: self, caps: ReplayCaps::default() }
    }
}

impl<S> Layer<S> for ResendLayer {
    type Service = Resend<S>;

    fn layer(&self, inner: S) -> Resend<S> {
        Resend::new(inner, Arc::clone(&self.policy))
    }
}

/// A [`ResendLayer`] that records streams while they are sent; made by
/// [`ResendLayer::replay_streams`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ReplayStreamsLayer {
    resend: ResendLayer,
    caps: ReplayCaps,
}

impl ReplayStreamsLayer {
    /// Sets how many bytes are recorded. The default is 64 KiB a body and 16 MiB in all.
    pub fn caps(mut self, caps: ReplayCaps) -> Self {
        self.caps = caps;
        self
    }
}

impl<S> Layer<S> for ReplayStreamsLayer {
    type Service = ReplayStreams<S>;

    fn layer(&self, inner: S) -> ReplayStreams<S> {
        ReplayStreams::new(self.resend.layer(inner), self.caps.clone())
    }
}
