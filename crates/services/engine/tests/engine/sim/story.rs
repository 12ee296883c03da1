//! What a user does to a cluster, step by step, while everything goes wrong; and what must be true after each step.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_engine::{EngineError, Exit, NODE_TAG, Outcome, Tend};
use muster_plan::Policy;
use muster_provider::fake::{Fault, Operation};
use muster_provider::{MachineState, Provider as _, Status};
use muster_spec::OnFailure;
use muster_store::{NodeRecord, Store as _};
use muster_testkit::figure;
use muster_types::{ClientToken, GroupName, MachineId, NodeName, Phase};

use super::life::Mishap;
use super::world::{LAG_MAX, SimProcess, SimWorld};
use crate::support::{TestBlueprint, TestGroup, Trouble, Wants, name};

/// Calls of a process after which nothing happens to it any more; most runs make about as many.
const CALLS_MAX: usize = 45;

/// Far longer than any run may take, in the time of the story.
const RUN_MAX: Duration = Duration::from_hours(12);

/// Runs after which everything has to be as asked, once nothing goes wrong any more.
const RUNS_MAX: usize = 6;

/// One thing that a user does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// `up` with the same file.
    Again,
    /// Another file on the nodes of a group.
    File(usize),
    /// Other machines for a group.
    Machine(usize),
    /// Another command for a group, which means other machines.
    Command(usize),
    /// Another number in the file.
    Count(u32),
    Scale(u32),
    /// A group comes or goes.
    Toggle,
    /// One node gets another machine.
    Replace(u32),
    /// One node is taken out of work, or back, stopped, or rebooted, and then comes another `up`.
    Tend(Tend, u32),
    Down,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) enum End {
    Died,
    /// Somebody else holds the lease.
    Locked,
    Ended(Result<Outcome, EngineError>),
}

pub(crate) struct Story {
    pub(crate) seed: u64,
    pub(crate) world: SimWorld,
    pub(crate) file: TestBlueprint,
    pub(crate) scaled: Option<u32>,
    /// Whether the cluster should be there.
    pub(crate) is_up: bool,
    edits: u32,
    /// The steps since everything was as asked for.
    since: Vec<Step>,
    /// Nodes that were damaged from outside since then.
    damaged: BTreeSet<NodeName>,
    /// The machines of that time.
    before: BTreeMap<NodeName, MachineId>,
    pub(crate) tally: RefCell<Tally>,
}

/// What happened to the processes of stories.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) runs: u64,
    pub(crate) deaths: u64,
    pub(crate) sleeps: u64,
    pub(crate) leases_lost: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.deaths += other.deaths;
        self.sleeps += other.sleeps;
        self.leases_lost += other.leases_lost;
    }

    pub(crate) fn tell(self, stories: &str) {
        figure(&format!("{stories}-runs"), self.runs);
        figure(&format!("{stories}-processes-killed"), self.deaths);
        figure(&format!("{stories}-processes-asleep"), self.sleeps);
        figure(&format!("{stories}-leases-lost"), self.leases_lost);
    }
}

const POLICIES: [OnFailure; 3] = [OnFailure::Keep, OnFailure::Replace, OnFailure::Rollback];
const TEXTS: [&str; 4] = ["hello", "new", "newer", "newest"];
const SIZES: [&str; 4] = ["small", "large", "larger", "largest"];
const COMMANDS: [&str; 4] = ["true", "true 1", "true 2", "true 3"];

fn old(on_failure: OnFailure) -> TestGroup {
    TestGroup { drained_by: Some("db"), on_failure, ..TestGroup::new("old", 2) }
}

impl Story {
    pub(crate) fn new(seed: u64) -> Self {
        let db = TestGroup { follows: vec!["web", "old"], ..TestGroup::new("db", 1) };
        let web = TestGroup {
            needs: vec!["db"],
            wants: Wants::Everybody,
            drained_by: Some("db"),
            on_failure: OnFailure::Retry(1),
            ..TestGroup::new("web", 2)
        };
        let mut file = TestBlueprint::new(vec![db, web]);
        let world = SimWorld::new(seed, file.cluster.clone());
        file.groups.push(old(world.dice.pick(&POLICIES)));
        Self {
            seed,
            world,
            file,
            scaled: None,
            is_up: false,
            edits: 0,
            since: Vec::new(),
            damaged: BTreeSet::new(),
            before: BTreeMap::new(),
            tally: RefCell::default(),
        }
    }

