//! What each request does.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use muster_gossip::{Filter, KeyOperation, Member, QueryRequest};
use regex::Regex;
use tokio::time::Instant;

use super::connection::Connection;
use super::convert;
use crate::agent::{EventFilter, HandleError, Level};
use crate::rpc::types::{self, Request, errors};

/// Whether more requests are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Continue,
    Close,
}

impl Connection {
    pub(super) async fn carry_out(&mut self, seq: u64, request: Request) -> Flow {
        match request {
            Request::Event(event) => {
                let done = self.agent.user_event(event.name, event.payload.into(), event.coalesce).await;
                self.answer_result(seq, &done).await
            }
            Request::ForceLeave(leave) => {
                let done = self.agent.force_leave(&leave.node, leave.prune).await;
                self.answer_result(seq, &done).await
            }
            Request::Join(join) => self.join(seq, join).await,
            Request::Members => self.members(seq, |_| true).await,
            Request::MembersFiltered(filter) => self.members_filtered(seq, &filter).await,
            Request::Tags(tags) => {
                let done = self.agent.update_tags(tags.tags, &tags.delete_tags).await;
                self.answer_result(seq, &done).await
            }
            Request::Stream(stream) => self.stream(seq, &stream.kind).await,
            Request::Monitor(monitor) => self.monitor(seq, &monitor.log_level).await,
            Request::Stop(stop) => {
                self.streams.remove(&stop.stop);
                self.monitor.take_if(|monitor| *monitor == stop.stop);
                self.answer(seq, "").await
            }
            Request::Leave => self.leave(seq).await,
            Request::Query(query) => self.query(seq, query).await,
            Request::Respond(respond) => self.respond(seq, respond).await,
            Request::InstallKey(key) => self.key(seq, key, KeyOperation::Install).await,
            Request::UseKey(key) => self.key(seq, key, KeyOperation::Use).await,
            Request::RemoveKey(key) => self.key(seq, key, KeyOperation::Remove).await,
            Request::ListKeys => self.keys(seq, KeyOperation::List).await,
            Request::Stats => match self.agent.stats().await {
                Ok(stats) => self.answer_with(seq, "", &stats).await,
                Err(error) => self.answer_with(seq, &error.to_string(), &types::Stats::new()).await,
            },
            Request::GetCoordinate(wanted) => {
                let found = self.agent.coordinate(wanted.node).await;
                let error = error_text(&found);
                self.answer_with(seq, &error, &convert::coordinate(found.ok().flatten())).await
            }
            // Answered before authentication is asked for.
            Request::Handshake(_) | Request::Auth(_) => Flow::Continue,
        }
    }

    async fn answer_result<T>(&self, seq: u64, done: &Result<T, HandleError>) -> Flow {
        self.answer(seq, &error_text(done)).await
    }

    async fn join(&self, seq: u64, join: types::Join) -> Flow {
        let joined = self.agent.join(&join.existing, join.replay).await;
        let num = joined.as_ref().map_or(0, |joined| i32::try_from(*joined).unwrap_or(i32::MAX));
        self.answer_with(seq, &error_text(&joined), &types::Joined { num }).await
    }

    async fn members(&self, seq: u64, wanted: impl Fn(&Member) -> bool) -> Flow {
        let members = self.agent.members().await;
        let error = error_text(&members);
        let members = members.unwrap_or_default();
        let members = members.iter().filter(|member| wanted(member)).map(convert::member).collect();
        self.answer_with(seq, &error, &types::Members { members }).await
    }

    async fn members_filtered(&self, seq: u64, filter: &types::MembersFiltered) -> Flow {
        match MemberFilter::new(filter) {
            Ok(filter) => self.members(seq, |member| filter.takes(member)).await,
            // The real agent hangs up here without a word.
            Err(error) => self.answer_with(seq, &error, &types::Members::default()).await,
        }
    }

    async fn stream(&mut self, seq: u64, kinds: &str) -> Flow {
        let error = match EventFilter::parse_list(kinds) {
            _ if self.streams.contains_key(&seq) => errors::STREAM_EXISTS,
            Ok(filters) => {
                self.answer(seq, "").await;
                let token = self.token.child_token();
                self.streams.insert(seq, token.clone().drop_guard());
                self.tell_events(seq, filters, token);
                return Flow::Continue;
            }
            Err(_) => errors::INVALID_FILTER,
        };
        self.answer(seq, error).await
    }

    async fn monitor(&mut self, seq: u64, level: &str) -> Flow {
        let level = if level.is_empty() { "DEBUG" } else { level };
        let error = match level.parse::<Level>() {
            _ if self.monitor.is_some() => errors::MONITOR_EXISTS.to_owned(),
            Ok(level) => {
                self.answer(seq, "").await;
                let token = self.token.child_token();
                self.streams.insert(seq, token.clone().drop_guard());
                self.monitor = Some(seq);
                self.tell_lines(seq, level, token);
                return Flow::Continue;
            }
            Err(error) => error.to_string(),
        };
        self.answer(seq, &error).await
    }

