package initd

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hooksmith/guest/power"
)

const (
	// termPatience and killPatience are how long all processes have after SIGTERM and SIGKILL.
	termPatience = 3 * time.Second
	killPatience = 2 * time.Second
	// diskPatience is how long disks have to take what is still to be written. A broken one never does.
	diskPatience = 15 * time.Second
)

// finish ends everything and carries out the action. It does not return.
func (p *pid1) finish() {
	// 1. Processes. PID 1 itself is not meant by -1.
	p.killAll(unix.SIGTERM, termPatience)
	p.killAll(unix.SIGKILL, killPatience)

	// 2. Disks.
	done := make(chan struct{})
	go func() {
		defer close(done)
		unix.Sync()
		unmountDisks(readFile("/proc/self/mountinfo"))
	}()
	select {
	case <-done:
	case <-time.After(diskPatience):
		p.log.Printf("a disk does not answer, going on without")
	}

	// 3. The machine.
	p.log.Printf("%s now", p.action)
	if p.consoles != nil {
		p.consoles.Flush(2 * time.Second)
	}
	err := power.Do(p.action)
	// A machine that cannot be switched off restarts: one that hangs is of no use to anybody.
	p.log.Printf("%v; rebooting instead", err)
	for {
		_ = power.Do(power.Reboot)
		time.Sleep(time.Second)
	}
}

// killAll sends a signal to every process and waits until all have gone, but not for long.
func (p *pid1) killAll(sig unix.Signal, patience time.Duration) {
	_ = unix.Kill(-1, sig)
	deadline := time.After(patience)
	for othersLeft("/proc") {
		select {
		case <-p.exits:
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			return
		}
	}
}

// othersLeft says whether there is a process beside PID 1 and the kernel's threads, which have no program.
func othersLeft(proc string) bool {
	entries, _ := os.ReadDir(proc)
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err != nil || pid <= 1 {
			continue
		}
		if _, err := os.Readlink(filepath.Join(proc, e.Name(), "exe")); err == nil {
			return true
		}
	}
	return false
}

// unmountDisks unmounts the file systems of block devices, the last first. One that is in use becomes read-only.
func unmountDisks(mountinfo string) {
	targets := diskMounts(mountinfo)
	for i := len(targets) - 1; i >= 0; i-- {
		if unix.Unmount(targets[i], 0) != nil {
			_ = unix.Mount("", targets[i], "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
		}
	}
}

// diskMounts lists where devices are mounted, in the order of mounting (proc(5), mountinfo).
func diskMounts(mountinfo string) []string {
	var targets []string
	for line := range strings.Lines(mountinfo) {
		mount, kind, ok := strings.Cut(line, " - ")
		fields, source := strings.Fields(mount), strings.Fields(kind)
		if !ok || len(fields) < 5 || len(source) < 2 || !strings.HasPrefix(source[1], "/dev/") {
			continue
		}
		targets = append(targets, unescape.Replace(fields[4]))
	}
	return targets
}

// unescape undoes what the kernel does to spaces in mountinfo.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
