//! A parser of structured dictionaries (RFC 9651 3.2), as far as the field needs
//! it: every type is checked; booleans, integers and strings are kept.

/// The value of a dictionary member; its parameters are checked and dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Boolean(bool),
    Integer(i64),
    Text(String),
    /// A decimal, token, byte sequence, date, display string or inner list.
    Other,
}

/// Reads the members of one field line, in their order, repeated keys too.
///
/// The error is the offset of the byte at which the line stops being a
/// dictionary. Nothing follows from the part before it (RFC 9651 4.2).
pub(super) fn members(line: &[u8]) -> Result<Vec<(String, Value)>, usize> {
    let mut input = Input::new(line);
    match input.members() {
        Some(members) => Ok(members),
        None => Err(input.at),
    }
}

/// A position in a line. Its functions return `None` where the line is malformed.
pub(super) struct Input<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    pub(super) fn new(line: &'a [u8]) -> Self {
        Self { line, at: 0 }
    }

    /// Returns the number of bytes read.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.peek().is_none()
    }

    /// Returns what was read from the line's byte `start` on.
    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        self.line.get(start..self.at).unwrap_or_default()
    }

    /// RFC 9651 4.2 and 4.2.2.
    fn members(&mut self) -> Option<Vec<(String, Value)>> {
        let mut members = Vec::new();
        self.skip(|byte| byte == b' ');
        loop {
            let key = self.key()?;
            let value = if self.take(b'=') { self.member_value()? } else { Value::Boolean(true) };
            self.parameters()?;
            members.push((key, value));
            self.skip(is_ows);
            if self.peek().is_none() {
                return Some(members);
            }
            self.expect(b',')?;
            self.skip(is_ows);
        }
    }

    fn member_value(&mut self) -> Option<Value> {
        if !self.take(b'(') {
            return self.bare_item();
        }
        loop {
            self.skip(|byte| byte == b' ');
            if self.take(b')') {
                return Some(Value::Other);
            }
            self.bare_item()?;
            self.parameters()?;
            if !matches!(self.peek(), Some(b' ' | b')')) {
                return None;
            }
        }
    }

    /// RFC 9651 4.2.3.2.
    fn parameters(&mut self) -> Option<()> {
        while self.take(b';') {
            self.skip(|byte| byte == b' ');
            self.key()?;
            if self.take(b'=') {
                self.bare_item()?;
            }
        }
        Some(())
    }

    /// RFC 9651 4.2.3.3.
    pub(super) fn key(&mut self) -> Option<String> {
        let start = self.at;
        if !matches!(self.peek()?, b'a'..=b'z' | b'*') {
            return None;
        }
        self.skip(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*'));
        text(&self.line[start..self.at])
    }

    /// RFC 9651 4.2.3.1.
    pub(super) fn bare_item(&mut self) -> Option<Value> {
        match self.peek()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string().map(Value::Text),
            b'?' => self.boolean(),
            b'*' | b'A'..=b'Z' | b'a'..=b'z' => {
                self.skip(|byte| is_tchar(byte) || matches!(byte, b':' | b'/'));
                Some(Value::Other)
            }
            b':' => self.byte_sequence(),
            b'@' => self.date(),
            b'%' => self.display_string(),
            _ => None,
        }
    }

    /// RFC 9651 4.2.4: at most 15 digits, or 12 and 3 after a point.
    fn number(&mut self) -> Option<Value> {
        let start = self.at;
        self.take(b'-');
        let whole = self.skip(|byte| byte.is_ascii_digit());
        if self.take(b'.') {
            let fraction = self.skip(|byte| byte.is_ascii_digit());
            let fits = (1..=12).contains(&whole) && (1..=3).contains(&fraction);
            return fits.then_some(Value::Other);
        }
        if !(1..=15).contains(&whole) {
            return None;
        }
        text(&self.line[start..self.at])?.parse().ok().map(Value::Integer)
    }

    /// RFC 9651 4.2.5.
    fn string(&mut self) -> Option<String> {
        self.expect(b'"')?;
        let mut string = String::new();
        loop {
            let byte = match self.next()? {
                b'"' => return Some(string),
                b'\\' => self.next().filter(|byte| matches!(byte, b'"' | b'\\'))?,
                byte @ b' '..=b'~' => byte,
                _ => return None,
            };
            string.push(char::from(byte));
        }
    }

    /// RFC 9651 4.2.7; only the alphabet of the content is checked.
    fn byte_sequence(&mut self) -> Option<Value> {
        self.expect(b':')?;
        self.skip(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='));
        self.expect(b':')?;
        Some(Value::Other)
    }

    /// RFC 9651 4.2.8.
    fn boolean(&mut self) -> Option<Value> {
        self.expect(b'?')?;
        match self.next()? {
            b'0' => Some(Value::Boolean(false)),
            b'1' => Some(Value::Boolean(true)),
            _ => None,
        }
    }

    /// RFC 9651 4.2.9.
    fn date(&mut self) -> Option<Value> {
        self.expect(b'@')?;
        self.number().filter(|number| matches!(number, Value::Integer(_)))?;
        Some(Value::Other)
    }

    /// RFC 9651 4.2.10.
    fn display_string(&mut self) -> Option<Value> {
        self.expect(b'%')?;
        self.expect(b'"')?;
        let mut bytes = Vec::new();
        loop {
            bytes.push(match self.next()? {
                b'"' => break,
                b'%' => self.hex()? << 4 | self.hex()?,
                byte @ b' '..=b'~' => byte,
                _ => return None,
            });
        }
        text(&bytes).map(|_| Value::Other)
    }

    fn hex(&mut self) -> Option<u8> {
        match self.next()? {
            digit @ b'0'..=b'9' => Some(digit - b'0'),
            digit @ b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    pub(super) fn take(&mut self, wanted: u8) -> bool {
        let is_there = self.peek() == Some(wanted);
        self.at += usize::from(is_there);
        is_there
    }

    pub(super) fn expect(&mut self, wanted: u8) -> Option<()> {
        self.take(wanted).then_some(())
    }

    /// Returns the number of bytes skipped.
    pub(super) fn skip(&mut self, wanted: impl Fn(u8) -> bool) -> usize {
        let start = self.at;
        while self.peek().is_some_and(&wanted) {
            self.at += 1;
        }
        self.at - start
    }
}

fn is_ows(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// RFC 9110 5.6.2.
pub(super) fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<Vec<(String, Value)>> {
        members(line.as_bytes()).ok()
    }

    #[test]
    fn each_type_is_read() {
        for (line, value) in [
            ("a", Value::Boolean(true)),
            ("a=?0", Value::Boolean(false)),
            ("a;b=1;  c", Value::Boolean(true)),
            ("  a=-7  ", Value::Integer(-7)),
            ("a=999999999999999", Value::Integer(999_999_999_999_999)),
            (r#"a="x\"\\ y""#, Value::Text(r#"x"\ y"#.to_owned())),
            ("a=1.5", Value::Other),
            ("a=*tok/en:1", Value::Other),
            ("a=:aGk=:", Value::Other),
            ("a=@-1659578233", Value::Other),
            (r#"a=%"f%c3%bc""#, Value::Other),
            ("a=()", Value::Other),
            (r#"a=( 1 "b";c=?1  d );e"#, Value::Other),
        ] {
            assert_eq!(read(line), Some(vec![("a".to_owned(), value)]), "{line}");
        }
        let keys = read("*b_-.9*=1\t, \tc,a,a").expect("a dictionary");
        assert_eq!(
            keys.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(),
            ["*b_-.9*", "c", "a", "a"]
        );
    }

    #[test]
    fn whatever_else_is_malformed() {
        for line in [
            "",
            " ",
            ",",
            "a,",
            "a,,b",
            "a b",
            "A",
            "1",
            "a=",
            "a =1",
            "a= 1",
            "a=?",
            "a=?2",
            "a=--1",
            "a=-",
            "a=1000000000000000",
            "a=1.",
            "a=.1",
            "a=1.2345",
            "a=1234567890123.1",
            "a=\"",
            "a=\"x",
            r#"a="\x""#,
            "a=\"\u{fc}\"",
            "a=\"\t\"",
            "a=:b",
            "a=:-:",
            "a=@1.5",
            "a=@",
            "a=%",
            "a=%\"%C3\"",
            "a=%\"%ff\"",
            "a=%\"x",
            "a=(",
            "a=(1",
            "a=(1\t2)",
            "a=(1,2)",
            "a=((1))",
            "a=(\"b\"c)",
            "a;",
            "a;=1",
            "a;B",
            "a;b=",
            "a;b=(1)",
            "\ta",
            "a\n",
            "a\0",
        ] {
            assert_eq!(read(line), None, "{line:?}");
        }
    }

    #[test]
    fn the_error_says_where() {
        assert_eq!(members(b"a, b=?7"), Err(7));
        assert_eq!(members(b"a,, b"), Err(2));
    }
}
