//! Two vmstate dumps compared by what goes over the wire.

pub(crate) mod compare;
mod defects;
mod pair;

#[cfg(test)]
mod tests;
