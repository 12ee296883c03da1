//! `occopus-rest-service`, and `muster serve --occopus`: Occopus' REST service over the infrastructures of this state.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use muster_engine::Exit;
use muster_server::occopus::{Infrastructures, Refusal, Report, Service, Wish, router};
use muster_server::{Access, Listening, Token};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::error::Failure;
use crate::exit::ExitStatus;
use crate::interrupt::Interrupt;
use crate::occopus::args::RestService;
use crate::occopus::build::{infra_name, unfinished};
use crate::occopus::records::{Record, new_id};
use crate::occopus::session::{Order, Session, compile_record};
use crate::occopus::voice::{Voice, placed};
use crate::occopus::{scale, settings};

/// As Occopus has it.
const PORT: u16 = 5000;
const TOKEN_FILE: &str = "serve.token";
/// How long passes may take to end where they can go on.
const SHUTDOWN: Duration = Duration::from_mins(1);

pub(crate) async fn run(args: RestService, context: &Context, voice: &Voice) -> Result<ExitStatus, Failure> {
    let configuration = settings::configuration(args.files.config.as_deref(), voice)?;
    settings::check_credentials(args.auth.auth_data.as_deref(), voice)?;
    let host = args.host.or(configuration.host).unwrap_or_else(|| "127.0.0.1".to_owned());
    let port = args.port.or(configuration.port).unwrap_or(PORT);
    let address = SocketAddr::new(address(&host).await?, port);
    serve(address, args.ours.provider, context, voice).await
}

async fn address(host: &str) -> Result<IpAddr, Failure> {
    let found = tokio::net::lookup_host((host, 0)).await.map(|mut found| found.next());
    found.ok().flatten().map(|address| address.ip()).ok_or_else(|| {
        Failure::usage(format!("`{host}` is no address of this machine"), "write for example `--host 127.0.0.1`")
    })
}

/// Serves until it is interrupted.
pub(crate) async fn serve(
    address: SocketAddr,
    provider: Option<String>,
    context: &Context,
    voice: &Voice,
) -> Result<ExitStatus, Failure> {
    let session = Session::open(context, voice)?;
    let failed =
        |error: &dyn std::error::Error, hint: &str| Failure::new(muster_stdx::chain(error), hint, ExitStatus::FAILED);
    let listening = Listening::bind(address)
        .await
        .map_err(|error| failed(&error, "choose another port, or end what listens there"))?;
    let access = access(listening.address.ip(), context, voice)?;
    let interrupt = Interrupt::listen(&context.printer, "the same command".to_owned())?;
    let work = Arc::new(Rest { session, provider });
    let service = Service::new(work, interrupt.token.clone());
    let resumed = service.resume().await.map_err(|error| failed(&error, "look at the state folder"))?;
    voice.info(&format!("Running on http://{}/ (Press CTRL+C to quit)", listening.address));
    for id in &resumed {
        voice.info(&format!("Start maintenance for infrastructure {id}"));
    }
    let keeper = service.keeper().clone();
    listening.serve(router(service, access), interrupt.token.clone()).await;
    if !keeper.shutdown(SHUTDOWN).await {
        voice.info("Passes were cut off; the next start goes on where they were");
    }
    Ok(ExitStatus::DONE)
}

/// Beyond this machine only whoever shows the token may ask.
fn access(address: IpAddr, context: &Context, voice: &Voice) -> Result<Access, Failure> {
    if address.is_loopback() {
        return Ok(Access::Local);
    }
    let path = context.paths.state.join(TOKEN_FILE);
    let token = Token::open_or_create(&path).map_err(|error| {
        let hint = "remove the file to have a new token made";
        Failure::new(muster_stdx::chain(&error), hint, ExitStatus::FAILED)
    })?;
    if token.is_new {
        voice.note(&format!("A token was made, and is shown this once: {}", token.value.expose()));
    }
    voice.note(&format!(
        "Clients show the token of {}: `Authorization: Bearer TOKEN`, or in their .netrc",
        path.display()
    ));
    Ok(Access::Token(token))
}

struct Rest {
    session: Session,
    /// For what is submitted here.
    provider: Option<String>,
}

fn refusal(failure: &Failure) -> Refusal {
    match failure {
        Failure::Rejected { sources, diagnostics } => {
            let errors = diagnostics.iter().filter(|found| found.is_error());
            Refusal::Bad(errors.map(|found| placed(found, sources)).collect::<Vec<_>>().join("; "))
        }
        Failure::Error { error, hint, .. } => {
            let words: Vec<String> = error.chain().map(ToString::to_string).collect();
            let hint = if hint.is_empty() { String::new() } else { format!(" (hint: {hint})") };
            Refusal::Failed(format!("{}{hint}", words.join(": ")))
        }
    }
}

