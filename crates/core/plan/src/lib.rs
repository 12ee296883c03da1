//! Decides what has to happen to a cluster: what is desired, observed and recorded goes in, an immutable plan comes out.
//! Pure: no clock, no I/O, the same inputs give the same plan.

mod assign;
mod decide;
mod input;
mod plan;
mod text;

pub use assign::{Assigned, Assignment, Extra, assign};
pub use decide::plan;
pub use input::{
    Begun, BegunAction, Change, Desired, Facts, Fate, Health, Inputs, MachineState, Observed, Policy, Recorded,
};
pub use plan::{Action, PLAN_VERSION, Plan, Summary, Verb};
