//! Which kernels are tried, and which archive has them.

use std::str::FromStr;

/// A series of kernels of a distribution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Release {
    /// What its versions begin with: `6.1`, `7`.
    pub(crate) series: &'static str,
    /// What the name of its packages ends with. The flavour for clouds where there is one: a third
    /// of the size.
    pub(super) flavour: &'static str,
    /// The archive's URI, suite and component.
    pub(super) source: &'static str,
    /// The keys that sign it.
    pub(super) keys: Keys,
    /// Whether lb runs there. Where not, it has to say so.
    pub(super) is_served: bool,
}

/// Where to find the keys of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    /// Debian's, which this machine has.
    Debian,
    /// Ubuntu's, which Debian has in a package.
    Ubuntu,
}

const DEBIAN: Release = Release {
    series: "",
    flavour: "-cloud-amd64",
    source: "",
    keys: Keys::Debian,
    is_served: true,
};

/// Every kernel, oldest first.
const RELEASES: &[Release] = &[
    Release {
        series: "5.10",
        source: "http://deb.debian.org/debian-security bullseye-security main",
        is_served: false,
        ..DEBIAN
    },
    // No Debian has it. The oldest that lb runs on and that can run a program on a frame from a
    // given interface, as the tests do.
    Release {
        series: "5.15",
        flavour: "-generic",
        source: "http://archive.ubuntu.com/ubuntu jammy-updates main",
        keys: Keys::Ubuntu,
        ..DEBIAN
    },
    Release {
        series: "6.1",
        source: "http://deb.debian.org/debian-security bookworm-security main",
        ..DEBIAN
    },
    Release {
        series: "6.12",
        source: "http://deb.debian.org/debian trixie main",
        ..DEBIAN
    },
    Release {
        series: "6.18",
        source: "http://deb.debian.org/debian trixie-backports main",
        ..DEBIAN
    },
    Release {
        series: "7",
        source: "http://deb.debian.org/debian trixie-backports main",
        ..DEBIAN
    },
];

impl Release {
    /// Every one there is.
    pub(crate) fn all() -> Vec<Self> {
        RELEASES.to_vec()
    }
}

impl FromStr for Release {
    type Err = String;

    fn from_str(series: &str) -> Result<Self, String> {
        let found = RELEASES.iter().find(|release| release.series == series);
        found.cloned().ok_or_else(|| {
            let all: Vec<_> = RELEASES.iter().map(|release| release.series).collect();
            format!("there are {}", all.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_named_and_others_are_told() {
        assert_eq!("6.1".parse::<Release>().unwrap().series, "6.1");
        let told = "4.19".parse::<Release>().unwrap_err();
        assert!(told.contains("6.1, 6.12"), "{told}");
    }
}
