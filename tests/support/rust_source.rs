//! A simple scanner of Rust source: words and functions, without comments,
//! strings and characters.

/// Source text with the contents of comments, strings and characters blanked.
/// Lines stay where they are.
pub(crate) fn strip(source: &str) -> String {
    let source: Vec<char> = source.chars().collect();
    let mut stripped = String::with_capacity(source.len());
    let mut at = 0;
    while at < source.len() {
        let end = at + blank_length(&source, at);
        if end == at {
            stripped.push(source[at]);
            at += 1;
            continue;
        }
        let blanked = source[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' });
        stripped.extend(blanked);
        at = end;
    }
    stripped
}

/// How many characters from `at` on are to be blanked.
fn blank_length(source: &[char], at: usize) -> usize {
    let rest = &source[at..];
    let inside_word = at > 0 && is_word(source[at - 1]);
    match rest {
        ['/', '/', ..] => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
        ['/', '*', ..] => block_comment(rest),
        ['"', ..] => 1 + quoted(&rest[1..], '"'),
        ['\'', '\\', ..] => 1 + quoted(&rest[1..], '\''),
        ['\'', _, '\'', ..] => 3,
        ['b', 'r', ..] if !inside_word => raw_string(&rest[2..]).map_or(0, |length| 2 + length),
        ['r', ..] if !inside_word => raw_string(&rest[1..]).map_or(0, |length| 1 + length),
        _ => 0,
    }
}

/// The length of a block comment; they nest.
fn block_comment(rest: &[char]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => (at, depth) = (at + 2, depth + 1),
            ['*', '/', ..] => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length up to and with the closing quote.
fn quoted(rest: &[char], quote: char) -> usize {
    let mut at = 0;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The length of a raw string after its `r`, if it is one.
fn raw_string(rest: &[char]) -> Option<usize> {
    let hashes = rest.iter().take_while(|c| **c == '#').count();
    if rest.get(hashes) != Some(&'"') {
        return None;
    }
    let closing: Vec<char> = std::iter::once('"').chain(vec!['#'; hashes]).collect();
    let content = &rest[hashes + 1..];
    let end = content.windows(closing.len()).position(|window| window == closing);
    Some(end.map_or(rest.len(), |end| hashes + 1 + end + closing.len()))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A word or a single other character, with the line it is on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Token {
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// The tokens of a source, without its comments, strings and characters.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    for (line, text) in strip(source).lines().enumerate() {
        let line = line + 1;
        let mut glue = false;
        for c in text.chars() {
            match tokens.last_mut() {
                Some(last) if glue && is_word(c) => last.text.push(c),
                _ if c.is_whitespace() => {}
                _ => tokens.push(Token { line, text: c.to_string() }),
            }
            glue = is_word(c);
        }
    }
    tokens
}