    async fn leave(&self, seq: u64) -> Flow {
        self.agent.log().line(Level::Info, "agent.ipc: Graceful leave triggered");
        let left = self.agent.leave().await;
        // It must be out before the agent ends, which ends this connection too.
        self.out.deliver(crate::rpc::codec::encode_answer(seq, &error_text(&left))).await;
        self.agent.shut_down();
        Flow::Close
    }

    async fn query(&mut self, seq: u64, query: types::Query) -> Flow {
        let nodes = (!query.filter_nodes.is_empty()).then_some(Filter::Nodes(query.filter_nodes));
        let tags = query.filter_tags.into_iter().map(|(tag, expression)| Filter::Tag { tag, expression });
        let timeout = u64::try_from(query.timeout_ns).ok().filter(|nanos| *nanos > 0).map(Duration::from_nanos);
        let request = QueryRequest {
            name: query.name,
            payload: query.payload.into(),
            filters: nodes.into_iter().chain(tags).collect(),
            ack: query.request_ack,
            relay_factor: query.relay_factor,
            timeout,
        };
        let asked = Instant::now();
        match self.agent.query(request).await {
            Ok(answers) => {
                self.answer(seq, "").await;
                let until = (!query.end_early).then(|| asked + answers.timeout);
                self.tell_answers(seq, answers, until);
                Flow::Continue
            }
            Err(error) => self.answer(seq, &error.to_string()).await,
        }
    }

    async fn respond(&self, seq: u64, respond: types::Respond) -> Flow {
        let pending = {
            let mut queries = self.queries.0.lock().unwrap_or_else(PoisonError::into_inner);
            queries.pending.remove(&respond.id).filter(|(_, deadline)| *deadline > Instant::now())
        };
        match pending {
            Some((query, _)) => {
                let done = self.agent.respond(query, respond.payload.into()).await;
                self.answer_result(seq, &done).await
            }
            None => self.answer(seq, errors::INVALID_QUERY).await,
        }
    }

    async fn key(&self, seq: u64, key: types::Key, operation: fn(Vec<u8>) -> KeyOperation) -> Flow {
        let text = key.key.as_ref().map_or("", |key| key.expose().as_str());
        match crate::agent::decode_key(text) {
            Ok(key) => self.keys(seq, operation(key)).await,
            Err(error) => self.answer_with(seq, &error.to_string(), &types::Keys::default()).await,
        }
    }

    async fn keys(&self, seq: u64, operation: KeyOperation) -> Flow {
        let list = operation == KeyOperation::List;
        match self.agent.change_keys(operation).await {
            Ok(report) => {
                let error = report.error().unwrap_or_default();
                self.answer_with(seq, &error, &convert::keys(report, list)).await
            }
            Err(error) => self.answer_with(seq, &error.to_string(), &types::Keys::default()).await,
        }
    }
}

fn error_text<T>(done: &Result<T, HandleError>) -> String {
    done.as_ref().err().map(ToString::to_string).unwrap_or_default()
}

/// Expressions for the whole of a value.
struct MemberFilter {
    name: Option<Regex>,
    status: Option<Regex>,
    tags: BTreeMap<String, Regex>,
}

/// Memory that one expression may take.
const EXPRESSION_SIZE_MAX: usize = 1024 * 1024;

impl MemberFilter {
    fn new(filter: &types::MembersFiltered) -> Result<Self, String> {
        let some = |text: &str| if text.is_empty() { Ok(None) } else { expression(text).map(Some) };
        let tags = filter.tags.iter().map(|(tag, text)| Ok((tag.clone(), expression(text)?)));
        let tags = tags.collect::<Result<_, String>>().map_err(|error| format!("Failed to compile regex: {error}"))?;
        let compile = |text| some(text).map_err(|error| format!("Failed to compile regex: {error}"));
        Ok(Self { name: compile(&filter.name)?, status: compile(&filter.status)?, tags })
    }

    fn takes(&self, member: &Member) -> bool {
        let matches = |expression: &Option<Regex>, text: &str| {
            expression.as_ref().is_none_or(|expression| expression.is_match(text))
        };
        let tag =
            |(tag, expression): (&String, &Regex)| expression.is_match(member.tags.get(tag).map_or("", String::as_str));
        matches(&self.name, &member.name) && matches(&self.status, member.status.as_str()) && self.tags.iter().all(tag)
    }
}

/// Between `^` and `$`, which bind closer than `|`, as in the real agent.
fn expression(text: &str) -> Result<Regex, String> {
    let build = |text: &str| regex::RegexBuilder::new(text).size_limit(EXPRESSION_SIZE_MAX).build();
    // By itself first: `^` would be something that `*.` can repeat.
    build(text).and_then(|_| build(&format!("^{text}$"))).map_err(|error| error.to_string())
}
