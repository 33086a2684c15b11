//! The chain of an error and its sources.

use std::error::Error as StdError;
use std::{fmt, io, iter};

/// The error type of inner services and bodies.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Returns an error and its sources, outermost first, as many as are examined.
///
/// [`io::Error::source`](StdError::source) skips the error that it wraps; this does not.
pub(crate) fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    unlimited(error).take(MAX_DEPTH)
}

/// Returns `true` if an error has more sources than [`chain`] yields.
pub(crate) fn is_too_deep(error: &(dyn StdError + 'static)) -> bool {
    unlimited(error).nth(MAX_DEPTH).is_some()
}

/// Writes an error's own line, and what its sources add to it.
///
/// `added` returns what a source says beyond what is said already; a text that was said
/// is not repeated.
pub(crate) fn write_with_sources(
    f: &mut fmt::Formatter<'_>,
    error: &(dyn StdError + 'static),
    added: fn(&(dyn StdError + 'static), &str) -> String,
) -> fmt::Result {
    let mut said = error.to_string();
    f.write_str(&said)?;
    for source in chain(error).skip(1) {
        let text = added(source, &said);
        if !said.contains(&text) {
            write!(f, ": {text}")?;
            said.push_str(": ");
            said.push_str(&text);
        }
    }
    Ok(())
}

/// Shortens a text to so many characters, the last of them an ellipsis.
pub(crate) fn clamp(mut text: String, characters: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(characters) {
        let last = text[..end].char_indices().next_back().map_or(0, |(at, _)| at);
        text.truncate(last);
        text.push('\u{2026}');
    }
    text
}

/// The most characters of a `Debug` text on one line.
pub(crate) const MAX_DEBUG: usize = 600;

/// Writes a `Debug` text of one line: some fields, the source's own line and an end.
pub(crate) fn write_debug(
    f: &mut fmt::Formatter<'_>,
    fields: String,
    source: Option<&BoxError>,
) -> fmt::Result {
    const END: &str = " }";
    let source =
        source.map_or_else(|| "None".to_owned(), |source| format!("{:?}", source.to_string()));
    let text = clamp(fields + ", source: " + &source, MAX_DEBUG - END.len());
    write!(f, "{text}{END}")
}

fn unlimited<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    iter::successors(Some(error), |&error| {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        }
    })
}

/// An error can be its own source, so that there has to be a limit.
const MAX_DEPTH: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Link(Option<Box<Self>>);

    impl fmt::Display for Link {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("link")
        }
    }

    impl StdError for Link {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            self.0.as_deref().map(|source| source as _)
        }
    }

    /// Its own source.
    #[derive(Debug)]
    struct Loop;

    impl fmt::Display for Loop {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("loop")
        }
    }

    impl StdError for Loop {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(self)
        }
    }

    fn links(count: usize) -> Link {
        (1..count).fold(Link(None), |source, _| Link(Some(Box::new(source))))
    }

    #[test]
    fn chain_has_an_end_where_an_error_is_its_own_source() {
        assert_eq!(chain(&Loop).count(), MAX_DEPTH);
        assert!(is_too_deep(&Loop));
    }

    #[test]
    fn chain_yields_all_sources_within_the_limit() {
        assert_eq!(chain(&links(3)).count(), 3);
        assert!(!is_too_deep(&links(MAX_DEPTH)));
        assert!(is_too_deep(&links(MAX_DEPTH + 1)));
    }

    #[test]
    fn chain_yields_what_an_io_error_wraps() {
        let error = io::Error::other(links(2));
        assert_eq!(chain(&error).filter(|error| error.is::<Link>()).count(), 2);
        let by_source = iter::successors(error.source(), |&error| error.source());
        assert_eq!(by_source.count(), 1, "control: `source` skips one");
    }

    #[test]
    fn clamp_cuts_between_characters_and_only_what_is_too_long() {
        assert_eq!(clamp("\u{e9}t\u{e9}".to_owned(), 3), "\u{e9}t\u{e9}");
        assert_eq!(clamp("\u{e9}t\u{e9}s".to_owned(), 3), "\u{e9}t\u{2026}");
        assert_eq!(clamp(String::new(), 3), "");
    }
}
