//! Boils a table of states and outcomes down to lines that a person can read.

use std::collections::{BTreeMap, BTreeSet};

/// The values of each part that lead to an outcome, and the outcome.
type Line = (Vec<BTreeSet<u8>>, u8);

/// Combinations of the values of some parts, and what follows from them.
#[derive(Clone, Default)]
pub(crate) struct Rule(pub(crate) BTreeMap<Vec<u8>, u8>);

impl Rule {
    /// Forgets the parts that the outcome does not depend on; returns the
    /// places of the others.
    pub(crate) fn reduce(&mut self, width: usize) -> Vec<usize> {
        let mut kept: Vec<_> = (0..width).collect();
        if self.0.values().collect::<BTreeSet<_>>().len() == 1 {
            kept.clear();
        }
        for place in kept.clone() {
            let fewer: Vec<_> = kept.iter().copied().filter(|other| *other != place).collect();
            if self.only(&fewer).is_some() {
                kept = fewer;
            }
        }
        *self = self.only(&kept).expect("what is kept decides");
        kept
    }

    /// The same rule of these parts alone, if they decide.
    fn only(&self, places: &[usize]) -> Option<Self> {
        let mut fewer = BTreeMap::new();
        for (values, outcome) in &self.0 {
            let key: Vec<_> = places.iter().map(|place| values[*place]).collect();
            if *fewer.entry(key).or_insert(*outcome) != *outcome {
                return None;
            }
        }
        Some(Self(fewer))
    }

    /// Lines of sets of values with the same outcome, as few as merging two that
    /// differ in one part leads to.
    pub(crate) fn lines(&self) -> Vec<Line> {
        let single = |value: &u8| BTreeSet::from([*value]);
        let mut lines: Vec<Line> = self
            .0
            .iter()
            .map(|(values, outcome)| (values.iter().map(single).collect(), *outcome))
            .collect();
        while let Some((first, second, place)) = mergeable(&lines) {
            let (merged, _) = lines.remove(second);
            lines[first].0[place].extend(&merged[place]);
        }
        lines
    }
}

fn mergeable(lines: &[Line]) -> Option<(usize, usize, usize)> {
    for (first, (values, outcome)) in lines.iter().enumerate() {
        for (second, (others, other)) in lines.iter().enumerate().skip(first + 1) {
            let mut differ = (0..values.len()).filter(|place| values[*place] != others[*place]);
            if let (Some(place), None) = (differ.next(), differ.next())
                && outcome == other
            {
                return Some((first, second, place));
            }
        }
    }
    None
}

/// Numbers for the values of parts.
#[derive(Default)]
pub(crate) struct Names(pub(crate) BTreeMap<&'static str, Vec<String>>);

impl Names {
    pub(crate) fn number(&mut self, (part, value): &(&'static str, String)) -> u8 {
        let values = self.0.entry(part).or_default();
        let place = values.iter().position(|known| known == value).unwrap_or_else(|| {
            values.push(value.clone());
            values.len() - 1
        });
        place as u8
    }

    /// As in `end: None|PeerClosed`.
    pub(crate) fn write(&self, part: &str, values: &BTreeSet<u8>) -> String {
        let names: Vec<_> =
            values.iter().map(|value| self.0[part][usize::from(*value)].as_str()).collect();
        format!("{part}: {}", names.join("|"))
    }
}
