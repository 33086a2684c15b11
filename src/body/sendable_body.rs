//! What a body needs in order to be sent.

use http_body::Body;

use crate::chain::BoxError;

/// A body that can be sent over a pooled connection. Every such body implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent as a request's body",
    label = "needs `http_body::Body + Send + 'static`",
    note = "its `Data` must be `Send` and its `Error` must convert into a boxed `Send + Sync` error",
    note = "`tower_resend::Body::new` makes one of any stream that is `Send`"
)]
pub trait SendableBody: Body<Data: Send, Error: Into<BoxError>> + Send + 'static {}

impl<B> SendableBody for B where B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static {}
