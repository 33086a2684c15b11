//! Operations on the ledger, against a naive model of it.
#![no_main]

use testkit::ledger_model as model;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use tower_resend_core::{Errno, Unavailable};

use self::model::{Operation, SEEN, run};

fuzz_target!(|input: &[u8]| {
    let mut input = Unstructured::new(input);
    let calibration = match input.ratio(1, 8) {
        Ok(true) => Err(Unavailable::Uncalibrated),
        _ => Ok(()),
    };
    let mut operations = Vec::new();
    // The model takes time with the square of the length.
    while operations.len() < 60 && !input.is_empty() {
        match operation(&mut input) {
            Ok(operation) => operations.push(operation),
            Err(_) => break,
        }
    }
    run(calibration, &operations);
});

fn operation(input: &mut Unstructured<'_>) -> Result<Operation> {
    let octets = |input: &mut Unstructured<'_>| input.arbitrary::<u16>().map(usize::from);
    let seen = |input: &mut Unstructured<'_>| input.choose(&SEEN).copied();
    Ok(match input.int_in_range(0..=12)? {
        0 | 1 => Operation::Arm,
        2 => Operation::Resolve,
        3 => Operation::Release,
        4 => Operation::TakeOver,
        5 | 6 => Operation::StaleCheck(seen(input)?),
        7 | 8 => Operation::Written(octets(input)?),
        9 => Operation::Read(octets(input)?, seen(input)?),
        10 => Operation::Reply(seen(input)?),
        11 => Operation::End,
        _ => Operation::Error(input.arbitrary::<Option<i32>>()?.map(Errno)),
    })
}
