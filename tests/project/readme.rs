//! What the README says of adding this crate to a program, held against the
//! examples, which are compiled and run.

use std::fs;
use std::path::Path;

/// The README promises that a change adds no more.
const LINES: usize = 5;

#[test]
fn each_change_is_short_and_is_that_of_its_example() {
    let readme = read("README.md");
    let changes = changes(&readme);
    let examples: Vec<_> = changes.iter().map(|change| change.example).collect();
    assert_eq!(examples, ["examples/wrap_hyper_util.rs", "examples/wrap_reqwest.rs"]);
    for Change { example, added } in changes {
        assert!((1..=LINES).contains(&added.len()), "{example}: {added:#?}");
        assert_eq!(missing(&added, &read(example)), [""; 0], "{example}");
    }
}

#[test]
fn control_a_line_that_an_example_has_not_is_seen() {
    let text = "See [`x`](examples/x.rs):\n```diff\n-a();\n+b( c );\n+d();\n```\n";
    let [Change { example: "examples/x.rs", added }] = &changes(text)[..] else {
        panic!("a change of one example")
    };
    assert_eq!(added[..], ["b( c );", "d();"]);
    assert_eq!(missing(added, "b(\n    c\n);"), ["d();"]);
}

/// One block of a README with the lines that it adds.
struct Change<'a> {
    /// The example that was linked last before it.
    example: &'a str,
    added: Vec<&'a str>,
}

fn changes(readme: &str) -> Vec<Change<'_>> {
    let blocks = readme.match_indices("```diff\n").map(|(at, fence)| {
        let (before, block) = (&readme[..at], &readme[at + fence.len()..]);
        let example = before.rsplit("](").find(|link| link.starts_with("examples/"));
        let lines = block.lines().take_while(|line| *line != "```");
        Change {
            example: example.and_then(|link| link.split(')').next()).unwrap_or_default(),
            added: lines.filter_map(|line| line.strip_prefix('+')).collect(),
        }
    });
    blocks.collect()
}

/// The lines that do not occur in a source, white space apart.
fn missing<'a>(lines: &[&'a str], source: &str) -> Vec<&'a str> {
    let source = squeezed(source);
    lines.iter().copied().filter(|line| !source.contains(&squeezed(line))).collect()
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect()
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(path).expect("a text of this crate")
}
