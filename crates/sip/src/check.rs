/// What is wrong with a request, and the status that says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// 400 to 505.
    pub status: u16,
    /// A reason phrase that names the fault.
    pub phrase: &'static str,
}
