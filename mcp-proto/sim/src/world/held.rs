//! How much the machines have allocated.

/// Does what it is given, once, and says by how many bytes what is allocated has risen meanwhile.
pub type Measure = fn(&mut dyn FnMut()) -> i64;

/// The account of what the machines have allocated and not freed, whoever holds it now. What passes
/// from a machine to the world is freed in the account too.
pub(super) struct Held {
    measure: Option<Measure>,
    bytes: i64,
}

impl Held {
    pub(super) fn new(measure: Option<Measure>) -> Self {
        Self { measure, bytes: 0 }
    }

    /// Does something that a machine's memory is allocated or freed in.
    pub(super) fn by<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let Some(measure) = self.measure else {
            return work();
        };
        let (mut work, mut result) = (Some(work), None);
        self.bytes += measure(&mut || result = work.take().map(|work| work()));
        result.expect("it is done once")
    }

    /// Frees what came from a machine.
    pub(super) fn free<T>(&mut self, thing: T) {
        self.by(|| drop(thing));
    }

    /// `None` if it is not measured.
    pub(super) fn bytes(&self) -> Option<i64> {
        self.measure.is_some().then_some(self.bytes)
    }
}
