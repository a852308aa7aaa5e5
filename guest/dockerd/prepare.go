package dockerd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// modules are those that dockerd and its firewall rules need. The kernel loads them by itself too, but with a modprobe
// process for each; one for all of them is quicker. What is built in, or has another name elsewhere, is no error.
var modules = []string{
	"overlay", "bridge", "br_netfilter", "veth", "nf_conntrack_netlink", "nf_tables", "nft_compat", "nft_chain_nat",
	"xt_MASQUERADE", "xt_conntrack", "xt_addrtype", "xt_tcpudp", "xt_nat", "xt_mark",
}

// modprobe is the command that loads the modules which are not there yet; nil if there are none or no modprobe.
func modprobe() *exec.Cmd {
	path, err := exec.LookPath("modprobe")
	if err != nil {
		return nil
	}
	arguments := []string{"-q", "-a"}
	for _, module := range modules {
		if _, err := os.Stat(filepath.Join("/sys/module", module)); errors.Is(err, fs.ErrNotExist) {
			arguments = append(arguments, module)
		}
	}
	if len(arguments) == 2 {
		return nil
	}
	return exec.Command(path, arguments...)
}

// shareMounts makes every mount of this mount namespace propagate into those of containers, as on any Linux that was
// booted by a usual init: "-v /dev:/dev:rshared" and Docker's own network namespaces need it.
func shareMounts() error {
	if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("sharing the mounts with containers: %w", err)
	}
	return nil
}

// nestCgroups makes room for docker below a cgroup that is not the root: there the kernel lets a cgroup have either
// processes or controllers for its children, so ours move into a child. root is where cgroup2 is mounted.
func nestCgroups(root string) error {
	controllers, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("no cgroup2 at %s: %w", root, err)
	}
	if _, err := os.Stat(filepath.Join(root, "cgroup.type")); errors.Is(err, fs.ErrNotExist) {
		return nil // only the root has no type
	}
	init := filepath.Join(root, "init")
	if err := os.MkdirAll(init, 0o755); err != nil {
		return fmt.Errorf("making a cgroup for our processes: %w", err)
	}
	processes, err := os.ReadFile(filepath.Join(root, "cgroup.procs"))
	if err != nil {
		return fmt.Errorf("listing the processes of our cgroup: %w", err)
	}
	for pid := range strings.FieldsSeq(string(processes)) {
		err := os.WriteFile(filepath.Join(init, "cgroup.procs"), []byte(pid), 0)
		if err != nil && !errors.Is(err, unix.ESRCH) { // it ended meanwhile
			return fmt.Errorf("moving process %s into our cgroup: %w", pid, err)
		}
	}
	for name := range strings.FieldsSeq(string(controllers)) {
		if err := os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+"+name), 0); err != nil {
			return fmt.Errorf("giving containers the %s controller: %w", name, err)
		}
	}
	return nil
}

// pivotable reports whether runc can pivot_root away from the root that mountinfo (of /proc/self) shows: the kernel
// refuses that for the rootfs which it has unpacked the initramfs into, the only mount that is its own parent.
func pivotable(mountinfo io.Reader) bool {
	can := true
	lines := bufio.NewScanner(mountinfo)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) > 4 && fields[4] == "/" {
			can = fields[0] != fields[1] // the last mount on / is the one to see
		}
	}
	return can
}

// removeStale removes what a dockerd and a containerd that were killed left behind: pid files, which name other
// processes by now, and sockets on which nobody listens. dockerd must not run.
func removeStale(p paths) error {
	var errs []error
	for _, path := range []string{filepath.Join(p.run, "docker.pid"), p.socket(), p.containerdSocket(), p.containerdSocket() + ".ttrpc"} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// runsAlready returns the pid of a dockerd that runs on these paths, or 0.
func runsAlready(p paths) int {
	text, err := os.ReadFile(filepath.Join(p.run, "docker.pid"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 {
		return 0
	}
	name, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
	if err != nil || strings.TrimSpace(string(name)) != "dockerd" {
		return 0
	}
	return pid
}
