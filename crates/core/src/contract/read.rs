//! Reads and writes the field of a message; what its members mean is decided
//! elsewhere.

use http::header::{CONNECTION, GetAll, MaxSizeReached};
use http::{HeaderMap, HeaderValue};

use super::dictionary::{self, Value};
use super::field::{ClosingStatus, FieldError, LONGEST, Max, Member, RETRY_CONTRACT};
use super::hop::Hop;
use super::ignored::Ignored;

/// The members of a field that have a meaning, unchecked but consistent.
#[derive(Debug, Default)]
pub(super) struct Read {
    members: [Option<Value>; Member::ALL.len()],
}

impl Read {
    /// Reads all lines of a field. Each must be a dictionary of its own, so
    /// that nothing begins in one line and ends in another.
    pub(super) fn lines<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, FieldError> {
        let mut read = Self::default();
        let mut bytes: usize = 0;
        for line in lines {
            bytes = bytes.saturating_add(line.len());
            if bytes > LONGEST {
                return Err(FieldError::TooLong(bytes));
            }
            for (key, value) in dictionary::members(line).map_err(FieldError::Malformed)? {
                read.add(&key, value)?;
            }
        }
        Ok(read)
    }

    fn add(&mut self, key: &str, value: Value) -> Result<(), FieldError> {
        for (member, known) in Member::ALL.into_iter().zip(&mut self.members) {
            if member.key() != key {
                continue;
            }
            if known.as_ref().is_some_and(|known| *known != value) {
                return Err(FieldError::Contradictory(member));
            }
            *known = Some(value);
            break;
        }
        Ok(())
    }

    fn value(&self, wanted: Member) -> Option<&Value> {
        let mut members = Member::ALL.into_iter().zip(&self.members);
        members.find(|(member, _)| *member == wanted).and_then(|(_, value)| value.as_ref())
    }

    pub(super) fn has(&self, member: Member) -> bool {
        self.value(member).is_some()
    }

    pub(super) fn boolean(&self, member: Member) -> Result<bool, FieldError> {
        match self.value(member) {
            None => Ok(false),
            Some(Value::Boolean(value)) => Ok(*value),
            Some(Value::Integer(_) | Value::Text(_) | Value::Other) => {
                Err(FieldError::WrongType(member))
            }
        }
    }

    pub(super) fn hop(&self) -> Result<Hop, FieldError> {
        match self.value(Member::Hop) {
            None => Err(FieldError::MissingHop),
            Some(Value::Text(text)) => text.parse().map_err(|_| FieldError::Absurd(Member::Hop)),
            Some(Value::Boolean(_) | Value::Integer(_) | Value::Other) => {
                Err(FieldError::WrongType(Member::Hop))
            }
        }
    }

    pub(super) fn max(&self) -> Result<Option<Max>, FieldError> {
        match self.value(Member::Max) {
            None => Ok(None),
            Some(Value::Integer(bytes)) => {
                let max = u32::try_from(*bytes).ok().and_then(Max::new);
                max.map(Some).ok_or(FieldError::Absurd(Member::Max))
            }
            Some(Value::Boolean(_) | Value::Text(_) | Value::Other) => {
                Err(FieldError::WrongType(Member::Max))
            }
        }
    }

    pub(super) fn gone(&self) -> Result<Option<ClosingStatus>, FieldError> {
        match self.value(Member::Gone) {
            None | Some(Value::Boolean(false)) => Ok(None),
            Some(Value::Boolean(true) | Value::Integer(503)) => {
                Ok(Some(ClosingStatus::ServiceUnavailable))
            }
            Some(Value::Integer(599)) => Ok(Some(ClosingStatus::GoingAway)),
            Some(Value::Integer(_)) => Err(FieldError::Absurd(Member::Gone)),
            Some(Value::Text(_) | Value::Other) => Err(FieldError::WrongType(Member::Gone)),
        }
    }
}

/// Reads the field of a message that lists it in `Connection` (C1; RFC 9110
/// 7.6.1).
pub(super) fn listed(headers: &HeaderMap) -> Result<Read, Ignored> {
    let lines = listed_lines(headers)?;
    Ok(Read::lines(lines.iter().map(HeaderValue::as_bytes))?)
}

/// Returns the field's line, if `Connection` lists the field and it has no other
/// line.
pub fn only_line(headers: &HeaderMap) -> Option<&HeaderValue> {
    let lines = listed_lines(headers).ok()?;
    let mut lines = lines.iter();
    lines.next().filter(|_| lines.next().is_none())
}

/// Returns the field's lines, at least one, if `Connection` lists the field.
fn listed_lines(headers: &HeaderMap) -> Result<GetAll<'_, HeaderValue>, Ignored> {
    let lines = headers.get_all(RETRY_CONTRACT);
    if lines.iter().next().is_none() {
        return Err(Ignored::Absent);
    }
    match has_option(headers, RETRY_CONTRACT.as_str()) {
        true => Ok(lines),
        false => Err(Ignored::NotListed),
    }
}

/// Returns `true` if `Connection` has this option, in any case (RFC 9110 7.6.1).
pub(super) fn has_option(headers: &HeaderMap, option: &str) -> bool {
    let option = option.as_bytes();
    let mut lines = headers.get_all(CONNECTION).iter().map(HeaderValue::as_bytes);
    let is_option = |listed: &[u8]| trim_ows(listed).eq_ignore_ascii_case(option);
    // The common case, a line of its own, needs no splitting.
    lines.any(|line| line == option || line.split(|&byte| byte == b',').any(is_option))
}

/// Writes the field in place of any other, and lists it in `Connection`.
pub(super) fn write(headers: &mut HeaderMap, field: HeaderValue) -> Result<(), MaxSizeReached> {
    if !has_option(headers, RETRY_CONTRACT.as_str()) {
        const OPTION: HeaderValue = HeaderValue::from_static("retry-contract");
        headers.try_append(CONNECTION, OPTION)?;
    }
    headers.try_insert(RETRY_CONTRACT, field).map(drop)
}

/// Returns the field with these members, which are printable ASCII.
pub(super) fn field(members: String) -> HeaderValue {
    // An empty field would be ignored.
    HeaderValue::try_from(members).unwrap_or(HeaderValue::from_static(""))
}

fn trim_ows(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}