    /// The next thing that the user does.
    pub(crate) fn step(&self) -> Step {
        let dice = &self.world.dice;
        if !self.is_up {
            return Step::Again;
        }
        let node = 1 + u32::try_from(dice.roll(2)).unwrap();
        match dice.roll(14) {
            0 => Step::Again,
            1 | 2 => Step::File(dice.roll(2)),
            3 => Step::Machine(dice.roll(2)),
            4 => Step::Command(1),
            5 => Step::Count(1 + u32::try_from(dice.roll(3)).unwrap()),
            6..=8 => Step::Scale(1 + u32::try_from(dice.roll(4)).unwrap()),
            9 => Step::Toggle,
            10 => Step::Replace(node),
            11 | 12 => Step::Tend(dice.pick(&[Tend::Drain, Tend::Resume, Tend::Stop, Tend::Reboot]), node),
            _ => Step::Down,
        }
    }

    /// Writes into the file what the step changes in it.
    pub(crate) fn edit(&mut self, step: Step) {
        self.edits += 1;
        let next = self.edits as usize % TEXTS.len();
        match step {
            Step::File(group) => self.file.groups[group].motd = TEXTS[next],
            Step::Machine(group) => self.file.groups[group].machine = SIZES[next],
            Step::Command(group) => self.file.groups[group].command = COMMANDS[next],
            Step::Count(count) => self.file.groups[1].count = count,
            Step::Scale(count) => self.scaled = Some(count),
            Step::Toggle if self.file.groups.len() > 2 => self.file.groups.truncate(2),
            Step::Toggle => self.file.groups.push(old(self.world.dice.pick(&POLICIES))),
            Step::Down => self.scaled = None,
            Step::Again | Step::Replace(_) | Step::Tend(..) => {}
        }
        self.is_up = step != Step::Down;
    }

    pub(crate) fn desired(&self) -> BTreeSet<NodeName> {
        let numbers = self.file.groups.iter().map(|group| {
            let scaled = self.scaled.filter(|_| group.name == "web");
            (GroupName::new(group.name).unwrap(), scaled.unwrap_or(group.count))
        });
        let nodes = numbers.flat_map(|(group, count)| (1..=count).map(move |i| NodeName::of(&group, i).unwrap()));
        if self.is_up { nodes.collect() } else { BTreeSet::new() }
    }

    /// One process tries the step.
    pub(crate) async fn attempt(&self, step: Step, mishap: Option<(usize, Mishap)>) -> End {
        let replace = match step {
            Step::Replace(index) => BTreeSet::from([name(&format!("web-{index}"))]),
            _ => BTreeSet::new(),
        };
        let process = self.world.process(mishap, Policy { replace, ..Policy::default() });
        self.live(step, &process).await
    }

    pub(crate) async fn live(&self, step: Step, process: &SimProcess) -> End {
        let life = &process.life;
        let end = tokio::select! {
            biased;
            () = life.died() => End::Died,
            () = tokio::time::sleep(RUN_MAX) => panic!("seed {}: {step:?} waits for ever", self.seed),
            result = Box::pin(life.run(self.work(step, process))) => match result {
                Err(EngineError::Locked { .. }) => End::Locked,
                result => End::Ended(result),
            },
        };
        self.world.exchange.disk.buried(life.pid);
        let last = life.calls().last().copied().unwrap_or_default();
        let words = match &end {
            End::Died => format!("died at {last}"),
            End::Locked => "locked".to_owned(),
            End::Ended(Ok(outcome)) => format!("{:?}", outcome.exit),
            End::Ended(Err(error)) => muster_stdx::chain(error),
        };
        self.world.exchange.note(&format!("{}: {words}", life.pid));
        let mut tally = self.tally.borrow_mut();
        tally.runs += u64::from(!matches!(end, End::Locked));
        tally.deaths += u64::from(matches!(end, End::Died));
        tally.sleeps += u64::from(life.was_asleep());
        tally.leases_lost += u64::from(matches!(end, End::Ended(Err(EngineError::LeaseLost { .. }))));
        end
    }

