//! The contract: what a server promises of one transport connection, in the
//! hop-by-hop field `Retry-Contract`.
//!
//! A reset says nothing about the request that it hits, unless the server said
//! beforehand what its resets mean. This field says so. Its `hop` binds the
//! promise to one TCP connection: a promise that a relay passes on is void. The
//! rules of servers (S1 to S11) and of clients (C1 to C10) are in
//! `docs/contract.md`.
//!
//! This module has the field's types and the rules that need no socket:
//!
//! - [`Offer`]: the members in a request, what a client understands;
//! - [`Announcement`]: the members in a response, what a server promises;
//! - [`accept()`]: the [`Promise`] that a client may rely on;
//! - [`Observed`]: whether a failure is within the limits of the promise;
//! - [`ContractStatus`]: the promise that a request was sent under, or why none.
//!
//! [`TrustedGateway`] is not part of the contract. It lives here because it is
//! similar: a gateway, trusted by name, says that it did not pass a request on.
//!
//! # Examples
//!
//! A reset while a request was on its way, under a promise within its limits:
//!
//! ```
//! use std::time::Duration;
//! use tower_resend_core::{Acked, Contract, Evidence, HandOff, TcpEvidence, classify};
//! use tower_resend_core::contract::{Hop, Observed, accept};
//!
//! let earlier_response = http::Response::builder()
//!     .header("connection", "retry-contract")
//!     .header("retry-contract", r#"hop="10.1.2.3:50211 10.1.2.9:80", max=65536, rst"#)
//!     .body(())?;
//! let own = Hop::seen_by_client("10.1.2.3:50211".parse()?, "10.1.2.9:80".parse()?);
//! let promise = accept(&earlier_response, &own)?;
//! let observed = Observed::new()
//!     .with_request_bytes(318)
//!     .with_since_last_byte(Duration::from_millis(3))
//!     .with_retransmissions(0, 0)
//!     .with_probes(0)
//!     .with_response_bytes(0);
//!
//! let evidence = Evidence::new(HandOff::Written).with_tcp(TcpEvidence::Reset(Acked::All));
//! assert!(classify(&evidence, &Contract::none()).is_unknown());
//!
//! let evidence = evidence.with_limits(observed.limits(&promise));
//! assert!(classify(&evidence, &promise.contract()).is_not_applied());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod accept;
mod announcement;
mod closing_head;
mod dictionary;
mod field;
mod hop;
mod ignored;
mod limits;
mod list;
mod offer;
mod proxy_status;
mod read;
mod status;

pub use accept::{HopBinding, Promise, accept, accept_bound};
pub use announcement::Announcement;
pub use closing_head::{ClosingHead, closing_head};
pub use field::{ClosingStatus, FieldError, LONGEST, Max, Member, RETRY_CONTRACT};
pub use hop::{Hop, HopParseError};
pub use ignored::Ignored;
pub use limits::{Observed, OutOfLimits, WINDOW};
pub use offer::Offer;
pub use proxy_status::{NotForwarded, TrustedGateway};
pub use read::only_line;
pub use status::ContractStatus;
