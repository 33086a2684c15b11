//! The caller's word that a request is idempotent.

/// Marks a request as idempotent. Put it into the request's extensions.
///
/// It is the caller's word that sending the request twice has the effect of sending it
/// once, whatever its method. A wrong mark doubles requests.
///
/// The mark stays among the request's extensions. A layer *above* the resending one that
/// makes another request of it and keeps its extensions, such as one that follows
/// redirects, marks that request too. So does a service that makes a request for another
/// server out of one that it received: remove the mark there unless it holds for that
/// server.
///
/// ```
/// # fn main() -> Result<(), http::Error> {
/// let request = http::Request::post("/reindex")
///     .extension(tower_resend::resend::Idempotent)
///     .body(())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "a mark holds nothing")]
pub struct Idempotent;
