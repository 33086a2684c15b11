//! Bodies that can be sent again from the start.

use std::{error, fmt};

/// A body that can yield the same bytes a second time.
///
/// Every body that is [`Clone`] is one: `Full<Bytes>`, `Empty<Bytes>`, and
/// so on. [`Body`](super::Body) and [`Replay`](super::Replay) are not `Clone` and
/// implement it by hand, because they may have no copy, and because a copy takes over
/// from the bodies before it.
///
/// # The order of use
///
/// Before each attempt take the spare first, then send the body it was taken
/// from; for a resend the spare is the next one to send:
///
/// ```
/// use http_body_util::Full;
/// use tower_resend::body::{NotReplayable, Replayable};
///
/// # fn send<B>(_: B) {}
/// # fn main() -> Result<(), NotReplayable> {
/// let body: Full<&[u8]> = Full::new(b"pay");
/// let spare = body.replay()?; // revokes nothing: nothing came before `body`
/// send(body);
/// // ... the attempt failed and may be resent:
/// let next_spare = spare.replay()?; // `body` is revoked
/// send(spare);
/// # drop(next_spare);
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "a request body of type `{Self}` cannot be sent a second time",
    label = "there is no second body with the same bytes",
    note = "bodies that are `Clone` and `tower_resend::Body` can be resent as they are",
    note = "for a stream, call `.replay_streams()` on the layer to record it while it is sent, or \
            build it anew for each attempt with `Body::from_factory`"
)]
pub trait Replayable: Sized {
    /// Returns a second body with the same bytes, from the start.
    ///
    /// Take it before this body is polled. A body that is `Clone` cannot tell that it was
    /// polled, and its copy yields what is left. So does a copy that shares its state
    /// with the body that was sent, such as one around an `Arc<Mutex<_>>`. Such a copy is
    /// sent short if its size hint says so or it is sent in chunks. Under a
    /// `Content-Length` field it fails.
    ///
    /// It also [revokes](Self::revoke) the bodies before this one.
    ///
    /// # Errors
    ///
    /// Why there is none. Nothing is revoked then.
    fn replay(&self) -> Result<Self, NotReplayable>;

    /// Checks whether [`replay`](Self::replay) would succeed now.
    ///
    /// # Errors
    ///
    /// Why it would not.
    fn check_replay(&self) -> Result<(), NotReplayable> {
        Ok(())
    }

    /// Revokes the bodies before this one: polled again they give an error.
    ///
    /// It does nothing for bodies that are `Clone`. Abort the connection that may still
    /// send one.
    fn revoke(&self) {}
}

// Without this the compiler would only say that a stream is not `Clone`.
#[diagnostic::do_not_recommend]
impl<B> Replayable for B
where
    B: http_body::Body + Clone,
{
    fn replay(&self) -> Result<Self, NotReplayable> {
        Ok(self.clone())
    }
}

/// Why a body cannot be sent from the start again.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum NotReplayable {
    /// The body is longer than one recording may be.
    CapExceeded {
        /// The cap in bytes.
        cap: usize,
    },
    /// The caller's body failed, and its bytes are not known.
    Failed,
    /// The body is a stream and is not being recorded.
    OneShot,
    /// The bytes in memory have been handed out.
    Polled,
    /// A later body has taken over from this one.
    Revoked,
    /// All recordings together hold as much as they may.
    TotalExceeded {
        /// The cap in bytes.
        cap: usize,
    },
    /// The stream yielded a frame that a recording cannot hold.
    Unrecordable,
}

impl fmt::Display for NotReplayable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CapExceeded { cap } => {
                write!(f, "it is longer than the {cap} bytes recorded of a body")
            }
            Self::Failed => f.write_str("it failed in an earlier attempt"),
            Self::OneShot => f.write_str("it is a stream and streams are not recorded"),
            Self::Polled => f.write_str("its bytes have been handed out"),
            Self::Revoked => f.write_str("a later attempt has taken it over"),
            Self::TotalExceeded { cap } => {
                write!(f, "recordings of bodies already hold {cap} bytes in all")
            }
            Self::Unrecordable => f.write_str("it yielded a frame that cannot be recorded"),
        }
    }
}

impl error::Error for NotReplayable {}
