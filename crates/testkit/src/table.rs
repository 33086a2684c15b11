//! Truth tables as text: every combination of some dimensions, with those
//! dimensions left out that make no difference.

#![allow(unreachable_pub, reason = "a module of a test, not of a library")]

use std::collections::HashMap;
use std::fmt::Write as _;

/// A column of a table: its name and the values it ranges over.
pub struct Dimension {
    name: &'static str,
    values: Vec<Label>,
}

/// A value's own name, and the names of the families it belongs to.
struct Label {
    name: String,
    families: Vec<String>,
}

impl Dimension {
    /// A dimension over `values`, named by `Debug`. A value with a payload
    /// belongs to the families that leave payloads out: `Fin(None, Refused)`
    /// to `Fin(None, _)` and `Fin(_, _)`.
    pub fn of<T: std::fmt::Debug>(name: &'static str, values: &[T]) -> Self {
        Self::named(name, values.iter().map(debug).collect())
    }

    pub fn named(name: &'static str, values: Vec<String>) -> Self {
        let label = |name: String| Label { families: families(&name), name };
        Self { name, values: values.into_iter().map(label).collect() }
    }

    fn everything(&self) -> u128 {
        (1 << self.values.len()) - 1
    }

    /// The values of a cell, in few words: `A or B(_)`, `B(_) but B(x)`.
    fn words(&self, cell: u128) -> String {
        if cell == self.everything() {
            return "*".to_owned();
        }
        let words = self.listed(cell).join(" or ");
        let but = format!("* but {}", self.listed(self.everything() & !cell).join(" but "));
        if but.len() < words.len() { but } else { words }
    }

    fn listed(&self, cell: u128) -> Vec<String> {
        let mut left = cell;
        let mut words = Vec::new();
        for (index, label) in self.values.iter().enumerate() {
            if left & (1 << index) == 0 {
                continue;
            }
            let (word, members) = self.broadest(label, cell);
            left &= !members;
            words.push(word);
        }
        words
    }

    /// The broadest family of a value that is in the cell, but for one member.
    fn broadest(&self, label: &Label, cell: u128) -> (String, u128) {
        for family in &label.families {
            let members = self.members(family);
            let missing = members & !cell;
            match missing.count_ones() {
                0 if members.count_ones() > 1 => return (family.clone(), members),
                1 if members.count_ones() > 3 => {
                    let missing = &self.values[missing.trailing_zeros() as usize].name;
                    return (format!("{family} but {missing}"), members);
                }
                _ => {}
            }
        }
        (label.name.clone(), self.members(&label.name))
    }

    /// Reads a cell again.
    fn cell(&self, words: &str) -> u128 {
        words.split(" or ").fold(0, |cell, word| {
            let mut parts = word.split(" but ").map(|part| self.members(part));
            let members = parts.next().expect("a first part");
            cell | parts.fold(members, |members, but| members & !but)
        })
    }

    fn members(&self, word: &str) -> u128 {
        if word == "*" {
            return self.everything();
        }
        let is_member =
            |label: &Label| label.name == word || label.families.iter().any(|f| f == word);
        let members = self.values.iter().enumerate().filter(|(_, label)| is_member(label));
        let members = members.fold(0, |all, (index, _)| all | 1 << index);
        assert_ne!(members, 0, "{word} is no value of {}", self.name);
        members
    }
}

/// `Debug`, with error numbers as people call them.
pub fn debug<T: std::fmt::Debug>(value: &T) -> String {
    let mut text = format!("{value:?}");
    for (number, name) in [
        (9, "EBADF"),
        (32, "EPIPE"),
        (103, "ECONNABORTED"),
        (104, "ECONNRESET"),
        (110, "ETIMEDOUT"),
        (111, "ECONNREFUSED"),
        (113, "EHOSTUNREACH"),
    ] {
        text = text.replace(&format!("Errno({number})"), name);
    }
    while let Some(at) = text.find("Some(") {
        let close = at + text[at..].find(')').expect("a closing parenthesis");
        text.replace_range(close..=close, "");
        text.replace_range(at..at + "Some(".len(), "");
    }
    text
}

/// `A(x, B(y))` belongs to `A(_, _)`, `A(x, _)` and `A(x, B(_))`.
fn families(name: &str) -> Vec<String> {
    let Some((head, rest)) = name.split_once('(') else { return Vec::new() };
    let inner = rest.strip_suffix(')').expect("a closing parenthesis");
    match inner.split_once(", ") {
        None => vec![format!("{head}(_)")],
        Some((first, second)) => {
            let mut all = vec![format!("{head}(_, _)"), format!("{head}({first}, _)")];
            all.extend(families(second).iter().map(|f| format!("{head}({first}, {f})")));
            all
        }
    }
}

/// A collapsed truth table, whose outcomes are of type `K`.
pub struct Table<K> {
    dimensions: Vec<Dimension>,
    outcomes: Outcomes<K>,
    nodes: Vec<Node>,
    root: usize,
}

/// The outcomes that were met so far, and their words.
struct Outcomes<K> {
    known: Vec<(K, String)>,
    words: fn(K) -> String,
    last: usize,
}

impl<K: Copy + PartialEq> Outcomes<K> {
    fn new(words: fn(K) -> String) -> Self {
        Self { known: Vec::new(), words, last: 0 }
    }

    fn intern(&mut self, outcome: K) -> usize {
        if self.known.get(self.last).is_none_or(|(last, _)| *last != outcome) {
            let found = self.known.iter().position(|(known, _)| *known == outcome);
            self.last = found.unwrap_or_else(|| {
                self.known.push((outcome, (self.words)(outcome)));
                self.known.len() - 1
            });
        }
        self.last
    }
}

