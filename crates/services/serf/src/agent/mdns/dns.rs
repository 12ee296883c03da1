//! As much of DNS (RFC 1035) as finding agents takes: questions for PTR, and answers with PTR, SRV, TXT and A.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const HEADER_LEN: usize = 12;
/// Response, authoritative.
const ANSWER_FLAGS: u16 = 0x8400;
const RESPONSE_BIT: u16 = 0x8000;
const CLASS_IN: u16 = 1;
/// Of a class: ask for a direct answer, or "forget what you knew".
const TOP_BIT: u16 = 0x8000;
const TTL: u32 = 120;
const LABEL_MAX: usize = 63;
const NAME_MAX: usize = 255;
/// Jumps within one name; more are a loop.
const JUMPS_MAX: usize = 16;
const RECORDS_MAX: usize = 256;

const A: u16 = 1;
const PTR: u16 = 12;
const TXT: u16 = 16;
const SRV: u16 = 33;
const ANY: u16 = 255;

/// What is told of one agent.
#[derive(Debug, Clone)]
pub(super) struct Instance {
    /// Such as `_serf_lab._tcp.local.`
    pub(super) service: String,
    /// A label may hold anything, also dots.
    pub(super) name: String,
    pub(super) host: String,
    pub(super) text: String,
    pub(super) ip: Ipv4Addr,
    pub(super) port: u16,
}

pub(super) fn question(service: &str) -> Vec<u8> {
    let mut out = header(0, 1, 0);
    write_name(&mut out, service);
    write_u16(&mut out, PTR);
    write_u16(&mut out, CLASS_IN);
    out
}

/// Whether a packet asks for the service; the number by which it is answered.
pub(super) fn asks_for(packet: &[u8], service: &str) -> Option<u16> {
    let mut reader = Reader { packet, at: 0 };
    let id = reader.u16()?;
    let flags = reader.u16()?;
    let questions = reader.u16()?;
    reader.at = HEADER_LEN;
    if flags & RESPONSE_BIT != 0 {
        return None;
    }
    for _ in 0..usize::from(questions).min(RECORDS_MAX) {
        let name = reader.name()?;
        let kind = reader.u16()?;
        let class = reader.u16()?;
        if matches!(kind, PTR | ANY) && class & !TOP_BIT == CLASS_IN && name.eq_ignore_ascii_case(service) {
            return Some(id);
        }
    }
    None
}

pub(super) fn answer(id: u16, instance: &Instance) -> Vec<u8> {
    let mut out = header(ANSWER_FLAGS, 0, 4);
    out[..2].copy_from_slice(&id.to_be_bytes());
    let full = |out: &mut Vec<u8>| {
        write_label(out, &instance.name);
        write_name(out, &instance.service);
    };
    write_name(&mut out, &instance.service);
    record(&mut out, PTR, full);
    full(&mut out);
    record(&mut out, SRV, |out| {
        for number in [10, 1, instance.port] {
            write_u16(out, number);
        }
        write_name(out, &instance.host);
    });
    full(&mut out);
    record(&mut out, TXT, |out| {
        let text = &instance.text.as_bytes()[..instance.text.len().min(255)];
        out.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(text);
    });
    write_name(&mut out, &instance.host);
    record(&mut out, A, |out| out.extend(instance.ip.octets()));
    out
}

/// Where the agents of a service are, of an answer.
pub(super) fn found(packet: &[u8], service: &str) -> Vec<SocketAddr> {
    read_found(packet, service).unwrap_or_default()
}

fn read_found(packet: &[u8], service: &str) -> Option<Vec<SocketAddr>> {
    let mut reader = Reader { packet, at: 2 };
    if reader.u16()? & RESPONSE_BIT == 0 {
        return None;
    }
    let questions = usize::from(reader.u16()?);
    let records: usize = (0..3).map(|_| reader.u16().map(usize::from)).sum::<Option<usize>>()?;
    for _ in 0..questions.min(RECORDS_MAX) {
        reader.name()?;
        reader.at += 4;
    }
    let (mut services, mut hosts) = (Vec::new(), BTreeMap::new());
    for _ in 0..records.min(RECORDS_MAX) {
        let name = reader.name()?.to_lowercase();
        let kind = reader.u16()?;
        reader.at += 6;
        let len = usize::from(reader.u16()?);
        let end = reader.at.checked_add(len).filter(|end| *end <= packet.len())?;
        match kind {
            SRV if name.ends_with(&service.to_lowercase()) => {
                reader.at += 4;
                let port = reader.u16()?;
                services.push((reader.name()?.to_lowercase(), port));
            }
            A => {
                let octets: [u8; 4] = packet.get(reader.at..end)?.try_into().ok()?;
                hosts.insert(name, Ipv4Addr::from(octets));
            }
            _ => {}
        }
        reader.at = end;
    }
    let address = |(host, port): (String, u16)| Some(SocketAddr::from((IpAddr::V4(*hosts.get(&host)?), port)));
    Some(services.into_iter().filter_map(address).collect())
}

