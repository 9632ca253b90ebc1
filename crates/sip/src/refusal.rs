/// How a request is refused: a status, and the header fields that say why or what would do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// 300 to 699.
    pub status: u16,
    /// Header fields of the response, by name.
    pub headers: Vec<(&'static str, String)>,
}

impl Refusal {
    pub(crate) fn new(status: u16) -> Self {
        Self { status, headers: Vec::new() }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}