impl Rest {
    fn check(&self, id: &str) -> Result<Record, Refusal> {
        let found = self.session.records.find(id).map_err(|failure| refusal(&failure))?;
        found.ok_or_else(|| Refusal::NoInfrastructure(id.to_owned()))
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut Record)) -> Result<(), Refusal> {
        self.check(id)?;
        self.session.records.change(id, change).map(drop).map_err(|failure| refusal(&failure))
    }

    fn submitted(&self, description: &str) -> Result<String, Failure> {
        let id = new_id();
        let mut record = Record::new(&id, &infra_name(description))?;
        "the description".clone_into(&mut record.path);
        // Files of this machine are not for whoever may post; an import is told of as one that cannot be read.
        record.folder = None;
        description.clone_into(&mut record.description);
        record.definitions = self.session.imported()?;
        record.provider.clone_from(&self.provider);
        record.maintained = true;
        compile_record(&record)?;
        self.session.records.put(&record)?;
        Ok(id)
    }
}

#[async_trait]
impl Infrastructures for Rest {
    async fn submit(&self, description: &str) -> Result<String, Refusal> {
        if description.contains("!yaml_import") || description.contains("!text_import") {
            return Err(Refusal::Bad(
                "a description that is posted imports no files: write out what it needs".to_owned(),
            ));
        }
        let id = self.submitted(description).map_err(|failure| match refusal(&failure) {
            Refusal::Failed(words) => Refusal::Bad(words),
            other => other,
        })?;
        self.session.voice.info(&format!("Submitted infrastructure: {id}"));
        Ok(id)
    }

    async fn list(&self) -> Result<Vec<String>, Refusal> {
        let records = self.session.records.all().map_err(|failure| refusal(&failure))?;
        Ok(records.into_iter().map(|record| record.id).collect())
    }

    async fn maintained(&self) -> Result<Vec<String>, Refusal> {
        let records = self.session.records.all().map_err(|failure| refusal(&failure))?;
        Ok(records
            .into_iter()
            .filter(|record| record.maintained && !record.destroying)
            .map(|record| record.id)
            .collect())
    }

    async fn set_maintained(&self, id: &str, maintained: bool) -> Result<(), Refusal> {
        let word = if maintained { "Start maintenance for" } else { "Stop maintaining" };
        self.change(id, |record| record.maintained = maintained)?;
        self.session.voice.info(&format!("{word} infrastructure {id}"));
        Ok(())
    }

    async fn report(&self, id: &str) -> Result<Report, Refusal> {
        self.check(id)?;
        self.session.report(id).await.map_err(|failure| refusal(&failure))
    }

    async fn wish(&self, id: &str, node: &str, wish: Wish) -> Result<(), Refusal> {
        self.check(id)?;
        let names = self.session.node_names(id).map_err(|failure| refusal(&failure))?;
        if !names.contains(node) {
            return Err(Refusal::NoNode { id: id.to_owned(), node: node.to_owned() });
        }
        scale::note(&self.session, id, node, vec![wish]).map_err(|failure| refusal(&failure))
    }

    async fn notify(&self, id: &str, how: &str) -> Result<(), Refusal> {
        self.change(id, |record| record.notification = Some(how.to_owned()))?;
        // Whom Occopus told by it, Firebase's old interface, is gone.
        self.session.voice.info(&format!("Notifications of {id} are noted; they cannot be sent"));
        Ok(())
    }

    async fn pass(&self, id: &str, token: CancellationToken) -> bool {
        match self.session.records.find(id) {
            Ok(Some(record)) if !record.destroying && record.maintained => {}
            Ok(_) => return false,
            Err(failure) => self.session.voice.failure(&failure),
        }
        let order = Order { command: "occopus-rest-service", new: None, replace: true };
        match self.session.pass(id, order, token.clone()).await {
            Ok(outcome) if outcome.exit != Exit::Done && !token.is_cancelled() => {
                unfinished(&outcome, &self.session.voice);
            }
            Ok(_) => {}
            Err(_) if token.is_cancelled() => {}
            Err(failure) => self.session.voice.failure(&failure),
        }
        true
    }

    async fn destroy(&self, id: &str, token: CancellationToken) -> Result<(), Refusal> {
        self.check(id)?;
        self.session.voice.info(&format!("Start dropping infrastructure {id}"));
        self.session.destroy(id, token).await.map_err(|failure| {
            self.session.voice.failure(&failure);
            refusal(&failure)
        })?;
        self.session.voice.info(&format!("Finished dropping infrastructure {id}"));
        Ok(())
    }

    async fn info(&self, key: &str, parameters: &BTreeMap<String, String>) -> Result<Value, Refusal> {
        let id = parameters.get("infra_id").map(String::as_str);
        let needed = || Refusal::Bad(format!("Invalid parameter value for key \"{key}\""));
        match key {
            "infrastructure.name" => Ok(json!(infra_name(&self.check(id.ok_or_else(needed)?)?.description))),
            "infrastructure.state" | "infrastructure.node_instances" => {
                let id = id.ok_or_else(needed)?;
                let report = self.report(id).await?;
                Ok(instances(&report))
            }
            _ => Err(Refusal::NoKey(key.to_owned())),
        }
    }
}

/// By node and id, what Occopus' own records have of an instance, as far as it is shown.
fn instances(report: &Report) -> Value {
    let nodes = report.nodes.iter().map(|node| {
        let instances = node.instances.iter().map(|instance| {
            let value = json!({
                "node_id": instance.id, "instance_id": instance.machine, "state": instance.state,
                "resource_address": instance.addresses,
            });
            (instance.id.clone(), value)
        });
        (node.name.clone(), Value::Object(instances.collect()))
    });
    Value::Object(nodes.collect())
}
