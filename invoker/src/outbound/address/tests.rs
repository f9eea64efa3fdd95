//! Every address in every form, against a second opinion and against what is known.

use super::*;
use crate::outbound::property::opinion::is_public_v4;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn is_public(address: IpAddr) -> bool {
    is_open(address, &[])
}

fn networks(texts: &[&str]) -> Vec<PrivateNetwork> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// The IPv6 addresses that stand for an IPv4 address.
fn disguises(address: Ipv4Addr) -> [Ipv6Addr; 5] {
    let bits = u128::from(address.to_bits());
    [
        Ipv6Addr::from_bits(bits),
        Ipv6Addr::from_bits(0xffff << 32 | bits),
        Ipv6Addr::from_bits(0xffff << 48 | bits),
        Ipv6Addr::from_bits(0x64_ff9b << 96 | bits),
        Ipv6Addr::from_bits(0x2002 << 112 | bits << 80),
    ]
}

/// Those through which it might be reached, and which are closed whatever is inside.
fn closed_disguises(address: Ipv4Addr) -> [Ipv6Addr; 3] {
    let bits = u128::from(address.to_bits());
    [
        // NAT64 of local use, with the longest and the shortest prefix (RFC 6052).
        Ipv6Addr::from_bits(0x64_ff9b_0001 << 80 | bits),
        Ipv6Addr::from_bits(0x64_ff9b_0001 << 80 | (bits >> 16) << 64 | (bits & 0xffff) << 40),
        // Teredo: the client's address is inverted.
        Ipv6Addr::from_bits(0x2001 << 112 | (bits ^ 0xffff_ffff)),
    ]
}

fn check_everything_about(address: Ipv4Addr, opened: &[PrivateNetwork]) {
    let public = is_public_v4(address);
    assert_eq!(is_public(address.into()), public, "{address}");
    let open = is_open(address.into(), opened);
    for disguise in disguises(address) {
        assert_eq!(is_public(disguise.into()), public, "{disguise} is {address}");
        // 0.0.0.0 and 0.0.0.1 look like the IPv6 addresses `::` and `::1`, which are their own.
        if !disguise.is_unspecified() && !disguise.is_loopback() {
            assert_eq!(is_open(disguise.into(), opened), open, "{disguise} is {address}");
        }
    }
    for disguise in closed_disguises(address) {
        assert!(!is_open(disguise.into(), opened), "{disguise} is {address}");
    }
}

/// Every address at the edge of a block, and every 16,411th of all of them.
#[test]
fn an_address_is_judged_alike_in_every_disguise() {
    let opened = networks(&["10.0.0.0/8", "127.0.0.1", "169.254.7.0/24"]);
    for network in NEVER.iter().chain(&GUARDED).chain(&PRIVATE) {
        let IpNet::V4(network) = network else { continue };
        let (first, last) = (network.network().to_bits(), network.broadcast().to_bits());
        for edge in [first.wrapping_sub(1), first, last, last.wrapping_add(1)] {
            check_everything_about(Ipv4Addr::from_bits(edge), &opened);
        }
    }
    for bits in (0..=u32::MAX).step_by(16_411) {
        check_everything_about(Ipv4Addr::from_bits(bits), &opened);
    }
}

/// Random bits from a hash, so that every run looks at the same ones.
#[test]
fn of_ipv6_only_what_was_given_out_is_public() {
    for number in 0_u64..300_000 {
        let hash = blake3::hash(&number.to_le_bytes());
        let bits = u128::from_le_bytes(hash.as_bytes()[..16].try_into().unwrap());
        // Every other one inside of 2000::/3, and every other one of these near the blocks of special use.
        let bits = match number % 4 {
            0 | 2 => bits,
            1 => bits >> 3 | 1 << 125,
            _ => (bits >> 28 | 0x2001 << 112) & !(0xf << 108),
        };
        let address = Ipv6Addr::from_bits(bits);
        let [a, b, ..] = address.segments();
        if is_public(address.into()) {
            assert_eq!(a & 0xe000, 0x2000, "{address}");
            assert!(a != 0x2001 || b >= 0x200, "{address}");
            assert!((a, b) != (0x2001, 0xdb8), "{address}");
            assert!(a != 0x3fff || b >= 0x1000, "{address}");
        }
        if a == 0x2002 {
            let inside = IpAddr::V4(Ipv4Addr::from_bits(low_32(bits >> 80)));
            assert_eq!(is_public(address.into()), is_public(inside), "{address}");
        }
    }
}

