package initd

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hooksmith/guest/bootlog"
	"hooksmith/guest/cmdline"
	"hooksmith/guest/console"
	"hooksmith/guest/logfile"
	"hooksmith/guest/power"
	"hooksmith/guest/reaper"
)

const (
	initLog = "/var/log/init.log"
	// shutdownPatience is how long the worker may take to stop services and run onshutdown containers.
	shutdownPatience = 120 * time.Second
	// crashes is how often a crashed worker is started again.
	crashes = 3
	// withoutShell is how long a message stays on the screen of a machine that can do nothing else.
	withoutShell = 3 * time.Minute
	// hurry is the number of requests for a shutdown at which services are not waited for any more.
	hurry = 3
)

// pid1 is the state of PID 1.
type pid1 struct {
	log      *bootlog.Log
	consoles *console.Writer
	names    []string
	exits    chan reaper.Exit
	signals  chan os.Signal

	worker   *worker
	faults   string // path of the log of the worker's crashes
	crashed  int
	action   power.Action
	requests int
	timeout  <-chan time.Time
	shells   map[int]rescueShell // by pid
}

// runPID1 is the life of PID 1. It does not return, whatever happens: the kernel would panic.
func runPID1() {
	p := &pid1{
		log: &bootlog.Log{}, faults: crashLog, exits: make(chan reaper.Exit, 64), signals: make(chan os.Signal, 16),
		shells: map[int]rescueShell{},
	}
	signal.Notify(p.signals, power.Signals()...)
	signal.Ignore(unix.SIGHUP, unix.SIGPIPE)
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF) // Ctrl-Alt-Del is a SIGINT, not a reset
	problem := p.guard(p.prepare)
	go reaper.Wait(p.exits)
	for {
		if problem != nil {
			p.rescue(problem)
		}
		problem = p.guard(p.loop)
	}
}

// guard turns a panic into an error.
func (p *pid1) guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("init has a fault: %v", r)
			p.log.Debugf("%s", debug.Stack())
		}
	}()
	return f()
}

// prepare makes the system one in which programs can run, and starts the worker.
func (p *pid1) prepare() error {
	// 1. The kernel's file systems, and a voice.
	mountErr := mountAll()
	modprobeErr := linkModprobe("/")
	redirect("/dev/console")
	params, _ := cmdline.Load(cmdline.Path)
	p.names = console.Names(params, console.Active())
	p.consoles = console.NewWriter("/dev", p.names)
	p.log.Console = p.consoles
	quietKernel(params)
	if err := errors.Join(mountErr, modprobeErr); err != nil {
		p.log.Printf("%v", err)
	}

	// Priorities are to count between all processes, not within a session each: a desktop's idea.
	_ = os.WriteFile("/proc/sys/kernel/sched_autogroup_enabled", []byte("0\n"), 0)

	// 2. Is all of the initramfs there?
	installed := installedRAM(readFile("/proc/iomem"), readFile("/proc/meminfo"))
	if reason := incomplete("/", readKernelLog, installed); reason != "" {
		return errors.New(reason)
	}

	// 3. A root for containers.
	if err := p.root(); err != nil {
		return err
	}

	// 4. The worker.
	if file, err := logfile.Open(initLog, 0); err == nil {
		p.log.File = file
	}
	if kmsg, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0); err == nil {
		p.log.Kmsg = kmsg
	}
	release := console.ReadRelease(releaseFile)
	p.log.Printf("init started (%s)", strings.Join(strings.Fields("HookOS "+release["VERSION"]+" "+release["FLAVOR"]), " "))
	return p.startWorker()
}

// root makes the root fit, once.
func (p *pid1) root() error {
	for _, e := range os.Environ() {
		if e == rootDone {
			return nil
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	copied, err := fitRoot()
	if err != nil {
		return err
	}
	if copied {
		p.log.Printf("root copied from ramfs to tmpfs (the root= argument is not needed)")
		p.consoles.Flush(time.Second)
		return unix.Exec(self, os.Args, append(os.Environ(), rootDone))
	}
	return nil
}

// quietKernel keeps the kernel's chatter off the consoles, unless somebody wants to see it.
func quietKernel(params cmdline.Params) {
	for _, key := range []string{"debug", "loglevel", "ignore_loglevel"} {
		if params.Has(key) {
			return
		}
	}
	const setLevel, errorsOnly = 8, 4
	// syslog(2) takes the level where a length goes.
	_, _ = unix.Klogctl(setLevel, make([]byte, errorsOnly))
	// Our own lines must not be dropped from its log.
	_ = os.WriteFile("/proc/sys/kernel/printk_devkmsg", []byte("on\n"), 0)
}

// redirect makes a device standard input, output and error. The kernel has not if /dev/console was missing.
func redirect(device string) {
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		fd, err = unix.Open(os.DevNull, unix.O_RDWR, 0)
	}
	if err != nil {
		return
	}
	for i := range 3 {
		_ = unix.Dup3(fd, i, 0)
	}
	if fd > 2 {
		unix.Close(fd)
	}
}

// loop serves until the machine goes down.
func (p *pid1) loop() error {
	for {
		down, err := p.step()
		if err != nil {
			return err
		}
		if down {
			p.finish()
		}
	}
}

// step deals with the next thing that happens. It says when the machine is to go down, with p.action.
func (p *pid1) step() (down bool, err error) {
	select {
	case e := <-p.exits:
		return p.ended(e)
	case s := <-p.signals:
		action, ok := power.Requested(s)
		return ok && p.request(action, s), nil
	case <-p.timeout:
		p.log.Printf("not waiting any longer")
		return true, nil
	}
}

// request begins a shutdown: the worker stops everything and then ends. Without a worker, and for somebody who asks
// again and again, the machine goes down at once.
func (p *pid1) request(action power.Action, s os.Signal) (down bool) {
	p.requests++
	if p.requests == 1 {
		p.action = action
		p.timeout = time.After(shutdownPatience)
	}
	if p.worker == nil || p.requests >= hurry {
		return true
	}
	if p.requests == 1 {
		p.worker.signal(s)
	}
	return false
}

// ended deals with a process that has been reaped.
func (p *pid1) ended(e reaper.Exit) (down bool, err error) {
	if _, ok := p.shells[e.PID]; ok {
		p.shellEnded(e)
		return false, nil
	}
	if p.worker == nil {
		return false, nil
	}
	if e.PID != p.worker.pid {
		p.worker.tell(e)
		return false, nil
	}
	action, done := p.worker.result()
	p.worker.close()
	p.worker = nil
	if done {
		p.action = action
	}
	if done || p.requests > 0 {
		return true, nil
	}
	p.crashed++
	if p.crashed > crashes {
		return false, fmt.Errorf("init's worker has crashed %d times (%s); see %s", p.crashed, reaper.Describe(e.Status), p.faults)
	}
	p.log.Printf("init's worker has crashed (%s), starting it again; see %s", reaper.Describe(e.Status), p.faults)
	return false, p.startWorker()
}
