# Installs the Debian packages named by the arguments, as root, and sees to it that none of their
# services runs, neither now nor after the next start of the machine.
set -eu

# Maintainer scripts ask this file whether they may start a service; a machine that has one has its
# reasons, and it stays.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet || echo 'going on with the package lists there are' >&2
apt-get install --yes --quiet --no-install-recommends --no-remove "$@" </dev/null

# A machine's own policy may have let it start, and the next start of the machine would.
if command -v systemctl >/dev/null; then
    for package in "$@"; do
        case $package in
        haproxy | nginx)
            systemctl disable "$package"
            [ ! -d /run/systemd/system ] || systemctl stop "$package"
            ;;
        esac
    done
fi