const CLOSED: &str = "\
    169.254.169.254 169.254.170.2 fd00:ec2::254 fd20:ce::254 fd00:c1::a9fe:a9fe 100.100.100.200 168.63.129.16 \
    192.0.0.192 127.0.0.1 127.255.255.255 ::1 0.0.0.0 :: 10.0.0.1 172.16.0.1 172.31.255.255 192.168.0.1 \
    100.64.0.1 100.127.255.255 198.18.0.1 198.19.255.255 192.0.2.1 198.51.100.1 203.0.113.1 224.0.0.1 \
    239.255.255.255 240.0.0.1 255.255.255.255 192.88.99.1 fe80::1 febf::1 fec0::1 fc00::1 fdff::1 ff02::1 \
    2001:db8::1 3fff::1 2001:2::1 100::1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::127.0.0.1 ::ffff:0:127.0.0.1 \
    64:ff9b::127.0.0.1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::7f00:1 64:ff9b:1::808:808 2002:7f00:1:: \
    2002:a9fe:a9fe::1 2002:a00:1::1 2001:0:7f00:1::1 2001:0:808:808::f7f7:f7f7 5f00::1 4000::1";

const PUBLIC: &str = "\
    1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 172.15.255.255 172.32.0.0 192.167.255.255 \
    192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255 169.253.255.255 2606:4700:4700::1111 2a00:1450::1 \
    2001:200::1 2001:4860:4860::8888 ::ffff:8.8.8.8 64:ff9b::808:808 2002:808:808::1";

#[test]
fn well_known_addresses() {
    for text in CLOSED.split_whitespace() {
        assert!(!is_public(ip(text)), "{text}");
    }
    for text in PUBLIC.split_whitespace() {
        assert!(is_public(ip(text)), "{text}");
    }
}

#[test]
fn an_opened_network_opens_what_is_in_it_and_no_more() {
    let opened = networks(&["10.1.0.0/16", "127.0.0.1", "fd12::/16"]);
    for (text, open) in [
        ("10.1.2.3", true),
        ("::ffff:10.1.2.3", true),
        ("10.2.0.1", false),
        ("127.0.0.1", true),
        ("127.0.0.2", false),
        ("::1", false),
        ("fd12::1", true),
        ("fd13::1", false),
        ("8.8.8.8", true),
    ] {
        assert_eq!(is_open(ip(text), &opened), open, "{text}");
    }
}

#[test]
fn metadata_and_link_local_are_opened_by_name_only() {
    let everything = networks(&["0.0.0.0/0", "::/0", "100.64.0.0/10", "fd00::/8", "168.0.0.0/6"]);
    for text in ["10.0.0.1", "127.0.0.1", "100.64.0.1", "fd00::1", "::1", "64:ff9b:1::1"] {
        assert!(is_open(ip(text), &everything), "{text}");
    }
    for text in [
        "169.254.169.254",
        "169.254.0.1",
        "fe80::1",
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
        "::ffff:169.254.169.254",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "255.255.255.255",
        "ff02::1",
    ] {
        assert!(!is_open(ip(text), &everything), "{text}");
    }
    let by_name = networks(&["169.254.0.0/16", "fe80::/10", "fd00:ec2::254", "100.100.100.200/32"]);
    for text in ["169.254.169.254", "fe80::1", "fd00:ec2::254", "100.100.100.200"] {
        assert!(is_open(ip(text), &by_name), "{text}");
    }
    assert!(!is_open(ip("100.100.100.201"), &by_name));
}

#[test]
fn networks_are_written_exactly() {
    for (text, network) in [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("127.0.0.1", "127.0.0.1/32"),
        ("FD12::/16", "fd12::/16"),
    ] {
        assert_eq!(text.parse::<PrivateNetwork>().unwrap().to_string(), network);
    }
    for text in [
        "",
        "10.0.0.0/33",
        "10.1.2.3/8",
        "10/8",
        "::ffff:10.0.0.0/104",
        "localhost",
        "fd12::1/16",
        "0x7f.1",
    ] {
        assert!(text.parse::<PrivateNetwork>().is_err(), "{text}");
    }
}
