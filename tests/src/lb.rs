//! Every test that needs root: one program, run as `cargo test` runs any other.
//!
//! | module | holds |
//! |---|---|
//! | `catalogue` | described packets in, action, bytes and counters out |
//! | `compare` | the program against the reference model, on random frames |
//! | `system` | namespaces, real sockets, real `lbd` and `lbctl` |
//!
//! Besides libtest's flags: `--packets N` (`LB_MODEL_PACKETS`) and `--seed N` (`LB_MODEL_SEED`) for the
//! comparison.

mod catalogue;
mod compare;
mod flags;
mod system;

use libtest_mimic::{Arguments, Trial};

use flags::Flags;

fn main() {
    // The lab's servers are this program again.
    lb_userspace::lab::serve_if_asked();
    let flags = Flags::read().unwrap_or_else(|error| {
        eprintln!("{error:#}");
        std::process::exit(2)
    });
    let arguments = Arguments::from_iter(&flags.rest);
    let mut trials: Vec<Trial> = catalogue::trials();
    trials.extend(compare::trials(&flags));
    trials.extend(system::trials());
    libtest_mimic::run(&arguments, trials).exit();
}
