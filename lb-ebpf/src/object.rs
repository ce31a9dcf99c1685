//! What every object has; one file, compiled into each.

/// Never called: no program panics, as the verifier would not take one that could. The compiler asks for it.
#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Helpers that only programs under a GPL-compatible license may call are refused without it.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
