//! The options that every demonstration has.

use std::time::Duration;

use lexopt::prelude::*;

/// What `--help` says of these options.
pub const HELP: &str = "\
  --json           print JSON instead of the table
  --delay-ms N     time on the wire, one way (5)
  --loss N         packets lost on the wire, in percent (0)
  --handler-ms N   time the server's handler takes (5)
  --seed N         seed of the wire, the load and the server (1)
  --loopback       do without the wire
  --help
";

/// The settings that every demonstration has.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether JSON is printed.
    pub json: bool,
    /// The time on the wire, one way.
    pub delay: Duration,
    /// The share of packets that the wire loses, from 0 to 1.
    pub loss: f64,
    /// The time the server's handler takes.
    pub handler: Duration,
    /// The seed of everything that is drawn.
    pub seed: u64,
    /// Whether to do without the wire.
    pub loopback: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            json: false,
            delay: Duration::from_millis(5),
            loss: 0.0,
            handler: Duration::from_millis(5),
            seed: 1,
            loopback: false,
        }
    }
}

impl Settings {
    /// Reads the value of a long option; returns `false` if it is none of these.
    ///
    /// # Errors
    ///
    /// A value that is missing or that makes no sense.
    pub fn read(&mut self, name: &str, parser: &mut lexopt::Parser) -> Result<bool, lexopt::Error> {
        match name {
            "json" => self.json = true,
            "delay-ms" => self.delay = millis(parser)?,
            "loss" => self.loss = number(parser)? / 100.0,
            "handler-ms" => self.handler = millis(parser)?,
            "seed" => self.seed = parser.value()?.parse()?,
            "loopback" => self.loopback = true,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Reads a number from 0 on.
///
/// # Errors
///
/// A value that is missing or is no such number.
pub fn number(parser: &mut lexopt::Parser) -> Result<f64, lexopt::Error> {
    let number: f64 = parser.value()?.parse()?;
    if number.is_finite() && number >= 0.0 {
        Ok(number)
    } else {
        Err("a number from 0 on is needed".into())
    }
}

/// Reads a time in seconds.
///
/// # Errors
///
/// A value that is missing or is no time.
pub fn seconds(parser: &mut lexopt::Parser) -> Result<Duration, lexopt::Error> {
    Duration::try_from_secs_f64(number(parser)?).map_err(|e| e.to_string().into())
}

/// Reads a time in milliseconds.
///
/// # Errors
///
/// A value that is missing or is no time.
pub fn millis(parser: &mut lexopt::Parser) -> Result<Duration, lexopt::Error> {
    Duration::try_from_secs_f64(number(parser)? / 1e3).map_err(|e| e.to_string().into())
}

/// Writes a time as [`millis`] reads it.
pub fn to_millis(time: Duration) -> String {
    (time.as_secs_f64() * 1e3).to_string()
}
