//! What is varied: the wire, the relay, the server behind it and the request.

use std::fmt;

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Setting {
    /// How many of a hundred packets are lost.
    pub(crate) loss: u8,
    /// Whether the relay resets what it closes.
    pub(crate) no_linger: bool,
    /// What the server does after it acted on a request's head.
    pub(crate) ends: Ends,
    /// In how many frames a request's body comes, with a pause before each but
    /// the first: as many segments.
    pub(crate) frames: usize,
    /// How much of all calls is made so.
    pub(crate) share: u32,
}

/// What a server does after it acted on a request's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ends {
    /// It resets, as the kernel does for a process that crashes with something
    /// unread.
    Resets,
    /// It closes.
    Closes,
}

impl Ends {
    pub(crate) const ALL: [Self; 2] = [Self::Resets, Self::Closes];

    /// Returns the name by which this program is such a server.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Resets => "acts-resets",
            Self::Closes => "acts-closes",
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let relay = if self.no_linger { "nolinger" } else { "defaults" };
        let ends = match self.ends {
            Ends::Resets => "resets",
            Ends::Closes => "closes",
        };
        write!(f, "{:>3} %  {relay:8}  {ends:6}  {:>6}", self.loss, self.frames)
    }
}

/// The first has the largest share, since most of what a rule without regard to
/// segments gets wrong is seen there.
pub(crate) const SETTINGS: [Setting; 10] = [
    setting(15, true, Ends::Resets, 2, 12),
    setting(15, true, Ends::Closes, 4, 2),
    setting(15, false, Ends::Resets, 5, 2),
    setting(15, false, Ends::Closes, 6, 1),
    setting(15, true, Ends::Resets, 1, 2),
    setting(15, false, Ends::Resets, 1, 2),
    setting(15, true, Ends::Closes, 1, 1),
    setting(2, true, Ends::Resets, 2, 3),
    setting(2, false, Ends::Resets, 5, 3),
    setting(0, true, Ends::Resets, 2, 1),
];

const fn setting(loss: u8, no_linger: bool, ends: Ends, frames: usize, share: u32) -> Setting {
    Setting { loss, no_linger, ends, frames, share }
}
