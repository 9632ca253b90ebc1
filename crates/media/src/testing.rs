//! What the tests of several modules share.

use std::path::PathBuf;

/// A folder of test data that is not part of this repository; `None`, said loudly, if it is not there.
///
/// It is looked for in `$TRUNKLINE_CORPORA`, then in `shared/corpora` beside the checkout.
pub(crate) fn corpora(folder: &str) -> Option<PathBuf> {
    let beside = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpora"));
    let found = std::env::var_os("TRUNKLINE_CORPORA").map_or_else(beside, PathBuf::from).join(folder);
    if found.is_dir() {
        return Some(found);
    }
    eprintln!("SKIP: no test data in {}; set TRUNKLINE_CORPORA", found.display());
    None
}
