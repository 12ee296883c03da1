//! Enrolment and renewal: each on one connection, so that both halves concern the same key.

use muster_api::{EnrolOffer, EnrolRequest, RenewOffer, RenewRequest};
use muster_types::Redacted;

use crate::client::AgentEndpoint;
use crate::connection::{Call, Connection, Shared};
use crate::tls::{Trust, is_self_signed};
use crate::{TransportError, proof};

pub(crate) async fn enrol(
    shared: &Shared,
    endpoint: &AgentEndpoint,
    token: &Redacted<String>,
    sign: impl FnOnce(&EnrolOffer) -> Result<String, String>,
) -> Result<(), TransportError> {
    let (node, limits) = (&endpoint.node, &shared.limits);
    let mut connection = Connection::open(shared, endpoint, Trust::Enrolling).await?;
    if !is_self_signed(&connection.certificate) {
        // It was verified against the CA: an earlier call did it.
        return Ok(());
    }
    let offer: EnrolOffer = connection.json(limits, node, &Call::get("the enrolment offer", "/v1/enrol")).await?;
    check(endpoint, token, &connection, &offer)?;
    let certificate = sign(&offer).map_err(|message| TransportError::Sign { node: node.clone(), message })?;
    let request = EnrolRequest { token: token.clone(), certificate };
    let call = Call::post("the enrolment", "/v1/enrol", &request);
    connection.send(limits, node, &call).await?;
    Ok(())
}

/// Nothing secret has been sent before this.
fn check(
    endpoint: &AgentEndpoint,
    token: &Redacted<String>,
    connection: &Connection,
    offer: &EnrolOffer,
) -> Result<(), TransportError> {
    let impostor = |detail| TransportError::Impostor { node: endpoint.node.clone(), address: endpoint.address, detail };
    if !proof::proves(token.expose(), &connection.certificate, &offer.proof) {
        return Err(impostor("it does not know its bootstrap document"));
    }
    if offer.node != endpoint.node {
        return Err(impostor("it is another node"));
    }
    if !proof::same_key(&offer.csr, &connection.certificate) {
        return Err(impostor("it asks for a certificate for another key"));
    }
    Ok(())
}

pub(crate) async fn renew(
    shared: &Shared,
    endpoint: &AgentEndpoint,
    sign: impl FnOnce(&RenewOffer) -> Result<String, String>,
) -> Result<(), TransportError> {
    let (node, limits) = (&endpoint.node, &shared.limits);
    let mut connection = Connection::open(shared, endpoint, Trust::Renewing).await?;
    let offer: RenewOffer = connection.json(limits, node, &Call::get("the renewal offer", "/v1/renew")).await?;
    let certificate = sign(&offer).map_err(|message| TransportError::Sign { node: node.clone(), message })?;
    let call = Call::post("the renewal", "/v1/renew", &RenewRequest { certificate });
    connection.send(limits, node, &call).await?;
    Ok(())
}
