package serve

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// portOwner names the process that has a port: "dnsmasq (process 812)", or ""
// if that cannot be known: other users' processes are seen by root only.
func portOwner(network string, port int) string {
	inodes := map[string]bool{}
	for _, table := range []string{network, network + "6"} {
		socketsOn(filepath.Join("/proc/net", table), network, port, inodes)
	}
	if len(inodes) == 0 {
		return ""
	}
	fds, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return ""
	}
	for _, fd := range fds {
		target, err := os.Readlink(fd)
		if err != nil || !inodes[target] {
			continue
		}
		process := strings.Split(fd, "/")[2]
		name, err := os.ReadFile(filepath.Join("/proc", process, "comm"))
		if err != nil {
			continue
		}
		return fmt.Sprintf("%s (process %s)", strings.TrimSpace(string(name)), process)
	}
	return ""
}

// socketsOn adds the sockets bound to a port, as links in /proc/PID/fd name them.
func socketsOn(table, network string, port int, inodes map[string]bool) {
	const listening, local, state, inode = "0A", 1, 3, 9
	f, err := os.Open(table)
	if err != nil {
		return
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		columns := strings.Fields(lines.Text())
		if len(columns) <= inode || network == "tcp" && columns[state] != listening {
			continue
		}
		_, hex, _ := strings.Cut(columns[local], ":")
		if n, err := strconv.ParseUint(hex, 16, 16); err == nil && int(n) == port {
			inodes["socket:["+columns[inode]+"]"] = true
		}
	}
}
