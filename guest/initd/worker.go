package initd

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hooksmith/guest/bootlog"
	"hooksmith/guest/cmdline"
	"hooksmith/guest/console"
	"hooksmith/guest/logfile"
	"hooksmith/guest/oci"
	"hooksmith/guest/power"
	"hooksmith/guest/reaper"
	"hooksmith/guest/service"
)

const (
	containers = "/containers"
	// settlePatience is how long onboot containers and scripts wait for the devices.
	settlePatience = 30 * time.Second
	// onshutdownPatience is how long containers and scripts have that run at a shutdown.
	onshutdownPatience = 60 * time.Second
)

// job is what the worker knows.
type job struct {
	params   cmdline.Params
	line     string
	names    []string // consoles
	log      *bootlog.Log
	console  *console.Writer
	exits    *reaper.Exits
	runc     oci.Runc
	services *service.Supervisor
	devices  *devices
	signals  chan os.Signal
	booted   chan struct{} // closed when all services have been started
}

// runWorker boots the machine, keeps it running and stops it again. Its result goes to PID 1.
func runWorker(ctx context.Context, resumed bool) error {
	results := os.NewFile(resultFD, "result")
	unix.CloseOnExec(exitsFD)
	_ = unix.SetNonblock(exitsFD, true) // the Go runtime then waits without a thread
	unix.CloseOnExec(resultFD)

	// 1. What there is to work with.
	j := newJob()
	signal.Notify(j.signals, power.Signals()...)
	go func() { _ = j.exits.Follow(os.NewFile(exitsFD, "exits")) }()
	running, stopServices := context.WithCancel(ctx)
	defer stopServices()

	if host, _ := j.params.Get("syslog_host"); host != "" {
		remote := bootlog.NewRemote(host)
		j.log.Remote = remote.Send
		j.spawn("syslog", func() { remote.Run(ctx) })
	}
	j.log.Debugf("worker started")

	// 2. Devices and consoles come up on their own from here.
	j.startDevices(running)
	j.setup()
	j.startConsoles(running)
	j.watchPower(running)

	// 3. Containers.
	action := make(chan power.Action, 1)
	go func() { action <- j.awaitAction() }()
	j.spawn("boot", func() {
		defer close(j.booted)
		j.boot(running, resumed)
	})

	// 4. The end.
	wanted := <-action
	j.shutdown(stopServices, wanted)
	_, err := fmt.Fprintln(results, wanted)
	return err
}

func newJob() *job {
	j := &job{
		line: readFile(cmdline.Path), log: &bootlog.Log{}, exits: &reaper.Exits{},
		signals: make(chan os.Signal, 16), booted: make(chan struct{}), runc: oci.Runc{Root: service.RuncRoot, State: service.StateDir},
	}
	j.params = cmdline.Parse(j.line)
	j.names = console.Names(j.params, console.Active())
	j.console = console.NewWriter("/dev", j.names)
	j.log.Console = j.console
	if file, err := logfile.Open(initLog, 0); err == nil {
		j.log.File = file
	}
	if kmsg, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0); err == nil {
		j.log.Kmsg = kmsg
	}
	bin, err := oci.Find()
	if err != nil {
		j.log.Printf("%v", err)
	}
	j.runc.Bin = bin
	if j.flag("linuxkit.runc_debug") {
		j.runc.Flags = []string{"--debug"}
	}
	j.services = service.New(service.Options{
		Runc: j.runc, Exits: j.exits, LogDir: service.LogDir, Log: j.log, MirrorAll: j.flag("linuxkit.runc_console"),
	})
	return j
}

// flag says whether a kernel argument is set to 1.
func (j *job) flag(key string) bool {
	value, _ := j.params.Get(key)
	return value == "1"
}

// spawn runs f beside the rest. A fault in it is told and does not end the worker.
func (j *job) spawn(what string, f func()) {
	go func() {
		defer func() {
			if r := recover(); r != nil {
				j.log.Printf("%s has a fault: %v", what, r)
				fmt.Fprintf(os.Stderr, "%s: %v\n%s", what, r, debug.Stack())
			}
		}()
		f()
	}()
}

