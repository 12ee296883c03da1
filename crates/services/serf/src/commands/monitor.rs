//! `monitor`: an agent's log and events as they come.

use super::{Call, Stop, go};
use crate::rpc::client::StreamRecord;
use crate::rpc::types::{AnyEvent, Member};

pub(crate) async fn monitor(call: &mut Call<'_, '_>) -> Result<(), Stop> {
    let level = call.flags.text("log-level").unwrap_or("INFO").to_owned();
    let mut client = call.connect().await?;
    let streaming = client.stream("*").await;
    call.done("Error starting stream", streaming)?;
    let watching = client.monitor(&level).await;
    call.done("Error starting monitor", watching)?;
    loop {
        let record = tokio::select! {
            // The agent ends both when the connection does.
            () = call.environment.interrupt.cancelled() => return Ok(()),
            record = client.record() => record,
        };
        match record {
            Ok((_, StreamRecord::Log(line))) => call.line(line)?,
            Ok((_, StreamRecord::Event(event))) => {
                call.line("Event Info:")?;
                for line in lines(&event) {
                    call.line(line)?;
                }
            }
            Ok((_, StreamRecord::Query(_))) => {}
            Err(_) => {
                call.line("")?;
                return call.fail(
                    "Remote side ended the monitor! This usually means that the\nremote side has exited or crashed.",
                );
            }
        }
    }
}

/// The fields of an event as Go's `%#v` shows them, sorted.
fn lines(event: &AnyEvent) -> Vec<String> {
    let payload = if event.payload.is_empty() { "<nil>".to_owned() } else { go::bytes("byte", &event.payload) };
    let kind = go::quoted(&event.event);
    match event.event.as_str() {
        "user" => vec![
            format!("\tCoalesce: {}", event.coalesce),
            format!("\tEvent: {kind}"),
            format!("\tLTime: {}", go::number(event.ltime)),
            format!("\tName: {}", go::quoted(&event.name)),
            format!("\tPayload: {payload}"),
        ],
        "query" => vec![
            format!("\tEvent: {kind}"),
            format!("\tID: {}", go::number(event.id)),
            format!("\tLTime: {}", go::number(event.ltime)),
            format!("\tName: {}", go::quoted(&event.name)),
            format!("\tPayload: {payload}"),
        ],
        _ => {
            let members: Vec<String> = event.members.iter().map(member).collect();
            vec![format!("\tEvent: {kind}"), format!("\tMembers: []interface {{}}{{{}}}", members.join(", "))]
        }
    }
}

const MAP: &str = "map[interface {}]interface {}";

fn member(member: &Member) -> String {
    let address = match member.addr {
        Some(std::net::IpAddr::V4(address)) => go::bytes("uint8", &address.octets()),
        Some(std::net::IpAddr::V6(address)) => go::bytes("uint8", &address.octets()),
        None => "interface {}(nil)".to_owned(),
    };
    let numbers = [
        ("DelegateCur", member.delegate_cur),
        ("DelegateMax", member.delegate_max),
        ("DelegateMin", member.delegate_min),
    ];
    let protocols = [
        ("ProtocolCur", member.protocol_cur),
        ("ProtocolMax", member.protocol_max),
        ("ProtocolMin", member.protocol_min),
    ];
    let listed = |list: [(&str, u8); 3]| {
        let numbers = list.map(|(key, number)| format!("\"{key}\":{}", go::number(number.into())));
        numbers.join(", ")
    };
    let tags: Vec<String> =
        member.tags.iter().map(|(key, value)| format!("{}:{}", go::quoted(key), go::quoted(value))).collect();
    format!(
        "{MAP}{{\"Addr\":{address}, {}, \"Name\":{}, \"Port\":{}, {}, \"Status\":{}, \"Tags\":{MAP}{{{}}}}}",
        listed(numbers),
        go::quoted(&member.name),
        go::number(member.port.into()),
        listed(protocols),
        go::quoted(&member.status),
        tags.join(", "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_shown_as_go_shows_them() {
        let member = Member {
            addr: Some("127.0.0.1".parse().unwrap()),
            delegate_cur: 5,
            delegate_max: 5,
            delegate_min: 2,
            name: "r1".into(),
            port: 0x461a,
            protocol_cur: 2,
            protocol_max: 5,
            protocol_min: 1,
            status: "alive".into(),
            tags: [("role".to_owned(), "server".to_owned())].into(),
        };
        let event = AnyEvent { event: "member-join".into(), members: vec![member], ..AnyEvent::default() };
        let expected = r#"	Members: []interface {}{map[interface {}]interface {}{"Addr":[]uint8{0x7f, 0x0, 0x0, 0x1}, "DelegateCur":5, "DelegateMax":5, "DelegateMin":2, "Name":"r1", "Port":0x461a, "ProtocolCur":2, "ProtocolMax":5, "ProtocolMin":1, "Status":"alive", "Tags":map[interface {}]interface {}{"role":"server"}}}"#;
        assert_eq!(lines(&event)[1], expected);
    }
}
