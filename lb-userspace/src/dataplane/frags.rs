//! Frames that lie in several buffers: those larger than a page, and what network cards merge.
//!
//! A driver gives them only to a program that was loaded with `BPF_F_XDP_HAS_FRAGS`, and refuses any other
//! where the interface's MTU is too large for one buffer. Kernels before 5.18 refuse the flag. It is in the
//! object as the name of the program's section, and taken away by giving the section another name.

use std::borrow::Cow;

use anyhow::{Context as _, Result};
use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported};

/// What the loader knows a program by that takes such frames, as the object's tables of names have it.
const SECTION: &[u8] = b"xdp.frags\0";
/// How long the name of any other program's section is: `xdp`.
const PLAIN: usize = 3;

/// Whether the kernel gives such frames to programs.
///
/// # Errors
/// If it cannot be asked.
pub fn are_taken() -> Result<bool> {
    // It came with the flag.
    let witness = BpfHelper::BPF_FUNC_xdp_get_buff_len;
    is_helper_supported(ProgramType::Xdp, witness).context("ask what the kernel can do")
}

/// The object, its programs taking such frames or not.
pub fn object(object: &[u8], are_taken: bool) -> Cow<'_, [u8]> {
    if are_taken {
        return object.into();
    }
    let mut plain = object.to_owned();
    let mut from = 0;
    // In every table of names: that of the sections, and that of the type information about them.
    while let Some(at) = find(&plain[from..]) {
        from += at + SECTION.len();
        plain[from - SECTION.len()..from][PLAIN..].fill(0);
    }
    plain.into()
}

fn find(bytes: &[u8]) -> Option<usize> {
    bytes.windows(SECTION.len()).position(|it| it == SECTION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_shortened_and_nothing_else_changes() {
        let names = b"\0.relxdp.frags\0classifier\0xdp.fragsy\0xdp.frags\0";
        let plain = object(names, false);
        assert_eq!(
            *plain,
            b"\0.relxdp\0\0\0\0\0\0\0classifier\0xdp.fragsy\0xdp\0\0\0\0\0\0\0"[..]
        );
        assert_eq!(*object(names, true), names[..]);
    }

    #[test]
    fn the_embedded_objects_have_names_to_shorten() {
        for embedded in [super::super::object::OBJECT, super::super::decap::OBJECT] {
            assert!(find(embedded).is_some());
            assert!(find(&object(embedded, false)).is_none());
        }
    }
}
