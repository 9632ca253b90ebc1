use super::bucket::Bucket;
use super::prefix::Prefix;

/// One prefix of a trunk.
#[derive(Debug)]
pub struct Trunk {
    first: u128,
    last: u128,
    pub open: Bucket,
    pub within: Bucket,
}

/// The trunks' prefixes, in order and apart from one another.
#[derive(Default, Debug)]
pub struct Trunks(Vec<Trunk>);

impl Trunks {
    /// Prefixes within others are left out.
    pub fn new(prefixes: &[Prefix]) -> Self {
        let mut ordered: Vec<Prefix> = prefixes.to_vec();
        ordered.sort_unstable();
        let mut trunks: Vec<Trunk> = Vec::with_capacity(ordered.len());
        for prefix in ordered {
            if trunks.last().is_none_or(|trunk| trunk.last < prefix.first()) {
                let (open, within) = (Bucket::default(), Bucket::default());
                trunks.push(Trunk { first: prefix.first(), last: prefix.last(), open, within });
            }
        }
        Self(trunks)
    }

    pub fn find(&mut self, address: u128) -> Option<&mut Trunk> {
        let after = self.0.partition_point(|trunk| trunk.first <= address);
        self.0.get_mut(after.checked_sub(1)?).filter(|trunk| address <= trunk.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shield::prefix::bits;

    #[test]
    fn nested_prefixes() {
        let prefixes = [
            "203.0.113.9",
            "203.0.112.0/23",
            "203.0.113.0/24",
            "2001:db8::/32",
            "198.51.100.1",
            "198.51.100.1",
        ]
        .map(|text| text.parse().unwrap());
        let mut trunks = Trunks::new(&prefixes);
        assert_eq!(trunks.0.len(), 3);
        for (address, found) in [
            ("203.0.112.0", true),
            ("203.0.113.255", true),
            ("203.0.114.0", false),
            ("203.0.111.255", false),
            ("198.51.100.1", true),
            ("198.51.100.2", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
            ("::", false),
        ] {
            assert_eq!(trunks.find(bits(address.parse().unwrap())).is_some(), found, "{address}");
        }
        assert!(Trunks::default().find(0).is_none());
    }
}
