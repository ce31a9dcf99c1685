//! The table in memory, followed by what must hold of it.

mod fill;
mod life;
mod one_sided;
mod ports;
mod random;
mod table;
mod threads;
