//! Each fault does what it says, as often as it was told to.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use muster_provider::fake::{CallOutcome, FakeCloud, Fault, Gate, LineProbe, Operation};
use muster_provider::{Faults as _, MachineState, Provider as _, Status};
use muster_types::NodeName;
use tokio::io::AsyncReadExt as _;

use crate::{owned, request, running};

#[tokio::test]
async fn refusals_are_counted_and_change_nothing() {
    let cloud = FakeCloud::new();
    let provider = cloud.provider();
    cloud.inject(Operation::Create, Fault::Refuse(Status::Temporary), 2);
    for _ in 0..2 {
        assert!(provider.create(&request("web-1")).await.unwrap_err().is_temporary());
    }
    assert!(cloud.made().is_empty());
    provider.create(&request("web-1")).await.unwrap();
    let outcomes: Vec<_> = cloud.calls_of(Operation::Create).iter().map(|call| call.outcome).collect();
    let refused = CallOutcome::Refused(Status::Temporary);
    assert_eq!(outcomes, [refused, refused, CallOutcome::Answered]);
}

#[tokio::test]
async fn a_lost_reply_comes_after_the_effect() {
    let cloud = FakeCloud::new();
    let provider = cloud.provider();
    cloud.inject(Operation::Create, Fault::LoseReply, 1);
    cloud.inject(Operation::Create, Fault::Invisible { lists: 2 }, 1);
    assert!(provider.create(&request("web-1")).await.unwrap_err().is_temporary());
    assert_eq!(cloud.machines().len(), 1);
    for seen in [0, 0, 1] {
        assert_eq!(provider.list(&owned()).await.unwrap().len(), seen);
    }
    let again = provider.create(&request("web-1")).await.unwrap();
    assert_eq!(again.id, cloud.machines()[0].id);
    assert_eq!(cloud.made().len(), 1);
    assert_eq!(cloud.calls_of(Operation::Create)[0].outcome, CallOutcome::ReplyLost);
}

#[tokio::test]
async fn faults_for_one_machine_leave_the_others() {
    let cloud = FakeCloud::new();
    let provider = cloud.provider();
    let name = NodeName::new("web-2").unwrap();
    cloud.inject_for(&name, Operation::WaitRunning, Fault::FailBoot, 1);
    let first = running(&provider, "web-1").await;
    let second = provider.create(&request("web-2")).await.unwrap();
    let second = provider.wait_running(&second.id).await.unwrap();
    assert_eq!((first.state, second.state), (MachineState::Running, MachineState::Failed));
    assert!(second.detail.unwrap().contains("failed to boot"));
    assert!(provider.console(&second.id, 1).await.unwrap()[0].contains("panic"));
    provider.start(&second.id).await.unwrap();
    assert_eq!(provider.wait_running(&second.id).await.unwrap().state, MachineState::Running);
}

#[tokio::test]
async fn a_machine_can_outlive_its_destruction_for_a_while_or_for_good() {
    let cloud = FakeCloud::new();
    let provider = cloud.provider();
    let machine = running(&provider, "web-1").await;
    cloud.inject(Operation::Destroy, Fault::Pretend, 1);
    provider.destroy(&machine.id).await.unwrap();
    assert_eq!(provider.list(&owned()).await.unwrap()[0].state, MachineState::Running);
    cloud.inject(Operation::Destroy, Fault::Linger { lists: 2 }, 1);
    provider.destroy(&machine.id).await.unwrap();
    for seen in [1, 1, 0] {
        let listed = provider.list(&owned()).await.unwrap();
        assert_eq!(listed.len(), seen);
        assert!(listed.iter().all(|machine| machine.state == MachineState::Removing));
    }
    cloud.inject(Operation::Destroy, Fault::Refuse(Status::Permanent), 1);
    assert!(!provider.destroy(&machine.id).await.unwrap_err().is_temporary());
}

