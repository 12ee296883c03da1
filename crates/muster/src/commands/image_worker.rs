//! `muster image-worker`: makes one image, as PID 1 of namespaces of its own. Hidden; the bakery starts it.

use muster_provider_local::run_image_worker;
use muster_stdx::chain;

use crate::output::{Format, Printer};

const FAILED: u8 = 70;

pub(crate) fn run() -> u8 {
    match run_image_worker() {
        Ok(code) => u8::try_from(code).unwrap_or(FAILED),
        Err(error) => {
            Printer::new(Format::Text).note(&chain(&error));
            FAILED
        }
    }
}
