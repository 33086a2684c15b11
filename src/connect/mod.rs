//! Makes connections: name resolution, happy eyeballs, socket options, proxies,
//! TLS.

mod dial;
mod greeting;
mod hedge;
mod port;
mod proxies;
mod proxy;
mod proxy_error;

pub(crate) use self::dial::{
    ConnectOptions, DialError, Dialer, Keepalive, Route, connect_failure, http_connector,
};
pub(crate) use self::hedge::Hedge;
pub(crate) use self::port::{has_connect_form, has_sound_port, is_connect_authority};
pub use self::proxies::{Proxies, ProxiesBuilder};
pub(crate) use self::proxy::Proxy;
pub use self::proxy_error::ProxyError;
