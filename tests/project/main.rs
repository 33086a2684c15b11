//! The source tree, the documents and the test wire.

mod layering;
mod pictures;
mod readme;
mod rust_source;
mod surface;
mod wire;
