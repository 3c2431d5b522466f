#!/bin/bash
# Make this Debian 12 host a node: install the agent with its units, enrol, start. As root. Run again, it repairs.
# `manage.py enrol_node NAME --join` prints the line to paste; the control plane's internal listener serves this file.
set -euo pipefail

name=$1 line=$2
rest=${line#sf1:}
rest=${rest%:*}
addresses=${rest%:*}
control=${addresses%%,*}
host=${control#*://}
host=${host%%:*}
home=/opt/steadyfist
etc=/etc/steadyfist
state=/var/lib/steadyfist

install -d "$home" "$etc"
rm -rf "$home/agent.new"
install -d "$home/agent.new"
curl -fsS "$control/internal/agent" | tar -xz -C "$home/agent.new"

export DEBIAN_FRONTEND=noninteractive
apt-get -qq -o DPkg::Lock::Timeout=300 update
grep -v '^#' "$home/agent.new/deploy/packages-node.txt" |
    xargs apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends >/dev/null

id steadyfist >/dev/null 2>&1 || useradd --system --home-dir "$state" --shell /usr/sbin/nologin steadyfist
usermod --append --groups libvirt steadyfist
install -d -o steadyfist -g steadyfist -m 0711 "$state"

[ -x "$home/venv/bin/python" ] || python3 -m venv "$home/venv"
"$home/venv/bin/pip" install -q -r "$home/agent.new/requirements/agent.txt"
rm -rf "$home/agent"
mv "$home/agent.new" "$home/agent"

if [ ! -e "$etc/agent.toml" ]; then
    route=$(ip -o route get "$host")
    cat >"$etc/agent.toml" <<CONFIG
# This node's own settings; nodeagent/config.py says what there is.
name = "$name"
mesh_address = "$(sed -n 's/.* src \([^ ]*\).*/\1/p' <<<"$route")"
mesh_device = "$(sed -n 's/.* dev \([^ ]*\).*/\1/p' <<<"$route")"
# The bridge to the outside that this node's routers join; without one it carries no network that has NAT.
egress_bridge = ""
CONFIG
fi

# QEMU runs as the agent's user: disks and console logs are files that both have open.
if ! grep -q '^# steadyfist' /etc/libvirt/qemu.conf; then
    cat >>/etc/libvirt/qemu.conf <<'QEMU'
# steadyfist
user = "steadyfist"
group = "steadyfist"
dynamic_ownership = 0
remember_owner = 0
stdio_handler = "file"
QEMU
    systemctl restart libvirtd.service
fi

(umask 077 && PYTHONPATH="$home/agent" "$home/venv/bin/python" -m nodeagent enrol <<<"$line")

install -m 0644 "$home"/agent/deploy/systemd/*.service /etc/systemd/system/
systemctl daemon-reload
units=(steadyfist-nethelper.service)
for role in report work work-bulk serve; do
    units+=("steadyfist-agent@$role.service")
done
systemctl enable --quiet "${units[@]}"
systemctl restart "${units[@]}"
echo "$name has joined: $(hostname) reports to $addresses"
