//! A server in a process of its own, and a client that observes how it ends.

pub(crate) mod cells;
mod client;
mod counting;
pub(crate) mod kills;
mod process;
pub(crate) mod server;

/// The first argument of the process that serves.
pub(crate) const SERVE: &str = "serve";

/// How a server signals by its closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A reset means that nothing is dispatched.
    Rst,
    /// A FIN means that nothing is dispatched.
    Fin,
    /// Neither means anything.
    Plain,
    /// The first three, as the crate's own `serve` does them.
    ServedRst,
    ServedFin,
    ServedPlain,
    /// Control: arms when as many requests have finished as have started.
    Counting,
}

impl Mode {
    pub(crate) const ALL: [Self; 7] = [
        Self::Rst,
        Self::Fin,
        Self::Plain,
        Self::ServedRst,
        Self::ServedFin,
        Self::ServedPlain,
        Self::Counting,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rst => "rst",
            Self::Fin => "fin",
            Self::Plain => "plain",
            Self::ServedRst => "served-rst",
            Self::ServedFin => "served-fin",
            Self::ServedPlain => "served-plain",
            Self::Counting => "counting",
        }
    }

    fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}
