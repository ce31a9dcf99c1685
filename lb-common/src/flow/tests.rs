//! The table in memory, followed by what must hold of it.

mod fill;
mod life;
mod random;
mod table;
mod threads;
