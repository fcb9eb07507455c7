//! What makes a file wrong though each of its parts is well written: names seen from where, types that cannot fit, limits that cannot hold.

pub(in crate::plan) mod branches;
pub(in crate::plan) mod budget;
pub(in crate::plan) mod buses;
pub(in crate::plan) mod fit;
pub(in crate::plan) mod limits;
pub(in crate::plan) mod names;
pub(in crate::plan) mod replies;
