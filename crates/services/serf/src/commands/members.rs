//! `members`: the table that scripts cut up, and JSON.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};

use super::{Call, Stop, flags, go};
use crate::rpc::client::Client;
use crate::rpc::types::{Member, MembersFiltered};

/// Tags that GIS.lab's machines have when a session runs or work is taken, and not otherwise.
const KNOWN_TAGS: [&str; 3] = ["role", "session-active", "worker"];

pub(crate) async fn members(call: &mut Call<'_, '_>) -> Result<(), Stop> {
    let mut tags = call.flags.list("tag");
    if let Some(role) = call.flags.text("role").filter(|role| !role.is_empty()) {
        tags.push(format!("role={role}"));
        call.line("Deprecation warning: 'Role' has been replaced with 'Tags'")?;
    }
    let tags = match flags::pairs(&tags) {
        Ok(tags) => tags,
        Err(mistake) => return call.fail(format!("Error: {mistake}")),
    };
    let text = |name| call.flags.text(name).unwrap_or_default().to_owned();
    let (filter, detailed) =
        (MembersFiltered { name: text("name"), status: text("status"), tags }, call.flags.is_set("detailed"));
    let format = call.flags.text("format").unwrap_or("text").to_owned();
    let mut client = call.connect().await?;
    if expressions(&filter).any(|(_, expression)| expression.starts_with(OPERATORS)) {
        return explain(call, &mut client, &filter).await;
    }
    let found = client.members_filtered(filter.clone()).await;
    let mut members = match found {
        Ok(members) => members,
        Err(_) if expressions(&filter).any(|(_, expression)| regex::Regex::new(expression).is_err()) => {
            // The real agent has closed the connection; what is asked next needs another.
            let mut client = call.connect().await?;
            return explain(call, &mut client, &filter).await;
        }
        Err(error) => return call.failed("Error retrieving members", &error),
    };
    members.sort_by(|a, b| a.name.cmp(&b.name));
    match format.as_str() {
        "json" => call.line(go::json(&as_json(&members))),
        "text" => call.line(as_text(&members, detailed).trim()),
        other => call.fail(format!("Encoding error: Invalid output format \"{other}\"")),
    }
}

fn address(member: &Member) -> String {
    let any = IpAddr::from([0, 0, 0, 0]);
    match member.addr {
        Some(address) => SocketAddr::new(address, member.port).to_string(),
        None => SocketAddr::new(any, member.port).to_string().replacen("0.0.0.0", "", 1),
    }
}

fn as_text(members: &[Member], detailed: bool) -> String {
    let line = |member: &Member| {
        let tags: Vec<String> = member.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let line = format!("{}|{}|{}|{}", member.name, address(member), member.status, tags.join(","));
        if !detailed {
            return line;
        }
        let (current, least, most) = (member.delegate_cur, member.delegate_min, member.delegate_max);
        format!("{line}|Protocol Version: {current}|Available Protocol Range: [{least}, {most}]")
    };
    go::columns(&members.iter().map(line).collect::<Vec<_>>())
}

fn as_json(members: &[Member]) -> Value {
    let members: Vec<Value> = members
        .iter()
        .map(|member| {
            json!({
                "name": member.name,
                "addr": address(member),
                "port": member.port,
                "tags": go::text_map(&member.tags),
                "status": member.status,
                "protocol": {
                    "max": member.delegate_max, "min": member.delegate_min, "version": member.delegate_cur,
                },
            })
        })
        .collect();
    json!({ "members": if members.is_empty() { Value::Null } else { members.into() } })
}

/// What must stand behind something; at the start it makes an expression of its own invalid.
const OPERATORS: [char; 3] = ['*', '+', '?'];

/// Each with the flag that gave it.
fn expressions(filter: &MembersFiltered) -> impl Iterator<Item = (String, &str)> {
    let flags = [("-name", filter.name.as_str()), ("-status", filter.status.as_str())];
    let tags = filter.tags.iter().map(|(key, expression)| (format!("-tag {key}"), expression.as_str()));
    flags.into_iter().map(|(flag, expression)| (flag.to_owned(), expression)).chain(tags)
}

