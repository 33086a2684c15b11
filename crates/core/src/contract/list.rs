//! A parser of structured lists (RFC 9651 3.1) of items with parameters, as far
//! as `Proxy-Status` needs it: tokens and strings are kept; an inner list makes the
//! line malformed.

use super::dictionary::{Input, Value};

/// A token or a string; `None` for an item of another type.
pub(super) type Name = Option<String>;

/// A member of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) name: Name,
    /// In their order, repeated keys included.
    pub(super) parameters: Vec<(String, Name)>,
}

/// Reads the members of one field line. Returns `None` if it is not a list of
/// items.
pub(super) fn items(line: &[u8]) -> Option<Vec<Item>> {
    let mut input = Input::new(line);
    let mut members = Vec::new();
    input.skip(|byte| byte == b' ');
    loop {
        let name = name(&mut input)?;
        members.push(Item { name, parameters: parameters(&mut input)? });
        input.skip(is_ows);
        if input.is_at_end() {
            return Some(members);
        }
        input.expect(b',')?;
        input.skip(is_ows);
    }
}

/// RFC 9651 4.2.3.2.
fn parameters(input: &mut Input<'_>) -> Option<Vec<(String, Name)>> {
    let mut parameters = Vec::new();
    while input.take(b';') {
        input.skip(|byte| byte == b' ');
        let key = input.key()?;
        let value = if input.take(b'=') { name(input)? } else { None };
        parameters.push((key, value));
    }
    Some(parameters)
}

/// A bare item, kept if it is a token or a string.
fn name(input: &mut Input<'_>) -> Option<Name> {
    let start = input.at();
    let value = input.bare_item()?;
    let written = input.since(start);
    let is_token = |byte: &u8| *byte == b'*' || byte.is_ascii_alphabetic();
    Some(match value {
        Value::Text(text) => Some(text),
        Value::Other if written.first().is_some_and(is_token) => {
            String::from_utf8(written.to_vec()).ok()
        }
        Value::Other | Value::Boolean(_) | Value::Integer(_) => None,
    })
}

fn is_ows(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn item_has_a_name_and_parameters() {
        let members =
            items(b"edge; error=connection_refused;a;n=3, \"in, ner\";d=\"x\",7").unwrap();
        let names: Vec<_> = members.iter().map(|member| member.name.as_deref()).collect();
        assert_eq!(names, [Some("edge"), Some("in, ner"), None]);
        let error = ("error".to_owned(), Some("connection_refused".to_owned()));
        assert_eq!(members[0].parameters[0], error);
        assert_eq!(members[0].parameters[1..], [("a".to_owned(), None), ("n".to_owned(), None)]);
        assert_eq!(members[1].parameters, [("d".to_owned(), Some("x".to_owned()))]);
    }

    #[test]
    fn malformed_list_has_no_items() {
        for line in ["", "a,", "a b", "(a b)", "a;", "a;B=1", "a;b=", "\"a", "a,,b", "a;b=\u{e9}"] {
            assert_eq!(items(line.as_bytes()), None, "{line:?}");
        }
    }
}