/// What is left to tell once some dimensions are fixed. Equal ones are one.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Node {
    Outcome(usize),
    /// Groups of values of the next dimension.
    Groups(Vec<(u128, usize)>),
}

impl<K: Copy + PartialEq> Table<K> {
    /// Walks every combination and leaves out what makes no difference.
    pub fn collapse(
        dimensions: Vec<Dimension>,
        mut of: impl FnMut(&[usize]) -> K,
        words: fn(K) -> String,
    ) -> Self {
        let mut outcomes = Outcomes::new(words);
        let mut nodes = Nodes::default();
        let mut of = |at: &[usize]| outcomes.intern(of(at));
        let root = nodes.below(&dimensions, &mut Vec::new(), &mut of);
        Self { dimensions, outcomes, nodes: nodes.all, root }
    }

    pub fn render(&self, outcome: &str) -> String {
        let names = self.dimensions.iter().map(|dimension| dimension.name.to_owned());
        let mut lines = vec![names.chain([outcome.to_owned()]).collect()];
        self.lines(self.root, &mut Vec::new(), &mut lines);
        align(&lines)
    }

    fn lines(&self, node: usize, before: &mut Vec<String>, lines: &mut Vec<Vec<String>>) {
        match &self.nodes[node] {
            Node::Outcome(outcome) => {
                let mut line = before.clone();
                line.push(self.outcomes.known[*outcome].1.clone());
                lines.push(line);
            }
            Node::Groups(groups) => {
                for &(cell, below) in groups {
                    before.push(self.dimensions[before.len()].words(cell));
                    self.lines(below, before, lines);
                    before.pop();
                }
            }
        }
    }

    /// Reads rendered lines again, and checks that each combination meets
    /// exactly one of them, which names its outcome. Returns how many there
    /// are.
    pub fn check(
        dimensions: &[Dimension],
        lines: &str,
        of: impl FnMut(&[usize]) -> K,
        words: fn(K) -> String,
    ) -> usize {
        let lines: Vec<_> =
            lines.lines().skip(1).map(|line| Line::read(dimensions, line)).collect();
        let mut walk = Walk { dimensions, outcomes: Outcomes::new(words), of, walked: 0 };
        walk.below(&lines.iter().collect::<Vec<_>>(), &mut Vec::new());
        walk.walked
    }
}

#[derive(Default)]
struct Nodes {
    all: Vec<Node>,
    known: HashMap<Node, usize>,
}

impl Nodes {
    fn below(
        &mut self,
        dimensions: &[Dimension],
        at: &mut Vec<usize>,
        of: &mut impl FnMut(&[usize]) -> usize,
    ) -> usize {
        let Some(dimension) = dimensions.get(at.len()) else {
            let outcome = of(at);
            return self.intern(Node::Outcome(outcome));
        };
        let mut groups: Vec<(u128, usize)> = Vec::new();
        for value in 0..dimension.values.len() {
            at.push(value);
            let below = self.below(dimensions, at, of);
            at.pop();
            match groups.iter_mut().find(|(_, other)| *other == below) {
                Some((cell, _)) => *cell |= 1 << value,
                None => groups.push((1 << value, below)),
            }
        }
        self.intern(Node::Groups(groups))
    }

    fn intern(&mut self, node: Node) -> usize {
        *self.known.entry(node).or_insert_with_key(|node| {
            self.all.push(node.clone());
            self.all.len() - 1
        })
    }
}

/// A line of a rendered table, read again.
struct Line<'a> {
    cells: Vec<u128>,
    outcome: &'a str,
}

impl<'a> Line<'a> {
    fn read(dimensions: &[Dimension], line: &'a str) -> Self {
        let mut words = line.splitn(dimensions.len() + 1, " | ").map(str::trim);
        let mut next = || words.next().expect("a cell for each dimension and an outcome");
        let cells = dimensions.iter().map(|dimension| dimension.cell(next())).collect();
        Self { cells, outcome: next() }
    }
}

/// A walk over every combination, with the lines that speak of each.
struct Walk<'a, K, F> {
    dimensions: &'a [Dimension],
    outcomes: Outcomes<K>,
    of: F,
    walked: usize,
}

impl<K: Copy + PartialEq, F: FnMut(&[usize]) -> K> Walk<'_, K, F> {
    fn below(&mut self, lines: &[&Line<'_>], at: &mut Vec<usize>) {
        let depth = at.len();
        let Some(dimension) = self.dimensions.get(depth) else {
            let [line] = lines else { panic!("{} lines speak of {at:?}", lines.len()) };
            let outcome = self.outcomes.intern((self.of)(at));
            assert_eq!(line.outcome, self.outcomes.known[outcome].1, "at {at:?}");
            self.walked += 1;
            return;
        };
        for value in 0..dimension.values.len() {
            at.push(value);
            let speaks = |line: &&&Line<'_>| line.cells[depth] & (1 << value) != 0;
            if lines.iter().all(|line| speaks(&line)) {
                self.below(lines, at);
            } else {
                self.below(&lines.iter().filter(speaks).copied().collect::<Vec<_>>(), at);
            }
            at.pop();
        }
    }
}

/// Lines of cells, as wide as the widest of each column.
pub fn align(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(String::len).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let mut aligned = String::new();
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let separator = if column == 0 { "" } else { " | " };
            let _ = write!(aligned, "{separator}{cell:width$}");
        }
        let _ = writeln!(text, "{}", aligned.trim_end());
    }
    text
}
