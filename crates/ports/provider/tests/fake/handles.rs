//! Handles that die as killed processes do, and others that go on.

use muster_provider::fake::{CallOutcome, Edge, FakeCloud, FakeFactory, LineProbe, Operation};
use muster_provider::{BakeryContext, Factory as _, OpenContext, Provider as _};

use crate::{owned, request, running};

#[tokio::test]
async fn a_handle_that_dies_before_a_call_changes_nothing() {
    let cloud = FakeCloud::new();
    let provider = cloud.provider();
    provider.die_at(1, Edge::Before);
    let wanted = request("web-1");
    tokio::select! {
        result = provider.create(&wanted) => panic!("a dead handle answered: {result:?}"),
        () = provider.died() => {}
    }
    assert!(cloud.made().is_empty() && cloud.calls().is_empty());
    let next = cloud.provider();
    running(&next, "web-1").await;
    assert_eq!(cloud.made().len(), 1);
}

#[tokio::test]
async fn a_handle_that_dies_after_a_call_leaves_its_effect() {
    let cloud = FakeCloud::new();
    let provider = cloud.provider();
    let first = running(&provider, "web-1").await;
    provider.die_at(3, Edge::After);
    let wanted = request("web-2");
    tokio::select! {
        result = provider.create(&wanted) => panic!("a dead handle answered: {result:?}"),
        () = provider.died() => {}
    }
    assert_eq!(cloud.made().len(), 2);
    assert_eq!(cloud.calls().last().unwrap().outcome, CallOutcome::Open);
    // It stays dead, for calls and for connections, and another handle finds everything.
    let (dialer, tags) = (provider.dialer(), owned());
    tokio::select! {
        biased;
        result = provider.list(&tags) => panic!("a dead handle lists: {result:?}"),
        result = LineProbe.ask(dialer.as_ref(), &first, "name") => panic!("a dead handle connects: {result:?}"),
        () = tokio::task::yield_now() => {}
    }
    let next = cloud.provider();
    let second = next.create(&wanted).await.unwrap();
    assert_eq!(next.list(&owned()).await.unwrap().len(), 2);
    assert_eq!(cloud.made().len(), 2);
    let call = cloud.calls().into_iter().rfind(|call| call.operation == Operation::Create).unwrap();
    assert_eq!((call.handle, call.name, call.token), (2, Some(second.name), Some(wanted.token)));
}

#[tokio::test]
async fn the_factory_opens_handles_on_one_cloud() {
    let cloud = FakeCloud::new();
    running(&cloud.provider(), "web-1").await;
    let folder = std::path::PathBuf::from("/nonexistent");
    let context = OpenContext {
        scope: "test".to_owned(),
        data_dir: folder.clone(),
        runtime_dir: folder.clone(),
        settings: None,
        images: BakeryContext { images_dir: folder.clone(), cache_dir: folder },
    };
    let factory = FakeFactory::new(&cloud);
    assert_eq!((factory.name(), factory.check(None).len()), ("fake", 0));
    let opened = factory.open(context).await.unwrap();
    assert_eq!(opened.list(&owned()).await.unwrap().len(), 1);
}
