"""Several hosts on one machine: each has an address, processes, a home and a /tmp of its own, and a real sshd.

A host is a set of namespaces over an overlay of this machine's files, whose virtual environment serves as that of
~/pursuit-lab there, and whose unpacked model as its own: what an installation and a first use would make, without the
time that three of them take. Killed, it is gone as a machine is that lost its power: all its processes at once, and
nobody is told. Needs root, and of Debian's packages iproute2, openssh-server, rsync and sudo.
"""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.waiting import ATTEMPT_SECONDS, wait_until

CHECKOUT = Path(__file__).resolve().parents[2]
BRIDGE = "pursuit"
NETWORK = "10.77.0"
LAPTOP = f"{NETWORK}.1"
"""The address of this machine itself, from which `ray up` is called."""
SHARED = Path("/mnt/pursuit")
"""Where every host sees the same directory, as it would see a file system on the network."""

SSHD = """
ListenAddress {address}
HostKey {base}/host_key
AuthorizedKeysFile {base}/login_key.pub
UsePAM no
StrictModes no
PidFile none
MaxStartups 100
MaxSessions 100
"""

BOOT = """
set -e
mount --make-rprivate /
mount -t tmpfs -o size=12g tmpfs {base}/{name}
cd {base}/{name}
mkdir upper work root
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
mount -t proc proc root/proc
mount --rbind /sys root/sys
mount --rbind /dev root/dev
mount -t devpts -o newinstance,ptmxmode=0666 devpts root/dev/pts
mount --bind root/dev/pts/ptmx root/dev/ptmx
mount -t tmpfs -o size={shm} shm root/dev/shm
rm -rf root/root/.ray root/root/.cache/pursuit-lab/storage root/root/pursuit-lab
mkdir -p root/root/pursuit-lab/.venv
mount --bind root{checkout}/.venv root/root/pursuit-lab/.venv
mount -t tmpfs tmpfs root/tmp
mount -t tmpfs -o mode=700 tmpfs root/run
mkdir -p root/run/sshd root{shared} root{base} root{checkout}
mount --bind {shared_source} root{shared}
cp {base}/host_key {base}/login_key.pub {base}/{name}.sshd root{base}/
mount --rbind root/root/pursuit-lab root{checkout}
hostname {name}
echo '127.0.0.1 localhost {name}' > root/etc/hosts
exec chroot root /usr/sbin/sshd -D -e -f {base}/{name}.sshd
"""


class Host:
    """One of them, running until `kill`."""

    def __init__(self, base: Path, name: str, number: int, shared: Path, shm: str) -> None:
        self.name, self.address = name, f"{NETWORK}.{number}"
        self._space, self._link = f"{BRIDGE}-{number}", f"{BRIDGE}{number}"
        self._connect()
        (base / name).mkdir()
        (base / f"{name}.sshd").write_text(SSHD.format(base=base, address=self.address), encoding="utf-8")
        boot = BOOT.format(
            base=base, name=name, shared=SHARED, shared_source=shared, checkout=CHECKOUT, shm=shm,
        )  # fmt: skip
        spaces = ["--pid", "--mount", "--ipc", "--uts", "--fork", "--kill-child"]
        with (base / f"{name}.log").open("wb") as log:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", self._space, "unshare", *spaces, "bash", "-c", boot],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
            )  # fmt: skip
        self.log = base / f"{name}.log"

    def _connect(self) -> None:
        _ip("netns", "add", self._space)
        _ip("link", "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", self._space)
        _ip("link", "set", self._link, "master", BRIDGE, "up")
        for words in (
            ("link", "set", "lo", "up"),
            ("link", "set", "eth0", "up"),
            ("addr", "add", f"{self.address}/24", "dev", "eth0"),
            ("route", "add", "default", "via", LAPTOP),
        ):
            _ip("-n", self._space, *words)

    def answers(self) -> bool:
        """Whether its sshd does."""
        assert self.process.poll() is None, self.log.read_text(encoding="utf-8")
        try:
            with socket.create_connection((self.address, 22), timeout=ATTEMPT_SECONDS) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def processes(self) -> list[str]:
        """Command lines of what runs on it beside its sshd."""
        found = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=False)
        if not found.stdout.strip():
            return []
        init = found.stdout.split()[0]
        listed = subprocess.run(
            ["nsenter", "--target", init, "--pid", "--mount", "--root", "ps", "-eo", "pid,args", "--no-headers"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        lines = [line.strip().partition(" ")[2].strip() for line in listed.stdout.splitlines()]
        return [line for line in lines if not line.startswith(("sshd:", "/usr/sbin/sshd", "ps -eo"))]

    def kill(self) -> None:
        """Take its power away."""
        subprocess.run(["pkill", "-KILL", "-P", str(self.process.pid)], check=False)
        self.process.kill()
        self.process.wait()

    def remove(self) -> None:
        """Leave nothing of it."""
        self.kill()
        _discard("link", "del", self._link)
        _discard("netns", "del", self._space)


@contextmanager
def hosts(base: Path, names: Sequence[str], shared: Path, shm: str = "2g") -> Iterator[list[Host]]:
    """Start hosts that see `shared` as SHARED; gone when the block ends. `base` keeps their keys and logs."""
    for program in ("ip", "unshare", "/usr/sbin/sshd", "ssh", "rsync", "sudo"):
        assert shutil.which(program), f"{program} is missing: apt-get install iproute2 openssh-server rsync sudo"
    for key in ("host_key", "login_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(base / key)], check=True)
    _remove_leftovers()
    _ip("link", "add", BRIDGE, "type", "bridge")
    _ip("addr", "add", f"{LAPTOP}/24", "dev", BRIDGE)
    _ip("link", "set", BRIDGE, "up")
    made: list[Host] = []
    try:
        made.extend(Host(base, name, number, shared, shm) for number, name in enumerate(names, start=11))
        for host in made:
            wait_until(host.answers, host.name)
        yield made
    finally:
        for host in made:
            host.remove()
        _remove_leftovers()


def _remove_leftovers() -> None:
    """What a run that was killed left behind."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    for space in (line.split()[0] for line in listed.splitlines() if line.startswith(f"{BRIDGE}-")):
        for pid in subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True).stdout.split():
            os.kill(int(pid), signal.SIGKILL)
        _discard("netns", "del", space)
    for link in Path("/sys/class/net").glob(f"{BRIDGE}*"):
        _discard("link", "del", link.name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def _discard(*words: str) -> None:
    subprocess.run(["ip", *words], check=False, stderr=subprocess.DEVNULL)
