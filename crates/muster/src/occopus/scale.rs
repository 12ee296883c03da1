//! `occopus-scale`: notes that another number of instances is wanted. A pass of `occopus-maintain` or of the REST service
//! makes it so.

use muster_server::occopus::Wish;

use crate::context::Context;
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::occopus::args::Scale;
use crate::occopus::records::Wished;
use crate::occopus::session::Session;
use crate::occopus::settings;
use crate::occopus::voice::Voice;

pub(crate) fn run(args: &Scale, context: &Context, voice: &Voice) -> Result<ExitStatus, Failure> {
    settings::configuration(args.files.config.as_deref(), voice)?;
    settings::check_credentials(args.auth.auth_data.as_deref(), voice)?;
    let (wishes, words) = match read(args) {
        Ok(read) => read,
        Err(words) => {
            voice.error(&words);
            return Ok(ExitStatus::FAILED);
        }
    };
    let session = Session::open(context, voice)?;
    note(&session, &args.infra_id, &args.node, wishes)?;
    voice.info(&words);
    Ok(ExitStatus::DONE)
}

/// Writes wishes down for an infrastructure and a node that are there.
pub(crate) fn note(session: &Session, id: &str, node: &str, wishes: Vec<Wish>) -> Result<(), Failure> {
    let names = session.node_names(id)?;
    if !names.contains(node) {
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        let hint = muster_doc::suggest::hint(node, &known, "node");
        let message = format!("node '{node}' does not exist in infrastructure '{id}'");
        return Err(Failure::new(message, hint, ExitStatus::FAILED));
    }
    let wished = wishes.into_iter().map(|wish| Wished { node: node.to_owned(), wish });
    session.records.change(id, |record| record.wishes.extend(wished))?;
    Ok(())
}

/// What is wished for, and the line that says so. Mistakes in Occopus' words.
fn read(args: &Scale) -> Result<(Vec<Wish>, String), String> {
    const CLASHES: [(&str, &str); 3] = [("-c", "-s"), ("-c", "-f"), ("-s", "-f")];
    let given = |flag: &str| match flag {
        "-c" => args.change.is_some(),
        "-s" => args.set.is_some(),
        _ => args.filter.is_some(),
    };
    if let Some((a, b)) = CLASHES.iter().find(|(a, b)| given(a) && given(b)) {
        return Err(format!("Too many arguments: {a} and {b} must not be used at the same time!"));
    }
    let node = &args.node;
    if let Some(change) = &args.change {
        let wrong = "Positive/negative number must be specified for argument -c!";
        let number: i32 = change.parse().map_err(|_| wrong.to_owned())?;
        let count = number.unsigned_abs();
        return match number {
            0 => Err("Incorrect argument: value for -c must be different from zero!".to_owned()),
            1.. => Ok((vec![Wish::More(count)], format!("Scaling up node '{node}' with {count} instances..."))),
            _ if count > 1000 => Err(wrong.to_owned()),
            _ => {
                let wishes = (0..count).map(|_| Wish::Fewer(None)).collect();
                Ok((wishes, format!("Scaling down node '{node}' with {count} instances...")))
            }
        };
    }
    if let Some(set) = &args.set {
        return match set.parse::<i32>().map(u32::try_from) {
            Err(_) => Err("Positive number must be specified for argument -s!".to_owned()),
            Ok(Ok(count)) if count > 0 => {
                Ok((vec![Wish::To(count)], format!("Scaling node '{node}' to {count} instances...")))
            }
            Ok(_) => Err("Incorrect argument: value for -s must be greater than zero!".to_owned()),
        };
    }
    let Some(which) = &args.filter else {
        return Err("Too few arguments: at least -c, -s or -f must be specified!".to_owned());
    };
    let words = format!("Scaling down instance(s) of node '{node}' filtered by '{which}'...");
    Ok((vec![Wish::Fewer(Some(which.clone()))], words))
}
