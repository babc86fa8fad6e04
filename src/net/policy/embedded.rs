//! IPv4 addresses inside IPv6 addresses: a packet to one of these may come out at the IPv4 address it carries.

use std::net::{Ipv4Addr, Ipv6Addr};

/// `::ffff:a.b.c.d` (RFC 4291, 2.5.5.2).
pub const MAPPED: &str = "IPv4-mapped";

/// The addresses that `outer` carries, and the form it carries them in. Empty for an ordinary IPv6 address. Mapped
/// addresses are not told here: they are IPv4 addresses, not addresses that lead to one.
pub fn addresses(outer: Ipv6Addr) -> impl Iterator<Item = (Ipv4Addr, &'static str)> {
    let bytes = outer.octets();
    let at = |positions: [usize; 4]| {
        let [a, b, c, d] = positions.map(|position| bytes[position]);
        Ipv4Addr::new(a, b, c, d)
    };
    let tail = at([12, 13, 14, 15]);
    // Teredo hides the client's address from NATs by flipping its bits (RFC 4380, 4).
    let flipped = Ipv4Addr::from_bits(!tail.to_bits());
    let mut found: [Option<(Ipv4Addr, &'static str)>; 5] = [None; 5];
    match outer.segments() {
        // `::a.b.c.d` (RFC 4291, 2.5.5.1); `::` and `::1` have rules of their own.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => found[0] = Some((tail, "IPv4-compatible")),
        // `::ffff:0:a.b.c.d` (RFC 2765, 2.1).
        [0, 0, 0, 0, 0xffff, 0, ..] => found[0] = Some((tail, "IPv4-translated")),
        // 64:ff9b::/96 (RFC 6052, 2.1).
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => found[0] = Some((tail, "NAT64")),
        // 64:ff9b:1::/48 (RFC 8215): which of the prefix lengths of RFC 6052, 2.2 the network uses cannot be seen, so
        // each reading counts. A reading that begins with 0 is the padding of another one, unless all do.
        [0x64, 0xff9b, 1, ..] => {
            let readings = [at([6, 7, 9, 10]), at([7, 9, 10, 11]), at([9, 10, 11, 12]), tail];
            for (slot, reading) in found.iter_mut().zip(readings) {
                *slot = (reading.octets()[0] != 0).then_some((reading, "NAT64"));
            }
            if found.iter().all(Option::is_none) {
                found[0] = Some((tail, "NAT64"));
            }
        }
        // 2002::/16 (RFC 3056, 2).
        [0x2002, ..] => found[0] = Some((at([2, 3, 4, 5]), "6to4")),
        // 2001::/32 (RFC 4380, 4): the server and the client.
        [0x2001, 0, ..] => {
            found[0] = Some((flipped, "Teredo"));
            found[1] = Some((at([4, 5, 6, 7]), "Teredo server"));
        }
        _ => {}
    }
    // `<prefix>:0:5efe:a.b.c.d`, with the universal bit set or not, under any prefix (RFC 5214, 6.1).
    if matches!(bytes[8..12], [0 | 2, 0, 0x5e, 0xfe]) {
        found[4] = Some((tail, "ISATAP"));
    }
    found.into_iter().flatten()
}