    async fn work(&self, step: Step, process: &SimProcess) -> Result<Outcome, EngineError> {
        let engine = &process.engine;
        if step == Step::Down {
            return engine.down(&self.file.cluster, process.life.token.clone()).await;
        }
        engine.lease(&self.file.cluster).await?;
        if let Some(count) = self.scaled {
            engine.scale(BTreeMap::from([(GroupName::new("web").unwrap(), count)])).await;
        }
        if let Step::Tend(tend, index) = step {
            let nodes = BTreeSet::from([name(&format!("web-{index}"))]);
            // One that is not there is told of, and made after it.
            engine.tend(&self.file, (tend, &nodes), process.life.token.clone()).await?;
        }
        let plan = engine.plan(&self.file).await?;
        engine.up(&self.file, plan, process.life.token.clone()).await
    }

    /// What the cloud and the nodes are up to next.
    pub(crate) fn trouble(&self) {
        let dice = &self.world.dice;
        let cloud = &self.world.exchange.cloud;
        if dice.once_in(8) {
            self.world.exchange.set_rate(Some(2 + u32::try_from(dice.roll(6)).unwrap()));
        }
        for _ in 0..dice.roll(5) {
            let times = 1 + dice.roll(3);
            match dice.roll(18) {
                0 | 1 => cloud.inject(Operation::Create, Fault::LoseReply, times),
                2 => cloud.inject(Operation::Create, Fault::Refuse(Status::Temporary), times),
                3 => cloud.inject(Operation::Create, Fault::Refuse(Status::Permanent), 1),
                4 | 5 => cloud.inject(Operation::Create, Fault::InvisibleFor(self.lag()), times),
                6 => cloud.inject(Operation::Destroy, Fault::Pretend, times),
                7 => cloud.inject(Operation::Destroy, Fault::LoseReply, times),
                8 => cloud.inject(Operation::Destroy, Fault::Linger { lists: times }, 1),
                9 => cloud.inject(Operation::Destroy, Fault::Refuse(Status::Permanent), 1),
                10 => cloud.inject(Operation::List, Fault::Refuse(Status::Temporary), times),
                11 => cloud.inject(Operation::List, Fault::Stale, 1),
                12 => cloud.inject(Operation::WaitRunning, Fault::FailBoot, 1),
                13 => cloud.inject(Operation::Release, Fault::LoseReply, 1),
                14 => self.world.agents.trouble("web-1", Trouble::BreakApply, 1),
                15 => self.world.agents.trouble(dice.pick(&["web-2", "old-2", "db-1"]), Trouble::FailStep, 1),
                16 => self.world.agents.trouble(dice.pick(&["web-1", "old-1", "old-2"]), Trouble::FailCheck, 1),
                _ => self.world.agents.trouble("db-1", Trouble::LoseEnrolReply, 1),
            }
        }
    }

    fn lag(&self) -> Duration {
        Duration::from_millis(self.world.dice.roll(usize::try_from(LAG_MAX.as_millis()).unwrap()) as u64)
    }

    fn calm(&self) {
        self.world.exchange.set_rate(None);
        self.world.exchange.cloud.clear_faults();
        self.world.agents.clear_troubles();
    }

    fn mishap(&self) -> Option<(usize, Mishap)> {
        let dice = &self.world.dice;
        let what = match dice.roll(8) {
            0..=4 => Mishap::Dies(dice.edge()),
            5 => Mishap::Interrupted,
            6 => Mishap::Sleeps(Duration::from_secs(1 + dice.roll(90) as u64)),
            _ => return None,
        };
        Some((1 + dice.roll(CALLS_MAX), what))
    }

