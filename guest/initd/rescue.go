package initd

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hooksmith/guest/console"
	"hooksmith/guest/power"
	"hooksmith/guest/reaper"
)

// shells are tried in order; busybox by its own name works without its links.
var shells = [][]string{{"/bin/busybox", "sh", "-l"}, {"/usr/bin/busybox", "sh", "-l"}, {"/bin/sh", "-l"}}

// shellTries is how often a shell may die at once: in a tree that was cut off its file may be there but not whole.
const shellTries = 3

// rescueShell is a shell that PID 1 has started on a console.
type rescueShell struct {
	device  string
	started time.Time
	tries   int // that failed before it
}

// rescue says what is wrong and offers shells on all consoles. Without a shell the machine goes off after a while.
func (p *pid1) rescue(problem error) {
	p.log.Printf("ERROR: %v", problem)
	if p.consoles != nil {
		p.consoles.Flush(time.Second)
	}
	if len(p.shells) > 0 {
		return
	}
	for _, device := range loginDevices(p.names) {
		p.startShell(rescueShell{device: device})
	}
	if len(p.shells) > 0 {
		p.log.Printf("a rescue shell is on every console; `reboot` and `poweroff` end it")
	}
	p.withoutShell()
}

// withoutShell ends the machine's run after a while if there is no shell to do it.
func (p *pid1) withoutShell() {
	if len(p.shells) == 0 && p.timeout == nil {
		p.log.Printf("there is no working shell; powering off in %v", withoutShell)
		p.action, p.timeout = power.Poweroff, time.After(withoutShell)
	}
}

// shellEnded starts a shell again, unless it does not work.
func (p *pid1) shellEnded(e reaper.Exit) {
	s := p.shells[e.PID]
	delete(p.shells, e.PID)
	if e.Status != 0 && time.Since(s.started) < time.Second {
		s.tries++
	} else {
		s.tries = 0
	}
	if s.tries < shellTries {
		p.startShell(s)
	}
	p.withoutShell()
}

// loginDevices are the devices of the consoles, /dev/console if there are none.
func loginDevices(names []string) []string {
	var devices []string
	for _, name := range names {
		if console.Wired("/sys", name) {
			devices = append(devices, console.LoginDevice(name))
		}
	}
	if len(devices) == 0 {
		devices = []string{"/dev/console"}
	}
	return devices
}

// startShell starts a shell as the leader of a session on a console. PID 1 reaps it like all others: os/exec, which
// waits, has no place here.
func (p *pid1) startShell(s rescueShell) {
	tty, err := os.OpenFile(s.device, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return
	}
	defer tty.Close()
	for _, argv := range shells {
		process, err := os.StartProcess(argv[0], argv, &os.ProcAttr{
			Dir: "/", Env: []string{path, "HOME=/", "PS1=rescue# ", "TERM=" + console.Terminal(strings.TrimPrefix(s.device, "/dev/"))},
			Files: []*os.File{tty, tty, tty},
			// /dev/console cannot be a controlling terminal.
			Sys: &unix.SysProcAttr{Setsid: true, Setctty: s.device != "/dev/console", Ctty: 0},
		})
		if err == nil {
			s.started = time.Now()
			p.shells[process.Pid] = s
			_ = process.Release()
			return
		}
	}
}
