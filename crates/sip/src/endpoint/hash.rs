use std::hash::{BuildHasher, DefaultHasher, Hasher as _};

/// Hashes under a key made from the endpoint's seed: nobody outside can aim at collisions, and the same seed always
/// gives the same table.
#[derive(Clone, Copy)]
pub struct Keyed(pub u64);

impl BuildHasher for Keyed {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}
