//! Has the crate built anew when a migration is added: the compiler only sees those that it embedded before.

fn main() {
    println!("cargo:rerun-if-changed=src/store/migrations");
}