#[tokio::test]
async fn delays_take_their_time_before_anything_happens() {
    let cloud = FakeCloud::new();
    let provider = cloud.provider();
    let delay = Duration::from_millis(100);
    cloud.inject(Operation::Create, Fault::Delay(delay), 1);
    let before = Instant::now();
    let request = request("web-1");
    let mut create = provider.create(&request);
    assert!((&mut create).now_or_never().is_none() && cloud.made().is_empty());
    create.await.unwrap();
    assert!(before.elapsed() >= delay);
}

#[tokio::test]
async fn calls_wait_at_a_gate_and_are_counted() {
    let cloud = FakeCloud::new();
    let provider = cloud.provider();
    let gate = Gate::new();
    cloud.inject(Operation::Create, Fault::Hold(gate.clone()), 3);
    let requests: Vec<_> = (1..=3).map(|number| request(&format!("web-{number}"))).collect();
    let creates = join_all(requests.iter().map(|request| provider.create(request)));
    let opens = async {
        gate.arrived(3).await;
        assert!(cloud.made().is_empty());
        gate.open();
    };
    let (made, ()) = tokio::join!(creates, opens);
    assert!(made.iter().all(Result::is_ok));
    assert_eq!(cloud.most_at_once(Operation::Create), 3);
}

#[tokio::test]
#[should_panic(expected = "means nothing to List")]
async fn a_fault_that_fits_no_call_is_a_mistake_of_the_test() {
    FakeCloud::new().inject(Operation::List, Fault::FailBoot, 1);
}

#[tokio::test]
async fn connections_meet_faults_too() {
    let cloud = FakeCloud::new();
    let provider = cloud.provider();
    let machine = running(&provider, "web-1").await;
    cloud.inject_for(&machine.name, Operation::Connect, Fault::Refuse(Status::Temporary), 1);
    let dialer = provider.dialer();
    let refused = LineProbe.ask(dialer.as_ref(), &machine, "name").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(LineProbe.ask(dialer.as_ref(), &machine, "name").await.unwrap(), "web-1");
    let nowhere = SocketAddr::from(([10, 0, 0, 1], 22));
    assert_eq!(dialer.connect(nowhere).await.unwrap_err().kind(), ErrorKind::HostUnreachable);
}

#[tokio::test]
async fn an_open_connection_stands_still_and_ends_with_its_machine() {
    let cloud = FakeCloud::new();
    cloud.serve(|mut visit| async move {
        let answer = format!("{} {} {}", visit.user_data.expose(), visit.boot, visit.port);
        let mut byte = [0; 1];
        while visit.stream.read_exact(&mut byte).await.is_ok() {
            if tokio::io::AsyncWriteExt::write_all(&mut visit.stream, answer.as_bytes()).await.is_err() {
                return;
            }
        }
    });
    let provider = cloud.provider();
    let machine = running(&provider, "web-1").await;
    let mut stream = provider.dialer().connect(SocketAddr::new(machine.addresses[0], 80)).await.unwrap();
    let mut answer = [0; "data of web-1 1 80".len()];
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"?").await.unwrap();
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"data of web-1 1 80");

    provider.pause(&machine.id).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"?").await.unwrap();
    let silent = tokio::time::timeout(Duration::from_millis(100), stream.read_exact(&mut answer)).await;
    assert!(silent.is_err());
    provider.resume(&machine.id).await.unwrap();
    stream.read_exact(&mut answer).await.unwrap();

    provider.reboot(&machine.id).await.unwrap();
    assert_eq!(stream.read(&mut answer).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn tests_can_take_machines_away_behind_the_providers_back() {
    let cloud = FakeCloud::new();
    let provider = cloud.provider();
    let (first, second) = (running(&provider, "web-1").await, running(&provider, "web-2").await);
    cloud.vanish(&first.id);
    cloud.crash(&second.id, MachineState::Failed, "out of memory");
    let listed = provider.list(&owned()).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].state, listed[0].detail.as_deref()), (MachineState::Failed, Some("out of memory")));
}