    /// Does the step, with processes that come to grief on the way, and sometimes two at once. Then it is finished, or
    /// the user thinks again.
    pub(crate) async fn carry_out(&mut self, step: Step) {
        self.edit(step);
        self.since.push(step);
        self.world.exchange.note(&format!("{step:?}"));
        self.trouble();
        for _ in 0..self.world.dice.roll(5) {
            if self.world.dice.once_in(6) {
                self.two_writers(step).await;
            } else {
                self.endure(step, self.mishap()).await;
            }
        }
        // Only `down` goes on from a `down`.
        if step == Step::Down || self.world.dice.once_in(2) {
            self.finish(step).await;
        }
    }

    /// Nothing goes wrong any more: everything has to be as asked for.
    pub(crate) async fn finish(&mut self, step: Step) {
        self.calm();
        self.converge(step).await;
        // What dead processes sent has arrived by now.
        tokio::time::sleep(LAG_MAX * 2).await;
        self.assert_true(step).await;
        self.since.clear();
        self.damaged.clear();
        self.before = self.identities().await;
    }

    /// Does the step after somebody was at the cluster by other means. A process may die on the way, and that is all.
    pub(crate) async fn carry_out_after_damage(&mut self, step: Step) {
        for _ in 0..self.world.dice.roll(4) {
            self.damage().await;
        }
        self.edit(step);
        self.since.push(step);
        self.world.exchange.note(&format!("{step:?}"));
        if self.world.dice.once_in(4) {
            self.endure(step, Some((1 + self.world.dice.roll(CALLS_MAX), Mishap::Dies(self.world.dice.edge())))).await;
        }
        self.finish(step).await;
    }

    /// Machines are removed, stopped, broken or paused, or what is on them is changed; or one comes that carries our tag.
    async fn damage(&mut self) {
        let (dice, cloud) = (&self.world.dice, &self.world.exchange.cloud);
        let machines = cloud.machines();
        if machines.is_empty() {
            return;
        }
        let machine = &machines[dice.roll(machines.len())];
        let kind = dice.roll(7);
        self.world.exchange.note(&format!("damage {kind} to {} ({})", machine.name, machine.id));
        match kind {
            0 => cloud.vanish(&machine.id),
            1 => cloud.crash(&machine.id, MachineState::Stopped, "somebody stopped it"),
            2 => cloud.crash(&machine.id, MachineState::Failed, "its disk broke"),
            3 => drop(cloud.provider().faults().unwrap().pause(&machine.id).await),
            4 => self.world.agents.tamper(&machine.id),
            _ => {
                let mut request = cloud.request(&machine.id).unwrap();
                let names = ["web-1", "web-4", "db-1", "old-2", "ghost-1"];
                let stranger = dice.pick(&names);
                request.name = name(stranger);
                request.token = ClientToken::new(format!("stranger-{}", cloud.made().len()));
                request.tags.insert(NODE_TAG.to_owned(), stranger.to_owned());
                cloud.provider().create(&request).await.unwrap();
            }
        }
        if matches!(kind, 0 | 2) {
            self.damaged.insert(machine.name.clone());
        }
    }

    async fn endure(&self, step: Step, mishap: Option<(usize, Mishap)>) {
        if let End::Ended(Err(error)) = self.attempt(step, mishap).await {
            self.assert_usual(&error);
        }
    }

    /// One process sleeps in the middle of its work, the next one takes over when the lease is free.
    async fn two_writers(&self, step: Step) {
        let dice = &self.world.dice;
        let sleep = Mishap::Sleeps(Duration::from_secs(10 + dice.roll(120) as u64));
        let process = self.world.process(Some((1 + dice.roll(CALLS_MAX), sleep)), Policy::default());
        let first = async {
            if let End::Ended(Err(error)) = self.live(step, &process).await {
                self.assert_usual(&error);
            }
        };
        let second = async {
            process.life.slept().await;
            for _ in 0..300 {
                match self.attempt(step, None).await {
                    End::Locked => tokio::time::sleep(Duration::from_secs(1)).await,
                    End::Ended(Err(error)) => return self.assert_usual(&error),
                    End::Ended(Ok(_)) | End::Died => return,
                }
            }
            panic!("seed {}: the lease never became free", self.seed);
        };
        tokio::select! {
            // It may end without ever falling asleep, and then nobody takes over.
            () = async { first.await; if process.life.was_asleep() { std::future::pending::<()>().await } } => {}
            () = second => {}
        }
    }

