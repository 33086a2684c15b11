//! Every client stack against scripted origins, with what the origin saw as the truth.

mod after_write;
mod idle;
mod lengths;
mod redirect;
mod segments;
mod truth;
