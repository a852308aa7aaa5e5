// Package ntpd is the applet that sets HookOS's clock: an SNTP client, in the place of upstream's openntpd.
//
// In go the names of time servers, from the kernel argument ntp_servers=, else from the network service (DHCP, ipam=),
// else pool.ntp.org; out comes a clock that is stepped once if it is off by more than half a second and slewed from
// then on. Nothing waits for it: a machine without a time server works as it is, and one line says so.
//
// Read run in this file first, then ask.go (what the servers say) and clock.go (what the kernel does with it).
package ntpd

import (
	"context"
	"flag"
	"io"
	"log"
	"os"
	"slices"
	"strings"
	"time"

	"hooksmith/guest/bootlog"
	"hooksmith/guest/cmdline"
)

// Run keeps the clock until ctx is done. That the clock was stepped is said in a line that goes on to the consoles;
// the rest only to the log. It needs CAP_SYS_TIME, and /dev/rtc0 if it is to set the hardware clock.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("ntpd", flag.ContinueOnError)
	flags.SetOutput(stderr)
	arguments := flags.String("cmdline", cmdline.Path, "`file` with the kernel arguments")
	servers := flags.String("servers", "/run/network/ntp", "`file` with a time server per line, read again when it changes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	params, err := cmdline.Load(*arguments)
	if err != nil {
		return err
	}
	d := daemon{
		fixed: list(params),
		file:  *servers,
		clock: kernelClock(),
		log:   log.New(stdout, "ntpd: ", 0),
		boot:  log.New(stdout, bootlog.Prefix+"ntpd: ", 0),
	}
	return d.run(ctx)
}

// daemon is one run of the applet.
type daemon struct {
	fixed []string // of ntp_servers=
	file  string   // of the network service
	clock clock
	log   *log.Logger // the log
	boot  *log.Logger // the log and the consoles

	synced   bool                 // the clock has been set once
	suspect  bool                 // the last answer was far off, though the clock was synced
	banned   map[string]time.Time // servers that asked to be left alone, until when
	complain time.Time            // when an error is next worth a line
}

// The intervals between questions: RFC 5905's 64 to 1024 s while there are answers, and a faster start.
const (
	minPoll    = 64 * time.Second
	maxPoll    = 1024 * time.Second
	firstRetry = 2 * time.Second
)

// run asks, sets, and waits.
func (d *daemon) run(ctx context.Context) error {
	// 1. A clock that is older than this HookOS is no clock: a board without a battery begins at 1970, where no TLS
	// certificate is valid. The date of this file is nearer.
	d.raiseToFloor()
	// 2. The servers, over and over. A new list of them is asked at once.
	wait := firstRetry
	for ctx.Err() == nil {
		servers := d.servers()
		best, err := d.ask(ctx, servers)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			d.tell(err)
			wait = min(2*wait, minPoll)
			if d.synced {
				wait = minPoll
			}
		default:
			wait = d.set(best, wait)
		}
		d.pause(ctx, wait, servers)
	}
	return nil
}

// raiseToFloor sets a clock that is before the floor to the floor.
func (d *daemon) raiseToFloor() {
	behind := d.clock.floor.Sub(d.clock.now())
	if behind <= 0 {
		return
	}
	if err := d.clock.step(behind); err != nil {
		d.boot.Printf("the clock is %s, before this HookOS was built: %v", d.clock.now().UTC().Format(time.RFC3339), err)
		return
	}
	d.boot.Printf("the clock was before this HookOS was built; it is %s until a time server answers",
		d.clock.floor.UTC().Format(time.RFC3339))
}

// servers is who to ask now.
func (d *daemon) servers() []string {
	if len(d.fixed) > 0 {
		return d.fixed
	}
	text, err := os.ReadFile(d.file)
	if servers := strings.Fields(string(text)); err == nil && len(servers) > 0 {
		return servers[:min(len(servers), maxServers)]
	}
	return []string{"pool.ntp.org"}
}

// list is the value of ntp_servers=.
func list(params cmdline.Params) []string {
	value, _ := params.Get("ntp_servers")
	servers := strings.FieldsFunc(value, func(r rune) bool { return r == ',' })
	return servers[:min(len(servers), maxServers)]
}

// maxServers bounds how many are asked; RFC 5905 thinks little of more.
const maxServers = 8

// tell logs that there is no time, at first and then every half an hour.
func (d *daemon) tell(err error) {
	now := time.Now()
	if now.Before(d.complain) {
		return
	}
	d.complain = now.Add(30 * time.Minute)
	d.log.Printf("%v; asking on", err)
}

// pause waits for the duration, less if the list of servers is another one than before. It looks every two seconds:
// the file comes by renaming, in a folder that may not be there yet.
func (d *daemon) pause(ctx context.Context, wait time.Duration, before []string) {
	end := time.Now().Add(wait)
	for ctx.Err() == nil && time.Now().Before(end) && slices.Equal(before, d.servers()) {
		timer := time.NewTimer(min(2*time.Second, time.Until(end)))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}
