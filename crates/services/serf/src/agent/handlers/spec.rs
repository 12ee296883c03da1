//! Which events a handler or a stream is for, as people write it: `member-join,user:deploy=./script.sh`.

use std::fmt;

use muster_gossip::{Event, MemberEvent};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventFilter {
    All,
    Members(MemberEvent),
    /// Without a name, all of them.
    User(Option<String>),
    Query(Option<String>),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("Invalid event script: Event '{event}' invoking '{script}'")]
    Script { event: String, script: String },
    #[error("Invalid event filter")]
    Filter { event: String },
}

/// A script and the events that start it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventScript {
    pub filter: EventFilter,
    pub script: String,
}

const MEMBER_EVENTS: [MemberEvent; 5] =
    [MemberEvent::Join, MemberEvent::Leave, MemberEvent::Failed, MemberEvent::Update, MemberEvent::Reap];

/// As it stands in environments, logs and streams.
pub fn member_event_name(kind: MemberEvent) -> &'static str {
    match kind {
        MemberEvent::Join => "member-join",
        MemberEvent::Leave => "member-leave",
        MemberEvent::Failed => "member-failed",
        MemberEvent::Update => "member-update",
        MemberEvent::Reap => "member-reap",
    }
}

impl EventFilter {
    fn parse(text: &str) -> Option<Self> {
        let (kind, name) = match text.split_once(':') {
            Some((kind, name)) => (kind, Some(name).filter(|name| !name.is_empty()).map(str::to_owned)),
            None => (text, None),
        };
        match kind {
            "*" => Some(Self::All),
            "user" => Some(Self::User(name)),
            "query" => Some(Self::Query(name)),
            _ => MEMBER_EVENTS.into_iter().find(|event| member_event_name(*event) == text).map(Self::Members),
        }
    }

    /// A list with commas; nothing stands for everything.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, SpecError> {
        let text = if text.is_empty() { "*" } else { text };
        let parse = |event: &str| Self::parse(event).ok_or_else(|| SpecError::Filter { event: event.to_owned() });
        text.split(',').map(parse).collect()
    }

    pub fn takes(&self, event: &Event) -> bool {
        match (self, event) {
            (Self::All, Event::Members { .. } | Event::User { .. } | Event::Query { .. }) => true,
            (Self::Members(wanted), Event::Members { kind, .. }) => wanted == kind,
            (Self::User(wanted), Event::User { name, .. }) | (Self::Query(wanted), Event::Query { name, .. }) => {
                wanted.as_ref().is_none_or(|wanted| wanted == name)
            }
            _ => false,
        }
    }
}

/// As the statistics show it: the kind and the name.
impl fmt::Display for EventFilter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = match self {
            Self::All => ("*", &None),
            Self::Members(kind) => (member_event_name(*kind), &None),
            Self::User(name) => ("user", name),
            Self::Query(name) => ("query", name),
        };
        write!(formatter, "{kind}:{}", name.as_deref().unwrap_or_default())
    }
}

impl EventScript {
    /// Each event of the list becomes an entry of its own: one that two of them take starts the script twice.
    pub fn parse(text: &str) -> Result<Vec<Self>, SpecError> {
        let (filter, script) = text.split_once('=').unwrap_or(("*", text));
        let filters = EventFilter::parse_list(filter).map_err(|error| match error {
            SpecError::Filter { event } => SpecError::Script { event, script: script.to_owned() },
            other @ SpecError::Script { .. } => other,
        })?;
        Ok(filters.into_iter().map(|filter| Self { filter, script: script.to_owned() }).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<(String, String)> {
        let parsed = EventScript::parse(text).unwrap();
        parsed.into_iter().map(|entry| (entry.filter.to_string(), entry.script)).collect()
    }

    #[test]
    fn every_form_is_read() {
        let pair = |filter: &str, script: &str| (filter.to_owned(), script.to_owned());
        assert_eq!(shown("a.sh"), [pair("*:", "a.sh")]);
        assert_eq!(shown("=a.sh"), [pair("*:", "a.sh")]);
        assert_eq!(shown("user:deploy=a=b"), [pair("user:deploy", "a=b")]);
        assert_eq!(
            shown("member-join,query,user=x"),
            [pair("member-join:", "x"), pair("query:", "x"), pair("user:", "x")]
        );
        let error = EventScript::parse("x=y").unwrap_err();
        assert_eq!(error.to_string(), "Invalid event script: Event 'x' invoking 'y'");
        assert_eq!(EventFilter::parse_list("foo").unwrap_err().to_string(), "Invalid event filter");
    }

    #[test]
    fn a_name_narrows_it_down() {
        let event = Event::User { time: 1, name: "deploy".to_owned(), payload: Vec::new(), coalesce: false };
        let takes = |text: &str| EventFilter::parse_list(text).unwrap()[0].takes(&event);
        assert!(takes("") && takes("*") && takes("user") && takes("user:deploy"));
        assert!(!takes("user:other") && !takes("query:deploy") && !takes("member-join"));
    }
}
