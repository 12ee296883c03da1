//! Plans as data: a fixture says what is, a snapshot what is to be done; and what holds for all plans.

#![expect(clippy::unwrap_used, reason = "helpers of tests panic like tests do")]

mod fixture;
mod losses;
mod model;

#[test]
fn plans_are_as_snapshot() {
    insta::glob!("fixtures/*.txt", |path| {
        let text = std::io::read_to_string(std::fs::File::open(path).unwrap()).unwrap();
        let inputs = fixture::parse(&text);
        let plan = muster_plan::plan(&inputs);
        assert_eq!(plan, muster_plan::plan(&inputs), "the same inputs give the same plan");
        insta::assert_snapshot!(format!("{text}---\n{plan}\n"));
    });
}

#[test]
fn the_json_form_holds_every_action() {
    let inputs = fixture::parse("desired db-1 db hash=a\ndesired web-1 web hash=a needs=db\n");
    let json = serde_json::to_string_pretty(&muster_plan::plan(&inputs)).unwrap();
    insta::assert_snapshot!(json);
}

#[test]
fn what_was_not_approved_is_found() {
    let approved = muster_plan::plan(&fixture::parse("desired a-1 a hash=x\nobserved m1 b-1 token=t running\n"));
    let later = "desired a-1 a hash=x\nobserved m1 b-1 token=t running\nobserved m2 b-2 token=u running\n";
    let later = muster_plan::plan(&fixture::parse(later));
    assert_eq!(later.destroys_beyond(&approved).len(), 1);
    assert!(approved.destroys_beyond(&later).is_empty());
    assert_ne!(approved.hash(), later.hash());
}
