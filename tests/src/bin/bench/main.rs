//! Measures lb and prints the table of numbers.
mod figures;
mod machine;
mod packets;
mod rig;
mod shuffle;
mod stage;
mod traffic;
mod yardstick;

#[path = "../../../../lb-ebpf/src/bench/course.rs"]
mod course;
#[path = "../../../../lb-ebpf/src/bench/ledger.rs"]
#[expect(dead_code, reason = "the benchmark does not read the yardstick's flows")]
mod ledger;

use std::path::PathBuf;
use anyhow::Result;

fn main() -> Result<()> {
    lb_userspace::lab::serve_if_asked();
    lb_userspace::lab::remove_on_signal(|_| ())?;
    let quick = std::env::args().any(|a| a == "--quick");
    let objects = PathBuf::from(std::env::var_os("LB_BPF_DIR").unwrap());
    let plan = if quick {
        packets::Plan { flows: vec![1, 65_536], rounds: 5, packets: 1 << 19 }
    } else {
        packets::Plan { flows: vec![1, 65_536, 1 << 20], rounds: 12, packets: 1 << 20 }
    };
    println!("{}", machine::describe()?);
    let result = packets::measure(&objects, &plan)?;
    for row in result.rows {
        let d = row.driver.min();
        println!("{:?} {:?} {}: driver {} swap {} yard {} / {} lb {} / {}", row.family, row.way, row.flows, d, row.swap.min() - d, row.yardstick.min() - d,  row.yardstick.median() - row.driver.median(), row.balancer.min() - d, row.balancer.median() - row.driver.median());
    }
    println!("{:?}", result.program);
    Ok(())
}
