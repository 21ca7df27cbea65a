//! Addresses that are not of the public internet, after the registries of special-purpose addresses at IANA.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A block of addresses: its first, the length of its prefix, and what its addresses are.
type Block<T> = (T, u32, &'static str);

const IPV4: [Block<Ipv4Addr>; 19] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "of this network"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "shared by a carrier"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "reserved for protocols"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "for documentation"),
    (Ipv4Addr::new(192, 31, 196, 0), 24, "reserved for protocols"),
    (Ipv4Addr::new(192, 52, 193, 0), 24, "reserved for protocols"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "reserved for protocols"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private"),
    (Ipv4Addr::new(192, 175, 48, 0), 24, "reserved for protocols"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "for benchmarks"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "for documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "for documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(255, 255, 255, 255), 32, "broadcast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
];

const IPV6: [Block<Ipv6Addr>; 15] = [
    (Ipv6Addr::UNSPECIFIED, 128, "unspecified"),
    (Ipv6Addr::LOCALHOST, 128, "loopback"),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, "translated to one of another network"),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 32, "a sink"),
    // Teredo, benchmarks, ORCHID and others.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "reserved for protocols"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "for documentation"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "a tunnel (6to4)"),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48, "reserved for protocols"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "for documentation"),
    (Ipv6Addr::new(0x5f00, 0, 0, 0, 0, 0, 0, 0), 16, "reserved for protocols"),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, "private"),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "link-local"),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, "private"),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "multicast"),
    (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16, "reserved"),
];

/// All that is given out for the public internet so far; what lies outside is special even if no block names it.
const GIVEN_OUT: Block<Ipv6Addr> = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3, "");

/// Addresses that stand for one of IPv4, which is in their last four bytes.
const MAPPED: Block<Ipv6Addr> = (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, "");
const TRANSLATED: Block<Ipv6Addr> = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96, "");

/// What kind of special address this is; none if it is of the public internet.
pub(super) fn special(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => special_ipv4(address),
        IpAddr::V6(address) => special_ipv6(address),
    }
}

fn special_ipv4(address: Ipv4Addr) -> Option<&'static str> {
    let within =
        |(first, prefix, _): &&Block<Ipv4Addr>| (address.to_bits() ^ first.to_bits()).leading_zeros() >= *prefix;
    IPV4.iter().find(within).map(|(.., kind)| *kind)
}

fn special_ipv6(address: Ipv6Addr) -> Option<&'static str> {
    let within =
        |(first, prefix, _): &Block<Ipv6Addr>| (address.to_bits() ^ first.to_bits()).leading_zeros() >= *prefix;
    if within(&MAPPED) || within(&TRANSLATED) {
        let [.., a, b, c, d] = address.octets();
        return special_ipv4(Ipv4Addr::new(a, b, c, d));
    }
    let named = IPV6.iter().find(|block| within(block)).map(|(.., kind)| *kind);
    named.or((!within(&GIVEN_OUT)).then_some("not of the public internet"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(address: &str) -> Option<&'static str> {
        special(address.parse().unwrap())
    }

    #[test]
    fn every_special_block_is_known_from_its_first_to_its_last_address() {
        for [first, last] in [
            ["0.0.0.0", "0.255.255.255"],
            ["10.0.0.0", "10.255.255.255"],
            ["100.64.0.0", "100.127.255.255"],
            ["127.0.0.0", "127.255.255.255"],
            ["169.254.0.0", "169.254.255.255"],
            ["172.16.0.0", "172.31.255.255"],
            ["192.0.0.0", "192.0.0.255"],
            ["192.0.2.0", "192.0.2.255"],
            ["192.31.196.0", "192.31.196.255"],
            ["192.52.193.0", "192.52.193.255"],
            ["192.88.99.0", "192.88.99.255"],
            ["192.168.0.0", "192.168.255.255"],
            ["192.175.48.0", "192.175.48.255"],
            ["198.18.0.0", "198.19.255.255"],
            ["198.51.100.0", "198.51.100.255"],
            ["203.0.113.0", "203.0.113.255"],
            ["224.0.0.0", "239.255.255.255"],
            ["240.0.0.0", "255.255.255.255"],
            ["::", "::1"],
            // Compatible addresses, which nobody uses, and all others under 2000::.
            ["::7f00:1", "::808:808"],
            ["64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"],
            ["100::", "100::ffff:ffff:ffff:ffff"],
            ["100:0:0:1::", "100:0:0:1:ffff:ffff:ffff:ffff"],
            ["200::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
            ["2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"],
            ["2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff"],
            ["2001:10::", "2001:2f:ffff:ffff:ffff:ffff:ffff:ffff"],
            ["2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"],
            ["2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
            ["2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff"],
            ["3ffe::", "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
            ["3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"],
            ["4000::", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
            ["fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
            ["fe00::", "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
            ["fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
            ["fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
            ["ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
        ] {
            assert!(kind(first).is_some() && kind(last).is_some(), "{first} to {last}");
        }
    }

    #[test]
    fn what_lies_beside_them_is_public() {
        for address in [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "8.8.8.8",
            "2000::",
            "2001:200::",
            "2001:4860:4860::8888",
            "2001:db7:ffff::",
            "2001:db9::",
            "2003::",
            "2606:4700::1111",
            "2a00:1450::1",
            "3ffd:ffff::",
            "3fff:1000::",
        ] {
            assert_eq!(kind(address), None, "{address}");
        }
    }

    #[test]
    fn an_address_within_another_is_looked_at() {
        for prefix in ["::ffff:", "64:ff9b::"] {
            for address in
                ["127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.0.1", "0.0.0.0", "224.0.0.1", "100.64.0.1"]
            {
                assert_eq!(kind(&format!("{prefix}{address}")), kind(address), "{prefix}{address}");
                assert!(kind(address).is_some());
            }
            assert_eq!(kind(&format!("{prefix}8.8.8.8")), None);
        }
        // Tunnels lead where nobody here can see, whatever they hold.
        for tunnel in ["2002:7f00:1::", "2002:808:808::1", "2001:0:808:808::1", "::8.8.8.8"] {
            assert!(kind(tunnel).is_some(), "{tunnel}");
        }
    }
}
