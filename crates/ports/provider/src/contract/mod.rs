//! The checks that every provider passes.
//!
//! A provider's tests write a function that makes a `Fixture` and hand it to `contract_suite!`, which makes one test a
//! case. Each case gets a fixture of its own, makes what it needs under a tag of its own, and takes it away again,
//! also when it fails.

mod bench;
mod disturbing;
mod ending;
mod fixture;
mod making;
mod running;
mod sharing;

use std::any::Any;
use std::future::Future;
use std::io::Write as _;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;

use futures_util::FutureExt as _;

pub use bench::{Bench, Stop, Verdict};
pub use fixture::{Fixture, Leftovers, Probe, Reopen, TcpProbe};

/// How a case went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    /// The provider does not claim to do this, or the fixture has no way to check it.
    Skipped(String),
    Failed(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseResult {
    pub name: &'static str,
    pub outcome: Outcome,
}

/// Tests wait for it where they stand, so it need not be `Send`.
type Run = for<'a> fn(&'a Bench) -> Pin<Box<dyn Future<Output = Verdict> + 'a>>;

struct Case {
    name: &'static str,
    run: Run,
}

macro_rules! cases {
    ($($module:ident::$name:ident,)*) => {
        const CASES: &[Case] = &[$(Case { name: stringify!($name), run: |bench| Box::pin($module::$name(bench)) },)*];
    };
}

// `contract_suite!` below names them too; a test in every use of it compares the two.
cases! {
    making::a_created_machine_is_listed,
    making::the_same_token_makes_no_second_machine,
    making::the_same_token_at_once_makes_one_machine,
    making::the_same_token_finds_a_stopped_machine,
    making::lists_keep_to_all_the_tags,
    making::many_machines_at_once_are_apart,
    making::another_handle_finds_the_machines,
    making::a_running_machine_answers,
    running::stop_and_start_keep_the_address,
    running::stop_and_start_keep_the_data,
    running::stop_and_start_of_what_is_so_succeed,
    running::a_reboot_keeps_address_and_data,
    running::the_console_keeps_to_the_limit,
    running::unknown_machines_are_named,
    sharing::shared_folders_are_refused_where_there_are_none,
    sharing::a_shared_folder_outlives_its_machines,
    disturbing::faults_are_there_as_claimed,
    disturbing::a_killed_machine_is_down_and_says_why,
    disturbing::a_paused_machine_hangs_until_resumed,
    disturbing::a_machine_cut_off_is_alone_until_healed,
    ending::a_destroyed_machine_is_listed_no_more,
    ending::destroying_twice_or_the_unknown_succeeds,
    ending::machines_in_any_state_can_be_destroyed,
    ending::release_leaves_nothing,
    ending::after_a_release_machines_can_be_made,
}

/// The names of all cases, in order.
pub fn names() -> Vec<&'static str> {
    CASES.iter().map(|case| case.name).collect()
}

/// Runs every case, one after the other, each with a fixture of its own.
pub async fn run<F, Fut>(make: F) -> Vec<CaseResult>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Fixture>,
{
    let mut results = Vec::with_capacity(CASES.len());
    for case in CASES {
        results.push(finish(case, make().await).await);
    }
    results
}

/// Runs one case. Panics when there is none of that name.
pub async fn run_case(name: &str, fixture: Fixture) -> CaseResult {
    let case = CASES.iter().find(|case| case.name == name);
    finish(case.unwrap_or_else(|| panic!("the contract has no case {name}")), fixture).await
}

/// Panics with the reason when a case failed, and says on stderr when it was skipped.
pub fn require(result: &CaseResult) {
    match &result.outcome {
        Outcome::Passed => {}
        Outcome::Skipped(reason) => {
            // Written past the capture of the test harness: a skipped check must be seen. Nothing depends on it.
            drop(writeln!(std::io::stderr(), "skipped {}: {reason}", result.name));
        }
        Outcome::Failed(reason) => panic!("{}: {reason}", result.name),
    }
}

async fn finish(case: &Case, fixture: Fixture) -> CaseResult {
    let limit = fixture.limit;
    let bench = Bench::new(case.name, fixture);
    let run = AssertUnwindSafe((case.run)(&bench)).catch_unwind();
    let ended = match tokio::time::timeout(limit, run).await {
        Err(_) => Outcome::Failed(format!("it did not end within {} s", limit.as_secs())),
        Ok(Err(panic)) => Outcome::Failed(format!("it panicked: {}", words_of(panic.as_ref()))),
        Ok(Ok(Ok(()))) => Outcome::Passed,
        Ok(Ok(Err(Stop::Skip(reason)))) => Outcome::Skipped(reason),
        Ok(Ok(Err(Stop::Fail(reason)))) => Outcome::Failed(reason),
    };
    let cleaned = match tokio::time::timeout(limit, bench.clean()).await {
        Ok(cleaned) => cleaned,
        Err(_) => Err(Stop::Fail(format!("it did not end within {} s", limit.as_secs()))),
    };
    let outcome = match (ended, cleaned) {
        (Outcome::Failed(reason), _) => Outcome::Failed(reason),
        (_, Err(Stop::Fail(reason) | Stop::Skip(reason))) => Outcome::Failed(format!("cleaning up: {reason}")),
        (outcome, Ok(())) => outcome,
    };
    CaseResult { name: case.name, outcome }
}

fn words_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words")
}

/// One test for each case of the contract. Takes the path of an async function that makes a `Fixture`; the crate that
/// uses it depends on tokio.
#[macro_export]
macro_rules! contract_suite {
    ($make:path) => {
        $crate::contract_suite! {
            $make:
            a_created_machine_is_listed
            the_same_token_makes_no_second_machine
            the_same_token_at_once_makes_one_machine
            the_same_token_finds_a_stopped_machine
            lists_keep_to_all_the_tags
            many_machines_at_once_are_apart
            another_handle_finds_the_machines
            a_running_machine_answers
            stop_and_start_keep_the_address
            stop_and_start_keep_the_data
            stop_and_start_of_what_is_so_succeed
            a_reboot_keeps_address_and_data
            the_console_keeps_to_the_limit
            unknown_machines_are_named
            shared_folders_are_refused_where_there_are_none
            a_shared_folder_outlives_its_machines
            faults_are_there_as_claimed
            a_killed_machine_is_down_and_says_why
            a_paused_machine_hangs_until_resumed
            a_machine_cut_off_is_alone_until_healed
            a_destroyed_machine_is_listed_no_more
            destroying_twice_or_the_unknown_succeeds
            machines_in_any_state_can_be_destroyed
            release_leaves_nothing
            after_a_release_machines_can_be_made
        }
    };
    ($make:path: $($name:ident)*) => {
        #[test]
        fn every_case_has_a_test() {
            assert_eq!($crate::contract::names(), [$(stringify!($name)),*]);
        }

        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let fixture = $make().await;
                $crate::contract::require(&$crate::contract::run_case(stringify!($name), fixture).await);
            }
        )*
    };
}
