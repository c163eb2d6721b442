//! A VM's interfaces: one veth pair each, one end on the bridge, the other in the VM.

use std::fmt::Write;

use super::Interface;
use crate::Error;
use crate::command::Command;
use crate::config::NetworkOptions;
use crate::ids::VmCid;

/// Gives the VM whose process 1 is `pid` its interfaces.
pub(crate) fn connect(
    cid: &VmCid,
    pid: i32,
    interfaces: &[Interface],
    options: &NetworkOptions,
) -> Result<(), Error> {
    let mut outside = String::new();
    let mut inside = String::from("link set lo up\n");
    for (index, interface) in interfaces.iter().enumerate() {
        let name = host_end(cid, index);
        let Interface {
            device,
            mac,
            address,
            ..
        } = interface;
        let (bridge, mtu) = (&options.bridge, options.mtu);
        // Writing to a String does not fail.
        let _ = writeln!(
            outside,
            "link add {name} mtu {mtu} type veth peer name {device} address {mac} mtu {mtu} netns {pid}\n\
             link set {name} master {bridge} up"
        );
        let nodad = if address.ip().is_ipv6() { " nodad" } else { "" };
        let _ = writeln!(
            inside,
            "addr add {address} dev {device}{nodad}\nlink set {device} up"
        );
        if let (true, Some(gateway)) = (interface.default_route, interface.gateway) {
            let _ = writeln!(inside, "route add default via {gateway} dev {device}");
        }
    }
    Command::new("ip")
        .args(["-batch", "-"])
        .input(outside)
        .run()?;
    Command::new("nsenter")
        .arg(format!("--net=/proc/{pid}/ns/net"))
        .args(["ip", "-batch", "-"])
        .input(inside)
        .run()?;
    Ok(())
}

/// Takes the VM's interfaces away. Those that went with the VM are not missed.
pub(crate) fn disconnect(cid: &VmCid, interfaces: usize) -> Result<(), Error> {
    let present = super::host::links()?;
    let mut batch = String::new();
    for name in (0..interfaces).map(|index| host_end(cid, index)) {
        if present.iter().any(|link| link.ifname == name) {
            let _ = writeln!(batch, "link del {name}");
        }
    }
    if batch.is_empty() {
        return Ok(());
    }
    let deleted = Command::new("ip")
        .args(["-force", "-batch", "-"])
        .input(batch)
        .run();
    if let Err(error) = deleted {
        // They go by themselves with the VM's network namespace, which may be this very moment.
        let left = super::host::links()?;
        if (0..interfaces).any(|index| left.iter().any(|link| link.ifname == host_end(cid, index)))
        {
            return Err(error.into());
        }
    }
    Ok(())
}

/// The name of the end that stays outside: `b`, ten digits of the id, the index. An interface name has 15 characters.
fn host_end(cid: &VmCid, index: usize) -> String {
    let digits: String = cid
        .as_str()
        .chars()
        .filter(char::is_ascii_hexdigit)
        .rev()
        .take(10)
        .collect();
    format!("b{digits}.{index}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_names_fit_and_differ() {
        let (a, b) = (VmCid::generate(), VmCid::generate());
        assert!(host_end(&a, 99).len() <= 15);
        assert_ne!(host_end(&a, 0), host_end(&b, 0));
        assert_ne!(host_end(&a, 0), host_end(&a, 1));
    }
}
