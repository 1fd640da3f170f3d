//! One datagram for a plug-in: what it says of it is told, and its answer is
//! never longer than what came.

use std::net::SocketAddr;
use std::sync::Arc;

use mlua::Value;
use palisade_event::{Category, Endpoint, Transport};

use super::conn::{Ended, Visit, endpoint};
use super::fault::Fault;
use super::run::{converse, tell_fault};
use super::stats::PluginStats;
use super::vm::Vm;
use super::wire::Wire;
use crate::Session;
use crate::session::Zone;

/// What stands for the session of a datagram.
pub(crate) fn session(
    zone: &Arc<Zone>,
    category: Option<Category>,
    from: SocketAddr,
    to: SocketAddr,
) -> Session {
    let end = |address: SocketAddr| Endpoint {
        transport: Some(Transport::Udp),
        ..Endpoint::tcp(address)
    };
    Session::of_datagram(Arc::clone(zone), category, end(from), end(to))
}

/// Gives a datagram to the script, and says what it answers.
///
/// # Errors
/// A sentence about a fault of the script, which is told already.
pub(crate) async fn answer(
    vm: &Vm,
    session: Session,
    bytes: &[u8],
) -> Result<Option<Vec<u8>>, String> {
    let Some(function) = &vm.functions.datagram else { return Ok(None) };
    PluginStats::count(&vm.inside.stats.datagrams);
    let packet = packet(vm, &session, bytes);
    let visit = Visit::new(session, Wire::Nobody);
    let ended = match packet {
        Ok(packet) => converse(vm, &visit, function, packet).await,
        Err(error) => Err(Ended::Fault(Fault::of_error(vm.inside.name.as_str(), &error))),
    };
    let fault = match ended {
        Ok(Value::Nil) | Err(Ended::Closed(_)) => return Ok(None),
        Ok(Value::String(answer)) if answer.as_bytes().len() <= bytes.len() => {
            return Ok(Some(answer.as_bytes().to_vec()));
        }
        Ok(Value::String(answer)) => Fault::of(format!(
            "datagram() answers {} bytes to {}; an answer is never longer than what came",
            answer.as_bytes().len(),
            bytes.len()
        )),
        Ok(other) => Fault::of(format!(
            "datagram() returns a {}; it has to be a text or nil",
            other.type_name()
        )),
        Err(Ended::Fault(fault)) => fault,
    };
    if let Some(mut parts) = visit.finish() {
        // The zone ends where nobody takes events any more.
        let _ = tell_fault(&vm.inside.stats, &vm.inside.name, &mut parts.session, &fault).await;
    }
    Err(fault.to_string())
}

fn packet(vm: &Vm, session: &Session, bytes: &[u8]) -> mlua::Result<Value> {
    let packet = vm.lua.create_table()?;
    packet.raw_set("data", vm.lua.create_string(bytes)?)?;
    packet.raw_set("peer", endpoint(&vm.lua, session.peer())?)?;
    packet.raw_set("server", endpoint(&vm.lua, session.local())?)?;
    Ok(Value::Table(packet))
}

#[cfg(test)]
mod tests {
    use super::super::rehearse::play;
    use super::super::source::Source;

    fn run(body: &str, transcript: &str) -> Result<(), String> {
        let init = format!(
            "return {{ api = 1, name = 'u', about = 'x', ports = {{ udp = {{9}} }},
               columns = {{ {{'n', 'INTEGER'}} }}, datagram = function(packet) {body} end }}"
        );
        play(&Source::of_text("u", init).unwrap(), transcript)
    }

    #[test]
    fn a_datagram_is_answered_by_at_most_as_much() {
        let echo = "record{ n = #packet.data } return string.upper(packet.data)";
        assert_eq!(run(echo, "@udp\n< abc\n> ABC\n= row n=3\n< d\n> D\n"), Ok(()));
        let why = run("return packet.data .. '!'", "@udp\n< abc\n").unwrap_err();
        assert!(why.contains("answers 4 bytes to 3"), "{why}");
        assert_eq!(run("return nil", "@udp\n< abc\n"), Ok(()));
        let why = run("return 7", "@udp\n< abc\n").unwrap_err();
        assert!(why.contains("has to be a text or nil"), "{why}");
    }
}
