package initd

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"hooksmith/guest/bootlog"
	"hooksmith/guest/devlink"
	"hooksmith/guest/modules"
	"hooksmith/guest/power"
	"hooksmith/guest/uevent"
)

// always are modules that init itself has a use for: the power button's.
var always = []string{"button", "evdev"}

// devices brings up the hardware. Without modules, as on a kernel that has all it needs, it only keeps links.
type devices struct {
	log    *bootlog.Log
	loader *modules.Loader  // nil without modules
	plug   *modules.Plugger // nil without modules
	disks  devlink.Keeper
	button power.Button
	// coldplugged is closed when the modules for the devices that there were at first are loaded.
	coldplugged chan struct{}
}

// startDevices begins to load modules and to listen to the kernel.
func (j *job) startDevices(ctx context.Context) {
	d := &devices{log: j.log, coldplugged: make(chan struct{})}
	d.button.Pressed = func(device string) {
		j.log.Printf("power button pressed (%s)", device)
		j.ask(power.Poweroff)
	}
	j.devices = d
	policy := &modules.Policy{}
	policy.ReadDirs("/usr/lib/modprobe.d", "/etc/modprobe.d", "/run/modprobe.d")
	policy.CommandLine(j.line, j.params)
	if loader, err := modules.Open(filepath.Join("/lib/modules", kernelRelease()), policy); err == nil {
		loader.Logf = j.log.Debugf
		d.loader, d.plug = loader, &modules.Plugger{Loader: loader}
	} else {
		j.log.Printf("%v", err)
	}
	conn, err := uevent.Listen()
	if err != nil {
		j.log.Printf("%v; devices that come later are not noticed", err)
	} else {
		j.spawn("listening to devices", func() { d.listen(ctx, conn) })
	}
	wanted := append(modules.List("/usr/lib/modules-load.d", "/etc/modules-load.d"), modules.Requested(j.params)...)
	j.spawn("devices", func() {
		if d.plug != nil {
			d.plug.Entropy(ctx)
		}
		j.spawn("entropy", j.waitForEntropy)
		d.coldplug(ctx)
	})
	j.spawn("modules", func() { j.loadList(append(wanted, always...)) })
}

// waitForEntropy asks for random numbers and waits. Without somebody who waits the kernel does not begin to collect any
// on a machine that has no source, and programs that only look whether there are some wait for ever.
func (j *job) waitForEntropy() {
	var b [1]byte
	for {
		_, err := unix.Getrandom(b[:], 0)
		if !errors.Is(err, unix.EINTR) {
			j.log.Debugf("random numbers are ready")
			return
		}
	}
}

// coldplug loads modules for what is there. Links to disks are made by then, for most disks have come meanwhile.
func (d *devices) coldplug(ctx context.Context) {
	defer close(d.coldplugged)
	if d.plug != nil {
		begin := bootlog.Uptime()
		count := d.plug.Coldplug(ctx)
		d.log.Printf("modules: %d loaded after %v, %d kinds of device", d.loader.Loaded(), (bootlog.Uptime() - begin).Round(1e6), count)
		go d.plug.Run(ctx)
	}
	d.disks.Scan()
	d.button.Scan("/dev/input")
}

// loadList loads the modules of files and of the command line, and sets what needs them.
func (j *job) loadList(names []string) {
	if j.devices.loader == nil {
		return
	}
	for _, name := range names {
		err := j.devices.loader.Load(name)
		switch {
		case err == nil:
		case errors.Is(err, modules.ErrUnknown), modules.Absent(err):
			j.log.Debugf("%v", err)
		default:
			j.log.Printf("%v", err)
		}
	}
	j.log.Debugf("modules: %d loaded, lists included", j.devices.loader.Loaded())
	// Keys of a module appear with it.
	j.setSysctls()
	j.mountEFI()
}

// need loads what the kernel needs to mount these types of file system. It would ask modprobe itself, at the price of a
// process.
func (d *devices) need(types []string) {
	if d.loader == nil {
		return
	}
	for _, t := range types {
		if !strings.Contains(readFile("/proc/filesystems"), "\t"+t+"\n") {
			if err := d.loader.Load("fs-" + t); err != nil {
				d.log.Debugf("%v", err)
			}
		}
	}
}

// settle waits until coldplug is done and what it brought has its modules as well.
func (d *devices) settle(ctx context.Context) error {
	select {
	case <-d.coldplugged:
	case <-ctx.Done():
		return errors.Join(errors.New("devices are slow to come"), ctx.Err())
	}
	if d.plug == nil {
		return nil
	}
	return d.plug.Settle(ctx)
}

// listen hears of devices until ctx ends.
func (d *devices) listen(ctx context.Context, conn *uevent.Conn) {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	for {
		e, err := conn.Next()
		if errors.Is(err, uevent.ErrLost) {
			d.log.Printf("%v; looking at all devices again", err)
			go d.again(ctx)
			continue
		}
		if err != nil {
			return
		}
		d.event(e)
	}
}

// again does what lost events would have done.
func (d *devices) again(ctx context.Context) {
	if d.plug != nil {
		d.plug.Coldplug(ctx)
	}
	d.disks.Scan()
	d.button.Scan("/dev/input")
}

// event deals with one event. It must not take long.
func (d *devices) event(e uevent.Event) {
	alias := e.ModAlias
	if e.Action != "add" {
		alias = ""
	}
	if d.plug != nil {
		d.plug.Event(e.Seq, alias)
	}
	switch {
	case e.Subsystem == "block" && e.Action == "remove":
		go d.disks.Remove(e.DevName)
	case e.Subsystem == "block":
		go d.disks.Add(e.DevName)
	case e.Subsystem == "input" && e.Action == "add" && e.DevName != "":
		go d.button.Add(filepath.Join("/dev", e.DevName))
	}
}

func kernelRelease() string {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return ""
	}
	return unix.ByteSliceToString(uts.Release[:])
}