fn header(flags: u16, questions: u16, answers: u16) -> Vec<u8> {
    let mut out = Vec::new();
    for number in [0, flags, questions, answers, 0, 0] {
        write_u16(&mut out, number);
    }
    out
}

/// After its name.
fn record(out: &mut Vec<u8>, kind: u16, data: impl FnOnce(&mut Vec<u8>)) {
    write_u16(out, kind);
    write_u16(out, CLASS_IN);
    out.extend(TTL.to_be_bytes());
    let mut body = Vec::new();
    data(&mut body);
    write_u16(out, u16::try_from(body.len()).unwrap_or(u16::MAX));
    out.extend(body);
}

fn write_u16(out: &mut Vec<u8>, number: u16) {
    out.extend(number.to_be_bytes());
}

fn write_label(out: &mut Vec<u8>, label: &str) {
    let bytes = &label.as_bytes()[..label.len().min(LABEL_MAX)];
    out.push(u8::try_from(bytes.len()).unwrap_or_default());
    out.extend_from_slice(bytes);
}

fn write_name(out: &mut Vec<u8>, name: &str) {
    for label in name.split('.').filter(|label| !label.is_empty()) {
        write_label(out, label);
    }
    out.push(0);
}

struct Reader<'a> {
    packet: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn u16(&mut self) -> Option<u16> {
        let bytes = self.packet.get(self.at..self.at + 2)?;
        self.at += 2;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// With a dot at its end.
    fn name(&mut self) -> Option<String> {
        let (mut name, mut at, mut jumped, mut jumps) = (String::new(), self.at, false, 0);
        loop {
            let len = usize::from(*self.packet.get(at)?);
            if len & 0xc0 == 0xc0 {
                let low = usize::from(*self.packet.get(at + 1)?);
                if !jumped {
                    self.at = at + 2;
                }
                (jumped, jumps, at) = (true, jumps + 1, (len & 0x3f) << 8 | low);
                if jumps > JUMPS_MAX {
                    return None;
                }
                continue;
            }
            at += 1;
            if len == 0 {
                if !jumped {
                    self.at = at;
                }
                return Some(name);
            }
            let label = self.packet.get(at..at + len)?;
            name.push_str(&String::from_utf8_lossy(label));
            name.push('.');
            at += len;
            if len > LABEL_MAX || name.len() > 4 * NAME_MAX {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: &str = "_serf_lab._tcp.local.";

    fn instance() -> Instance {
        Instance {
            service: SERVICE.to_owned(),
            name: "n1.gis.lab".to_owned(),
            host: "n1.".to_owned(),
            text: "Serf 'lab' cluster".to_owned(),
            ip: Ipv4Addr::new(10, 0, 0, 1),
            port: 7946,
        }
    }

    #[test]
    fn a_question_is_understood_and_its_answer_too() {
        assert_eq!(asks_for(&question(SERVICE), SERVICE), Some(0));
        assert_eq!(asks_for(&question("_http._tcp.local."), SERVICE), None);
        let packet = answer(7, &instance());
        assert_eq!(found(&packet, SERVICE), ["10.0.0.1:7946".parse().unwrap()]);
        assert_eq!(found(&packet, "_serf_other._tcp.local."), []);
        assert_eq!(asks_for(&packet, SERVICE), None);
    }

    #[test]
    fn damage_is_no_harm() {
        let packet = answer(7, &instance());
        for len in 0..packet.len() {
            assert_eq!(found(&packet[..len], SERVICE), []);
        }
        let mut looped = question(SERVICE);
        looped[HEADER_LEN..HEADER_LEN + 2].copy_from_slice(&[0xc0, 12]);
        assert_eq!(asks_for(&looped, SERVICE), None);
    }
}
