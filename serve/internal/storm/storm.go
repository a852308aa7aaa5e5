package storm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Config is a storm. Server, Relay, Machines and MAC are required.
type Config struct {
	Server   netip.Addr // DHCP is asked here; for the rest, what its answers say
	Relay    netip.Addr // of this host, in the machines' subnet: the DHCP relay's address; its port 67 must be free
	Machines int        // how many
	Parallel int        // of them at a time; 0: 100
	MAC      func(i int) net.HardwareAddr

	// Bind has each machine use its own address, which this host must take for
	// its own (`ip route add local NET dev lo`). Else all use the host's.
	Bind bool

	BlockSize, Window int      // of TFTP; 0: 1468 and 4
	BaseURL           string   // of scripts and files; "": http:// and the address that TFTP is at
	Files             []string // paths below BaseURL, after the script

	Timeout time.Duration // of one machine; 0: 5 min
}

// Stage is a step of a boot.
type Stage string

// The stages, in their order.
const (
	DHCP   Stage = "dhcp"
	TFTP   Stage = "tftp"
	Script Stage = "script"
	HTTP   Stage = "http"
)

// Failure is a machine that did not get to the end.
type Failure struct {
	MAC   string
	Stage Stage
	Err   error
}

func (f Failure) Error() string { return fmt.Sprintf("%s: %s: %v", f.MAC, f.Stage, f.Err) }

// Report is what came of it.
type Report struct {
	Machines int
	Failures []Failure
	Took     time.Duration
	Bytes    map[Stage]int64
	Times    map[Stage][]time.Duration // of the machines that passed the stage, sorted
}

// Run lets all machines boot. The error is that the storm could not begin; what
// fails for a machine is in the report.
func Run(ctx context.Context, c Config) (*Report, error) {
	if !c.Server.IsValid() || !c.Relay.Is4() || c.Machines < 1 || c.MAC == nil {
		return nil, errors.New("storm: Server, Relay, Machines and MAC are required")
	}
	c = c.withDefaults()
	relay, err := listenRelay(c.Server, c.Relay)
	if err != nil {
		return nil, err
	}
	defer relay.close()
	r := &Report{Machines: c.Machines, Bytes: map[Stage]int64{}, Times: map[Stage][]time.Duration{}}
	var mu sync.Mutex
	begun := time.Now()
	var g errgroup.Group
	g.SetLimit(c.Parallel)
	for i := range c.Machines {
		g.Go(func() error {
			m := &machine{Config: &c, relay: relay, mac: c.MAC(i), times: map[Stage]time.Duration{}, bytes: map[Stage]int64{}}
			stage, err := m.boot(ctx)
			mu.Lock()
			defer mu.Unlock()
			r.add(m, stage, err)
			return nil
		})
	}
	_ = g.Wait()
	r.Took = time.Since(begun)
	for _, times := range r.Times {
		slices.Sort(times)
	}
	return r, ctx.Err()
}

func (c Config) withDefaults() Config {
	if c.Parallel == 0 {
		c.Parallel = 100
	}
	if c.BlockSize == 0 {
		c.BlockSize = 1468
	}
	if c.Window == 0 {
		c.Window = 4
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Minute
	}
	return c
}

func (r *Report) add(m *machine, stage Stage, err error) {
	if err != nil {
		r.Failures = append(r.Failures, Failure{m.mac.String(), stage, err})
	}
	for s, d := range m.times {
		r.Times[s] = append(r.Times[s], d)
	}
	for s, n := range m.bytes {
		r.Bytes[s] += n
	}
}

// String is the report in lines.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d machines in %.1f s, %d failed\n", r.Machines, r.Took.Seconds(), len(r.Failures))
	for _, s := range []Stage{DHCP, TFTP, Script, HTTP} {
		times := r.Times[s]
		if len(times) == 0 {
			continue
		}
		fmt.Fprintf(&b, "%-7s %5d passed, median %8s, p99 %8s, last %8s, %9.1f MB\n", s, len(times),
			round(times[len(times)/2]), round(times[len(times)*99/100]), round(times[len(times)-1]), float64(r.Bytes[s])/1e6)
	}
	for _, f := range r.Failures[:min(len(r.Failures), 10)] {
		fmt.Fprintf(&b, "FAILED %s\n", f.Error())
	}
	return b.String()
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }
