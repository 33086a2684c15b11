//! Whose server the client meets.

use std::fmt;
use std::str::FromStr;

use tower_resend::server::CloseMode;

/// Whose server the client meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peers {
    /// Servers without a contract, which close in every way there is.
    Hostile,
    /// One that breaks the premise that no client can check.
    PremiseP1,
    /// The crate's own.
    Own(Mapping),
    /// Servers that announce a contract and break it.
    Broken,
}

/// What the ends of the crate's own server say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Mapping {
    Rst,
    Fin,
    Plain,
    /// Each of the three, drawn for each trial.
    Mixed,
}

impl Mapping {
    pub(crate) fn mode(self) -> CloseMode {
        match self {
            Self::Rst => CloseMode::ResetBeforeDispatch,
            Self::Fin => CloseMode::FinBeforeDispatch,
            Self::Plain | Self::Mixed => CloseMode::Plain,
        }
    }
}

impl fmt::Display for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hostile => "hostile",
            Self::PremiseP1 => "premise-p1",
            Self::Own(Mapping::Rst) => "rst",
            Self::Own(Mapping::Fin) => "fin",
            Self::Own(Mapping::Plain) => "plain",
            Self::Own(Mapping::Mixed) => "mixed",
            Self::Broken => "broken",
        })
    }
}

impl FromStr for Peers {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let all = [
            Self::Hostile,
            Self::PremiseP1,
            Self::Own(Mapping::Rst),
            Self::Own(Mapping::Fin),
            Self::Own(Mapping::Plain),
            Self::Own(Mapping::Mixed),
            Self::Broken,
        ];
        let found = all.into_iter().find(|peers| peers.to_string() == name);
        found.ok_or_else(|| format!("there is no server {name:?}"))
    }
}
