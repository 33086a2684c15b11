//! Which stacks there are, in one place for all that runs them. The first of each
//! list is ours altogether.

/// Calls a macro with what it is given besides and every stack over plain
/// HTTP: `name: Type`, under the features that it needs.
#[macro_export]
macro_rules! plain_stacks {
    ($($with:tt)::+ $(, $($besides:tt)*)?) => {
        $($with)::+! {
            $($($besides)*)?
            ours: $crate::stacks::own::Ours,
            pool: $crate::stacks::own::Pooled,
            hyper_util: $crate::stacks::legacy::HyperUtil,
            hyper_util_that_retries: $crate::stacks::legacy::Retrying,
            hyper_util_unmodified: $crate::stacks::legacy::Unmodified,
            #[cfg(feature = "reqwest")]
            reqwest_through_ours: $crate::stacks::through_reqwest::Through,
            #[cfg(feature = "reqwest")]
            reqwest_wrapped: $crate::stacks::through_reqwest::Wrapped,
        }
    };
}
pub use crate::plain_stacks;

/// The same with every stack over TLS.
#[cfg(feature = "https")]
#[macro_export]
macro_rules! tls_stacks {
    ($($with:tt)::+ $(, $($besides:tt)*)?) => {
        $($with)::+! {
            $($($besides)*)?
            ours_https: $crate::stacks::secure::Secure<$crate::stacks::own::Ours>,
            pool_https: $crate::stacks::secure::Secure<$crate::stacks::own::Pooled>,
            hyper_util_https: $crate::stacks::secure::Secure<$crate::stacks::legacy::HyperUtil>,
            hyper_util_that_retries_https:
                $crate::stacks::secure::Secure<$crate::stacks::legacy::Retrying>,
            hyper_util_unmodified_https:
                $crate::stacks::secure::Secure<$crate::stacks::legacy::Unmodified>,
            hyper_rustls: $crate::stacks::secure::OverHyperRustls,
            hyper_rustls_unmodified: $crate::stacks::secure::UnmodifiedOverHyperRustls,
            #[cfg(feature = "reqwest")]
            reqwest_through_ours_https:
                $crate::stacks::secure::Secure<$crate::stacks::through_reqwest::Through>,
            #[cfg(feature = "reqwest-rustls")]
            reqwest_wrapped_https:
                $crate::stacks::secure::Secure<$crate::stacks::through_reqwest::Wrapped>,
        }
    };
}
#[cfg(feature = "https")]
pub use crate::tls_stacks;

/// Makes `$rows!(Stack)` of stacks, each in a module of the stack's name.
#[macro_export]
macro_rules! modules {
    ($rows:ident: $($(#[$on:meta])* $name:ident: $stack:ty,)*) => {
        $(
            $(#[$on])*
            mod $name {
                use super::*;
                $rows!($stack);
            }
        )*
    };
}
pub use crate::modules;

/// Makes the tests of `$rows!(Stack)` for every stack, each in a module of the
/// stack's name.
///
/// [`Stack`](super::Stack)s that need a feature are rows where that is on.
#[macro_export]
macro_rules! for_each_stack {
    ($rows:ident) => {
        $crate::plain_stacks!($crate::modules, $rows:);
    };
}
pub use crate::for_each_stack;

/// The same for every stack over TLS.
#[cfg(feature = "https")]
#[macro_export]
macro_rules! for_each_tls_stack {
    ($rows:ident) => {
        $crate::tls_stacks!($crate::modules, $rows:);
    };
}
#[cfg(feature = "https")]
pub use crate::for_each_tls_stack;
