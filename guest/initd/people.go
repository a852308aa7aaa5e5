package initd

import (
	"context"
	"errors"
	"os"
	"time"

	"hooksmith/guest/console"
	"hooksmith/guest/power"
	"hooksmith/guest/service"
)

// rebootFile is what a workflow creates, as /worker/reboot, to have the machine rebooted.
const rebootFile = "/run/worker/reboot"

// bannerPatience is how long the consoles wait for the boot, so that the banner has something to tell.
const bannerPatience = 10 * time.Second

// startConsoles offers a shell on every console, and answers the `service` applet.
func (j *job) startConsoles(ctx context.Context) {
	j.spawn("the service socket", func() {
		l, err := service.Listen(service.Socket)
		if err == nil {
			defer context.AfterFunc(ctx, func() { l.Close() })()
			err = j.services.Serve(ctx, l)
		}
		if ctx.Err() == nil {
			j.log.Printf("%v", err)
		}
	})
	if value, ok := j.params.Get("hook_shell"); j.params.Has("getty.off") || ok && value == "0" {
		j.log.Printf("no shell on the consoles (getty.off or hook_shell=0)")
		return
	}
	for _, device := range loginDevices(j.names) {
		if device == "/dev/console" {
			continue // it cannot be a controlling terminal
		}
		g := &console.Getty{
			Device: device, Term: console.Terminal(device[len("/dev/"):]), Banner: func() string { return console.Banner(j.status(device)) },
			Shell: shell(), Env: []string{path, "HOME=/", "PS1=\\h:\\w# "}, Logf: j.log.Debugf,
		}
		j.spawn("the shell on "+device, func() {
			select {
			case <-j.booted:
			case <-time.After(bannerPatience):
			}
			g.Run(ctx)
		})
	}
}

// shell is the first shell that is there.
func shell() []string {
	for _, argv := range shells {
		if _, err := os.Stat(argv[0]); err == nil {
			return argv
		}
	}
	return shells[0]
}

// watchPower waits for the file by which workflows ask for a reboot.
func (j *job) watchPower(ctx context.Context) {
	j.spawn("watching "+rebootFile, func() {
		for ctx.Err() == nil {
			err := power.Appear(ctx, rebootFile)
			if err == nil {
				err = os.Remove(rebootFile)
				j.log.Printf("reboot asked for by %s", rebootFile)
				j.ask(power.Reboot)
			}
			if err != nil && !errors.Is(err, context.Canceled) {
				j.log.Debugf("%v", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(time.Second): // the folder was removed and is made anew
			}
		}
	})
}

// ask asks PID 1, which passes it on to the worker and sees to it that it happens.
func (j *job) ask(action power.Action) {
	if err := power.Ask(action); err != nil {
		j.log.Printf("%s: %v", action, err)
	}
}
