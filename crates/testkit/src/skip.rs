//! Tests that need what not every machine offers.

/// Says that a test is skipped, and why. With `RESEND_REQUIRE_ALL=1`, as CI
/// sets it, a skipped test fails instead.
#[allow(unreachable_pub, reason = "a module of a test, not of a library")]
pub fn skip(why: impl std::fmt::Display) {
    let required = std::env::var_os("RESEND_REQUIRE_ALL").is_some_and(|value| value == "1");
    assert!(!required, "{why}");
    eprintln!("SKIP: {why}");
}