// boot runs scripts and onboot containers and starts the services.
func (j *job) boot(ctx context.Context, resumed bool) {
	var onboot, scripts []string
	if !resumed {
		onboot, scripts = j.bundles("onboot"), scriptsIn("/etc/init.d")
	}
	j.mountVolumes(resumed)
	if len(onboot)+len(scripts) > 0 {
		j.settle(ctx)
		j.runScripts(ctx, scripts)
		j.devices.need(fileSystems(onboot))
		for _, dir := range onboot {
			if ctx.Err() == nil {
				_ = j.services.Once(ctx, "onboot", dir)
			}
		}
	}
	services := j.bundles("services")
	slices.SortStableFunc(services, func(a, b string) int { return order(a) - order(b) })
	j.devices.need(fileSystems(services))
	for _, dir := range services {
		if ctx.Err() == nil {
			j.services.Add(ctx, dir)
		}
	}
	j.services.Tried(ctx)
	j.log.Printf("boot complete: %d onboot containers, %d services", len(onboot), len(services))
}

// mountVolumes makes volumes appear where containers bind them. One that fails is told; its containers then tell too.
func (j *job) mountVolumes(resumed bool) {
	if resumed {
		return
	}
	for _, dir := range j.bundles("volumes") {
		steps := oci.PlanVolume(dir)
		j.devices.need(oci.FileSystems(steps))
		if err := oci.Apply(steps); err != nil {
			j.log.Printf("volume %s: %v", filepath.Base(dir), err)
		}
	}
}

// bundles lists the folders of containers of a kind, or those of volumes.
func (j *job) bundles(kind string) []string {
	dir := filepath.Join(containers, kind)
	names, err := oci.List(dir)
	if err != nil {
		j.log.Printf("%v", err)
	}
	for i := range names {
		names[i] = filepath.Join(dir, names[i])
	}
	return names
}

// orderAnnotation is the key in config.json of a number: services with a lower one are started first. Starting them takes
// all the processor there is, so it matters which does not have to wait.
const orderAnnotation = "hooksmith.order"

// order is the number of a service, 50 if it has none.
func order(dir string) int {
	b, err := oci.Load(dir)
	if err != nil {
		return 50
	}
	number, err := strconv.Atoi(b.Config.Annotations[orderAnnotation])
	if err != nil {
		return 50
	}
	return number
}

// fileSystems are the file systems that have to be known for the containers to be mounted.
func fileSystems(dirs []string) []string {
	var types []string
	for _, dir := range dirs {
		// One that cannot be read complains when it is started.
		b, err := oci.Load(dir)
		if err != nil {
			continue
		}
		for _, t := range oci.FileSystems(b.Runtime.Plan()) {
			if !slices.Contains(types, t) {
				types = append(types, t)
			}
		}
	}
	return types
}

// settle waits for the devices that there are.
func (j *job) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	if err := j.devices.settle(ctx); err != nil {
		j.log.Printf("%v; going on", err)
	}
}

// awaitAction waits until PID 1 passes on a signal that asks for the end.
func (j *job) awaitAction() power.Action {
	for s := range j.signals {
		if action, ok := power.Requested(s); ok {
			return action
		}
	}
	return power.Reboot
}

// shutdown runs what is to run at the end, as LinuxKit does while services are still there, and then stops those.
func (j *job) shutdown(stopServices func(), action power.Action) {
	j.log.Printf("%s: stopping services", action)
	ctx, cancel := context.WithTimeout(context.Background(), onshutdownPatience)
	defer cancel()
	j.runScripts(ctx, scriptsIn("/etc/shutdown.d"))
	for _, dir := range j.bundles("onshutdown") {
		if ctx.Err() == nil {
			_ = j.services.Once(ctx, "onshutdown", dir)
		}
	}
	stopServices()
	select {
	case <-j.booted: // no service is added any more
		j.services.Wait()
	case <-ctx.Done():
	}
	j.log.Printf("services stopped")
	j.console.Flush(time.Second)
}

// status is what the banner shows.
func (j *job) status(line string) console.Status {
	s := console.Gather(releaseFile)
	s.Line = strings.TrimPrefix(line, "/dev/")
	for _, i := range j.services.List() {
		if i.Kind == "service" || i.State == service.Failed {
			s.Services = append(s.Services, i.String())
		}
	}
	return s
}