    /// Errors that a run may end with while everything goes wrong.
    fn assert_usual(&self, error: &EngineError) {
        let usual = matches!(
            error,
            EngineError::LeaseLost { .. }
                | EngineError::Locked { .. }
                | EngineError::Provider { .. }
                | EngineError::PlanChanged { .. }
        );
        assert!(usual, "seed {}: {}", self.seed, muster_stdx::chain(error));
    }

    /// Nothing goes wrong any more.
    async fn converge(&self, step: Step) {
        let mut last = None;
        for _ in 0..RUNS_MAX {
            match self.attempt(step, None).await {
                End::Ended(Ok(outcome)) if outcome.exit == Exit::Done => return,
                end => last = Some(end),
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        panic!("seed {}: {step:?} is not done after {RUNS_MAX} runs without faults: {last:?}", self.seed);
    }

    /// The machine of each node.
    async fn identities(&self) -> BTreeMap<NodeName, MachineId> {
        let process = self.world.process(None, Policy::default());
        let nodes = process.store.nodes(&self.file.cluster).await.unwrap();
        nodes.into_iter().filter_map(|node| Some((node.name, node.machine?))).collect()
    }

    async fn assert_true(&self, step: Step) {
        let seed = self.seed;
        assert_eq!(self.world.exchange.wrongs(), Vec::<String>::new(), "seed {seed}, {step:?}");
        let machines = self.world.exchange.cloud.machines();
        let found: BTreeSet<NodeName> = machines.iter().map(|machine| machine.name.clone()).collect();
        assert_eq!(machines.len(), found.len(), "seed {seed}, {step:?}: a machine twice: {machines:?}");
        assert_eq!(found, self.desired(), "seed {seed}, {step:?}");
        assert!(machines.iter().all(|machine| machine.state == MachineState::Running), "seed {seed}: {machines:?}");
        let process = self.world.process(None, Policy::default());
        let cluster = &self.file.cluster;
        assert_eq!(process.store.open_intents(cluster).await.unwrap(), [], "seed {seed}, {step:?}");
        let nodes = process.store.nodes(cluster).await.unwrap();
        assert_eq!(nodes.len(), found.len(), "seed {seed}, {step:?}");
        assert!(nodes.iter().all(|node| node.phase == Phase::Ready), "seed {seed}, {step:?}: {nodes:?}");
        if self.is_up {
            let plan = process.engine.plan(&self.file).await.unwrap();
            assert!(plan.is_empty(), "seed {seed}, {step:?}: {plan}");
            for node in &nodes {
                self.assert_kept(node);
            }
        } else {
            assert_eq!(process.store.cluster(cluster).await.unwrap(), None, "seed {seed}");
            assert!(!self.world.exchange.cloud.is_shared_left(), "seed {seed}: what machines share is left");
        }
    }

    /// Nobody loses a machine that no step has a reason to take.
    fn assert_kept(&self, node: &NodeRecord) {
        let group = self.file.groups.iter().position(|group| group.name == node.group.as_str());
        let has_reason = self.since.iter().any(|step| match step {
            Step::Machine(changed) | Step::Command(changed) => group == Some(*changed),
            Step::Replace(index) => node.name == name(&format!("web-{index}")),
            // What left may have come back.
            Step::Count(_) | Step::Scale(_) | Step::Toggle | Step::Down => self.since.len() > 1,
            Step::Again | Step::File(_) | Step::Tend(..) => false,
        });
        // The group `old` may replace what fails.
        if !has_reason && node.group.as_str() != "old" && !self.damaged.contains(&node.name) {
            let was = self.before.get(&node.name);
            assert!(
                was.is_none() || was == node.machine.as_ref(),
                "seed {}, {:?}: {} had machine {was:?} and has {:?}",
                self.seed,
                self.since,
                node.name,
                node.machine
            );
        }
    }
}

impl Drop for Story {
    #[expect(clippy::print_stdout, reason = "a story that fails shows what came before")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.world.exchange.log().join("\n"));
        }
    }
}
