//! Waits until every machine greets over SSH. Runs as a process of its own, inside the network of the machines.

use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::shell::{command, run};

const PORT: u16 = 22;
/// Between tries, while nothing listens yet.
const PAUSE: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_mins(2);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    addresses: Vec<IpAddr>,
}

/// Reads the banners of all addresses, in the network of a process.
pub(super) fn wait(process: u32, addresses: &[IpAddr]) -> Result<()> {
    let network = format!("--net=/proc/{process}/ns/net");
    let this = std::env::current_exe().context("this program has a path")?;
    let mut nsenter = command("nsenter", &[network]);
    nsenter.arg(Path::new(&this)).args(["bench", "banners"]);
    nsenter.args(addresses.iter().map(ToString::to_string));
    run(nsenter)
}

pub(super) fn read_all(args: &Args) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    let readers: Vec<_> =
        args.addresses.iter().map(|&address| std::thread::spawn(move || read(address, until))).collect();
    readers.into_iter().try_for_each(|reader| reader.join().map_err(|_| anyhow!("a reader panicked"))?)
}

fn read(address: IpAddr, until: Instant) -> Result<()> {
    loop {
        match banner(address) {
            Ok(line) if line.starts_with("SSH-2.0-") => return Ok(()),
            Ok(line) => bail!("{address} does not speak SSH: {line:?}"),
            Err(error) if Instant::now() > until => return Err(error).with_context(|| format!("{address} is silent")),
            // Nothing tells when another machine begins to listen.
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

fn banner(address: IpAddr) -> std::io::Result<String> {
    let stream = TcpStream::connect_timeout(&SocketAddr::new(address, PORT), Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    if line.is_empty() { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(line) }
}
