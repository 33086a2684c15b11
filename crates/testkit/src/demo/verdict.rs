//! What the figures show: safety, which decides the exit code, and
//! availability, which depends on the machine and decides nothing.

use std::fmt;

use super::table::short_figure;

/// The claims of a demonstration, each held or not.
#[derive(Debug, Default)]
pub struct Verdict {
    safety: Vec<(bool, String)>,
    figures: Vec<Figure>,
}

/// A figure of availability with its bound.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What the figure is and where its bound comes from, in one line.
    pub explains: &'static str,
    /// The mode and the client that it is of.
    pub of: [&'static str; 2],
    pub here: f64,
    pub bound: f64,
    pub met: bool,
    /// What may have kept the bound from being met.
    pub note: Option<&'static str>,
}

impl Verdict {
    /// Claims something of safety: if it does not hold, the exit code says so.
    pub fn must(&mut self, held: bool, claim: String) {
        self.safety.push((held, claim));
    }

    /// Adds a figure of availability, which never changes the exit code.
    pub fn figure(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// Returns 1 if a claim of safety does not hold, else 0.
    pub fn exit_code(&self) -> u8 {
        u8::from(self.safety.iter().any(|(held, _)| !held))
    }

    /// Returns the claims of safety.
    pub fn safety(&self) -> impl Iterator<Item = (bool, &str)> {
        self.safety.iter().map(|(held, claim)| (*held, claim.as_str()))
    }

    /// Returns the figures of availability.
    pub fn figures(&self) -> impl Iterator<Item = &Figure> {
        self.figures.iter()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "safety, which alone decides the exit code:")?;
        for (held, claim) in self.safety() {
            writeln!(f, "  {}  {claim}", if held { "held  " } else { "BROKEN" })?;
        }
        if self.figures.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n{:<34} {:>6} {:>6}", "availability on this machine:", "here", "bound")?;
        let mut explained = Vec::new();
        for figure in &self.figures {
            if explained.contains(&figure.explains) {
                continue;
            }
            explained.push(figure.explains);
            writeln!(f, "  {}", figure.explains)?;
            for figure in self.figures.iter().filter(|other| other.explains == figure.explains) {
                writeln!(f, "    {figure}")?;
            }
        }
        if self.figures.iter().any(|figure| !figure.met) {
            writeln!(f, "  not met: a busy machine or its host costs every client calls and time")?;
        }
        Ok(())
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [mode, client] = self.of;
        let (here, bound) = (short_figure(self.here), short_figure(self.bound));
        write!(f, "{mode:<10} {client:<19} {here:>6} {bound:>6}  ")?;
        match (self.met, self.note) {
            (true, _) => f.write_str("met"),
            (false, None) => f.write_str("not met here"),
            (false, Some(note)) => write!(f, "not met here ({note})"),
        }
    }
}
