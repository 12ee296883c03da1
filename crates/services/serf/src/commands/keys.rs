//! `keys`: the encryption keys of all members.

use muster_types::Redacted;

use super::{Call, Stop, go, help};
use crate::rpc::client::{ClientError, KeyAnswer};

/// What one of the four does, in Serf's words.
struct Texts {
    begin: &'static str,
    end: &'static str,
    error: &'static str,
}

const INSTALL: Texts = Texts {
    begin: "Installing key on all members...",
    end: "Successfully installed key!",
    error: "Error installing key",
};
const USE: Texts = Texts {
    begin: "Changing primary key on all members...",
    end: "Successfully changed primary key!",
    error: "Error changing primary key",
};
const REMOVE: Texts =
    Texts { begin: "Removing key on all members...", end: "Successfully removed key!", error: "Error removing key" };
const LIST: Texts = Texts {
    begin: "Asking all members for installed keys...",
    end: "Keys gathered, listing cluster keys...",
    error: "Failed to gather member keys",
};

pub(crate) async fn keys(call: &mut Call<'_, '_>) -> Result<(), Stop> {
    let given = |name| call.flags.text(name).filter(|key| !key.is_empty()).map(|key| Redacted::new(key.to_owned()));
    let (install, change, remove) = (given("install"), given("use"), given("remove"));
    let list = call.flags.is_set("list");
    let count = usize::from(list) + [&install, &change, &remove].into_iter().flatten().count();
    if count > 1 {
        return call.fail("Only one of -install, -use, -remove, or -list allowed");
    }
    if count == 0 {
        return call.fail(help::command(&call.environment.program, call.command));
    }
    let mut client = call.connect().await?;
    if let Some(key) = install {
        begin(call, &INSTALL)?;
        let answer = client.install_key(key).await;
        end(call, &INSTALL, answer).map(drop)
    } else if let Some(key) = change {
        begin(call, &USE)?;
        let answer = client.use_key(key).await;
        end(call, &USE, answer).map(drop)
    } else if let Some(key) = remove {
        begin(call, &REMOVE)?;
        let answer = client.remove_key(key).await;
        end(call, &REMOVE, answer).map(drop)
    } else {
        begin(call, &LIST)?;
        let answer = client.list_keys().await;
        let keys = end(call, &LIST, answer)?.keys;
        let counts = keys.keys.unwrap_or_default();
        let lines: Vec<String> =
            counts.iter().map(|(key, count)| format!("{key} | [{count}/{}]", keys.num_nodes)).collect();
        call.line("")?;
        call.line(go::columns(&lines))
    }
}

fn begin(call: &mut Call<'_, '_>, texts: &Texts) -> Result<(), Stop> {
    call.line(format!("==> {}", texts.begin))
}

fn end(call: &mut Call<'_, '_>, texts: &Texts, answer: Result<KeyAnswer, ClientError>) -> Result<KeyAnswer, Stop> {
    let (messages, error) = match answer {
        Ok(KeyAnswer { error: None, keys }) => {
            call.line(format!("==> {}", texts.end))?;
            return Ok(KeyAnswer { error: None, keys });
        }
        Ok(KeyAnswer { error: Some(message), keys }) => (keys.messages, ClientError::Refused { message }),
        Err(error) => (std::collections::BTreeMap::new(), error),
    };
    if !messages.is_empty() {
        let lines: Vec<String> = messages.iter().map(|(node, text)| format!("failed: | {node} | {text}")).collect();
        call.line(go::columns(&lines))?;
    }
    call.line("")?;
    call.failed(texts.error, &error)
}
