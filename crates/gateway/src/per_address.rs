//! Connections by the address that they come from, each counted for as long as it is open.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::network::network;

/// How many connections each address has.
#[derive(Debug, Default)]
pub(crate) struct PerAddress(Mutex<HashMap<IpAddr, usize>>);

/// One connection of an address, until it is dropped.
#[derive(Debug)]
pub(crate) struct OfAddress {
    all: Arc<PerAddress>,
    address: IpAddr,
}

impl PerAddress {
    /// Counts a connection; `None` when the address has `most` already.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr, most: usize) -> Option<OfAddress> {
        let address = network(address);
        let counts = &mut *self.0.lock();
        let count = counts.entry(address).or_default();
        if *count >= most {
            if *count == 0 {
                counts.remove(&address);
            }
            return None;
        }
        *count += 1;
        Some(OfAddress { all: self.clone(), address })
    }
}

impl Drop for OfAddress {
    fn drop(&mut self) {
        let counts = &mut *self.all.0.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_place_back_when_a_connection_ends_however_it_ends() {
        let all = Arc::new(PerAddress::default());
        let at = |text: &str| text.parse().expect("an address");
        let first = all.enter(at("2001:db8::1"), 1);
        assert!(first.is_some());
        assert!(all.enter(at("2001:db8::2"), 1).is_none(), "of one network");
        assert!(all.enter(at("2001:db8:0:1::1"), 1).is_some());
        drop(first);
        assert!(all.0.lock().is_empty());
        assert!(all.enter(at("2001:db8::2"), 0).is_none());
        assert!(all.0.lock().is_empty());
    }
}