/// Says which expression is wrong, and how the line should be: also a tag that nobody has is taken for a mistake then.
async fn explain(call: &mut Call<'_, '_>, client: &mut Client, filter: &MembersFiltered) -> Result<(), Stop> {
    let members = client.members().await.unwrap_or_default();
    for (flag, expression) in expressions(filter) {
        let reason = match expression.chars().next().filter(|first| OPERATORS.contains(first)) {
            Some(first) => format!("nothing stands before \"{first}\""),
            None => match regex::Regex::new(expression) {
                Ok(_) => continue,
                Err(regex::Error::Syntax(text)) => text.lines().last().unwrap_or_default().replace("error: ", ""),
                Err(error) => error.to_string(),
            },
        };
        call.line(format!(
            "Error retrieving members: the expression {} of {flag} is invalid: {reason}",
            go::quoted(expression)
        ))?;
    }
    let program = &call.environment.program;
    let corrected = corrected(filter, &members);
    let hint = format!("{program} members {corrected}");
    call.hint(&hint)?;
    if corrected.contains("=.+") {
        call.hint(".+ is any value; .* would also match members that do not have the tag")?;
    }
    Err(Stop::Exit(1))
}

/// The filters as they were probably meant.
fn corrected(filter: &MembersFiltered, members: &[Member]) -> String {
    let tags_of_members = members.iter().flat_map(|member| member.tags.keys().map(String::as_str));
    let known: BTreeSet<&str> = tags_of_members.chain(KNOWN_TAGS).collect();
    let tag = |(key, expression): (&String, &String)| {
        let close = || muster_doc::suggest::closest(key, known.iter().copied());
        let key = if known.contains(key.as_str()) { key } else { close().unwrap_or(key) };
        format!("-tag {key}={}", shell_word(&repaired(expression)))
    };
    let flag = |name: &str, expression: &str| format!("-{name}={}", shell_word(&repaired(expression)));
    let given = [("name", filter.name.as_str()), ("status", filter.status.as_str())];
    let given = given.into_iter().filter(|(_, expression)| !expression.is_empty());
    given
        .map(|(name, expression)| flag(name, expression))
        .chain(filter.tags.iter().map(tag))
        .collect::<Vec<_>>()
        .join(" ")
}

/// An expression that is probably meant: `*` is often written as shells have it.
fn repaired(expression: &str) -> String {
    let rest = expression.trim_start_matches(OPERATORS);
    if rest.len() == expression.len() {
        if regex::Regex::new(expression).is_ok() { expression.to_owned() } else { regex::escape(expression) }
    } else if rest.is_empty() || rest == "." {
        ".+".to_owned()
    } else {
        format!(".*{rest}")
    }
}

fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+=,:/@%^".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, tags: &[(&str, &str)]) -> Member {
        Member {
            addr: Some("192.168.15.5".parse().unwrap()),
            delegate_cur: 4,
            delegate_max: 4,
            delegate_min: 2,
            name: name.into(),
            port: 7946,
            status: "alive".into(),
            tags: tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            ..Member::default()
        }
    }

    #[test]
    fn the_table_is_serf_s() {
        let members = [member("c50", &[]), member("server.gis.lab", &[("role", "server"), ("a", "1")])];
        let expected =
            "c50             192.168.15.5:7946  alive  \nserver.gis.lab  192.168.15.5:7946  alive  a=1,role=server";
        assert_eq!(as_text(&members, false), expected);
        let detailed = "c50  192.168.15.5:7946  alive    Protocol Version: 4  Available Protocol Range: [2, 4]";
        assert_eq!(as_text(&members[..1], true), detailed);
    }

    /// The document is the one of GIS.lab's own guide.
    #[test]
    fn json_is_serf_s() {
        let expected = r#"{
  "members": [
    {
      "name": "c51",
      "addr": "192.168.15.5:7946",
      "port": 7946,
      "tags": {
        "role": "client"
      },
      "status": "alive",
      "protocol": {
        "max": 4,
        "min": 2,
        "version": 4
      }
    }
  ]
}"#;
        assert_eq!(go::json(&as_json(&[member("c51", &[("role", "client")])])), expected);
        assert_eq!(go::json(&as_json(&[])), "{\n  \"members\": null\n}");
    }

    #[test]
    fn a_wrong_filter_is_corrected() {
        let filter = |tag: &str, expression: &str| MembersFiltered {
            tags: [(tag.to_owned(), expression.to_owned())].into(),
            ..MembersFiltered::default()
        };
        assert_eq!(corrected(&filter("sesion-active", "*."), &[]), "-tag session-active=.+");
        assert_eq!(corrected(&filter("rack", "*b"), &[member("a", &[("rack", "ab")])]), "-tag rack='.*b'");
        assert_eq!(corrected(&filter("rack", "(x"), &[]), r"-tag rack='\(x'");
    }
}
