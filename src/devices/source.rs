//! The source of a disk or a NIC that is not one attribute of its XML: a network disk's protocol, hosts and
//! name, the address of a device that is passed through, a socket. Each as one text, like a URI.

use quick_xml::events::BytesStart;
use quick_xml::events::attributes::AttrError;

use super::walk::{VALUE_MAX, attribute};

/// What has been found of a device's source so far.
#[derive(Debug, Default)]
pub(super) struct DeviceSource {
    /// `<source protocol>`: nbd, rbd, iscsi, …
    protocol: Option<String>,
    name: Option<String>,
    query: Option<String>,
    pool: Option<String>,
    volume: Option<String>,
    /// `<source namespace>` of an NVMe device.
    namespace: Option<String>,
    /// `<source address>` and `<source port>` of a NIC.
    address: Option<String>,
    port: Option<String>,
    /// The first `<host>`.
    host: Option<SourceHost>,
    /// `<address type='pci'>` of a device that is passed through.
    pci: Option<String>,
}

#[derive(Debug, Default)]
struct SourceHost {
    transport: Option<String>,
    name: Option<String>,
    port: Option<String>,
    socket: Option<String>,
}

impl DeviceSource {
    /// Takes an element below the device's own.
    pub(super) fn open(&mut self, path: &str, tag: &BytesStart<'_>) -> Result<(), AttrError> {
        match path {
            "source" => {
                for (slot, name) in [
                    (&mut self.protocol, "protocol"),
                    (&mut self.name, "name"),
                    (&mut self.query, "query"),
                    (&mut self.pool, "pool"),
                    (&mut self.volume, "volume"),
                    (&mut self.namespace, "namespace"),
                    (&mut self.address, "address"),
                    (&mut self.port, "port"),
                ] {
                    *slot = slot.take().or(attribute(tag, name)?);
                }
            }
            "source/host" if self.host.is_none() => {
                self.host = Some(SourceHost {
                    transport: attribute(tag, "transport")?,
                    name: attribute(tag, "name")?,
                    port: attribute(tag, "port")?,
                    socket: attribute(tag, "socket")?,
                });
            }
            "source/address" if self.pci.is_none() => self.pci = pci(tag)?,
            _ => {}
        }
        Ok(())
    }

    /// The source of a disk of this type.
    pub(super) fn of_disk(self, kind: &str) -> Option<String> {
        let text = match (&self.pool, &self.volume) {
            (Some(pool), Some(volume)) => format!("{pool}/{volume}"),
            _ if kind == "nvme" => match self.namespace {
                Some(namespace) => format!("nvme://{}/{namespace}", self.pci?),
                None => format!("nvme://{}", self.pci?),
            },
            _ if self.protocol.is_none() => self.name?,
            _ => self.of_network()?,
        };
        Some(text).filter(|text| text.len() <= VALUE_MAX)
    }

    /// protocol://host:port/name, as QEMU and virsh write it.
    fn of_network(self) -> Option<String> {
        let SourceHost { transport, name: host, port, socket } = self.host.unwrap_or_default();
        let mut text = self.protocol?;
        if let Some(transport) = transport.filter(|it| it != "tcp") {
            text.push('+');
            text.push_str(&transport);
        }
        text.push_str("://");
        text.push_str(&host.map_or_else(String::new, |host| with_port(&host, port.as_deref())));
        if let Some(name) = self.name {
            if !name.starts_with('/') {
                text.push('/');
            }
            text.push_str(&name);
        }
        if let Some(query) = self.query {
            text.push('?');
            text.push_str(&query);
        }
        if let Some(socket) = socket {
            text.push_str(if text.contains('?') { "&socket=" } else { "?socket=" });
            text.push_str(&socket);
        }
        Some(text)
    }

    /// The source of a NIC that is no network, bridge, device or socket.
    pub(super) fn of_nic(self) -> Option<String> {
        let port = self.port;
        let text = match self.address {
            Some(address) => Some(with_port(&address, port.as_deref())),
            // A server that listens on all addresses.
            None => port.map(|port| format!(":{port}")).or(self.pci),
        };
        text.filter(|text| text.len() <= VALUE_MAX)
    }
}

/// HOST:PORT; an IPv6 address in brackets.
fn with_port(host: &str, port: Option<&str>) -> String {
    let is_bare = host.contains(':') && !host.starts_with('[');
    let host = if is_bare { format!("[{host}]") } else { host.to_owned() };
    match port {
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}

/// A PCI address as lspci writes it: 0000:01:00.0.
fn pci(tag: &BytesStart<'_>) -> Result<Option<String>, AttrError> {
    let number = |name| -> Result<Option<u32>, AttrError> {
        let text = attribute(tag, name)?;
        let digits = |text: &str| match text.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        };
        Ok(text.as_deref().and_then(digits))
    };
    let parts = (number("bus")?, number("slot")?, number("function")?);
    let (Some(bus), Some(slot), Some(function)) = parts else { return Ok(None) };
    let domain = number("domain")?.unwrap_or(0);
    Ok(Some(format!("{domain:04x}:{bus:02x}:{slot:02x}.{function:x}")))
}
