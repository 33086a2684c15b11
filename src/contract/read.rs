//! Reads and writes the field of a message, before its members have a sense.

use http::header::{CONNECTION, MaxSizeReached};
use http::{HeaderMap, HeaderValue};

use super::accept::Ignored;
use super::dictionary::{self, Value};
use super::field::{ClosingStatus, FieldError, LONGEST, Max, Member, RETRY_CONTRACT};
use super::hop::Hop;

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
        let mut octets: usize = 0;
        for line in lines {
            octets = octets.saturating_add(line.len());
            if octets > LONGEST {
                return Err(FieldError::TooLong(octets));
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
            Some(Value::Integer(octets)) => {
                let max = u32::try_from(*octets).ok().and_then(Max::new);
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
    if !headers.contains_key(RETRY_CONTRACT) {
        return Err(Ignored::Absent);
    }
    if !has_option(headers, RETRY_CONTRACT.as_str()) {
        return Err(Ignored::NotListed);
    }
    let lines = headers.get_all(RETRY_CONTRACT).iter().map(HeaderValue::as_bytes);
    Ok(Read::lines(lines)?)
}

/// Returns whether `Connection` has an option, in any case (RFC 9110 7.6.1).
pub(super) fn has_option(headers: &HeaderMap, option: &str) -> bool {
    let lines = headers.get_all(CONNECTION).iter();
    let mut options = lines.flat_map(|line| line.as_bytes().split(|&octet| octet == b','));
    options.any(|listed| trim_ows(listed).eq_ignore_ascii_case(option.as_bytes()))
}

/// Writes the field in place of any other, and lists it in `Connection`.
pub(super) fn write(headers: &mut HeaderMap, field: &str) -> Result<(), MaxSizeReached> {
    if !has_option(headers, RETRY_CONTRACT.as_str()) {
        let option = HeaderValue::from_static("retry-contract");
        headers.try_append(CONNECTION, option)?;
    }
    // Members are printable ASCII. An empty field would be ignored.
    let value = HeaderValue::from_str(field).unwrap_or(HeaderValue::from_static(""));
    headers.try_insert(RETRY_CONTRACT, value).map(drop)
}

fn trim_ows(mut octets: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = octets {
        octets = rest;
    }
    octets
}
