//! Bounds on shares that hold but for chance.

/// A check fails by chance less often than this.
pub const NEVER: f64 = 1e-8;

/// Returns how likely at most `hits` of `trials` are, if each hits with this
/// chance: the lower tail of the binomial distribution.
pub fn at_most(hits: u32, trials: u32, chance: f64) -> f64 {
    let odds = (chance / (1.0 - chance)).ln();
    let mut term = f64::from(trials) * (1.0 - chance).ln();
    let mut sum = 0.0;
    for nth in 0..=hits.min(trials) {
        sum += term.exp();
        term += odds + (f64::from(trials - nth) / f64::from(nth + 1)).ln();
    }
    sum
}
