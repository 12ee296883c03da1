//! The switch: a bridge in the shepherd's own network namespace, one cable to each node.

use std::net::Ipv4Addr;

use futures_util::TryStreamExt as _;
use muster_stdx::{OnError, Supervisor};
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkMessage};
use rtnetlink::{Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth};

use crate::settings::Subnet;

const BRIDGE: &str = "switch";
/// Locally administered. A bridge that is given no address takes the lowest of its ports' and so changes it as nodes
/// come: those that were there keep sending to the old one for seconds.
const BRIDGE_ADDRESS: [u8; 6] = [0x02, 0x6d, 0x75, 0x73, 0x74, 0x72];
/// What the hardware addresses of nodes begin with; their IPv4 address follows.
const NODE_ADDRESS_PREFIX: [u8; 2] = [0x02, 0x6d];
/// What a node calls its end of the cable.
pub(crate) const NODE_LINK: &str = "eth0";

#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkError {
    #[error("cannot open a netlink socket")]
    Open(#[source] std::io::Error),
    #[error("cannot {operation} link {link}")]
    Link {
        operation: &'static str,
        link: String,
        #[source]
        source: Box<rtnetlink::Error>,
    },
    #[error("there is no link {0}")]
    Missing(String),
}

fn link_error(operation: &'static str, link: &str) -> impl FnOnce(rtnetlink::Error) -> NetworkError {
    let link = link.to_owned();
    move |source| NetworkError::Link { operation, link, source: Box::new(source) }
}

fn connect(supervisor: &Supervisor) -> Result<Handle, NetworkError> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(NetworkError::Open)?;
    supervisor.spawn("netlink", OnError::Log, async move {
        connection.await;
        Ok::<(), std::convert::Infallible>(())
    });
    Ok(handle)
}

async fn index_of(handle: &Handle, name: &str) -> Result<u32, NetworkError> {
    let mut links = handle.link().get().match_name(name.to_owned()).execute();
    let link: Option<LinkMessage> = links.try_next().await.map_err(link_error("find", name))?;
    link.map(|link| link.header.index).ok_or_else(|| NetworkError::Missing(name.to_owned()))
}

async fn set_up(handle: &Handle, index: u32, name: &str) -> Result<(), NetworkError> {
    let message = LinkUnspec::new_with_index(index).up().build();
    handle.link().set(message).execute().await.map_err(link_error("raise", name))
}

async fn add_address(handle: &Handle, index: u32, address: Ipv4Addr, prefix: u8) -> Result<(), NetworkError> {
    let request = handle.address().add(index, address.into(), prefix);
    request.execute().await.map_err(link_error("give an address to", &address.to_string()))
}

/// The switch of one cluster. Made in the calling process's own, fresh network namespace.
#[derive(Clone)]
pub(crate) struct Switch {
    handle: Handle,
    bridge: u32,
}

impl Switch {
    pub(crate) async fn build(subnet: Subnet, supervisor: &Supervisor) -> Result<Self, NetworkError> {
        let handle = connect(supervisor)?;
        let loopback = index_of(&handle, "lo").await?;
        set_up(&handle, loopback, "lo").await?;
        let message = LinkBridge::new(BRIDGE).address(BRIDGE_ADDRESS.to_vec()).up().build();
        handle.link().add(message).execute().await.map_err(link_error("make", BRIDGE))?;
        let bridge = index_of(&handle, BRIDGE).await?;
        add_address(&handle, bridge, subnet.address(1), subnet.prefix).await?;
        Ok(Self { handle, bridge })
    }

    /// Lays the cable to the namespace of a process. It vanishes with the namespace, but not at once: what a machine's
    /// last process has left is removed before.
    pub(crate) async fn plug(&self, port: &str, pid: u32, address: Ipv4Addr) -> Result<(), NetworkError> {
        match self.lay(port, pid, address).await {
            Err(error) if is_there_already(&error) => {
                self.unplug(port).await?;
                self.lay(port, pid, address).await.map_err(link_error("make", port))
            }
            result => result.map_err(link_error("make", port)),
        }
    }

    async fn unplug(&self, port: &str) -> Result<(), NetworkError> {
        match index_of(&self.handle, port).await {
            Ok(index) => self.handle.link().del(index).execute().await.map_err(link_error("remove", port)),
            // Its namespace was quicker.
            Err(_) => Ok(()),
        }
    }

    async fn lay(&self, port: &str, pid: u32, address: Ipv4Addr) -> Result<(), rtnetlink::Error> {
        let peer = LinkMessageBuilder::<LinkUnspec>::new()
            .name(NODE_LINK.to_owned())
            .address(hardware_address(address))
            .setns_by_pid(pid)
            .build();
        let message = LinkMessageBuilder::<LinkVeth>::new(port, NODE_LINK)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .controller(self.bridge)
            .up()
            .build();
        self.handle.link().add(message).execute().await
    }

    /// Takes a port off the network, or puts it back.
    pub(crate) async fn set_port(&self, port: &str, up: bool) -> Result<(), NetworkError> {
        let index = index_of(&self.handle, port).await?;
        let message = LinkUnspec::new_with_index(index);
        let message = if up { message.up() } else { message.down() };
        self.handle.link().set(message.build()).execute().await.map_err(link_error("switch", port))
    }
}

/// The same for an IPv4 address, whatever machine has it: what others know of it stays right when it is started again.
fn hardware_address(address: Ipv4Addr) -> Vec<u8> {
    [NODE_ADDRESS_PREFIX.as_slice(), address.octets().as_slice()].concat()
}

fn is_there_already(error: &rtnetlink::Error) -> bool {
    let rtnetlink::Error::NetlinkError(message) = error else { return false };
    message.code.is_some_and(|code| -code.get() == libc::EEXIST)
}

/// The name of the switch's end of a machine's cable.
pub(crate) fn port_name(index: u16) -> String {
    format!("port{index}")
}

/// Run in the node: raises its links.
pub(crate) async fn configure_node(address: Ipv4Addr, prefix: u8, supervisor: &Supervisor) -> Result<(), NetworkError> {
    let handle = connect(supervisor)?;
    let loopback = index_of(&handle, "lo").await?;
    set_up(&handle, loopback, "lo").await?;
    let link = index_of(&handle, NODE_LINK).await?;
    add_address(&handle, link, address, prefix).await?;
    set_up(&handle, link, NODE_LINK).await
}
