//! Every wait and every number of tries, in one place.

use std::time::Duration;

/// The defaults suit people and clouds; tests make them short.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a lease lives without being renewed; it is renewed three times in that time.
    pub lease_ttl: Duration,
    /// An order is not given when less than this is left of the lease.
    pub lease_margin: Duration,
    /// Tries of one provider call whose errors are temporary.
    pub provider_tries_max: u32,
    /// Pauses between tries double from the first to the longest.
    pub pause_first: Duration,
    pub pause_longest: Duration,
    /// One call to the provider, such as a create.
    pub provider_call: Duration,
    /// One list of machines.
    pub list: Duration,
    /// One image, from the first download to the last file.
    pub bake: Duration,
    /// From a taken order to a machine that runs.
    pub boot: Duration,
    /// From a running machine to an agent that answers.
    pub reach: Duration,
    /// How long a node that follows others waits for more of them that are about to join: less than what taking them in
    /// one by one costs.
    pub gather: Duration,
    /// One question to one agent, when all are asked.
    pub ask: Duration,
    /// How often the provider is asked whether a machine is really gone.
    pub lists_max: u32,
    /// Agents that are talked to at once.
    pub agents_max: usize,
    /// What is left of a certificate's life when it is renewed: a third of 30 days.
    pub renew_before: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            lease_ttl: Duration::from_secs(30),
            lease_margin: Duration::from_secs(5),
            provider_tries_max: 5,
            pause_first: Duration::from_millis(100),
            pause_longest: Duration::from_secs(5),
            provider_call: Duration::from_mins(10),
            list: Duration::from_secs(30),
            bake: Duration::from_hours(2),
            boot: Duration::from_mins(15),
            reach: Duration::from_mins(2),
            gather: Duration::from_secs(5),
            ask: Duration::from_secs(3),
            lists_max: 6,
            agents_max: 256,
            renew_before: Duration::from_hours(10 * 24),
        }
    }
}
